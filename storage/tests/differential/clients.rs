//! Others' clients: what they print against ours, with user and password, is what they print against a real etcd.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::peer::Both;

/// A test, and whether what it needs is here.
type Test = (&'static str, fn() -> bool, fn());

pub const TESTS: &[Test] = &[
    ("python_etcd_sees_no_difference", || python().is_some(), python_etcd_sees_no_difference),
    ("etcdctl_sees_no_difference", etcdctl_is_installed, etcdctl_sees_no_difference),
];

/// One that has the module.
fn python() -> Option<&'static str> {
    let has_module = |python: &&str| {
        let command = Command::new(python).args(["-c", "import etcd"]).stderr(Stdio::null()).status();
        command.is_ok_and(|status| status.success())
    };
    ["/usr/bin/python3", "python3"].into_iter().find(has_module)
}

fn etcdctl_is_installed() -> bool {
    Command::new("etcdctl").arg("version").stdout(Stdio::null()).status().is_ok()
}

fn python_etcd_sees_no_difference() {
    let both = Both::start_with_password();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/python_etcd.py");
    let run = |address: std::net::SocketAddr| {
        let mut command = Command::new(python().unwrap());
        command.arg(&script).args([&address.ip().to_string(), &address.port().to_string()]);
        said(command.args([Both::USER, Both::PASSWORD]))
    };
    let (expected, found) = (run(both.theirs.connection.address()), run(both.ours.connection.address()));
    compare(&expected, &found);
    assert!(expected.ends_with("status 0"), "{expected}");
    assert!(expected.lines().count() > 60, "{expected}");
}

/// `@` stands for `etcdctl` with endpoint, user and password.
const SCRIPT: &str = r#"
@ ls; @ get /none; @ mkdir /c; @ mkdir /c; @ set /c/a 1; @ set /c/a 'ä b&c=d;e+f'; @ get /c/a
@ -o extended get /c/a; @ -o json get /c/a; @ mk /c/a 1; @ mk /c/m 1; @ mk --in-order /c/q 1; @ mk --in-order /c/q 2
@ update /c/a 3; @ update /c/none 3; @ set --ttl 100 /c/t 1; @ set --swap-with-value 3 /c/a 4
@ set --swap-with-value 3 /c/a 5; @ set --swap-with-index 1 /c/a 5; @ setdir /c/d; @ setdir --ttl 100 /c/d
@ updatedir --ttl 200 /c/d; @ updatedir /c/none; @ mkdir --ttl 100 /c/e; @ ls --sort /c; @ ls --sort -p --recursive /c
@ ls --sort --recursive --quorum; @ get --quorum /c/a; @ get /c/d; @ set /c/a/b 1; @ set /c/_hidden 1; @ ls --sort /c
@ get /c/_hidden; @ rm /c/d; @ rm --dir /c/d; @ rm --with-value 9 /c/a; @ rm --with-index 1 /c/a; @ rm --with-value 4 /c/a
@ rmdir /c/q; @ rm /c/q; @ rmdir /c/e; @ rmdir /c/none; @ rm --recursive /
(sleep 2; @ set /c/one news >/dev/null) & timeout 30 @ watch /c/one; wait
(sleep 2; @ set /c/w/x news >/dev/null) & timeout 30 @ watch --recursive /c/w; wait
(sleep 2; @ rm /c/w/x >/dev/null) & timeout 30 @ watch --recursive /c/w; wait
(sleep 2; @ set /c/f more >/dev/null; sleep 1; @ set /c/f again >/dev/null) & timeout 8 @ watch --forever /c/f; wait
timeout 30 @ watch --after-index $((INDEX + 1)) --recursive /c; timeout 30 @ -o json watch --after-index $((INDEX + 2)) --recursive /c
(sleep 2; @ set /c/r/x 1 >/dev/null; sleep 1; @ rm /c/r/x > /dev/null) &
timeout 8 @ exec-watch --recursive /c/r -- sh -c 'echo "$ETCD_WATCH_ACTION $ETCD_WATCH_KEY"'; wait
@ rm --recursive /c; @ cluster-health; @ member list; @ --version
"#;

fn etcdctl_sees_no_difference() {
    let both = Both::start_with_password();
    let run = |address: std::net::SocketAddr| {
        let etcdctl =
            format!("etcdctl --no-sync --endpoints http://{address} -u {}:{}", Both::USER, Both::PASSWORD);
        let script = SCRIPT.replace('@', &etcdctl);
        let mut command = Command::new("sh");
        let text = said(
            command.arg("-c").arg(script).env("ETCDCTL_API", "2").env("INDEX", both.ours.index.to_string()),
        );
        // Names and addresses are each one's own.
        let own = |line: &str| {
            let told = line.split_whitespace().map(|word| {
                let is_id =
                    word.len() > 8 && word.trim_end_matches(':').chars().all(|c| c.is_ascii_hexdigit());
                let is_own =
                    word.contains("://") || word.starts_with("name=") || word.starts_with("peerURLs=");
                if is_id || is_own { "…" } else { word }
            });
            told.collect::<Vec<_>>().join(" ")
        };
        text.lines().map(own).collect::<Vec<_>>().join("\n")
    };
    let (theirs, ours) = (both.theirs.connection.address(), both.ours.connection.address());
    let (expected, found) = thread::scope(|scope| {
        let expected = scope.spawn(|| run(theirs));
        let found = run(ours);
        (expected.join().unwrap(), found)
    });
    compare(&expected, &found);
    for word in
        ["cluster is healthy", "isLeader=true", "set /c/r/x", "[set] /c/w/x", "/c/q/0000", "[delete] /c/w/x"]
    {
        assert!(expected.contains(word), "{word} is not in {expected}");
    }
}

/// Both outputs and the status.
fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    format!("{}status {}", String::from_utf8_lossy(&text), output.status.code().unwrap_or(-1))
}

fn compare(expected: &str, found: &str) {
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(found, expected, "ours is on the left");
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{found}\n{expected}");
}
