//! User stacks by unwind tables: what a probe does to start the walk, and the maps of the tables.
//!
//! In: a probe that wants a stack of a limit. Out: the registers of the user's code where the
//! probe is, in scratch, and a call of the function that walks from there ([`walk`]), which all
//! probes with one limit share. The tables themselves are the runtime's to fill
//! ([`crate::object::unwind`]).

mod rule;
mod walk;

use crate::codegen::helper;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, Value};
use crate::object::unwind::{self, End, RuleRecord, SEGMENT, Unwind};
use crate::object::{MapDef, MapId, MapKind, MapRole, STACK_VALUE_HEADER, SiteKind};
use crate::sema::hir::Context;
use crate::types::AddrSpace;

use super::Lower;
use super::fx::{Addr, Fx};
use super::regs;

/// What a walk works on, in scratch; the stack (frames and addresses) follows it.
///
/// ```text
///   0           168   176   184   192
///   +-----------+-----+-----+-----+-----+----
///   | registers | ip  | sp  | fp  | n   | ...
///   +-----------+-----+-----+-----+-----+----
/// ```
mod state {
    use crate::lower::regs;

    /// Registers where the probe is, as the kernel keeps them.
    pub const REGS: i32 = 0;
    /// Address of the frame that is next.
    pub const IP: i32 = regs::BYTES as i32;
    /// Its stack pointer.
    pub const SP: i32 = IP + 8;
    /// Its frame pointer.
    pub const FP: i32 = IP + 16;
    /// Frames so far.
    pub const FRAMES: i32 = IP + 24;
    /// How the walk ended.
    pub const END: i32 = IP + 32;
    /// What to subtract from the address to be inside the instruction that is executed: 1 for
    /// return addresses.
    pub const BACK: i32 = IP + 40;
    /// Frames up to the last one in a known mapping.
    pub const KNOWN: i32 = IP + 48;
    /// Whether something was met that is not known yet.
    pub const MISSED: i32 = IP + 56;
    /// Whether the innermost frame is at the first instruction of its function.
    pub const ENTRY: i32 = IP + 64;
    /// The mapping of the frame before: start, end, bias, table and pages.
    pub const START: i32 = IP + 72;
    pub const STOP: i32 = IP + 80;
    pub const BIAS: i32 = IP + 88;
    pub const TABLE: i32 = IP + 96;
    pub const PAGES: i32 = IP + 100;
    /// Two words of the stack.
    pub const WORDS: i32 = IP + 104;
    /// Bytes of all.
    pub const SIZE: u32 = WORDS as u32 + 16;
}

/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: u32 = 1;
/// `BPF_F_INNER_MAP`
const INNER_MAP: u32 = 1 << 12;
/// Processes whose last request is remembered.
const ASKED: u32 = 4096;

impl Lower<'_> {
    /// The maps of the unwinder.
    fn unwind_maps(&mut self) -> Unwind {
        if let Some(u) = self.unwind {
            return u;
        }
        let def = |name: &str, kind, value_size, max_entries| MapDef {
            name: name.into(),
            kind,
            key_size: 4,
            value_size,
            max_entries,
            flags: 0,
            init: None,
            role: MapRole::Internal,
        };
        let template = self.add_map(MapDef {
            flags: INNER_MAP,
            ..def("unwind_segment", MapKind::Array, SEGMENT, 1)
        });
        let role = MapRole::Maps(template);
        let tables = self.add_map(MapDef {
            role: role.clone(),
            ..def("unwind_tables", MapKind::ArrayOfMaps, 4, unwind::MAX_TABLES)
        });
        let processes = self.add_map(MapDef {
            flags: NO_PREALLOC,
            role,
            ..def(
                "unwind_procs",
                MapKind::HashOfMaps,
                4,
                unwind::MAX_PROCESSES,
            )
        });
        let rules = self.add_map(def(
            "unwind_rules",
            MapKind::Array,
            RuleRecord::SIZE,
            unwind::MAX_RULES,
        ));
        let ends = unwind::MAX_TABLES * End::COUNT;
        let ends = self.add_map(def("unwind_ends", MapKind::Array, 8, ends));
        let asked = self.add_map(def("unwind_asked", MapKind::LruHash, 8, ASKED));
        let maps = Unwind {
            template,
            tables,
            processes,
            rules,
            ends,
            asked,
        };
        self.unwind = Some(maps);
        maps
    }
}

