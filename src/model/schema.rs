//! JSON schemas of parameters, compiled once and asked often. What they say of a value never repeats it: parameters may
//! be secret.

use std::fmt;
use std::fmt::Write as _;

use jsonschema::Validator;
use serde_json::{Map, Value};

/// How many things that are wrong are told at once.
const TOLD: usize = 8;

/// A schema that parameters are held against. References to anything outside of it are refused (OSB 2.17, "Input
/// Parameters Schema Object"): nothing is ever fetched.
#[derive(Clone, Debug)]
pub struct ParameterSchema(Validator);

/// Why a JSON value is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSchema {
    /// Where in the schema, and what.
    pub reason: String,
}

impl fmt::Display for InvalidSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for InvalidSchema {}

impl ParameterSchema {
    /// Reads a schema of any draft that its `$schema` names.
    ///
    /// # Errors
    /// Says what is no schema about it.
    pub fn compile(schema: &Value) -> Result<Self, InvalidSchema> {
        let compiled = jsonschema::options().build(schema);
        compiled.map(Self).map_err(|error| InvalidSchema {
            reason: format!("is no JSON schema: {}{error}", place("", error.instance_path().as_str())),
        })
    }

    /// Holds parameters against the schema.
    ///
    /// # Errors
    /// Names each field that is wrong, and the rule that it breaks: `parameters.node-count: …`.
    pub fn check(&self, parameters: &Map<String, Value>) -> Result<(), String> {
        // The library looks at values, and a map is one only by being wrapped.
        let parameters = Value::Object(parameters.clone());
        let wrong: Vec<String> = self
            .0
            .iter_errors(&parameters)
            .take(TOLD)
            .map(|error| {
                format!("{}{}", place("parameters", error.instance_path().as_str()), error.masked_with("it"))
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }
}

/// A JSON pointer as people write such places, ready to be followed by what is said of it.
fn place(root: &str, pointer: &str) -> String {
    let mut text = root.to_owned();
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            write!(text, "[{segment}]").expect("writing to a string does not fail");
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&segment);
        }
    }
    if !text.is_empty() {
        text.push_str(": ");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ParameterSchema;

    const SECRET: &str = "hunter2";

    #[test]
    fn what_is_wrong_is_named_and_not_repeated() {
        let check = |schema: serde_json::Value, parameters: serde_json::Value, expected: &str| {
            let schema = ParameterSchema::compile(&schema).unwrap();
            let told = schema.check(parameters.as_object().unwrap()).err().unwrap_or_default();
            assert!(told.starts_with(expected), "{told}, not {expected}");
            assert_eq!(told.is_empty(), expected.is_empty(), "{told}");
            assert!(!told.contains(SECRET), "{told}");
        };
        let number = json!({"properties": {"n": {"type": "integer", "minimum": 1}}});
        check(number.clone(), json!({"n": 1}), "");
        check(number.clone(), json!({}), "");
        check(number.clone(), json!({"n": 0}), "parameters.n: it is less than the minimum of 1");
        check(number, json!({"n": SECRET}), "parameters.n: it is not of type");
        let closed = json!({"additionalProperties": false, "properties": {"a": {}}});
        check(closed, json!({"b": SECRET}), "parameters: Additional properties are not allowed ('b'");
        let deep = json!({"properties": {"a": {"items": {"properties": {"b": {"enum": ["x"]}}}}}});
        check(deep, json!({"a": [{}, {"b": SECRET}]}), "parameters.a[1].b: it is not one of");
        for rule in [
            json!({"const": "x"}),
            json!({"pattern": "^x"}),
            json!({"maxLength": 1}),
            json!({"format": "ipv4"}),
            json!({"not": {}}),
            json!({"anyOf": [{"type": "null"}, {"type": "array"}]}),
            json!({"oneOf": [{"type": "null"}, {"type": "array"}]}),
            json!(false),
        ] {
            let schema =
                json!({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"p": rule}});
            let strict = ParameterSchema::compile(&schema).unwrap();
            // Drafts may take a format for a mere remark.
            if let Err(told) = strict.check(json!({"p": SECRET}).as_object().unwrap()) {
                assert!(!told.contains(SECRET) && told.starts_with("parameters"), "{told}");
            }
        }
        let list = json!({"properties": {"l": {"uniqueItems": true}}});
        check(list, json!({"l": [SECRET, SECRET]}), "parameters.l: it has non-unique");
        let names = json!({"propertyNames": {"maxLength": 1}});
        check(names, json!({"ab": 1}), "parameters");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let check = |schema: serde_json::Value, fine: bool| {
            assert_eq!(ParameterSchema::compile(&schema).is_ok(), fine, "{schema}");
        };
        check(json!({}), true);
        check(json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"}), true);
        check(json!({"$schema": "http://json-schema.org/draft-06/schema#", "type": "object"}), true);
        check(json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}), true);
        check(json!({"type": 7}), false);
        check(json!({"pattern": "("}), false);
        check(json!({"$ref": "http://elsewhere.example/schema.json"}), false);
        check(json!({"$ref": "file:///etc/passwd"}), false);
        check(json!({"definitions": {"a": {"type": "object"}}, "$ref": "#/definitions/a"}), true);
    }
}
