//! What a caller of little permission learns: every way by which a name, a value or its absence could be told.

mod quiet;

use std::sync::Arc;

use super::super::Options;
use super::super::permissions::{Pattern, Permissions};
use super::api::{Api, Outcome};
use super::auth::{Access, Accounts, Caller};
use super::request::{ApiRequest, Method};
use crate::Embedded;

fn caller(read: &str, write: &str, never: &str) -> Caller {
    let patterns = |text: &str| text.split_whitespace().map(|raw| Pattern::parse(raw).unwrap()).collect();
    let never = never.split_whitespace().map(|raw| crate::Key::parse(raw).unwrap()).collect();
    Caller::anybody(Permissions::new(patterns(read), patterns(write), never))
}

fn ask(api: &Api, caller: &Caller, method: &str, target: &str) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = ApiRequest {
        method: Method::named(method),
        path: format!("/v2/keys{path}"),
        query: query.to_owned(),
        content_type: String::new(),
        body: Vec::new(),
    };
    let reply = match api.handle(&request, caller) {
        Outcome::Answer(reply) => reply,
        Outcome::Read(read) => api.read(&read),
        Outcome::Watch(wait) => {
            return (0, wait.found.map_or(String::new(), |event| event.node.key.to_string()));
        }
        Outcome::Change(change, pending) => {
            let (tell, told) = crossbeam_channel::bounded(1);
            api.store.submit(change, Box::new(move |answer| drop(tell.send(answer))));
            pending.reply(told.recv().unwrap())
        }
    };
    (reply.status, reply.body)
}

/// Of an event; nothing where none was told.
fn key_of(body: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    event["node"]["key"].as_str().unwrap_or_default().to_owned()
}

fn api() -> Api {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    Api::new(store, Accounts::new(&Access::NoAuth, Vec::new()), Vec::new())
}

#[test]
fn the_rest_of_the_tree_is_not_there() {
    let (api, owner) = (api(), Caller::owner());
    for key in
        ["/service/b1/leader", "/service/b1/state", "/service/b2/state", "/secret", "/service/b1/_hidden"]
    {
        assert_eq!(ask(&api, &owner, "PUT", &format!("{key}?value=password")).0, 201, "{key}");
    }
    ask(&api, &owner, "PUT", "/service/file?value=password");
    ask(&api, &owner, "DELETE", "/service/b2?recursive=true");
    let router = caller("/service/*/leader /service/*/members/**", "/reports/r1", "");
    let check = |method: &str, target: &str, status: u16, words: &[&str]| {
        let (found, body) = ask(&api, &router, method, target);
        assert_eq!(found, status, "{method} {target}: {body}");
        assert!(words.iter().all(|word| body.contains(word)), "{method} {target}: {body}");
        assert!(!body.contains("state") && !body.contains("secret"), "{method} {target}: {body}");
        assert!(
            status == 200 && target.contains("leader") || !body.contains("password"),
            "{method} {target}: {body}"
        );
    };
    check("GET", "/service/b1/leader", 200, &["password"]);
    // What lies outside is refused alike, whether it is there or not.
    for key in ["/service/b1/state", "/service/b1/nothing", "/secret", "/nothing", "/secret/x"] {
        check("GET", key, 401, &["Insufficient"]);
        check("GET", &format!("{key}?wait=true"), 401, &["Insufficient"]);
        check("PUT", &format!("{key}?value=1&prevValue=2"), 401, &["Insufficient"]);
        check("DELETE", &format!("{key}?prevIndex=9"), 401, &["Insufficient"]);
        check("POST", &format!("{key}?value=1"), 401, &["Insufficient"]);
    }
    // A file where a directory of its own could be is as good as nothing.
    check("GET", "/service/file", 404, &["\"cause\":\"/service/file\""]);
    check("GET", "/service/none", 404, &["\"cause\":\"/service/none\""]);
    check("GET", "/service/file/leader", 404, &["\"cause\":\"/service/file\""]);
    check("GET", "/service/none/leader", 404, &["\"cause\":\"/service/none\""]);
    // What it may write it may not use to look above.
    check("PUT", "/reports/r1?value=1", 201, &["set"]);
    check("PUT", "/reports/r1?value=1&prevValue=2", 412, &["[2 != 1]"]);
    check("DELETE", "/reports?dir=true", 401, &[]);
    check("DELETE", "/reports/r1?recursive=true", 401, &[]);
    check("PUT", "/reports/r1?dir=true", 401, &[]);
    let (_, listed) = ask(&api, &router, "GET", "/?recursive=true");
    assert!(listed.contains("/service/b1/leader") && listed.contains("/reports/r1"), "{listed}");
    assert!(["state", "secret", "file", "_hidden"].iter().all(|word| !listed.contains(word)), "{listed}");
    // Of the past, too, it hears of nothing but its own; that a directory went in which something could have been.
    let heard: Vec<String> = (1..=8)
        .map(|index| ask(&api, &router, "GET", &format!("/?wait=true&recursive=true&waitIndex={index}")).1)
        .map(|body| key_of(&body))
        .collect();
    assert!(
        heard
            .iter()
            .all(|key| ["/service/b1/leader", "/service/b2", "/reports/r1", ""].contains(&key.as_str())),
        "{heard:?}"
    );
    assert_eq!(heard[0], "/service/b1/leader");
}

