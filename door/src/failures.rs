//! Who guesses is slowed, and nobody else: each address may fail so often, and is then answered later and later, until
//! it is not listened to any more. Who fails, and what he is told, is the handlers' business.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How many addresses are remembered. Beyond, those that owe least are forgotten first: whoever guesses from many
/// addresses does not wipe out what one that guessed often owes.
const ADDRESSES: usize = 4096;

/// How often an address may fail to say who it is. Who comes with a password that is known to be right is never slowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimits {
    /// So often without being slowed. Defaults to 10.
    pub burst: u32,
    /// After this time once more. Defaults to a second.
    pub every: Duration,
    /// By at most so much an answer is delayed; beyond, it is 429. Defaults to 10 s.
    pub longest_delay: Duration,
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self { burst: 10, every: Duration::from_secs(1), longest_delay: Duration::from_secs(10) }
    }
}

/// What a failure costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Its answer is delayed by this.
    Delay(Duration),
    /// Too much is owed already; try again after this.
    TooMany(Duration),
}

/// What addresses owe. Each failure is `every` of a second's worth, and an address is even again at the time that is
/// kept for it: `burst` of them ahead of now is free.
#[derive(Debug)]
pub struct Failures {
    limits: FailureLimits,
    even_at: HashMap<IpAddr, Instant>,
    /// The same, by time.
    order: BTreeSet<(Instant, IpAddr)>,
}

impl Failures {
    /// Nobody owes anything yet.
    #[must_use]
    pub fn new(limits: FailureLimits) -> Self {
        Self { limits, even_at: HashMap::new(), order: BTreeSet::new() }
    }

    /// Whether the address owes too much to be listened to, and until when.
    #[must_use]
    pub fn refused(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let even_at = self.even_at.get(&prefix(address))?;
        self.over(*even_at + self.limits.every, now)
    }

    /// Charges one failure; one that is too many is not charged, so that it can be tried again when it is told.
    pub fn charge(&mut self, address: IpAddr, now: Instant) -> Charge {
        let address = prefix(address);
        let before = self.even_at.get(&address).copied();
        let even_at = before.map_or(now, |at| at.max(now)) + self.limits.every;
        if let Some(wait) = self.over(even_at, now) {
            return Charge::TooMany(wait);
        }
        self.set(address, Some(even_at));
        Charge::Delay(even_at.saturating_duration_since(now).saturating_sub(self.free()))
    }

    /// Takes one charge back: it was no failure.
    pub fn refund(&mut self, address: IpAddr) {
        let address = prefix(address);
        let before = self.even_at.get(&address).copied();
        self.set(address, before.and_then(|at| at.checked_sub(self.limits.every)));
    }

    fn free(&self) -> Duration {
        self.limits.every.saturating_mul(self.limits.burst)
    }

    fn over(&self, even_at: Instant, now: Instant) -> Option<Duration> {
        let most = self.free().saturating_add(self.limits.longest_delay);
        let wait = even_at.saturating_duration_since(now).saturating_sub(most);
        (!wait.is_zero()).then_some(wait)
    }

    fn set(&mut self, address: IpAddr, even_at: Option<Instant>) {
        if let Some(before) = self.even_at.remove(&address) {
            self.order.remove(&(before, address));
        }
        let Some(even_at) = even_at else { return };
        if self.even_at.len() >= ADDRESSES
            && let Some((_, least)) = self.order.pop_first()
        {
            self.even_at.remove(&least);
        }
        self.even_at.insert(address, even_at);
        self.order.insert((even_at, address));
    }
}

/// What counts as one address: a whole /64 of IPv6, since that is what one host can choose from.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    use super::{ADDRESSES, Charge, FailureLimits, Failures};

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn slower_and_slower_and_even_again() {
        let begin = Instant::now();
        let mut failures = Failures::new(FailureLimits {
            burst: 2,
            every: Duration::from_secs(1),
            longest_delay: Duration::from_secs(2),
        });
        let mut check = |at_s: u64, from: &str, expected: Result<u64, u64>| {
            let now = begin + Duration::from_secs(at_s);
            let refused = failures.refused(address(from), now);
            let charge = failures.charge(address(from), now);
            assert_eq!(refused.is_some(), matches!(charge, Charge::TooMany(_)), "{at_s} {from}");
            let expected = match expected {
                Ok(delay_s) => Charge::Delay(Duration::from_secs(delay_s)),
                Err(wait_s) => Charge::TooMany(Duration::from_secs(wait_s)),
            };
            assert_eq!(charge, expected, "{at_s} {from}");
        };
        check(0, "10.0.0.1", Ok(0));
        check(0, "10.0.0.1", Ok(0));
        check(0, "10.0.0.1", Ok(1));
        check(0, "10.0.0.1", Ok(2));
        check(0, "10.0.0.1", Err(1));
        check(0, "10.0.0.1", Err(1));
        check(0, "::ffff:10.0.0.1", Err(1));
        // Others are not slowed.
        check(0, "10.0.0.2", Ok(0));
        check(1, "10.0.0.1", Ok(2));
        check(1, "10.0.0.1", Err(1));
        check(100, "10.0.0.1", Ok(0));
        // One host has all of a /64.
        check(0, "2001:db8::1", Ok(0));
        check(0, "2001:db8::2", Ok(0));
        check(0, "2001:db8::ffff:0:0:3", Ok(1));
        check(0, "2001:db8:0:1::1", Ok(0));
    }

    #[test]
    fn what_was_no_failure_is_not_owed() {
        let now = Instant::now();
        let limits = FailureLimits { burst: 1, ..FailureLimits::default() };
        let mut failures = Failures::new(limits);
        for _ in 0..20 {
            assert_eq!(failures.charge(address("10.0.0.1"), now), Charge::Delay(Duration::ZERO));
            failures.refund(address("10.0.0.1"));
        }
    }

    #[test]
    fn only_so_many_addresses_are_remembered() {
        let now = Instant::now();
        let mut failures = Failures::new(FailureLimits { burst: 1, ..FailureLimits::default() });
        for _ in 0..5 {
            failures.charge(address("192.0.2.1"), now);
        }
        for number in 0..20_000_u32 {
            failures.charge(IpAddr::V4(number.into()), now);
        }
        assert_eq!((failures.even_at.len(), failures.order.len()), (ADDRESSES, ADDRESSES));
        let owed = failures.charge(address("192.0.2.1"), now);
        assert_eq!(owed, Charge::Delay(Duration::from_secs(5)), "who owes most is not forgotten");
    }
}
