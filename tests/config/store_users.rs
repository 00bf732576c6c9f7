//! Who else may use the embedded store: `[[storage.users]]`, and the same in a file of its own.

use patroni_broker::config::{self, ConfigError, StorageConfig, StoreUsers};
use patroni_broker::model::StoreUser;

use super::GOOD;
use super::site::Site;

fn with(tables: &str) -> String {
    GOOD.replacen("[[cells]]", &format!("{tables}\n[[cells]]"), 1)
}

fn site() -> Site {
    let site = Site::new();
    site.write("password", "hush\n", 0o600);
    site.write("open", "hush\n", 0o644);
    site
}

fn shown(users: &[StoreUser]) -> Vec<String> {
    users.iter().map(|user| format!("{} {:?} {}", user.name, user.role, user.password.expose())).collect()
}

#[test]
fn every_role_and_way() {
    let site = site();
    let check = |tables: &str, expected: &[&str]| {
        let loaded = site.load(&with(tables), &[("OUTSIDE", "env")]).unwrap();
        let StorageConfig::Embedded { users, .. } = loaded.config.storage else { panic!() };
        assert_eq!(shown(&users), expected, "{tables}");
    };
    check("", &[]);
    check(
        "[[storage.users]]\nname = \"a\"\nrole = \"owner\"\npassword = \"x\"\n\
         [[storage.users]]\nname = \"b\"\nrole = \"router\"\nhost = \"r-1.x\"\npassword_file = \"password\"\n\
         [[storage.users]]\nname = \"c\"\nrole = \"registrar\"\nhosts = [\"10.0.0.1\", \"fd00::1\"]\n\
         password_env = \"OUTSIDE\"\n\
         [[storage.users]]\nname = \"d\"\nrole = \"monitor\"\npassword = \"x\"\n",
        &[
            "a Owner x",
            "b Router { host: \"r-1.x\" } hush",
            "c Registrar { hosts: [\"10.0.0.1\", \"fd00::1\"] } env",
            "d Monitor x",
        ],
    );
}

#[test]
fn a_user_that_cannot_be() {
    let site = site();
    let check = |lines: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|line| format!("problem: storage.users[0].{line}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        site.check(&with(&format!("[[storage.users]]\n{lines}")), &expected);
    };
    const PASSWORD: &str = "password = \"hush\"\n";
    site.check(
        &with("username = \"patroni-broker-guest-b1\"\n"),
        &["problem: storage.username: must not begin as the names of instances do"],
    );
    check(
        "",
        &["name: is required", "role: is required", "password: is required; or give password_file, or "],
    );
    check(
        &format!("name = \"a:b\"\nrole = \"reader\"\n{PASSWORD}"),
        &[
            "name: must not be empty and not hold a colon",
            "role: must be \"owner\", \"router\", \"registrar\" or",
        ],
    );
    let one = |name: &str, lines: &str| format!("name = \"{name}\"\n{lines}\n{PASSWORD}");
    check(
        &one("patroni-broker", "role = \"owner\""),
        &["name: patroni-broker is that of the store's own user"],
    );
    check(
        &one("patroni-broker-guest-b1", "role = \"owner\""),
        &["name: must not begin as the names of inst"],
    );
    check(&one("r", "role = \"router\""), &["host: is required"]);
    for host in ["", "a/b", "*", "a:*", "h:1", "..x\\n", "a b"] {
        let wrong: &[&str] = &["host: "];
        check(&one("r", &format!("role = \"router\"\nhost = \"{host}\"")), wrong);
    }
    check(&one("r", "role = \"registrar\""), &["hosts: is required"]);
    check(
        &one("r", "role = \"registrar\"\nhosts = [\"10.0.0.1\", \"*\"]"),
        &["hosts: must be an IP address or"],
    );
    check(&one("r", "role = \"registrar\"\nhost = \"h\"\nhosts = [\"h\"]"), &["host: is a router's"]);
    check(&one("r", "role = \"router\"\nhost = \"h\"\nhosts = [\"h\"]"), &["hosts: are a registrar's"]);
    check(&one("r", "role = \"monitor\"\nhost = \"h\"\nhosts = []"), &["host: is a", "hosts: are a"]);
    check(&one("r", "role = \"owner\"\npassword_env = \"X\""), &["password_env: is given beside password"]);
    check(
        "name = \"r\"\nrole = \"owner\"\npassword_hash = \"hush\"",
        &["password_hash: costs too much", "password: is required"],
    );
    check("name = \"r\"\nrole = \"owner\"\npassword = \"\"", &["password: must not be empty"]);
    check(
        "name = \"r\"\nrole = \"owner\"\npassword_env = \"X\"",
        &["password_env: the environment has no X"],
    );
    check(&one("r", "role = \"owner\"\nadmin = true"), &["admin: is not a field here"]);
}

#[test]
fn users_are_reported_together_with_everything_else() {
    let twice = "[[storage.users]]\nname = \"r\"\nrole = \"owner\"\npassword = \"hush\"\n".repeat(2);
    let site = site();
    site.check(
        &with(&twice).replacen("path = \"data\"\n", "", 1),
        &[
            "problem: storage.path: is required",
            "problem: storage.users[1].name: r is that of storage.users[0].name",
        ],
    );
    let v2 = with("[[storage.users]]\nname = \"r\"\nrole = \"owner\"\npassword = \"hush\"\n").replacen(
        "engine = \"embedded\"",
        "engine = \"etcd-v2\"\nendpoints = [\"http://127.0.0.1:1\"]",
        1,
    );
    let told = site.load(&v2, &[]).unwrap_err().to_string();
    assert!(told.contains("storage.users: is"), "{told}");
    let open = "[[storage.users]]\nname = \"r\"\nrole = \"owner\"\npassword_file = \"open\"\n";
    site.check(&with(open), &["warning: storage.users[0].password_file: "]);
}

#[test]
fn a_file_of_their_own() {
    let site = site();
    let read = |text: &str, mode: u32| -> Result<StoreUsers, ConfigError> {
        site.write("users.toml", text, mode);
        config::read_store_users(&site.path("users.toml"), Some("keeper"), &|_| None)
    };
    const ONE: &str = "[[users]]\nname = \"r\"\nrole = \"monitor\"\npassword_file = \"password\"\n";
    let found = read(ONE, 0o600).unwrap();
    assert_eq!((shown(&found.users), found.warnings), (vec!["r Monitor hush".to_owned()], vec![]));
    let warned = read(ONE, 0o644).unwrap().warnings;
    assert!(warned[0].to_string().contains("can be read by everybody"), "{warned:?}");
    assert_eq!(read("", 0o600).unwrap().users, []);
    let check = |text: &str, expected: &[&str]| {
        let told = read(text, 0o600).unwrap_err().to_string();
        assert!(expected.iter().all(|part| told.contains(part)) && !told.contains("hush"), "{told}");
    };
    check(
        "[[users]]\nname = \"keeper\"\npassword = \"hush\"\nuser = 1\n",
        &[
            "users[0].name: keeper is that of the store's own user too",
            "users[0].role: is required",
            "users[0].user: is not a field here",
        ],
    );
    check("listen = 1", &["listen: is not a field here"]);
    check("password = \"hush", &["users.toml", "1"]);
    let nowhere = config::read_store_users(&site.path("nowhere"), None, &|_| None);
    assert!(matches!(nowhere, Err(ConfigError::Unreadable { .. })));
}
