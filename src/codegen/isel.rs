//! Instruction selection: IR to machine instructions over virtual registers.
//!
//! Immediates go into arithmetic, stores and branches; constant parts of addresses into the
//! offsets of memory accesses; constants, frame addresses and map references are made anew
//! where they are used and never live across calls. What nobody needs is not selected. Block
//! arguments become moves at the end of the predecessor, on a block of their own where the
//! edge is critical.

use std::collections::HashMap;

use crate::ir::cfg::reverse_postorder;
use crate::ir::inst::{AtomicOp as IrAtomic, BinOp, Cond, MemTy};
use crate::ir::{Block, Func, Inst, Slot, Term, Value, Width};
use crate::object::{Loc, MapId};

use super::helper;
use super::insn::{AluOp, AtomicOp, JmpOp, Size};
use super::layout;
use super::minst::{Arg, Base, Callee, Konst, MBlock, MFunc, MInst, Src, VReg};

/// Most loads or stores that a copy or zeroing is unrolled into; beyond, a helper does it.
/// A helper call costs as much as some twenty simple instructions.
const UNROLL: usize = 16;

/// Selects machine instructions for `func`.
pub fn select(func: &Func) -> MFunc {
    let (order, cold) = layout::order(func);
    let mut sel = Selector::new(func);
    sel.find_needed(&reverse_postorder(func));
    // Positions of the IR blocks among the machine blocks; edge blocks come later, each after
    // the block it leaves or, if rare, at the end.
    let mut tail = Vec::new();
    let mut tail_place = Vec::new();
    let mut was_cold = false;
    for &b in &order {
        let is_cold = cold[b.index()];
        if was_cold && !is_cold {
            sel.append(&mut tail, &mut tail_place);
        }
        was_cold = is_cold;
        let at = sel.blocks.len();
        sel.block(b, is_cold, &mut tail);
        sel.place[b.index()] = at;
    }
    sel.append(&mut tail, &mut tail_place);
    sel.resolve(&tail_place);
    MFunc {
        name: func.name.clone(),
        blocks: sel.blocks,
        vregs: sel.vregs as usize,
        slots: sel.slots,
        bounded: sel.bounded,
    }
}

/// Jump targets before blocks have their final place.
#[derive(Clone, Copy)]
enum Label {
    Ir(Block),
    /// Block of this index in the list being built.
    Here(usize),
    /// Rare edge block of this number.
    Tail(usize),
}

struct Selector<'a> {
    func: &'a Func,
    /// The instruction that defines each value, if one does.
    def: Vec<Option<&'a Inst>>,
    /// Whether a value is wanted in a register.
    needed: Vec<bool>,
    vreg: Vec<Option<VReg>>,
    vregs: u32,
    slots: Vec<u32>,
    blocks: Vec<MBlock>,
    /// Machine block of each IR block.
    place: Vec<usize>,
    labels: Vec<Label>,
    /// Number of rare edge blocks.
    tails: usize,
    bounded: Vec<VReg>,
    out: Vec<(MInst, Loc)>,
    loc: Loc,
    /// Constants in registers since the last call of the block.
    cache: HashMap<Konst, VReg>,
    /// Map addresses likewise: the register and the byte it points to.
    map_cache: HashMap<MapId, (VReg, u32)>,
}

/// Where a memory access goes.
#[derive(Clone, Copy)]
enum Root {
    Value(Value),
    Slot(Slot),
    Map(MapId),
}

impl<'a> Selector<'a> {
    fn new(func: &'a Func) -> Self {
        let mut def = vec![None; func.values.len()];
        for b in &func.blocks {
            for n in &b.insts {
                if let Some(v) = n.result {
                    def[v.index()] = Some(&n.inst);
                }
            }
        }
        Self {
            func,
            def,
            needed: vec![false; func.values.len()],
            vreg: vec![None; func.values.len()],
            vregs: 0,
            slots: vec![0; func.slots.len()],
            blocks: Vec::new(),
            place: vec![0; func.blocks.len()],
            labels: Vec::new(),
            tails: 0,
            bounded: Vec::new(),
            out: Vec::new(),
            loc: Loc::default(),
            cache: HashMap::new(),
            map_cache: HashMap::new(),
        }
    }

