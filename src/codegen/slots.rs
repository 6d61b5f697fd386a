//! Where the contents of frame slots matter, so that slots can share memory.
//!
//! A slot's contents matter from the first access to the last on every way between two. Before
//! the block that dominates all accesses they cannot: the IR's rule that bytes are written
//! before they are read holds for the way from the entry, too. Slots whose address is put into
//! a register may be accessed anywhere.

use crate::ir::cfg::Cfg;
use crate::ir::{Block, Slot};

use super::liveness::{Range, Segment};
use super::minst::{Arg, Base, Konst, MFunc, MInst};

/// Ranges of the slots of `f`, by number; empty for unused ones. `starts` is
/// [`Liveness::starts`](super::liveness::Liveness::starts).
pub fn ranges(f: &MFunc, starts: &[u32]) -> Vec<Range> {
    let mut accesses = vec![Accesses::default(); f.slots.len()];
    for (bi, b) in f.blocks.iter().enumerate() {
        for (k, (inst, _)) in b.insts.iter().enumerate() {
            let i = starts[bi] + k as u32;
            visit(inst, |slot, escapes| {
                let a = &mut accesses[slot.index()];
                a.escapes |= escapes;
                match a.blocks.last_mut() {
                    Some((b, _, last)) if *b == bi => *last = i,
                    _ => a.blocks.push((bi, i, i)),
                }
            });
        }
    }
    let all = |end: u32| vec![Segment { start: 0, end }];
    let total = 4 * starts.last().copied().unwrap_or(0);
    let mut graph = None;
    accesses
        .into_iter()
        .map(|a| match a.blocks[..] {
            [] => Range::new(),
            _ if a.escapes => all(total),
            // Used in one block only: no need to look at the graph.
            [(_, first, last)] => vec![Segment {
                start: 4 * first,
                end: 4 * last + 4,
            }],
            _ => graph.get_or_insert_with(|| Graph::new(f)).range(&a, starts),
        })
        .collect()
}

#[derive(Clone, Default)]
struct Accesses {
    escapes: bool,
    /// Block, first and last instruction.
    blocks: Vec<(usize, u32, u32)>,
}

/// Calls `on` with each slot an instruction mentions and whether its address gets away.
fn visit(inst: &MInst, mut on: impl FnMut(Slot, bool)) {
    match inst {
        MInst::Load {
            base: Base::Slot(s),
            ..
        }
        | MInst::Store {
            base: Base::Slot(s),
            ..
        }
        | MInst::Atomic {
            base: Base::Slot(s),
            ..
        } => on(*s, false),
        MInst::Const {
            val: Konst::Slot(s, _),
            ..
        }
        | MInst::Ret(Arg::Const(Konst::Slot(s, _))) => on(*s, true),
        MInst::Call { args, .. } => {
            for a in args {
                if let Arg::Const(Konst::Slot(s, _)) = a {
                    on(*s, false);
                }
            }
        }
        _ => {}
    }
}

struct Graph {
    cfg: Cfg,
    /// Marks of the slot at hand.
    seen: Vec<u32>,
    round: u32,
}

impl Graph {
    fn new(f: &MFunc) -> Self {
        let targets = |b: &super::minst::MBlock| match b.insts.last() {
            Some((last, _)) => last.targets().map(|t| Block(t as u32)).collect(),
            None => Vec::new(),
        };
        let succs: Vec<Vec<Block>> = f.blocks.iter().map(targets).collect();
        Self {
            cfg: Cfg::from_successors(&succs),
            seen: vec![0; f.blocks.len()],
            round: 0,
        }
    }

    fn range(&mut self, a: &Accesses, starts: &[u32]) -> Range {
        self.round += 1;
        let block = |b: usize| Block(b as u32);
        let home = a
            .blocks
            .iter()
            .map(|x| block(x.0))
            .reduce(|x, y| self.cfg.common(x, y))
            .unwrap_or(Block(0));
        // Blocks at whose end the contents matter.
        let mut out: Vec<usize> = Vec::new();
        let mut work: Vec<Block> = Vec::new();
        work.extend(a.blocks.iter().map(|x| block(x.0)).filter(|b| *b != home));
        let mut entered = std::collections::HashSet::new();
        while let Some(b) = work.pop() {
            if b == home || !entered.insert(b) {
                continue;
            }
            for &p in &self.cfg.preds[b.index()] {
                if self.seen[p.index()] != self.round {
                    self.seen[p.index()] = self.round;
                    out.push(p.index());
                    work.push(p);
                }
            }
        }
        let at_home = a.blocks.iter().find(|x| x.0 == home.index());
        let mut range: Range = Vec::new();
        let mut add = |start: u32, end: u32| range.push(Segment { start, end });
        for &b in &out {
            let end = 4 * starts[b + 1];
            let start = match at_home {
                _ if b != home.index() => 4 * starts[b],
                Some((_, first, _)) => 4 * first,
                None => end - 1,
            };
            add(start, end);
        }
        for &(b, first, last) in &a.blocks {
            if self.seen[b] == self.round {
                continue;
            }
            let start = match b == home.index() {
                true => 4 * first,
                false => 4 * starts[b],
            };
            add(start, 4 * last + 4);
        }
        range.sort_unstable_by_key(|s| s.start);
        range
    }
}

#[cfg(test)]
mod tests {
    use crate::codegen::{isel, liveness};
    use crate::ir::read::read;

    #[test]
    fn temporaries_of_statements_do_not_overlap() {
        let mut body = String::new();
        for i in 0..3 {
            let (a, m, l, t) = (i * 4 + 1, i * 4 + 2, i * 4 + 3, i * 4 + 4);
            body += &format!(
                "    v{a}: frame = slot_addr slot{i}+0
    store.8 v{a}+0, v99
    v{m}: map = map_fd map0
    v{l}: mapval?(map0) = call bpf_map_lookup_elem(v{m}, v{a})
    br eq v99, v98, block{}, block{}
block{}:
    v{t} = call bpf_map_delete_elem(v{m}, v{a})
    jump block{}
block{}:
",
                2 * i + 1,
                2 * i + 2,
                2 * i + 1,
                2 * i + 2,
                2 * i + 2,
            );
        }
        let text = format!(
            "map0 = hash key 8 value 8 entries 8 flags 0 \"h\"
fn0 entry \"f\" {{
    slot0 8
    slot1 8
    slot2 8
block0(v0: ctx):
    v99 = load.8 v0+0
    v98 = const 0
{body}    ret v98
}}
"
        );
        let m = read(&text).unwrap();
        crate::ir::verify(&m).unwrap();
        let f = isel::select(&m.funcs[0]);
        let live = liveness::analyse(&f);
        let ranges = super::ranges(&f, &live.starts);
        assert!(ranges.iter().all(|r| !r.is_empty()));
        assert!(!liveness::overlap(&ranges[0], &ranges[1]));
        assert!(!liveness::overlap(&ranges[1], &ranges[2]));
    }
}
