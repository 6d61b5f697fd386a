//! bpf(2): maps, programs, types and links.
//!
//! By way of libbpf's low-level wrappers, but for what every run does, creating maps and loading
//! types and programs: there libbpf tries the kernel's features out by loads of its own first.

mod btf;
mod link;
mod map;
mod prog;

use std::ffi::{CStr, CString};
use std::path::Path;

use libbpf_sys as lib;

use super::call;
use crate::error::{Error, Result};

pub use btf::{btf_load, module_btf};
pub use link::{
    UprobeMulti, iter_create, link_iter, link_kprobe_multi, link_perf_event, link_tracing,
    link_uprobe_multi, pin, raw_tracepoint_open, raw_tracepoint_open_btf,
    uprobe_multi_knows_processes,
};
pub use map::{Map, MapTypes};
pub use prog::{
    AttachTarget, FuncRecord, LineRecord, ProgSpec, ProgStats, empty_program, enable_stats,
    prog_load, prog_stats, test_run,
};

/// The kernel's BPF_OBJ_NAME_LEN without the final zero.
const NAME_MAX: usize = lib::BPF_OBJ_NAME_LEN as usize - 1;

/// `name` as the kernel takes it: letters, digits, `_` and `.`, at most 15 of them.
pub fn kernel_name(name: &str) -> CString {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            c as u8
        } else {
            b'_'
        }
    };
    let name = name.strip_prefix('@').unwrap_or(name);
    let bytes: Vec<u8> = name.chars().take(NAME_MAX).map(safe).collect();
    CString::new(bytes).expect("no zero byte is among the safe characters")
}

fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(format!("{}: zero byte in path", path.display())))
}

/// The system call.
///
/// # Safety
/// What `attr` points to must be as `command` wants it and outlive the call.
unsafe fn bpf(command: lib::bpf_cmd, attr: &mut lib::bpf_attr) -> i64 {
    // SAFETY: the size is that of `attr`; older kernels take a longer one whose rest is zero.
    // What it points to is the caller's promise.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<lib::bpf_attr>(),
        )
    }
}

/// Attributes of a command, zero but for what `set` sets.
fn attributes(set: impl FnOnce(&mut lib::bpf_attr)) -> lib::bpf_attr {
    // SAFETY: a union of plain data; zero is valid for each of them. Gaps are zero as well.
    let mut attr = unsafe { std::mem::zeroed() };
    set(&mut attr);
    attr
}

/// A name of at most [`NAME_MAX`] bytes as attributes hold it, zero-terminated.
fn object_name(name: &CStr) -> [libc::c_char; NAME_MAX + 1] {
    let mut out = [0; NAME_MAX + 1];
    let bytes = name.to_bytes().iter().take(NAME_MAX);
    out.iter_mut().zip(bytes).for_each(|(o, b)| *o = *b as _);
    out
}

/// Lifts RLIMIT_MEMLOCK, which before Linux 5.11 bounds BPF memory. Failure is of no account:
/// the caller's next attempt shows whether it mattered.
pub fn raise_memlock() {
    let all = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: `all` outlives the call.
    let _ = call("setrlimit", || unsafe {
        i64::from(libc::setrlimit(libc::RLIMIT_MEMLOCK, &all))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_safe_and_cut() {
        assert_eq!(kernel_name("@lat:x").as_bytes(), b"lat_x");
        assert_eq!(
            kernel_name("uprobe_/usr/bin/node").as_bytes(),
            b"uprobe__usr_bin"
        );
        assert_eq!(kernel_name("é").as_bytes(), b"_");
    }
}
