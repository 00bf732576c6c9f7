//! A dream through its whole life, with secrets in every field that takes some, at once and later, and when it fails.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::site::Site;
use super::wire::{Reply, Request};

const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who orders, by his password.
struct Platform<'a> {
    site: &'a mut Site,
    name: &'static str,
    password: String,
}

impl Platform<'_> {
    fn call(&self, method: &str, target: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Request::new(method, target).basic(self.name, &self.password).body(body).send(&self.site.way)
    }

    /// Orders something, waits for its end, and says how it ended: a status, or a state where it was polled.
    fn settle(&self, method: &str, path: &str, body: &Value) -> String {
        let mut reply = self.call(method, &format!("{path}?accepts_incomplete=true"), body);
        if reply.status != 202 {
            return reply.status.to_string();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            reply = self.call("GET", &format!("{path}/last_operation"), &Value::Null);
            let state = serde_json::from_str::<Value>(&reply.body).unwrap()["state"].clone();
            match state.as_str() {
                Some("in progress") => assert!(Instant::now() < until, "{method} {path}: {reply:?}"),
                Some(state) => return state.to_owned(),
                None => return reply.status.to_string(),
            }
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// Everything that an order or a binding may hold, with a secret in each.
    fn order(&mut self, told: &Value) -> Value {
        let hoard = &mut self.site.hoard;
        let mut parameters = told.clone();
        parameters["password"] = json!(hoard.mint("a dream's parameter"));
        parameters[hoard.mint_plain("a parameter's name")] =
            json!([{"deep": hoard.mint("deep in parameters")}]);
        json!({
            "service_id": "d1", "plan_id": "dp1",
            "organization_guid": "o", "space_guid": "s",
            "context": {"platform": "cloudfoundry", "token": hoard.mint("a dream's context")},
            "bind_resource": {"app_guid": "a1", "credential": hoard.mint("a dream's bind_resource")},
            "parameters": parameters,
        })
    }

    /// From order to end. `told` is what the dream is told beside its secrets.
    fn live(&mut self, instance: &str, told: &Value, expected: [&str; 5]) {
        let path = format!("/v2/service_instances/{instance}");
        let binding = format!("{path}/service_bindings/x");
        let check = |what: &str, found: String, expected: &str| {
            assert_eq!(found, expected, "{what} of {instance}, told {told}");
        };
        let order = self.order(told);
        check("provision", self.settle("PUT", &path, &order), expected[0]);
        for target in [&path, &format!("{path}/last_operation")] {
            self.call("GET", target, &Value::Null);
        }
        let mut update = self.order(told);
        update["plan_id"] = json!("dp2");
        check("update", self.settle("PATCH", &path, &update), expected[1]);
        let mut bind = self.order(told);
        if expected[1] == "200" || expected[1] == "succeeded" {
            bind["plan_id"] = json!("dp2");
        }
        check("bind", self.settle("PUT", &binding, &bind), expected[2]);
        self.call("GET", &binding, &Value::Null);
        let successor = json!({"predecessor_binding_id": "x", "parameters": self.order(told)["parameters"]});
        check("rotate", self.settle("PUT", &format!("{path}/service_bindings/y"), &successor), expected[3]);
        let gone = |path: &str| format!("{path}?accepts_incomplete=true");
        for binding in [&binding, &format!("{path}/service_bindings/y")] {
            self.call("DELETE", &gone(binding), &Value::Null);
            // Told to fail, or in the way of another one: it goes with its instance.
            self.call("GET", &format!("{binding}/last_operation"), &Value::Null);
        }
        let admin = self.site.call("GET", &format!("/admin/service_instances/{instance}"), &Value::Null);
        assert!(matches!(admin.status, 200 | 404), "{admin:?}");
        let shown = self.site.hoard.found_in("/admin", admin.body.as_bytes());
        assert!(shown.is_empty(), "{}", shown.join("\n"));
        check("deprovision", self.settle("DELETE", &path, &Value::Null), expected[4]);
    }
}

/// By each kind of user.
pub fn dreams(site: &mut Site) {
    let who = [("plain", site.users.plain.clone()), ("hashed", site.users.hashed.clone())];
    for (name, password) in who {
        let mut platform = Platform { site: &mut *site, name, password };
        let soon = ["201", "200", "201", "201", "200"];
        platform.live("dream", &json!({}), soon);
        let later = ["succeeded", "succeeded", "succeeded", "succeeded", "410"];
        platform.live("later", &json!({"asynchronous": true, "delay_ms": 20}), later);
        for fail in ["update", "bind", "unbind", "deprovision"] {
            fails(&mut platform, fail);
        }
        for told in [json!({"fail": "provision"}), json!({"fail": "provision", "asynchronous": true})] {
            let order = platform.order(&told);
            let found = platform.settle("PUT", "/v2/service_instances/never", &order);
            assert!(found == "500" || found == "failed", "{told}: {found}");
            platform.settle("DELETE", "/v2/service_instances/never", &Value::Null);
        }
        // Refused, and what is wrong may be told to the sender alone.
        for field in ["delay_ms", "asynchronous", "fail", "expires_in_s"] {
            let secret = platform.site.hoard.mint("a parameter of a wrong type");
            let order = platform.order(&json!({field: secret}));
            assert_eq!(platform.settle("PUT", "/v2/service_instances/wrong", &order), "400", "{field}");
        }
    }
    looks(site);
}

/// One operation fails, at once and later; the dream is then told to let itself be deleted.
fn fails(platform: &mut Platform<'_>, fail: &str) {
    for asynchronous in [false, true] {
        let path = format!("/v2/service_instances/fails-{fail}-{asynchronous}");
        let binding = format!("{path}/service_bindings/x");
        let order = platform.order(&json!({"fail": fail, "asynchronous": asynchronous}));
        platform.settle("PUT", &path, &order);
        let plain = platform.order(&json!({"fail": fail}));
        let ended = [
            ("update", platform.settle("PATCH", &path, &plain)),
            ("bind", platform.settle("PUT", &binding, &plain)),
            ("unbind", platform.settle("DELETE", &binding, &Value::Null)),
            ("deprovision", platform.settle("DELETE", &path, &Value::Null)),
        ];
        let (_, found) = ended.iter().find(|(name, _)| *name == fail).unwrap();
        assert!(found == "500" || found == "failed", "{fail} {asynchronous}: {ended:?}");
        let heal = platform.order(&json!({"fail": []}));
        platform.settle("PATCH", &path, &heal);
        platform.settle("DELETE", &path, &Value::Null);
    }
}

/// What those are shown who only look has none of it either.
fn looks(site: &mut Site) {
    let viewer = site.users.viewer.clone();
    let looked = |target: &str| Request::new("GET", target).basic("viewer", &viewer).send(&site.way);
    for target in ["/metrics", "/admin/service_instances", "/admin/cells", "/v2/catalog"] {
        let reply = looked(target);
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        assert!(!reply.body.is_empty(), "{target} is empty");
        let shown = site.hoard.found_in(target, reply.body.as_bytes());
        assert!(shown.is_empty(), "{}", shown.join("\n"));
    }
    let refused = looked("/v2/service_instances/dream");
    assert_eq!(refused.status, 403, "{refused:?}");
}
