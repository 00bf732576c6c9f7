//! The catalog, and who has it already.

use crate::bench::{Bench, settings, whole_catalog};

#[test]
fn the_catalog_is_the_specifications() {
    let bench = Bench::start();
    let expected = concat!(
        r#"{"services":[{"id":"s1","name":"postgresql","description":"PostgreSQL","bindable":true,"#,
        r#""instances_retrievable":true,"bindings_retrievable":true,"allow_context_updates":true,"#,
        r#""plan_updateable":true,"plans":[{"id":"p1","name":"cluster","description":"two nodes","free":true,"#,
        r#""binding_rotatable":false,"maximum_polling_duration":900}]}]}"#
    );
    bench.check("GET /v2/catalog", "", 200, expected);
    bench.check("GET /v2/catalog/", "", 200, expected);
    bench.check("GET http://broker.example/v2/catalog?x=y", "", 200, expected);
    let head = bench.client().ask("HEAD /v2/catalog", &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, expected.len().to_string().as_str()));

    let bench = Bench::start_with(&whole_catalog(), settings());
    let schema = |name: &str| {
        format!(
            "{{\"parameters\":{{\"$schema\":\"http://json-schema.org/draft-04/schema#\",\"title\":\"{name}\"}}}}"
        )
    };
    let plan = |id: &str, rotatable: bool, schemas: &str| {
        format!(
            "{{\"id\":\"{id}\",\"name\":\"cluster\",\"description\":\"two nodes\",\
             \"metadata\":{{\"bullets\":[\"two nodes\"]}},\"free\":false,\"bindable\":false,\
             \"binding_rotatable\":{rotatable},\"plan_updateable\":false,\"schemas\":{{{schemas}}},\
             \"maximum_polling_duration\":900,\
             \"maintenance_info\":{{\"version\":\"17.2.0+1\",\"description\":\"restarts\"}}}}"
        )
    };
    let bind = format!("\"service_binding\":{{\"create\":{}}}", schema("bind"));
    let both = format!(
        "\"service_instance\":{{\"create\":{},\"update\":{}}},{bind}",
        schema("create"),
        schema("update")
    );
    let expected = format!(
        "{{\"services\":[{{\"id\":\"s1\",\"name\":\"postgresql\",\"description\":\"PostgreSQL\",\
         \"tags\":[\"relational\"],\"requires\":[\"syslog_drain\"],\"bindable\":true,\
         \"instances_retrievable\":true,\"bindings_retrievable\":true,\"allow_context_updates\":true,\
         \"metadata\":{{\"displayName\":\"PostgreSQL\"}},\"plan_updateable\":true,\"plans\":[{},{}]}}]}}",
        plan("p1", true, &both),
        plan("p2", false, &bind),
    );
    bench.check("GET /v2/catalog", "", 200, &expected);
}

#[test]
fn who_has_it_already() {
    let bench = Bench::start();
    let etag = bench.ask("GET /v2/catalog", "").header("etag").to_owned();
    assert!(etag.len() > 10 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    assert_eq!(Bench::start().ask("GET /v2/catalog", "").header("etag"), etag, "the same bytes");
    let other = Bench::start_with(&whole_catalog(), settings());
    assert_ne!(other.ask("GET /v2/catalog", "").header("etag"), etag);
    let check = |method: &str, header: &str, status: u16| {
        let header = format!("If-None-Match: {header}");
        let answer = bench.client().ask(&format!("{method} /v2/catalog"), &[&header], b"");
        assert_eq!((answer.status, answer.header("etag")), (status, etag.as_str()), "{method} {header}");
        assert_eq!(answer.body.is_empty(), status == 304 || method == "HEAD", "{method} {header}");
    };
    check("GET", &etag, 304);
    check("HEAD", &etag, 304);
    check("GET", "*", 304);
    check("GET", &format!("W/{etag}"), 304);
    check("GET", &format!("\"other\", W/\"third\" ,{etag}"), 304);
    check("GET", "\"other\"", 200);
    check("HEAD", "\"other\"", 200);
    check("GET", etag.trim_matches('"'), 200);
    check("GET", "\"*\"", 200);
    check("GET", "", 200);
    // Who is not known learns nothing of it.
    let known = format!("If-None-Match: {etag}");
    let answer = bench.client().ask("GET /v2/catalog", &[&known, "Authorization: none"], b"");
    assert_eq!((answer.status, answer.header("etag")), (401, ""));
}
