//! The same over TLS, and who does not speak it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use test_servers::{Certificates, Identity};

use crate::stage::{Client, PATIENCE, Stage};

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(&identity.key).unwrap()
}

fn roots(authority: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(chain(authority).remove(0)).unwrap();
    roots
}

fn server_config(certificates: &Certificates, asks_clients: bool) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder();
    let builder = if asks_clients {
        let verifier = WebPkiClientVerifier::builder(roots(&certificates.authority).into());
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let identity = &certificates.server;
    Arc::new(builder.with_single_cert(chain(&identity.certificate), key(identity)).unwrap())
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(stage: &Stage, certificates: &Certificates, identity: Option<&Identity>) -> Client<Tls> {
    let builder = ClientConfig::builder().with_root_certificates(roots(&certificates.authority));
    let config = match identity {
        Some(identity) => builder.with_client_auth_cert(chain(&identity.certificate), key(identity)).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(stage.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client(std::io::BufReader::new(StreamOwned::new(connection, stream)))
}

#[test]
fn requests_of_all_sizes_come_and_go_over_tls() {
    let certificates = Certificates::make(&[]).unwrap();
    let stage = Stage::with_tls(Some(server_config(&certificates, false)), |_| {});
    let mut client = connect(&stage, &certificates, None);
    for length in [0, 1, 20_000, 1 << 20] {
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{}",
            "z".repeat(length)
        ));
        assert_eq!(client.answer().body.len(), length);
    }
    let answer = client.get("/large");
    assert_eq!((answer.status, answer.body.len()), (200, 32 << 20));
    client.send("GET /quick HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().text(), "quick");
    client.is_closed();
}

#[test]
fn a_clients_certificate_is_verified_and_shown_to_the_handler() {
    let certificates = Certificates::make(&[]).unwrap();
    let stage = Stage::with_tls(Some(server_config(&certificates, true)), |_| {});
    let mut client = connect(&stage, &certificates, Some(&certificates.client));
    let shown = chain(&certificates.client.certificate)[0].len().to_string();
    assert_eq!(client.get("/").header("x-certificate"), shown);
    for identity in [Some(&certificates.stranger), None] {
        let mut client = connect(&stage, &certificates, identity);
        let begun = client.0.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut answer = Vec::new();
        let refused = begun.is_err() || client.0.read_to_end(&mut answer).is_err();
        assert!(refused && answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn a_new_certificate_is_shown_to_new_connections() {
    let (old, new) = (Certificates::make(&[]).unwrap(), Certificates::make(&[]).unwrap());
    let stage = Stage::with_tls(Some(server_config(&old, false)), |_| {});
    let mut kept = connect(&stage, &old, None);
    assert_eq!(kept.get("/quick").status, 200);
    stage.server().set_tls(server_config(&new, false));
    assert_eq!(connect(&stage, &new, None).get("/quick").status, 200);
    let mut stale = connect(&stage, &old, None);
    assert!(stale.0.get_mut().write_all(b"GET / HTTP/1.1\r\n").is_err(), "the old one is shown no more");
    assert_eq!(kept.get("/quick").status, 200);
}

#[test]
fn plain_http_on_a_tls_port_is_told_so_in_plain() {
    let certificates = Certificates::make(&[]).unwrap();
    let stage = Stage::with_tls(Some(server_config(&certificates, false)), |_| {});
    let mut client = stage.client();
    client.ask("/quick");
    let answer = client.answer();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https"), "{}", answer.text());
    client.is_closed();
    // And what is neither is closed without a word that could be taken for one.
    let mut client = stage.client();
    client.send([0x16, 3, 1, 0, 4, 0xff, 0, 0, 0]);
    let mut alert = Vec::new();
    client.0.read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&0x15), "an alert of TLS");
}

#[test]
fn a_handshake_has_an_end_and_holds_nobody_up() {
    let certificates = Certificates::make(&[]).unwrap();
    let config = server_config(&certificates, false);
    // Not before all have come and sent what they send: to close with something unread is a reset.
    let stage = Stage::with_tls(Some(config), |limits| limits.handshake_timeout = Duration::from_secs(2));
    let mut slow: Vec<Client> = (0..200).map(|_| stage.client()).collect();
    slow.iter_mut().skip(1).for_each(|client| client.send([0x16, 3, 1, 0]));
    assert_eq!(connect(&stage, &certificates, None).get("/work").status, 200);
    slow.iter_mut().for_each(Client::is_closed);
}

#[test]
fn a_stream_over_tls_is_read_as_it_is_written() {
    let certificates = Certificates::make(&[]).unwrap();
    let stage = Stage::with_tls(Some(server_config(&certificates, false)), |_| {});
    let mut client = connect(&stage, &certificates, None);
    client.ask("/park");
    let stream = stage.parked().reply.stream(door::Response::text(200, ""));
    client.head();
    for length in [1, 100_000, 3] {
        assert!(stream.push(vec![b'x'; length]));
        assert_eq!(client.chunk().len(), length);
    }
    stream.end();
    assert_eq!(client.chunk(), b"");
}
