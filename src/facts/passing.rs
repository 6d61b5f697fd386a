//! Where a function finds its arguments when it starts.
//!
//! In: a function's signature from debug information. Out: for each parameter what to read. Where
//! debug information describes the start of the function, that is taken; else the calling
//! convention decides: that of C and C++ (System V, AAPCS64), or what rustc does.
//!
//! What a probe cannot read, floating point registers above all, is said to be so: it takes up
//! what it takes up, and no other argument's value is given for it.

use crate::ctypes::model::{CType, TypeId, TypeSource};
use crate::sema::env::{ArgPart, ArgSource};
use crate::sema::hir::ArgLocation;
use crate::symbols::dwarf::entry::{Piece, Place, Spot};
use crate::symbols::dwarf::types::{Signature, UnitTypes};

/// Integer argument registers in order (System V AMD64 ABI, section 3.2.3).
#[cfg(target_arch = "x86_64")]
const REGISTERS: &[&str] = &["di", "si", "dx", "cx", "r8", "r9"];
/// Integer argument registers in order (AAPCS64, section 6.8.2).
#[cfg(target_arch = "aarch64")]
const REGISTERS: &[&str] = &["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"];
/// The calling conventions of other architectures are not known.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REGISTERS: &[&str] = &[];

/// Registers by their DWARF numbers (System V AMD64 ABI, figure 3.36).
#[cfg(target_arch = "x86_64")]
const BY_NUMBER: &[&str] = &[
    "ax", "dx", "cx", "bx", "si", "di", "bp", "sp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
/// Registers by their DWARF numbers (DWARF for the Arm 64-bit Architecture, section 4.1).
#[cfg(target_arch = "aarch64")]
const BY_NUMBER: &[&str] = &[
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27",
    "r28", "r29", "r30", "sp",
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const BY_NUMBER: &[&str] = &[];

/// Floating point argument registers of both.
const FLOAT_REGISTERS: usize = 8;
/// Bytes between the stack pointer and the first argument on the stack: x86 calls push the
/// return address.
const STACK_START: u32 = if cfg!(target_arch = "x86_64") { 8 } else { 0 };
/// Larger values are not passed in registers.
const IN_REGISTERS: u64 = 16;
/// Larger aggregates that are neither one nor two scalars, rustc passes as pointers.
const RUST_BY_VALUE: u64 = 8;
/// Scalars that a value may have and still be looked at: registers hold no more.
const MAX_LEAVES: usize = 16;

const FLOATING: &str = "it is in a floating point register, which probes cannot read";
const DROPPED: &str = "the compiler optimised it away";
const EMPTY: &str = "its type has no members";
const UNKNOWN: &str = "debug information does not say where it is";

/// A parameter: its name, its type, and what to read.
pub(super) struct Passed {
    pub name: String,
    pub ty: TypeId,
    pub source: ArgSource,
}

/// The places of a function's parameters.
pub(super) fn places(types: &UnitTypes, signature: &Signature) -> Vec<Passed> {
    let mut convention = Convention::new(types, signature.ret);
    let one = |(i, p): (usize, &crate::symbols::dwarf::types::Parameter)| {
        // Each takes up its place, wherever the value is said to be.
        let by_convention = convention.next(p.ty, p.place == Place::Reference);
        let source = match &p.place {
            Place::Convention | Place::Reference => by_convention,
            Place::Gone => ArgSource::Lost(DROPPED),
            Place::At(pieces) => described(types, p.ty, pieces),
        };
        let name = if p.name.is_empty() {
            format!("arg{i}")
        } else {
            p.name.clone()
        };
        Passed {
            name,
            ty: p.ty,
            source,
        }
    };
    signature.params.iter().enumerate().map(one).collect()
}

/// A scalar inside a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaf {
    offset: u64,
    size: u64,
    float: bool,
}

/// The scalars of a value, in order of their members; `None` if they are too many.
fn leaves(types: &UnitTypes, id: TypeId) -> Option<Vec<Leaf>> {
    fn walk(types: &UnitTypes, id: TypeId, at: u64, out: &mut Vec<Leaf>, depth: u32) -> Option<()> {
        if depth > 16 || out.len() > MAX_LEAVES {
            return None;
        }
        let mut leaf = |size, float| {
            let new = Leaf {
                offset: at,
                size,
                float,
            };
            // Members of unions and of enums share their storage.
            if !out.contains(&new) {
                out.push(new);
            }
        };
        match types.ctype(types.resolve(id)) {
            CType::Int { size, .. } | CType::Enum { size, .. } => leaf(u64::from(size), false),
            CType::Float { size, .. } => leaf(u64::from(size), true),
            CType::Pointer(_) => leaf(8, false),
            CType::Array { element, len } => {
                let stride = types.size(element)?;
                if len > MAX_LEAVES as u64 {
                    return None;
                }
                for i in 0..len {
                    let at = at.checked_add(i.checked_mul(stride)?)?;
                    walk(types, element, at, out, depth + 1)?;
                }
            }
            CType::Record { .. } => {
                for m in types.members(types.resolve(id)) {
                    // Offsets of damaged data would overflow.
                    if m.bit_offset > u64::from(u32::MAX) {
                        return None;
                    }
                    match m.bits {
                        Some(bits) => {
                            let first = at + m.bit_offset / 8;
                            let end = (m.bit_offset + u64::from(bits)).div_ceil(8) + at;
                            let size = (end - first).max(1);
                            out.push(Leaf {
                                offset: first,
                                size,
                                float: false,
                            });
                        }
                        None => walk(types, m.ty, at + m.bit_offset / 8, out, depth + 1)?,
                    }
                }
            }
            _ => {}
        }
        Some(())
    }
    let mut out = Vec::new();
    walk(types, id, 0, &mut out, 0)?;
    (out.len() <= MAX_LEAVES).then_some(out)
}

/// Whether a value is one of a language's own scalars rather than made of several.
fn is_aggregate(types: &UnitTypes, id: TypeId) -> bool {
    matches!(
        types.ctype(types.resolve(id)),
        CType::Record { .. } | CType::Array { .. }
    )
}

/// How a value travels.
enum Way {
    /// Each of these words in a register: bytes from the value's start, bytes, floating point.
    Registers(Vec<Leaf>),
    /// A copy on the stack.
    Stack,
    /// A pointer to a copy.
    Pointer,
}

/// What arguments have used up so far.
struct Convention<'a> {
    types: &'a UnitTypes,
    integers: usize,
    floats: usize,
    stack: u32,
}

