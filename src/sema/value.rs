//! Values during checking: typed expressions, and the literals among them.
//!
//! A literal is simply an expression of kind [`ExprKind::Int`] or [`ExprKind::Str`]; explicit
//! casts stay [`ExprKind::Cast`] and so stop being literals, which is what the promotion rules
//! want. An expression whose type is not known yet (or that was wrong) is
//! [`ExprKind::Zero`] of no type: every rule lets it pass, because the mistake was reported
//! where it was made.

use std::sync::Arc;

use super::hir::{Expr, ExprKind};
use crate::object::Loc;
use crate::types::{AggKind, IntTy, Type, TypeStore, int_for_literal, join_ints, size_of};

/// An expression whose type is not known.
pub fn unknown(loc: Loc) -> Expr {
    Expr {
        kind: ExprKind::Zero,
        ty: Type::None,
        loc,
    }
}

/// Whether the type of `e` is not known.
pub fn is_unknown(e: &Expr) -> bool {
    matches!((&e.kind, &e.ty), (ExprKind::Zero, Type::None))
}

/// The integer constant `value` with the type that a literal of that value has.
pub fn literal(value: i128, loc: Loc) -> Expr {
    Expr {
        kind: ExprKind::Int(value as u64),
        ty: Type::Int(literal_type(value)),
        loc,
    }
}

/// An integer constant of a given type.
pub fn constant(value: i128, ty: Type, loc: Loc) -> Expr {
    Expr {
        kind: ExprKind::Int(value as u64),
        ty,
        loc,
    }
}

/// The bool `value`.
pub fn boolean(value: bool, loc: Loc) -> Expr {
    constant(i128::from(value), Type::Bool, loc)
}

/// The string literal `bytes`.
pub fn string(bytes: impl Into<Arc<[u8]>>, loc: Loc) -> Expr {
    let bytes = bytes.into();
    Expr {
        ty: Type::Str(bytes.len() as u32 + 1),
        kind: ExprKind::Str(bytes),
        loc,
    }
}

/// The smallest type that holds a literal.
pub fn literal_type(value: i128) -> IntTy {
    if let Ok(v) = u64::try_from(value) {
        return int_for_literal(v);
    }
    let size = if value >= -0x80 {
        1
    } else if value >= -0x8000 {
        2
    } else if value >= -0x8000_0000 {
        4
    } else {
        8
    };
    IntTy { signed: true, size }
}

/// The mathematical value of an integer, bool or enum literal.
pub fn literal_value(e: &Expr) -> Option<i128> {
    let ExprKind::Int(bits) = e.kind else {
        return None;
    };
    Some(match &e.ty {
        Type::Int(IntTy { signed: true, .. }) | Type::Enum(_) => i128::from(bits as i64),
        _ => i128::from(bits),
    })
}

/// The bytes of a string literal.
pub fn literal_text(e: &Expr) -> Option<&[u8]> {
    match &e.kind {
        ExprKind::Str(s) => Some(s),
        _ => None,
    }
}

/// Whether `e` is a literal of any kind.
pub fn is_literal(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::Int(_) | ExprKind::Str(_))
}

/// Whether `e` is a non-negative integer literal, which adapts to the sign of what it meets.
pub(super) fn flexible(e: &Expr) -> Option<u64> {
    match (&e.kind, &e.ty) {
        (ExprKind::Int(bits), Type::Int(t)) if t.signed && *bits as i64 >= 0 => Some(*bits),
        _ => None,
    }
}

/// The type in which the integers `a` and `b` meet.
pub fn join_operands(a: &Expr, at: IntTy, b: &Expr, bt: IntTy) -> IntTy {
    match (flexible(a), flexible(b)) {
        (None, Some(v)) => join_literal(at, v),
        (Some(v), None) => join_literal(bt, v),
        _ => join_ints(at, bt),
    }
}

/// `ty` grown so that it holds the flexible literal `value`.
fn join_literal(ty: IntTy, value: u64) -> IntTy {
    if ty.signed && i64::try_from(value).is_err() {
        return IntTy::U64;
    }
    let mut ty = ty;
    while !fits(i128::from(value), ty) {
        ty.size *= 2;
    }
    ty
}

/// Whether `value` can be represented in `ty`.
pub fn fits(value: i128, ty: IntTy) -> bool {
    let bits = u32::from(ty.size) * 8;
    if ty.signed {
        (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(&value)
    } else {
        (0..1i128 << bits).contains(&value)
    }
}

/// The integer type of something that counts as an integer: integers, bools, enums.
pub fn int_like(ty: &Type, store: &TypeStore) -> Option<IntTy> {
    match ty {
        Type::Int(t) => Some(*t),
        Type::Bool => Some(IntTy {
            signed: false,
            size: 1,
        }),
        Type::Enum(id) => {
            let def = store.enum_def(*id);
            Some(IntTy {
                signed: def.signed,
                size: def.size,
            })
        }
        _ => None,
    }
}

/// A type that grows with what is assigned, and how much of it comes from literals alone:
/// those still adapt to the sign of the first value that is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Grown {
    /// The type so far.
    pub ty: Type,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Not from literals alone.
    Fixed,
    /// From non-negative integer literals, the largest of which is this.
    Literal(u64),
    /// Element by element.
    Tuple(Vec<Shape>),
}

