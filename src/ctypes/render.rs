//! C types as C text: declarations (`char comm[16]`) and definitions of records and enumerations.
//!
//! In: a [`TypeSource`] and a type. Out: text in the kernel's style, tabs for indentation, nested
//! anonymous records written out in place.

use std::fmt::Write as _;

use super::model::{CType, NameSpace, Qualifier, TypeId, TypeSource};

/// Nesting at which damaged data is cut off.
const MAX_DEPTH: usize = 32;

/// A declaration of `name` as a `ty`, in C: `struct file *file`, `int (*open)(int)`. An empty name
/// gives the type alone.
pub fn declaration(source: &(impl TypeSource + ?Sized), ty: TypeId, name: &str) -> String {
    declare(source, ty, name.to_owned(), 0)
}

/// The type in C, without a name: `struct file *`, `char[16]`.
pub fn type_name(source: &(impl TypeSource + ?Sized), ty: TypeId) -> String {
    declaration(source, ty, "")
}

/// The definition of a struct, union, enum or typedef, with its closing `;` and newline.
pub fn definition(source: &(impl TypeSource + ?Sized), ty: TypeId) -> String {
    let mut text = match source.ctype(ty) {
        CType::Typedef { name, target } => {
            format!("typedef {}", declare(source, target, name.to_owned(), 0))
        }
        _ => body(source, ty, 0),
    };
    text.push_str(";\n");
    text
}

/// Builds a declaration from the inside out: `inner` is the declarator so far.
fn declare<S: TypeSource + ?Sized>(
    source: &S,
    mut ty: TypeId,
    mut inner: String,
    depth: usize,
) -> String {
    let mut qualifiers = String::new();
    let mut pointer = false;
    for _ in 0..MAX_DEPTH {
        match source.ctype(ty) {
            CType::Pointer(target) => {
                let star = if qualifiers.is_empty() {
                    "*".to_owned()
                } else {
                    format!("* {}", qualifiers.trim_end())
                };
                // A function's result keeps its distance: `void * (*open)(int)`.
                let close = inner.is_empty() || qualifiers.is_empty() && !inner.starts_with('(');
                let gap = if close { "" } else { " " };
                inner = format!("{star}{gap}{inner}");
                qualifiers.clear();
                pointer = true;
                ty = target;
            }
            CType::Array { element, len } => {
                inner = if pointer {
                    format!("({inner})[{len}]")
                } else {
                    format!("{inner}[{len}]")
                };
                pointer = false;
                ty = element;
            }
            CType::Function { ret } => {
                if pointer {
                    inner = format!("({inner})");
                }
                let params: Vec<String> = source
                    .params(ty)
                    .iter()
                    .map(|p| {
                        if p.ty == TypeId::VOID {
                            "...".to_owned()
                        } else if depth < MAX_DEPTH {
                            declare(source, p.ty, p.name.to_owned(), depth + 8)
                        } else {
                            "...".to_owned()
                        }
                    })
                    .collect();
                let params = if params.is_empty() {
                    "void".to_owned()
                } else {
                    params.join(", ")
                };
                inner = format!("{inner}({params})");
                pointer = false;
                ty = ret;
            }
            CType::Qualified { qualifier, target } => {
                match qualifier {
                    Qualifier::Const => qualifiers.push_str("const "),
                    Qualifier::Volatile => qualifiers.push_str("volatile "),
                    Qualifier::Restrict => qualifiers.push_str("restrict "),
                    Qualifier::Tag(tag) => _ = write!(qualifiers, "__{tag} "),
                }
                ty = target;
            }
            _ => break,
        }
    }
    let base = base_name(source, ty, depth);
    let gap = if inner.is_empty() || inner.starts_with('[') {
        ""
    } else {
        " "
    };
    format!("{qualifiers}{base}{gap}{inner}")
}

/// The name of a type that is neither derived nor qualified.
fn base_name<S: TypeSource + ?Sized>(source: &S, ty: TypeId, depth: usize) -> String {
    match source.ctype(ty) {
        CType::Int { name, .. } | CType::Float { name, .. } | CType::Typedef { name, .. } => {
            name.to_owned()
        }
        CType::Record { name: "", .. } | CType::Enum { name: "", .. } if depth < MAX_DEPTH => {
            body(source, ty, depth)
        }
        CType::Record { kind, name, .. } => format!("{} {name}", kind.keyword()),
        CType::Enum { name, .. } => format!("enum {name}"),
        CType::Forward { space, name } | CType::External { space, name, .. } => match space {
            NameSpace::Struct => format!("struct {name}"),
            NameSpace::Union => format!("union {name}"),
            NameSpace::Enum => format!("enum {name}"),
            NameSpace::Ordinary => name.to_owned(),
        },
        _ => "void".to_owned(),
    }
}

/// A record or enumeration with its braces.
fn body<S: TypeSource + ?Sized>(source: &S, ty: TypeId, depth: usize) -> String {
    let indent = "\t".repeat(depth + 1);
    let mut text = match source.ctype(ty) {
        CType::Record { kind, name, .. } => {
            let mut text = head(kind.keyword(), name);
            let members = source.members(ty);
            if members.is_empty() {
                text.truncate(text.len() - 1);
                text.push('}');
                return text;
            }
            for m in members {
                let declared = declare(source, m.ty, m.name.to_owned(), depth + 1);
                _ = match m.bits {
                    Some(bits) => writeln!(text, "{indent}{declared}: {bits};"),
                    None => writeln!(text, "{indent}{declared};"),
                };
            }
            text
        }
        CType::Enum { name, signed, .. } => {
            let mut text = head("enum", name);
            for v in source.variants(ty) {
                _ = if signed {
                    writeln!(text, "{indent}{} = {},", v.name, v.value)
                } else {
                    writeln!(text, "{indent}{} = {},", v.name, v.value.cast_unsigned())
                };
            }
            text
        }
        _ => return declare(source, ty, String::new(), depth),
    };
    text.push_str(&"\t".repeat(depth));
    text.push('}');
    text
}

fn head(keyword: &str, name: &str) -> String {
    if name.is_empty() {
        format!("{keyword} {{\n")
    } else {
        format!("{keyword} {name} {{\n")
    }
}
