//! Every trick that there is, by everybody: whatever is answered, nothing leaks and nothing changes that may not.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::house::{House, OWNER, SECRETS, STRANGERS, callers, secret};
use crate::model::Role;
use crate::wire::{Answer, Who, authorization, begun, connect, raw, request};

/// No value is in the answer that this role may not read, and nobody tells of keys elsewhere.
fn assert_tight(answer: &Answer, role: &Role, what: &str) {
    for path in SECRETS {
        let leaks = answer.body.contains(&secret(path)) || answer.head.contains(&secret(path));
        assert!(!leaks || role.reads(path), "{what}: {path} leaks: {answer:?}");
        let named = answer.body.contains(&format!("\"{path}\"")) && !decoded(what).contains(path);
        assert!(!named || role.reads(path), "{what}: {path} is named: {answer:?}");
    }
}

/// With every `%xx` as what it stands for.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[2..]);
            }
            None => bytes.extend([b"%", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Otherwise nothing would ever be found to leak.
#[test]
fn whoever_may_sees_every_secret() {
    let house = House::new();
    for path in SECRETS {
        let answer = house.ask(OWNER, "GET", &format!("/v2/keys{path}"), "");
        assert!(
            answer.body.contains(&secret(path)) && answer.body.contains(&format!("\"{path}\"")),
            "{answer:?}"
        );
    }
}

/// Paths by which one might come elsewhere.
fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    for at in
        SECRETS.into_iter().chain(["/", "/service", "/service/b10", "/broker", "/nowhere", "/nowhere/x"])
    {
        let tail = at.trim_start_matches('/');
        let encoded: String = at.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let slashes = at.replace('/', "%2f");
        for path in [
            at.to_owned(),
            format!("{at}/"),
            format!("{at}//"),
            format!("/{at}"),
            at.replace('/', "//"),
            format!("/service/b1/..{at}"),
            format!("/service/b1/../..{at}"),
            format!("/service/b1/../../{tail}"),
            format!("/service/b1/%2e%2e/%2E%2e/{tail}"),
            format!("/service/b1/%2e%2e%2f%2e%2e%2f{tail}"),
            format!("/service/b1/..%2f..{slashes}"),
            format!("/service/b1/..;/..;{at}"),
            format!("/service/b1;{at}"),
            format!("/service/b1/./{tail}"),
            format!("/service/b1/leader/../../..{at}"),
            format!("/service/b1%00{at}"),
            format!("{at}%00"),
            format!("{at}%20"),
            format!("{at};x"),
            format!("{at}.json"),
            format!("{at}%252f"),
            format!("/%2e{at}"),
            format!("/.{at}"),
            format!("/service%5cb1{}", at.replace('/', "%5c")),
            encoded,
            slashes,
            at.to_uppercase(),
            format!("/service/b1/leader%0d%0aX:{at}"),
            format!("/service/b1/%c0%af..%c0%af{tail}"),
            format!("/service/b1/\u{ff0e}\u{ff0e}{at}"),
        ] {
            paths.push(path);
        }
    }
    paths.push(format!("/service/b1/{}", "x".repeat(7000)));
    paths.push(format!("/service/b1{}", "/x".repeat(1000)));
    paths
}

#[test]
fn paths_lead_nowhere_else() {
    let house = House::new();
    let before = house.everything();
    for (who, role) in callers() {
        for path in paths() {
            for target in [
                format!("/v2/keys{path}?recursive=true"),
                format!("/v2/keys{path}?quorum=true&sorted=true"),
                format!("http://store/v2/keys{path}?recursive=true"),
                format!("/v2/../v2/keys{path}"),
                format!("//v2/keys{path}"),
                format!("/v2/keys/service/b1?/../..{path}"),
                format!("/v2/keys/service/b1#/../..{path}"),
                format!("/v2/keys{path}?recursive=true&wait=true&waitIndex=1"),
            ] {
                for method in if target.contains("wait") { ["HEAD", "GET"].as_slice() } else { &["GET"] } {
                    let what = format!("{who:?} {method} {target}");
                    assert_tight(&house.ask(who, method, &target, ""), &role, &what);
                }
            }
        }
    }
    assert_eq!(house.everything(), before);
}

/// A stream from above tells all that has been and that comes, of one's own part.
#[test]
fn streams_tell_nothing_else() {
    let house = House::waiting(Duration::from_secs(600));
    for (who, role) in callers() {
        for (prefix, from) in
            [("/", "&waitIndex=1"), ("/service", "&waitIndex=1"), ("/", ""), ("/broker", "&waitIndex=1")]
        {
            let target = format!("/v2/keys{prefix}?wait=true&recursive=true&stream=true{from}");
            let bytes = request(who, "GET", &target, "", "");
            thread::scope(|scope| {
                let watching = scope.spawn(|| begun(house.at(), &bytes, Duration::from_millis(300)));
                thread::sleep(Duration::from_millis(50));
                SECRETS.into_iter().for_each(|path| house.owner_puts(path, &secret(path)));
                let body = watching.join().unwrap();
                let answer = Answer { status: 0, head: String::new(), body };
                assert_tight(&answer, &role, &format!("{who:?} {target}"));
            });
        }
    }
}

/// What one may write is taken out of what must stay the same.
fn without_own(all: Vec<String>, role: &Role) -> Vec<String> {
    let own = |line: &String| role.writes(line.split(' ').next().unwrap());
    all.into_iter().filter(|line| !own(line)).collect()
}

#[test]
fn nothing_is_written_elsewhere() {
    for (who, role) in callers() {
        let house = House::new();
        let before = without_own(house.everything(), &role);
        let index = |path: &str| {
            let found = house.ask(OWNER, "GET", &format!("/v2/keys{path}"), "").json();
            found["node"]["modifiedIndex"].as_u64().unwrap_or(1)
        };
        let own =
            role.write.first().map_or("/none", String::as_str).replace("*:*", "c:80").replace('*', "image");
        for path in SECRETS.iter().map(|path| (*path).to_owned()).chain(
            [
                "/",
                "/service",
                "/service/b1",
                "/service/b10",
                "/service/b1/members",
                "/image",
                "/broker",
                "/postgresql-patroni",
                "/new",
                "/new/x",
                "/service/b1/new",
                "/service/b2/leader",
                "/service/b1/members/new",
                "/broker/routers",
                "/broker/routers/r1/x",
                "/service/h1:c:80",
                "/image/h1:c:80/x",
                "/image/h1",
                "/image/h1:c",
                "/image/h2:c:81",
                "/image/h1:c:80:81",
                "/h1:c:80",
                "/patroni-broker-check",
            ]
            .map(str::to_owned),
        ) {
            if role.writes(&path) {
                continue;
            }
            let (old, at) = (secret(&path), index(&path));
            for (method, form) in [
                ("PUT", "value=x".to_owned()),
                ("PUT", "value=x&prevExist=true".to_owned()),
                ("PUT", "value=x&prevExist=false".to_owned()),
                ("PUT", format!("value=x&prevValue={old}")),
                ("PUT", format!("value=x&prevIndex={at}")),
                ("PUT", "value=&ttl=1&prevExist=true".to_owned()),
                ("PUT", "ttl=1&refresh=true&prevExist=true".to_owned()),
                ("PUT", "ttl=1&refresh=true".to_owned()),
                ("PUT", "dir=true".to_owned()),
                ("PUT", "dir=true&prevExist=true&ttl=1".to_owned()),
                ("PUT", "dir=true&prevExist=false".to_owned()),
                ("PUT", "value=x&noValueOnSuccess=true".to_owned()),
                ("POST", "value=x".to_owned()),
                ("POST", "value=x&ttl=1&noValueOnSuccess=true".to_owned()),
                ("POST", "dir=true".to_owned()),
                ("DELETE", String::new()),
                ("PATCH", "value=x".to_owned()),
                ("OPTIONS", String::new()),
                ("TRACE", String::new()),
                ("put", "value=x".to_owned()),
            ] {
                let what = format!("{who:?} {method} {path} {form}");
                let answer = house.ask(who, method, &format!("/v2/keys{path}"), &form);
                // What may be asked is told to everybody who is let in.
                let told = method == "OPTIONS" && answer.body.is_empty();
                assert!(answer.status >= 400 || told, "{what}: {answer:?}");
                assert_tight(&answer, &role, &what);
                let by_query = house.ask(who, method, &format!("/v2/keys{path}?{form}"), "");
                assert!(by_query.status >= 400 || told, "{what} in the query: {by_query:?}");
            }
            for query in ["recursive=true", "dir=true", "recursive=true&dir=true", &format!("prevIndex={at}")]
            {
                let answer = house.ask(who, "DELETE", &format!("/v2/keys{path}?{query}"), "");
                assert!(answer.status >= 400, "{who:?} DELETE {path}?{query}: {answer:?}");
            }
        }
        // One's own keys are files, and nothing is under them.
        for (method, form) in [("PUT", "dir=true"), ("PUT", "dir=true&prevExist=true"), ("POST", "value=x")] {
            let answer = house.ask(who, method, &format!("/v2/keys{own}"), form);
            assert_eq!(answer.status, 401, "{who:?} {method} {own} {form}: {answer:?}");
        }
        for query in ["recursive=true", "dir=true"] {
            let answer = house.ask(who, "DELETE", &format!("/v2/keys{own}?{query}"), "");
            assert_eq!(answer.status, 401, "{who:?} DELETE {own} {query}: {answer:?}");
        }
        assert_eq!(without_own(house.everything(), &role), before, "{who:?}");
    }
}

/// Whether something is there, and what, cannot be told by how one is refused.
#[test]
fn refusals_are_alike() {
    let house = House::new();
    for (who, role) in callers() {
        for path in SECRETS.into_iter().filter(|path| !role.reads(path)) {
            let parent = path.rsplit_once('/').unwrap().0;
            let missing = format!("{parent}/nothing-here");
            let forms = [
                ("GET", String::new()),
                ("GET", "?wait=true&waitIndex=1".to_owned()),
                ("GET", "?recursive=true".to_owned()),
                ("PUT", "?value=x&prevExist=false".to_owned()),
                ("PUT", "?value=x&prevExist=true".to_owned()),
                ("PUT", format!("?value=x&prevValue={}", secret(path))),
                ("PUT", "?value=x&prevValue=wrong".to_owned()),
                ("PUT", "?value=x&prevIndex=1".to_owned()),
                ("DELETE", "?prevValue=wrong".to_owned()),
                ("DELETE", "?recursive=true".to_owned()),
                ("POST", "?value=x".to_owned()),
            ];
            for (method, query) in forms {
                let asked = |at: &str| house.ask(who, method, &format!("/v2/keys{at}{query}"), "");
                let (there, not) = (asked(path), asked(&missing));
                let alike = there.said() == not.said()
                    || (there.status, not.status) == (404, 404)
                    || (there.status, not.status) == (200, 200)
                        && there.body.is_empty()
                        && not.body.is_empty();
                assert!(alike, "{who:?} {method} {path}{query}: {there:?}, and {not:?}");
                assert_ne!(there.status, 412, "{who:?} {method} {path}{query}");
            }
        }
    }
}

#[test]
fn strangers_are_told_nothing() {
    let house = House::new();
    let before = house.everything();
    let mut said = Vec::new();
    for who in STRANGERS {
        // Whether it works is no secret, and who balances load has no password.
        let health = house.ask(who, "GET", "/health", "");
        assert_eq!((health.status, health.body.as_str()), (200, r#"{"health":"true"}"#));
        for target in [
            "/",
            "/version",
            "/metrics",
            "/v2",
            "/v2/keys",
            "/v2/keys/",
            "/v2/keys/service/b1/state",
            "/v2/keys/?recursive=true&wait=true&waitIndex=1",
            "/v2/keys/?wait=true&stream=true&recursive=true",
            "/v2/machines",
            "/v2/members",
            "/v2/stats/self",
            "/v2/stats/store",
            "/v2/stats/leader",
            "/v2/auth/users",
            "/v2/admin",
            "/debug/vars",
            "http://store/v2/keys/",
            "/v2/keys/nowhere",
        ] {
            for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"] {
                let answer = house.ask(who, method, target, "value=x");
                assert_eq!(answer.status, 401, "{who:?} {method} {target}: {answer:?}");
                assert!(answer.head.contains("WWW-Authenticate"), "{answer:?}");
                if method != "HEAD" {
                    said.push(answer.body);
                }
            }
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "all are told the same");
    assert_eq!(house.everything(), before);
}

/// Headers that mean something elsewhere.
#[test]
fn headers_change_nothing() {
    let house = House::new();
    let before = house.everything();
    let (guest, role) = callers().remove(0);
    let forged = [
        "X-HTTP-Method-Override: DELETE\r\n".to_owned(),
        "X-Original-URL: /v2/keys/service/b10/state\r\n".to_owned(),
        "X-Rewrite-URL: /v2/keys/service/b10/state\r\n".to_owned(),
        "X-Forwarded-User: keeper\r\n".to_owned(),
        "Host: keeper:kept@store\r\n".to_owned(),
        authorization(Some(("keeper", "wrong"))),
        authorization(guest),
        "Authorization: Basic\r\n".to_owned(),
        "Proxy-Authorization: Basic a2VlcGVyOmtlcHQ=\r\n".to_owned(),
        "Cookie: user=keeper\r\n".to_owned(),
    ];
    for more in &forged {
        for (who, target) in [
            (guest, "/v2/keys/service/b10/state"),
            (guest, "/v2/keys/?recursive=true"),
            (None, "/v2/keys/?recursive=true"),
            (None, "http://keeper:kept@store/v2/keys/?recursive=true"),
            (guest, "http://keeper:kept@store/v2/keys/broker?recursive=true"),
        ] {
            let bytes = request(who, "GET", target, "", &format!("{more}Connection: close\r\n"));
            assert_tight(&raw(house.at(), &bytes), &role, &format!("{who:?} {more}{target}"));
        }
    }
    assert_eq!(house.everything(), before);
}

/// A second request hidden in the first one's body is its body, or is asked as who sends it.
#[test]
fn requests_are_not_smuggled() {
    let house = House::new();
    let before = house.everything();
    let (guest, role) = callers().remove(0);
    let inner = "GET /v2/keys/service/b10/state HTTP/1.1\r\nHost: x\r\n\r\n";
    let own = authorization(guest);
    for framing in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}", 5 + inner.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n{inner}"),
        format!("Content-Length: 0\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        format!("Content-Length: 0\r\n\r\n{inner}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{inner}"),
    ] {
        let bytes = format!("PUT /v2/keys/service/b1/leader HTTP/1.1\r\nHost: x\r\n{own}{framing}");
        let answer = raw(house.at(), bytes.as_bytes());
        assert_tight(&answer, &role, &framing);
    }
    assert_eq!(without_own(house.everything(), &role), without_own(before, &role));
}

/// A door that was opened for one is not open to the next on the same connection.
#[test]
fn a_connection_remembers_nobody() {
    let house = House::new();
    let mut connection = connect(house.at());
    let mut check = |who: Who<'_>, status: u16| {
        connection.write_all(&request(who, "GET", "/v2/keys/broker?recursive=true", "", "")).unwrap();
        assert_eq!(crate::wire::one_answer(&mut connection).status, status, "{who:?}");
    };
    check(OWNER, 200);
    check(crate::house::GUEST, 401);
    check(OWNER, 200);
    check(None, 401);
}
