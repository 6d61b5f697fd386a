//! An attached program, and what is left of it after detaching.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::runtime::sys::perf;

/// Events from which on closing in parallel pays.
const PARALLEL: usize = 2;

/// One or more attach points that are attached. Dropping it detaches and waits for the kernel;
/// [`detach`](Link::detach) does not wait.
#[derive(Debug, Default)]
pub struct Link {
    /// Indices of the attach points.
    pub(super) points: Vec<usize>,
    /// BPF links: closing one detaches its program.
    links: Vec<OwnedFd>,
    /// Perf events. Closing one takes the kernel up to 300 ms; once its link is closed it
    /// does nothing any more.
    events: Vec<OwnedFd>,
    /// Whether the events are samplers, which pass their program on to new threads.
    sampled: bool,
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
        self.sampled = true;
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

    /// Makes the program run no more and returns what can be closed later.
    pub fn detach(mut self) -> Leftover {
        if self.sampled {
            for e in &self.events {
                // A refusal means that the traced thread is gone, and the event with it.
                let _ = perf::disable(e.as_fd());
            }
        }
        let had_links = !self.links.is_empty();
        self.links.clear();
        let leftover = Leftover(std::mem::take(&mut self.events));
        if had_links || self.sampled {
            return leftover;
        }
        // Attached by ioctl: only closing detaches.
        leftover.close();
        Leftover::default()
    }
}

/// Events without programs, which still have to be closed some time.
#[derive(Debug, Default)]
pub struct Leftover(Vec<OwnedFd>);

impl Leftover {
    /// Takes over what `other` holds.
    pub fn absorb(&mut self, mut other: Leftover) {
        self.0.append(&mut other.0);
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Closes everything and waits for the kernel, which takes several at once faster.
    pub fn close(self) {
        if self.0.len() < PARALLEL {
            return;
        }
        std::thread::scope(|scope| {
            for fd in self.0 {
                scope.spawn(move || drop(fd));
            }
        });
    }
}
