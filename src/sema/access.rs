//! Memory access: fields, indices, pointers.
//!
//! An access that starts at a pointer, a variable or the context stays one [`Place`] however
//! many fields and indices follow, so that only the last step loads anything.

use super::check::Checker;
use super::env::{ArgField, ArgSource};
use super::hir::{ArgLocation, Base, Expr, ExprKind, Index, Place};
use super::value::{self, is_unknown, literal_value};
use crate::diag::Code;
use crate::source::Span;
use crate::syntax::ast;
use crate::types::{AddrSpace, IntTy, Type};

fn place(base: Base) -> Place {
    Place {
        base,
        offset: 0,
        index: Vec::new(),
        bits: None,
    }
}

/// Where a memory value is, if it need not be computed first.
fn into_place(e: Expr) -> Place {
    match e.kind {
        ExprKind::Load(p) => p,
        ExprKind::Local(l) => place(Base::Local(l)),
        _ => place(Base::Temp(Box::new(e))),
    }
}

/// The address space that pointers loaded from a place live in.
fn space_of(p: &Place) -> AddrSpace {
    match &p.base {
        Base::Deref(e) => match &e.ty {
            Type::Ptr(_, AddrSpace::Bpf) => AddrSpace::None,
            Type::Ptr(_, s) => *s,
            _ => AddrSpace::None,
        },
        Base::Ctx => AddrSpace::Kernel,
        Base::Temp(e) => match &e.kind {
            ExprKind::Load(p) => space_of(p),
            // Arguments of user functions.
            ExprKind::Parts(_) => AddrSpace::User,
            _ => AddrSpace::None,
        },
        Base::Local(_) => AddrSpace::None,
    }
}

/// Whether C calls values of this type strings.
pub(super) fn is_text(ty: &Type) -> Option<u32> {
    match ty {
        Type::Array(t, n) => match **t {
            Type::Int(IntTy {
                signed: true,
                size: 1,
            }) => Some(*n),
            _ => None,
        },
        _ => None,
    }
}

/// `ty` with the address space of where it was loaded from.
fn placed(ty: Type, space: AddrSpace) -> Type {
    match ty {
        Type::Ptr(t, AddrSpace::None) => Type::Ptr(t, space),
        other => other,
    }
}

