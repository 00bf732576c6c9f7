//! Turns a configuration into the parts that commands work with.

use std::net::TcpListener;
use std::sync::Arc;

use storage::embedded::http::{Access, Server, ServerOptions};
use storage::embedded::{self, Embedded};
use storage::remote::{self, Reach};
use storage::{ClientAccess, EtcdV2, Store};

use super::Failure;
use crate::config::{Credentials, StorageConfig};
use crate::model::Secret;
use crate::services::StoreAccess;

/// The store of the process that serves it.
pub(super) struct OpenStore {
    /// The store.
    pub(super) store: Arc<dyn Store>,
    /// How containers reach it.
    pub(super) access: StoreAccess,
    /// The embedded store's API, served as long as this value lives.
    pub(super) _server: Option<Server>,
}

/// Opens the embedded store and serves its API, or connects to the etcd and makes sure that it can be used.
pub(super) fn open_store(config: &StorageConfig) -> Result<OpenStore, Failure> {
    match config {
        StorageConfig::Embedded { path, listen, advertise, credentials } => {
            let store = Embedded::open(path, embedded::Options::default()).map_err(failed)?;
            let store = Arc::new(store);
            let listener = TcpListener::bind(listen)
                .map_err(|error| Failure::Failed(format!("storage.listen {listen}: {error}")))?;
            let options = ServerOptions {
                access: Access::Basic {
                    username: credentials.username.clone(),
                    password: credentials.password.expose().to_owned(),
                },
                advertise: vec![advertise.clone()],
                ..ServerOptions::basic("", "")
            };
            let server = Server::start(Arc::clone(&store), listener, options)?;
            let access = store_access(server.client_access());
            Ok(OpenStore { store, access, _server: Some(server) })
        }
        StorageConfig::EtcdV2 { endpoints, credentials } => {
            let etcd = connect(endpoints, credentials.as_ref())?;
            etcd.check().map_err(failed)?;
            let access = store_access(etcd.client_access());
            Ok(OpenStore { store: Arc::new(etcd), access, _server: None })
        }
    }
}

/// The store as every other process reaches it: redb locks its file, so that the embedded one is reached through the
/// broker that serves it.
pub(super) fn connect_store(config: &StorageConfig) -> Result<Arc<dyn Store>, Failure> {
    let etcd = match config {
        StorageConfig::Embedded { advertise, credentials, .. } => {
            connect(std::slice::from_ref(advertise), Some(credentials))?
        }
        StorageConfig::EtcdV2 { endpoints, credentials } => connect(endpoints, credentials.as_ref())?,
    };
    etcd.check().map_err(failed)?;
    Ok(Arc::new(etcd))
}

fn connect(endpoints: &[String], credentials: Option<&Credentials>) -> Result<EtcdV2, Failure> {
    let credentials = credentials.map(|given| remote::Credentials {
        username: given.username.clone(),
        password: given.password.expose().to_owned(),
    });
    EtcdV2::connect(&Reach::of(endpoints), credentials).map_err(failed)
}

fn store_access(access: ClientAccess) -> StoreAccess {
    let ClientAccess { engine, endpoints, username, password, .. } = access;
    let user = username.zip(password).map(|(username, password)| (username, Secret::new(password)));
    StoreAccess { engine: engine.to_owned(), endpoints, user }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}
