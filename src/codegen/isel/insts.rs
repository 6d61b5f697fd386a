//! One instruction of the IR at a time.

use crate::ir::inst::{AtomicOp as IrAtomic, BinOp, MemTy};
use crate::ir::{Inst, Value, Width};

use super::{Selector, returns_int, size_of};
use crate::codegen::insn::{AluOp, AtomicOp};
use crate::codegen::minst::{Base, Callee, Konst, MInst, Src, VReg};

impl Selector<'_> {
    pub(super) fn inst(&mut self, inst: &Inst, wanted: Option<Value>) {
        match inst {
            // Made where they are used.
            Inst::Const(_)
            | Inst::SlotAddr { .. }
            | Inst::MapFd(_)
            | Inst::MapAddr { .. }
            | Inst::FuncAddr(_)
            | Inst::NonNull(_) => {}
            Inst::Bin { op, w, a, b } => {
                if let Some(v) = wanted {
                    self.bin(v, *op, *w, *a, *b);
                }
            }
            Inst::Neg(a) => {
                let a = self.reg(*a);
                if let Some(dst) = wanted.map(|v| self.vreg(v)) {
                    self.push(MInst::Neg { dst, a });
                }
            }
            Inst::Opaque(a) => {
                let a = self.reg(*a);
                if let Some(dst) = wanted.map(|v| self.vreg(v)) {
                    self.push(MInst::Opaque { dst, a });
                }
            }
            Inst::Ext { signed, bits, a } => {
                let a = self.reg(*a);
                if let Some(dst) = wanted.map(|v| self.vreg(v)) {
                    self.extend(dst, *signed, *bits, a);
                }
            }
            Inst::Bswap { bits, a } => {
                let a = self.reg(*a);
                if let Some(dst) = wanted.map(|v| self.vreg(v)) {
                    let size = size_of(bits / 8);
                    self.push(MInst::Swap { size, dst, a });
                }
            }
            Inst::Load { mem, ptr, off } => {
                let (base, off) = self.base(*ptr, *off, 8);
                if let Some(dst) = wanted.map(|v| self.vreg(v)) {
                    self.load(dst, *mem, base, off);
                }
            }
            Inst::Store { mem, ptr, off, val } => {
                let w = if mem.size == 8 {
                    Width::W64
                } else {
                    Width::W32
                };
                let src = self.src(*val, w);
                let (base, off) = self.base(*ptr, *off, 8);
                let size = size_of(mem.size);
                self.push(MInst::Store {
                    size,
                    base,
                    off,
                    src,
                });
            }
            Inst::Atomic {
                op,
                size,
                fetch,
                ptr,
                off,
                val,
                expected,
            } => {
                let src = self.reg(*val);
                let expected = expected.map(|e| self.reg(e));
                let (base, off) = self.base(*ptr, *off, 8);
                // An old value that nobody wants costs a fetch all the same.
                let fetch = (*fetch && wanted.is_some())
                    || matches!(op, IrAtomic::Xchg | IrAtomic::Cmpxchg);
                let dst = match wanted {
                    Some(v) => Some(self.vreg(v)),
                    None if fetch => Some(self.new_vreg()),
                    None => None,
                };
                self.push(MInst::Atomic {
                    op: atomic_op(*op, fetch),
                    size: size_of(*size),
                    base,
                    off,
                    src,
                    dst,
                    expected,
                });
            }
            Inst::Call { helper, args, .. } => self.call(Callee::Helper(*helper), args, wanted),
            Inst::CallFunc { func, args } => self.call(Callee::Func(*func), args, wanted),
            Inst::Zero { ptr, off, len } => self.zero(*ptr, *off, *len),
            Inst::Copy {
                dst,
                dst_off,
                src,
                src_off,
                len,
                align,
            } => self.copy((*dst, *dst_off), (*src, *src_off), *len, *align),
        }
    }

    pub(super) fn call(&mut self, callee: Callee, args: &[Value], wanted: Option<Value>) {
        let args = args.iter().map(|&v| self.arg(v)).collect();
        let dst = wanted.map(|v| self.vreg(v));
        match (callee, wanted, dst) {
            (Callee::Helper(h), Some(v), Some(r)) if returns_int(h) && self.wide[v.index()] => {
                let dst = Some(self.new_vreg());
                self.push(MInst::Call { callee, args, dst });
                dst.into_iter().for_each(|t| self.extend(r, true, 32, t));
            }
            _ => self.push(MInst::Call { callee, args, dst }),
        }
    }

    pub(super) fn bin(&mut self, v: Value, op: BinOp, w: Width, a: Value, b: Value) {
        let (a, b) = match (self.const_of(a), self.const_of(b)) {
            (Some(_), None) if op.is_commutative() => (b, a),
            _ => (a, b),
        };
        let dst = self.vreg(v);
        if let Some(c) = self.const_of(b) {
            let zero = match w {
                Width::W64 => c == 0,
                Width::W32 => c as i32 == 0,
            };
            match op {
                // The kernel rejects division by a constant zero.
                BinOp::Udiv if zero => {
                    let val = Konst::Imm(0);
                    return self.push(MInst::Const { dst, val });
                }
                BinOp::Umod if zero => {
                    let a = self.reg(a);
                    return self.push(match w {
                        Width::W64 => MInst::Mov { dst, src: a },
                        Width::W32 => MInst::Zext32 { dst, a },
                    });
                }
                // And shifts by the width or more.
                BinOp::Shl | BinOp::Lshr | BinOp::Ashr => {
                    let mask = match w {
                        Width::W64 => 63,
                        Width::W32 => 31,
                    };
                    let a = self.reg(a);
                    let b = Src::Imm(c as i32 & mask);
                    let op = alu_op(op);
                    return self.push(MInst::Alu { op, w, dst, a, b });
                }
                BinOp::And if w == Width::W64 && c == 0xffff_ffff => {
                    let a = self.reg(a);
                    return self.push(MInst::Zext32 { dst, a });
                }
                _ => {}
            }
        } else if op == BinOp::Sub && w == Width::W64 && self.const_of(a) == Some(0) {
            let a = self.reg(b);
            return self.push(MInst::Neg { dst, a });
        }
        if self.func.ty(v).is_pointer() {
            self.mark_bounded(if self.func.ty(a).is_pointer() { b } else { a });
        }
        let a = self.reg(a);
        let b = self.src(b, w);
        let op = alu_op(op);
        self.push(MInst::Alu { op, w, dst, a, b });
    }

    /// Notes an offset, and the numbers it is computed from by constants: one of them was
    /// compared with the bound.
    pub(super) fn mark_bounded(&mut self, mut v: Value) {
        for _ in 0..4 {
            if self.konst_of(v).is_some() {
                return;
            }
            let r = self.vreg(v);
            self.bounded.push(r);
            v = match self.def[v.index()] {
                Some(Inst::Bin { a, b, .. }) if self.const_of(*b).is_some() => *a,
                Some(Inst::Ext { a, .. }) => *a,
                _ => return,
            };
        }
    }

    pub(super) fn extend(&mut self, dst: VReg, signed: bool, bits: u8, a: VReg) {
        let w = Width::W64;
        match (signed, bits) {
            (false, 32) => self.push(MInst::Zext32 { dst, a }),
            (false, 8 | 16) => {
                let b = Src::Imm((1 << bits) - 1);
                let op = AluOp::And;
                self.push(MInst::Alu { op, w, dst, a, b });
            }
            (true, 8 | 16 | 32) => {
                let b = Src::Imm(64 - i32::from(bits));
                let t = self.new_vreg();
                let (op, back) = (AluOp::Lsh, AluOp::Arsh);
                self.push(MInst::Alu {
                    op,
                    w,
                    dst: t,
                    a,
                    b,
                });
                self.push(MInst::Alu {
                    op: back,
                    w,
                    dst,
                    a: t,
                    b,
                });
            }
            _ => self.push(MInst::Mov { dst, src: a }),
        }
    }

    pub(super) fn load(&mut self, dst: VReg, mem: MemTy, base: Base, off: i32) {
        let size = size_of(mem.size);
        if mem.signed && mem.size < 8 {
            let raw = self.new_vreg();
            self.push(MInst::Load {
                size,
                dst: raw,
                base,
                off,
            });
            self.extend(dst, true, mem.size * 8, raw);
        } else {
            self.push(MInst::Load {
                size,
                dst,
                base,
                off,
            });
        }
    }
}

