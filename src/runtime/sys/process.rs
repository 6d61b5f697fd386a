//! Processes: starting one that waits at its first instruction, signals, capabilities.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

use super::{call, retry};
use crate::error::{Error, Result};

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Our effective user id.
pub fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Raises the number of files that this process may open to what `more` files need.
///
/// # Errors
/// It may not, and how many it may open.
pub fn allow_descriptors(more: usize) -> std::result::Result<(), u64> {
    /// What a process has anyway, or opens besides.
    const OTHERS: u64 = 256;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Ok(());
    }
    let wanted = more as u64 + OTHERS;
    if limit.rlim_cur >= wanted {
        return Ok(());
    }
    let highest = libc::rlimit {
        rlim_cur: wanted,
        rlim_max: limit.rlim_max.max(wanted),
    };
    // More than the hard limit takes CAP_SYS_RESOURCE.
    let up_to_hard = libc::rlimit {
        rlim_cur: wanted.min(limit.rlim_max),
        rlim_max: limit.rlim_max,
    };
    // SAFETY: `highest` outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &highest) } == 0 {
        return Ok(());
    }
    // SAFETY: `up_to_hard` outlives the call.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &up_to_hard) } == 0;
    match raised && up_to_hard.rlim_cur == wanted {
        true => Ok(()),
        false => Err(limit.rlim_max),
    }
}

/// The groups of the user `name`, whose own is `gid`; that one alone if nobody has this name.
pub fn groups_of(name: &str, gid: u32) -> Vec<u32> {
    /// Most groups that are asked for: `NGROUPS_MAX`.
    const MOST: i32 = 65536;
    let Ok(name) = std::ffi::CString::new(name) else {
        return vec![gid];
    };
    let mut groups = vec![gid; 64];
    loop {
        let mut n = groups.len() as i32;
        // SAFETY: `name` ends in NUL, and `groups` has room for `n` ids.
        let got = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &mut n) };
        let n = n.clamp(0, MOST) as usize;
        if got >= 0 {
            groups.truncate(n);
            return groups;
        }
        if n <= groups.len() {
            return vec![gid];
        }
        groups.resize(n, gid);
    }
}

/// Starts `command`, as `user` if there is one, stopped before its first instruction. It dies
/// with us while it is stopped.
///
/// # Errors
/// The program cannot be executed, tracing is forbidden, or we may not become `user`.
pub fn spawn_stopped(mut command: Command, user: Option<User>) -> Result<Child> {
    let become_user = move || {
        let Some(user) = &user else { return 0 };
        // SAFETY: `groups` outlives the call; the others take numbers. Groups go first: the
        // right to change them goes with the user id.
        unsafe {
            let set = libc::setgroups(user.groups.len(), user.groups.as_ptr());
            if set != 0 || libc::setresgid(user.gid, user.gid, user.gid) != 0 {
                return -1;
            }
            libc::setresuid(user.uid, user.uid, user.uid)
        }
    };
    let tracer = std::process::id() as i32;
    // SAFETY: the closure makes system calls only, and setgroups, setresgid and setresuid of a
    // child with one thread take no lock; a forked child needs that.
    unsafe {
        command.pre_exec(move || {
            if become_user() == 0 && libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0 {
                // Killed meanwhile, we left it to init, which would never let it run.
                if libc::getppid() != tracer {
                    libc::_exit(1);
                }
                return Ok(());
            }
            Err(std::io::Error::last_os_error())
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

/// Sends a signal to the calling thread.
#[cfg(test)]
pub fn raise(signal: i32) -> Result<()> {
    // SAFETY: no memory is passed.
    call("raise", || unsafe { i64::from(libc::raise(signal)) }).map(drop)
}

/// How a process ended, in the way of shells: its code, or 128 + the signal.
pub fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|s| 128 + s))
        .unwrap_or(0)
}

/// A Linux capability that some probe needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// Write where others may not: captures of packets.
    DacOverride = 1,
    /// Read what others may not: files with symbols, tracefs.
    DacReadSearch = 2,
    /// End a command that runs as another user.
    Kill = 5,
    /// Trace other users' processes; with Linux before 5.8 also everything below.
    SysAdmin = 21,
    /// Attach to processes of other users (`-p`, `-c` of set-uid programs).
    SysPtrace = 19,
    /// Lift memory limits (needed before Linux 5.11).
    SysResource = 24,
    /// Addresses of kernel symbols.
    Syslog = 34,
    /// perf events and reading kernel memory (Linux 5.8).
    Perfmon = 38,
    /// Load maps and programs (Linux 5.8).
    Bpf = 39,
}

impl Capability {
    /// The name as in capabilities(7).
    pub fn name(self) -> &'static str {
        match self {
            Capability::DacOverride => "CAP_DAC_OVERRIDE",
            Capability::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Capability::Kill => "CAP_KILL",
            Capability::Syslog => "CAP_SYSLOG",
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
/// A filter of system calls forbids the question.
pub fn effective_capabilities() -> Result<u64> {
    /// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h): 64 bits in two words of each set.
    const VERSION: u32 = 0x2008_0522;
    // { version, pid }; pid 0 is the caller.
    let mut header = [VERSION, 0];
    // { effective, permitted, inheritable }, low words first.
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: header and sets have the layout of this version and outlive the call.
    call("capget", || unsafe {
        libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr())
    })?;
    Ok(u64::from(sets[1][0]) << 32 | u64::from(sets[0][0]))
}

/// Gives up the capabilities of the calling thread, and of the threads it starts from now on,
/// that are not in `keep`, for good.
///
/// # Errors
/// The kernel refuses to tell or to set them.
pub fn keep_capabilities(keep: u64) -> Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits, in two halves.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut sets = [Half::default(); 2];
    // SAFETY: both outlive the call and have the layout of this version.
    call("capget", || unsafe {
        libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr())
    })?;
    for (half, keep) in sets.iter_mut().zip([keep as u32, (keep >> 32) as u32]) {
        half.effective &= keep;
        half.permitted &= keep;
    }
    // SAFETY: as above; the kernel only reads them.
    call("capset", || unsafe {
        libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr())
    })
    .map(drop)
}

/// Whether the process has `cap`, or all-powerful CAP_SYS_ADMIN in its place.
pub fn has(cap: Capability, effective: u64) -> bool {
    let bit = |c: Capability| (effective >> (c as u32)) & 1 == 1;
    let implied = matches!(cap, Capability::Bpf | Capability::Perfmon);
    bit(cap) || (implied && bit(Capability::SysAdmin))
}
