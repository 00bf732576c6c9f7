//! What an update of a cluster comes to. What is not asked for stays: a cluster of three whose plan says two is not
//! resized by an update that does not mention nodes, nor by one to another plan.

use std::collections::BTreeMap;

use log::warn;
use serde_json::{Map, Value, json};

use super::parameters;
use crate::model::PatroniPlan;
use crate::scheduler::Reshape;
use crate::services::UpdateNotSupported;
use crate::state::{InstanceRecord, UpdateRecord};

/// What an image says of the PostgreSQL inside of it.
const POSTGRESQL_MAJOR: &str = "POSTGRESQL_MAJOR";
/// What is gone back to stands in the record; an instance's members may write as much as they like.
const LARGEST_CONFIGURATION: usize = 64 << 10;

/// What the cluster is to be. `before` is the plan that it has, where the catalog still has that; `now` are
/// the cluster's settings, as of [`configured`].
pub(super) fn plan(
    plan: &PatroniPlan,
    before: Option<&PatroniPlan>,
    now: &Map<String, Value>,
    record: &InstanceRecord,
    update: &UpdateRecord,
) -> Result<Reshape, UpdateNotSupported> {
    let order = parameters::read(plan, &update.parameters)
        .map_err(|error| UpdateNotSupported { reason: error.reason })?;
    check_database(plan, before)?;
    let is_new = |name: &str| update.parameters.get(name) != record.parameters.get(name);
    // What the plan says by now is taken on.
    let remake = update.plan_id != record.plan_id || update.maintenance_version != record.maintenance_version;
    // New nodes are as those beside them, whatever the catalog says by now.
    let as_it_is = record.nodes.first().and_then(|node| node.build.clone()).filter(|_| !remake);
    Ok(Reshape {
        // What was asked for and failed half-way is made good by the next update.
        nodes: if update.parameters.contains_key("node-count") { order.nodes } else { record.nodes.len() },
        among: order.cells,
        among_is_new: is_new("cells"),
        build: as_it_is.unwrap_or_else(|| plan.build()),
        remake,
        configure: if remake { configure(plan, now, record) } else { None },
    })
}

/// The database is made once, when the cluster is.
fn check_database(plan: &PatroniPlan, before: Option<&PatroniPlan>) -> Result<(), UpdateNotSupported> {
    let (is, wanted) = (before.map_or(&plan.database, |before| &before.database), &plan.database);
    if is == wanted {
        return Ok(());
    }
    let reason = format!(
        "the cluster's database is {is}, and instances of that plan have one called {wanted}: it is made with the \
         cluster and keeps its name"
    );
    Err(UpdateNotSupported { reason })
}

/// From the settings that the cluster has to those of its plan. What the plan said when they were set, nobody knows: the
/// catalog may say something else of it by now. Where an update failed, nodes may wait for their restart yet, with
/// settings that are right.
fn configure(
    plan: &PatroniPlan,
    now: &Map<String, Value>,
    record: &InstanceRecord,
) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let (from, to) = (now.clone(), settings(plan));
    (from != to || record.has_failed_to_be_updated()).then_some((from, to))
}

/// The settings in Patroni's dynamic configuration that are a plan's to say: of its other parts nothing is changed.
/// Empty where nobody can tell.
pub(super) fn configured(configuration: &[u8]) -> Map<String, Value> {
    if configuration.len() > LARGEST_CONFIGURATION {
        warn!(
            "a cluster's settings are larger than {LARGEST_CONFIGURATION} bytes, and will not be gone back to"
        );
        return Map::new();
    }
    let Ok(now) = serde_json::from_slice::<Map<String, Value>>(configuration) else { return Map::new() };
    let own = ["ttl", "loop_wait", "retry_timeout", "synchronous_mode"];
    let own = own.into_iter().filter_map(|name| Some((name.to_owned(), now.get(name)?.clone())));
    let parameters = now.get("postgresql").and_then(|postgresql| postgresql.get("parameters"));
    let parameters = parameters.and_then(Value::as_object).cloned().unwrap_or_default();
    own.chain([("postgresql".to_owned(), json!({ "parameters": parameters }))]).collect()
}

