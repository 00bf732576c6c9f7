//! What somebody can do with the store who has broken out of PostgreSQL and holds a container's own credentials.

use libtest_mimic::Failed;
use serde_json::Value;
use storage::consul::Token;
use storage::remote::{ClientCertificate, Credentials, Reach, Tls};
use storage::{Consul, EtcdV2, EtcdV3, Expect, Key, Store};

use crate::engines::Engine;
use crate::shell::{bash, ensure};
use crate::site::Site;

/// With `mine`'s credentials its own cluster can be read, and neither its record nor another's cluster be touched.
pub fn holds(site: &Site, mine: &str, other: &str) -> Result<(), Failed> {
    let store = as_container(site, mine)?;
    let key = |raw: &str| Key::parse(raw).map_err(|error| Failed::from(error.to_string()));
    let own = store.list(&key(&format!("/service/{mine}"))?)?;
    ensure(own.entries.len() > 3, format!("its own cluster: {own:?}"))?;
    ensure(!store.list(&key("/postgresql-patroni")?)?.entries.is_empty(), "it cannot read the registrar's")?;

    for prefix in ["/", "/service", &format!("/service/{other}"), "/serviceinstances", "/broker", "/routing"]
    {
        match store.list(&key(prefix)?) {
            Err(_) => {}
            // Consul leaves out what one may not read.
            Ok(listing) => {
                let foreign = |at: &&Key| {
                    !at.is_under(&Key::parse(&format!("/service/{mine}")).expect("an id makes a key"))
                        && !at.as_str().starts_with("/postgresql-patroni/")
                };
                let seen: Vec<&Key> =
                    listing.entries.iter().map(|entry| &entry.key).filter(foreign).collect();
                ensure(seen.is_empty(), format!("{prefix} shows {seen:?}"))?;
            }
        }
    }
    let targets = [
        format!("/service/{mine}/state"),
        format!("/service/{mine}/members/a-stranger"),
        format!("/service/{mine}/elsewhere"),
        format!("/service/{other}/state"),
        format!("/service/{other}/leader"),
        format!("/service/{other}/config"),
        format!("/serviceinstances/{other}/bindings/x"),
        format!("/routing/allocation/{mine}"),
        "/routing/nextport".to_owned(),
        "/postgresql-patroni/10.0.0.1:pb-x:5432".to_owned(),
        "/broker/x".to_owned(),
    ];
    for target in &targets {
        let put = store.put(&key(target)?, b"mine now", None, Expect::Anything);
        ensure(put.is_err(), format!("it may write {target}"))?;
        let deleted = store.delete(&key(target)?, Expect::Anything);
        ensure(deleted.is_err(), format!("it may delete {target}"))?;
    }
    for target in [format!("/service/{other}/state"), format!("/service/{other}/leader")] {
        // Consul does not tell what is forbidden from what is not there.
        let read = store.get(&key(&target)?);
        ensure(!matches!(read, Ok(Some(_))), format!("it may read {target}"))?;
    }
    Ok(())
}

/// The instance's guest is gone from the store, and everybody else's too.
pub fn no_guest_left(engine: &Engine) -> Result<(), Failed> {
    let Some(guests) = &engine.guests else { return Ok(()) };
    let left = guests.guests()?;
    ensure(left.is_empty(), format!("left in the store: {left:?}"))
}

/// A client of the store with what one of the instance's containers has.
fn as_container(site: &Site, instance: &str) -> Result<Box<dyn Store>, Failed> {
    let find = format!(
        "docker ps -q --filter label=patroni-broker.instance={instance} \
         --filter label=patroni-broker.broker={} | head -n 1",
        site.name
    );
    let container = bash(&find, &[])?.trim().to_owned();
    let secrets = bash(&format!("docker exec {container} cat /etc/patroni-broker/secrets.json"), &[])?;
    let secrets: Value = serde_json::from_str(&secrets)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let variable = |name: &str| bash(&format!("docker exec {container} printenv {name}"), &[]);
    let endpoints: Vec<String> =
        variable("BROKER_STORE_ENDPOINTS")?.trim().split(',').map(str::to_owned).collect();
    let tls = |part: &str| text(&secrets["store_tls"][part]);
    let client = tls("cert").zip(tls("key")).map(|(chain, key)| ClientCertificate { chain, key });
    let tls = tls("ca").map(|ca| Tls { ca: Some(ca), client });
    let reach = Reach { tls, ..Reach::of(&endpoints) };
    let password =
        text(&secrets["store"]["password"]).ok_or("the container has no password for the store")?;
    let username = || text(&secrets["store"]["username"]).ok_or("the container has no user");
    Ok(match variable("BROKER_STORE_ENGINE")?.trim() {
        "etcd" => {
            let username = username()?;
            Box::new(EtcdV2::connect(&reach, Some(Credentials { username, password }))?)
        }
        "etcd3" => {
            let username = username()?;
            Box::new(EtcdV3::connect(&reach, Some(Credentials { username, password }))?)
        }
        "consul" => Box::new(Consul::connect(&reach, Some(Token::parse(&password)?))?),
        other => return Err(format!("{other} is not isolated").into()),
    })
}
