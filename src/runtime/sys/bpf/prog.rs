//! Programs: loading, running on demand, statistics.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libbpf_sys as lib;

use super::{attributes, bpf, object_name};
use crate::error::Result;
use crate::runtime::sys::{call, call_fd};

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
    /// As in libbpf: a signal interrupts the verifier of a large program with this error.
    const ATTEMPTS: usize = 5;
    let mut load = lib::bpf_attr__bindgen_ty_4 {
        prog_type: spec.ty,
        expected_attach_type: spec.expected_attach_type,
        prog_name: object_name(spec.name),
        license: spec.license.as_ptr() as u64,
        insns: spec.insns.as_ptr() as u64,
        insn_cnt: spec.insns.len() as u32,
        ..Default::default()
    };
    match spec.target {
        AttachTarget::None => {}
        AttachTarget::Btf(id, module) => {
            load.attach_btf_id = id;
            load.__bindgen_anon_1.attach_btf_obj_fd = module.map_or(0, |f| f.as_raw_fd() as u32);
        }
        AttachTarget::Program(id, prog) => {
            load.attach_btf_id = id;
            load.__bindgen_anon_1.attach_prog_fd = prog.as_raw_fd() as u32;
        }
    }
    if let Some(btf) = spec.btf {
        load.prog_btf_fd = btf.as_raw_fd() as u32;
        load.func_info = spec.funcs.as_ptr() as u64;
        load.func_info_cnt = spec.funcs.len() as u32;
        load.func_info_rec_size = size_of::<FuncRecord>() as u32;
        load.line_info = spec.lines.as_ptr() as u64;
        load.line_info_cnt = spec.lines.len() as u32;
        load.line_info_rec_size = size_of::<LineRecord>() as u32;
    }
    if let Some(log) = log {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = log.len() as u32;
    }
    let mut attr = attributes(|attr| attr.__bindgen_anon_3 = load);
    let mut attempts = 1;
    let fd = loop {
        // SAFETY: everything that `attr` points to is borrowed by `spec` and `log` and outlives
        // the call, and the counts are those of the slices.
        let fd = call_fd("BPF_PROG_LOAD", || unsafe {
            bpf(lib::BPF_PROG_LOAD, &mut attr)
        });
        match &fd {
            Err(e) if e.errno() == Some(libc::EAGAIN) && attempts < ATTEMPTS => attempts += 1,
            _ => break fd,
        }
    };
    // SAFETY: the part of the union that was set above.
    let log_size = unsafe { attr.__bindgen_anon_3.log_true_size };
    (fd, log_size as usize)
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

pub(super) fn prog_info(prog: BorrowedFd<'_>) -> Result<lib::bpf_prog_info> {
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

/// A program that does nothing.
pub fn empty_program(ty: lib::bpf_prog_type) -> Result<OwnedFd> {
    trivial(ty, 0)
}

pub(super) fn trivial(
    ty: lib::bpf_prog_type,
    attach_type: lib::bpf_attach_type,
) -> Result<OwnedFd> {
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
