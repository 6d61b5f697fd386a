//! Value numbering: what was computed on every way here is not computed again.
//!
//! A walk over the dominator tree with a table of the expressions in scope. Pure instructions
//! are shared throughout; so are loads of the context, which nothing changes, and helpers
//! that give the same answer during one run (the thread, the CPU). Other loads are shared
//! within a block up to the next instruction that may write memory; a store makes its value
//! known to the loads after it.

use std::collections::HashMap;

use super::rename::Rename;
use crate::ir::cfg::Cfg;
use crate::ir::entity::{Block, Value};
use crate::ir::func::Func;
use crate::ir::inst::{BinOp, Inst, MemTy, Ty, Width};

/// An expression with its operands' numbers.
type Key = (Kind, [u32; 2], i64);

/// What an expression does, with whatever does not fit into [`Key`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Const,
    Bin(BinOp, Width),
    Neg,
    Ext(bool, u8),
    Bswap(u8),
    Slot,
    MapFd,
    MapAddr,
    Func,
    NonNull,
    Load(MemTy, Ty),
    Helper(Ty),
}

/// Runs the pass.
pub fn run(f: &mut Func) {
    let cfg = Cfg::new(f);
    let mut g = Gvn {
        rename: Rename::new(f),
        table: HashMap::new(),
        scopes: Vec::new(),
        types: f.values.clone(),
    };
    // Depth first over the dominator tree: a block closes the scopes that do not dominate it.
    for b in cfg.dominator_order() {
        while let Some(s) = g.scopes.last()
            && !cfg.dominates(s.block, b)
        {
            g.close();
        }
        g.scopes.push(Scope {
            block: b,
            added: Vec::new(),
        });
        g.block(f, b);
    }
    g.rename.apply(f);
}

struct Scope {
    block: Block,
    /// What the block put into the table, and what was there before.
    added: Vec<(Key, Option<Value>)>,
}

struct Gvn {
    rename: Rename,
    table: HashMap<Key, Value>,
    scopes: Vec<Scope>,
    types: Vec<Ty>,
}

impl Gvn {
    fn close(&mut self) {
        let Some(scope) = self.scopes.pop() else {
            return;
        };
        for (key, before) in scope.added.into_iter().rev() {
            match before {
                Some(v) => self.table.insert(key, v),
                None => self.table.remove(&key),
            };
        }
    }

    fn add(&mut self, key: Key, v: Value) {
        let before = self.table.insert(key, v);
        if let Some(scope) = self.scopes.last_mut() {
            scope.added.push((key, before));
        }
    }

    fn block(&mut self, f: &mut Func, b: Block) {
        // Loads that hold until memory is written.
        let mut loads: HashMap<Key, Value> = HashMap::new();
        let mut insts = std::mem::take(&mut f.block_mut(b).insts);
        insts.retain_mut(|n| {
            n.inst.map_uses(|v| self.rename.get(v));
            if let Some(v) = n.result
                && let Some((key, lasting)) = self.key(&n.inst, v)
            {
                let known = match lasting {
                    true => self.table.get(&key),
                    false => loads.get(&key),
                };
                if let Some(&same) = known {
                    self.rename.set(v, same);
                    return false;
                }
                match lasting {
                    true => self.add(key, v),
                    false => {
                        loads.insert(key, v);
                    }
                }
            }
            match &n.inst {
                Inst::Store { mem, ptr, off, val } => {
                    loads.clear();
                    // Only whole words come back as they went in.
                    if mem.size == 8 {
                        let ty = self.types[val.index()];
                        let key = (Kind::Load(MemTy::DW, ty), [ptr.0, 0], i64::from(*off));
                        loads.insert(key, *val);
                    }
                }
                i if i.has_effect() && !i.is_pure_call() => loads.clear(),
                _ => {}
            }
            true
        });
        f.block_mut(b).insts = insts;
        if let Some(t) = &mut f.block_mut(b).term {
            t.map_uses(|v| self.rename.get(v));
        }
    }

    /// The expression of an instruction, and whether it holds beyond writes to memory.
    fn key(&self, inst: &Inst, result: Value) -> Option<(Key, bool)> {
        let lasting = |kind, a: [u32; 2], c| Some(((kind, a, c), true));
        match inst {
            Inst::Const(c) => lasting(Kind::Const, [0, 0], *c),
            Inst::Bin { op, w, a, b } => {
                let (a, b) = match op.is_commutative() && a > b {
                    true => (b, a),
                    false => (a, b),
                };
                lasting(Kind::Bin(*op, *w), [a.0, b.0], 0)
            }
            Inst::Neg(a) => lasting(Kind::Neg, [a.0, 0], 0),
            Inst::Ext { signed, bits, a } => lasting(Kind::Ext(*signed, *bits), [a.0, 0], 0),
            Inst::Bswap { bits, a } => lasting(Kind::Bswap(*bits), [a.0, 0], 0),
            Inst::SlotAddr { slot, off } => lasting(Kind::Slot, [slot.0, 0], i64::from(*off)),
            Inst::MapFd(m) => lasting(Kind::MapFd, [m.0, 0], 0),
            Inst::MapAddr { map, off } => lasting(Kind::MapAddr, [map.0, 0], i64::from(*off)),
            Inst::FuncAddr(id) => lasting(Kind::Func, [id.0, 0], 0),
            Inst::NonNull(a) => lasting(Kind::NonNull, [a.0, 0], 0),
            Inst::Load { mem, ptr, off } => {
                let ty = self.types[result.index()];
                let key = (Kind::Load(canonical(*mem), ty), [ptr.0, 0], i64::from(*off));
                Some((key, self.types[ptr.index()] == Ty::Ctx))
            }
            Inst::Call { helper, args, ret } if inst.is_pure_call() => {
                let ctx = args.first().map_or(u32::MAX, |v| v.0);
                lasting(Kind::Helper(*ret), [helper.id(), ctx], 0)
            }
            _ => None,
        }
    }
}

/// Sign says nothing about whole words.
fn canonical(mem: MemTy) -> MemTy {
    MemTy::new(mem.size, mem.signed && mem.size < 8)
}
