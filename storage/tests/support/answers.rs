//! Answers that a server of one's own gives, and what a call that got them came to.

use storage::StoreError;

/// An answer of HTTP, whole.
pub fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Fine,
    Conflict,
    Unavailable,
    OutcomeUnknown,
    Corrupt,
}

pub fn sort<T>(result: &Result<T, StoreError>) -> Sort {
    match result {
        Ok(_) => Sort::Fine,
        Err(StoreError::Conflict) => Sort::Conflict,
        Err(StoreError::Unavailable { .. }) => Sort::Unavailable,
        Err(StoreError::OutcomeUnknown { .. }) => Sort::OutcomeUnknown,
        Err(StoreError::Corrupt { .. }) => Sort::Corrupt,
    }
}
