//! The `format` file of a tracepoint: what its record holds, and where.
//!
//! In: the text that tracefs shows. Out: the event's number and its fields. Types stay C text;
//! whoever needs more resolves them in BTF.

use crate::error::{Error, Result};

/// How a field is stored in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A number (or an enumeration, or a small struct) of [`Field::size`] bytes.
    Value,
    /// A pointer.
    Pointer {
        /// Into user memory, as the arguments of system calls are.
        user: bool,
    },
    /// That many elements of [`Field::element_size`] bytes.
    Array {
        /// Number of elements.
        len: u32,
    },
    /// `__data_loc`: the field is a word whose low half is the offset of the data from the start
    /// of the record and whose high half is its length in bytes.
    DataLoc,
    /// `__rel_loc` (since 5.17): as `__data_loc`, the offset counting from the end of the word.
    RelLoc,
}

/// One field of a tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The type as C text; for arrays and dynamic data the type of an element.
    pub ty: String,
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Bytes in the record.
    pub size: u32,
    /// Whether numbers (or elements) are signed.
    pub signed: bool,
    /// How it is stored.
    pub kind: FieldKind,
}

impl Field {
    /// Whether the field is a string: an array or dynamic data of `char`.
    pub fn is_text(&self) -> bool {
        !matches!(self.kind, FieldKind::Value | FieldKind::Pointer { .. })
            && matches!(self.ty.trim_start_matches("const "), "char")
    }

    /// Bytes of one element; of dynamic data what the type's name tells, else 1.
    pub fn element_size(&self) -> u32 {
        match self.kind {
            FieldKind::Value | FieldKind::Pointer { .. } => self.size,
            FieldKind::Array { len } => self.size.checked_div(len).unwrap_or(1).max(1),
            FieldKind::DataLoc | FieldKind::RelLoc => named_size(&self.ty).unwrap_or(1),
        }
    }

    /// The field as a C declaration, the way `-lv` shows it: `char prev_comm[16]`.
    pub fn declaration(&self) -> String {
        let (ty, name) = (&self.ty, &self.name);
        match self.kind {
            FieldKind::Value | FieldKind::Pointer { .. } => format!("{ty} {name}"),
            FieldKind::Array { len } => format!("{ty} {name}[{len}]"),
            FieldKind::DataLoc => format!("__data_loc {ty}[] {name}"),
            FieldKind::RelLoc => format!("__rel_loc {ty}[] {name}"),
        }
    }
}

/// Size in bytes of an integer type that kernel formats spell out.
fn named_size(ty: &str) -> Option<u32> {
    let ty = ty
        .trim_start_matches("const ")
        .trim_start_matches("struct ");
    Some(match ty {
        "char" | "signed char" | "unsigned char" | "bool" | "u8" | "__u8" | "s8" | "uint8_t" => 1,
        "short" | "unsigned short" | "u16" | "__u16" | "s16" | "uint16_t" | "__be16" => 2,
        "int" | "unsigned int" | "unsigned" | "u32" | "__u32" | "s32" | "uint32_t" | "__be32"
        | "int32_t" | "pid_t" | "dev_t" => 4,
        "long" | "unsigned long" | "long long" | "unsigned long long" | "u64" | "__u64" | "s64"
        | "uint64_t" | "int64_t" | "size_t" | "loff_t" => 8,
        _ => return None,
    })
}

/// Reads a format file; with `user`, pointers are those of a system call's caller.
///
/// # Errors
/// Text without a number, or with a field line that has another form.
pub fn parse(text: &str, user: bool) -> Result<(u64, Vec<Field>)> {
    let mut id = None;
    let mut fields = Vec::new();
    for line in text.lines() {
        if let Some(n) = line.strip_prefix("ID: ") {
            id = n.trim().parse().ok();
        } else if line.starts_with("print fmt") {
            break;
        } else if let Some(line) = line.trim_start().strip_prefix("field:") {
            let f = field(line, user)
                .ok_or_else(|| Error::invalid(format!("field not understood: {line}")))?;
            if !f.name.starts_with("common_") {
                fields.push(f);
            }
        }
    }
    let id = id.ok_or_else(|| Error::invalid("no ID line"))?;
    Ok((id, fields))
}

