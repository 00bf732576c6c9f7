//! Typed access to a parsed TOML document that reports everything that does not fit, and goes on. Serde stops at the
//! first mismatch; an operator wants to hear of all of them at once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use super::problem::Findings;

/// One table of the document. Fields are asked for by name; [`Section::end`] then reports those nobody asked for.
pub(super) struct Section<'a> {
    path: String,
    table: Option<&'a Table>,
    known: RefCell<BTreeSet<&'static str>>,
    findings: &'a Findings,
}

impl<'a> Section<'a> {
    /// The document itself.
    pub(super) fn root(table: &'a Table, findings: &'a Findings) -> Self {
        Self { path: String::new(), table: Some(table), known: RefCell::default(), findings }
    }

    /// A document of its own that a field of another one names; its places begin with that field's.
    pub(super) fn named_by(&self, name: &str, table: &'a Table) -> Self {
        Self { path: self.path(name), table: Some(table), known: RefCell::default(), findings: self.findings }
    }

    /// Where in the file a field of this table is.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Where in the file this table is.
    pub(super) fn own_path(&self) -> &str {
        &self.path
    }

    /// Reports a problem with a field.
    pub(super) fn problem(&self, name: &str, message: impl Into<String>) {
        self.findings.problem(self.path(name), message);
    }

    /// Reports a doubt about a field.
    pub(super) fn warning(&self, name: &str, message: impl Into<String>) {
        self.findings.warning(self.path(name), message);
    }

