//! What the official description and the specification's text do not agree on, or where the broker is known to do
//! something else, each with its reason. Whatever schemathesis says beyond it is a finding.

use serde_json::{Value, json};

pub const SERVICE: &str = "2a3c8f1e-58a9-4f0c-9f60-5a8f6f1d7f01";
/// The only one: a request that names another plan than the instance's is invalid, and that is known here.
pub const PLAN: &str = "2a3c8f1e-58a9-4f0c-9f60-5a8f6f1d7f02";

const INSTANCE: &str = "/v2/service_instances/{instance_id}";
const BINDING: &str = "/v2/service_instances/{instance_id}/service_bindings/{binding_id}";

/// Another reading of one place of the description. `|` stands between names, `*` means all of them.
pub struct Amendment {
    pub at: Vec<&'static str>,
    pub is: Value,
    /// For the reader of the table.
    #[expect(dead_code, reason = "a table without reasons would not be one")]
    pub why: &'static str,
}

/// What the plan's schemas say of parameters: no longer delays than a test has time for.
pub fn parameters() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {
        "asynchronous": {"type": "boolean"},
        "delay_ms": {"type": "integer", "minimum": 0, "maximum": 50},
        "fail": {"type": "string", "enum": ["provision", "update", "deprovision", "bind", "unbind"]},
    }})
}

