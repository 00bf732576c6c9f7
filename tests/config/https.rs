//! `[broker.tls]`.

use std::fs;
use std::process::Command;

use patroni_broker::config::ClientCertificates;
use test_servers::Certificates;

use super::GOOD;
use super::site::Site;

/// The server's certificate and key, an authority of clients, and what is wrong with others.
fn site() -> Site {
    let site = Site::new();
    let certificates = Certificates::make(&[]).expect("openssl makes certificates");
    let copy =
        |from: &std::path::Path, name: &str| site.write(name, &fs::read_to_string(from).unwrap(), 0o600);
    copy(&certificates.server.certificate, "broker.pem");
    copy(&certificates.server.key, "broker.key");
    copy(&certificates.stranger.key, "other.key");
    copy(&certificates.authority, "ca.pem");
    site.write("empty.pem", "", 0o600);
    site.write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o600);
    site.write("open.key", &fs::read_to_string(site.path("broker.key")).unwrap(), 0o644);
    let made = Command::new("openssl")
        .args(["x509", "-days", "-1", "-in"])
        .arg(site.path("broker.pem"))
        .arg("-signkey")
        .arg(site.path("broker.key"))
        .arg("-out")
        .arg(site.path("expired.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    site
}

fn with(tls: &str) -> String {
    GOOD.replacen("[storage]", &format!("[broker.tls]\n{tls}\n[storage]"), 1)
}

const PAIR: &str = "cert = \"broker.pem\"\nkey = \"broker.key\"\n";

#[test]
fn certificates_are_checked_when_they_are_read() {
    let site = site();
    let check = |tls: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|line| line.replacen("TLS", "broker.tls", 1)).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        site.check(&with(tls), &expected);
    };
    let pair = |cert: &str, key: &str| format!("cert = \"{cert}\"\nkey = \"{key}\"");
    check(PAIR, &[]);
    check("", &["problem: TLS.cert: is required", "problem: TLS.key: is required"]);
    check(
        &format!("{PAIR}ca = \"ca.pem\""),
        &["problem: TLS.ca: is not a field here; the fields are cert, client_ca"],
    );
    let nowhere = site.path("nowhere").display().to_string();
    check(
        &pair("nowhere", "nowhere"),
        &[
            &format!("problem: TLS.cert: {nowhere} cannot be read"),
            &format!("problem: TLS.key: {nowhere} cannot be read"),
        ],
    );
    check(&pair("empty.pem", "broker.key"), &["problem: TLS.cert: empty.pem holds no certificate"]);
    check(
        &pair("garbage.pem", "broker.key"),
        &["problem: TLS.cert: garbage.pem holds a certificate that cannot be read"],
    );
    check(&pair("broker.pem", "empty.pem"), &["problem: TLS.key: empty.pem holds no private key"]);
    check(
        &pair("broker.pem", "other.key"),
        &["problem: TLS.key: other.key holds a key that is not the certificate's"],
    );
    check(
        &pair("broker.pem", "open.key"),
        &[&format!("warning: TLS.key: {} can be read by everybody", site.path("open.key").display())],
    );
    check(
        &pair("expired.pem", "broker.key"),
        &["warning: TLS.cert: expired.pem holds a certificate that has expired, 1 day ago"],
    );
    check(
        &format!("{PAIR}client_ca = \"empty.pem\""),
        &["problem: TLS.client_ca: empty.pem holds no certificate"],
    );
    check(
        &format!("{PAIR}client_certificates = \"optional\""),
        &["problem: TLS.client_certificates: has no use without client_ca"],
    );
    check(
        &format!("{PAIR}client_ca = \"ca.pem\"\nclient_certificates = \"maybe\""),
        &["problem: TLS.client_certificates: must be \"required\" or \"optional\""],
    );
}

#[test]
fn clients_are_asked_as_configured() {
    let site = site();
    let check = |lines: &str, expected: ClientCertificates| {
        let loaded =
            site.load(&with(&format!("{PAIR}{lines}")), &[]).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let tls = loaded.config.broker.tls.unwrap();
        assert_eq!(tls.clients, expected, "{lines}");
        assert_eq!(tls.config.alpn_protocols, [b"http/1.1".to_vec()]);
    };
    check("", ClientCertificates::NotAsked);
    check("client_ca = \"ca.pem\"", ClientCertificates::Required);
    check("client_ca = \"ca.pem\"\nclient_certificates = \"required\"", ClientCertificates::Required);
    check("client_ca = \"ca.pem\"\nclient_certificates = \"optional\"", ClientCertificates::Optional);
}

#[test]
fn plain_http_is_warned_of_where_others_listen() {
    let site = site();
    let public = |text: &str| text.replacen("127.0.0.1:3000", "10.0.0.1:3000", 1);
    site.check(&public(&with(PAIR)), &[]);
    site.check(&public(GOOD), &["warning: broker.listen: is plain HTTP on 10.0.0.1:3000"]);
    // What gives the port stands before the broker.
    site.check_in(&public(GOOD), &[("PORT", "8080")], &[]);
}
