//! The files of a TLS client, in the form in which dockworker takes them.
//!
//! dockworker passes over every private key that is not labelled as PKCS#1, and panics at one that is broken. The label
//! is all that it minds: what it hands the key's bytes to tells PKCS#1, PKCS#8 and SEC1 apart by itself. So we read the
//! key, check it, and give dockworker a copy under the label that it looks for.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pemfile::Item;

use super::archive::NamelessFile;

/// The private key in `file`, in a copy that dockworker reads.
///
/// # Errors
/// Says what is wrong with it, and never what it holds.
pub(super) fn readable(file: &Path) -> Result<NamelessFile, String> {
    let key = items(file)?.into_iter().find_map(|item| match item {
        Item::RSAKey(key) | Item::PKCS8Key(key) | Item::ECKey(key) => Some(key),
        _ => None,
    });
    let shown = file.display();
    let key = key.ok_or_else(|| {
        format!("{shown} holds no private key in PEM without a passphrase (`openssl pkey` makes one)")
    })?;
    let text = STANDARD.encode(&key);
    if rustls::sign::any_supported_type(&rustls::PrivateKey(key)).is_err() {
        return Err(format!("the private key in {shown} is broken, or neither RSA, ECDSA nor Ed25519"));
    }
    let copy = || -> std::io::Result<File> {
        let mut copy = tempfile::tempfile()?;
        writeln!(copy, "-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----")?;
        Ok(copy)
    };
    copy().map(NamelessFile::new).map_err(|error| format!("the key in {shown} could not be copied: {error}"))
}

/// Checks that there is a certificate in `file`.
///
/// # Errors
/// When there is none.
pub(super) fn check_certificates(file: &Path) -> Result<(), String> {
    if items(file)?.iter().any(|item| matches!(item, Item::X509Certificate(_))) {
        return Ok(());
    }
    Err(format!("{} holds no certificate in PEM", file.display()))
}

fn items(file: &Path) -> Result<Vec<Item>, String> {
    File::open(file)
        .and_then(|opened| rustls_pemfile::read_all(&mut BufReader::new(opened)))
        .map_err(|error| format!("{} could not be read: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{check_certificates, readable};

    #[test]
    fn what_is_no_key_is_said_and_does_not_panic() {
        let check = |content: &str, expected: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            let said = readable(file.path()).map(drop).unwrap_err();
            assert!(said.contains(expected), "{said:?}");
            assert!(check_certificates(file.path()).is_err());
        };
        check("", "holds no private key");
        check(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "holds no private key",
        );
        check("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "broken");
        check("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", "could not be read");
        check("-----BEGIN PRIVATE KEY-----\nAAAA\n", "could not be read");
    }
}
