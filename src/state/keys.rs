//! The store's layout; see "Keys" in `docs/architecture.md`. No other module spells a key.

use storage::Key;
use storage::embedded::permissions::Pattern;

use crate::model::{BindingId, CellGuid, ContainerName, InstanceId, NodeId};

/// The names at the top that no image's registrar entries may take.
pub const TOP_LEVEL: [&str; 4] = ["service", "serviceinstances", "routing", "broker"];

/// What Patroni keeps in its scope beside the members' keys; `optime/leader` it writes only next to a member older than
/// 2.1 (`AbstractDCS` in `patroni/dcs/__init__.py`).
const PATRONIS: [&str; 8] =
    ["initialize", "leader", "config", "status", "sync", "failover", "history", "failsafe"];

/// Ids are safe segments by construction (see `model`), so that joining them is always a key.
fn key(path: &str) -> Key {
    Key::parse(path).expect("fixed words and checked ids make a key")
}

/// Of fixed words only.
fn pattern(path: &str) -> Pattern {
    Pattern::parse(path).expect("fixed words make a pattern")
}

/// `/service`: every instance's record, and what Patroni keeps beside it.
#[must_use]
pub fn services() -> Key {
    key("/service")
}

/// `/service/<instance>`: the record and Patroni's keys.
#[must_use]
pub fn scope(instance: &InstanceId) -> Key {
    key(&format!("/service/{instance}"))
}

/// `/service/<instance>/state`: the record.
#[must_use]
pub fn record(instance: &InstanceId) -> Key {
    key(&format!("/service/{instance}/state"))
}

/// `/service/<instance>/members`: what Patroni's members say of themselves.
#[must_use]
pub fn members(instance: &InstanceId) -> Key {
    key(&format!("/service/{instance}/members"))
}

/// `/service/<instance>/members/<node>`: what this member says of itself.
#[must_use]
pub fn member(instance: &InstanceId, node: &NodeId) -> Key {
    key(&format!("/service/{instance}/members/{node}"))
}

/// Patroni's keys of an instance, except the members'.
pub fn of_patroni(instance: &InstanceId) -> impl Iterator<Item = Key> {
    PATRONIS.iter().map(move |name| key(&format!("/service/{instance}/{name}")))
}

/// `/service/<instance>/leader`: the name of the member that holds the leader's lock.
#[must_use]
pub fn leader(instance: &InstanceId) -> Key {
    key(&format!("/service/{instance}/leader"))
}

/// `/service/<instance>/config`: Patroni's dynamic configuration, JSON.
#[must_use]
pub fn config(instance: &InstanceId) -> Key {
    key(&format!("/service/{instance}/config"))
}

/// `/service/<instance>/sync`: who may take over in synchronous mode, JSON.
#[must_use]
pub fn sync(instance: &InstanceId) -> Key {
    key(&format!("/service/{instance}/sync"))
}

/// `/service/<instance>/initialize`: Patroni's mark of a cluster that has been, or is being, bootstrapped.
#[must_use]
pub fn initialize(instance: &InstanceId) -> Key {
    key(&format!("/service/{instance}/initialize"))
}

/// `/serviceinstances`: the index of nodes, and the bindings.
#[must_use]
pub fn service_instances() -> Key {
    key("/serviceinstances")
}

/// `/serviceinstances/<instance>/nodes`: the instance's part of the index of nodes.
#[must_use]
pub fn nodes(instance: &InstanceId) -> Key {
    key(&format!("/serviceinstances/{instance}/nodes"))
}

/// `/serviceinstances/<instance>/nodes/<node>/backend`: the node's cell.
#[must_use]
pub fn backend(instance: &InstanceId, node: &NodeId) -> Key {
    key(&format!("/serviceinstances/{instance}/nodes/{node}/backend"))
}

/// `/serviceinstances/<instance>/bindings`: the bindings' records.
#[must_use]
pub fn bindings(instance: &InstanceId) -> Key {
    key(&format!("/serviceinstances/{instance}/bindings"))
}

/// One binding's record.
#[must_use]
pub fn binding(instance: &InstanceId, binding: &BindingId) -> Key {
    key(&format!("/serviceinstances/{instance}/bindings/{binding}"))
}

