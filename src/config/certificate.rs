//! When a certificate is valid: the one thing of it that an operator forgets. Everything else is rustls's to judge, which
//! does not say this much of a certificate of one's own, and a whole parser would be there for two dates.

/// From when and until when, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: i64,
    not_after: i64,
}

const DAY_S: i64 = 86_400;
/// Who hears of the end only this late has no time to lose, but that of a short life is near all the time.
const SOON_S: i64 = 14 * DAY_S;
const SOON_PART: i64 = 10;

/// The tags of DER that lead to the dates (RFC 5280, 4.1).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// Of a certificate in DER; `None` where it is none.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (body, _) = Der(certificate).next(SEQUENCE)?;
        let (mut rest, _) = Der(body).next(SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            (_, rest) = Der(rest).next(VERSION)?;
        }
        // The serial number, the signature's algorithm, and the issuer.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            (_, rest) = Der(rest).next(tag)?;
        }
        let (dates, _) = Der(rest).next(SEQUENCE)?;
        let (not_before, rest) = time(dates)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
    }

    /// What is questionable about it at this time.
    pub(super) fn doubt(self, now: i64) -> Option<String> {
        let days = |seconds: i64| {
            let days = seconds / DAY_S;
            if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
        };
        if now < self.not_before {
            Some(format!("is not valid yet, for another {}", days(self.not_before - now)))
        } else if now > self.not_after {
            Some(format!("has expired, {} ago", days(now - self.not_after)))
        } else if self.not_after - now < SOON_S.min((self.not_after - self.not_before) / SOON_PART) {
            Some(format!("expires in {}", days(self.not_after - now)))
        } else {
            None
        }
    }
}

struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the value that begins here, which has this tag, and what comes after it.
    fn next(&self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // As many bytes say how long it is; four are more than any certificate needs.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        (found == tag).then_some(())?;
        rest.split_at_checked(length)
    }
}

/// A date as certificates have it, `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, and what comes after it.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let tag = *der.first()?;
    let (text, rest) = Der(der).next(tag)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, text) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year = text[..2].parse::<i64>().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |index: usize| text[2 * index..2 * index + 2].parse::<i64>().ok();
    let seconds = part(2)? * 3600 + part(3)? * 60 + part(4)?;
    Some((days_since_1970(year, part(0)?, part(1)?) * DAY_S + seconds, rest))
}

/// In the Gregorian calendar. Years are counted from March, so that the leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_the_year = 365 * year + year / 4 - year / 100 + year / 400;
    // From March on, months have 31, 30, 31, 30, 31 days, and again.
    let before_the_month = (153 * month + 2) / 5;
    const BEFORE_1970: i64 = 719_468;
    before_the_year + before_the_month + day - 1 - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::{Validity, days_since_1970, time};

    #[test]
    fn the_calendar() {
        let check = |(year, month, day), expected| assert_eq!(days_since_1970(year, month, day), expected);
        check((1970, 1, 1), 0);
        check((1969, 12, 31), -1);
        check((1972, 2, 29), 789);
        check((1972, 3, 1), 790);
        check((2000, 2, 29), 11_016);
        check((2026, 11, 21), 20_778);
        check((2100, 3, 1), 47_541);
    }

    #[test]
    fn dates_in_der() {
        let check = |tag: u8, text: &str, expected: Option<i64>| {
            let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
            der.extend(text.bytes());
            assert_eq!(time(&der).map(|(seconds, _)| seconds), expected, "{text}");
        };
        check(0x17, "700101000001Z", Some(1));
        check(0x17, "491231235959Z", Some(2_524_607_999));
        check(0x17, "500101000000Z", Some(-631_152_000));
        check(0x18, "20500101000000Z", Some(2_524_608_000));
        check(0x18, "500101000000Z", None);
        check(0x17, "7001010000Z", None);
        check(0x17, "70010100000+Z", None);
        check(0x17, "700101000001", None);
        check(0x04, "700101000001Z", None);
        assert_eq!(time(&[]), None);
        assert_eq!(time(&[0x17, 13, b'7']), None);
        assert_eq!(Validity::of(b"no certificate"), None);
    }

    #[test]
    fn what_is_said_of_a_date() {
        const DAY: i64 = 86_400;
        let check = |(not_before, not_after): (i64, i64), now: i64, expected: Option<&str>| {
            let validity = Validity { not_before: not_before * DAY, not_after: not_after * DAY };
            assert_eq!(validity.doubt(now).as_deref(), expected, "{validity:?} {now}");
        };
        let year = (10, 375);
        check(year, 8 * DAY, Some("is not valid yet, for another 2 days"));
        check(year, 10 * DAY, None);
        check(year, 361 * DAY, None);
        check(year, 361 * DAY + 1, Some("expires in 13 days"));
        check(year, 374 * DAY, Some("expires in 1 day"));
        check(year, 375 * DAY, Some("expires in 0 days"));
        check(year, 378 * DAY, Some("has expired, 3 days ago"));
        let month = (0, 30);
        check(month, 27 * DAY, None);
        check(month, 27 * DAY + 1, Some("expires in 2 days"));
    }
}
