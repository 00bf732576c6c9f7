//! Who may ask the broker: `username` and `password`, `[[broker.users]]`, `users_file`.

use patroni_broker::config;
use patroni_broker::model::Password;

use super::GOOD;
use super::site::Site;

const FIRST: &str = "username = \"platform\"\npassword = \"hunter2\"\n";
/// As `hash-password` prints it.
const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

/// A site with one file of each kind.
fn site() -> Site {
    let site = Site::new();
    site.write("password", "hush\n", 0o600);
    site.write("open", "hush\n", 0o644);
    site.write("two-lines", "hush\nhush\n", 0o600);
    site.write("hash", &format!("{HASH}\n"), 0o600);
    site
}

/// `GOOD` with these lines instead of `username` and `password`.
fn with(lines: &str) -> String {
    assert!(GOOD.contains(FIRST));
    // Tables come last in their section.
    let (fields, tables) = lines
        .split_once("[[")
        .map_or((lines, String::new()), |(fields, rest)| (fields, format!("[[{rest}\n")));
    GOOD.replacen(FIRST, &format!("{fields}\n"), 1).replacen("[storage]", &format!("{tables}[storage]"), 1)
}

/// `name role password`, each user a line; a hash by its first eight characters.
fn users(site: &Site, text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let loaded = site.load(text, environment).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let shown = |password: &Password| match password {
        Password::Plain(secret) => secret.expose().to_owned(),
        Password::Argon2(hash) => hash[..9].to_owned(),
    };
    let users = loaded.config.broker.users;
    users
        .iter()
        .map(|user| format!("{} {} {}", user.name, user.role.as_str(), shown(&user.password)))
        .collect()
}

#[test]
fn every_way_to_name_a_user() {
    let site = site();
    site.write(
        "users.toml",
        "[[users]]\nname = \"looker\"\nrole = \"viewer\"\npassword_file = \"password\"\n",
        0o600,
    );
    let check = |lines: &str, environment: &[(&str, &str)], expected: &[&str]| {
        assert_eq!(users(&site, &with(lines), environment), expected, "{lines}");
    };
    let one = |way: &str| format!("[[broker.users]]\nname = \"cf\"\nrole = \"platform\"\n{way}");
    check(FIRST, &[], &["platform admin hunter2"]);
    check(&one("password = \"hush\""), &[], &["cf platform hush"]);
    check(&one("password_file = \"password\""), &[], &["cf platform hush"]);
    check(&one("password_env = \"CF\""), &[("CF", "from outside")], &["cf platform from outside"]);
    check(&one(&format!("password_hash = \"{HASH}\"")), &[], &["cf platform $argon2id"]);
    check(&one("password_hash_file = \"hash\""), &[], &["cf platform $argon2id"]);
    check(
        &format!("users_file = \"users.toml\"\n{FIRST}{}", one("password = \"hush\"")),
        &[],
        &["platform admin hunter2", "cf platform hush", "looker viewer hush"],
    );
    check("username = \"u\"", &[(config::PASSWORD_VARIABLE, "hush")], &["u admin hush"]);
    // The environment's password is of `username`, and of nobody else.
    let both = format!("username = \"u\"\n{}", one("password = \"mine\""));
    check(&both, &[(config::PASSWORD_VARIABLE, "hush")], &["u admin hush", "cf platform mine"]);
}

