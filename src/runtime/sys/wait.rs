//! Waiting: epoll, and signals and processes as descriptors.

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use super::{call, call_fd, retry};
use crate::error::Result;

/// A set of descriptors to wait on, each with a number of the caller's choice.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An empty set.
    pub fn new() -> Result<Self> {
        // SAFETY: no memory is passed.
        call_fd("epoll_create1", || unsafe {
            i64::from(libc::epoll_create1(libc::EPOLL_CLOEXEC))
        })
        .map(Self)
    }

    /// Waits on `fd` being readable from now on.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: `event` outlives the call.
        call("epoll_ctl", || unsafe {
            i64::from(libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &mut event,
            ))
        })
        .map(drop)
    }

    /// Stops waiting on `fd`.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> Result<()> {
        // SAFETY: a null event is what EPOLL_CTL_DEL takes.
        call("epoll_ctl", || unsafe {
            i64::from(libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd.as_raw_fd(),
                ptr::null_mut(),
            ))
        })
        .map(drop)
    }

    /// The set's own descriptor, readable when one of its members is ready.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Waits at most `timeout_ms` (negative: without end) and returns the tokens of what is
    /// ready. A signal that interrupts counts as nothing ready.
    pub fn wait(&self, timeout_ms: i32) -> Result<Vec<u64>> {
        const MAX: usize = 16;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MAX];
        // SAFETY: there is room for MAX events.
        let r = call("epoll_wait", || unsafe {
            i64::from(libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                MAX as i32,
                timeout_ms,
            ))
        });
        match r {
            Ok(n) => Ok(events[..n as usize].iter().map(|e| e.u64).collect()),
            Err(e) if e.errno() == Some(libc::EINTR) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}

/// Signals that arrive as readable bytes instead of interrupting; dropped, it restores the
/// thread's signal mask. Threads started in between inherit the blocked signals.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
    old: libc::sigset_t,
}

impl Signals {
    /// Takes over `signals` for this thread.
    pub fn new(signals: &[i32]) -> Result<Self> {
        // SAFETY: sigset_t is plain data, made valid by sigemptyset at once.
        let (mut set, mut old): (libc::sigset_t, libc::sigset_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: both sets are ours.
        unsafe {
            libc::sigemptyset(&mut set);
            libc::sigemptyset(&mut old);
            for &s in signals {
                libc::sigaddset(&mut set, s);
            }
            // Fails only for a wrong first argument.
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut old);
        }
        // SAFETY: `set` outlives the call.
        let fd = call_fd("signalfd", || unsafe {
            i64::from(libc::signalfd(
                -1,
                &set,
                libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
            ))
        });
        match fd {
            Ok(fd) => Ok(Self { fd, old }),
            Err(e) => {
                // SAFETY: `old` is the mask of a moment ago.
                unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, ptr::null_mut()) };
                Err(e)
            }
        }
    }

    /// The next signal that arrived, if any.
    pub fn next(&self) -> Result<Option<i32>> {
        // SAFETY: signalfd_siginfo is plain data.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let len = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is `len` bytes long.
        let r = retry(|| {
            call("read(signalfd)", || unsafe {
                libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), len) as i64
            })
        });
        match r {
            Ok(n) if n as usize == len => Ok(Some(info.ssi_signo as i32)),
            Ok(_) => Ok(None),
            Err(e) if e.errno() == Some(libc::EAGAIN) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The descriptor to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // A signal that came too late to be read must not kill us now that it is unblocked.
        while let Ok(Some(_)) = self.next() {}
        // SAFETY: `old` is the mask from before `new`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.old, ptr::null_mut()) };
    }
}

/// A descriptor that becomes readable when process `pid` (a thread group leader) has ended
/// (Linux 5.3).
pub fn pidfd_open(pid: u32) -> Result<OwnedFd> {
    // SAFETY: no memory is passed.
    call_fd("pidfd_open", || unsafe {
        libc::syscall(libc::SYS_pidfd_open, pid as i32, 0)
    })
}
