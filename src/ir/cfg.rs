//! The control-flow graph of a function: order, predecessors, dominators.
//!
//! Computed at once in near-linear time and valid until a terminator changes. Unreachable
//! blocks are in no list.

use super::entity::Block;
use super::func::{BlockData, Func};
use super::inst::Term;

/// Facts about the blocks of a function.
#[derive(Debug)]
pub struct Cfg {
    /// Reachable blocks in reverse postorder: a block comes after its dominators.
    pub rpo: Vec<Block>,
    /// Reachable predecessors of each block; one that branches here both ways counts twice.
    pub preds: Vec<Vec<Block>>,
    /// Position of each block in `rpo`, `u32::MAX` if unreachable.
    number: Vec<u32>,
    /// Immediate dominator; the entry and unreachable blocks are their own.
    idom: Vec<Block>,
    /// First and last visit of each block in a walk of the dominator tree.
    visit: Vec<(u32, u32)>,
}

impl Cfg {
    /// Analyses `func`.
    pub fn new(func: &Func) -> Self {
        Self::from_successors(&successors(func))
    }

    /// Analyses any graph of blocks, given by the successors of each; block 0 is the entry.
    /// Of two successors the second comes earlier in the order.
    pub fn from_successors(succs: &[Vec<Block>]) -> Self {
        let rpo = order(succs);
        let n = succs.len();
        let mut number = vec![u32::MAX; n];
        let mut preds = vec![Vec::new(); n];
        for (i, &b) in rpo.iter().enumerate() {
            number[b.index()] = i as u32;
            for s in &succs[b.index()] {
                preds[s.index()].push(b);
            }
        }
        let mut cfg = Self {
            rpo,
            preds,
            number,
            idom: (0..n as u32).map(Block).collect(),
            visit: vec![(0, 0); n],
        };
        cfg.dominators(succs);
        cfg.walk();
        cfg
    }

    /// Semi-dominators with path compression, then nearest common ancestors (the Semi-NCA
    /// algorithm of Georgiadis and Tarjan): no quadratic case for blocks that many jump to.
    fn dominators(&mut self, succs: &[Vec<Block>]) {
        const NONE: usize = usize::MAX;
        // A depth-first tree, blocks by the order of the first visit.
        let mut pre = vec![NONE; succs.len()];
        let mut vertex: Vec<Block> = Vec::with_capacity(self.rpo.len());
        let mut parent: Vec<usize> = Vec::with_capacity(self.rpo.len());
        let mut stack: Vec<(Block, usize)> =
            self.rpo.first().map(|&b| (b, 0)).into_iter().collect();
        while let Some((b, from)) = stack.pop() {
            if pre[b.index()] != NONE {
                continue;
            }
            let me = vertex.len();
            pre[b.index()] = me;
            vertex.push(b);
            parent.push(from);
            stack.extend(succs[b.index()].iter().map(|&s| (s, me)));
        }
        let n = vertex.len();
        let mut semi: Vec<usize> = (0..n).collect();
        let mut label: Vec<usize> = (0..n).collect();
        let mut up = parent.clone();
        for w in (1..n).rev() {
            let mut best = parent[w];
            for p in &self.preds[vertex[w].index()] {
                let p = pre[p.index()];
                // Of the vertices on the path from p that were handled already, the one with
                // the least semi-dominator.
                let u = if p > w {
                    compress(p, w, &mut up, &mut label, &semi)
                } else {
                    p
                };
                best = best.min(if p > w { semi[u] } else { p });
            }
            semi[w] = best;
            label[w] = w;
        }
        let mut idom = parent;
        for w in 1..n {
            let mut d = idom[w];
            while d > semi[w] {
                d = idom[d];
            }
            idom[w] = d;
            self.idom[vertex[w].index()] = vertex[d];
        }
    }

    /// The closest block that dominates both of two reachable blocks.
    pub fn common(&self, mut a: Block, mut b: Block) -> Block {
        while a != b {
            while self.number[a.index()] > self.number[b.index()] {
                a = self.idom[a.index()];
            }
            while self.number[b.index()] > self.number[a.index()] {
                b = self.idom[b.index()];
            }
        }
        a
    }

    fn walk(&mut self) {
        let mut children = vec![Vec::new(); self.idom.len()];
        for &b in self.rpo.iter().skip(1) {
            children[self.idom[b.index()].index()].push(b);
        }
        let Some(&entry) = self.rpo.first() else {
            return;
        };
        let mut clock = 0;
        let mut stack = vec![(entry, false)];
        while let Some((b, left)) = stack.pop() {
            clock += 1;
            if left {
                self.visit[b.index()].1 = clock;
                continue;
            }
            self.visit[b.index()].0 = clock;
            stack.push((b, true));
            stack.extend(children[b.index()].iter().rev().map(|&c| (c, false)));
        }
    }

    /// Whether control can get to `b`.
    pub fn is_reachable(&self, b: Block) -> bool {
        self.number[b.index()] != u32::MAX
    }

