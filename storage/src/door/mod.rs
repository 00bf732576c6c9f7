//! What a door made of `tiny_http` 0.12 needs around it, for the two of this program: the embedded store's API and the
//! broker's. Knows nothing of what goes through them, and goes with `tiny_http`.

mod nudge;
mod seats;

pub use nudge::Nudge;
pub use seats::{Seat, Seats};

/// `tiny_http` reserves memory for the whole of a body that it discards, and ends the process where there is not as
/// much; nobody may ask for more of it than this. A request that does must be forgotten, not dropped.
pub const DISCARD_LIMIT: usize = 256 * 1024 * 1024;
