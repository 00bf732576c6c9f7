//! Guests try to break out.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storage::consul::Policies;
use storage::{AccessControl, Expect, Guest, Rights, Store, StoreError, Ttl};

use crate::Test;
use crate::lab::{Lab, MANAGEMENT, key, text};

pub const TESTS: &[Test] = &[
    ("a_guest_does_what_it_may", a_guest_does_what_it_may),
    ("a_guest_stays_in_its_place", a_guest_stays_in_its_place),
    ("sessions_of_others_are_out_of_reach", sessions_of_others_are_out_of_reach),
    ("admitting_twice_is_admitting_once", admitting_twice_is_admitting_once),
    ("a_dismissed_guest_is_out_at_once", a_dismissed_guest_is_out_at_once),
    ("names_that_look_alike_are_different_guests", names_that_look_alike_are_different_guests),
    ("odd_keys_are_what_they_are", odd_keys_are_what_they_are),
    ("a_session_on_a_guests_node_is_a_session", a_session_on_a_guests_node_is_a_session),
];

const B1: &str = "0b1b1b1b-1c84-4e1c-b2bd-3a3b2f0f2a55";
const B10: &str = "0b10b10b-1c84-4e1c-b2bd-3a3b2f0f2a55";

fn guest(name: &str, password: &str) -> Guest {
    let write = ["leader", "config", "members/a"].map(|at| key(&format!("/service/{name}/{at}")));
    let read_under = vec![key(&format!("/service/{name}")), key("/postgresql-patroni")];
    let rights = Rights { read_under, write: write.to_vec() };
    Guest { name: name.to_owned(), password: password.to_owned(), rights }
}

/// Two guests, and something in every place.
fn house() -> (Lab, Policies) {
    let lab = Lab::closed();
    let policies = lab.policies_as(MANAGEMENT);
    policies.check().unwrap();
    let store = lab.store();
    let service =
        ["b1/state", "b1/config", "b1/leader", "b10/leader", "b10/state"].map(|at| format!("/service/{at}"));
    for at in service.iter().map(String::as_str).chain(["/broker/x", "/postgresql-patroni/x"]) {
        store.put(&key(at), b"1", None, Expect::Absent).unwrap();
    }
    policies.admit(&guest("b1", B1)).unwrap();
    policies.admit(&guest("b10", B10)).unwrap();
    (lab, policies)
}

/// As Patroni makes them.
fn session(lab: &Lab, token: &str, node: &str) -> (u16, Value) {
    let wanted = json!({
        "Node": node, "TTL": "10s", "Behavior": "delete", "LockDelay": "1ms", "Checks": [], "NodeChecks": [],
    });
    lab.api_as(Some(token), "PUT", "session/create", &wanted)
}

fn operation(verb: &str, at: &str) -> Value {
    json!({"KV": {"Verb": verb, "Key": at, "Value": "Mg=="}})
}

fn a_guest_does_what_it_may() {
    let (lab, policies) = house();
    let access = policies.client_access(&guest("b1", B1));
    assert_eq!(access.password.as_deref(), Some(B1));
    let node = access.session_node.unwrap();
    let store = lab.store_as(Some(B1));
    let listed = store.list(&key("/service/b1")).unwrap();
    assert_eq!(listed.entries.len(), 3);
    assert_eq!(store.list(&key("/postgresql-patroni")).unwrap().entries.len(), 1);
    store.put(&key("/service/b1/members/a"), b"2", None, Expect::Absent).unwrap();
    store.delete(&key("/service/b1/config"), Expect::Anything).unwrap();
    let (status, made) = session(&lab, B1, &node);
    assert_eq!(status, 200);
    let id = text(&made["ID"]);
    let guest = |method: &str, path: &str, body: &Value| lab.api_as(Some(B1), method, path, body).0;
    let lock = json!([{"KV": {"Verb": "delete", "Key": "service/b1/leader"}},
        {"KV": {"Verb": "lock", "Key": "service/b1/leader", "Value": "Mg==", "Session": id}}]);
    assert_eq!(guest("PUT", "txn", &lock), 200);
    assert_eq!(guest("PUT", &format!("session/renew/{id}"), &Value::Null), 200);
    assert_eq!(guest("PUT", &format!("session/destroy/{id}"), &Value::Null), 200);
    assert_eq!(lab.store().get(&key("/service/b1/leader")), Ok(None));
}

