//! `[[services]]` and `[[services.plans]]`.

use patroni_broker::model::{MaintenanceInfo, PlanSettings};
use serde_json::json;

use super::site::Site;
use super::{changed, parse, refused, warned};

#[test]
fn the_catalog() {
    refused(&[("description = \"two nodes\"\n", "")], &["services[0].plans[0].description: is required"]);
    refused(&[("name = \"cluster\"", "name = \"big cluster\"")], &["services[0].plans[0].name: must be of"]);
    refused(
        &[("[[services.plans]]", "[services.plan]")],
        &[
            "services[0].plan: is not a field here",
            "services[0].plans: at least one [[services.plans]] is required",
        ],
    );
    refused(
        &[("driver = \"patroni\"", "driver = \"container\"")],
        &["services[0].driver: is not in this version; use \"patroni\" or \"dream\""],
    );
    let twin = "[[services.plans]]\nid = \"p1\"\nname = \"cluster\"\ndescription = \"x\"\nimage = \"x\"\n";
    refused(
        &[("[[services.plans]]\n", &format!("{twin}[[services.plans]]\n"))],
        &[
            "services[0].plans[1].id: p1 is that of services[0].plans[0].id too",
            "services[0].plans[1].name: cluster is that of services[0].plans[0].name too",
        ],
    );
    let row = |line: &str, expected: &str| {
        refused(
            &[("[[services.plans]]", &format!("[[services.plans]]\n{line}"))],
            &[&format!("services[0].plans[0].{expected}")],
        );
    };
    row("node_count = 0", "node_count: must be from 1 to");
    row("node_count = 3", "node_count: 3 nodes cannot be spread over 2 cells");
    row("node_count = \"2\"", "node_count: must be a whole number, not a text");
    row("node_count = -9223372036854775808", "node_count: must be from 1");
    row("database = \"my-db\"", "database: must be 1 to 63");
    row("database = \"template1\"", "database: is one of PostgreSQL's own");
    row("ttl_s = 19", "ttl_s: must be from 20");
    row("loop_wait_s = 5", "ttl_s: must be at least loop_wait_s + 2 * retry_timeout_s, which is 21");
    row("memory_mb = 1", "memory_mb: must be from 64");
    let postgresql = |parameters: &str, expected: &str| {
        row(&format!("postgresql = {{ {parameters} }}"), &format!("postgresql{expected}"));
    };
    row("postgresql = 7", "postgresql: must be a table");
    postgresql("Work_Mem = 1", ".Work_Mem: is no name of a parameter");
    postgresql("\"a b\" = 1", ".a b: is no name of a parameter");
    postgresql("\"\" = 1", ".: is no name of a parameter");
    postgresql("port = 1", ".port: is Patroni's to set");
    postgresql("hba_file = \"/etc/passwd\"", ".hba_file: is the image's to set");
    postgresql("ssl_cert_file = \"x\"", ".ssl_cert_file: is the image's to set");
    postgresql("recovery_target_time = \"x\"", ".recovery_target_time: is about recovery");
    postgresql("work_mem = [1]", ".work_mem: must be a text, a number, true or false");
    postgresql(
        "pg_stat_statements.max = 1",
        ".pg_stat_statements: must be a text, a number, true or false; a name",
    );
    postgresql("work_mem = \"8\\nMB\"", ".work_mem: must not have line breaks");
    postgresql(&format!("work_mem = \"{}\"", "8".repeat(1001)), ".work_mem: must not be longer than 1000");
    postgresql("max_connections = 24", ".max_connections: must be at least 25");
    postgresql("wal_level = \"minimal\"", ".wal_level: must be one of hot_standby, replica, logical");
    let image = |image: &str, expected: &str| {
        refused(&[("registry.example/postgresql-patroni:17", image)], &[expected]);
    };
    image("--privileged", "services[0].plans[0].image: must be an image like");
    image("a b", "services[0].plans[0].image: must be an image like");
    image("library/routing:1", "services[0].plans[0].image: an image called routing cannot be announced");
}

#[test]
fn a_plan_may_have_parameters_of_postgresql() {
    let check = |lines: &str, expected: serde_json::Value| {
        let plan = format!("[[services.plans]]\n{lines}");
        let config = parse(&changed(&[("[[services.plans]]", &plan)])).unwrap().config;
        let PlanSettings::Patroni(settings) = &config.catalog.services[0].plans[0].settings else { panic!() };
        assert_eq!(json!(settings.postgresql_parameters), expected, "{lines}");
    };
    check("", json!({}));
    check("postgresql = {}", json!({}));
    check(
        "postgresql = { max_connections = 200, work_mem = \"8MB\", jit = false, random_page_cost = 1.1, \
         \"pg_stat_statements.max\" = 500, wal_level = \"logical\", recovery_prefetch = \"off\" }",
        json!({
            "max_connections": 200, "work_mem": "8MB", "jit": false, "random_page_cost": 1.1,
            "pg_stat_statements.max": 500, "wal_level": "logical", "recovery_prefetch": "off",
        }),
    );
}

