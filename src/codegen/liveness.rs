//! Live ranges of virtual registers over the linear order of the machine code.
//!
//! Instruction `i` owns four positions: it reads its operands at `4i`, clobbers what a call
//! clobbers at `4i+1`, and writes its results at `4i+2`. A range is a list of half-open
//! segments with holes between them. The work is proportional to the total size of the live
//! sets (variable by variable, from uses back to definitions).

use super::minst::{MFunc, MInst, Need, VReg};

/// Position where instruction `i` reads.
pub fn read_at(i: u32) -> u32 {
    4 * i
}

/// Position where instruction `i`, a call, clobbers.
pub fn clobber_at(i: u32) -> u32 {
    4 * i + 1
}

/// Position where instruction `i` writes.
pub fn write_at(i: u32) -> u32 {
    4 * i + 2
}

/// A half-open stretch of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First position.
    pub start: u32,
    /// Position after the last.
    pub end: u32,
}

/// Where a register is live: ascending, disjoint segments.
pub type Range = Vec<Segment>;

/// Live ranges of a function.
#[derive(Debug)]
pub struct Liveness {
    /// By virtual register.
    pub ranges: Vec<Range>,
    /// Number of the first instruction of each block, and one past the last at the end.
    pub starts: Vec<u32>,
}

/// Computes live ranges.
pub fn analyse(f: &MFunc) -> Liveness {
    let mut starts = Vec::with_capacity(f.blocks.len() + 1);
    let mut n = 0;
    for b in &f.blocks {
        starts.push(n);
        n += b.insts.len() as u32;
    }
    starts.push(n);
    let live_out = live_out(f);
    let mut ranges = vec![Range::new(); f.vregs];
    // End of the segment under construction, 0 where a register is dead.
    let mut end = vec![0u32; f.vregs];
    let mut live: Vec<VReg> = Vec::new();
    // Backwards throughout, so segments come in descending order.
    for (bi, b) in f.blocks.iter().enumerate().rev() {
        let block_end = 4 * starts[bi + 1];
        live.clear();
        for &v in &live_out[bi] {
            end[v.index()] = block_end;
            live.push(v);
        }
        for (k, (inst, _)) in b.insts.iter().enumerate().rev() {
            let i = starts[bi] + k as u32;
            inst.for_each_def(|v, _| {
                let till = match end[v.index()] {
                    0 => write_at(i) + 1,
                    e => e,
                };
                add(&mut ranges[v.index()], write_at(i), till);
                end[v.index()] = 0;
            });
            inst.for_each_use(|v, need| {
                let till = match need {
                    Need::Late => write_at(i) + 1,
                    Need::Reg | Need::Any => read_at(i) + 1,
                };
                if end[v.index()] < till {
                    if end[v.index()] == 0 {
                        live.push(v);
                    }
                    end[v.index()] = till;
                }
            });
        }
        for v in live.drain(..) {
            let e = std::mem::take(&mut end[v.index()]);
            if e != 0 {
                add(&mut ranges[v.index()], 4 * starts[bi], e);
            }
        }
    }
    for r in &mut ranges {
        r.reverse();
    }
    Liveness { ranges, starts }
}

/// Adds a segment before all others of a range in descending order.
fn add(range: &mut Range, start: u32, end: u32) {
    match range.last_mut() {
        Some(last) if end >= last.start => {
            last.start = start;
            last.end = last.end.max(end);
        }
        _ => range.push(Segment { start, end }),
    }
}

