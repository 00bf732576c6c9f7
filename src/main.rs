//! The `patroni-broker` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    patroni_broker::cli::run(std::env::args_os())
}
