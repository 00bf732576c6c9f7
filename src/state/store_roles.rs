//! What the roles of the embedded store's users come to, key by key.

use storage::embedded::permissions::{Pattern, Permissions};

use super::keys;
use crate::model::StoreRole;

/// What somebody with this role may see and change.
#[must_use]
pub fn permissions(role: &StoreRole) -> Permissions {
    match role {
        StoreRole::Owner => Permissions::all(),
        StoreRole::Router { host } => {
            let read = [Pattern::tree(&keys::allocations())].into_iter().chain(keys::of_routers());
            let write = keys::router(host).iter().map(Pattern::key).collect();
            Permissions::new(read.collect(), write, Vec::new())
        }
        StoreRole::Registrar { hosts } => {
            let write = hosts.iter().filter_map(|host| keys::announcements_of(host)).collect();
            Permissions::new(Vec::new(), write, keys::top_level().collect())
        }
        StoreRole::Monitor => Permissions::default().with_statistics(),
    }
}

#[cfg(test)]
mod tests {
    use super::permissions;
    use crate::model::StoreRole;

    #[test]
    fn roles_are_these_patterns() {
        let check = |role: StoreRole, expected: &str| {
            assert_eq!(format!("{:?}", permissions(&role)), format!("Permissions {{ {expected} }}"));
        };
        check(StoreRole::Owner, "read: [], write: [/**], never: [], statistics: true");
        check(
            StoreRole::Router { host: "r1".to_owned() },
            "read: [/routing/allocation/**, /service/*/leader, /service/*/members/**], \
             write: [/broker/routers/r1], never: [], statistics: false",
        );
        check(
            StoreRole::Registrar { hosts: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()] },
            "read: [], write: [/*/10.0.0.1:*:*, /*/fd00::1:*:*], \
             never: [Key(/service), Key(/serviceinstances), Key(/routing), Key(/broker)], statistics: false",
        );
        check(StoreRole::Monitor, "read: [], write: [], never: [], statistics: true");
    }
}
