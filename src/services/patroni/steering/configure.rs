//! Other settings.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::{Sight, Steering, not_now};
use crate::model::NodeId;
use crate::patroni::Door;
use crate::services::MemberError;

/// How far a member has come: it has seen the new settings when a loop that began after them has ended.
struct Waiting {
    door: Door,
    seen_s: Option<u64>,
    loops: u32,
}

/// The first loop begins after the change, and has ended when the second one begins.
const LOOPS: u32 = 2;

impl Steering<'_> {
    /// Changes the settings, and returns when each member that runs has seen them.
    pub(in super::super) fn configure(
        &self,
        from: &Map<String, Value>,
        to: &Map<String, Value>,
    ) -> Result<(), MemberError> {
        let sight = self.look()?;
        self.tell(&sight, &Value::Object(patch(from, to)))?;
        let slowest = [from, to].into_iter().filter_map(loop_wait).chain([sight.loop_wait]).max();
        let deadline = Instant::now() + self.patience.beside + 3 * slowest.unwrap_or(sight.loop_wait);
        self.await_loops(self.waiting(&sight)?, deadline)
    }

    /// Any member takes settings for all of them. The leader is asked first; but settings may be why nobody leads.
    fn tell(&self, sight: &Sight, patch: &Value) -> Result<(), MemberError> {
        let leader = sight.leader().map(|member| &member.node);
        let mut nodes: Vec<&NodeId> = self.record.nodes.iter().map(|node| &node.node_id).collect();
        nodes.sort_by_key(|node| Some(*node) != leader);
        let mut words = Vec::new();
        for (node, door) in nodes.into_iter().filter_map(|node| Some((node, self.door(node)?))) {
            match self.api.patch_config(&door, patch) {
                Ok(()) => return Ok(()),
                Err(error) => words.push(format!("node {node}: {error}")),
            }
        }
        if words.is_empty() {
            let reason = "nobody knows where the nodes' REST APIs are reached".to_owned();
            return Err(MemberError::Refused { reason });
        }
        not_now(words.join("; "))
    }

    fn waiting(&self, sight: &Sight) -> Result<BTreeMap<NodeId, Waiting>, MemberError> {
        let running = self.record.nodes.iter().map(|node| &node.node_id);
        let running =
            running.filter(|node| sight.member(node.as_str()).is_some_and(crate::patroni::Member::runs));
        running
            .map(|node| Ok((node.clone(), Waiting { door: self.door_of(node)?, seen_s: None, loops: 0 })))
            .collect()
    }

    /// A loop shows by when the member last heard from the store, by its own clock, in whole seconds.
    fn await_loops(
        &self,
        mut waiting: BTreeMap<NodeId, Waiting>,
        deadline: Instant,
    ) -> Result<(), MemberError> {
        loop {
            let mut words = Vec::new();
            waiting.retain(|node, member| match self.api.status(&member.door) {
                Ok(status) => {
                    if member.seen_s.is_some() && status.store_seen_s > member.seen_s {
                        member.loops += 1;
                    }
                    member.seen_s = status.store_seen_s.or(member.seen_s);
                    member.loops < LOOPS
                }
                Err(error) => {
                    words.push(format!("node {node}: {error}"));
                    true
                }
            });
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let names: Vec<NodeId> = waiting.into_keys().collect();
                let words = if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) };
                return not_now(format!("{} have not seen the new settings{words}", super::list(&names)));
            }
            thread::sleep(self.patience.pause);
        }
    }
}

fn loop_wait(settings: &Map<String, Value>) -> Option<Duration> {
    settings.get("loop_wait").and_then(Value::as_u64).map(Duration::from_secs)
}

/// What makes the one of the other, as Patroni takes it: what is not among the new ones any more becomes null, which
/// lets Patroni's or PostgreSQL's own defaults hold.
fn patch(from: &Map<String, Value>, to: &Map<String, Value>) -> Map<String, Value> {
    let gone = from.keys().filter(|name| !to.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let set = to.iter().map(|(name, value)| {
        let value = match (from.get(name), value) {
            (Some(Value::Object(from)), Value::Object(to)) => Value::Object(patch(from, to)),
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    });
    gone.chain(set).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::patch;

    #[test]
    fn what_is_gone_becomes_null() {
        let check = |from: Value, to: Value, expected: Value| {
            let told = patch(from.as_object().unwrap(), to.as_object().unwrap());
            assert_eq!(Value::Object(told), expected, "{from} to {to}");
        };
        check(json!({}), json!({}), json!({}));
        check(json!({"ttl": 20}), json!({"ttl": 30}), json!({"ttl": 30}));
        check(json!({"ttl": 20, "x": 1}), json!({"ttl": 20}), json!({"ttl": 20, "x": null}));
        let parameters = |parameters: Value| json!({"postgresql": {"parameters": parameters}});
        check(
            parameters(json!({"work_mem": "8MB", "max_connections": 200})),
            parameters(json!({"max_connections": 100, "jit": "off"})),
            parameters(json!({"work_mem": null, "max_connections": 100, "jit": "off"})),
        );
        check(json!({}), parameters(json!({"jit": "off"})), parameters(json!({"jit": "off"})));
    }
}
