//! Applies a parsed [`Format`] to the arguments of a record.
//!
//! Integers are cut to the size their length modifier says (32 bits without one) and then
//! padded as C does it; precision is accepted and has no effect on them or on strings. `%s`
//! takes any value and pads its text.

use super::names::push_display;
use super::value::{self, Malformed, Value};
use super::{Scope, gfp, text};
use crate::error::Result;
use crate::object::{Conv, FieldLayout, Format, LenMod, Piece, Spec};

/// Appends the formatted text. Offsets of `args` count from the start of `record`.
///
/// # Errors
/// Malformed arguments, fewer of them than conversions, or a stack map that cannot be read.
pub fn format(
    scope: &mut Scope<'_>,
    format: &Format,
    args: &[FieldLayout],
    record: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut args = args.iter();
    for piece in &format.pieces {
        match piece {
            Piece::Text(t) => out.extend_from_slice(t.as_bytes()),
            Piece::Spec(spec) => {
                let arg = args.next().ok_or(Malformed)?;
                conversion(scope, spec, value::field(arg, record)?, out)?;
            }
        }
    }
    Ok(())
}

fn conversion(scope: &mut Scope<'_>, spec: &Spec, v: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let bits = value::number(v).map(value::Integer::bits);
    match (spec.conv, bits) {
        (Conv::Signed, Some(n)) => {
            let n = match spec.len {
                LenMod::HH => i64::from(n as i8),
                LenMod::H => i64::from(n as i16),
                LenMod::None => i64::from(n as i32),
                LenMod::L => n as i64,
            };
            let sign = match n {
                ..0 => "-",
                _ if spec.plus => "+",
                _ => "",
            };
            number(spec, sign, format_args!("{}", n.unsigned_abs()), out);
        }
        (Conv::Unsigned, Some(n)) => number(spec, "", format_args!("{}", cut(n, spec.len)), out),
        (Conv::Octal, Some(n)) => {
            let sign = if spec.alt { "0" } else { "" };
            number(spec, sign, format_args!("{:o}", cut(n, spec.len)), out);
        }
        (Conv::Hex, Some(n)) => {
            let n = cut(n, spec.len);
            let prefix = if spec.alt && n != 0 { "0x" } else { "" };
            number(spec, prefix, format_args!("{n:x}"), out);
        }
        (Conv::HexUpper, Some(n)) => {
            let n = cut(n, spec.len);
            let prefix = if spec.alt && n != 0 { "0X" } else { "" };
            number(spec, prefix, format_args!("{n:X}"), out);
        }
        (Conv::Pointer, Some(n)) => number(spec, "0x", format_args!("{n:x}"), out),
        (Conv::Char, Some(n)) => {
            out.push(n as u8);
            if scope.terminal {
                text::guard(out, start);
            }
            pad(spec, start, out);
        }
        (Conv::GfpFlags, Some(n)) => {
            gfp::names(n, out);
            pad(spec, start, out);
        }
        (Conv::Raw | Conv::RawHexEscaped | Conv::RawHex, _) => {
            match v {
                Value::Buf(bytes) | Value::Str { text: bytes, .. } => raw(spec.conv, bytes, out),
                v => text::value(scope, v, out)?,
            }
            pad(spec, start, out);
        }
        // `%s`, and what the compiler lets through although it is no number.
        _ => {
            text::value(scope, v, out)?;
            pad(spec, start, out);
        }
    }
    Ok(())
}

fn raw(conv: Conv, bytes: &[u8], out: &mut Vec<u8>) {
    match conv {
        Conv::Raw => text::escaped(bytes, out),
        Conv::RawHex => {
            for (i, b) in bytes.iter().enumerate() {
                let space = if i > 0 { " " } else { "" };
                push_display(out, format_args!("{space}{b:02x}"));
            }
        }
        _ => {
            for b in bytes {
                push_display(out, format_args!("\\x{b:02x}"));
            }
        }
    }
}

fn cut(n: u64, len: LenMod) -> u64 {
    match len {
        LenMod::HH => n & 0xff,
        LenMod::H => n & 0xffff,
        LenMod::None => n & 0xffff_ffff,
        LenMod::L => n,
    }
}

/// Appends sign or prefix and digits; zeros go between the two, spaces around them.
fn number(spec: &Spec, prefix: &str, digits: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(prefix.as_bytes());
    let first_digit = out.len();
    push_display(out, digits);
    if spec.zero && !spec.left {
        let missing = (spec.width as usize).saturating_sub(out.len() - start);
        insert(out, first_digit, b'0', missing);
    } else {
        pad(spec, start, out);
    }
}

/// Pads what was appended since `start` with spaces; a UTF-8 character counts once.
fn pad(spec: &Spec, start: usize, out: &mut Vec<u8>) {
    if spec.width == 0 {
        return;
    }
    let shown = out[start..].iter().filter(|&&b| b & 0xc0 != 0x80).count();
    let missing = (spec.width as usize).saturating_sub(shown);
    let at = if spec.left { out.len() } else { start };
    insert(out, at, b' ', missing);
}

fn insert(out: &mut Vec<u8>, at: usize, byte: u8, n: usize) {
    let end = out.len();
    out.resize(end + n, byte);
    out.copy_within(at..end, at + n);
    out[at..at + n].fill(byte);
}
