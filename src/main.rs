//! The `patroni-broker` program: arguments in, exit code out.

fn main() {}