    /// The closest block that every way to `b` goes through; `None` for the entry.
    pub fn idom(&self, b: Block) -> Option<Block> {
        let d = self.idom[b.index()];
        (d != b).then_some(d)
    }

    /// Whether every way to `b` goes through `a`; a block dominates itself.
    pub fn dominates(&self, a: Block, b: Block) -> bool {
        let (va, vb) = (self.visit[a.index()], self.visit[b.index()]);
        va.0 <= vb.0 && vb.1 <= va.1
    }

    /// Position of a reachable block in [`Cfg::rpo`].
    pub fn position(&self, b: Block) -> usize {
        self.number[b.index()] as usize
    }

    /// Blocks in an order in which the dominator tree is walked depth first.
    pub fn dominator_order(&self) -> Vec<Block> {
        let mut order = self.rpo.clone();
        order.sort_by_key(|b| self.visit[b.index()].0);
        order
    }
}

/// Follows `up` from `p` as long as it leads above `w`, shortens that path, and gives the vertex
/// on it with the least semi-dominator.
fn compress(p: usize, w: usize, up: &mut [usize], label: &mut [usize], semi: &[usize]) -> usize {
    let mut path = Vec::new();
    let mut at = p;
    while up[at] > w {
        path.push(at);
        at = up[at];
    }
    for v in path.into_iter().rev() {
        let above = up[v];
        if semi[label[above]] < semi[label[v]] {
            label[v] = label[above];
        }
        up[v] = up[above];
    }
    label[p]
}

/// Reachable blocks in reverse postorder; the likely successor of a branch comes first.
pub fn reverse_postorder(func: &Func) -> Vec<Block> {
    order(&successors(func))
}

fn successors(func: &Func) -> Vec<Vec<Block>> {
    let of = |b: &BlockData| match &b.term {
        Some(Term::Jump(to, _)) => vec![*to],
        // What is visited last comes first in the order.
        Some(Term::Br {
            then,
            els,
            then_cold: true,
            ..
        }) => vec![then.0, els.0],
        Some(Term::Br { then, els, .. }) => vec![els.0, then.0],
        Some(Term::Ret(_)) | None => Vec::new(),
    };
    func.blocks.iter().map(of).collect()
}

fn order(succs: &[Vec<Block>]) -> Vec<Block> {
    let mut seen = vec![false; succs.len()];
    let mut order = Vec::with_capacity(succs.len());
    // A block and how many of its successors were visited.
    let mut stack = Vec::new();
    if let Some(first) = seen.first_mut() {
        *first = true;
        stack.push((Func::ENTRY, 0));
    }
    while let Some((b, next)) = stack.last_mut() {
        let succ = succs[b.index()].get(*next);
        *next += 1;
        match succ {
            Some(s) if !seen[s.index()] => {
                seen[s.index()] = true;
                stack.push((*s, 0));
            }
            Some(_) => {}
            None => {
                order.push(*b);
                stack.pop();
            }
        }
    }
    order.reverse();
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::read::read;

    #[test]
    fn dominators_of_a_loop_with_an_exit() {
        let m = read(
            "fn0 static \"f\" {
block0(v0: scalar):
    jump block1
block1:
    br eq v0, v0, block2, block3
block2:
    jump block1
block3:
    br ne v0, v0, block4, block5
block4:
    jump block5
block5:
    ret v0
block6:
    jump block5
}",
        )
        .unwrap();
        let c = Cfg::new(&m.funcs[0]);
        assert_eq!(c.idom(Block(5)), Some(Block(3)));
        assert_eq!(c.idom(Block(2)), Some(Block(1)));
        assert_eq!(c.idom(Block(0)), None);
        assert!(c.dominates(Block(1), Block(5)) && !c.dominates(Block(4), Block(5)));
        assert!(!c.is_reachable(Block(6)));
        assert_eq!(c.preds[5], [Block(3), Block(4)]);
    }

    #[test]
    fn dominators_agree_with_their_definition() {
        let mut seed = 7u64;
        let mut below = |n: usize| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as usize % n
        };
        for _ in 0..300 {
            let n = 1 + below(12);
            let succs: Vec<Vec<Block>> = (0..n)
                .map(|_| (0..below(3)).map(|_| Block(below(n) as u32)).collect())
                .collect();
            let c = Cfg::from_successors(&succs);
            // `a` dominates `b` if `b` cannot be reached without `a`.
            let reach = |without: Option<usize>| {
                let mut seen = vec![false; n];
                let mut work = vec![0];
                while let Some(b) = work.pop() {
                    if Some(b) != without && !std::mem::replace(&mut seen[b], true) {
                        work.extend(succs[b].iter().map(|s| s.index()));
                    }
                }
                seen
            };
            let all = reach(None);
            for a in (0..n).filter(|&a| all[a]) {
                let rest = reach(Some(a));
                for b in (0..n).filter(|&b| all[b]) {
                    let (x, y) = (Block(a as u32), Block(b as u32));
                    assert_eq!(c.dominates(x, y), !rest[b], "{x} {y} {succs:?}");
                }
            }
        }
    }
}
