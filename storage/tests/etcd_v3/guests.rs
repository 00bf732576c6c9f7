//! Users and roles: who is let in, and how far.

use std::thread;

use serde_json::{Value, json};
use storage::etcd_v3::{Leak, Users};
use storage::{AccessControl, EtcdV3, Expect, Guest, Key, Revision, Rights, Store, StoreError, Ttl};
use test_servers::{Etcd, Proxy, ROOT};

use crate::Scenario;
use crate::bench::{
    ROOT_PASSWORD, b64, call, client, closed_etcd, credentials, done, key, keys, reach, root, token, within,
};
use crate::support::{Sort, sort};

pub const SCENARIOS: &[Scenario] = &[
    ("a_guest_works_within_its_rights", a_guest_works_within_its_rights),
    ("a_guest_does_not_break_out", a_guest_does_not_break_out),
    ("what_is_right_is_left_alone", what_is_right_is_left_alone),
    ("rights_become_exactly_these", rights_become_exactly_these),
    ("a_dismissed_guest_is_out_at_once", a_dismissed_guest_is_out_at_once),
    ("names_may_be_odd_and_alike", names_may_be_odd_and_alike),
    ("two_admit_the_same_guest", two_admit_the_same_guest),
    ("the_administrator_is_no_guest", the_administrator_is_no_guest),
    ("users_of_a_site_are_no_guests", users_of_a_site_are_no_guests),
];

const PASSWORD: &str = "e4eaaaf2-d142-11e1-b3e4-080027620cdd";

fn users(etcd: &Etcd) -> Users {
    Users::connect(&reach(&[etcd.endpoint()]), root().unwrap()).unwrap()
}

/// One that may do what Patroni does in its scope, but may not write the broker's record in it.
fn guest(name: &str) -> Guest {
    let scope = key("/service").child(name).unwrap();
    let write = ["leader", "status", "members/m1"].map(|at| key(&format!("{scope}/{at}")));
    let rights = Rights { read_under: vec![scope], write: write.to_vec() };
    Guest { name: name.to_owned(), password: PASSWORD.to_owned(), rights }
}

fn as_guest(etcd: &Etcd, users: &Users, guest: &Guest) -> EtcdV3 {
    let access = users.client_access(guest);
    assert_eq!(access.engine, "etcd3");
    client(etcd.endpoint(), Some(credentials(&access.username.unwrap(), &access.password.unwrap())))
}

fn guest_token(etcd: &Etcd, name: &str) -> String {
    token(etcd.endpoint(), &format!("patroni-broker-guest-{name}"), PASSWORD)
}

fn a_guest_works_within_its_rights() {
    let etcd = closed_etcd();
    let (users, guest) = (users(&etcd), guest("b1"));
    users.admit(&guest).unwrap();
    let store = as_guest(&etcd, &users, &guest);
    let (leader, ttl) = (key("/service/b1/leader"), Ttl::seconds(60));
    let after = store.list(&key("/service/b1")).unwrap().revision;
    let held = store.put(&leader, b"m1", Some(ttl), Expect::Absent).unwrap();
    assert_eq!(store.refresh(&leader, ttl, held), Ok(held));
    assert_eq!(
        keys(&store.watch(&key("/service/b1"), after, within(5000)).unwrap().what),
        ["/service/b1/leader"]
    );
    let held = store.put(&leader, b"m1", Some(ttl), Expect::Unchanged(held)).unwrap();
    store.delete(&leader, Expect::Unchanged(held)).unwrap();
    // The broker's own.
    client(etcd.endpoint(), root()).put(&key("/service/b1/state"), b"{}", None, Expect::Absent).unwrap();
    assert_eq!(store.get(&key("/service/b1/state")).unwrap().unwrap().value, b"{}");
    // Patroni looks for the members of the store.
    done(etcd.endpoint(), &guest_token(&etcd, "b1"), "/v3/cluster/member/list", &json!({}));
    users.dismiss("b1").unwrap();
}

