//! What a program looks at before its probe's predicate: whether the event is one it is for.

use crate::codegen::helper;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, Value};
use crate::object::{MapDef, MapId, MapKind, MapRole};
use crate::sema::hir::{self, SyscallTable};
use crate::types::AddrSpace;

use super::fx::Fx;
use super::maps::RDONLY_PROG;

/// Byte of a system call event's record where the number is.
const NUMBER: i32 = 8;
/// `TS_COMPAT` of `thread_info.status`: the task is in a call of a 32-bit process.
const TS_COMPAT: i64 = 2;

impl Fx<'_, '_> {
    /// Leaves the program unless the event is meant: the cheapest question first.
    pub(super) fn filters(&mut self, probe: &hir::Probe) {
        if let Some(table) = &probe.syscalls {
            self.filter_syscall(table);
        }
        if probe.filter_pid {
            self.filter_pid();
        }
        if probe.filter_cgroup {
            self.filter_cgroup();
        }
    }

    /// Goes on only where `a op b`.
    fn only_if(&mut self, op: Cond, a: Value, b: Value) {
        let go = self.b.new_block();
        let out = self.b.new_block();
        self.b.br(op, a, b, go, out);
        self.b.switch_to(out);
        let zero = self.b.iconst(0);
        self.leave(zero);
        self.b.switch_to(go);
    }

    /// Only the process of `-p`.
    fn filter_pid(&mut self) {
        let Some(pid) = self.lw.program.config.pid_filter else {
            return;
        };
        let id = self.pid_tgid(false);
        let tgid = self.b.bin_imm(BinOp::Lshr, id, 32);
        let want = self.b.iconst(i64::from(pid));
        self.only_if(Cond::Eq, tgid, want);
    }

    /// Only tasks in one of the groups, or in a group below.
    fn filter_cgroup(&mut self) {
        let groups = self.lw.program.config.cgroups.len();
        let map = self.lw.cgroups_map();
        let inside = self.b.new_block();
        for i in 0..groups {
            let fd = self.b.map_fd(map);
            let index = self.b.iconst(i as i64);
            let under = self
                .b
                .call(helper::CURRENT_TASK_UNDER_CGROUP, &[fd, index], Ty::Scalar);
            // Negative where the kernel cannot tell.
            let under = self.b.ext(true, 32, under);
            let one = self.b.iconst(1);
            let next = self.b.new_block();
            self.b.br(Cond::Eq, under, one, inside, next);
            self.b.switch_to(next);
        }
        let zero = self.b.iconst(0);
        self.leave(zero);
        self.b.switch_to(inside);
    }

    /// Only the system calls of the table, of 64-bit processes.
    fn filter_syscall(&mut self, table: &SyscallTable) {
        let place = self.syscall_place(table);
        let zero = self.b.iconst(0);
        self.only_if(Cond::Ne, place, zero);
        let task = self.b.call(helper::GET_CURRENT_TASK, &[], Ty::Scalar);
        let status = self.b.add_imm(task, i64::from(table.status));
        let mark = self.mark();
        let word = self.temp(8);
        self.probe_read(AddrSpace::Kernel, word, 4, status);
        let status = self.b.load(MemTy::W, word.ptr, word.off);
        self.release(mark);
        let compat = self.b.bin_imm(BinOp::And, status, TS_COMPAT);
        let zero = self.b.iconst(0);
        self.only_if(Cond::Eq, compat, zero);
    }

    /// Which attach point of the program fired, counted from 1; 0 if it is none of them.
    fn syscall_place(&mut self, table: &SyscallTable) -> Value {
        let (map, n) = self.syscall_map(table);
        let ctx = self.ctx();
        let number = self.b.load(MemTy::W, ctx, NUMBER);
        // The last entry is 0: numbers beyond are none of these.
        let number = self.at_most(number, n - 1);
        let base = self.b.map_addr(map, 0);
        let off = self.b.bin_imm(BinOp::Mul, number, 2);
        let at = self.b.add(base, off);
        self.b.load(MemTy::H, at, 0)
    }

    /// Index of the attach point that fired.
    pub(super) fn syscall_index(&mut self, table: &SyscallTable, first_attach: u32) -> Value {
        let place = self.syscall_place(table);
        self.b.add_imm(place, i64::from(first_attach) - 1)
    }

    /// The table as a read-only map, and its entries.
    fn syscall_map(&mut self, table: &SyscallTable) -> (MapId, u32) {
        let n = table.numbers.iter().max().map_or(1, |m| u32::from(*m) + 2);
        if let Some(&map) = self.lw.syscall_maps.get(&table.numbers) {
            return (map, n);
        }
        let mut places = vec![0u16; n as usize];
        for (i, number) in table.numbers.iter().enumerate() {
            places[usize::from(*number)] = i as u16 + 1;
        }
        let map = self.lw.add_map(MapDef {
            name: "syscalls".into(),
            kind: MapKind::Array,
            key_size: 4,
            value_size: 2 * n,
            max_entries: 1,
            flags: RDONLY_PROG,
            init: Some(places.iter().flat_map(|p| p.to_ne_bytes()).collect()),
            role: MapRole::Data,
        });
        self.lw.syscall_maps.insert(table.numbers.clone(), map);
        (map, n)
    }
}
