//! BTF made from C text: the kernel of a made-up machine.
//!
//! In: C definitions and prototypes as a kernel header has them; a prototype after the word
//! `tracepoint` declares a raw tracepoint. Out: the bytes of a blob in which every named type and
//! every function is found. Small texts only: nothing is deduplicated across calls.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::build::Builder;
use super::raw::Kind;
use crate::ctypes::model::{
    CType, IntKind, Member, NameSpace, Qualifier, RecordKind, TypeId, TypeSource,
};
use crate::ctypes::{Options, translate};
use crate::error::{Error, Result};
use crate::source::{FileId, Span};

/// Tag of the struct that stands for the parameters of function number N.
const PARAMS: &str = "__rtrace_params_";

/// A prototype found in the text.
struct Function {
    name: String,
    tracepoint: bool,
    /// Whether the result is `void`, which no member can be.
    void: bool,
}

/// Builds a blob from C text.
///
/// # Errors
/// Text that the C front end does not take; the message is its first one.
pub fn blob(text: &str) -> Result<Vec<u8>> {
    let mut functions = Vec::new();
    let mut definitions = String::new();
    for part in top_level_parts(text) {
        match prototype(part, functions.len()) {
            Some((function, stand_in)) => {
                functions.push(function);
                definitions.push_str(&stand_in);
            }
            None => {
                definitions.push_str(part);
                definitions.push_str(";\n");
            }
        }
    }
    let span = Span::new(FileId(0), 0, definitions.len());
    let none = HashMap::new();
    let options = Options {
        files: &none,
        ..Options::default()
    };
    let (env, diagnostics) = translate(&[(&definitions, span)], &options);
    if let Some(d) = diagnostics.iter().next() {
        return Err(Error::invalid(d.message.clone()));
    }
    let types = env.types();
    let mut writer = Writer::new(types);
    let mut named: Vec<_> = types.names().collect();
    named.sort_unstable_by_key(|&(_, _, id)| id);
    for (_, name, id) in named {
        if !name.starts_with(PARAMS) {
            writer.discover(id);
        }
    }
    let params: Vec<Vec<Member<'_>>> = (0..functions.len())
        .map(|i| {
            let id = types.find(NameSpace::Struct, &format!("{PARAMS}{i}"));
            id.map_or_else(Vec::new, |id| types.members(id))
        })
        .collect();
    for m in params.iter().flatten() {
        writer.discover(m.ty);
    }
    let mut b = writer.write();
    for (function, members) in functions.iter().zip(&params) {
        let id = |m: &Member<'_>| writer.id(m.ty);
        let (ret, members) = match members.split_first() {
            Some((first, rest)) if !function.void => (id(first), rest),
            Some((_, rest)) => (TypeId::VOID, rest),
            None => (TypeId::VOID, &[][..]),
        };
        let mut params: Vec<(&str, TypeId)> = members.iter().map(|m| (m.name, id(m))).collect();
        if function.tracepoint {
            let data = b.wrap(Kind::Ptr, "", TypeId::VOID);
            params.insert(0, ("__data", data));
            let nameless: Vec<_> = params.iter().map(|p| ("", p.1)).collect();
            let proto = b.function_type(TypeId::VOID, &nameless);
            let pointer = b.wrap(Kind::Ptr, "", proto);
            b.wrap(
                Kind::Typedef,
                &format!("btf_trace_{}", function.name),
                pointer,
            );
            b.function(&format!("__traceiter_{}", function.name), ret, &params);
        } else {
            b.function(&function.name, ret, &params);
        }
    }
    Ok(b.finish())
}

/// Cuts a text at the semicolons outside braces.
fn top_level_parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|p| !p.is_empty());
    parts
}

/// A prototype, and a struct with its result and its parameters as members.
fn prototype(part: &str, number: usize) -> Option<(Function, String)> {
    let params = part.strip_suffix(')')?;
    if part.contains('{') || part.starts_with("typedef ") {
        return None;
    }
    let (tracepoint, params) = match params.strip_prefix("tracepoint ") {
        Some(rest) => (true, rest),
        None => (false, params),
    };
    let (head, params) = params.split_once('(')?;
    let at = head
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
        .map_or(0, |i| i + 1);
    let (result, name) = head.split_at(at);
    let result = result.trim();
    let void = tracepoint || result == "void" || result.is_empty();
    let mut stand_in = format!("struct {PARAMS}{number} {{\n");
    _ = writeln!(stand_in, "{} __result;", if void { "int" } else { result });
    for param in params.split(',').map(str::trim) {
        if !param.is_empty() && param != "void" {
            _ = writeln!(stand_in, "{param};");
        }
    }
    stand_in.push_str("};\n");
    let function = Function {
        name: name.to_owned(),
        tracepoint,
        void,
    };
    Some((function, stand_in))
}

/// Gives each type a BTF id, then writes them in that order: types refer to each other freely.
struct Writer<'a, S> {
    types: &'a S,
    ids: HashMap<TypeId, TypeId>,
    order: Vec<TypeId>,
}