fn a_guest_stays_in_its_place() {
    let (lab, _policies) = house();
    let before = lab.store().list(&key("/")).unwrap();
    let store = lab.store_as(Some(B1));
    let refused = |what: &str, failed: bool| assert!(failed, "{what}");
    let unavailable = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Unavailable { .. }));
    let elsewhere =
        ["/service/b10/leader", "/service/b10/state", "/broker/x", "/x", "/service/b1x", "/service"];
    for at in elsewhere {
        refused(at, unavailable(store.get(&key(at)).map(drop)));
        refused(at, unavailable(store.list(&key(at)).map(drop)));
    }
    for at in elsewhere.into_iter().chain([
        "/service/b1/state",
        "/service/b1",
        "/service/b1/leader/x",
        "/service/b1/lead",
    ]) {
        refused(at, unavailable(store.put(&key(at), b"2", None, Expect::Anything).map(drop)));
        refused(at, unavailable(store.put(&key(at), b"2", None, Expect::Absent).map(drop)));
        refused(at, unavailable(store.delete(&key(at), Expect::Anything)));
    }
    let api = |method: &str, path: &str, body: &Value| lab.api_as(Some(B1), method, path, body);
    // What it may not see is left out of what it asks for.
    for path in ["kv/?recurse", "kv/service/?recurse", "kv/service/b1?recurse", "kv/service/b?recurse"] {
        let (_, found) = api("GET", path, &Value::Null);
        let found = found.as_array().unwrap().iter().map(|entry| text(&entry["Key"]));
        let foreign =
            found.filter(|at| !at.starts_with("service/b1/") && !at.starts_with("postgresql-patroni/"));
        assert_eq!(foreign.collect::<Vec<_>>(), [""; 0], "{path}");
    }
    for at in ["service/b1/", "service/b1/leader", "service/", "", "service/b1/members/"] {
        assert_eq!(api("DELETE", &format!("kv/{at}?recurse"), &Value::Null).0, 403, "{at}");
    }
    // A transaction with one operation that is forbidden does nothing.
    let own = operation("set", "service/b1/leader");
    for (verb, at) in [
        ("set", "service/b1/state"),
        ("delete-tree", "service/b1/"),
        ("delete", "service/b10/leader"),
        ("check-index", "broker/x"),
    ] {
        let (status, _) = api("PUT", "txn", &json!([own, operation(verb, at)]));
        assert_eq!(status, 409, "{verb} {at}");
    }
    let (_, got) = api("PUT", "txn", &json!([operation("get-tree", "")]));
    assert!(!got.to_string().contains("broker/x") && !got.to_string().contains("b10"), "{got}");
    assert_eq!(lab.store().list(&key("/")).unwrap(), before, "nothing has changed");
    house_rules(&lab);
}

/// Everything that is not a key.
fn house_rules(lab: &Lab) {
    let service = json!({"Name": "x", "ID": "x"});
    let node = json!({"Node": "x", "Address": "127.0.0.1"});
    let own = json!({"Node": "patroni-broker-b1", "Address": "127.0.0.9"});
    let txn = json!([{"Node": {"Verb": "set", "Node": node}}]);
    let rows: &[(&str, &str, &Value)] = &[
        ("GET", "acl/tokens", &Value::Null),
        ("GET", "acl/policies", &Value::Null),
        ("PUT", "acl/policy", &json!({"Name": "x", "Rules": "key_prefix \"\" { policy = \"write\" }"})),
        ("PUT", "acl/token", &json!({"Policies": [{"Name": "global-management"}]})),
        ("PUT", "catalog/register", &node),
        ("PUT", "catalog/register", &own),
        ("PUT", "catalog/deregister", &json!({"Node": "alone"})),
        ("PUT", "catalog/deregister", &json!({"Node": "patroni-broker-b1"})),
        ("PUT", "agent/service/register", &service),
        ("PUT", "agent/leave", &json!({})),
        ("PUT", "agent/force-leave/alone", &json!({})),
        ("PUT", "agent/maintenance?enable=true", &json!({})),
        ("GET", "agent/self", &Value::Null),
        ("PUT", "event/fire/x", &json!({})),
        ("GET", "snapshot", &Value::Null),
        ("GET", "operator/raft/configuration", &Value::Null),
        ("POST", "query", &json!({"Name": "x", "Service": {"Service": "x"}})),
        ("PUT", "txn", &txn),
    ];
    for (method, path, body) in rows {
        let (status, said) = lab.api_as(Some(B1), method, path, body);
        let wanted = if *path == "txn" { 409 } else { 403 };
        assert_eq!(status, wanted, "{method} {path}: {said}");
    }
    let (_, nodes) = lab.api_as(Some(B1), "GET", "catalog/nodes", &Value::Null);
    assert_eq!(nodes, json!([]));
}

