//! The values of integer and string literals.
//!
//! In: the literal as written. Out: its value, or what is wrong with it, worded for users.

use std::ops::Range;

/// Value of an integer literal, durations in nanoseconds; or which bytes are wrong, and how.
pub(crate) fn int(text: &str) -> Result<u64, (Range<usize>, String)> {
    integer(text).map_err(|message| {
        let suffix = message
            .strip_prefix("invalid integer suffix '")
            .map(|s| s.len() - 1);
        let start = match suffix {
            Some(n) => text.len() - n,
            None if message == TRAILING => text.rfind('_').unwrap_or(0),
            None => 0,
        };
        let end = match suffix {
            None if message == TRAILING => start + 1,
            _ => text.len(),
        };
        (start..end, message)
    })
}

const TRAILING: &str = "trailing underscore in integer literal";

fn integer(text: &str) -> Result<u64, String> {
    let trailing = || format!("invalid trailing bytes: {text}");
    let overflow = || format!("overflow error, maximum value is {}: {text}", u64::MAX);
    let bytes = text.as_bytes();
    let (radix, start) = match bytes {
        [b'0', b'x' | b'X', ..] => (16, 2),
        [b'0', b'0'..=b'9' | b'_', ..] => (8, 1),
        _ => (10, 0),
    };
    let is_digit = |c: &u8| *c == b'_' || (*c as char).is_digit(radix);
    let end = bytes[start..]
        .iter()
        .position(|c| !is_digit(c))
        .map_or(bytes.len(), |n| start + n);
    let digits = &text[start..end];
    if digits.is_empty() {
        return Err(format!("invalid integer: {text}"));
    }
    if digits.ends_with('_') {
        return Err(TRAILING.into());
    }
    if radix == 16 && digits.starts_with('_') {
        return Err(trailing());
    }
    let mut value = number(digits, radix).ok_or_else(overflow)?;
    let mut rest = &text[end..];
    if radix == 10
        && let Some(exponent) = rest.strip_prefix(['e', 'E'])
        && exponent.starts_with(|c: char| c.is_ascii_digit())
    {
        let end = exponent
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(exponent.len());
        if !(1..=9).contains(&value) || digits.len() != 1 {
            return Err(format!(
                "coefficient part of scientific literal must be 1-9: {text}"
            ));
        }
        if exponent[..end].ends_with('_') {
            return Err(TRAILING.into());
        }
        value = number(&exponent[..end], 10)
            .and_then(|e| u32::try_from(e).ok())
            .and_then(|e| 10u64.checked_pow(e))
            .and_then(|p| p.checked_mul(value))
            .ok_or_else(overflow)?;
        rest = &exponent[end..];
    }
    let factor = match rest {
        "" | "u" | "ul" | "ull" | "l" | "ll" | "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ if rest.starts_with(|c: char| c.is_ascii_lowercase()) => {
            return Err(format!("invalid integer suffix '{rest}'"));
        }
        _ => return Err(trailing()),
    };
    value.checked_mul(factor).ok_or_else(overflow)
}

fn number(digits: &str, radix: u32) -> Option<u64> {
    digits
        .chars()
        .filter_map(|c| c.to_digit(radix))
        .try_fold(0u64, |n, d| {
            n.checked_mul(radix.into())?.checked_add(d.into())
        })
}

/// A mistake in a string literal: which bytes of it, and what is wrong.
pub(crate) type StringError = (Range<usize>, String);

/// Bytes of a string literal, given with its quotes.
pub(crate) fn string(text: &str) -> Result<Vec<u8>, Vec<StringError>> {
    let inner = &text[1..text.len() - 1];
    let mut out = Vec::with_capacity(inner.len());
    let mut errors = Vec::new();
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at..];
        let whole = escape_len(escape);
        match unescape(&escape[..whole]) {
            Ok(byte) => out.push(byte),
            Err(message) => {
                let start = text.len() - 1 - escape.len();
                // Of an unknown one, the character; of a number, all of it.
                let start = start + usize::from(message.starts_with("invalid escape"));
                let len = whole - usize::from(message.starts_with("invalid escape"));
                errors.push((start..start + len, message));
            }
        }
        rest = &escape[whole..];
    }
    out.extend_from_slice(rest.as_bytes());
    if errors.is_empty() {
        Ok(out)
    } else {
        Err(errors)
    }
}

/// Length of the escape sequence that `text` starts with, backslash included.
fn escape_len(text: &str) -> usize {
    let digits = |max: usize, radix: u32| {
        text.chars()
            .skip(if radix == 8 { 1 } else { 2 })
            .take(max)
            .take_while(|c| c.is_digit(radix))
            .count()
    };
    match text.chars().nth(1) {
        Some('0'..='7') => 1 + digits(3, 8),
        Some('x') => 2 + digits(2, 16),
        Some(c) => 1 + c.len_utf8(),
        None => 1,
    }
}

fn unescape(escape: &str) -> Result<u8, String> {
    match &escape[1..] {
        "n" => Ok(b'\n'),
        "t" => Ok(b'\t'),
        "r" => Ok(b'\r'),
        "\\" => Ok(b'\\'),
        "\"" => Ok(b'"'),
        s if s.starts_with(|c: char| c.is_digit(8)) => u8::from_str_radix(s, 8)
            .map_err(|_| format!("octal escape sequence out of range '{escape}'")),
        s if s.starts_with('x') => {
            u8::from_str_radix(&s[1..], 16).map_err(|_| "invalid hex escape sequence".into())
        }
        _ => Err(format!("invalid escape character '{escape}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, value) in [
            ("0", 0),
            ("123_456", 123_456),
            ("0xfF_f", 0xfff),
            ("0755", 0o755),
            ("1e6", 1_000_000),
            ("5ull", 5),
            ("1m", 60_000_000_000),
            ("0x1d", 0x1d),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(int(text), Ok(value), "{text}");
        }
        for (text, message) in [
            ("0b11", "invalid integer suffix 'b11'"),
            (
                "15e2",
                "coefficient part of scientific literal must be 1-9: 15e2",
            ),
            ("5UL", "invalid trailing bytes: 5UL"),
            ("1_", "trailing underscore in integer literal"),
            ("0x", "invalid integer: 0x"),
            ("1e", "invalid integer suffix 'e'"),
            (
                "18446744073709551616",
                "overflow error, maximum value is 18446744073709551615: 18446744073709551616",
            ),
            (
                "9e30",
                "overflow error, maximum value is 18446744073709551615: 9e30",
            ),
            (
                "999999999999d",
                "overflow error, maximum value is 18446744073709551615: 999999999999d",
            ),
        ] {
            assert_eq!(
                int(text).map_err(|e| e.1),
                Err(message.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn strings() {
        assert_eq!(string(r#""a\n\"\101\x4a\0é""#), Ok("a\n\"AJ\0é".into()));
        assert_eq!(string(r#""\xff\377""#), Ok(vec![255, 255]));
        assert_eq!(
            string(r#""a\q\777\x""#),
            Err(vec![
                (3..4, "invalid escape character '\\q'".into()),
                (4..8, "octal escape sequence out of range '\\777'".into()),
                (8..10, "invalid hex escape sequence".into()),
            ])
        );
    }
}
