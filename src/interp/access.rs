//! Memory of a running program: every access is resolved to a region and bounds-checked here.

use std::ops::Range;

use super::fault::FaultKind;
use super::memory::{Kind, Pointer};
use super::ring::POISON;
use super::vm::Run;
use super::world::{Errno, Space};
use crate::codegen::insn::STACK_SIZE;

/// The stack of one function, and which of its bytes were written.
#[derive(Debug)]
pub struct Frame {
    bytes: [u8; STACK_SIZE],
    written: [u64; STACK_SIZE / 64],
}

impl Frame {
    /// A frame nobody has written to.
    pub fn new() -> Frame {
        Frame {
            bytes: [POISON; STACK_SIZE],
            written: [0; STACK_SIZE / 64],
        }
    }

    /// The same, in place.
    pub fn reset(&mut self) {
        *self = Frame::new();
    }

    // The first byte of `range` that was not written.
    fn unwritten(&self, range: Range<usize>) -> Option<usize> {
        // Aligned accesses of up to 8 bytes, which is nearly all of them, lie in one word.
        let word = range.start / 64;
        if range.end <= (word + 1) * 64 {
            let mask = bits(range.start % 64, range.len());
            let missing = mask & !self.written.get(word).copied().unwrap_or(0);
            return (missing != 0).then(|| word * 64 + missing.trailing_zeros() as usize);
        }
        range.into_iter().find(|&i| {
            let word = self.written.get(i / 64).copied().unwrap_or(0);
            word >> (i % 64) & 1 == 0
        })
    }

    fn mark(&mut self, range: Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            let (word, bit) = (at / 64, at % 64);
            let n = (64 - bit).min(range.end - at);
            if let Some(w) = self.written.get_mut(word) {
                *w |= bits(bit, n);
            }
            at += n;
        }
    }
}

// `n` ones from bit `start`; `start + n` is at most 64.
fn bits(start: usize, n: usize) -> u64 {
    match n {
        0 => 0,
        n => (u64::MAX >> (64 - n)) << start,
    }
}

// The bytes `offset..offset + len` of a region of `size` bytes.
fn range(kind: Kind, offset: i64, len: usize, size: usize) -> Result<Range<usize>, FaultKind> {
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|s| s.checked_add(len));
    match (start, end) {
        (Some(start), Some(end)) if end <= size => Ok(start..end),
        _ => Err(FaultKind::OutOfBounds {
            region: kind,
            offset,
            len,
            size,
        }),
    }
}

