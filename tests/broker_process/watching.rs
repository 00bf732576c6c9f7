//! What it shows of itself: numbers that are right, lines that can be read; and where it listens when it is told.

use std::fs;

use serde_json::{Value, json};
use test_servers::free_address;

use crate::client::Client;
use crate::site::{ADMIN, Site, order};

#[test]
fn counts_are_of_what_was_asked() {
    let site = Site::started("");
    let idle: Vec<Client> = (0..7).map(|_| Client::plain(site.address)).collect();
    const PATH: &str = "/v2/service_instances/b1";
    for (line, body, status) in [
        ("GET /v2/catalog", Value::Null, 200),
        ("GET /v2/catalog/", Value::Null, 200),
        ("GET /livez", Value::Null, 200),
        ("GET /nowhere/at/all", Value::Null, 404),
        ("PUT /v2/service_instances/b1", order(&json!({})), 201),
        ("PUT /v2/service_instances/b1", order(&json!({})), 200),
        ("PUT /v2/service_instances/b2", order(&json!({"fail": "provision"})), 500),
        ("DANCE /v2/catalog", Value::Null, 405),
    ] {
        assert_eq!(site.ask(line, &body).status, status, "{line}");
    }
    let refused = Client::plain(site.address).ask(("cf", "wrong"), &format!("DELETE {PATH}"), "").unwrap();
    assert_eq!(refused.status, 401);
    let mut scraper = Client::plain(site.address);
    // Who waited for an operation is counted just after he was answered.
    let mut scraped = String::new();
    site.wait("count of the last refusal", || {
        scraped = scraper.ask(ADMIN, "GET /metrics", "").unwrap().body;
        scraped.contains("method=\"PUT\",route=\"/v2/service_instances/:instance_id\",status=\"500\"} 1")
    });
    let has = |line: &str| assert!(scraped.lines().any(|found| found == line), "no {line} in\n{scraped}");
    let requests = |route: &str, method: &str, status: u16, count: u32| {
        has(&format!(
            "patroni_broker_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
        ));
    };
    requests("/v2/catalog", "GET", 200, 2);
    requests("/livez", "GET", 200, 1);
    requests("other", "GET", 404, 1);
    requests("/v2/catalog", "other", 405, 1);
    requests("/v2/service_instances/:instance_id", "PUT", 201, 1);
    requests("/v2/service_instances/:instance_id", "PUT", 200, 1);
    requests("/v2/service_instances/:instance_id", "PUT", 500, 1);
    requests("/v2/service_instances/:instance_id", "DELETE", 401, 1);
    has("patroni_broker_operations_total{kind=\"provision\",result=\"succeeded\"} 1");
    has("patroni_broker_operations_total{kind=\"provision\",result=\"failed\"} 1");
    has("patroni_broker_http_request_duration_seconds_count{route=\"/v2/catalog\"} 3");
    has("patroni_broker_store_up 1");
    let number = |name: &str| -> f64 {
        let line = scraped.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{scraped}")).parse().unwrap()
    };
    assert!(number("patroni_broker_http_connections") >= 8.0, "{scraped}");
    assert!(number("process_open_fds") > 8.0, "{scraped}");
    drop(idle);
    // They go away again.
    site.wait("end of idle connections", || {
        let scraped = scraper.ask(ADMIN, "GET /metrics", "").unwrap().body;
        scraped.lines().any(|line| line == "patroni_broker_http_connections 1")
    });
}

#[test]
fn every_line_of_the_log_is_json() {
    let mut site = Site::new("");
    site.start_by(&[], &[("PATRONI_BROKER_LOG_FORMAT", "json"), ("RUST_LOG", "debug")]);
    const PATH: &str = "/v2/service_instances/b1";
    assert_eq!(site.ask(&format!("PUT {PATH}"), &order(&json!({}))).status, 201);
    assert_eq!(site.ask("GET /\"quoted\\%0a?x", &Value::Null).status, 404);
    site.reload("nothing has changed");
    site.write("broker.toml", b"[broker\n");
    site.reload("everything stays as it is");
    site.signal("TERM");
    assert_eq!(site.ended(), Some(0));
    let log = fs::read_to_string(site.path("log")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for field in ["time", "level", "target", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
    let put = lines.iter().find(|line| line["target"] == "access" && line["method"] == "PUT").unwrap();
    assert_eq!(put["path"], PATH, "{put}");
    assert_eq!(put["status"], 201, "{put}");
    assert_eq!(put["route"], "/v2/service_instances/:instance_id", "{put}");
    assert_eq!(put["user"], "admin", "{put}");
    assert!(put["duration_ms"].is_u64() && put["request_id"].is_string(), "{put}");
}

/// Cloud Foundry says where to listen.
#[test]
fn the_environment_says_where_to_listen() {
    let mut site = Site::new("");
    let other = free_address(site.address.ip()).unwrap();
    let configured = site.address;
    site.start_by(&[], &[("PORT", &other.port().to_string())]);
    site.address = other;
    assert_eq!(site.ask("GET /v2/catalog", &Value::Null).status, 200);
    assert!(std::net::TcpStream::connect(configured).is_err());
    // Reading the configuration anew is none the wiser.
    site.reload("nothing has changed");
    assert_eq!(site.ask("GET /v2/catalog", &Value::Null).status, 200);
}
