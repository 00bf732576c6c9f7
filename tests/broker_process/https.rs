//! HTTPS: what connections are shown, whom it lets in, and who cannot hold it up.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls_server::pki_types::pem::PemObject;
use rustls_server::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_server::{ClientConfig, RootCertStore};
use test_servers::{Certificates, Identity};

use crate::client::{Client, connected};
use crate::site::{ADMIN, Site};

const PAIR: &str = "[broker.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";

fn der(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

/// A client that believes these authorities, and shows this certificate.
fn client(authorities: &[&Path], shows: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    authorities.iter().for_each(|authority| roots.add(der(authority)).unwrap());
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(match shows {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
            builder.with_client_auth_cert(vec![der(&identity.certificate)], key).unwrap()
        }
    })
}

fn install(site: &Site, identity: &Identity) {
    site.write("cert.pem", &fs::read(&identity.certificate).unwrap());
    site.write("key.pem", &fs::read(&identity.key).unwrap());
}

fn catalog(client: &mut Client) -> io::Result<u16> {
    client.ask(ADMIN, "GET /v2/catalog", "").map(|answer| answer.status)
}

#[test]
fn a_certificate_changes_for_new_connections_only() {
    let (first, second) = (Certificates::make(&[]).unwrap(), Certificates::make(&[]).unwrap());
    let mut site = Site::new(PAIR);
    install(&site, &first.server);
    site.start();
    let config = client(&[&first.authority, &second.authority], None);
    let mut clients = Vec::new();
    let mut check = |shown: &Certificates| {
        let client = Client::tls(site.address, &config).unwrap();
        assert!(client.certificate == der(&shown.server.certificate).to_vec(), "another certificate");
        clients.push(client);
        // Those who were there before go on.
        for client in &mut clients {
            assert_eq!(catalog(client).unwrap(), 200);
        }
    };
    check(&first);
    install(&site, &second.server);
    check(&first);
    site.reload("taken on: certificate");
    check(&second);
    // A key that is another certificate's, and none at all: what was shown goes on to be shown.
    install(&site, &Identity { key: first.server.key.clone(), ..second.server.clone() });
    site.reload("everything stays as it is: ");
    check(&second);
    site.write("cert.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    site.reload("everything stays as it is: ");
    check(&second);
    site.configure("");
    site.reload("certificate: HTTPS is turned on or off by a restart");
    check(&second);
    site.configure(PAIR);
    install(&site, &first.server);
    site.reload("taken on: certificate");
    check(&first);
}

#[test]
fn clients_show_certificates() {
    let certificates = Certificates::make(&[]).unwrap();
    let mut site = Site::new("");
    install(&site, &certificates.server);
    let ours = format!("{PAIR}client_ca = \"{}\"\n", certificates.authority.display());
    let ask = |site: &Site, shows: Option<&Identity>| {
        let config = client(&[&certificates.authority], shows);
        // In TLS 1.3 a client has ended its handshake before it hears that it is not let in.
        Client::tls(site.address, &config).and_then(|mut client| catalog(&mut client)).ok()
    };
    let check = |site: &Site, without: Option<u16>| {
        assert_eq!(ask(site, None), without, "without");
        assert_eq!(ask(site, Some(&certificates.client)), Some(200), "ours");
        assert_eq!(ask(site, Some(&certificates.stranger)), None, "a stranger's");
    };
    site.configure(&ours);
    site.start();
    check(&site, None);
    site.configure(&format!("{ours}client_certificates = \"optional\"\n"));
    site.reload("taken on: certificate");
    check(&site, Some(200));
    site.configure(PAIR);
    site.reload("taken on: certificate");
    assert_eq!(ask(&site, None), Some(200));
}

#[test]
fn who_does_not_speak_tls_holds_nobody_up() {
    let certificates = Certificates::make(&[]).unwrap();
    let mut site = Site::new(PAIR);
    install(&site, &certificates.server);
    site.start();
    let config = client(&[&certificates.authority], None);
    // More than there are threads; half of them have begun to speak.
    let mut slow: Vec<_> = (0..100).map(|_| connected(site.address).unwrap()).collect();
    for stream in slow.iter_mut().step_by(2) {
        stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    }
    assert_eq!(catalog(&mut Client::tls(site.address, &config).unwrap()).unwrap(), 200);
    for said in ["GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n", "SSH-2.0-x\r\n"] {
        let mut plain = connected(site.address).unwrap();
        plain.write_all(said.as_bytes()).unwrap();
        let mut answer = Vec::new();
        match plain.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{said:?}"),
        }
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{said:?}: {}", answer.escape_ascii());
    }
    assert_eq!(catalog(&mut Client::tls(site.address, &config).unwrap()).unwrap(), 200);
    // They were there all the time.
    for stream in &slow {
        stream.set_nonblocking(true).unwrap();
        let waits = stream.peek(&mut [0]).unwrap_err();
        assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
    }
}
