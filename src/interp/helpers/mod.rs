//! Helper functions: one row each, answered from the machine or from the world. The modules
//! below hold the longer implementations, by what they work on.
//!
//! Helpers that only make sense inside the kernel (overriding a return value, packets, BTF
//! objects) have no row; calling one is a fault.

mod maps;
mod printk;
mod read;
mod ringbuf;

use super::fault::FaultKind;
use super::memory::{Kind, Pointer};
use super::vm::Run;
use super::world::{Clock, Errno, Space};
use crate::codegen::helper::{self, HelperId};

/// What a helper gives: the content of r0.
type Outcome = Result<u64, FaultKind>;

/// A helper the machine has.
pub struct Row {
    id: HelperId,
    /// Arguments that must hold a value.
    pub args: u8,
    /// The implementation. Registers beyond `args` come as they are, 0 where they hold
    /// nothing.
    pub run: fn(&mut Run<'_>, [u64; 5]) -> Outcome,
}

const fn row(id: HelperId, args: u8, run: fn(&mut Run<'_>, [u64; 5]) -> Outcome) -> Row {
    Row { id, args, run }
}

static ROWS: &[Row] = &[
    row(helper::MAP_LOOKUP_ELEM, 2, maps::map_lookup),
    row(helper::MAP_UPDATE_ELEM, 4, maps::map_update),
    row(helper::MAP_DELETE_ELEM, 2, maps::map_delete),
    row(helper::PROBE_READ, 3, |r, a| {
        read::probe_read(r, read::space_of(a[2]), a)
    }),
    row(helper::KTIME_GET_NS, 0, |r, _| {
        Ok(r.world.clock(Clock::Monotonic))
    }),
    row(helper::TRACE_PRINTK, 2, printk::trace_printk),
    row(helper::GET_PRANDOM_U32, 0, |r, _| {
        Ok(u64::from(r.world.random()))
    }),
    row(helper::GET_SMP_PROCESSOR_ID, 0, |r, _| Ok(r.cpu as u64)),
    row(helper::GET_CURRENT_PID_TGID, 0, |r, _| {
        let t = r.world.task();
        Ok(u64::from(t.pid) << 32 | u64::from(t.tid))
    }),
    row(helper::GET_CURRENT_UID_GID, 0, |r, _| {
        let t = r.world.task();
        Ok(u64::from(t.gid) << 32 | u64::from(t.uid))
    }),
    row(helper::GET_CURRENT_COMM, 2, read::get_comm),
    row(helper::GET_CURRENT_TASK, 0, |r, _| {
        Ok(r.world.task().address)
    }),
    row(helper::PROBE_WRITE_USER, 3, read::probe_write_user),
    row(helper::GET_NUMA_NODE_ID, 0, |r, _| {
        Ok(u64::from(r.world.numa_node()))
    }),
    row(helper::PROBE_READ_STR, 3, |r, a| {
        read::probe_read_str(r, read::space_of(a[2]), a)
    }),
    row(helper::GET_STACK, 4, read::get_stack),
    row(helper::GET_CURRENT_CGROUP_ID, 0, |r, _| {
        Ok(r.world.task().cgroup)
    }),
    row(helper::SEND_SIGNAL, 1, |r, a| {
        read::send_signal(r, a, false)
    }),
    row(helper::PROBE_READ_USER, 3, |r, a| {
        read::probe_read(r, Space::User, a)
    }),
    row(helper::PROBE_READ_KERNEL, 3, |r, a| {
        read::probe_read(r, Space::Kernel, a)
    }),
    row(helper::PROBE_READ_USER_STR, 3, |r, a| {
        read::probe_read_str(r, Space::User, a)
    }),
    row(helper::PROBE_READ_KERNEL_STR, 3, |r, a| {
        read::probe_read_str(r, Space::Kernel, a)
    }),
    row(helper::SEND_SIGNAL_THREAD, 1, |r, a| {
        read::send_signal(r, a, true)
    }),
    row(helper::JIFFIES64, 0, |r, _| Ok(r.world.jiffies())),
    row(helper::GET_NS_CURRENT_PID_TGID, 4, read::get_ns_pid),
    row(helper::GET_CURRENT_ANCESTOR_CGROUP_ID, 1, |r, a| {
        Ok(r.world.ancestor_cgroup(a[0] as u32))
    }),
    row(helper::KTIME_GET_BOOT_NS, 0, |r, _| {
        Ok(r.world.clock(Clock::Boot))
    }),
    row(helper::RINGBUF_OUTPUT, 4, ringbuf::ringbuf_output),
    row(helper::RINGBUF_RESERVE, 3, ringbuf::ringbuf_reserve),
    row(helper::RINGBUF_SUBMIT, 2, |r, a| {
        ringbuf::release(r, a[0], true)
    }),
    row(helper::RINGBUF_DISCARD, 2, |r, a| {
        ringbuf::release(r, a[0], false)
    }),
    row(helper::RINGBUF_QUERY, 2, ringbuf::ringbuf_query),
    row(helper::COPY_FROM_USER, 3, |r, a| {
        read::probe_read(r, Space::User, a)
    }),
    row(helper::TASK_STORAGE_GET, 4, maps::task_storage_get),
    row(helper::TASK_STORAGE_DELETE, 2, maps::task_storage_delete),
    row(helper::GET_CURRENT_TASK_BTF, 0, |r, _| {
        Ok(r.world.task().address)
    }),
    row(helper::KTIME_GET_COARSE_NS, 0, |r, _| {
        Ok(r.world.clock(Clock::Coarse))
    }),
    row(helper::FOR_EACH_MAP_ELEM, 4, maps::for_each),
    row(helper::SNPRINTF, 5, printk::snprintf),
    row(helper::GET_FUNC_IP, 1, |r, _| Ok(r.world.func_ip())),
    row(helper::GET_ATTACH_COOKIE, 1, |r, _| {
        Ok(r.world.attach_cookie())
    }),
    row(helper::TRACE_VPRINTK, 4, printk::trace_vprintk),
    row(helper::LOOP, 4, maps::bpf_loop),
    row(helper::STRNCMP, 3, read::strncmp),
    row(helper::MAP_LOOKUP_PERCPU_ELEM, 3, maps::map_lookup_percpu),
    row(helper::KTIME_GET_TAI_NS, 0, |r, _| {
        Ok(r.world.clock(Clock::Tai))
    }),
];

/// One more than the highest helper number there is.
const IDS: usize = 256;

/// Index into [`ROWS`] by helper number; 255 is none.
static BY_ID: [u8; IDS] = {
    let mut table = [u8::MAX; IDS];
    let mut i = 0;
    while i < ROWS.len() {
        table[ROWS[i].id.id() as usize] = i as u8;
        i += 1;
    }
    table
};

/// The row of a helper.
pub fn find(id: HelperId) -> Option<&'static Row> {
    let at = *BY_ID.get(id.id() as usize)?;
    ROWS.get(usize::from(at))
}

/// Whether the machine has the helper.
pub fn implemented(id: HelperId) -> bool {
    find(id).is_some()
}

/// A negative error number as r0 holds it.
fn err(errno: Errno) -> u64 {
    -i64::from(errno) as u64
}

fn done<E>(result: Result<(), E>, errno: impl Fn(E) -> Errno) -> u64 {
    match result {
        Ok(()) => 0,
        Err(e) => err(errno(e)),
    }
}

// A size argument: negative and absurd ones cannot come from a verified program.
fn size(argument: u8, value: u64) -> Result<usize, FaultKind> {
    let bad = FaultKind::BadArgument {
        argument,
        expected: "a size",
    };
    let n = u32::try_from(value).map_err(|_| bad.clone())?;
    if n > 1 << 29 {
        Err(bad)
    } else {
        Ok(n as usize)
    }
}

fn map_index(run: &Run<'_>, argument: u8, addr: u64) -> Result<usize, FaultKind> {
    match Pointer::decode(addr) {
        Some(p) if p.kind == Kind::Map && p.offset == 0 && p.index < run.maps.len() => Ok(p.index),
        _ => Err(FaultKind::BadArgument {
            argument,
            expected: "a map",
        }),
    }
}

fn function(argument: u8, addr: u64) -> Result<usize, FaultKind> {
    match Pointer::decode(addr) {
        Some(p) if p.kind == Kind::Function => Ok(p.offset as usize),
        _ => Err(FaultKind::BadArgument {
            argument,
            expected: "a function",
        }),
    }
}
