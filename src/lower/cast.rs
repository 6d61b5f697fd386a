//! Conversions between scalar types, and of values in memory.

use crate::ir::inst::Cond;
use crate::ir::{BinOp, Value};
use crate::sema::hir::{Expr, ExprKind};
use crate::types::Type;

use super::fx::{Addr, Fx};
use super::keys::SHORT_STRING;

impl<'a> Fx<'_, 'a> {
    /// Bytes and signedness of a scalar type in memory.
    pub(super) fn scalar_shape(&self, ty: &Type) -> (u8, bool) {
        match ty {
            Type::Int(t) => (t.size, t.signed),
            Type::Bool => (1, false),
            Type::Enum(id) => {
                let def = self.types.enum_def(*id);
                (def.size, def.signed)
            }
            _ => (8, false),
        }
    }

    /// The low bytes of `v` as a value of `ty`, extended to 64 bits.
    pub(super) fn normalise(&mut self, ty: &Type, v: Value) -> Value {
        let (size, signed) = self.scalar_shape(ty);
        self.b.ext(signed, size * 8, v)
    }

    /// A scalar or an array of integers as a scalar of type `to`.
    pub(super) fn cast_scalar(&mut self, from: &'a Expr, to: &Type) -> Value {
        if !from.ty.is_scalar() {
            // An array of integers as one integer: its bytes.
            let size = self.size(&from.ty);
            let word = self.temp(8);
            self.zero(word, 8);
            let at = self.memory(from);
            self.copy(word, at, size.min(8));
            let v = self.b.load(crate::ir::MemTy::DW, word.ptr, word.off);
            return self.normalise(to, v);
        }
        let v = self.scalar(from);
        if matches!(to, Type::Bool) {
            if matches!(from.ty, Type::Bool) {
                return v;
            }
            return self.truth(v);
        }
        let (from_size, from_signed) = self.scalar_shape(&from.ty);
        let (size, signed) = self.scalar_shape(to);
        // Widening keeps the extended value; equal signs need nothing but truncation.
        if size >= 8 || (size > from_size && (signed || !from_signed)) {
            return v;
        }
        if size == from_size && signed == from_signed {
            return v;
        }
        self.b.ext(signed, size * 8, v)
    }

    /// 1 if `v` is not zero, else 0.
    pub(super) fn truth(&mut self, v: Value) -> Value {
        let zero = self.b.iconst(0);
        self.select_bool(Cond::Ne, v, zero)
    }

    /// 1 if the condition holds, else 0.
    pub(super) fn select_bool(&mut self, cond: Cond, a: Value, b: Value) -> Value {
        let join = self.b.new_block();
        let result = self.b.block_param(join, crate::ir::Ty::Scalar);
        let one = self.b.iconst(1);
        let zero = self.b.iconst(0);
        self.b.br_w(
            cond,
            crate::ir::Width::W64,
            a,
            b,
            (join, &[one]),
            (join, &[zero]),
            false,
        );
        self.b.switch_to(join);
        result
    }

    /// Converts a value in memory to type `to` at `dst`.
    pub(super) fn cast_memory(&mut self, from: &'a Expr, to: &Type, dst: Addr) {
        match (&from.ty, to) {
            (Type::Str(n), Type::Str(m)) => {
                if n <= m {
                    let short = self.is_key_string(dst) && *n <= SHORT_STRING;
                    self.store_expr(from, dst);
                    let end = if short { SHORT_STRING.min(*m) } else { *m };
                    self.pad_zero(dst.plus(*n), end - n);
                } else {
                    let at = self.memory(from);
                    self.copy(dst, at, m - 1);
                    self.zero(dst.plus(m - 1), 1);
                }
            }
            (Type::ProbeName, Type::Str(m)) => self.probe_name_text(from, *m, dst),
            // An integer's bytes as an array.
            (t, Type::Array(..)) if t.is_scalar() => {
                let size = self.size(to);
                let v = self.scalar(from);
                let word = self.temp(8);
                self.b.store(crate::ir::MemTy::DW, word.ptr, word.off, v);
                self.copy(dst, word, size.min(8));
            }
            (Type::Tuple(_) | Type::Record(_), Type::Tuple(_) | Type::Record(_)) => {
                self.cast_tuple(from, to, dst);
            }
            _ => {
                let size = self.size(to).min(self.size(&from.ty));
                let at = self.memory(from);
                self.copy(dst, at, size);
                let rest = self.size(to) - size;
                self.pad_zero(dst.plus(size), rest);
            }
        }
    }

    fn cast_tuple(&mut self, from: &'a Expr, to: &Type, dst: Addr) {
        if let ExprKind::Tuple(items) = &from.kind
            && from.ty == *to
        {
            self.tuple_into(items, to, dst);
            return;
        }
        let at = self.memory(from);
        self.convert(&from.ty, at, to, dst);
    }

    /// Converts what is at `src` from one type to another, at `dst`.
    fn convert(&mut self, from: &Type, src: Addr, to: &Type, dst: Addr) {
        if from == to {
            let size = self.size(to);
            self.copy(dst, src, size);
            return;
        }
        let fields = |t: &Type, fx: &Self| -> Vec<(Type, u32)> {
            match t {
                Type::Tuple(items) => {
                    let (offs, _) = crate::types::tuple_offsets(items.iter(), fx.types);
                    items.iter().cloned().zip(offs).collect()
                }
                Type::Record(items) => {
                    let (offs, _) =
                        crate::types::tuple_offsets(items.iter().map(|(_, t)| t), fx.types);
                    items.iter().map(|(_, t)| t.clone()).zip(offs).collect()
                }
                _ => Vec::new(),
            }
        };
        match (from, to) {
            (Type::Tuple(_) | Type::Record(_), Type::Tuple(_) | Type::Record(_)) => {
                let size = self.size(to);
                self.zero(dst, size);
                let (a, b) = (fields(from, self), fields(to, self));
                for ((ft, fo), (tt, to)) in a.iter().zip(&b) {
                    self.convert(ft, src.plus(*fo), tt, dst.plus(*to));
                }
            }
            (Type::Str(n), Type::Str(m)) => {
                let keep = (*n).min(*m);
                self.copy(dst, src, keep);
                self.pad_zero(dst.plus(keep), m - keep);
            }
            (f, t) if f.is_scalar() && t.is_scalar() => {
                let v = self.load_scalar_at(f, src);
                self.store_scalar(t, dst, v);
            }
            (f, t) => {
                let size = self.size(f).min(self.size(t));
                self.copy(dst, src, size);
            }
        }
    }

    /// `v & (2^bits - 1)`, a bound that the verifier understands.
    pub(super) fn mask(&mut self, v: Value, mask: i64) -> Value {
        self.b.bin_imm(BinOp::And, v, mask)
    }
}
