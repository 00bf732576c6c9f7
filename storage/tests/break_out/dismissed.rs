//! Who is dismissed, or may do less, is out at once: whatever was open, half sent or under way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use door::FailureLimits;
use storage::embedded::Options;
use storage::embedded::http::{Server, ServerOptions};
use storage::{AccessControl, Embedded, Expect, Guest, Rights, Store, StoreError};

use crate::house::{B1, B10, GUEST, House, OWNER, callers, guest, key, serve, user};
use crate::model::Role;
use crate::wire::{Who, ask, authorization, connect, one_answer, request};

/// Longer than a test lasts: no watch ends by itself.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_dismissed_guest_is_out_at_once() {
    let house = House::waiting(LONG);
    let get = || house.ask(GUEST, "GET", "/v2/keys/service/b1/config", "").status;
    let put = || house.ask(GUEST, "PUT", "/v2/keys/service/b1/config", "value=x").status;
    assert_eq!((get(), put()), (200, 200));
    let mut kept = connect(house.at());
    kept.write_all(&request(GUEST, "GET", "/v2/keys/service/b1/config", "", "")).unwrap();
    assert_eq!(one_answer(&mut kept).status, 200);
    house.guests.dismiss("b1").unwrap();
    assert_eq!((get(), put()), (401, 401));
    kept.write_all(&request(GUEST, "GET", "/v2/keys/service/b1/config", "", "")).unwrap();
    assert_eq!(one_answer(&mut kept).status, 401, "on a connection that it was let in by");
    let other = Some(("patroni-broker-guest-b10", B10));
    assert_eq!(house.ask(other, "GET", "/v2/keys/service/b10/leader", "").status, 200);
    assert_eq!(house.guests.guests(), Ok(vec!["b10".to_owned()]));
    house.guests.admit(&guest("b1", B1)).unwrap();
    assert_eq!((get(), put()), (200, 200));
}

/// Begins a watch, and gives what reads all that comes of it. The head is there when this returns.
fn watch(house: &House, who: Who<'_>, target: &str) -> thread::JoinHandle<(Duration, String)> {
    let mut connection = connect(house.at());
    connection.write_all(&request(who, "GET", target, "", "Connection: close\r\n")).unwrap();
    let mut head = [0; 12];
    connection.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200", "{target}");
    thread::spawn(move || {
        let begun = Instant::now();
        let mut rest = String::new();
        connection.read_to_string(&mut rest).expect("it ends in time");
        (begun.elapsed(), rest.split_once("\r\n\r\n").unwrap().1.to_owned())
    })
}

#[test]
fn what_it_waits_for_ends() {
    let house = House::waiting(LONG);
    const OWN: &str = "/v2/keys/service/b1?wait=true&recursive=true";
    let check = |what: &str, change: &dyn Fn()| {
        let ended = watch(&house, GUEST, OWN);
        change();
        house.owner_puts("/service/b1/config", "after-the-end");
        let (_, told) = ended.join().unwrap();
        assert!(!told.contains("after-the-end"), "{what}: {told}");
        house.guests.admit(&guest("b1", B1)).unwrap();
    };
    check("dismissed", &|| house.guests.dismiss("b1").unwrap());
    check("another password", &|| house.guests.admit(&guest("b1", B10)).unwrap());
    check("fewer rights", &|| {
        let rights = Rights { read_under: vec![key("/postgresql-patroni")], write: vec![] };
        house.guests.admit(&Guest { rights, ..guest("b1", B1) }).unwrap();
    });
    // Who stays the same goes on waiting, and others do.
    let mine = watch(&house, GUEST, OWN);
    house.guests.admit(&guest("b1", B1)).unwrap();
    house.guests.dismiss("b10").unwrap();
    house.owner_puts("/service/b1/config", "the-news");
    assert!(mine.join().unwrap().1.contains("the-news"));
}

#[test]
fn users_change_while_it_runs() {
    let house = House::waiting(LONG);
    let (router, role) = callers().remove(1);
    let other = Some(("router", "anew"));
    let status = |who: Who<'_>| house.ask(who, "GET", "/v2/keys/routing/allocation/b1", "").status;
    let (gone, stays) = (
        watch(&house, router, "/v2/keys/?wait=true&recursive=true"),
        watch(&house, OWNER, "/v2/keys/routing?wait=true&recursive=true"),
    );
    assert_eq!((status(router), status(other)), (200, 401));
    house.server.replace_users(vec![user(other, &role)]);
    assert_eq!((status(router), status(other)), (401, 200));
    assert_eq!(house.ask(Some(("monitor", "looks")), "GET", "/version", "").status, 401);
    assert_eq!(status(OWNER), 200);
    house.owner_puts("/routing/allocation/b1", "the-news");
    assert!(!gone.join().unwrap().1.contains("the-news"));
    assert!(stays.join().unwrap().1.contains("the-news"));
    // Nobody takes the owner's name, nor a guest's.
    let role = Role::default();
    house.server.replace_users(vec![user(Some(("keeper", "mine")), &role)]);
    assert_eq!((status(OWNER), status(Some(("keeper", "mine")))), (200, 401));
}