impl Checker<'_> {
    /// The value at a place; `char` arrays become strings.
    pub(super) fn load_at(&self, p: Place, ty: Type, loc: crate::object::Loc) -> Expr {
        let ty = match is_text(&ty) {
            Some(n) if n > 0 => Type::Str(n + 1),
            // Scripts expect the bits of a field as a number, whatever its sign.
            _ if p.bits.is_some() && ty.is_signed() => {
                Type::int(false, ty.as_int().map_or(8, |t| t.size))
            }
            _ => placed(ty, space_of(&p)),
        };
        Expr {
            kind: ExprKind::Load(p),
            ty,
            loc,
        }
    }

    /// `*p`
    pub(super) fn deref(&mut self, p: Expr, span: Span) -> Expr {
        if is_unknown(&p) {
            return p;
        }
        let loc = self.loc(span);
        let p = self.reduce(p);
        let target = match &p.ty {
            Type::Ptr(t, _) => (**t).clone(),
            // Kernel addresses from kaddr() are plain integers.
            Type::Int(t) if t.size == 8 => Type::U64,
            other => {
                let text = format!(
                    "Can not dereference type '{}'. It is not a pointer.",
                    self.spell(other)
                );
                return self.fail(Code::BadOperand, span, text);
            }
        };
        if matches!(target, Type::Void | Type::None) {
            // Nothing is read: the value is none.
            return Expr {
                kind: ExprKind::Int(0),
                ty: Type::None,
                loc,
            };
        }
        match p.kind {
            ExprKind::AddrOf(at) => self.load_at(at, target, loc),
            ExprKind::MapAddr(map) => Expr {
                kind: ExprKind::MapGet { map, key: None },
                ty: target,
                loc,
            },
            _ => {
                let at = place(Base::Deref(Box::new(as_pointer(p, &target))));
                self.load_at(at, target, loc)
            }
        }
    }

    /// `base.name`, `base->name`
    pub(super) fn field(&mut self, e: &ast::Expr, base: &ast::Expr, name: &ast::Ident) -> Expr {
        if self.is_args(base) {
            return self.arg_field(base, name, e.span);
        }
        let b = self.expr(base);
        self.field_of(b, name, e.span)
    }

    /// Field `name` of a value or of what it points to.
    pub(super) fn field_of(&mut self, base: Expr, name: &ast::Ident, span: Span) -> Expr {
        let mut base = base;
        let loc = self.loc(span);
        if is_unknown(&base) {
            return base;
        }
        // Pointers to pointers to structs are followed all the way.
        while let Type::Ptr(t, _) = &base.ty {
            if matches!(base.kind, ExprKind::Ctx) {
                break;
            }
            if !matches!(**t, Type::Ptr(..) | Type::Struct(_) | Type::Record(_)) {
                let text = format!(
                    "Can not access field '{}' on expression of type '{}'",
                    name.name,
                    self.spell(&base.ty)
                );
                return self.fail(Code::UnknownField, span, text);
            }
            base = self.deref(base, span);
        }
        match base.ty.clone() {
            Type::Struct(id) => {
                let Some(f) = self.member(id, &name.name) else {
                    return self.no_field(&base.ty, name, span);
                };
                self.member_load(base, &f, span)
            }
            Type::Ptr(t, _) if matches!(base.kind, ExprKind::Ctx) => {
                let Type::Struct(id) = *t else {
                    return self.no_field(&base.ty, name, span);
                };
                let Some(f) = self.member(id, &name.name) else {
                    return self.no_field(&t, name, span);
                };
                let mut p = place(Base::Ctx);
                p.offset = f.bit_offset / 8;
                if let Some(width) = f.bits {
                    p.bits = Some(((f.bit_offset % 8) as u8, width));
                }
                self.load_at(p, f.ty, loc)
            }
            Type::Record(items) => {
                let found = items.iter().position(|(n, _)| **n == *name.name);
                match found {
                    Some(i) => Expr {
                        ty: items[i].1.clone(),
                        kind: ExprKind::TupleField(Box::new(base), i as u32),
                        loc,
                    },
                    None => {
                        let text = format!(
                            "Record of type '{}' does not contain a field named '{}'",
                            self.spell(&base.ty),
                            name.name
                        );
                        let names: Vec<_> = items.iter().map(|(n, _)| n.clone()).collect();
                        let names = names.iter().map(|n| &**n);
                        self.fail_name(Code::UnknownField, span, text, &name.name, names)
                    }
                }
            }
            other => {
                let text = format!(
                    "Can not access field '{}' on expression of type '{}'",
                    name.name,
                    self.spell(&other)
                );
                self.fail(Code::UnknownField, span, text)
            }
        }
    }

    /// Loads a member of a struct value.
    fn member_load(&mut self, base: Expr, f: &crate::types::Field, span: Span) -> Expr {
        let loc = self.loc(span);
        let mut p = into_place(base);
        // The bits of a field count from its first byte, which keeps them below 8 + width.
        p.offset += f.bit_offset / 8;
        if let Some(width) = f.bits {
            p.bits = Some(((f.bit_offset % 8) as u8, width));
        }
        self.load_at(p, f.ty.clone(), loc)
    }

    /// `base.0`
    pub(super) fn tuple_field(&mut self, base: &ast::Expr, index: u64, span: Span) -> Expr {
        let b = self.expr(base);
        self.tuple_elem(b, index, span)
    }

    fn tuple_elem(&mut self, base: Expr, index: u64, span: Span) -> Expr {
        if is_unknown(&base) {
            return base;
        }
        let loc = self.loc(span);
        let Type::Tuple(items) = &base.ty else {
            let text = format!(
                "Can not access index '{index}' on expression of type '{}'",
                self.spell(&base.ty)
            );
            return self.fail(Code::BadIndex, span, text);
        };
        let Some(ty) = usize::try_from(index).ok().and_then(|i| items.get(i)) else {
            let text = format!(
                "Invalid tuple index: {index}. Found {} elements in tuple.",
                items.len()
            );
            return self.fail(Code::BadIndex, span, text);
        };
        Expr {
            ty: ty.clone(),
            kind: ExprKind::TupleField(Box::new(base), index as u32),
            loc,
        }
    }

    /// `base[index]`
    pub(super) fn index(&mut self, base: &ast::Expr, indices: &[ast::Expr], span: Span) -> Expr {
        let mut b = self.expr(base);
        for i in indices {
            let index = self.expr(i);
            b = self.index_of(b, index, span);
        }
        b
    }

    fn index_of(&mut self, base: Expr, index: Expr, span: Span) -> Expr {
        if is_unknown(&base) || is_unknown(&index) {
            return value::unknown(base.loc);
        }
        let loc = self.loc(span);
        let index = self.reduce(index);
        if let Type::Tuple(_) = base.ty {
            return match literal_value(&index).and_then(|v| u64::try_from(v).ok()) {
                Some(i) => self.tuple_elem(base, i, span),
                None => self.fail(
                    Code::BadIndex,
                    span,
                    "Array-style access for tuples only valid for integer literals",
                ),
            };
        }
        let pointer = matches!(base.ty, Type::Ptr(..));
        let literal = literal_value(&index);
        let good = value::int_like(&index.ty, &self.store).is_some()
            && match literal {
                Some(v) => pointer || v >= 0,
                None => pointer || !index.ty.is_signed() || self.counts(&index),
            };
        if !good {
            let what = match literal {
                Some(v) => v.to_string(),
                None => self.spell(&index.ty),
            };
            let text = format!(
                "The array index operator [] only accepts non-negative integer indices. Got: {what}"
            );
            return self.fail(Code::BadIndex, span, text);
        }
        let (mut p, elem, len) = match base.ty.clone() {
            Type::Ptr(t, _) if !matches!(*t, Type::Void | Type::None) => {
                (place(Base::Deref(Box::new(base))), (*t).clone(), None)
            }
            Type::Array(t, n) => (into_place(base), (*t).clone(), (n > 0).then_some(n)),
            Type::Str(n) => (into_place(base), Type::int(true, 1), Some(n)),
            other => {
                let text = format!(
                    "The array index operator [] can only be used on arrays, pointers, and tuples, found {}.",
                    self.spell(&other)
                );
                return self.fail(Code::BadIndex, span, text);
            }
        };
        let stride = self.size(&elem);
        match literal {
            Some(i) if i >= 0 => {
                if let Some(n) = len
                    && i >= i128::from(n)
                {
                    let text = format!("the index {i} is out of bounds for array of size {n}");
                    return self.fail(Code::BadIndex, span, text);
                }
                let offset = i
                    .checked_mul(i128::from(stride))
                    .and_then(|o| o.checked_add(i128::from(p.offset)))
                    .and_then(|o| u32::try_from(o).ok());
                match offset {
                    Some(o) => p.offset = o,
                    None => p.index.push(Index {
                        index: value::cast(index, &Type::U64),
                        stride,
                        len: None,
                    }),
                }
            }
            _ => {
                let ty = if pointer && index.ty.is_signed() {
                    Type::I64
                } else {
                    Type::U64
                };
                p.index.push(Index {
                    index: value::cast(index, &ty),
                    stride,
                    len,
                });
            }
        }
        self.load_at(p, elem, loc)
    }

    /// Whether `index` is something that is used to count: the variable of a loop, or a variable
    /// or map that is only ever set to non-negative literals. Its sign says nothing; the bounds are checked at run
    /// time.
    fn counts(&self, index: &Expr) -> bool {
        match index.kind {
            ExprKind::Local(id) => self.is_counter(id),
            ExprKind::MapGet { map, .. } => self.holds_literals(map),
            _ => false,
        }
    }

    /// `&$x`, `&@m`
    pub(super) fn addr_of(&mut self, e: &ast::Expr, span: Span) -> Expr {
        let loc = self.loc(span);
        match &e.kind {
            ast::ExprKind::Var(v) => {
                let Some(id) = self.use_var(v) else {
                    return value::unknown(loc);
                };
                let Some(ty) = self.local_type(id) else {
                    return value::unknown(loc);
                };
                Expr {
                    kind: ExprKind::AddrOf(place(Base::Local(id))),
                    ty: ty.ptr_in(AddrSpace::Bpf),
                    loc,
                }
            }
            ast::ExprKind::Map(m) => {
                let get = self.map_get(e);
                if is_unknown(&get) {
                    return get;
                }
                let map = self.map(m);
                Expr {
                    kind: ExprKind::MapAddr(map),
                    ty: get.ty.ptr_in(AddrSpace::Bpf),
                    loc,
                }
            }
            _ => self.fail(
                Code::BadOperand,
                span,
                "The & operator can only be used on variables and scalar maps",
            ),
        }
    }

    // Arguments by name.

    fn is_args(&self, e: &ast::Expr) -> bool {
        let ast::ExprKind::Ident(name) = &e.kind else {
            return false;
        };
        name == "args" || name == "__builtin_args"
    }

    /// The value of one argument.
    pub(super) fn arg_value(&self, f: &ArgField, loc: crate::object::Loc) -> Expr {
        let kind = match &f.source {
            ArgSource::Offset(offset) => {
                let mut p = place(Base::Ctx);
                p.offset = *offset;
                return self.load_at(p, f.ty.clone(), loc);
            }
            ArgSource::DataLoc(offset) => {
                return Expr {
                    kind: ExprKind::DataLoc { offset: *offset },
                    ty: Type::Str(self.config.max_strlen),
                    loc,
                };
            }
            ArgSource::Ctx(n) => ExprKind::CtxArg(*n),
            ArgSource::Location(l) => ExprKind::Location(l.clone()),
            ArgSource::Memory {
                regs_offset,
                offset,
            } => return self.memory_value(f, *regs_offset, *offset, loc),
            ArgSource::Parts(parts) => ExprKind::Parts(parts.clone()),
            // Whoever asks for it by name is told; others leave it out.
            ArgSource::Lost(_) => return value::unknown(loc),
        };
        Expr {
            kind,
            ty: f.ty.clone(),
            loc,
        }
    }

    /// An argument that was passed in memory.
    fn memory_value(
        &self,
        f: &ArgField,
        regs_offset: u32,
        offset: u32,
        loc: crate::object::Loc,
    ) -> Expr {
        let register = Expr {
            kind: ExprKind::Location(ArgLocation::Reg {
                regs_offset,
                size: 8,
                signed: false,
            }),
            ty: Type::U64,
            loc,
        };
        let pointer = value::cast(register, &f.ty.clone().ptr_in(AddrSpace::User));
        let mut p = place(Base::Deref(Box::new(pointer)));
        p.offset = offset;
        self.load_at(p, f.ty.clone(), loc)
    }

    fn arg_field(&mut self, base: &ast::Expr, name: &ast::Ident, span: Span) -> Expr {
        let Some(args) = self.probe_args(base.span) else {
            return value::unknown(self.loc(span));
        };
        if name.name.starts_with("common_") && args.name.starts_with("tracepoint:") {
            return self.fail(
                Code::UnknownField,
                span,
                "BPF does not support accessing common tracepoint fields",
            );
        }
        let loc = self.loc(span);
        match args.fields.iter().find(|f| f.name == name.name) {
            Some(ArgField {
                source: ArgSource::Lost(why),
                ..
            }) => {
                let text = format!("The argument '{}' cannot be read: {why}", name.name);
                self.fail(Code::UnknownField, span, text)
            }
            Some(f) => self.arg_value(f, loc),
            None => {
                let text = format!(
                    "Struct/union of type 'struct {}' does not contain a field named '{}'",
                    args.name, name.name
                );
                let names = args.fields.iter().map(|f| f.name.as_str());
                self.fail_name(Code::UnknownField, span, text, &name.name, names)
            }
        }
    }

    /// Loads through `start`, a pointer to a kernel struct, along members.
    pub(super) fn walk(&mut self, start: Expr, path: &[&str], span: Span) -> Expr {
        let mut e = start;
        for name in path {
            let name = ast::Ident {
                name: (*name).to_owned(),
                span,
            };
            e = self.field_of(e, &name, span);
        }
        e
    }
}

/// `p` as a pointer to `target`.
fn as_pointer(p: Expr, target: &Type) -> Expr {
    match p.ty {
        Type::Ptr(..) => p,
        _ => value::cast(p, &target.clone().ptr_in(AddrSpace::Kernel)),
    }
}
