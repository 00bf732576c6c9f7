//! The commands beside the broker, and stores that let nobody in.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::life_cycle::record;
use super::site::{LOOPBACK, Site};

/// The commands beside the broker. What prints values on purpose is asked for no passwords.
pub fn other_commands(site: &mut Site) {
    let config = site.config();
    for arguments in [
        &["check-config"][..],
        &["check-config", "--output", "json"],
        &["show-cells"],
        &["cordon", "c1"],
        &["drain", "c1", "--timeout", "1"],
        &["demote", "c1"],
        &["uncordon", "c1", "--output", "json"],
        &["update", "nothing", "--node-count", "2"],
        &["update", "nothing", "--node-count", "2", "--dry-run"],
        &["delete", "nothing", "--force"],
        &["service-status"],
        &["service-status", "--output", "json"],
        &["kv", "ls", "/"],
        &["kv", "get", "/service/nothing/state"],
        &["kv", "rm", "/service/b1/state", "--if-revision", "1"],
    ] {
        site.command(&config, arguments, "");
    }
    let (text, _) = record(&mut site.hoard, "b2");
    site.command(&config, &["kv", "import", "-"], &text);
    site.command(&config, &["kv", "put", "/service/b1", "-"], &text);
}

/// The stores over a network, where nobody is let in: administrators, tokens, and files that are wrong.
pub fn other_stores(site: &mut Site) {
    let server = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    thread::spawn(move || {
        for stream in server.incoming() {
            let Ok(mut stream) = stream else { return };
            drop(stream.read(&mut [0; 65_536]));
            drop(
                stream.write_all(
                    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                ),
            );
        }
    });
    let good = fs::read_to_string(site.config()).unwrap();
    let (before, rest) = good.split_once("[storage]").unwrap();
    let (_, after) = rest.split_once("[[cells]]").unwrap();
    let hoard = &mut site.hoard;
    let mut secret = |what: &str| hoard.mint_plain(what);
    let storages = [
        format!(
            "engine = \"etcd-v2\"\nendpoints = [\"{endpoint}\"]\nusername = \"u\"\npassword = \"{}\"",
            secret("etcd v2")
        ),
        format!(
            "engine = \"etcd-v3\"\nendpoints = [\"{endpoint}\"]\nusername = \"u\"\npassword = \"{}\"\n\
             administrator = {{ username = \"root\", password = \"{}\" }}",
            secret("etcd v3"),
            secret("its administrator")
        ),
        format!(
            "engine = \"consul\"\nendpoints = [\"{endpoint}\"]\ntoken = \"{}\"\n\
             administrator = {{ token = \"{}\" }}",
            secret("Consul"),
            secret("its administrator")
        ),
        // What cannot be right, and must be said without what is in it.
        format!("engine = \"etcd-v3\"\nendpoints = [\"{endpoint}\"]\npassword = [\"{}\"]", secret("a list")),
        format!("engine = \"etcd-v3\"\nendpoints = [\"http://u:{}@127.0.0.1:1\"]", secret("an endpoint")),
        format!("engine = \"etcd-v3\"\nendpoints = [\"{endpoint}\"]\npassword = \"{}", secret("no end")),
        format!("engine = \"etcd-v3\"\nendpoints = [\"{endpoint}\"]\npassword = {}", secret("no quotes")),
        format!(
            "engine = \"embedded\"\npath = \"data\"\nlisten = \"{}\"\npassword = \"x\"",
            secret("an address")
        ),
    ];
    let mut other = Vec::new();
    for (number, storage) in storages.iter().enumerate() {
        let file = site.directory.path().join(format!("etc/other-{number}.toml"));
        fs::write(&file, format!("{before}[storage]\n{storage}\n[[cells]]{after}")).unwrap();
        other.push(file);
    }
    for file in other {
        for arguments in [&["check-config"][..], &["service-status"], &["broker"]] {
            site.command(&file, arguments, "");
        }
    }
}
