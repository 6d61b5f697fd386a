//! Processes: starting one that waits at its first instruction, signals, capabilities, and the
//! fork that takes over slow clean-up.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

use super::{call, retry};
use crate::error::{Error, Result};

/// Starts `command`, stopped before its first instruction. It dies with us while it is stopped.
///
/// # Errors
/// The program cannot be executed, or tracing is forbidden.
pub fn spawn_stopped(mut command: Command) -> Result<Child> {
    // SAFETY: ptrace(PTRACE_TRACEME) is async-signal-safe, as a forked child needs.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn()?;
    let pid = child.id() as i32;
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    retry(|| {
        call("waitpid", || unsafe {
            i64::from(libc::waitpid(pid, &mut status, libc::__WALL))
        })
    })?;
    if !libc::WIFSTOPPED(status) {
        return Err(Error::invalid("the command ended before it began"));
    }
    // Best effort: without it a stopped child outlives us if we are killed right now.
    // SAFETY: options are passed by value.
    let _ = call("ptrace", || unsafe {
        libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::PTRACE_O_EXITKILL)
    });
    Ok(child)
}

/// Lets a process that [`spawn_stopped`] started run. Must be called by the same thread.
pub fn resume(child: &Child) -> Result<()> {
    // SAFETY: no memory is passed; signal 0 swallows the stop's SIGTRAP.
    call("ptrace", || unsafe {
        libc::ptrace(libc::PTRACE_DETACH, child.id() as i32, 0, 0)
    })
    .map(drop)
}

/// Sends a signal.
pub fn kill(pid: u32, signal: i32) -> Result<()> {
    // SAFETY: no memory is passed.
    call("kill", || unsafe {
        i64::from(libc::kill(pid as i32, signal))
    })
    .map(drop)
}

/// How a process ended, in the way of shells: its code, or 128 + the signal.
pub fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|s| 128 + s))
        .unwrap_or(0)
}

/// Ends the process at once with `code` while a forked copy of it holds on to all descriptors
/// and closes them in the background: closing a perf event can take the kernel 300 ms, and
/// whoever waits for us need not. The copy lets go of `release` (standard streams, output
/// files) first, so that nobody waits for an end of file either.
///
/// Everything must be flushed: neither buffers nor destructors run.
pub fn exit_leaving_descriptors(code: i32, release: &[BorrowedFd<'_>]) -> ! {
    // Readable once all of this process is gone, and its references to descriptors with it: a
    // copy that closed earlier would leave the work to us.
    let gone = super::wait::pidfd_open(std::process::id());
    if let Ok(gone) = gone
        // SAFETY: fork has no preconditions; the child calls async-signal-safe functions only.
        && let Ok(0) = call("fork", || unsafe { i64::from(libc::fork()) })
    {
        for fd in release {
            // SAFETY: we are about to exit and use none of them again.
            unsafe { libc::close(fd.as_raw_fd()) };
        }
        let mut poll = libc::pollfd {
            fd: gone.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `poll` is one entry and outlives the call; _exit ends the process.
        unsafe {
            while libc::poll(&mut poll, 1, -1) < 0 && *libc::__errno_location() == libc::EINTR {}
            libc::_exit(0)
        }
    }
    // Without a copy the exit itself closes everything, and takes as long as it takes.
    // SAFETY: ends the process without running destructors, as documented.
    unsafe { libc::_exit(code) }
}

/// A Linux capability that some probe needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// Trace other users' processes; with Linux before 5.8 also everything below.
    SysAdmin = 21,
    /// Attach to processes of other users (`-p`, `-c` of set-uid programs).
    SysPtrace = 19,
    /// Lift memory limits (needed before Linux 5.11).
    SysResource = 24,
    /// perf events and reading kernel memory (Linux 5.8).
    Perfmon = 38,
    /// Load maps and programs (Linux 5.8).
    Bpf = 39,
}

impl Capability {
    /// The name as in capabilities(7).
    pub fn name(self) -> &'static str {
        match self {
            Capability::SysAdmin => "CAP_SYS_ADMIN",
            Capability::SysPtrace => "CAP_SYS_PTRACE",
            Capability::SysResource => "CAP_SYS_RESOURCE",
            Capability::Perfmon => "CAP_PERFMON",
            Capability::Bpf => "CAP_BPF",
        }
    }
}

/// The process's effective capabilities, one bit each.
///
/// # Errors
/// /proc is not mounted.
pub fn effective_capabilities() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    text.lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|h| u64::from_str_radix(h.trim(), 16).ok())
        .ok_or_else(|| Error::invalid("no CapEff in /proc/self/status"))
}

/// Whether the process has `cap`, or all-powerful CAP_SYS_ADMIN in its place.
pub fn has(cap: Capability, effective: u64) -> bool {
    let bit = |c: Capability| (effective >> (c as u32)) & 1 == 1;
    let implied = matches!(cap, Capability::Bpf | Capability::Perfmon);
    bit(cap) || (implied && bit(Capability::SysAdmin))
}
