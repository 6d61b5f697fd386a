//! The instructions of a function: where they begin, and which of them return.
//!
//! In: the file and the function's bounds. Out: offsets. The kernel checks this for its own
//! functions only; a probe in the middle of a user instruction breaks the program. What cannot be
//! decoded from its start on (data between instructions, another architecture) has no answer.

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::elf::EM_X86_64;

use super::elf::ElfFile;

/// Largest function that is decoded, in bytes.
const MAX_CODE: u64 = 1 << 20;

/// Instructions of a function by their offsets from its start, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instructions {
    /// Where they begin.
    pub starts: Vec<u64>,
    /// Those of them that return.
    pub returns: Vec<u64>,
}

/// The instructions of the `size` bytes at `vaddr`.
pub fn instructions(elf: &ElfFile, vaddr: u64, size: u64) -> Option<Instructions> {
    if elf.machine() != EM_X86_64 || size == 0 || size > MAX_CODE {
        return None;
    }
    let at = usize::try_from(elf.vaddr_to_offset(vaddr)?).ok()?;
    let code = elf.bytes().get(at..at.checked_add(size as usize)?)?;
    decode(code)
}

fn decode(code: &[u8]) -> Option<Instructions> {
    let mut out = Instructions::default();
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    while decoder.can_decode() {
        let at = decoder.position() as u64;
        let i = decoder.decode();
        if i.is_invalid() {
            return None;
        }
        out.starts.push(at);
        if i.mnemonic() == Mnemonic::Ret {
            out.returns.push(at);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_returns() {
        // push rbp; mov rbp,rsp; test edi,edi; je +2; leave; ret; xor eax,eax; leave; ret
        let code = [
            0x55, 0x48, 0x89, 0xe5, 0x85, 0xff, 0x74, 0x02, 0xc9, 0xc3, 0x31, 0xc0, 0xc9, 0xc3,
        ];
        let found = decode(&code).unwrap();
        assert_eq!(found.starts, [0, 1, 4, 6, 8, 9, 10, 12, 13]);
        assert_eq!(found.returns, [9, 13]);
        // An instruction that the function's end cuts off.
        assert_eq!(decode(&code[..3]), None);
        assert_eq!(decode(&[0x06]), None);
    }
}
