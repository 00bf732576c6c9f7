//! The head of an answer as bytes. Pure, but for the date.

use std::io::Write as _;
use std::time::SystemTime;

use crate::head::Head;
use crate::response::Response;

/// How the end of an answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Length,
    Chunks,
    /// By the end of the connection, for HTTP/1.0.
    Close,
}

/// The `Date`, rendered once a second.
pub(crate) struct Date {
    second: u64,
    text: String,
}

impl Date {
    pub(crate) fn new() -> Self {
        let mut date = Self { second: 0, text: String::new() };
        date.update();
        date
    }

    pub(crate) fn update(&mut self) {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.text = httpdate::fmt_http_date(now);
        }
    }
}

/// Whether an answer of this status has no body, whatever it says.
fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Whether a body follows the head of this answer.
pub(crate) fn has_body(head: Option<&Head>, status: u16) -> bool {
    !is_bodiless(status) && head.is_none_or(|head| head.method != "HEAD")
}

/// Appends status line and headers. `keep` says whether the connection goes on.
pub(crate) fn render_head(
    out: &mut Vec<u8>,
    response: &Response,
    head: Option<&Head>,
    ending: Ending,
    keep: bool,
    date: &Date,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, usize::from(response.status));
    push(out, &[" ", phrase(response.status), "\r\nDate: ", &date.text, "\r\n"]);
    if !response.content_type.is_empty() {
        push(out, &["Content-Type: ", response.content_type, "\r\n"]);
    }
    if !is_bodiless(response.status) {
        match ending {
            Ending::Length => {
                push(out, &["Content-Length: "]);
                push_number(out, response.body.len());
                push(out, &["\r\n"]);
            }
            Ending::Chunks => push(out, &["Transfer-Encoding: chunked\r\n"]),
            Ending::Close => {}
        }
    }
    if !keep {
        push(out, &["Connection: close\r\n"]);
    } else if head.is_some_and(|head| !head.is_1_1) {
        push(out, &["Connection: keep-alive\r\n"]);
    }
    for (name, value) in &response.headers {
        push(out, &[name, ": "]);
        // What a header is made of may have come from outside; nobody gets to begin another one.
        let safe = |byte: u8| if byte < b' ' && byte != b'\t' || byte == 0x7f { b' ' } else { byte };
        out.extend(value.bytes().map(safe));
        push(out, &["\r\n"]);
    }
    push(out, &["\r\n"]);
}

fn push(out: &mut Vec<u8>, words: &[&str]) {
    words.iter().for_each(|word| out.extend_from_slice(word.as_bytes()));
}

fn push_number(out: &mut Vec<u8>, number: usize) {
    write!(out, "{number}").expect("a Vec takes every byte");
}

/// A chunk's size line; its data and an empty line follow.
pub(crate) fn chunk_size(length: usize) -> Vec<u8> {
    format!("{length:x}\r\n").into_bytes()
}

/// The usual words (RFC 9110, 15).
fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}
