//! Reading fields out of a JSON body. What is there must be what it should be; what is unknown is ignored (OSB 2.17,
//! "Vendor Extension Fields"), and `null` is as good as none. "Content-Type" aside: `curl -d` says that JSON is a form,
//! and is believed to mean JSON.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::model::InvalidId;

/// A JSON object: a body, or an object in one.
pub(super) struct Body {
    /// What leads to its fields, for people: empty, or such as `previous_values.`.
    path: String,
    fields: Map<String, Value>,
}

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 for what is no JSON, or no object. The text does not repeat the body, which may hold secrets.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(raw) {
            Ok(Value::Object(fields)) => Ok(Self { path: String::new(), fields }),
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

    /// Reads a body that may be left out.
    ///
    /// # Errors
    /// As [`Body::parse`].
    pub(super) fn parse_or_empty(raw: &[u8]) -> Result<Self, Refusal> {
        if raw.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { path: String::new(), fields: Map::new() });
        }
        Self::parse(raw)
    }

    /// Refuses fields by other names: where one that is misspelled would change what is done.
    pub(super) fn has_only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.fields.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Refusal::bad(format!(
                "{}{name} is no field of this; {} are",
                self.path,
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// The field; JSON's `null` is as good as none.
    fn value(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, must: &str) -> Refusal {
        Refusal::bad(format!("{}{name} must be {must}", self.path))
    }

    fn missing(&self, name: &str) -> Refusal {
        Refusal::bad(format!("{}{name} is required", self.path))
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
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    /// An id, if it is there.
    pub(super) fn id<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Result<T, InvalidId>,
    ) -> Result<Option<T>, Refusal> {
        let parsed = self.text(name)?.map(parse).transpose();
        parsed.map_err(|error| Refusal::bad(format!("{}{name}: {error}", self.path)))
    }

    /// An id that must be there.
    pub(super) fn required_id<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Result<T, InvalidId>,
    ) -> Result<T, Refusal> {
        self.id(name, parse)?.ok_or_else(|| self.missing(name))
    }

    /// An object, if it is there.
    pub(super) fn object(&self, name: &str) -> Result<Option<Map<String, Value>>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object.clone())),
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }

    /// An object whose fields are read like these, if it is there.
    pub(super) fn within(&self, name: &str) -> Result<Option<Self>, Refusal> {
        let fields = self.object(name)?;
        Ok(fields.map(|fields| Self { path: format!("{}{name}.", self.path), fields }))
    }

    /// `true` or `false`, if it is there.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// A number within these bounds, if it is there.
    pub(super) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| self.wrong(name, &format!("a whole number from {least} to {most}")))
    }

    /// The version of `maintenance_info`, if that is there; all else in it is ignored (OSB 2.17, "Maintenance Info
    /// Object").
    pub(super) fn maintenance_version(&self) -> Result<Option<String>, Refusal> {
        let Some(info) = self.within("maintenance_info")? else { return Ok(None) };
        let version = info.text("version")?.ok_or_else(|| info.missing("version"))?;
        Ok(Some(version.to_owned()))
    }
}
