//! Who made the platform ask (OSB 2.17, "Originating Identity"): read for the log alone. The text has no status for one
//! that cannot be read, so that it refuses nothing.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

/// A longer header is not looked at.
const LONGEST_HEADER: usize = 8192;
/// How much of a platform's name and of a user's id goes into the log.
const LONGEST_NAME: usize = 128;
/// Fields that name a user, the first that is there. The rest may be anybody's data: no other goes into the log.
const NAMES: [&str; 3] = ["user_id", "uid", "username"];

/// Padding is not what an identity fails by.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A user of a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Originating {
    /// Whom the platform names.
    User {
        /// Such as `cloudfoundry`.
        platform: String,
        /// The platform's id for him; none where it names him by what is not known here.
        id: Option<String>,
    },
    /// The header is not what the specification has.
    Unreadable,
}

impl Originating {
    /// Reads the header.
    pub(super) fn read(header: &str) -> Self {
        Self::try_read(header).unwrap_or(Self::Unreadable)
    }

    fn try_read(header: &str) -> Option<Self> {
        if header.len() > LONGEST_HEADER {
            return None;
        }
        let (platform, encoded) = header.trim().split_once(' ')?;
        let decoded = BASE64.decode(encoded.trim()).ok()?;
        let Ok(Value::Object(fields)) = serde_json::from_slice(&decoded) else { return None };
        let text = |name: &&str| fields.get(*name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let id = NAMES.iter().find_map(text).map(bounded);
        Some(Self::User { platform: bounded(platform), id })
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(LONGEST_NAME).collect()
}

/// As the log has it: on one line, whatever was sent.
impl fmt::Display for Originating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { platform, id } => {
                let id = id.as_deref().unwrap_or("-");
                write!(f, "{}/{}", platform.escape_debug(), id.escape_debug())
            }
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    use super::Originating;

    #[test]
    fn whom_the_platform_names() {
        let check = |header: &str, expected: &str| {
            assert_eq!(Originating::read(header).to_string(), expected, "{header}");
        };
        let of = |json: &str| format!("cloudfoundry {}", STANDARD.encode(json));
        // The specification's own examples.
        let example = "eyANCiAgInVzZXJfaWQiOiAiNjgzZWE3NDgtMzA5Mi00ZmY0LWI2NTYtMzljYWNjNGQ1MzYwIg0KfQ==";
        check(&format!("cloudfoundry {example}"), "cloudfoundry/683ea748-3092-4ff4-b656-39cacc4d5360");
        let kubernetes =
            r#"{"username": "duke", "uid": "c2dd", "groups": ["admin"], "extra": {"mydata": ["d"]}}"#;
        check(&of(kubernetes), "cloudfoundry/c2dd");
        check(&of(r#"{"username": "duke"}"#), "cloudfoundry/duke");
        check(&format!("k8s  {}", STANDARD_NO_PAD.encode(r#"{"username": "du"}"#)), "k8s/du");
        check(&of(r#"{"user_id": "", "uid": 7, "username": "duke"}"#), "cloudfoundry/duke");
        check(&of(r#"{"email": "duke@example.org"}"#), "cloudfoundry/-");
        check(&of("{}"), "cloudfoundry/-");
        // What would break a line of the log does not.
        check(&of(r#"{"user_id": "a\r\nb\u001b[1m"}"#), r"cloudfoundry/a\r\nb\u{1b}[1m");
        check(
            &of(&format!(r#"{{"user_id": "{}"}}"#, "x".repeat(1000))),
            &format!("cloudfoundry/{}", "x".repeat(128)),
        );
        check("", "unreadable");
        check("cloudfoundry", "unreadable");
        check("cloudfoundry ???", "unreadable");
        check(&of("[]"), "unreadable");
        check(&of("\u{fffd}"), "unreadable");
        check(&of(&format!(r#"{{"user_id": "{}"}}"#, "x".repeat(10_000))), "unreadable");
    }
}
