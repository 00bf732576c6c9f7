//! Who else may use the embedded store's API, as the configuration lists them.

use super::Secret;

/// Somebody who may use the API. Names are unique, hold no colon (RFC 7617) and are none that guests have; the
/// configuration checks that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUser {
    /// As it is sent.
    pub name: String,
    /// What he may do.
    pub role: StoreRole,
    /// By what he is known.
    pub password: Secret,
}

/// What a user of the store may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRole {
    /// Everything, as the store's own user.
    Owner,
    /// What a router does: read ports, members and leaders, and report what it has applied.
    Router {
        /// What the router's machine calls itself.
        host: String,
    },
    /// What a registrar does: announce the containers of these hosts.
    Registrar {
        /// The hosts of its cells.
        hosts: Vec<String>,
    },
    /// Ask how the store is, and read no key.
    Monitor,
}
