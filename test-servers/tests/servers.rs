//! The servers do what the other crates' tests count on: they start, keep their data over a kill, stand still, ask for
//! certificates and passwords. Rows whose server is missing on this machine show as ignored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use test_servers::{
    Certificates, Consul, ConsulOptions, Etcd, EtcdCluster, EtcdOptions, Identity, ROOT, StrangeServer, User,
    consul_is_installed, enable_auth_v2, enable_auth_v3, etcd_is_installed,
};

const TOKEN: &str = "6f1d3c3c-9f3e-4b5a-8f0c-2a1f5b1c7d10";

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, missing: bool, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
        .with_ignored_flag(missing)
    };
    let (no_etcd, no_consul) = (!etcd_is_installed(), !consul_is_installed());
    let trials = vec![
        trial("a_strange_server_says_its_line", false, a_strange_server_says_its_line),
        trial("etcd_keeps_its_data", no_etcd, etcd_keeps_its_data),
        trial("etcd_stands_still", no_etcd, etcd_stands_still),
        trial("etcd_without_v2", no_etcd, etcd_without_v2),
        trial("etcd_with_tls", no_etcd, etcd_with_tls),
        trial("etcd_with_users", no_etcd, etcd_with_users),
        trial("etcd_elects_another_leader", no_etcd, etcd_elects_another_leader),
        trial("what_does_not_start_says_why", no_etcd, what_does_not_start_says_why),
        trial("consul_keeps_its_data", no_consul, consul_keeps_its_data),
        trial("consul_stands_still", no_consul, consul_stands_still),
        trial("consul_with_short_sessions", no_consul, consul_with_short_sessions),
        trial("consul_with_tokens", no_consul, consul_with_tokens),
        trial("consul_with_tls", no_consul, consul_with_tls),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Options for who will not answer: there is no point in waiting for long.
const NOBODY: &[&str] = &["--max-time", "2"];

/// The status, or 0 if there was no answer, and the body.
fn curl(url: &str, options: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args(["--silent", "--noproxy", "*", "--max-time", "10", "--write-out", "\n%{http_code}", url])
        .args(options)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    // It names the status also where the connection broke afterwards.
    (if output.status.success() { status.parse().unwrap() } else { 0 }, body.to_owned())
}

fn status(url: &str, options: &[&str]) -> u16 {
    curl(url, options).0
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn a_strange_server_says_its_line() {
    let server = StrangeServer::start("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 5\r\n\r\nshort").unwrap();
    let url = server.endpoint();
    assert_eq!(curl(&url, &[]), (418, "short".to_owned()));
    let large = "x".repeat(100_000);
    assert_eq!(status(&url, &["--data", &large]), 418);
    assert_eq!(status(&url, &["--data", "x", "--header", "Transfer-Encoding: chunked"]), 418);
    assert_eq!(server.requests(), 3);
    let silent = StrangeServer::start("").unwrap();
    assert_eq!(status(&silent.endpoint(), &[]), 0);
    assert_eq!(silent.requests(), 1);
}

fn etcd_keeps_its_data() {
    let mut etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let (v2, v3) = (format!("{}/v2/keys/a", etcd.endpoint()), format!("{}/v3/kv", etcd.endpoint()));
    let (put, range) = (format!("{v3}/put"), format!("{v3}/range"));
    assert_eq!(status(&v2, &["--request", "PUT", "--data", "value=1"]), 201);
    assert_eq!(status(&put, &["--data", r#"{"key": "YQ==", "value": "Mg=="}"#]), 200);
    etcd.stop();
    assert_eq!(status(&v2, &[]), 0);
    assert!(etcd.wait_until_ready().unwrap_err().to_string().contains("does not run"));
    etcd.restart().unwrap();
    assert!(curl(&v2, &[]).1.contains(r#""value":"1""#));
    assert!(curl(&range, &["--data", r#"{"key": "YQ=="}"#]).1.contains("Mg=="));
    etcd.restart().unwrap();
    assert_eq!(status(&v2, &[]), 200);
    drop(etcd);
    assert_eq!(status(&v2, &[]), 0);
}

fn etcd_stands_still() {
    let mut etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let url = format!("{}/version", etcd.endpoint());
    etcd.pause().unwrap();
    assert_eq!(status(&url, NOBODY), 0);
    etcd.resume().unwrap();
    etcd.wait_until_ready().unwrap();
    assert_eq!(status(&url, &[]), 200);
    etcd.pause().unwrap();
    etcd.restart().unwrap();
    assert_eq!(status(&url, &[]), 200);
}

fn etcd_without_v2() {
    let etcd = Etcd::start(&EtcdOptions { v2: false, ..EtcdOptions::default() }).unwrap();
    assert_eq!(status(&format!("{}/v2/keys", etcd.endpoint()), &[]), 404);
    assert_eq!(status(&format!("{}/v3/kv/range", etcd.endpoint()), &["--data", r#"{"key": "YQ=="}"#]), 200);
}

/// Who gets in, by status: without TLS, without a certificate, with a stranger's, with ours.
fn who_gets_in(url: &str, certificates: &Certificates, options: &[&str]) -> [u16; 4] {
    let with = |identity: Option<&Identity>, authority: &Path| {
        let mut all = [options, &["--cacert", text(authority)]].concat();
        if let Some(Identity { certificate, key }) = identity {
            all.extend(["--cert", text(certificate), "--key", text(key)]);
        }
        status(url, &all)
    };
    let ours = &certificates.authority;
    assert_eq!(with(Some(&certificates.client), &certificates.stranger_authority), 0, "another authority");
    [
        status(&url.replace("https:", "http:"), options),
        with(None, ours),
        with(Some(&certificates.stranger), ours),
        with(Some(&certificates.client), ours),
    ]
}

fn etcd_with_tls() {
    let certificates = Certificates::make(&["127.0.0.2".parse().unwrap()]).unwrap();
    let check = |tls, expected| {
        let options =
            EtcdOptions { tls: Some(tls), listen: "127.0.0.2".parse().unwrap(), ..EtcdOptions::default() };
        let etcd = Etcd::start(&options).unwrap();
        assert!(etcd.endpoint().starts_with("https://127.0.0.2:"));
        let (v2, v3) = (format!("{}/v2/keys", etcd.endpoint()), format!("{}/v3/kv/range", etcd.endpoint()));
        assert_eq!(who_gets_in(&v2, &certificates, &[]), expected);
        assert_eq!(who_gets_in(&v3, &certificates, &["--data", r#"{"key": "YQ=="}"#]), expected);
    };
    check(certificates.tls(), [0, 200, 200, 200]);
    check(certificates.mutual_tls(), [0, 0, 0, 200]);
}

fn etcd_with_users() {
    let mut etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let endpoint = etcd.endpoint().to_owned();
    let user = User { name: "patroni", password: "s3cret", prefix: "/service/" };
    enable_auth_v3(&endpoint, "r00t", Some(&user)).unwrap();
    enable_auth_v2(&endpoint, "r00t", Some(&user)).unwrap();
    etcd.restart().unwrap();

    let v2 = |key: &str, who: &[&str]| {
        let options = [&["--request", "PUT", "--data", "value=1"], who].concat();
        status(&format!("{endpoint}/v2/keys{key}"), &options)
    };
    assert_eq!(v2("/service/a", &[]), 401);
    assert_eq!(v2("/service/a", &["--user", "patroni:wrong"]), 401);
    assert_eq!(v2("/service/a", &["--user", "patroni:s3cret"]), 201);
    assert_eq!(v2("/other/a", &["--user", "patroni:s3cret"]), 401);
    assert_eq!(v2("/other/a", &["--user", &format!("{ROOT}:r00t")]), 201);
    assert_eq!(status(&format!("{endpoint}/v2/keys/service/a"), &[]), 401);

    let token = |name: &str, password: &str| {
        let body = format!(r#"{{"name": "{name}", "password": "{password}"}}"#);
        let (status, body) = curl(&format!("{endpoint}/v3/auth/authenticate"), &["--data", &body]);
        let token = body.split(r#""token":""#).nth(1).and_then(|rest| rest.split('"').next());
        (status, format!("Authorization: {}", token.unwrap_or_default()))
    };
    // "/service/a", "/other/a"
    let v3 = |key: &str, who: &str| {
        let body = format!(r#"{{"key": "{key}", "value": "MQ=="}}"#);
        status(&format!("{endpoint}/v3/kv/put"), &["--data", &body, "--header", who])
    };
    assert_eq!(token("patroni", "wrong").0, 400);
    let (patroni, root) = (token("patroni", "s3cret").1, token(ROOT, "r00t").1);
    assert_eq!(v3("L3NlcnZpY2UvYQ==", "Authorization: "), 400);
    assert_eq!(v3("L3NlcnZpY2UvYQ==", &patroni), 200);
    assert_eq!(v3("L290aGVyL2E=", &patroni), 403);
    assert_eq!(v3("L290aGVyL2E=", &root), 200);
}

fn etcd_elects_another_leader() {
    let mut cluster = EtcdCluster::start(&EtcdOptions::default()).unwrap();
    let put_with = |endpoint: &str, options: &[&str]| {
        let put = [&["--request", "PUT", "--data", "value=1"], options].concat();
        status(&format!("{endpoint}/v2/keys/a"), &put)
    };
    let put = |endpoint: &str| put_with(endpoint, &[]);
    let endpoints = cluster.endpoints();
    let first = cluster.leader().unwrap();
    assert_eq!(put(&endpoints[first]), 201);

    cluster.member(first).stop();
    let second = cluster.leader().unwrap();
    assert_ne!(first, second);
    cluster.wait_until_healthy().unwrap();
    assert_eq!(put(&endpoints[second]), 200);
    cluster.member(first).restart().unwrap();
    assert_eq!(put(&endpoints[first]), 200);

    cluster.member(second).pause().unwrap();
    let third = cluster.leader().unwrap();
    assert_ne!(second, third);
    cluster.member(second).resume().unwrap();
    cluster.wait_until_healthy().unwrap();

    // Without a majority nobody leads for long, and one more makes one.
    cluster.member(0).stop();
    cluster.member(1).stop();
    assert_eq!(put_with(&endpoints[2], NOBODY), 0);
    cluster.member(1).restart().unwrap();
    assert_eq!(put(&endpoints[2]), 200);
}

fn what_does_not_start_says_why() {
    let certificates = Certificates::make(&[]).unwrap();
    let mut tls = certificates.tls();
    tls.identity.key = "/nowhere.key".into();
    let error = Etcd::start(&EtcdOptions { tls: Some(tls), ..EtcdOptions::default() }).err().unwrap();
    assert!(error.to_string().contains("ended by itself"), "{error}");
    assert!(error.to_string().contains("/nowhere.key"), "{error}");
}

fn consul_keeps_its_data() {
    let mut consul = Consul::start(&ConsulOptions::default()).unwrap();
    let url = format!("{}/v1/kv/a?raw", consul.endpoint());
    assert_eq!(status(&url, &["--upload-file", "/dev/null"]), 200);
    assert_eq!(status(&url, &["--request", "PUT", "--data", "1"]), 200);
    consul.stop();
    assert_eq!(status(&url, &[]), 0);
    consul.restart().unwrap();
    assert_eq!(curl(&url, &[]), (200, "1".to_owned()));
    let all = format!("{}/v1/kv/?keys", consul.endpoint());
    assert_eq!(curl(&all, &[]), (200, r#"["a"]"#.to_owned()));
}

fn consul_stands_still() {
    let mut consul = Consul::start(&ConsulOptions::default()).unwrap();
    let url = format!("{}/v1/status/leader", consul.endpoint());
    consul.pause().unwrap();
    assert_eq!(status(&url, NOBODY), 0);
    consul.resume().unwrap();
    consul.wait_until_ready().unwrap();
    assert_eq!(status(&url, &[]), 200);
}

fn consul_with_short_sessions() {
    let check = |shortest: Option<Duration>, expected: [u16; 3]| {
        let options = ConsulOptions { session_ttl_min: shortest, ..ConsulOptions::default() };
        let consul = Consul::start(&options).unwrap();
        let url = format!("{}/v1/session/create", consul.endpoint());
        let create = |ttl| status(&url, &["--request", "PUT", "--data", &format!(r#"{{"TTL": "{ttl}"}}"#)]);
        assert_eq!([create("900ms"), create("1s"), create("10s")], expected);
    };
    check(None, [500, 500, 200]);
    check(Some(Duration::from_secs(1)), [500, 200, 200]);
}

fn consul_with_tokens() {
    let options = ConsulOptions { management_token: Some(TOKEN.to_owned()), ..ConsulOptions::default() };
    let mut consul = Consul::start(&options).unwrap();
    let ours = consul.token(r#"key_prefix "service/" { policy = "write" }"#).unwrap();
    consul.token(r#"key_prefix "other/" { policy = "write" }"#).unwrap();
    consul.restart().unwrap();
    let put = |key: &str, token: &str| {
        let url = format!("{}/v1/kv/{key}", consul.endpoint());
        status(&url, &["--request", "PUT", "--data", "1", "--header", &format!("X-Consul-Token: {token}")])
    };
    assert_eq!(put("service/a", ""), 403);
    assert_eq!(put("service/a", &ours), 200);
    assert_eq!(put("other/a", &ours), 403);
    assert_eq!(put("other/a", TOKEN), 200);
    // A token that nobody knows is refused as well.
    assert_eq!(put("service/a", "6f1d3c3c-9f3e-4b5a-8f0c-2a1f5b1c7d11"), 403);
}

fn consul_with_tls() {
    let certificates = Certificates::make(&[]).unwrap();
    let check = |tls, expected| {
        let options = ConsulOptions { tls: Some(tls), ..ConsulOptions::default() };
        let consul = Consul::start(&options).unwrap();
        let url = format!("{}/v1/kv/a", consul.endpoint());
        let put = ["--request", "PUT", "--data", "1"];
        assert_eq!(who_gets_in(&url, &certificates, &put), expected);
    };
    check(certificates.tls(), [400, 200, 200, 200]);
    check(certificates.mutual_tls(), [400, 0, 0, 200]);
}