fn alu_op(op: BinOp) -> AluOp {
    match op {
        BinOp::Add => AluOp::Add,
        BinOp::Sub => AluOp::Sub,
        BinOp::Mul => AluOp::Mul,
        BinOp::Udiv => AluOp::Div,
        BinOp::Umod => AluOp::Mod,
        BinOp::And => AluOp::And,
        BinOp::Or => AluOp::Or,
        BinOp::Xor => AluOp::Xor,
        BinOp::Shl => AluOp::Lsh,
        BinOp::Lshr => AluOp::Rsh,
        BinOp::Ashr => AluOp::Arsh,
    }
}

fn atomic_op(op: IrAtomic, fetch: bool) -> AtomicOp {
    match (op, fetch) {
        (IrAtomic::Add, false) => AtomicOp::Add,
        (IrAtomic::Add, true) => AtomicOp::FetchAdd,
        (IrAtomic::Or, false) => AtomicOp::Or,
        (IrAtomic::Or, true) => AtomicOp::FetchOr,
        (IrAtomic::And, false) => AtomicOp::And,
        (IrAtomic::And, true) => AtomicOp::FetchAnd,
        (IrAtomic::Xor, false) => AtomicOp::Xor,
        (IrAtomic::Xor, true) => AtomicOp::FetchXor,
        (IrAtomic::Xchg, _) => AtomicOp::Xchg,
        (IrAtomic::Cmpxchg, _) => AtomicOp::Cmpxchg,
    }
}
