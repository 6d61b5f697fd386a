//! Folds constants and replaces instructions by cheaper ones that give the same.
//!
//! One walk in an order in which definitions come before uses. Loads from maps whose contents
//! are fixed before the program runs (`MapDef::init`) are constants too.

use super::rename::Rename;
use crate::ir::cfg::reverse_postorder;
use crate::ir::entity::Value;
use crate::ir::func::{Func, Module, Node};
use crate::ir::inst::{BinOp, Cond, Inst, MemTy, Term, Ty, Width, extend, swap_bytes};
use crate::object::Loc;

/// How far definitions are followed to bound a value.
const DEPTH: u32 = 4;

/// Runs the pass.
pub fn run(module: &Module, f: &mut Func) {
    let mut p = Fold {
        module,
        wanted: wanted(f),
        defs: vec![None; f.values.len()],
        rename: Rename::new(f),
        out: Vec::new(),
        loc: Loc::default(),
    };
    for b in reverse_postorder(f) {
        for mut n in std::mem::take(&mut f.block_mut(b).insts) {
            n.inst.map_uses(|v| p.rename.get(v));
            p.loc = n.loc;
            p.node(f, n);
        }
        if let Some(mut t) = f.block_mut(b).term.take() {
            t.map_uses(|v| p.rename.get(v));
            p.loc = f.block(b).term_loc;
            p.term(f, &mut t);
            f.block_mut(b).term = Some(t);
        }
        f.block_mut(b).insts = std::mem::take(&mut p.out);
    }
    p.rename.apply(f);
}

/// For each value, how many of its low bits its users look at, at most. Users only ever come
/// to look at more of a value by way of one that looked at all of it.
fn wanted(f: &Func) -> Vec<u8> {
    let mut out = vec![0; f.values.len()];
    let mut want = |v: Value, bits: u8| out[v.index()] = bits.max(out[v.index()]);
    for b in &f.blocks {
        for n in &b.insts {
            match &n.inst {
                Inst::Store { mem, ptr, val, .. } => {
                    want(*ptr, 64);
                    want(*val, mem.size * 8);
                }
                Inst::Ext { bits, a, .. } => want(*a, *bits),
                Inst::Bin {
                    op: BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor,
                    w: Width::W32,
                    a,
                    b,
                } => {
                    want(*a, 32);
                    want(*b, 32);
                }
                other => other.for_each_use(|v| want(v, 64)),
            }
        }
        if let Some(t) = &b.term {
            t.for_each_use(|v| want(v, 64));
        }
    }
    out
}

/// What becomes of an instruction.
enum New {
    Value(Value),
    Inst(Inst),
}

struct Fold<'a> {
    module: &'a Module,
    /// How many low bits of each value anyone looks at.
    wanted: Vec<u8>,
    /// The instructions that define values, as far as the walk has come.
    defs: Vec<Option<Inst>>,
    rename: Rename,
    out: Vec<Node>,
    loc: Loc,
}

