//! Why an etcd can't be used: every reason from a real one, told apart and told clearly.

use std::fs::read_to_string;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use storage::remote::{ClientCertificate, Credentials, InvalidReach, Reach, Timeouts, Tls, Unusable};
use storage::{EtcdV2, Expect, Key, Store};
use test_servers::{
    Certificates, Etcd, EtcdCluster, EtcdOptions, Identity, Mode, Proxy, StrangeServer, User, enable_auth_v2,
    free_address,
};

pub const TESTS: &[(&str, fn())] = &[
    ("strangers_are_not_etcd", strangers_are_not_etcd),
    ("without_the_v2_api_the_setting_is_named", without_the_v2_api_the_setting_is_named),
    ("who_is_not_let_in_is_told_so", who_is_not_let_in_is_told_so),
    ("without_a_quorum_it_cannot_be_used", without_a_quorum_it_cannot_be_used),
    ("a_check_leaves_nothing_behind", a_check_leaves_nothing_behind),
    ("certificates_that_do_not_fit_are_told", certificates_that_do_not_fit_are_told),
    ("a_user_comes_in_over_tls", a_user_comes_in_over_tls),
    ("every_read_asks_for_a_quorum", every_read_asks_for_a_quorum),
];

const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_secs(8) };

fn client(endpoints: &[&str], who: Option<(&str, &str)>, tls: Option<Tls>) -> EtcdV2 {
    let endpoints = endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect();
    let who =
        who.map(|(name, password)| Credentials { username: name.to_owned(), password: password.to_owned() });
    EtcdV2::connect(&Reach { endpoints, tls, timeouts: TIMEOUTS }, who).unwrap()
}

/// The variant's name, and what people read; within the time that is promised.
#[track_caller]
fn told(store: &EtcdV2) -> (&'static str, String) {
    let begun = Instant::now();
    let Err(error) = store.check() else { return ("usable", String::new()) };
    assert!(begun.elapsed() < TIMEOUTS.total * 2 + Duration::from_secs(10), "it took {:?}", begun.elapsed());
    let sort = match &error {
        Unusable::NobodyAnswers { .. } => "nobody",
        Unusable::AnotherServer { .. } => "another",
        Unusable::NotServed { .. } => "not served",
        Unusable::NotLetIn { .. } => "not let in",
        Unusable::NoPermission { .. } => "no permission",
        Unusable::NoQuorum { .. } => "no quorum",
    };
    (sort, error.to_string())
}

#[track_caller]
fn check(name: &str, store: &EtcdV2, expected: &str, words: &str) {
    let (sort, text) = told(store);
    assert_eq!(sort, expected, "{name}: {text}");
    assert!(text.contains(words), "{name}: {text}");
}

