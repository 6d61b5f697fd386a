//! Stacks: walked by the kernel into memory; as values they are handles into a stack map.
//!
//! A handle holds a 64-bit hash of the addresses. Equal stacks have equal handles, so they can
//! be keys; the addresses themselves are stored once, under the hash.

use crate::codegen::helper;
use crate::ir::builder::Builder;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, FuncId, FuncKind, Value};
use crate::object::{STACK_VALUE_HEADER, SiteKind};
use crate::sema::hir::{Call, Context};
use crate::types::{AddrSpace, StackKind, StackTy};

use super::fx::{Addr, Fx, Shared};
use super::regs;

/// `BPF_F_USER_STACK`
const USER_STACK: i64 = 1 << 8;
/// Multiplier of the hash (the 64-bit FNV prime's neighbour in Knuth's sense: odd, dense).
const MIX: i64 = 0x9e37_79b9_7f4a_7c15_u64 as i64;

/// Who walks a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The kernel: along frame pointers, if it is a user stack.
    Kernel,
    /// Our own program, by unwind tables.
    Tables,
}

impl Walk {
    /// How the stack of a call is walked.
    pub(super) fn of(call: &Call) -> Self {
        match call.builtin.name {
            "dw_ustack" => Self::Tables,
            _ => Self::Kernel,
        }
    }
}

impl Fx<'_, '_> {
    /// Walks a stack into `at`: `{ u32 frames; u32 pid; u64 ip[limit] }`.
    pub(super) fn stack_inline(&mut self, ty: StackTy, walk: Walk, at: Addr) {
        if walk == Walk::Tables {
            let mark = self.mark();
            let (stack, _) = self.unwind(ty.limit);
            self.copy_stack(stack, at, ty.limit);
            self.release(mark);
            let pid = self.stack_pid(ty);
            self.b.store(MemTy::W, at.ptr, at.off + 4, pid);
            return;
        }
        let n = self.walk(ty, at.plus(STACK_VALUE_HEADER));
        self.b.store(MemTy::W, at.ptr, at.off, n);
        let pid = self.stack_pid(ty);
        self.b.store(MemTy::W, at.ptr, at.off + 4, pid);
    }

    /// Makes a handle at `dst`.
    pub(super) fn stack_handle(&mut self, ty: StackTy, walk: Walk, dst: Addr) {
        let map = self.lw.stacks_map(ty);
        let limit = u32::from(ty.limit);
        let mark = self.mark();
        let buf = match walk {
            Walk::Tables => self.unwind(ty.limit).0,
            Walk::Kernel => {
                let buf = self.scratch_temp(STACK_VALUE_HEADER + 8 * limit);
                let n = self.walk(ty, buf.plus(STACK_VALUE_HEADER));
                // The header is one word: frames, and zero.
                self.b.store(MemTy::DW, buf.ptr, buf.off, n);
                buf
            }
        };
        let f = self.stack_id_function(ty.limit);
        let p = self.pointer(buf);
        let id = self.b.call_func(f, &[p], Ty::Scalar);
        let word = self.temp(8);
        self.b.store(MemTy::DW, word.ptr, word.off, id);

        let (fresh, done) = (self.b.new_block(), self.b.new_block());
        let fd = self.b.map_fd(map);
        let key = self.pointer(word);
        let known = self
            .b
            .call(helper::MAP_LOOKUP_ELEM, &[fd, key], Ty::MapValOrNull(map));
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Eq, known, zero, fresh, done);
        self.b.switch_to(fresh);
        let fd = self.b.map_fd(map);
        let key = self.pointer(word);
        let value = self.pointer(buf);
        let flags = self.b.iconst(0);
        let code = self.b.call(
            helper::MAP_UPDATE_ELEM,
            &[fd, key, value, flags],
            Ty::Scalar,
        );
        self.check_code(code, SiteKind::Stack, "map_update_elem");
        self.b.jump(done, &[]);
        self.b.switch_to(done);

