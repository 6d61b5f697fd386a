//! Closing what the kernel takes long to release, and releases whole only if nobody is killed
//! meanwhile.
//!
//! Two things make closing hard. The kernel waits: 40 ms for a link on a perf event, up to 300 ms
//! for an event. And a task with a fatal signal pending cannot take breakpoints out of other
//! processes (see [`aside`](super::aside)): killed while it closes, it leaves them there for good.
//!
//! So nothing is closed here. What is to be released goes to copies of this process, and the end
//! of a copy releases it: a process that has begun to end takes no signal any more. Threads of
//! the copy have tables of descriptors of their own, which all end at the same time.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{call, retry};

/// Descriptors whose closing makes the kernel wait.
#[derive(Debug, Default)]
pub struct Slow {
    /// BPF links on perf events, and the events: 40 ms for a link, up to 300 ms for an event.
    pub perf: Vec<(OwnedFd, OwnedFd)>,
    /// Other links: what they do is over when they are released.
    pub others: Vec<OwnedFd>,
}

/// Longest wait for a program to be off.
const OFF_TIMEOUT: Duration = Duration::from_millis(500);

/// Tables of descriptors of one copy: each waits for grace periods of the kernel, which they
/// share.
const TABLES: usize = 128;

/// Stack of a thread that does nothing but hold descriptors.
const STACK: usize = 64 << 10;

/// Releases everything. Returns once the `others` are released and, of each event, `off` says
/// that the program of its link is gone, while the kernel still waits for whoever may be running
/// it; if `wait`, once the kernel has released all.
///
/// The copies keep nothing else open: nobody who waits for our output to end waits for them.
///
/// # Errors
/// No process or no descriptors are to be had; then everything comes back, open.
pub fn release(slow: Slow, wait: bool, off: impl Fn(BorrowedFd<'_>) -> bool) -> Result<(), Slow> {
    let numbers = |fds: &mut dyn Iterator<Item = &OwnedFd>| fds.map(|f| f.as_raw_fd()).collect();
    let of_others: Vec<RawFd> = numbers(&mut slow.others.iter());
    let of_links: Vec<RawFd> = numbers(&mut slow.perf.iter().map(|(link, _)| link));
    let of_events: Vec<RawFd> = numbers(&mut slow.perf.iter().map(|(_, event)| event));
    // Where not all are to be had, the others end while we still have what they hold: nothing is
    // released by that.
    let (Ok(others), Ok(links), Ok(events)) = (
        Copy::holding(&of_others),
        Copy::holding(&of_links),
        Copy::holding(&of_events),
    ) else {
        return Err(slow);
    };
    let (our_links, our_events): (Vec<_>, Vec<_>) = slow.perf.into_iter().unzip();
    // Not the last references: this takes no time.
    drop((slow.others, our_links));
    let others = others.map(Copy::end);
    let links = links.map(Copy::end);
    if let Some(ending) = others {
        ending.wait();
    }
    for event in &our_events {
        let start = Instant::now();
        // The bound is for kernels that do not tell; it is never reached otherwise.
        while !off(event.as_fd()) && start.elapsed() < OFF_TIMEOUT {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    if wait && let Some(ending) = links {
        ending.wait();
    }
    drop(our_events);
    let events = events.map(Copy::end);
    if wait && let Some(ending) = events {
        ending.wait();
    }
    Ok(())
}

impl Slow {
    /// Closes everything here and now, one by one.
    pub fn close(self) {
        drop(self.others);
        // Links first: the programs stop early, and events may take long.
        let (links, events): (Vec<_>, Vec<_>) = self.perf.into_iter().unzip();
        drop(links);
        drop(events);
    }
}

/// A forked copy of this process that holds descriptors until it is told to end.
struct Copy {
    pid: i32,
    /// The copy ends when this does, by our hand or with us.
    say: std::io::PipeWriter,
}

/// A copy that was told to end.
struct Ending {
    pid: i32,
}

impl Copy {
    /// A copy with these descriptors; none if there are none.
    fn holding(fds: &[RawFd]) -> Result<Option<Copy>, ()> {
        if fds.is_empty() {
            return Ok(None);
        }
        let (heard, say) = std::io::pipe().map_err(drop)?;
        // SAFETY: the child runs `hold` only, which takes no lock that another thread of ours
        // could hold (the C library makes its allocator usable after fork), and never returns.
        match call("fork", || unsafe { i64::from(libc::fork()) }) {
            Err(_) => Err(()),
            Ok(0) => {
                drop(say);
                hold(fds, heard)
            }
            Ok(pid) => Ok(Some(Copy {
                pid: pid as i32,
                say,
            })),
        }
    }

    fn end(self) -> Ending {
        drop(self.say);
        Ending { pid: self.pid }
    }
}

impl Ending {
    /// Returns when all that it held is released.
    fn wait(self) {
        // SAFETY: no status is asked for. (An error: somebody else has waited for it.)
        let _ = retry(|| {
            call("waitpid", || unsafe {
                i64::from(libc::waitpid(self.pid, std::ptr::null_mut(), 0))
            })
        });
    }
}

/// The copy's work: each share of the descriptors gets into a table of its own, and all end at
/// once.
fn hold(fds: &[RawFd], mut heard: std::io::PipeReader) -> ! {
    let size = fds.len().div_ceil(TABLES);
    let mut shares = fds.chunks(size);
    let first = shares.next().unwrap_or_default();
    let (tell, told) = mpsc::channel();
    let mut threads = 0;
    for share in shares {
        let (share, tell) = (share.to_vec(), tell.clone());
        let started = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                // SAFETY: no memory is passed; from here on this thread has a table of its own.
                let own = call("unshare", || unsafe {
                    i64::from(libc::unshare(libc::CLONE_FILES))
                });
                if own.is_ok() {
                    close_all_but(&share);
                }
                let _ = tell.send(own.is_ok());
                loop {
                    std::thread::park();
                }
            });
        threads += usize::from(started.is_ok());
    }
    drop(tell);
    let own = told.iter().take(threads).filter(|own| *own).count();
    let mut keep = vec![heard.as_raw_fd()];
    match own + 1 == fds.chunks(size).len() {
        true => keep.extend(first),
        // Without tables for all, this one holds all: releasing takes longer.
        false => keep.extend(fds),
    }
    close_all_but(&keep);
    let _ = std::io::Read::read(&mut heard, &mut [0]);
    // SAFETY: ends the copy without running anything registered for our own exit.
    unsafe { libc::_exit(0) }
}

/// Closes all descriptors of this thread's table but these.
fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().map(|&fd| fd as u32).collect();
    keep.sort_unstable();
    let mut from = 0;
    for fd in keep.iter().copied().chain([u32::MAX]) {
        // SAFETY: the copy uses none of these again, and ends without dropping what owns them.
        let closed = |from: u32, to: u32| {
            call("close_range", || unsafe {
                libc::syscall(libc::SYS_close_range, from, to, 0)
            })
        };
        if fd > from && closed(from, fd - 1).is_err() {
            return close_listed(&keep);
        }
        from = fd.saturating_add(1);
    }
}

/// The same before Linux 5.9.
fn close_listed(keep: &[u32]) {
    // The table of this thread, not of its process.
    let Ok(listed) = std::fs::read_dir("/proc/thread-self/fd") else {
        return;
    };
    let listed: Vec<u32> = listed
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in listed {
        if keep.binary_search(&fd).is_err() {
            // SAFETY: as above. (That of the listing is closed already.)
            unsafe { libc::close(fd as RawFd) };
        }
    }
}
