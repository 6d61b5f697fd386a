//! The formats of `bpf_trace_printk` and `bpf_snprintf`.
//!
//! Conversions `d i u x X p s c` with `l`, `ll`, width and zero padding, and `%%`; `%s` and
//! `%pks` read a string of the kernel, `%pus` one of the current task. A string that cannot
//! be read shows as nothing. Anything else in a format is an error, as it is in the kernel.

use super::fault::FaultKind;
use super::vm::Run;
use super::world::Space;

/// Longest string that `%s` shows.
const MAX_STRING: usize = 512;

/// The text of `format` (up to its first NUL) with `args`; `None` where the format is invalid
/// or asks for more arguments than there are.
pub fn format(
    run: &mut Run<'_>,
    format: &[u8],
    args: &[u64],
) -> Result<Option<Vec<u8>>, FaultKind> {
    let mut out = Vec::new();
    let mut args = args.iter().copied();
    let mut rest = format.split(|&b| b == 0).next().unwrap_or_default();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b != b'%' {
            out.push(b);
            continue;
        }
        if let Some(tail) = rest.strip_prefix(b"%") {
            out.push(b'%');
            rest = tail;
            continue;
        }
        let Some((spec, tail)) = parse(rest) else {
            return Ok(None);
        };
        rest = tail;
        let Some(arg) = args.next() else {
            return Ok(None);
        };
        let text = convert(run, &spec, arg)?;
        let zeros = spec.zero && !matches!(spec.conv, Conv::Str(_) | Conv::Char);
        let sign = usize::from(zeros && text.starts_with(b"-"));
        out.extend_from_slice(&text[..sign]);
        let fill = spec.width.saturating_sub(text.len());
        out.extend(std::iter::repeat_n(if zeros { b'0' } else { b' ' }, fill));
        out.extend_from_slice(&text[sign..]);
    }
    Ok(Some(out))
}

enum Conv {
    Signed,
    Unsigned,
    Hex,
    HexUpper,
    Pointer,
    Char,
    Str(Space),
}

struct Spec {
    zero: bool,
    width: usize,
    wide: bool,
    conv: Conv,
}

// A conversion after its `%`, and what follows it.
fn parse(mut s: &[u8]) -> Option<(Spec, &[u8])> {
    let zero = s.strip_prefix(b"0").inspect(|t| s = t).is_some();
    let mut width = 0usize;
    while let Some((d @ b'0'..=b'9', tail)) = s.split_first() {
        width = width.checked_mul(10)?.checked_add(usize::from(d - b'0'))?;
        s = tail;
    }
    if width > MAX_STRING {
        return None;
    }
    let mut wide = false;
    while let Some(tail) = s.strip_prefix(b"l") {
        wide = true;
        s = tail;
    }
    let (&letter, mut tail) = s.split_first()?;
    let conv = match letter {
        b'd' | b'i' => Conv::Signed,
        b'u' => Conv::Unsigned,
        b'x' => Conv::Hex,
        b'X' => Conv::HexUpper,
        b'c' => Conv::Char,
        b's' => Conv::Str(Space::Kernel),
        b'p' => match tail {
            [b'k', b's', t @ ..] => {
                tail = t;
                Conv::Str(Space::Kernel)
            }
            [b'u', b's', t @ ..] => {
                tail = t;
                Conv::Str(Space::User)
            }
            [b'x', t @ ..] => {
                tail = t;
                Conv::Pointer
            }
            _ => Conv::Pointer,
        },
        _ => return None,
    };
    let spec = Spec {
        zero,
        width,
        wide,
        conv,
    };
    Some((spec, tail))
}

fn convert(run: &mut Run<'_>, spec: &Spec, arg: u64) -> Result<Vec<u8>, FaultKind> {
    let unsigned = if spec.wide {
        arg
    } else {
        u64::from(arg as u32)
    };
    let signed = if spec.wide {
        arg as i64
    } else {
        i64::from(arg as i32)
    };
    Ok(match spec.conv {
        Conv::Signed => signed.to_string().into_bytes(),
        Conv::Unsigned => unsigned.to_string().into_bytes(),
        Conv::Hex => format!("{unsigned:x}").into_bytes(),
        Conv::HexUpper => format!("{unsigned:X}").into_bytes(),
        Conv::Pointer => format!("{arg:016x}").into_bytes(),
        Conv::Char => vec![arg as u8],
        Conv::Str(space) => {
            let mut buf = vec![0; MAX_STRING];
            match super::helpers::read_string(run, space, arg, &mut buf)? {
                Ok(len) => buf.truncate(len.saturating_sub(1)),
                Err(_) => buf.clear(),
            }
            buf
        }
    })
}
