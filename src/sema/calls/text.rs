//! Strings of C++ and Rust programs: where their text is.
//!
//! In: the type of a value. Out: the members that hold the address and the length of its text, for
//! the string types of both languages, known by their members as debug information has them:
//! `std::string` and `std::string_view` of libstdc++, `std::string_view` of libc++; `&str`,
//! `String`, `Box<str>`, `Vec<u8>`, `&[u8]`, `PathBuf` and other types around one of these.

use super::Call;
use crate::sema::check::Checker;
use crate::sema::hir::{Arg, Expr};
use crate::sema::value::{self, is_unknown};
use crate::types::{StructId, Type};

/// Members of C++ strings: those on the way to the address, and the length.
const CPP: [(&[&str], &str); 4] = [
    (&["_M_dataplus", "_M_p"], "_M_string_length"),
    (&["_M_str"], "_M_len"),
    (&["__data_"], "__size_"),
    (&["__data"], "__size"),
];

/// How deep types around a string are looked into: PathBuf has four, and a Vec's pointer is five
/// below it.
const MAX_DEPTH: u32 = 8;

/// Where the text of a value is.
pub(super) struct Text {
    /// Members on the way to its address.
    address: Vec<String>,
    /// Members on the way to its length.
    len: Vec<String>,
}

/// The text of values of this type, or of what they point to; `None` if it is no string type.
pub(super) fn of(c: &mut Checker<'_>, ty: &Type) -> Option<Text> {
    let mut ty = ty;
    while let Type::Ptr(target, _) = ty {
        ty = target;
    }
    match ty {
        Type::Struct(id) => in_struct(c, *id, 0),
        _ => None,
    }
}

/// `str()` of such a value; `first` is the value, which the call has for its argument.
pub(super) fn read(call: &mut Call<'_, '_>, first: Expr, text: &Text) -> Option<Expr> {
    let span = call.arg_span(0);
    let second = call.value(0)?;
    let walk = |call: &mut Call<'_, '_>, from, path: &[String]| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let e = call.c.walk(from, &path, span);
        (!is_unknown(&e)).then_some(e)
    };
    let address = walk(call, first, &text.address)?;
    let len = walk(call, second, &text.len)?;
    let len = value::cast(len, &Type::U64);
    let max = call.c.config.max_strlen;
    call.make(vec![Arg::Expr(address), Arg::Expr(len)], Type::Str(max))
}

fn in_struct(c: &mut Checker<'_>, id: StructId, depth: u32) -> Option<Text> {
    if depth > MAX_DEPTH {
        return None;
    }
    for (address, len) in CPP {
        if let Some(start) = c.member(id, address[0])
            && c.member(id, len).is_some()
            && is_bytes(c, &start.ty, &address[1..])
        {
            return Some(Text {
                address: address.iter().map(|s| (*s).to_owned()).collect(),
                len: vec![len.to_owned()],
            });
        }
    }
    let members: Vec<(String, Type)> = c
        .members(id)
        .iter()
        .map(|f| (f.name.clone(), f.ty.clone()))
        .collect();
    let find = |name| members.iter().find(|m| m.0 == name).map(|m| &m.1);
    // A Rust pointer that knows its length.
    if let (Some(data), Some(_)) = (find("data_ptr"), find("length")) {
        return is_text(c, data).then(|| Text {
            address: vec!["data_ptr".to_owned()],
            len: vec!["length".to_owned()],
        });
    }
    if let (Some(buf), Some(_)) = (find("buf"), find("len"))
        && c.store.struct_def(id).name.starts_with("Vec<u8")
    {
        let mut address = vec!["buf".to_owned()];
        to_pointer(c, buf, &mut address, depth)?;
        return Some(Text {
            address,
            len: vec!["len".to_owned()],
        });
    }
    // A type around another one.
    let mut sized = members.iter().filter(|m| c.size(&m.1) > 0);
    let (name, inner) = match (sized.next(), sized.next()) {
        (Some((name, Type::Struct(inner))), None) if !name.is_empty() => (name.clone(), *inner),
        _ => return None,
    };
    let mut text = in_struct(c, inner, depth + 1)?;
    text.address.insert(0, name.clone());
    text.len.insert(0, name);
    Some(text)
}

/// Whether members of these names lead from `ty` to a pointer to bytes: wide characters are no
/// text.
fn is_bytes(c: &mut Checker<'_>, ty: &Type, path: &[&str]) -> bool {
    match (ty, path) {
        (Type::Ptr(target, _), []) => c.size(target) == 1,
        (Type::Struct(id), [name, rest @ ..]) => match c.member(*id, name) {
            Some(f) => is_bytes(c, &f.ty, rest),
            None => false,
        },
        _ => false,
    }
}

/// Whether this Rust pointer is to bytes, or to a type that is a name for bytes.
fn is_text(c: &mut Checker<'_>, ty: &Type) -> bool {
    match ty {
        Type::Ptr(target, _) => match &**target {
            Type::Struct(id) => matches!(
                c.store.struct_def(*id).name.as_str(),
                "str" | "Path" | "OsStr" | "CStr"
            ),
            other => c.size(other) == 1,
        },
        _ => false,
    }
}

/// Extends the path to the first pointer below `ty`.
fn to_pointer(c: &mut Checker<'_>, ty: &Type, path: &mut Vec<String>, depth: u32) -> Option<()> {
    match ty {
        Type::Ptr(..) => Some(()),
        Type::Struct(id) if depth <= MAX_DEPTH => {
            let members: Vec<(String, Type)> = c
                .members(*id)
                .iter()
                .map(|f| (f.name.clone(), f.ty.clone()))
                .collect();
            members.iter().find_map(|(name, ty)| {
                path.push(name.clone());
                let found = to_pointer(c, ty, path, depth + 1);
                if found.is_none() {
                    path.pop();
                }
                found
            })
        }
        _ => None,
    }
}
