//! How clusters are steered, with members that only answer and a real store.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use storage::embedded::{Embedded, Options};
use storage::{Expect, Key, Store};

use super::{Patience, Steering};
use crate::model::NodeId;
use crate::patroni::{Door, RestApi, RestError, Status};
use crate::services::MemberError;
use crate::services::patroni::tests as stand_ins;
use crate::state::InstanceRecord;

/// What its members answer, and what they were asked.
#[derive(Default)]
struct Api {
    answer: Option<RestError>,
    /// What is written into the store when a switchover is asked for.
    then: Vec<(String, String)>,
    /// Whose settings wait for a restart, and whose do so after it.
    pending: &'static str,
    pending_yet: &'static str,
    is_down: bool,
    /// Whether its clock stands still.
    hangs: bool,
    /// Who streams from whoever is asked.
    streaming: &'static str,
    seen_s: Mutex<u64>,
    asked: Mutex<Vec<String>>,
}

/// An API with its store.
struct Members<'a> {
    api: &'a Api,
    store: &'a Embedded,
}

impl Members<'_> {
    fn note(&self, door: &Door, what: &str) -> Result<(), RestError> {
        let (user, password) = door.user.as_ref().unwrap();
        assert_eq!((user.as_str(), password.expose()), ("patroni", "hunter2"));
        self.api.asked.lock().unwrap().push(format!("{} {what}", door.address));
        self.api.answer.clone().map_or(Ok(()), Err)
    }

    fn is_pending(&self, door: &Door) -> bool {
        let restarted = self.api.asked.lock().unwrap().contains(&format!("{} restart", door.address));
        let pending = if restarted { self.api.pending_yet } else { self.api.pending };
        pending.split_whitespace().any(|node| door.address.ends_with(node.trim_start_matches('n')))
    }
}

impl RestApi for Members<'_> {
    fn status(&self, door: &Door) -> Result<Status, RestError> {
        let noted = self.note(door, "status");
        if self.api.streaming.is_empty() {
            noted?;
        }
        let mut seen_s = self.api.seen_s.lock().unwrap();
        *seen_s += u64::from(!self.api.hangs);
        Ok(Status {
            pending_restart: self.is_pending(door),
            server_version: (!self.api.is_down).then_some(150_018),
            streaming: self.api.streaming.split_whitespace().map(str::to_owned).collect(),
            store_seen_s: Some(*seen_s),
        })
    }

    fn switch_over(&self, door: &Door, leader: &NodeId, candidate: &NodeId) -> Result<(), RestError> {
        for (name, value) in &self.api.then {
            put(self.store, name, value);
        }
        self.note(door, &format!("{leader} > {candidate}"))
    }

    fn patch_config(&self, door: &Door, patch: &Value) -> Result<(), RestError> {
        self.note(door, &patch.to_string())
    }

    fn restart(&self, door: &Door) -> Result<(), RestError> {
        self.note(door, "restart")
    }
}

fn put(store: &Embedded, name: &str, value: &str) {
    let key = Key::parse(&format!("/service/b1/{name}")).unwrap();
    store.put(&key, value.as_bytes(), None, Expect::Anything).unwrap();
}

/// A member is written `node:role:state@position`.
fn entry(member: &str) -> (String, String) {
    let (rest, position) = member.split_once('@').map_or((member, None), |(rest, at)| (rest, Some(at)));
    let parts: Vec<&str> = rest.split(':').collect();
    let position: Option<u64> = position.map(|at| at.parse().unwrap());
    let value = json!({"role": parts[1], "state": parts[2], "xlog_location": position});
    (format!("members/{}", parts[0]), value.to_string())
}

