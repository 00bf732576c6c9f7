//! `[storage]`: which engine, and how it is reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use storage::consul::Token;

use super::Surroundings;
use super::broker::{not_empty, socket, username, warn_of_example};
use super::http::{self, Door, HttpConfig};
use super::reader::Section;
use super::secret::Source;
use super::servers::{self, Servers, http_url};
use super::store_users;
use crate::model::{Secret, StoreUser};

/// A name and a password.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Where everything is kept.
#[derive(Clone, Debug)]
pub enum StorageConfig {
    /// A file of our own, and an etcd v2 API over it for Patroni, the router, the registrar and other commands.
    Embedded {
        /// The directory of the file.
        path: PathBuf,
        /// Where the API listens.
        listen: SocketAddr,
        /// The URL at which others reach the API, without a trailing slash. Defaults to `http://` and `listen`.
        advertise: String,
        /// What the API asks for: it is never open.
        credentials: Credentials,
        /// Who else may use the API. Instances are not among them: the broker lets each of them in by itself.
        users: Vec<StoreUser>,
        /// What the API bears of its callers.
        http: HttpConfig,
    },
    /// An etcd that serves `/v2/keys`. Its guests are not kept apart.
    EtcdV2 {
        /// How it is reached.
        servers: Servers,
        /// None where the etcd has no authentication.
        credentials: Option<Credentials>,
    },
    /// An etcd that serves the JSON gateway `/v3`.
    EtcdV3 {
        /// How it is reached.
        servers: Servers,
        /// None where the etcd has no authentication.
        credentials: Option<Credentials>,
        /// Who makes the users that containers are. Without it containers are who the broker is.
        administrator: Option<Credentials>,
    },
    /// A Consul.
    Consul {
        /// How it is reached.
        servers: Servers,
        /// None where the Consul has no access control.
        token: Option<Secret>,
        /// The token that makes the tokens of containers. Without it containers have the broker's.
        administrator: Option<Secret>,
    },
}

impl StorageConfig {
    /// The engine, as the file names it.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Embedded { .. } => "embedded",
            Self::EtcdV2 { .. } => "etcd-v2",
            Self::EtcdV3 { .. } => "etcd-v3",
            Self::Consul { .. } => "consul",
        }
    }

    /// How the store is reached over a network; `None` for the embedded one.
    #[must_use]
    pub fn servers(&self) -> Option<&Servers> {
        match self {
            Self::Embedded { .. } => None,
            Self::EtcdV2 { servers, .. } | Self::EtcdV3 { servers, .. } | Self::Consul { servers, .. } => {
                Some(servers)
            }
        }
    }
}

/// With `containers`, there are some that have to reach the store.
pub(super) fn read(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    containers: bool,
) -> Option<StorageConfig> {
    let config = match section.required_text("engine")? {
        "embedded" => read_embedded(section, surroundings, containers),
        "etcd-v2" => read_etcd_v2(section, surroundings),
        "etcd-v3" => read_etcd_v3(section, surroundings),
        "consul" => read_consul(section, surroundings),
        other => {
            let hint = meant(other).map(|meant| format!("; do you mean {meant}?")).unwrap_or_default();
            let message =
                format!("must be \"embedded\", \"etcd-v2\", \"etcd-v3\" or \"consul\", not {other:?}{hint}");
            section.problem("engine", message);
            return None;
        }
    };
    // Only here: of an unknown engine, nobody knows the fields.
    section.end();
    config
}

/// The engine that was probably meant.
fn meant(raw: &str) -> Option<&'static str> {
    let plain: String = raw.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "etcd" => Some("\"etcd-v2\" or \"etcd-v3\""),
        "etcd2" | "etcdv2" => Some("\"etcd-v2\""),
        "etcd3" | "etcdv3" => Some("\"etcd-v3\""),
        "consul" => Some("\"consul\""),
        "embedded" | "redb" => Some("\"embedded\""),
        _ => None,
    }
}

fn read_embedded(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    containers: bool,
) -> Option<StorageConfig> {
    section.misplaced(
        "administrator",
        "is not needed: the broker serves the store, and gives each instance a user of its own",
    );
    let path = section.required("path", not_empty);
    let listen = section.required("listen", socket);
    let advertise = advertise(section, listen, containers);
    let username = section.optional("username", "patroni-broker", store_users::not_an_instances);
    let password = Source::password(super::STORAGE_PASSWORD_VARIABLE).read(section, surroundings);
    let users = store_users::read(section, surroundings, username.as_deref());
    let http = http::read(&section.section("http"), Door::Store);
    let (listen, password) = (listen?, password?);
    if !listen.ip().is_loopback() {
        warn_of_example(section, "password", &password, listen);
        for user in users.iter().flatten() {
            warn_of_example(section, "users", &user.password, listen);
        }
    }
    Some(StorageConfig::Embedded {
        path: surroundings.path(&path?),
        listen,
        advertise: advertise?,
        credentials: Credentials { username: username?, password },
        users: users?,
        http,
    })
}