pub fn amendments() -> Vec<Amendment> {
    let error = |what: &str| json!({"description": what, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}});
    let row = |at: &[&'static str], is: Value, why: &'static str| Amendment { at: at.to_vec(), is, why };
    let one_of = |ids: &[&str]| json!({"type": "string", "enum": ids});
    let schema =
        |name: &'static str, field: &'static str| ["components", "schemas", name, "properties", field];
    let responses = |path: &'static str, methods: &'static str, status: &'static str| {
        ["paths", path, methods, "responses", status]
    };
    let mut rows = vec![
        row(
            &responses("*", "*", "412"),
            error("Precondition Failed"),
            "\"API Version Header\" has brokers refuse versions that they do not speak; the description forgets it",
        ),
        row(
            &responses("*", "*", "401"),
            error("Unauthorized"),
            "\"Platform to Service Broker Authentication\" has it for every request; here GET has none",
        ),
        row(
            &responses("*", "get", "400"),
            error("Bad Request"),
            "\"Service Broker Errors\" has it for every malformed request; here some GETs have none",
        ),
        row(
            &responses("*", "get", "422"),
            error("Unprocessable Entity"),
            "\"Fetching a Service Instance\": while it is being updated; forgotten",
        ),
        row(
            &responses(INSTANCE, "patch", "404"),
            error("Not Found"),
            "the text says nothing of instances that there are not; 404 is what every broker says",
        ),
        row(&responses(BINDING, "put", "404"), error("Not Found"), "the same"),
        row(
            &responses("*", "put|patch|delete", "500"),
            error("Internal Server Error"),
            "the dream service fails where its parameters say so; a server error besides those would be found by its \
             words, which the test looks for in the broker's log",
        ),
        row(
            &["components", "schemas", "ServiceInstanceProvisionRequestBody", "required"],
            json!(["service_id", "plan_id"]),
            "the other two are deprecated, and the ancestors' users leave them out",
        ),
        row(
            &["components", "schemas", "ServiceBindingRequest", "required"],
            json!([]),
            "\"Rotating a Service Binding\" has predecessor_binding_id alone",
        ),
    ];
    for (name, few) in [("[instance_id]", "i[1-3]"), ("[binding_id]", "b[1-3]")] {
        rows.push(row(
            &["paths", "*", "*", "parameters", name, "schema"],
            json!({"type": "string", "pattern": format!("^({few}|{few}|[A-Za-z0-9_~-][A-Za-z0-9._~-]{{0,63}})$")}),
            "few ids, so that requests meet. The specification lets ids be any text; ours are at most 64 characters \
             of those that a path takes as they are, and others are refused",
        ));
    }
    for (name, id) in [("[service_id]", SERVICE), ("[plan_id]", PLAN)] {
        rows.push(row(
            &["paths", "*", "*", "parameters", name, "schema"],
            one_of(&[id]),
            "what the instance is; anything else is refused, which the negative cases see",
        ));
    }
    for name in ["[service_id]", "[plan_id]"] {
        rows.push(row(
            &["paths", "*", "delete", "parameters", name, "required"],
            json!(false),
            "the ancestors' users leave them out; what is sent is checked",
        ));
    }
    for name in
        ["ServiceInstanceProvisionRequestBody", "ServiceInstanceUpdateRequestBody", "ServiceBindingRequest"]
    {
        let why = "those of the catalog; others are refused, which the negative cases see";
        rows.push(row(&schema(name, "service_id"), one_of(&[SERVICE]), why));
        rows.push(row(&schema(name, "plan_id"), one_of(&[PLAN]), why));
        rows.push(row(
            &schema(name, "parameters"),
            json!({"allOf": [parameters()], "nullable": true}),
            "as the catalog's schemas have them",
        ));
    }
    let optional = [
        ("ServiceInstanceProvisionRequestBody", ["context", "organization_guid", "space_guid"]),
        ("ServiceInstanceUpdateRequestBody", ["context", "plan_id", "previous_values"]),
        ("ServiceBindingRequest", ["context", "app_guid", "bind_resource"]),
    ];
    for (name, fields) in optional {
        for field in fields {
            let is = match field {
                "previous_values" => json!({"$ref": "#/components/schemas/ServiceInstancePreviousValues"}),
                "bind_resource" => json!({"$ref": "#/components/schemas/ServiceBindingResouceObject"}),
                "context" => json!({"type": "object"}),
                "plan_id" => one_of(&[PLAN]),
                _ => json!({"type": "string"}),
            };
            let is = json!({"allOf": [is], "nullable": true});
            rows.push(row(&schema(name, field), is, "JSON's null is as good as leaving a field out"));
        }
    }
    rows.push(row(
        &schema("ServiceBindingRequest", "predecessor_binding_id"),
        json!({"type": "string", "nullable": true, "pattern": "^b[1-3]$"}),
        "few ids, so that requests meet; JSON's null is as good as leaving it out",
    ));
    rows.push(row(
        &["components", "schemas", "ServiceInstancePreviousValues", "properties"],
        json!({}),
        "what was before cannot be told from what is there: an update that comes again after it was fulfilled speaks of \
         what was before that. The API's own tests hold what is refused",
    ));
    rows
}

/// What the checks are told, as schemathesis' own configuration. Every check is on but for those named here.
pub const CHECKS: &str = r#"
# What a broker does not know of a query it ignores; and a password that is left out at random is sent all the same,
# since every request is authenticated: that one is needed is its own check.
[generation]
allow-extra-parameters = false
with-security-parameters = false

# A request that fits the description may be refused for the state of things: what there is not is 404 or 410, another
# operation 409 or 422. The dream service fails on demand: 500.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "409", "410", "422", "500"]

# What there is not is gone, whatever else is wrong with the request; 412 is how another version is refused.
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "405", "409", "410", "412", "413", "415", "422"]

# The dream service fails on demand with 500; the test looks for other server errors in the broker's log.
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "500"]

# A predecessor that is no binding of the instance is refused as invalid data.
[[operations]]
include-name = "PUT /v2/service_instances/{instance_id}/service_bindings/{binding_id}"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "410", "422", "500"]

# How a deletion stands is asked after the deletion was accepted; and an operation that there never was is invalid data.
[[operations]]
include-path-regex = "last_operation$"
checks.use_after_free.enabled = false
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "410"]

# Needs a second user whose instances the first must not see; a broker's users share all of them.
[checks.object_level_authorization]
enabled = false
"#;
