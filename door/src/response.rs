//! What goes back, as plain data.

use std::sync::Arc;
use std::time::Duration;

/// An answer. Its body may hold a password: no `Debug`.
#[derive(Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// What the body is; empty where it is not told.
    pub content_type: &'static str,
    /// Headers besides those of the connection, the body's length and type, and the date.
    pub headers: Vec<(&'static str, String)>,
    /// The body; shared, so that what is rendered once is never copied.
    pub body: Arc<[u8]>,
    /// Answered not before so much later. Whoever waits for it may be given up where connections run out.
    pub delay: Option<Duration>,
}

impl Response {
    /// An answer of this kind.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Arc<[u8]>>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: body.into(), delay: None }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A few words.
    #[must_use]
    pub fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", text.as_bytes())
    }
}
