//! Accesses within their objects, and frame bytes written before they are read.
//!
//! Where an address is a constant distance from the start of its object, the access must lie
//! within it. Other addresses are the kernel's to judge. The second check is a forward
//! dataflow over the bytes of the frame; slots whose address goes where it cannot be followed
//! (block arguments, variable offsets, memory) count as written.

use super::Checker;
use super::types::extent;
use crate::codegen::helper::{self, HelperId};
use crate::ir::cfg::Cfg;
use crate::ir::entity::{Slot, Value};
use crate::ir::inst::{BinOp, Inst, Term, Width};
use crate::object::MapId;

/// Bytes of stack that a function has; larger frames are refused elsewhere.
const FRAME: usize = crate::codegen::insn::STACK_SIZE;
const WORDS: usize = FRAME / 64;

/// Bytes of the frame that are written, one bit each.
type Bytes = [u64; WORDS];

/// Where an address points, as far as is known.
#[derive(Clone, Copy)]
enum Place {
    /// Byte of a slot.
    Slot(Slot, i64),
    /// Byte of an object of this many bytes.
    Object(u32, i64),
    Unknown,
}

/// Which argument a helper writes through.
fn written_argument(h: HelperId) -> Option<usize> {
    Some(match h {
        helper::PROBE_READ
        | helper::PROBE_READ_STR
        | helper::PROBE_READ_USER
        | helper::PROBE_READ_KERNEL
        | helper::PROBE_READ_USER_STR
        | helper::PROBE_READ_KERNEL_STR
        | helper::COPY_FROM_USER
        | helper::COPY_FROM_USER_TASK
        | helper::GET_CURRENT_COMM
        | helper::SNPRINTF
        | helper::SNPRINTF_BTF
        | helper::DYNPTR_READ => 0,
        helper::GET_STACK
        | helper::GET_TASK_STACK
        | helper::PERF_PROG_READ_VALUE
        | helper::READ_BRANCH_RECORDS
        | helper::D_PATH
        | helper::GET_FUNC_RET => 1,
        helper::GET_NS_CURRENT_PID_TGID | helper::GET_FUNC_ARG | helper::PERF_EVENT_READ_VALUE => 2,
        helper::STRTOL | helper::STRTOUL => 3,
        _ => return None,
    })
}

