//! What spilling costs, and where spilled registers lie in the frame.

use std::collections::BTreeMap;

use super::liveness::{Range, Segment};
use super::minst::{MFunc, VReg};

/// Factor per level of loop nesting.
const LOOP: f32 = 8.0;
/// Factor for rare blocks.
const COLD: f32 = 1.0 / 64.0;
/// Factor for registers that should not be spilled ([`MFunc::bounded`]).
const BOUNDED: f32 = 256.0;
/// Loops nested deeper than this count no more.
const MAX_DEPTH: i32 = 8;

/// How often each block is expected to run, relative to the entry. A jump back to a block in
/// front makes a loop of all that lies between.
pub fn frequencies(f: &MFunc) -> Vec<f32> {
    // Loops opened before each block minus loops closed.
    let mut change = vec![0i32; f.blocks.len() + 1];
    for (bi, b) in f.blocks.iter().enumerate() {
        let Some((last, _)) = b.insts.last() else {
            continue;
        };
        // A jump back out of the rare blocks is a way back into the usual course.
        for t in last.targets().filter(|&t| t <= bi) {
            if !b.cold || f.blocks[t].cold {
                change[t] += 1;
                change[bi + 1] -= 1;
            }
        }
    }
    let mut depth = 0;
    f.blocks
        .iter()
        .zip(change)
        .map(|(b, c)| {
            depth += c;
            LOOP.powi(depth.min(MAX_DEPTH)) * if b.cold { COLD } else { 1.0 }
        })
        .collect()
}

/// For each representative: how much work spilling it makes, per position it frees.
pub fn weights(f: &MFunc, ranges: &[Range], rep: &[VReg], freq: &[f32]) -> Vec<f32> {
    let mut w = vec![0f32; f.vregs];
    for (b, &freq) in f.blocks.iter().zip(freq) {
        for (inst, _) in &b.insts {
            inst.for_each_use(|v, _| w[rep[v.index()].index()] += freq);
            inst.for_each_def(|v, _| w[rep[v.index()].index()] += freq);
        }
    }
    let mut bounded: Vec<VReg> = f.bounded.iter().map(|v| rep[v.index()]).collect();
    bounded.sort_unstable();
    bounded.dedup();
    for v in bounded {
        w[v.index()] *= BOUNDED;
    }
    for (w, range) in w.iter_mut().zip(ranges) {
        let length: u32 = range.iter().map(|s| s.end - s.start).sum();
        *w /= (length + 8) as f32;
    }
    w
}

/// Slots of spilled registers; registers that are never live together share one.
#[derive(Debug)]
pub struct Spills {
    slots: BTreeMap<VReg, u32>,
    ranges: Vec<Range>,
}

impl Spills {
    /// Gives every register of `spilled` a slot.
    pub fn assign(spilled: &[VReg], ranges: &[Range]) -> Self {
        let mut order: Vec<VReg> = spilled.to_vec();
        order.sort_by_key(|v| ranges[v.index()].first().map(|s| s.start));
        let mut used: Vec<BTreeMap<u32, u32>> = Vec::new();
        let mut slots = BTreeMap::new();
        for v in order {
            let range = &ranges[v.index()];
            let free = used
                .iter()
                .position(|u| range.iter().all(|s| is_free(u, *s)));
            let at = free.unwrap_or_else(|| {
                used.push(BTreeMap::new());
                used.len() - 1
            });
            used[at].extend(range.iter().map(|s| (s.start, s.end)));
            slots.insert(v, at as u32);
        }
        let range = |u: BTreeMap<u32, u32>| {
            u.into_iter()
                .map(|(start, end)| Segment { start, end })
                .collect()
        };
        Self {
            ranges: used.into_iter().map(range).collect(),
            slots,
        }
    }

    /// The slot of `v`, if it was spilled.
    pub fn slot(&self, v: VReg) -> Option<u32> {
        self.slots.get(&v).copied()
    }

    /// Where each slot is in use, by number.
    pub fn into_ranges(self) -> Vec<Range> {
        self.ranges
    }
}

fn is_free(used: &BTreeMap<u32, u32>, s: Segment) -> bool {
    let next = used.range(..s.end).next_back();
    next.is_none_or(|(_, &end)| end <= s.start)
}
