//! Reading fields out of a JSON body. What is there must be what it should be; what is unknown is ignored (OSB 2.17,
//! "Content-Type" aside: `curl -d` says that JSON is a form, and is believed to mean JSON).

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// A body that is a JSON object.
pub(super) struct Body {
    fields: Map<String, Value>,
}

impl Body {
    /// Reads it.
    ///
    /// # Errors
    /// 400 for what is no JSON, or no object. The text does not repeat the body, which may hold secrets.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(raw) {
            Ok(Value::Object(fields)) => Ok(Self { fields }),
            Ok(_) => Err(Refusal::bad("the body must be a JSON object")),
            Err(_) if raw.iter().all(u8::is_ascii_whitespace) => {
                Err(Refusal::bad("a body is required: a JSON object"))
            }
            Err(error) => Err(Refusal::bad(format!(
                "the body is not JSON: it breaks off or goes wrong at line {}, column {}",
                error.line(),
                error.column()
            ))),
        }
    }

    /// The field; JSON's `null` is as good as none.
    fn value(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// A text, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::bad(format!("{name} must be a text"))),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::bad(format!("{name} is required")))
    }

    /// An object; empty when it is not there.
    pub(super) fn object(&self, name: &str) -> Result<Map<String, Value>, Refusal> {
        match self.value(name) {
            None => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object.clone()),
            Some(_) => Err(Refusal::bad(format!("{name} must be an object"))),
        }
    }

    /// `true` or `false`, if it is there.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Refusal::bad(format!("{name} must be true or false"))),
        }
    }
}
