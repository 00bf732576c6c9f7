//! `scripts/expose-broker.sh` and `scripts/hide-broker.sh` with a stand-in for `cf` (`tests/scripts/cf`), which records
//! how it was called. The real one is not at hand here: that it takes these commands is known from its own help only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

struct Foundry {
    directory: TempDir,
}

impl Foundry {
    fn new(version: &str, with: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let foundry = Self { directory };
        fs::write(foundry.path("version"), version).unwrap();
        fs::create_dir(foundry.path("bin")).unwrap();
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/cf");
        std::os::unix::fs::symlink(stand_in, foundry.path("bin/cf")).unwrap();
        for name in with {
            fs::write(foundry.path(name), "").unwrap();
        }
        foundry
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The exit code, what was said, and the calls that change something.
    fn run(&self, line: &str, password: Option<&str>) -> (Option<i32>, String, Vec<String>) {
        let mut words = line.split_whitespace();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(words.next().unwrap());
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(script);
        command
            .args(words)
            .env("PATH", path)
            .env("STAND_IN", self.directory.path())
            .env_remove("CF_BROKER_PASSWORD");
        if let Some(password) = password {
            command.env("CF_BROKER_PASSWORD", password);
        }
        let _ = fs::remove_file(self.path("calls"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let looks = ["version", "target", "curl"];
        let calls = calls.lines().filter(|call| !looks.iter().any(|look| call.starts_with(look)));
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
            calls.map(str::to_owned).collect(),
        )
    }

    #[track_caller]
    fn check(&self, line: &str, code: i32, expected: &[&str], said: &str) {
        let (found, told, calls) = self.run(line, Some("hush"));
        assert_eq!(
            (found, calls),
            (Some(code), expected.iter().map(|call| (*call).to_owned()).collect()),
            "{line}\n{told}"
        );
        assert!(told.contains(said) && !told.contains("hush"), "{line}: {told}");
    }
}

const EXPOSE: &str = "expose-broker.sh dream http://dream.example somebody";

#[test]
fn a_broker_is_exposed_and_exposed_again() {
    let foundry = Foundry::new("8.7.10", &[]);
    let access = ["enable-service-access Dream -b dream", "enable-service-access postgresql -b dream"];
    foundry.check(
        EXPOSE,
        0,
        &["create-service-broker dream somebody http://dream.example", access[0], access[1]],
        "",
    );
    foundry.check(
        EXPOSE,
        0,
        &["update-service-broker dream somebody http://dream.example", access[0], access[1]],
        "is registered: updating it",
    );
    // The password went by the environment, both times.
    assert_eq!(fs::read_to_string(foundry.path("passwords")).unwrap(), "hush\nhush\n");
}

#[test]
fn a_broker_of_one_space_needs_no_access() {
    let foundry = Foundry::new("8.7.10", &[]);
    let scoped = format!("{EXPOSE} --space-scoped");
    foundry.check(
        &scoped,
        0,
        &["create-service-broker dream somebody http://dream.example --space-scoped"],
        "in the marketplace of its space",
    );
    foundry.check(EXPOSE, 0, &["update-service-broker dream somebody http://dream.example"], "of its space");
    foundry.check("hide-broker.sh dream", 0, &["delete-service-broker dream -f"], "");
}

#[test]
fn an_old_cf_gets_the_password_as_an_argument_only_when_told() {
    let foundry = Foundry::new("7.5.0", &[]);
    foundry.check(EXPOSE, 1, &[], "which others on this machine can see");
    let told = format!("{EXPOSE} --password-argument");
    let access = ["enable-service-access Dream -b dream", "enable-service-access postgresql -b dream"];
    foundry.check(
        &told,
        0,
        &["create-service-broker dream somebody hush http://dream.example", access[0], access[1]],
        "",
    );
    // A new one does not get it there, whatever it is told.
    let foundry = Foundry::new("8.0.0", &["broker", "scoped"]);
    foundry.check(&told, 0, &["update-service-broker dream somebody http://dream.example"], "");
}

#[test]
fn a_broker_is_hidden_and_hidden_again() {
    let foundry = Foundry::new("8.7.10", &["broker"]);
    let access = ["disable-service-access Dream -b dream", "disable-service-access postgresql -b dream"];
    foundry.check("hide-broker.sh dream", 0, &[access[0], access[1], "delete-service-broker dream -f"], "");
    foundry.check("hide-broker.sh dream", 0, &[], "there is no broker dream");
    foundry.check("hide-broker.sh dream --purge", 0, &[], "there is no broker dream");

    let foundry = Foundry::new("8.7.10", &["broker", "instances"]);
    foundry.check(
        "hide-broker.sh dream",
        1,
        &[access[0], access[1], "delete-service-broker dream -f"],
        "make Cloud Foundry forget them with --purge",
    );
    foundry.check(
        "hide-broker.sh dream --purge",
        0,
        &[
            access[0],
            access[1],
            "purge-service-offering Dream -b dream -f",
            "purge-service-offering postgresql -b dream -f",
            "delete-service-broker dream -f",
        ],
        "",
    );
}

#[test]
fn nothing_is_done_where_it_cannot_be_known_what_is_there() {
    let foundry = Foundry::new("8.7.10", &["broker", "refuses"]);
    foundry.check(EXPOSE, 1, &[], "You are not authorized");
    foundry.check("hide-broker.sh dream", 1, &[], "You are not authorized");
    let foundry = Foundry::new("8.7.10", &["logged-out"]);
    foundry.check(EXPOSE, 1, &[], "cf login");
    foundry.check("hide-broker.sh dream", 1, &[], "cf login");
    let foundry = Foundry::new("8.7.10", &[]);
    foundry.check("expose-broker.sh dream http://dream.example", 2, &[], "usage: ");
    foundry.check(&format!("{EXPOSE} --purge"), 2, &[], "usage: ");
    foundry.check("hide-broker.sh", 2, &[], "usage: ");
    foundry.check("hide-broker.sh dream --all", 2, &[], "usage: ");
    foundry.check(
        "expose-broker.sh --space-scoped http://dream.example somebody",
        1,
        &[],
        "a broker's name is of",
    );
    foundry.check("hide-broker.sh a&names=b", 1, &[], "a broker's name is of");
    let (code, said, calls) = foundry.run(EXPOSE, None);
    assert_eq!((code, calls.len()), (Some(1), 0), "{said}");
    assert!(said.contains("set CF_BROKER_PASSWORD"), "{said}");
}
