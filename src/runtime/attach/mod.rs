//! Attaching loaded programs: one file per kind of probe.
//!
//! In goes an attach point and a loaded program; out comes a [`Link`], whose end detaches. Every
//! refusal becomes an error that says what was tried, what the kernel answered and, where that is
//! known, why and what to do. Order and policy for missing probes are the session's business.

mod fentry;
mod iter;
mod kprobe;
mod link;
mod perf;
mod raw_tracepoint;
pub mod special;
mod tracepoint;
mod uprobe;
mod vector_insn;

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::load::{Loaded, Plan};
use super::sys::bpf;
use super::sys::perf::{self as sys_perf, Scope};
use super::sys::{self};
use crate::env::HostEnv;
use crate::error::{Error, Result};
use crate::object::{Attach, AttachPoint, ProgramType};

pub use iter::{IterRun, pin_path};
pub use link::{Link, Release, detach};

/// What attaching needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Attacher<'a> {
    /// Programs and attach points.
    pub loaded: &'a Loaded,
    /// The machine.
    pub env: &'a HostEnv,
    /// The process that probes are limited to. Kernel probes and trace events are not limited
    /// here: their programs look at the pid themselves.
    pub pid: Option<u32>,
}

/// Attach points from which on threads pay.
const PARALLEL: usize = 8;
/// Threads that attach: they wait rather than work, so they may be more than the CPUs.
const THREADS: usize = 8;

/// Attaches several attach points of one program by as few links as it takes.
type AttachShared<'a> = dyn Fn(&Attacher<'_>, &[usize]) -> Result<Vec<Link>> + 'a;

/// A failed attach point: its index and the reason.
pub type Failure = (usize, Error);

impl<'a> Attacher<'a> {
    /// Attaches one attach point. Those that are run instead of attached (BEGIN, END, signals,
    /// tests) yield an empty link.
    ///
    /// # Errors
    /// The reason, in the words of the probe's kind.
    pub fn attach(&self, index: usize) -> Result<Link> {
        let point = &self.loaded.object.attach[index];
        let mut link = match &point.attach {
            Attach::Begin
            | Attach::End
            | Attach::SelfSignal(_)
            | Attach::Test(_)
            | Attach::Bench(_) => Link::default(),
            Attach::Uprobe { .. } => self.attach_uprobe(index)?,
            Attach::Kprobe { .. } => self.attach_kprobe(index)?,
            Attach::Fentry { .. } => self.attach_fentry(index)?,
            Attach::Tracepoint { category, event } => {
                self.attach_tracepoint(index, category, event)?
            }
            Attach::Syscall { exit } => self.attach_syscalls(index, *exit)?,
            Attach::RawTracepoint { event } => self.attach_raw_tracepoint(index, event)?,
            Attach::Profile(rate) => self.attach_profile(index, *rate)?,
            Attach::Interval(rate) => self.attach_interval(index, *rate)?,
            Attach::Perf(clock) => self.attach_perf(index, *clock)?,
            Attach::Watchpoint { addr, len, mode } => {
                self.attach_watchpoint(index, *addr, *len, *mode)?
            }
            Attach::Iter { pin, .. } => self.attach_iter(index, pin.as_deref())?,
        };
        link.points = vec![index];
        Ok(link)
    }

    /// Attaches all attach points of one program, which are `indices`: in one link where the
    /// program was loaded for that. What fails is reported per attach point, the rest is
    /// attached.
    pub fn attach_group(&self, indices: &[usize]) -> (Vec<Link>, Vec<Failure>) {
        let Some(&first) = indices.first() else {
            return Default::default();
        };
        match self.plan(first) {
            Plan::UprobeMulti => self.attach_shared(indices, &|a, i| a.attach_uprobes(i)),
            Plan::KprobeMulti => self.attach_shared(indices, &|a, i| a.attach_kprobes(i)),
            Plan::Syscalls => match self.attach(first) {
                Ok(link) => (vec![link.of(indices.to_vec())], Vec::new()),
                Err(e) => (Vec::new(), vec![(first, e)]),
            },
            Plan::Single => self.attach_each(indices),
        }
    }

