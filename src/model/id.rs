//! Ids as types. A raw string becomes one of these at the edge, and is from then on one safe segment of a key, a path
//! or a container's name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidId {
    what: &'static str,
    longest: usize,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, longest } = self;
        write!(
            f,
            "{what} must be 1 to {longest} characters of A-Z, a-z, 0-9, '.', '_', '~', '-' and not '.' or '..'"
        )
    }
}

impl std::error::Error for InvalidId {}

fn check(what: &'static str, longest: usize, raw: &str) -> Result<(), InvalidId> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
    if raw.is_empty() || raw.len() > longest || matches!(raw, "." | "..") || !raw.chars().all(fine) {
        return Err(InvalidId { what, longest });
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Accepts 1 to ", $longest, " characters of `[A-Za-z0-9._~-]`, except `.` and `..`.")]
            ///
            /// # Errors
            /// Names the rule, for the one who sent the id.
            pub fn parse(raw: &str) -> Result<Self, InvalidId> {
                check($what, $longest, raw)?;
                Ok(Self(raw.to_owned()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(raw: String) -> Result<Self, InvalidId> {
                Self::parse(&raw)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// An OSB service instance: what a platform ordered.
    InstanceId,
    "an instance id",
    64
);
id!(
    /// An OSB service binding.
    BindingId,
    "a binding id",
    64
);
id!(
    /// An OSB service offering of the catalog.
    ServiceId,
    "a service id",
    64
);
id!(
    /// A plan of a service offering.
    PlanId,
    "a plan id",
    64
);
id!(
    /// A node: one container of an instance on one cell. Never used twice.
    NodeId,
    "a node id",
    64
);
id!(
    /// A cell: a Docker host as the configuration names it.
    CellGuid,
    "a cell's guid",
    64
);
id!(
    /// One operation on an instance, from request to end.
    OperationId,
    "an operation id",
    64
);

/// A container's name on its engine: derived from its node, so that it can be found before and after any crash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(String);

impl ContainerName {
    /// The name of a node's container.
    #[must_use]
    pub fn of(node: &NodeId) -> Self {
        // Docker's names know no tilde.
        Self(format!("pb-{}", node.as_str().replace('~', "_")))
    }

    /// A name read back from an engine.
    #[must_use]
    pub fn found(raw: &str) -> Self {
        Self(raw.trim_start_matches('/').to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::InstanceId;

    #[test]
    fn an_id_is_one_safe_segment() {
        let check = |raw: &str, fine: bool| assert_eq!(InstanceId::parse(raw).is_ok(), fine, "{raw:?}");
        check("b1", true);
        check("c45ecc24-aa5d-49cd-9b36-2027e60b7d8a", true);
        check("a.b_c~d", true);
        check("", false);
        check(".", false);
        check("..", false);
        check("a/b", false);
        check("a b", false);
        check("ä", false);
        check("a%2fb", false);
        check(&"x".repeat(65), false);
    }
}
