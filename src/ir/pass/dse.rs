//! Removes stores to the frame and to records that are overwritten before anything reads them,
//! and the parts of zeroing that later stores cover.
//!
//! Blocks are walked backwards with the set of bytes that will be written before they are read.
//! At a return that is the whole frame. Slots whose address is stored or cannot be followed are
//! left alone.

use std::collections::HashMap;

use crate::ir::entity::{Slot, Value};
use crate::ir::func::{Func, Node};
use crate::ir::inst::{BinOp, Inst, Term, Ty, Width};

/// Objects larger than this are not followed.
const MAX_SIZE: usize = 4096;

/// Runs the pass.
pub fn run(f: &mut Func) {
    let mut d = Dse::new(f);
    d.find_escaped(f);
    for bi in 0..f.blocks.len() {
        let mut dead = Dead {
            bytes: HashMap::new(),
            // Nothing looks at a frame after the return.
            frame: matches!(f.blocks[bi].term, Some(Term::Ret(_))),
        };
        let mut kept: Vec<Node> = Vec::with_capacity(f.blocks[bi].insts.len());
        for n in std::mem::take(&mut f.blocks[bi].insts).into_iter().rev() {
            d.step(f, n, &mut dead, &mut kept);
        }
        kept.reverse();
        f.blocks[bi].insts = kept;
    }
}

/// Something that stores go to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Object {
    Slot(Slot),
    /// A record, by the value of its reservation.
    Rec(Value),
}

/// Bytes that will be written before they are read.
struct Dead {
    bytes: HashMap<Object, Vec<bool>>,
    /// What is said of slots that `bytes` does not mention.
    frame: bool,
}

struct Dse {
    /// Where each value points.
    place: Vec<Option<(Object, i64)>>,
    escaped: Vec<bool>,
}

impl Dse {
    fn new(f: &Func) -> Self {
        let consts = f.constants();
        let mut place: Vec<Option<(Object, i64)>> = vec![None; f.values.len()];
        for b in crate::ir::cfg::reverse_postorder(f) {
            for n in &f.block(b).insts {
                let Some(v) = n.result else { continue };
                place[v.index()] = match &n.inst {
                    Inst::SlotAddr { slot, off } => Some((Object::Slot(*slot), i64::from(*off))),
                    Inst::NonNull(x) if matches!(f.ty(v), Ty::Rec(_)) => Some((Object::Rec(*x), 0)),
                    Inst::Bin {
                        op: BinOp::Add,
                        w: Width::W64,
                        a,
                        b,
                    } => match (place[a.index()], consts[b.index()]) {
                        (Some((o, at)), Some(c)) => Some((o, at.wrapping_add(c))),
                        _ => None,
                    },
                    _ => None,
                };
            }
        }
        Self {
            place,
            escaped: vec![false; f.slots.len()],
        }
    }

    fn find_escaped(&mut self, f: &Func) {
        let place = &self.place;
        let escaped = &mut self.escaped;
        let mut escape = |v: Value| {
            if let Some((Object::Slot(s), _)) = place[v.index()] {
                escaped[s.index()] = true;
            }
        };
        for b in &f.blocks {
            for n in &b.insts {
                match &n.inst {
                    Inst::Store { val, .. } => escape(*val),
                    Inst::Bin { .. } if n.result.is_some_and(|v| place[v.index()].is_none()) => {
                        n.inst.for_each_use(&mut escape);
                    }
                    _ => {}
                }
            }
            if let Some(t) = &b.term {
                t.for_each_use(&mut escape);
            }
        }
    }

    /// The bytes an access touches, if they can be followed.
    fn range(&self, f: &Func, ptr: Value, off: i32, len: u32) -> Option<(Object, usize, usize)> {
        let (object, at) = self.place[ptr.index()]?;
        let start = usize::try_from(at.checked_add(i64::from(off))?).ok()?;
        let end = start.checked_add(len as usize)?;
        let size = size_of(f, object);
        (end <= size && size <= MAX_SIZE && !self.is_escaped(object))
            .then_some((object, start, end))
    }

    fn is_escaped(&self, o: Object) -> bool {
        match o {
            Object::Slot(s) => self.escaped[s.index()],
            Object::Rec(_) => false,
        }
    }