/// Each is asked for with a guest's token, past the engine, and must be refused by etcd, but for what is known of it.
fn a_guest_does_not_break_out() {
    let etcd = closed_etcd();
    let users = users(&etcd);
    let leaks = users.leaks().unwrap();
    let closed = |leak| !leaks.contains(&leak);
    assert_eq!(users.guests(), Ok(vec![]), "who tried it is gone");
    users.admit(&guest("b1")).unwrap();
    users.admit(&guest("b10")).unwrap();
    let all = client(etcd.endpoint(), root());
    let secrets =
        ["/service/b10/leader", "/service/b1/state", "/service/b1x", "/broker/x", "/zzz", "/service/b1"];
    for at in secrets {
        all.put(&key(at), b"secret", None, Expect::Absent).unwrap();
    }
    let root = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
    done(etcd.endpoint(), &root, "/v3/lease/grant", &json!({"ID": "77", "TTL": "600"}));
    let others = json!({"key": b64("/broker/leased"), "value": b64("secret"), "lease": "77"});
    done(etcd.endpoint(), &root, "/v3/kv/put", &others);
    let before = all.list(&Key::root()).unwrap();
    let mine = guest_token(&etcd, "b1");
    let refused = |path: &str, body: Value| {
        let (status, answer) = call(etcd.endpoint(), &mine, path, &body);
        let fine = status == 200 && answer["result"]["canceled"] != true;
        assert!(!fine, "{path} {body}: {answer}");
        assert!(!answer.to_string().contains(&b64("secret")), "{path} {body}: {answer}");
    };
    let one = |at: &str| json!({"key": b64(at)});
    let span = |from: &str, to: &str| json!({"key": b64(from), "range_end": b64(to)});
    let ranges = [
        one("/service/b10/leader"),
        one("/service/b1x"),
        one("/service/b1"),
        one("/broker/x"),
        one("/service/b10"),
        span("/service/b10/", "/service/b100"),
        span("/service/b1", "/service/b2"),
        span("/service/b1/", "/service/b11"),
        span("/service/b1.", "/service/b10"),
        span("/", "0"),
        span("\0", "\0"),
        span("/service/b1/", "\0"),
        span("/service/b1/leader", "\0"),
        span("/service/b0", "/service/b1/a"),
    ];
    for range in &ranges {
        refused("/v3/kv/range", range.clone());
        let mut counted = range.clone();
        counted["count_only"] = true.into();
        refused("/v3/kv/range", counted.clone());
        counted["serializable"] = true.into();
        refused("/v3/kv/range", counted);
        refused("/v3/kv/deleterange", range.clone());
        if closed(Leak::OpenWatches) || range["range_end"] != b64("\0") {
            refused("/v3/watch", json!({"create_request": range}));
            let mut history = range.clone();
            (history["start_revision"], history["prev_kv"]) = ("1".into(), true.into());
            refused("/v3/watch", json!({"create_request": history}));
        }
        refused("/v3/kv/txn", json!({"success": [{"request_range": range}]}));
        refused("/v3/kv/txn", json!({"success": [{"request_delete_range": range}]}));
        refused("/v3/kv/txn", json!({"failure": [{"request_range": range}]}));
        if closed(Leak::NestedTransactions) {
            let nested = json!({"request_txn": {"success": [{"request_range": range}]}});
            refused("/v3/kv/txn", json!({"success": [nested]}));
        }
    }
    let writes =
        ["/service/b1/state", "/service/b1/members/m2", "/service/b10/leader", "/service/b1", "/new"];
    for at in writes {
        let put = json!({"key": b64(at), "value": b64("x")});
        refused("/v3/kv/put", put.clone());
        let allowed = json!({"request_put": {"key": b64("/service/b1/leader"), "value": b64("x")}});
        refused("/v3/kv/txn", json!({"success": [allowed, {"request_put": put}]}));
        refused("/v3/kv/txn", json!({"success": [allowed], "failure": [{"request_put": put}]}));
        refused("/v3/kv/deleterange", one(at));
        // What may not be read cannot be guessed by comparing.
        if !at.starts_with("/service/b1/") {
            let guess = json!({"target": "VALUE", "key": b64(at), "value": b64("secret")});
            refused("/v3/kv/txn", json!({"compare": [guess]}));
        }
    }
    refused("/v3/kv/deleterange", span("/service/b1/", "/service/b10"));
    refused("/v3/kv/deleterange", span("/service/b1/leader", "/service/b1/members/m1"));
    // Others' leases: not ended, and not to be joined.
    refused("/v3/lease/revoke", json!({"ID": "77"}));
    refused("/v3/kv/lease/revoke", json!({"ID": "77"}));
    let joined = json!({"key": b64("/service/b1/leader"), "value": b64("x"), "lease": "77"});
    refused("/v3/kv/put", joined);
    if closed(Leak::Operation) {
        refused("/v3/kv/compaction", json!({"revision": "2"}));
        refused("/v3/maintenance/alarm", json!({"action": "ACTIVATE", "alarm": "NOSPACE"}));
    }
    for (path, body) in administration() {
        refused(path, body);
    }
    // What was said to be open is so.
    if !closed(Leak::NestedTransactions) {
        let nested = json!({"request_txn": {"success": [{"request_range": one("/broker/x")}]}});
        let told = done(etcd.endpoint(), &mine, "/v3/kv/txn", &json!({"success": [nested]}));
        assert!(told.to_string().contains(&b64("secret")), "{told}");
    }
    if !closed(Leak::OpenWatches) {
        let mut all = span("/service/b1/leader", "\0");
        all["start_revision"] = "1".into();
        let told = done(etcd.endpoint(), &mine, "/v3/watch", &json!({"create_request": all}));
        assert_eq!(told["result"]["created"], true, "{told}");
    }
    assert_eq!(all.list(&Key::root()).unwrap(), before, "nothing was changed");
    let own = json!({"name": "patroni-broker-guest-b1"});
    assert_eq!(
        done(etcd.endpoint(), &mine, "/v3/auth/user/get", &own)["roles"],
        json!(["patroni-broker-guest-b1"])
    );
}

