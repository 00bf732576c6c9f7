//! A request as plain data, and its parameters, read and checked in etcd's order.

use super::super::change::Condition;
use super::form::{self, Pairs};
use super::reply::ApiError;

/// The methods the API knows; anything else is answered by `405`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads or watches.
    Get,
    /// As `Get`; the door leaves the body out.
    Head,
    /// Writes.
    Put,
    /// Adds under a directory.
    Post,
    /// Removes.
    Delete,
    /// Is answered by nothing at all.
    Options,
    /// Whatever else.
    Other,
}

impl Method {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// One request of somebody who was admitted, whichever door it came through.
pub struct ApiRequest {
    /// What to do.
    pub method: Method,
    /// The path as sent.
    pub path: String,
    /// The query as sent.
    pub query: String,
    /// What the sender says that the body is; empty where it says nothing.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Decoded parameters; the first of a name counts.
struct Parameters(Pairs);

impl Parameters {
    fn of(request: &ApiRequest) -> Result<Self, ApiError> {
        let has_form = matches!(request.method, Method::Put | Method::Post);
        let (kind, body): (&str, &[u8]) =
            if has_form { (&request.content_type, &request.body) } else { ("", b"") };
        form::parse(kind, body, request.query.as_bytes()).map(Self).map_err(ApiError::invalid_form)
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// A flag, in the spellings that Go's parser knows.
    fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.bytes(name) {
            None => Ok(None),
            Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => Ok(Some(true)),
            Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => Ok(Some(false)),
            Some(_) => Err(ApiError::invalid_field(format!("invalid value for \"{name}\""))),
        }
    }

    fn is_set(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.flag(name)?.unwrap_or(false))
    }

    /// Of these two etcd words it without quotes.
    fn flag_without_quotes(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.flag(name).map_err(|_| ApiError::invalid_field(format!("invalid value for {name}")))
    }

    /// An index; zero counts as not given, as in etcd.
    fn index(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let number = self.bytes(name).map(number).transpose();
        number.map(|index| index.filter(|index| *index != 0)).map_err(|NotANumber| ApiError::bad_index(name))
    }
}

struct NotANumber;

/// Digits and nothing else, not even a sign.
fn number(text: &[u8]) -> Result<u64, NotANumber> {
    let digits = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    digits.and_then(|text| text.parse().ok()).ok_or(NotANumber)
}

/// What a request asks for.
pub(super) struct Asked {
    pub recursive: bool,
    pub dir: bool,
    /// A read that asks for a quorum does not wait, whatever else it says.
    pub wait: bool,
    pub stream: bool,
    pub wait_index: Option<u64>,
    pub value: Vec<u8>,
    pub ttl: Option<u64>,
    /// The TTL to refresh with.
    pub refresh: Option<u64>,
    pub only_if: Condition,
    pub no_value_on_success: bool,
}

impl Asked {
    pub(super) fn read(request: &ApiRequest) -> Result<Self, ApiError> {
        let parameters = Parameters::of(request)?;
        let index = parameters.index("prevIndex")?;
        let wait_index = parameters.index("waitIndex")?;
        let recursive = parameters.is_set("recursive")?;
        parameters.is_set("sorted")?;
        let wait = parameters.is_set("wait")?;
        let dir = parameters.is_set("dir")?;
        let quorum = parameters.is_set("quorum")?;
        let stream = parameters.is_set("stream")?;
        if wait && request.method != Method::Get {
            let cause = "\"wait\" can only be used with GET requests";
            return Err(ApiError::invalid_field(cause.to_owned()));
        }
        let value = match parameters.bytes("prevValue") {
            Some(b"") => return Err(ApiError::empty_prev_value()),
            value => value.map(<[u8]>::to_vec),
        };
        let no_value_on_success = parameters.is_set("noValueOnSuccess")?;
        let ttl = parameters.bytes("ttl").filter(|text| !text.is_empty());
        let ttl = ttl.map(number).transpose().map_err(|NotANumber| ApiError::bad_ttl())?;
        let exists = parameters.flag_without_quotes("prevExist")?;
        let new_value = parameters.bytes("value").unwrap_or_default().to_vec();
        let refresh = match (parameters.flag_without_quotes("refresh")?.unwrap_or(false), ttl) {
            (false, _) => None,
            (true, _) if !new_value.is_empty() => return Err(ApiError::value_on_refresh()),
            (true, None) => return Err(ApiError::refresh_without_ttl()),
            (true, ttl) => ttl,
        };
        Ok(Self {
            recursive,
            dir,
            wait: wait && !quorum,
            stream,
            wait_index,
            value: new_value,
            ttl,
            refresh,
            only_if: Condition { exists, index, value, ..Condition::default() },
            no_value_on_success,
        })
    }
}
