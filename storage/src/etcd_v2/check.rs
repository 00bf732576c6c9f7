//! Whether an etcd can be used, told so that an operator knows what to do.

use std::time::Duration;

use serde::Deserialize;

use super::answer::{Answer, KEY_NOT_FOUND, NOT_A_DIRECTORY, Said, UNAUTHORIZED, judge};
use super::{EtcdV2, target};
use crate::Key;
use crate::remote::Unusable;
use crate::remote::survey::survey;
use crate::remote::wire::{Method, NoAnswer, Reply, Verdict};

/// Nobody makes an entry of this name; a write that expects one is refused and leaves nothing behind.
const PROBED: &str = "/patroni-broker-check";

/// What `/version` says.
#[derive(Deserialize)]
struct Version {
    etcdserver: String,
    #[serde(default)]
    etcdcluster: String,
}

/// What `/health` says: as a text, for older versions as a truth.
#[derive(Deserialize)]
struct Health {
    health: serde_json::Value,
}

impl EtcdV2 {
    /// Makes sure that an endpoint answers, serves the v2 API, lets us in, lets us read and write, and has a quorum.
    /// One such endpoint is enough; of the others the log warns. Leaves nothing behind.
    ///
    /// etcd says the same to a wrong password and to a user who may not read everything under `/`: both are
    /// [`Unusable::NotLetIn`]. Takes no longer than twice the time for a call.
    ///
    /// # Errors
    /// [`Unusable`] says which of these is not so.
    pub fn check(&self) -> Result<(), Unusable> {
        let usable = survey(self.wire.endpoints(), |at| self.probe(at))?;
        self.wire.prefer(usable);
        Ok(())
    }

    fn probe(&self, at: usize) -> Result<(), Unusable> {
        // etcd itself takes longer than that to say that it has no quorum; its health tells.
        let patience = self.wire.timeouts().total / 2;
        // Records, ports and what the registrar announces stand all over the store, and the router watches all of it.
        let answer = self.question(at, Method::Get, &target(&Key::root(), "quorum=true"), "", patience)?;
        self.admits(&answer, None)?;
        let key = Key::parse(PROBED).expect("a path of one segment is a key");
        let form = "value=&prevExist=true&prevIndex=1";
        let answer = self.question(at, Method::Put, &target(&key, ""), form, patience)?;
        self.admits(&answer, Some("to write everywhere under /"))
    }

    fn question(
        &self,
        at: usize,
        method: Method,
        target: &str,
        form: &str,
        patience: Duration,
    ) -> Result<Answer, Unusable> {
        let asked = self.with_headers(method, target, form, |request| self.wire.ask(at, request, patience));
        match asked {
            Ok(reply) => match judge(&reply) {
                Verdict::Said(answer) => Ok(answer),
                Verdict::Troubled(reason) | Verdict::Refused(reason) => {
                    Err(self.diagnose(at, &reply, reason))
                }
            },
            Err(NoAnswer { not_let_in: true, reason }) => Err(Unusable::NotLetIn { reasons: reason }),
            Err(NoAnswer { reason, .. }) => Err(match self.health(at) {
                Some(false) => Unusable::NoQuorum { reasons: format!("{reason}; /health says so") },
                _ => Unusable::NobodyAnswers { reasons: reason },
            }),
        }
    }

    /// What etcd's own answer means; `may` is what we were about to do besides reading.
    fn admits(&self, answer: &Answer, may: Option<&str>) -> Result<(), Unusable> {
        let reasons = answer.reason();
        match (&answer.said, may) {
            (Said::Node(_), _) => Ok(()),
            (Said::Error { code: UNAUTHORIZED, .. }, Some(what)) if self.credentials.is_some() => {
                Err(Unusable::NoPermission { what: what.to_owned(), reasons })
            }
            (Said::Error { code: UNAUTHORIZED, .. }, _) => Err(Unusable::NotLetIn {
                reasons: match self.credentials {
                    None => format!("{reasons}: it asks for a user and password, and none are given"),
                    Some(_) => {
                        format!(
                            "{reasons}: the user or password is wrong, or may not read everything under /"
                        )
                    }
                },
            }),
            (Said::Error { code: KEY_NOT_FOUND | NOT_A_DIRECTORY, .. }, _) => Ok(()),
            // Whoever has made such an entry, the comparison with it has failed: that is fine as well.
            (Said::Error { .. } | Said::Nothing, Some(_)) if answer.status == 412 => Ok(()),
            (Said::Error { .. } | Said::Nothing, _) => Err(Unusable::NoQuorum { reasons }),
        }
    }

    /// What stands behind an answer that is not of the v2 API.
    fn diagnose(&self, at: usize, reply: &Reply, reasons: String) -> Unusable {
        if reply.status >= 500 && self.version(at).is_some() {
            return Unusable::NoQuorum { reasons };
        }
        let Some(version) = self.version(at) else {
            return Unusable::AnotherServer {
                expected: "etcd",
                reasons: format!("it answers {}", reply.outline()),
            };
        };
        let reasons = format!("it is etcd {}", version.etcdserver);
        if serves_v2(&version.etcdserver) {
            Unusable::NotServed {
                what: "etcd's v2 API: start it with --enable-v2, or use the engine etcd-v3",
                reasons,
            }
        } else {
            Unusable::NotServed {
                what: "etcd's v2 API, which is gone since 3.6: use the engine etcd-v3",
                reasons,
            }
        }
    }

    fn version(&self, at: usize) -> Option<Version> {
        let reply = self.page(at, "/version")?;
        let version = serde_json::from_slice::<Version>(&reply.body).ok()?;
        // Strangers with a field of that name are not etcd.
        (numbers(&version.etcdserver).is_some() && !version.etcdcluster.is_empty()).then_some(version)
    }

    fn health(&self, at: usize) -> Option<bool> {
        let health = serde_json::from_slice::<Health>(&self.page(at, "/health")?.body).ok()?.health;
        match health.as_str() {
            Some(text) => Some(text == "true"),
            None => health.as_bool(),
        }
    }

    fn page(&self, at: usize, path: &str) -> Option<Reply> {
        let patience = self.wire.timeouts().total / 2;
        self.with_headers(Method::Get, path, "", |request| self.wire.ask(at, request, patience)).ok()
    }
}

fn serves_v2(version: &str) -> bool {
    numbers(version).is_none_or(|numbers| numbers < (3, 6))
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::serves_v2;

    #[test]
    fn the_v2_api_is_gone_since_3_6() {
        let check = |version: &str, serves: bool| assert_eq!(serves_v2(version), serves, "{version}");
        check("2.3.8", true);
        check("3.4.23", true);
        check("3.5.17", true);
        check("3.6.0-rc.1", false);
        check("3.10.0", false);
        check("4.0.0", false);
    }
}
