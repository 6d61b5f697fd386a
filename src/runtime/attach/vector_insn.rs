//! Places where a uprobe would break the program: instructions of AVX and AVX-512.
//!
//! Measured on Linux 6.18: with a probe on `vpbroadcastb %edi,%zmm16` (opcode 0x7a; with %esi it
//! begins a memset() of glibc) the instruction has no effect and the program goes wrong. Five other
//! vector instructions that were tried the kernel refuses itself. What fits both: it looks at the
//! opcode behind a VEX or EVEX prefix as if there were no prefix, and emulates what would be a jump
//! there (0x7a: `jp`). Pushes and calls would fare alike; that was not tried. So all are refused
//! here: nobody may act on the numbers of a program that the tracer broke.

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