/// A catalog that needs no cells.
const DREAM: &str = r#"
[broker]
listen = "127.0.0.1:3000"
username = "platform"
password = "hunter2"
[storage]
engine = "embedded"
path = "data"
listen = "127.0.0.1:4001"
password = "hunter3"
[[services]]
id = "s1"
name = "Dream"
driver = "dream"
description = "Dreams"
[[services.plans]]
id = "p1"
name = "large"
description = "a large one"
"#;

#[test]
fn what_needs_no_cells_asks_for_none() {
    let loaded = parse(DREAM).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(config.broker.bind_host, None);
    assert!(config.cells.is_empty() && !config.routing.haproxy && !config.registrar.enabled);
    assert_eq!(config.catalog.services[0].plans[0].settings, PlanSettings::Dream);
    // Cells that are there are kept: instances of what was offered before may be on them.
    let cells = &super::GOOD[super::GOOD.find("[[cells]]").unwrap()..super::GOOD.find("[routing]").unwrap()];
    let with_cells = DREAM.replace("[[services]]", &format!("{cells}[[services]]"));
    let with_cells = with_cells.replace("[storage]", "bind_host = \"10.0.0.1\"\n[storage]");
    let config = parse(&with_cells).unwrap().config;
    assert!(config.routing.haproxy && config.registrar.enabled && config.cells.len() == 2);

    let site = Site::new();
    let check = |from: &str, to: &str, expected: &[&str]| site.check(&DREAM.replacen(from, to, 1), expected);
    check(
        "\"dream\"",
        "\"patroni\"",
        &[
            "problem: broker.bind_host: is required",
            "problem: cells: at least one [[cells]] is required",
            "problem: services[0].plans[0].image: is required",
            "problem: services[0].plans[0].node_count: 2 nodes cannot be spread over 0 cells",
        ],
    );
    check(
        "description = \"a large one\"",
        "description = \"x\"\nimage = \"x\"",
        &["problem: services[0].plans[0].image: is not a field here"],
    );
}

#[test]
fn what_a_service_says_of_itself() {
    let row = |lines: &str, expected: &[&str]| {
        refused(&[("description = \"PostgreSQL\"", &format!("description = \"x\"\n{lines}"))], expected);
    };
    row(
        "requires = [\"syslog_drain\", \"root\", \"syslog_drain\"]",
        &[
            "services[0].requires[1]: must be one of syslog_drain, route_forwarding, volume_mount",
            "services[0].requires[2]: syslog_drain is there twice",
        ],
    );
    row("requires = \"syslog_drain\"", &["services[0].requires: must be a list of texts"]);
    row("metadata = \"x\"", &["services[0].metadata: must be a table, not a text"]);
    row(
        "metadata = { a = [1, nan], b.c = inf }",
        &[
            "services[0].metadata.a[1]: must be a number that JSON has",
            "services[0].metadata.b.c: must be a number that JSON has",
        ],
    );
    row("binding_rotatable = 1", &["services[0].binding_rotatable: must be true or false"]);

    let text = changed(&[
        (
            "description = \"PostgreSQL\"",
            "description = \"x\"\nrequires = [\"volume_mount\", \"syslog_drain\"]\nbinding_rotatable = true\nrequires_app = true\n\
             metadata = { displayName = \"P\", since = 2026-01-02, deep = { list = [1, 2.5, true] } }",
        ),
        (
            "[[services.plans]]",
            "[[services.plans]]\nfree = false\nbindable = false\nplan_updateable = true\n\
             binding_rotatable = false\nmaximum_polling_duration_s = 60\n\
             metadata = { costs = [{ amount = { usd = 9.99 }, unit = \"MONTHLY\" }] }\n\
             maintenance_info = { version = \"1.2.0-rc.1+abc\", description = \"new\" }",
        ),
    ]);
    let catalog = parse(&text).unwrap().config.catalog;
    let (service, plan) = (&catalog.services[0], &catalog.services[0].plans[0]);
    assert_eq!(service.requires, ["volume_mount", "syslog_drain"]);
    let expected = json!({"displayName": "P", "since": "2026-01-02", "deep": {"list": [1, 2.5, true]}});
    assert_eq!(json!(service.metadata), expected);
    assert!(service.binding_rotatable && service.requires_app && !plan.free);
    assert_eq!(
        (plan.bindable, plan.plan_updateable, plan.binding_rotatable),
        (Some(false), Some(true), Some(false))
    );
    assert_eq!(plan.maximum_polling_duration_s, 60);
    assert_eq!(json!(plan.metadata), json!({"costs": [{"amount": {"usd": 9.99}, "unit": "MONTHLY"}]}));
    let maintenance = MaintenanceInfo { version: "1.2.0-rc.1+abc".to_owned(), description: "new".to_owned() };
    assert_eq!(plan.maintenance, Some(maintenance));
    let plan = &parse(super::GOOD).unwrap().config.catalog.services[0].plans[0];
    assert_eq!((plan.bindable, plan.plan_updateable, plan.binding_rotatable), (None, None, None));
    assert_eq!((&plan.maintenance, plan.metadata.len()), (&None, 0));
}

