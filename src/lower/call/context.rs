//! Values of the context.

use crate::codegen::helper::{self, HelperId};
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, Value, Width};
use crate::sema::hir::{Arg, Call, Context};
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
    match call.args.first() {
        Some(Arg::Int(offset)) => return fx.comm_in_place(*offset as i32, dst),
        Some(_) => fx.unsupported(call),
        None => {}
    }
    fx.zero(dst, 16);
    let p = fx.pointer(dst);
    let n = fx.b.iconst(16);
    fx.b.call(helper::GET_CURRENT_COMM, &[p, n], Ty::Scalar);
}

impl Fx<'_, '_> {
    /// The task's name, two words, from where it is in the task: the helper takes 70 ns to copy
    /// it. In keys what follows its NUL is cleared: kernels before 5.17 leave an older name there.
    fn comm_in_place(&mut self, offset: i32, dst: Addr) {
        let task = self.b.call(helper::GET_CURRENT_TASK_BTF, &[], Ty::KPtr);
        let first = self.b.load(MemTy::DW, task, offset);
        if !self.pad {
            let second = self.b.load(MemTy::DW, task, offset + 8);
            self.b.store(MemTy::DW, dst.ptr, dst.off, first);
            self.b.store(MemTy::DW, dst.ptr, dst.off + 8, second);
            return;
        }
        let (first, ends) = self.up_to_nul(first);
        self.b.store(MemTy::DW, dst.ptr, dst.off, first);
        let (long, join) = (self.b.new_block(), self.b.new_block());
        let rest = self.b.block_param(join, Ty::Scalar);
        let zero = self.b.iconst(0);
        let (short, more) = ((join, &[zero][..]), (long, &[][..]));
        self.b
            .br_w(Cond::Ne, Width::W64, ends, zero, short, more, false);
        self.b.switch_to(long);
        let second = self.b.load(MemTy::DW, task, offset + 8);
        let (second, _) = self.up_to_nul(second);
        self.b.jump(join, &[second]);
        self.b.switch_to(join);
        self.b.store(MemTy::DW, dst.ptr, dst.off + 8, rest);
    }

    /// `word` with its first zero byte and everything above it cleared, and a number that is 0
    /// if it has no zero byte.
    fn up_to_nul(&mut self, word: Value) -> (Value, Value) {
        // The lowest bit that this leaves is the top one of the first zero byte.
        let borrowed = self.b.add_imm(word, -0x0101_0101_0101_0101);
        let low = self.b.bin_imm(BinOp::Xor, word, -1);
        let ends = self.b.bin(BinOp::And, borrowed, low);
        let ends = self
            .b
            .bin_imm(BinOp::And, ends, i64::from_ne_bytes([0x80; 8]));
        // All bits below that one; all bits of 64 if there is none.
        let below = self.b.add_imm(ends, -1);
        let not = self.b.bin_imm(BinOp::Xor, ends, -1);
        let below = self.b.bin(BinOp::And, below, not);
        (self.b.bin(BinOp::And, word, below), ends)
    }
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
