//! What another program, such as one in a container, needs in order to use the same store.

use std::fmt;

use crate::remote::Tls;

/// Where and how a store is reached from elsewhere. Its `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientAccess {
    /// The protocol, in the words of the programs that speak it: `etcd` is the v2 API, `etcd3` the v3 API, or `consul`.
    pub engine: &'static str,
    /// Base URLs, such as `http://10.244.21.4:4001`, all of one scheme, in order of preference.
    pub endpoints: Vec<String>,
    /// The user, if the store asks for one.
    pub username: Option<String>,
    /// The user's password; for Consul its token.
    pub password: Option<String>,
    /// For `https` endpoints: whom to trust, and who to be.
    pub tls: Option<Tls>,
    /// Where the store ties sessions to a node (Consul): the only one on which this client may make sessions.
    pub session_node: Option<String>,
}

impl fmt::Debug for ClientAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAccess")
            .field("engine", &self.engine)
            .field("endpoints", &self.endpoints)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "<redacted>"))
            .field("tls", &self.tls)
            .field("session_node", &self.session_node)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::ClientAccess;

    #[test]
    fn debug_leaves_the_password_out() {
        let access = ClientAccess {
            engine: "etcd",
            endpoints: vec!["http://127.0.0.1:4001".to_owned()],
            username: Some("patroni".to_owned()),
            password: Some("hush".to_owned()),
            tls: None,
            session_node: None,
        };
        let shown = format!("{access:?}");
        assert!(shown.contains("<redacted>") && !shown.contains("hush"), "{shown}");
    }
}