/// Members as for [`entry`]; other keys are written `name=value`.
fn store(list: &str) -> Embedded {
    let store = Embedded::in_memory(Options::default()).unwrap();
    put(&store, "config", r#"{"loop_wait": 0}"#);
    for raw in list.split(", ").filter(|raw| !raw.is_empty()) {
        let (name, value) = raw
            .split_once('=')
            .map_or_else(|| entry(raw), |(name, value)| (name.to_owned(), value.to_owned()));
        put(&store, &name, &value);
    }
    store
}

/// The nodes n1 to n4, each at a port of its own; n4 is one of the ancestors'.
fn record() -> InstanceRecord {
    let node = |id: u16| {
        let ports = json!([{"container": 5432, "host": 20000 + id}, {"container": 8008, "host": 21000 + id}]);
        json!({
            "node_id": format!("n{id}"), "backend_id": "a", "plan_id": "p", "service_id": "s",
            "host": if id == 3 { "fd00::3" } else { "10.0.0.1" },
            "ports": if id == 4 { json!([]) } else { ports },
        })
    };
    stand_ins::record((1..=4).map(node).collect())
}

fn nodes(list: &str) -> Vec<NodeId> {
    list.split_whitespace().map(|raw| NodeId::parse(raw).unwrap()).collect()
}

/// How it ended, and what the members were asked.
fn told(
    seen: &str,
    api: &Api,
    order: impl FnOnce(&Steering<'_>) -> Result<(), MemberError>,
) -> (String, String) {
    let (store, record) = (store(seen), record());
    let members = Members { api, store: &store };
    let patience = Patience { pause: Duration::from_millis(1), beside: Duration::from_millis(30) };
    let ended = match order(&Steering { store: &store, api: &members, record: &record, patience }) {
        Ok(()) => "done".to_owned(),
        Err(MemberError::NotNow { reason }) => format!("not now: {reason}"),
        Err(MemberError::Refused { reason }) => format!("never: {reason}"),
        Err(MemberError::Store(error)) => panic!("{error}"),
    };
    (ended, api.asked.lock().unwrap().join(", "))
}

fn check_hand_over(seen: &str, then: &str, answer: Option<RestError>, to: &str, ended: &str, asked: &str) {
    let then = then.split(", ").filter(|raw| !raw.is_empty());
    let then = then.map(|raw| {
        raw.split_once('=').map_or_else(|| entry(raw), |(name, value)| (name.to_owned(), value.to_owned()))
    });
    let api = Api { answer, then: then.collect(), streaming: "n1 n2 n3", ..Api::default() };
    let told = told(seen, &api, |steering| steering.hand_over(&nodes(to)));
    let changes: Vec<&str> = told.1.split(", ").filter(|asked| !asked.ends_with(" status")).collect();
    assert_eq!((told.0.as_str(), changes.join(", ").as_str()), (ended, asked), "{seen} to {to}");
}

const TWO: &str = "n1:master:running@50000000, n2:replica:running@50000000";

#[test]
fn one_of_them_leads_in_the_end() {
    let taken = "n1:replica:running@50000000, n2:primary:running@50000000";
    check_hand_over(TWO, "", None, "n1 n3", "done", "");
    check_hand_over(TWO, taken, None, "n2", "done", "10.0.0.1:21001 n1 > n2");
    // Patroni's answer was lost, or was about another moment.
    let lost = Some(RestError::NoAnswer { reason: "timeout".to_owned() });
    check_hand_over(TWO, taken, lost, "n2", "done", "10.0.0.1:21001 n1 > n2");
    // The lock tells who leads, when two say that they do.
    let both = "n1:master:running@5, n2:primary:running@5, leader=n2";
    check_hand_over(both, "", None, "n2", "done", "");
    // Who holds it and does not lead yet is not asked to hand it over again.
    let promoting = "n1:replica:running@5, n2:replica:running@5, leader=n2";
    let reason = "not now: node n2 leads and is running, not running as leader yet";
    check_hand_over(promoting, "", None, "n2", reason, "");
    // The leader is none that the record knows: nobody can tell who has what it acknowledged.
    let given_up = "n9:primary:running@5, n1:replica:running@5";
    let reason = "never: nobody knows where node n9's REST API is reached";
    check_hand_over(given_up, "", None, "n1 n2", reason, "");
    let bracketed = "n3:primary:running@5, n1:replica:running@5";
    check_hand_over(
        bracketed,
        "n1:primary:running@5, n3:replica:stopped",
        None,
        "n1",
        "done",
        "[fd00::3]:21003 n3 > n1",
    );
}

#[test]
fn the_one_that_has_caught_up_best_takes_over() {
    let check = |seen: &str, to: &str, candidate: &str| {
        let taken = format!("{candidate}:primary:running@50000000, n1:replica:running@50000000");
        check_hand_over(seen, &taken, None, to, "done", &format!("10.0.0.1:21001 n1 > {candidate}"));
    };
    let three = "n1:primary:running@50000000, n2:replica:running@49999000, n3:replica:running@49999999";
    check(three, "n2 n3", "n3");
    check(three, "n2", "n2");
    check(&format!("{three}, sync={{\"leader\":\"n1\",\"sync_standby\":\"n4,n2\"}}"), "n2 n3", "n2");
    check(&format!("{three}, sync={{\"leader\":null,\"sync_standby\":null}}"), "n2 n3", "n3");
    check("n1:master:running@50000000, n2:replica:starting, n3:replica:running@49999999", "n2 n3", "n3");
}

/// Seen with Patroni 4: a replica whose container had just been made anew had lost its slot, said "running" all the same,
/// and took over without the last seconds of what the leader had acknowledged.
#[test]
fn who_does_not_stream_does_not_take_over() {
    let check = |streaming: &'static str, to: &str, ended: &str| {
        let api = Api { streaming, ..Api::default() };
        let told = told(TWO, &api, |steering| steering.hand_over(&nodes(to)));
        assert_eq!(told, (ended.to_owned(), "10.0.0.1:21001 status".to_owned()), "{streaming}");
    };
    let reason = "not now: none of n2 has caught up with the leader n1: n2 is not streaming from it";
    check("", "n2", reason);
    check("n3 n1", "n2", reason);
}

#[test]
fn nobody_is_made_to_lead_that_cannot() {
    check_hand_over("", "", None, "n1", "not now: nobody leads", "");
    check_hand_over("n1:replica:running@5", "", None, "n1", "not now: nobody leads", "");
    let lags = "n1:master:running@50000000, n2:replica:running@10000000, n3:replica:creating replica";
    let reason = "not now: none of n2, n3, n4 has caught up with the leader n1: n2 is 40000000 bytes behind, \
                  n3 is creating replica, n4 is stopped";
    check_hand_over(lags, "", None, "n2 n3 n4", reason, "");
    let refuses = Some(RestError::Refused { reason: "no good candidates".to_owned() });
    let reason = "not now: node n2 cannot take over: Patroni refuses: no good candidates";
    check_hand_over(TWO, "", refuses, "n2", reason, "10.0.0.1:21001 n1 > n2");
    let reason = "not now: node n2 was to take over and does not lead";
    check_hand_over(TWO, "", None, "n2", reason, "10.0.0.1:21001 n1 > n2");
    // Somebody else has taken over.
    let other = "n1:replica:running@50000000, n3:primary:running@50000000";
    check_hand_over(TWO, other, None, "n2", reason, "10.0.0.1:21001 n1 > n2");
}

#[test]
fn settings_are_seen_by_all_that_run() {
    let map = |value: Value| value.as_object().unwrap().clone();
    let check = |seen: &str, api: &Api, ended: &str, asked: &[&str]| {
        let (from, to) = (map(json!({"ttl": 20, "x": 1})), map(json!({"ttl": 30})));
        let told = told(seen, api, |steering| steering.configure(&from, &to));
        assert_eq!(told.0, ended, "{seen}");
        for asked in asked {
            assert!(told.1.contains(asked), "{seen}: {} without {asked}", told.1);
        }
    };
    let patch = r#"10.0.0.1:21001 {"ttl":30,"x":null}"#;
    let three = "n1:master:running, n2:replica:running, n3:replica:starting";
    let api = Api::default();
    check(three, &api, "done", &[patch, "10.0.0.1:21001 status", "10.0.0.1:21002 status"]);
    // A member alone shows a second loop after the change only when it has been looked at three times.
    let api = Api::default();
    check("n1:master:running", &api, "done", &[patch]);
    assert_eq!(api.asked.lock().unwrap().len(), 4);

    let hangs = Api { hangs: true, ..Api::default() };
    check(three, &hangs, "not now: n1, n2 have not seen the new settings", &[patch]);
    // Settings may be why nobody leads: then any member takes them. So it is where the leader's API is not known.
    check("n2:replica:running", &Api::default(), "done", &[patch, "10.0.0.1:21002 status"]);
    check(
        "n4:master:running",
        &Api::default(),
        "never: nobody knows where node n4's REST API is reached",
        &[patch],
    );
    let answer = Some(RestError::NoAnswer { reason: "timeout".to_owned() });
    let silent = Api { answer, ..Api::default() };
    let reason = "not now: node n2: Patroni does not answer: timeout; node n1: Patroni does not answer: timeout; \
                  node n3: Patroni does not answer: timeout";
    let second = r#"[fd00::3]:21003 {"ttl":30,"x":null}"#;
    check("n1:replica:running, n2:master:running", &silent, reason, &[patch, second]);
}

#[test]
fn who_waits_for_a_restart_is_restarted() {
    let check = |api: &Api, node: &str, ended: &str, asked: &str| {
        let node = NodeId::parse(node).unwrap();
        let seen = "n1:replica:running, n2:master:running";
        let told = told(seen, api, |steering| steering.restart_if_pending(&node));
        assert_eq!((told.0.as_str(), told.1.as_str()), (ended, asked));
    };
    let status = "10.0.0.1:21001 status";
    check(&Api::default(), "n1", "done", status);
    let restarted = format!("{status}, 10.0.0.1:21001 restart, {status}");
    check(&Api { pending: "n1", ..Api::default() }, "n1", "done", &restarted);
    // It has not heard yet of what its leader has now; or the leader waits itself.
    let early = || Api { pending: "n1", pending_yet: "n1", ..Api::default() };
    let leader = format!("{restarted}, 10.0.0.1:21002 status");
    check(&early(), "n1", "not now: node n1: its settings wait for another restart", &leader);
    check(&Api { pending: "n1 n2", ..early() }, "n1", "done", &leader);
    let down = Api { is_down: true, ..Api::default() };
    check(&down, "n1", "not now: node n1: PostgreSQL does not run", status);
    let answer = Some(RestError::NoAnswer { reason: "timeout".to_owned() });
    let silent = Api { answer, ..Api::default() };
    check(&silent, "n1", "not now: node n1: Patroni does not answer: timeout", status);
    check(&Api::default(), "n9", "never: nobody knows where node n9's REST API is reached", "");
    let refusing = |reason: &str| Api {
        pending: "n1",
        streaming: "n2",
        answer: Some(RestError::Refused { reason: reason.to_owned() }),
        ..Api::default()
    };
    let both = format!("{status}, 10.0.0.1:21001 restart");
    check(&refusing("restart failed"), "n1", "never: node n1: Patroni refuses: restart failed", &both);
    let slow = "postgres is still starting";
    check(&refusing(slow), "n1", &format!("not now: node n1: Patroni refuses: {slow}"), &both);
}
