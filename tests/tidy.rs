//! What the compiler does not check of the design and the house style: who may import whom, module docs, sizes, names,
//! and that nothing of the machine it was built on is in the repository. The last test shows that each check can fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which modules a module may import. An arrow may only point down; this is the whole of it. `storage` and `door` are
/// the crates of those names.
const IMPORTS: [(&str, &[&str]); 16] = [
    ("main", &["cli"]),
    ("lib", &[]),
    (
        "cli",
        &[
            "api",
            "broker",
            "services",
            "router",
            "registrar",
            "state",
            "patroni",
            "routing",
            "cells",
            "scheduler",
            "config",
            "metrics",
            "model",
            "storage",
            "door",
        ],
    ),
    // Of storage no more than what certificates, keys and tokens must be.
    ("config", &["model", "storage"]),
    // Of storage no more than its errors, which become statuses.
    ("api", &["broker", "metrics", "model", "storage", "door"]),
    (
        "broker",
        &["services", "state", "patroni", "routing", "cells", "scheduler", "metrics", "model", "storage"],
    ),
    ("services", &["state", "patroni", "routing", "cells", "scheduler", "model", "storage"]),
    ("router", &["state", "patroni", "routing", "cells", "scheduler", "model", "storage"]),
    ("registrar", &["state", "patroni", "routing", "cells", "scheduler", "model", "storage"]),
    // Claims and allocations are records: how one is written is the business of `state`.
    ("routing", &["state", "model", "storage"]),
    ("state", &["scheduler", "model", "storage"]),
    ("patroni", &["model", "storage"]),
    ("cells", &["model"]),
    ("scheduler", &["model"]),
    // Of storage no more than what it measures.
    ("metrics", &["model", "storage"]),
    ("model", &[]),
];

/// The crates beside ours that modules may import.
const CRATES: [&str; 2] = ["storage", "door"];

/// What planning must not reach for: no I/O, no clock, no randomness.
const IMPURE: [&str; 7] =
    ["std::fs", "std::net", "std::thread", "std::process", "Instant::now", "SystemTime", "rand::"];
const IMPURE_FOR: &str = "scheduler";

const LONGEST_FILE: usize = 500;
const VAGUE_NAMES: [&str; 8] =
    ["utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"];

/// Where a machine's configuration points that is no package host: code is named by where it is published, and
/// Cargo.lock by where the index is.
const NO_PACKAGE_HOSTS: [&str; 3] = ["github.com", "localhost", "127.0.0.1"];

/// A file of the repository.
struct Source {
    /// Relative to the repository's root.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Whether the whole file is compiled for tests only.
    fn is_test(&self) -> bool {
        !["src/", "door/src/", "storage/src/", "test-servers/src/"]
            .iter()
            .any(|code| self.path.starts_with(code))
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.contains("/trials/")
    }

    /// The lines that are compiled for use, without comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..end].lines().enumerate();
        lines
            .map(|(index, line)| (index + 1, line.split(" // ").next().unwrap_or(line)))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The path of the module that the file is, from the crate's root: `["api", "endpoints", "bind"]`.
    fn module(&self) -> Option<Vec<&str>> {
        let inside = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        Some(inside.strip_suffix("/mod").unwrap_or(inside).split('/').collect())
    }
}

/// Everything that is wrong with a file, each with its place.
fn problems(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |line: usize, what: String| found.push(format!("{}:{line}: {what}", source.path));
    if !source.is_rust() {
        return found;
    }
    if !source.text.starts_with("//!") {
        wrong(1, "a module opens with //! and what it is for".to_owned());
    }
    let lines = source.text.lines().count();
    if lines > LONGEST_FILE {
        wrong(lines, format!("{lines} lines; the longest file has {LONGEST_FILE}"));
    }
    for part in source.path.trim_end_matches(".rs").split('/') {
        if VAGUE_NAMES.contains(&part) {
            wrong(1, format!("{part} is no name: say what it holds"));
        }
    }
    // Spelled in two parts, since this file is looked at as well.
    let allow = ["#[al", "low("].concat();
    let allow_all = ["#![al", "low("].concat();
    for (number, line) in source.text.lines().enumerate() {
        if line.contains(&allow) || line.contains(&allow_all) {
            wrong(number + 1, "use #[expect(…, reason = \"…\")]".to_owned());
        }
    }
    if !source.is_test() {
        for (number, line) in source.code() {
            if line.contains(".unwrap()") {
                wrong(number, "no unwrap outside tests: expect names the invariant".to_owned());
            }
        }
        for (number, what) in forbidden_imports(source) {
            wrong(number, what);
        }
    }
    found
}

