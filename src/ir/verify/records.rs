//! Reserved ring-buffer records are given back exactly once.
//!
//! From each reservation, every way is followed in one of two states: the record is held, or it
//! was given back and has uses left. Records live briefly, so the work is near-linear in all.
//! Records that are block arguments are not followed.

use std::collections::{HashMap, HashSet};

use super::Checker;
use crate::codegen::helper;
use crate::ir::entity::{Block, Value};
use crate::ir::inst::{Cond, Inst, Term, Ty};

impl Checker<'_> {
    pub(super) fn records(&mut self) {
        let func = self.func;
        // Instructions that use each record.
        let mut uses: HashMap<Value, usize> = HashMap::new();
        for n in func.blocks.iter().flat_map(|b| &b.insts) {
            for rec in self.records_used(&n.inst) {
                *uses.entry(rec).or_default() += 1;
            }
        }
        for (bi, b) in func.blocks.iter().enumerate() {
            for (i, n) in b.insts.iter().enumerate() {
                let reserves = matches!(&n.inst, Inst::Call { helper, .. } if *helper == helper::RINGBUF_RESERVE);
                if let (true, Some(v)) = (reserves, n.result)
                    && matches!(func.ty(v), Ty::RecOrNull(_))
                {
                    self.follow(
                        v,
                        Block(bi as u32),
                        i + 1,
                        uses.get(&v).copied().unwrap_or(0),
                    );
                }
            }
        }
    }

    /// The reservation that `v` is an address in.
    fn record_of(&self, mut v: Value) -> Value {
        loop {
            match self.def(v) {
                Some(Inst::NonNull(x)) => v = *x,
                Some(Inst::Bin { a, b, .. }) => {
                    v = if self.ty(*a).is_pointer() { *a } else { *b };
                }
                _ => return v,
            }
        }
    }

    /// The records that an instruction has addresses in, each once.
    fn records_used(&self, inst: &Inst) -> Vec<Value> {
        let mut out = Vec::new();
        inst.for_each_use(|v| {
            if matches!(self.ty(v), Ty::Rec(_) | Ty::RecOrNull(_)) {
                let rec = self.record_of(v);
                if !out.contains(&rec) {
                    out.push(rec);
                }
            }
        });
        out
    }

    /// Follows the record that is reserved before instruction `from`; `left` instructions use
    /// it.
    fn follow(&mut self, rec: Value, block: Block, from: usize, mut left: usize) {
        let func = self.func;
        let mut seen: HashSet<(Block, bool)> = HashSet::new();
        let mut work = vec![(block, from, true)];
        while let Some((b, start, mut held)) = work.pop() {
            let data = func.block(b);
            let mut lost = false;
            for (i, n) in data.insts.iter().enumerate().skip(start) {
                self.at = (b, i);
                if n.result == Some(rec) {
                    // Round a loop to the reservation itself.
                    if held {
                        self.error(format!("{rec} is reserved again before it was given back"));
                    }
                    lost = true;
                    break;
                }
                if !self.records_used(&n.inst).contains(&rec) {
                    continue;
                }
                left = left.saturating_sub(1);
                if !held {
                    self.error(format!("{rec} is used after it was given back"));
                    lost = true;
                    break;
                }
                if let Inst::Call { helper, .. } = &n.inst
                    && matches!(*helper, helper::RINGBUF_SUBMIT | helper::RINGBUF_DISCARD)
                {
                    held = false;
                }
            }
            // After the last use there is nothing to say about a record given back.
            if lost || (!held && left == 0) {
                continue;
            }
            self.at = (b, data.insts.len());
            let (next, passed) = match &data.term {
                Some(Term::Ret(_)) | None => {
                    if held {
                        self.error(format!("{rec} is not given back on this way"));
                    }
                    continue;
                }
                Some(Term::Jump(to, args)) => (vec![*to], args.clone()),
                Some(Term::Br {
                    cond,
                    a,
                    b: other,
                    then,
                    els,
                    ..
                }) => {
                    let null_check = *a == rec && self.const_of(*other) == Some(0);
                    let next = match (null_check, cond) {
                        // There is nothing to give back where it is null.
                        (true, Cond::Eq) => vec![els.0],
                        (true, Cond::Ne) => vec![then.0],
                        _ => vec![then.0, els.0],
                    };
                    (next, then.1.iter().chain(&els.1).copied().collect())
                }
            };
            if passed
                .iter()
                .any(|&v| self.ty(v).is_pointer() && self.record_of(v) == rec)
            {
                continue;
            }
            for to in next {
                if seen.insert((to, held)) {
                    work.push((to, 0, held));
                }
            }
        }
    }
}