/// It waited behind others' listings, and was told what it may not know any more.
#[test]
fn who_was_dismissed_while_its_listing_waited_is_told_nothing() {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let access = Access::Basic { username: "u".to_owned(), password: "p".to_owned() };
    let api = Api::new(store, Accounts::new(&access, Vec::new()), Vec::new());
    // u:p
    let caller = api.admit(Some("Basic dTpw")).unwrap();
    let request = ApiRequest {
        method: Method::Get,
        path: "/v2/keys/".to_owned(),
        query: String::new(),
        content_type: String::new(),
        body: Vec::new(),
    };
    let Outcome::Read(read) = api.handle(&request, &caller) else { panic!("it may be large") };
    assert_eq!(api.listed(&read).status, 200);
    let access = Access::Basic { username: "u".to_owned(), password: "another".to_owned() };
    api.store.shared.change_admissions(|| api.accounts.replace(&access, Vec::new()));
    assert_eq!(api.listed(&read).status, 401);
}

#[test]
fn a_directory_in_place_of_a_file_does_not_tell_what_was_in_it() {
    let (api, owner) = (api(), Caller::owner());
    ask(&api, &owner, "PUT", "/service/b1?value=password");
    ask(&api, &owner, "PUT", "/service/b1?dir=true");
    let router = caller("/service/*/leader", "", "");
    let check = |who: &Caller, expected: bool| {
        let (status, told) = ask(&api, who, "GET", "/service/b1?wait=true&waitIndex=2");
        assert_eq!((status, told.contains("prevNode")), (200, expected), "{told}");
        assert_eq!(told.contains("password"), expected, "{told}");
    };
    check(&router, false);
    check(&owner, true);
}

/// Whoever may write one key could give a directory of that name a TTL, and so remove what others have in it.
#[test]
fn who_may_write_a_key_may_not_touch_a_directory_there() {
    let (api, owner) = (api(), Caller::owner());
    ask(&api, &owner, "PUT", "/a/b/c?value=1");
    let check = |who: &Caller, target: &str, expected: u16| {
        assert_eq!(ask(&api, who, "PUT", target).0, expected, "{target}");
    };
    let writer = caller("", "/a/*", "");
    for target in ["/a/b?prevExist=true&ttl=100", "/a/b?prevExist=true&refresh=true&ttl=100", "/a/b?ttl=1"] {
        check(&writer, target, 403);
    }
    check(&owner, "/a/b?prevExist=true&ttl=100", 200);
    check(&owner, "/a/b?prevExist=true&refresh=true&ttl=100", 200);
}
