//! The function being lowered: where variables and temporaries live, entry and exit.

use crate::ir::builder::Builder;
use crate::ir::inst::{AtomicOp, Cond, MemTy, Ty};
use crate::ir::{Block, FuncId, FuncKind, Slot, Value};
use crate::object::{Loc, MapId, SiteKind};
use crate::sema::hir::{self, Context, LocalId};
use crate::types::{Type, TypeStore, size_of};

use super::capture::{self, Captures};
use super::{LimitError, Lower, maps};
use crate::codegen::helper;

/// Values larger than this go to scratch even as temporaries.
const MAX_FRAME_TEMP: u32 = 64;
/// Frame bytes for slots of an entry function; the rest of the 512 is for spills and callees.
const ENTRY_FRAME: u32 = 224;
/// Frame bytes for slots of a callback or a script function.
const INNER_FRAME: u32 = 80;

/// Functions that programs share, made when they are first needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shared {
    /// Claims scratch memory.
    ClaimScratch,
    /// Counts a failure.
    Count,
    /// Counts a failure and sends it to user space.
    Report,
    /// Compares strings or bytes of this many bytes in two memories.
    Equal(u32),
    /// `memcmp` of values of this many bytes.
    Difference(u32),
    /// Turns addresses in scratch into a stack id: limit.
    StackId(u16),
    /// Walks a user stack by tables: limit.
    Unwind(u16),
    /// Asks for the tables of a process.
    AskForTables,
    /// Looks for a string of the second capacity in one of the first.
    Search(u32, u32),
}

/// Address of a value in memory.
#[derive(Clone, Copy, Debug)]
pub struct Addr {
    /// Start of the object.
    pub ptr: Value,
    /// Bytes from there.
    pub off: i32,
    /// Alignment of `ptr` in bytes.
    pub base_align: u8,
}

impl Addr {
    pub(super) fn new(ptr: Value) -> Self {
        Self {
            ptr,
            off: 0,
            base_align: 8,
        }
    }

    /// `bytes` further on.
    #[must_use]
    pub fn plus(self, bytes: u32) -> Self {
        Self {
            off: self.off + bytes as i32,
            ..self
        }
    }

    /// Alignment of the address, 1 to 8.
    pub(super) fn align(self) -> u8 {
        let low = if self.off == 0 {
            8
        } else {
            1 << self.off.trailing_zeros().min(3)
        };
        low.min(self.base_align)
    }
}

/// Where a variable lives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Storage {
    /// Nowhere yet.
    None,
    /// In a slot of its function's frame.
    Slot(Slot),
    /// In the environment that loops share, at this byte.
    Env(u32),
    /// In scratch, at this byte.
    Scratch(u32),
}

/// The environment that the bodies of loops (callbacks) share with their probe, in its frame.
///
/// ```text
///   0        8        16       24        32
///   +--------+--------+--------+---------+-----------
///   | leave  | result | ctx    | scratch | variables
///   +--------+--------+--------+---------+-----------
/// ```
/// `leave` is 1 once a `return` was met inside a loop.
pub(super) mod env {
    pub const LEAVE: u32 = 0;
    pub const RESULT: u32 = 8;
    pub const CTX: u32 = 16;
    pub const SCRATCH: u32 = 24;
    pub const VARIABLES: u32 = 32;
}

/// What `break` and `continue` mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum LoopCx {
    /// A loop of this function: blocks to go to.
    Blocks { next: Block, done: Block },
    /// The body of a callback: return 0 or 1.
    Callback,
}

/// State of variables that outlives one function of a probe.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub storage: Vec<Storage>,
    /// Bytes of the environment.
    pub env_size: u32,
    /// Bytes of scratch given to variables and temporaries that are alive.
    pub scratch_top: u32,
    /// The most there was.
    pub scratch_peak: u32,
    /// Whether any function of the probe uses scratch.
    pub scratch_used: bool,
}

/// Frame bytes that variables of memory types may take in all.
const MEMORY_LOCALS: u32 = 96;

