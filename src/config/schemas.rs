//! `schemas`: files with JSON schemas for the parameters of a plan, held against what the specification asks of them
//! (OSB 2.17, "Input Parameters Schema Object").

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::Surroundings;
use super::reader::Section;
use crate::model::{ParameterSchema, Schemas};

/// "Schemas MUST NOT be larger than 64kB."
const LARGEST: u64 = 64 * 1024;

pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>) -> Schemas {
    let schema = |field: &'static str| {
        let file = surroundings.path(section.has(field).then(|| section.required_text(field))??);
        load(&file).map_err(|problem| section.problem(field, format!("{} {problem}", file.display()))).ok()
    };
    let schemas = Schemas { create: schema("create"), update: schema("update"), bind: schema("bind") };
    section.end();
    schemas
}

fn load(file: &Path) -> Result<Value, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    // What is longer is not read to its end.
    let opened = File::open(file).map_err(cannot)?;
    opened.take(LARGEST + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > LARGEST {
        return Err("is larger than 64 KiB, the most that the specification allows".to_owned());
    }
    let schema: Value = serde_json::from_str(&text).map_err(|error| format!("is not JSON: {error}"))?;
    let Value::Object(fields) = &schema else {
        return Err("must hold a JSON object".to_owned());
    };
    match fields.get("$schema") {
        Some(Value::String(version)) if is_version(version) => {}
        Some(_) => {
            let message = "has a $schema that is no version of JSON Schema, such as \
                           \"http://json-schema.org/draft-04/schema#\"";
            return Err(message.to_owned());
        }
        None => return Err("has no $schema, which the specification requires".to_owned()),
    }
    if let Some(reference) = external_reference(&schema) {
        return Err(format!("refers to {reference:?}; only references within the schema may be"));
    }
    ParameterSchema::compile(&schema).map_err(|error| error.to_string())?;
    Ok(schema)
}

fn is_version(raw: &str) -> bool {
    ["http://json-schema.org/", "https://json-schema.org/"].iter().any(|begin| raw.starts_with(begin))
}

/// The first reference that leads out of the schema.
fn external_reference(value: &Value) -> Option<&str> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| match value {
            // A property may be called so, too; then it is no text.
            Value::String(target) if matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") => {
                (!target.starts_with('#')).then_some(target.as_str())
            }
            other => external_reference(other),
        }),
        Value::Array(items) => items.iter().find_map(external_reference),
        _ => None,
    }
}
