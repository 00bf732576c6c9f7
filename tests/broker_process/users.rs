//! Users and roles over the wire, and a file of users that changes.

use crate::client::Client;
use crate::site::{ADMIN, STORE, Site};

fn file_of(users: &[(&str, &str)]) -> String {
    users
        .iter()
        .map(|(name, password)| {
            format!("[[users]]\nname = \"{name}\"\nrole = \"viewer\"\npassword = \"{password}\"\n")
        })
        .collect()
}

#[test]
fn each_may_do_what_its_role_may() {
    let mut site = Site::new("");
    let (fine, hash) = site.command(&["hash-password"], "of a hash");
    assert!(fine && hash.starts_with("$argon2id$"), "{hash}");
    let user =
        |name: &str, way: &str| format!("[[broker.users]]\nname = \"{name}\"\nrole = \"platform\"\n{way}\n");
    let config = format!(
        "users_file = \"users.toml\"\n{}{}",
        user("cf", "password = \"plain one\""),
        user("k8s", &format!("password_hash = \"{}\"", hash.trim()))
    );
    site.configure(&config);
    site.write("users.toml", file_of(&[("looker", "old"), ("leaver", "x")]).as_bytes());
    site.start();

    let (cf, k8s, looker) = (("cf", "plain one"), ("k8s", "of a hash"), ("looker", "old"));
    // An answer that is a slow one's is no other's: each on one connection.
    let mut client = Client::plain(site.address);
    let mut check = |who: (&str, &str), line: &str, status: u16| {
        let answer = client.ask(who, line, "").unwrap();
        assert_eq!(answer.status, status, "{} {line}: {answer:?}", who.0);
    };
    const ORDERS: &str = "GET /v2/service_instances/none";
    for (who, catalog, orders, admin, metrics) in [
        (ADMIN, 200, 404, 200, 200),
        (cf, 200, 404, 403, 403),
        (k8s, 200, 404, 403, 403),
        (looker, 200, 403, 200, 200),
        (("", ""), 401, 401, 401, 401),
        (("cf", "of a hash"), 401, 401, 401, 401),
    ] {
        check(who, "GET /v2/catalog", catalog);
        check(who, ORDERS, orders);
        check(who, "DELETE /v2/service_instances/none", if orders == 404 { 410 } else { orders });
        check(who, "GET /admin/service_instances", admin);
        check(who, "GET /metrics", metrics);
        check(who, "GET /livez", 200);
    }
    check(("leaver", "x"), "GET /v2/catalog", 200);

    site.write("users.toml", file_of(&[("looker", "new"), ("cook", "y")]).as_bytes());
    check(looker, "GET /v2/catalog", 200);
    site.reload("taken on: users");
    check(looker, "GET /v2/catalog", 401);
    check(("leaver", "x"), "GET /v2/catalog", 401);
    check(("looker", "new"), "GET /v2/catalog", 200);
    check(("cook", "y"), "GET /metrics", 200);
    check(k8s, ORDERS, 404);
    // A file that is wrong changes nobody.
    site.write("users.toml", file_of(&[("cf", "z")]).as_bytes());
    site.reload("everything stays as it is: ");
    check(("looker", "new"), "GET /v2/catalog", 200);
    check(cf, ORDERS, 404);
}

/// Who else may use the embedded store follows the file as well.
#[test]
fn users_of_the_store_change_while_it_runs() {
    let user = |name: &str, role: &str, password: &str| {
        format!("[[storage.users]]\nname = \"{name}\"\nrole = \"{role}\"\npassword = \"{password}\"\n")
    };
    let mut site = Site::new("");
    site.configure(&user("looker", "monitor", "old"));
    site.start();
    let mut client = Client::plain(site.store);
    let mut check = |who: (&str, &str), line: &str, status: u16| {
        let answer = client.ask(who, line, "").unwrap();
        assert_eq!(answer.status, status, "{} {line}: {answer:?}", who.0);
    };
    check(STORE, "GET /v2/keys/", 200);
    check(("looker", "old"), "GET /version", 200);
    check(("looker", "old"), "GET /v2/keys/", 401);
    site.configure(&user("looker", "owner", "new"));
    site.reload("taken on: store users");
    check(("looker", "old"), "GET /version", 401);
    check(("looker", "new"), "GET /v2/keys/", 200);
    check(STORE, "GET /v2/keys/", 200);
    site.configure(&user("patroni-broker", "monitor", "mine"));
    site.reload("everything stays as it is: ");
    check(("looker", "new"), "GET /v2/keys/", 200);
    site.reload("everything stays as it is: ");
    site.configure("");
    site.reload("taken on: store users");
    check(("looker", "new"), "GET /v2/keys/", 401);
    check(STORE, "GET /v2/keys/", 200);
}