    fn step(&self, f: &mut Func, n: Node, dead: &mut Dead, kept: &mut Vec<Node>) {
        match &n.inst {
            Inst::Store { mem, ptr, off, .. } => {
                if let Some((o, start, end)) = self.range(f, *ptr, *off, u32::from(mem.size)) {
                    let bytes = dead.of(f, o);
                    if bytes[start..end].iter().all(|&d| d) {
                        return;
                    }
                    bytes[start..end].fill(true);
                }
            }
            Inst::Zero { ptr, off, len } => {
                let (ptr, off) = (*ptr, *off);
                if let Some((o, start, end)) = self.range(f, ptr, off, *len) {
                    let bytes = dead.of(f, o);
                    let runs = runs(&bytes[start..end]);
                    bytes[start..end].fill(true);
                    for (at, len) in runs {
                        let inst = Inst::Zero {
                            ptr,
                            off: off + at as i32,
                            len: len as u32,
                        };
                        kept.push(Node {
                            result: None,
                            inst,
                            loc: n.loc,
                        });
                    }
                    return;
                }
            }
            Inst::Copy {
                dst,
                dst_off,
                src,
                src_off,
                len,
                ..
            } => {
                if let Some((o, start, end)) = self.range(f, *dst, *dst_off, *len) {
                    let bytes = dead.of(f, o);
                    if bytes[start..end].iter().all(|&d| d) {
                        return;
                    }
                    bytes[start..end].fill(true);
                }
                self.read(f, *src, *src_off, *len, dead);
            }
            Inst::Load { mem, ptr, off } => {
                self.read(f, *ptr, *off, u32::from(mem.size), dead);
            }
            Inst::Atomic { size, ptr, off, .. } => {
                self.read(f, *ptr, *off, u32::from(*size), dead);
            }
            Inst::Call { args, .. } | Inst::CallFunc { args, .. } => {
                for a in args {
                    if let Some((o, _)) = self.place[a.index()] {
                        dead.of(f, o).fill(false);
                    } else if f.ty(*a).is_pointer() {
                        dead.forget(f, f.ty(*a));
                    }
                }
            }
            _ => {}
        }
        kept.push(n);
    }

    fn read(&self, f: &Func, ptr: Value, off: i32, len: u32, dead: &mut Dead) {
        match self.range(f, ptr, off, len) {
            Some((o, start, end)) => dead.of(f, o)[start..end].fill(false),
            None => dead.forget(f, f.ty(ptr)),
        }
    }
}

impl Dead {
    fn of(&mut self, f: &Func, o: Object) -> &mut Vec<bool> {
        let all = self.frame && matches!(o, Object::Slot(_));
        self.bytes
            .entry(o)
            .or_insert_with(|| vec![all; size_of(f, o).min(MAX_SIZE)])
    }

    /// Something of type `ty` is read, nobody knows where.
    fn forget(&mut self, f: &Func, ty: Ty) {
        match ty {
            Ty::Frame => {
                self.frame = false;
                self.bytes.retain(|o, _| !matches!(o, Object::Slot(_)));
            }
            Ty::Rec(_) => self.bytes.retain(|o, _| !matches!(o, Object::Rec(_))),
            _ => {
                let _ = f;
            }
        }
    }
}

fn size_of(f: &Func, o: Object) -> usize {
    match o {
        Object::Slot(s) => f.slots[s.index()].size as usize,
        Object::Rec(v) => match f.ty(v) {
            Ty::RecOrNull(n) | Ty::Rec(n) => n as usize,
            _ => 0,
        },
    }
}

/// Stretches of bytes that are still wanted: start and length. Short gaps are closed where
/// that makes no more stores.
fn runs(dead: &[bool]) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    let mut i = 0;
    while i < dead.len() {
        if dead[i] {
            i += 1;
            continue;
        }
        let start = i;
        while i < dead.len() && !dead[i] {
            i += 1;
        }
        match out.last_mut() {
            // Within one word: one store zeroes both parts, later stores overwrite the gap.
            Some((s, n)) if *s / 8 == (i - 1) / 8 => *n = i - *s,
            _ => out.push((start, i - start)),
        }
    }
    out
}
