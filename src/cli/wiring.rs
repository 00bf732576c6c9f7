//! Turns a configuration into the parts that commands work with.

use std::net::TcpListener;
use std::sync::Arc;

use storage::embedded::http::{Access, Server, ServerOptions, User};
use storage::embedded::{self, Embedded};
use storage::remote::{self, InvalidReach, Reach, Unusable};
use storage::{AccessControl, ClientAccess, Consul, EtcdV2, EtcdV3, Store, consul, etcd_v3};

use super::Failure;
use super::guests::{GuestsShownAs, shown_as};
use crate::config::{Credentials, HttpConfig, Servers, StorageConfig};
use crate::model::{Secret, StoreUser};
use crate::services::StoreAccess;
use crate::state::store_roles;

/// The store of the process that serves it.
pub(super) struct OpenStore {
    /// The store.
    pub(super) store: Arc<dyn Store>,
    /// How containers reach it.
    pub(super) access: StoreAccess,
    /// The embedded store's API, served as long as this value lives.
    pub(super) server: Option<Arc<Server>>,
}

/// Opens the embedded store and serves its API, or connects to another one and makes sure that it can be used, and
/// that guests can be let in where there is an administrator.
pub(super) fn open_store(config: &StorageConfig) -> Result<OpenStore, Failure> {
    let StorageConfig::Embedded { path, listen, advertise, credentials, users, http } = config else {
        let (store, shared) = connect(config)?;
        let certificate = config.servers().and_then(|servers| servers.container_certificate.as_ref());
        let guests = connect_guests(config)?.map(|guests| match certificate.cloned() {
            Some(certificate) => Arc::new(GuestsShownAs { guests, certificate }) as Arc<dyn AccessControl>,
            None => guests,
        });
        let access = StoreAccess { shared: shown_as(shared, certificate), guests };
        return Ok(OpenStore { store, access, server: None });
    };
    let store = Embedded::open(path, embedded::Options::default())
        .map_err(|error| unusable(config, &error.to_string()))?;
    let store = Arc::new(store);
    let listener = TcpListener::bind(listen)
        .map_err(|error| Failure::Failed(format!("storage.listen {listen}: {error}")))?;
    let options = ServerOptions {
        access: Access::Basic {
            username: credentials.username.clone(),
            password: credentials.password.expose().to_owned(),
        },
        users: api_users(users),
        advertise: vec![advertise.clone()],
        limits: limits(http),
        max_body_bytes: http.max_body_bytes,
        ..ServerOptions::basic("", "")
    };
    let server = Server::start(Arc::clone(&store), listener, options)?;
    // Who serves the store needs nobody's leave to let guests in.
    let access = StoreAccess { shared: server.client_access(), guests: Some(Arc::new(server.guests())) };
    Ok(OpenStore { store, access, server: Some(Arc::new(server)) })
}

/// The users of the embedded store's API, with what their roles let them do.
pub(super) fn api_users(users: &[StoreUser]) -> Vec<User> {
    let user = |user: &StoreUser| User {
        name: user.name.clone(),
        password: user.password.expose().to_owned(),
        permissions: store_roles::permissions(&user.role),
    };
    users.iter().map(user).collect()
}

/// What a door bears, as the configuration says.
pub(super) fn limits(http: &HttpConfig) -> door::Limits {
    door::Limits {
        workers: http.workers,
        queue: http.queue,
        max_connections: http.max_connections,
        max_head_bytes: http.max_head_bytes,
        max_request_memory: http.max_body_memory,
        head_timeout: http.head_timeout,
        body_timeout: http.body_timeout,
        idle_timeout: http.idle_timeout,
        write_timeout: http.write_timeout,
        handshake_timeout: http.handshake_timeout,
        ..door::Limits::default()
    }
}

/// The store as every other process reaches it: redb locks its file, so that the embedded one is reached through the
/// process that serves it.
pub(super) fn connect_store(config: &StorageConfig) -> Result<Arc<dyn Store>, Failure> {
    connect(config).map(|(store, _)| store)
}

