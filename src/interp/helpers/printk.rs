//! The formats of `bpf_trace_printk` and `bpf_snprintf`.
//!
//! Conversions `d i u x X p s c` with `l`, `ll`, width and zero padding, and `%%`; `%s` and
//! `%pks` read a string of the kernel, `%pus` one of the current task. A string that cannot
//! be read shows as nothing. Anything else in a format is an error, as it is in the kernel.

use super::super::fault::FaultKind;
use super::super::vm::Run;
use super::super::world::Space;
use super::{Outcome, err, size};
use crate::codegen::insn::STACK_SIZE;

/// Longest string that `%s` shows.
const MAX_STRING: usize = 512;

/// The text of `format` (up to its first NUL) with `args`; `None` where the format is invalid
/// or asks for more arguments than there are.
fn expand(run: &mut Run<'_>, format: &[u8], args: &[u64]) -> Result<Option<Vec<u8>>, FaultKind> {
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
            match super::read::read_string(run, space, arg, &mut buf)? {
                Ok(len) => buf.truncate(len.saturating_sub(1)),
                Err(_) => buf.clear(),
            }
            buf
        }
    })
}

// Up to 12 arguments of the printf-like helpers, from an array of u64.
fn array_of_args(run: &mut Run<'_>, addr: u64, len: u64) -> Result<Vec<u64>, FaultKind> {
    let bytes = run.view(addr, size(5, len)?)?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok(words.iter().map(|&w| u64::from_ne_bytes(w)).collect())
}

fn trace(run: &mut Run<'_>, format: &[u8], args: &[u64]) -> Outcome {
    match expand(run, format, args)? {
        Some(text) => {
            run.world.trace(&text);
            Ok(text.len() as u64)
        }
        None => Ok(err(libc::EINVAL)),
    }
}

/// `bpf_trace_printk(fmt, size, ...)`: bytes traced.
pub fn trace_printk(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let format = run.copied(a[0], size(2, a[1])?)?;
    let result = trace(run, &format, &a[2..]);
    run.recycle(format);
    result
}

/// `bpf_trace_vprintk(fmt, size, args, args_size)`
pub fn trace_vprintk(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let format = run.copied(a[0], size(2, a[1])?)?;
    let args = array_of_args(run, a[2], a[3])?;
    let result = trace(run, &format, &args);
    run.recycle(format);
    result
}

/// `bpf_snprintf(str, size, fmt, args, args_size)`: bytes of the whole text and its NUL.
pub fn snprintf(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let len = size(2, a[1])?;
    let mut format = Vec::new();
    // The format is constant memory that ends at its NUL.
    while !format.ends_with(&[0]) && format.len() < STACK_SIZE {
        let at = a[2].wrapping_add(format.len() as u64);
        format.push(run.view(at, 1)?[0]);
    }
    let args = array_of_args(run, a[3], a[4])?;
    let Some(text) = expand(run, &format, &args)? else {
        return Ok(err(libc::EINVAL));
    };
    let to = run.view_mut(a[0], len)?;
    let n = text.len().min(len.saturating_sub(1));
    let (text_part, rest) = to.split_at_mut(n.min(to.len()));
    text_part.copy_from_slice(&text[..n]);
    if let Some(end) = rest.first_mut() {
        *end = 0;
    }
    Ok(text.len() as u64 + 1)
}
