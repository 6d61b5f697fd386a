//! Jump threading: a block that only branches on one of its parameters is left out by the ways
//! that bring a constant. Conditions computed as 0 or 1 and then tested come out as direct
//! jumps.

use super::blocks::remove_unreachable;
use crate::ir::entity::{Block, Value};
use crate::ir::func::Func;
use crate::ir::inst::{Inst, Term};

/// Runs the pass.
pub fn run(f: &mut Func) {
    let consts = f.constants();
    let private = private_params(f);
    // Chains of such blocks are followed a few steps; loops must end.
    for _ in 0..4 {
        let mut changed = false;
        for bi in 0..f.blocks.len() {
            let Some(mut term) = f.blocks[bi].term.take() else {
                continue;
            };
            match &mut term {
                Term::Jump(to, args) => {
                    if let Some(new) = decide(f, &consts, &private, Block(bi as u32), *to, args) {
                        (*to, *args) = new;
                        changed = true;
                    }
                }
                Term::Br { then, els, .. } => {
                    for way in [then, els] {
                        let at = Block(bi as u32);
                        if let Some(new) = decide(f, &consts, &private, at, way.0, &way.1) {
                            *way = new;
                            changed = true;
                        }
                    }
                }
                Term::Ret(_) => {}
            }
            f.blocks[bi].term = Some(term);
        }
        if !changed {
            break;
        }
    }
    remove_unreachable(f);
}

/// Blocks whose values are used nowhere else, so that they may be left out, and that do
/// nothing but make constants.
fn private_params(f: &Func) -> Vec<bool> {
    let mut home: Vec<Option<u32>> = vec![None; f.values.len()];
    for (bi, b) in f.blocks.iter().enumerate() {
        for v in b
            .params
            .iter()
            .copied()
            .chain(b.insts.iter().filter_map(|n| n.result))
        {
            home[v.index()] = Some(bi as u32);
        }
    }
    let mut private: Vec<bool> = f
        .blocks
        .iter()
        .map(|b| b.insts.iter().all(|n| matches!(n.inst, Inst::Const(_))))
        .collect();
    for (bi, b) in f.blocks.iter().enumerate() {
        let mut on = |v: Value| {
            if let Some(h) = home[v.index()]
                && h != bi as u32
            {
                private[h as usize] = false;
            }
        };
        b.insts.iter().for_each(|n| n.inst.for_each_use(&mut on));
        if let Some(t) = &b.term {
            t.for_each_use(&mut on);
        }
    }
    private
}

/// Where the way from `from` to `to` with `args` ends up, if that is decided on the way.
fn decide(
    f: &Func,
    consts: &[Option<i64>],
    private: &[bool],
    from: Block,
    to: Block,
    args: &[Value],
) -> Option<(Block, Vec<Value>)> {
    if !private[to.index()] || from == to || to == Func::ENTRY {
        return None;
    }
    let block = f.block(to);
    // What a value of the block is for those who come this way.
    let here = |v: Value| {
        let at = block.params.iter().position(|&p| p == v);
        at.map_or(v, |i| args[i])
    };
    let Some(Term::Br {
        cond,
        w,
        a,
        b,
        then,
        els,
        ..
    }) = &block.term
    else {
        return None;
    };
    let (x, y) = (consts[here(*a).index()]?, consts[here(*b).index()]?);
    let way = if cond.eval(*w, x, y) { then } else { els };
    // Constants of the block itself are not defined for those who leave it out.
    let own = |v: &Value| block.insts.iter().any(|n| n.result == Some(*v));
    if way.1.iter().any(own) {
        return None;
    }
    Some((way.0, way.1.iter().map(|&v| here(v)).collect()))
}
