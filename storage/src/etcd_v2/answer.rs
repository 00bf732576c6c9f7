//! etcd's answers, read: which index, which node, which error. Whoever does not answer like this is not etcd.

use serde::Deserialize;

use crate::remote::wire::{Reply, Verdict};

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

/// Reads an answer. Whoever does not answer like etcd has refused the request, unless etcd itself stood behind it.
pub(super) fn judge(reply: &Reply) -> Verdict<Answer> {
    let index = reply.header("X-Etcd-Index").and_then(|index| index.parse().ok());
    let foreign = || {
        let outline = reply.outline();
        format!("the answer ({outline}) is not of etcd's v2 API; is it served there (--enable-v2)?")
    };
    if reply.cut {
        // A watch whose time was over before its body came.
        return match (reply.status, index) {
            (200, Some(index)) => Verdict::Said(Answer { status: 200, index, said: Said::Nothing }),
            _ => Verdict::Troubled(foreign()),
        };
    }
    match read(reply, index) {
        Some(answer) if answer.status < 500 => Verdict::Said(answer),
        // etcd's own "request timed out" may have been proposed to the cluster all the same.
        Some(answer) => Verdict::Troubled(answer.reason()),
        None if reply.status >= 500 || index.is_some() => Verdict::Troubled(foreign()),
        None => Verdict::Refused(foreign()),
    }
}

fn read(reply: &Reply, index: Option<u64>) -> Option<Answer> {
    let raw = serde_json::from_slice::<Raw>(&reply.body).ok()?;
    let index = index.or(raw.index);
    let said = match raw {
        Raw { action: Some(_), node: Some(node), .. } => Said::Node(node),
        Raw { error_code: Some(code), message, .. } => {
            Said::Error { code, message: message.unwrap_or_default() }
        }
        // The auth layer of etcd answers with a message alone.
        Raw { message: Some(message), .. } if matches!(reply.status, 401 | 403) => {
            Said::Error { code: UNAUTHORIZED, message }
        }
        _ => return None,
    };
    match index {
        Some(index) => Some(Answer { status: reply.status, index, said }),
        None if matches!(said, Said::Error { .. }) => Some(Answer { status: reply.status, index: 0, said }),
        None => None,
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