/// What of a plan goes into Patroni's dynamic configuration.
fn settings(plan: &PatroniPlan) -> Map<String, Value> {
    let settings = [
        ("ttl", json!(plan.ttl_s)),
        ("loop_wait", json!(plan.loop_wait_s)),
        ("retry_timeout", json!(plan.retry_timeout_s)),
        ("synchronous_mode", json!(plan.synchronous)),
        ("postgresql", json!({ "parameters": plan.postgresql_parameters })),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Refuses data of another PostgreSQL. An image that says nothing of its own is not ours: it may be right, and if it
/// is not, its start fails.
pub(super) fn check_image(
    from: &BTreeMap<String, String>,
    to: &BTreeMap<String, String>,
) -> Result<(), UpdateNotSupported> {
    match (from.get(POSTGRESQL_MAJOR), to.get(POSTGRESQL_MAJOR)) {
        (Some(is), Some(wanted)) if is != wanted => {
            let reason = format!(
                "the cluster's data are of PostgreSQL {is}, and the image has PostgreSQL {wanted}: that takes a dump \
                 and restore, or a new instance"
            );
            Err(UpdateNotSupported { reason })
        }
        (Some(_), Some(_)) => Ok(()),
        _ => {
            warn!(
                "an image does not say in {POSTGRESQL_MAJOR} of which PostgreSQL it is: taken for the same"
            );
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Map, Value, json};

    use super::{check_image, configure, configured, plan, settings};
    use crate::model::{PatroniPlan, PlanId};
    use crate::services::patroni::tests as stand_ins;
    use crate::state::{InstanceRecord, UpdateRecord};

    /// Nodes are written as their cells, each with `:image` where that is recorded.
    fn record(nodes: &str, parameters: &Value) -> InstanceRecord {
        let node = |raw: &str| {
            let (cell, image) = raw.split_once(':').map_or((raw, None), |(cell, image)| (cell, Some(image)));
            let build = image.map(|image| json!({"image": image, "shm_bytes": 1}));
            json!({
                "node_id": cell, "backend_id": cell, "plan_id": "p", "service_id": "s", "build": build,
            })
        };
        let nodes = nodes.split_whitespace().map(node).collect();
        let mut record = stand_ins::record(nodes);
        record.parameters = parameters.as_object().unwrap().clone();
        record.maintenance_version = Some("1.0.0".to_owned());
        record
    }

    fn small() -> PatroniPlan {
        PatroniPlan::of("small")
    }

    fn large() -> PatroniPlan {
        let mut plan = PatroniPlan::of("large");
        plan.node_count = 3;
        plan.synchronous = true;
        plan.postgresql_parameters.insert("work_mem".to_owned(), json!("8MB"));
        plan
    }

    /// Who is updated how: `plan` is `p` with version 1.0.0 where it stays.
    struct Asked<'a> {
        nodes: &'a str,
        has: Value,
        plan: &'a str,
        version: &'a str,
        parameters: Value,
    }

    /// `configured` is the plan that the cluster was configured by.
    fn told(
        settings: &PatroniPlan,
        before: Option<&PatroniPlan>,
        configured: &PatroniPlan,
        asked: &Asked<'_>,
    ) -> String {
        let mut parameters = asked.has.as_object().unwrap().clone();
        parameters.extend(asked.parameters.as_object().unwrap().clone());
        let update = UpdateRecord {
            previous_plan_id: PlanId::parse("p").unwrap(),
            plan_id: PlanId::parse(asked.plan).unwrap(),
            parameters,
            context: serde_json::Map::new(),
            maintenance_version: Some(asked.version.to_owned()),
        };
        let now = super::settings(configured);
        let wish = match plan(settings, before, &now, &record(asked.nodes, &asked.has), &update) {
            Ok(wish) => wish,
            Err(error) => return error.reason,
        };
        let cells = wish.among.as_ref().map_or("any".to_owned(), |among| {
            among.iter().map(|cell| cell.as_str().to_owned()).collect::<Vec<_>>().join(" ")
        });
        let is_new = if wish.among_is_new { ", named now" } else { "" };
        let remake = if wish.remake { "all" } else { "new ones" };
        let settings = wish.configure.map_or_else(String::new, |(from, to)| {
            let words = |settings: &Map<String, Value>| {
                let ways =
                    if settings["synchronous_mode"] == true { "synchronous" } else { "not synchronous" };
                format!("{ways} {}", settings["postgresql"]["parameters"])
            };
            format!(", {} to {}", words(&from), words(&to))
        });
        format!("{} on {cells}{is_new}, {remake} as {}{settings}", wish.nodes, wish.build.image)
    }

    fn check(nodes: &str, has: Value, parameters: Value, expected: &str) {
        let asked = Asked { nodes, has, plan: "p", version: "1.0.0", parameters };
        assert_eq!(
            // What the plan says by now is not asked for.
            told(&small(), Some(&small()), &large(), &asked),
            expected,
            "{nodes}: {} {}",
            asked.has,
            asked.parameters
        );
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        check("a b", json!({}), json!({}), "2 on any, new ones as small");
        check("a b", json!({}), json!({"node-count": 2}), "2 on any, new ones as small");
        check("a b", json!({"cells": ["a", "b"]}), json!({}), "2 on a b, new ones as small");
        // The Go ancestor took an update without a count as one to two nodes.
        let cells = json!({"cells": ["a", "b", "c"]});
        check("a b c", cells.clone(), json!({}), "3 on a b c, new ones as small");
        check("a b c", json!({}), cells, "3 on a b c, named now, new ones as small");
        // What was asked for once and came to less, by an update that failed half-way, is made good.
        check(
            "a b",
            json!({"node-count": 3}),
            json!({"cells": ["a", "c"]}),
            "3 on a c, named now, new ones as small",
        );
        // New nodes are as the old ones, also when the plan has another image by now.
        check("a:older b", json!({}), json!({"node-count": 3}), "3 on any, new ones as older");
    }

    #[test]
    fn what_is_asked_for_changes() {
        check("a b", json!({}), json!({"node-count": 3}), "3 on any, new ones as small");
        check("a b", json!({"node-count": 2}), json!({"node-count": 1}), "1 on any, new ones as small");
        check("a b", json!({}), json!({"cells": ["c", "d"]}), "2 on c d, named now, new ones as small");
        check(
            "a b",
            json!({}),
            json!({"nodes": 3}),
            "there is no parameter \"nodes\"; there are \"node-count\" and \"cells\"",
        );
    }

    #[test]
    fn another_plan_and_another_version() {
        let check = |settings: &PatroniPlan,
                     before: Option<&PatroniPlan>,
                     configured: &PatroniPlan,
                     (to, version): (&str, &str),
                     expected: &str| {
            let asked =
                Asked { nodes: "a:older b", has: json!({}), plan: to, version, parameters: json!({}) };
            assert_eq!(told(settings, before, configured, &asked), expected, "{to} {version}");
        };
        let (other, upgraded) = (("q", "1.0.0"), ("p", "1.1.0"));
        let (small, large) = (small(), large());
        // The plan's own count is for new instances.
        let grows = r#"2 on any, all as large, not synchronous {} to synchronous {"work_mem":"8MB"}"#;
        let shrinks = r#"2 on any, all as small, synchronous {"work_mem":"8MB"} to not synchronous {}"#;
        check(&large, Some(&small), &small, other, grows);
        check(&small, Some(&large), &large, other, shrinks);
        check(&large, None, &small, other, grows);
        check(&large, Some(&large), &large, other, "2 on any, all as large");
        // What counts is how the cluster is configured, not what the catalog says by now of the plan that it has.
        check(&large, Some(&large), &small, other, grows);
        check(&large, Some(&small), &large, other, "2 on any, all as large");
        // As of the plan's next version: the settings before are in the cluster only.
        check(&large, Some(&large), &small, upgraded, grows);
        check(&small, Some(&small), &large, upgraded, shrinks);
        check(&large, Some(&large), &large, upgraded, "2 on any, all as large");
        let mut elsewhere = large.clone();
        elsewhere.database = "elsewhere".to_owned();
        let refused = "the cluster's database is postgres, and instances of that plan have one called elsewhere: it is \
                       made with the cluster and keeps its name";
        check(&elsewhere, Some(&small), &small, other, refused);
    }

    #[test]
    fn only_what_plans_say_is_configured() {
        let check = |now: &str, expected: Value| {
            assert_eq!(Value::Object(configured(now.as_bytes())), expected, "{now}");
        };
        let own = json!({"ttl": 20, "postgresql": {"parameters": {"jit": "off"}}});
        check(&own.to_string(), own.clone());
        let mut all = own.clone();
        (all["failsafe_mode"], all["postgresql"]["use_slots"]) = (json!(true), json!(true));
        check(&all.to_string(), own.clone());
        // Patroni's own part must stay when what a plan adds to it goes again.
        let none = json!({"ttl": 20, "postgresql": {"parameters": {}}});
        check(r#"{"ttl": 20}"#, none.clone());
        check(r#"{"ttl": 20, "postgresql": {"parameters": null}}"#, none);
        // Nobody can tell.
        for text in ["", "{", "null", "[1]"] {
            check(text, json!({}));
        }
        check(&format!("{own}{}", " ".repeat(64 << 10)), json!({}));
    }

    /// Its undoing may have set them back, or not, and left nodes to be restarted.
    #[test]
    fn settings_are_set_again_where_an_update_failed() {
        let mut record = record("a b", &json!({}));
        let now = settings(&small());
        assert_eq!(configure(&small(), &now, &record), None);
        record.operation = serde_json::from_value(json!({
            "id": "update-1", "kind": "update", "state": "failed", "steps": [], "done": 0,
            "started_ms": 0, "deadline_ms": 0,
        }))
        .unwrap();
        assert!(configure(&small(), &now, &record).is_some());
    }

    #[test]
    fn an_image_of_another_postgresql_is_refused() {
        let check = |from: &str, to: &str, expected: Option<&str>| {
            let image = |major: &str| -> BTreeMap<String, String> {
                let says = (!major.is_empty()).then(|| ("POSTGRESQL_MAJOR".to_owned(), major.to_owned()));
                says.into_iter().chain([("PATH".to_owned(), format!("/usr/lib/{major}"))]).collect()
            };
            let refused = check_image(&image(from), &image(to)).err().map(|error| error.reason);
            assert_eq!(refused.as_deref(), expected, "{from} to {to}");
        };
        check("15", "15", None);
        let reason = "the cluster's data are of PostgreSQL 15, and the image has PostgreSQL 17: that takes a dump and \
                      restore, or a new instance";
        check("15", "17", Some(reason));
        check("15", "", None);
        check("", "17", None);
    }
}
