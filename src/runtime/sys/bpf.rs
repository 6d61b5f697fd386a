//! bpf(2): maps, programs, BTF and links, by way of libbpf's low-level wrappers.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;

use libbpf_sys as lib;

use super::{call, call_fd, possible_cpus};
use crate::error::{Error, ErrorExt, Result};
use crate::object::{MapDef, MapKind};
use crate::runtime::map::entry_size;

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

/// A map in the kernel, with the sizes that make accesses to it sound.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_size: usize,
    entry_size: usize,
    max_entries: u32,
    kind: MapKind,
}

fn map_type(kind: MapKind) -> lib::bpf_map_type {
    match kind {
        MapKind::Hash => lib::BPF_MAP_TYPE_HASH,
        MapKind::LruHash => lib::BPF_MAP_TYPE_LRU_HASH,
        MapKind::PercpuHash => lib::BPF_MAP_TYPE_PERCPU_HASH,
        MapKind::LruPercpuHash => lib::BPF_MAP_TYPE_LRU_PERCPU_HASH,
        MapKind::Array => lib::BPF_MAP_TYPE_ARRAY,
        MapKind::PercpuArray => lib::BPF_MAP_TYPE_PERCPU_ARRAY,
        MapKind::Ringbuf => lib::BPF_MAP_TYPE_RINGBUF,
        MapKind::TaskStorage => lib::BPF_MAP_TYPE_TASK_STORAGE,
    }
}

/// BTF of a map's key and value, which task storage demands.
#[derive(Clone, Copy, Debug)]
pub struct MapTypes<'a> {
    /// BTF object.
    pub btf: BorrowedFd<'a>,
    /// Type of keys.
    pub key: u32,
    /// Type of values.
    pub value: u32,
}