impl Run<'_> {
    /// The `len` bytes at `addr`, to read.
    pub fn view(&mut self, addr: u64, len: usize) -> Result<&[u8], FaultKind> {
        if len == 0 {
            return Ok(&[]);
        }
        let p = Pointer::decode(addr).ok_or(FaultKind::NotAPointer { addr })?;
        let all: &[u8] = match p.kind {
            Kind::Stack => {
                let frame = self.frame(p)?;
                let r = range(p.kind, p.offset, len, STACK_SIZE)?;
                if let Some(i) = frame.unwritten(r) {
                    return Err(FaultKind::UninitStack {
                        offset: i as i32 - STACK_SIZE as i32,
                    });
                }
                &frame.bytes
            }
            Kind::Context => self.ctx,
            Kind::Key => self
                .keys
                .get(p.index)
                .ok_or(FaultKind::Dangling { region: Kind::Key })?,
            Kind::MapValue | Kind::Record => {
                let (bytes, offset) = self.dynamic(p)?;
                let r = range(p.kind, offset, len, bytes.len())?;
                return Ok(&bytes[r]);
            }
            Kind::Map | Kind::Function => return Err(FaultKind::NotAPointer { addr }),
        };
        let r = range(p.kind, p.offset, len, all.len())?;
        Ok(&all[r])
    }

    /// The `len` bytes at `addr`, to write; on the stack they count as written.
    pub fn view_mut(&mut self, addr: u64, len: usize) -> Result<&mut [u8], FaultKind> {
        if len == 0 {
            return Ok(&mut []);
        }
        let p = Pointer::decode(addr).ok_or(FaultKind::NotAPointer { addr })?;
        match p.kind {
            Kind::Stack => {
                let r = range(p.kind, p.offset, len, STACK_SIZE)?;
                let frame = self.frame(p)?;
                frame.mark(r.clone());
                Ok(&mut frame.bytes[r])
            }
            Kind::Context | Kind::Key => Err(FaultKind::ReadOnly { region: p.kind }),
            Kind::MapValue if !self.map_is_writable(p.index) => {
                Err(FaultKind::ReadOnly { region: p.kind })
            }
            Kind::MapValue | Kind::Record => {
                let (bytes, offset) = self.dynamic(p)?;
                let r = range(p.kind, offset, len, bytes.len())?;
                Ok(&mut bytes[r])
            }
            Kind::Map | Kind::Function => Err(FaultKind::NotAPointer { addr }),
        }
    }

    fn frame(&mut self, p: Pointer) -> Result<&mut Frame, FaultKind> {
        let frames = self.frames.get_mut(..self.depth);
        frames
            .and_then(|f| f.get_mut(p.index))
            .ok_or(FaultKind::Dangling { region: p.kind })
    }

    fn map_is_writable(&self, index: usize) -> bool {
        self.maps
            .get(index)
            .is_none_or(|m| m.writable_by_programs())
    }

    // A map value or a record, and the pointer's offset in it.
    fn dynamic(&mut self, p: Pointer) -> Result<(&mut [u8], i64), FaultKind> {
        let gone = FaultKind::Dangling { region: p.kind };
        let map = self.maps.get_mut(p.index).ok_or(gone.clone())?;
        let below = FaultKind::OutOfBounds {
            region: p.kind,
            offset: p.offset,
            len: 0,
            size: map.value_size(),
        };
        let at = u64::try_from(p.offset).map_err(|_| below)?;
        if p.kind == Kind::Record {
            let (bytes, offset) = map.ring().and_then(|r| r.reserved_at(at)).ok_or(gone)?;
            return Ok((bytes, offset as i64));
        }
        let (bytes, offset) = map.value_at(at).ok_or(gone)?;
        Ok((bytes, offset as i64))
    }

    /// Loads `n` (1, 2, 4 or 8) bytes, zero-extended.
    pub fn load(&mut self, addr: u64, n: usize) -> Result<u64, FaultKind> {
        if Pointer::decode(addr).is_none() && self.probe_mem {
            // Tracing programs follow kernel pointers; the kernel gives 0 where that faults.
            let mut buf = [0; 8];
            let bytes = buf.get_mut(..n).unwrap_or_default();
            if self.world.read(Space::Kernel, addr, bytes).is_err() {
                return Ok(0);
            }
            return Ok(assemble(bytes));
        }
        self.check_stack_alignment(addr, n)?;
        self.view(addr, n).map(assemble)
    }

    /// Stores the low `n` (1, 2, 4 or 8) bytes of `value`.
    pub fn store(&mut self, addr: u64, n: usize, value: u64) -> Result<(), FaultKind> {
        self.check_stack_alignment(addr, n)?;
        let to = self.view_mut(addr, n)?;
        match to {
            [b] => *b = value as u8,
            [..] if n == 2 => to.copy_from_slice(&(value as u16).to_ne_bytes()),
            [..] if n == 4 => to.copy_from_slice(&(value as u32).to_ne_bytes()),
            _ => to.copy_from_slice(&value.to_ne_bytes()),
        }
        Ok(())
    }

    // The verifier insists on alignment for the stack alone where the machine does not.
    fn check_stack_alignment(&self, addr: u64, n: usize) -> Result<(), FaultKind> {
        match Pointer::decode(addr) {
            Some(p) if p.kind == Kind::Stack && !addr.is_multiple_of(n as u64) => {
                Err(FaultKind::Misaligned { addr, len: n })
            }
            _ => Ok(()),
        }
    }

    /// A copy of `len` bytes at `addr`, in a buffer to be given to [`recycle`](Self::recycle).
    pub fn copied(&mut self, addr: u64, len: usize) -> Result<Vec<u8>, FaultKind> {
        let mut buf = self.spare.pop().unwrap_or_default();
        buf.clear();
        buf.extend_from_slice(self.view(addr, len)?);
        Ok(buf)
    }

    /// A buffer of `len` zero bytes, to be given to [`recycle`](Self::recycle).
    pub fn zeroed(&mut self, len: usize) -> Vec<u8> {
        let mut buf = self.spare.pop().unwrap_or_default();
        buf.clear();
        buf.resize(len, 0);
        buf
    }

    /// Keeps a buffer for later use.
    pub fn recycle(&mut self, buf: Vec<u8>) {
        self.spare.push(buf);
    }

    /// Reads memory the way the probe_read helpers do: the machine's own regions count as
    /// kernel memory, everything else is the world's.
    pub fn read_foreign(
        &mut self,
        space: Space,
        addr: u64,
        buf: &mut [u8],
    ) -> Result<Result<(), Errno>, FaultKind> {
        if Pointer::decode(addr).is_none() {
            // The kernel does not even try addresses below its own half.
            if space == Space::Kernel && addr >> 63 == 0 {
                return Ok(Err(libc::ERANGE));
            }
            return Ok(self.world.read(space, addr, buf));
        }
        if space == Space::User {
            return Ok(Err(libc::EFAULT));
        }
        match self.view(addr, buf.len()) {
            Ok(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(Ok(()))
            }
            // Reading what was never written is a mistake of the compiler, not of the script.
            Err(e @ FaultKind::UninitStack { .. }) => Err(e),
            Err(_) => Ok(Err(libc::EFAULT)),
        }
    }
}

fn assemble(b: &[u8]) -> u64 {
    match *b {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_ne_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_ne_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}
