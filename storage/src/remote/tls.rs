//! Certificates, read and checked before anybody is called.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::InvalidReach;

/// What is needed to speak to a server by TLS, as PEM. `Debug` leaves the key out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that the server's certificate must come from. Without it, the publicly known ones.
    pub ca: Option<String>,
    /// Who we are, where the server asks.
    pub client: Option<ClientCertificate>,
}

/// A certificate with its key, as PEM. `Debug` leaves the key out.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, then those that lead from it to the authority.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("chain", &self.chain).field("key", &"<redacted>").finish()
    }
}

impl Tls {
    /// Reads every part, and makes sure that the key is the certificate's.
    ///
    /// # Errors
    /// [`InvalidReach::Tls`] says which part is wrong.
    pub fn check(&self) -> Result<(), InvalidReach> {
        self.config().map(drop)
    }

    /// As the HTTP client takes it.
    ///
    /// # Errors
    /// As [`Tls::check`].
    pub fn config(&self) -> Result<TlsConfig, InvalidReach> {
        let mut config = TlsConfig::builder();
        if let Some(ca) = &self.ca {
            let authorities = certificates(ca, "the CA file")?;
            config = config.root_certs(RootCerts::Specific(Arc::new(authorities)));
        }
        if let Some(client) = &self.client {
            let chain = certificates(&client.chain, "the certificate file")?;
            let key = PrivateKey::from_pem(client.key.as_bytes())
                .map_err(|_| InvalidReach::Tls("the key file holds no private key".to_owned()))?;
            fit(&chain, &client.key)?;
            config = config.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        Ok(config.build())
    }
}

fn certificates(pem: &str, what: &str) -> Result<Vec<Certificate<'static>>, InvalidReach> {
    let wrong = |reason: &str| InvalidReach::Tls(format!("{what} {reason}"));
    let mut found = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| wrong("is not PEM"))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(wrong("holds no certificate"));
    }
    let mut store = RootCertStore::empty();
    for certificate in &found {
        // Whatever can't be an authority can't be a certificate at all: this is all that is checked of it here.
        let der = CertificateDer::from(certificate.der());
        store.add(der).map_err(|_| wrong("holds a certificate that cannot be read"))?;
    }
    Ok(found)
}

/// The HTTP client trusts that they fit, and panics where they don't.
fn fit(chain: &[Certificate<'static>], key: &str) -> Result<(), InvalidReach> {
    let wrong = |reason: &str| InvalidReach::Tls(reason.to_owned());
    let unusable = || wrong("the key file holds a key that cannot be used");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| unusable())?;
    let signing = ring::sign::any_supported_type(&key).map_err(|_| unusable())?;
    let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
    CertifiedKey::new(chain, signing)
        .keys_match()
        .map_err(|_| wrong("the key is not that of the certificate"))
}

#[cfg(test)]
mod tests {
    use super::{ClientCertificate, Tls};

    #[test]
    fn debug_leaves_the_key_out() {
        let client = ClientCertificate { chain: "chain".to_owned(), key: "hush".to_owned() };
        let tls = Tls { ca: None, client: Some(client) };
        assert!(!format!("{tls:?}").contains("hush"));
    }

    #[test]
    fn what_is_no_pem_is_refused() {
        let check = |tls: Tls, expected: &str| {
            let found = tls.check().map_err(|error| error.to_string());
            assert_eq!(found.err().as_deref(), Some(expected));
        };
        let client = |chain: &str, key: &str| {
            let client = ClientCertificate { chain: chain.to_owned(), key: key.to_owned() };
            Tls { ca: None, client: Some(client) }
        };
        check(Tls { ca: Some("x".to_owned()), client: None }, "TLS: the CA file holds no certificate");
        check(client("", ""), "TLS: the certificate file holds no certificate");
        assert_eq!(Tls::default().check(), Ok(()));
    }
}