impl Map {
    /// Creates a map of `max_entries` (the definition's own number is not looked at).
    pub fn create(def: &MapDef, max_entries: u32, types: Option<MapTypes<'_>>) -> Result<Map> {
        silence();
        let cpus = if def.kind.is_percpu() {
            possible_cpus()?
        } else {
            1
        };
        let mut opts = lib::bpf_map_create_opts {
            sz: size_of::<lib::bpf_map_create_opts>() as _,
            map_flags: def.flags,
            ..Default::default()
        };
        if let Some(t) = types {
            opts.btf_fd = t.btf.as_raw_fd() as u32;
            opts.btf_key_type_id = t.key;
            opts.btf_value_type_id = t.value;
        }
        let (key_size, value_size) = match def.kind {
            MapKind::Ringbuf => (0, 0),
            _ => (def.key_size, def.value_size),
        };
        let name = kernel_name(&def.name);
        // SAFETY: `name` and `opts` outlive the call.
        let fd = call_fd("BPF_MAP_CREATE", || unsafe {
            i64::from(lib::bpf_map_create(
                map_type(def.kind),
                name.as_ptr(),
                key_size,
                value_size,
                max_entries,
                &opts,
            ))
        })?;
        Ok(Map {
            fd,
            key_size: key_size as usize,
            entry_size: if def.kind == MapKind::Ringbuf {
                0
            } else {
                entry_size(def, cpus)
            },
            max_entries,
            kind: def.kind,
        })
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Bytes of the values of one entry, all CPUs together.
    pub fn entry_size(&self) -> usize {
        self.entry_size
    }

    /// Most entries (bytes of a ring buffer).
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Kind of map.
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    fn check(&self, key: &[u8], value: Option<usize>) -> Result<()> {
        if key.len() != self.key_size || value.is_some_and(|n| n != self.entry_size) {
            return Err(Error::invalid(format!(
                "map access with {} key and {} value bytes where the map has {} and {}",
                key.len(),
                value.unwrap_or(self.entry_size),
                self.key_size,
                self.entry_size
            )));
        }
        Ok(())
    }

    /// Copies the value of `key` into `value`; `false` where there is no such key.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.check(key, Some(value.len()))?;
        // SAFETY: `check` made sure that key and value are as long as the kernel reads and
        // writes.
        let r = call("BPF_MAP_LOOKUP_ELEM", || unsafe {
            i64::from(lib::bpf_map_lookup_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
                value.as_mut_ptr().cast(),
            ))
        });
        found(r)
    }

    /// Sets the value of `key`.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.check(key, Some(value.len()))?;
        // SAFETY: as in `lookup`; both are only read.
        call("BPF_MAP_UPDATE_ELEM", || unsafe {
            i64::from(lib::bpf_map_update_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
                value.as_ptr().cast(),
                u64::from(lib::BPF_ANY),
            ))
        })
        .map(drop)
    }

    /// Removes `key`; `false` where there is no such key.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check(key, None)?;
        // SAFETY: as in `lookup`.
        let r = call("BPF_MAP_DELETE_ELEM", || unsafe {
            i64::from(lib::bpf_map_delete_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
            ))
        });
        found(r)
    }

    /// Puts the key after `key` (the first where `None` or where `key` is gone) into `next`;
    /// `false` at the end.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        self.check(next, None)?;
        if let Some(k) = key {
            self.check(k, None)?;
        }
        let from = key.map_or(ptr::null(), <[u8]>::as_ptr);
        // SAFETY: as in `lookup`; a null key means the first one.
        let r = call("BPF_MAP_GET_NEXT_KEY", || unsafe {
            i64::from(lib::bpf_map_get_next_key(
                self.fd.as_raw_fd(),
                from.cast(),
                next.as_mut_ptr().cast(),
            ))
        });
        found(r)
    }

    /// Reads up to `keys.len() / key_size` entries and returns how many, and whether there are
    /// more. `cursor` is where to go on and is `None` before the first call. ENOSPC means that
    /// a bucket of the hash has more entries than the buffers hold (Linux 5.6; arrays of
    /// per-CPU values 5.13).
    pub fn lookup_batch(
        &self,
        cursor: &mut Option<Vec<u8>>,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<(usize, bool)> {
        if self.key_size == 0 || self.entry_size == 0 {
            return Err(Error::from_errno(libc::EINVAL));
        }
        let room = (keys.len() / self.key_size).min(values.len() / self.entry_size);
        let mut count = room as u32;
        // Hash maps put a u32 bucket number here, arrays a key: both fit.
        let mut out = vec![0u8; self.key_size.max(4)];
        let from = cursor.as_mut().map_or(ptr::null_mut(), |c| c.as_mut_ptr());
        // SAFETY: keys and values have room for `count` entries; the cursors are as long as the
        // kernel's.
        let r = call("BPF_MAP_LOOKUP_BATCH", || unsafe {
            i64::from(lib::bpf_map_lookup_batch(
                self.fd.as_raw_fd(),
                from.cast(),
                out.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &mut count,
                ptr::null(),
            ))
        });
        *cursor = Some(out);
        found(r).map(|more| ((count as usize).min(room), more))
    }

    /// Forbids user space to change the map from now on (Linux 5.2).
    pub fn freeze(&self) -> Result<()> {
        // SAFETY: no memory is passed.
        call("BPF_MAP_FREEZE", || unsafe {
            i64::from(lib::bpf_map_freeze(self.fd.as_raw_fd()))
        })
        .map(drop)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn found(r: Result<i64>) -> Result<bool> {
    match r {
        Ok(_) => Ok(true),
        Err(e) if e.errno() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Loads BTF.
pub fn btf_load(data: &[u8]) -> Result<OwnedFd> {
    silence();
    // SAFETY: `data` outlives the call and is only read.
    call_fd("BPF_BTF_LOAD", || unsafe {
        i64::from(lib::bpf_btf_load(
            data.as_ptr().cast(),
            data.len() as _,
            ptr::null_mut(),
        ))
    })
}

/// `bpf_func_info` as the kernel takes it.
pub type FuncRecord = lib::bpf_func_info;
/// `bpf_line_info` as the kernel takes it.
pub type LineRecord = lib::bpf_line_info;

/// What a program attaches to, where that is fixed at load time.
#[derive(Clone, Copy, Debug)]
pub enum AttachTarget<'a> {
    /// Nothing.
    None,
    /// A type of the kernel's BTF or, with a descriptor, of a module's.
    Btf(u32, Option<BorrowedFd<'a>>),
    /// A function (by its type id) of another BPF program.
    Program(u32, BorrowedFd<'a>),
}

/// A program to load.
#[derive(Debug)]
pub struct ProgSpec<'a> {
    /// `BPF_PROG_TYPE_*`
    pub ty: lib::bpf_prog_type,
    /// `BPF_TRACE_*` or 0.
    pub expected_attach_type: lib::bpf_attach_type,
    /// Name (see [`kernel_name`]).
    pub name: &'a CStr,
    /// Licence.
    pub license: &'a CStr,
    /// Instructions.
    pub insns: &'a [[u8; 8]],
    /// Target of tracing programs.
    pub target: AttachTarget<'a>,
    /// BTF that the following two refer to.
    pub btf: Option<BorrowedFd<'a>>,
    /// Functions.
    pub funcs: &'a [FuncRecord],
    /// Lines.
    pub lines: &'a [LineRecord],
}

/// Loads a program. With `log`, the verifier writes what it does there (as a C string); the
/// second part of the result is the size that the whole log needs, 0 before Linux 6.4.
pub fn prog_load(spec: &ProgSpec<'_>, log: Option<&mut [u8]>) -> (Result<OwnedFd>, usize) {
    silence();
    let mut opts = lib::bpf_prog_load_opts {
        sz: size_of::<lib::bpf_prog_load_opts>() as _,
        attempts: 5,
        expected_attach_type: spec.expected_attach_type,
        ..Default::default()
    };
    match spec.target {
        AttachTarget::None => {}
        AttachTarget::Btf(id, module) => {
            opts.attach_btf_id = id;
            opts.attach_btf_obj_fd = module.map_or(0, |f| f.as_raw_fd() as u32);
        }
        AttachTarget::Program(id, prog) => {
            opts.attach_btf_id = id;
            opts.attach_prog_fd = prog.as_raw_fd() as u32;
        }
    }
    if let Some(btf) = spec.btf {
        opts.prog_btf_fd = btf.as_raw_fd() as u32;
        opts.func_info = spec.funcs.as_ptr().cast();
        opts.func_info_cnt = spec.funcs.len() as u32;
        opts.func_info_rec_size = size_of::<FuncRecord>() as u32;
        opts.line_info = spec.lines.as_ptr().cast();
        opts.line_info_cnt = spec.lines.len() as u32;
        opts.line_info_rec_size = size_of::<LineRecord>() as u32;
    }
    if let Some(log) = log {
        opts.log_level = 1;
        opts.log_buf = log.as_mut_ptr().cast();
        opts.log_size = log.len() as u32;
    }
    // SAFETY: everything that `opts` points to is borrowed by `spec` and `log` and outlives the
    // call, and the counts are those of the slices.
    let fd = call_fd("BPF_PROG_LOAD", || unsafe {
        i64::from(lib::bpf_prog_load(
            spec.ty,
            spec.name.as_ptr(),
            spec.license.as_ptr(),
            spec.insns.as_ptr().cast(),
            spec.insns.len() as _,
            &mut opts,
        ))
    });
    (fd, opts.log_true_size as usize)
}

/// Runs a `RAW_TRACEPOINT` program once on this CPU with `args` as its context and returns what
/// it returned (Linux 5.10).
pub fn test_run(prog: BorrowedFd<'_>, args: &[u64]) -> Result<u32> {
    let mut opts = lib::bpf_test_run_opts {
        sz: size_of::<lib::bpf_test_run_opts>() as _,
        ..Default::default()
    };
    if !args.is_empty() {
        opts.ctx_in = args.as_ptr().cast();
        opts.ctx_size_in = size_of_val(args) as u32;
    }
    // SAFETY: `args` outlives the call and its size is given.
    call("BPF_PROG_TEST_RUN", || unsafe {
        i64::from(lib::bpf_prog_test_run_opts(prog.as_raw_fd(), &mut opts))
    })?;
    Ok(opts.retval)
}

/// What the kernel counted for a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgStats {
    /// Kernel id.
    pub id: u32,
    /// Nanoseconds spent in it (only while statistics are enabled, see [`enable_stats`]).
    pub run_time_ns: u64,
    /// Times it ran (likewise).
    pub run_count: u64,
    /// Times it was skipped because it was already running on the CPU (Linux 5.12).
    pub recursion_misses: u64,
    /// Instructions that the verifier walked (Linux 5.16).
    pub verified_insns: u32,
}

/// Statistics of a program.
pub fn prog_stats(prog: BorrowedFd<'_>) -> Result<ProgStats> {
    let info = prog_info(prog)?;
    Ok(ProgStats {
        id: info.id,
        run_time_ns: info.run_time_ns,
        run_count: info.run_cnt,
        recursion_misses: info.recursion_misses,
        verified_insns: info.verified_insns,
    })
}

fn prog_info(prog: BorrowedFd<'_>) -> Result<lib::bpf_prog_info> {
    // SAFETY: bpf_prog_info is plain data; all zero asks for no arrays.
    let mut info: lib::bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<lib::bpf_prog_info>() as u32;
    // SAFETY: the kernel writes at most `len` bytes.
    call("BPF_OBJ_GET_INFO_BY_FD", || unsafe {
        i64::from(lib::bpf_prog_get_info_by_fd(
            prog.as_raw_fd(),
            &mut info,
            &mut len,
        ))
    })?;
    Ok(info)
}

/// Makes the kernel measure run times of all programs while the descriptor is open (Linux 5.8).
pub fn enable_stats() -> Result<OwnedFd> {
    // SAFETY: no memory is passed.
    call_fd("BPF_ENABLE_STATS", || unsafe {
        i64::from(lib::bpf_enable_stats(lib::BPF_STATS_RUN_TIME))
    })
}

/// A descriptor for the program with kernel id `id`.
pub fn prog_by_id(id: u32) -> Result<OwnedFd> {
    // SAFETY: no memory is passed.
    call_fd("BPF_PROG_GET_FD_BY_ID", || unsafe {
        i64::from(lib::bpf_prog_get_fd_by_id(id))
    })
}

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
    unsafe { link_create(prog, 0, lib::BPF_TRACE_UPROBE_MULTI, &opts) }
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

/// A program that does nothing.
pub fn empty_program(ty: lib::bpf_prog_type) -> Result<OwnedFd> {
    trivial(ty, 0)
}

fn trivial(ty: lib::bpf_prog_type, attach_type: lib::bpf_attach_type) -> Result<OwnedFd> {
    // r0 = 0; exit
    let insns = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let spec = ProgSpec {
        ty,
        expected_attach_type: attach_type,
        name: c"nothing",
        license: c"GPL",
        insns: &insns,
        target: AttachTarget::None,
        btf: None,
        funcs: &[],
        lines: &[],
    };
    prog_load(&spec, None).0
}

/// A descriptor for the BTF object of a kernel module (Linux 5.11).
///
/// # Errors
/// No such module, or it has no BTF.
pub fn module_btf(module: &str) -> Result<OwnedFd> {
    let mut id = 0;
    loop {
        // SAFETY: the kernel writes one word.
        call("BPF_BTF_GET_NEXT_ID", || unsafe {
            i64::from(lib::bpf_btf_get_next_id(id, &mut id))
        })
        .with_context(|| format!("no types of module {module}"))?;
        // SAFETY: no memory is passed.
        let fd = call_fd("BPF_BTF_GET_FD_BY_ID", || unsafe {
            i64::from(lib::bpf_btf_get_fd_by_id(id))
        });
        // One that went away between the two calls.
        let Ok(fd) = fd else { continue };
        let mut name = [0u8; 64];
        let mut info = lib::bpf_btf_info {
            name: name.as_mut_ptr() as u64,
            name_len: name.len() as u32,
            ..Default::default()
        };
        btf_info(fd.as_fd(), &mut info)?;
        let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        if info.kernel_btf != 0 && &name[..len] == module.as_bytes() {
            return Ok(fd);
        }
    }
}

/// The BTF that BPF program `prog` was loaded with.
///
/// # Errors
/// It has none.
pub fn prog_btf(prog: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let id = prog_info(prog)?.btf_id;
    if id == 0 {
        return Err(Error::not_found("the program has no type information"));
    }
    // SAFETY: no memory is passed.
    let fd = call_fd("BPF_BTF_GET_FD_BY_ID", || unsafe {
        i64::from(lib::bpf_btf_get_fd_by_id(id))
    })?;
    let mut info = lib::bpf_btf_info::default();
    btf_info(fd.as_fd(), &mut info)?;
    let mut data = vec![0; info.btf_size as usize];
    info = lib::bpf_btf_info {
        btf: data.as_mut_ptr() as u64,
        btf_size: data.len() as u32,
        ..Default::default()
    };
    btf_info(fd.as_fd(), &mut info)?;
    Ok(data)
}

fn btf_info(fd: BorrowedFd<'_>, info: &mut lib::bpf_btf_info) -> Result<()> {
    let mut len = size_of::<lib::bpf_btf_info>() as u32;
    // SAFETY: the kernel writes at most `len` bytes to `info`, and to the buffers in it as much
    // as it says they hold; the caller keeps them alive.
    call("BPF_OBJ_GET_INFO_BY_FD", || unsafe {
        i64::from(lib::bpf_btf_get_info_by_fd(fd.as_raw_fd(), info, &mut len))
    })
    .map(drop)
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