fn shape_of(e: &Expr) -> Shape {
    match (&e.kind, &e.ty) {
        (ExprKind::Tuple(values), Type::Tuple(_)) => {
            Shape::Tuple(values.iter().map(shape_of).collect())
        }
        _ => flexible(e).map_or(Shape::Fixed, Shape::Literal),
    }
}

impl Grown {
    /// The type of the first value.
    pub fn of(e: &Expr) -> Self {
        Self {
            ty: e.ty.clone(),
            shape: shape_of(e),
        }
    }

    /// A type that does not come from literals.
    pub fn fixed(ty: Type) -> Self {
        Self {
            ty,
            shape: Shape::Fixed,
        }
    }

    /// Whether it comes from non-negative integer literals alone.
    pub fn is_literal(&self) -> bool {
        matches!(self.shape, Shape::Literal(_))
    }

    /// The type that holds `new`, too; `None` if there is none.
    pub fn with(&self, new: &Expr, store: &TypeStore) -> Option<Self> {
        let (ty, shape) = grow(&self.ty, &self.shape, new, store)?;
        Some(Self { ty, shape })
    }
}

fn grow(have: &Type, shape: &Shape, new: &Expr, store: &TypeStore) -> Option<(Type, Shape)> {
    match (have, shape, &new.ty) {
        (Type::Int(t), Shape::Literal(m), Type::Int(n)) => Some(match flexible(new) {
            Some(v) => {
                let max = v.max(*m);
                (Type::Int(join_ints(*t, *n)), Shape::Literal(max))
            }
            None => (Type::Int(join_literal(*n, *m)), Shape::Fixed),
        }),
        (Type::Tuple(items), Shape::Tuple(shapes), Type::Tuple(_)) => {
            let ExprKind::Tuple(values) = &new.kind else {
                return Some((unify_types(have, &new.ty, store)?, Shape::Fixed));
            };
            if values.len() != items.len() {
                return None;
            }
            let mut types = Vec::with_capacity(items.len());
            let mut out = Vec::with_capacity(items.len());
            for ((t, s), v) in items.iter().zip(shapes).zip(values) {
                let (t, s) = grow(t, s, v, store)?;
                types.push(t);
                out.push(s);
            }
            Some((Type::tuple(types), Shape::Tuple(out)))
        }
        _ => Some((unify(have, new, store)?, Shape::Fixed)),
    }
}

/// The type that holds both what `have` holds and the value `new`; `None` if there is none.
pub fn unify(have: &Type, new: &Expr, store: &TypeStore) -> Option<Type> {
    if let (Type::Int(t), Some(v)) = (have, flexible(new)) {
        return Some(Type::Int(join_literal(*t, v)));
    }
    if let (Type::Tuple(items), ExprKind::Tuple(values), Type::Tuple(_)) =
        (have, &new.kind, &new.ty)
    {
        if items.len() != values.len() {
            return None;
        }
        let items: Option<Vec<Type>> = items
            .iter()
            .zip(values)
            .map(|(t, v)| unify(t, v, store))
            .collect();
        return items.map(Type::tuple);
    }
    if let (Type::Record(items), ExprKind::Tuple(values), Type::Record(names)) =
        (have, &new.kind, &new.ty)
    {
        if items.len() != values.len() {
            return None;
        }
        let items: Option<Vec<_>> = items
            .iter()
            .map(|(name, t)| {
                let i = names.iter().position(|(n, _)| n == name)?;
                Some((name.clone(), unify(t, &values[i], store)?))
            })
            .collect();
        return Some(Type::Record(items?.into()));
    }
    unify_types(have, &new.ty, store)
}

/// The type that holds values of both types; `None` if there is none.
pub fn unify_types(a: &Type, b: &Type, store: &TypeStore) -> Option<Type> {
    if a == b {
        return Some(a.clone());
    }
    Some(match (a, b) {
        (Type::Int(x), Type::Int(y)) => Type::Int(join_ints(*x, *y)),
        (Type::Enum(_), Type::Int(y)) => Type::Int(join_ints(int_like(a, store)?, *y)),
        (Type::Int(x), Type::Enum(_)) => Type::Int(join_ints(*x, int_like(b, store)?)),
        (Type::Str(x), Type::Str(y)) => Type::Str(*x.max(y)),
        (Type::Str(n), Type::ProbeName) | (Type::ProbeName, Type::Str(n)) => {
            Type::Str(store.probe_name.max(*n))
        }
        (Type::Buf(x), Type::Buf(y)) => Type::Buf(*x.max(y)),
        (Type::Ptr(x, s), Type::Ptr(y, _)) => match (&**x, &**y) {
            (x, y) if x == y => x.clone().ptr_in(*s),
            (Type::Void, _) => y.as_ref().clone().ptr_in(*s),
            (_, Type::Void) => a.clone(),
            _ => return None,
        },
        (Type::Tuple(x), Type::Tuple(y)) if x.len() == y.len() => {
            let items: Option<Vec<Type>> = x
                .iter()
                .zip(y.iter())
                .map(|(x, y)| unify_types(x, y, store))
                .collect();
            Type::tuple(items?)
        }
        // The order counts: values that exist already are not taken apart.
        (Type::Record(x), Type::Record(y)) if x.len() == y.len() => {
            let items: Option<Vec<_>> = x
                .iter()
                .zip(y.iter())
                .map(|((name, x), (other, y))| {
                    let same = name == other;
                    same.then_some((name.clone(), unify_types(x, y, store)?))
                })
                .collect();
            Type::Record(items?.into())
        }
        (Type::Array(x, n), Type::Array(y, m)) if n == m => {
            if size_of(x, store) != size_of(y, store) {
                return None;
            }
            a.clone()
        }
        (Type::Agg(x), Type::Agg(y)) if x.kind == y.kind => {
            let mut t = *x;
            t.signed |= y.signed;
            Type::Agg(t)
        }
        _ => return None,
    })
}

