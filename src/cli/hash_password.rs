//! `hash-password`: what stands in a configuration instead of a password.

use std::io::{BufRead, IsTerminal, Write};

use argh::FromArgs;
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, RECOMMENDED_SALT_LEN};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Failure;
use super::output::print;
use crate::config;
use crate::model::Secret;

/// Read a password from stdin, or from the terminal, and print its hash for password_hash.
#[derive(FromArgs)]
#[argh(subcommand, name = "hash-password")]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments) -> Result<(), Failure> {
    let password = if std::io::stdin().is_terminal() { ask()? } else { line()? };
    let hash = hash(&password, &rand::random::<[u8; RECOMMENDED_SALT_LEN]>())?;
    print(&format!("{hash}\n"))
}

/// With the crate's own parameters, which are those that OWASP recommends: 19 MiB and two passes.
fn hash(password: &Secret, salt: &[u8]) -> Result<String, Failure> {
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.expose().as_bytes(), salt)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(hash.to_string())
}

/// Twice, since nobody sees what is typed.
fn ask() -> Result<Secret, Failure> {
    let _silence = Silence::begin()?;
    let read = |prompt: &str| {
        eprint!("{prompt}: ");
        std::io::stderr().flush()?;
        line()
    };
    let password = read("Password")?;
    if read("Once more")? != password {
        return Err(Failure::Failed("the two are not the same".to_owned()));
    }
    Ok(password)
}

fn line() -> Result<Secret, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    config::check_password(&line).map_err(|problem| Failure::Failed(format!("the password {problem}")))
}

/// A terminal that does not show what is typed, as long as this lives.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> Result<Self, Failure> {
        let wrong = |error: rustix::io::Errno| Failure::from(std::io::Error::from(error));
        let before = tcgetattr(std::io::stdin()).map_err(wrong)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The end of the line is not secret.
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).map_err(wrong)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before) {
            log::warn!("the terminal does not show what is typed any more: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::phc::PasswordHash;
    use argon2::{Argon2, PasswordVerifier};

    use super::hash;
    use crate::model::Secret;

    #[test]
    fn a_hash_is_its_passwords() {
        let found = hash(&Secret::new("hunter2"), b"sixteen bytes it").ok().unwrap();
        assert!(found.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{found}");
        let parsed = PasswordHash::new(&found).unwrap();
        let check = |password: &str| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
        assert!(check("hunter2") && !check("hunter3"));
    }
}
