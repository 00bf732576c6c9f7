//! get, put, rm and ls.

use libtest_mimic::Failed;
use serde_json::Value;

use crate::site::{Engine, Site, run};

pub fn keys(engine: Engine) -> Result<(), Failed> {
    let site = Site::start(engine)?;
    let check = |words: &str, code: i32, expected: &str| {
        let said = site.says(words, code)?;
        let fits = if code == 0 { said == expected } else { said.contains(expected) };
        if fits { Ok(()) } else { Err(Failed::from(format!("kv {words}: {said:?}, expected {expected:?}"))) }
    };
    check("get /a/b", 1, "there is no /a/b")?;
    check("rm /a/b", 1, "there is no /a/b")?;
    check("rm /a --recursive", 1, "there is nothing at /a")?;
    check("ls", 0, "")?;
    let first = site.says("put /a/b one --if-absent", 0)?;
    let first = first.trim();
    check(
        "put /a/b two --if-absent",
        1,
        &format!("expected to be absent: it is there, of revision {first}"),
    )?;
    check("get /a/b", 0, "one")?;
    let second = site.says(&format!("put /a/b two --if-revision {first}"), 0)?;
    let second = second.trim();
    check(
        &format!("put /a/b three --if-revision {first}"),
        1,
        &format!("it is there, of revision {second}"),
    )?;
    check(&format!("put /none three --if-revision {first}"), 1, "there is none")?;
    check(&format!("rm /a/b --if-revision {first}"), 1, &format!("/a/b is of revision {second}"))?;
    check("get /a/b", 0, "two")?;
    let shown: Value = serde_json::from_str(&site.says("get /a/b --output json", 0)?)?;
    let expected = format!("{{\"key\":\"/a/b\",\"revision\":{second},\"value\":\"two\"}}");
    assert_eq!(shown.to_string(), expected);

    // Whatever is written is read, byte by byte.
    let text = "ä\n{\"x\": \"\\u0000\"}\r\n\n";
    site.says_of("put /a/text -", 0, text.as_bytes())?;
    assert_eq!(site.says("get /a/text", 0)?, text);
    let largest = vec![b'x'; storage::MAX_VALUE_BYTES];
    site.says_of("put /a/large -", 0, &largest)?;
    assert_eq!(site.says("get /a/large", 0)?.len(), largest.len());
    site.says_of("put /a/empty -", 0, b"")?;
    assert_eq!(site.says("get /a/empty", 0)?, "");
    let bytes = [0_u8, 255, 10];
    let put = run(site.kv().args(["put", "/a/bytes", "-"]), &bytes)?;
    if matches!(engine, Engine::EtcdV3 | Engine::Consul) {
        assert_eq!(run(site.kv().args(["get", "/a/bytes"]), b"")?.stdout, bytes);
        let shown = site.says("get /a/bytes --output json", 0)?;
        assert!(shown.contains("\"value_base64\": \"AP8K\""), "{shown}");
        check("rm /a/bytes", 0, "1\n")?;
    } else {
        assert_eq!(put.code, 1, "{put:?}");
        assert!(put.stderr.contains("not UTF-8"), "{put:?}");
    }

    site.says("put /ab/c x", 0)?;
    check("ls /a", 0, "/a/b\n/a/empty\n/a/large\n/a/text\n")?;
    check("ls", 0, "/a/b\n/a/empty\n/a/large\n/a/text\n/ab/c\n")?;
    check("ls /none", 0, "")?;
    let listed: Value = serde_json::from_str(&site.says("ls /ab --output json", 0)?)?;
    assert_eq!(listed[0]["key"], "/ab/c");
    assert_eq!(listed[0]["bytes"], 1);
    check("rm /a", 1, "there is no /a, but 4 under it: --recursive removes them")?;
    check(&format!("rm /a/b --if-revision {second}"), 0, "1\n")?;
    check("rm /a --recursive", 0, "3\n")?;
    check("ls", 0, "/ab/c\n")?;
    check("rm / --recursive", 0, "1\n")?;
    check("ls", 0, "")?;

    // A day is as long as an entry may live, and it is not gone at once.
    site.says("put /ttl x --ttl 86400", 0)?;
    check("get /ttl", 0, "x")
}