/// The address that is put into containers has to be one that they can call.
fn advertise(section: &Section<'_>, listen: Option<SocketAddr>, containers: bool) -> Option<String> {
    if section.has("advertise") {
        return section.required("advertise", http_url);
    }
    let listen = listen?;
    if listen.ip().is_unspecified() || listen.port() == 0 {
        let message =
            format!("is required, since nobody can call {listen}; such as \"http://172.17.0.1:4001\"");
        section.problem("advertise", message);
        return None;
    }
    if containers && listen.ip().is_loopback() {
        section.warning(
            "listen",
            format!(
                "containers cannot reach {listen}: give an address of this host that they reach, or advertise"
            ),
        );
    }
    Some(format!("http://{listen}"))
}

fn read_etcd_v2(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<StorageConfig> {
    section.misplaced(
        "administrator",
        "etcd v2 is not isolated: every container gets the broker's own rights; use \"etcd-v3\"",
    );
    let servers = servers::read(section, surroundings);
    let credentials = read_etcd_user(section, surroundings);
    let (servers, credentials) = (servers?, credentials?);
    if credentials.is_some() {
        servers.warn_of_plain_secrets(section, "password");
    }
    Some(StorageConfig::EtcdV2 { servers, credentials })
}

fn read_etcd_v3(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<StorageConfig> {
    let servers = servers::read(section, surroundings);
    let credentials = read_etcd_user(section, surroundings);
    let administrator = read_administrator(section, |section, named| {
        let source = Source::password(super::ADMINISTRATOR_PASSWORD_VARIABLE);
        section.misplaced("token", "is Consul's; etcd takes username and password");
        section.misplaced("token_file", "is Consul's; etcd takes username and password");
        let given = source.gives(section, surroundings);
        if !named && !given {
            return Some(None);
        }
        let username = section.required("username", username);
        let password = source.read(section, surroundings);
        Some(Some(Credentials { username: username?, password: password? }))
    });
    let (servers, credentials, administrator) = (servers?, credentials?, administrator?);
    if credentials.is_some() || administrator.is_some() {
        servers.warn_of_plain_secrets(section, "password");
    }
    warn_of_guests(section, &servers, administrator.is_some());
    Some(StorageConfig::EtcdV3 { servers, credentials, administrator })
}

fn read_consul(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<StorageConfig> {
    refuse_users(section);
    let servers = servers::read(section, surroundings);
    let token = read_token(section, surroundings, super::STORAGE_TOKEN_VARIABLE, false);
    let administrator = read_administrator(section, |section, named| {
        refuse_users(section);
        read_token(section, surroundings, super::ADMINISTRATOR_TOKEN_VARIABLE, named)
    });
    let (servers, token, administrator) = (servers?, token?, administrator?);
    if token.is_some() || administrator.is_some() {
        servers.warn_of_plain_secrets(section, "token");
    }
    warn_of_guests(section, &servers, administrator.is_some());
    Some(StorageConfig::Consul { servers, token, administrator })
}

/// `None` is a problem that was reported, `Some(None)` that there is no user.
fn read_etcd_user(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<Option<Credentials>> {
    const WRONG: &str = "is Consul's; etcd takes username and password";
    section.misplaced("token", WRONG);
    section.misplaced("token_file", WRONG);
    let source = Source::password(super::STORAGE_PASSWORD_VARIABLE);
    let gives_password = source.gives(section, surroundings);
    if section.has("username") {
        let username = section.required("username", username);
        let password = source.read(section, surroundings);
        return Some(Some(Credentials { username: username?, password: password? }));
    }
    if gives_password {
        section.problem("username", "is required beside a password");
        return None;
    }
    Some(None)
}

fn read_token(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    variable: &'static str,
    required: bool,
) -> Option<Option<Secret>> {
    let source = Source::token(variable);
    if !source.gives(section, surroundings) && !required {
        return Some(None);
    }
    let token = source.read(section, surroundings)?;
    match Token::parse(token.expose()) {
        Ok(_) => Some(Some(token)),
        Err(error) => {
            section.problem("token", error.to_string());
            None
        }
    }
}

fn refuse_users(section: &Section<'_>) {
    for field in ["username", "password", "password_file"] {
        section.misplaced(field, "is etcd's; Consul takes a token");
    }
}

/// Reads `administrator`; `read` is told whether the table is there.
fn read_administrator<T>(
    section: &Section<'_>,
    read: impl FnOnce(&Section<'_>, bool) -> Option<Option<T>>,
) -> Option<Option<T>> {
    let named = section.has("administrator");
    let inner = section.section("administrator");
    let found = read(&inner, named);
    inner.end();
    found
}

/// A container that is taken over can do to the store what its credentials can.
fn warn_of_guests(section: &Section<'_>, servers: &Servers, administrator: bool) {
    if !administrator {
        let message = "is not given: every container gets the broker's own rights in the store";
        section.warning("administrator", message);
    } else if servers.containers_are_the_broker() {
        let message = "is not given: every container gets the broker's own client certificate";
        section.warning("container_tls", message);
    }
}
