//! No password is in a log, at any level, in any format, nor in any file but the store's. The real program is given
//! passwords wherever it takes some and is sent some wherever somebody may send some; then everything that it wrote is
//! searched.
//!
//! What is new goes into one of the tables: a place of the configuration into `configuration`, an order into
//! `life_cycle` or `dreams`, nonsense into `nonsense`, a command into `commands`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod commands;
mod configuration;
mod dreams;
mod hoard;
mod life_cycle;
mod nonsense;
mod site;
mod wire;

use commands::{other_commands, other_stores};
use dreams::dreams;
use life_cycle::life_cycle;
use nonsense::{guesses, nonsense};
use serde_json::Value;
use site::Site;

fn no_password_is_in(format: &'static str) {
    let mut site = Site::new(format);
    site.start(&[]);
    nonsense(&mut site);
    life_cycle(&mut site);
    dreams(&mut site);
    other_commands(&mut site);
    site.kill();
    site.is_clean();
    // Again, by HTTPS, with what the environment has before the file.
    site.password = site.hoard.mint("PATRONI_BROKER_PASSWORD");
    let store = site.hoard.mint("PATRONI_BROKER_STORAGE_PASSWORD");
    site.use_https();
    let password = site.password.clone();
    site.start(&[("PATRONI_BROKER_PASSWORD", &password), ("PATRONI_BROKER_STORAGE_PASSWORD", &store)]);
    site.says("cannot remove node b1-n1 from cell away now");
    assert_eq!(site.call("GET", "/v2/catalog", &Value::Null).status, 200);
    nonsense(&mut site);
    dreams(&mut site);
    guesses(&mut site);
    // There is something to search; a request is logged when it has been answered.
    for word in ["DEBUG", "/v2/catalog"] {
        site.says(word);
    }
    site.stop();
    other_stores(&mut site);
    site.is_clean();
}

#[test]
fn no_password_is_in_the_text_log() {
    no_password_is_in("text");
}

#[test]
fn no_password_is_in_the_json_log() {
    no_password_is_in("json");
}
