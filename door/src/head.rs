//! The head of a request: from bytes to what it says. Pure.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::framing::Framing;
use crate::handler::Trouble;
use crate::scan::Scan;

/// More headers than this are refused with `431`.
const MAX_HEADERS: usize = 100;

/// A request without its body. Its headers may hold a password: no `Debug`.
#[derive(Clone)]
pub struct Head {
    /// Such as `GET`; any token.
    pub method: String,
    /// The request target as it came: path and query, or an absolute form.
    pub target: String,
    /// Who is at the other end of the connection.
    pub peer: SocketAddr,
    /// The certificate that the client has shown and the TLS configuration has accepted, as DER.
    pub certificate: Option<Arc<[u8]>>,
    /// When the head was there.
    pub since: Instant,
    /// All names and values, one after the other: one allocation for all of them.
    text: String,
    /// Where in `text` a name ends, and where its value.
    fields: Vec<(usize, usize)>,
    pub(crate) keep_alive: bool,
    /// Chunks and `100 Continue` are for 1.1 only.
    pub(crate) is_1_1: bool,
}

impl Head {
    /// A head as a handler's own tests need it: from nobody, over HTTP/1.1.
    #[must_use]
    pub fn new(method: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut head = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            peer: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            certificate: None,
            since: Instant::now(),
            text: String::new(),
            fields: Vec::with_capacity(headers.len()),
            keep_alive: true,
            is_1_1: true,
        };
        headers.iter().for_each(|(name, value)| head.push(name, value.as_bytes()));
        head
    }

    fn push(&mut self, name: &str, value: &[u8]) {
        self.text.push_str(name);
        let name_end = self.text.len();
        match std::str::from_utf8(value) {
            Ok(value) => self.text.push_str(value),
            Err(_) => self.text.push_str(&String::from_utf8_lossy(value)),
        }
        self.fields.push((name_end, self.text.len()));
    }

    /// Every header as it came, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut begin = 0;
        self.fields.iter().map(move |&(name_end, value_end)| {
            let field = (&self.text[begin..name_end], &self.text[name_end..value_end]);
            begin = value_end;
            field
        })
    }

    /// The first header of that name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The path as it came, for logs; the query may hold what is not meant for them, and so may what stands before a
    /// host.
    #[must_use]
    pub fn path(&self) -> &str {
        self.split_target().0
    }

    /// The path and the query. A target in absolute form is as good as its path (RFC 9112, 3.2.2), whatever its scheme;
    /// of an authority it is the host. Neither has a user's name or password in it.
    #[must_use]
    pub fn split_target(&self) -> (&str, &str) {
        let target = self.target.as_str();
        let target = match target.split_once("://") {
            _ if target.starts_with('/') => target,
            Some((_, rest)) => rest.find(['/', '?']).map_or("/", |begin| &rest[begin..]),
            None => target.rsplit('@').next().unwrap_or_default(),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        (if path.is_empty() { "/" } else { path }, query)
    }
}

/// A head, and what it says of what follows it.
pub struct Request {
    /// The head.
    pub head: Head,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the sender waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// The head at the beginning of `bytes` and its length; nothing while it is not all there.
///
/// # Errors
/// What is wrong with it; the connection is out of step from there on.
pub fn parse(bytes: &[u8], max_bytes: usize) -> Result<Option<(Request, usize)>, Trouble> {
    let end = Scan::default().find_end(bytes)?;
    if end.unwrap_or(bytes.len()) > max_bytes {
        return Err(Trouble::HeadTooLarge);
    }
    end.map(|end| parse_whole(&bytes[..end]).map(|request| (request, end))).transpose()
}

/// A head of which the end has been found.
pub(crate) fn parse_whole(bytes: &[u8]) -> Result<Request, Trouble> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Trouble::Malformed("the head has no end")),
        Err(httparse::Error::TooManyHeaders) => return Err(Trouble::HeadTooLarge),
        // The version has been looked at while the end was searched.
        Err(_) => return Err(Trouble::Malformed("the request line or a header is malformed")),
    }
    let size = parsed.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    let mut head = Head::new(parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default(), &[]);
    head.text.reserve_exact(size);
    head.fields.reserve_exact(parsed.headers.len());
    parsed.headers.iter().for_each(|header| head.push(header.name, header.value));
    head.is_1_1 = parsed.version == Some(1);
    understand(head)
}

/// What the head means for the connection.
fn understand(mut head: Head) -> Result<Request, Trouble> {
    check_target(&head)?;
    check_host(&head)?;
    let mut expects_continue = false;
    let mut wishes = (false, false);
    for value in head.all("connection") {
        for word in value.split(',').map(str::trim) {
            wishes.0 |= word.eq_ignore_ascii_case("close");
            wishes.1 |= word.eq_ignore_ascii_case("keep-alive");
        }
    }
    let framing = Framing::of(&head)?;
    if head.is_1_1 {
        for value in head.all("expect") {
            if !value.eq_ignore_ascii_case("100-continue") {
                return Err(Trouble::Expectation);
            }
            expects_continue = framing != Framing::Length(0);
        }
    }
    head.keep_alive = !wishes.0 && (head.is_1_1 || wishes.1);
    Ok(Request { head, framing, expects_continue })
}

fn check_target(head: &Head) -> Result<(), Trouble> {
    let target = head.target.as_str();
    let fits = match head.method.as_str() {
        // An authority; what becomes of it is the handler's to say.
        "CONNECT" => true,
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || target.starts_with("http://") || target.starts_with("https://"),
    };
    if fits { Ok(()) } else { Err(Trouble::Malformed("the request target is neither a path nor a URL")) }
}

/// RFC 9112, 3.2: exactly one, which HTTP/1.0 may leave out.
fn check_host(head: &Head) -> Result<(), Trouble> {
    let mut hosts = head.all("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if head.is_1_1 => Err(Trouble::Malformed("there is no Host")),
        (Some(_), Some(_)) => Err(Trouble::Malformed("there is more than one Host")),
        (Some(host), None) if host.contains(['/', '?', '#', '@', ' ', '\t', ',']) => {
            Err(Trouble::Malformed("the Host is malformed"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Head;

    /// Targets of foreign schemes were taken for paths as they stood, and logged with their passwords.
    #[test]
    fn a_path_has_no_user_in_it() {
        let check = |target: &str, path: &str, query: &str| {
            assert_eq!(Head::new("CONNECT", target, &[]).split_target(), (path, query), "{target}");
        };
        check("/a?b", "/a", "b");
        check("/a?to=http://u:p@host/c", "/a", "to=http://u:p@host/c");
        check("/a@b", "/a@b", "");
        check("*", "*", "");
        for scheme in ["http", "HTTP", "ftp", "x"] {
            check(&format!("{scheme}://u:p@host/a?b"), "/a", "b");
            check(&format!("{scheme}://u:p@host?b"), "/", "b");
            check(&format!("{scheme}://u:p@host"), "/", "");
        }
        check("host:80", "host:80", "");
        check("u:p@host:80", "host:80", "");
        check("u:p?@host", "host", "");
        check("", "/", "");
    }
}
