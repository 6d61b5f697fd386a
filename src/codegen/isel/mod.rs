//! Instruction selection: IR to machine instructions over virtual registers.
//!
//! Immediates go into arithmetic, stores and branches; constant parts of addresses into the
//! offsets of memory accesses; constants, frame addresses and map references are made anew
//! where they are used and never live across calls. What nobody needs is not selected. Block
//! arguments become moves at the end of the predecessor, on a block of their own where the
//! edge is critical.

mod address;
mod bulk;
mod edges;
mod insts;

use std::collections::HashMap;

use crate::ir::cfg::reverse_postorder;
use crate::ir::inst::Cond;
use crate::ir::{Block, Func, Inst, Slot, Term, Value, Width};
use crate::object::{Loc, MapId};

use super::helper::{self, HelperId};
use super::insn::{JmpOp, Size};
use super::layout;
use super::minst::{Arg, Konst, MBlock, MFunc, MInst, Src, VReg};

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
    /// Whether it is used for anything but comparisons with constants of 32 bits.
    wide: Vec<bool>,
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
            wide: vec![false; func.values.len()],
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
                let w = self.compare_width(*w, *a, *b);
                let (op, a, b) = self.compare(*cond, w, *a, *b);
                let at = self.out.len();
                self.push(MInst::Jump(0));
                let body = std::mem::take(&mut self.out);
                let here = self.blocks.len();
                self.blocks.push(MBlock::default());
                // On the way where they are equal, the register is as good as the constant.
                let equal = match b {
                    Src::Imm(c) if w == Width::W64 => Some((a, i64::from(c))),
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
                    w,
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

    /// Results of which only the low half can be relied on are compared by that half.
    fn compare_width(&self, w: Width, a: Value, b: Value) -> Width {
        let half = |v: Value| {
            !self.wide[v.index()]
                && matches!(self.def[v.index()],
                    Some(Inst::Call { helper, .. }) if returns_int(*helper))
        };
        if half(a) || half(b) { Width::W32 } else { w }
    }

    fn compare(&mut self, cond: Cond, w: Width, a: Value, b: Value) -> (JmpOp, VReg, Src) {
        let (cond, a, b) = match (self.const_of(a), self.const_of(b)) {
            (Some(_), None) => (cond.swapped(), b, a),
            _ => (cond, a, b),
        };
        let a = self.reg(a);
        (jmp_op(cond), a, self.src(b, w))
    }
}

/// Helpers that the verifier replaces by calls of functions returning `int` before Linux 6.4
/// (d7ba4cc900bf): the upper half of r0 is not the sign then.
fn returns_int(h: HelperId) -> bool {
    matches!(
        h,
        helper::MAP_UPDATE_ELEM | helper::MAP_DELETE_ELEM | helper::FOR_EACH_MAP_ELEM
    )
}

fn size_of(bytes: u8) -> Size {
    Size::from_bytes(usize::from(bytes)).unwrap_or(Size::DW)
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
