//! The servers behind the engines, and what can be done to them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use storage::Embedded;
use storage::embedded::Options;
use storage::embedded::http::{Server, ServerOptions};
use test_servers::{Certificates, Consul, Etcd, EtcdCluster};

/// A server that can be hurt. What it has acknowledged survives.
pub trait Live: Send + Sync {
    fn kill(&mut self);
    /// Kills as many of several servers as leave too few; `restart` brings back enough.
    fn kill_majority(&mut self) {
        self.kill();
    }

    /// On the same address, with the same data.
    fn restart(&mut self);
    /// Holds it still. Not of what runs in this process.
    fn pause(&mut self);
    fn resume(&mut self);
}

impl Live for Etcd {
    fn kill(&mut self) {
        self.stop();
    }

    fn restart(&mut self) {
        Etcd::restart(self).unwrap();
    }

    fn pause(&mut self) {
        Etcd::pause(self).unwrap();
    }

    fn resume(&mut self) {
        Etcd::resume(self).unwrap();
    }
}

impl Live for Consul {
    fn kill(&mut self) {
        self.stop();
    }

    fn restart(&mut self) {
        Consul::restart(self).unwrap();
    }

    fn pause(&mut self) {
        Consul::pause(self).unwrap();
    }

    fn resume(&mut self) {
        Consul::resume(self).unwrap();
    }
}

/// etcd reads its certificates whenever somebody calls.
impl<L: Live> Live for (L, Certificates) {
    fn kill(&mut self) {
        self.0.kill();
    }

    fn restart(&mut self) {
        self.0.restart();
    }

    fn pause(&mut self) {
        self.0.pause();
    }

    fn resume(&mut self) {
        self.0.resume();
    }
}

/// The first member stands for all.
impl Live for EtcdCluster {
    fn kill(&mut self) {
        self.member(0).stop();
    }

    fn kill_majority(&mut self) {
        self.member(0).stop();
        self.member(1).stop();
    }

    fn restart(&mut self) {
        self.member(0).restart().unwrap();
    }

    fn pause(&mut self) {
        self.member(0).pause().unwrap();
    }

    fn resume(&mut self) {
        self.member(0).resume().unwrap();
    }
}

/// The embedded store and its own API, in this process.
pub struct Door {
    dir: tempfile::TempDir,
    address: SocketAddr,
    server: Option<Server>,
}

impl Door {
    /// With an empty store.
    pub fn open(address: SocketAddr) -> Self {
        let mut door = Self { dir: tempfile::tempdir().unwrap(), address, server: None };
        door.restart();
        door
    }
}

impl Live for Door {
    fn kill(&mut self) {
        self.server = None;
    }

    fn restart(&mut self) {
        self.server = None;
        let store = Arc::new(Embedded::open(self.dir.path(), Options::default()).unwrap());
        let listener = TcpListener::bind(self.address).unwrap();
        self.server = Some(Server::start(store, listener, ServerOptions::basic(USER, PASSWORD)).unwrap());
    }

    fn pause(&mut self) {
        panic!("it would hold this process still");
    }

    fn resume(&mut self) {}
}

pub const USER: &str = "patroni";
pub const PASSWORD: &str = "s3cret:with:colons";
