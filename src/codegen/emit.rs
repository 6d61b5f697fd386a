//! Machine code of one function: registers filled in, blocks joined, jumps resolved.
//!
//! Three-operand arithmetic becomes two-operand; arguments and parameters move to and from
//! their fixed registers all at once; spilled operands are fetched and stored around their
//! instruction. Blocks that only jump on disappear. Jumps are resolved last, so nothing can
//! move under them. What refers to other functions or to maps is left to [`link`](super::link).

use std::collections::HashMap;

use crate::ir::{FuncId, Width};
use crate::object::{Loc, RelocKind};

use super::CodegenError;
use super::frame::Frame;
use super::insn::{
    AluOp, AtomicOp, INSN_SIZE, Insn, JA, JmpOp, Operand, PseudoLoad, R0, R10, Reg, Size,
};
use super::minst::{Arg, Base, Callee, Konst, MFunc, MInst, Need, Src, VReg, commutes};
use super::regalloc::{Allocation, Place};

/// Machine code of a function before it is linked.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Name of the function.
    pub name: String,
    /// Instructions.
    pub insns: Vec<Insn>,
    /// Places in the script, by ascending first instruction.
    pub locs: Vec<(u32, Loc)>,
    /// Map references: index of the first slot.
    pub relocs: Vec<(u32, RelocKind)>,
    /// Calls of functions.
    pub calls: Vec<(u32, FuncId)>,
    /// Addresses of functions: index of the first slot.
    pub func_addrs: Vec<(u32, FuncId)>,
    /// Bytes of stack.
    pub frame: u32,
}

/// Target of a jump that needs no more work.
const DONE: usize = usize::MAX;
/// Start of a block that has none yet.
const NOT_YET: u32 = u32::MAX;
/// Instructions after which jumps that still wait for their target get a stepping stone. Twice
/// this and the stones themselves are within a jump's 16 bits.
const ISLAND: usize = 14_000;

/// Emits `f` with the registers of `alloc`.
pub fn emit(f: &MFunc, alloc: &Allocation, frame: &Frame) -> Result<Code, CodegenError> {
    let mut e = Emitter {
        f,
        alloc,
        frame,
        code: Code {
            name: f.name.clone(),
            frame: frame.size,
            ..Code::default()
        },
        jumps: Vec::new(),
        loc: Loc::default(),
        held: [0; Reg::COUNT],
        kept: HashMap::new(),
        values: 0,
    };
    let onward = e.onward();
    let order: Vec<usize> = (0..f.blocks.len())
        .filter(|&b| b == 0 || onward[b] == b)
        .collect();
    let mut starts = vec![NOT_YET; f.blocks.len()];
    let mut firsts = Vec::with_capacity(f.blocks.len());
    let mut n = 0u32;
    for b in &f.blocks {
        firsts.push(n);
        n += b.insts.len() as u32;
    }
    let mut pending = 0;
    for (k, &b) in order.iter().enumerate() {
        e.island(&mut pending, &starts)?;
        starts[b] = e.code.insns.len() as u32;
        e.forget_all();
        let next = order.get(k + 1).copied();
        for (j, (inst, loc)) in f.blocks[b].insts.iter().enumerate() {
            e.loc = *loc;
            e.inst(firsts[b] + j as u32, inst, next, &onward);
        }
    }
    e.resolve(&starts)?;
    Ok(e.code)
}

struct Emitter<'a> {
    f: &'a MFunc,
    alloc: &'a Allocation,
    frame: &'a Frame,
    code: Code,
    /// Jumps and their target blocks.
    jumps: Vec<(usize, usize)>,
    loc: Loc,
    /// Which value each register and each spill slot holds, as far as is known in this block:
    /// equal numbers are equal values.
    held: [u32; Reg::COUNT],
    kept: HashMap<u32, u32>,
    values: u32,
}

/// Where an argument comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Reg(Reg),
    Spill(u32),
    Const(Konst),
}

