//! What the `patroni` driver wants to know of a plan.

use super::postgresql;
use super::reader::Section;
use crate::model::PatroniPlan;

/// Top keys of the store: the registrar does not announce an image of that name, and its members would wait for ever.
const TOP_KEYS: [&str; 4] = ["service", "serviceinstances", "routing", "broker"];

pub(super) fn read(section: &Section<'_>, cells: usize) -> Option<PatroniPlan> {
    const MIB: u64 = 1024 * 1024;
    let image = section.required("image", image);
    let default = PatroniPlan::of("");
    let node_count = section.number_or("node_count", default.node_count, 1..=1000);
    if usize::try_from(node_count).is_ok_and(|count| count > cells) {
        let s = if cells == 1 { "" } else { "s" };
        section.problem("node_count", format!("{node_count} nodes cannot be spread over {cells} cell{s}"));
    }
    let synchronous = section.flag("synchronous", default.synchronous);
    let database = section.optional("database", &default.database, database);
    let ttl_s = section.number_or("ttl_s", default.ttl_s, 20..=3600);
    let loop_wait_s = section.number_or("loop_wait_s", default.loop_wait_s, 1..=3600);
    let retry_timeout_s = section.number_or("retry_timeout_s", default.retry_timeout_s, 3..=3600);
    if loop_wait_s + 2 * retry_timeout_s > ttl_s {
        let message = format!(
            "must be at least loop_wait_s + 2 * retry_timeout_s, which is {}: Patroni's own rule",
            loop_wait_s + 2 * retry_timeout_s
        );
        section.problem("ttl_s", message);
    }
    let memory_mb = section.number("memory_mb", 64..=16_777_216);
    let shm_mb = section.number("shm_mb", 1..=16_777_216);
    Some(PatroniPlan {
        image: image?,
        node_count,
        synchronous,
        database: database?,
        ttl_s,
        loop_wait_s,
        retry_timeout_s,
        memory_bytes: memory_mb.map(|memory| u64::from(memory) * MIB).or(default.memory_bytes),
        shm_bytes: shm_mb.map_or(default.shm_bytes, |shm| u64::from(shm) * MIB),
        postgresql_parameters: postgresql::read(section),
    })
}

fn image(raw: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    if !raw.chars().all(fine) || !raw.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("must be an image like \"patroni-broker/postgresql-patroni:17\"".to_owned());
    }
    let last = raw.rsplit('/').next().unwrap_or(raw);
    let bare = last.split(['@', ':']).next().unwrap_or(last);
    if TOP_KEYS.contains(&bare) {
        return Err(format!("an image called {bare} cannot be announced: the store's top key of that name"));
    }
    Ok(raw.to_owned())
}

/// What PostgreSQL takes without quotes.
fn database(raw: &str) -> Result<String, &'static str> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if raw.len() > 63
        || !raw.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        || !raw.chars().all(fine)
    {
        return Err("must be 1 to 63 characters of a-z, 0-9, '_', and not begin with a digit");
    }
    if matches!(raw, "template0" | "template1") {
        return Err("is one of PostgreSQL's own templates");
    }
    Ok(raw.to_owned())
}
