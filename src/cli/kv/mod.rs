//! `kv`: the embedded store without a broker.

mod serve;

use argh::FromArgs;

use super::Failure;

/// Serve the embedded store without a broker.
#[derive(FromArgs)]
#[argh(subcommand, name = "kv")]
pub(super) struct Arguments {
    #[argh(subcommand)]
    action: Action,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Action {
    Serve(serve::Arguments),
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Serve(arguments) => serve::run(&arguments),
    }
}