    fn const_of(&self, v: Value) -> Option<i64> {
        match self.def[v.index()] {
            Some(Inst::Const(c)) => Some(*c),
            _ => None,
        }
    }

    /// Constants that are made where they are used.
    fn konst_of(&self, v: Value) -> Option<Konst> {
        Some(match self.def[v.index()]? {
            Inst::Const(c) => Konst::Imm(*c),
            Inst::SlotAddr { slot, off } => Konst::Slot(*slot, *off as i32),
            Inst::MapFd(m) => Konst::MapFd(*m),
            Inst::MapAddr { map, off } => Konst::MapAddr(*map, *off),
            Inst::FuncAddr(f) => Konst::Func(*f),
            _ => return None,
        })
    }

    /// Follows constant additions back to the start of an address. The offset stays within
    /// 16 bits for registers, whatever the object.
    fn address(&self, mut v: Value, off: i32) -> (Root, i32) {
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
    fn find_needed(&mut self, rpo: &[Block]) {
        for &b in rpo.iter().rev() {
            let block = self.func.block(b);
            if let Some(term) = &block.term {
                term.for_each_use(|v| self.need(v));
            }
            for node in block.insts.iter().rev() {
                let wanted = node.result.is_some_and(|v| self.needed[v.index()]);
                if wanted || node.inst.has_effect() {
                    self.need_operands(&node.inst);
                }
            }
        }
    }

    fn need(&mut self, v: Value) {
        self.needed[v.index()] = true;
    }

    /// `off` is part of the question: what does not fit into an offset is not folded.
    fn need_address(&mut self, v: Value, off: i32) {
        if let (Root::Value(v), _) = self.address(v, off) {
            self.need(v);
        }
    }

    fn need_operands(&mut self, inst: &Inst) {
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

    fn new_vreg(&mut self) -> VReg {
        self.vregs += 1;
        VReg(self.vregs - 1)
    }

    /// The register of a value that is no constant.
    fn vreg(&mut self, v: Value) -> VReg {
        if let Some(r) = self.vreg[v.index()] {
            return r;
        }
        // A refined pointer is the pointer: the verifier refines every copy of it.
        let r = match self.def[v.index()] {
            Some(Inst::NonNull(x)) => self.vreg(*x),
            _ => self.new_vreg(),
        };
        self.vreg[v.index()] = Some(r);
        r
    }

    fn push(&mut self, inst: MInst) {
        if inst.is_call() {
            self.cache.clear();
            self.map_cache.clear();
        }
        self.out.push((inst, self.loc));
    }

    fn konst(&mut self, k: Konst) -> VReg {
        if let Some(&r) = self.cache.get(&k) {
            return r;
        }
        if let Konst::Slot(s, _) = k {
            self.use_slot(s);
        }
        let dst = self.new_vreg();
        self.push(MInst::Const { dst, val: k });
        self.cache.insert(k, dst);
        dst
    }

    fn use_slot(&mut self, s: Slot) {
        self.slots[s.index()] = self.func.slots[s.index()].size;
    }

    /// A value in a register.
    fn reg(&mut self, v: Value) -> VReg {
        match self.konst_of(v) {
            Some(k) => self.konst(k),
            None => self.vreg(v),
        }
    }

    /// A value as an immediate if it is a constant of 32 bits.
    fn src(&mut self, v: Value, w: Width) -> Src {
        match self.const_of(v) {
            Some(c) if w == Width::W32 => Src::Imm(c as i32),
            Some(c) if i64::from(c as i32) == c => Src::Imm(c as i32),
            _ => Src::Reg(self.reg(v)),
        }
    }

    /// A value on its way to a fixed place.
    fn arg(&mut self, v: Value) -> Arg {
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
            (Root::Value(base), 0) => Arg::Reg(self.vreg(base)),
            (Root::Value(base), off) => Arg::RegOff(self.vreg(base), off),
        }
    }

    /// The base and offset of a memory access that reaches `reach` bytes past its offset.
    fn base(&mut self, ptr: Value, off: i32, reach: u32) -> (Base, i32) {
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

    fn map_base(&mut self, m: MapId, total: i32, reach: u32) -> (Base, i32) {
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
    fn fit(&mut self, base: VReg, off: i32, reach: u32) -> (Base, i32) {
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

    fn block(&mut self, b: Block, cold: bool, tail: &mut Vec<MBlock>) {
        self.cache.clear();
        self.map_cache.clear();
        let block = self.func.block(b);
        if b == Func::ENTRY && !block.params.is_empty() {
            let vs = block.params.iter().map(|&p| self.vreg(p)).collect();
            self.loc = block.insts.first().map_or(block.term_loc, |n| n.loc);
            self.push(MInst::Params(vs));
        }
        for node in &block.insts {
            self.loc = node.loc;
            let wanted = node.result.filter(|v| self.needed[v.index()]);
            if wanted.is_some() || node.inst.has_effect() {
                self.inst(&node.inst, wanted);
            }
        }
        self.loc = block.term_loc;
        match &block.term {
            Some(Term::Jump(to, args)) => {
                self.moves(*to, args, None);
                let to = self.label(Label::Ir(*to));
                self.push(MInst::Jump(to));
                self.finish(cold);
            }
            Some(Term::Br {
                cond,
                w,
                a,
                b,
                then,
                els,
                then_cold,
            }) => {
                let (op, a, b) = self.compare(*cond, *w, *a, *b);
                let at = self.out.len();
                self.push(MInst::Jump(0));
                let body = std::mem::take(&mut self.out);
                let here = self.blocks.len();
                self.blocks.push(MBlock::default());
                // On the way where they are equal, the register is as good as the constant.
                let equal = match b {
                    Src::Imm(c) if *w == Width::W64 => Some((a, i64::from(c))),
                    _ => None,
                };
                let (on_then, on_els) = match op {
                    JmpOp::Eq => (equal, None),
                    JmpOp::Ne => (None, equal),
                    _ => (None, None),
                };
                let els = self.edge(els, cold, on_els, tail);
                let then = self.edge(then, cold || *then_cold, on_then, tail);
                let mut body = body;
                body[at].0 = MInst::Branch {
                    op,
                    w: *w,
                    a,
                    b,
                    then,
                    els,
                };
                self.blocks[here] = MBlock { insts: body, cold };
            }
            Some(Term::Ret(v)) => {
                let v = self.arg(*v);
                self.push(MInst::Ret(v));
                self.finish(cold);
            }
            // Blocks without an end do not pass the IR's verifier; the machine must still
            // not run on into whatever follows.
            None => {
                self.push(MInst::Ret(Arg::Const(Konst::Imm(0))));
                self.finish(cold);
            }
        }
    }

    fn finish(&mut self, cold: bool) {
        let insts = std::mem::take(&mut self.out);
        self.blocks.push(MBlock { insts, cold });
    }

    fn label(&mut self, l: Label) -> usize {
        self.labels.push(l);
        self.labels.len() - 1
    }

    /// The label of an edge: the target itself or a block with its moves. `known` is a register
    /// that holds a constant on this way.
    fn edge(
        &mut self,
        (to, args): &(Block, Vec<Value>),
        cold: bool,
        known: Option<(VReg, i64)>,
        tail: &mut Vec<MBlock>,
    ) -> usize {
        if args.is_empty() {
            return self.label(Label::Ir(*to));
        }
        self.cache.clear();
        self.map_cache.clear();
        self.moves(*to, args, known);
        let target = self.label(Label::Ir(*to));
        self.push(MInst::Jump(target));
        let block = MBlock {
            insts: std::mem::take(&mut self.out),
            cold,
        };
        if cold {
            tail.push(block);
            self.tails += 1;
            self.label(Label::Tail(self.tails - 1))
        } else {
            self.blocks.push(block);
            self.label(Label::Here(self.blocks.len() - 1))
        }
    }

    /// Lays out the rare edge blocks met so far.
    fn append(&mut self, tail: &mut Vec<MBlock>, place: &mut Vec<usize>) {
        place.extend(self.blocks.len()..self.blocks.len() + tail.len());
        self.blocks.append(tail);
    }

    /// Turns labels into block indices; `tail` are those of rare edge blocks.
    fn resolve(&mut self, tail: &[usize]) {
        let at = |l: &Label| match l {
            Label::Ir(b) => self.place[b.index()],
            Label::Here(i) => *i,
            Label::Tail(i) => tail[*i],
        };
        let places: Vec<usize> = self.labels.iter().map(at).collect();
        for block in &mut self.blocks {
            match block.insts.last_mut() {
                Some((MInst::Jump(to), _)) => *to = places[*to],
                Some((MInst::Branch { then, els, .. }, _)) => {
                    *then = places[*then];
                    *els = places[*els];
                }
                _ => {}
            }
        }
    }

    /// Moves block arguments into the parameters of `to`, all at once in effect.
    fn moves(&mut self, to: Block, args: &[Value], known: Option<(VReg, i64)>) {
        let params = &self.func.block(to).params;
        let mut regs = Vec::new();
        let mut consts = Vec::new();
        for (&p, &a) in params.iter().zip(args) {
            let dst = self.vreg(p);
            match (self.konst_of(a), known) {
                (Some(Konst::Imm(c)), Some((src, k))) if c == k => {
                    if src != dst {
                        regs.push((dst, src));
                    }
                }
                (Some(k), _) => {
                    if let Konst::Slot(s, _) = k {
                        self.use_slot(s);
                    }
                    consts.push((dst, k));
                }
                (None, _) => {
                    let src = self.vreg(a);
                    if src != dst {
                        regs.push((dst, src));
                    }
                }
            }
        }
        let mut reads: HashMap<VReg, usize> = HashMap::new();
        for (_, src) in &regs {
            *reads.entry(*src).or_default() += 1;
        }
        let mut pending: HashMap<VReg, VReg> = regs.iter().copied().collect();
        // A move whose destination nobody still reads may go; that may free its source.
        let mut ready: Vec<VReg> = regs
            .iter()
            .map(|m| m.0)
            .filter(|d| !reads.contains_key(d))
            .collect();
        let mut rest = regs.iter().map(|m| m.0);
        loop {
            while let Some(dst) = ready.pop() {
                let Some(src) = pending.remove(&dst) else {
                    continue;
                };
                self.push(MInst::Mov { dst, src });
                if let Some(n) = reads.get_mut(&src) {
                    *n -= 1;
                    if *n == 0 && pending.contains_key(&src) {
                        ready.push(src);
                    }
                }
            }
            // Only cycles are left: one value steps aside.
            let Some(dst) = rest.find(|d| pending.contains_key(d)) else {
                break;
            };
            let aside = self.new_vreg();
            self.push(MInst::Mov {
                dst: aside,
                src: dst,
            });
            for src in pending.values_mut() {
                if *src == dst {
                    *src = aside;
                }
            }
            ready.push(dst);
        }
        for (dst, val) in consts {
            self.push(MInst::Const { dst, val });
        }
    }

    fn compare(&mut self, cond: Cond, w: Width, a: Value, b: Value) -> (JmpOp, VReg, Src) {
        let (cond, a, b) = match (self.const_of(a), self.const_of(b)) {
            (Some(_), None) => (cond.swapped(), b, a),
            _ => (cond, a, b),
        };
        let a = self.reg(a);
        (jmp_op(cond), a, self.src(b, w))
    }

    fn inst(&mut self, inst: &Inst, wanted: Option<Value>) {
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

    fn call(&mut self, callee: Callee, args: &[Value], wanted: Option<Value>) {
        let args = args.iter().map(|&v| self.arg(v)).collect();
        let dst = wanted.map(|v| self.vreg(v));
        self.push(MInst::Call { callee, args, dst });
    }

    fn bin(&mut self, v: Value, op: BinOp, w: Width, a: Value, b: Value) {
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
    fn mark_bounded(&mut self, mut v: Value) {
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

    fn extend(&mut self, dst: VReg, signed: bool, bits: u8, a: VReg) {
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

    fn load(&mut self, dst: VReg, mem: MemTy, base: Base, off: i32) {
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

    fn zero(&mut self, ptr: Value, off: i32, len: u32) {
        // Frame accesses must be aligned; map values and records start 8-aligned.
        let (_, start) = self.address(ptr, off);
        let pieces = pieces(start, len, 8);
        if pieces.len() > UNROLL {
            // Reading from address 0 fails and clears the destination.
            let dst = self.arg_at(ptr, off);
            let args = vec![
                dst,
                Arg::Const(Konst::Imm(i64::from(len))),
                Arg::Const(Konst::Imm(0)),
            ];
            return self.read_kernel(args);
        }
        let (base, start) = self.base(ptr, off, len);
        for (at, n) in pieces {
            self.push(MInst::Store {
                size: size_of(n),
                base,
                off: start + at as i32,
                src: Src::Imm(0),
            });
        }
    }

    fn copy(&mut self, dst: (Value, i32), src: (Value, i32), len: u32, align: u8) {
        let (dst_root, to) = self.address(dst.0, dst.1);
        let (src_root, from) = self.address(src.0, src.1);
        // What is known of frame addresses holds whatever the caller says.
        let align = match (dst_root, src_root) {
            (Root::Slot(_), Root::Slot(_)) => natural(to).min(natural(from)),
            (Root::Slot(_), _) => align.min(natural(to)),
            (_, Root::Slot(_)) => align.min(natural(from)),
            _ => align,
        };
        let pieces = pieces(0, len, align);
        if pieces.len() > UNROLL {
            let (d, s) = (self.arg_at(dst.0, dst.1), self.arg_at(src.0, src.1));
            let len = Arg::Const(Konst::Imm(i64::from(len)));
            return self.read_kernel(vec![d, len, s]);
        }
        let (dst_base, to) = self.base(dst.0, dst.1, len);
        let (src_base, from) = self.base(src.0, src.1, len);
        for (at, n) in pieces {
            let size = size_of(n);
            let t = self.new_vreg();
            self.push(MInst::Load {
                size,
                dst: t,
                base: src_base,
                off: from + at as i32,
            });
            self.push(MInst::Store {
                size,
                base: dst_base,
                off: to + at as i32,
                src: Src::Reg(t),
            });
        }
    }

    fn read_kernel(&mut self, args: Vec<Arg>) {
        self.push(MInst::Call {
            callee: Callee::Helper(helper::PROBE_READ_KERNEL),
            args,
            dst: None,
        });
    }

    /// `ptr + off` as an argument.
    fn arg_at(&mut self, ptr: Value, off: i32) -> Arg {
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
}

/// The largest power of two up to 8 that divides `off`.
fn natural(off: i32) -> u8 {
    1 << off.trailing_zeros().min(3)
}

/// Splits `len` bytes at offset `start` into aligned accesses of at most `max` bytes: offset
/// from the start, size.
fn pieces(start: i32, len: u32, max: u8) -> Vec<(u32, u8)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < len {
        let mut n = natural(start.wrapping_add(at as i32)).min(max);
        while u32::from(n) > len - at {
            n /= 2;
        }
        out.push((at, n));
        at += u32::from(n);
    }
    out
}

fn size_of(bytes: u8) -> Size {
    Size::from_bytes(usize::from(bytes)).unwrap_or(Size::DW)
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

fn jmp_op(cond: Cond) -> JmpOp {
    match cond {
        Cond::Eq => JmpOp::Eq,
        Cond::Ne => JmpOp::Ne,
        Cond::Ult => JmpOp::Lt,
        Cond::Ule => JmpOp::Le,
        Cond::Ugt => JmpOp::Gt,
        Cond::Uge => JmpOp::Ge,
        Cond::Slt => JmpOp::Slt,
        Cond::Sle => JmpOp::Sle,
        Cond::Sgt => JmpOp::Sgt,
        Cond::Sge => JmpOp::Sge,
        Cond::Set => JmpOp::Set,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned() {
        assert_eq!(pieces(4, 13, 8), [(0, 4), (4, 8), (12, 1)]);
        assert_eq!(pieces(0, 7, 2), [(0, 2), (2, 2), (4, 2), (6, 1)]);
    }
}
