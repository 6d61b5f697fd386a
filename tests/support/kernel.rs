//! Whether tests can use BPF here, and which of our programs the kernel holds.
//!
//! Asks the kernel itself, never rtrace: a defect of rtrace must fail a test, not skip it.

use std::ffi::c_long;

/// `BPF_MAP_CREATE`'s attributes that matter here; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// `bpf(2)`: a result, or errno.
pub fn bpf<T>(command: i32, attributes: &mut T) -> Result<c_long, std::io::Error> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes at `attributes`, which lives for
    // the call.
    let n = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if n < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(n)
}

/// Why BPF cannot be used by these tests, if it cannot.
pub fn unusable() -> Option<String> {
    // SAFETY: takes nothing, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("not root".into());
    }
    let mut map = MapCreate {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
    };
    match bpf(BPF_MAP_CREATE, &mut map) {
        Ok(fd) => {
            // SAFETY: the descriptor is ours and not used again.
            unsafe { libc::close(fd as i32) };
            None
        }
        Err(e) => Some(format!("bpf(2) is not available: {e}")),
    }
}

/// Whether BPF can be used here; says why not, once for each `test`.
pub fn usable(test: &str) -> bool {
    match unusable() {
        None => true,
        Some(why) => {
            eprintln!("skipped: {test}: {why}");
            false
        }
    }
}
