//! What a scraper is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{CellLook, InstanceLook, Metrics, NO_ROUTE, StoreLook};

#[track_caller]
fn check(metrics: &Metrics, lines: &[&str]) {
    let rendered = metrics.render();
    for line in lines {
        assert!(rendered.lines().any(|found| found == *line), "no {line} in\n{rendered}");
    }
}

#[test]
fn requests_are_counted_by_route() {
    let metrics = Metrics::new();
    let route = "/v2/service_instances/:instance_id";
    metrics.request(route, "PUT", 202, Duration::from_millis(20));
    metrics.request(route, "PUT", 202, Duration::from_millis(300));
    metrics.request(route, "GET", 404, Duration::from_millis(1));
    metrics.request(NO_ROUTE, "PROPFIND", 404, Duration::from_millis(1));
    metrics.door(3, 1);
    check(
        &metrics,
        &[
            "# TYPE patroni_broker_http_requests_total counter",
            r#"patroni_broker_http_requests_total{method="PUT",route="/v2/service_instances/:instance_id",status="202"} 2"#,
            r#"patroni_broker_http_requests_total{method="GET",route="/v2/service_instances/:instance_id",status="404"} 1"#,
            r#"patroni_broker_http_requests_total{method="other",route="other",status="404"} 1"#,
            "# TYPE patroni_broker_http_request_duration_seconds histogram",
            r#"patroni_broker_http_request_duration_seconds_bucket{route="/v2/service_instances/:instance_id",le="0.025"} 2"#,
            r#"patroni_broker_http_request_duration_seconds_bucket{route="/v2/service_instances/:instance_id",le="+Inf"} 3"#,
            r#"patroni_broker_http_request_duration_seconds_count{route="/v2/service_instances/:instance_id"} 3"#,
            "patroni_broker_http_connections 3",
            "patroni_broker_http_queue 1",
        ],
    );
}

#[test]
fn operations_are_counted_by_their_end() {
    let metrics = Metrics::new();
    metrics.operation_ended("provision", "succeeded", Duration::from_secs(6));
    metrics.operation_ended("provision", "failed", Duration::from_secs(700));
    check(
        &metrics,
        &[
            r#"patroni_broker_operations_total{kind="provision",result="succeeded"} 1"#,
            r#"patroni_broker_operations_total{kind="provision",result="failed"} 1"#,
            r#"patroni_broker_operation_duration_seconds_bucket{kind="provision",le="10"} 1"#,
            r#"patroni_broker_operation_duration_seconds_sum{kind="provision"} 706"#,
        ],
    );
}

fn instance(plan: &str) -> InstanceLook {
    InstanceLook { service: "postgresql".to_owned(), plan: plan.to_owned(), state: "succeeded" }
}

/// A plan's last instance was shown for ever after it had gone.
#[test]
fn what_is_not_seen_any_more_is_not_shown() {
    let metrics = Metrics::new();
    let look = StoreLook {
        instances: BTreeMap::from([(instance("cluster"), 2), (instance("odd \"one\"\n"), 1)]),
        operations: BTreeMap::from([("provision", 1)]),
        public_ports_free: 7,
        public_ports_total: 10,
    };
    metrics.store_seen(&look);
    let cell = |cell: &str, up: bool| CellLook { cell: cell.to_owned(), up, nodes: 4 };
    metrics.cells_seen(&[cell("c1", true), cell("c2", false)]);
    check(
        &metrics,
        &[
            r#"patroni_broker_instances{plan="cluster",service="postgresql",state="succeeded"} 2"#,
            r#"patroni_broker_instances{plan="odd \"one\"\n",service="postgresql",state="succeeded"} 1"#,
            r#"patroni_broker_operations_in_progress{kind="provision"} 1"#,
            "patroni_broker_public_ports_free 7",
            "patroni_broker_public_ports_total 10",
            "patroni_broker_cells 2",
            r#"patroni_broker_cells_up{cell="c1"} 1"#,
            r#"patroni_broker_cells_up{cell="c2"} 0"#,
            r#"patroni_broker_nodes{cell="c2"} 4"#,
        ],
    );
    metrics.store_seen(&StoreLook { instances: BTreeMap::from([(instance("cluster"), 1)]), ..look });
    metrics.cells_seen(&[cell("c1", true)]);
    let rendered = metrics.render();
    assert!(rendered.contains(r#"plan="cluster",service="postgresql",state="succeeded"} 1"#), "{rendered}");
    assert!(!rendered.contains("odd") && !rendered.contains("c2"), "{rendered}");
}

#[test]
fn the_process_shows_itself() {
    let metrics = Metrics::new();
    let rendered = metrics.render();
    let number = |name: &str| -> f64 {
        let line = rendered.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{rendered}")).parse().unwrap()
    };
    assert!(number("process_resident_memory_bytes") > 1e6);
    assert!(number("process_threads") >= 1.0);
    assert!(number("process_open_fds") >= 3.0);
    assert!(number("process_start_time_seconds") > 1.6e9);
    check(&metrics, &[&format!("patroni_broker_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))]);
}

/// A stranger may send any path and method: none of them becomes a series of its own.
#[test]
fn labels_are_bounded() {
    let metrics = Metrics::new();
    for number in 0..1000 {
        metrics.request(NO_ROUTE, &format!("M{number}"), 404, Duration::ZERO);
    }
    let rendered = metrics.render();
    let series = rendered.lines().filter(|line| line.starts_with("patroni_broker_http_requests_total{"));
    assert_eq!(series.count(), 1);
}

#[test]
fn others_are_asked_at_each_scrape() {
    let metrics = Arc::new(Metrics::new());
    assert!(!metrics.scraped_within(Duration::from_secs(60)));
    metrics.on_scrape(Box::new(|metrics| metrics.door(5, 6)));
    check(&metrics, &["patroni_broker_http_connections 5", "patroni_broker_http_queue 6"]);
    assert!(metrics.scraped_within(Duration::from_secs(60)));
}

#[test]
fn every_metric_says_what_it_is() {
    let rendered = Metrics::new().render();
    for line in rendered.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let base =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(rendered.contains(&format!("# HELP {base} ")), "{name}");
        assert!(name.starts_with("patroni_broker_") || name.starts_with("process_"), "{name}");
    }
    assert!(rendered.ends_with('\n'));
}
