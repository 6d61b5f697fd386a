//! Integer promotion: the type that two integer types meet in.

use super::IntTy;

/// The smallest type of a non-negative literal: signed where it fits, else `uint64`.
pub fn int_for_literal(value: u64) -> IntTy {
    let size = match value {
        0..=0x7f => 1,
        0x80..=0x7fff => 2,
        0x8000..=0x7fff_ffff => 4,
        _ => 8,
    };
    IntTy {
        signed: value <= i64::MAX as u64,
        size,
    }
}

/// Joins two integer types, neither of which is a sign-flexible literal: the larger of equal
/// signedness; the signed one if it is strictly larger; else a signed type of twice the
/// larger size, at most 8 bytes.
pub fn join_ints(a: IntTy, b: IntTy) -> IntTy {
    if a.signed == b.signed {
        return if a.size >= b.size { a } else { b };
    }
    let (s, u) = if a.signed { (a, b) } else { (b, a) };
    if s.size > u.size {
        return s;
    }
    IntTy {
        signed: true,
        size: (u.size.max(s.size) * 2).min(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_signs_meet_in_a_larger_signed_type() {
        let i8_ = IntTy {
            signed: true,
            size: 1,
        };
        assert_eq!(join_ints(i8_, IntTy::U32), IntTy::I64);
        assert_eq!(join_ints(IntTy::I64, IntTy::U64), IntTy::I64);
        assert_eq!(join_ints(IntTy::I64, IntTy::U32), IntTy::I64);
        assert_eq!(join_ints(IntTy::I32, IntTy::I64), IntTy::I64);
    }

    #[test]
    fn literals_take_the_smallest_signed_type() {
        assert_eq!(int_for_literal(127).size, 1);
        assert_eq!(int_for_literal(128).size, 2);
        assert_eq!(int_for_literal(40_000).size, 4);
        assert_eq!(int_for_literal(u64::MAX), IntTy::U64);
    }
}
