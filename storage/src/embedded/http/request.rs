//! A request as plain data, and its parameters as etcd reads them: the form in the body first, then the query.

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
    /// Whatever else.
    Other,
}

/// One request of somebody who was admitted, whichever door it came through.
pub struct ApiRequest {
    /// What to do.
    pub method: Method,
    /// Path and query as sent.
    pub target: String,
    /// The body, if it is a form; otherwise empty.
    pub form: Vec<u8>,
}

impl ApiRequest {
    /// The path as sent.
    pub(super) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }
}

/// Decoded parameters; the first of a name counts.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(request: &ApiRequest) -> Result<Self, ApiError> {
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let mut pairs = Vec::new();
        if matches!(request.method, Method::Put | Method::Post) {
            read_pairs(&request.form, &mut pairs)?;
        }
        read_pairs(query.as_bytes(), &mut pairs)?;
        Ok(Self(pairs))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A flag, in the spellings that Go's parser knows.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(_) => Err(ApiError::invalid_field(format!("invalid value for \"{name}\""))),
        }
    }

    /// An index; zero counts as not given, as in etcd.
    pub(super) fn index(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let wrong = || ApiError::bad_index(format!("invalid value for \"{name}\""));
        self.text(name)
            .map_or(Ok(None), |text| text.parse().map(Some).map_err(|_| wrong()))
            .map(|index| index.filter(|index| *index != 0))
    }
}

fn read_pairs(encoded: &[u8], pairs: &mut Vec<(String, String)>) -> Result<(), ApiError> {
    for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = pair.get(at + 1..).unwrap_or_default();
        pairs.push((decode(&pair[..at], true)?, decode(value, true)?));
    }
    Ok(())
}

/// Undoes percent encoding, and `+` for a space where `plus` says so.
pub(super) fn decode(encoded: &[u8], plus: bool) -> Result<String, ApiError> {
    let wrong = || ApiError::invalid_field("a parameter or the path is not percent-encoded UTF-8".to_owned());
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16));
                let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                u8::try_from(high * 16 + low).map_err(|_| wrong())?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        let check = |raw: &str, plus, expected: Option<&str>| {
            assert_eq!(decode(raw.as_bytes(), plus).ok().as_deref(), expected, "{raw}");
        };
        check("a%20b+c", true, Some("a b c"));
        check("a+b", false, Some("a+b"));
        check("%C3%A4", true, Some("ä"));
        check("%ff", true, None);
        check("%4", true, None);
        check("%zz", true, None);
        check("%+1", true, None);
    }
}
