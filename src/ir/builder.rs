//! Builds functions: a cursor over a [`Func`] with one method per instruction.
//!
//! Input: the calls of the lowering. Output: a [`Func`] whose blocks all end in a terminator.
//! Constants are folded and identities simplified on the way, within what is known locally; a
//! constant is defined once per block (selection rematerialises it at its uses). Branches are
//! never folded here: that is the passes' work.

use std::collections::HashMap;

use crate::codegen::helper::HelperId;
use crate::object::{Loc, MapId};

use super::entity::{Block, FuncId, Slot, Value};
use super::func::{Func, FuncKind, Node};
use super::inst::{AtomicOp, BinOp, Cond, Inst, MemTy, Term, Ty, Width, extend, swap_bytes};

/// A function under construction and the place where instructions are added.
#[derive(Debug)]
pub struct Builder {
    /// The function. Slots, values and blocks may be added directly.
    pub func: Func,
    at: Block,
    loc: Loc,
    /// Constants defined in the current block.
    cached: HashMap<i64, Value>,
    /// Values known to be constants.
    known: HashMap<Value, i64>,
    /// Frame addresses: slot and byte.
    frame: HashMap<Value, (Slot, u32)>,
}

impl Builder {
    /// Starts a function whose parameters have types `params`; the cursor is in its entry
    /// block.
    pub fn new(name: impl Into<String>, kind: FuncKind, params: &[Ty]) -> Self {
        let mut func = Func::new(name, kind);
        let entry = func.new_block();
        for &ty in params {
            let v = func.new_value(ty);
            func.block_mut(entry).params.push(v);
        }
        Self {
            func,
            at: entry,
            loc: Loc::default(),
            cached: HashMap::new(),
            known: HashMap::new(),
            frame: HashMap::new(),
        }
    }

    /// The finished function.
    pub fn finish(self) -> Func {
        self.func
    }

    /// Parameter number `i` of the function.
    pub fn param(&self, i: usize) -> Value {
        self.func.params()[i]
    }

    /// The block that instructions go to.
    pub fn current(&self) -> Block {
        self.at
    }

    /// Whether the current block has its terminator. Instructions added after it are
    /// dropped with the unreachable code they belong to.
    pub fn is_terminated(&self) -> bool {
        self.func.block(self.at).term.is_some()
    }

    /// The place in the script of what is added from now on.
    pub fn set_loc(&mut self, loc: Loc) {
        self.loc = loc;
    }

    /// The current place in the script.
    pub fn loc(&self) -> Loc {
        self.loc
    }

    /// A new block without parameters.
    pub fn new_block(&mut self) -> Block {
        self.func.new_block()
    }

    /// Adds a parameter to `block`.
    pub fn block_param(&mut self, block: Block, ty: Ty) -> Value {
        let v = self.func.new_value(ty);
        self.func.block_mut(block).params.push(v);
        v
    }

    /// Goes on at the end of `block`.
    pub fn switch_to(&mut self, block: Block) {
        if block != self.at {
            self.at = block;
            self.cached.clear();
        }
    }

    /// A new frame slot of `size` bytes, 8-aligned.
    pub fn new_slot(&mut self, size: u32) -> Slot {
        self.func.new_slot(size)
    }

    /// The constant that `v` is known to be.
    pub fn as_const(&self, v: Value) -> Option<i64> {
        self.known.get(&v).copied()
    }

    fn push(&mut self, inst: Inst, result: Option<Value>) {
        if self.is_terminated() {
            return;
        }
        let node = Node {
            result,
            inst,
            loc: self.loc,
        };
        self.func.block_mut(self.at).insts.push(node);
    }

    /// Adds any instruction with a result of type `ty`, without simplification.
    pub fn ins(&mut self, inst: Inst, ty: Ty) -> Value {
        let v = self.func.new_value(ty);
        self.push(inst, Some(v));
        v
    }