impl<'a> Convention<'a> {
    fn new(types: &'a UnitTypes, ret: TypeId) -> Self {
        let mut new = Self {
            types,
            integers: 0,
            floats: 0,
            stack: STACK_START,
        };
        // A result in memory: where to put it comes first. (arm64 has a register for that.)
        let in_memory = matches!(new.way(ret, false), Way::Stack | Way::Pointer);
        if in_memory && types.size(ret).is_some() && cfg!(target_arch = "x86_64") {
            new.integers = 1;
        }
        new
    }

    fn way(&self, ty: TypeId, reference: bool) -> Way {
        if reference || self.types.passed_by_reference(ty) {
            return Way::Pointer;
        }
        let size = self.types.size(ty).unwrap_or(8);
        let leaves = leaves(self.types, ty);
        if self.types.rust {
            return rust_way(size, leaves, is_aggregate(self.types, ty));
        }
        let in_memory = if cfg!(target_arch = "x86_64") {
            Way::Stack
        } else {
            Way::Pointer
        };
        let Some(leaves) = leaves else {
            return in_memory;
        };
        // Packed members, and the 80-bit numbers that other registers hold.
        let odd = |l: &Leaf| {
            l.float && l.size > 8
                || l.size.is_power_of_two() && !l.offset.is_multiple_of(l.size.min(8))
        };
        if size > IN_REGISTERS || leaves.iter().any(odd) {
            return in_memory;
        }
        let words = (0..size.div_ceil(8)).filter_map(|i| {
            let within = |l: &&Leaf| l.offset < i * 8 + 8 && l.offset + l.size > i * 8;
            let inside: Vec<&Leaf> = leaves.iter().filter(within).collect();
            // An empty class takes no register.
            if inside.is_empty() {
                return None;
            }
            Some(Leaf {
                offset: i * 8,
                size: (size - i * 8).min(8),
                float: inside.iter().all(|l| l.float),
            })
        });
        Way::Registers(words.collect())
    }

    /// The place of the next argument.
    fn next(&mut self, ty: TypeId, reference: bool) -> ArgSource {
        if REGISTERS.is_empty() {
            return ArgSource::Lost(UNKNOWN);
        }
        match self.way(ty, reference) {
            Way::Registers(words) => self.in_registers(ty, &words),
            Way::Stack => self.on_stack(ty),
            Way::Pointer => match self.integer() {
                Some(regs_offset) => ArgSource::Memory {
                    regs_offset,
                    offset: 0,
                },
                // A pointer on the stack would have to be followed first.
                None => {
                    self.stack += 8;
                    ArgSource::Lost(UNKNOWN)
                }
            },
        }
    }

