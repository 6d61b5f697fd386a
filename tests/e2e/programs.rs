//! The BPF programs that the kernel holds, asked of the kernel itself.

use crate::kernel::bpf;

const BPF_PROG_GET_NEXT_ID: i32 = 11;
const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;

/// Attributes of the two commands that walk ids.
#[repr(C)]
#[derive(Default)]
struct Id {
    id: u32,
    next: u32,
    flags: u32,
}

/// Attributes of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    fd: u32,
    len: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name, which is 64 bytes in.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    before: [u64; 8],
    name: [u8; 16],
}

/// How many programs have `part` in their name.
pub fn named(part: &str) -> usize {
    let mut at = Id::default();
    let mut found = 0;
    while bpf(BPF_PROG_GET_NEXT_ID, &mut at).is_ok() {
        at.id = at.next;
        found += usize::from(name(at.id).is_some_and(|n| n.contains(part)));
    }
    found
}

/// The name of a program; `None` if it is gone.
fn name(id: u32) -> Option<String> {
    let mut by_id = Id {
        id,
        ..Id::default()
    };
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id).ok()? as i32;
    let mut info = ProgInfo::default();
    let mut request = Info {
        fd: fd as u32,
        len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    let got = bpf(BPF_OBJ_GET_INFO_BY_FD, &mut request);
    // SAFETY: the descriptor is ours and not used again.
    unsafe { libc::close(fd) };
    got.ok()?;
    let text = info.name.split(|b| *b == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}
