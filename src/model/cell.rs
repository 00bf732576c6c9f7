//! A cell as the configuration describes it.

use std::fmt;
use std::path::PathBuf;

use super::CellGuid;

/// Where a cell is and what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSite {
    /// Its name in records and requests.
    pub guid: CellGuid,
    /// The broker that it serves: brokers may share an engine and call their cells alike, and leave each other's
    /// containers alone.
    pub broker: String,
    /// Nodes of one cluster are spread over zones.
    pub availability_zone: String,
    /// How its engine is reached.
    pub docker: DockerAddress,
    /// Where the ports that it publishes are reached.
    pub host: String,
    /// The host ports that containers on it may publish.
    pub ports: PortRange,
}

/// How a Docker engine is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DockerAddress {
    /// `unix:///var/run/docker.sock`
    Unix(PathBuf),
    /// `tcp://host:port`, by TLS when there are files for it.
    Tcp {
        /// `host:port`.
        address: String,
        /// The authority and our own certificate; plain TCP without.
        tls: Option<TlsFiles>,
    },
}

/// The PEM files of a TLS client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsFiles {
    /// Who signs the engine's certificate.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is not a range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPortRange;

impl fmt::Display for InvalidPortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "must be a range of ports like \"20000-29999\", from 1 to 65535, the first not above the last",
        )
    }
}

impl std::error::Error for InvalidPortRange {}

impl PortRange {
    /// Reads `first-last`.
    ///
    /// # Errors
    /// Says what a range looks like.
    pub fn parse(raw: &str) -> Result<Self, InvalidPortRange> {
        let (first, last) = raw.split_once('-').ok_or(InvalidPortRange)?;
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| InvalidPortRange);
        let (first, last) = (number(first)?, number(last)?);
        if first == 0 || first > last {
            return Err(InvalidPortRange);
        }
        Ok(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether the two share a port.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The ports in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::PortRange;

    #[test]
    fn a_range_has_two_ends_in_order() {
        let check = |raw: &str, fine: bool| assert_eq!(PortRange::parse(raw).is_ok(), fine, "{raw:?}");
        check("20000-29999", true);
        check("1-1", true);
        check("0-10", false);
        check("10-9", false);
        check("10", false);
        check("10-65536", false);
        check("-", false);
    }
}
