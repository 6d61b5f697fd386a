//! Type expressions, and the members of structs.

use super::check::Checker;
use super::hir::Expr;
use super::value::is_unknown;
use crate::diag::Code;
use crate::source::Span;
use crate::syntax::ast::{self, Tag, TypeExpr, TypeExprKind, TypeOrExpr};
use crate::types::{
    AddrSpace, Field, StackKind, StackMode, StackTy, StructId, StructKind, Type, size_of,
};

/// Most frames of a stack whose limit was not given.
pub(super) const DEFAULT_STACK_LIMIT: u16 = 127;

/// A type of the language's own by its name.
fn named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int8" | "char" => Type::int(true, 1),
        "int16" | "short" => Type::int(true, 2),
        "int32" | "int" => Type::int(true, 4),
        "int64" | "long" => Type::int(true, 8),
        "uint8" => Type::int(false, 1),
        "uint16" => Type::int(false, 2),
        "uint32" => Type::int(false, 4),
        "uint64" => Type::int(false, 8),
        "void" => Type::Void,
        "string" => Type::Str(0),
        "buffer" => Type::Buf(0),
        "inet" => Type::Inet,
        "macaddr_t" | "mac_address" => Type::Mac,
        "username_t" | "username" => Type::Username,
        "cgroup_path_t" => Type::CgroupPath,
        "timestamp" => Type::Timestamp,
        "ksym_t" => Type::KSym,
        "usym_t" => Type::USym,
        _ => return None,
    })
}

/// C names that need no facts, for machines without type information.
fn c_name(name: &str) -> Option<Type> {
    Some(match name {
        "int8_t" | "s8" | "__s8" => Type::int(true, 1),
        "int16_t" | "s16" | "__s16" => Type::int(true, 2),
        "int32_t" | "s32" | "__s32" | "pid_t" => Type::int(true, 4),
        "int64_t" | "s64" | "__s64" | "ssize_t" | "intptr_t" => Type::int(true, 8),
        "uint8_t" | "u8" | "__u8" => Type::int(false, 1),
        "uint16_t" | "u16" | "__u16" => Type::int(false, 2),
        "uint32_t" | "u32" | "__u32" | "unsigned" | "uid_t" | "gid_t" => Type::int(false, 4),
        "uint64_t" | "u64" | "__u64" | "size_t" | "uintptr_t" => Type::int(false, 8),
        _ => return None,
    })
}

/// `kstack_perf_10` and the like.
fn stack_type(name: &str) -> Option<Type> {
    let (kind, rest) = if let Some(rest) = name.strip_prefix("kstack") {
        (StackKind::Kernel, rest)
    } else {
        (StackKind::User, name.strip_prefix("ustack")?)
    };
    let mut mode = StackMode::Bpftrace;
    let mut limit = DEFAULT_STACK_LIMIT;
    let mut rest = rest;
    for (text, m) in [
        ("_bpftrace", StackMode::Bpftrace),
        ("_perf", StackMode::Perf),
        ("_raw", StackMode::Raw),
        ("_build_id", StackMode::BuildId),
    ] {
        if let Some(r) = rest.strip_prefix(text) {
            (mode, rest) = (m, r);
        }
    }
    if let Some(n) = rest.strip_prefix('_') {
        limit = n.parse().ok()?;
        rest = "";
    }
    rest.is_empty()
        .then_some(Type::Stack(StackTy { kind, mode, limit }))
}

