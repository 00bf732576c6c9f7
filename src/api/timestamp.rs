//! Points in time as the specification writes them: `yyyy-mm-ddThh:mm:ss.sZ` (OSB 2.17, "Binding Metadata Object").

const DAY_MS: u64 = 86_400_000;
/// The end of the last year that has four digits.
const LATEST_MS: u64 = 253_402_300_799_999;

/// A time in UTC, down to a tenth of a second, from milliseconds since 1970. Years end with 9999.
pub(super) fn render(ms: u64) -> String {
    let ms = ms.min(LATEST_MS);
    let (year, month, day) = date(ms / DAY_MS);
    let tenths = ms % DAY_MS / 100;
    let (hours, minutes, seconds) = (tenths / 36_000, tenths / 600 % 60, tenths / 10 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{}Z", tenths % 10)
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar. Years begin in March here, so that
/// the leap day is the last one, and the months before any are 153 days for each five of them.
fn date(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01; 400 years are always 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn as_the_specification_writes_them() {
        let check = |ms: u64, expected: &str| assert_eq!(render(ms), expected, "{ms}");
        check(0, "1970-01-01T00:00:00.0Z");
        check(99, "1970-01-01T00:00:00.0Z");
        check(1_577_836_799_000, "2019-12-31T23:59:59.0Z");
        check(951_782_399_999, "2000-02-28T23:59:59.9Z");
        check(951_782_400_000, "2000-02-29T00:00:00.0Z");
        check(951_868_800_000, "2000-03-01T00:00:00.0Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.0Z");
        check(4_107_456_000_000, "2100-02-28T00:00:00.0Z");
        check(1_700_000_000_123, "2023-11-14T22:13:20.1Z");
        check(u64::MAX, "9999-12-31T23:59:59.9Z");
    }
}
