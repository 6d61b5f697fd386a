//! Strings.

use crate::codegen::helper;
use crate::ir::inst::{Cond, Ty};
use crate::ir::{BinOp, Value};
use crate::sema::hir::{Arg, Call, ExprKind};
use crate::types::Type;

use super::super::fx::{Addr, Fx};
use super::{expr, int, is_zero};

/// Bytes of the result of `str_concat`.
fn capacity(ty: &Type) -> u32 {
    match ty {
        Type::Str(n) | Type::Buf(n) => *n,
        _ => 1,
    }
}

/// `str`: reads up to a NUL.
pub fn str<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr) {
    let cap = capacity(ty).max(1);
    let source = expr(call, 0);
    if is_zero(source) {
        fx.zero(dst, if fx.pad { cap } else { 1 });
        return;
    }
    let (space, from) = match &source.ty {
        Type::Str(_) | Type::Array(..) | Type::Buf(_) => {
            let at = fx.memory(source);
            let skip = if matches!(source.ty, Type::Buf(_)) {
                4
            } else {
                0
            };
            (crate::types::AddrSpace::Bpf, fx.pointer(at.plus(skip)))
        }
        t => (fx.space(t), fx.scalar(source)),
    };
    let room = match &source.ty {
        // No further than the string goes, and its terminator.
        Type::Str(n) => cap.min(*n),
        Type::Array(_, n) => cap.min(n + 1),
        _ => cap,
    };
    let len = match call.args.get(1) {
        Some(Arg::Expr(e)) => {
            let n = fx.scalar(e);
            let n = fx.b.add_imm(n, 1);
            fx.at_most(n, room)
        }
        _ => fx.b.iconst(i64::from(room)),
    };
    let n = fx.probe_read_str(space, dst, cap, len, from);
    // Anything shorter was asked for.
    if cap == fx.lw.program.config.max_strlen && room == cap {
        fx.count_cut(space, n, cap, from);
    }
}

impl<'a> Fx<'_, 'a> {
    /// `v`, or `most` if it is larger: in a form that gives the verifier the bound.
    pub(in super::super) fn at_most(&mut self, v: Value, most: u32) -> Value {
        let join = self.b.new_block();
        let result = self.b.block_param(join, Ty::Scalar);
        let limit = self.b.iconst(i64::from(most));
        self.b.br_w(
            Cond::Ugt,
            crate::ir::Width::W64,
            v,
            limit,
            (join, &[limit]),
            (join, &[v]),
            false,
        );
        self.b.switch_to(join);
        result
    }

    /// The smaller of two unsigned numbers.
    pub(super) fn smaller(&mut self, a: Value, b: Value) -> Value {
        let join = self.b.new_block();
        let result = self.b.block_param(join, Ty::Scalar);
        let width = crate::ir::Width::W64;
        self.b
            .br_w(Cond::Ult, width, a, b, (join, &[a]), (join, &[b]), false);
        self.b.switch_to(join);
        result
    }

    /// Length of a string in memory, without terminator.
    pub(super) fn string_len(&mut self, at: Addr, cap: u32) -> Value {
        // The string read says where the end is, at the speed of the kernel's own copy.
        let mark = self.mark();
        let copy = self.temp(cap);
        let to = self.pointer(copy);
        let n = self.b.iconst(i64::from(cap));
        let from = self.pointer(at);
        let len = self
            .b
            .call(helper::PROBE_READ_KERNEL_STR, &[to, n, from], Ty::Scalar);
        self.release(mark);
        let (bad, good, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Sle, len, zero, bad, good);
        self.b.switch_to(bad);
        let zero = self.b.iconst(0);
        self.b.jump(join, &[zero]);
        self.b.switch_to(good);
        let n = self.b.add_imm(len, -1);
        self.b.jump(join, &[n]);
        self.b.switch_to(join);
        result
    }
}

/// `strlen`
pub fn strlen<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let s = expr(call, 0);
    if let ExprKind::Str(text) = &s.kind {
        let n = text.iter().position(|&b| b == 0).unwrap_or(text.len());
        return fx.b.iconst(n as i64);
    }
    let at = fx.memory(s);
    let cap = fx.size(&s.ty);
    fx.string_len(at, cap)
}

/// `strncmp`: 0 if the first `n` bytes are equal.
pub fn strncmp<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let (a, b) = (expr(call, 0), expr(call, 1));
    let n = int(call, 2).clamp(0, i64::from(u32::MAX)) as u32;
    let len = n.min(fx.size(&a.ty)).min(fx.size(&b.ty));
    if len == 0 {
        return fx.b.iconst(0);
    }
    let mark = fx.mark();
    let x = fx.memory(a);
    let y = fx.memory(b);
    let equal = fx.equal_at(x, y, len);
    fx.release(mark);
    fx.b.bin_imm(BinOp::Xor, equal, 1)
}

/// `str_concat`
pub fn str_concat<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr) {
    let cap = capacity(ty).max(1);
    let (a, b) = (expr(call, 0), expr(call, 1));
    let mark = fx.mark();
    let (a_size, b_size) = (fx.size(&a.ty), fx.size(&b.ty));
    let both = fx.scratch_temp(a_size + b_size + cap);
    let a_at = fx.memory(a);
    let b_at = fx.memory(b);
    fx.zero(both, a_size + b_size);
    fx.copy(both, a_at, a_size);
    let n = fx.string_len(both, a_size);
    let n = fx.at_most(n, a_size - 1);
    let start = fx.pointer(both);
    let to = fx.b.add(start, n);
    let len = fx.b.iconst(i64::from(b_size));
    let from = fx.pointer(b_at);
    fx.b.call(helper::PROBE_READ_KERNEL_STR, &[to, len, from], Ty::Scalar);
    let room = cap.min(a_size + b_size);
    let len = fx.b.iconst(i64::from(room));
    let from = fx.pointer(both);
    let space = crate::types::AddrSpace::Bpf;
    let n = fx.probe_read_str(space, dst, cap, len, from);
    if room == cap {
        fx.count_cut(space, n, cap, from);
    }
    fx.release(mark);
}
