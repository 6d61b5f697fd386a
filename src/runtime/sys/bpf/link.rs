//! Links: what keeps a program attached.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;

use libbpf_sys as lib;

use super::c_path;
use super::prog::trivial;
use crate::error::{Error, Result};
use crate::runtime::sys::aside::aside;
use crate::runtime::sys::{call, call_fd};

/// Gives a link or a program the name `path` in the BPF file system.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let path = c_path(path)?;
    // SAFETY: `path` outlives the call.
    call("BPF_OBJ_PIN", || unsafe {
        i64::from(lib::bpf_obj_pin(fd.as_raw_fd(), path.as_ptr()))
    })
    .map(drop)
}

fn link_opts() -> lib::bpf_link_create_opts {
    lib::bpf_link_create_opts {
        sz: size_of::<lib::bpf_link_create_opts>() as _,
        ..Default::default()
    }
}

/// # Safety
/// Everything that `opts` points to must be valid for the call.
unsafe fn link_create(
    prog: BorrowedFd<'_>,
    target: i32,
    attach_type: lib::bpf_attach_type,
    opts: &lib::bpf_link_create_opts,
) -> Result<OwnedFd> {
    // SAFETY: the caller vouches for `opts`.
    call_fd("BPF_LINK_CREATE", || unsafe {
        i64::from(lib::bpf_link_create(
            prog.as_raw_fd(),
            target,
            attach_type,
            opts,
        ))
    })
}

/// Attaches a program to a perf event (Linux 5.15).
pub fn link_perf_event(
    prog: BorrowedFd<'_>,
    event: BorrowedFd<'_>,
    cookie: u64,
) -> Result<OwnedFd> {
    let mut opts = link_opts();
    opts.__bindgen_anon_1.perf_event.bpf_cookie = cookie;
    // SAFETY: `opts` holds no pointers.
    unsafe { link_create(prog, event.as_raw_fd(), lib::BPF_PERF_EVENT, &opts) }
}

/// Attaches a tracing program to what it was loaded for; `attach_type` as at load. Cookies
/// need Linux 5.18 (fentry, fexit) or 6.10 (`BPF_TRACE_RAW_TP`).
pub fn link_tracing(
    prog: BorrowedFd<'_>,
    attach_type: lib::bpf_attach_type,
    cookie: u64,
) -> Result<OwnedFd> {
    let mut opts = link_opts();
    opts.__bindgen_anon_1.tracing.cookie = cookie;
    // SAFETY: `opts` holds no pointers.
    unsafe { link_create(prog, 0, attach_type, &opts) }
}

/// Attaches an iterator program to its iterator.
pub fn link_iter(prog: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: `opts` holds no pointers.
    unsafe { link_create(prog, 0, lib::BPF_TRACE_ITER, &link_opts()) }
}

/// A file whose reading runs the iterator of `link`.
pub fn iter_create(link: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: no memory is passed.
    call_fd("BPF_ITER_CREATE", || unsafe {
        i64::from(lib::bpf_iter_create(link.as_raw_fd()))
    })
}

/// Many places of one user file for one program. The vectors are equally long.
#[derive(Debug, Default)]
pub struct UprobeMulti {
    /// File offsets.
    pub offsets: Vec<u64>,
    /// File offsets of semaphores, 0 for none.
    pub semaphores: Vec<u64>,
    /// Cookies.
    pub cookies: Vec<u64>,
}

