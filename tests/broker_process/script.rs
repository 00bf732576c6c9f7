//! `scripts/test-broker.sh` against the real program.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::site::{ADMIN, Site};

#[test]
fn the_script_finds_nothing_wrong() {
    let site = Site::started("");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test-broker.sh");
    let output = Command::new(script)
        .args([&format!("http://{}", site.address), ADMIN.0, "-", "dream"])
        .env("BROKER_PASSWORD", ADMIN.1)
        .env("POLL_SECONDS", "15")
        .env_remove("PLAN")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", site.log());
    assert!(said.ends_with(" passed, 0 failed, 0 skipped\n"), "{said}");
    let left = site.ask("GET /admin/service_instances", &Value::Null);
    assert_eq!(left.json()["service_instances"], serde_json::json!([]), "{left:?}");
    site.is_empty();
}
