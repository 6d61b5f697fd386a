//! Zeroing and copying: unrolled while that is cheaper than a call, else left to a helper.

use crate::ir::Value;

use super::{Root, Selector, size_of};
use crate::codegen::helper;
use crate::codegen::minst::{Arg, Callee, Konst, MInst, Src};

/// Most loads or stores that a copy or zeroing is unrolled into; beyond, a helper does it.
/// A helper call costs as much as some twenty simple instructions.
const UNROLL: usize = 16;

impl Selector<'_> {
    pub(super) fn zero(&mut self, ptr: Value, off: i32, len: u32) {
        // Frame accesses must be aligned; map values and records start 8-aligned.
        let (_, start) = self.address(ptr, off);
        let pieces = pieces(start, len, 8);
        if pieces.len() > UNROLL {
            // Reading from address 0 fails and clears the destination.
            let dst = self.arg_at(ptr, off);
            let args = vec![
                dst,
                Arg::Const(Konst::Imm(i64::from(len))),
                Arg::Const(Konst::Imm(0)),
            ];
            return self.read_kernel(args);
        }
        let (base, start) = self.base(ptr, off, len);
        for (at, n) in pieces {
            self.push(MInst::Store {
                size: size_of(n),
                base,
                off: start + at as i32,
                src: Src::Imm(0),
            });
        }
    }

    pub(super) fn copy(&mut self, dst: (Value, i32), src: (Value, i32), len: u32, align: u8) {
        let (dst_root, to) = self.address(dst.0, dst.1);
        let (src_root, from) = self.address(src.0, src.1);
        // What is known of frame addresses holds whatever the caller says.
        let align = match (dst_root, src_root) {
            (Root::Slot(_), Root::Slot(_)) => natural(to).min(natural(from)),
            (Root::Slot(_), _) => align.min(natural(to)),
            (_, Root::Slot(_)) => align.min(natural(from)),
            _ => align,
        };
        let pieces = pieces(0, len, align);
        if pieces.len() > UNROLL {
            let (d, s) = (self.arg_at(dst.0, dst.1), self.arg_at(src.0, src.1));
            let len = Arg::Const(Konst::Imm(i64::from(len)));
            return self.read_kernel(vec![d, len, s]);
        }
        let (dst_base, to) = self.base(dst.0, dst.1, len);
        let (src_base, from) = self.base(src.0, src.1, len);
        for (at, n) in pieces {
            let size = size_of(n);
            let t = self.new_vreg();
            self.push(MInst::Load {
                size,
                dst: t,
                base: src_base,
                off: from + at as i32,
            });
            self.push(MInst::Store {
                size,
                base: dst_base,
                off: to + at as i32,
                src: Src::Reg(t),
            });
        }
    }

    pub(super) fn read_kernel(&mut self, args: Vec<Arg>) {
        self.push(MInst::Call {
            callee: Callee::Helper(helper::PROBE_READ_KERNEL),
            args,
            dst: None,
        });
    }
}

/// The largest power of two up to 8 that divides `off`.
fn natural(off: i32) -> u8 {
    1 << off.trailing_zeros().min(3)
}

/// Splits `len` bytes at offset `start` into aligned accesses of at most `max` bytes: offset
/// from the start, size.
fn pieces(start: i32, len: u32, max: u8) -> Vec<(u32, u8)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < len {
        let mut n = natural(start.wrapping_add(at as i32)).min(max);
        while u32::from(n) > len - at {
            n /= 2;
        }
        out.push((at, n));
        at += u32::from(n);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned() {
        assert_eq!(pieces(4, 13, 8), [(0, 4), (4, 8), (12, 1)]);
        assert_eq!(pieces(0, 7, 2), [(0, 2), (2, 2), (4, 2), (6, 1)]);
    }
}