#[test]
fn a_user_that_cannot_be() {
    let site = site();
    let check = |lines: &str, expected: &[&str]| {
        let all = format!("{FIRST}[[broker.users]]\n{lines}");
        let expected: Vec<String> =
            expected.iter().map(|line| format!("problem: broker.users[0].{line}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        site.check(&with(&all), &expected);
    };
    const ONE: &str = "name = \"cf\"\nrole = \"platform\"\n";
    check(
        "",
        &["name: is required", "role: is required", "password: is required; or give password_file, or "],
    );
    check(
        "name = \"a:b\"\nrole = \"root\"\npassword = \"hush\"",
        &[
            "name: must not be empty and not hold a colon",
            "role: must be \"platform\", \"admin\" or \"viewer\"",
        ],
    );
    check(
        "name = \"platform\"\nrole = \"viewer\"\npassword = \"hush\"",
        &["name: platform is that of broker.username too"],
    );
    check(
        &format!("{ONE}password = \"hush\"\npassword_env = \"X\""),
        &["password_env: is given beside password: keep one of them"],
    );
    check(&format!("{ONE}password = \"\""), &["password: must not be empty"]);
    check(&format!("{ONE}password = \"hush\\n\""), &["password: must be one line"]);
    check(&format!("{ONE}password = 7"), &["password: must be a text"]);
    check(&format!("{ONE}passwort = \"hush\"\npassword = \"hush\""), &["passwort: is not a field here"]);
    check(&format!("{ONE}password_env = \"NOWHERE\""), &["password_env: the environment has no NOWHERE"]);
    let path = |name: &str| site.path(name).display().to_string();
    check(
        &format!("{ONE}password_file = \"nowhere\""),
        &[&format!("password_file: {} cannot be", path("nowhere"))],
    );
    check(
        &format!("{ONE}password_file = \"two-lines\""),
        &[&format!("password_file: {}: the password must be one line", path("two-lines"))],
    );
    check(
        &format!("{ONE}password_hash = \"hush\""),
        &["password_hash: must be a hash as hash-password prints it"],
    );
    check(&format!("{ONE}password_hash_file = \"password\""), &["password_hash_file: must be a hash"]);
    let costly = HASH.replace("m=19456", "m=4194304");
    check(
        &format!("{ONE}password_hash = \"{costly}\""),
        &["password_hash: has m=4194304, which costs too much"],
    );
}

#[test]
fn users_of_several_places() {
    let site = site();
    let file = |text: &str, mode: u32, expected: &[&str]| {
        site.write("users.toml", text, mode);
        let first = "[[broker.users]]\nname = \"cf\"\nrole = \"platform\"\npassword = \"hush\"";
        site.check(&with(&format!("users_file = \"users.toml\"\n{first}")), expected);
    };
    let user = |name: &str| format!("[[users]]\nname = \"{name}\"\nrole = \"admin\"\npassword = \"hush\"\n");
    file(&user("a"), 0o600, &[]);
    file("", 0o600, &[]);
    let path = site.path("users.toml").display().to_string();
    file(&user("a"), 0o644, &[&format!("warning: broker.users_file: {path} can be read by everybody")]);
    file(
        &user("cf"),
        0o600,
        &["problem: broker.users_file.users[0].name: cf is that of broker.users[0].name too"],
    );
    file(
        &(user("a") + &user("a")),
        0o600,
        &["problem: broker.users_file.users[1].name: a is that of broker.users_file.users[0].name too"],
    );
    file(
        "[[user]]\n",
        0o600,
        &["problem: broker.users_file.user: is not a field here; the fields are users"],
    );
    file("[[users]]\nname = hush\n", 0o600, &[&format!("problem: broker.users_file: {path}: line 2: ")]);
    // Another directory's file names files of its own directory.
    std::fs::create_dir(site.path("there")).unwrap();
    site.write("there/secret", "hush", 0o600);
    site.write(
        "there/u.toml",
        &user("a").replace("password = \"hush\"", "password_file = \"secret\""),
        0o600,
    );
    let found = users(&site, &with("users_file = \"there/u.toml\""), &[]);
    assert_eq!(found, ["a admin hush"]);

    site.check(
        &with("users_file = \"nowhere.toml\""),
        &[&format!("problem: broker.users_file: {} cannot be read", site.path("nowhere.toml").display())],
    );
    site.write("empty.toml", "", 0o600);
    site.check(&with("users_file = \"empty.toml\""), &["problem: broker.users_file: lists nobody"]);
    site.check(&with("users_file = 3"), &["problem: broker.users_file: must be a text"]);
    site.check(
        &with(""),
        &["problem: broker.username: is required", "problem: broker.password: is required"],
    );
    site.check(
        &with("users = []"),
        &["problem: broker.username: is required", "problem: broker.password: is required"],
    );
    let one = "[[broker.users]]\nname = \"cf\"\nrole = \"platform\"\npassword = \"mine\"";
    site.check(&with(&format!("password = \"hush\"\n{one}")), &["problem: broker.username: is required"]);
}

#[test]
fn what_is_questionable_about_users() {
    let site = site();
    let one = |role: &str, way: &str| format!("[[broker.users]]\nname = \"cf\"\nrole = \"{role}\"\n{way}");
    let check = |text: &str, environment: &[(&str, &str)], expected: &[&str]| {
        site.check_in(text, environment, expected);
    };
    let public = |lines: &str| with(lines).replacen("127.0.0.1:3000", "10.0.0.1:3000", 1);
    const PLAIN: &str = "warning: broker.listen: is plain HTTP on 10.0.0.1:3000";
    const EXAMPLE: &str = "starkandwayne";
    check(&with(&one("viewer", "password = \"hush\"")), &[], &["warning: broker.users: are viewers only"]);
    check(
        &with(&one("admin", "password_file = \"open\"")),
        &[],
        &[&format!(
            "warning: broker.users[0].password_file: {} can be read by everybody",
            site.path("open").display()
        )],
    );
    let weak = HASH.replace("m=19456", "m=64");
    check(
        &with(&one("admin", &format!("password_hash = \"{weak}\""))),
        &[],
        &["warning: broker.users[0].password_hash: is quickly guessed"],
    );
    check(
        &with(&one("admin", "password = \"hush\"")),
        &[(config::PASSWORD_VARIABLE, "hush")],
        &["warning: broker.username: is not given: PATRONI_BROKER_PASSWORD is nobody's password"],
    );
    let example = one("admin", &format!("password = \"{EXAMPLE}\""));
    check(&with(&example), &[], &[]);
    check(&public(&example), &[], &["warning: broker.users[0].password: IS THE EXAMPLE'S PASSWORD", PLAIN]);
    check(
        &public(&one("admin", "password_env = \"X\"")),
        &[("X", EXAMPLE)],
        &["warning: broker.users[0].password_env: IS THE EXAMPLE'S PASSWORD", PLAIN],
    );
}