/// The integer that an aggregation is reduced to where it is used as a value.
pub fn reduced(ty: &Type) -> Option<Type> {
    match ty {
        Type::Agg(t) => match t.kind {
            AggKind::Count | AggKind::Sum | AggKind::Min | AggKind::Max | AggKind::Avg => {
                Some(Type::int(t.signed || t.kind == AggKind::Count, 8))
            }
            _ => None,
        },
        _ => None,
    }
}

/// What short messages call a type: without sizes.
pub fn class(ty: &Type) -> &'static str {
    match ty {
        Type::None => "none",
        Type::Void => "void",
        Type::Bool => "bool",
        Type::Int(_) => "int",
        Type::Str(_) | Type::ProbeName => "string",
        Type::Buf(_) => "buffer",
        Type::Ptr(..) => "pointer",
        Type::Array(..) => "array",
        Type::Struct(_) => "struct",
        Type::Enum(_) => "enum",
        Type::Tuple(_) => "tuple",
        Type::Record(_) => "record",
        Type::Inet => "inet",
        Type::Mac => "macaddr_t",
        Type::Username => "username_t",
        Type::CgroupPath => "cgroup_path_t",
        Type::Timestamp => "timestamp",
        Type::KSym => "ksym_t",
        Type::USym => "usym_t",
        Type::Stack(t) => match t.kind {
            crate::types::StackKind::Kernel => "kstack",
            crate::types::StackKind::User => "ustack",
        },
        Type::Agg(_) => "aggregation",
    }
}

/// `e` converted to `ty`, at compile time where that is trivial.
pub fn cast(e: Expr, ty: &Type) -> Expr {
    if e.ty == *ty {
        return e;
    }
    let Expr { kind, ty: old, loc } = e;
    let kind = match (kind, ty) {
        (ExprKind::Int(v), Type::Int(t)) if matches!(old, Type::Int(_) | Type::Bool) => {
            ExprKind::Int(truncate(v, *t))
        }
        (ExprKind::Str(s), Type::Str(n)) if s.len() < *n as usize => ExprKind::Str(s),
        (ExprKind::Tuple(values), Type::Tuple(items)) if values.len() == items.len() => {
            let values = values.into_iter().zip(items.iter());
            ExprKind::Tuple(values.map(|(v, t)| cast(v, t)).collect())
        }
        (ExprKind::Tuple(values), Type::Record(items)) if values.len() == items.len() => {
            ExprKind::Tuple(in_order(values, &old, items))
        }
        (ExprKind::Zero, _) => ExprKind::Zero,
        (kind, _) => ExprKind::Cast(Box::new(Expr { kind, ty: old, loc })),
    };
    Expr {
        kind,
        ty: ty.clone(),
        loc,
    }
}

/// The values of a record in the order of the fields of another one.
fn in_order(values: Vec<Expr>, have: &Type, want: &[(Arc<str>, Type)]) -> Vec<Expr> {
    let names: Vec<Arc<str>> = match have {
        Type::Record(fields) => fields.iter().map(|(n, _)| n.clone()).collect(),
        _ => want.iter().map(|(n, _)| n.clone()).collect(),
    };
    let place = |name: &Arc<str>| want.iter().position(|(n, _)| n == name);
    let mut out: Vec<(usize, Expr)> = names
        .iter()
        .zip(values)
        .map(|(n, v)| {
            let i = place(n).unwrap_or(want.len());
            let v = match want.get(i) {
                Some((_, t)) => cast(v, t),
                None => v,
            };
            (i, v)
        })
        .collect();
    out.sort_by_key(|(i, _)| *i);
    out.into_iter().map(|(_, v)| v).collect()
}

/// The bits of `v` in `ty`, extended to 64.
pub fn truncate(v: u64, ty: IntTy) -> u64 {
    let shift = 64 - u32::from(ty.size) * 8;
    if ty.signed {
        (((v << shift) as i64) >> shift) as u64
    } else {
        (v << shift) >> shift
    }
}
