//! What the engine promises inside: to those who read while others write (`readers`), to those who are told of their
//! changes (`told`), to all of them when the disk fails (`disk`), and what its API holds up for nobody (`served`); and
//! what a restore finds and leaves (`restoring`).

mod disk;
mod readers;
mod restoring;
mod served;
mod told;
