//! Register allocation: live ranges to r0-r9, or to the frame.
//!
//! First, moves whose two sides are never live together disappear: both sides become one
//! register. Then ranges are taken in the order of their start; each gets a free register,
//! preferably the one a neighbouring move, call or return wants it in; failing that it takes
//! the register of cheaper ranges or goes to the frame itself. Ranges that a call interrupts
//! fit into r6-r9 only. A register in the frame is stored where it is defined and fetched for
//! each use into a register held only there, so every fetch is dominated by a store.
//!
//! Registers' occupancy is kept in ordered maps, so the whole takes O(n log n).

use std::collections::{BTreeMap, HashMap};

use super::insn::Reg;
use super::liveness::{Liveness, Range, Segment, clobbers, merge, overlap, read_at, write_at};
use super::minst::{Arg, MFunc, MInst, Need, VReg};
use super::spill::{Spills, weights};

/// Registers that may be allocated: r0 to r9.
const ALLOCATABLE: usize = 10;
/// The order in which registers are tried that nothing speaks for: those that calls, returns
/// and their first arguments want come late, those that calls preserve last.
const ORDER: [usize; ALLOCATABLE] = [5, 4, 3, 0, 2, 1, 6, 7, 8, 9];
/// The first of those that calls preserve.
const FIRST_SAVED: usize = 6;

/// Where a virtual register lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a register, always.
    Reg(Reg),
    /// In the frame: index of a spill slot of 8 bytes.
    Spill(u32),
    /// Nowhere: it is never used.
    Unused,
}

/// The result of allocation.
#[derive(Debug)]
pub struct Allocation {
    places: Vec<Place>,
    /// Representative of each virtual register after coalescing.
    rep: Vec<VReg>,
    /// Registers that hold spilled operands during one instruction.
    reads: HashMap<(u32, VReg), Reg>,
    writes: HashMap<(u32, VReg), Reg>,
    /// Where each spill slot is in use, by number.
    pub spills: Vec<Range>,
}

impl Allocation {
    /// Where `v` lives.
    pub fn place(&self, v: VReg) -> Place {
        self.places[self.rep[v.index()].index()]
    }

    /// The register through which instruction `i` reads spilled `v`.
    pub fn read_reg(&self, i: u32, v: VReg) -> Option<Reg> {
        self.reads.get(&(i, self.rep[v.index()])).copied()
    }

    /// The register through which instruction `i` writes spilled `v`.
    pub fn write_reg(&self, i: u32, v: VReg) -> Option<Reg> {
        self.writes.get(&(i, self.rep[v.index()])).copied()
    }
}

/// Allocates registers for `f`.
pub fn allocate(f: &MFunc, live: Liveness) -> Allocation {
    let freq = super::spill::frequencies(f);
    let mut coalesced = Coalesced::new(f, live, &freq);
    let ranges = std::mem::take(&mut coalesced.ranges);
    let rep: Vec<VReg> = (0..f.vregs as u32)
        .map(|v| coalesced.find(VReg(v)))
        .collect();
    let weight = weights(f, &ranges, &rep, &freq);
    let mut a = Allocator::new(f, ranges, &rep, weight);
    a.run();
    let spills = Spills::assign(&a.spilled, &a.ranges);
    let places = (0..f.vregs)
        .map(|v| match a.assigned[v] {
            Some(r) => Place::Reg(r),
            None => match spills.slot(VReg(v as u32)) {
                Some(s) => Place::Spill(s),
                None => Place::Unused,
            },
        })
        .collect();
    Allocation {
        places,
        reads: a.reads,
        writes: a.writes,
        rep,
        spills: spills.into_ranges(),
    }
}

/// Virtual registers joined by moves.
struct Coalesced {
    parent: Vec<VReg>,
    ranges: Vec<Range>,
}