    /// A constant.
    pub fn iconst(&mut self, c: i64) -> Value {
        if let Some(&v) = self.cached.get(&c) {
            return v;
        }
        let v = self.ins(Inst::Const(c), Ty::Scalar);
        // After a terminator the definition was dropped: nothing may be shared with it.
        if !self.is_terminated() {
            self.cached.insert(c, v);
        }
        self.known.insert(v, c);
        v
    }

    /// 64-bit arithmetic.
    pub fn bin(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        self.bin_w(op, Width::W64, a, b)
    }

    /// 64-bit arithmetic with a constant on the right.
    pub fn bin_imm(&mut self, op: BinOp, a: Value, b: i64) -> Value {
        let b = self.iconst(b);
        self.bin(op, a, b)
    }

    /// Arithmetic of width `w`.
    pub fn bin_w(&mut self, op: BinOp, w: Width, a: Value, b: Value) -> Value {
        let (ca, cb) = (self.as_const(a), self.as_const(b));
        let (a, b, cb) = match (ca, cb) {
            (Some(x), Some(y)) => return self.iconst(op.eval(w, x, y)),
            (Some(_), None) if op.is_commutative() => (b, a, ca),
            _ => (a, b, cb),
        };
        if w == Width::W64
            && let Some(c) = cb
        {
            match (op, c) {
                (
                    BinOp::Add
                    | BinOp::Sub
                    | BinOp::Or
                    | BinOp::Xor
                    | BinOp::Shl
                    | BinOp::Lshr
                    | BinOp::Ashr,
                    0,
                )
                | (BinOp::Mul | BinOp::Udiv, 1)
                | (BinOp::And, -1)
                | (BinOp::Umod, 0) => return a,
                (BinOp::Mul | BinOp::And | BinOp::Udiv, 0) => return self.iconst(0),
                _ => {}
            }
            if op == BinOp::Add
                && let Some(&(slot, off)) = self.frame.get(&a)
                && let Ok(to) = u32::try_from(i64::from(off).saturating_add(c))
                && to <= self.func.slots[slot.index()].size
            {
                return self.slot_addr(slot, to);
            }
        }
        let ty = bin_ty(op, self.func.ty(a), self.func.ty(b));
        self.ins(Inst::Bin { op, w, a, b }, ty)
    }

