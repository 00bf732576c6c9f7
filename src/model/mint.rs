//! Where new ids and passwords come from. Randomness is passed in, so that a test may know what comes.

use super::{NodeId, OperationId, Secret};

/// A source of ids and passwords that nobody has seen before.
pub trait Mint: Send + Sync {
    /// A node's id.
    fn node(&self) -> NodeId;

    /// An operation's id; it begins with what kind of operation it is.
    fn operation(&self, kind: &str) -> OperationId;

    /// A password of letters and digits that nobody can guess.
    fn password(&self) -> Secret;

    /// A password in the form of a random UUID in lower case, for who takes no other (Consul's tokens).
    fn token(&self) -> Secret;
}
