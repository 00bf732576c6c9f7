//! export and import.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::site::{Engine, Site};

/// What stays, and is put by hand: keys of every kind, awkward names and values.
const LASTING: [(&str, &str); 9] = [
    ("/broker/pending/b1", "1700000000 provision-1"),
    ("/broker/ports/public/30000", "b1"),
    ("/routing/allocation/b1", "30000"),
    ("/routing/nextport", "30001"),
    ("/service/b1/config", "{\"ttl\": 20}"),
    ("/service/b1/initialize", "7300000000000000001"),
    ("/service/b1/state", "{\"instance_id\": \"b1\", \"password\": \"hunter2\\n\\u00e4\"}\n"),
    ("/service/ä b&c=d%2f?#/state", "ä\u{1f600}\"\\\t"),
    ("/serviceinstances/b1/nodes/n1/backend", ""),
];

/// What lives by being refreshed.
const FLEETING: [&str; 5] = [
    "/broker/leases/b1",
    "/broker/routers/host-1",
    "/postgresql-patroni/10.0.0.1:pb-n1:5432",
    "/service/b1/leader",
    "/service/b1/members/n1",
];

fn seed(site: &Site) -> Result<(), Failed> {
    for (key, value) in LASTING {
        let ran = crate::site::run(site.kv().args(["put", key, "-"]), value.as_bytes())?;
        assert_eq!(ran.code, 0, "{key}: {ran:?}");
    }
    for key in FLEETING {
        site.says(&format!("put {key} x --ttl 600"), 0)?;
    }
    Ok(())
}

pub fn round_trip(engine: Engine) -> Result<(), Failed> {
    let source = Site::start(Engine::Embedded)?;
    seed(&source)?;
    source.says("export --output all.json", 0)?;
    let file = source.path("all.json");
    let exported = fs::read_to_string(&file)?;
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(source.says("export", 0)?, exported);
    let document: Value = serde_json::from_str(&exported)?;
    let keys: Vec<&str> = document["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["key"].as_str())
        .collect();
    assert_eq!(keys, LASTING.map(|(key, _)| key));
    // What is there is replaced as a whole, and what is no file is left alone.
    source.says("export /routing --output all.json", 0)?;
    assert!(fs::read_to_string(&file)?.len() < exported.len());
    source.says("export --output data", 1)?;
    source.says("export --output nowhere/all.json", 1)?;

    let target = Site::start(engine)?;
    let import = |file: &str| target.says_of("import - --output json", 0, file.as_bytes());
    let counts = |said: &str| -> Result<Value, Failed> { Ok(serde_json::from_str(said)?) };
    assert_eq!(counts(&import(&exported)?)?, json!({"written": 9, "replaced": 0, "there": 0}));
    assert_eq!(target.says("export", 0)?, exported);
    assert_eq!(counts(&import(&exported)?)?, json!({"written": 0, "replaced": 0, "there": 9}));
    assert_eq!(target.says("export", 0)?, exported);

    // And back, by way of a file.
    target.says("export --output back.json", 0)?;
    let last = Site::start(Engine::Embedded)?;
    let said = last.says(&format!("import {}", target.path("back.json").display()), 0)?;
    assert_eq!(said, "9 written, 0 replaced, 0 there already\n");
    assert_eq!(last.says("export", 0)?, exported);

    let bare = target.says("export --without-patroni /service", 0)?;
    assert!(bare.contains("/service/b1/state") && !bare.contains("/service/b1/config"), "{bare}");
    assert!(bare.contains("\"prefix\": \"/service\""), "{bare}");
    Ok(())
}

pub fn into_what_is_there(engine: Engine) -> Result<(), Failed> {
    let site = Site::start(engine)?;
    let document = |entries: Value| json!({"format": 1, "entries": entries}).to_string();
    let two = document(json!([{"key": "/a/b", "value": "new"}, {"key": "/c", "value": "new"}]));
    let check = |words: &str, stdin: &str, code: i32, expected: &[&str]| {
        let said = site.says_of(words, code, stdin.as_bytes())?;
        match expected.iter().find(|piece| !said.contains(*piece)) {
            None => Ok(()),
            Some(piece) => Err(Failed::from(format!("{words}: {piece:?} is not in {said}"))),
        }
    };
    site.says("put /a/b old", 0)?;
    check("import -", &two, 1, &["nothing is written", "/a/b: the target holds another value"])?;
    check("import - --into-non-empty", &two, 1, &["/a/b: the target holds another value"])?;
    check("get /c", "", 1, &["there is no /c"])?;
    site.says("put /other x", 0)?;
    check("import - --replace", &two, 0, &["1 written, 1 replaced, 0 there already"])?;
    check("get /a/b", "", 0, &["new"])?;
    check("get /other", "", 0, &["x"])?;
    check("import -", &two, 1, &["the target is not empty", "such as /other"])?;
    check("import - --into-non-empty", &two, 0, &["0 written, 0 replaced, 2 there already"])?;

    // Every problem at once, and nothing of it is written.
    let bad = document(json!([
        {"key": "/d", "value": "1"}, {"key": "/d", "value": "2"}, {"key": "/e/../f", "value": "1"},
        {"key": "/g", "value": "x".repeat(storage::MAX_VALUE_BYTES + 1)},
        {"key": "/service/b1/leader", "value": "n1"},
    ]));
    let problems =
        ["4 problems", "/d is there twice", "\"/e/../f\": ", "/g: the value has", "/service/b1/leader"];
    check("import - --into-non-empty", &bad, 1, &problems)?;
    check("get /d", "", 1, &["there is no /d"])?;
    check("import -", "{\"hush\"", 1, &["no JSON"])?;
    check("import nowhere.json", "", 1, &["nowhere.json: No such file"])?;

    let deep = document(json!([{"key": "/t", "value": ""}, {"key": "/t/u", "value_base64": "/w=="}]));
    if matches!(engine, Engine::Embedded | Engine::EtcdV2) {
        let problems = ["/t/u: its value is no text", "/t/u: /t is an entry"];
        check("import - --into-non-empty", &deep, 1, &problems)
    } else {
        check("import - --into-non-empty", &deep, 0, &["2 written"])?;
        check("export /t", "", 0, &["\"value_base64\": \"/w==\""])
    }
}
