//! Everything that strangers and careless clients send.

use std::thread;

use serde_json::{Value, json};

use super::hoard::percent_encoded;
use super::site::{Site, USERNAME};
use super::wire::Request;

/// Everything that strangers and careless clients send.
pub fn nonsense(site: &mut Site) {
    let password = site.password.clone();
    let to = site.way.clone();
    let to = &to;
    let catalog = |target: &str| Request::new("GET", target).basic(USERNAME, &password).send(to).status;
    let hoard = &mut site.hoard;

    let wrong = hoard.mint("a wrong password");
    assert_eq!(Request::new("GET", "/v2/catalog").basic(USERNAME, &wrong).send(to).status, 401);
    let wrong = hoard.mint("a password for a username");
    assert_eq!(Request::new("GET", "/v2/catalog").basic(&wrong, "").send(to).status, 401);
    for scheme in ["Bearer ", "Basic ", "Digest response=", ""] {
        let line = format!("Authorization: {scheme}{}", hoard.mint_plain("a broken Authorization"));
        assert_eq!(Request::new("GET", "/v2/catalog").header(line).send(to).status, 401);
    }
    let queries = ["token=", "accepts_incomplete=", "operation=", "service_id=", "plan_id=", ""];
    for query in queries {
        let secret = percent_encoded(&hoard.mint("a query"), false);
        for path in [
            "/v2/catalog",
            "/nowhere",
            "/v2/service_instances/b1",
            "/v2/service_instances/b1/last_operation",
            "/readyz",
        ] {
            catalog(&format!("{path}?{query}{secret}"));
        }
        catalog(&format!("/v2/catalog?{query}{secret}%"));
    }
    let user = hoard.mint_plain("a URL's password");
    catalog(&format!("http://platform:{user}@127.0.0.1/v2/catalog"));
    catalog(&format!("https://platform:{user}@127.0.0.1"));
    // Whatever the scheme, and where there is none: the door lets any target of a CONNECT pass.
    for target in [
        "ftp://platform:PW@127.0.0.1/v2/catalog",
        "HTTP://platform:PW@127.0.0.1/",
        "platform:PW@127.0.0.1:80",
        "a:PW@b",
    ] {
        for method in ["GET", "CONNECT", "OPTIONS"] {
            let target = target.replace("PW", &user);
            let status = Request::new(method, &target).basic(USERNAME, &password).send(to).status;
            assert!((400..500).contains(&status), "{method} {target}: {status}");
        }
    }

    let instance = "/v2/service_instances/broken";
    let bodies: [fn(&str) -> String; 10] = [
        |secret| format!("{{\"service_id\": \"s1\", \"parameters\": {{\"password\": \"{secret}"),
        |secret| format!("{{\"service_id\": {{\"{secret}\": 1}}, \"plan_id\": \"p1\"}}"),
        |secret| format!("{{\"service_id\": \"s1\", \"plan_id\": [\"{secret}\"]}}"),
        |secret| format!("\"{secret}\""),
        |secret| secret.to_owned(),
        |secret| format!("[\"{secret}\"]"),
        |secret| json!({"service_id": "s1", "plan_id": "p1", "parameters": secret}).to_string(),
        |secret| json!({"service_id": "s1", "plan_id": "p1", "context": secret}).to_string(),
        |secret| json!({"service_id": "s1", "plan_id": "p1", "parameters": {"password": secret}}).to_string(),
        |secret| json!({"service_id": "s1", "plan_id": "p1", "bind_resource": [secret]}).to_string(),
    ];
    for body in bodies {
        for target in [instance.to_owned(), format!("{instance}/service_bindings/x")] {
            for method in ["PUT", "PATCH"] {
                let body = body(&hoard.mint("a broken body"));
                let request = Request::new(method, &target).basic(USERNAME, &password).body(body);
                assert_ne!(request.send(to).status, 0, "{method} {target}");
            }
        }
    }
    let cut = format!("{{\"parameters\": {{\"password\": \"{}", hoard.mint("a body that breaks off"));
    Request::new("PUT", instance)
        .basic(USERNAME, &password)
        .header("Content-Length: 5000")
        .body(cut)
        .send(to);
    let large = hoard.mint("a body over the limit").repeat(40_000);
    Request::new("PUT", instance).basic(USERNAME, &password).body(large).send(to);
    let mut binary = hoard.mint("a body that is no text").into_bytes();
    binary.extend([0xff, 0x00, 0xc3]);
    Request::new("PUT", instance).basic(USERNAME, &password).body(binary).send(to);
    // What is no HTTP at all.
    Request::new(&hoard.mint_plain("no method"), "/").send(to);
    Request::new("GET", "/v2/catalog").header(hoard.mint("no header")).send(to);
}

/// Wrong passwords until nobody listens any more. Those that are let in before are not slowed by it.
pub fn guesses(site: &mut Site) {
    let wrong: Vec<String> = (0..40).map(|_| site.hoard.mint("a guess")).collect();
    let way = &site.way;
    // All at once, since those that are answered late take up to ten seconds.
    let statuses: Vec<u16> = thread::scope(|scope| {
        let guess =
            |wrong| move || Request::new("GET", "/v2/catalog").basic(USERNAME, wrong).send(way).status;
        let guesses: Vec<_> = wrong.iter().map(|wrong| scope.spawn(guess(wrong.as_str()))).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert_eq!(site.call("GET", "/v2/catalog", &Value::Null).status, 200);
}
