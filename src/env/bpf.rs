//! The bpf(2) calls that facts about a machine take: load a few instructions, try an operation,
//! look at the programs that are loaded.
//!
//! Attributes are written at the offsets of `union bpf_attr` (include/uapi/linux/bpf.h); bytes that
//! a kernel does not know are zero and therefore accepted. Real programs are loaded elsewhere.

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Error, Result};

/// Commands of bpf(2).
pub mod cmd {
    #![expect(missing_docs, reason = "named as in linux/bpf.h")]
    pub const MAP_CREATE: u32 = 0;
    pub const PROG_LOAD: u32 = 5;
    pub const TEST_RUN: u32 = 10;
    pub const PROG_GET_NEXT_ID: u32 = 11;
    pub const PROG_GET_FD_BY_ID: u32 = 13;
    pub const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub const BTF_GET_FD_BY_ID: u32 = 19;
    pub const MAP_LOOKUP_BATCH: u32 = 24;
    pub const LINK_CREATE: u32 = 28;
}

/// Attributes of one call.
#[derive(Debug)]
pub struct Attr([u8; 152]);

impl Default for Attr {
    fn default() -> Self {
        Self([0; 152])
    }
}

impl Attr {
    /// Sets the 32-bit attribute at `at`.
    #[must_use]
    pub fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// Sets the 64-bit attribute at `at`.
    #[must_use]
    pub fn u64(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// Points the attribute at `at` to `bytes`.
    ///
    /// The caller keeps the bytes alive and unchanged in place until the call is made: every
    /// function of this module does so by borrowing them across it.
    fn pointer<T>(self, at: usize, bytes: &[T]) -> Self {
        self.u64(at, bytes.as_ptr() as u64)
    }
}

/// Makes a call whose attributes hold no pointer, or pointers that the caller keeps alive.
fn call(cmd: u32, attr: &Attr) -> Result<i64> {
    // SAFETY: the attribute block outlives the call and its size is passed along; pointers in it
    // refer to slices that the functions below hold for the duration of the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, cmd, attr.0.as_ptr(), attr.0.len()) };
    if rc < 0 {
        return Err(Error::last_os());
    }
    Ok(rc)
}

fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel just returned this descriptor and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// One instruction.
pub fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    let mut b = [code, dst | (src << 4), 0, 0, 0, 0, 0, 0];
    b[2..4].copy_from_slice(&off.to_ne_bytes());
    b[4..8].copy_from_slice(&imm.to_ne_bytes());
    b
}

/// `r0 = imm`
pub fn mov(imm: i32) -> [u8; 8] {
    insn(0xb7, 0, 0, 0, imm)
}

/// `exit`
pub fn exit() -> [u8; 8] {
    insn(0x95, 0, 0, 0, 0)
}

/// Loads a program; `target` is the BTF id that a tracing program attaches to, or 0.
///
/// # Errors
/// The kernel's refusal, and what the verifier printed.
pub fn load(
    prog_type: u32,
    attach_type: u32,
    target: u32,
    insns: &[[u8; 8]],
) -> Result<OwnedFd, (Error, String)> {
    // A log that does not fit makes the load fail, so long programs get none.
    let verbose = insns.len() <= 16;
    let mut log = vec![0u8; if verbose { 4096 } else { 1 }];
    let license = *b"GPL\0";
    let mut attr = Attr::default()
        .u32(0, prog_type)
        .u32(4, insns.len() as u32)
        .pointer(8, insns)
        .pointer(16, &license)
        .u32(68, attach_type)
        .u32(108, target);
    if verbose {
        attr = attr
            .u32(24, 1)
            .u32(28, log.len() as u32)
            .u64(32, log.as_mut_ptr() as u64);
    }
    match call(cmd::PROG_LOAD, &attr) {
        Ok(fd) => Ok(owned(fd)),
        Err(e) => {
            let end = memchr::memchr(0, &log).unwrap_or(0);
            Err((e, String::from_utf8_lossy(&log[..end]).into_owned()))
        }
    }
}

/// Creates a map.
///
/// # Errors
/// The kernel's refusal.
pub fn map(map_type: u32, key: u32, value: u32, entries: u32) -> Result<OwnedFd> {
    let attr = Attr::default()
        .u32(0, map_type)
        .u32(4, key)
        .u32(8, value)
        .u32(12, entries);
    call(cmd::MAP_CREATE, &attr).map(owned)
}

/// Runs a loaded program once without input.
///
/// # Errors
/// The kernel's refusal.
pub fn test_run(prog: &OwnedFd) -> Result<()> {
    let attr = Attr::default().u32(0, prog.as_raw_fd() as u32);
    call(cmd::TEST_RUN, &attr).map(drop)
}

/// Looks up to one entry of a map with 4-byte keys and 8-byte values up by a batch.
///
/// # Errors
/// The kernel's answer: ENOENT from an empty map where batches are known.
pub fn lookup_batch(map: &OwnedFd) -> Result<()> {
    let (mut next, mut keys, mut values) = ([0u32], [0u32], [0u64]);
    let attr = Attr::default()
        .u64(8, next.as_mut_ptr() as u64)
        .u64(16, keys.as_mut_ptr() as u64)
        .u64(24, values.as_mut_ptr() as u64)
        .u32(32, 1)
        .u32(36, map.as_raw_fd() as u32);
    call(cmd::MAP_LOOKUP_BATCH, &attr).map(drop)
}

/// Opens a raw tracepoint for no program, with a cookie.
///
/// # Errors
/// Always: EBADF where the cookie is known (6.10), EINVAL where not.
pub fn raw_tracepoint_with_cookie() -> Result<()> {
    let attr = Attr::default().u32(8, u32::MAX).u64(16, 1);
    call(cmd::RAW_TRACEPOINT_OPEN, &attr).map(drop)
}

