//! `[broker.http]` and `[storage.http]`.

use std::time::Duration;

use patroni_broker::config::StorageConfig;

use super::{GOOD, changed, parse, refused, warned};

#[test]
fn what_a_door_bears_by_default() {
    let config = parse(GOOD).unwrap().config;
    let StorageConfig::Embedded { http: store, .. } = config.storage else { panic!("another engine") };
    let broker = config.broker.http;
    assert_eq!((broker.max_connections, store.max_connections), (4096, 8192));
    assert_eq!((broker.workers, store.workers), (16, 8));
    for http in [broker, store] {
        assert_eq!(http.queue, 1024);
        assert_eq!(
            (http.max_head_bytes, http.max_body_bytes, http.max_body_memory),
            (16 << 10, 1 << 20, 64 << 20)
        );
        let timeouts = [
            http.head_timeout,
            http.body_timeout,
            http.idle_timeout,
            http.write_timeout,
            http.handshake_timeout,
        ];
        assert_eq!(timeouts, [10, 30, 75, 30, 10].map(Duration::from_secs));
    }
}

#[test]
fn each_bound_is_its_own() {
    let fields = "max_connections = 11\nworkers = 12\nqueue = 13\nmax_head_kib = 14\nmax_body_kib = 15\n\
                  body_memory_mib = 16\nhead_timeout_s = 17\nbody_timeout_s = 18\nidle_timeout_s = 19\n\
                  write_timeout_s = 20\nhandshake_timeout_s = 21\n";
    let text = changed(&[("[storage]", &format!("[broker.http]\n{fields}[storage]"))]);
    let http = parse(&text).unwrap().config.broker.http;
    assert_eq!((http.max_connections, http.workers, http.queue), (11, 12, 13));
    assert_eq!(
        (http.max_head_bytes, http.max_body_bytes, http.max_body_memory),
        (14 << 10, 15 << 10, 16 << 20)
    );
    let timeouts =
        [http.head_timeout, http.body_timeout, http.idle_timeout, http.write_timeout, http.handshake_timeout];
    assert_eq!(timeouts, [17, 18, 19, 20, 21].map(Duration::from_secs));
}

#[test]
fn bounds_have_bounds() {
    for (section, before) in [("broker", "[storage]"), ("storage", "[[cells]]")] {
        let table = |line: &str| format!("[{section}.http]\n{line}\n{before}");
        let refused = |line: &str, expected: &str| {
            refused(&[(before, &table(line))], &[&format!("{section}.http.{expected}")]);
        };
        for field in ["max_connections", "workers", "queue", "max_head_kib", "max_body_kib", "head_timeout_s"]
        {
            refused(&format!("{field} = 0"), &format!("{field}: must be from 1 to "));
        }
        for field in ["body_timeout_s", "idle_timeout_s", "write_timeout_s", "handshake_timeout_s"] {
            refused(&format!("{field} = 3601"), &format!("{field}: must be from 1 to 3600, not 3601"));
        }
        refused("workers = 257", "workers: must be from 1 to 256");
        refused("head_timeout_s = 1.5", "head_timeout_s: must be a whole number");
        refused("timeout_s = 1", "timeout_s: is not a field here; the fields are body_memory_mib, ");
        refused(
            "max_body_kib = 2048\nbody_memory_mib = 1",
            "body_memory_mib: must hold at least one body, which may have max_body_kib = 2048",
        );
        warned(&[(before, &table("max_body_kib = 1024\nbody_memory_mib = 1"))], &[]);
    }
    refused(&[("[storage]", "http = 3\n[storage]")], &["broker.http: must be a table"]);
}

#[test]
fn what_the_api_asks_for() {
    let text =
        changed(&[("[storage]", "require_api_version = true\nmetrics_without_password = true\n[storage]")]);
    let broker = parse(&text).unwrap().config.broker;
    assert!(broker.require_api_version && broker.metrics_without_password);
    refused(
        &[("[storage]", "require_api_version = 2\n[storage]")],
        &["broker.require_api_version: must be true or"],
    );
}
