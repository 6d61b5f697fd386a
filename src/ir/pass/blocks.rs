//! Branches and blocks: constant and pointless branches become jumps, parameters that always
//! receive the same value disappear, blocks with one way in join the block before, blocks that
//! only jump on are bypassed, unreachable blocks go.

use super::rename::Rename;
use crate::ir::cfg::{Cfg, reverse_postorder};
use crate::ir::entity::{Block, Value};
use crate::ir::func::{BlockData, Func};
use crate::ir::inst::Term;

/// Runs the pass.
pub fn run(f: &mut Func) {
    fold_branches(f);
    remove_unreachable(f);
    bypass(f);
    remove_unreachable(f);
    drop_params(f);
    join(f);
    remove_unreachable(f);
}

/// Removes blocks that control cannot get to and numbers the rest anew.
pub fn remove_unreachable(f: &mut Func) {
    let keep = reverse_postorder(f);
    if keep.len() == f.blocks.len() {
        return;
    }
    let mut live = vec![false; f.blocks.len()];
    keep.iter().for_each(|b| live[b.index()] = true);
    let mut to = vec![Block(0); f.blocks.len()];
    let mut n = 0;
    for (i, &l) in live.iter().enumerate() {
        to[i] = Block(n);
        n += u32::from(l);
    }
    let mut at = 0;
    f.blocks.retain(|_| {
        at += 1;
        live[at - 1]
    });
    for b in &mut f.blocks {
        if let Some(t) = &mut b.term {
            for_each_target(t, |b| *b = to[b.index()]);
        }
    }
}

fn for_each_target(t: &mut Term, mut f: impl FnMut(&mut Block)) {
    match t {
        Term::Jump(b, _) => f(b),
        Term::Br { then, els, .. } => {
            f(&mut then.0);
            f(&mut els.0);
        }
        Term::Ret(_) => {}
    }
}

fn fold_branches(f: &mut Func) {
    let consts = f.constants();
    for b in &mut f.blocks {
        let Some(Term::Br {
            cond,
            w,
            a,
            b: other,
            then,
            els,
            ..
        }) = &mut b.term
        else {
            continue;
        };
        let known = match (consts[a.index()], consts[other.index()]) {
            (Some(x), Some(y)) => Some(cond.eval(*w, x, y)),
            // A value compared with itself: 0 stands for any number, except for `Set`.
            _ if a == other && *cond != crate::ir::Cond::Set => Some(cond.eval(*w, 0, 0)),
            _ if then == els => Some(true),
            _ => None,
        };
        if let Some(taken) = known {
            let (to, args) =
                std::mem::replace(if taken { then } else { els }, (Block(0), Vec::new()));
            b.term = Some(Term::Jump(to, args));
        }
    }
}

/// Ways that lead through a block which only jumps on go straight to where it jumps.
fn bypass(f: &mut Func) {
    let onward: Vec<Option<(Block, Vec<Value>)>> = f
        .blocks
        .iter()
        .enumerate()
        .map(|(i, b)| match &b.term {
            Some(Term::Jump(to, args))
                if i != 0 && b.insts.is_empty() && b.params.is_empty() && to.index() != i =>
            {
                Some((*to, args.clone()))
            }
            _ => None,
        })
        .collect();
    let end = |mut at: Block| {
        let mut args = None;
        // Bounded, for blocks that jump in a circle.
        for _ in 0..16 {
            match &onward[at.index()] {
                Some((to, a)) if args.as_ref().is_none_or(Vec::is_empty) => {
                    args = Some(a.clone());
                    at = *to;
                }
                _ => break,
            }
        }
        args.map(|a| (at, a))
    };
    for b in &mut f.blocks {
        match &mut b.term {
            Some(Term::Jump(to, args)) if args.is_empty() => {
                if let Some(new) = end(*to) {
                    (*to, *args) = new;
                }
            }
            Some(Term::Br { then, els, .. }) => {
                for way in [then, els] {
                    if way.1.is_empty()
                        && let Some(new) = end(way.0)
                    {
                        *way = new;
                    }
                }
            }
            _ => {}
        }
    }
}

/// Parameters that receive one value only, themselves aside, are that value.
fn drop_params(f: &mut Func) {
    let cfg = Cfg::new(f);
    let mut rename = Rename::new(f);
    // A value that replaces a parameter may make another parameter superfluous; passes run
    // again, so two rounds do.
    for _ in 0..2 {
        // What each parameter receives: nothing yet, one value, or several.
        let mut received: Vec<Vec<Option<Result<Value, ()>>>> = f
            .blocks
            .iter()
            .map(|b| vec![None; b.params.len()])
            .collect();
        for b in &f.blocks {
            let mut way = |to: Block, args: &[Value]| {
                let params = &f.block(to).params;
                for (i, &a) in args.iter().enumerate() {
                    let a = rename.get(a);
                    let slot = &mut received[to.index()][i];
                    *slot = match *slot {
                        _ if rename.get(params[i]) == a => *slot,
                        None => Some(Ok(a)),
                        Some(Ok(v)) if v == a => Some(Ok(a)),
                        Some(_) => Some(Err(())),
                    };
                }
            };
            match &b.term {
                Some(Term::Jump(to, args)) => way(*to, args),
                Some(Term::Br { then, els, .. }) => {
                    way(then.0, &then.1);
                    way(els.0, &els.1);
                }
                _ => {}
            }
        }
        let mut gone: Vec<Vec<bool>> = Vec::with_capacity(f.blocks.len());
        for (bi, b) in f.blocks.iter().enumerate() {
            let mut list = vec![false; b.params.len()];
            for (i, &p) in b.params.iter().enumerate() {
                if bi == 0 || !cfg.is_reachable(Block(bi as u32)) {
                    continue;
                }
                if let Some(Ok(v)) = received[bi][i]
                    && rename.get(v) != p
                {
                    rename.set(p, v);
                    list[i] = true;
                }
            }
            gone.push(list);
        }
        if gone.iter().flatten().all(|g| !g) {
            break;
        }
        remove_params(f, &gone);
    }
    rename.apply(f);
}

/// Removes the marked parameters of every block and the arguments for them.
pub fn remove_params(f: &mut Func, gone: &[Vec<bool>]) {
    let strip = |to: Block, args: &mut Vec<Value>| {
        let mut i = 0;
        args.retain(|_| {
            i += 1;
            !gone[to.index()][i - 1]
        });
    };
    for (bi, b) in f.blocks.iter_mut().enumerate() {
        let mut i = 0;
        b.params.retain(|_| {
            i += 1;
            !gone[bi][i - 1]
        });
        match &mut b.term {
            Some(Term::Jump(to, args)) => strip(*to, args),
            Some(Term::Br { then, els, .. }) => {
                strip(then.0, &mut then.1);
                strip(els.0, &mut els.1);
            }
            _ => {}
        }
    }
}

/// Appends to each block the one it jumps to, if that has no other way in.
fn join(f: &mut Func) {
    let cfg = Cfg::new(f);
    for &b in &cfg.rpo {
        while let Some(Term::Jump(to, args)) = &f.block(b).term {
            let to = *to;
            let single = cfg.preds[to.index()].len() == 1 && to != b;
            // Parameters of such blocks were dropped before.
            if !single || !args.is_empty() || to == Func::ENTRY {
                break;
            }
            let BlockData {
                insts,
                term,
                term_loc,
                ..
            } = std::mem::take(f.block_mut(to));
            let block = f.block_mut(b);
            block.insts.extend(insts);
            block.term = term;
            block.term_loc = term_loc;
        }
    }
}
