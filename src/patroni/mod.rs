//! What Patroni's members say of themselves, how a cluster of them stands, and their REST API. Writes nothing to the
//! store.

mod http_members;
mod member;
mod progress;
mod rest;

pub use http_members::HttpMembers;
pub use member::{Member, Role, read_members};
pub use progress::{Progress, progress};
pub use rest::{Door, RestApi, RestError, Status};