impl<'a, S: TypeSource> Writer<'a, S> {
    fn new(types: &'a S) -> Self {
        Self {
            types,
            ids: HashMap::new(),
            order: Vec::new(),
        }
    }

    /// The BTF id of a type that was discovered.
    fn id(&self, ty: TypeId) -> TypeId {
        self.ids.get(&ty).copied().unwrap_or(TypeId::VOID)
    }

    /// Gives an id to a type and to all that it refers to.
    fn discover(&mut self, ty: TypeId) {
        let mut todo = vec![ty];
        while let Some(ty) = todo.pop() {
            if matches!(self.types.ctype(ty), CType::Void) || self.ids.contains_key(&ty) {
                continue;
            }
            self.order.push(ty);
            self.ids.insert(ty, TypeId(self.order.len() as u32));
            match self.types.ctype(ty) {
                CType::Pointer(t)
                | CType::Array { element: t, .. }
                | CType::Typedef { target: t, .. }
                | CType::Qualified { target: t, .. }
                | CType::Function { ret: t } => todo.push(t),
                CType::Record { .. } => {
                    todo.extend(self.types.members(ty).iter().rev().map(|m| m.ty));
                }
                _ => {}
            }
        }
    }

    fn write(&self) -> Builder {
        let mut b = Builder::default();
        for &ty in &self.order {
            self.write_one(ty, &mut b);
        }
        b
    }

    fn write_one(&self, ty: TypeId, b: &mut Builder) {
        match self.types.ctype(ty) {
            CType::Int {
                name,
                size,
                signed,
                kind,
            } => {
                let encoding = match kind {
                    IntKind::Bool => 4,
                    _ => u32::from(signed),
                };
                b.int(name, size, encoding)
            }
            CType::Float { name, size } => b.float(name, size),
            CType::Pointer(t) => b.wrap(Kind::Ptr, "", self.id(t)),
            CType::Array { element, len } => b.array(self.id(element), len as u32),
            CType::Record { kind, name, size } => {
                let members: Vec<_> = self
                    .types
                    .members(ty)
                    .iter()
                    .map(|m| {
                        (
                            m.name,
                            self.id(m.ty),
                            m.bit_offset as u32,
                            m.bits.unwrap_or(0),
                        )
                    })
                    .collect();
                let kind = match kind {
                    RecordKind::Struct => Kind::Struct,
                    RecordKind::Union => Kind::Union,
                };
                b.record(kind, name, size as u32, &members)
            }
            CType::Enum { name, size, .. } => {
                let variants = self.types.variants(ty);
                let values: Vec<_> = variants.iter().map(|v| (v.name, v.value)).collect();
                b.enumeration(name, size, &values)
            }
            CType::Forward { space, name } | CType::External { space, name, .. } => {
                b.forward(name, space == NameSpace::Union)
            }
            CType::Typedef { name, target } => b.wrap(Kind::Typedef, name, self.id(target)),
            CType::Qualified { qualifier, target } => {
                let (kind, name) = match qualifier {
                    Qualifier::Const => (Kind::Const, ""),
                    Qualifier::Volatile => (Kind::Volatile, ""),
                    Qualifier::Restrict => (Kind::Restrict, ""),
                    Qualifier::Tag(tag) => (Kind::TypeTag, tag),
                };
                b.wrap(kind, name, self.id(target))
            }
            CType::Function { ret } => b.function_type(self.id(ret), &[]),
            CType::Void => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctypes::render;
    use crate::env::Btf;

    #[test]
    fn a_kernel_from_its_header() {
        let bytes = blob(
            "typedef int pid_t; enum pid_type { PIDTYPE_PID, PIDTYPE_SID = 3 };
             struct task_struct { pid_t pid; struct task_struct *parent; unsigned a:2, b:3;
               union { char comm[16]; long raw; }; };
             long vfs_read(struct task_struct *file, char *buf, unsigned long count);
             void stop(void);
             tracepoint sched_switch(_Bool preempt, struct task_struct *prev);",
        )
        .unwrap();
        let btf = Btf::from_bytes(bytes, None).unwrap();
        let task = btf.find(NameSpace::Struct, "task_struct").unwrap();
        assert_eq!(btf.field(task, "raw").unwrap().bit_offset, 192);
        assert_eq!(btf.field(task, "b").unwrap().bits, Some(3));
        assert_eq!(btf.constant("PIDTYPE_SID").unwrap().value, 3);
        let read = btf.function("vfs_read").unwrap();
        let params: Vec<_> = read
            .params
            .iter()
            .map(|p| render::declaration(&btf, p.ty, p.name))
            .collect();
        assert_eq!(
            params,
            [
                "struct task_struct *file",
                "char *buf",
                "unsigned long count"
            ]
        );
        assert_eq!(render::type_name(&btf, read.ret), "long");
        assert_eq!(btf.function("stop").unwrap().params, []);
        let switch = btf.raw_tracepoint("sched_switch").unwrap();
        assert_eq!(switch.params[1].name, "prev");
        assert_eq!(
            blob("struct x { foo y; };").unwrap_err().to_string(),
            "unknown type name 'foo'"
        );
    }
}
