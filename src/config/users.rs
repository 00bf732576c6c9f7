//! Who may ask the broker: `username` and `password` of `[broker]`, `[[broker.users]]`, and a file of users.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Params, Version};
use toml::Table;

use super::Surroundings;
use super::broker::{username, warn_of_example};
use super::reader::Section;
use super::secret::{self, Source};
use crate::model::{Password, Role, Secret, User};

/// The most that one check of a password may cost: anybody may have one made.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;
/// Below this, who has stolen a hash tries passwords faster than anybody would like.
const LEAST_MEMORY_KIB: u32 = 7 * 1024;

/// The fields that may give a user's password, of which each user has exactly one.
const WAYS: [&str; 5] = ["password", "password_file", "password_hash", "password_hash_file", "password_env"];

/// `None` only when a problem was reported; else at least one user, each with a name of his own.
pub(super) fn read(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    listen: Option<SocketAddr>,
) -> Option<Vec<User>> {
    let mut reader =
        Reader { names: BTreeMap::new(), others_reach: listen.filter(|at| !at.ip().is_loopback()) };
    let listed = section.sections("users");
    let names_file = section.has("users_file");
    let mut users = Vec::new();
    users.extend(reader.first(section, surroundings, listed.is_empty() && !names_file));
    users.extend(listed.iter().map(|user| reader.user(user, surroundings)));
    if names_file {
        match reader.file(section, surroundings) {
            Some(of_file) => users.extend(of_file),
            None => users.push(None),
        }
    }
    let users = users.into_iter().collect::<Option<Vec<User>>>()?;
    if users.is_empty() {
        section.problem("users_file", "lists nobody, and neither does anything else: nobody could ask");
        return None;
    }
    if !users.iter().any(|user| matches!(user.role, Role::Admin | Role::Platform)) {
        section.warning("users", "are viewers only: nobody may order");
    }
    Some(users)
}

/// What one user may not have in common with another, and what all of them have.
struct Reader {
    /// Where each name was given.
    names: BTreeMap<String, String>,
    /// The address, where it is not this machine's alone.
    others_reach: Option<SocketAddr>,
}

impl Reader {
    /// The user that the ancestors knew, who may do everything. Outside `None` where there is none.
    fn first(
        &mut self,
        section: &Section<'_>,
        surroundings: Surroundings<'_>,
        alone: bool,
    ) -> Option<Option<User>> {
        let source = Source::password(super::PASSWORD_VARIABLE);
        let in_the_file = section.has("password") | section.has("password_file");
        if !section.has("username") && !alone && !in_the_file {
            if source.gives(section, surroundings) {
                let message = format!("is not given: {} is nobody's password", super::PASSWORD_VARIABLE);
                section.warning("username", message);
            }
            return None;
        }
        let name = section.required("username", username);
        self.take(section, "username");
        let password = source.read(section, surroundings);
        if let Some(password) = &password {
            self.warn_of_example(section, "password", password);
        }
        Some(name.zip(password).map(|(name, password)| User {
            name,
            role: Role::Admin,
            password: Password::Plain(password),
        }))
    }