fn administration() -> Vec<(&'static str, Value)> {
    let perm = json!({"permType": "READWRITE", "key": b64("/"), "range_end": b64("0")});
    vec![
        ("/v3/auth/user/list", json!({})),
        ("/v3/auth/role/list", json!({})),
        ("/v3/auth/user/get", json!({"name": "root"})),
        ("/v3/auth/user/get", json!({"name": "patroni-broker-guest-b10"})),
        ("/v3/auth/role/get", json!({"role": "patroni-broker-guest-b10"})),
        ("/v3/auth/role/get", json!({"role": "root"})),
        ("/v3/auth/user/add", json!({"name": "evil", "password": "x"})),
        ("/v3/auth/user/changepw", json!({"name": "root", "password": "x"})),
        ("/v3/auth/user/changepw", json!({"name": "patroni-broker-guest-b1", "password": "x"})),
        ("/v3/auth/user/delete", json!({"name": "root"})),
        ("/v3/auth/user/delete", json!({"name": "patroni-broker-guest-b10"})),
        ("/v3/auth/user/grant", json!({"user": "patroni-broker-guest-b1", "role": "root"})),
        (
            "/v3/auth/user/grant",
            json!({"user": "patroni-broker-guest-b1", "role": "patroni-broker-guest-b10"}),
        ),
        ("/v3/auth/user/revoke", json!({"name": "root", "role": "root"})),
        ("/v3/auth/role/add", json!({"name": "evil"})),
        ("/v3/auth/role/delete", json!({"role": "patroni-broker-guest-b10"})),
        ("/v3/auth/role/grant", json!({"name": "patroni-broker-guest-b1", "perm": perm})),
        (
            "/v3/auth/role/revoke",
            json!({"role": "patroni-broker-guest-b1", "key": b64("/service/b1/leader")}),
        ),
        ("/v3/auth/disable", json!({})),
        ("/v3/auth/authenticate", json!({"name": "root", "password": ""})),
        ("/v3/auth/authenticate", json!({"name": "patroni-broker-guest-b10", "password": "x"})),
        ("/v3/cluster/member/add", json!({"peerURLs": ["http://127.0.0.1:1"]})),
        ("/v3/cluster/member/remove", json!({"ID": "1"})),
        ("/v3/maintenance/defragment", json!({})),
        ("/v3/maintenance/snapshot", json!({})),
        ("/v3/maintenance/hash", json!({})),
        ("/v3/lock/lock", json!({"name": b64("/service/b10/leader")})),
        ("/v3/election/leader", json!({"name": b64("/service/b10")})),
    ]
}

const CHANGES: [&str; 8] = [
    "user/add",
    "user/changepw",
    "user/delete",
    "user/grant",
    "user/revoke",
    "role/add",
    "role/grant",
    "role/revoke",
];

