//! Turns an order and what is known of the cells into a plan. Pure: no I/O, no clock, no randomness; ids come in from
//! outside, so that the answer is the same every time.

mod choice;
mod differences;
mod placement;
mod plan;
mod reshape;
#[cfg(test)]
mod tests;
mod undo_reshape;

pub use choice::{Choice, Reshape, Standing, choose};
pub use placement::{CellLoad, PlacementError, Wish, place};
pub use plan::{Step, deprovision, pretend, provision, roll_back};
pub use reshape::reshape;
pub use undo_reshape::undo_reshape;
