//! Addresses: every pointer of a program says which region it belongs to.
//!
//! ```text
//!   63    60 59   56 55        40 39                    0
//!   +-------+-------+------------+----------------------+
//!   |  0x5  | kind  |   index    | BIAS + offset        |
//!   +-------+-------+------------+----------------------+
//! ```
//! The range is neither a user nor a kernel address on any 64-bit Linux, so a pointer of the
//! machine can be told from a number that came from elsewhere. The bias lets a pointer step
//! below its region and come back without changing its region; an access there is out of
//! bounds all the same.

use std::fmt;

const TAG: u64 = 0x5 << 60;
const TAG_MASK: u64 = 0xf << 60;
const KIND_SHIFT: u32 = 56;
const INDEX_SHIFT: u32 = 40;
const OFFSET_MASK: u64 = (1 << INDEX_SHIFT) - 1;
const BIAS: u64 = 1 << 38;

/// Regions that `index` can tell apart.
pub const MAX_INDEX: usize = 1 << (KIND_SHIFT - INDEX_SHIFT);

/// Kinds of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The frame of a function; index: call depth.
    Stack,
    /// The program's context.
    Context,
    /// A map itself, which only helpers may use; index: map.
    Map,
    /// Values of a map; index: map, offset: see the map.
    MapValue,
    /// The key that a walk over a map shows its callback; index: nesting of walks.
    Key,
    /// A reserved record; index: map, offset: position in the ring.
    Record,
    /// A function of the program; offset: instruction slot.
    Function,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Stack,
        Kind::Context,
        Kind::Map,
        Kind::MapValue,
        Kind::Key,
        Kind::Record,
        Kind::Function,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Stack => "stack frame",
            Kind::Context => "context",
            Kind::Map => "map",
            Kind::MapValue => "map value",
            Kind::Key => "map key",
            Kind::Record => "ring buffer record",
            Kind::Function => "function",
        })
    }
}

/// A decoded pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Kind of region.
    pub kind: Kind,
    /// Which region of that kind.
    pub index: usize,
    /// Bytes from the start of the region; negative below it.
    pub offset: i64,
}

impl Pointer {
    /// The address that stands for byte `offset` of region `index`.
    pub fn encode(kind: Kind, index: usize, offset: u64) -> u64 {
        TAG | (kind as u64) << KIND_SHIFT
            | (index as u64 % MAX_INDEX as u64) << INDEX_SHIFT
            | ((BIAS + offset) & OFFSET_MASK)
    }

    /// The pointer that `addr` is, if it is one.
    pub fn decode(addr: u64) -> Option<Pointer> {
        if addr & TAG_MASK != TAG {
            return None;
        }
        let kind = *Kind::ALL.get((addr >> KIND_SHIFT & 0xf) as usize)?;
        Some(Pointer {
            kind,
            index: (addr >> INDEX_SHIFT) as usize % MAX_INDEX,
            offset: (addr & OFFSET_MASK) as i64 - BIAS as i64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_survive_arithmetic_below_their_region() {
        for kind in Kind::ALL {
            let p = Pointer::encode(kind, 513, 8);
            let expected = Pointer {
                kind,
                index: 513,
                offset: 8,
            };
            assert_eq!(Pointer::decode(p), Some(expected));
            assert_eq!(Pointer::decode(p - 24).map(|p| p.offset), Some(-16));
            assert_eq!(Pointer::decode(p - 24 + 24), Some(expected));
        }
    }

    #[test]
    fn kernel_and_user_addresses_are_not_pointers() {
        for addr in [0, 1, 0x7fff_ffff_f000, 0xffff_ffff_8100_0000, u64::MAX] {
            assert_eq!(Pointer::decode(addr), None);
        }
    }
}