fn strangers_are_not_etcd() {
    let nobody = format!("http://{}", free_address(Ipv4Addr::LOCALHOST.into()).unwrap());
    check("refused", &client(&[&nobody], None, None), "nobody", "refused");
    let page =
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let strange = |answer: &str| StrangeServer::start(answer).unwrap();
    let server = strange(page);
    check("a page", &client(&[&server.endpoint()], None, None), "another", "text/html");
    let server = strange("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    check("a gateway", &client(&[&server.endpoint()], None, None), "another", "502");
    let server = strange("220 ready\r\n");
    check("no HTTP", &client(&[&server.endpoint()], None, None), "nobody", &server.endpoint());
    // Consul's way to say that there is no such page.
    let server = strange("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    check("no page", &client(&[&server.endpoint()], None, None), "another", "not etcd");
    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let proxy = Proxy::start(etcd.address()).unwrap();
    proxy.set(Mode::Hang).unwrap();
    check("hanging", &client(&[&proxy.endpoint()], None, None), "nobody", "no answer");
    let both = client(&[&nobody, &server.endpoint(), &proxy.endpoint(), etcd.endpoint()], None, None);
    assert_eq!(both.check(), Ok(()), "one is enough");
    let asked = (server.requests(), proxy.connections());
    assert_eq!(both.get(&Key::parse("/a").unwrap()), Ok(None));
    let asked_then = (server.requests(), proxy.connections());
    assert_eq!(asked_then, asked, "the check has found who answers");
}

fn without_the_v2_api_the_setting_is_named() {
    let etcd = Etcd::start(&EtcdOptions { v2: false, ..EtcdOptions::default() }).unwrap();
    check("3.4", &client(&[etcd.endpoint()], None, None), "not served", "--enable-v2");
    // Its answers to everything but its version are those of a server without that page.
    let newer = r#"{"etcdserver":"3.6.4","etcdcluster":"3.6.0"}"#;
    let length = newer.len();
    let newer =
        format!("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{newer}");
    let newer = StrangeServer::start(newer).unwrap();
    check("3.6", &client(&[&newer.endpoint()], None, None), "not served", "use the engine etcd-v3");
}

fn who_is_not_let_in_is_told_so() {
    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let user = User { name: "broker", password: "hush", prefix: "/" };
    enable_auth_v2(etcd.endpoint(), "root's", Some(&user)).unwrap();
    let as_who = |who| client(&[etcd.endpoint()], who, None);
    check("nobody", &as_who(None), "not let in", "none are given");
    check("wrong password", &as_who(Some(("broker", "wrong"))), "not let in", "wrong");
    check("wrong user", &as_who(Some(("nobody", "hush"))), "not let in", "wrong");
    assert_eq!(as_who(Some(("broker", "hush"))).check(), Ok(()));
    assert_eq!(as_who(Some(("root", "root's"))).check(), Ok(()));
    let (_, text) = told(&as_who(Some(("broker", "secret"))));
    assert!(!text.contains("secret"), "{text}");

    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let user = User { name: "reader", password: "hush", prefix: "/broker/" };
    enable_auth_v2(etcd.endpoint(), "root's", Some(&user)).unwrap();
    let elsewhere = client(&[etcd.endpoint()], Some(("reader", "hush")), None);
    check("may do other things", &elsewhere, "not let in", "not read everything under /");
    let role = r#"{"role":"reader","grant":{"kv":{"read":["/*"],"write":["/service/*"]}}}"#;
    let granted = ureq::put(format!("{}/v2/auth/roles/reader", etcd.endpoint()))
        .header("Authorization", "Basic cm9vdDpyb290J3M=")
        .header("Content-Type", "application/json")
        .send(role);
    assert!(granted.is_ok(), "{granted:?}");
    check("may write elsewhere", &elsewhere, "no permission", "to write everywhere under /");
}

fn without_a_quorum_it_cannot_be_used() {
    let mut cluster = EtcdCluster::start(&EtcdOptions::default()).unwrap();
    let endpoints = cluster.endpoints();
    let all: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    assert_eq!(client(&all, None, None).check(), Ok(()));
    // Without its leader a cluster answers nobody until it has another one.
    let leader = cluster.leader().unwrap();
    let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.member(first).stop();
    assert_eq!(client(&all, None, None).check(), Ok(()), "two of three");
    cluster.member(leader).stop();
    let alone = [all[second]];
    check("one of three", &client(&all, None, None), "no quorum", "no leader or no majority");
    check("it alone", &client(&alone, None, None), "no quorum", "no leader or no majority");
    let store = client(&alone, None, None);
    let put = store.put(&Key::parse("/a").unwrap(), b"1", None, Expect::Absent);
    assert!(matches!(put, Err(storage::StoreError::OutcomeUnknown { .. })), "{put:?}");
}

fn a_check_leaves_nothing_behind() {
    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let store = client(&[etcd.endpoint()], None, None);
    let before = store.list(&Key::root()).unwrap();
    assert_eq!(store.check(), Ok(()));
    assert_eq!(store.list(&Key::root()).unwrap(), before, "not even a revision");
    // Even where somebody has an entry of that name, it stays as it is.
    let at = Key::parse("/patroni-broker-check").unwrap();
    store.put(&at, b"mine", None, Expect::Absent).unwrap();
    let before = store.list(&Key::root()).unwrap();
    assert_eq!(store.check(), Ok(()));
    assert_eq!(store.list(&Key::root()).unwrap(), before);
}

fn pem(path: &std::path::Path) -> String {
    read_to_string(path).unwrap()
}

fn tls(authority: &std::path::Path, who: Option<(&Identity, &Identity)>) -> Tls {
    let client = who.map(|(certificate, key)| ClientCertificate {
        chain: pem(&certificate.certificate),
        key: pem(&key.key),
    });
    Tls { ca: Some(pem(authority)), client }
}

fn certificates_that_do_not_fit_are_told() {
    let certificates = Certificates::make(&[]).unwrap();
    let (ours, theirs) = (&certificates.authority, &certificates.stranger_authority);
    let (us, stranger) = (&certificates.client, &certificates.stranger);
    let options = EtcdOptions { tls: Some(certificates.mutual_tls()), ..EtcdOptions::default() };
    let etcd = Etcd::start(&options).unwrap();
    let at = |endpoint: &str, tls: Tls| client(&[endpoint], None, Some(tls));
    assert_eq!(at(etcd.endpoint(), tls(ours, Some((us, us)))).check(), Ok(()));
    for _ in 0..5 {
        // Whether the reason or the end of the connection comes first is chance.
        let nothing = at(etcd.endpoint(), tls(ours, None));
        check(
            "no certificate",
            &nothing,
            "not let in",
            "TLS: it does not take our certificate, or asks for one",
        );
        let strange = at(etcd.endpoint(), tls(ours, Some((stranger, stranger))));
        check(
            "a stranger's",
            &strange,
            "not let in",
            "TLS: it does not take our certificate, or asks for one",
        );
    }
    let other = at(etcd.endpoint(), tls(theirs, Some((us, us))));
    check("another authority", &other, "nobody", "TLS: its certificate does not come from the authority");
    // Nobody there has a certificate for this address.
    let elsewhere = free_address(Ipv4Addr::new(127, 0, 0, 2).into()).unwrap();
    let listen = EtcdOptions { listen: elsewhere.ip(), ..options };
    let named = Etcd::start(&listen).unwrap();
    let name = at(named.endpoint(), tls(ours, Some((us, us))));
    check("another name", &name, "nobody", "TLS: its certificate is for another name");
    let plain = etcd.endpoint().replace("https://", "http://");
    let (sort, text) = told(&client(&[&plain], None, None));
    assert_eq!(sort, "nobody", "plain HTTP to a server with TLS: {text}");
    assert!(text.contains("does it want https?"), "{text}");
    let no_tls = Etcd::start(&EtcdOptions::default()).unwrap();
    let secure = no_tls.endpoint().replace("http://", "https://");
    check("TLS to a server without", &at(&secure, tls(ours, None)), "nobody", "speak TLS");

    let mixed = Tls { ca: None, client: tls(ours, Some((us, stranger))).client };
    let reach = Reach { tls: Some(mixed), ..Reach::of(&[etcd.endpoint().to_owned()]) };
    let refused = EtcdV2::connect(&reach, None).map(drop);
    assert_eq!(refused, Err(InvalidReach::Tls("the key is not that of the certificate".to_owned())));
}

fn a_user_comes_in_over_tls() {
    let certificates = Certificates::make(&[]).unwrap();
    let options = EtcdOptions { tls: Some(certificates.tls()), ..EtcdOptions::default() };
    let etcd = Etcd::start(&options).unwrap();
    let ca = tls(&certificates.authority, None);
    enable_auth_v2(etcd.endpoint(), "hush", None).unwrap();
    let store = client(&[etcd.endpoint()], Some(("root", "hush")), Some(ca.clone()));
    assert_eq!(store.check(), Ok(()));
    let at = Key::parse("/a").unwrap();
    store.put(&at, b"1", None, Expect::Absent).unwrap();
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"1");
    check("no user", &client(&[etcd.endpoint()], None, Some(ca)), "not let in", "none are given");
}

/// Without it a member answers from what it knows, which may be of yesterday.
fn every_read_asks_for_a_quorum() {
    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let proxy = Proxy::start(etcd.address()).unwrap();
    let store = client(&[&proxy.endpoint()], None, None);
    let at = Key::parse("/a/b").unwrap();
    store.get(&at).unwrap();
    store.list(&at).unwrap();
    let requests = proxy.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.contains("quorum=true")), "{requests:?}");
}