impl Frame {
    /// Decides where variables of memory types live; scalars are placed at their first use,
    /// by which their function is known.
    fn new(
        locals: &[hir::Local],
        captures: &Captures,
        types: &TypeStore,
        on_stack_limit: u32,
    ) -> Self {
        let mut frame = Self {
            storage: vec![Storage::None; locals.len()],
            env_size: env::VARIABLES,
            ..Self::default()
        };
        let mut left = MEMORY_LOCALS;
        for (i, local) in locals.iter().enumerate() {
            if local.ty.is_scalar() {
                continue;
            }
            let size = size_of(&local.ty, types).next_multiple_of(8).max(8);
            let small = size <= on_stack_limit && size <= left;
            if small && !captures.shared(LocalId(i as u32)) {
                // Its function makes a slot for it at its first use.
                left -= size;
                continue;
            }
            frame.storage[i] = if small {
                left -= size;
                frame.env_size += size;
                Storage::Env(frame.env_size - size)
            } else {
                frame.scratch_top += size;
                Storage::Scratch(frame.scratch_top - size)
            };
        }
        frame.scratch_peak = frame.scratch_top;
        frame
    }
}

/// The function being lowered.
pub struct Fx<'l, 'a> {
    pub(super) lw: &'l mut Lower<'a>,
    /// The function under construction.
    pub b: Builder,
    pub(super) types: &'a TypeStore,
    pub(super) locals: &'a [hir::Local],
    pub(super) captures: &'l Captures,
    pub(super) frame: &'l mut Frame,
    /// Which function of the probe this is: 0 the entry, then loops in order of appearance.
    pub(super) body: u32,
    /// The probe, unless this is a function of the script.
    pub(super) probe: Option<ProbeCx<'a>>,
    /// The context, where this function has it.
    pub(super) ctx: Option<Value>,
    /// Address of the environment, where there are loops.
    pub(super) env: Option<Value>,
    env_slot: Option<Slot>,
    /// Address of this invocation's scratch bytes, once used.
    scratch: Option<Value>,
    pub(super) loops: Vec<LoopCx>,
    /// Where `return` goes: takes the result.
    exit: Block,
    free: Vec<(u32, Slot)>,
    busy: Vec<(u32, Slot)>,
    frame_left: u32,
    /// Whether strings are to be padded with zeros (not inside records).
    pub(super) pad: bool,
    /// Where the last string of a key with a map of short keys goes, while it is made.
    pub(super) key_string: Option<(Value, i32)>,
}

/// What is known of the probe being lowered.
#[derive(Clone, Copy)]
pub(super) struct ProbeCx<'a> {
    pub probe: &'a hir::Probe,
    /// Index of its first attach point.
    pub first_attach: u32,
}

/// A point to release temporaries to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    busy: usize,
    scratch: u32,
}

/// Lowers a probe to an entry function.
pub(super) fn lower_probe<'a>(
    lw: &mut Lower<'a>,
    probe: &'a hir::Probe,
    first_attach: u32,
) -> FuncId {
    let captures = capture::analyse(&probe.body, probe.locals.len(), 0);
    let limit = lw.program.config.on_stack_limit;
    let mut frame = Frame::new(&probe.locals, &captures, &lw.program.types, limit);
    let b = Builder::new(probe.name.clone(), FuncKind::Entry, &[Ty::Ctx]);
    let ctx = b.param(0);
    let mut fx = Fx::new(lw, b, &probe.locals, &captures, &mut frame);
    fx.probe = Some(ProbeCx {
        probe,
        first_attach,
    });
    fx.ctx = Some(ctx);
    fx.b.set_loc(probe.loc);
    fx.begin();
    fx.filters(probe);
    fx.block(&probe.body);
    let ret = probe.default_return;
    let v = fx.b.iconst(i64::from(ret));
    fx.leave(v);
    let func = fx.finish(ret);
    lw.use_scratch(frame.scratch_peak, probe.loc);
    lw.module.add(func)
}

/// Lowers a function of the script into its reserved place.
pub(super) fn lower_func<'a>(lw: &mut Lower<'a>, id: FuncId, f: &'a hir::Func) {
    let captures = capture::analyse(&f.body, f.locals.len(), f.params);
    let limit = lw.program.config.on_stack_limit;
    let mut frame = Frame::new(&f.locals, &captures, &lw.program.types, limit);
    let params = vec![Ty::Scalar; f.params as usize];
    let b = Builder::new(f.name.clone(), FuncKind::Static, &params);
    let mut fx = Fx::new(lw, b, &f.locals, &captures, &mut frame);
    fx.frame_left = INNER_FRAME;
    fx.b.set_loc(f.loc);
    let values: Vec<_> = fx.b.func.params().to_vec();
    fx.begin();
    for (i, v) in values.into_iter().enumerate() {
        fx.set_scalar_local(LocalId(i as u32), v);
    }
    let value = fx.block(&f.body);
    let v = value.unwrap_or_else(|| fx.b.iconst(0));
    fx.leave(v);
    let func = fx.finish(0);
    lw.use_scratch(frame.scratch_peak, f.loc);
    lw.module.funcs[id.index()] = func;
}

