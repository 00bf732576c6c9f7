//! The real servers that tests of the other crates start and hurt: etcd, Consul, and what stands between them and a
//! client when a network misbehaves. Whatever is started here lives in a directory of its own and ends when it is
//! dropped. It knows nothing of the store's client or the broker, so that both can be tested with it.
//!
//! Nothing here panics: what fails is an [`std::io::Error`] that quotes the end of the server's log.

mod certificates;
mod consul;
mod etcd;
mod etcd_auth;
mod etcd_cluster;
mod free_ports;
mod http;
mod process;
mod proxy;
mod strange_server;

pub use certificates::{Certificates, Identity, ServerTls};
pub use consul::{Consul, ConsulOptions, consul_is_installed};
pub use etcd::{Etcd, EtcdOptions, etcd_is_installed};
pub use etcd_auth::{ROOT, User, enable_auth_v2, enable_auth_v3};
pub use etcd_cluster::EtcdCluster;
pub use free_ports::free_address;
pub use proxy::{Mode, Proxy};
pub use strange_server::StrangeServer;
