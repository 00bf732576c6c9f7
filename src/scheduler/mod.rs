//! Turns an order and what is known of the cells into a plan. Pure: no I/O, no clock, no randomness; ids come in from
//! outside, so that the answer is the same every time.

mod placement;
mod plan;

pub use placement::{CellLoad, PlacementError, Wish, place};
pub use plan::{Step, deprovision, pretend, provision, roll_back};
