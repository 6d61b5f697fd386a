//! Places where a uprobe would break the program: instructions of AVX and AVX-512.
//!
//! The kernel (seen on 6.18, in `branch_setup_xol_ops` of arch/x86/kernel/uprobes.c) looks at the
//! opcode byte behind a VEX or EVEX prefix as if there were no prefix. 0x50 to 0x57 is a push
//! then, 0x70 to 0x7f a conditional jump, 0xe8 a call, and is emulated as that: `vpbroadcastb
//! %esi,%zmm16`, the first instruction of a memset() of glibc, is not executed at all. Most other
//! opcodes it refuses. So these are refused here, all of them: nobody may act on the numbers of a
//! program that the tracer broke.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::error::{Error, ErrorKind, Result};

/// First bytes of VEX prefixes of three and two bytes, and of EVEX. In 64-bit code they start
/// nothing else (Intel SDM volume 2, 2.3 and 2.7).
const PREFIXES: [u8; 3] = [0xc4, 0xc5, 0x62];

/// Fails if a vector instruction stands at one of the `offsets` of `file`. Offsets outside of it
/// are the kernel's to refuse.
///
/// # Errors
/// Says which and why. A file that cannot be read is not looked at.
pub(super) fn check(path: &str, offsets: impl IntoIterator<Item = u64>) -> Result<()> {
    let Ok(file) = File::open(path) else {
        return Ok(());
    };
    for offset in offsets {
        let mut first = [0];
        let read = file.read_at(&mut first, offset).unwrap_or(0);
        if read == 1 && PREFIXES.contains(&first[0]) {
            return Err(refusal(path, offset));
        }
    }
    Ok(())
}

fn refusal(path: &str, offset: u64) -> Error {
    let why = "a vector instruction (AVX) stands there: kernels take it for another one and the \
               program would go wrong; probe another place of the function";
    Error::new(ErrorKind::Unsupported, why).context(format!("{path}, file offset {offset:#x}"))
}
