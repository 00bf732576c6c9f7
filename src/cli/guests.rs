//! What containers show a store instead of the broker's own certificate, where the configuration says so.

use std::sync::Arc;

use storage::remote::{ClientCertificate, Tls};
use storage::{AccessControl, ClientAccess, Guest, StoreError};

/// The same access, under another client certificate.
pub(super) fn shown_as(access: ClientAccess, certificate: Option<&ClientCertificate>) -> ClientAccess {
    let Some(certificate) = certificate else { return access };
    let ca = access.tls.and_then(|tls| tls.ca);
    ClientAccess { tls: Some(Tls { ca, client: Some(certificate.clone()) }), ..access }
}

/// Lets the same guests in, each under a certificate that is not the broker's.
pub(super) struct GuestsShownAs {
    pub(super) guests: Arc<dyn AccessControl>,
    pub(super) certificate: ClientCertificate,
}

impl AccessControl for GuestsShownAs {
    fn admit(&self, guest: &Guest) -> Result<(), StoreError> {
        self.guests.admit(guest)
    }

    fn dismiss(&self, name: &str) -> Result<(), StoreError> {
        self.guests.dismiss(name)
    }

    fn guests(&self) -> Result<Vec<String>, StoreError> {
        self.guests.guests()
    }

    fn client_access(&self, guest: &Guest) -> ClientAccess {
        shown_as(self.guests.client_access(guest), Some(&self.certificate))
    }
}

#[cfg(test)]
mod tests {
    use storage::ClientAccess;
    use storage::remote::{ClientCertificate, Tls};

    use super::shown_as;

    #[test]
    fn containers_do_not_get_the_brokers_key() {
        let certificate = |name: &str| ClientCertificate { chain: name.to_owned(), key: name.to_owned() };
        let access = |tls: Option<Tls>| ClientAccess {
            engine: "etcd3",
            endpoints: vec!["https://e:1".to_owned()],
            username: None,
            password: None,
            tls,
            session_node: None,
        };
        let brokers = Tls { ca: Some("ca".to_owned()), client: Some(certificate("broker")) };
        let theirs = Tls { ca: Some("ca".to_owned()), client: Some(certificate("containers")) };
        let check = |given: Option<Tls>, own: Option<&ClientCertificate>, expected: Option<Tls>| {
            assert_eq!(shown_as(access(given), own).tls, expected);
        };
        let own = certificate("containers");
        check(Some(brokers.clone()), Some(&own), Some(theirs));
        check(Some(brokers.clone()), None, Some(brokers));
        check(None, Some(&own), Some(Tls { ca: None, client: Some(own.clone()) }));
        check(None, None, None);
    }
}
