//! What an operator is told before anything is begun.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;

use serde_json::json;
use storage::embedded::Options;
use storage::embedded::http::{Server, ServerOptions};
use storage::etcd_v3::Users;
use storage::remote::{ClientCertificate, Credentials, Reach, Tls, Unusable};
use storage::{Embedded, EtcdV3, Key, Store};
use test_servers::{
    Certificates, Etcd, EtcdOptions, ROOT, StrangeServer, User, enable_auth_v3, free_address,
};

use crate::Scenario;
use crate::bench::{
    ROOT_PASSWORD, b64, client, closed_etcd, credentials, done, etcd, etcd_with, reach, root, token,
};

pub const SCENARIOS: &[Scenario] = &[
    ("whether_it_is_an_etcd_at_all", whether_it_is_an_etcd_at_all),
    ("who_we_are", who_we_are),
    ("certificates", certificates),
    ("one_good_endpoint_is_enough", one_good_endpoint_is_enough),
    ("who_may_administer", who_may_administer),
];

fn told(found: Result<(), Unusable>, begin: &str, part: &str) {
    let text = found.err().map_or_else(|| "fine".to_owned(), |error| error.to_string());
    assert!(text.starts_with(begin) && text.contains(part), "{text:?} is not {begin:?}, {part:?}");
    assert!(!text.contains("hush"), "{text}");
}

fn nobody() -> String {
    format!("http://{}", free_address([127, 0, 0, 1].into()).unwrap())
}

fn whether_it_is_an_etcd_at_all() {
    let page =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    let html = StrangeServer::start(page).unwrap();
    told(client(&nobody(), None).check(), "nobody answers", "no connection");
    told(client(&html.endpoint(), None).check(), "who answers there is not etcd", "200, text/html");
    let etcd = etcd_with(&["--enable-grpc-gateway=false"]);
    told(client(etcd.endpoint(), None).check(), "it does not serve etcd's v3 JSON gateway", "it is etcd 3.");
    let embedded = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(embedded, listener, ServerOptions::basic("u", "p")).unwrap();
    let v2_only = format!("http://{}", server.address());
    told(client(&v2_only, None).check(), "who answers there is not etcd", "it answers 401");
    let etcd = self::etcd();
    let store = client(etcd.endpoint(), None);
    store.check().unwrap();
    assert_eq!(store.list(&Key::root()).unwrap().entries, [], "it leaves nothing behind");
    assert_eq!(store.list(&Key::root()).unwrap().revision.0, 1);
}

fn who_we_are() {
    let etcd = etcd();
    let some = User { name: "some", password: "hush", prefix: "/service/" };
    enable_auth_v3(etcd.endpoint(), ROOT_PASSWORD, Some(&some)).unwrap();
    let root = token(etcd.endpoint(), ROOT, ROOT_PASSWORD);
    let post = |path: &str, body| done(etcd.endpoint(), &root, path, &body);
    post("/v3/auth/user/add", json!({"name": "reader", "password": "hush"}));
    post("/v3/auth/role/add", json!({"name": "reader"}));
    let all = json!({"permType": "READ", "key": b64("/"), "range_end": b64("0")});
    post("/v3/auth/role/grant", json!({"name": "reader", "perm": all}));
    post("/v3/auth/user/grant", json!({"user": "reader", "role": "reader"}));
    let check = |who: Option<Credentials>, begin: &str, part: &str| {
        told(client(etcd.endpoint(), who).check(), begin, part);
    };
    let who = |user: &str| Some(credentials(user, "hush"));
    check(None, "it does not let us in", "it asks for a user and password, and none are given");
    check(who(ROOT), "it does not let us in", "the user or the password is wrong");
    check(who("nobody"), "it does not let us in", "the user or the password is wrong");
    check(who("some"), "we have no permission to read everything under /", "code 7");
    check(who("reader"), "we have no permission to write everywhere under /", "code 7");
    // Whoever may use all of `/` may go on without being an administrator.
    post("/v3/auth/role/revoke", json!({"role": "reader", "key": b64("/"), "range_end": b64("0")}));
    let all = json!({"permType": "READWRITE", "key": b64("/"), "range_end": b64("0")});
    post("/v3/auth/role/grant", json!({"name": "reader", "perm": all}));
    check(who("reader"), "fine", "");
    check(self::root(), "fine", "");
}

fn certificates() {
    let made = Certificates::make(&[]).unwrap();
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap();
    let identity = |of: &test_servers::Identity| {
        Some(ClientCertificate { chain: read(&of.certificate), key: read(&of.key) })
    };
    let options = EtcdOptions { tls: Some(made.mutual_tls()), ..EtcdOptions::default() };
    let etcd = Etcd::start(&options).unwrap();
    let connect = |authority, client| {
        let tls = Some(Tls { ca: Some(read(authority)), client });
        EtcdV3::connect(&Reach { tls, ..reach(&[etcd.endpoint()]) }, None).unwrap()
    };
    let (ours, strangers) = (&made.authority, &made.stranger_authority);
    let store = connect(ours, identity(&made.client));
    store.check().unwrap();
    store.put(&Key::parse("/a").unwrap(), b"1", None, storage::Expect::Absent).unwrap();
    let heard = store.watch(&Key::root(), storage::Revision(1), crate::bench::within(3000)).unwrap();
    assert_eq!(crate::bench::keys(&heard.what), ["/a"]);
    told(connect(ours, None).check(), "it does not let us in", "certificate");
    told(connect(ours, identity(&made.stranger)).check(), "it does not let us in", "certificate");
    told(connect(strangers, identity(&made.client)).check(), "nobody answers", "authority that we trust");
    let plain = etcd.endpoint().replace("https", "http");
    told(client(&plain, None).check(), "nobody answers", "");
}

fn one_good_endpoint_is_enough() {
    let etcd = etcd();
    let nobody = nobody();
    let store = EtcdV3::connect(&reach(&[&nobody, etcd.endpoint()]), None).unwrap();
    store.check().unwrap();
    assert_eq!(store.get(&Key::parse("/a").unwrap()), Ok(None));
}

fn who_may_administer() {
    let open = etcd();
    let check = |etcd: &Etcd, who: Credentials, begin: &str, part: &str| {
        told(Users::connect(&reach(&[etcd.endpoint()]), who).unwrap().check(), begin, part);
    };
    check(&open, root().unwrap(), "it does not serve users", "asks nobody");
    let closed = closed_etcd();
    check(&closed, root().unwrap(), "fine", "");
    check(&closed, credentials(ROOT, "hush"), "it does not let us in", "");
    let root = token(closed.endpoint(), ROOT, ROOT_PASSWORD);
    done(closed.endpoint(), &root, "/v3/auth/user/add", &json!({"name": "some", "password": "hush"}));
    check(&closed, credentials("some", "hush"), "we have no permission to administer users", "code 7");
}
