//! What cannot be done is said, with 2 where it was asked for wrongly and 1 where the store is the reason.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libtest_mimic::{Failed, Trial};
use test_servers::{StrangeServer, free_address};

use crate::site::{configure, program, run};

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("what_is_asked_for_wrongly", usage), Trial::test("no_store", no_store)]
}

/// Nothing is even read: there is no configuration.
fn usage() -> Result<(), Failed> {
    let check = |arguments: &[&str], stdin: &[u8], expected: &str| {
        let ran = run(program().arg("kv").args(arguments), stdin)?;
        let fits = ran.code == 2 && ran.stdout.is_empty() && ran.stderr.contains(expected);
        let fits = fits && ran.stderr.len() < 1000;
        if fits {
            Ok(())
        } else {
            Err(Failed::from(format!("{arguments:?}: {ran:?}, expected {expected:?}")))
        }
    };
    let long = format!("/{}", "x".repeat(10_000));
    for command in ["get", "rm", "ls", "watch", "export"] {
        check(&[command, "a"], b"", "\"a\": the key does not start with '/'")?;
        check(&[command, ""], b"", "does not start")?;
        check(&[command, "/a/../b"], b"", "\"/a/../b\": the key has a segment '.' or '..'")?;
        check(&[command, "/a//b"], b"", "an empty segment")?;
        check(&[command, "/a/"], b"", "an empty segment")?;
        check(&[command, "/a\nb"], b"", "\"/a\\nb\": the key has a control character")?;
        check(&[command, &long], b"", "xxx\"…: the key is longer")?;
    }
    check(&["get"], b"", "Required positional")?;
    check(&["get", "/"], b"", "the root holds keys")?;
    check(&["rm", "/"], b"", "the root holds keys")?;
    check(&["put", "/", "x"], b"", "the root holds keys")?;
    check(&["put", "/a/..", "x"], b"", "a segment")?;
    check(&["put", "/a"], b"", "Required positional")?;
    check(&["put", "/a", "x", "--ttl", "0"], b"", "--ttl is from 1 to 86400 seconds, not 0")?;
    check(&["put", "/a", "x", "--ttl", "18446744073709551615"], b"", "--ttl is from 1")?;
    check(&["put", "/a", "x", "--ttl", "-1"], b"", "--ttl")?;
    check(&["put", "/a", "x", "--if-absent", "--if-revision", "3"], b"", "exclude each other")?;
    let large = vec![b'x'; storage::MAX_VALUE_BYTES + 1];
    check(&["put", "/a", "-"], &large, "more than the 262144 bytes")?;
    check(&["rm", "/a", "--recursive", "--if-revision", "3"], b"", "exclude each other")?;
    check(&["watch", "/", "--for", "soon"], b"", "--for")?;
    check(&["ls", "/", "--output", "xml"], b"", "must be table or json")?;
    check(&["import"], b"", "Required positional")?;
    check(&["get", "/a"], b"", "name a file with --config")?;
    let ran = run(program().args(["kv", "get"]).arg(OsStr::from_bytes(b"/a\xff")), b"")?;
    assert!(ran.code == 2 && ran.stderr.contains("not UTF-8"), "{ran:?}");
    Ok(())
}

fn no_store() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let check = |storage: &str, expected: &str| {
        configure(directory.path(), storage)?;
        for words in [&["get", "/a"][..], &["put", "/a", "x"], &["ls"], &["watch", "/"], &["export"]] {
            let config = directory.path().join("broker.toml");
            let ran = run(program().arg("--config").arg(config).arg("kv").args(words), b"")?;
            let fits = ran.code == 1 && ran.stdout.is_empty() && ran.stderr.contains(expected);
            if !fits {
                return Err(Failed::from(format!("{storage}\n{words:?}: {ran:?}, expected {expected:?}")));
            }
        }
        Ok(())
    };
    let nobody = free_address([127, 0, 0, 1].into())?;
    check(
        &format!("engine = \"embedded\"\npath = \"data\"\nlisten = \"{nobody}\"\npassword = \"hush\""),
        &format!("; the broker, or kv serve, must run and serve it at http://{nobody}"),
    )?;
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let strange = StrangeServer::start(page)?;
    for engine in ["etcd-v2", "etcd-v3", "consul"] {
        let section = |endpoint: &str| format!("engine = \"{engine}\"\nendpoints = [\"{endpoint}\"]");
        check(
            &section(&format!("http://{nobody}")),
            &format!("storage ({engine}): nobody answers: http://{nobody}"),
        )?;
        check(&section(&strange.endpoint()), &format!("storage ({engine}): who answers there is not "))?;
    }
    Ok(())
}
