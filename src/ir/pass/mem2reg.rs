//! Keeps frame slots in values.
//!
//! A slot qualifies if its address is used for nothing but loads, stores and zeroing at
//! constant offsets, and these fall into cells: accesses are the same bytes or none in common.
//! Each cell becomes a value; where different values meet, a block parameter (placed on the
//! dominance frontier). Bytes never written read as 0.

use std::collections::BTreeMap;

use super::rename::Rename;
use crate::ir::cfg::Cfg;
use crate::ir::entity::{Block, Slot, Value};
use crate::ir::func::{Func, Node};
use crate::ir::inst::{Inst, Term, Ty};

/// A cell: index into the list of all.
type Cell = usize;

/// Runs the pass.
pub fn run(f: &mut Func) {
    let cells = Cells::find(f);
    if cells.count == 0 {
        return;
    }
    let cfg = Cfg::new(f);
    let params = cells.place_params(f, &cfg);
    rewrite(f, &cfg, &cells, &params);
}

/// The cells of slots that qualify.
struct Cells {
    /// For each slot: cells by offset, with their size; empty if it does not qualify.
    by_slot: Vec<BTreeMap<u32, (u8, Cell)>>,
    count: usize,
    /// Slot and byte of each value that is a slot's address.
    addr: Vec<Option<(Slot, u32)>>,
}

impl Cells {
    fn find(f: &Func) -> Self {
        let mut addr = vec![None; f.values.len()];
        for n in f.blocks.iter().flat_map(|b| &b.insts) {
            if let (Inst::SlotAddr { slot, off }, Some(v)) = (&n.inst, n.result) {
                addr[v.index()] = Some((*slot, *off));
            }
        }
        let mut c = Self {
            by_slot: vec![BTreeMap::new(); f.slots.len()],
            count: 0,
            addr,
        };
        let mut fit = vec![true; f.slots.len()];
        let mut zeros = Vec::new();
        for b in &f.blocks {
            for n in &b.insts {
                c.scan(f, &n.inst, n.result, &mut fit, &mut zeros);
            }
            if let Some(t) = &b.term {
                t.for_each_use(|v| c.escape(v, &mut fit));
            }
        }
        // Zeroing covers cells wholly or not at all.
        for (slot, start, end) in zeros {
            let cells = &c.by_slot[slot.index()];
            let cut = |at: u32| {
                cells
                    .range(..at)
                    .next_back()
                    .is_some_and(|(o, (size, _))| o + u32::from(*size) > at)
            };
            fit[slot.index()] &= !cut(start) && !cut(end);
        }
        for (cells, fit) in c.by_slot.iter_mut().zip(fit) {
            let apart = cells
                .iter()
                .zip(cells.iter().skip(1))
                .all(|((o, (size, _)), (next, _))| o + u32::from(*size) <= *next);
            if !fit || !apart {
                cells.clear();
            }
            for (_, cell) in cells.values_mut() {
                *cell = c.count;
                c.count += 1;
            }
        }
        c
    }

    fn escape(&self, v: Value, fit: &mut [bool]) {
        if let Some((slot, _)) = self.addr[v.index()] {
            fit[slot.index()] = false;
        }
    }

    /// Slot and byte of an access.
    fn at(&self, ptr: Value, off: i32) -> Option<(Slot, u32)> {
        let (slot, base) = self.addr[ptr.index()]?;
        Some((slot, base.checked_add_signed(off)?))
    }

    fn scan(
        &mut self,
        f: &Func,
        inst: &Inst,
        result: Option<Value>,
        fit: &mut [bool],
        zeros: &mut Vec<(Slot, u32, u32)>,
    ) {
        let (mem, ptr, off, val) = match inst {
            Inst::Load { mem, ptr, off } => (mem, ptr, off, result),
            Inst::Store { mem, ptr, off, val } => {
                self.escape(*val, fit);
                (mem, ptr, off, Some(*val))
            }
            Inst::Zero { ptr, off, len } => {
                match self.at(*ptr, *off) {
                    Some((slot, at)) => zeros.push((slot, at, at.saturating_add(*len))),
                    None => self.escape(*ptr, fit),
                }
                return;
            }
            other => return other.for_each_use(|v| self.escape(v, fit)),
        };
        let Some((slot, at)) = self.at(*ptr, *off) else {
            return self.escape(*ptr, fit);
        };
        let inside = at + u32::from(mem.size) <= f.slots[slot.index()].size;
        // Pointers keep their place: a cell that is not set on every way has none to hold.
        let number = val.is_none_or(|v| f.ty(v) == Ty::Scalar);
        let cell = self.by_slot[slot.index()]
            .entry(at)
            .or_insert((mem.size, 0));
        fit[slot.index()] &= inside && number && cell.0 == mem.size;
    }