fn sessions_of_others_are_out_of_reach() {
    let (lab, policies) = house();
    let node =
        |name: &str, password: &str| policies.client_access(&guest(name, password)).session_node.unwrap();
    let own = text(&session(&lab, B1, &node("b1", B1)).1["ID"]);
    let neighbour = text(&session(&lab, B10, &node("b10", B10)).1["ID"]);
    let agents = lab.session("0s");
    assert_eq!(session(&lab, B1, &node("b10", B10)).0, 403);
    assert_eq!(session(&lab, B1, "alone").0, 403);
    let api = |method: &str, path: &str| lab.api_as(Some(B1), method, path, &Value::Null);
    let (_, listed) = api("GET", "session/list");
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["ID"], own.as_str());
    for session in [&neighbour, &agents] {
        assert_eq!(api("PUT", &format!("session/destroy/{session}")).0, 403);
        assert_eq!(api("PUT", &format!("session/renew/{session}")).0, 403);
        assert_eq!(api("GET", &format!("session/info/{session}")).1, json!([]));
    }
    assert_eq!(lab.sessions().len(), 3);
}

fn admitting_twice_is_admitting_once() {
    let (lab, policies) = house();
    policies.admit(&guest("b1", B1)).unwrap();
    let (_, tokens) = lab.api("GET", "acl/tokens", &Value::Null);
    assert_eq!(tokens.to_string().matches("patroni-broker guest b1\"").count(), 1, "{tokens}");
    // Rights that are no longer among them are taken away, and a new password replaces the old one.
    let other = "0c1c1c1c-1c84-4e1c-b2bd-3a3b2f0f2a55";
    let less = Rights { read_under: vec![], write: vec![key("/service/b1/config")] };
    policies.admit(&Guest { password: other.to_owned(), rights: less, ..guest("b1", B1) }).unwrap();
    let unavailable =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Unavailable { .. })));
    unavailable(lab.store_as(Some(B1)).get(&key("/service/b1/config")).map(drop));
    let store = lab.store_as(Some(other));
    assert!(store.get(&key("/service/b1/config")).is_ok());
    unavailable(store.get(&key("/service/b1/state")).map(drop));
    unavailable(store.put(&key("/service/b1/leader"), b"1", None, Expect::Anything).map(drop));
    let refused = policies.admit(&Guest { password: "hush".to_owned(), ..guest("b1", B1) });
    assert!(
        matches!(&refused, Err(StoreError::Corrupt { reason }) if !reason.contains("hush")),
        "{refused:?}"
    );
    let mut guests = policies.guests().unwrap();
    guests.sort();
    assert_eq!(guests, ["b1", "b10"]);
}

fn a_dismissed_guest_is_out_at_once() {
    let (lab, policies) = house();
    let node = policies.client_access(&guest("b1", B1)).session_node.unwrap();
    let id = text(&session(&lab, B1, &node).1["ID"]);
    let lock = json!([operation("delete", "service/b1/leader"),
        {"KV": {"Verb": "lock", "Key": "service/b1/leader", "Session": id}}]);
    assert_eq!(lab.api_as(Some(B1), "PUT", "txn", &lock).0, 200);
    policies.dismiss("b1").unwrap();
    assert_eq!(lab.api_as(Some(B1), "GET", "kv/service/b1/config", &Value::Null).0, 403);
    assert_eq!(lab.api_as(Some(B1), "PUT", "txn", &json!([operation("set", "service/b1/config")])).0, 403);
    assert_eq!(session(&lab, B1, &node).0, 403);
    assert_eq!(lab.sessions(), [""; 0]);
    assert_eq!(lab.store().get(&key("/service/b1/leader")), Ok(None), "what it held is free");
    let everything =
        ["acl/tokens", "acl/policies", "catalog/nodes"].map(|path| lab.api("GET", path, &Value::Null).1);
    assert!(!everything.iter().any(|found| found.to_string().contains("b1\"")), "{everything:?}");
    assert_eq!(policies.guests().unwrap(), ["b10"]);
    policies.dismiss("b1").unwrap();
    policies.dismiss("never-heard-of").unwrap();
    // Half a dismissal is finished by another: the guest is listed until the end.
    let (_, tokens) = lab.api("GET", "acl/tokens", &Value::Null);
    let token =
        tokens.as_array().unwrap().iter().find(|token| text(&token["Description"]).ends_with("guest b10"));
    lab.api("DELETE", &format!("acl/token/{}", text(&token.unwrap()["AccessorID"])), &Value::Null);
    assert_eq!(policies.guests().unwrap(), ["b10"]);
    policies.admit(&guest("b10", B10)).unwrap();
    assert!(lab.store_as(Some(B10)).get(&key("/service/b10/state")).is_ok());
}