impl Emitter<'_> {
    /// For every block the one that a jump to it ends up in.
    fn onward(&self) -> Vec<usize> {
        let step = |b: usize| -> Option<usize> {
            let (last, body) = self.f.blocks[b].insts.split_last()?;
            match last.0 {
                MInst::Jump(to) if b != 0 && body.iter().all(|(m, _)| self.is_empty(m)) => Some(to),
                _ => None,
            }
        };
        let mut onward: Vec<usize> = (0..self.f.blocks.len()).collect();
        let mut done = vec![false; onward.len()];
        for b in 0..onward.len() {
            let mut path = Vec::new();
            let mut at = b;
            while !done[at] {
                done[at] = true;
                match step(at) {
                    // Jumps in a circle end where they were first seen.
                    Some(to) if !path.contains(&to) && to != at => {
                        path.push(at);
                        at = to;
                    }
                    _ => break,
                }
            }
            let end = onward[at];
            for p in path {
                onward[p] = end;
            }
        }
        onward
    }

    /// Whether the instruction turned out to do nothing.
    fn is_empty(&self, m: &MInst) -> bool {
        match m {
            MInst::Mov { dst, src } => self.alloc.place(*dst) == self.alloc.place(*src),
            _ => false,
        }
    }

    fn push(&mut self, insn: Insn) {
        let at = self.code.insns.len() as u32;
        let news = self.code.locs.last().is_none_or(|(_, l)| *l != self.loc);
        if news {
            self.code.locs.push((at, self.loc));
        }
        for r in written(insn) {
            self.held[r] = self.fresh();
        }
        self.code.insns.push(insn);
    }

    fn fresh(&mut self) -> u32 {
        self.values += 1;
        self.values
    }

    /// At the start of a block nothing is known.
    fn forget_all(&mut self) {
        for r in 0..Reg::COUNT {
            self.held[r] = self.fresh();
        }
        self.kept.clear();
    }

    fn pair(&mut self, insns: [Insn; 2]) -> u32 {
        let at = self.code.insns.len() as u32;
        self.push(insns[0]);
        // The second slot writes nothing by itself.
        self.code.insns.push(insns[1]);
        at
    }

    fn fetch(&mut self, r: Reg, slot: u32) {
        let value = match self.kept.get(&slot) {
            Some(&v) => v,
            None => self.fresh(),
        };
        self.kept.insert(slot, value);
        match self.held.iter().position(|&h| h == value) {
            Some(same) => self.mov(r, Reg::new(same as u8).unwrap_or(r)),
            None => {
                self.push(Insn::ldx(Size::DW, r, R10, self.frame.spill(slot)));
                self.held[r.index()] = value;
            }
        }
    }

    fn save(&mut self, r: Reg, slot: u32) {
        self.push(Insn::stx(Size::DW, R10, self.frame.spill(slot), r));
        self.kept.insert(slot, self.held[r.index()]);
    }

    /// Register through which instruction `i` reads `v`.
    fn read(&self, i: u32, v: VReg) -> Reg {
        match self.alloc.place(v) {
            Place::Reg(r) => r,
            Place::Spill(_) | Place::Unused => self
                .alloc
                .read_reg(i, v)
                .expect("a spilled operand has a register for its instruction"),
        }
    }

    /// Register through which instruction `i` writes `v`.
    fn write(&self, i: u32, v: VReg) -> Reg {
        match self.alloc.place(v) {
            Place::Reg(r) => r,
            Place::Spill(_) | Place::Unused => self
                .alloc
                .write_reg(i, v)
                .expect("a spilled result has a register for its instruction"),
        }
    }

    fn src(&self, i: u32, s: Src) -> Operand {
        match s {
            Src::Reg(v) => Operand::Reg(self.read(i, v)),
            Src::Imm(c) => Operand::Imm(c),
        }
    }

    fn base(&self, i: u32, b: Base, off: i32) -> (Reg, i16) {
        match b {
            Base::Reg(v) => (self.read(i, v), off as i16),
            Base::Slot(s) => (R10, (self.frame.slot(s) + off) as i16),
        }
    }

    fn mov(&mut self, dst: Reg, src: Reg) {
        let value = self.held[src.index()];
        if self.held[dst.index()] != value {
            self.push(Insn::mov64(dst, src));
            self.held[dst.index()] = value;
        }
    }

    /// Makes a constant.
    fn konst(&mut self, dst: Reg, k: Konst) {
        match k {
            Konst::Imm(c) => {
                if let Ok(c) = i32::try_from(c) {
                    self.push(Insn::mov64(dst, c));
                } else if let Ok(c) = u32::try_from(c) {
                    self.push(Insn::mov32(dst, c as i32));
                } else {
                    self.pair(Insn::ld_imm64(dst, c as u64));
                }
            }
            Konst::Slot(s, off) => {
                self.push(Insn::mov64(dst, R10));
                self.push(Insn::alu64(AluOp::Add, dst, self.frame.slot(s) + off));
            }
            Konst::MapFd(m) => {
                let at = self.pair(Insn::ld_map_fd(dst, 0));
                self.code.relocs.push((at, RelocKind::Map(m)));
            }
            Konst::MapAddr(m, off) => {
                let at = self.pair(Insn::ld_map_value(dst, 0, off));
                self.code.relocs.push((at, RelocKind::MapValue(m, off)));
            }
            Konst::Func(id) => {
                let at = self.pair(Insn::ld_pseudo(dst, PseudoLoad::Func, 0, 0));
                self.code.func_addrs.push((at, id));
            }
        }
    }

    fn inst(&mut self, i: u32, m: &MInst, next: Option<usize>, onward: &[usize]) {
        let alloc = self.alloc;
        let mut fetches = Vec::new();
        m.for_each_use(|v, need| {
            if let (Place::Spill(s), true) = (alloc.place(v), need != Need::Any)
                && let Some(r) = alloc.read_reg(i, v)
            {
                fetches.push((r, s));
            }
        });
        for (r, s) in fetches {
            self.fetch(r, s);
        }
        match m {
            MInst::Params(vs) => self.params(vs),
            MInst::Const { dst, val } => return self.constant(i, *dst, *val),
            MInst::Mov { dst, src } => return self.copy(i, *dst, *src),
            MInst::Zext32 { dst, a } => {
                let (d, a) = (self.write(i, *dst), self.read(i, *a));
                self.push(Insn::mov32(d, a));
            }
            MInst::Neg { dst, a } => {
                let (d, a) = (self.write(i, *dst), self.read(i, *a));
                self.mov(d, a);
                self.push(Insn::neg64(d));
            }
            MInst::Opaque { dst, a } => {
                let (d, a) = (self.write(i, *dst), self.read(i, *a));
                // The difference of two pointers is any number to the verifier, even if it is 0.
                self.push(Insn::mov64(d, R10));
                self.push(Insn::alu64(AluOp::Sub, d, R10));
                self.push(Insn::alu64(AluOp::Add, d, a));
            }
            MInst::Swap { size, dst, a } => {
                let (d, a) = (self.write(i, *dst), self.read(i, *a));
                self.mov(d, a);
                self.push(if cfg!(target_endian = "little") {
                    Insn::to_be(d, *size)
                } else {
                    Insn::to_le(d, *size)
                });
            }
            MInst::Alu { op, w, dst, a, b } => {
                let (d, a, b) = (self.write(i, *dst), self.read(i, *a), self.src(i, *b));
                self.alu(*op, *w, d, a, b);
            }
            MInst::Load {
                size,
                dst,
                base,
                off,
            } => {
                let d = self.write(i, *dst);
                let (b, off) = self.base(i, *base, *off);
                self.push(Insn::ldx(*size, d, b, off));
            }
            MInst::Store {
                size,
                base,
                off,
                src,
            } => {
                let (b, off) = self.base(i, *base, *off);
                let insn = match self.src(i, *src) {
                    Operand::Reg(r) => Insn::stx(*size, b, off, r),
                    Operand::Imm(c) => Insn::st(*size, b, off, c),
                };
                self.push(insn);
            }
            MInst::Atomic {
                op,
                size,
                base,
                off,
                src,
                dst,
                expected,
            } => {
                let (b, off) = self.base(i, *base, *off);
                let src = self.read(i, *src);
                let dst = dst.map(|d| self.write(i, d));
                if let Some(e) = expected {
                    self.set(R0, self.from(*e));
                    self.push(Insn::atomic(AtomicOp::Cmpxchg, *size, b, off, src));
                    dst.into_iter().for_each(|d| self.mov(d, R0));
                } else {
                    let src = dst.map_or(src, |d| {
                        self.mov(d, src);
                        d
                    });
                    self.push(Insn::atomic(*op, *size, b, off, src));
                }
            }
            MInst::Call { callee, args, dst } => self.call(*callee, args, *dst),
            MInst::Jump(to) => self.goto(onward[*to], next),
            MInst::Branch {
                op,
                w,
                a,
                b,
                then,
                els,
            } => {
                let (a, b) = (self.read(i, *a), self.src(i, *b));
                self.branch(*op, *w, (a, b), (onward[*then], onward[*els]), next);
            }
            MInst::Ret(v) => {
                self.arg(R0, *v);
                self.push(Insn::exit());
            }
        }
        let mut saves = Vec::new();
        m.for_each_def(|v, need| {
            if let (Place::Spill(s), true) = (alloc.place(v), need != Need::Any)
                && let Some(r) = alloc.write_reg(i, v)
            {
                saves.push((r, s));
            }
        });
        for (r, s) in saves {
            self.save(r, s);
        }
    }

    fn constant(&mut self, i: u32, dst: VReg, val: Konst) {
        match (self.alloc.place(dst), val) {
            (Place::Spill(s), Konst::Imm(c)) if i32::try_from(c).is_ok() => {
                let off = self.frame.spill(s);
                self.push(Insn::st(Size::DW, R10, off, c as i32));
                self.kept.remove(&s);
            }
            (Place::Spill(s), _) => {
                let r = self.write(i, dst);
                self.konst(r, val);
                self.save(r, s);
            }
            (Place::Reg(r), _) => self.konst(r, val),
            (Place::Unused, _) => {}
        }
    }

    fn copy(&mut self, i: u32, dst: VReg, src: VReg) {
        match (self.alloc.place(dst), self.alloc.place(src)) {
            (d, s) if d == s => {}
            (Place::Reg(d), Place::Reg(s)) => self.mov(d, s),
            (Place::Reg(d), Place::Spill(s)) => self.fetch(d, s),
            (Place::Spill(d), Place::Reg(s)) => self.save(s, d),
            (Place::Spill(d), Place::Spill(s)) => {
                let r = self.write(i, dst);
                self.fetch(r, s);
                self.save(r, d);
            }
            (Place::Unused, _) | (_, Place::Unused) => {}
        }
    }

    /// `d = a OP b` in the two-operand form.
    fn alu(&mut self, op: AluOp, w: Width, d: Reg, a: Reg, b: Operand) {
        let form = |d, b| match w {
            Width::W64 => Insn::alu64(op, d, b),
            Width::W32 => Insn::alu32(op, d, b),
        };
        if b == Operand::Reg(d) && d != a {
            debug_assert!(
                commutes(op),
                "late operands do not share the result's register"
            );
            self.push(form(d, Operand::Reg(a)));
        } else {
            self.mov(d, a);
            self.push(form(d, b));
        }
    }

    fn from(&self, v: VReg) -> From {
        match self.alloc.place(v) {
            Place::Reg(r) => From::Reg(r),
            Place::Spill(s) => From::Spill(s),
            // Never defined either: any number will do.
            Place::Unused => From::Const(Konst::Imm(0)),
        }
    }

    fn set(&mut self, r: Reg, from: From) {
        match from {
            From::Reg(s) => self.mov(r, s),
            From::Spill(s) => self.fetch(r, s),
            From::Const(k) => self.konst(r, k),
        }
    }

    fn arg(&mut self, r: Reg, a: Arg) {
        match a {
            Arg::Reg(v) => self.set(r, self.from(v)),
            Arg::RegOff(v, off) => {
                self.set(r, self.from(v));
                self.push(Insn::alu64(AluOp::Add, r, off));
            }
            Arg::Const(k) => self.konst(r, k),
        }
    }

    fn call(&mut self, callee: Callee, args: &[Arg], dst: Option<VReg>) {
        // Registers first: what is fetched or made afterwards overwrites nothing they need.
        let mut moves = Vec::new();
        let mut rest = Vec::new();
        let mut add = Vec::new();
        for (k, &a) in args.iter().enumerate() {
            let Some(to) = Reg::new(k as u8 + 1) else {
                continue;
            };
            match a.reg().map(|v| self.from(v)) {
                Some(From::Reg(s)) => moves.push((to, s)),
                Some(from) => rest.push((to, from)),
                None => {
                    if let Arg::Const(k) = a {
                        rest.push((to, From::Const(k)));
                    }
                }
            }
            if let Arg::RegOff(_, off) = a {
                add.push((to, off));
            }
        }
        // Whatever is in r0 dies here or is one of the sources, which end in r1 onwards.
        self.shuffle(moves, R0);
        for (to, from) in rest {
            self.set(to, from);
        }
        for (to, off) in add {
            self.push(Insn::alu64(AluOp::Add, to, off));
        }
        match callee {
            Callee::Helper(h) => self.push(Insn::call(h)),
            Callee::Func(id) => {
                let at = self.code.insns.len() as u32;
                self.push(Insn::call_func(0));
                self.code.calls.push((at, id));
            }
        }
        match dst.map(|d| self.alloc.place(d)) {
            Some(Place::Reg(r)) => self.mov(r, R0),
            Some(Place::Spill(s)) => self.save(R0, s),
            Some(Place::Unused) | None => {}
        }
    }

    fn params(&mut self, vs: &[VReg]) {
        let mut moves = Vec::new();
        for (k, &v) in vs.iter().enumerate() {
            let Some(from) = Reg::new(k as u8 + 1) else {
                continue;
            };
            match self.alloc.place(v) {
                Place::Reg(to) => moves.push((to, from)),
                Place::Spill(s) => self.save(from, s),
                Place::Unused => {}
            }
        }
        // Parameters arrive in at most five registers and go to at most five.
        let busy = |r: Reg| moves.iter().any(|&(d, s)| d == r || s == r);
        let aside = (0..10u8).filter_map(Reg::new).find(|&r| !busy(r));
        self.shuffle(moves.clone(), aside.unwrap_or(R0));
    }

    /// Moves registers all at once in effect; `aside` is free for cycles.
    fn shuffle(&mut self, mut moves: Vec<(Reg, Reg)>, aside: Reg) {
        moves.retain(|(d, s)| d != s);
        while !moves.is_empty() {
            let free = |k: &usize| {
                let d = moves[*k].0;
                moves.iter().all(|&(_, s)| s != d)
            };
            match (0..moves.len()).find(free) {
                Some(k) => {
                    let (d, s) = moves.swap_remove(k);
                    self.mov(d, s);
                }
                None => {
                    let from = moves[0].0;
                    self.mov(aside, from);
                    for m in moves.iter_mut().filter(|m| m.1 == from) {
                        m.1 = aside;
                    }
                }
            }
        }
    }

    fn goto(&mut self, to: usize, next: Option<usize>) {
        if Some(to) != next {
            self.jumps.push((self.code.insns.len(), to));
            self.push(Insn::ja(0));
        }
    }

    fn branch(
        &mut self,
        op: JmpOp,
        w: Width,
        (a, b): (Reg, Operand),
        (then, els): (usize, usize),
        next: Option<usize>,
    ) {
        if then == els {
            return self.goto(then, next);
        }
        let (op, then, els) = match op.negated() {
            Some(n) if Some(then) == next => (n, els, then),
            _ => (op, then, els),
        };
        self.jumps.push((self.code.insns.len(), then));
        self.push(match w {
            Width::W64 => Insn::jmp64(op, a, b, 0),
            Width::W32 => Insn::jmp32(op, a, b, 0),
        });
        self.goto(els, next);
    }

    /// Puts stepping stones here for the jumps from far above whose target is still to come:
    /// `ja`s that the old jumps go to instead, and that go on from here. `pending` is the
    /// number of jumps that were looked at before.
    fn island(&mut self, pending: &mut usize, starts: &[u32]) -> Result<(), CodegenError> {
        let here = self.code.insns.len();
        let due = self
            .jumps
            .get(*pending)
            .is_some_and(|j| j.0 + ISLAND < here);
        if !due {
            return Ok(());
        }
        let mut targets: Vec<usize> = Vec::new();
        let old = std::mem::take(pending);
        let waits = |j: &&mut (usize, usize)| starts[j.1] == NOT_YET;
        for j in self.jumps[old..].iter_mut().filter(waits) {
            if !targets.contains(&j.1) {
                targets.push(j.1);
            }
        }
        // The code above must not run into the stones.
        let open = !matches!(self.code.insns.last(), Some(i) if *i == Insn::exit() || i.code == JA);
        if open && !targets.is_empty() {
            self.push(Insn::ja(targets.len() as i16));
        }
        let first = self.code.insns.len();
        for k in old..self.jumps.len() {
            let j = self.jumps[k];
            if starts[j.1] == NOT_YET
                && let Some(stone) = targets.iter().position(|&t| t == j.1)
            {
                self.aim(j.0, first + stone)?;
                // `resolve` will not touch it again.
                self.jumps[k].1 = DONE;
            }
        }
        self.jumps.retain(|j| j.1 != DONE);
        *pending = self.jumps.len();
        for t in targets {
            self.jumps.push((self.code.insns.len(), t));
            self.push(Insn::ja(0));
        }
        Ok(())
    }

    /// Fills in the distances of jumps.
    fn resolve(&mut self, starts: &[u32]) -> Result<(), CodegenError> {
        for (at, to) in std::mem::take(&mut self.jumps) {
            self.aim(at, starts[to] as usize)?;
        }
        Ok(())
    }

    fn aim(&mut self, at: usize, to: usize) -> Result<(), CodegenError> {
        let distance = to as i64 - at as i64 - 1;
        match i16::try_from(distance) {
            Ok(off) => {
                self.code.insns[at].off = off;
                Ok(())
            }
            Err(_) => Err(CodegenError::JumpTooFar {
                func: self.f.name.clone(),
                bytes: distance.unsigned_abs() * INSN_SIZE as u64,
            }),
        }
    }
}

/// Numbers of the registers that an instruction overwrites.
fn written(insn: Insn) -> std::ops::Range<usize> {
    use aya_obj::generated as uapi;
    let dst = usize::from(insn.dst);
    match insn.class() {
        uapi::BPF_ALU | uapi::BPF_ALU64 | uapi::BPF_LDX | uapi::BPF_LD => dst..dst + 1,
        uapi::BPF_JMP if insn.code == super::insn::CALL => 0..6,
        uapi::BPF_STX if insn.code & 0xe0 == uapi::BPF_ATOMIC as u8 => {
            match AtomicOp::from_imm(insn.imm) {
                Some(AtomicOp::Cmpxchg) => 0..1,
                _ => usize::from(insn.src)..usize::from(insn.src) + 1,
            }
        }
        _ => 0..0,
    }
}
