//! What works without a cell: orders of the service `patroni` with secrets in every field that takes some.

use serde_json::{Value, json};

use super::hoard::Hoard;
use super::site::{Site, USERNAME};
use super::wire::Request;

/// A record as an ancestor left it, with a node on a cell that is away, and the passwords that it has.
pub fn record(hoard: &mut Hoard, instance: &str) -> (String, String) {
    let mut user = |name: &str| json!({"username": name, "password": hoard.mint(name)});
    let app = user("app_credentials");
    let record = json!({
        "instance_id": instance, "service_id": "s1", "plan_id": "p1", "allocated_port": 30_001,
        "admin_credentials": user("admin_credentials"),
        "superuser_credentials": user("superuser_credentials"),
        "app_credentials": app.clone(),
        "replication_credentials": user("replication_credentials"),
        "rest_credentials": user("rest_credentials"),
        "store_credentials": user("store_credentials"),
        "parameters": {"password": user("parameters")},
        "context": {"token": user("context")},
        "nodes": [{
            "node_id": format!("{instance}-n1"), "backend_id": "away", "service_id": "s1", "plan_id": "p1",
            "host": "127.0.0.1", "ports": [{"container": 5432, "host": 20_000}],
        }],
    });
    (record.to_string(), app["password"].as_str().unwrap().to_owned())
}

/// What works without a cell: orders with secrets in every field that takes some.
pub fn life_cycle(site: &mut Site) {
    assert_eq!(site.call("GET", "/v2/catalog", &Value::Null).status, 200);
    let mut order = |more: Value| {
        let mut body = json!({
            "service_id": "s1", "plan_id": "p1", "organization_guid": "o", "space_guid": "s",
            "context": {"platform": "cloudfoundry", "password": site.hoard.mint("a context")},
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let (refused, bind, update) = (order(json!({})), order(json!({})), order(json!({})));
    // Every cell is away.
    let path = "/v2/service_instances/refused";
    let refused = site.call("PUT", path, &refused);
    assert!(refused.status >= 400, "{refused:?}");

    let (text, password) = record(&mut site.hoard, "b1");
    let config = site.config();
    assert!(site.command(&config, &["kv", "put", "/service/b1/state", "-"], &text));
    let path = "/v2/service_instances/b1";
    // Whose wish it is, is logged, by these ids alone.
    let identity =
        base64_of(&json!({"user_id": "683ea748", "token": site.hoard.mint("an originating identity")}));
    let bound = Request::new("PUT", "/v2/service_instances/b1/service_bindings/x")
        .basic(USERNAME, &site.password)
        .header(format!("X-Broker-API-Originating-Identity: cloudfoundry {identity}"))
        .header(format!("X-Broker-API-Request-Identity: {}", uuid::Uuid::new_v4()))
        .body(bind.to_string())
        .send(&site.way);
    assert_eq!(bound.status, 201, "{bound:?}");
    let bound: Value = serde_json::from_str(&bound.body).unwrap();
    assert_eq!(bound["credentials"]["password"], password.as_str(), "{bound}");
    for field in ["uri", "jdbcUrl"] {
        let uri = bound["credentials"][field].as_str().unwrap();
        site.hoard.keep("a connection URI", uri);
    }
    for broken in
        [site.hoard.mint("an identity without base64"), base64_of(&json!([site.hoard.mint("a list")]))]
    {
        Request::new("DELETE", "/v2/service_instances/b1/service_bindings/y?service_id=s1&plan_id=p1")
            .basic(USERNAME, &site.password)
            .header(format!("X-Broker-API-Originating-Identity: cloudfoundry {broken}"))
            .send(&site.way);
    }
    site.call("GET", &format!("{path}/service_bindings/x"), &Value::Null);
    site.call("GET", path, &Value::Null);
    site.call("PATCH", path, &update);
    site.call("GET", &format!("{path}/last_operation"), &Value::Null);
    let ids = "service_id=s1&plan_id=p1";
    let unbound = site.call("DELETE", &format!("{path}/service_bindings/x?{ids}"), &Value::Null);
    assert_eq!(unbound.status, 200, "{unbound:?}");
    let gone = site.call("DELETE", &format!("{path}?accepts_incomplete=true&{ids}"), &Value::Null);
    assert_eq!(gone.status, 202, "{gone:?}");
    // The worker has the record in hand and says what holds it up.
    site.says("cannot remove node b1-n1 from cell away now");
    site.call("GET", &format!("{path}/last_operation"), &Value::Null);
}

fn base64_of(value: &Value) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(value.to_string())
}
