//! `scripts/test-broker.sh` against brokers that are right, late, bare and wrong.

use std::path::Path;
use std::process::Command;

use super::broker::{Manner, PASSWORD, StandIn};

/// The exit code, and what was said.
fn run(broker: &StandIn, arguments: &[&str]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test-broker.sh");
    let output = Command::new(script)
        .args([&broker.url, "somebody", "-"])
        .args(arguments)
        .env("BROKER_PASSWORD", PASSWORD)
        .env("POLL_SECONDS", if broker.hangs { "3" } else { "60" })
        .env_remove("PLAN")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // What is bound has credentials, which are nobody's to read.
    assert!(!said.contains("hush"), "{said}");
    (output.status.code(), said)
}

/// Each line's first two words, without repetition: what was checked and how it went.
fn outcomes(said: &str) -> Vec<String> {
    let lines = said
        .lines()
        .filter(|line| line.starts_with("ok ") || line.starts_with("FAIL") || line.starts_with("skip"));
    let mut found: Vec<String> =
        lines.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    found.dedup();
    found
}

const ALL: [&str; 11] = [
    "ok catalog",
    "ok create",
    "ok show",
    "ok update",
    "ok rename",
    "ok upgrade",
    "ok service-key",
    "ok bind",
    "ok unbind",
    "ok delete",
    "ok purge",
];

#[test]
fn a_right_broker_passes_every_check() {
    for later in [false, true] {
        let broker = StandIn::start(Manner { later, ..Manner::default() });
        let (code, said) = run(&broker, &["dream"]);
        assert_eq!(code, Some(0), "{said}");
        let mut found = outcomes(&said);
        // The plan is looked at again after it has changed.
        let again = found.iter().rposition(|line| line == "ok show").unwrap();
        assert_eq!(found.remove(again), "ok show");
        found.dedup();
        assert_eq!(found, ALL, "{said}");
        assert!(said.ends_with(" passed, 0 failed, 0 skipped\n"), "{said}");
        assert_eq!(broker.left(), Vec::<String>::new());
    }
}

#[test]
fn what_is_not_offered_is_skipped() {
    let broker = StandIn::start(Manner { bare: true, ..Manner::default() });
    let (code, said) = run(&broker, &[]);
    assert_eq!(code, Some(0), "{said}");
    let skipped: Vec<String> = outcomes(&said).into_iter().filter(|line| line.starts_with("skip")).collect();
    let expected = [
        "skip show",
        "skip update",
        "skip rename",
        "skip upgrade",
        "skip service-key",
        "skip bind",
        "skip unbind",
    ];
    assert_eq!(skipped, expected, "{said}");
    assert!(broker.asked().iter().all(|asked| !asked.starts_with("PATCH")), "{said}");
}

#[test]
fn what_is_wrong_fails_by_name_and_leaves_nothing() {
    let check = |later: bool, fault: &'static str, expected: &str| {
        let broker = StandIn::start(Manner { later, fault, ..Manner::default() });
        let (code, said) = run(&broker, &[]);
        assert_eq!(code, Some(1), "{fault}: {said}");
        let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
        assert!(
            failed.iter().any(|line| line.split_whitespace().eq(expected.split_whitespace())),
            "{fault}: {said}"
        );
        // One that will not let go is told of.
        let left = if fault == "keeps" { 1 } else { 0 };
        assert_eq!(broker.left().len(), left, "{fault}: {said}");
        assert_eq!(said.contains("may be left behind"), left == 1, "{fault}: {said}");
    };
    const ROWS: [(bool, &str, &str); 10] = [
        (false, "open", "FAIL catalog a wrong user is refused: expected 401, got 200 ()"),
        (false, "no-description", "FAIL catalog a service or plan lacks what the specification requires"),
        (true, "fails", "FAIL create dream, plan plan-p1: 202, then failed (the stand-in's)"),
        (true, "hangs", "FAIL create dream, plan plan-p1: still in progress after 3 s (the stand-in's)"),
        (false, "forgets-plan", "FAIL show it is of another service or plan"),
        (false, "takes-anything", "FAIL create once more, another plan: expected 409, got 200 ()"),
        (
            false,
            "any-version",
            "FAIL upgrade to a version that is not the catalog's: expected 422, got 200 ()",
        ),
        (false, "refuses-bindings", "FAIL bind created: expected 200 or 201, got 500 (no)"),
        (false, "forgives", "FAIL delete once more: expected 410, got 200 ()"),
        (false, "keeps", "FAIL delete expected 200, got 500 (it stays)"),
    ];
    // Each waits for processes more than for anything else.
    std::thread::scope(|scope| {
        for (later, fault, expected) in ROWS {
            scope.spawn(move || check(later, fault, expected));
        }
    });
}

#[test]
fn what_cannot_be_tested_is_said() {
    let broker = StandIn::start(Manner::default());
    let (code, said) = run(&broker, &["nightmare"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no service called nightmare"), "{said}");
    let (code, said) = run(&broker, &["dream", "too", "much"]);
    assert_eq!(code, Some(2), "{said}");
    let mut nobody = broker;
    nobody.url = "http://127.0.0.1:1".to_owned();
    let (code, said) = run(&nobody, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("got 000 (curl: "), "{said}");
}
