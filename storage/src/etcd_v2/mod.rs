//! The engine over etcd's v2 API.
/// A client.
#[derive(Debug)]
pub struct EtcdV2;
