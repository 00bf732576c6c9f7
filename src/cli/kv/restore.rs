//! `kv restore`: a store's file from a backup, while nobody serves it.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use argh::FromArgs;
use serde_json::json;
use storage::Key;
use storage::embedded::restore::{Plan, RestoreError, Restored};

use crate::cli::Failure;
use crate::cli::output::{Output, print, print_json};
use crate::state::keys;

/// Make an embedded store of what kv backup wrote, while nobody serves it. Leases, routers' reports, announced containers
/// and Patroni's leaders are left out, since they would speak for a time that has passed.
#[derive(FromArgs)]
#[argh(subcommand, name = "restore")]
pub(super) struct Arguments {
    /// the backup
    #[argh(positional)]
    file: PathBuf,
    /// the directory of the store's file; made if it is missing
    #[argh(option, arg_name = "directory")]
    path: PathBuf,
    /// put a store that is there aside, as store.redb.<seconds since 1970>
    #[argh(switch)]
    replace: bool,
    /// how the result is printed: table or json
    #[argh(option, default = "Output::default()", arg_name = "format")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let plan = Plan {
        backup: &arguments.file,
        directory: &arguments.path,
        replace: arguments.replace,
        keep: &keep,
        suffix: &since_1970.to_string(),
    };
    let restored = plan.perform().map_err(|error| refused(&arguments.file, &error))?;
    let age_s = since_1970.saturating_sub(restored.backup.time_s);
    match arguments.output {
        Output::Table => print(&told(&arguments.path, &restored, age_s)),
        Output::Json => print_json(&json!({
            "path": arguments.path, "index": restored.index, "left_out": restored.left_out, "aside": restored.aside,
            "age_s": age_s,
            "backup": {
                "cluster": format!("{:x}", restored.backup.cluster), "index": restored.backup.index,
                "time_s": restored.backup.time_s, "nodes": restored.backup.nodes, "guests": restored.backup.guests,
            },
        })),
    }
}

/// What lives only by being refreshed must not speak for what was. But by Patroni's members the others of their cluster
/// are found, and asked whether one of them leads, before any is made the leader; they go again with their TTL.
fn keep(key: &Key, has_ttl: bool) -> bool {
    !keys::is_ephemeral(key) || (keys::is_member(key) && has_ttl)
}

fn told(directory: &Path, restored: &Restored, age_s: u64) -> String {
    let Restored { backup, index, left_out, aside } = restored;
    let mut text = format!(
        "{}: the store of {age_s} s ago, at index {} then and {index} now, without {left_out} entries that lived by \
         being refreshed\n",
        directory.display(),
        backup.index
    );
    if let Some(aside) = aside {
        text.push_str(&format!("the store that was there is {}\n", aside.display()));
    }
    text
}

fn refused(file: &Path, error: &RestoreError) -> Failure {
    Failure::Failed(match error {
        RestoreError::Backup(_) => format!("{}: {error}", file.display()),
        RestoreError::Exists { .. } => format!("{error}; --replace puts it aside"),
        RestoreError::Locked { .. } => format!("{error}: stop the broker, or kv serve, first"),
        RestoreError::Io { .. } => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use storage::Key;

    use super::keep;

    #[test]
    fn who_led_is_forgotten_and_who_was_there_is_not() {
        let check = |key: &str, has_ttl: bool, expected: bool| {
            assert_eq!(keep(&Key::parse(key).unwrap(), has_ttl), expected, "{key} {has_ttl}");
        };
        check("/service/b1/leader", true, false);
        check("/service/b1/leader", false, false);
        check("/service/b1/members/n1", true, true);
        check("/service/b1/members/n1", false, false);
        check("/service/b1/state", false, true);
        check("/service/b1/config", false, true);
        check("/broker/leases/b1", true, false);
        check("/broker/routers/h", true, false);
        check("/nginx/h:web:80", true, false);
        // Whose this is we do not know; it goes again with its TTL.
        check("/other/lock", true, true);
    }
}