#[test]
fn versions_of_maintenance() {
    let row = |value: &str, expected: &[&str]| {
        let line = format!("[[services.plans]]\nmaintenance_info = {value}");
        refused(&[("[[services.plans]]", &line)], expected);
    };
    const PATH: &str = "services[0].plans[0].maintenance_info";
    for version in ["1.2", "v1.2.3", "1.02.3", "1.2.3-", "1.2.3 ", "latest"] {
        row(
            &format!("{{ version = \"{version}\" }}"),
            &[&format!("{PATH}.version: must be a semantic version")],
        );
    }
    row("{ version = \"\" }", &[&format!("{PATH}.version: must not be empty")]);
    row("{ description = \"x\" }", &[&format!("{PATH}.version: is required")]);
    row("{ version = \"1.0.0\", public = true }", &[&format!("{PATH}.public: is not a field here")]);
    row("\"1.0.0\"", &[&format!("{PATH}: must be a table"), &format!("{PATH}.version: is required")]);
    for version in ["0.0.0", "1.2.3", "1.2.3-alpha.1", "2.1.1+abcdef"] {
        let line = format!("[[services.plans]]\nmaintenance_info = {{ version = \"{version}\" }}");
        warned(&[("[[services.plans]]", &line)], &[]);
    }
}

#[test]
fn schemas_of_parameters() {
    const PATH: &str = "problem: services[0].plans[0].schemas";
    const DRAFT: &str = "\"$schema\": \"http://json-schema.org/draft-04/schema#\"";
    let site = Site::new();
    let check = |schema: &str, expected: &[&str]| {
        site.write("schema.json", schema, 0o644);
        let text = DREAM.replacen(
            "[[services.plans]]",
            "[[services.plans]]\nschemas = { create = \"schema.json\" }",
            1,
        );
        site.check(&text, expected);
    };
    let refused = |schema: &str, reason: &str| {
        check(schema, &[&format!("{PATH}.create: {} {reason}", site.path("schema.json").display())]);
    };
    check(&format!("{{{DRAFT}, \"$ref\": \"#/definitions/a\", \"definitions\": {{\"a\": {{}}}}}}"), &[]);
    check("{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\"}", &[]);
    // A property may be called so.
    check(&format!("{{{DRAFT}, \"properties\": {{\"$ref\": {{\"type\": \"string\"}}}}}}"), &[]);
    refused("", "is not JSON");
    refused("[]", "must hold a JSON object");
    refused("{", "is not JSON");
    refused("{}", "has no $schema, which the specification requires");
    refused("{\"$schema\": 4}", "has a $schema that is no version of JSON Schema");
    refused("{\"$schema\": \"draft-04\"}", "has a $schema that is no version of JSON Schema");
    for reference in ["http://json-schema.org/draft-04/schema#", "other.json#/a", "/etc/passwd"] {
        let schema =
            format!("{{{DRAFT}, \"properties\": {{\"a\": {{\"anyOf\": [{{\"$ref\": \"{reference}\"}}]}}}}}}");
        refused(&schema, &format!("refers to \"{reference}\"; only references within the schema may be"));
    }
    refused(&format!("{{{DRAFT}, \"$dynamicRef\": \"a.json\"}}"), "refers to \"a.json\"");
    let of_length = |length: usize| {
        let begin = format!("{{{DRAFT}, \"title\": \"");
        format!("{begin}{}\"}}", "x".repeat(length - begin.len() - 2))
    };
    check(&of_length(64 * 1024), &[]);
    refused(&of_length(64 * 1024 + 1), "is larger than 64 KiB, the most that the specification allows");

    let given = |schemas: &str, expected: &[&str]| {
        let text = DREAM.replacen("[[services.plans]]", &format!("[[services.plans]]\n{schemas}"), 1);
        site.check(&text, expected);
    };
    site.write("schema.json", &format!("{{{DRAFT}}}"), 0o644);
    given(
        "schemas = { update = \"nowhere.json\", bnid = \"schema.json\" }",
        &[
            &format!("{PATH}.update: {} cannot be read", site.path("nowhere.json").display()),
            &format!("{PATH}.bnid: is not a field here; the fields are bind, create, update"),
        ],
    );
    given("schemas = { bind = \"schema.json\" }\nbindable = false", &[&format!("{PATH}.bind: has no use")]);
    given("schemas = { create = \"\" }", &[&format!("{PATH}.create: must not be empty")]);
    let text = DREAM.replacen(
        "[[services.plans]]",
        "[[services.plans]]\nschemas = { update = \"schema.json\", bind = \"schema.json\" }",
        1,
    );
    let schemas = site.load(&text, &[]).unwrap().config.catalog.services[0].plans[0].schemas.clone();
    let expected = json!({"$schema": "http://json-schema.org/draft-04/schema#"});
    assert_eq!(
        (schemas.create, schemas.update, schemas.bind),
        (None, Some(expected.clone()), Some(expected))
    );
}
