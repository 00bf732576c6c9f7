//! What a node's container is made as.

use serde::{Deserialize, Serialize};

/// What a node's container is made as: recorded with the node, so that it stays so until an update changes it, whatever
/// the catalog says by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The image.
    pub image: String,
    /// The memory limit; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The size of `/dev/shm`.
    pub shm_bytes: u64,
}
