//! perf_event_open(2): the events that kprobes, uprobes, tracepoints, clocks, counters and
//! hardware breakpoints are to BPF.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use aya_obj::generated as uapi;

use super::{call, call_fd};
use crate::error::{Error, ErrorExt, Result};

/// Which tasks and CPUs an event covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every task while it runs on this CPU. Probes by uprobe, kprobe and tracepoint fire on
    /// every CPU regardless: BPF hangs on the event, not on its schedule.
    Cpu(u32),
    /// This thread on every CPU.
    Thread(u32),
    /// This thread on every CPU, and the threads it starts (Linux 5.13).
    ThreadAndNew(u32),
}

impl Scope {
    fn pid_cpu(self) -> (i32, i32) {
        match self {
            Scope::Cpu(c) => (-1, c as i32),
            Scope::Thread(t) | Scope::ThreadAndNew(t) => (t as i32, -1),
        }
    }
}

/// An event without pointers: see perf_event_open(2) for the fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// `type`
    pub ty: u32,
    /// `config`
    pub config: u64,
    /// `sample_period`: how many from one run of the program to the next.
    pub period: u64,
}

/// Opens a counted or sampled event.
pub fn open(event: Event, scope: Scope) -> Result<OwnedFd> {
    let mut attr = new_attr(event.ty, event.config);
    attr.__bindgen_anon_1.sample_period = event.period;
    // SAFETY: this event type has no pointers in its attributes.
    unsafe { open_attr(attr, scope, here) }
}

/// Opens a hardware breakpoint on `len` bytes at `addr`; `mode` is made of `HW_BREAKPOINT_*`.
pub fn open_breakpoint(addr: u64, len: u8, mode: u32, scope: Scope) -> Result<OwnedFd> {
    let mut attr = new_attr(uapi::perf_type_id::PERF_TYPE_BREAKPOINT as u32, 0);
    attr.bp_type = mode;
    attr.__bindgen_anon_3.bp_addr = addr;
    attr.__bindgen_anon_4.bp_len = u64::from(len);
    attr.__bindgen_anon_1.sample_period = 1;
    // SAFETY: the address is a number to watch, it is not read through.
    unsafe { open_attr(attr, scope, here) }
}

/// Opens a tracepoint by its id in tracefs.
pub fn open_tracepoint(id: u64, scope: Scope) -> Result<OwnedFd> {
    let mut attr = new_attr(uapi::perf_type_id::PERF_TYPE_TRACEPOINT as u32, id);
    attr.__bindgen_anon_1.sample_period = 1;
    // SAFETY: this event type has no pointers in its attributes.
    unsafe { open_attr(attr, scope, here) }
}

/// Opens a probe on the instruction at file offset `offset` of `path`, at the function's
/// return if `ret`. A non-zero `semaphore` is the file offset of a 16-bit counter that the
/// kernel raises in every process that maps the file (Linux 4.20).
pub fn open_uprobe(
    path: &CStr,
    offset: u64,
    semaphore: u64,
    ret: bool,
    scope: Scope,
) -> Result<OwnedFd> {
    static PMU: OnceLock<u32> = OnceLock::new();
    // Bits 32-63 of config are the counter's offset.
    if semaphore > u64::from(u32::MAX) {
        return Err(Error::invalid("semaphore beyond 4 GiB in the file"));
    }
    let config = u64::from(ret) | (semaphore << 32);
    let mut attr = new_attr(pmu_type("uprobe", &PMU)?, config);
    attr.__bindgen_anon_3.uprobe_path = path.as_ptr() as u64;
    attr.__bindgen_anon_4.probe_offset = offset;
    attr.__bindgen_anon_1.sample_period = 1;
    // SAFETY: `path` outlives the call and the kernel copies it.
    unsafe { open_attr(attr, scope, aside) }
}

/// Opens a probe `offset` bytes into the kernel function `symbol`, or at address `offset`
/// without one.
pub fn open_kprobe(symbol: Option<&CStr>, offset: u64, ret: bool, scope: Scope) -> Result<OwnedFd> {
    static PMU: OnceLock<u32> = OnceLock::new();
    let mut attr = new_attr(pmu_type("kprobe", &PMU)?, u64::from(ret));
    attr.__bindgen_anon_3.kprobe_func = symbol.map_or(0, |s| s.as_ptr() as u64);
    attr.__bindgen_anon_4.probe_offset = offset;
    attr.__bindgen_anon_1.sample_period = 1;
    // SAFETY: `symbol` outlives the call and the kernel copies it.
    unsafe { open_attr(attr, scope, here) }
}

/// Bytes that may wait in the ring of [`open_task_events`] before its reader is woken.
const TASK_WATERMARK: u32 = 16 << 10;