/// Connects and makes sure that the store can be used.
fn connect(config: &StorageConfig) -> Result<(Arc<dyn Store>, ClientAccess), Failure> {
    let reached = |error: InvalidReach| unusable(config, &error.to_string());
    let checked = |error: Unusable| refused(config, &error);
    match config {
        StorageConfig::Embedded { advertise, credentials, .. } => {
            let reach = Reach::of(std::slice::from_ref(advertise));
            let api = EtcdV2::connect(&reach, Some(user(credentials))).map_err(reached)?;
            match api.check() {
                // Roles may do less than everything: each call tells whether it is allowed.
                Err(Unusable::NoPermission { .. }) => {}
                answer => answer.map_err(checked)?,
            }
            let access = api.client_access();
            Ok((Arc::new(api), access))
        }
        StorageConfig::EtcdV2 { servers, credentials } => {
            let etcd = EtcdV2::connect(&reach(servers), credentials.as_ref().map(user)).map_err(reached)?;
            etcd.check().map_err(checked)?;
            let access = etcd.client_access();
            Ok((Arc::new(etcd), access))
        }
        StorageConfig::EtcdV3 { servers, credentials, .. } => {
            let etcd = EtcdV3::connect(&reach(servers), credentials.as_ref().map(user)).map_err(reached)?;
            etcd.check().map_err(checked)?;
            let access = etcd.client_access();
            Ok((Arc::new(etcd), access))
        }
        StorageConfig::Consul { servers, token, .. } => {
            let own = token.as_ref().map(|given| read_token(config, given)).transpose()?;
            let consul = Consul::connect(&reach(servers), own).map_err(reached)?;
            consul.check().map_err(checked)?;
            let access = consul.client_access();
            Ok((Arc::new(consul), access))
        }
    }
}

/// Who lets each instance's containers in, where the configuration names an administrator.
fn connect_guests(config: &StorageConfig) -> Result<Option<Arc<dyn AccessControl>>, Failure> {
    let reached = |error: InvalidReach| unusable(config, &error.to_string());
    let checked = |error: Unusable| unusable(config, &format!("storage.administrator: {error}"));
    match config {
        StorageConfig::EtcdV3 { servers, administrator: Some(administrator), .. } => {
            let users = etcd_v3::Users::connect(&reach(servers), user(administrator)).map_err(reached)?;
            users.check().map_err(checked)?;
            Ok(Some(Arc::new(users)))
        }
        StorageConfig::Consul { servers, administrator: Some(administrator), .. } => {
            let token = read_token(config, administrator)?;
            let policies = consul::Policies::connect(&reach(servers), token).map_err(reached)?;
            policies.check().map_err(checked)?;
            Ok(Some(Arc::new(policies)))
        }
        _ => Ok(None),
    }
}

fn reach(servers: &Servers) -> Reach {
    Reach { tls: servers.tls.clone(), ..Reach::of(&servers.endpoints) }
}

fn user(given: &Credentials) -> remote::Credentials {
    remote::Credentials { username: given.username.clone(), password: given.password.expose().to_owned() }
}

fn read_token(config: &StorageConfig, given: &Secret) -> Result<consul::Token, Failure> {
    consul::Token::parse(given.expose()).map_err(|error| unusable(config, &error.to_string()))
}

fn refused(config: &StorageConfig, error: &Unusable) -> Failure {
    match (config, error) {
        (StorageConfig::Embedded { advertise, .. }, Unusable::NobodyAnswers { .. }) => {
            let reason = format!("{error}; the broker, or kv serve, must run and serve it at {advertise}");
            unusable(config, &reason)
        }
        _ => unusable(config, &error.to_string()),
    }
}

fn unusable(config: &StorageConfig, reason: &str) -> Failure {
    Failure::Failed(format!("storage ({}): {reason}", config.engine()))
}