    /// Wrapping sum; one operand may be a pointer.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinOp::Add, a, b)
    }

    /// `a + c`
    pub fn add_imm(&mut self, a: Value, c: i64) -> Value {
        self.bin_imm(BinOp::Add, a, c)
    }

    /// Wrapping difference.
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinOp::Sub, a, b)
    }

    /// `-a`
    pub fn neg(&mut self, a: Value) -> Value {
        match self.as_const(a) {
            Some(c) => self.iconst(c.wrapping_neg()),
            None => self.ins(Inst::Neg(a), Ty::Scalar),
        }
    }

    /// The number `a`, hidden from the verifier.
    pub fn opaque(&mut self, a: Value) -> Value {
        self.ins(Inst::Opaque(a), Ty::Scalar)
    }

    /// The low `bits` (8, 16, 32, or 64: `a` itself) of `a`, extended to 64.
    pub fn ext(&mut self, signed: bool, bits: u8, a: Value) -> Value {
        if bits >= 64 {
            return a;
        }
        match self.as_const(a) {
            Some(c) => self.iconst(extend(signed, bits, c)),
            None => self.ins(Inst::Ext { signed, bits, a }, Ty::Scalar),
        }
    }

    /// The low `bits` (16, 32, 64) of `a` with bytes swapped.
    pub fn bswap(&mut self, bits: u8, a: Value) -> Value {
        match self.as_const(a) {
            Some(c) => self.iconst(swap_bytes(bits, c)),
            None => self.ins(Inst::Bswap { bits, a }, Ty::Scalar),
        }
    }

    /// Loads a number.
    pub fn load(&mut self, mem: MemTy, ptr: Value, off: i32) -> Value {
        self.load_ty(mem, ptr, off, Ty::Scalar)
    }

    /// Loads something the verifier knows to have type `ty` (a `KPtr` of a typed context, a
    /// pointer saved in the frame).
    pub fn load_ty(&mut self, mem: MemTy, ptr: Value, off: i32, ty: Ty) -> Value {
        self.ins(Inst::Load { mem, ptr, off }, ty)
    }

    /// Stores the low bytes of `val`.
    pub fn store(&mut self, mem: MemTy, ptr: Value, off: i32, val: Value) {
        self.push(Inst::Store { mem, ptr, off, val }, None);
    }

    /// Stores a constant.
    pub fn store_imm(&mut self, mem: MemTy, ptr: Value, off: i32, val: i64) {
        let val = self.iconst(val);
        self.store(mem, ptr, off, val);
    }

    /// `*(ptr + off) += val`, atomically, on 8 bytes.
    pub fn atomic_add(&mut self, ptr: Value, off: i32, val: Value) {
        let inst = Inst::Atomic {
            op: AtomicOp::Add,
            size: 8,
            fetch: false,
            ptr,
            off,
            val,
            expected: None,
        };
        self.push(inst, None);
    }

    /// Atomic operation on 4 or 8 bytes that gives the old value; `expected` for `Cmpxchg`.
    pub fn atomic_fetch(
        &mut self,
        op: AtomicOp,
        size: u8,
        ptr: Value,
        off: i32,
        val: Value,
        expected: Option<Value>,
    ) -> Value {
        let inst = Inst::Atomic {
            op,
            size,
            fetch: true,
            ptr,
            off,
            val,
            expected,
        };
        self.ins(inst, Ty::Scalar)
    }

    /// Address of byte `off` of a frame slot.
    pub fn slot_addr(&mut self, slot: Slot, off: u32) -> Value {
        let v = self.ins(Inst::SlotAddr { slot, off }, Ty::Frame);
        self.frame.insert(v, (slot, off));
        v
    }

    /// A map, for helpers.
    pub fn map_fd(&mut self, map: MapId) -> Value {
        self.ins(Inst::MapFd(map), Ty::Map)
    }

    /// Address of byte `off` in entry 0 of an array map.
    pub fn map_addr(&mut self, map: MapId, off: u32) -> Value {
        self.ins(Inst::MapAddr { map, off }, Ty::MapVal(map))
    }

    /// Calls a helper; the result, of type `ret`, may stay unused.
    pub fn call(&mut self, helper: HelperId, args: &[Value], ret: Ty) -> Value {
        let args = args.to_vec();
        self.ins(Inst::Call { helper, args, ret }, ret)
    }

    /// Calls a function of the module whose result has type `ret`.
    pub fn call_func(&mut self, func: FuncId, args: &[Value], ret: Ty) -> Value {
        let args = args.to_vec();
        self.ins(Inst::CallFunc { func, args }, ret)
    }

    /// Address of a function, for callbacks.
    pub fn func_addr(&mut self, func: FuncId) -> Value {
        self.ins(Inst::FuncAddr(func), Ty::Func)
    }

    /// `v` where a branch has shown that it is not null. A value that cannot be null is
    /// given back as it is.
    pub fn non_null(&mut self, v: Value) -> Value {
        match self.func.ty(v).non_null() {
            Some(ty) => self.ins(Inst::NonNull(v), ty),
            None => v,
        }
    }

    /// Goes to `on_null` (a rare path) if `v` is null, else on in a new block, where the
    /// result is `v` refined.
    pub fn check_null(&mut self, v: Value, on_null: Block) -> Value {
        let next = self.new_block();
        let zero = self.iconst(0);
        self.br_cold(Cond::Eq, v, zero, on_null, next);
        self.switch_to(next);
        self.non_null(v)
    }

    /// Sets `len` bytes to zero.
    pub fn zero(&mut self, ptr: Value, off: i32, len: u32) {
        if len > 0 {
            self.push(Inst::Zero { ptr, off, len }, None);
        }
    }

    /// Copies `len` bytes between objects that do not overlap; `align` (1, 2, 4, 8) is that
    /// of both addresses, offsets included.
    pub fn copy(
        &mut self,
        dst: Value,
        dst_off: i32,
        src: Value,
        src_off: i32,
        len: u32,
        align: u8,
    ) {
        if len == 0 {
            return;
        }
        let inst = Inst::Copy {
            dst,
            dst_off,
            src,
            src_off,
            len,
            align,
        };
        self.push(inst, None);
    }

    fn terminate(&mut self, term: Term) {
        if self.is_terminated() {
            return;
        }
        let loc = self.loc;
        let block = self.func.block_mut(self.at);
        block.term = Some(term);
        block.term_loc = loc;
    }

    /// Goes on in `to`.
    pub fn jump(&mut self, to: Block, args: &[Value]) {
        self.terminate(Term::Jump(to, args.to_vec()));
    }

    /// 64-bit conditional branch to blocks without parameters.
    pub fn br(&mut self, cond: Cond, a: Value, b: Value, then: Block, els: Block) {
        self.br_w(cond, Width::W64, a, b, (then, &[]), (els, &[]), false);
    }

    /// The same where `then` is rare: it is laid out at the end.
    pub fn br_cold(&mut self, cond: Cond, a: Value, b: Value, then: Block, els: Block) {
        self.br_w(cond, Width::W64, a, b, (then, &[]), (els, &[]), true);
    }

    /// Goes to `then` if `v` is not zero.
    pub fn br_if(&mut self, v: Value, then: Block, els: Block) {
        let zero = self.iconst(0);
        self.br(Cond::Ne, v, zero, then, els);
    }

    /// Conditional branch in its general form.
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the fields of Term::Br"
    )]
    pub fn br_w(
        &mut self,
        cond: Cond,
        w: Width,
        a: Value,
        b: Value,
        then: (Block, &[Value]),
        els: (Block, &[Value]),
        then_cold: bool,
    ) {
        self.terminate(Term::Br {
            cond,
            w,
            a,
            b,
            then: (then.0, then.1.to_vec()),
            els: (els.0, els.1.to_vec()),
            then_cold,
        });
    }

    /// Ends the function.
    pub fn ret(&mut self, v: Value) {
        self.terminate(Term::Ret(v));
    }

    /// Ends the function with a constant.
    pub fn ret_imm(&mut self, c: i64) {
        let v = self.iconst(c);
        self.ret(v);
    }
}

