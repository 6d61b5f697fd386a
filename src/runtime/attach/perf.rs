//! Clocks, counters and hardware breakpoints: events that are sampled. Minimum Linux 4.9.
//!
//! With a process given, they follow its threads, those to come included (Linux 5.13). Only
//! `interval` does not: it is the script's clock, and a sleeping process must not stop it.

use aya_obj::generated::{perf_sw_ids, perf_type_id};

use super::{Attacher, Link, everywhere};
use crate::error::{Error, ErrorExt, ErrorKind, Result};
use crate::object::{PerfClock, Rate};
use crate::runtime::privilege;
use crate::runtime::sys::perf::{self, Event, Scope};
use crate::runtime::sys::process::Capability;
use crate::runtime::sys::{self};

const NS_PER_SEC: u64 = 1_000_000_000;

impl Attacher<'_> {
    pub(super) fn attach_profile(&self, index: usize, rate: Rate) -> Result<Link> {
        self.sample(index, |scope| perf::open(clock(rate), scope))
    }

    pub(super) fn attach_interval(&self, index: usize, rate: Rate) -> Result<Link> {
        let event = perf::open(clock(rate), everywhere()?).map_err(explain)?;
        Ok(self.link_event(index, event).map_err(explain)?.sampled())
    }

    pub(super) fn attach_perf(&self, index: usize, clock: PerfClock) -> Result<Link> {
        let event = Event {
            ty: clock.ty,
            config: clock.config,
            period: clock.period,
        };
        self.sample(index, |scope| perf::open(event, scope))
    }

    pub(super) fn attach_watchpoint(
        &self,
        index: usize,
        addr: u64,
        len: u8,
        mode: u32,
    ) -> Result<Link> {
        self.sample(index, |scope| perf::open_breakpoint(addr, len, mode, scope))
            .map_err(|e| match e.errno() {
                Some(libc::ENOSPC) => e.context("all hardware breakpoints are in use"),
                Some(libc::EINVAL) => {
                    e.context("the processor cannot watch this address, length and mode")
                }
                // Of the kernel's own memory, whatever CAP_PERFMON allows.
                Some(libc::EPERM) if addr >> 63 == 1 => {
                    privilege::explain(e, &[Capability::SysAdmin])
                }
                _ => e,
            })
            .with_context(|| format!("watchpoint on {len} bytes at {addr:#x}"))
    }

    /// Opens an event on every CPU, or on every thread of the process, and hangs the program on
    /// each.
    fn sample(
        &self,
        index: usize,
        open: impl Fn(Scope) -> Result<std::os::fd::OwnedFd>,
    ) -> Result<Link> {
        let mut link = Link::default().sampled();
        let Some(pid) = self.pid else {
            for cpu in sys::online_cpus()? {
                let event = open(Scope::Cpu(cpu)).map_err(explain)?;
                link.absorb(self.link_event(index, event).map_err(explain)?);
            }
            return Ok(link);
        };
        let mut alive = false;
        for tid in threads(pid)? {
            let event = match open(Scope::ThreadAndNew(tid)) {
                // Before Linux 5.13, or an event that cannot be inherited.
                Err(e) if e.errno() == Some(libc::EINVAL) => open(Scope::Thread(tid)),
                other => other,
            };
            match event {
                Ok(event) => {
                    link.absorb(self.link_event(index, event).map_err(explain)?);
                    alive = true;
                }
                // A thread that ended since it was listed.
                Err(e) if e.errno() == Some(libc::ESRCH) => {}
                Err(e) => return Err(explain(e)),
            }
        }
        if alive {
            Ok(link)
        } else {
            Err(Error::not_found(format!("process {pid} is gone")))
        }
    }
}

/// Threads of a process.
fn threads(pid: u32) -> Result<Vec<u32>> {
    let gone = || format!("process {pid}");
    let dir = std::fs::read_dir(format!("/proc/{pid}/task")).with_context(gone)?;
    let mut out = Vec::new();
    for entry in dir {
        let name = entry.with_context(gone)?.file_name();
        out.extend(name.to_str().and_then(|n| n.parse::<u32>().ok()));
    }
    Ok(out)
}

/// The CPU clock at a rate. Always by period: the kernel turns a frequency into a period
/// itself, and bounds it by perf_event_max_sample_rate on the way.
fn clock(rate: Rate) -> Event {
    let period = match rate {
        Rate::Hz(hz) => NS_PER_SEC / hz.clamp(1, NS_PER_SEC),
        Rate::Period(ns) => ns.max(1),
    };
    Event {
        ty: perf_type_id::PERF_TYPE_SOFTWARE as u32,
        config: perf_sw_ids::PERF_COUNT_SW_CPU_CLOCK as u64,
        period,
    }
}

fn explain(e: Error) -> Error {
    match e.errno() {
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV)
            if e.kind() != ErrorKind::Unsupported =>
        {
            e.context("this machine does not count this event (virtual machines often have no PMU)")
        }
        Some(libc::EMFILE) => e.context("too many open files: raise ulimit -n"),
        _ => privilege::explain(e, &[Capability::Perfmon]),
    }
}