    /// A file with nothing but `[[users]]`; what it names is relative to its own directory.
    fn file(&mut self, section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<Vec<Option<User>>> {
        const FIELD: &str = "users_file";
        let path = surroundings.path(section.required_text(FIELD)?);
        let read = secret::read_private(&path).and_then(|(text, everybody_reads)| {
            let table = text.parse::<Table>().map_err(|error| {
                // As with the configuration itself: the parser's own report would quote the line.
                let line = super::line_of(&text, &error);
                format!("{}: line {line}: {}", path.display(), error.message())
            })?;
            Ok((table, everybody_reads))
        });
        let (table, everybody_reads) = read.map_err(|problem| section.problem(FIELD, problem)).ok()?;
        if everybody_reads {
            section.warning(FIELD, format!("{} can be read by everybody", path.display()));
        }
        let directory = path.parent().unwrap_or(surroundings.directory);
        let inner = section.named_by(FIELD, &table);
        let surroundings = Surroundings { directory, ..surroundings };
        let users = inner.sections("users").iter().map(|user| self.user(user, surroundings)).collect();
        inner.end();
        Some(users)
    }

    fn user(&mut self, section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<User> {
        let name = section.required("name", username);
        self.take(section, "name");
        let role = section.required("role", |raw| {
            let roles = [Role::Platform, Role::Admin, Role::Viewer];
            let role = roles.into_iter().find(|role| role.as_str() == raw);
            role.ok_or("must be \"platform\", \"admin\" or \"viewer\"")
        });
        let password = self.password(section, surroundings);
        section.end();
        Some(User { name: name?, role: role?, password: password? })
    }

    fn take(&mut self, section: &Section<'_>, field: &'static str) {
        let Some(name) = section.text(field) else { return };
        let place = section.path(field);
        if let Some(first) = self.names.insert(name.to_owned(), place) {
            section.problem(field, format!("{name} is that of {first} too"));
        }
    }

    fn password(&self, section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<Password> {
        // Each is asked for, so that each is known.
        let given: Vec<&'static str> = WAYS.into_iter().filter(|way| section.has(way)).collect();
        let [way] = given[..] else {
            match given.last() {
                Some(last) => {
                    section.problem(last, format!("is given beside {}: keep one of them", given[0]))
                }
                None => {
                    section.problem("password", format!("is required; or give {}", WAYS[1..].join(", or ")))
                }
            }
            return None;
        };
        let read = secret_of(way, section.required_text(way)?, section, surroundings);
        let given = read.map_err(|problem| section.problem(way, problem)).ok()?;
        if !matches!(way, "password_hash" | "password_hash_file") {
            self.warn_of_example(section, way, &given);
            return Some(Password::Plain(given));
        }
        match check_hash(given.expose()) {
            Ok(weak) => {
                if weak {
                    let message = "is quickly guessed by who has it: make it anew with hash-password";
                    section.warning(way, message);
                }
                Some(Password::Argon2(given.expose().to_owned()))
            }
            Err(problem) => {
                section.problem(way, problem);
                None
            }
        }
    }

    fn warn_of_example(&self, section: &Section<'_>, field: &str, password: &Secret) {
        if let Some(listen) = self.others_reach {
            warn_of_example(section, field, password, listen);
        }
    }
}

/// What stands where a user's password or hash is said to be.
pub(super) fn secret_of(
    way: &'static str,
    raw: &str,
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
) -> Result<Secret, String> {
    match way {
        "password_file" | "password_hash_file" => {
            let path = surroundings.path(raw);
            let what = if way == "password_file" { "password" } else { "hash" };
            let found = secret::read_one_line(&path, what)?;
            if found.everybody_reads {
                section.warning(way, format!("{} can be read by everybody", path.display()));
            }
            Ok(found.password)
        }
        "password_env" => {
            let found = (surroundings.environment)(raw).filter(|secret| !secret.is_empty());
            let found = found.ok_or_else(|| format!("the environment has no {raw}"))?;
            secret::check(&found).map_err(|problem| format!("{raw} {problem}"))?;
            Ok(Secret::new(found))
        }
        _ => {
            secret::check(raw)?;
            Ok(Secret::new(raw))
        }
    }
}

/// Whether a hash can be checked against at a cost that somebody may be put to; `true` where it costs a thief too
/// little. The message of a problem never repeats it.
fn check_hash(raw: &str) -> Result<bool, String> {
    const WANTED: &str =
        "must be a hash as hash-password prints it: \"$argon2id$v=19$m=…,t=…,p=…$salt$hash\"";
    let hash = PasswordHash::new(raw).map_err(|_| WANTED)?;
    let complete = hash.salt.is_some() && hash.hash.is_some_and(|hash| hash.len() >= 16);
    if hash.algorithm != Algorithm::Argon2id.ident()
        || hash.version != Some(Version::V0x13.into())
        || !complete
    {
        return Err(WANTED.to_owned());
    }
    let params = Params::try_from(&hash).map_err(|_| WANTED)?;
    for (name, found, most) in [
        ("m", params.m_cost(), MOST_MEMORY_KIB),
        ("t", params.t_cost(), MOST_PASSES),
        ("p", params.p_cost(), MOST_LANES),
    ] {
        if found > most {
            return Err(format!("has {name}={found}, which costs too much at each request; at most {most}"));
        }
    }
    Ok(params.m_cost() < LEAST_MEMORY_KIB)
}

#[cfg(test)]
mod tests {
    use super::check_hash;

    #[test]
    fn hashes_that_can_be_afforded() {
        const SALT_AND_HASH: &str = "c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let check = |begin: &str, expected: Result<bool, &str>| {
            let found = check_hash(&format!("{begin}${SALT_AND_HASH}"));
            match (&found, expected) {
                (Ok(weak), Ok(expected)) => assert_eq!(*weak, expected, "{begin}"),
                (Err(problem), Err(begins)) => assert!(problem.starts_with(begins), "{begin}: {problem}"),
                _ => panic!("{begin}: {found:?}"),
            }
            assert!(!format!("{found:?}").contains("CTFh"), "{found:?}");
        };
        check("$argon2id$v=19$m=19456,t=2,p=1", Ok(false));
        check("$argon2id$v=19$m=262144,t=16,p=16", Ok(false));
        check("$argon2id$v=19$m=7167,t=5,p=1", Ok(true));
        check("$argon2id$v=19$m=262145,t=1,p=1", Err("has m=262145, which costs"));
        check("$argon2id$v=19$m=4294967295,t=1,p=1", Err("has m=4294967295"));
        check("$argon2id$v=19$m=19456,t=17,p=1", Err("has t=17"));
        check("$argon2id$v=19$m=19456,t=1,p=17", Err("has p=17"));
        check("$argon2id$v=19$m=1,t=1,p=1", Err("must be a hash"));
        check("$argon2id$v=19$m=99999999999,t=1,p=1", Err("must be a hash"));
        check("$argon2id$v=16$m=19456,t=2,p=1", Err("must be a hash"));
        check("$argon2id$m=19456,t=2,p=1", Err("must be a hash"));
        check("$argon2i$v=19$m=19456,t=2,p=1", Err("must be a hash"));
        check("$argon2d$v=19$m=19456,t=2,p=1", Err("must be a hash"));
        check("$scrypt$ln=16,r=8,p=1", Err("must be a hash"));
        check("hunter2", Err("must be a hash"));
        assert!(check_hash("$argon2id$v=19$m=19456,t=2,p=1").is_err());
        assert!(check_hash("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ").is_err());
        assert!(check_hash("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdU").is_err());
    }
}