impl Fx<'_, '_> {
    /// Walks the user stack by tables. Gives the address of the result, `{ u64 frames;
    /// u64 ip[limit] }` in scratch, valid until the mark around this is released, and the
    /// number of frames.
    pub(super) fn unwind(&mut self, limit: u16) -> (Addr, Value) {
        let size = state::SIZE + STACK_VALUE_HEADER + 8 * u32::from(limit);
        let at = self.scratch_temp(size);
        self.user_registers(at);
        let entry = self
            .probe
            .is_some_and(|p| p.probe.attach.iter().all(|a| a.at_entry))
            && matches!(
                self.context(),
                Context::PtRegs {
                    user: true,
                    ret: false
                }
            );
        self.b
            .store_imm(MemTy::DW, at.ptr, at.off + state::ENTRY, i64::from(entry));
        let f = walk::function(self.lw, limit);
        let p = self.pointer(at);
        let n = self.b.call_func(f, &[p], Ty::Scalar);
        (at.plus(state::SIZE), n)
    }

    /// Puts the registers of the user's code at `at`: those of the probe where it is there, else
    /// those with which it entered the kernel.
    fn user_registers(&mut self, at: Addr) {
        let ctx = self.ctx();
        match self.context() {
            Context::PtRegs { user: true, .. } => self.copy_registers(ctx, at),
            Context::PerfEvent => {
                let cs = self.b.load(MemTy::DW, ctx, regs::CS);
                let level = self.b.bin_imm(BinOp::And, cs, 3);
                let (user, kernel, done) =
                    (self.b.new_block(), self.b.new_block(), self.b.new_block());
                let zero = self.b.iconst(0);
                self.b.br(Cond::Ne, level, zero, user, kernel);
                self.b.switch_to(user);
                self.copy_registers(ctx, at);
                self.b.jump(done, &[]);
                self.b.switch_to(kernel);
                self.task_registers(at);
                self.b.jump(done, &[]);
                self.b.switch_to(done);
            }
            _ => self.task_registers(at),
        }
    }

    fn copy_registers(&mut self, ctx: Value, at: Addr) {
        for off in (0..regs::BYTES as i32).step_by(8) {
            let v = self.b.load(MemTy::DW, ctx, off);
            self.b
                .store(MemTy::DW, at.ptr, at.off + state::REGS + off, v);
        }
    }

    fn task_registers(&mut self, at: Addr) {
        // A kernel thread's are zeros or rubbish; without a user's code segment nothing is
        // walked.
        let at = at.plus(state::REGS as u32);
        self.b.store_imm(MemTy::DW, at.ptr, at.off + regs::CS, 0);
        let task = self.b.call(helper::GET_CURRENT_TASK_BTF, &[], Ty::KPtr);
        let saved = self.b.call(helper::TASK_PT_REGS, &[task], Ty::KPtr);
        self.probe_read(AddrSpace::Kernel, at, regs::BYTES, saved);
    }

    /// Copies `{ u64 frames; u64 ip[limit] }` from scratch to another memory.
    pub(super) fn copy_stack(&mut self, from: Addr, to: Addr, limit: u16) {
        let src = self.pointer(from);
        let dst = self.pointer(to);
        let len = self
            .b
            .iconst(i64::from(STACK_VALUE_HEADER + 8 * u32::from(limit)));
        // A copy in line would be two instructions a frame.
        let code = self
            .b
            .call(helper::PROBE_READ_KERNEL, &[dst, len, src], Ty::Scalar);
        self.check_code(code, SiteKind::Stack, "probe_read_kernel");
    }
}

/// Looks `key` (a `u32` in the frame) up in `map`.
fn lookup(b: &mut crate::ir::builder::Builder, map: MapId, key: Value, ty: Ty) -> Value {
    let fd = b.map_fd(map);
    b.call(helper::MAP_LOOKUP_ELEM, &[fd, key], ty)
}
