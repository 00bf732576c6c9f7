//! What a router says of itself in `/broker/routers/<host>`: written by routers, read by brokers.

use std::collections::BTreeSet;
use std::fmt;

use storage::Revision;

use crate::model::InstanceId;

/// A router's report: up to where it has followed the store, and whose public ports lead nowhere through it all the
/// same, since something else holds them on its host, say. One value, so that neither is ever read without the other.
///
/// It is written as the revision in decimal digits, followed by the instances' ids, each after a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterReport {
    /// The revision that it has applied.
    pub revision: Revision,
    /// The instances that it has left out.
    pub unrouted: BTreeSet<InstanceId>,
}

impl RouterReport {
    /// Reads a report; `None` when it is none.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split_ascii_whitespace();
        let revision = Revision(words.next()?.parse().ok()?);
        let unrouted = words.map(InstanceId::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { revision, unrouted })
    }
}

impl fmt::Display for RouterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.revision.0)?;
        self.unrouted.iter().try_for_each(|instance| write!(f, " {instance}"))
    }
}

#[cfg(test)]
mod tests {
    use super::RouterReport;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let check = |text: &str, expected: Option<(u64, usize)>| {
            let report = RouterReport::parse(text.as_bytes());
            let read = report.as_ref().map(|report| (report.revision.0, report.unrouted.len()));
            assert_eq!(read, expected, "{text:?}");
            if let Some(report) = report {
                assert_eq!(report.to_string(), text.trim());
            }
        };
        check("17", Some((17, 0)));
        check("17\n", Some((17, 0)));
        check("17 b1 b2", Some((17, 2)));
        check("", None);
        check("b1", None);
        check("17 b/1", None);
    }
}