    /// Attaches by few links. One bad place spoils a whole link, so what fails is halved until
    /// the bad ones are alone.
    fn attach_shared(
        &self,
        indices: &[usize],
        attach: &AttachShared<'_>,
    ) -> (Vec<Link>, Vec<Failure>) {
        match attach(self, indices) {
            Ok(links) => (links, Vec::new()),
            Err(e) if indices.len() == 1 => (Vec::new(), vec![(indices[0], e)]),
            Err(_) => {
                let (left, right) = indices.split_at(indices.len() / 2);
                let (mut links, mut failures) = self.attach_shared(left, attach);
                let (more, failed) = self.attach_shared(right, attach);
                links.extend(more);
                failures.extend(failed);
                (links, failures)
            }
        }
    }

    /// Attaches one by one; by several threads where there are many: the kernel waits for itself
    /// at each (grace periods), and waits overlap.
    fn attach_each(&self, indices: &[usize]) -> (Vec<Link>, Vec<Failure>) {
        if indices.len() < PARALLEL {
            return self.attach_in_turn(indices);
        }
        let parts: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = indices
                .chunks(indices.len().div_ceil(THREADS))
                .map(|part| scope.spawn(move || self.attach_in_turn(part)))
                .collect();
            workers
                .into_iter()
                .map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
                .collect()
        });
        let (mut links, mut failures) = (Vec::new(), Vec::new());
        for (l, f) in parts {
            links.extend(l);
            failures.extend(f);
        }
        (links, failures)
    }

    fn attach_in_turn(&self, indices: &[usize]) -> (Vec<Link>, Vec<Failure>) {
        let (mut links, mut failures) = (Vec::new(), Vec::new());
        for &i in indices {
            match self.attach(i) {
                Ok(link) => links.push(link),
                Err(e) => failures.push((i, e)),
            }
        }
        (links, failures)
    }

    fn point(&self, index: usize) -> &'a AttachPoint {
        &self.loaded.object.attach[index]
    }

    fn plan(&self, index: usize) -> Plan {
        self.loaded.program(self.point(index).program).plan
    }

    fn program(&self, index: usize) -> BorrowedFd<'a> {
        self.loaded.program(self.point(index).program).fd.as_fd()
    }

    fn program_type(&self, index: usize) -> ProgramType {
        let id = self.point(index).program;
        self.loaded.object.programs[id.0 as usize].ty
    }

    /// Hangs the program of attach point `index` on an event and starts it.
    fn link_event(&self, index: usize, event: OwnedFd) -> Result<Link> {
        let link = link_event(self.program(index), event, index as u64)?;
        Ok(link)
    }
}

/// The scope of events that fire wherever they are opened.
fn everywhere() -> Result<Scope> {
    let cpus = sys::online_cpus()?;
    let first = cpus.first().ok_or_else(|| Error::invalid("no CPU"))?;
    Ok(Scope::Cpu(*first))
}

/// Hangs `prog` on `event` by a link with `cookie`, or by ioctl where the kernel has no such
/// links, and starts the event.
fn link_event(prog: BorrowedFd<'_>, event: OwnedFd, cookie: u64) -> Result<Link> {
    let link = match bpf::link_perf_event(prog, event.as_fd(), cookie) {
        Ok(link) => Some(link),
        // Before Linux 5.15 there is no such link type.
        Err(e) if e.errno() == Some(libc::EINVAL) => {
            sys_perf::set_bpf(event.as_fd(), prog)?;
            None
        }
        Err(e) => return Err(e),
    };
    sys_perf::enable(event.as_fd())?;
    Ok(Link::new(link.into_iter().collect(), vec![event]))
}

/// Tries `f` with the cookie and, where the kernel takes none, without.
fn with_optional_cookie<T>(cookie: u64, f: impl Fn(u64) -> Result<T>) -> Result<T> {
    match f(cookie) {
        Err(e) if cookie != 0 && matches!(e.errno(), Some(libc::EINVAL | libc::E2BIG)) => f(0),
        other => other,
    }
}
