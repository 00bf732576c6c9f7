//! Which versions of the specification are spoken (OSB 2.17, "API Version Header").

use super::refusal::Refusal;

/// Every minor version of 2: they only ever add, and what a newer one adds is ignored.
const MAJOR: u32 = 2;

/// Refuses what is no version of ours.
///
/// # Errors
/// 412 for another version, 400 for none where one is required; both name what is spoken.
pub(super) fn check(header: Option<&str>, required: bool) -> Result<(), Refusal> {
    let Some(header) = header.map(str::trim) else {
        return if required { Err(Refusal::bad(description("is required"))) } else { Ok(()) };
    };
    let number = |text: &str| -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    match header.split_once('.').map(|(major, minor)| (number(major), number(minor))) {
        Some((Some(MAJOR), Some(_))) => Ok(()),
        Some((Some(_), Some(_))) => Err(wrong("names a version that is not spoken here")),
        _ => Err(wrong("is no version")),
    }
}

fn wrong(what: &str) -> Refusal {
    Refusal::new(412, "UnsupportedApiVersion", description(what))
}

fn description(what: &str) -> String {
    format!(
        "the header X-Broker-API-Version {what}: this broker speaks 2.0 to 2.17, and takes any 2.x, such as 2.17"
    )
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn any_minor_version_of_two() {
        let row = |header: Option<&str>, required: bool, fine: bool| {
            assert_eq!(check(header, required).is_ok(), fine, "{header:?} {required}");
        };
        row(Some("2.17"), true, true);
        row(Some("2.0"), true, true);
        row(Some(" 2.99 "), true, true);
        row(None, false, true);
        row(None, true, false);
        for header in
            ["1.9", "3.0", "2", "2.", ".17", "2.17.1", "2.x", "+2.1", "", "two", "99999999999.1", "-2.1"]
        {
            row(Some(header), false, false);
        }
    }
}