    /// Cells of `len` bytes from `at` on.
    fn covered(&self, slot: Slot, at: u32, len: u32) -> impl Iterator<Item = Cell> + '_ {
        let end = at.saturating_add(len);
        self.by_slot[slot.index()]
            .range(at..end)
            .map(|(_, (_, cell))| *cell)
    }

    fn cell(&self, ptr: Value, off: i32) -> Option<Cell> {
        let (slot, at) = self.at(ptr, off)?;
        self.by_slot[slot.index()].get(&at).map(|(_, cell)| *cell)
    }

    /// Calls `on` with every cell that the instruction sets.
    fn sets(&self, inst: &Inst, mut on: impl FnMut(Cell)) {
        match inst {
            Inst::Store { ptr, off, .. } => self.cell(*ptr, *off).into_iter().for_each(on),
            Inst::Zero { ptr, off, len } => {
                if let Some((slot, at)) = self.at(*ptr, *off) {
                    self.covered(slot, at, *len).for_each(&mut on);
                }
            }
            _ => {}
        }
    }

    /// For each block the cells that arrive as parameters. Only where they are needed: a cell
    /// that is set before it is read in all blocks ahead gets none.
    fn place_params(&self, f: &Func, cfg: &Cfg) -> Vec<Vec<Cell>> {
        let n = f.blocks.len();
        let mut set_in: Vec<Vec<Block>> = vec![Vec::new(); self.count];
        let mut read_in: Vec<Vec<Block>> = vec![Vec::new(); self.count];
        for &b in &cfg.rpo {
            for node in &f.block(b).insts {
                if let Inst::Load { ptr, off, .. } = &node.inst
                    && let Some(c) = self.cell(*ptr, *off)
                    && set_in[c].last() != Some(&b)
                    && read_in[c].last() != Some(&b)
                {
                    read_in[c].push(b);
                }
                self.sets(&node.inst, |c| {
                    if set_in[c].last() != Some(&b) {
                        set_in[c].push(b);
                    }
                });
            }
        }
        let frontier = frontiers(cfg, n);
        let mut params = vec![Vec::new(); n];
        // Marks hold the number of the cell plus one.
        let mut live = vec![0; n];
        let mut sets = vec![0; n];
        let mut placed = vec![0; n];
        for c in 0..self.count {
            let mark = c + 1;
            set_in[c].iter().for_each(|b| sets[b.index()] = mark);
            let mut work = read_in[c].clone();
            work.iter().for_each(|b| live[b.index()] = mark);
            while let Some(b) = work.pop() {
                for &p in &cfg.preds[b.index()] {
                    if sets[p.index()] != mark && live[p.index()] != mark {
                        live[p.index()] = mark;
                        work.push(p);
                    }
                }
            }
            let mut work = set_in[c].clone();
            while let Some(b) = work.pop() {
                for &d in &frontier[b.index()] {
                    if placed[d.index()] != mark && live[d.index()] == mark {
                        placed[d.index()] = mark;
                        params[d.index()].push(c);
                        work.push(d);
                    }
                }
            }
        }
        params
    }
}

/// Dominance frontiers: for each block, where its dominance ends.
fn frontiers(cfg: &Cfg, n: usize) -> Vec<Vec<Block>> {
    let mut out: Vec<Vec<Block>> = vec![Vec::new(); n];
    for &b in &cfg.rpo {
        let preds = &cfg.preds[b.index()];
        // The entry counts as having one more way in.
        if preds.len() < 2 {
            continue;
        }
        for &p in preds {
            let mut at = Some(p);
            while let Some(r) = at
                && Some(r) != cfg.idom(b)
            {
                // Someone came this way before, and went all the way up.
                if out[r.index()].last() == Some(&b) {
                    break;
                }
                out[r.index()].push(b);
                at = cfg.idom(r);
            }
        }
    }
    out
}

