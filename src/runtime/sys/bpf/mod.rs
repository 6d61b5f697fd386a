//! bpf(2), by way of libbpf's low-level wrappers: maps, programs, types and links.

mod btf;
mod link;
mod map;
mod prog;

use std::ffi::CString;
use std::path::Path;

use libbpf_sys as lib;

use super::call;
use crate::error::{Error, Result};

pub use btf::{btf_load, module_btf, prog_btf};
pub use link::{
    UprobeMulti, iter_create, link_iter, link_kprobe_multi, link_perf_event, link_tracing,
    link_uprobe_multi, pin, raw_tracepoint_open, raw_tracepoint_open_btf,
    uprobe_multi_knows_processes,
};
pub use map::{Map, MapTypes};
pub use prog::{
    AttachTarget, FuncRecord, LineRecord, ProgSpec, ProgStats, empty_program, enable_stats,
    prog_by_id, prog_load, prog_stats, test_run,
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

/// Keeps libbpf from writing to standard error; errors come back as values.
fn silence() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: libbpf stores the (null) callback atomically.
    ONCE.call_once(|| unsafe {
        lib::libbpf_set_print(None);
        // Charging to the memory cgroup replaced RLIMIT_MEMLOCK in 5.11; `raise_memlock` serves
        // older kernels, and libbpf's own detection would cost a program load.
        lib::libbpf_set_memlock_rlim(0);
    });
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