impl Coalesced {
    fn new(f: &MFunc, live: Liveness, freq: &[f32]) -> Self {
        let mut c = Self {
            parent: (0..f.vregs as u32).map(VReg).collect(),
            ranges: live.ranges,
        };
        let mut order: Vec<usize> = (0..f.blocks.len()).collect();
        // The moves that run most often first.
        order.sort_by(|&a, &b| freq[b].total_cmp(&freq[a]));
        for bi in order {
            for (inst, _) in &f.blocks[bi].insts {
                if let MInst::Mov { dst, src } = inst {
                    c.join(*dst, *src);
                }
            }
        }
        c
    }

    fn find(&mut self, mut v: VReg) -> VReg {
        while self.parent[v.index()] != v {
            let up = self.parent[v.index()];
            self.parent[v.index()] = self.parent[up.index()];
            v = up;
        }
        v
    }

    fn join(&mut self, a: VReg, b: VReg) {
        let (a, b) = (self.find(a), self.find(b));
        if a == b || overlap(&self.ranges[a.index()], &self.ranges[b.index()]) {
            return;
        }
        let (ra, rb) = (
            std::mem::take(&mut self.ranges[a.index()]),
            std::mem::take(&mut self.ranges[b.index()]),
        );
        self.ranges[a.index()] = merge(ra, rb);
        self.parent[b.index()] = a;
    }
}

/// What occupies a register from some position on.
#[derive(Clone, Copy)]
struct Occupied {
    end: u32,
    by: Owner,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A range, which may have to go.
    Range(VReg),
    /// An operand of one instruction or the machine itself.
    Fixed,
}

/// A wish for a place.
#[derive(Clone, Copy)]
enum Hint {
    Reg(Reg),
    Same(VReg),
}

struct Allocator<'a> {
    f: &'a MFunc,
    rep: &'a [VReg],
    ranges: Vec<Range>,
    weight: Vec<f32>,
    hints: Vec<Vec<Hint>>,
    /// Instructions that mention each representative.
    mentions: Vec<Vec<u32>>,
    /// Instructions in linear order.
    insts: Vec<&'a MInst>,
    clobbers: Vec<u32>,
    units: [BTreeMap<u32, Occupied>; ALLOCATABLE],
    assigned: Vec<Option<Reg>>,
    spilled: Vec<VReg>,
    is_spilled: Vec<bool>,
    reads: HashMap<(u32, VReg), Reg>,
    writes: HashMap<(u32, VReg), Reg>,
}

impl<'a> Allocator<'a> {
    fn new(f: &'a MFunc, ranges: Vec<Range>, rep: &'a [VReg], weight: Vec<f32>) -> Self {
        let insts: Vec<&MInst> = f
            .blocks
            .iter()
            .flat_map(|b| b.insts.iter().map(|(m, _)| m))
            .collect();
        let mut a = Self {
            f,
            rep,
            ranges,
            weight,
            hints: vec![Vec::new(); f.vregs],
            mentions: vec![Vec::new(); f.vregs],
            insts,
            clobbers: clobbers(f),
            units: Default::default(),
            assigned: vec![None; f.vregs],
            spilled: Vec::new(),
            is_spilled: vec![false; f.vregs],
            reads: HashMap::new(),
            writes: HashMap::new(),
        };
        a.collect();
        a
    }

