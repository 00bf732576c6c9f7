//! `[[storage.users]]`: who else may use the embedded store's API.

use std::collections::BTreeMap;

use storage::embedded::GUEST_PREFIX;

use super::Surroundings;
use super::broker::{host, username};
use super::reader::Section;
use super::users::secret_of;
use crate::model::{Secret, StoreRole, StoreUser};

/// The fields that may give a user's password, of which each user has exactly one.
const WAYS: [&str; 3] = ["password", "password_file", "password_env"];

/// `None` only when a problem was reported. `owner` is the name that the store's own user has, where it has one.
pub(super) fn read(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    owner: Option<&str>,
) -> Option<Vec<StoreUser>> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    names.extend(owner.map(|name| (name.to_owned(), "the store's own user".to_owned())));
    let listed = section.sections("users");
    let users: Vec<Option<StoreUser>> =
        listed.iter().map(|user| read_one(user, surroundings, &mut names)).collect();
    users.into_iter().collect()
}

fn read_one(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    names: &mut BTreeMap<String, String>,
) -> Option<StoreUser> {
    let name = section.required("name", not_an_instances);
    if let Some(name) = section.text("name")
        && let Some(first) = names.insert(name.to_owned(), section.path("name"))
    {
        section.problem("name", format!("{name} is that of {first} too"));
    }
    let role = read_role(section);
    let password = read_password(section, surroundings);
    section.end();
    Some(StoreUser { name: name?, role: role?, password: password? })
}

/// A name that no instance is given: it would stand before the instance's own.
pub(super) fn not_an_instances(raw: &str) -> Result<String, &'static str> {
    if raw.starts_with(GUEST_PREFIX) {
        return Err("must not begin as the names of instances do");
    }
    username(raw)
}

fn read_role(section: &Section<'_>) -> Option<StoreRole> {
    const ROLES: &str = "must be \"owner\", \"router\", \"registrar\" or \"monitor\"";
    let role = section.required_text("role")?;
    if role != "router" {
        section.misplaced("host", "is a router's; other roles have none");
    }
    if role != "registrar" {
        section.misplaced("hosts", "are a registrar's; other roles have none");
    }
    match role {
        "owner" => Some(StoreRole::Owner),
        "router" => Some(StoreRole::Router { host: section.required("host", host)? }),
        "registrar" => {
            let given = section.texts("hosts");
            if given.is_empty() {
                section
                    .problem("hosts", "is required: the host of each of its cells, such as [\"10.0.0.1\"]");
                return None;
            }
            let hosts = given.into_iter().map(host).collect::<Result<_, _>>();
            let hosts = hosts.map_err(|problem| section.problem("hosts", problem)).ok()?;
            Some(StoreRole::Registrar { hosts })
        }
        "monitor" => Some(StoreRole::Monitor),
        _ => {
            section.problem("role", ROLES);
            None
        }
    }
}

fn read_password(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<Secret> {
    const NO_HASH: &str = "costs too much at each request of a store; give the password, best in a file";
    section.misplaced("password_hash", NO_HASH);
    section.misplaced("password_hash_file", NO_HASH);
    // Each is asked for, so that each is known.
    let given: Vec<&'static str> = WAYS.into_iter().filter(|way| section.has(way)).collect();
    let [way] = given[..] else {
        match given.last() {
            Some(last) => section.problem(last, format!("is given beside {}: keep one of them", given[0])),
            None => section.problem("password", format!("is required; or give {}", WAYS[1..].join(", or "))),
        }
        return None;
    };
    let read = secret_of(way, section.required_text(way)?, section, surroundings);
    read.map_err(|problem| section.problem(way, problem)).ok()
}