/// References to modules that the table does not have for the file's module.
fn forbidden_imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let Some(module) = source.module() else {
        // The crates beside ours. The store has a door; nobody else of them knows of another.
        let name = source.path.split('/').next().unwrap_or_default();
        let refers = |line: &str, to: &str| {
            let mut found = line.match_indices(to);
            found.any(|(at, _)| begins_word(line, at) && !line[..at].ends_with("::"))
        };
        let foreign = |line: &str| {
            refers(line, "patroni_broker::")
                || name != "storage" && refers(line, "storage::")
                || name == "test-servers" && refers(line, "door::")
        };
        for (number, line) in source.code().filter(|(_, line)| foreign(line)) {
            found.push((number, format!("{name} knows nothing of ours: {}", line.trim())));
        }
        return found;
    };
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module[0]) else {
        return vec![(1, format!("the module {} is not in the table of imports", module[0]))];
    };
    for (number, line) in source.code() {
        for name in references(line, &module, source) {
            if name != module[0] && module_exists(&name) && !allowed.contains(&name.as_str()) {
                found.push((number, format!("{} may not import {name}", module[0])));
            }
        }
        if module[0] == IMPURE_FOR {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                found.push((number, format!("{IMPURE_FOR} is pure and does not use {word}")));
            }
        }
    }
    found
}

fn module_exists(name: &str) -> bool {
    CRATES.contains(&name) || IMPORTS.iter().any(|(module, _)| *module == name)
}

/// The top modules that a line refers to. `module` is that of the file.
fn references(line: &str, module: &[&str], source: &Source) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for root in ["crate::", "patroni_broker::"] {
        for (at, _) in line.match_indices(root).filter(|(at, _)| begins_word(line, *at)) {
            names.extend(first_names(&line[at + root.len()..]));
        }
    }
    // `super::` often enough leads to the root as well.
    for (at, _) in line.match_indices("super::").filter(|(at, _)| begins_word(line, *at)) {
        if line[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &line[at..];
        let mut up = 0;
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, up) = (after, up + 1);
        }
        if up >= module.len() {
            names.extend(first_names(rest));
        }
    }
    // A module may have a part called like a crate of its own.
    for name in CRATES.iter().filter(|name| !source.text.contains(&format!("mod {name};"))) {
        let path = format!("{name}::");
        let mut crates = line.match_indices(&path).filter(|(at, _)| begins_word(line, *at));
        if crates.any(|(at, _)| !line[..at].ends_with("::")) {
            names.insert((*name).to_owned());
        }
    }
    names
}

fn begins_word(line: &str, at: usize) -> bool {
    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The first name of a path, or of each path of a group.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let mut depth = 0_u32;
    let mut names = Vec::new();
    let mut begin = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&group[begin..at]));
                begin = at + 1;
            }
            _ => {}
        }
    }
    names.push(name(&group[begin..]));
    names
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that is or could be committed; what is no text is read as well as it goes.
fn sources() -> Vec<Source> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let paths: Vec<String> = match listed {
        Ok(listed) if listed.status.success() => {
            String::from_utf8_lossy(&listed.stdout).split('\0').map(str::to_owned).collect()
        }
        // From a tarball, without git.
        _ => ["src", "door", "storage", "test-servers", "tests", "config", "scripts", "images", "docs"]
            .iter()
            .flat_map(|directory| walk(directory))
            .collect(),
    };
    let read = |path: String| {
        let bytes = fs::read(root().join(&path)).ok()?;
        Some(Source { path, text: String::from_utf8_lossy(&bytes).into_owned() })
    };
    paths.into_iter().filter(|path| !path.is_empty()).filter_map(read).collect()
}

