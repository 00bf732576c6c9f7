//! `[broker.tls]`: who the API is, and whom it lets in. Certificates and keys are read and held against each other here,
//! so that a wrong one is a problem of the configuration and not a connection that fails.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_server::crypto::{CryptoProvider, ring};
use rustls_server::pki_types::pem::PemObject;
use rustls_server::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_server::server::WebPkiClientVerifier;
use rustls_server::{InconsistentKeys, RootCertStore, ServerConfig};

use super::certificate::Validity;
use super::problem::Findings;
use super::reader::Section;
use super::servers::read_file;
use super::{Problem, Surroundings};

/// HTTPS, ready to be served. Reading the configuration anew reads the files anew.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// What the door needs: the certificate, the key, and whom to ask for a certificate.
    pub config: Arc<ServerConfig>,
    /// Whether clients must show a certificate, may show one, or are not asked.
    pub clients: ClientCertificates,
}

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing but a password.
    NotAsked,
    /// One by the authority, beside the password.
    Required,
    /// As [`ClientCertificates::Required`] where one is shown; the password alone is enough.
    Optional,
}

/// As `[broker.tls]` with nothing but these two files; warnings beside.
///
/// # Errors
/// Says everything that is wrong with them.
pub fn read_server_tls(cert: &str, key: &str) -> Result<(ServerTls, Vec<Problem>), Vec<Problem>> {
    let fields = [("cert", cert), ("key", key)];
    let table = fields.map(|(name, file)| (name.to_owned(), toml::Value::from(file))).into_iter().collect();
    let findings = Findings::default();
    let surroundings = Surroundings { directory: Path::new(""), environment: &|_| None };
    let read = read(&Section::root(&table, &findings), surroundings);
    let (problems, warnings) = findings.into_parts();
    read.filter(|_| problems.is_empty()).map(|tls| (tls, warnings)).ok_or(problems)
}

pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<ServerTls> {
    let chain =
        read_file(section, surroundings, "cert", false).and_then(|pem| certificates(section, "cert", &pem));
    let key = read_file(section, surroundings, "key", true).and_then(|pem| {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        key.map_err(|_| problem(section, "key", "holds no private key")).ok()
    });
    let authorities = section.has("client_ca").then(|| {
        let pem = read_file(section, surroundings, "client_ca", false)?;
        certificates(section, "client_ca", &pem)
    });
    let clients = section.has("client_certificates").then(|| {
        section.required("client_certificates", |raw| match raw {
            "required" => Ok(ClientCertificates::Required),
            "optional" => Ok(ClientCertificates::Optional),
            _ => Err("must be \"required\" or \"optional\""),
        })
    });
    section.end();
    if clients.is_some() && authorities.is_none() {
        section.problem("client_certificates", "has no use without client_ca");
        return None;
    }
    let clients = match (&authorities, clients) {
        (Some(_), Some(given)) => given?,
        (Some(_), None) => ClientCertificates::Required,
        (None, _) => ClientCertificates::NotAsked,
    };
    let authorities = match authorities {
        Some(read) => Some(read?),
        None => None,
    };
    let config = server_config(section, chain?, key?, authorities, clients)?;
    Some(ServerTls { config: Arc::new(config), clients })
}

fn server_config(
    section: &Section<'_>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Option<Vec<CertificateDer<'static>>>,
    clients: ClientCertificates,
) -> Option<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let unusable = |field: &'static str, error: rustls_server::Error| {
        let reason = match error {
            rustls_server::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "holds a key that is not the certificate's".to_owned()
            }
            other => format!("cannot be used: {other}"),
        };
        problem(section, field, &reason);
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("cert", error))
        .ok()?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            builder.with_client_cert_verifier(verifier(section, authorities, clients, provider)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable("key", error)).ok()?;
    // Nobody is led to believe that HTTP/2 is spoken.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(config)
}

fn verifier(
    section: &Section<'_>,
    authorities: Vec<CertificateDer<'static>>,
    clients: ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Option<Arc<dyn rustls_server::server::danger::ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|_| problem(section, "client_ca", "holds what is no authority")).ok()?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match clients {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        _ => builder,
    };
    let built = builder.build();
    built.map_err(|error| problem(section, "client_ca", &format!("cannot be used: {error}"))).ok()
}

/// At least one. Warns of those that are not valid now.
fn certificates(
    section: &Section<'_>,
    field: &'static str,
    pem: &str,
) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = read.map_err(|_| problem(section, field, "is not PEM")).ok()?;
    if found.is_empty() {
        problem(section, field, "holds no certificate");
        return None;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    for certificate in &found {
        let Some(validity) = Validity::of(certificate) else {
            problem(section, field, "holds a certificate that cannot be read");
            return None;
        };
        if let Some(doubt) = validity.doubt(now) {
            let file = section.text(field).unwrap_or_default();
            section.warning(field, format!("{file} holds a certificate that {doubt}"));
        }
    }
    Some(found)
}

/// Names the file.
fn problem(section: &Section<'_>, field: &'static str, reason: &str) {
    let file = section.text(field).unwrap_or_default();
    section.problem(field, format!("{file} {reason}"));
}
