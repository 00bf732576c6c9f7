//! kill -9 at any time: what was acknowledged holds, and what was begun ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{RECORDS, Site, order};

const ASYNC: &str = "accepts_incomplete=true&service_id=s1&plan_id=p1";

/// Each kind of operation is under way when the broker dies.
#[test]
fn what_is_under_way_ends_at_its_time() {
    const TAKES: Duration = Duration::from_millis(2500);
    let mut site = Site::started("");
    let slowly = json!({"asynchronous": true, "delay_ms": 2500});
    let path = |name: &str| format!("/v2/service_instances/{name}");
    let binding = |name: &str| format!("{}/service_bindings/x", path(name));
    for name in ["updated", "deprovisioned", "bound", "unbound"] {
        assert_eq!(site.ask(&format!("PUT {}", path(name)), &order(&json!({}))).status, 201, "{name}");
    }
    let made = site.ask(&format!("PUT {}", binding("unbound")), &order(&json!({})));
    assert_eq!(made.status, 201, "{made:?}");
    // How a dream ends is told beforehand to those that are not told by their last request.
    for name in ["deprovisioned", "unbound"] {
        let told = json!({"service_id": "s1", "parameters": {"asynchronous": true, "delay_ms": 0}});
        assert_eq!(site.ask(&format!("PATCH {}?{ASYNC}", path(name)), &told).status, 202);
        assert_eq!(site.settled(&path(name)), "succeeded");
        let told = json!({"service_id": "s1", "parameters": slowly});
        assert_eq!(site.ask(&format!("PATCH {}?{ASYNC}", path(name)), &told).status, 202);
        assert_eq!(site.settled(&path(name)), "succeeded");
    }
    let update = json!({"service_id": "s1", "plan_id": "p2", "parameters": slowly});
    let begun = Instant::now();
    let begin = |line: String, body: &Value| {
        let answer = site.ask(&line, body);
        assert_eq!(answer.status, 202, "{line}: {answer:?}");
    };
    begin(format!("PUT {}?{ASYNC}", path("provisioned")), &order(&slowly));
    begin(format!("PATCH {}?{ASYNC}", path("updated")), &update);
    begin(format!("DELETE {}?{ASYNC}", path("deprovisioned")), &Value::Null);
    begin(format!("PUT {}?{ASYNC}", binding("bound")), &order(&slowly));
    begin(format!("DELETE {}?{ASYNC}", binding("unbound")), &Value::Null);
    site.kill();
    site.start();

    for (path, ends) in [
        (path("provisioned"), "succeeded"),
        (path("updated"), "succeeded"),
        (path("deprovisioned"), "gone"),
        (binding("bound"), "succeeded"),
        (binding("unbound"), "gone"),
    ] {
        let last = site.ask(&format!("GET {path}/last_operation"), &Value::Null);
        if begun.elapsed() < TAKES {
            assert!(last.body.contains("in progress"), "{path} has ended before its time: {last:?}");
        }
        assert_eq!(site.settled(&path), ends, "{path}");
        assert!(begun.elapsed() >= TAKES, "{path} has ended before its time");
    }
    let updated = site.ask(&format!("GET {}", path("updated")), &Value::Null);
    assert_eq!(updated.json()["plan_id"], "p2", "{updated:?}");
    for name in ["updated", "bound"] {
        let fast = json!({"service_id": "s1", "parameters": {"delay_ms": 0, "asynchronous": false}});
        assert_eq!(site.ask(&format!("PATCH {}?{ASYNC}", path(name)), &fast).status, 200, "{name}");
    }
    for name in ["updated", "bound"] {
        assert_eq!(site.ask(&format!("DELETE {}", path(name)), &Value::Null).status, 200, "{name}");
    }
    for name in ["provisioned", "unbound"] {
        begin_end(&site, &path(name));
    }
    site.is_empty();
}

fn begin_end(site: &Site, path: &str) {
    let answer = site.ask(&format!("DELETE {path}?{ASYNC}"), &Value::Null);
    assert_eq!(answer.status, 202, "{path}: {answer:?}");
    assert_eq!(site.settled(path), "gone");
}

/// After each answer the broker dies; the next one knows what was said.
#[test]
fn what_is_acknowledged_holds() {
    let mut site = Site::started("");
    const PATH: &str = "/v2/service_instances/b1";
    let bindings = format!("{PATH}/service_bindings");
    let told = |value: &str| order(&json!({"told": value}));
    let update = json!({"service_id": "s1", "plan_id": "p2", "parameters": {"told": "later"}});
    // What is asked, how it is answered, what is told of the instance then, and which bindings there are.
    let rows = [
        (format!("PUT {PATH}"), told("first"), 201, "first p1", "0 0"),
        (format!("PUT {bindings}/x"), told("x"), 201, "first p1", "x 0"),
        (format!("PATCH {PATH}"), update, 200, "later p2", "x 0"),
        (format!("PUT {bindings}/y"), json!({"predecessor_binding_id": "x"}), 201, "later p2", "x x"),
        (format!("DELETE {bindings}/x"), Value::Null, 200, "later p2", "0 x"),
        (format!("DELETE {bindings}/y"), Value::Null, 200, "later p2", "0 0"),
        (format!("DELETE {PATH}"), Value::Null, 200, "", "0 0"),
    ];
    for (line, body, status, instance, bound) in rows {
        let answer = site.ask(&line, &body);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        site.kill();
        site.start();
        let found = site.ask(&format!("GET {PATH}"), &Value::Null);
        let shown = match found.status {
            404 => String::new(),
            _ => {
                let found = found.json();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                format!("{} {}", text(&found["parameters"]["told"]), text(&found["plan_id"]))
            }
        };
        assert_eq!(shown, instance, "after {line}");
        let binding = |name: &str| {
            let found = site.ask(&format!("GET {bindings}/{name}"), &Value::Null);
            match found.status {
                404 => "0".to_owned(),
                _ => found.json()["parameters"]["told"].as_str().unwrap_or("?").to_owned(),
            }
        };
        assert_eq!(format!("{} {}", binding("x"), binding("y")), bound, "after {line}");
    }
    // A note of an operation that has ended may stay for a minute.
    site.has_nothing_below(&RECORDS);
}
