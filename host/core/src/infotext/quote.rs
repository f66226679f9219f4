//! Quoting of infotext values: those that would break the line become JSON strings, with other scripts left as they
//! are. Small enough to stand here, where there is no JSON.

use std::borrow::Cow;

/// The value as it is printed. Beyond what web UIs quote (a comma, colon or line break) this quotes values that
/// would not read back otherwise: empty, blank at an end, with a control character, or beginning with a quote.
pub(super) fn quote(value: &str) -> Cow<'_, str> {
    let breaks = value.contains(|c: char| matches!(c, ',' | ':') || c.is_control());
    let lost = value.is_empty() || value.trim() != value || value.starts_with('"');
    if !breaks && !lost {
        return Cow::Borrowed(value);
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

/// Undoes a JSON string; `None` when it is not one. `quoted` includes the quotes.
pub(super) fn unquote(quoted: &str) -> Option<String> {
    let mut rest = quoted.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut value = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' => return None,
            '\\' => value.push(match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => escaped(&mut rest)?,
                c @ ('"' | '\\' | '/') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    Some(value)
}

/// The character of `\uXXXX`, of which two make one above the first plane. Reads on after the `u`.
fn escaped(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let unit = code_unit(rest)?;
    if !(0xd800..0xdc00).contains(&unit) {
        return char::from_u32(unit);
    }
    let (backslash, letter) = (rest.next()?, rest.next()?);
    let low = code_unit(rest)?;
    if (backslash, letter) != ('\\', 'u') || !(0xdc00..0xe000).contains(&low) {
        return None;
    }
    char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
}

fn code_unit(rest: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| Some(unit << 4 | rest.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_would_break_the_line() {
        for (value, want) in [
            ("plain text", "plain text"),
            ("a, b", r#""a, b""#),
            ("name: hash", r#""name: hash""#),
            ("é,\n\"\\", r#""é,\n\"\\""#),
            ("", r#""""#),
            (" x", r#"" x""#),
            ("\u{1}", r#""\u0001""#),
        ] {
            assert_eq!(quote(value), want);
        }
    }

    #[test]
    fn reads_json_strings_of_other_programs() {
        for (quoted, want) in [
            (r#""\u00e9\ud83d\ude00\/\b""#, Some("é😀/\u{8}")),
            (r#""a"b""#, None),
            (r#""\ud83d""#, None),
            (r#""\x""#, None),
            (r#"""#, None),
        ] {
            assert_eq!(unquote(quoted).as_deref(), want, "{quoted}");
        }
    }
}