/// A request whose body came after the dismissal was carried out.
#[test]
fn a_body_that_comes_late_is_a_strangers() {
    let house = House::waiting(LONG);
    let own = key("/service/b1/config");
    let before = house.store.get(&own).unwrap().unwrap();
    for target in
        ["PUT /v2/keys/service/b1/config", "GET /v2/keys/service/b1", "GET /v2/keys/service/b1?wait=true"]
    {
        let mut connection = connect(house.at());
        let head = format!(
            "{target} HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n"
        );
        connection.write_all(format!("{head}{}\r\n", authorization(GUEST)).as_bytes()).unwrap();
        let mut continued = [0; 25];
        connection.read_exact(&mut continued).unwrap();
        assert!(continued.starts_with(b"HTTP/1.1 100"), "{target}: it was let in");
        house.guests.dismiss("b1").unwrap();
        connection.write_all(b"value=x").unwrap();
        assert_eq!(one_answer(&mut connection).status, 401, "{target}");
        house.guests.admit(&guest("b1", B1)).unwrap();
    }
    assert_eq!(house.store.get(&own).unwrap().unwrap(), before);
}

/// A watch that was on its way to those who wait when its guest was dismissed was never looked at again.
#[test]
fn a_watch_that_begins_meanwhile_ends() {
    let house = House::waiting(LONG);
    let one = request(GUEST, "GET", "/v2/keys/service/b1?wait=true", "", "Connection: close\r\n");
    for round in 0..150 {
        let connections: Vec<_> = (0..6).map(|_| connect(house.at())).collect();
        thread::scope(|scope| {
            for (number, mut connection) in connections.into_iter().enumerate() {
                let one = &one;
                scope.spawn(move || {
                    thread::sleep(Duration::from_micros((round * 7 + number as u64 * 53) % 400));
                    connection.write_all(one).unwrap();
                    let mut rest = Vec::new();
                    connection.read_to_end(&mut rest).expect("it ends in time");
                });
            }
            house.guests.dismiss("b1").unwrap();
        });
        house.guests.admit(&guest("b1", B1)).unwrap();
    }
}

/// The same of a request for a backup.
#[test]
fn a_backup_asked_for_slowly_is_a_strangers() {
    let house = House::waiting(LONG);
    let mut connection = connect(house.at());
    let head = "GET /backup HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nExpect: 100-continue\r\n";
    connection.write_all(format!("{head}{}\r\n", authorization(OWNER)).as_bytes()).unwrap();
    let mut continued = [0; 25];
    connection.read_exact(&mut continued).unwrap();
    assert!(continued.starts_with(b"HTTP/1.1 100"), "it was let in");
    house.server.replace_everybody(ServerOptions::basic("keeper", "rotated").access, vec![]);
    connection.write_all(b"value=x").unwrap();
    assert_eq!(one_answer(&mut connection).status, 401);
}