        self.b.store(MemTy::DW, dst.ptr, dst.off, id);
        let pid = self.stack_pid(ty);
        self.b.store(MemTy::DW, dst.ptr, dst.off + 8, pid);
        self.release(mark);
    }

    /// The process whose addresses these are, as the initial namespace numbers it.
    fn stack_pid(&mut self, ty: StackTy) -> Value {
        match ty.kind {
            StackKind::Kernel => self.b.iconst(0),
            StackKind::User => {
                let id = self.b.call(helper::GET_CURRENT_PID_TGID, &[], Ty::Scalar);
                self.b.bin_imm(BinOp::Lshr, id, 32)
            }
        }
    }

    /// Walks a stack to `at`; gives the number of frames.
    fn walk(&mut self, ty: StackTy, at: Addr) -> Value {
        let entry = self
            .probe
            .is_some_and(|p| p.probe.attach.iter().any(|a| a.at_entry));
        let n = self.get_stack(ty, at, u32::from(ty.limit));
        if ty.kind == StackKind::User
            && entry
            && ty.limit >= 2
            && matches!(
                self.context(),
                Context::PtRegs {
                    user: true,
                    ret: false
                }
            )
        {
            return self.insert_caller(ty, at, n);
        }
        n
    }

    /// `bpf_get_stack`; gives the number of frames, 0 if it failed.
    fn get_stack(&mut self, ty: StackTy, at: Addr, limit: u32) -> Value {
        let ctx = self.ctx();
        let buf = self.pointer(at);
        let size = self.b.iconst(i64::from(8 * limit));
        let flags = self.b.iconst(match ty.kind {
            StackKind::User => USER_STACK,
            StackKind::Kernel => 0,
        });
        let n = self
            .b
            .call(helper::GET_STACK, &[ctx, buf, size, flags], Ty::Scalar);
        let (bad, good, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Slt, n, zero, bad, good);
        self.b.switch_to(bad);
        // A kernel thread has no user stack: that is no failure.
        let zero = self.b.iconst(0);
        self.b.jump(join, &[zero]);
        self.b.switch_to(good);
        let frames = self.b.bin_imm(BinOp::Lshr, n, 3);
        self.b.jump(join, &[frames]);
        self.b.switch_to(join);
        result
    }

    /// On a function's first instruction its frame is not set up: a walk along frame pointers
    /// goes from the function to its caller's caller. The return address on top of the stack
    /// is put between, unless the kernel (6.11 and later do in most cases) has seen to it.
    fn insert_caller(&mut self, ty: StackTy, at: Addr, n: Value) -> Value {
        let ctx = self.ctx();
        let sp = self.b.load(MemTy::DW, ctx, regs::SP);
        let word = self.temp(8);
        self.probe_read(AddrSpace::User, word, 8, sp);
        let caller = self.b.load(MemTy::DW, word.ptr, word.off);
        let second = self.b.load(MemTy::DW, at.ptr, at.off + 8);
        let (again, join) = (self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        self.b.br_w(
            Cond::Eq,
            crate::ir::Width::W64,
            caller,
            second,
            (join, &[n]),
            (again, &[]),
            false,
        );
        self.b.switch_to(again);
        let limit = u32::from(ty.limit);
        let n = self.get_stack(ty, at.plus(8), limit - 1);
        let ip = self.b.load(MemTy::DW, ctx, regs::IP);
        self.b.store(MemTy::DW, at.ptr, at.off, ip);
        self.b.store(MemTy::DW, at.ptr, at.off + 8, caller);
        // A walk that failed still gives the function and its caller.
        let (none, some) = (self.b.new_block(), self.b.new_block());
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Eq, n, zero, none, some);
        self.b.switch_to(none);
        let two = self.b.iconst(2);
        self.b.jump(join, &[two]);
        self.b.switch_to(some);
        let more = self.b.add_imm(n, 1);
        self.b.jump(join, &[more]);
        self.b.switch_to(join);
        result
    }

    /// `stack_id(p)`: hash of the frames at `p` (`{ u64 frames; u64 ip[limit] }`), never 0.
    fn stack_id_function(&mut self, limit: u16) -> FuncId {
        if let Some(&f) = self.lw.shared.get(&Shared::StackId(limit)) {
            return f;
        }
        let map = self.lw.scratch_map();
        let name = format!("stack_id_{limit}");
        let mut b = Builder::new(name, FuncKind::Static, &[Ty::MapVal(map)]);
        let p = b.param(0);
        let frames = b.load(MemTy::DW, p, 0);
        let (head, more, body, done) = (b.new_block(), b.new_block(), b.new_block(), b.new_block());
        let i = b.block_param(head, Ty::Scalar);
        let h = b.block_param(head, Ty::Scalar);
        let zero = b.iconst(0);
        b.jump(head, &[zero, frames]);
        b.switch_to(head);
        let end = b.iconst(i64::from(limit));
        b.br(Cond::Uge, i, end, done, more);
        b.switch_to(more);
        b.br(Cond::Uge, i, frames, done, body);
        b.switch_to(body);
        let off = b.bin_imm(BinOp::Shl, i, 3);
        let q = b.add(p, off);
        let ip = b.load(MemTy::DW, q, STACK_VALUE_HEADER as i32);
        let x = b.bin(BinOp::Xor, h, ip);
        let x = b.bin_imm(BinOp::Mul, x, MIX);
        let y = b.bin_imm(BinOp::Lshr, x, 29);
        let x = b.bin(BinOp::Xor, x, y);
        let next = b.add_imm(i, 1);
        b.jump(head, &[next, x]);
        b.switch_to(done);
        let id = b.bin_imm(BinOp::Or, h, 1);
        b.ret(id);
        let f = self.lw.module.add(b.finish());
        self.lw.shared.insert(Shared::StackId(limit), f);
        f
    }

    /// `len(stack)`: number of frames behind a handle.
    pub(super) fn stack_len(&mut self, ty: StackTy, handle: Addr) -> Value {
        let map = self.lw.stacks_map(ty);
        let fd = self.b.map_fd(map);
        let key = self.pointer(handle);
        let p = self
            .b
            .call(helper::MAP_LOOKUP_ELEM, &[fd, key], Ty::MapValOrNull(map));
        let (none, some, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.br(Cond::Ne, p, zero, some, none);
        self.b.switch_to(some);
        let p = self.b.non_null(p);
        let n = self.b.load(MemTy::W, p, 0);
        self.b.jump(join, &[n]);
        self.b.switch_to(none);
        let zero = self.b.iconst(0);
        self.b.jump(join, &[zero]);
        self.b.switch_to(join);
        result
    }
}
