//! Block arguments become moves, on a block of their own where an edge is critical.

use std::collections::HashMap;

use crate::ir::{Block, Value};

use super::{Label, Selector};
use crate::codegen::minst::{Konst, MBlock, MInst, VReg};

impl Selector<'_> {
    pub(super) fn label(&mut self, l: Label) -> usize {
        self.labels.push(l);
        self.labels.len() - 1
    }

    /// The label of an edge: the target itself or a block with its moves. `known` is a register
    /// that holds a constant on this way.
    pub(super) fn edge(
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
    pub(super) fn append(&mut self, tail: &mut Vec<MBlock>, place: &mut Vec<usize>) {
        place.extend(self.blocks.len()..self.blocks.len() + tail.len());
        self.blocks.append(tail);
    }

    /// Turns labels into block indices; `tail` are those of rare edge blocks.
    pub(super) fn resolve(&mut self, tail: &[usize]) {
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
    pub(super) fn moves(&mut self, to: Block, args: &[Value], known: Option<(VReg, i64)>) {
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
}