    /// Hints, mentions, fixed registers.
    fn collect(&mut self) {
        let rep = self.rep;
        for (i, m) in self.insts.clone().into_iter().enumerate() {
            let i = i as u32;
            let mentions = &mut self.mentions;
            let mut mention = |v: VReg, _| {
                let list = &mut mentions[rep[v.index()].index()];
                if list.last() != Some(&i) {
                    list.push(i);
                }
            };
            m.for_each_use(&mut mention);
            m.for_each_def(&mut mention);
            match m {
                MInst::Mov { dst, src }
                | MInst::Zext32 { dst, a: src }
                | MInst::Neg { dst, a: src }
                | MInst::Swap { dst, a: src, .. }
                | MInst::Alu { dst, a: src, .. }
                | MInst::Atomic {
                    dst: Some(dst),
                    src,
                    expected: None,
                    ..
                } => {
                    self.hint(*dst, Hint::Same(rep[src.index()]));
                    self.hint(*src, Hint::Same(rep[dst.index()]));
                }
                MInst::Params(vs) => {
                    for (k, v) in vs.iter().enumerate() {
                        self.hint_reg(*v, k as u8 + 1);
                    }
                }
                MInst::Call { args, dst, .. } => {
                    for (k, a) in args.iter().enumerate() {
                        if let Some(v) = a.reg() {
                            self.hint_reg(v, k as u8 + 1);
                        }
                    }
                    dst.iter().for_each(|&v| self.hint_reg(v, 0));
                }
                MInst::Ret(Arg::Reg(v)) => self.hint_reg(*v, 0),
                _ => {}
            }
            if m.clobbers_r0_early() {
                let fixed = Occupied {
                    end: read_at(i) + 2,
                    by: Owner::Fixed,
                };
                self.units[0].insert(read_at(i), fixed);
                if let MInst::Atomic { dst: Some(d), .. } = m {
                    self.hint_reg(*d, 0);
                }
            }
        }
    }

    fn hint(&mut self, v: VReg, h: Hint) {
        self.hints[self.rep[v.index()].index()].push(h);
    }

    fn hint_reg(&mut self, v: VReg, n: u8) {
        if let Some(r) = Reg::new(n) {
            self.hint(v, Hint::Reg(r));
        }
    }

    fn run(&mut self) {
        let mut order: Vec<VReg> = (0..self.f.vregs as u32)
            .map(VReg)
            .filter(|v| !self.ranges[v.index()].is_empty())
            .collect();
        order.sort_by_key(|v| self.ranges[v.index()][0].start);
        for v in order {
            if !self.is_spilled[v.index()] {
                self.place(v);
            }
        }
    }

    fn crosses_call(&self, range: &[Segment]) -> bool {
        range.iter().any(|s| {
            let at = self.clobbers.partition_point(|&c| c < s.start);
            self.clobbers.get(at).is_some_and(|&c| c < s.end)
        })
    }

    /// Gives `v` a register or spills something.
    fn place(&mut self, v: VReg) {
        let range = std::mem::take(&mut self.ranges[v.index()]);
        let first = if self.crosses_call(&range) {
            FIRST_SAVED
        } else {
            0
        };
        let found = self
            .hinted(v, &range, first)
            .or_else(|| self.any_free(first, &range));
        let chosen = found.or_else(|| self.cheapest(&range, first, self.weight[v.index()]));
        match chosen {
            Some(r) => {
                let evicted = self.conflicts(r, &range);
                evicted.iter().for_each(|&e| self.remove(e));
                self.occupy(r, &range, Owner::Range(v));
                self.assigned[v.index()] = Reg::new(r as u8);
                self.ranges[v.index()] = range;
                // Only now: their operands must not take the register again.
                self.spill(evicted);
            }
            None => {
                self.ranges[v.index()] = range;
                self.spill(vec![v]);
            }
        }
    }

    fn hinted(&self, v: VReg, range: &[Segment], first: usize) -> Option<usize> {
        self.hints[v.index()]
            .iter()
            .filter_map(|h| match h {
                Hint::Reg(r) => Some(*r),
                Hint::Same(o) => self.assigned[o.index()],
            })
            .map(Reg::index)
            .find(|&r| r >= first && r < ALLOCATABLE && self.is_free(r, range))
    }

    fn any_free(&self, first: usize, range: &[Segment]) -> Option<usize> {
        ORDER
            .into_iter()
            .find(|&r| r >= first && self.is_free(r, range))
    }

    fn is_free(&self, r: usize, range: &[Segment]) -> bool {
        range.iter().all(|s| self.occupants(r, *s).next().is_none())
    }