/// A backup is all that there is, and takes as long as its reader does.
#[test]
fn a_backup_ends_with_its_owners_password() {
    let house = House::waiting(LONG);
    for n in 0..128 {
        let at = key(&format!("/large/{n}"));
        house.store.put(&at, &vec![b'x'; 256 << 10], None, Expect::Anything).unwrap();
    }
    let whole = |change: &dyn Fn()| {
        let mut connection = connect(house.at());
        connection.write_all(&request(OWNER, "GET", "/backup", "", "Connection: close\r\n")).unwrap();
        let mut answer = vec![0; 4096];
        connection.read_exact(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        change();
        connection.read_to_end(&mut answer).unwrap();
        answer.ends_with(b"\r\n0\r\n\r\n")
    };
    assert!(whole(&|| ()), "a backup ends by itself");
    assert!(whole(&|| house.guests.dismiss("b1").unwrap()), "others' dismissal is nothing to it");
    let rotated = || {
        house.server.replace_everybody(ServerOptions::basic("keeper", "rotated").access, vec![]);
        // Longer than it waits for its reader between two looks.
        thread::sleep(Duration::from_millis(500));
    };
    assert!(!whole(&rotated), "it was handed out whole to who was not the owner any more");
}

/// Whoever was told that somebody is dismissed finds nothing changed by it from then on.
#[test]
fn nothing_is_written_after_the_dismissal_is_told() {
    let house = House::waiting(LONG);
    let dismiss = || house.guests.dismiss("b1").unwrap();
    nothing_is_written_after(&house, GUEST, "/service/b1/config", &dismiss, &|| {
        house.guests.admit(&guest("b1", B1)).unwrap();
    });
}

/// The same of users who are the operator's.
#[test]
fn nothing_is_written_after_users_were_replaced() {
    let house = House::waiting(LONG);
    let (router, role) = callers().remove(1);
    house.owner_puts("/broker/routers/r1", "x");
    nothing_is_written_after(
        &house,
        router,
        "/broker/routers/r1",
        &|| house.server.replace_users(vec![]),
        &|| house.server.replace_users(vec![user(router, &role)]),
    );
}

/// `who` writes its own key as fast as it can, and is let out and in again meanwhile.
fn nothing_is_written_after(house: &House, who: Who<'_>, own: &str, out: &dyn Fn(), back_in: &dyn Fn()) {
    let stop = AtomicBool::new(false);
    let revision = || house.store.get(&key(own)).unwrap().unwrap().revision;
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut connection = connect(house.at());
                let one = request(who, "PUT", &format!("/v2/keys{own}"), "value=x", "");
                while !stop.load(Ordering::SeqCst) {
                    connection.write_all(&one.repeat(8)).unwrap();
                    (0..8).for_each(|_| drop(one_answer(&mut connection)));
                }
            });
        }
        let mut late = Vec::new();
        for round in 0..60 {
            thread::sleep(Duration::from_millis(10));
            out();
            let told = revision();
            thread::sleep(Duration::from_millis(10));
            if revision() != told {
                late.push(round);
            }
            back_in();
        }
        stop.store(true, Ordering::SeqCst);
        assert_eq!(late, [0; 0], "rounds in which it wrote on");
    });
}

/// One container's watches ended everybody's.
#[test]
fn who_watches_too_much_loses_its_own() {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = ServerOptions::basic("keeper", "kept");
    options.limits.max_connections = 16;
    let server = Server::start(store, listener, options).unwrap();
    server.guests().admit(&guest("b1", B1)).unwrap();
    server.guests().admit(&guest("b10", B10)).unwrap();
    let watch = |who: Who<'_>, name: &str| {
        let mut connection = connect(server.address());
        let target = format!("/v2/keys/service/{name}?wait=true&recursive=true");
        connection.write_all(&request(who, "GET", &target, "", "Connection: close\r\n")).unwrap();
        let mut head = [0; 12];
        connection.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        connection
    };
    let rest = |mut connection: TcpStream| {
        let mut rest = String::new();
        connection.read_to_string(&mut rest).expect("it ends in time");
        rest.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let other = Some(("patroni-broker-guest-b10", B10));
    let first = watch(GUEST, "b1");
    let mut many: Vec<TcpStream> = (0..9).map(|_| watch(other, "b10")).collect();
    for ended in many.drain(..2) {
        assert_eq!(rest(ended), "0\r\n\r\n", "there are eight at most");
    }
    for name in ["b1", "b10"] {
        let target = format!("/v2/keys/service/{name}/leader");
        assert_eq!(ask(server.address(), OWNER, "PUT", &target, "value=news").status, 201);
    }
    assert!(rest(first).contains("news"), "it was ended for the sake of another");
    assert!(many.into_iter().all(|one| rest(one).contains("news")));
}

/// An address that guesses is slowed and then not listened to; who comes from there with the right password is not.
#[test]
fn who_guesses_is_slowed_and_nobody_else() {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let failures = FailureLimits { burst: 3, every: Duration::from_secs(600), longest_delay: Duration::ZERO };
    let options = ServerOptions { failures, ..ServerOptions::basic("keeper", "kept") };
    let server = Server::start(store, listener, options).unwrap();
    let status = |who: Who<'_>| ask(server.address(), who, "GET", "/v2/keys/", "").status;
    let wrong = Some(("keeper", "wrong"));
    assert_eq!([(); 5].map(|()| status(None)), [401; 5], "who claims nothing guesses nothing");
    assert_eq!([(); 5].map(|()| status(wrong)), [401, 401, 401, 429, 429]);
    assert_eq!((status(OWNER), status(None), status(GUEST)), (200, 401, 429));
}