impl Fold<'_> {
    fn def(&self, v: Value) -> Option<&Inst> {
        self.defs.get(v.index())?.as_ref()
    }

    fn const_of(&self, v: Value) -> Option<i64> {
        match self.def(v) {
            Some(Inst::Const(c)) => Some(*c),
            _ => None,
        }
    }

    fn define(&mut self, v: Value, inst: Inst) {
        if v.index() >= self.defs.len() {
            self.defs.resize(v.index() + 1, None);
        }
        self.defs[v.index()] = Some(inst);
    }

    /// A new value defined before the instruction at hand.
    fn emit(&mut self, f: &mut Func, inst: Inst, ty: Ty) -> Value {
        let v = f.new_value(ty);
        self.define(v, inst.clone());
        self.out.push(Node {
            result: Some(v),
            inst,
            loc: self.loc,
        });
        v
    }

    fn iconst(&mut self, f: &mut Func, c: i64) -> Value {
        self.emit(f, Inst::Const(c), Ty::Scalar)
    }

    fn node(&mut self, f: &mut Func, mut n: Node) {
        // Each step makes the instruction simpler; a few are enough.
        for _ in 0..4 {
            let wanted = n.result.and_then(|v| self.wanted.get(v.index()));
            let wanted = wanted.copied().unwrap_or(64);
            match self
                .narrow(&n.inst, wanted)
                .or_else(|| self.simplify(f, &n.inst))
            {
                Some(New::Value(by)) => {
                    if let Some(v) = n.result {
                        self.rename.set(v, by);
                    }
                    return;
                }
                Some(New::Inst(inst)) => n.inst = inst,
                None => break,
            }
        }
        if let Some(v) = n.result {
            self.define(v, n.inst.clone());
        }
        self.out.push(n);
    }

    /// What does as well where only the `wanted` low bits of the result matter.
    fn narrow(&self, inst: &Inst, wanted: u8) -> Option<New> {
        match inst {
            Inst::Ext { bits, a, .. } if wanted <= *bits => Some(New::Value(*a)),
            Inst::Load { mem, ptr, off } if mem.signed && wanted <= mem.size * 8 => {
                let (mem, ptr, off) = (MemTy::new(mem.size, false), *ptr, *off);
                Some(New::Inst(Inst::Load { mem, ptr, off }))
            }
            _ => None,
        }
    }

    fn simplify(&mut self, f: &mut Func, inst: &Inst) -> Option<New> {
        match inst {
            Inst::Bin { op, w, a, b } => self.bin(f, *op, *w, *a, *b),
            Inst::Neg(a) => match self.def(*a)? {
                Inst::Const(c) => Some(New::Inst(Inst::Const(c.wrapping_neg()))),
                Inst::Neg(x) => Some(New::Value(*x)),
                _ => None,
            },
            Inst::Ext { signed, bits, a } => self.ext(*signed, *bits, *a),
            Inst::Bswap { bits, a } => match self.def(*a)? {
                Inst::Const(c) => Some(New::Inst(Inst::Const(swap_bytes(*bits, *c)))),
                Inst::Ext { bits: b, a, .. } if b >= bits => {
                    let (bits, a) = (*bits, *a);
                    Some(New::Inst(Inst::Bswap { bits, a }))
                }
                _ => None,
            },
            Inst::Load { mem, ptr, off } => self.load(*mem, *ptr, *off),
            Inst::Store { mem, ptr, off, val } => {
                let val = self.low_part(*val, mem.size * 8)?;
                let (mem, ptr, off) = (*mem, *ptr, *off);
                Some(New::Inst(Inst::Store { mem, ptr, off, val }))
            }
            _ => None,
        }
    }

    /// A value with the same low `bits` as `v`, computed by less.
    fn low_part(&self, v: Value, bits: u8) -> Option<Value> {
        match self.def(v)? {
            Inst::Ext { bits: b, a, .. } if *b >= bits => Some(*a),
            Inst::Bin {
                op: BinOp::And,
                a,
                b,
                ..
            } if bits <= 32 => {
                let mask = self.const_of(*b)?;
                (extend(true, bits, mask) == -1).then_some(*a)
            }
            _ => None,
        }
    }

    fn load(&self, mem: MemTy, ptr: Value, off: i32) -> Option<New> {
        let Some(Inst::MapAddr { map, off: base }) = self.def(ptr) else {
            return None;
        };
        let init = self.module.map(*map).init.as_ref()?;
        let start = usize::try_from(i64::from(*base) + i64::from(off)).ok()?;
        let size = usize::from(mem.size);
        let bytes = init.get(start..start.checked_add(size)?)?;
        let mut word = [0u8; 8];
        let at = if cfg!(target_endian = "little") {
            0
        } else {
            8 - size
        };
        word.get_mut(at..at + size)?.copy_from_slice(bytes);
        let c = extend(mem.signed, mem.size * 8, i64::from_ne_bytes(word));
        Some(New::Inst(Inst::Const(c)))
    }

    /// A number of low bits that certainly hold all of `v`.
    fn bits(&self, v: Value, depth: u32) -> u32 {
        if depth == 0 {
            return 64;
        }
        let of = |v: Value| self.bits(v, depth - 1);
        match self.def(v) {
            Some(Inst::Const(c)) => 64 - c.leading_zeros(),
            Some(Inst::Ext {
                signed: false,
                bits,
                a,
            }) => of(*a).min(u32::from(*bits)),
            Some(Inst::Bswap { bits, .. }) => u32::from(*bits),
            Some(Inst::Load { mem, .. }) if !mem.signed => u32::from(mem.size) * 8,
            Some(Inst::Bin { op, w, a, b }) => {
                let width = match w {
                    Width::W32 => 32,
                    Width::W64 => 64,
                };
                let known = match op {
                    BinOp::And => of(*a).min(of(*b)),
                    BinOp::Or | BinOp::Xor => of(*a).max(of(*b)),
                    BinOp::Udiv => of(*a),
                    BinOp::Umod => match self.const_of(*b) {
                        Some(c) if c != 0 => of(*a).min(of(*b)),
                        _ => of(*a),
                    },
                    BinOp::Lshr => match self.const_of(*b) {
                        Some(c) if (0..64).contains(&c) => of(*a).saturating_sub(c as u32),
                        _ => of(*a),
                    },
                    _ => 64,
                };
                known.min(width)
            }
            _ => 64,
        }
    }

    fn ext(&mut self, signed: bool, bits: u8, a: Value) -> Option<New> {
        if let Some(c) = self.const_of(a) {
            return Some(New::Inst(Inst::Const(extend(signed, bits, c))));
        }
        let known = self.bits(a, DEPTH);
        let n = u32::from(bits);
        if known < n || (!signed && known == n) {
            return Some(New::Value(a));
        }
        match self.def(a)? {
            // What is cut off again need not be made.
            Inst::Ext { bits: b, a: x, .. } if *b >= bits => {
                let a = *x;
                Some(New::Inst(Inst::Ext { signed, bits, a }))
            }
            Inst::Ext {
                signed: true,
                bits: b,
                ..
            } if signed && *b < bits => Some(New::Value(a)),
            Inst::Load { mem, .. } if signed && mem.signed && mem.size * 8 <= bits => {
                Some(New::Value(a))
            }
            _ => None,
        }
    }

    fn bin(&mut self, f: &mut Func, op: BinOp, w: Width, a: Value, b: Value) -> Option<New> {
        let (ca, cb) = (self.const_of(a), self.const_of(b));
        if let (Some(x), Some(y)) = (ca, cb) {
            return Some(New::Inst(Inst::Const(op.eval(w, x, y))));
        }
        if ca.is_some() && op.is_commutative() {
            let (a, b) = (b, a);
            return Some(New::Inst(Inst::Bin { op, w, a, b }));
        }
        if a == b && w == Width::W64 && f.ty(a) == Ty::Scalar {
            match op {
                BinOp::Sub | BinOp::Xor => return Some(New::Inst(Inst::Const(0))),
                BinOp::And | BinOp::Or => return Some(New::Value(a)),
                _ => {}
            }
        }
        let c = cb?;
        match w {
            Width::W64 => self.bin_const(f, op, a, c),
            Width::W32 => self.bin_const32(f, op, a, c),
        }
    }

    /// 64 bits, with a constant on the right.
    fn bin_const(&mut self, f: &mut Func, op: BinOp, a: Value, c: i64) -> Option<New> {
        let w = Width::W64;
        match (op, c) {
            (BinOp::Add | BinOp::Sub | BinOp::Or | BinOp::Xor, 0)
            | (BinOp::Mul | BinOp::Udiv, 1)
            | (BinOp::And, -1)
            | (BinOp::Umod, 0) => return Some(New::Value(a)),
            (BinOp::Mul | BinOp::And | BinOp::Udiv, 0) | (BinOp::Umod, 1) => {
                return Some(New::Inst(Inst::Const(0)));
            }
            (BinOp::Shl | BinOp::Lshr | BinOp::Ashr, _) if c & 63 == 0 => {
                return Some(New::Value(a));
            }
            _ => {}
        }
        let mut make = |this: &mut Self, op, c| {
            let b = this.iconst(f, c);
            Some(New::Inst(Inst::Bin { op, w, a, b }))
        };
        let power = (c as u64).is_power_of_two();
        let log = i64::from(c.trailing_zeros());
        match op {
            BinOp::Sub if c != i64::MIN => return make(self, BinOp::Add, -c),
            BinOp::Mul if power => return make(self, BinOp::Shl, log),
            BinOp::Udiv if power => return make(self, BinOp::Lshr, log),
            BinOp::Umod if power => return make(self, BinOp::And, c.wrapping_sub(1)),
            BinOp::And if (c as u64).wrapping_add(1).is_power_of_two() => {
                let mask = 64 - c.leading_zeros();
                if self.bits(a, DEPTH) <= mask {
                    return Some(New::Value(a));
                }
            }
            _ => {}
        }
        match self.def(a)?.clone() {
            Inst::SlotAddr { slot, off } if op == BinOp::Add => {
                let off = u32::try_from(i64::from(off).checked_add(c)?).ok()?;
                let inside = off <= f.slots[slot.index()].size;
                inside.then_some(New::Inst(Inst::SlotAddr { slot, off }))
            }
            Inst::MapAddr { map, off } if op == BinOp::Add => {
                let off = u32::try_from(i64::from(off).checked_add(c)?).ok()?;
                let inside = off < self.module.map(map).value_size;
                inside.then_some(New::Inst(Inst::MapAddr { map, off }))
            }
            // (x op d) op c
            Inst::Bin {
                op: inner,
                w: Width::W64,
                a: x,
                b: y,
            } if inner == op => {
                let d = self.const_of(y)?;
                let sum = match op {
                    BinOp::Add => d.wrapping_add(c),
                    BinOp::And => d & c,
                    BinOp::Or => d | c,
                    BinOp::Xor => d ^ c,
                    BinOp::Mul => d.wrapping_mul(c),
                    BinOp::Shl | BinOp::Lshr if (d & 63) + (c & 63) < 64 => (d & 63) + (c & 63),
                    _ => return None,
                };
                let b = self.iconst(f, sum);
                Some(New::Inst(Inst::Bin { op, w, a: x, b }))
            }
            _ => None,
        }
    }

    /// 32 bits, with a constant on the right: only what needs no extension of `a`.
    fn bin_const32(&mut self, f: &mut Func, op: BinOp, a: Value, c: i64) -> Option<New> {
        let w = Width::W32;
        let c = c as u32;
        let log = i64::from(c.trailing_zeros());
        let power = c.is_power_of_two();
        match (op, c) {
            (BinOp::Mul | BinOp::And | BinOp::Udiv, 0) | (BinOp::Umod, 1) => {
                return Some(New::Inst(Inst::Const(0)));
            }
            (BinOp::Add | BinOp::Sub | BinOp::Or | BinOp::Xor, 0)
            | (BinOp::Mul | BinOp::Udiv, 1)
            | (BinOp::Umod, 0)
            | (BinOp::And, u32::MAX) => {
                let (signed, bits) = (false, 32);
                return Some(New::Inst(Inst::Ext { signed, bits, a }));
            }
            _ => {}
        }
        let (op, c) = match op {
            BinOp::Mul if power => (BinOp::Shl, log),
            BinOp::Udiv if power => (BinOp::Lshr, log),
            BinOp::Umod if power => (BinOp::And, i64::from(c - 1)),
            _ => return None,
        };
        let b = self.iconst(f, c);
        Some(New::Inst(Inst::Bin { op, w, a, b }))
    }

    fn term(&mut self, f: &mut Func, t: &mut Term) {
        let Term::Br {
            cond,
            w,
            a,
            b,
            then,
            els,
            then_cold,
        } = t
        else {
            return;
        };
        if self.const_of(*a).is_some() && self.const_of(*b).is_none() {
            std::mem::swap(a, b);
            *cond = cond.swapped();
        }
        if self.const_of(*b) != Some(0) || *w != Width::W64 {
            return;
        }
        // x & c != 0 is one jump.
        if let Some(Inst::Bin {
            op: BinOp::And,
            w: Width::W64,
            a: x,
            b: mask,
        }) = self.def(*a).cloned()
            && f.ty(x) == Ty::Scalar
        {
            match cond {
                Cond::Ne => {}
                Cond::Eq if !*then_cold => std::mem::swap(then, els),
                _ => return,
            }
            (*cond, *a, *b) = (Cond::Set, x, mask);
        }
    }
}