    /// Whether the field is there, whatever it is.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.value(name).is_some()
    }

    /// Reports the field, where it is there, in words that say more than that it is no field here.
    pub(super) fn misplaced(&self, name: &'static str, message: &str) {
        if self.table.is_some_and(|table| table.contains_key(name)) {
            self.known.borrow_mut().insert(name);
            self.problem(name, message);
        }
    }

    fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().insert(name);
        self.table?.get(name)
    }

    fn wrong_type(&self, name: &str, wanted: &str, found: &Value) {
        self.problem(name, format!("must be {wanted}, not {}", article(found.type_str())));
    }

    /// A text; `None` when it is not there or no text, which is then reported.
    pub(super) fn text(&self, name: &'static str) -> Option<&'a str> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong_type(name, "a text", other);
                None
            }
        }
    }

    /// A text that must be there and not be empty.
    pub(super) fn required_text(&self, name: &'static str) -> Option<&'a str> {
        if !self.has(name) {
            self.problem(name, "is required");
            return None;
        }
        let text = self.text(name)?;
        if text.is_empty() {
            self.problem(name, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A text that must be there and that `parse` accepts; its error is the problem.
    pub(super) fn required<T, E: Display>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.required_text(name)?;
        parse(text).map_err(|error| self.problem(name, error.to_string())).ok()
    }

    /// A text that `parse` accepts, and `default` in its absence.
    pub(super) fn optional<T, E: Display>(
        &self,
        name: &'static str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = if self.has(name) { self.text(name)? } else { default };
        parse(text).map_err(|error| self.problem(name, error.to_string())).ok()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &'static str, default: bool) -> bool {
        self.given_flag(name).unwrap_or(default)
    }

    /// `true` or `false`; `None` when it is not there or neither, which is then reported.
    pub(super) fn given_flag(&self, name: &'static str) -> Option<bool> {
        match self.value(name)? {
            Value::Boolean(flag) => Some(*flag),
            other => {
                self.wrong_type(name, "true or false", other);
                None
            }
        }
    }

    /// A whole number within `range`; `None` when it is not there or does not fit, which is then reported.
    pub(super) fn number(&self, name: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let found = match self.value(name)? {
            Value::Integer(found) => *found,
            other => {
                self.wrong_type(name, "a whole number", other);
                return None;
            }
        };
        let number = u32::try_from(found).ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(name, format!("must be from {} to {}, not {found}", range.start(), range.end()));
        }
        number
    }

    /// As [`Section::number`], with a default.
    pub(super) fn number_or(&self, name: &'static str, default: u32, range: RangeInclusive<u32>) -> u32 {
        self.number(name, range).unwrap_or(default)
    }

    /// A list of texts; empty in its absence.
    pub(super) fn texts(&self, name: &'static str) -> Vec<&'a str> {
        let list = match self.value(name) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong_type(name, "a list of texts", other);
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for (index, value) in list.iter().enumerate() {
            match value {
                Value::String(text) => texts.push(text.as_str()),
                other => self.wrong_type(&format!("{name}[{index}]"), "a text", other),
            }
        }
        texts
    }

    /// A table of whatever fields there are, as JSON; empty in its absence.
    pub(super) fn json(&self, name: &'static str) -> Map<String, Json> {
        match self.value(name) {
            None => Map::new(),
            Some(Value::Table(table)) => table
                .iter()
                .map(|(key, value)| (key.clone(), self.as_json(&format!("{name}.{key}"), value)))
                .collect(),
            Some(other) => {
                self.wrong_type(name, "a table", other);
                Map::new()
            }
        }
    }

    /// JSON has no dates, which become texts, and no fraction that is not a number.
    fn as_json(&self, place: &str, value: &Value) -> Json {
        match value {
            Value::String(text) => Json::from(text.as_str()),
            Value::Integer(number) => Json::from(*number),
            Value::Boolean(flag) => Json::from(*flag),
            Value::Datetime(when) => Json::from(when.to_string()),
            Value::Float(number) => {
                if !number.is_finite() {
                    self.problem(place, "must be a number that JSON has");
                }
                Json::from(*number)
            }
            Value::Array(list) => {
                let items = list.iter().enumerate();
                items.map(|(index, item)| self.as_json(&format!("{place}[{index}]"), item)).collect()
            }
            Value::Table(table) => {
                let fields = table.iter();
                let fields =
                    fields.map(|(key, value)| (key.clone(), self.as_json(&format!("{place}.{key}"), value)));
                Json::Object(fields.collect())
            }
        }
    }

    /// A table; in its absence an empty one, so that each of its required fields is reported by its own name.
    pub(super) fn section(&self, name: &'static str) -> Section<'a> {
        let table = match self.value(name) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                self.wrong_type(name, "a table", other);
                None
            }
        };
        Section { path: self.path(name), table, known: RefCell::default(), findings: self.findings }
    }

    /// A list of tables, such as `[[cells]]`; empty in its absence.
    pub(super) fn sections(&self, name: &'static str) -> Vec<Section<'a>> {
        let list = match self.value(name) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong_type(name, &format!("a list of tables, each under [[{name}]]"), other);
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let place = format!("{name}[{index}]");
            match value {
                Value::Table(table) => sections.push(Section {
                    path: self.path(&place),
                    table: Some(table),
                    known: RefCell::default(),
                    findings: self.findings,
                }),
                other => self.wrong_type(&place, "a table", other),
            }
        }
        sections
    }

    /// The tables of a list, without a word about what is wrong with it: for who looks ahead.
    pub(super) fn sections_quietly(&self, name: &str) -> Vec<&'a Table> {
        let list = self.table.and_then(|table| table.get(name)).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_table).collect()
    }

    /// Reports the fields that nobody asked for. Call it when every field has been asked for.
    pub(super) fn end(&self) {
        let known = self.known.borrow();
        for name in self.table.into_iter().flat_map(Table::keys) {
            if !known.contains(name.as_str()) {
                let names: Vec<&str> = known.iter().copied().collect();
                self.problem(name, format!("is not a field here; the fields are {}", names.join(", ")));
            }
        }
    }
}

fn article(type_name: &str) -> String {
    match type_name {
        "string" => "a text".to_owned(),
        "integer" => "a whole number".to_owned(),
        "float" => "a fraction".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => "a list".to_owned(),
        "table" => "a table".to_owned(),
        other => format!("a {other}"),
    }
}