/// Type of an arithmetic result: a pointer moved by a number stays a pointer.
pub fn bin_ty(op: BinOp, a: Ty, b: Ty) -> Ty {
    match op {
        BinOp::Add if a.is_pointer() => a,
        BinOp::Add if b.is_pointer() => b,
        BinOp::Sub if a.is_pointer() && !b.is_pointer() => a,
        _ => Ty::Scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_fold_and_are_shared_within_a_block() {
        let mut b = Builder::new("f", FuncKind::Static, &[Ty::Scalar]);
        let (x, y) = (b.iconst(6), b.iconst(7));
        let p = b.bin(BinOp::Mul, x, y);
        assert_eq!(b.as_const(p), Some(42));
        assert_eq!(b.iconst(42), p);
        let x = b.param(0);
        assert_eq!(b.add_imm(x, 0), x);
        let next = b.new_block();
        b.jump(next, &[]);
        b.switch_to(next);
        assert_ne!(b.iconst(42), p);
    }

    #[test]
    fn frame_addresses_move_within_their_slot() {
        let mut b = Builder::new("f", FuncKind::Static, &[]);
        let s = b.new_slot(16);
        let a = b.slot_addr(s, 0);
        b.add_imm(a, 8);
        let last = b.func.block(Func::ENTRY).insts.last().unwrap();
        assert_eq!(last.inst, Inst::SlotAddr { slot: s, off: 8 });
    }

    #[test]
    fn code_after_a_terminator_is_dropped() {
        let mut b = Builder::new("f", FuncKind::Static, &[]);
        b.ret_imm(1);
        b.ret_imm(2);
        let f = b.finish();
        assert_eq!(f.blocks[0].insts.len(), 1);
    }
}
