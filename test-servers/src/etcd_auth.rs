//! Turns on what asks etcd's clients for a user and password. etcd keeps two separate worlds of users, one behind each
//! of its APIs.
//!
//! To be called once on a server, by its plain `http://` endpoint.

use std::io;

use serde_json::{Value, json};

use crate::http::{base64, basic, call};

/// The name of the user who may do everything; etcd asks for one of this name.
pub const ROOT: &str = "root";

/// A user besides [`ROOT`], who reads and writes below a prefix.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// The name, which is the role's as well.
    pub name: &'a str,
    /// The password.
    pub password: &'a str,
    /// What every key begins with that the user may read and write; on v2 a directory, like `/service/`.
    pub prefix: &'a str,
}

/// Makes [`ROOT`] and `user`, and shuts everybody else out of `/v3`.
///
/// # Errors
///
/// If the server does not answer or refuses.
pub fn enable_auth_v3(endpoint: &str, root_password: &str, user: Option<&User<'_>>) -> io::Result<()> {
    let post = |what: &str, body: &Value| -> io::Result<()> {
        call("POST", &format!("{endpoint}/v3/auth/{what}"), &[], Some(&body.to_string()))?
            .fine(what)
            .map(drop)
    };
    post("user/add", &json!({"name": ROOT, "password": root_password}))?;
    post("role/add", &json!({"name": ROOT}))?;
    post("user/grant", &json!({"user": ROOT, "role": ROOT}))?;
    if let Some(User { name, password, prefix }) = user {
        post("user/add", &json!({"name": name, "password": password}))?;
        post("role/add", &json!({"name": name}))?;
        let (key, range_end) = range(prefix);
        let (key, range_end) = (base64(&key), base64(&range_end));
        let permission = json!({"permType": "READWRITE", "key": key, "range_end": range_end});
        post("role/grant", &json!({"name": name, "perm": permission}))?;
        post("user/grant", &json!({"user": name, "role": name}))?;
    }
    post("enable", &json!({}))
}

/// The first key that begins with a prefix of ASCII, and the first one after all that do.
fn range(prefix: &str) -> (String, String) {
    let mut end = prefix.to_owned();
    match end.pop().and_then(|last| char::from_u32(u32::from(last) + 1)) {
        Some(next) => end.push(next),
        // All keys there are.
        None => return ("\0".to_owned(), "\0".to_owned()),
    }
    (prefix.to_owned(), end)
}

/// Makes [`ROOT`] and `user`, and shuts everybody else out of `/v2/keys`, guests included.
///
/// # Errors
///
/// If the server does not answer or refuses.
pub fn enable_auth_v2(endpoint: &str, root_password: &str, user: Option<&User<'_>>) -> io::Result<()> {
    let root = basic(ROOT, root_password);
    let put = |what: &str, body: &str| -> io::Result<()> {
        let headers = [("Content-Type", "application/json"), ("Authorization", &root)];
        call("PUT", &format!("{endpoint}/v2/auth/{what}"), &headers, Some(body))?.fine(what).map(drop)
    };
    put("users/root", &json!({"user": ROOT, "password": root_password}).to_string())?;
    if let Some(User { name, password, prefix }) = user {
        let pattern = format!("{prefix}*");
        let permissions = json!({"kv": {"read": [pattern], "write": [pattern]}});
        put(&format!("roles/{name}"), &json!({"role": name, "permissions": permissions}).to_string())?;
        let body = json!({"user": name, "password": password, "roles": [name]});
        put(&format!("users/{name}"), &body.to_string())?;
    }
    put("enable", "")?;
    // Who shows no password is a guest, who may do everything until told otherwise.
    let revoke = json!({"kv": {"read": ["/*"], "write": ["/*"]}});
    put("roles/guest", &json!({"role": "guest", "revoke": revoke}).to_string())
}
