//! What is wrong with a Consul is said.

use std::time::{Duration, Instant};

use serde_json::Value;
use storage::consul::{Policies, Token};
use storage::remote::{Reach, Unusable};
use storage::{AccessControl, Consul};
use test_servers::{Certificates, ConsulOptions, StrangeServer, free_address};

use crate::Test;
use crate::lab::{Lab, MANAGEMENT, PATIENT};

pub const TESTS: &[Test] = &[
    ("what_is_wrong_is_said", what_is_wrong_is_said),
    ("a_check_leaves_nothing_behind", a_check_leaves_nothing_behind),
    ("whether_guests_can_be_admitted_is_said", whether_guests_can_be_admitted_is_said),
    ("no_leader_is_said", no_leader_is_said),
    ("tls_is_spoken", tls_is_spoken),
];

const UNKNOWN: &str = "11111111-1c84-4e1c-b2bd-3a3b2f0f2a55";

fn what_is_wrong_is_said() {
    let (open, closed) = (Lab::open(), Lab::closed());
    assert_eq!(open.store().check(), Ok(()));
    assert_eq!(open.store_as(Some(UNKNOWN)).check(), Ok(()), "no ACLs, no question");
    assert_eq!(closed.store().check(), Ok(()));
    let check = |rules: &str, expected: &str| {
        let token = closed.server.token(rules).unwrap();
        let found = closed.store_as(Some(&token)).check().map_err(|error| error.to_string());
        let fine = match (&found, expected) {
            (Ok(()), "") => true,
            (Err(error), expected) => {
                !expected.is_empty() && error.contains(expected) && !error.contains(&token)
            }
            _ => false,
        };
        assert!(fine, "{rules}: {found:?}");
    };
    check("key_prefix \"\" { policy = \"write\" } session_prefix \"\" { policy = \"write\" }", "");
    check("session_prefix \"\" { policy = \"write\" }", "no permission to read everything under /");
    check("key_prefix \"\" { policy = \"read\" }", "no permission to write everywhere under /");
    check("key_prefix \"\" { policy = \"write\" }", "no permission to make sessions");
    // The router watches everything, and records stand beside the broker's own.
    let sessions = "session_prefix \"\" { policy = \"write\" }";
    let only = |prefix: &str| format!("key_prefix \"{prefix}\" {{ policy = \"write\" }}");
    check(&format!("{} {sessions}", only("broker/")), "no permission to read everything under /");
    let all_but = |rest: &str| format!("{} {rest} {sessions}", only("").replace("write", "read"));
    check(&all_but(&only("broker/")), "no permission to write everywhere under /");
    check(
        &all_but(&format!("{} {}", only("broker/"), only("service/"))),
        "no permission to write everywhere",
    );
    let denied = "key_prefix \"service/\" { policy = \"deny\" }";
    check(&format!("{} {denied} {sessions}", only("")), "no permission to read everything under /");
    let nobody = closed.store_as(None).check();
    assert!(
        matches!(&nobody, Err(Unusable::NotLetIn { reasons }) if reasons.contains("none is given")),
        "{nobody:?}"
    );
    let unknown = closed.store_as(Some(UNKNOWN)).check();
    let said = matches!(&unknown, Err(Unusable::NotLetIn { reasons }) if reasons.contains("does not know the token"));
    assert!(said && !format!("{unknown:?}").contains(UNKNOWN), "{unknown:?}");

    let of = |endpoint: String| {
        Consul::connect(&Reach { timeouts: PATIENT, ..Reach::of(&[endpoint]) }, None).unwrap()
    };
    let silent = of(format!("http://{}", free_address([127, 0, 0, 1].into()).unwrap())).check();
    assert!(matches!(silent, Err(Unusable::NobodyAnswers { .. })), "{silent:?}");
    let page =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    let strange = StrangeServer::start(page).unwrap();
    let other = of(strange.endpoint()).check();
    assert!(matches!(other, Err(Unusable::AnotherServer { expected: "Consul", .. })), "{other:?}");
}

