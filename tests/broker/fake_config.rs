//! A fake cluster's dynamic configuration.

use patroni_broker::cells::ContainerSpec;
use serde_json::{Value, json};

/// What a cluster is configured with when it is made (`_cluster_settings` in the image's `configuration.py`).
pub fn first_config(spec: &ContainerSpec) -> Value {
    let told: Value = serde_json::from_str(&spec.env["BROKER_SETTINGS"]).unwrap();
    let parameters = told.get("postgresql_parameters").cloned().unwrap_or_else(|| json!({}));
    json!({
        "ttl": told["ttl"],
        "loop_wait": told["loop_wait"],
        "retry_timeout": told["retry_timeout"],
        "maximum_lag_on_failover": 1 << 20,
        "failsafe_mode": true,
        "synchronous_mode": told["synchronous"],
        "postgresql": { "use_pg_rewind": true, "use_slots": true, "parameters": parameters },
    })
}

/// As `PATCH /config` does: what is null goes.
pub fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        into.clone_from(patch);
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in patch {
        let into = into.as_object_mut().unwrap();
        match value {
            Value::Null => drop(into.remove(name)),
            value => merge(into.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}
