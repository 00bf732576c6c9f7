//! Making connections, and what is known of those that did not come about: an I/O error by itself does not tell whether
//! it came before the bytes of a request left, or whose certificate was at fault.

use std::net::{IpAddr, SocketAddr};
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};

/// Dials, and marks errors of dialling.
#[derive(Debug)]
pub(super) struct Dialer<C>(pub C);

/// Resolves names, and marks errors of that.
#[derive(Debug, Default)]
pub(super) struct Names(DefaultResolver);

/// No connection came about.
#[derive(Debug)]
struct NotConnected(ureq::Error);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection: {}", self.0)
    }
}

impl std::error::Error for NotConnected {}

fn not_connected(error: ureq::Error) -> ureq::Error {
    ureq::Error::Other(Box::new(NotConnected(error)))
}

impl<C: Connector<()>> Connector<()> for Dialer<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        self.0.connect(details, chained).map_err(not_connected)
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        // An address needs neither a lookup nor the thread that ureq makes for one, on every request.
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if let (Ok(address), Some(port)) = (host.parse::<IpAddr>(), port(uri)) {
            let mut addresses = self.empty();
            addresses.push(SocketAddr::new(address, port));
            return Ok(addresses);
        }
        self.0.resolve(uri, config, timeout).map_err(not_connected)
    }
}

fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or_else(|| match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    })
}

/// Whether it is certain that no byte of the request has left.
pub(super) fn not_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Other(inner) => inner.is::<NotConnected>(),
        ureq::Error::BadUri(_) => true,
        _ => false,
    }
}

/// What happened, for people.
pub(super) fn reason(error: &ureq::Error) -> String {
    match tls_error(error) {
        Some(error) => format!("TLS: {}", tls_reason(error)),
        None => match cause(error) {
            ureq::Error::Timeout(_) if not_sent(error) => "no connection within the time for it".to_owned(),
            ureq::Error::Timeout(_) => "no answer within the time for it".to_owned(),
            cause if not_sent(error) => format!("no connection: {cause}"),
            cause => cause.to_string(),
        },
    }
}

/// Whether the server has ended the handshake because of who we are, or are not. With TLS 1.3 it says so only after the
/// request was sent, and may take its connection away before its reason was read.
pub(super) fn is_refusal(error: &ureq::Error) -> bool {
    matches!(tls_error(error), Some(TlsError::AlertReceived(alert)) if is_about_us(*alert))
}

fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// Whether the server has left without a word.
pub(super) fn is_broken_off(error: &ureq::Error) -> bool {
    match cause(error) {
        ureq::Error::Io(error) => {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

fn cause(error: &ureq::Error) -> &ureq::Error {
    match error {
        ureq::Error::Other(inner) => {
            inner.downcast_ref::<NotConnected>().map_or(error, |NotConnected(inner)| cause(inner))
        }
        _ => error,
    }
}

fn tls_error(error: &ureq::Error) -> Option<&TlsError> {
    match cause(error) {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn tls_reason(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate does not come from the authority that we trust (ca)".to_owned()
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name than the one in the endpoint".to_owned(),
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired".to_owned()
        }
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            "it asks for a client certificate".to_owned()
        }
        TlsError::AlertReceived(alert) if is_about_us(*alert) => {
            format!("it does not take our certificate, or asks for one ({alert:?})")
        }
        TlsError::AlertReceived(alert) => format!("it has ended the handshake ({alert:?})"),
        TlsError::InvalidMessage(_) => "it does not speak TLS; is the endpoint http?".to_owned(),
        other => other.to_string(),
    }
}
