//! How many files and connections the system lets the process have open at the same time.

use log::{info, warn};
use rustix::process::{Resource, getrlimit, setrlimit};

/// What the process has open beside its callers' connections: the store, cells, sockets of its own.
const OTHERS: usize = 256;

/// Takes all that is to be had: the soft limit is low for programs that use `select`, which ours does not. Warns where
/// it is less than `connections` of callers need.
pub(super) fn raise_limit(connections: usize) {
    let before = getrlimit(Resource::Nofile);
    let mut wanted = before;
    wanted.current = before.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        warn!("the limit of open files stays: {error}");
    }
    let now = getrlimit(Resource::Nofile);
    info!(
        "open files: at most {} (the limit was {}, the hard one is {})",
        shown(now.current),
        shown(before.current),
        shown(now.maximum)
    );
    if now.current.is_some_and(|limit| usize::try_from(limit).is_ok_and(|limit| limit < connections + OTHERS))
    {
        warn!(
            "{} open files are fewer than the {connections} connections of max_connections need, and {OTHERS} others",
            shown(now.current)
        );
    }
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or("unlimited".to_owned(), |limit| limit.to_string())
}
