//! What the tests need of the kernel: maps, loading, test runs. A failure is a panic, for it is
//! a failure of the test.

use std::ffi::CString;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_sys as sys;
use rtrace::codegen::disasm;
use rtrace::codegen::insn::{AluOp, Insn, R0};

/// `u64` arguments of a raw tracepoint's context; the kernel takes up to 12.
pub const ARGS: usize = 12;

/// A map in the kernel.
pub fn create_map(kind: u32, key: u32, value: u32, max: u32) -> Result<OwnedFd, Error> {
    create_map_with(kind, key, value, max, 0)
}

pub fn create_map_with(
    kind: u32,
    key: u32,
    value: u32,
    max: u32,
    flags: u32,
) -> Result<OwnedFd, Error> {
    let opts = sys::bpf_map_create_opts {
        sz: size_of::<sys::bpf_map_create_opts>() as u64,
        map_flags: flags,
        ..Default::default()
    };
    // SAFETY: no name; the options outlive the call.
    let fd =
        unsafe { sys::bpf_map_create(kind, std::ptr::null(), key, value, max, &raw const opts) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a raw tracepoint program; the error carries the verifier's log.
pub fn load(insns: &[Insn]) -> Result<OwnedFd, (Error, String)> {
    let code: Vec<u64> = insns
        .iter()
        .map(|i| u64::from_ne_bytes(i.encode()))
        .collect();
    let license = CString::new("GPL").unwrap();
    let attempt = |log: &mut [u8]| {
        let mut opts = sys::bpf_prog_load_opts {
            sz: size_of::<sys::bpf_prog_load_opts>() as u64,
            ..Default::default()
        };
        if !log.is_empty() {
            opts.log_level = 1;
            opts.log_size = log.len() as u32;
            opts.log_buf = log.as_mut_ptr().cast();
        }
        // SAFETY: `code` has as many instructions as it says, eight bytes each; licence and
        // log outlive the call.
        let fd = unsafe {
            sys::bpf_prog_load(
                sys::BPF_PROG_TYPE_RAW_TRACEPOINT,
                std::ptr::null(),
                license.as_ptr(),
                code.as_ptr().cast(),
                code.len() as u64,
                &raw mut opts,
            )
        };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    attempt(&mut []).map_err(|e| {
        let mut log = vec![0; 1 << 20];
        let _ = attempt(&mut log);
        let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
        (e, String::from_utf8_lossy(&log[..end]).into_owned())
    })
}

pub fn test_run(program: &OwnedFd, args: &[u64; ARGS]) -> u32 {
    let mut opts = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as u64,
        ctx_in: args.as_ptr().cast(),
        ctx_size_in: size_of_val(args) as u32,
        ..Default::default()
    };
    // SAFETY: the context outlives the call and has the size it says.
    let r = unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut opts) };
    assert!(r >= 0, "test run: {}", Error::last_os_error());
    opts.retval
}

/// Entry 0 of an array map.
pub fn read_first(map: &OwnedFd, len: usize) -> Vec<u8> {
    let key = 0u32;
    let mut value = vec![0u8; len];
    // SAFETY: key and value have the sizes the map was created with.
    let r = unsafe {
        sys::bpf_map_lookup_elem(
            map.as_raw_fd(),
            (&raw const key).cast(),
            value.as_mut_ptr().cast(),
        )
    };
    assert!(r >= 0, "look-up: {}", Error::last_os_error());
    value
}

/// Overwrites entry 0 of an array map with zeros.
pub fn zero_first(map: &OwnedFd, len: usize) {
    write_first(map, &vec![0u8; len]);
}

/// Overwrites entry 0 of an array map.
pub fn write_first(map: &OwnedFd, value: &[u8]) {
    let key = 0u32;
    // SAFETY: as in `read_first`.
    let r = unsafe {
        sys::bpf_map_update_elem(
            map.as_raw_fd(),
            (&raw const key).cast(),
            value.as_ptr().cast(),
            0,
        )
    };
    assert!(r >= 0, "update: {}", Error::last_os_error());
}

/// Whether programs can be loaded here; says why not.
pub fn supported() -> bool {
    let v4 = [
        Insn::mov64(R0, 8),
        Insn::alu64(AluOp::Sdiv, R0, 2),
        Insn::exit(),
    ];
    match load(&v4) {
        Ok(_) => true,
        Err((e, _)) => {
            eprintln!("SKIPPED: the kernel does not take a raw_tp program of v4: {e}");
            false
        }
    }
}

pub fn kernel_program(insns: &[Insn], seed: u64) -> OwnedFd {
    load(insns).unwrap_or_else(|(e, log)| {
        panic!("seed {seed}: {e}\n{}\n{log}", disasm::listing(insns, &()))
    })
}

/// Puts descriptors where a program has indices of maps.
pub fn with_descriptors(insns: &[Insn], fds: &[&OwnedFd]) -> Vec<Insn> {
    let mut out = insns.to_vec();
    for i in &mut out {
        if i.is_ld_imm64() && i.src != 0 {
            i.imm = fds[i.imm as usize].as_raw_fd();
        }
    }
    out
}
