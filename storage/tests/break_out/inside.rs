//! What each may do works, through the client that the broker's own parts use.

use std::time::Duration;

use storage::{AccessControl, Changed, Deadline, Expect, Guest, Key, Rights, Store, StoreError, Ttl};

use crate::house::{B1, GUEST, House, guest, key};
use crate::wire::Who;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

#[test]
fn a_guest_works_within_its_rights() {
    let house = House::new();
    let access = house.guests.client_access(&guest("b1", B1));
    assert_eq!((access.engine, access.endpoints), ("etcd", vec![format!("http://{}", house.at())]));
    let store = house.client(Some((&access.username.unwrap(), &access.password.unwrap())));
    let (own, leader, ttl) = (key("/service/b1"), key("/service/b1/leader"), Ttl::seconds(60));
    let listed = store.list(&own).unwrap().entries;
    assert_eq!(listed.iter().filter(|entry| !entry.key.name().starts_with('_')).count(), 5, "{listed:?}");
    assert_eq!(store.list(&key("/postgresql-patroni")).unwrap().entries.len(), 2);
    assert!(store.get(&key("/service/b1/state")).unwrap().is_some());
    let after = store.list(&own).unwrap().revision;
    store.delete(&leader, Expect::Anything).unwrap();
    let held = store.put(&leader, b"m1", Some(ttl), Expect::Absent).unwrap();
    let held = store.refresh(&leader, ttl, held).unwrap();
    assert_eq!(store.put(&leader, b"m2", None, Expect::Absent), Err(StoreError::Conflict));
    let seen = store.watch(&own, after, soon()).unwrap().what;
    assert_eq!(seen, Changed::Keys(vec![leader.clone()]));
    store.delete(&leader, Expect::Unchanged(held)).unwrap();
    store.put(&key("/service/b1/members/n1"), b"{}", Some(ttl), Expect::Anything).unwrap();
    // Missing directories come with the first key, as in etcd.
    let rights = Rights { read_under: vec![key("/new/b2")], write: vec![key("/new/b2/members/n1")] };
    house.guests.admit(&Guest { rights, ..guest("b2", B1) }).unwrap();
    let store = house.client(Some(("patroni-broker-guest-b2", B1)));
    store.put(&key("/new/b2/members/n1"), b"{}", None, Expect::Absent).unwrap();
    assert_eq!(store.list(&Key::root()).unwrap().entries.len(), 1);
}

/// The router lists from above and watches from the root: it sees its part as if the rest were not there.
#[test]
fn a_router_follows_the_store() {
    let house = House::new();
    let store = house.client(Some(("router", "routes")));
    let keys = |prefix: &str| -> Vec<String> {
        let listed = store.list(&key(prefix)).unwrap().entries;
        listed.into_iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(
        keys("/service"),
        [
            "/service/b1/leader",
            "/service/b1/members/n1",
            "/service/b1/members/n2",
            "/service/b10/leader",
            "/service/b10/members/n1",
        ]
    );
    assert_eq!(keys("/routing/allocation"), ["/routing/allocation/b1"]);
    let mut position = store.list(&Key::root()).unwrap().revision;
    for at in ["/service/b1/state", "/service/b2/leader", "/broker/x", "/routing/allocation/b2"] {
        house.owner_puts(at, "x");
    }
    house.ask(crate::house::OWNER, "DELETE", "/v2/keys/service/b10?recursive=true", "");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let changes = store.watch(&Key::root(), position, soon()).unwrap();
        position = changes.revision;
        let Changed::Keys(keys) = changes.what else { panic!("{changes:?}") };
        seen.extend(keys.iter().map(ToString::to_string));
    }
    assert_eq!(seen, ["/service/b2/leader", "/routing/allocation/b2", "/service/b10"]);
    store.put(&key("/broker/routers/r1"), b"7", Some(Ttl::seconds(15)), Expect::Anything).unwrap();
    assert!(store.put(&key("/broker/routers/r2"), b"7", None, Expect::Anything).is_err());
}

#[test]
fn a_registrar_announces_its_hosts() {
    let house = House::new();
    let store = house.client(Some(("registrar", "registers")));
    let (own, ttl) = (key("/new-image/h1:pb-1:5432"), Ttl::seconds(30));
    let held = store.put(&own, b"h1:20000", Some(ttl), Expect::Absent).unwrap();
    let held = store.refresh(&own, ttl, held).unwrap();
    assert_eq!(store.put(&own, b"x", Some(ttl), Expect::Absent), Err(StoreError::Conflict));
    assert_eq!(store.get(&own).unwrap().unwrap().value, b"h1:20000");
    store.put(&own, b"h1:20001", Some(ttl), Expect::Unchanged(held)).unwrap();
    store.delete(&own, Expect::Anything).unwrap();
    store.put(&key("/image/h1:c:80"), b"x", Some(ttl), Expect::Anything).unwrap();
    for not in ["/image/h2:c:80", "/broker/h1:c:80", "/service/h1:c:80", "/image/x", "/image"] {
        assert!(store.put(&key(not), b"x", None, Expect::Anything).is_err(), "{not}");
    }
    let seen = store.list(&Key::root()).unwrap().entries;
    let seen: Vec<&str> = seen.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(seen, ["/image/h1:c:80", "/postgresql-patroni/h1:pb-1:5432"]);
}

/// Anybody who has a door may ask how the store is: none of it names a key.
#[test]
fn how_the_store_is_anybody_inside_may_know() {
    let house = House::new();
    let check = |who: Who<'_>, target: &str, status: u16| {
        let answer = house.ask(who, "GET", target, "");
        assert_eq!(answer.status, status, "{who:?} {target}: {answer:?}");
        assert!(!answer.body.contains("/service"), "{answer:?}");
    };
    for who in [Some(("monitor", "looks")), GUEST] {
        for target in ["/version", "/health", "/v2/machines", "/v2/members"] {
            check(who, target, 200);
        }
    }
    for target in
        ["/v2/keys", "/v2/keys/", "/v2/keys/service?recursive=true", "/v2/keys/?wait=true&recursive=true"]
    {
        check(Some(("monitor", "looks")), target, 401);
    }
}
