//! Random roles in random worlds: each is told of all that it may read, and of nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use storage::Embedded;
use storage::embedded::Options;

use crate::house::{OWNER, serve, user};
use crate::model::Role;
use crate::wire::{Who, ask};

const NAMES: [&str; 4] = ["a", "b", "c", "h:c:1"];
const WORLDS: u64 = 6;
const ROLES: usize = 12;
const CHANGES: usize = 60;

/// Every key of the small world.
fn world() -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..4 {
        last = last.iter().flat_map(|above| NAMES.map(|name| format!("{above}/{name}"))).collect();
        all.extend(last.clone());
    }
    all.remove(0);
    all
}

fn path(random: &mut StdRng, names: &[&str], longest: usize) -> String {
    let length = random.random_range(1..=longest);
    (0..length).map(|_| format!("/{}", names[random.random_range(0..names.len())])).collect()
}

fn role(random: &mut StdRng) -> Role {
    let mut patterns = |most: usize| -> Vec<String> {
        (0..random.random_range(0..=most))
            .map(|_| {
                let tree = if random.random_bool(0.3) { "/**" } else { "" };
                match random.random_range(0..12) {
                    0 => "/**".to_owned(),
                    1 => "/".to_owned(),
                    _ => path(random, &["a", "b", "c", "*", "h:*:*"], 3) + tree,
                }
            })
            .collect()
    };
    let (read, write) = (patterns(3), patterns(2));
    let never = (0..random.random_range(0..2)).map(|_| path(random, &NAMES, 2)).collect();
    Role { read, write, never }
}

/// `f /a` for a file and `d /a` for a directory, of everything in an answer.
fn told(node: &Value, into: &mut BTreeSet<String>) {
    let key = node["key"].as_str().unwrap_or("/");
    into.insert(format!("{} {key}", if node["dir"] == true { "d" } else { "f" }));
    for child in node["nodes"].as_array().into_iter().flatten() {
        told(child, into);
    }
}

#[test]
fn everything_one_may_read_and_nothing_else() {
    let world = world();
    for seed in 0..WORLDS {
        let mut random = StdRng::seed_from_u64(seed);
        let roles: Vec<(String, Role)> =
            (0..ROLES).map(|nth| (format!("u{nth}"), role(&mut random))).collect();
        let users = roles.iter().map(|(name, role)| user(Some((name, "p")), role)).collect();
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let server = serve(store, users, Duration::from_millis(10));
        let at = server.address();
        for _ in 0..CHANGES {
            let target = format!("/v2/keys{}", path(&mut random, &NAMES, 4));
            match random.random_range(0..10) {
                0 => ask(at, OWNER, "DELETE", &format!("{target}?recursive=true"), ""),
                1 | 2 => ask(at, OWNER, "PUT", &target, "dir=true"),
                _ => ask(at, OWNER, "PUT", &target, "value=1"),
            };
        }
        let mut all = BTreeSet::new();
        told(&ask(at, OWNER, "GET", "/v2/keys/?recursive=true", "").json()["node"], &mut all);
        let happened = events(at, OWNER);
        assert!(all.len() > 5 && happened.len() > 20, "seed {seed}: nothing to see");
        for (name, role) in &roles {
            let what = format!("seed {seed}, {name}: {role:?}");
            let may = |line: &String| match line.split_at(2) {
                ("d ", path) => role.knows(path, &world),
                (_, path) => role.reads(path),
            };
            for from in ["/", "/a", "/b", "/c", "/a/b", "/h:c:1"] {
                let answer = ask(at, Some((name, "p")), "GET", &format!("/v2/keys{from}?recursive=true"), "");
                let mut found = BTreeSet::new();
                if answer.status == 200 {
                    told(&answer.json()["node"], &mut found);
                }
                let inside = |line: &&String| {
                    from == "/" || line[2..] == *from || line[2..].starts_with(&format!("{from}/"))
                };
                let expected: BTreeSet<String> =
                    all.iter().filter(inside).filter(|line| may(line)).cloned().collect();
                assert_eq!(found, expected, "{what}: {from}: {answer:?}");
            }
            let seen = events(at, Some((name, "p")));
            // What was there before is kept from who may not read it: a directory may stand where a file was.
            let told = |event: &Vec<String>| -> Option<Vec<String>> {
                let [index, now, before @ ..] = event.as_slice() else { return None };
                let before = before.iter().filter(|line| may(line));
                may(now).then(|| [index, now].into_iter().chain(before).cloned().collect())
            };
            let expected: Vec<Vec<String>> = happened.iter().filter_map(told).collect();
            assert_eq!(seen, expected, "{what}: events");
        }
    }
}

/// Every event of the history that somebody is told of from the root: its index, what is there now, and what was.
fn events(at: std::net::SocketAddr, who: Who<'_>) -> Vec<Vec<String>> {
    let mut events = Vec::new();
    let mut next = 1;
    loop {
        let target = format!("/v2/keys/?wait=true&recursive=true&waitIndex={next}");
        let answer = ask(at, who, "GET", &target, "");
        if answer.body.is_empty() || answer.status != 200 {
            return events;
        }
        let event = answer.json();
        let index = event["node"]["modifiedIndex"].as_u64().unwrap();
        let mut nodes = vec![index.to_string()];
        for node in ["node", "prevNode"].into_iter().map(|name| &event[name]).filter(|node| !node.is_null()) {
            let mut one = BTreeSet::new();
            told(node, &mut one);
            nodes.extend(one);
        }
        events.push(nodes);
        next = index + 1;
    }
}