fn walk(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(directory)).into_iter().flatten().flatten() {
        let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

/// The hosts that this machine fetches packages from, but for those that everybody has.
fn private_hosts() -> BTreeSet<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let mut files: Vec<PathBuf> =
        [".cargo/config.toml", ".cargo/config", ".config/pip/pip.conf", ".pip/pip.conf", ".npmrc"]
            .iter()
            .map(|name| Path::new(&home).join(name))
            .collect();
    files.extend(["/etc/pip.conf", "/etc/apt/sources.list", "/etc/docker/daemon.json"].map(PathBuf::from));
    for directory in ["/etc/apt/sources.list.d", "/etc/apt/apt.conf.d"] {
        files.extend(fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    let mut texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let names =
        ["PIP_", "CARGO_", "npm_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "GOPROXY"];
    // What cargo tells its tests about the package itself is not the machine's.
    let asked = |name: &str| {
        names.iter().any(|begin| name.starts_with(begin))
            && !name.starts_with("CARGO_PKG_")
            && !name.starts_with("CARGO_MANIFEST_")
    };
    texts.extend(std::env::vars().filter(|(name, _)| asked(name)).map(|(_, value)| value));
    texts
        .iter()
        .flat_map(|text| hosts(text))
        .filter(|host| !NO_PACKAGE_HOSTS.contains(&host.as_str()))
        .collect()
}

/// The hosts of the URLs in a text.
fn hosts(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines
        .flat_map(|line| line.split("://").skip(1))
        .filter_map(|rest| {
            let authority = rest.split(['/', ' ', '"', '\'', ';']).next()?;
            let host = authority.rsplit('@').next()?.split(':').next()?;
            // A name without a dot would be found in ordinary words.
            host.contains('.').then(|| host.to_lowercase())
        })
        .collect()
}

fn leaks(source: &Source, private: &BTreeSet<String>) -> Vec<String> {
    let text = source.text.to_lowercase();
    // The host itself is not repeated: reports end up in public places.
    let hit = |host: &&String| text.contains(host.as_str());
    private
        .iter()
        .filter(hit)
        .map(|_| format!("{}: names a package host of this machine", source.path))
        .collect()
}

#[test]
fn the_repository_is_tidy() {
    let found: Vec<String> = sources().iter().flat_map(problems).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_other_crates_stand_alone() {
    for name in ["door", "storage", "test-servers"] {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("path ="), "{name} depends on another crate of ours");
        // What the program is made of has no servers for tests in it.
        let dependencies = manifest.split("\n[").find(|part| part.starts_with("dependencies]")).unwrap();
        for ours in ["test-servers", "storage"] {
            assert!(!dependencies.contains(ours), "{name} depends on {ours}");
        }
        assert!(name == "storage" || !dependencies.contains("door."), "{name} depends on door");
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[").find(|part| part.starts_with("dependencies]")).unwrap();
    assert!(!dependencies.contains("test-servers"), "the program has the servers for tests in it");
}

#[test]
fn the_table_points_down() {
    // Following the arrows from any module never leads back to it.
    for (start, _) in IMPORTS {
        let mut seen = BTreeSet::new();
        let mut next = vec![start];
        while let Some(module) = next.pop() {
            for below in IMPORTS.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, list)| list) {
                assert_ne!(*below, start, "{module} leads back to {start}");
                if seen.insert(*below) {
                    next.push(below);
                }
            }
        }
    }
}

#[test]
fn nothing_of_this_machine_is_committed() {
    let private = private_hosts();
    let found: Vec<String> = sources().iter().flat_map(|source| leaks(source, &private)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn each_check_can_fail() {
    let check = |path: &str, text: &str, expected: &str| {
        let found = problems(&Source { path: path.to_owned(), text: text.to_owned() }).join("\n");
        assert_eq!(found, expected, "{path}: {text}");
    };
    check("src/model/a.rs", "//! Doc.\n", "");
    check(
        "src/model/a.rs",
        "use std::fmt;\n",
        "src/model/a.rs:1: a module opens with //! and what it is for",
    );
    check("src/model/a.rs", "//! D.\nuse crate::state::X;\n", "src/model/a.rs:2: model may not import state");
    check(
        "src/model/a.rs",
        "//! D.\nuse crate::{model::Y, state::{A, B}};\n",
        "src/model/a.rs:2: model may not import state",
    );
    check(
        "src/model/a.rs",
        "//! D.\nfn f() -> crate::cells::X {}\n",
        "src/model/a.rs:2: model may not import cells",
    );
    check("src/model/a.rs", "//! D.\nuse super::super::api;\n", "src/model/a.rs:2: model may not import api");
    check("src/model/mod.rs", "//! D.\nuse super::api;\n", "src/model/mod.rs:2: model may not import api");
    check("src/model/a.rs", "//! D.\nuse super::api;\n", "");
    check("src/model/a.rs", "//! D.\n/// See [`crate::broker`].\nuse std::fmt; // crate::api\n", "");
    check("src/model/a.rs", "//! D.\nuse storage::Key;\n", "src/model/a.rs:2: model may not import storage");
    check("src/config/mod.rs", "//! D.\nmod storage;\nuse storage::read;\n", "");
    check("src/broker/a.rs", "//! D.\nuse door::Head;\n", "src/broker/a.rs:2: broker may not import door");
    check("src/api/a.rs", "//! D.\nuse door::Head;\n", "");
    check("src/api/a.rs", "//! D.\nuse crate::state::X;\n", "src/api/a.rs:2: api may not import state");
    check("src/broker/a.rs", "//! D.\nuse crate::api::X;\n", "src/broker/a.rs:2: broker may not import api");
    check("src/main.rs", "//! D.\nuse patroni_broker::api;\n", "src/main.rs:2: main may not import api");
    check("src/new/mod.rs", "//! D.\n", "src/new/mod.rs:1: the module new is not in the table of imports");
    check(
        "src/scheduler/a.rs",
        "//! D.\nlet now = Instant::now();\n",
        "src/scheduler/a.rs:2: scheduler is pure and does not use Instant::now",
    );
    check(
        "storage/src/a.rs",
        "//! D.\nuse patroni_broker::X;\n",
        "storage/src/a.rs:2: storage knows nothing of ours: use patroni_broker::X;",
    );
    check(
        "door/src/a.rs",
        "//! D.\nuse storage::Key;\nlet x = y.unwrap();\n",
        "door/src/a.rs:3: no unwrap outside tests: expect names the invariant\n\
         door/src/a.rs:2: door knows nothing of ours: use storage::Key;",
    );
    check("storage/src/a.rs", "//! D.\nuse door::Head;\n", "");
    check(
        "test-servers/src/a.rs",
        "//! D.\nuse door::Head;\n",
        "test-servers/src/a.rs:2: test-servers knows nothing of ours: use door::Head;",
    );
    check(
        "test-servers/src/a.rs",
        "//! D.\nuse storage::Key;\nlet x = y.unwrap();\n",
        "test-servers/src/a.rs:3: no unwrap outside tests: expect names the invariant\n\
         test-servers/src/a.rs:2: test-servers knows nothing of ours: use storage::Key;",
    );
    check(
        "src/model/a.rs",
        "//! D.\nlet x = y.unwrap();\n",
        "src/model/a.rs:2: no unwrap outside tests: expect names the invariant",
    );
    check(
        "src/model/a.rs",
        "//! D.\n\n#[cfg(test)]\nmod tests {\n    use crate::api::X;\n    y.unwrap();\n}\n",
        "",
    );
    check("tests/a.rs", "//! D.\nlet x = y.unwrap();\n", "");
    check(
        "src/model/a.rs",
        &format!("//! D.\n{}dead_code)]\n", ["#[al", "low("].concat()),
        "src/model/a.rs:2: use #[expect(…, reason = \"…\")]",
    );
    check("src/model/utils.rs", "//! D.\n", "src/model/utils.rs:1: utils is no name: say what it holds");
    check(
        "src/model/a.rs",
        &format!("//! D.\n{}", "\n".repeat(500)),
        "src/model/a.rs:501: 501 lines; the longest file has 500",
    );
    check("README.md", "use crate::state;\n", "");

    let private = hosts(
        "deb https://user:pw@mirror.example.internal:8443/debian x\n# http://not.this.one/\nurl=http://plain/\n",
    );
    assert_eq!(private, BTreeSet::from(["mirror.example.internal".to_owned()]));
    let source = |text: &str| Source { path: "a.sh".to_owned(), text: text.to_owned() };
    assert_eq!(
        leaks(&source("apt from Mirror.Example.Internal"), &private),
        ["a.sh: names a package host of this machine"]
    );
    assert!(leaks(&source("apt from another.example"), &private).is_empty());
}