fn a_check_leaves_nothing_behind() {
    let lab = Lab::closed();
    let everything = || {
        let paths = ["kv/?recurse", "session/list", "acl/policies", "acl/tokens"];
        let found = paths.map(|path| lab.api("GET", path, &Value::Null));
        // A young agent goes on telling the catalog about its own node.
        let (_, nodes) = lab.api("GET", "catalog/nodes", &Value::Null);
        let names: Vec<Value> =
            nodes.as_array().into_iter().flatten().map(|node| node["Node"].clone()).collect();
        (found, names)
    };
    let before = everything();
    lab.store().check().unwrap();
    lab.policies_as(MANAGEMENT).check().unwrap();
    assert_eq!(everything(), before);
}

fn whether_guests_can_be_admitted_is_said() {
    let (open, closed) = (Lab::open(), Lab::closed());
    let without = open.policies_as(UNKNOWN).check();
    assert!(matches!(without, Err(Unusable::NotServed { .. })), "{without:?}");
    let check = |token: &str, expected: &str| {
        let found = closed.policies_as(token).check().map_err(|error| error.to_string());
        assert!(matches!(&found, Err(error) if error.contains(expected)), "{expected}: {found:?}");
    };
    check(UNKNOWN, "does not know the token");
    check(
        &closed.server.token("key_prefix \"\" { policy = \"write\" }").unwrap(),
        "no permission to read ACLs",
    );
    check(&closed.server.token("acl = \"read\"").unwrap(), "no permission to write ACLs");
    check(&closed.server.token("acl = \"write\"").unwrap(), "no permission to register nodes");
    let enough = closed.server.token("acl = \"write\" node_prefix \"\" { policy = \"write\" }").unwrap();
    let policies = closed.policies_as(&enough);
    assert_eq!(policies.check(), Ok(()));
    let guest = storage::Guest {
        name: "b1".to_owned(),
        password: UNKNOWN.to_owned(),
        rights: storage::Rights::default(),
    };
    assert_eq!(policies.admit(&guest), Ok(()), "what is checked is enough");
    assert_eq!(policies.dismiss("b1"), Ok(()));
}

fn no_leader_is_said() {
    let strange = |status: &str, kind: &str, body: &str| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        let server = StrangeServer::start(format!("{head}Connection: close\r\n\r\n{body}")).unwrap();
        let store = Consul::connect(&Reach::of(&[server.endpoint()]), None).unwrap();
        (store.check(), server.requests())
    };
    for (status, kind, body) in [
        ("200 OK", "application/json", "\"\""),
        ("500 Internal Server Error", "text/plain; charset=utf-8", "No cluster leader"),
    ] {
        let (found, _) = strange(status, kind, body);
        assert!(matches!(found, Err(Unusable::NoQuorum { .. })), "{body}: {found:?}");
    }
    let mut lab = Lab::open();
    let store = lab.store();
    lab.server.pause().unwrap();
    let begun = Instant::now();
    let found = store.check();
    assert!(matches!(found, Err(Unusable::NobodyAnswers { .. })), "{found:?}");
    assert!(begun.elapsed() < PATIENT.total + Duration::from_secs(10));
}

fn tls_is_spoken() {
    let certificates = Certificates::make(&[]).unwrap();
    let tls = Some(certificates.mutual_tls());
    let management_token = Some(MANAGEMENT.to_owned());
    let options = ConsulOptions { tls, management_token, ..ConsulOptions::default() };
    let server = test_servers::Consul::start(&options).unwrap();
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let client = storage::remote::ClientCertificate {
        chain: read(&certificates.client.certificate),
        key: read(&certificates.client.key),
    };
    let reach = |client| {
        let tls = Some(storage::remote::Tls { ca: Some(read(&certificates.authority)), client });
        Reach { tls, timeouts: PATIENT, ..Reach::of(&[server.endpoint().to_owned()]) }
    };
    let token = || Token::parse(MANAGEMENT).unwrap();
    assert_eq!(Consul::connect(&reach(Some(client.clone())), Some(token())).unwrap().check(), Ok(()));
    assert_eq!(Policies::connect(&reach(Some(client)), token()).unwrap().check(), Ok(()));
    let stranger = Consul::connect(&reach(None), Some(token())).unwrap().check();
    assert!(matches!(stranger, Err(Unusable::NotLetIn { .. })), "{stranger:?}");
}
