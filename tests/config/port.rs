//! `PORT` of the environment, which is how Cloud Foundry says where to listen.

use patroni_broker::config;

use super::GOOD;
use super::site::Site;

#[test]
fn the_environment_says_where_to_listen() {
    let site = Site::new();
    let check = |listen: &str, port: Option<&str>, expected: &str| {
        let text = GOOD.replacen("listen = \"127.0.0.1:3000\"\n", listen, 1);
        let environment: Vec<(&str, &str)> =
            port.map(|port| (config::PORT_VARIABLE, port)).into_iter().collect();
        let found = match site.load(&text, &environment) {
            Ok(loaded) => format!("{} {:?}", loaded.config.broker.listen, loaded.warnings),
            Err(error) => error.to_string().lines().last().unwrap().trim().to_owned(),
        };
        assert_eq!(found, expected, "{listen:?} {port:?}");
    };
    const HERE: &str = "listen = \"127.0.0.1:3000\"\n";
    check(HERE, None, "127.0.0.1:3000 []");
    check(HERE, Some(""), "127.0.0.1:3000 []");
    check(HERE, Some("8080"), "127.0.0.1:8080 []");
    check("listen = \"[::1]:3000\"\n", Some("8080"), "[::1]:8080 []");
    check("", Some("8080"), "0.0.0.0:8080 []");
    check("", None, "broker.listen: is required");
    const NO_PORT: &str = "in the environment, which is no port";
    for port in ["0", "65536", "http", "-1", " 80"] {
        check(HERE, Some(port), &format!("broker.listen: PORT is {port:?} {NO_PORT}"));
    }
    check("listen = 3000\n", Some("8080"), "broker.listen: must be a text, not a whole number");
    // Where something else will want to listen, the environment's port is no better than the file's.
    check(HERE, Some("30000"), "broker.listen: port 30000 is one of routing.ports");
    check(HERE, Some("20000"), "broker.listen: port 20000 is one of cells[0].ports");
}
