//! Reserved ring-buffer records are given back exactly once.
//!
//! From each reservation, every way is followed in one of two states: the record is held, or it
//! was given back. A block is visited at most once in each, so the work is linear per
//! reservation. Records that are block arguments are not followed.

use std::collections::HashSet;

use super::Checker;
use crate::codegen::helper;
use crate::ir::entity::{Block, Value};
use crate::ir::inst::{Cond, Inst, Term, Ty};

impl Checker<'_> {
    pub(super) fn records(&mut self) {
        let func = self.func;
        for (bi, b) in func.blocks.iter().enumerate() {
            for (i, n) in b.insts.iter().enumerate() {
                let reserves = matches!(&n.inst, Inst::Call { helper, .. } if *helper == helper::RINGBUF_RESERVE);
                if let (true, Some(v)) = (reserves, n.result)
                    && matches!(func.ty(v), Ty::RecOrNull(_))
                {
                    self.follow(v, Block(bi as u32), i + 1);
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

    fn follow(&mut self, rec: Value, block: Block, from: usize) {
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
                let mut used = false;
                n.inst
                    .for_each_use(|v| used |= self.ty(v).is_pointer() && self.record_of(v) == rec);
                if !used {
                    continue;
                }
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
            if lost {
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
