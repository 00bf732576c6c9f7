//! etcd's answers, read: which index, which node, which error. Whoever does not answer like this is not etcd.

use serde::Deserialize;
use ureq::Body;
use ureq::http::Response;

/// The part of an answer that comes first.
pub(super) struct Head {
    pub status: u16,
    /// `X-Etcd-Index`.
    pub index: Option<u64>,
    content_type: String,
}

/// What etcd said.
pub(super) struct Answer {
    pub status: u16,
    /// The store's index when it was said.
    pub index: u64,
    pub said: Said,
}

pub(super) enum Said {
    /// It was done, or found.
    Node(Node),
    /// It was refused, or failed.
    Error { code: u32, message: String },
    /// Nothing yet: a watch whose time was over first.
    Nothing,
}

/// The answer is not etcd's.
pub(super) struct NotEtcd {
    pub reason: String,
}

/// A node, with what is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub value: Option<String>,
    #[serde(default)]
    pub dir: bool,
    #[serde(default)]
    pub modified_index: u64,
    #[serde(default)]
    pub nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    action: Option<String>,
    node: Option<Node>,
    error_code: Option<u32>,
    message: Option<String>,
    index: Option<u64>,
}

impl Answer {
    pub(super) fn head(response: &Response<Body>) -> Head {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        Head {
            status: response.status().as_u16(),
            index: header("X-Etcd-Index").and_then(|index| index.parse().ok()),
            content_type: header("Content-Type").unwrap_or("no content type").chars().take(60).collect(),
        }
    }

    /// What went wrong, for people. etcd's `cause` may hold values and is left out.
    pub(super) fn reason(&self) -> String {
        match &self.said {
            Said::Error { code, message } => {
                format!("etcd answers {} with error {code}, {message}", self.status)
            }
            Said::Node(_) | Said::Nothing => format!("etcd answers {}", self.status),
        }
    }
}

impl Head {
    pub(super) fn with_body(self, body: &[u8]) -> Result<Answer, NotEtcd> {
        let Ok(raw) = serde_json::from_slice::<Raw>(body) else { return Err(self.not_etcd()) };
        let index = self.index.or(raw.index);
        let said = match raw {
            Raw { action: Some(_), node: Some(node), .. } => Said::Node(node),
            Raw { error_code: Some(code), message, .. } => {
                Said::Error { code, message: message.unwrap_or_default() }
            }
            // The auth layer of etcd answers with a message alone.
            Raw { message: Some(message), .. } if matches!(self.status, 401 | 403) => {
                Said::Error { code: UNAUTHORIZED, message }
            }
            _ => return Err(self.not_etcd()),
        };
        match index {
            Some(index) => Ok(Answer { status: self.status, index, said }),
            None if matches!(said, Said::Error { .. }) => Ok(Answer { status: self.status, index: 0, said }),
            None => Err(self.not_etcd()),
        }
    }

    /// The answer to a watch whose time was over before its body came.
    pub(super) fn with_index(self) -> Result<Answer, NotEtcd> {
        match (self.status, self.index) {
            (200, Some(index)) => Ok(Answer { status: 200, index, said: Said::Nothing }),
            _ => Err(self.not_etcd()),
        }
    }

    fn not_etcd(&self) -> NotEtcd {
        NotEtcd {
            reason: format!(
                "the answer ({}, {}) is not of etcd's v2 API; is it served there (--enable-v2)?",
                self.status, self.content_type
            ),
        }
    }
}

/// etcd's code for missing or wrong credentials.
pub(super) const UNAUTHORIZED: u32 = 110;
pub(super) const KEY_NOT_FOUND: u32 = 100;
pub(super) const COMPARE_FAILED: u32 = 101;
pub(super) const NOT_A_FILE: u32 = 102;
pub(super) const NOT_A_DIRECTORY: u32 = 104;
pub(super) const ALREADY_EXISTS: u32 = 105;
pub(super) const INDEX_CLEARED: u32 = 401;
