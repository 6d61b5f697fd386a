//! System call events that share a program: `tracepoint:syscalls:sys_enter_*`.
//!
//! Each event of a system call takes the kernel about 25 ms to attach and as long to detach, and
//! a pattern matches hundreds. `raw_syscalls:sys_enter` and `sys_exit` fire for all of them, with
//! a record of the same layout on 64-bit machines:
//!
//! ```text
//!            0        8            16
//!            +--------+------------+---------------------
//! syscalls   | common | nr   |     | arguments or result
//! raw        | common | id         | arguments or result
//!            +--------+------------+---------------------
//! ```
//! So a program with many such attach points is attached there once, and looks up by number
//! whether the call is one of them. Calls of 32-bit processes have other numbers and no events;
//! the program leaves them out as the kernel does.

use super::{Expander, Unit};
use crate::object::Attach;
use crate::sema::hir::{AttachSpec, SyscallTable};
use crate::sema::names;
use crate::types::{StructKind, Type};

/// Attach points from which on this pays: every system call of the machine runs the program.
const MANY: usize = 16;

/// Moves the system call events of units that have many of them into units that share a program.
/// `first` is the first unit to look at.
pub(super) fn share(ex: &mut Expander<'_, '_>, units: &mut Vec<Unit<'_>>, first: usize) {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for i in first..units.len() {
        for (prefix, exit) in [("sys_enter_", false), ("sys_exit_", true)] {
            let many = units[i].attach.iter();
            if many.filter(|a| number(a, prefix).is_some()).count() < MANY {
                continue;
            }
            let Some(status) = status_offset(ex) else {
                return;
            };
            let unit = &mut units[i];
            let all = std::mem::take(&mut unit.attach);
            let (shared, rest): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|a| number(a, prefix).is_some());
            let table = SyscallTable {
                numbers: shared.iter().filter_map(|a| number(a, prefix)).collect(),
                status,
            };
            let shared = shared.into_iter().map(|a| raw(a, exit)).collect();
            if rest.is_empty() {
                unit.attach = shared;
                unit.syscalls = Some(table);
                break;
            }
            unit.attach = rest;
            let unit = Unit {
                ast: unit.ast,
                name: unit.name.clone(),
                cx: unit.cx.clone(),
                attach: shared,
                attach_btf: None,
                syscalls: Some(table),
            };
            units.push(unit);
        }
    }
}

/// The number of the call whose event this is.
fn number(a: &AttachSpec, prefix: &str) -> Option<u16> {
    let Attach::Tracepoint { category, event } = &a.attach else {
        return None;
    };
    if category != "syscalls" {
        return None;
    }
    names::syscall_of_event(event.strip_prefix(prefix)?)
}

fn raw(spec: AttachSpec, exit: bool) -> AttachSpec {
    AttachSpec {
        attach: Attach::Syscall { exit },
        ..spec
    }
}

/// Where a task says that it is in a call of a 32-bit process: `thread_info.status`.
fn status_offset(ex: &mut Expander<'_, '_>) -> Option<u32> {
    let mut member = |owner: &str, name: &str| {
        let facts = ex.cx.facts;
        let id = facts.find_struct(ex.store, StructKind::Struct, owner)?;
        facts.fill(ex.store, id);
        let fields = ex.store.struct_def(id).fields.as_ref()?;
        let field = fields.iter().find(|f| f.name == name)?;
        Some((field.bit_offset / 8, field.ty.clone()))
    };
    let (outer, ty) = member("task_struct", "thread_info")?;
    if !matches!(ty, Type::Struct(_)) {
        return None;
    }
    Some(outer + member("thread_info", "status")?.0)
}
