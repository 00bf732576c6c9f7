//! Forms and queries as Go's `net/http` and `mime` read them, with their words for what is wrong: etcd passes these on as
//! causes. Pure.

/// Decoded pairs in the order in which they count.
pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The only kind of body that holds parameters.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// The pairs of a body, if its type says that it is a form, and then those of the query.
pub(super) fn parse(content_type: &str, body: &[u8], query: &[u8]) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let of_body = match content_type {
        "" => Ok(()),
        content_type => match media_type(content_type) {
            Ok(kind) if kind == FORM => read_pairs(body, &mut pairs),
            Ok(_) => Ok(()),
            Err(reason) => Err(format!("mime: {reason}")),
        },
    };
    let of_query = read_pairs(query, &mut pairs);
    of_body.and(of_query).map(|()| pairs)
}

/// Of what is wrong, a semicolon is told before all else, and otherwise what comes first.
fn read_pairs(encoded: &[u8], pairs: &mut Pairs) -> Result<(), String> {
    let (mut semicolon, mut wrong) = (false, None);
    for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pair.contains(&b';') {
            semicolon = true;
            continue;
        }
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = pair.get(at + 1..).unwrap_or_default();
        match decode(&pair[..at], true).and_then(|name| Ok((name, decode(value, true)?))) {
            Ok(decoded) => pairs.push(decoded),
            Err(escape) => {
                wrong.get_or_insert_with(|| format!("invalid URL escape {}", quote(&escape)));
            }
        }
    }
    if semicolon {
        return Err("invalid semicolon separator in query".to_owned());
    }
    wrong.map_or(Ok(()), Err)
}

/// Undoes percent encoding, and `+` for a space where `plus` says so.
///
/// # Errors
/// What stands where an escape should.
pub(super) fn decode(encoded: &[u8], plus: bool) -> Result<Vec<u8>, Vec<u8>> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
                let Some((high, low)) = digit(0).zip(digit(1)) else {
                    let begun = after.iter().take(2).copied();
                    return Err(std::iter::once(b'%').chain(begun).collect());
                };
                rest = &after[2..];
                u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte")
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    Ok(bytes)
}

/// As Go's `strconv.Quote`, for what can stand here.
fn quote(bytes: &[u8]) -> String {
    let mut quoted = "\"".to_owned();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => quoted.extend(['\\', character]),
                '\u{7}' => quoted.push_str("\\a"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{c}' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{b}' => quoted.push_str("\\v"),
                other if other.is_ascii_control() => quoted += &format!("\\x{:02x}", u32::from(other)),
                other if other.is_control() => quoted += &format!("\\u{:04x}", u32::from(other)),
                other => quoted.push(other),
            }
        }
        chunk.invalid().iter().for_each(|byte| quoted += &format!("\\x{byte:02x}"));
    }
    quoted.push('"');
    quoted
}

/// The type that a header names, in small letters.
fn media_type(header: &str) -> Result<String, &'static str> {
    let (base, mut rest) = header.find(';').map_or((header, ""), |at| header.split_at(at));
    let kind = base.trim().to_lowercase();
    check_type(&kind)?;
    let mut seen: Vec<String> = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(kind);
        }
        match parameter(rest) {
            Some((name, _)) if seen.contains(&name) => return Err("duplicate parameter name"),
            Some((name, after)) => {
                seen.push(name);
                rest = after;
            }
            None if rest.trim() == ";" => return Ok(kind),
            None => return Err("invalid media parameter"),
        }
    }
}

fn check_type(kind: &str) -> Result<(), &'static str> {
    let (main, rest) = token(kind);
    if main.is_empty() {
        return Err("no media type");
    }
    if rest.is_empty() {
        return Ok(());
    }
    let rest = rest.strip_prefix('/').ok_or("expected slash after first token")?;
    match token(rest) {
        ("", _) => Err("expected token after slash"),
        (_, "") => Ok(()),
        _ => Err("unexpected content after media subtype"),
    }
}

/// The name of `; name=value` and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let (name, rest) = token(text.strip_prefix(';')?.trim_start());
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let after = match rest.strip_prefix('"') {
        None => Some(token(rest)).filter(|(value, _)| !value.is_empty())?.1,
        Some(quoted) => &quoted[end_of_quoted(quoted)?..],
    };
    (!name.is_empty()).then(|| (name.to_lowercase(), after))
}

/// Where the text after the closing quote begins.
fn end_of_quoted(quoted: &str) -> Option<usize> {
    let bytes = quoted.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' if bytes.get(at + 1).is_some_and(|next| is_special(char::from(*next))) => at += 2,
            b'\r' | b'\n' => return None,
            _ => at += 1,
        }
    }
    None
}

fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_graphic() || is_special(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn is_special(character: char) -> bool {
    "()<>@,;:\\\"/[]?=".contains(character)
}

#[cfg(test)]
mod tests {
    use super::{FORM, decode, parse};

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        let check = |raw: &str, plus, expected: Result<&[u8], &str>| {
            let found = decode(raw.as_bytes(), plus);
            assert_eq!(found, expected.map(<[u8]>::to_vec).map_err(|text| text.as_bytes().to_vec()), "{raw}");
        };
        check("a%20b+c", true, Ok(b"a b c"));
        check("a+b", false, Ok(b"a+b"));
        check("%C3%A4%ff", true, Ok(b"\xc3\xa4\xff"));
        check("%4", true, Err("%4"));
        check("a%", true, Err("%"));
        check("%zzz", true, Err("%zz"));
        check("%+1", true, Err("%+1"));
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_go() {
        let check = |kind: &str, body: &str, query: &str, expected: Result<usize, &str>| {
            let found = parse(kind, body.as_bytes(), query.as_bytes());
            let found = found.as_ref().map(Vec::len).map_err(String::as_str);
            assert_eq!(found, expected, "{kind}: {body} ? {query}");
        };
        check(FORM, "a=1&b", "c=%20&&=", Ok(4));
        check("", "a=1", "", Ok(0));
        check("text/plain", "a=%zz", "", Ok(0));
        check("Application/X-WWW-Form-URLencoded; charset=\"a\\\"b\" ;", "a=1", "", Ok(1));
        check(FORM, "a=%zz", "a;b", Err("invalid URL escape \"%zz\""));
        check(FORM, "a=%\"", "", Err("invalid URL escape \"%\\\"\""));
        check(FORM, "a=%zz&b=%yy;", "", Err("invalid semicolon separator in query"));
        check(FORM, "", "a=%yy&b=%zz", Err("invalid URL escape \"%yy\""));
        check("/", "", "", Err("mime: no media type"));
        check("a b", "", "", Err("mime: expected slash after first token"));
        check("a/", "", "", Err("mime: expected token after slash"));
        check("a/b c", "", "", Err("mime: unexpected content after media subtype"));
        check("a/b; c", "", "", Err("mime: invalid media parameter"));
        check("a/b; c=\"d", "", "", Err("mime: invalid media parameter"));
        check("a/b; c=1; C=2", "", "", Err("mime: duplicate parameter name"));
    }
}