/// Registers live at the end of each block.
fn live_out(f: &MFunc) -> Vec<Vec<VReg>> {
    let mut preds: Vec<Vec<u32>> = vec![Vec::new(); f.blocks.len()];
    // Blocks that read a register before writing it, and blocks that write it.
    let mut reads: Vec<Vec<u32>> = vec![Vec::new(); f.vregs];
    let mut writes: Vec<Vec<u32>> = vec![Vec::new(); f.vregs];
    for (bi, b) in f.blocks.iter().enumerate() {
        let bi = bi as u32;
        for (inst, _) in &b.insts {
            inst.for_each_use(|v, _| {
                if writes[v.index()].last() != Some(&bi) && reads[v.index()].last() != Some(&bi) {
                    reads[v.index()].push(bi);
                }
            });
            inst.for_each_def(|v, _| {
                if writes[v.index()].last() != Some(&bi) {
                    writes[v.index()].push(bi);
                }
            });
            for t in inst.targets() {
                if preds[t].last() != Some(&bi) {
                    preds[t].push(bi);
                }
            }
        }
    }
    let mut out: Vec<Vec<VReg>> = vec![Vec::new(); f.blocks.len()];
    // Marks of the register at hand: number + 1.
    let mut is_in = vec![0u32; f.blocks.len()];
    let mut is_out = vec![0u32; f.blocks.len()];
    let mut defines = vec![0u32; f.blocks.len()];
    let mut work = Vec::new();
    for v in 0..f.vregs {
        let mark = v as u32 + 1;
        for &b in &writes[v] {
            defines[b as usize] = mark;
        }
        for &b in &reads[v] {
            is_in[b as usize] = mark;
            work.push(b as usize);
        }
        while let Some(b) = work.pop() {
            for &p in &preds[b] {
                let p = p as usize;
                if is_out[p] != mark {
                    is_out[p] = mark;
                    out[p].push(VReg(v as u32));
                }
                if defines[p] != mark && is_in[p] != mark {
                    is_in[p] = mark;
                    work.push(p);
                }
            }
        }
    }
    out
}

/// Whether two ranges share a position.
pub fn overlap(a: &[Segment], b: &[Segment]) -> bool {
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    // Segments of the larger one are found by bisection, unless both are small.
    small.iter().any(|s| {
        let at = large.partition_point(|l| l.end <= s.start);
        large.get(at).is_some_and(|l| l.start < s.end)
    })
}

/// The union of two disjoint ranges.
pub fn merge(mut a: Range, mut b: Range) -> Range {
    // Mostly the shorter belongs near the end of the longer: only that part is redone.
    if a.len() < b.len() {
        std::mem::swap(&mut a, &mut b);
    }
    let from = b.first().map_or(u32::MAX, |s| s.start);
    let tail = a.split_off(a.partition_point(|s| s.end < from));
    let (mut i, mut j) = (0, 0);
    while i < tail.len() || j < b.len() {
        let from_tail = j == b.len() || (i < tail.len() && tail[i].start < b[j].start);
        let s = if from_tail { tail[i] } else { b[j] };
        if from_tail {
            i += 1;
        } else {
            j += 1;
        }
        push(&mut a, s);
    }
    a
}

fn push(range: &mut Range, s: Segment) {
    match range.last_mut() {
        Some(last) if last.end >= s.start => last.end = last.end.max(s.end),
        _ => range.push(s),
    }
}

/// Positions at which calls clobber r0 to r5, ascending.
pub fn clobbers(f: &MFunc) -> Vec<u32> {
    let insts = f.blocks.iter().flat_map(|b| &b.insts);
    let calls = insts.enumerate().filter(|(_, (m, _))| MInst::is_call(m));
    calls.map(|(i, _)| clobber_at(i as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_overlap() {
        let seg = |start, end| Segment { start, end };
        let a = [seg(0, 5), seg(10, 12)];
        let b = [seg(5, 7), seg(20, 30)];
        assert!(!overlap(&a, &b));
        assert_eq!(
            merge(a.to_vec(), b.to_vec()),
            [seg(0, 7), seg(10, 12), seg(20, 30)]
        );
        assert_eq!(
            merge(vec![seg(7, 9)], a.to_vec()),
            [seg(0, 5), seg(7, 9), seg(10, 12)]
        );
        assert_eq!(
            merge(vec![seg(13, 14)], vec![seg(2, 3)]),
            [seg(2, 3), seg(13, 14)]
        );
        assert!(overlap(&a, &[seg(11, 40)]));
    }
}
