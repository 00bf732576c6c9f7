//! Passwords and tokens, wherever they come from: the environment, a file of their own, or the configuration.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Surroundings;
use super::reader::Section;
use crate::model::Secret;

/// Where one secret may come from.
#[derive(Clone, Copy)]
pub(super) struct Source {
    /// The field that holds it.
    inline: &'static str,
    /// The field that names the file that holds it.
    file: &'static str,
    /// The variable of the environment, which goes before both.
    variable: &'static str,
}

impl Source {
    /// `password`, `password_file` or a variable.
    pub(super) const fn password(variable: &'static str) -> Self {
        Self { inline: "password", file: "password_file", variable }
    }

    /// `token`, `token_file` or a variable.
    pub(super) const fn token(variable: &'static str) -> Self {
        Self { inline: "token", file: "token_file", variable }
    }

    /// Whether any of the three gives something.
    pub(super) fn gives(self, section: &Section<'_>, surroundings: Surroundings<'_>) -> bool {
        // Both fields are asked for, so that both are known.
        let (inline, file) = (section.has(self.inline), section.has(self.file));
        inline || file || self.environments(surroundings).is_some()
    }

    fn environments(self, surroundings: Surroundings<'_>) -> Option<String> {
        (surroundings.environment)(self.variable).filter(|secret| !secret.is_empty())
    }

    /// The secret: from the environment, else from the file, else inline; that there is none is a problem. The message
    /// of a problem never repeats it.
    pub(super) fn read(self, section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<Secret> {
        let (inline, file) = (section.text(self.inline), section.text(self.file));
        let (has_inline, has_file) = (section.has(self.inline), section.has(self.file));
        if has_inline && has_file {
            section.problem(self.file, format!("is given beside {}: keep one of them", self.inline));
            return None;
        }
        let found = match (self.environments(surroundings), file) {
            (Some(secret), _) => secret,
            (None, Some(file)) => return self.read_file(section, surroundings, file),
            // One of the wrong type was reported as such.
            (None, None) if has_inline || has_file => inline?.to_owned(),
            (None, None) => {
                let message = format!("is required; or give {}, or set {}", self.file, self.variable);
                section.problem(self.inline, message);
                return None;
            }
        };
        if let Err(problem) = check(&found) {
            section.problem(self.inline, problem);
            return None;
        }
        Some(Secret::new(found))
    }

    fn read_file(self, section: &Section<'_>, surroundings: Surroundings<'_>, file: &str) -> Option<Secret> {
        let path = surroundings.path(file);
        match read_one_line(&path, self.inline) {
            Ok(found) => {
                if found.everybody_reads {
                    section.warning(self.file, format!("{} can be read by everybody", path.display()));
                }
                Some(found.password)
            }
            Err(problem) => {
                section.problem(self.file, problem);
                None
            }
        }
    }
}

/// What a password file holds.
#[derive(Clone, Debug)]
pub struct PasswordFile {
    /// Its one line, without the line's end.
    pub password: Secret,
    /// Whether its permissions let everybody on the machine read it.
    pub everybody_reads: bool,
}

/// Reads a file that holds a password and nothing else.
///
/// # Errors
/// Says what is wrong with the file, without a word of what is in it.
pub fn read_password_file(path: &Path) -> Result<PasswordFile, String> {
    read_one_line(path, "password")
}

pub(super) fn read_one_line(path: &Path, what: &str) -> Result<PasswordFile, String> {
    let (text, everybody_reads) = read_private(path)?;
    let password =
        check_password(&text).map_err(|problem| format!("{}: the {what} {problem}", path.display()))?;
    Ok(PasswordFile { password, everybody_reads })
}

/// The password of a text that holds nothing else, without the line's end.
///
/// # Errors
/// Says what is wrong with it, without a word of it.
pub fn check_password(text: &str) -> Result<Secret, &'static str> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    check(line)?;
    Ok(Secret::new(line))
}

/// A file's text, and whether everybody on the machine may read it.
pub(super) fn read_private(path: &Path) -> Result<(String, bool), String> {
    read_with_mode(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// As [`read_private`], with the system's own error.
pub(super) fn read_with_mode(path: &Path) -> io::Result<(String, bool)> {
    let text = fs::read_to_string(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    Ok((text, mode & 0o004 != 0))
}

/// What a password, token or hash must be to be sent, and to be written on one line.
pub(super) fn check(secret: &str) -> Result<(), &'static str> {
    if secret.is_empty() {
        return Err("must not be empty");
    }
    if secret.chars().any(char::is_control) {
        return Err("must be one line without control characters");
    }
    Ok(())
}
