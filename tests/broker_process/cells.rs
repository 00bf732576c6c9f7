//! Cells that come and go with SIGHUP. Their engines are nowhere: what is on them stands in the store.

use serde_json::{Value, json};

use crate::client::Client;
use crate::site::{STORE, Site};

const CELLS: &str = "/admin/cells";

/// Cells, each on its own host: `guid@host`.
fn cells(cells: &str) -> String {
    let cell = |raw: &str| {
        let (guid, host) = raw.split_once('@').unwrap();
        format!(
            "[[cells]]\nguid = \"{guid}\"\navailability_zone = \"z1\"\nports = \"20000-20999\"\nhost = \"{host}\"\n\
             docker = \"unix:///nowhere/{guid}.sock\"\n"
        )
    };
    let tables: String = cells.split_whitespace().map(cell).collect();
    format!("bind_host = \"127.0.0.1\"\n[routing]\nhaproxy = false\n{tables}")
}

fn guids(site: &Site) -> Vec<String> {
    let answer = site.ask(&format!("GET {CELLS}"), &Value::Null).json();
    let cells = answer["cells"].as_array().unwrap().iter();
    cells.map(|cell| cell["guid"].as_str().unwrap().to_owned()).collect()
}

/// Writes into the store, or removes from it.
fn store(site: &Site, line: &str, value: &str) {
    let value: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let line = if value.is_empty() { line.to_owned() } else { format!("{line}?value={value}") };
    let answer = Client::plain(site.store).ask(STORE, &line, "").unwrap();
    assert!(matches!(answer.status, 200 | 201), "{line}: {answer:?}");
}

/// An ancestor's record, as nobody performs anything on it.
fn record(nodes: &[(&str, &str)], owed: &[(&str, &str)]) -> String {
    let node = |(node, cell): &(&str, &str)| json!({"node_id": node, "backend_id": cell, "plan_id": "p", "service_id": "s"});
    let credentials = json!({"username": "u", "password": "p"});
    let owed = owed.iter().map(|one| json!({"node": node(one), "reason": "it was silent"}));
    json!({
        "instance_id": "b1", "service_id": "s", "plan_id": "p", "admin_credentials": credentials,
        "superuser_credentials": credentials, "app_credentials": credentials,
        "nodes": nodes.iter().map(node).collect::<Vec<_>>(), "owed": owed.collect::<Vec<_>>(),
    })
    .to_string()
}

#[test]
fn cells_come_and_go() {
    let mut site = Site::new("");
    site.configure(&cells("c1@10.0.0.1 c2@10.0.0.2"));
    site.start();
    assert_eq!(guids(&site), ["c1", "c2"]);

    let mark = site.log().len();
    site.configure(&cells("c1@10.0.0.1 c2@10.0.0.2 c3@10.0.0.3"));
    site.reload("taken on: cells");
    site.says(mark, "cell c3 has come");
    assert_eq!(guids(&site), ["c1", "c2", "c3"]);
    // The registrar is not told of in any other way.
    site.says(mark, "the registrar cannot follow a cell and keeps what it has announced: cell c3");
    site.reload("nothing has changed");

    // Nodes, and what is owed: each keeps its cell, and everything else with it.
    let has = |cell: &str, owed: &str| {
        store(&site, "PUT /v2/keys/service/b1/state", &record(&[("n1", cell)], &[("n2", owed)]));
    };
    let check = |wanted: &str, reason: &str| {
        site.configure(&cells(wanted));
        site.reload(&format!("everything stays as it is: cells: {reason}"));
        assert_eq!(guids(&site), ["c1", "c2", "c3"]);
    };
    has("c3", "c2");
    check("c1@10.0.0.1 c2@10.0.0.2", "cell c3 cannot go: it has 1 node, of 1 instance (b1)");
    check("c1@10.0.0.9 c3@10.0.0.3", "cell c2 cannot go: it has 1 node owed for removal, of 1 instance (b1)");
    check(
        "c3@10.0.0.33 c4@10.0.0.4",
        "cell c2 cannot go: it has 1 node owed for removal, of 1 instance (b1); \
         cell c3 cannot get another host: it has 1 node, of 1 instance (b1)",
    );
    // The file is held against the same rules as at a start.
    site.configure(&cells("c1@10.0.0.1 c2@10.0.0.2 c3@10.0.0.3 c1@10.0.0.4"));
    site.reload("everything stays as it is: ");
    assert_eq!(guids(&site), ["c1", "c2", "c3"]);

    // What may change under nodes, and what has none.
    site.wait("numbers of c2", || metrics(&site).contains("cell=\"c2\""));
    has("c1", "c1");
    let mark = site.log().len();
    let wanted = cells("c1@10.0.0.1 c3@10.0.0.33").replace("20000-20999", "21000-21999");
    site.configure(&wanted);
    site.reload("taken on: cells");
    for told in ["cell c1 has changed", "cell c2 has gone", "cell c3 has changed"] {
        site.says(mark, told);
    }
    assert_eq!(guids(&site), ["c1", "c3"]);
    site.wait("end of the numbers of c2", || !metrics(&site).contains("cell=\"c2\""));
    assert!(metrics(&site).contains("cell=\"c3\""));

    store(&site, "DELETE /v2/keys/service/b1/state", "");
    site.configure(&cells("c1@10.0.0.1"));
    site.reload("taken on: cells");
    assert_eq!(guids(&site), ["c1"]);
}

fn metrics(site: &Site) -> String {
    site.ask("GET /metrics", &Value::Null).body
}

/// Without any at the start there is no router, and nothing to tell applications to connect to.
#[test]
fn the_first_cells_need_a_restart() {
    let site = Site::started("");
    assert_eq!(guids(&site), [""; 0]);
    site.configure(&cells("c1@10.0.0.1"));
    site.reload("everything stays as it is: cells: the first cells are taken on by a restart");
    assert_eq!(guids(&site), [""; 0]);
}

/// A certificate that is renewed keeps its path.
#[test]
fn a_renewed_certificate_is_taken_on() {
    let mut site = Site::new("");
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        site.write(file, b"old");
    }
    let tls =
        "docker = \"tcp://127.0.0.1:1\"\ntls = { ca = \"ca.pem\", cert = \"cert.pem\", key = \"key.pem\" }";
    site.configure(&cells("c1@10.0.0.1").replace("docker = \"unix:///nowhere/c1.sock\"", tls));
    site.start();
    site.reload("nothing has changed");
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        let mark = site.log().len();
        site.write(file, b"new");
        site.reload("taken on: cells");
        site.says(mark, "cell c1 has changed");
        site.reload("nothing has changed");
    }
}