/// The clock of the times in those reports.
const TASK_CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// Nanoseconds of the clock that [`open_task_events`] reports by.
pub fn clock() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is written by the call and lives through it.
    unsafe { libc::clock_gettime(TASK_CLOCK, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Opens an event that counts nothing and reports, of every task on this CPU, what it maps as
/// code, and when it forks, executes another program and ends. Each report ends with its time.
pub fn open_task_events(cpu: u32) -> Result<OwnedFd> {
    let software = uapi::perf_type_id::PERF_TYPE_SOFTWARE as u32;
    let nothing = uapi::perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
    let mut attr = new_attr(software, nothing);
    attr.sample_type = uapi::perf_event_sample_format::PERF_SAMPLE_TIME as u64;
    attr.set_sample_id_all(1);
    attr.set_mmap(1);
    attr.set_mmap2(1);
    attr.set_comm(1);
    attr.set_comm_exec(1);
    attr.set_task(1);
    attr.set_use_clockid(1);
    attr.clockid = TASK_CLOCK;
    attr.set_watermark(1);
    attr.__bindgen_anon_2.wakeup_watermark = TASK_WATERMARK;
    attr.set_disabled(0);
    // SAFETY: this event type has no pointers in its attributes.
    unsafe { open_attr(attr, Scope::Cpu(cpu), here) }
}

/// Whether the kernel has the perf event source `name` (`kprobe`, `uprobe`).
pub fn has_pmu(name: &str) -> bool {
    std::path::Path::new(&format!("/sys/bus/event_source/devices/{name}/type")).exists()
}

/// Attaches a program to an event for the event's life: the way of kernels without perf links
/// (before 5.15).
pub fn set_bpf(event: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the argument is a descriptor number.
    call("PERF_EVENT_IOC_SET_BPF", || unsafe {
        i64::from(libc::ioctl(
            event.as_raw_fd(),
            libc::c_ulong::from(uapi::PERF_EVENT_IOC_SET_BPF),
            prog.as_raw_fd(),
        ))
    })
    .map(drop)
}

/// Starts an event.
pub fn enable(event: BorrowedFd<'_>) -> Result<()> {
    toggle("PERF_EVENT_IOC_ENABLE", event, uapi::PERF_EVENT_IOC_ENABLE)
}

/// Stops an event. Sampled events then run no program; probes do (see [`Scope::Cpu`]).
pub fn disable(event: BorrowedFd<'_>) -> Result<()> {
    toggle(
        "PERF_EVENT_IOC_DISABLE",
        event,
        uapi::PERF_EVENT_IOC_DISABLE,
    )
}

fn toggle(name: &'static str, event: BorrowedFd<'_>, request: u32) -> Result<()> {
    // SAFETY: these requests take no memory.
    call(name, || unsafe {
        i64::from(libc::ioctl(
            event.as_raw_fd(),
            libc::c_ulong::from(request),
            0,
        ))
    })
    .map(drop)
}

fn pmu_type(name: &str, cache: &OnceLock<u32>) -> Result<u32> {
    if let Some(&t) = cache.get() {
        return Ok(t);
    }
    let path = format!("/sys/bus/event_source/devices/{name}/type");
    let text = std::fs::read_to_string(&path).context(&path)?;
    let ty = text
        .trim()
        .parse()
        .map_err(|_| Error::invalid(format!("{path}: not a number")))?;
    Ok(*cache.get_or_init(|| ty))
}

fn new_attr(ty: u32, config: u64) -> uapi::perf_event_attr {
    // SAFETY: perf_event_attr is plain data for which all zero is a valid value.
    let mut attr: uapi::perf_event_attr = unsafe { std::mem::zeroed() };
    attr.type_ = ty;
    attr.size = size_of::<uapi::perf_event_attr>() as u32;
    attr.config = config;
    // Nothing counts before a program is attached.
    attr.set_disabled(1);
    attr
}

/// Makes a call in this process.
fn here(f: &dyn Fn() -> i64) -> i64 {
    f()
}

/// Makes a call that SIGKILL must not cut short.
fn aside(f: &dyn Fn() -> i64) -> i64 {
    super::aside::aside(f)
}

/// # Safety
/// Pointers in `attr` must be valid for the call.
unsafe fn open_attr(
    mut attr: uapi::perf_event_attr,
    scope: Scope,
    make: fn(&dyn Fn() -> i64) -> i64,
) -> Result<OwnedFd> {
    if let Scope::ThreadAndNew(_) = scope {
        attr.set_inherit(1);
        attr.set_inherit_thread(1);
    }
    let (pid, cpu) = scope.pid_cpu();
    let (group, flags) = (-1, u64::from(uapi::PERF_FLAG_FD_CLOEXEC));
    // SAFETY: `attr` lives through the call; the caller vouches for what it points to.
    call_fd("perf_event_open", || {
        make(&|| unsafe { libc::syscall(libc::SYS_perf_event_open, &attr, pid, cpu, group, flags) })
    })
}
