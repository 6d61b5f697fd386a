//! Arithmetic and comparison as the kernel does them.
//!
//! Pure functions on register values. Division by zero gives 0, the remainder by zero the
//! dividend; 32-bit results are zero-extended; shift counts are taken modulo the width.

use aya_obj::generated as uapi;

use crate::codegen::insn::Insn;

fn op(i: Insn) -> u32 {
    u32::from(i.code) & 0xf0
}

fn by_register(i: Insn) -> bool {
    u32::from(i.code) & uapi::BPF_X != 0
}

/// Whether the operation reads its destination.
pub fn reads_dst(i: Insn) -> bool {
    op(i) != uapi::BPF_MOV
}

/// Whether the operation reads its source register.
pub fn reads_src(i: Insn) -> bool {
    by_register(i) && !matches!(op(i), uapi::BPF_NEG | uapi::BPF_END)
}

/// Result of a 64-bit operation; `None` for an invalid instruction.
pub fn alu64(i: Insn, dst: u64, src: u64) -> Option<u64> {
    let signed = i.off == 1;
    let (sdst, ssrc) = (dst as i64, src as i64);
    Some(match op(i) {
        uapi::BPF_ADD => dst.wrapping_add(src),
        uapi::BPF_SUB => dst.wrapping_sub(src),
        uapi::BPF_MUL => dst.wrapping_mul(src),
        uapi::BPF_DIV if src == 0 => 0,
        uapi::BPF_DIV if signed => sdst.wrapping_div(ssrc) as u64,
        uapi::BPF_DIV => dst / src,
        uapi::BPF_MOD if src == 0 => dst,
        uapi::BPF_MOD if signed => sdst.wrapping_rem(ssrc) as u64,
        uapi::BPF_MOD => dst % src,
        uapi::BPF_OR => dst | src,
        uapi::BPF_AND => dst & src,
        uapi::BPF_XOR => dst ^ src,
        uapi::BPF_LSH => dst.wrapping_shl(src as u32),
        uapi::BPF_RSH => dst.wrapping_shr(src as u32),
        uapi::BPF_ARSH => sdst.wrapping_shr(src as u32) as u64,
        uapi::BPF_NEG => sdst.wrapping_neg() as u64,
        uapi::BPF_MOV => match i.off {
            0 => src,
            8 => src as i8 as u64,
            16 => src as i16 as u64,
            32 => src as i32 as u64,
            _ => return None,
        },
        uapi::BPF_END => match i.imm {
            16 => u64::from((dst as u16).swap_bytes()),
            32 => u64::from((dst as u32).swap_bytes()),
            64 => dst.swap_bytes(),
            _ => return None,
        },
        _ => return None,
    })
}

/// Result of a 32-bit operation, zero-extended (byte order conversions give up to 64 bits);
/// `None` for an invalid instruction.
pub fn alu32(i: Insn, dst64: u64, src64: u64) -> Option<u64> {
    let signed = i.off == 1;
    let (dst, src) = (dst64 as u32, src64 as u32);
    let (sdst, ssrc) = (dst as i32, src as i32);
    let r = match op(i) {
        uapi::BPF_ADD => dst.wrapping_add(src),
        uapi::BPF_SUB => dst.wrapping_sub(src),
        uapi::BPF_MUL => dst.wrapping_mul(src),
        uapi::BPF_DIV if src == 0 => 0,
        uapi::BPF_DIV if signed => sdst.wrapping_div(ssrc) as u32,
        uapi::BPF_DIV => dst / src,
        uapi::BPF_MOD if src == 0 => dst,
        uapi::BPF_MOD if signed => sdst.wrapping_rem(ssrc) as u32,
        uapi::BPF_MOD => dst % src,
        uapi::BPF_OR => dst | src,
        uapi::BPF_AND => dst & src,
        uapi::BPF_XOR => dst ^ src,
        uapi::BPF_LSH => dst.wrapping_shl(src),
        uapi::BPF_RSH => dst.wrapping_shr(src),
        uapi::BPF_ARSH => sdst.wrapping_shr(src) as u32,
        uapi::BPF_NEG => sdst.wrapping_neg() as u32,
        uapi::BPF_MOV => match i.off {
            0 => src,
            8 => src as i8 as u32,
            16 => src as i16 as u32,
            _ => return None,
        },
        uapi::BPF_END => {
            let big = by_register(i);
            return Some(match (i.imm, big) {
                (16, true) => u64::from((dst64 as u16).to_be()),
                (16, false) => u64::from((dst64 as u16).to_le()),
                (32, true) => u64::from(dst.to_be()),
                (32, false) => u64::from(dst.to_le()),
                (64, true) => dst64.to_be(),
                (64, false) => dst64.to_le(),
                _ => return None,
            });
        }
        _ => return None,
    };
    Some(u64::from(r))
}

