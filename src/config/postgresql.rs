//! A plan's PostgreSQL parameters.

use serde_json::{Map, Value};

use super::reader::Section;

/// What Patroni or the image sets by itself, and why.
const KEPT: [(&str, &str); 20] = [
    ("archive_cleanup_command", RECOVERY),
    ("cluster_name", PATRONIS),
    ("config_file", IMAGES),
    ("data_directory", IMAGES),
    ("external_pid_file", IMAGES),
    ("hba_file", IMAGES),
    ("hot_standby", PATRONIS),
    ("ident_file", IMAGES),
    ("listen_addresses", PATRONIS),
    ("port", PATRONIS),
    ("primary_conninfo", PATRONIS),
    ("primary_slot_name", PATRONIS),
    ("promote_trigger_file", RECOVERY),
    ("recovery_end_command", RECOVERY),
    ("recovery_min_apply_delay", RECOVERY),
    ("restore_command", RECOVERY),
    ("synchronous_standby_names", PATRONIS),
    ("trigger_file", RECOVERY),
    ("unix_socket_directories", IMAGES),
    ("unix_socket_permissions", IMAGES),
];
/// As [`KEPT`], for all that begin so.
const KEPT_BEGINNINGS: [(&str, &str); 2] = [("recovery_target", RECOVERY), ("ssl", IMAGES)];
const PATRONIS: &str = "is Patroni's to set";
const IMAGES: &str = "is the image's to set";
const RECOVERY: &str = "is about recovery, which is Patroni's";

/// What Patroni would quietly replace by its default where it is less (`CMDLINE_OPTIONS` in
/// `patroni/postgresql/config.py`).
const AT_LEAST: [(&str, i64); 8] = [
    ("max_connections", 25),
    ("max_locks_per_transaction", 32),
    ("max_prepared_transactions", 0),
    ("max_replication_slots", 4),
    ("max_wal_senders", 3),
    ("max_worker_processes", 2),
    ("wal_keep_segments", 1),
    ("wal_keep_size", 16),
];
/// As [`AT_LEAST`]: words that Patroni takes.
const WAL_LEVELS: [&str; 3] = ["hot_standby", "replica", "logical"];
/// Nobody has use for a longer one.
const VALUE_CHARACTERS: usize = 1000;

/// Reads the table `postgresql`: names with texts, numbers or switches.
pub(super) fn read(section: &Section<'_>) -> Map<String, Value> {
    let parameters = section.json("postgresql");
    for (name, value) in &parameters {
        if let Err(problem) = check(name, value) {
            section.problem(&format!("postgresql.{name}"), problem);
        }
    }
    parameters
}

fn check(name: &str, value: &Value) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    if !name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') || !name.chars().all(fine) {
        return Err("is no name of a parameter: they are of a-z, 0-9, '_' and '.'".to_owned());
    }
    let kept = KEPT.iter().find(|(kept, _)| *kept == name);
    let begins = || KEPT_BEGINNINGS.iter().find(|(beginning, _)| name.starts_with(beginning));
    if let Some((_, why)) = kept.or_else(begins) {
        return Err((*why).to_owned());
    }
    match value {
        Value::String(text) if text.chars().any(char::is_control) => {
            Err("must not have line breaks or other control characters".to_owned())
        }
        Value::String(text) if text.chars().count() > VALUE_CHARACTERS => {
            Err(format!("must not be longer than {VALUE_CHARACTERS} characters"))
        }
        Value::String(_) | Value::Bool(_) => Ok(()),
        Value::Number(number) => check_least(name, number.as_i64()),
        Value::Object(_) => {
            Err("must be a text, a number, true or false; a name with a dot stands in quotes".to_owned())
        }
        _ => Err("must be a text, a number, true or false".to_owned()),
    }?;
    if name == "wal_level" && !value.as_str().is_some_and(|level| WAL_LEVELS.contains(&level)) {
        return Err(format!("must be one of {}", WAL_LEVELS.join(", ")));
    }
    Ok(())
}

fn check_least(name: &str, number: Option<i64>) -> Result<(), String> {
    match (AT_LEAST.iter().find(|(known, _)| *known == name), number) {
        (Some((_, least)), Some(number)) if number < *least => Err(format!("must be at least {least}")),
        _ => Ok(()),
    }
}
