//! Memory, addresses and what is printed from them.

use crate::ir::Value;
use crate::ir::inst::{Cond, MemTy};
use crate::sema::hir::{Arg, Call};
use crate::types::{AddrSpace, Type};

use super::super::fx::{Addr, Fx};
use super::{context, expr, int, time_format};

/// `buf`: length, then bytes.
pub fn buf<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr) {
    let Type::Buf(cap) = *ty else {
        return;
    };
    let source = expr(call, 0);
    // Of a value of the script there are only its own bytes.
    let most = match source.ty.is_scalar() {
        true => cap,
        false => cap.min(fx.size(&source.ty)),
    };
    let len = match call.args.get(1) {
        Some(Arg::Expr(e)) => {
            let n = fx.scalar(e);
            // What lies behind a value of the script was not asked for.
            if source.ty.is_scalar() {
                let (cut, next) = (fx.b.new_block(), fx.b.new_block());
                let limit = fx.b.iconst(i64::from(most));
                fx.b.br_cold(Cond::Ugt, n, limit, cut, next);
                fx.b.switch_to(cut);
                fx.count_failure(crate::object::SiteKind::Truncated, "");
                fx.b.jump(next, &[]);
                fx.b.switch_to(next);
            }
            fx.at_most(n, most)
        }
        _ => fx.b.iconst(int(call, 1).clamp(0, i64::from(most))),
    };
    let (space, from) = if source.ty.is_scalar() {
        (fx.space(&source.ty), fx.scalar(source))
    } else {
        let at = fx.memory(source);
        (AddrSpace::Bpf, fx.pointer(at))
    };
    // What lies behind the bytes must not be what a key differs in.
    fx.pad_zero(dst.plus(4), cap);
    fx.b.store(MemTy::W, dst.ptr, dst.off, len);
    let to = fx.pointer(dst.plus(4));
    let (id, name) = match space {
        AddrSpace::User => (crate::codegen::helper::PROBE_READ_USER, "probe_read_user"),
        AddrSpace::Kernel | AddrSpace::Bpf => (
            crate::codegen::helper::PROBE_READ_KERNEL,
            "probe_read_kernel",
        ),
        AddrSpace::None => (crate::codegen::helper::PROBE_READ, "probe_read"),
    };
    let code = fx.b.call(id, &[to, len, from], crate::ir::inst::Ty::Scalar);
    fx.check_code(code, crate::object::SiteKind::Read, name);
}

/// `ntop`: family, then 16 bytes.
pub fn ntop<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type, dst: Addr) {
    let family = fx.number(call, 0);
    fx.b.store(MemTy::DW, dst.ptr, dst.off, family);
    fx.zero(dst.plus(8), 16);
    let addr = expr(call, 1);
    let at = dst.plus(8);
    if addr.ty.is_scalar() {
        let v = fx.scalar(addr);
        fx.b.store(MemTy::W, at.ptr, at.off, v);
        return;
    }
    let skip = if matches!(addr.ty, Type::Buf(_)) {
        4
    } else {
        0
    };
    let n = (fx.size(&addr.ty) - skip).min(16);
    let from = fx.memory(addr);
    fx.copy(at, from.plus(skip), n);
}

/// `macaddr`
pub fn macaddr<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type, dst: Addr) {
    let source = expr(call, 0);
    if source.ty.is_scalar() {
        let space = fx.space(&source.ty);
        let from = fx.scalar(source);
        fx.probe_read(space, dst, 6, from);
        return;
    }
    let at = fx.memory(source);
    let n = fx.size(&source.ty).min(6);
    fx.copy(dst, at, n);
}

/// `bswap`
pub fn bswap<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type) -> Value {
    let v = fx.scalar(expr(call, 0));
    match fx.size(ty) {
        n @ (2 | 4 | 8) => fx.b.bswap(n as u8 * 8, v),
        _ => v,
    }
}

/// `ksym`
pub fn ksym<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    fx.scalar(expr(call, 0))
}

/// `usym`
pub fn usym<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type, dst: Addr) {
    let v = fx.scalar(expr(call, 0));
    context::user_symbol(fx, v, dst);
}

/// `uaddr`: an address, or the distance to it from the probe where the program may be loaded
/// anywhere.
pub fn uaddr<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    if int(call, 1) == 0 {
        return fx.b.iconst(int(call, 0));
    }
    let probe = context::function_address(fx);
    fx.b.add_imm(probe, int(call, 0))
}

/// `memcmp`: the difference of the first bytes that differ, 0 if all `n` are equal.
pub fn memcmp<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let n = int(call, 2).clamp(0, 1 << 20) as u32;
    if n == 0 {
        return fx.b.iconst(0);
    }
    let mark = fx.mark();
    let sides = [0, 1].map(|i| {
        let e = expr(call, i);
        if e.ty.is_scalar() {
            let space = fx.space(&e.ty);
            let from = fx.scalar(e);
            let at = fx.temp(n);
            fx.probe_read(space, at, n, from);
            at
        } else {
            fx.memory(e)
        }
    });
    let difference = fx.difference_at(sides[0], sides[1], n);
    fx.release(mark);
    difference
}

/// `cgroup_path`: looked up when it is printed.
pub fn cgroup_path<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type, dst: Addr) {
    let id = fx.scalar(expr(call, 0));
    fx.b.store(MemTy::DW, dst.ptr, dst.off, id);
    let filter = i64::from(time_format(call, 1));
    fx.b.store_imm(MemTy::DW, dst.ptr, dst.off + 8, filter);
}
