//! Addresses: constant parts are followed back to the start of an object and end up in the offset
//! fields of instructions; what nobody needs in a register is found beforehand.

use crate::ir::inst::BinOp;
use crate::ir::{Block, Inst, Term, Value, Width};
use crate::object::MapId;

use super::{Root, Selector};
use crate::codegen::insn::AluOp;
use crate::codegen::minst::{Arg, Base, Konst, MInst, Src, VReg};

impl Selector<'_> {
    /// Follows constant additions back to the start of an address. The offset stays within
    /// 16 bits for registers, whatever the object.
    pub(super) fn address(&self, mut v: Value, off: i32) -> (Root, i32) {
        let mut off = off;
        loop {
            match self.def[v.index()] {
                Some(Inst::NonNull(x)) => v = *x,
                Some(Inst::SlotAddr { slot, off: o }) => {
                    return (Root::Slot(*slot), off.wrapping_add(*o as i32));
                }
                Some(Inst::MapAddr { map, off: o }) => {
                    return (Root::Map(*map), off.wrapping_add(*o as i32));
                }
                Some(Inst::Bin {
                    op: BinOp::Add,
                    w: Width::W64,
                    a,
                    b,
                }) => {
                    let (base, c) = match (self.const_of(*a), self.const_of(*b)) {
                        (_, Some(c)) => (*a, c),
                        (Some(c), None) => (*b, c),
                        _ => return (Root::Value(v), off),
                    };
                    let sum = i64::from(off).checked_add(c);
                    match sum.and_then(|s| i16::try_from(s).ok()) {
                        Some(s) => {
                            off = i32::from(s);
                            v = base;
                        }
                        None => return (Root::Value(v), off),
                    }
                }
                _ => return (Root::Value(v), off),
            }
        }
    }

    /// Marks the values that must be in registers, from uses back to definitions.
    pub(super) fn find_needed(&mut self, rpo: &[Block]) {
        for &b in rpo.iter().rev() {
            let block = self.func.block(b);
            match &block.term {
                Some(Term::Br {
                    a, b, then, els, ..
                }) => {
                    let small = |v| self.const_of(v).is_some_and(|c| i32::try_from(c).is_ok());
                    if small(*a) || small(*b) {
                        self.needed[a.index()] = true;
                        self.needed[b.index()] = true;
                    } else {
                        self.need(*a);
                        self.need(*b);
                    }
                    then.1.iter().chain(&els.1).for_each(|&v| self.need(v));
                }
                Some(term) => term.for_each_use(|v| self.need(v)),
                None => {}
            }
            for node in block.insts.iter().rev() {
                let wanted = node.result.is_some_and(|v| self.needed[v.index()]);
                if wanted || node.inst.has_effect() {
                    self.need_operands(&node.inst);
                }
            }
        }
    }

    pub(super) fn need(&mut self, v: Value) {
        self.needed[v.index()] = true;
        self.wide[v.index()] = true;
    }

    /// `off` is part of the question: what does not fit into an offset is not folded.
    pub(super) fn need_address(&mut self, v: Value, off: i32) {
        if let (Root::Value(v), _) = self.address(v, off) {
            self.need(v);
        }
    }

    pub(super) fn need_operands(&mut self, inst: &Inst) {
        match inst {
            Inst::Load { ptr, off, .. } | Inst::Zero { ptr, off, .. } => {
                self.need_address(*ptr, *off);
            }
            Inst::Store { ptr, off, val, .. } => {
                self.need_address(*ptr, *off);
                self.need(*val);
            }
            Inst::Atomic {
                ptr,
                off,
                val,
                expected,
                ..
            } => {
                self.need_address(*ptr, *off);
                self.need(*val);
                expected.iter().for_each(|&v| self.need(v));
            }
            Inst::Copy {
                dst,
                dst_off,
                src,
                src_off,
                ..
            } => {
                self.need_address(*dst, *dst_off);
                self.need_address(*src, *src_off);
            }
            Inst::Call { args, .. } | Inst::CallFunc { args, .. } => {
                args.iter().for_each(|&v| self.need_address(v, 0));
            }
            other => other.for_each_use(|v| self.need(v)),
        }
    }

    /// A value on its way to a fixed place.
    pub(super) fn arg(&mut self, v: Value) -> Arg {
        if let Some(k) = self.konst_of(v) {
            if let Konst::Slot(s, _) = k {
                self.use_slot(s);
            }
            return Arg::Const(k);
        }
        if self.needed[v.index()] {
            return Arg::Reg(self.vreg(v));
        }
        match self.address(v, 0) {
            (Root::Slot(s), off) => {
                self.use_slot(s);
                Arg::Const(Konst::Slot(s, off))
            }
            (Root::Map(m), off) if off >= 0 => Arg::Const(Konst::MapAddr(m, off as u32)),
            (Root::Map(m), off) => Arg::RegOff(self.konst(Konst::MapAddr(m, 0)), off),
            // The base may be a constant that was found late.
            (Root::Value(base), 0) => Arg::Reg(self.reg(base)),
            (Root::Value(base), off) => Arg::RegOff(self.reg(base), off),
        }
    }

    /// `ptr + off` as an argument.
    pub(super) fn arg_at(&mut self, ptr: Value, off: i32) -> Arg {
        let (root, total) = self.address(ptr, off);
        match root {
            Root::Slot(s) => {
                self.use_slot(s);
                Arg::Const(Konst::Slot(s, total))
            }
            Root::Map(m) if total >= 0 => Arg::Const(Konst::MapAddr(m, total as u32)),
            Root::Map(m) => Arg::RegOff(self.konst(Konst::MapAddr(m, 0)), total),
            Root::Value(v) if total == 0 => Arg::Reg(self.reg(v)),
            Root::Value(v) => Arg::RegOff(self.reg(v), total),
        }
    }

    /// The base and offset of a memory access that reaches `reach` bytes past its offset.
    pub(super) fn base(&mut self, ptr: Value, off: i32, reach: u32) -> (Base, i32) {
        let (root, total) = self.address(ptr, off);
        match root {
            Root::Slot(s) => {
                self.use_slot(s);
                (Base::Slot(s), total)
            }
            Root::Map(m) => self.map_base(m, total, reach),
            Root::Value(v) => {
                let base = self.reg(v);
                self.fit(base, total, reach)
            }
        }
    }

    pub(super) fn map_base(&mut self, m: MapId, total: i32, reach: u32) -> (Base, i32) {
        if let Some(&(r, at)) = self.map_cache.get(&m)
            && let rel = i64::from(total) - i64::from(at)
            && rel >= i64::from(i16::MIN)
            && rel + i64::from(reach) <= i64::from(i16::MAX)
        {
            return (Base::Reg(r), rel as i32);
        }
        let at = total.max(0) as u32;
        let r = self.konst(Konst::MapAddr(m, at));
        self.map_cache.insert(m, (r, at));
        (Base::Reg(r), total.min(0))
    }

    /// Moves what does not fit into the 16 bits of an offset into a register.
    pub(super) fn fit(&mut self, base: VReg, off: i32, reach: u32) -> (Base, i32) {
        let end = i64::from(off) + i64::from(reach);
        if off >= i32::from(i16::MIN) && end <= i64::from(i16::MAX) {
            return (Base::Reg(base), off);
        }
        let dst = self.new_vreg();
        self.push(MInst::Alu {
            op: AluOp::Add,
            w: Width::W64,
            dst,
            a: base,
            b: Src::Imm(off),
        });
        (Base::Reg(dst), 0)
    }
}
