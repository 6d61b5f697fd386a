//! Where the members of a struct or union lie: the System V ABI as GCC and Clang apply it.
//!
//! In: members with sizes, alignments and bitfield widths. Out: offsets, size and alignment.

use super::model::RecordKind;

/// What the layout needs to know of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Size of the type in bytes.
    pub size: u64,
    /// Alignment of the type in bytes.
    pub align: u64,
    /// Alignment that the member's own attribute demands.
    pub aligned: Option<u64>,
    /// The member's own `packed`.
    pub packed: bool,
    /// Width of a bitfield.
    pub bits: Option<u32>,
    /// Whether it has a name: nameless bitfields do not align their struct.
    pub named: bool,
}

/// Attributes of the whole record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `packed`
    pub packed: bool,
    /// `aligned(N)`
    pub aligned: Option<u64>,
    /// `#pragma pack(N)`, 0 if none.
    pub pack: u64,
}

/// The result: offsets in bits, size and alignment in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Offset of each member in bits.
    pub offsets: Vec<u64>,
    /// Bytes.
    pub size: u64,
    /// Bytes.
    pub align: u64,
}

/// Lays a record out; `None` where it would be larger than the address space.
pub fn lay_out(kind: RecordKind, rules: Rules, members: &[Slot]) -> Option<Layout> {
    let mut end = 0u64;
    let mut size = 0u64;
    let mut align = 1u64;
    let mut offsets = Vec::with_capacity(members.len());
    for m in members {
        if kind == RecordKind::Union {
            end = 0;
        }
        let mut natural = if rules.packed || m.packed {
            1
        } else {
            m.align.max(1)
        };
        if rules.pack != 0 {
            natural = natural.min(rules.pack);
        }
        natural = natural.max(m.aligned.unwrap_or(1));
        let bits_of_type = m.size.checked_mul(8)?;
        let (start, width) = match m.bits {
            Some(0) => {
                // Ends the storage unit; in a packed record too.
                end = end.checked_next_multiple_of(m.align.max(1).checked_mul(8)?)?;
                offsets.push(end);
                if kind == RecordKind::Struct {
                    size = size.max(end);
                }
                continue;
            }
            Some(width) => {
                let width = u64::from(width);
                let mut start = end;
                if let Some(a) = m.aligned {
                    start = start.checked_next_multiple_of(a.checked_mul(8)?)?;
                }
                let loose = rules.packed || m.packed || rules.pack != 0 && rules.pack < m.align;
                // A bitfield does not straddle units of its type.
                if !loose
                    && bits_of_type > 0
                    && start / bits_of_type != (start + width - 1) / bits_of_type
                {
                    start = start.checked_next_multiple_of(bits_of_type)?;
                }
                (start, width)
            }
            None => (
                end.checked_next_multiple_of(natural.checked_mul(8)?)?,
                bits_of_type,
            ),
        };
        if m.bits.is_none() || m.named {
            align = align.max(natural);
        }
        offsets.push(start);
        end = start.checked_add(width)?;
        size = size.max(end);
    }
    align = align.max(rules.aligned.unwrap_or(1));
    let size = size.div_ceil(8).checked_next_multiple_of(align)?;
    Some(Layout {
        offsets,
        size,
        align,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(size: u64) -> Slot {
        Slot {
            size,
            align: size,
            aligned: None,
            packed: false,
            bits: None,
            named: true,
        }
    }

    fn bits(size: u64, width: u32) -> Slot {
        Slot {
            bits: Some(width),
            ..plain(size)
        }
    }

    #[test]
    fn members_are_aligned_and_the_tail_padded() {
        let l = lay_out(
            RecordKind::Struct,
            Rules::default(),
            &[plain(1), plain(8), plain(2)],
        );
        assert_eq!(
            l.unwrap(),
            Layout {
                offsets: vec![0, 64, 128],
                size: 24,
                align: 8
            }
        );
        let packed = Rules {
            packed: true,
            ..Rules::default()
        };
        let l = lay_out(RecordKind::Struct, packed, &[plain(1), plain(8)]).unwrap();
        assert_eq!((l.offsets, l.size, l.align), (vec![0, 8], 9, 1));
    }

    #[test]
    fn bitfields_share_units_but_do_not_straddle_them() {
        let s = [bits(4, 3), bits(4, 30), bits(4, 0), bits(1, 2)];
        let l = lay_out(RecordKind::Struct, Rules::default(), &s).unwrap();
        assert_eq!((l.offsets, l.size), (vec![0, 32, 64, 64], 12));
        let u = lay_out(RecordKind::Union, Rules::default(), &[bits(4, 3), plain(2)]).unwrap();
        assert_eq!((u.offsets, u.size, u.align), (vec![0, 0], 4, 4));
    }

    #[test]
    fn absurd_sizes_have_no_layout() {
        assert_eq!(
            lay_out(RecordKind::Struct, Rules::default(), &[plain(1 << 63)]),
            None
        );
    }
}