    fn integer(&mut self) -> Option<u32> {
        let name = REGISTERS.get(self.integers)?;
        self.integers += 1;
        regs_offset(name)
    }

    fn in_registers(&mut self, ty: TypeId, words: &[Leaf]) -> ArgSource {
        let floats = words.iter().filter(|w| w.float).count();
        let integers = words.len() - floats;
        if self.integers + integers > REGISTERS.len() || self.floats + floats > FLOAT_REGISTERS {
            return self.on_stack(ty);
        }
        self.floats += floats;
        let mut parts = Vec::new();
        for w in words.iter().filter(|w| !w.float) {
            let Some(at) = self.integer() else {
                return ArgSource::Lost(UNKNOWN);
            };
            in_register(at, w.offset as u32, w.size as u32, &mut parts);
        }
        if floats > 0 {
            return ArgSource::Lost(FLOATING);
        }
        scalar_or_parts(self.types, ty, parts)
    }

    fn on_stack(&mut self, ty: TypeId) -> ArgSource {
        let align = self.types.align(ty).unwrap_or(8).clamp(8, 64) as u32;
        // Alignment is that of the frame, whose end the return address is below.
        let at = (self.stack - STACK_START).next_multiple_of(align) + STACK_START;
        let size = self.types.size(ty).unwrap_or(8).clamp(1, 1 << 20) as u32;
        self.stack = at.saturating_add(size.next_multiple_of(8)).min(1 << 24);
        match regs_offset("sp") {
            Some(regs_offset) => ArgSource::Memory {
                regs_offset,
                offset: at,
            },
            None => ArgSource::Lost(UNKNOWN),
        }
    }
}

/// rustc passes one scalar or a pair of them in registers, small aggregates as one integer, and
/// pointers to everything else.
fn rust_way(size: u64, leaves: Option<Vec<Leaf>>, aggregate: bool) -> Way {
    match leaves {
        Some(l) if l.len() <= 2 && l.iter().all(|l| l.size <= 16) => {
            let overlap = l.len() == 2 && {
                let (a, b) = (l[0], l[1]);
                a.offset < b.offset + b.size && b.offset < a.offset + a.size
            };
            // 128-bit integers take two registers.
            if !overlap {
                let words = l.iter().flat_map(|l| {
                    (0..l.size.div_ceil(8)).map(|i| Leaf {
                        offset: l.offset + i * 8,
                        size: (l.size - i * 8).min(8),
                        float: l.float,
                    })
                });
                return Way::Registers(words.collect());
            }
            small(size)
        }
        _ if aggregate => small(size),
        _ => Way::Pointer,
    }
}

fn small(size: u64) -> Way {
    if size > RUST_BY_VALUE {
        return Way::Pointer;
    }
    Way::Registers(vec![Leaf {
        offset: 0,
        size,
        float: false,
    }])
}

fn regs_offset(name: &str) -> Option<u32> {
    u32::try_from(crate::sema::register(name)?).ok()
}

/// Where the registers are saved that DWARF calls by this number; `None` for those that are not.
fn by_number(number: u16) -> Option<u32> {
    regs_offset(BY_NUMBER.get(usize::from(number))?)
}

/// Sizes that a register or memory can be read in, as many as `size` needs: offset and bytes.
fn chunks(size: u32) -> impl Iterator<Item = (u32, u8)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let left = size.checked_sub(at).filter(|l| *l > 0)?;
        let bytes = [8u32, 4, 2, 1].into_iter().find(|b| *b <= left)?;
        let chunk = (at, bytes as u8);
        at += bytes;
        Some(chunk)
    })
}

fn in_register(regs_offset: u32, offset: u32, size: u32, parts: &mut Vec<ArgPart>) {
    for (at, bytes) in chunks(size) {
        parts.push(ArgPart {
            at: ArgLocation::Reg {
                regs_offset: regs_offset + at,
                size: bytes,
                signed: false,
            },
            offset: offset + at,
            size: bytes,
        });
    }
}

/// The sign of a scalar, and its size if it is one.
fn scalar(types: &UnitTypes, ty: TypeId) -> Option<(u8, bool)> {
    Some(match types.ctype(types.resolve(ty)) {
        CType::Int {
            size: size @ (1 | 2 | 4 | 8),
            signed,
            ..
        }
        | CType::Enum {
            size: size @ (1 | 2 | 4 | 8),
            signed,
            ..
        } => (size as u8, signed),
        CType::Pointer(_) => (8, false),
        _ => return None,
    })
}