fn names_that_look_alike_are_different_guests() {
    let (lab, policies) = house();
    let other = "0c1c1c1c-1c84-4e1c-b2bd-3a3b2f0f2a55";
    for (name, password) in [("B1", other), (&*"X.~_".repeat(25), "0d1c1c1c-1c84-4e1c-b2bd-3a3b2f0f2a55")] {
        policies.admit(&guest(name, password)).unwrap();
        let store = lab.store_as(Some(password));
        assert!(store.get(&key(&format!("/service/{name}/x"))).is_ok(), "{name}");
        assert!(store.get(&key("/service/b1/state")).is_err(), "{name}");
        let node = policies.client_access(&guest(name, password)).session_node.unwrap();
        assert_eq!(session(&lab, password, &node).0, 200, "{name}");
        assert_eq!(session(&lab, B1, &node).0, 403, "{name}");
        policies.dismiss(name).unwrap();
    }
    assert!(lab.store_as(Some(B1)).get(&key("/service/b1/state")).is_ok());
}

fn odd_keys_are_what_they_are() {
    let (lab, policies) = house();
    let odd = key("/service/a\"} {\\ ${x}*\u{e4}");
    let below = odd.child("x").unwrap();
    let rights = Rights { read_under: vec![odd.clone()], write: vec![below.clone(), key("/service/*")] };
    let password = "0c1c1c1c-1c84-4e1c-b2bd-3a3b2f0f2a55";
    policies.admit(&Guest { name: "odd".to_owned(), password: password.to_owned(), rights }).unwrap();
    // By transaction, for the key has no place in a URL.
    let try_it = |at: &str| lab.api_as(Some(password), "PUT", "txn", &json!([operation("set", &at[1..])])).0;
    assert_eq!(try_it(below.as_str()), 200);
    assert_eq!(try_it("/service/*"), 200);
    assert_eq!(try_it(odd.as_str()), 409);
    assert_eq!(try_it("/service/b1/state"), 409);
    assert_eq!(lab.store().get(&below).unwrap().unwrap().value, b"2");
}

fn a_session_on_a_guests_node_is_a_session() {
    let (mut lab, policies) = house();
    let node = policies.client_access(&guest("b1", B1)).session_node.unwrap();
    let id = text(&session(&lab, B1, &node).1["ID"]);
    let lock = json!([operation("delete", "service/b1/leader"),
        {"KV": {"Verb": "lock", "Key": "service/b1/leader", "Session": id}}]);
    assert_eq!(lab.api_as(Some(B1), "PUT", "txn", &lock).0, 200);
    lab.server.restart().unwrap();
    let renew = || lab.api_as(Some(B1), "PUT", &format!("session/renew/{id}"), &Value::Null).0;
    assert_eq!(renew(), 200, "it outlives a restart");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(22) {
        assert_eq!(renew(), 200, "it lives as long as it is renewed");
        thread::sleep(Duration::from_secs(3));
    }
    let store = lab.store();
    assert!(store.get(&key("/service/b1/leader")).unwrap().is_some());
    let begun = Instant::now();
    while store.get(&key("/service/b1/leader")).unwrap().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(23 + 15), "it does not expire");
        thread::sleep(Duration::from_millis(300));
    }
    // The broker's own sessions are on the agent's node, which it needs no more rights for than to make them there.
    store.put(&key("/service/b1/leader"), b"1", Some(Ttl::seconds(10)), Expect::Absent).unwrap();
}