impl Checker<'_> {
    pub(super) fn memory(&mut self, cfg: &Cfg) {
        self.bounds(cfg);
        self.initialised(cfg);
    }

    fn place(&self, v: Value) -> Place {
        let (mut v, mut off) = (v, 0i64);
        loop {
            match self.def(v) {
                Some(Inst::SlotAddr { slot, off: o }) => {
                    return Place::Slot(*slot, off + i64::from(*o));
                }
                Some(Inst::MapAddr { map, off: o }) => {
                    let size = self.module.map(*map).value_size;
                    return Place::Object(size, off + i64::from(*o));
                }
                Some(Inst::Bin {
                    op: op @ (BinOp::Add | BinOp::Sub),
                    w: Width::W64,
                    a,
                    b,
                }) => {
                    let (base, c) = match (self.const_of(*a), self.const_of(*b)) {
                        (_, Some(c)) => (*a, c),
                        (Some(c), None) if *op == BinOp::Add => (*b, c),
                        _ => return Place::Unknown,
                    };
                    let c = if *op == BinOp::Sub {
                        c.wrapping_neg()
                    } else {
                        c
                    };
                    off = off.wrapping_add(c);
                    v = base;
                }
                Some(Inst::NonNull(_)) => {
                    return match extent(self.module, self.ty(v)) {
                        Some((_, size)) => Place::Object(size, off),
                        None => Place::Unknown,
                    };
                }
                _ => return Place::Unknown,
            }
        }
    }

    fn bounds(&mut self, cfg: &Cfg) {
        // A guard that folding has decided may stand before an access that it rules out, until
        // the block behind it goes.
        let taken = self.taken();
        for &block in cfg.rpo.iter().filter(|b| taken[b.index()]) {
            for (i, n) in self.func.block(block).insts.iter().enumerate() {
                self.at = (block, i);
                match &n.inst {
                    Inst::Load { mem, ptr, off } | Inst::Store { mem, ptr, off, .. } => {
                        self.within(*ptr, *off, u32::from(mem.size), true);
                    }
                    Inst::Atomic { size, ptr, off, .. } => {
                        self.within(*ptr, *off, u32::from(*size), true);
                    }
                    Inst::Zero { ptr, off, len } => self.within(*ptr, *off, *len, false),
                    Inst::Copy {
                        dst,
                        dst_off,
                        src,
                        src_off,
                        len,
                        ..
                    } => {
                        self.within(*dst, *dst_off, *len, false);
                        self.within(*src, *src_off, *len, false);
                    }
                    Inst::SlotAddr { slot, off } => {
                        let size = self.func.slots[slot.index()].size;
                        self.require(*off <= size, || format!("{slot} has {size} bytes"));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The blocks that control gets to, past branches on constants.
    fn taken(&self) -> Vec<bool> {
        let consts = self.func.constants();
        let mut taken = vec![false; self.func.blocks.len()];
        let mut todo = vec![crate::ir::Func::ENTRY];
        while let Some(block) = todo.pop() {
            if std::mem::replace(&mut taken[block.index()], true) {
                continue;
            }
            match &self.func.block(block).term {
                Some(Term::Jump(to, _)) => todo.push(*to),
                Some(Term::Br {
                    cond,
                    w,
                    a,
                    b,
                    then,
                    els,
                    ..
                }) => {
                    let known = consts[a.index()].zip(consts[b.index()]);
                    let way = known.map(|(x, y)| cond.eval(*w, x, y));
                    if way != Some(false) {
                        todo.push(then.0);
                    }
                    if way != Some(true) {
                        todo.push(els.0);
                    }
                }
                Some(Term::Ret(_)) | None => {}
            }
        }
        taken
    }

    /// `one` access must also be aligned if it is to the frame.
    fn within(&mut self, ptr: Value, off: i32, len: u32, one: bool) {
        let (size, at, frame) = match self.place(ptr) {
            Place::Slot(s, at) => (self.func.slots[s.index()].size, at, true),
            Place::Object(size, at) => (size, at, false),
            Place::Unknown => return,
        };
        let start = at.wrapping_add(i64::from(off));
        let fine = start >= 0 && start + i64::from(len) <= i64::from(size);
        self.require(fine, || {
            format!(
                "access to bytes {start} to {} of {size}",
                start + i64::from(len)
            )
        });
        let aligned = !one || !frame || start % i64::from(len) == 0;
        self.require(aligned, || {
            format!("{len} bytes at {start} of a slot are not aligned")
        });
    }

    /// First bit of every slot; `None` if they are more than a frame holds.
    fn bits(&self) -> Option<Vec<usize>> {
        let mut at = 0;
        let mut starts = Vec::with_capacity(self.func.slots.len());
        for s in &self.func.slots {
            starts.push(at);
            at += s.size as usize;
        }
        (at <= FRAME).then_some(starts)
    }

    fn initialised(&mut self, cfg: &Cfg) {
        let Some(starts) = self.bits() else {
            return;
        };
        let mut first = Bytes::default();
        for slot in self.escaped(cfg) {
            let size = self.func.slots[slot.index()].size as usize;
            set(&mut first, starts[slot.index()], size);
        }
        let n = self.func.blocks.len();
        let mut before: Vec<Option<Bytes>> = vec![None; n];
        before[0] = Some(first);
        let mut changed = true;
        while changed {
            changed = false;
            for &b in &cfg.rpo {
                let Some(mut state) = before[b.index()] else {
                    continue;
                };
                for node in &self.func.block(b).insts {
                    self.write(&node.inst, &starts, &mut state);
                }
                let Some(term) = &self.func.block(b).term else {
                    continue;
                };
                for s in term.successors() {
                    let slot = &mut before[s.index()];
                    let met = match slot {
                        None => state,
                        Some(old) => std::array::from_fn(|i| old[i] & state[i]),
                    };
                    if *slot != Some(met) {
                        *slot = Some(met);
                        changed = true;
                    }
                }
            }
        }
        let taken = self.taken();
        for &b in cfg.rpo.iter().filter(|b| taken[b.index()]) {
            let Some(mut state) = before[b.index()] else {
                continue;
            };
            for (i, node) in self.func.block(b).insts.iter().enumerate() {
                self.at = (b, i);
                self.read(&node.inst, &starts, &state);
                self.write(&node.inst, &starts, &mut state);
            }
        }
    }

    /// Slots whose address is not followed.
    fn escaped(&self, cfg: &Cfg) -> Vec<Slot> {
        let mut out = Vec::new();
        let mut escape = |v: Value| {
            // The last slot address in a chain of additions, whatever they add.
            let mut work = vec![v];
            while let Some(v) = work.pop() {
                match self.def(v) {
                    Some(Inst::SlotAddr { slot, .. }) => out.push(*slot),
                    Some(Inst::Bin { a, b, .. }) => work.extend([*a, *b]),
                    _ => {}
                }
            }
        };
        for &b in &cfg.rpo {
            for n in &self.func.block(b).insts {
                match &n.inst {
                    Inst::Store { val, .. } => escape(*val),
                    Inst::Bin { a, b, .. }
                        if self.const_of(*a).is_none() && self.const_of(*b).is_none() =>
                    {
                        escape(*a);
                        escape(*b);
                    }
                    _ => {}
                }
            }
            if let Some(t) = &self.func.block(b).term {
                match t {
                    Term::Jump(_, args) => args.iter().for_each(|&v| escape(v)),
                    Term::Br { then, els, .. } => {
                        then.1.iter().chain(&els.1).for_each(|&v| escape(v));
                    }
                    Term::Ret(v) => escape(*v),
                }
            }
        }
        out
    }

    /// Bits of `len` bytes at `ptr + off`, if that is in a slot and within it.
    fn range(&self, starts: &[usize], ptr: Value, off: i32, len: u32) -> Option<(usize, usize)> {
        let Place::Slot(s, at) = self.place(ptr) else {
            return None;
        };
        let start = usize::try_from(at.checked_add(i64::from(off))?).ok()?;
        let len = len as usize;
        let fits = start + len <= self.func.slots[s.index()].size as usize;
        fits.then_some((starts[s.index()] + start, len))
    }

    /// What is left of a slot from where `ptr` points.
    fn rest(&self, starts: &[usize], ptr: Value) -> Option<(usize, usize)> {
        let Place::Slot(s, at) = self.place(ptr) else {
            return None;
        };
        let start = usize::try_from(at).ok()?;
        let size = self.func.slots[s.index()].size as usize;
        (start <= size).then(|| (starts[s.index()] + start, size - start))
    }

    fn write(&self, inst: &Inst, starts: &[usize], state: &mut Bytes) {
        let range = |ptr: Value, off, len| self.range(starts, ptr, off, len);
        let done = match inst {
            Inst::Store { mem, ptr, off, .. } => range(*ptr, *off, u32::from(mem.size)),
            Inst::Zero { ptr, off, len } => range(*ptr, *off, *len),
            Inst::Copy {
                dst, dst_off, len, ..
            } => range(*dst, *dst_off, *len),
            Inst::Call { helper, args, .. } => match written_argument(*helper) {
                Some(i) => args.get(i).and_then(|&a| self.rest(starts, a)),
                // Callbacks may write through the context they are given.
                None if matches!(*helper, helper::LOOP | helper::FOR_EACH_MAP_ELEM) => {
                    args.get(2).and_then(|&a| self.rest(starts, a))
                }
                None => None,
            },
            Inst::CallFunc { args, .. } => {
                for &a in args {
                    if let Some((at, len)) = self.rest(starts, a) {
                        set(state, at, len);
                    }
                }
                None
            }
            _ => None,
        };
        if let Some((at, len)) = done {
            set(state, at, len);
        }
    }

    fn read(&mut self, inst: &Inst, starts: &[usize], state: &Bytes) {
        let wanted = match inst {
            Inst::Load { mem, ptr, off } => vec![(*ptr, *off, u32::from(mem.size))],
            Inst::Atomic { size, ptr, off, .. } => vec![(*ptr, *off, u32::from(*size))],
            Inst::Copy {
                src, src_off, len, ..
            } => vec![(*src, *src_off, *len)],
            Inst::Call { helper, args, .. } => self.helper_reads(*helper, args),
            _ => return,
        };
        for (ptr, off, len) in wanted {
            let Some((at, len)) = self.range(starts, ptr, off, len) else {
                continue;
            };
            let missing = (at..at + len).find(|&i| state[i / 64] >> (i % 64) & 1 == 0);
            self.require(missing.is_none(), || {
                format!("{len} bytes at {ptr}{off:+} are read before they are all written")
            });
        }
    }

    /// Memory that a map helper reads through its arguments.
    fn helper_reads(&self, h: HelperId, args: &[Value]) -> Vec<(Value, i32, u32)> {
        let map = args.first().and_then(|&m| match self.def(m) {
            Some(Inst::MapFd(id)) => Some(*id),
            _ => None,
        });
        let Some(map) = map else {
            return Vec::new();
        };
        let def = |id: MapId| self.module.map(id);
        let mut out = Vec::new();
        match h {
            helper::MAP_LOOKUP_ELEM | helper::MAP_DELETE_ELEM | helper::MAP_LOOKUP_PERCPU_ELEM => {
                out.extend(args.get(1).map(|&k| (k, 0, def(map).key_size)));
            }
            helper::MAP_UPDATE_ELEM => {
                out.extend(args.get(1).map(|&k| (k, 0, def(map).key_size)));
                out.extend(args.get(2).map(|&v| (v, 0, def(map).value_size)));
            }
            helper::RINGBUF_OUTPUT => {
                let len = args.get(2).and_then(|&l| self.const_of(l));
                if let (Some(&data), Some(len)) = (args.get(1), len) {
                    out.push((data, 0, len as u32));
                }
            }
            _ => {}
        }
        out
    }
}

fn set(state: &mut Bytes, at: usize, len: usize) {
    for i in at..(at + len).min(FRAME) {
        state[i / 64] |= 1 << (i % 64);
    }
}