fn rewrite(f: &mut Func, cfg: &Cfg, cells: &Cells, params: &[Vec<Cell>]) {
    // Values at the start of a block, for the blocks that it dominates: the last definition
    // along the dominator tree, found through a stack per cell.
    let mut stack: Vec<Vec<(Block, Value)>> = vec![Vec::new(); cells.count];
    let mut rename = Rename::new(f);
    let zero = f.new_value(Ty::Scalar);
    let mut new_params: Vec<Vec<Value>> = vec![Vec::new(); f.blocks.len()];
    for &b in &cfg.rpo {
        new_params[b.index()] = params[b.index()]
            .iter()
            .map(|_| f.new_value(Ty::Scalar))
            .collect();
    }
    // Arguments to append, once all blocks are known.
    for b in cfg.dominator_order() {
        let current = |stack: &mut Vec<Vec<(Block, Value)>>, c: Cell| {
            while let Some((at, _)) = stack[c].last()
                && !cfg.dominates(*at, b)
            {
                stack[c].pop();
            }
            stack[c].last().map_or(zero, |(_, v)| *v)
        };
        for (i, &c) in params[b.index()].iter().enumerate() {
            let _ = current(&mut stack, c);
            stack[c].push((b, new_params[b.index()][i]));
        }
        let mut insts = Vec::with_capacity(f.block(b).insts.len());
        for mut n in std::mem::take(&mut f.block_mut(b).insts) {
            n.inst.map_uses(|v| rename.get(v));
            match &n.inst {
                Inst::Load { mem, ptr, off } if cells.cell(*ptr, *off).is_some() => {
                    let c = cells.cell(*ptr, *off).unwrap_or_default();
                    let a = current(&mut stack, c);
                    if mem.size == 8 {
                        if let Some(v) = n.result {
                            rename.set(v, a);
                        }
                    } else {
                        let (signed, bits) = (mem.signed, mem.size * 8);
                        n.inst = Inst::Ext { signed, bits, a };
                        insts.push(n);
                    }
                }
                Inst::Store { ptr, off, val, .. } if cells.cell(*ptr, *off).is_some() => {
                    let c = cells.cell(*ptr, *off).unwrap_or_default();
                    let val = *val;
                    let _ = current(&mut stack, c);
                    stack[c].push((b, val));
                }
                Inst::Zero { ptr, off, len }
                    if cells
                        .at(*ptr, *off)
                        .is_some_and(|(s, _)| !cells.by_slot[s.index()].is_empty()) =>
                {
                    let set: Vec<Cell> = cells
                        .at(*ptr, *off)
                        .into_iter()
                        .flat_map(|(s, at)| cells.covered(s, at, *len))
                        .collect();
                    for c in set {
                        let _ = current(&mut stack, c);
                        stack[c].push((b, zero));
                    }
                }
                _ => insts.push(n),
            }
        }
        f.block_mut(b).insts = insts;
        let Some(mut term) = f.block_mut(b).term.take() else {
            continue;
        };
        term.map_uses(|v| rename.get(v));
        let mut pass = |to: Block, args: &mut Vec<Value>| {
            for &c in &params[to.index()] {
                args.push(current(&mut stack, c));
            }
        };
        match &mut term {
            Term::Jump(to, args) => pass(*to, args),
            Term::Br { then, els, .. } => {
                pass(then.0, &mut then.1);
                pass(els.0, &mut els.1);
            }
            Term::Ret(_) => {}
        }
        f.block_mut(b).term = Some(term);
    }
    for (b, new) in f.blocks.iter_mut().zip(new_params) {
        b.params.extend(new);
    }
    let entry = f.block_mut(Func::ENTRY);
    let loc = entry.insts.first().map_or(entry.term_loc, |n| n.loc);
    let inst = Inst::Const(0);
    let result = Some(zero);
    entry.insts.insert(0, Node { result, inst, loc });
    rename.apply(f);
}
