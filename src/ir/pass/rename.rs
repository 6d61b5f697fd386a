//! Replaces values by equal ones, all at once.

use crate::ir::entity::Value;
use crate::ir::func::Func;

/// What each value is to be replaced by; itself at first.
pub struct Rename {
    to: Vec<Value>,
    any: bool,
}

impl Rename {
    /// Replaces nothing yet.
    pub fn new(f: &Func) -> Self {
        Self {
            to: (0..f.values.len() as u32).map(Value).collect(),
            any: false,
        }
    }

    /// From now on `v` is `by`.
    pub fn set(&mut self, v: Value, by: Value) {
        let by = self.get(by);
        if v != by {
            self.grow(v);
            self.to[v.index()] = by;
            self.any = true;
        }
    }

    fn grow(&mut self, v: Value) {
        for i in self.to.len()..=v.index() {
            self.to.push(Value(i as u32));
        }
    }

    /// What `v` is now, with every step on the way shortened.
    pub fn get(&mut self, v: Value) -> Value {
        self.grow(v);
        let mut end = v;
        while self.to[end.index()] != end {
            end = self.to[end.index()];
            self.grow(end);
        }
        let mut at = v;
        while self.to[at.index()] != end {
            at = std::mem::replace(&mut self.to[at.index()], end);
        }
        end
    }

    /// Rewrites every operand of `f`.
    pub fn apply(mut self, f: &mut Func) {
        if !self.any {
            return;
        }
        for b in &mut f.blocks {
            for n in &mut b.insts {
                n.inst.map_uses(|v| self.get(v));
            }
            if let Some(t) = &mut b.term {
                t.map_uses(|v| self.get(v));
            }
        }
    }
}