/// Parts that are a scalar as one; others as they are.
fn scalar_or_parts(types: &UnitTypes, ty: TypeId, parts: Vec<ArgPart>) -> ArgSource {
    if types.size(ty) == Some(0) {
        return ArgSource::Lost(EMPTY);
    }
    let Some((size, signed)) = scalar(types, ty) else {
        return ArgSource::Parts(parts);
    };
    match parts.first().map(|p| p.at.clone()) {
        Some(ArgLocation::Reg { regs_offset, .. }) => ArgSource::Location(ArgLocation::Reg {
            regs_offset,
            size,
            signed,
        }),
        Some(ArgLocation::Memory {
            base,
            index,
            offset,
            ..
        }) => ArgSource::Location(ArgLocation::Memory {
            base,
            index,
            offset,
            size,
            signed,
        }),
        _ => ArgSource::Lost(UNKNOWN),
    }
}

/// The place that debug information gives.
fn described(types: &UnitTypes, ty: TypeId, pieces: &[Piece]) -> ArgSource {
    let whole = types.size(ty).unwrap_or(8).min(u64::from(u32::MAX)) as u32;
    if let [
        Piece {
            spot: Spot::Memory(register, offset),
            size: 0,
            ..
        },
    ] = pieces
    {
        return match (by_number(*register), u32::try_from(*offset)) {
            (Some(regs_offset), Ok(offset)) => ArgSource::Memory {
                regs_offset,
                offset,
            },
            _ => ArgSource::Lost(UNKNOWN),
        };
    }
    if let (
        [
            Piece {
                spot: Spot::Constant(value),
                size: 0,
                ..
            },
        ],
        Some((size, signed)),
    ) = (pieces, scalar(types, ty))
    {
        return ArgSource::Location(ArgLocation::Const {
            value: *value,
            size,
            signed,
        });
    }
    let leaves = leaves(types, ty);
    let mut parts = Vec::new();
    for p in pieces {
        let size = if p.size == 0 { whole } else { p.size };
        let needed = leaves.as_ref().is_none_or(|all| {
            let start = u64::from(p.offset);
            let end = start + u64::from(size);
            all.iter()
                .any(|l| l.offset < end && l.offset + l.size > start)
        });
        match p.spot {
            Spot::Register(n) => match by_number(n) {
                Some(at) if size <= 8 => in_register(at, p.offset, size, &mut parts),
                Some(_) => return ArgSource::Lost(UNKNOWN),
                None => return ArgSource::Lost(FLOATING),
            },
            Spot::Memory(n, offset) => {
                let Some(base) = by_number(n) else {
                    return ArgSource::Lost(UNKNOWN);
                };
                for (at, bytes) in chunks(size) {
                    parts.push(ArgPart {
                        at: ArgLocation::Memory {
                            base,
                            index: None,
                            offset: offset.saturating_add(i64::from(at)),
                            size: bytes,
                            signed: false,
                        },
                        offset: p.offset.saturating_add(at),
                        size: bytes,
                    });
                }
            }
            Spot::Constant(value) => {
                for (at, bytes) in chunks(size.min(8)) {
                    parts.push(ArgPart {
                        at: ArgLocation::Const {
                            value: value >> (at * 8).min(63),
                            size: bytes,
                            signed: false,
                        },
                        offset: p.offset.saturating_add(at),
                        size: bytes,
                    });
                }
            }
            // Padding has no place; members must have one.
            Spot::Gone if needed => return ArgSource::Lost(DROPPED),
            Spot::Gone => {}
        }
    }
    scalar_or_parts(types, ty, parts)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_are_read_in_steps_that_stay_aligned() {
        let all = |n| chunks(n).collect::<Vec<_>>();
        assert_eq!(all(8), [(0, 8)]);
        assert_eq!(all(7), [(0, 4), (4, 2), (6, 1)]);
        assert_eq!(all(12), [(0, 8), (8, 4)]);
        assert_eq!(all(0), []);
    }

    #[test]
    fn registers_by_number() {
        let rdi = regs_offset("di").unwrap();
        assert_eq!(rdi, 112, "rdi in struct pt_regs");
        assert_eq!(by_number(5), Some(rdi));
        assert_eq!(by_number(7), regs_offset("sp"));
        assert_eq!(by_number(17), None, "xmm0");
    }
}