impl Checker<'_> {
    /// The type that a type expression means; reports unknown names.
    pub(super) fn type_expr(&mut self, t: &TypeExpr) -> Option<Type> {
        match &t.kind {
            TypeExprKind::Named(name) => self.named_type(name).or_else(|| {
                self.unknown_type(t.span, name);
                None
            }),
            TypeExprKind::Tagged { tag, name } => {
                let ty = self.tagged(*tag, &name.name);
                if ty.is_none() {
                    let spelled = format!("{} {}", tag.as_str(), name.name);
                    if *tag == Tag::Enum {
                        self.error(
                            Code::UnknownType,
                            t.span,
                            format!("Unknown enum: {}", name.name),
                        );
                    } else {
                        self.unknown_type(t.span, &spelled);
                    }
                }
                ty
            }
            TypeExprKind::Typeof(of) => self.type_of(of),
            TypeExprKind::Pointer(inner) => Some(self.type_expr(inner)?.ptr_in(AddrSpace::None)),
            TypeExprKind::Array { elem, len } => {
                let len = len.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
                match (&elem.kind, len) {
                    (TypeExprKind::Named(n), Some(len)) if n == "string" => Some(Type::Str(len)),
                    (TypeExprKind::Named(n), Some(len)) if n == "buffer" => Some(Type::Buf(len)),
                    (TypeExprKind::Named(n), _) if n == "inet" => Some(Type::Inet),
                    _ => {
                        let elem = self.type_expr(elem)?;
                        Some(Type::Array(elem.into(), len.unwrap_or(0)))
                    }
                }
            }
        }
    }

    fn unknown_type(&mut self, span: Span, name: &str) {
        let text = format!("Cannot resolve unknown type \"{name}\"");
        self.error(Code::UnknownType, span, text);
    }

    fn named_type(&mut self, name: &str) -> Option<Type> {
        named(name)
            .or_else(|| self.cx.facts.typedef(&mut self.store, name))
            .or_else(|| c_name(name))
            .or_else(|| stack_type(name))
    }

    /// The struct, union or enum of this tag.
    pub(super) fn tagged(&mut self, tag: Tag, name: &str) -> Option<Type> {
        let kind = match tag {
            Tag::Struct => StructKind::Struct,
            Tag::Union => StructKind::Union,
            Tag::Enum => {
                let known = self.store.find_enum(name);
                return known
                    .or_else(|| self.cx.facts.find_enum(&mut self.store, name))
                    .map(Type::Enum);
            }
        };
        self.struct_named(kind, name).map(Type::Struct)
    }

    fn struct_named(&mut self, kind: StructKind, name: &str) -> Option<StructId> {
        let known = self.store.find_struct(kind, name);
        known.or_else(|| self.cx.facts.find_struct(&mut self.store, kind, name))
    }

    /// A pointer to a kernel struct, or to nothing known where there are no kernel types.
    pub(super) fn kernel_pointer(&mut self, name: &str) -> Type {
        let target = self.struct_named(StructKind::Struct, name);
        target
            .map_or(Type::Void, Type::Struct)
            .ptr_in(AddrSpace::Kernel)
    }

    /// The type of a type or of an expression that is not evaluated.
    pub(super) fn type_of(&mut self, of: &TypeOrExpr) -> Option<Type> {
        match of {
            // A bare name is taken for a type; an enumerator is a number of 64 bits.
            TypeOrExpr::Type(TypeExpr {
                kind: TypeExprKind::Named(name),
                ..
            }) if self.named_type(name).is_none()
                && self.cx.facts.constant(&mut self.store, name).is_some() =>
            {
                Some(Type::I64)
            }
            TypeOrExpr::Type(t) => self.type_expr(t),
            TypeOrExpr::Expr(e) => {
                let e: Expr = self.scoped(|c| c.expr(e));
                (!is_unknown(&e)).then_some(e.ty)
            }
        }
    }

    /// Bytes of a value of this type.
    pub(super) fn size(&self, ty: &Type) -> u32 {
        size_of(ty, &self.store)
    }

    /// The members of a struct; empty if it is only declared.
    pub(super) fn members(&mut self, id: StructId) -> &[Field] {
        if self.store.struct_def(id).fields.is_none() {
            self.cx.facts.fill(&mut self.store, id);
        }
        self.store.struct_def(id).fields.as_deref().unwrap_or(&[])
    }

    /// Brings the members of every struct that is part of a value of this type: whoever
    /// prints or compares the value needs them.
    pub(super) fn complete(&mut self, ty: &Type) {
        match ty {
            Type::Struct(id) => {
                let known = self.store.struct_def(*id).fields.is_some();
                let parts: Vec<Type> = self.members(*id).iter().map(|f| f.ty.clone()).collect();
                // Structs that were looked at before may have parts that were not.
                if !known || self.completed.insert(*id) {
                    self.completed.insert(*id);
                    parts.iter().for_each(|t| self.complete(t));
                }
            }
            Type::Array(t, _) => self.complete(t),
            Type::Tuple(items) => items.iter().for_each(|t| self.complete(t)),
            Type::Record(items) => items.iter().for_each(|(_, t)| self.complete(t)),
            _ => {}
        }
    }

    /// The member of this name, members of anonymous structs included; its bit offset counts
    /// from the start of the outer struct.
    pub(super) fn member(&mut self, id: StructId, name: &str) -> Option<Field> {
        self.member_at(id, name, 0)
    }

    fn member_at(&mut self, id: StructId, name: &str, depth: u32) -> Option<Field> {
        // Types from files can be damaged; real nesting is a few levels.
        if depth > 32 {
            return None;
        }
        let fields = self.members(id);
        if let Some(f) = fields.iter().find(|f| f.name == name) {
            return Some(f.clone());
        }
        let anonymous: Vec<(StructId, u32)> = fields
            .iter()
            .filter(|f| f.name.is_empty())
            .filter_map(|f| match f.ty {
                Type::Struct(inner) => Some((inner, f.bit_offset)),
                _ => None,
            })
            .collect();
        for (inner, offset) in anonymous {
            if let Some(mut f) = self.member_at(inner, name, depth + 1) {
                f.bit_offset += offset;
                return Some(f);
            }
        }
        None
    }

    /// `sizeof(...)`
    pub(super) fn sizeof(&mut self, of: &TypeOrExpr, span: Span) -> Expr {
        let loc = self.loc(span);
        match self.type_of(of) {
            Some(ty) => {
                let size = match &ty {
                    Type::Stack(t) => stack_size(*t),
                    Type::ProbeName => self.store.probe_name,
                    ty => self.size(ty),
                };
                super::value::constant(i128::from(size), Type::U64, loc)
            }
            None => super::value::unknown(loc),
        }
    }

    /// `offsetof(type, a.b.c)`
    pub(super) fn offsetof(&mut self, of: &TypeOrExpr, path: &[ast::Ident], span: Span) -> Expr {
        let loc = self.loc(span);
        let Some(mut ty) = self.type_of(of) else {
            return super::value::unknown(loc);
        };
        let mut bits = 0u64;
        for name in path {
            let Type::Struct(id) = ty else {
                let text = format!("'{}' is not a C type.", self.spell(&ty));
                return self.fail(Code::BadOperand, span, text);
            };
            let Some(f) = self.member(id, &name.name) else {
                return self.no_field(&ty, name, span);
            };
            bits += u64::from(f.bit_offset);
            ty = f.ty;
        }
        super::value::constant(i128::from(bits / 8), Type::U64, loc)
    }

    /// Reports an unknown member.
    pub(super) fn no_field(&mut self, ty: &Type, name: &ast::Ident, span: Span) -> Expr {
        let text = format!(
            "Struct/union of type '{}' does not contain a field named '{}'",
            self.spell(ty),
            name.name
        );
        let fields: Vec<String> = match ty {
            Type::Struct(id) => self.member_names(*id),
            _ => Vec::new(),
        };
        let names = fields.iter().map(String::as_str);
        self.fail_name(Code::UnknownField, span, text, &name.name, names)
    }

    /// Names of a struct's members, those of anonymous ones included.
    fn member_names(&mut self, id: crate::types::StructId) -> Vec<String> {
        self.cx.facts.fill(&mut self.store, id);
        let fields = self.store.struct_def(id).fields.clone().unwrap_or_default();
        let mut out = Vec::new();
        for f in fields {
            match f.ty {
                Type::Struct(inner) if f.name.is_empty() => out.extend(self.member_names(inner)),
                _ => out.push(f.name),
            }
        }
        out
    }
}

/// What scripts take to be the size of a stack: a count and its entries. (What is stored is a
/// handle.)
fn stack_size(t: StackTy) -> u32 {
    let entry = match t.mode {
        // struct bpf_stack_build_id
        StackMode::BuildId => 32,
        _ => 8,
    };
    // User stacks also hold the process.
    let head = match t.kind {
        StackKind::Kernel => 8,
        StackKind::User => 16,
    };
    head + u32::from(t.limit) * entry
}
