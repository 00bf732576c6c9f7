//! What the parameters of a dream tell it to do. Any other parameter is kept and means nothing.

use serde_json::{Map, Value, json};

use crate::state::Answering;

/// How long it may be told to take: longer than any platform's patience with a single poll, and no more than that of
/// its synchronous callers.
const LONGEST_DELAY_MS: u64 = 600_000;
/// How long a binding may be told to last: ten years.
const LONGEST_LIFE_S: u64 = 315_360_000;

/// How a dream behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// How long each of its operations takes.
    pub(super) delay_ms: u64,
    /// When those who ask for one are answered.
    pub(super) answering: Answering,
    /// How long its bindings last; for ever without.
    pub(super) expires_in_s: Option<u64>,
    /// The operations that fail.
    fail: Vec<String>,
}

/// What [`Behaviour::of`] reads, for whoever checks parameters. In draft 4, the only one that every platform knows (OSB
/// 2.17, "Input Parameters Schema Object").
pub(super) fn schema() -> Value {
    let operation = json!({ "enum": ["provision", "update", "deprovision", "bind", "unbind"] });
    json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "object",
        "properties": {
            "asynchronous": {
                "description": "Whether operations are only for platforms that poll.",
                "type": "boolean",
            },
            "delay_ms": {
                "description": "How long each operation takes, in milliseconds.",
                "type": "integer",
                "minimum": 0,
                "maximum": LONGEST_DELAY_MS,
            },
            "fail": {
                "description": "Which operation fails, or which ones.",
                "anyOf": [operation, { "type": "array", "items": operation }],
            },
            "expires_in_s": {
                "description": "How long bindings last, in seconds.",
                "type": "integer",
                "minimum": 1,
                "maximum": LONGEST_LIFE_S,
            },
        },
    })
}

impl Behaviour {
    /// What these parameters tell, the later ones before the earlier ones: a binding's own before its instance's.
    /// Whatever the schema would have refused counts as not told.
    pub(super) fn of(parameters: &[&Map<String, Value>]) -> Self {
        let told = |name: &str| parameters.iter().rev().find_map(|parameters| parameters.get(name));
        let number = |name: &str, longest: u64| Some(told(name)?.as_u64()?.min(longest));
        let asynchronous = told("asynchronous").and_then(Value::as_bool).unwrap_or(false);
        let fail = match told("fail") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        };
        Self {
            delay_ms: number("delay_ms", LONGEST_DELAY_MS).unwrap_or_default(),
            answering: if asynchronous { Answering::Polled } else { Answering::Soon },
            expires_in_s: number("expires_in_s", LONGEST_LIFE_S),
            fail,
        }
    }

    /// Why this operation fails, if it does.
    pub(super) fn failure(&self, operation: &str) -> Option<String> {
        let fails = self.fail.iter().any(|told| told == operation);
        fails.then(|| format!("the {operation} fails, as the parameter \"fail\" says"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Behaviour, schema};
    use crate::model::ParameterSchema;
    use crate::state::Answering;

    const OPERATIONS: [&str; 5] = ["provision", "update", "deprovision", "bind", "unbind"];

    #[test]
    fn own_parameters_go_before_the_instances() {
        let check = |instance: serde_json::Value, own: serde_json::Value, expected: &str| {
            let (instance, own) = (instance.as_object().unwrap(), own.as_object().unwrap());
            let schema = ParameterSchema::compile(&schema()).unwrap();
            assert_eq!((schema.check(instance), schema.check(own)), (Ok(()), Ok(())));
            let behaviour = Behaviour::of(&[instance, own]);
            let fails: Vec<&str> =
                OPERATIONS.into_iter().filter(|name| behaviour.failure(name).is_some()).collect();
            let polled = if behaviour.answering == Answering::Polled { "polled" } else { "soon" };
            let life = behaviour.expires_in_s.map_or("ever".to_owned(), |life| life.to_string());
            let told = format!("{} {polled} {life} {}", behaviour.delay_ms, fails.join(","));
            assert_eq!(told.trim_end(), expected, "{instance:?} {own:?}");
        };
        check(json!({}), json!({}), "0 soon ever");
        check(json!({"delay_ms": 500, "asynchronous": true}), json!({}), "500 polled ever");
        check(json!({"delay_ms": 500}), json!({"delay_ms": 7}), "7 soon ever");
        check(json!({"asynchronous": true}), json!({"asynchronous": false}), "0 soon ever");
        check(json!({"fail": "bind"}), json!({}), "0 soon ever bind");
        check(json!({"fail": ["bind", "update"]}), json!({}), "0 soon ever update,bind");
        check(json!({"fail": ["bind", "update"]}), json!({"fail": []}), "0 soon ever");
        check(json!({"expires_in_s": 60}), json!({}), "0 soon 60");
        check(json!({"size": "large", "a": {"b": [1]}}), json!({}), "0 soon ever");
    }

    #[test]
    fn what_it_cannot_do_is_refused() {
        let check = |parameters: serde_json::Value, field: &str| {
            let schema = ParameterSchema::compile(&schema()).unwrap();
            let told = schema.check(parameters.as_object().unwrap()).unwrap_err();
            assert!(told.starts_with(&format!("parameters.{field}: ")), "{parameters}: {told}");
        };
        check(json!({"delay_ms": 600_001}), "delay_ms");
        check(json!({"delay_ms": -1}), "delay_ms");
        check(json!({"delay_ms": "500"}), "delay_ms");
        check(json!({"delay_ms": 0.5}), "delay_ms");
        check(json!({"asynchronous": "yes"}), "asynchronous");
        check(json!({"fail": "sleep"}), "fail");
        check(json!({"fail": ["bind", 1]}), "fail");
        check(json!({"expires_in_s": 0}), "expires_in_s");
        check(json!({"expires_in_s": 315_360_001}), "expires_in_s");
    }
}