/// `/routing`: what routers watch.
#[must_use]
pub fn routing() -> Key {
    key("/routing")
}

/// `/routing/allocation`: the public ports.
#[must_use]
pub fn allocations() -> Key {
    key("/routing/allocation")
}

/// `/routing/allocation/<instance>`: the instance's public port.
#[must_use]
pub fn allocation(instance: &InstanceId) -> Key {
    key(&format!("/routing/allocation/{instance}"))
}

/// `/routing/nextport`: the next public port to be tried.
#[must_use]
pub fn next_port() -> Key {
    key("/routing/nextport")
}

/// `/broker/cordons`: the cells that take no new nodes.
#[must_use]
pub fn cordons() -> Key {
    key("/broker/cordons")
}

/// `/broker/cordons/<cell>`: why, and whether it is being drained.
#[must_use]
pub fn cordon(cell: &CellGuid) -> Key {
    key(&format!("/broker/cordons/{cell}"))
}

/// `/broker/orphans`: containers owed for removal whose instances are gone.
#[must_use]
pub fn orphans() -> Key {
    key("/broker/orphans")
}

/// `/broker/orphans/<cell>`: those on one cell.
#[must_use]
pub fn orphans_on(cell: &CellGuid) -> Key {
    key(&format!("/broker/orphans/{cell}"))
}

/// `/broker/orphans/<cell>/<node>`: one of them.
#[must_use]
pub fn orphan(cell: &CellGuid, node: &NodeId) -> Key {
    key(&format!("/broker/orphans/{cell}/{node}"))
}

/// `/broker/ports/public`: claims on public ports.
#[must_use]
pub fn public_claims() -> Key {
    key("/broker/ports/public")
}

/// `/broker/ports/cell/<cell>`: claims on a cell's ports.
#[must_use]
pub fn cell_claims(cell: &CellGuid) -> Key {
    key(&format!("/broker/ports/cell/{cell}"))
}

/// `/broker/ports/cell`: claims on every cell's ports.
#[must_use]
pub fn all_cell_claims() -> Key {
    key("/broker/ports/cell")
}

/// `/broker/routers`: what each router has applied.
#[must_use]
pub fn routers() -> Key {
    key("/broker/routers")
}

/// `/broker/routers/<host>`: what the router of this host has applied; `None` where the host's name makes no key.
#[must_use]
pub fn router(host: &str) -> Option<Key> {
    routers().child(host).ok()
}

/// What routers read of Patroni's, in every instance's scope.
pub fn of_routers() -> impl Iterator<Item = Pattern> {
    ["/service/*/leader", "/service/*/members/**"].into_iter().map(pattern)
}

/// `/broker/pending`: the instances with an operation under way.
#[must_use]
pub fn pending_operations() -> Key {
    key("/broker/pending")
}

/// `/broker/pending/<instance>`: written before an operation is recorded, removed after it has ended.
#[must_use]
pub fn pending(instance: &InstanceId) -> Key {
    key(&format!("/broker/pending/{instance}"))
}

/// `/broker/leases/<instance>`: who performs the instance's operation.
#[must_use]
pub fn lease(instance: &InstanceId) -> Key {
    key(&format!("/broker/leases/{instance}"))
}

/// `/<image>`: where the registrar announces the containers of an image; `None` for one that it does not announce.
#[must_use]
pub fn registry(image: &str) -> Option<Key> {
    let name = image_name(image);
    if TOP_LEVEL.contains(&name) { None } else { Key::root().child(name).ok() }
}

/// `/<image>/<host>:<container>` as text: with `:<container port>` added, where the registrar announces a container.
#[must_use]
pub fn registry_prefix(image: &str, host: &str, container: &ContainerName) -> String {
    format!("/{}/{host}:{container}", image_name(image))
}

/// `/<image>/<host>:<container>:<container port>` of every image: what is announced of a host's containers; `None`
/// where the host's name makes no key.
#[must_use]
pub fn announcements_of(host: &str) -> Option<Pattern> {
    Pattern::parse(&format!("/*/{host}:*:*")).ok()
}

