//! Tokens that etcd no longer takes.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use storage::{EtcdV3, Expect, Revision, Store, Ttl};
use test_servers::{Etcd, Proxy, ROOT, enable_auth_v3};

use crate::Scenario;
use crate::bench::{
    ROOT_PASSWORD, client, closed_etcd, credentials, done, etcd, etcd_with, key, keys, reach, root, token,
    within,
};
use crate::support::{Sort, sort};

pub const SCENARIOS: &[Scenario] = &[
    ("a_token_that_ended_is_renewed_for_every_call", a_token_that_ended_is_renewed_for_every_call),
    ("a_changed_password_ends_tokens", a_changed_password_ends_tokens),
    ("users_made_meanwhile_age_tokens", users_made_meanwhile_age_tokens),
    ("a_token_of_a_later_time_is_given_up", a_token_of_a_later_time_is_given_up),
    ("one_shows_the_password_for_all", one_shows_the_password_for_all),
    ("passwords_asked_for_late", passwords_asked_for_late),
    ("a_wrong_password_is_not_told", a_wrong_password_is_not_told),
];

fn a_token_that_ended_is_renewed_for_every_call() {
    let mut etcd = closed_etcd();
    let (store, at, ttl) = (client(etcd.endpoint(), root()), key("/a"), Ttl::seconds(60));
    // A restart by itself ends none: etcd makes them again from its log, up to its last snapshot.
    store.get(&at).unwrap();
    etcd.restart().unwrap();
    let mut held = store.put(&at, b"0", Some(ttl), Expect::Absent).unwrap();
    let again = end_tokens;
    again(&etcd);
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"0");
    again(&etcd);
    assert_eq!(store.list(&key("/")).unwrap().entries.len(), 1);
    again(&etcd);
    held = store.put(&at, b"1", Some(ttl), Expect::Unchanged(held)).unwrap();
    again(&etcd);
    assert_eq!(store.refresh(&at, ttl, held), Ok(held));
    again(&etcd);
    let straight = client(etcd.endpoint(), root());
    let heard = thread::scope(|scope| {
        let watcher = scope.spawn(|| store.watch(&key("/"), held, within(10_000)).unwrap());
        thread::sleep(Duration::from_millis(500));
        straight.put(&key("/b"), b"1", None, Expect::Absent).unwrap();
        watcher.join().unwrap()
    });
    assert_eq!(keys(&heard.what), ["/b"]);
    again(&etcd);
    store.delete(&at, Expect::Unchanged(held)).unwrap();
}

/// Sets the password that is set already.
fn end_tokens(etcd: &Etcd) {
    let token = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
    let body = json!({"name": ROOT, "password": ROOT_PASSWORD});
    done(etcd.endpoint(), &token, "/v3/auth/user/changepw", &body);
}

fn a_changed_password_ends_tokens() {
    let etcd = closed_etcd();
    let (store, at) = (client(etcd.endpoint(), root()), key("/a"));
    let held = store.put(&at, b"0", None, Expect::Absent).unwrap();
    let change = |before: &str, after: &str| {
        let token = token(etcd.endpoint(), ROOT, before);
        let body = json!({"name": ROOT, "password": after});
        done(etcd.endpoint(), &token, "/v3/auth/user/changepw", &body);
    };
    change(ROOT_PASSWORD, ROOT_PASSWORD);
    let held = store.put(&at, b"1", None, Expect::Unchanged(held)).unwrap();
    change(ROOT_PASSWORD, "another");
    let refused = store.put(&at, b"2", None, Expect::Unchanged(held));
    assert_eq!(sort(&refused), Sort::Unavailable);
    change("another", ROOT_PASSWORD);
    store.put(&at, b"2", None, Expect::Unchanged(held)).unwrap();
}

/// Tokens that are signed carry the revision of users and roles at which they were made, and are refused after the next
/// change of these, for writes as for reads, with the code of a mistake. Those that etcd remembers are refused only if the
/// change comes while a request is on its way.
fn users_made_meanwhile_age_tokens() {
    let keys = tempfile::tempdir().unwrap();
    let (private, public) = (keys.path().join("private"), keys.path().join("public"));
    let openssl = |arguments: &[&str]| {
        assert!(Command::new("openssl").args(arguments).output().unwrap().status.success());
    };
    let (private, public) = (private.to_str().unwrap(), public.to_str().unwrap());
    openssl(&["genrsa", "-traditional", "-out", private, "2048"]);
    openssl(&["rsa", "-in", private, "-pubout", "-out", public]);
    assert!(fs::metadata(public).is_ok());
    let jwt = format!("--auth-token=jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl=2s");
    for arguments in [vec![jwt.as_str()], vec!["--auth-token-ttl=1"]] {
        let etcd = etcd_with(&arguments);
        enable_auth_v3(etcd.endpoint(), ROOT_PASSWORD, None).unwrap();
        let store = client(etcd.endpoint(), root());
        store.put(&key("/counter"), b"0", None, Expect::Absent).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..12 {
                    let token = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
                    let body = json!({"name": format!("role{n}")});
                    done(etcd.endpoint(), &token, "/v3/auth/role/add", &body);
                    thread::sleep(Duration::from_millis(200));
                }
                over.store(true, Ordering::SeqCst);
            });
            let mut count = 0_u64;
            while !over.load(Ordering::SeqCst) {
                let entry = store.get(&key("/counter")).unwrap().unwrap();
                assert_eq!(entry.value, count.to_string().as_bytes());
                count += 1;
                let expect = Expect::Unchanged(entry.revision);
                let put = store.put(&key("/counter"), count.to_string().as_bytes(), None, expect).unwrap();
                assert_eq!(self::keys(&store.watch(&key("/"), put, within(20)).unwrap().what), [""; 0]);
            }
            assert!(count > 5, "{count}");
        });
        // None is used for longer than they live.
        thread::sleep(Duration::from_millis(2500));
        store.put(&key("/late"), b"1", None, Expect::Absent).unwrap();
    }
}