/// Links a program to a perf event that does not exist.
///
/// # Errors
/// Always: EBADF where such links are known (5.15), EINVAL where not.
pub fn link_no_perf_event(prog: &OwnedFd) -> Result<()> {
    let attr = Attr::default()
        .u32(0, prog.as_raw_fd() as u32)
        .u32(4, u32::MAX)
        .u32(8, libbpf_sys::BPF_PERF_EVENT);
    call(cmd::LINK_CREATE, &attr).map(owned).map(drop)
}

/// Links a program to one kernel function that does not exist.
///
/// # Errors
/// Always: ESRCH where such links are known and built in.
pub fn link_no_kprobe(prog: &OwnedFd, attach_type: u32) -> Result<()> {
    let name = *b"rtrace_no_such_function\0";
    let names = [name.as_ptr() as u64];
    let attr = Attr::default()
        .u32(0, prog.as_raw_fd() as u32)
        .u32(8, attach_type)
        .u32(20, 1)
        .pointer(24, &names);
    call(cmd::LINK_CREATE, &attr).map(owned).map(drop)
}

/// Links a program to offset 1 of a directory, which is not a file that can be probed.
///
/// # Errors
/// Always: EBADF where such links are known and built in.
pub fn link_no_uprobe(prog: &OwnedFd, attach_type: u32) -> Result<()> {
    let path = *b"/\0";
    let offsets = [1u64];
    let attr = Attr::default()
        .u32(0, prog.as_raw_fd() as u32)
        .u32(8, attach_type)
        .pointer(16, &path)
        .pointer(24, &offsets)
        .u32(48, 1);
    call(cmd::LINK_CREATE, &attr).map(owned).map(drop)
}

/// The number of the loaded program that comes after `id`; `None` after the last.
///
/// # Errors
/// No right to see programs.
pub fn next_program(id: u32) -> Result<Option<u32>> {
    let mut attr = Attr::default().u32(0, id);
    // SAFETY: the attribute block outlives the call, which writes to it within its size.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            cmd::PROG_GET_NEXT_ID,
            attr.0.as_mut_ptr(),
            attr.0.len(),
        )
    };
    if rc < 0 {
        let e = Error::last_os();
        return match e.errno() {
            Some(libc::ENOENT) => Ok(None),
            _ => Err(e),
        };
    }
    let next = attr.0[4..8].try_into().map(u32::from_ne_bytes);
    Ok(next.ok().filter(|n| *n > id))
}

/// A descriptor for the program with number `id`.
///
/// # Errors
/// It has ended, or there is no right to see programs.
pub fn program_by_id(id: u32) -> Result<OwnedFd> {
    call(cmd::PROG_GET_FD_BY_ID, &Attr::default().u32(0, id)).map(owned)
}

/// Fills in what the kernel tells of an object.
fn info<T>(object: BorrowedFd<'_>, info: &mut T) -> Result<()> {
    let attr = Attr::default()
        .u32(0, object.as_raw_fd() as u32)
        .u32(4, size_of::<T>() as u32)
        .u64(8, std::ptr::from_mut(info) as u64);
    call(cmd::OBJ_GET_INFO_BY_FD, &attr).map(drop)
}

/// `BPF_PROG_TYPE_*` of a program, and the type ids of its functions in its BTF, its own first;
/// none if it came without type information.
///
/// # Errors
/// The kernel's refusal.
pub fn program_functions(program: BorrowedFd<'_>) -> Result<(u32, Vec<u32>)> {
    // SAFETY: plain data; all zero asks for no arrays.
    let mut about: libbpf_sys::bpf_prog_info = unsafe { std::mem::zeroed() };
    info(program, &mut about)?;
    let (ty, count, size) = (about.type_, about.nr_func_info, about.func_info_rec_size);
    if count == 0 || size < 8 || about.btf_id == 0 {
        return Ok((ty, Vec::new()));
    }
    let mut records = vec![0u8; count as usize * size as usize];
    // SAFETY: as above; the array that is asked for has the size that is given.
    about = unsafe { std::mem::zeroed() };
    about.nr_func_info = count;
    about.func_info_rec_size = size;
    about.func_info = records.as_mut_ptr() as u64;
    info(program, &mut about)?;
    let types = records.chunks_exact(size as usize);
    // An instruction's number, then the type of the function that begins there.
    let types = types.filter_map(|r| r.get(4..8)?.try_into().ok().map(u32::from_ne_bytes));
    Ok((ty, types.filter(|&t| t != 0).collect()))
}

/// The BTF that a program was loaded with.
///
/// # Errors
/// It has none.
pub fn program_btf(program: BorrowedFd<'_>) -> Result<Vec<u8>> {
    // SAFETY: plain data; all zero asks for no arrays.
    let mut about: libbpf_sys::bpf_prog_info = unsafe { std::mem::zeroed() };
    info(program, &mut about)?;
    if about.btf_id == 0 {
        return Err(Error::not_found("the program has no type information"));
    }
    let btf = Attr::default().u32(0, about.btf_id);
    let btf = call(cmd::BTF_GET_FD_BY_ID, &btf).map(owned)?;
    let mut about = libbpf_sys::bpf_btf_info::default();
    info(btf.as_fd(), &mut about)?;
    let mut data = vec![0; about.btf_size as usize];
    about = libbpf_sys::bpf_btf_info {
        btf: data.as_mut_ptr() as u64,
        btf_size: data.len() as u32,
        ..Default::default()
    };
    info(btf.as_fd(), &mut about)?;
    Ok(data)
}