/// What no image may be called.
pub fn top_level() -> impl Iterator<Item = Key> {
    TOP_LEVEL.into_iter().map(|name| key(&format!("/{name}")))
}

/// An image's last path segment, without tag and digest.
#[must_use]
pub fn image_name(image: &str) -> &str {
    let path = image.split_once('@').map_or(image, |(path, _)| path);
    let last = path.rsplit('/').next().unwrap_or(path);
    last.split_once(':').map_or(last, |(name, _)| name)
}

/// Whether the key is that of an instance's record.
#[must_use]
pub fn is_record(key: &Key) -> bool {
    matches!(key.segments().collect::<Vec<_>>()[..], ["service", _, "state"])
}

/// Whether the key is one of those that Patroni keeps beside a record.
#[must_use]
pub fn is_of_patroni(key: &Key) -> bool {
    matches!(key.segments().collect::<Vec<_>>()[..], ["service", _, _, ..]) && !is_record(key)
}

/// Whether whoever writes the key gives it a TTL and refreshes it: leases, routers' reports, what the registrar
/// announces, and the locks and reports of Patroni's members. A copy without TTL would speak for ever for one who may
/// be gone.
#[must_use]
pub fn is_ephemeral(key: &Key) -> bool {
    match key.segments().collect::<Vec<_>>()[..] {
        ["broker", "leases" | "routers", _, ..] => true,
        ["service", _, "leader"] | ["service", _, "members", _] => true,
        [top, name] => !TOP_LEVEL.contains(&top) && is_announcement(name),
        _ => false,
    }
}

/// Whether the key is where a member of Patroni's reports itself.
#[must_use]
pub fn is_member(key: &Key) -> bool {
    matches!(key.segments().collect::<Vec<_>>()[..], ["service", _, "members", _])
}

/// `<host>:<container>:<container port>`; a host may be an IPv6 address.
fn is_announcement(name: &str) -> bool {
    let container = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut parts = name.rsplitn(3, ':');
    let (Some(port), Some(name), Some(host)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    port.parse::<u16>().is_ok() && !name.is_empty() && name.chars().all(container) && !host.is_empty()
}

#[cfg(test)]
mod tests {
    use storage::Key;

    use super::{image_name, is_ephemeral, is_of_patroni};

    #[test]
    fn keys_tell_whose_they_are() {
        let check = |key: &str, expected: &str| {
            let key = Key::parse(key).unwrap();
            let found = match (is_ephemeral(&key), is_of_patroni(&key)) {
                (true, true) => "ephemeral, Patroni's",
                (true, false) => "ephemeral",
                (false, true) => "Patroni's",
                (false, false) => "",
            };
            assert_eq!(found, expected, "{key}");
        };
        check("/service/b1/state", "");
        check("/service/b1", "");
        check("/service/b1/leader", "ephemeral, Patroni's");
        check("/service/b1/members/n1", "ephemeral, Patroni's");
        check("/service/b1/initialize", "Patroni's");
        check("/service/b1/optime/leader", "Patroni's");
        check("/serviceinstances/b1/bindings/x", "");
        check("/serviceinstances/10.0.0.1:pb-1:5432", "");
        check("/routing/nextport", "");
        check("/broker/leases/b1", "ephemeral");
        check("/broker/routers/host", "ephemeral");
        check("/broker/pending/b1", "");
        check("/postgresql-patroni/10.0.0.1:pb-1:5432", "ephemeral");
        check("/postgresql-patroni/fd00::1:pb-1:5432", "ephemeral");
        check("/nginx/host:web_1.a:80", "ephemeral");
        check("/nginx/host:web:http", "");
        check("/nginx/host:80", "");
        check("/vault/core/seal", "");
    }

    #[test]
    fn an_image_is_called_by_its_last_segment() {
        let check = |image: &str, expected: &str| assert_eq!(image_name(image), expected, "{image}");
        check("postgresql-patroni", "postgresql-patroni");
        check("patroni-broker/postgresql-patroni:17", "postgresql-patroni");
        check("registry:5000/a/b:1@sha256:00ff", "b");
        check("registry:5000/a/b", "b");
    }
}
