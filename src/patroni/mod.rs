//! What Patroni's members say of themselves, and how a cluster of them stands. Reads listings; writes nothing.

mod member;
mod progress;

pub use member::{Member, Role, read_members};
pub use progress::{Progress, progress};
