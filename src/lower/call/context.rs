//! Values of the context.

use crate::codegen::helper::{self, HelperId};
use crate::ir::inst::{MemTy, Ty};
use crate::ir::{BinOp, Value};
use crate::sema::hir::{Call, Context};
use crate::types::Type;

use super::super::fx::{Addr, Fx};
use super::super::regs;
use super::int;

fn nullary(fx: &mut Fx<'_, '_>, id: HelperId) -> Value {
    fx.b.call(id, &[], Ty::Scalar)
}

impl Fx<'_, '_> {
    /// The two halves of the current task's number: thread group in the high word.
    pub(in super::super) fn pid_tgid(&mut self, initial: bool) -> Value {
        pid_tgid(self, initial)
    }
}

fn pid_tgid(fx: &mut Fx<'_, '_>, initial: bool) -> Value {
    match fx.lw.program.config.pid_ns {
        Some((dev, ino)) if !initial => {
            // struct bpf_pidns_info { u32 pid; u32 tgid; }
            let at = fx.temp(8);
            fx.zero(at, 8);
            let dev = fx.b.iconst(dev as i64);
            let ino = fx.b.iconst(ino as i64);
            let p = fx.pointer(at);
            let n = fx.b.iconst(8);
            fx.b.call(
                helper::GET_NS_CURRENT_PID_TGID,
                &[dev, ino, p, n],
                Ty::Scalar,
            );
            fx.b.load(MemTy::DW, at.ptr, at.off)
        }
        _ => nullary(fx, helper::GET_CURRENT_PID_TGID),
    }
}

/// `pid`
pub fn pid<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let v = pid_tgid(fx, int(call, 0) == 1);
    fx.b.bin_imm(BinOp::Lshr, v, 32)
}

/// `tid`
pub fn tid<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let v = pid_tgid(fx, int(call, 0) == 1);
    fx.b.ext(false, 32, v)
}

/// `uid`, `username`
pub fn uid<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    let v = nullary(fx, helper::GET_CURRENT_UID_GID);
    fx.b.ext(false, 32, v)
}

/// `gid`
pub fn gid<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    let v = nullary(fx, helper::GET_CURRENT_UID_GID);
    fx.b.bin_imm(BinOp::Lshr, v, 32)
}

/// `comm`. The helper of older kernels (6.1 is one) leaves what follows the name as it was,
/// and as a key the bytes there count.
pub fn comm<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type, dst: Addr) {
    if !call.args.is_empty() {
        fx.unsupported(call);
    }
    fx.zero(dst, 16);
    let p = fx.pointer(dst);
    let n = fx.b.iconst(16);
    fx.b.call(helper::GET_CURRENT_COMM, &[p, n], Ty::Scalar);
}

/// `cpu`
pub fn cpu<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    nullary(fx, helper::GET_SMP_PROCESSOR_ID)
}

/// `numaid`
pub fn numaid<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    nullary(fx, helper::GET_NUMA_NODE_ID)
}

/// `cgroup`
pub fn cgroup<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    nullary(fx, helper::GET_CURRENT_CGROUP_ID)
}

/// `curtask`
pub fn curtask<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    nullary(fx, helper::GET_CURRENT_TASK)
}

/// `rand`
pub fn rand<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    let v = nullary(fx, helper::GET_PRANDOM_U32);
    fx.b.ext(false, 32, v)
}

/// `func` as a kernel symbol.
pub fn func<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    function_address(fx)
}

/// `func` as a user symbol.
pub fn func_user<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type, dst: Addr) {
    let v = function_address(fx);
    user_symbol(fx, v, dst);
}

/// The address that is probed: of the function, or of the instruction within it.
pub(super) fn function_address(fx: &mut Fx<'_, '_>) -> Value {
    let ctx = fx.ctx();
    match fx.context() {
        Context::PtRegs { ret: false, .. } => fx.b.load(MemTy::DW, ctx, regs::IP),
        _ => fx.b.call(helper::GET_FUNC_IP, &[ctx], Ty::Scalar),
    }
}

/// A user symbol value: address, process, attach point.
pub(super) fn user_symbol(fx: &mut Fx<'_, '_>, addr: Value, dst: Addr) {
    fx.b.store(MemTy::DW, dst.ptr, dst.off, addr);
    let id = nullary(fx, helper::GET_CURRENT_PID_TGID);
    let pid = fx.b.bin_imm(BinOp::Lshr, id, 32);
    fx.b.store(MemTy::W, dst.ptr, dst.off + 8, pid);
    // The attach point is a hint for processes that have ended; keys must not depend on it.
    fx.b.store_imm(MemTy::W, dst.ptr, dst.off + 12, 0);
}

/// `retval`
pub fn retval<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    match fx.context() {
        Context::Args { count, .. } => fx.ctx_arg(count),
        _ => {
            let ctx = fx.ctx();
            fx.b.load(MemTy::DW, ctx, regs::RESULT)
        }
    }
}

/// `usermode`: the two low bits of `cs` are the privilege level.
pub fn usermode<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    match fx.context() {
        Context::PtRegs { .. } | Context::PerfEvent => {
            let ctx = fx.ctx();
            let cs = fx.b.load(MemTy::DW, ctx, regs::CS);
            let level = fx.mask(cs, 3);
            fx.truth(level)
        }
        _ => fx.b.iconst(0),
    }
}

/// `reg(name)`
pub fn reg<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let ctx = fx.ctx();
    fx.b.load(MemTy::DW, ctx, int(call, 0) as i32)
}