/// Reads a line such as `char prev_comm[16]; offset:8; size:16; signed:0;` (tabs between).
fn field(line: &str, user: bool) -> Option<Field> {
    let mut parts = line.split(';').map(str::trim);
    let declaration = parts.next()?;
    let (mut offset, mut size, mut signed) = (None, None, false);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", v)) => offset = v.parse().ok(),
            Some(("size", v)) => size = v.parse::<u32>().ok(),
            Some(("signed", v)) => signed = v == "1",
            _ => {}
        }
    }
    let (offset, size) = (offset?, size?);
    let dynamic = |kind, rest: &str| {
        let (ty, name) = rest.rsplit_once(' ')?;
        let ty = ty.trim_end().trim_end_matches("[]").trim_end();
        Some(Field {
            name: name.to_owned(),
            ty: ty.to_owned(),
            offset,
            size,
            signed,
            kind,
        })
    };
    if let Some(rest) = declaration.strip_prefix("__data_loc ") {
        return dynamic(FieldKind::DataLoc, rest);
    }
    if let Some(rest) = declaration.strip_prefix("__rel_loc ") {
        return dynamic(FieldKind::RelLoc, rest);
    }
    let (declarator, dims) = match declaration.split_once('[') {
        // `u8 x[4][16]` counts elements over all dimensions.
        Some((head, dims)) => (head.trim_end(), Some(dims)),
        None => (declaration, None),
    };
    let (ty, name) = declarator.rsplit_once([' ', '*'])?;
    // The separator may have been the star of `int *p`.
    let ty = declarator[..ty.len() + 1].trim_end();
    let kind = match dims {
        Some(dims) => {
            let count = dims
                .split(['[', ']'])
                .filter(|d| !d.trim().is_empty())
                .try_fold(1u32, |n, d| n.checked_mul(d.trim().parse().ok()?));
            let len = match (count, named_size(ty)) {
                (Some(n), _) if n > 0 && size % n == 0 => n,
                // A symbolic length such as [TASK_COMM_LEN].
                (_, Some(element)) => size / element,
                _ => size,
            };
            FieldKind::Array { len }
        }
        None if ty.ends_with('*') => FieldKind::Pointer { user },
        None => FieldKind::Value,
    };
    Some(Field {
        name: name.to_owned(),
        ty: ty.to_owned(),
        offset,
        size,
        signed,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Field {
        let (id, mut fields) = parse(&format!("ID: 7\nformat:\n\tfield:{line}\n"), true).unwrap();
        assert_eq!(id, 7);
        fields.remove(0)
    }

    #[test]
    fn fields_of_every_form() {
        let f = one("char comm[16];\toffset:8;\tsize:16;\tsigned:0;");
        assert_eq!((f.kind, f.is_text()), (FieldKind::Array { len: 16 }, true));
        assert_eq!(f.declaration(), "char comm[16]");

        let f = one("const char * name;\toffset:16;\tsize:8;\tsigned:0;");
        assert_eq!(f.kind, FieldKind::Pointer { user: true });
        assert_eq!((f.ty.as_str(), f.name.as_str()), ("const char *", "name"));
        assert_eq!(one("int *p;\toffset:16;\tsize:8;\tsigned:0;").ty, "int *");

        let f = one("__data_loc char[] file;\toffset:8;\tsize:4;\tsigned:0;");
        assert_eq!(
            (f.kind, f.is_text(), f.ty.as_str()),
            (FieldKind::DataLoc, true, "char")
        );
        assert_eq!(f.declaration(), "__data_loc char[] file");

        let f = one("unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;");
        assert_eq!((f.kind, f.element_size()), (FieldKind::Array { len: 6 }, 8));

        let f = one("char comm[TASK_COMM_LEN];\toffset:8;\tsize:16;\tsigned:1;");
        assert_eq!(f.kind, FieldKind::Array { len: 16 });

        let f = one("long state;\toffset:32;\tsize:8;\tsigned:1;");
        assert_eq!((f.kind, f.signed), (FieldKind::Value, true));
    }

    #[test]
    fn what_is_not_a_format_is_refused() {
        assert_eq!(parse("", false).unwrap_err().to_string(), "no ID line");
        let e = parse("ID: 1\n\tfield:int x;\tsize:4;\n", false).unwrap_err();
        assert_eq!(e.to_string(), "field not understood: int x;\tsize:4;");
    }
}
