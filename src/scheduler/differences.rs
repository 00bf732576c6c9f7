//! What differs between two builds or two sets of settings, in words: ` (name from → to, …)`, or nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::Build;

const MIB: u64 = 1 << 20;

/// As what a container is made.
pub(super) fn of_builds(from: &Build, to: &Build) -> String {
    let memory = |build: &Build| build.memory_bytes.map_or_else(|| "no limit".to_owned(), size);
    list([
        ("image", from.image.clone(), to.image.clone()),
        ("memory", memory(from), memory(to)),
        ("shm", size(from.shm_bytes), size(to.shm_bytes)),
    ])
}

/// Each setting that differs, under its whole name.
pub(super) fn of_settings(from: &Map<String, Value>, to: &Map<String, Value>) -> String {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    flatten("", from, &mut old);
    flatten("", to, &mut new);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let value = |settings: &BTreeMap<String, String>, name: &String| {
        settings.get(name).cloned().unwrap_or_else(|| "unset".to_owned())
    };
    list(names.into_iter().map(|name| (name.as_str(), value(&old, name), value(&new, name))))
}

/// Names and values as they are shown: what stands in the store may be anything.
fn flatten(prefix: &str, settings: &Map<String, Value>, into: &mut BTreeMap<String, String>) {
    let plain = |text: String| text.replace(char::is_control, " ");
    for (name, value) in settings {
        let name = format!("{prefix}{name}");
        match value {
            Value::Object(settings) => flatten(&format!("{name}."), settings, into),
            value => drop(into.insert(plain(name), plain(value.to_string()))),
        }
    }
}

fn list<'a>(all: impl IntoIterator<Item = (&'a str, String, String)>) -> String {
    let differ = all.into_iter().filter(|(_, from, to)| from != to);
    let words: Vec<String> = differ.map(|(name, from, to)| format!("{name} {from} → {to}")).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{of_builds, of_settings};
    use crate::model::Build;

    #[test]
    fn a_container_is_made_otherwise() {
        let build = |image: &str, memory_bytes: Option<u64>, shm_bytes: u64| Build {
            image: image.to_owned(),
            memory_bytes,
            shm_bytes,
        };
        let check = |to: Build, expected: &str| {
            assert_eq!(of_builds(&build("i:1", None, 64 << 20), &to), expected, "{to:?}");
        };
        check(build("i:1", None, 64 << 20), "");
        check(build("i:2", None, 64 << 20), " (image i:1 → i:2)");
        check(build("i:1", Some(1 << 30), 64 << 20), " (memory no limit → 1024 MiB)");
        check(
            build("i:2", Some(7), 1 << 20),
            " (image i:1 → i:2, memory no limit → 7 bytes, shm 64 MiB → 1 MiB)",
        );
    }

    #[test]
    fn settings_differ() {
        let check = |from: Value, to: Value, expected: &str| {
            let told = of_settings(from.as_object().unwrap(), to.as_object().unwrap());
            assert_eq!(told, expected, "{from} to {to}");
        };
        let parameters = |parameters: Value| json!({"ttl": 20, "postgresql": {"parameters": parameters}});
        check(parameters(json!({"jit": "off"})), parameters(json!({"jit": "off"})), "");
        check(
            parameters(json!({"work_mem": "8MB", "max_connections": 100, "jit": false})),
            parameters(json!({"max_connections": 200, "jit": false, "log_statement": "ddl"})),
            " (postgresql.parameters.log_statement unset → \"ddl\", \
             postgresql.parameters.max_connections 100 → 200, postgresql.parameters.work_mem \"8MB\" → unset)",
        );
        check(json!({}), json!({"ttl": 30}), " (ttl unset → 30)");
        // Whoever is the superuser may write there.
        check(json!({"a\n\u{1b}[2J": "\u{9b}2J\n"}), json!({}), " (a  [2J \" 2J\\n\" → unset)");
    }
}