/// Whether the jump's condition holds; `None` for an invalid instruction.
pub fn condition(i: Insn, wide: bool, dst: u64, src: u64) -> Option<bool> {
    let (a, b) = if wide {
        (dst, src)
    } else {
        (u64::from(dst as u32), u64::from(src as u32))
    };
    let (sa, sb) = if wide {
        (dst as i64, src as i64)
    } else {
        (i64::from(dst as i32), i64::from(src as i32))
    };
    Some(match op(i) {
        uapi::BPF_JEQ => a == b,
        uapi::BPF_JNE => a != b,
        uapi::BPF_JGT => a > b,
        uapi::BPF_JGE => a >= b,
        uapi::BPF_JLT => a < b,
        uapi::BPF_JLE => a <= b,
        uapi::BPF_JSGT => sa > sb,
        uapi::BPF_JSGE => sa >= sb,
        uapi::BPF_JSLT => sa < sb,
        uapi::BPF_JSLE => sa <= sb,
        uapi::BPF_JSET => a & b != 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::insn::{AluOp, JmpOp, R1, R2, Size};

    fn wide(op: AluOp, a: u64, b: u64) -> u64 {
        alu64(Insn::alu64(op, R1, R2), a, b).unwrap()
    }

    fn narrow(op: AluOp, a: u64, b: u64) -> u64 {
        alu32(Insn::alu32(op, R1, R2), a, b).unwrap()
    }

    #[test]
    fn division_by_zero_is_defined() {
        let dirty = 0xffff_ffff_0000_0007;
        assert_eq!(wide(AluOp::Div, 7, 0), 0);
        assert_eq!(wide(AluOp::Sdiv, 7, 0), 0);
        assert_eq!(wide(AluOp::Mod, dirty, 0), dirty);
        assert_eq!(narrow(AluOp::Mod, dirty, 0), 7);
        assert_eq!(narrow(AluOp::Smod, dirty, 1 << 32), 7);
    }

    #[test]
    fn signed_division_overflow_wraps() {
        let min = i64::MIN as u64;
        assert_eq!(wide(AluOp::Sdiv, min, u64::MAX), min);
        assert_eq!(wide(AluOp::Smod, min, u64::MAX), 0);
        assert_eq!(wide(AluOp::Sdiv, -7i64 as u64, 2), -3i64 as u64);
        assert_eq!(wide(AluOp::Smod, -7i64 as u64, 2), -1i64 as u64);
    }

    #[test]
    fn shift_counts_are_masked_and_narrow_results_zero_extended() {
        assert_eq!(wide(AluOp::Lsh, 1, 65), 2);
        assert_eq!(narrow(AluOp::Lsh, 1, 33), 2);
        assert_eq!(narrow(AluOp::Arsh, 0x8000_0000, 31), 0xffff_ffff);
        assert_eq!(narrow(AluOp::Sub, 0, 1), 0xffff_ffff);
    }

    #[test]
    fn extension_and_byte_order() {
        assert_eq!(
            alu64(Insn::movsx64(R1, R2, Size::B), 0, 0x80),
            Some(-128i64 as u64)
        );
        assert_eq!(
            alu32(Insn::movsx32(R1, R2, Size::H), 0, 0x8000),
            Some(0xffff_8000)
        );
        assert_eq!(alu64(Insn::bswap(R1, Size::H), 0x112233, 0), Some(0x3322));
        assert_eq!(alu32(Insn::to_be(R1, Size::DW), 1, 0), Some(1u64.to_be()));
    }

    #[test]
    fn narrow_comparisons_ignore_the_upper_half() {
        let j = |op| Insn::jmp32(op, R1, R2, 0);
        assert_eq!(condition(j(JmpOp::Eq), false, 1 << 32 | 5, 5), Some(true));
        assert_eq!(condition(j(JmpOp::Slt), false, 0xffff_ffff, 0), Some(true));
        assert_eq!(condition(j(JmpOp::Slt), true, 0xffff_ffff, 0), Some(false));
    }
}
