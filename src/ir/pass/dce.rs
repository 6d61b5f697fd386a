//! Removes instructions, parameters and slots' addresses that nothing needs.
//!
//! What has an effect is needed, and so is what it is computed from. Parameters that only feed
//! each other go as well.

use super::blocks::remove_params;
use crate::ir::entity::{Block, Value};
use crate::ir::func::Func;
use crate::ir::inst::{Inst, Term};

/// Who defines a value.
#[derive(Clone, Copy)]
enum Def {
    Inst(u32, u32),
    Param(u32, u32),
}

/// Runs the pass.
pub fn run(f: &mut Func) {
    let mut def: Vec<Option<Def>> = vec![None; f.values.len()];
    // Arguments that flow into each block.
    let mut incoming: Vec<Vec<u32>> = vec![Vec::new(); f.blocks.len()];
    let mut work: Vec<Value> = Vec::new();
    for (bi, b) in f.blocks.iter().enumerate() {
        for (i, p) in b.params.iter().enumerate() {
            def[p.index()] = Some(Def::Param(bi as u32, i as u32));
            if bi == 0 {
                work.push(*p);
            }
        }
        for (i, n) in b.insts.iter().enumerate() {
            if let Some(v) = n.result {
                def[v.index()] = Some(Def::Inst(bi as u32, i as u32));
            }
            if is_effect(&n.inst) {
                n.inst.for_each_use(|v| work.push(v));
            }
        }
        match &b.term {
            Some(Term::Br { a, b, .. }) => work.extend([*a, *b]),
            Some(Term::Ret(v)) => work.push(*v),
            _ => {}
        }
        if let Some(t) = &b.term {
            t.successors()
                .for_each(|s| incoming[s.index()].push(bi as u32));
        }
    }
    let mut live = vec![false; f.values.len()];
    while let Some(v) = work.pop() {
        if std::mem::replace(&mut live[v.index()], true) {
            continue;
        }
        match def[v.index()] {
            Some(Def::Inst(b, i)) => {
                f.blocks[b as usize].insts[i as usize]
                    .inst
                    .for_each_use(|v| work.push(v));
            }
            Some(Def::Param(b, i)) => {
                for &p in &incoming[b as usize] {
                    arguments(f, p, Block(b), |args| work.push(args[i as usize]));
                }
            }
            None => {}
        }
    }
    for b in &mut f.blocks {
        b.insts
            .retain(|n| is_effect(&n.inst) || n.result.is_some_and(|v| live[v.index()]));
    }
    let gone: Vec<Vec<bool>> = f
        .blocks
        .iter()
        .enumerate()
        .map(|(bi, b)| {
            let dead = |p: &Value| bi != 0 && !live[p.index()];
            b.params.iter().map(dead).collect()
        })
        .collect();
    remove_params(f, &gone);
}

/// Helpers that only tell something need not be called for nothing.
fn is_effect(inst: &Inst) -> bool {
    inst.has_effect() && !inst.is_pure_call()
}

/// The arguments that block `from` passes to `to`.
fn arguments(f: &Func, from: u32, to: Block, mut on: impl FnMut(&[Value])) {
    match &f.blocks[from as usize].term {
        Some(Term::Jump(t, args)) if *t == to => on(args),
        Some(Term::Br { then, els, .. }) => {
            for (t, args) in [then, els] {
                if *t == to {
                    on(args);
                }
            }
        }
        _ => {}
    }
}
