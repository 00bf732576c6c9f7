//! Percent-encoding, strictly: what is not well-formed is refused rather than guessed at.

/// Decodes a path segment. `None` for a broken escape, or what is no UTF-8.
pub(super) fn decode(raw: &str) -> Option<String> {
    if !raw.contains('%') {
        return Some(raw.to_owned());
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(digits[0])? * 16 + digit(digits[1])?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Decodes a query into names and values, in order. A `+` is a space, as forms have it.
pub(super) fn parse(raw: &str) -> Option<Vec<(String, String)>> {
    let pairs = raw.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{decode, parse};

    #[test]
    fn strictly() {
        let check = |raw: &str, expected: Option<&str>| assert_eq!(decode(raw).as_deref(), expected, "{raw}");
        check("b1", Some("b1"));
        check("a%2Fb%20c", Some("a/b c"));
        check("%c3%a4", Some("ä"));
        check("%", None);
        check("%4", None);
        check("%zz", None);
        check("%+1", None);
        check("%ff", None);
    }

    #[test]
    fn names_and_values() {
        let check = |raw: &str, expected: Option<&[(&str, &str)]>| {
            let found = parse(raw);
            let found = found.as_ref().map(|pairs| {
                pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>()
            });
            assert_eq!(found.as_deref(), expected, "{raw}");
        };
        check("", Some(&[]));
        check("a=1&b=c+d&&e", Some(&[("a", "1"), ("b", "c d"), ("e", "")]));
        check("a=%zz", None);
    }
}