impl Lower<'_> {
    /// Makes room for the scratch bytes of a function.
    fn use_scratch(&mut self, bytes: u32, loc: Loc) {
        if bytes > maps::MAX_SCRATCH {
            self.errors.push(LimitError {
                message: format!(
                    "this needs {bytes} bytes for strings and other large values at once, the limit is {}: lower max_strlen or split the probe",
                    maps::MAX_SCRATCH
                ),
                loc,
            });
        }
        self.scratch_size = self.scratch_size.max(bytes);
    }
}

impl<'l, 'a> Fx<'l, 'a> {
    fn new(
        lw: &'l mut Lower<'a>,
        mut b: Builder,
        locals: &'a [hir::Local],
        captures: &'l Captures,
        frame: &'l mut Frame,
    ) -> Self {
        let exit = b.new_block();
        let types = &lw.program.types;
        Self {
            lw,
            b,
            types,
            locals,
            captures,
            frame,
            body: 0,
            probe: None,
            ctx: None,
            env: None,
            env_slot: None,
            scratch: None,
            loops: Vec::new(),
            exit,
            free: Vec::new(),
            busy: Vec::new(),
            frame_left: ENTRY_FRAME,
            pad: true,
            key_string: None,
        }
    }

    /// A context for the body of a loop of this probe, in a function of its own. `ctx` and
    /// `env` are set up by the caller.
    pub(super) fn inner<'s>(&'s mut self, mut b: Builder, env: Value, body: u32) -> Fx<'s, 'a>
    where
        'l: 's,
    {
        let exit = b.new_block();
        Fx {
            types: self.types,
            locals: self.locals,
            captures: self.captures,
            body,
            probe: self.probe,
            ctx: None,
            env: Some(env),
            env_slot: None,
            scratch: None,
            loops: vec![LoopCx::Callback],
            exit,
            free: Vec::new(),
            busy: Vec::new(),
            frame_left: INNER_FRAME,
            pad: true,
            key_string: None,
            b,
            frame: self.frame,
            lw: self.lw,
        }
    }

    /// Opens the first block of the body; the entry block is filled in by [`Self::finish`].
    pub(super) fn begin(&mut self) {
        if self.captures.has_loops && self.env.is_none() {
            let slot = self.b.new_slot(env::VARIABLES);
            self.env_slot = Some(slot);
            let v = self.b.func.new_value(Ty::Frame);
            self.env = Some(v);
        }
        let body = self.b.new_block();
        self.b.switch_to(body);
    }

    /// Leaves the function with `v`, releasing what it holds.
    pub(super) fn leave(&mut self, v: Value) {
        let exit = self.exit;
        self.b.jump(exit, &[v]);
    }

    /// Whether this is the body of a loop, in a function of its own.
    pub(super) fn in_callback(&self) -> bool {
        self.body != 0
    }

    /// Writes entry and exit of an entry or script function. `skipped` is what it returns
    /// where there was no scratch memory.
    pub(super) fn finish(mut self, skipped: i32) -> crate::ir::Func {
        let loc = self.b.loc();
        let result = self.b.block_param(self.exit, Ty::Scalar);
        let exit = self.exit;
        self.b.switch_to(exit);
        if let (Some(base), true) = (self.scratch, self.frame.scratch_used) {
            let zero = self.b.iconst(0);
            self.b.store(MemTy::DW, base, 0, zero);
        }
        self.b.ret(result);

        let body = Block(exit.0 + 1);
        self.b.switch_to(crate::ir::Func::ENTRY);
        self.b.set_loc(loc);
        if let (Some(slot), Some(v)) = (self.env_slot, self.env) {
            self.b.func.slots[slot.index()].size = self.frame.env_size;
            self.define(v, crate::ir::Inst::SlotAddr { slot, off: 0 });
            // The verifier wants every byte that a callback may read to be written.
            self.b.zero(v, 0, self.frame.env_size);
            if let Some(ctx) = self.ctx {
                self.b.store(MemTy::DW, v, env::CTX as i32, ctx);
            }
        }
        if self.frame.scratch_used {
            self.claim_scratch(body, skipped);
        } else {
            self.b.jump(body, &[]);
        }
        self.b.finish()
    }

    /// Ends the function of a loop's body.
    pub(super) fn finish_callback(mut self) -> crate::ir::Func {
        let result = self.b.block_param(self.exit, Ty::Scalar);
        let exit = self.exit;
        self.b.switch_to(exit);
        self.b.ret(result);
        let body = Block(exit.0 + 1);
        self.b.switch_to(crate::ir::Func::ENTRY);
        if let (Some(v), Some(envp)) = (self.ctx, self.env) {
            self.define(
                v,
                crate::ir::Inst::Load {
                    mem: MemTy::DW,
                    ptr: envp,
                    off: env::CTX as i32,
                },
            );
        }
        if let (Some(v), Some(envp)) = (self.scratch, self.env) {
            self.define(
                v,
                crate::ir::Inst::Load {
                    mem: MemTy::DW,
                    ptr: envp,
                    off: env::SCRATCH as i32,
                },
            );
        }
        self.b.jump(body, &[]);
        self.b.finish()
    }

    /// Defines a value that was promised.
    fn define(&mut self, v: Value, inst: crate::ir::Inst) {
        let loc = self.b.loc();
        let at = self.b.current();
        self.b.func.block_mut(at).insts.push(crate::ir::func::Node {
            result: Some(v),
            inst,
            loc,
        });
    }

    /// Claims scratch in the entry block and goes on in `body`.
    fn claim_scratch(&mut self, body: Block, skipped: i32) {
        let map = self.lw.scratch_map();
        let base = match self.scratch {
            Some(v) => v,
            None => self.b.func.new_value(Ty::MapVal(map)),
        };
        let claim = claim_function(self.lw, map);
        let got = self.b.call_func(claim, &[], Ty::MapValOrNull(map));
        let none = self.b.new_block();
        let some = self.b.new_block();
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Eq, got, zero, none, some);
        self.b.switch_to(none);
        self.count_failure(SiteKind::Scratch, "");
        self.b.ret_imm(i64::from(skipped));
        self.b.switch_to(some);
        self.define(base, crate::ir::Inst::NonNull(got));
        if let (Some(_), Some(envp)) = (self.env_slot, self.env) {
            self.b.store(MemTy::DW, envp, env::SCRATCH as i32, base);
        }
        self.b.jump(body, &[]);
    }

    /// The context pointer.
    pub(super) fn ctx(&mut self) -> Value {
        if let Some(v) = self.ctx {
            return v;
        }
        let v = self.b.func.new_value(Ty::Ctx);
        self.ctx = Some(v);
        v
    }

    /// The kind of context.
    pub(super) fn context(&self) -> Context {
        self.probe.map_or(Context::None, |p| p.probe.ctx)
    }

    /// Scratch memory from byte `off` on.
    pub(super) fn scratch_at(&mut self, off: u32) -> Addr {
        self.frame.scratch_used = true;
        let ptr = match self.scratch {
            Some(v) => v,
            None => {
                let map = self.lw.scratch_map();
                let v = self.b.func.new_value(Ty::MapVal(map));
                self.scratch = Some(v);
                v
            }
        };
        // The first word is the claim.
        Addr::new(ptr).plus(8 + off)
    }

    fn scratch_alloc(&mut self, size: u32) -> u32 {
        let at = self.frame.scratch_top.next_multiple_of(8);
        self.frame.scratch_top = at + size;
        self.frame.scratch_peak = self.frame.scratch_peak.max(at + size);
        at
    }

    /// Remembers which temporaries are in use.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            busy: self.busy.len(),
            scratch: self.frame.scratch_top,
        }
    }

    /// Gives back the temporaries made since `mark`.
    pub(super) fn release(&mut self, mark: Mark) {
        let back = self.busy.split_off(mark.busy);
        self.free.extend(back);
        self.frame.scratch_top = mark.scratch;
    }

    /// Memory for `size` bytes until the mark around it is released; contents undefined.
    pub(super) fn temp(&mut self, size: u32) -> Addr {
        let size = size.next_multiple_of(8).max(8);
        if size <= MAX_FRAME_TEMP
            && let Some(slot) = self.frame_slot(size)
        {
            self.busy.push((size, slot));
            let ptr = self.b.slot_addr(slot, 0);
            return Addr::new(ptr);
        }
        let at = self.scratch_alloc(size);
        self.scratch_at(at)
    }

    /// The same, in scratch whatever the size.
    pub(super) fn scratch_temp(&mut self, size: u32) -> Addr {
        let at = self.scratch_alloc(size.next_multiple_of(8));
        self.scratch_at(at)
    }

    /// A frame slot of exactly `size` bytes, if the frame has room.
    fn frame_slot(&mut self, size: u32) -> Option<Slot> {
        if let Some(i) = self.free.iter().position(|&(s, _)| s == size) {
            return Some(self.free.swap_remove(i).1);
        }
        if self.frame_left < size {
            return None;
        }
        self.frame_left -= size;
        Some(self.b.new_slot(size))
    }

    /// Address of words in the frame that live as long as the function.
    pub(super) fn frame_words(&mut self, n: u32) -> Value {
        let slot = self.b.new_slot(8 * n);
        self.b.slot_addr(slot, 0)
    }

    /// Bytes that a variable takes: whole words.
    pub(super) fn stored_size(&self, local: LocalId) -> u32 {
        let ty = &self.locals[local.0 as usize].ty;
        if ty.is_scalar() {
            return 8;
        }
        size_of(ty, self.types).next_multiple_of(8).max(8)
    }

    /// Where a variable lives, if it was used before.
    pub(super) fn placed(&self, local: LocalId) -> Option<Storage> {
        // Variables that expressions introduce may have no place yet.
        let s = *self.frame.storage.get(local.0 as usize)?;
        (!matches!(s, Storage::None)).then_some(s)
    }

    /// Where a variable lives; decided at its first use.
    fn storage(&mut self, local: LocalId) -> Storage {
        let i = local.0 as usize;
        if !matches!(self.frame.storage[i], Storage::None) {
            return self.frame.storage[i];
        }
        let size = self.stored_size(local);
        let s = if self.captures.shared(local) {
            let at = self.frame.env_size;
            self.frame.env_size += size;
            Storage::Env(at)
        } else {
            Storage::Slot(self.b.new_slot(size))
        };
        self.frame.storage[i] = s;
        s
    }

    /// Address of a variable.
    pub(super) fn local_addr(&mut self, local: LocalId) -> Addr {
        match self.storage(local) {
            Storage::Slot(slot) => {
                let ptr = self.b.slot_addr(slot, 0);
                Addr::new(ptr)
            }
            Storage::Env(off) => {
                let envp = self.env.expect("captured variables have an environment");
                Addr::new(envp).plus(off)
            }
            Storage::Scratch(off) => self.scratch_at(off),
            Storage::None => unreachable!("storage() decides"),
        }
    }

    /// Value of a scalar variable.
    pub(super) fn scalar_local(&mut self, local: LocalId) -> Value {
        let at = self.local_addr(local);
        self.b.load(MemTy::DW, at.ptr, at.off)
    }

    /// Sets a scalar variable.
    pub(super) fn set_scalar_local(&mut self, local: LocalId, v: Value) {
        let at = self.local_addr(local);
        self.b.store(MemTy::DW, at.ptr, at.off, v);
    }

    /// Bytes of a value of `ty`.
    pub(super) fn size(&self, ty: &Type) -> u32 {
        size_of(ty, self.types)
    }

    /// Reports a value that exceeds what the kernel offers.
    pub(super) fn limit(&mut self, loc: Loc, message: impl Into<String>) {
        self.lw.errors.push(LimitError {
            message: message.into(),
            loc,
        });
    }
}

