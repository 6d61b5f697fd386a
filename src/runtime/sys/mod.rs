//! The kernel seam: every system call of the runtime, and the only unsafe code in it.
//!
//! One file per family: [`bpf`] (maps, programs, links), [`perf`] (perf events), [`mem`] (shared
//! mappings), [`wait`] (epoll, signals, processes as descriptors), [`process`] (ptrace,
//! capabilities), [`release`] and [`aside`] (what must not be cut short by SIGKILL). Functions take and return plain values and owned descriptors; they add no
//! policy and no retries except after EINTR.
//!
//! Every call passes through [`call`], where unit tests make it fail: see [`fake`].

mod aside;
pub mod bpf;
#[cfg(test)]
pub mod fake;
pub mod mem;
pub mod perf;
pub mod process;
pub mod release;
pub mod tty;
pub mod wait;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use crate::error::{Error, ErrorExt, Result};

/// The kernel's own errno for what it cannot do (with a function, an instruction); no C library
/// knows it.
pub const ENOTSUPP: i32 = 524;

/// Makes one system call (or libbpf's thin wrapper of one): `f` returns a negative number and
/// leaves `errno` where the kernel refuses. `name` is how tests refer to it.
fn call(name: &'static str, f: impl FnOnce() -> i64) -> Result<i64> {
    #[cfg(test)]
    if let Some(errno) = fake::failure(name) {
        return Err(Error::from_errno(errno));
    }
    // A name that only tests look at.
    let _ = name;
    match f() {
        n if n >= 0 => Ok(n),
        _ => Err(Error::last_os()),
    }
}

/// As [`call`], for calls that return a new descriptor.
fn call_fd(name: &'static str, f: impl FnOnce() -> i64) -> Result<OwnedFd> {
    let n = call(name, f)?;
    let fd = RawFd::try_from(n).map_err(|_| Error::invalid("descriptor out of range"))?;
    // SAFETY: the call that just succeeded returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Repeats `f` while a signal interrupts it.
fn retry<T>(mut f: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match f() {
            Err(e) if e.errno() == Some(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// Number of CPUs that may ever be online: how many values an entry of a per-CPU map has.
///
/// # Errors
/// sysfs is not mounted.
pub fn possible_cpus() -> Result<usize> {
    static COUNT: OnceLock<usize> = OnceLock::new();
    if let Some(&n) = COUNT.get() {
        return Ok(n);
    }
    // The kernel numbers values by CPU, so a gap in the list still takes a place.
    let last = cpu_list("/sys/devices/system/cpu/possible")?
        .last()
        .copied();
    let n = last.map_or(1, |c| c as usize + 1);
    Ok(*COUNT.get_or_init(|| n))
}

/// Numbers of the CPUs that are online now, ascending.
///
/// # Errors
/// sysfs is not mounted.
pub fn online_cpus() -> Result<Vec<u32>> {
    cpu_list("/sys/devices/system/cpu/online")
}

fn cpu_list(path: &str) -> Result<Vec<u32>> {
    let text = std::fs::read_to_string(path).context(path)?;
    parse_cpu_list(&text).ok_or_else(|| Error::invalid(format!("{path}: not a list of CPUs")))
}

/// Parses `0-3,8`.
fn parse_cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut out = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        out.extend(a.parse::<u32>().ok()?..=b.parse().ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_have_ranges_and_gaps() {
        assert_eq!(parse_cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_cpu_list("0\n"), Some(vec![0]));
        assert_eq!(parse_cpu_list("x"), None);
    }

    #[test]
    fn a_faked_failure_is_an_error_with_its_errno() {
        let _guard = fake::fail_once("close_range", 0, libc::ENOMEM);
        let e = call("close_range", || 0).unwrap_err();
        assert_eq!(e.errno(), Some(libc::ENOMEM));
        assert!(call("close_range", || 0).is_ok());
    }
}