fn what_is_right_is_left_alone() {
    let etcd = closed_etcd();
    let proxy = Proxy::start(etcd.address()).unwrap();
    let users = Users::connect(&reach(&[&proxy.endpoint()]), root().unwrap()).unwrap();
    let changes =
        || -> usize { CHANGES.iter().map(|what| proxy.count(&format!("POST /v3/auth/{what}"))).sum() };
    users.admit(&guest("b1")).unwrap();
    let (first, mine) = (changes(), guest_token(&etcd, "b1"));
    assert_eq!(first, 7, "a role, four rights, a user with it");
    users.admit(&guest("b1")).unwrap();
    assert_eq!(changes(), first);
    let own = json!({"key": b64("/service/b1/leader")});
    done(etcd.endpoint(), &mine, "/v3/kv/range", &own);
    // Another password does end the token.
    let other = Guest { password: "another".to_owned(), ..guest("b1") };
    users.admit(&other).unwrap();
    assert_eq!(changes(), first + 1);
    assert_eq!(call(etcd.endpoint(), &mine, "/v3/kv/range", &own).0, 401);
    assert_eq!(as_guest(&etcd, &users, &other).get(&key("/service/b1/leader")), Ok(None));
    assert_eq!(sort(&as_guest(&etcd, &users, &guest("b1")).get(&key("/service/b1/x"))), Sort::Unavailable);
}

fn rights_become_exactly_these() {
    let etcd = closed_etcd();
    let users = users(&etcd);
    let root = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
    users.admit(&guest("b1")).unwrap();
    // Somebody has given it more.
    let more = json!({"permType": "READWRITE", "key": b64("/"), "range_end": b64("0")});
    let post = |path: &str, body: Value| done(etcd.endpoint(), &root, path, &body);
    post("/v3/auth/role/grant", json!({"name": "patroni-broker-guest-b1", "perm": more}));
    post("/v3/auth/user/grant", json!({"user": "patroni-broker-guest-b1", "role": "root"}));
    let store = as_guest(&etcd, &users, &guest("b1"));
    store.put(&key("/elsewhere"), b"1", None, Expect::Absent).unwrap();
    let mut other = guest("b1");
    other.rights.write = vec![key("/service/b1/members/m2"), key("/alone")];
    users.admit(&other).unwrap();
    let check = |at: &str, reads: Sort, writes: Sort| {
        assert_eq!(sort(&store.get(&key(at))), reads, "{at}");
        assert_eq!(sort(&store.put(&key(at), b"1", None, Expect::Absent)), writes, "{at}");
    };
    let (fine, refused) = (Sort::Fine, Sort::Unavailable);
    check("/service/b1/members/m2", fine, fine);
    check("/service/b1/leader", fine, refused);
    check("/alone", fine, fine);
    check("/alone/below", refused, refused);
    check("/elsewhere", refused, refused);
    users.admit(&Guest { rights: Rights::default(), ..guest("b1") }).unwrap();
    check("/service/b1/members/m2", refused, refused);
    assert_eq!(sort(&store.list(&key("/service/b1"))), refused);
    assert_eq!(sort(&store.watch(&key("/service/b1"), Revision(1), within(100))), refused);
}

fn a_dismissed_guest_is_out_at_once() {
    let etcd = closed_etcd();
    let users = users(&etcd);
    assert_eq!(users.dismiss("b1"), Ok(()), "nobody is dismissed");
    users.admit(&guest("b1")).unwrap();
    users.admit(&guest("b10")).unwrap();
    let (mine, own) = (guest_token(&etcd, "b1"), json!({"key": b64("/service/b1/leader")}));
    done(etcd.endpoint(), &mine, "/v3/kv/range", &own);
    let store = as_guest(&etcd, &users, &guest("b1"));
    store.put(&key("/service/b1/leader"), b"1", None, Expect::Absent).unwrap();
    users.dismiss("b1").unwrap();
    assert_eq!(call(etcd.endpoint(), &mine, "/v3/kv/range", &own).0, 401);
    assert_eq!(sort(&store.get(&key("/service/b1/leader"))), Sort::Unavailable);
    assert_eq!(sort(&store.put(&key("/service/b1/leader"), b"2", None, Expect::Anything)), Sort::Unavailable);
    assert_eq!(users.guests(), Ok(vec!["b10".to_owned()]));
    users.dismiss("b1").unwrap();
    assert_eq!(as_guest(&etcd, &users, &guest("b10")).get(&key("/service/b10/leader")), Ok(None));
    // One that was half dismissed is listed until it is gone.
    let root = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
    done(etcd.endpoint(), &root, "/v3/auth/user/delete", &json!({"name": "patroni-broker-guest-b10"}));
    assert_eq!(users.guests(), Ok(vec!["b10".to_owned()]));
    users.dismiss("b10").unwrap();
    assert_eq!(users.guests(), Ok(vec![]));
    // And one that was half admitted becomes whole.
    done(etcd.endpoint(), &root, "/v3/auth/role/add", &json!({"name": "patroni-broker-guest-b2"}));
    users.admit(&guest("b2")).unwrap();
    assert_eq!(as_guest(&etcd, &users, &guest("b2")).get(&key("/service/b2/leader")), Ok(None));
}