#[test]
fn guests_outlive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Arc::new(Embedded::open(directory.path(), Options::default()).unwrap());
    let status = |store: Arc<Embedded>| {
        let server = serve(store, vec![], LONG);
        let at = server.address();
        let get = |path: &str| ask(at, GUEST, "GET", &format!("/v2/keys{path}"), "").status;
        (get("/service/b1"), get("/service/b10"))
    };
    let store = open();
    let server = serve(Arc::clone(&store), vec![], LONG);
    server.guests().admit(&guest("b1", B1)).unwrap();
    drop((server, store));
    assert_eq!(status(open()), (404, 401), "it may look, and there is nothing yet");
    let store = open();
    let server = serve(Arc::clone(&store), vec![], LONG);
    assert_eq!(server.guests().guests(), Ok(vec!["b1".to_owned()]));
    server.guests().dismiss("b1").unwrap();
    drop((server, store));
    assert_eq!(status(open()), (401, 401));
}

#[test]
fn rights_become_exactly_these() {
    let house = House::new();
    let put = |path: &str| house.ask(GUEST, "PUT", &format!("/v2/keys{path}"), "value=x").status;
    let get = |path: &str| house.ask(GUEST, "GET", &format!("/v2/keys{path}"), "").status;
    let rights = Rights { read_under: vec![], write: vec![key("/service/b1/config")] };
    house.guests.admit(&Guest { rights, ..guest("b1", B1) }).unwrap();
    assert_eq!((put("/service/b1/config"), get("/service/b1/config")), (200, 200));
    assert_eq!((put("/service/b1/leader"), get("/service/b1/state")), (401, 401));
    assert_eq!(get("/postgresql-patroni/h1:pb-1:5432"), 401);
    let refused = house.guests.admit(&guest("b1", "hush"));
    assert!(
        matches!(&refused, Err(StoreError::Corrupt { reason }) if !reason.contains("hush")),
        "{refused:?}"
    );
    assert_eq!(get("/service/b1/config"), 200, "a refused admission changes nothing");
}

#[test]
fn names_may_be_odd_and_alike() {
    let house = House::new();
    let longest = "x".repeat(100);
    let names = ["a", "a.", "a~", "a-_.~Z", "A", "...", "~", "b1", "b10", longest.as_str()];
    for name in names {
        let mut one = guest("scope", B1);
        one.name = name.to_owned();
        one.rights = Rights { read_under: vec![], write: vec![key(&format!("/service/scope/w{name}"))] };
        house.guests.admit(&one).unwrap();
    }
    for name in names {
        let user = format!("patroni-broker-guest-{name}");
        for other in names {
            let target = format!("/v2/keys/service/scope/w{other}");
            let answer = house.ask(Some((&user, B1)), "PUT", &target, "value=x");
            assert_eq!(answer.status == 401, name != other, "{name} {other}: {answer:?}");
        }
    }
    // What is a `*` to a pattern is a name to a guest.
    let rights = Rights { read_under: vec![key("/service/*")], write: vec![key("/service/*/x")] };
    house.guests.admit(&Guest { rights, ..guest("odd", B1) }).unwrap();
    let odd = Some(("patroni-broker-guest-odd", B1));
    assert_eq!(house.ask(odd, "PUT", "/v2/keys/service/*/x", "value=x").status, 201);
    assert_eq!(house.ask(odd, "PUT", "/v2/keys/service/b1/x", "value=x").status, 401);
    assert_eq!(house.ask(odd, "GET", "/v2/keys/service/b1/state", "").status, 401);
}

#[test]
fn two_admit_the_same_guest() {
    let house = House::new();
    thread::scope(|scope| {
        for shift in 0..4 {
            let house = &house;
            scope.spawn(move || {
                for n in 0..20 {
                    let name = format!("g{}", (n + shift) % 4);
                    house.guests.admit(&guest(&name, B1)).unwrap();
                    if n % 3 == 0 {
                        house.guests.dismiss(&name).unwrap();
                    }
                    house.guests.admit(&guest(&name, B1)).unwrap();
                }
            });
        }
    });
    for name in ["g0", "g1", "g2", "g3"] {
        house.guests.admit(&guest(name, B1)).unwrap();
        let user = format!("patroni-broker-guest-{name}");
        let target = format!("/v2/keys/service/{name}/leader");
        assert_eq!(house.ask(Some((&user, B1)), "PUT", &target, "value=x").status, 201, "{name}");
    }
    assert_eq!(house.guests.guests().unwrap().len(), 6);
}