/// Attaches a program, loaded with `BPF_TRACE_UPROBE_MULTI`, to many places (Linux 6.6).
/// `pid` 0 means every process.
pub fn link_uprobe_multi(
    prog: BorrowedFd<'_>,
    path: &Path,
    pid: u32,
    places: &UprobeMulti,
    ret: bool,
) -> Result<OwnedFd> {
    let n = places.offsets.len();
    if places.semaphores.len() != n || places.cookies.len() != n {
        return Err(Error::invalid("uneven arrays for a multi link"));
    }
    let path = c_path(path)?;
    let mut opts = link_opts();
    let semaphores = if places.semaphores.iter().any(|&s| s != 0) {
        places.semaphores.as_ptr().cast()
    } else {
        ptr::null()
    };
    opts.__bindgen_anon_1.uprobe_multi = lib::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
        flags: if ret {
            lib::BPF_F_UPROBE_MULTI_RETURN
        } else {
            0
        },
        cnt: n as u32,
        path: path.as_ptr(),
        offsets: places.offsets.as_ptr().cast(),
        ref_ctr_offsets: semaphores,
        cookies: places.cookies.as_ptr(),
        pid,
        ..Default::default()
    };
    // SAFETY: path and arrays outlive the call and the arrays have `cnt` elements.
    call_fd("BPF_LINK_CREATE", || {
        aside(|| unsafe {
            let kind = lib::BPF_TRACE_UPROBE_MULTI;
            i64::from(lib::bpf_link_create(prog.as_raw_fd(), 0, kind, &opts))
        })
    })
}

/// Attaches a program, loaded with `BPF_TRACE_KPROBE_MULTI`, to many kernel functions by name
/// (Linux 5.18). `symbols` and `cookies` are equally long.
pub fn link_kprobe_multi(
    prog: BorrowedFd<'_>,
    symbols: &[CString],
    cookies: &[u64],
    ret: bool,
) -> Result<OwnedFd> {
    if symbols.len() != cookies.len() {
        return Err(Error::invalid("uneven arrays for a multi link"));
    }
    let mut names: Vec<_> = symbols.iter().map(|s| s.as_ptr()).collect();
    let mut opts = link_opts();
    opts.__bindgen_anon_1.kprobe_multi = lib::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_2 {
        flags: if ret {
            lib::BPF_F_KPROBE_MULTI_RETURN
        } else {
            0
        },
        cnt: names.len() as u32,
        syms: names.as_mut_ptr(),
        cookies: cookies.as_ptr(),
        ..Default::default()
    };
    // SAFETY: the arrays outlive the call and have `cnt` elements.
    unsafe { link_create(prog, 0, lib::BPF_TRACE_KPROBE_MULTI, &opts) }
}

/// Attaches a program to a raw tracepoint; a cookie needs Linux 6.10.
pub fn raw_tracepoint_open(prog: BorrowedFd<'_>, name: &CStr, cookie: u64) -> Result<OwnedFd> {
    let mut opts = lib::bpf_raw_tp_opts {
        sz: size_of::<lib::bpf_raw_tp_opts>() as _,
        tp_name: name.as_ptr(),
        cookie,
    };
    // SAFETY: `name` outlives the call.
    call_fd("BPF_RAW_TRACEPOINT_OPEN", || unsafe {
        i64::from(lib::bpf_raw_tracepoint_open_opts(
            prog.as_raw_fd(),
            &mut opts,
        ))
    })
}

/// Attaches a tracing program to what it was loaded for, the way of kernels before
/// [`link_tracing`] (Linux 5.5).
pub fn raw_tracepoint_open_btf(prog: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: a null name means the target given at load.
    call_fd("BPF_RAW_TRACEPOINT_OPEN", || unsafe {
        i64::from(lib::bpf_raw_tracepoint_open(ptr::null(), prog.as_raw_fd()))
    })
}

/// Whether the pid of [`link_uprobe_multi`] means a process: at first (Linux 6.6 to 6.9) it
/// meant a thread, and the others of its process were missed. Asked once.
pub fn uprobe_multi_knows_processes() -> bool {
    static KNOWS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *KNOWS.get_or_init(|| {
        let Ok(prog) = trivial(lib::BPF_PROG_TYPE_KPROBE, lib::BPF_TRACE_UPROBE_MULTI) else {
            return false;
        };
        let one = UprobeMulti {
            offsets: vec![0],
            semaphores: vec![0],
            cookies: vec![0],
        };
        // The kernels that know refuse -1 before they look at the file; the others find that a
        // directory cannot be probed (EBADF).
        let r = link_uprobe_multi(prog.as_fd(), Path::new("/"), u32::MAX, &one, false);
        r.is_err_and(|e| e.errno() == Some(libc::EINVAL))
    })
}
