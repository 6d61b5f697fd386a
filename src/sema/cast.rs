//! Explicit casts: which types convert to which.

use super::check::Checker;
use super::hir::{Expr, ExprKind};
use super::value::{self, int_like, is_unknown, literal_value};
use crate::diag::Code;
use crate::source::Span;
use crate::types::Type;

impl Checker<'_> {
    /// `(ty)e`
    pub(super) fn cast_to(&mut self, e: Expr, ty: Type, span: Span) -> Expr {
        if is_unknown(&e) {
            return e;
        }
        let loc = self.loc(span);
        let aggregation = matches!(e.ty, Type::Agg(_));
        let mut e = self.reduce(e);
        let mut ty = ty;
        // A literal is as wide as the array that it fills.
        if let (Type::Array(elem, n), Type::Int(t), Some(v)) = (&ty, &e.ty, literal_value(&e))
            && let Ok(size @ (1 | 2 | 4 | 8)) = u8::try_from(self.size(elem).saturating_mul(*n))
            && size > t.size
        {
            e = value::constant(v, Type::int(t.signed, size), e.loc);
        }
        if e.ty == ty {
            if (!value::is_literal(&e) || matches!(ty, Type::Int(_))) && !aggregation {
                let text = format!(
                    "Unnecessary cast: expression is already of type {}",
                    self.spell(&ty)
                );
                self.warn(Code::UselessCast, span, text);
            }
            return self.wrap_cast(e, ty, loc);
        }
        let bytes = |t: &Type| self.size(t);
        let ok = match (&e.ty, &mut ty) {
            (from, Type::Int(_) | Type::Bool)
                if int_like(from, &self.store).is_some()
                    || matches!(
                        from,
                        Type::Ptr(..) | Type::KSym | Type::Username | Type::ProbeName
                    ) =>
            {
                true
            }
            (Type::USym | Type::Timestamp, Type::Int(t)) => t.size == 8,
            (Type::Mac, Type::Int(t)) => t.size == 8,
            (Type::Array(..), Type::Int(t)) => bytes(&e.ty) == u32::from(t.size),
            (Type::Array(..) | Type::Int(_), Type::Array(elem, n)) => {
                let size = bytes(&e.ty);
                let step = bytes(elem).max(1);
                if *n == 0 && size % step == 0 {
                    *n = size / step;
                }
                matches!(**elem, Type::Int(_) | Type::Bool | Type::Enum(_)) && *n * step == size
            }
            (Type::Str(from), Type::Array(elem, n)) => {
                let step = bytes(elem).max(1);
                if *n == 0 {
                    *n = from / step;
                }
                step == 1
            }
            (from, Type::Enum(id)) if int_like(from, &self.store).is_some() => {
                let id = *id;
                if let Some(v) = literal_value(&e) {
                    let def = self.store.enum_def(id);
                    if !def.variants.iter().any(|(_, n)| i128::from(*n) == v) {
                        let text =
                            format!("Enum: {} doesn't contain a variant value of {v}", def.name);
                        return self.fail(Code::BadCast, span, text);
                    }
                }
                true
            }
            (Type::Ptr(_, space), Type::Ptr(_, to)) => {
                if *to == crate::types::AddrSpace::None {
                    *to = *space;
                }
                true
            }
            (from, Type::Ptr(_, to))
                if int_like(from, &self.store).is_some() || matches!(from, Type::KSym) =>
            {
                if *to == crate::types::AddrSpace::None
                    && let Some(p) = &self.unit.probe
                {
                    *to = p.space;
                }
                true
            }
            (Type::Str(from), Type::Str(to)) => {
                if *to == 0 {
                    *to = *from;
                }
                true
            }
            (Type::Array(..) | Type::Str(_) | Type::Buf(_), Type::Buf(n)) => {
                if *n == 0 {
                    *n = bytes(&e.ty);
                }
                true
            }
            (Type::Array(..) | Type::Buf(_), Type::Str(n)) => {
                if *n == 0 {
                    *n = bytes(&e.ty);
                }
                true
            }
            (Type::Tuple(a), Type::Tuple(b)) => a.len() == b.len(),
            _ => false,
        };
        if !ok {
            let text = format!(
                "Cannot cast from \"{}\" to \"{}\"",
                self.spell_unsized(&e.ty),
                self.spell_unsized(&ty)
            );
            return self.fail(Code::BadCast, span, text);
        }
        self.wrap_cast(e, ty, loc)
    }

    /// An explicit cast: its result is no literal any more, except for enumerators and bools.
    fn wrap_cast(&self, e: Expr, ty: Type, loc: crate::object::Loc) -> Expr {
        let kind = match (&e.kind, &ty) {
            (ExprKind::Int(v), Type::Enum(_)) => ExprKind::Int(*v),
            (ExprKind::Int(v), Type::Bool) => ExprKind::Int(u64::from(*v != 0)),
            _ => ExprKind::Cast(Box::new(e)),
        };
        Expr { kind, ty, loc }
    }
}