    /// What occupies register `r` somewhere in `s`.
    fn occupants(&self, r: usize, s: Segment) -> impl Iterator<Item = Owner> + '_ {
        let before = self.units[r]
            .range(..s.start)
            .next_back()
            .filter(|(_, o)| o.end > s.start);
        let within = self.units[r].range(s.start..s.end);
        before.into_iter().chain(within).map(|(_, o)| o.by)
    }

    /// Ranges that occupy register `r` somewhere in `range`.
    fn conflicts(&self, r: usize, range: &[Segment]) -> Vec<VReg> {
        let mut out: Vec<VReg> = range
            .iter()
            .flat_map(|s| self.occupants(r, *s))
            .filter_map(|o| match o {
                Owner::Range(v) => Some(v),
                Owner::Fixed => None,
            })
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// The register whose occupants are worth least, if that is less than `limit`.
    fn cheapest(&self, range: &[Segment], first: usize, limit: f32) -> Option<usize> {
        let cost = |r: usize| -> Option<f32> {
            let fixed = range
                .iter()
                .flat_map(|s| self.occupants(r, *s))
                .any(|o| o == Owner::Fixed);
            let sum = || {
                self.conflicts(r, range)
                    .iter()
                    .map(|v| self.weight[v.index()])
                    .sum()
            };
            (!fixed).then(sum)
        };
        (first..ALLOCATABLE)
            .filter_map(|r| cost(r).map(|c| (c, r)))
            .filter(|(c, _)| *c < limit)
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, r)| r)
    }

    fn occupy(&mut self, r: usize, range: &[Segment], by: Owner) {
        for s in range {
            self.units[r].insert(s.start, Occupied { end: s.end, by });
        }
    }

    fn remove(&mut self, v: VReg) {
        if let Some(r) = self.assigned[v.index()].take() {
            for s in &self.ranges[v.index()] {
                self.units[r.index()].remove(&s.start);
            }
        }
    }

    /// Sends registers to the frame; their operands get registers of their own, which may
    /// displace others in turn. Ends because every range is spilled at most once.
    fn spill(&mut self, mut work: Vec<VReg>) {
        while let Some(v) = work.pop() {
            self.is_spilled[v.index()] = true;
            self.spilled.push(v);
            for i in std::mem::take(&mut self.mentions[v.index()]) {
                self.operands(v, i, &mut work);
            }
        }
    }

    /// Registers for the operands `v` of instruction `i`.
    fn operands(&mut self, v: VReg, i: u32, work: &mut Vec<VReg>) {
        let (rep, m) = (self.rep, self.insts[i as usize]);
        let (mut read, mut write) = (None, false);
        m.for_each_use(|u, need| {
            if rep[u.index()] == v && need != Need::Any && read != Some(Need::Late) {
                read = Some(need);
            }
        });
        m.for_each_def(|d, need| {
            write |= rep[d.index()] == v && need != Need::Any;
        });
        if let Some(need) = read {
            let end = match need {
                Need::Late => write_at(i) + 1,
                Need::Reg | Need::Any => read_at(i) + 1,
            };
            let start = read_at(i);
            let r = self.hold(Segment { start, end }, None, work);
            self.reads.insert((i, v), r);
        }
        if write {
            let s = Segment {
                start: write_at(i),
                end: write_at(i) + 2,
            };
            let wish = self.reads.get(&(i, v)).copied();
            let r = self.hold(s, wish, work);
            self.writes.insert((i, v), r);
        }
    }

    /// A register for one instruction, by force if need be.
    fn hold(&mut self, s: Segment, wish: Option<Reg>, work: &mut Vec<VReg>) -> Reg {
        let range = [s];
        let wish = wish.map(Reg::index).filter(|&r| self.is_free(r, &range));
        let r = wish
            .or_else(|| self.any_free(0, &range))
            .or_else(|| self.cheapest(&range, 0, f32::INFINITY))
            .expect("an instruction has fewer operands than there are registers");
        for e in self.conflicts(r, &range) {
            self.remove(e);
            work.push(e);
            // Not to be found again before its turn comes.
            self.is_spilled[e.index()] = true;
        }
        self.occupy(r, &range, Owner::Fixed);
        Reg::new(r as u8).expect("allocatable registers exist")
    }
}
