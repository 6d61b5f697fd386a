//! Values as JSON.
//!
//! Numbers that a double cannot hold exactly are strings. Strings are UTF-8; bytes that are not
//! become U+FFFD. Keys of maps are strings in a compact form of their own: `1,(2,a)`.

use super::names::push_display;
use super::value::{self, Integer, Value};
use super::{Scope, text};
use crate::error::Result;
use crate::object::FieldLayout;

/// Appends a value.
///
/// # Errors
/// Malformed bytes, or a stack map that cannot be read.
pub fn value(scope: &mut Scope<'_>, v: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    match v {
        Value::None => out.extend_from_slice(b"null"),
        Value::Bool(b) => push_display(out, b),
        Value::Signed(n) => number(Integer::Signed(n), out),
        Value::Unsigned(n) | Value::Ptr(n) => number(Integer::Unsigned(n), out),
        Value::Enum(_, n) => number(n, out),
        Value::Buf(bytes) => {
            out.push(b'[');
            for (i, b) in bytes.iter().enumerate() {
                let comma = if i > 0 { "," } else { "" };
                push_display(out, format_args!("{comma}{b}"));
            }
            out.push(b']');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                value(scope, item?, out)?;
            }
            out.push(b']');
        }
        Value::Tuple(fields, bytes) => {
            out.push(b'[');
            for (i, f) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                value(scope, value::field(f, bytes)?, out)?;
            }
            out.push(b']');
        }
        Value::Struct(fields, bytes) => {
            out.push(b'{');
            members(scope, fields, bytes, &mut true, out)?;
            out.push(b'}');
        }
        Value::Str { text: t, capacity } => {
            let mut s = Vec::with_capacity(t.len() + 2);
            text::string(scope, t, capacity, &mut s);
            string(&s, out);
        }
        v => {
            let mut s = Vec::new();
            text::value(scope, v, &mut s)?;
            string(&s, out);
        }
    }
    Ok(())
}

/// Appends the members of a struct; those of anonymous members count as its own.
fn members(
    scope: &mut Scope<'_>,
    fields: &[FieldLayout],
    bytes: &[u8],
    first: &mut bool,
    out: &mut Vec<u8>,
) -> Result<()> {
    for f in fields {
        let v = value::field(f, bytes)?;
        if let (true, Value::Struct(inner, bytes)) = (f.name.is_empty(), v) {
            members(scope, inner, bytes, first, out)?;
            continue;
        }
        if !std::mem::take(first) {
            out.extend_from_slice(b", ");
        }
        string(f.name.as_bytes(), out);
        out.extend_from_slice(b": ");
        value(scope, v, out)?;
    }
    Ok(())
}

/// Appends the key of a map as a JSON string.
///
/// # Errors
/// As for [`value`].
pub fn key(scope: &mut Scope<'_>, v: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    let mut s = Vec::new();
    match v {
        Value::Tuple(fields, bytes) => key_fields(scope, fields, bytes, &mut s)?,
        v => key_part(scope, v, &mut s)?,
    }
    string(&s, out);
    Ok(())
}

fn key_fields(
    scope: &mut Scope<'_>,
    fields: &[FieldLayout],
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    for (i, f) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        key_part(scope, value::field(f, bytes)?, out)?;
    }
    Ok(())
}

fn key_part(scope: &mut Scope<'_>, v: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    match v {
        Value::Tuple(fields, bytes) => {
            out.push(b'(');
            key_fields(scope, fields, bytes, out)?;
            out.push(b')');
        }
        Value::Struct(fields, bytes) => {
            out.push(b'{');
            for (i, f) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                if !f.name.is_empty() {
                    push_display(out, format_args!(".{}=", f.name));
                }
                key_part(scope, value::field(f, bytes)?, out)?;
            }
            out.push(b'}');
        }
        Value::StackId { .. } | Value::Stack { .. } => {
            let mut lines = Vec::new();
            text::value(scope, v, &mut lines)?;
            unindent(&lines, out);
        }
        v => text::value(scope, v, out)?,
    }
    Ok(())
}

/// Appends the frames of a stack without what they are indented with.
fn unindent(lines: &[u8], out: &mut Vec<u8>) {
    for line in lines.split_inclusive(|&b| b == b'\n') {
        let start = line.iter().position(|b| !matches!(b, b' ' | b'\t'));
        out.extend_from_slice(&line[start.unwrap_or(0)..]);
    }
}

/// Appends an integer: a number if a double holds it exactly, else a string.
pub fn number(n: Integer, out: &mut Vec<u8>) {
    wide(n.wide(), out);
}

/// Likewise for a number of up to 65 bits.
pub(super) fn wide(n: i128, out: &mut Vec<u8>) {
    // i128 does not saturate for any double near 64 bits.
    if (n as f64) as i128 == n {
        push_display(out, n);
    } else {
        push_display(out, format_args!("\"{n}\""));
    }
}

/// Appends a JSON string.
pub fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for &b in chunk.valid().as_bytes() {
            match b {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\r' => out.extend_from_slice(b"\\r"),
                0..0x20 | 0x7f => push_display(out, format_args!("\\u{b:04x}")),
                b => out.push(b),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Appends `{"type": "KIND", "data": `; the caller appends the data and `}` and a newline.
pub fn open(kind: &str, out: &mut Vec<u8>) {
    push_display(out, format_args!("{{\"type\": \"{kind}\", \"data\": "));
}

/// Closes what [`open`] opened.
pub fn close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}

/// Appends a whole line whose data is text.
pub fn text_line(kind: &str, text: &[u8], out: &mut Vec<u8>) {
    open(kind, out);
    string(text, out);
    close(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_beyond_doubles_are_strings() {
        let n = |v| show(|o| number(Integer::Unsigned(v), o));
        assert_eq!(n(1 << 53), "9007199254740992");
        assert_eq!(n((1 << 53) + 1), "\"9007199254740993\"");
        assert_eq!(n(u64::MAX), "\"18446744073709551615\"");
        assert_eq!(n(1 << 63), "9223372036854775808");
        assert_eq!(
            show(|o| number(Integer::Signed(i64::MIN), o)),
            "-9223372036854775808"
        );
    }

    #[test]
    fn strings_are_escaped_and_always_utf8() {
        let s = |b: &[u8]| show(|o| string(b, o));
        assert_eq!(s(b"a\"\\\n\x01"), r#""a\"\\\n\u0001""#);
        assert_eq!(s("é".as_bytes()), "\"é\"");
        assert_eq!(s(b"a\xff\xfeb"), "\"a\u{fffd}\u{fffd}b\"");
    }

    #[test]
    fn stack_keys_lose_their_indentation() {
        assert_eq!(
            show(|o| unindent(b"\n        a+1\n\t10 b+2\n", o)),
            "\na+1\n10 b+2\n"
        );
    }
}
