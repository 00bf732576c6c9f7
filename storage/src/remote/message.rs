//! What is sent and what comes back, before anybody has made sense of it.

use ureq::http::HeaderMap;

/// One request, the same for every endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub method: Method,
    /// Path and query.
    pub target: &'a str,
    pub headers: &'a [(&'static str, &'a str)],
    pub body: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// What an endpoint answered.
pub(crate) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether the time was over before the body had come: then `body` is empty. Only of [`super::wire::Wire::wait`].
    pub cut: bool,
}

/// What an answer means.
pub(crate) enum Verdict<A> {
    /// The engine's own word.
    Said(A),
    /// Whoever answers has trouble: a read goes to the next endpoint, a write may have landed.
    Troubled(String),
    /// Certainly nothing was done: a read goes to the next endpoint, a write ends.
    Refused(String),
}

impl Reply {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Status and content type, for people: who answers like this is not the engine.
    pub(crate) fn outline(&self) -> String {
        let content_type = self.header("Content-Type").unwrap_or("no content type");
        format!("{}, {}", self.status, content_type.chars().take(60).collect::<String>())
    }
}
