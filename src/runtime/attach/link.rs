//! An attached program, and the ways to detach it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_sys as lib;

use crate::error::Result;
use crate::runtime::sys::release::{self, Slow};
use crate::runtime::sys::{bpf, perf};

/// One or more attach points that are attached. Dropping it detaches and waits for the kernel.
///
/// What takes how long (Linux 6.18): a link on a perf event or on user places 40 ms, until no
/// CPU can be running the program any more; the perf event itself 50 to 300 ms, until nothing
/// can be using its breakpoint; anything else far less than one. [`detach`] therefore takes
/// many links at once.
#[derive(Debug, Default)]
pub struct Link {
    /// Indices of the attach points.
    pub(super) points: Vec<usize>,
    /// BPF links: closing one detaches its program.
    links: Vec<OwnedFd>,
    /// Perf events. Once its link is closed an event does nothing any more.
    events: Vec<OwnedFd>,
    /// How it detaches.
    speed: Speed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Speed {
    /// Closing waits for a grace period of the kernel.
    #[default]
    Slow,
    /// Closing is a matter of microseconds.
    Quick,
    /// Sampled events: as quick, but new threads have inherited program and event, so they
    /// are stopped first.
    Sampled,
}

/// Whether [`detach`] waits until the kernel has released everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Returns when everything is closed.
    Wait,
    /// Returns when no program can start any more; a forked copy of the process does the rest.
    /// For when the process is about to end.
    InBackground,
}

impl Link {
    pub(super) fn new(links: Vec<OwnedFd>, events: Vec<OwnedFd>) -> Self {
        Self {
            links,
            events,
            ..Self::default()
        }
    }

    /// Takes over what `other` holds.
    pub(super) fn absorb(&mut self, mut other: Link) {
        self.links.append(&mut other.links);
        self.events.append(&mut other.events);
    }

    pub(super) fn sampled(mut self) -> Self {
        self.speed = Speed::Sampled;
        self
    }

    pub(super) fn quick(mut self) -> Self {
        self.speed = Speed::Quick;
        self
    }

    pub(super) fn of(mut self, points: Vec<usize>) -> Self {
        self.points = points;
        self
    }

    /// Indices of the attach points that this link attaches.
    pub fn points(&self) -> &[usize] {
        &self.points
    }

    pub(super) fn link_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().map(AsFd::as_fd)
    }
}

/// Detaches many links at once. On return no program starts any more.
pub fn detach(links: Vec<Link>, release: Release) {
    let mut slow = Slow::default();
    for link in links {
        match link.speed {
            Speed::Quick => drop(link),
            Speed::Sampled => {
                for e in &link.events {
                    // A refusal means that the traced thread is gone, and the event with it.
                    let _ = perf::disable(e.as_fd());
                }
                drop(link);
            }
            Speed::Slow if link.links.len() == link.events.len() => {
                slow.perf.extend(link.links.into_iter().zip(link.events));
            }
            // Multi links and trampolines have no events; what was attached by ioctl has no
            // links, and closing its event is what detaches it.
            Speed::Slow => slow
                .others
                .extend(link.links.into_iter().chain(link.events)),
        }
    }
    if slow.perf.is_empty() && slow.others.is_empty() {
        return;
    }
    let wait = release == Release::Wait;
    let off = match (wait || slow.perf.is_empty()).then_some(()) {
        Some(()) => None,
        None => Placeholders::load().ok(),
    };
    // Without placeholders nothing can be said of an event before the kernel is done.
    let wait = wait || (off.is_none() && !slow.perf.is_empty());
    let is_off = |event: BorrowedFd<'_>| off.as_ref().is_none_or(|p| p.take(event));
    if let Err(slow) = release::release(slow, wait, is_off) {
        slow.close();
    }
}

/// Programs that do nothing, by which one sees whether an event still has its program: the
/// kernel refuses a second one.
struct Placeholders([OwnedFd; 2]);

impl Placeholders {
    fn load() -> Result<Self> {
        Ok(Self([
            bpf::empty_program(lib::BPF_PROG_TYPE_KPROBE)?,
            bpf::empty_program(lib::BPF_PROG_TYPE_TRACEPOINT)?,
        ]))
    }

    /// Whether the program of `event` is gone: then a placeholder has taken its place.
    fn take(&self, event: BorrowedFd<'_>) -> bool {
        let refusals = self.0.iter().map(|p| perf::set_bpf(event, p.as_fd()));
        // Each kind of event takes one type of program and refuses the other as invalid before
        // it looks at anything else.
        !refusals
            .filter_map(Result::err)
            .any(|e| e.errno() == Some(libc::EEXIST))
    }
}