fn names_may_be_odd_and_alike() {
    let etcd = closed_etcd();
    let users = users(&etcd);
    let longest = "x".repeat(100);
    let mut names = ["a", "a.", "a~", "a-_.~Z", "A", "...", "~", "b1", "b10", longest.as_str()];
    for name in names {
        let mut guest = guest("scope");
        (guest.name, guest.rights.write) =
            (name.to_owned(), vec![key("/service/scope").child(&format!("w{name}")).unwrap()]);
        users.admit(&guest).unwrap();
        let store = as_guest(&etcd, &users, &guest);
        store.put(&guest.rights.write[0], b"1", None, Expect::Absent).unwrap();
        assert_eq!(sort(&store.put(&key("/service/scope/w"), b"1", None, Expect::Absent)), Sort::Unavailable);
    }
    let mut found = users.guests().unwrap();
    found.sort();
    names.sort_unstable();
    assert_eq!(found, names);
    users.dismiss("a").unwrap();
    assert_eq!(users.guests().unwrap().len(), names.len() - 1);
}

fn two_admit_the_same_guest() {
    let etcd = closed_etcd();
    let (one, other) = (users(&etcd), users(&etcd));
    thread::scope(|scope| {
        for users in [&one, &other] {
            for shift in 0..2 {
                scope.spawn(move || {
                    for n in 0..4 {
                        let name = format!("b{}", (n + shift) % 4);
                        let mut admitted = users.admit(&guest(&name));
                        // Whoever is told to do it again does so.
                        for _ in 0..5 {
                            match admitted {
                                Err(StoreError::Unavailable { .. }) => admitted = users.admit(&guest(&name)),
                                _ => break,
                            }
                        }
                        admitted.unwrap();
                    }
                });
            }
        }
    });
    assert_eq!(one.guests().unwrap().len(), 4);
    for name in ["b0", "b1", "b2", "b3"] {
        let store = as_guest(&etcd, &one, &guest(name));
        store.put(&key(&format!("/service/{name}/leader")), b"1", None, Expect::Absent).unwrap();
    }
}

fn the_administrator_is_no_guest() {
    let etcd = closed_etcd();
    let root = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
    let name = "patroni-broker-guest-itself";
    for (path, body) in [
        ("/v3/auth/user/add", json!({"name": name, "password": "x"})),
        ("/v3/auth/role/add", json!({"name": name})),
        ("/v3/auth/user/grant", json!({"user": name, "role": name})),
        ("/v3/auth/user/grant", json!({"user": name, "role": "root"})),
    ] {
        done(etcd.endpoint(), &root, path, &body);
    }
    let users = Users::connect(&reach(&[etcd.endpoint()]), credentials(name, "x")).unwrap();
    users.check().unwrap();
    assert_eq!(users.guests(), Ok(vec![]));
    assert_eq!(sort(&users.dismiss("itself")), Sort::Corrupt);
    assert_eq!(sort(&users.admit(&guest("itself"))), Sort::Corrupt);
    users.check().unwrap();
    let shown = format!("{users:?} {:?}", users.client_access(&guest("b1")));
    assert!(!shown.contains(PASSWORD), "{shown}");
}

/// A site had called the broker's own user and role `patroni-broker-main`. No record spoke for an instance `main`, so that
/// the broker dismissed itself.
fn users_of_a_site_are_no_guests() {
    let etcd = closed_etcd();
    let root = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
    let name = "patroni-broker-main";
    for (path, body) in [
        ("/v3/auth/user/add", json!({"name": name, "password": "x"})),
        ("/v3/auth/role/add", json!({"name": name})),
        ("/v3/auth/user/grant", json!({"user": name, "role": name})),
    ] {
        done(etcd.endpoint(), &root, path, &body);
    }
    let users = users(&etcd);
    assert_eq!(users.guests(), Ok(vec![]));
    users.dismiss("main").unwrap();
    users.admit(&guest("main")).unwrap();
    users.dismiss("main").unwrap();
    done(etcd.endpoint(), &token(etcd.endpoint(), name, "x"), "/v3/auth/role/get", &json!({"role": name}));
}
