//! Bad input gets a clear answer and leaves nothing behind: no record, no container, no port.

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::engines::Engine;
use crate::seeds::nothing_left;
use crate::shell::ensure;
use crate::site::Site;

pub fn leave_nothing() -> Result<(), Failed> {
    let engine = Engine::embedded()?;
    let site = Site::start(&engine)?;
    for (name, id, body, status, word) in rows() {
        let (got, answer) = site.call("PUT", &format!("/v2/service_instances/{id}"), &body)?;
        let told = answer["description"].as_str().unwrap_or_default();
        let fine = got == status && told.contains(word);
        ensure(fine, format!("{name}: {got} {answer}")).map_err(|failed| site.explained(failed))?;
        nothing_left(&site, &engine)
            .map_err(|failed| format!("{name}: {}", failed.message().unwrap_or_default()))?;
    }
    Ok(())
}

type Row = (&'static str, &'static str, String, u16, &'static str);

fn rows() -> Vec<Row> {
    let order = |plan: &str, parameters: Value| {
        json!({"service_id": "0f5c1670-6dc3-11e5-bc08-6c4008a663f0", "plan_id": plan, "parameters": parameters}).to_string()
    };
    let cluster = |parameters: Value| order("1545e30e-6dc3-11e5-826a-6c4008a663f0", parameters);
    vec![
        ("malformed JSON", "x1", "{\"service_id\": ".to_owned(), 400, "JSON"),
        ("not an object", "x1", "[1]".to_owned(), 400, "object"),
        ("no plan", "x1", json!({"service_id": "a"}).to_string(), 400, "plan_id"),
        (
            "unknown service",
            "x1",
            json!({"service_id": "a", "plan_id": "b"}).to_string(),
            400,
            "no service a",
        ),
        ("unknown plan", "x1", order("nope", json!({})), 400, "no plan nope"),
        ("a plan of another service", "x1", order("another-plan", json!({})), 400, "another-service"),
        ("a bad id", "a%2Fb", cluster(json!({})), 400, "instance id"),
        ("node-count of 0", "x1", cluster(json!({"node-count": 0})), 400, "node-count"),
        ("a negative node-count", "x1", cluster(json!({"node-count": -1})), 400, "node-count"),
        ("a node-count in words", "x1", cluster(json!({"node-count": "two"})), 400, "node-count"),
        ("more nodes than cells", "x1", cluster(json!({"node-count": 5})), 400, "c1, c2, c3, c4"),
        ("an unknown cell", "x1", cluster(json!({"cells": ["c9"]})), 400, "c9"),
        ("parameters that are a list", "x1", order("nope", json!([])), 400, "parameters"),
        ("no such image", "x1", order("no-image", json!({})), 500, "no-such-image"),
        ("{} where nothing is known", "x1", "{}".to_owned(), 404, "no such service instance"),
        ("over 1 MiB", "x1", cluster(json!({"x": "y".repeat(1 << 20)})), 413, "1"),
    ]
}
