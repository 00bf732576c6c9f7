//! The parameters of an order, in the ancestors' words.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::model::{CellGuid, PatroniPlan, Schemas};
use crate::services::{InvalidParameters, Order};

/// What [`read`] takes, for platforms that show a form. In draft 4, the only one that every platform knows (OSB 2.17,
/// "Input Parameters Schema Object").
pub(super) fn schemas() -> Schemas {
    let cluster = json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "node-count": {
                "description": "How many nodes the cluster has.",
                "type": "integer",
                "minimum": 1,
            },
            "cells": {
                "description": "The guids of the cells that its nodes may be on.",
                "type": "array",
                "minItems": 1,
                "maxItems": 1000,
                "uniqueItems": true,
                "items": { "type": "string" },
            },
        },
    });
    // What comes with a binding is kept and means nothing.
    let bind = json!({ "$schema": "http://json-schema.org/draft-04/schema#", "type": "object" });
    Schemas { create: Some(cluster.clone()), update: Some(cluster), bind: Some(bind) }
}

/// Reads `node-count` and `cells`. A name that is neither is refused: a misspelt one would silently mean the default.
pub(super) fn read(plan: &PatroniPlan, parameters: &Map<String, Value>) -> Result<Order, InvalidParameters> {
    let nodes = usize::try_from(plan.node_count).unwrap_or(usize::MAX);
    let mut order = Order { nodes, cells: None, public_port: true };
    for (name, value) in parameters {
        match name.as_str() {
            "node-count" => order.nodes = node_count(value)?,
            "cells" => order.cells = Some(cells(value)?),
            _ => {
                let reason =
                    format!("there is no parameter \"{name}\"; there are \"node-count\" and \"cells\"");
                return Err(InvalidParameters { reason });
            }
        }
    }
    Ok(order)
}

fn node_count(value: &Value) -> Result<usize, InvalidParameters> {
    let refused = || InvalidParameters {
        reason: "the parameter \"node-count\" must be a whole number of at least 1".to_owned(),
    };
    let count = value.as_u64().filter(|count| *count > 0).ok_or_else(refused)?;
    usize::try_from(count).map_err(|_| refused())
}

fn cells(value: &Value) -> Result<Vec<CellGuid>, InvalidParameters> {
    let refused = || InvalidParameters {
        reason: "the parameter \"cells\" must be a list of cells' guids, each once".to_owned(),
    };
    let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(refused)?;
    let (mut cells, mut seen) = (Vec::with_capacity(list.len()), HashSet::new());
    for raw in list {
        let guid = raw.as_str().and_then(|raw| CellGuid::parse(raw).ok()).ok_or_else(refused)?;
        if !seen.insert(guid.clone()) {
            return Err(refused());
        }
        cells.push(guid);
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::{read, schemas};
    use crate::model::{ParameterSchema, PatroniPlan};

    fn check(parameters: &str, expected: Result<(usize, usize), &str>) {
        let plan = PatroniPlan::of("postgresql-patroni:17");
        let parameters_read = serde_json::from_str(parameters).unwrap();
        let answer = read(&plan, &parameters_read);
        // The schema is what platforms go by: it refuses nothing that is taken.
        let schema = ParameterSchema::compile(&schemas().create.unwrap()).unwrap();
        let told = schema.check(&parameters_read);
        assert!(told.is_ok() || answer.is_err(), "{parameters}: {told:?}");
        match (answer, expected) {
            (Ok(order), Ok((nodes, cells))) => {
                assert_eq!(
                    (order.nodes, order.cells.map_or(0, |cells| cells.len())),
                    (nodes, cells),
                    "{parameters}"
                );
            }
            (Err(error), Err(word)) => assert!(error.reason.contains(word), "{parameters}: {error}"),
            (answer, _) => panic!("{parameters}: {answer:?}"),
        }
    }

    #[test]
    fn parameters_are_read_or_refused() {
        check("{}", Ok((2, 0)));
        check(r#"{"node-count": 4}"#, Ok((4, 0)));
        check(r#"{"node-count": 1, "cells": ["a", "b"]}"#, Ok((1, 2)));
        check(r#"{"node-count": 0}"#, Err("node-count"));
        check(r#"{"node-count": -1}"#, Err("node-count"));
        check(r#"{"node-count": 1.5}"#, Err("node-count"));
        check(r#"{"node-count": "2"}"#, Err("node-count"));
        check(r#"{"node-count": null}"#, Err("node-count"));
        check(r#"{"node-count": 99999999999999999999}"#, Err("node-count"));
        check(r#"{"node_count": 2}"#, Err("node_count"));
        check(r#"{"cells": []}"#, Err("cells"));
        check(r#"{"cells": "a"}"#, Err("cells"));
        check(r#"{"cells": ["a", "a"]}"#, Err("cells"));
        check(r#"{"cells": ["../a"]}"#, Err("cells"));
    }
}
