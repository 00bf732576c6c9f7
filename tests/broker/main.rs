//! What the broker does when things go well and when they do not, over stateful stand-ins.

mod bindings;
mod journal;
mod lab;
mod orders;
mod troubles;
