//! A deprovision ends what is under way, wherever it is.

use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::{FIRST, SECOND};
use crate::broker::{Broker, CLUSTER, LARGE, SMALL};
use crate::lab::Lab;
use crate::shell::{ensure, until};

/// Something that takes several steps.
struct Operation {
    what: &'static str,
    begin: fn(&Broker) -> Result<(), Failed>,
    /// After how many steps it is ended; after each with `scripts/test --all`.
    sample: &'static [u64],
}

const OPERATIONS: [Operation; 4] = [
    Operation {
        what: "an order",
        begin: |broker| broker.begin("x1", CLUSTER, &json!({"cells": FIRST})),
        sample: &[0, 1, 2, 3],
    },
    Operation {
        what: "growth",
        begin: |broker| from(broker, CLUSTER, 1, json!({"parameters": {"node-count": 2}})),
        sample: &[0, 2],
    },
    Operation {
        what: "a move",
        begin: |broker| from(broker, CLUSTER, 2, json!({"parameters": {"cells": SECOND}})),
        sample: &[5],
    },
    Operation {
        what: "another plan",
        begin: |broker| from(broker, SMALL, 2, json!({"plan_id": LARGE})),
        sample: &[4],
    },
];

/// Nothing is left of an instance whose operation is ended by a deprovision after so many of its steps.
pub fn at_each_step(lab: &Lab) -> Result<(), Failed> {
    let all = std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some();
    for Operation { what, begin, sample } in &OPERATIONS {
        let last = sample.iter().max().copied().unwrap_or_default();
        for done in (0..).take_while(|done| all || *done <= last).filter(|done| all || sample.contains(done))
        {
            begin(lab)?;
            let when = format!("{what} after {done} steps");
            let was_ended = ended_after(lab, done).map_err(|failed| told(&when, &failed))?;
            lab.nothing_left().map_err(|failed| told(&when, &failed))?;
            if !was_ended {
                ensure(done > last, format!("{when}: it was over before it could be ended"))?;
                break;
            }
        }
    }
    Ok(())
}

/// Makes a cluster, and asks for an update.
fn from(broker: &Broker, plan: &str, nodes: usize, update: Value) -> Result<(), Failed> {
    broker.begin("x1", plan, &json!({"cells": FIRST, "node-count": nodes}))?;
    broker.succeeds("x1")?;
    let (status, answer) = broker.ask_for("x1", update)?;
    ensure(status == 202, format!("update: {status} {answer}"))
}

/// Whether the deprovision came in time to end the operation.
fn ended_after(broker: &Broker, done: u64) -> Result<bool, Failed> {
    until(Duration::from_secs(120), || {
        let (_, told) = broker.call("GET", "/admin/service_instances/x1", "")?;
        let operation = &told["operation"];
        let now = operation["steps_done"].as_u64().ok_or_else(|| format!("no operation in {told}"))?;
        ensure(now >= done || operation["state"] != "in progress", format!("{now} steps are done"))
    })?;
    let before = times_ended(broker);
    broker.delete("x1")?;
    let (status, _) = broker.call("GET", "/admin/service_instances/x1", "")?;
    ensure(status == 404, "the instance is there")?;
    Ok(times_ended(broker) > before)
}

/// How often the broker has said so of an operation.
fn times_ended(broker: &Broker) -> usize {
    let log = broker.log();
    log.lines()
        .filter(|line| line.contains("instance x1:") && line.contains("ended by a deprovision"))
        .count()
}

fn told(when: &str, failed: &Failed) -> Failed {
    format!("{when}: {}", failed.message().unwrap_or_default()).into()
}
