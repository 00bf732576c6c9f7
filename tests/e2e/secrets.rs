//! What an instance's passwords do not get into: the broker's log at debug level, HAProxy's configuration, and whatever
//! else the broker writes beside its store.

use libtest_mimic::Failed;
use serde_json::Value;

use crate::hoard::Hoard;
use crate::shell::ensure;
use crate::site::Site;

/// Looks for every password of the instance's record and of a binding to it.
pub fn stay_inside(site: &Site, instance: &str, bound: &Value) -> Result<(), Failed> {
    let mut hoard = Hoard::default();
    let mut kept = keep(&mut hoard, "the record", &site.record(instance)?);
    kept += keep(&mut hoard, "the binding", bound);
    // Administrator, superuser, application, replication, REST API, and once more what is bound.
    ensure(kept >= 6, format!("only {kept} passwords to look for"))?;
    ensure(site.log().contains("DEBUG"), "the log is not at debug level")?;
    let found = hoard.found_below(site.directory());
    ensure(found.is_empty(), found.join("\n"))
}

/// Takes in every password in a document, and says how many.
fn keep(hoard: &mut Hoard, what: &str, document: &Value) -> usize {
    match document {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(secret) if ["password", "uri", "jdbcUrl"].contains(&name.as_str()) => {
                    hoard.keep(&format!("{what}'s {name}"), secret);
                    1
                }
                _ => keep(hoard, &format!("{what}.{name}"), value),
            })
            .sum(),
        Value::Array(values) => values.iter().map(|value| keep(hoard, what, value)).sum(),
        _ => 0,
    }
}