/// The function that claims a scratch slot: the first whose claim word it can set.
fn claim_function(lw: &mut Lower<'_>, map: MapId) -> FuncId {
    if let Some(&f) = lw.shared.get(&Shared::ClaimScratch) {
        return f;
    }
    let mut b = Builder::new("claim_scratch", FuncKind::Static, &[]);
    b.func.ret = Ty::MapValOrNull(map);
    let head = b.new_block();
    let i = b.block_param(head, Ty::Scalar);
    let zero = b.iconst(0);
    b.jump(head, &[zero]);

    b.switch_to(head);
    let slot = b.new_slot(8);
    let key = b.slot_addr(slot, 0);
    b.store(MemTy::W, key, 0, i);
    let fd = b.map_fd(map);
    let p = b.call(helper::MAP_LOOKUP_ELEM, &[fd, key], Ty::MapValOrNull(map));
    let none = b.new_block();
    let p = b.check_null(p, none);
    let one = b.iconst(1);
    let old = b.atomic_fetch(AtomicOp::Xchg, 8, p, 0, one, None);
    let (mine, taken) = (b.new_block(), b.new_block());
    let zero = b.iconst(0);
    b.br(Cond::Eq, old, zero, mine, taken);
    b.switch_to(mine);
    b.ret(p);
    b.switch_to(taken);
    let next = b.add_imm(i, 1);
    let end = b.iconst(i64::from(maps::SCRATCH_SLOTS));
    b.br_w(
        Cond::Ult,
        crate::ir::Width::W64,
        next,
        end,
        (head, &[next]),
        (none, &[]),
        false,
    );
    b.switch_to(none);
    b.ret_imm(0);
    let f = lw.module.add(b.finish());
    lw.shared.insert(Shared::ClaimScratch, f);
    f
}
