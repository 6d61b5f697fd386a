//! Type information: the object's own, modules'.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_sys as lib;

use super::{attributes, bpf};
use crate::error::{ErrorExt, Result};
use crate::runtime::sys::{call, call_fd};

/// Loads BTF.
pub fn btf_load(data: &[u8]) -> Result<OwnedFd> {
    let load = lib::bpf_attr__bindgen_ty_12 {
        btf: data.as_ptr() as u64,
        btf_size: data.len() as u32,
        ..Default::default()
    };
    let mut attr = attributes(|attr| attr.__bindgen_anon_7 = load);
    // SAFETY: `data` outlives the call and is only read.
    call_fd("BPF_BTF_LOAD", || unsafe {
        bpf(lib::BPF_BTF_LOAD, &mut attr)
    })
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

fn btf_info(fd: BorrowedFd<'_>, info: &mut lib::bpf_btf_info) -> Result<()> {
    let mut len = size_of::<lib::bpf_btf_info>() as u32;
    // SAFETY: the kernel writes at most `len` bytes to `info`, and to the buffers in it as much
    // as it says they hold; the caller keeps them alive.
    call("BPF_OBJ_GET_INFO_BY_FD", || unsafe {
        i64::from(lib::bpf_btf_get_info_by_fd(fd.as_raw_fd(), info, &mut len))
    })
    .map(drop)
}