/// A backup was given back under a broker that ran. Its token was of a later time than the store, which let every call
/// with it wait until its end, and nobody asked for another one.
fn a_token_of_a_later_time_is_given_up() {
    let at = key("/a");
    let check = |what: &str, call: &dyn Fn(&EtcdV3) -> Sort, expected: Sort| {
        let (mut later, earlier) = (closed_etcd(), closed_etcd());
        let goes_on = client(later.endpoint(), root());
        for _ in 0..20 {
            goes_on.put(&at, b"1", None, Expect::Anything).unwrap();
        }
        let store = EtcdV3::connect(&reach(&[later.endpoint(), earlier.endpoint()]), root()).unwrap();
        assert!(store.get(&at).unwrap().is_some());
        later.stop();
        assert_ne!(call(&store), expected, "{what}: the token is taken");
        assert_eq!(call(&store), expected, "{what}");
    };
    check("a read", &|store| sort(&store.get(&at)), Sort::Fine);
    check("a write", &|store| sort(&store.put(&at, b"1", None, Expect::Absent)), Sort::Fine);
    check("a watch", &|store| sort(&store.watch(&key("/"), Revision(1), within(1000))), Sort::Fine);
}

fn one_shows_the_password_for_all() {
    let etcd = closed_etcd();
    let proxy = Proxy::start(etcd.address()).unwrap();
    let store = client(&proxy.endpoint(), root());
    let shown = || proxy.count("POST /v3/auth/authenticate");
    for round in 1..=3 {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| store.get(&key("/a")).unwrap());
            }
        });
        assert_eq!(shown(), round, "once at first, and once after each end");
        end_tokens(&etcd);
    }
}

fn passwords_asked_for_late() {
    let etcd = etcd();
    let (with, without) = (client(etcd.endpoint(), root()), client(etcd.endpoint(), None));
    // Nobody asks yet.
    with.check().unwrap();
    with.put(&key("/a"), b"1", None, Expect::Absent).unwrap();
    without.put(&key("/b"), b"1", None, Expect::Absent).unwrap();
    enable_auth_v3(etcd.endpoint(), ROOT_PASSWORD, None).unwrap();
    with.put(&key("/c"), b"1", None, Expect::Absent).unwrap();
    let refused = without.put(&key("/d"), b"1", None, Expect::Absent);
    assert_eq!(sort(&refused), Sort::Unavailable);
    assert_eq!(sort(&without.get(&key("/a"))), Sort::Unavailable);
    assert_eq!(sort(&without.watch(&key("/"), storage::Revision(1), within(1000))), Sort::Unavailable);
    assert_eq!(with.get(&key("/d")), Ok(None));
}

fn a_wrong_password_is_not_told() {
    let etcd = closed_etcd();
    let check = |store: &dyn Store| {
        let told = [
            store.get(&key("/a")).unwrap_err(),
            store.list(&key("/a")).unwrap_err(),
            store.put(&key("/a"), b"1", Some(Ttl::seconds(5)), Expect::Absent).unwrap_err(),
            store.delete(&key("/a"), Expect::Anything).unwrap_err(),
            store.refresh(&key("/a"), Ttl::seconds(5), storage::Revision(3)).unwrap_err(),
            store.watch(&key("/a"), storage::Revision(1), within(100)).unwrap_err(),
        ];
        for told in told {
            assert!(told.to_string().contains("does not take the user or password"), "{told}");
            assert!(!format!("{told} {told:?}").contains("hush"), "{told}");
        }
    };
    check(&client(etcd.endpoint(), Some(credentials(ROOT, "hush, and wrong"))));
    check(&client(etcd.endpoint(), Some(credentials("nobody", "hush"))));
    // What is right is told to nobody either.
    let store = client(etcd.endpoint(), root());
    store.get(&key("/a")).unwrap();
    let token = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
    let told = format!("{store:?} {:?}", store.client_access());
    assert!(!told.contains("hush") && !told.contains(&token), "{told}");
}
