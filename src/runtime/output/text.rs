//! Values as people read them.
//!
//! Writes to a byte buffer, because strings of the kernel have no encoding. On a terminal,
//! control characters in traced strings are shown as `\xHH`: a process may choose its name, but
//! not what the terminal does.

use super::names::push_display;
use super::stack;
use super::value::{self, Integer, Value};
use super::{Scope, push_hex};
use crate::error::Result;
use crate::object::FieldLayout;

/// Appends a value.
///
/// # Errors
/// Malformed bytes, or a stack map that cannot be read.
pub fn value(scope: &mut Scope<'_>, v: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    // What names symbols, paths or people comes from elsewhere, as strings do.
    let foreign = matches!(
        v,
        Value::Str { .. }
            | Value::StackId { .. }
            | Value::Stack { .. }
            | Value::Username(_)
            | Value::CgroupPath(..)
            | Value::KSym(_)
            | Value::USym(_)
    );
    let start = out.len();
    parts(scope, v, out)?;
    if foreign && scope.terminal {
        guard(out, start);
    }
    Ok(())
}

fn parts(scope: &mut Scope<'_>, v: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    match v {
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
            out.push(b'(');
            tuple_fields(scope, fields, bytes, out)?;
            out.push(b')');
        }
        Value::Struct([], _) => out.extend_from_slice(b"{}"),
        Value::Struct(fields, bytes) => {
            out.extend_from_slice(b"{ ");
            for (i, f) in fields.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                // An anonymous member has no name to show.
                if !f.name.is_empty() {
                    out.push(b'.');
                    out.extend_from_slice(f.name.as_bytes());
                    out.extend_from_slice(b" = ");
                }
                value(scope, value::field(f, bytes)?, out)?;
            }
            out.extend_from_slice(b" }");
        }
        Value::StackId { ty, map, id, pid } => {
            out.push(b'\n');
            scope.stack(ty, map, id, pid, out)?;
        }
        Value::Stack { ty, ips, pid } => {
            out.push(b'\n');
            stack::frames(scope.names, ty, ips, pid, out);
        }
        v => plain(scope, v, out),
    }
    Ok(())
}

/// Appends the key of a map: a tuple loses its outer parentheses.
///
/// # Errors
/// As for [`value`].
pub fn key(scope: &mut Scope<'_>, v: Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    match v {
        Value::Tuple(fields, bytes) => tuple_fields(scope, fields, bytes, out),
        v => value(scope, v, out),
    }
}

fn tuple_fields(
    scope: &mut Scope<'_>,
    fields: &[FieldLayout],
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    for (i, f) in fields.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        value(scope, value::field(f, bytes)?, out)?;
    }
    Ok(())
}

/// Appends the characters of a string, and the trailer if it was cut.
pub(super) fn string(scope: &Scope<'_>, text: &[u8], capacity: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    let config = &scope.object.config;
    let full = text.len() as u32 == capacity
        || (capacity == config.max_strlen && text.len() as u32 + 1 == capacity);
    if full && capacity > 0 {
        out.extend_from_slice(config.str_trunc_trailer.as_bytes());
    }
}

/// Appends a value that has no parts and is spelt the same in every format.
pub(super) fn plain(scope: &mut Scope<'_>, v: Value<'_>, out: &mut Vec<u8>) {
    match v {
        Value::None => out.extend_from_slice(b"null"),
        Value::Signed(n) => push_display(out, n),
        Value::Unsigned(n) => push_display(out, n),
        Value::Bool(b) => push_display(out, b),
        Value::Str { text, capacity } => string(scope, text, capacity, out),
        Value::Buf(bytes) => escaped(bytes, out),
        Value::Ptr(p) => push_hex(out, p),
        Value::Enum(table, n) => match value::enum_name(&scope.object.enums, table, n) {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => integer(n, out),
        },
        Value::Inet4(a) => push_display(out, std::net::Ipv4Addr::from(a)),
        Value::Inet6(a) => push_display(out, std::net::Ipv6Addr::from(a)),
        Value::Mac(a) => {
            for (i, b) in a.iter().enumerate() {
                let colon = if i > 0 { ":" } else { "" };
                push_display(out, format_args!("{colon}{b:02X}"));
            }
        }
        Value::Username(uid) => scope.names.username(uid, out),
        Value::CgroupPath(id, filter) => {
            let filter = usize::try_from(filter)
                .ok()
                .and_then(|i| scope.object.time_formats.get(i))
                .map_or("", String::as_str);
            scope.names.cgroup_path(id, filter, out);
        }
        Value::Timestamp(ns, format, clock) => {
            let wall = scope.names.clocks.wall(clock, ns);
            match scope.object.time_formats.get(format as usize) {
                Some(format) => super::time::at(wall, format, out),
                None => push_display(out, ns),
            }
        }
        Value::KSym(addr) => stack::kernel_symbol(scope.names, addr, out),
        Value::USym(at) => stack::user_symbol(scope.names, at, out),
        Value::ProbeName(i) => match scope.object.attach.get(i as usize) {
            Some(a) => out.extend_from_slice(a.name.as_bytes()),
            None => push_display(out, i),
        },
        // These have parts or a form of their own.
        Value::Array(_)
        | Value::Tuple(..)
        | Value::Struct(..)
        | Value::StackId { .. }
        | Value::Stack { .. } => {}
    }
}

/// Appends a number.
pub(super) fn integer(n: Integer, out: &mut Vec<u8>) {
    match n {
        Integer::Signed(n) => push_display(out, n),
        Integer::Unsigned(n) => push_display(out, n),
    }
}

/// Appends bytes: printable ASCII as it is, the rest as `\xHH`.
pub(super) fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for &b in bytes {
        match b {
            b' '..=b'~' => out.push(b),
            b => push_display(out, format_args!("\\x{b:02x}")),
        }
    }
}

/// Replaces the control characters in `out[start..]`, but for tabs and newlines, by `\xHH`.
/// So are bytes that are not UTF-8 and control characters where terminals do not use UTF-8.
pub fn guard(out: &mut Vec<u8>, start: usize) {
    let tail = &out[start..];
    // All of ASCII that is shown, and the two that are let through: the usual case.
    if tail
        .iter()
        .all(|&b| (b' '..0x7f).contains(&b) || matches!(b, b'\n' | b'\t'))
    {
        return;
    }
    let tail = tail.to_vec();
    out.truncate(start);
    let escape = |out: &mut Vec<u8>, bytes: &[u8]| {
        for b in bytes {
            push_display(out, format_args!("\\x{b:02x}"));
        }
    };
    for chunk in tail.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            if c.is_control() && !matches!(c, '\n' | '\t') {
                escape(out, bytes);
            } else {
                out.extend_from_slice(bytes);
            }
        }
        // Bytes that terminals without UTF-8 take for control characters too.
        for &b in chunk.invalid() {
            if (0x80..0xa0).contains(&b) {
                escape(out, &[b]);
            } else {
                out.push(b);
            }
        }
    }
}
