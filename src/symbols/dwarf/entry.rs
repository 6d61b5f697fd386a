//! Where a parameter is when its function starts, as debug information says.
//!
//! In: the location attribute of a parameter, the function's first address and frame base. Out:
//! a [`Place`]. Compilers describe optimised code exactly, and only they know which arguments they
//! dropped, made constants or moved. Unoptimised code describes where the prologue will have
//! stored the argument, which is not there yet: that is [`Place::Convention`].

use gimli::{AttributeValue, Operation};

use super::reader::{Dwarf, Entry, Slice, Unit};

/// Where a parameter is at the first instruction of its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the calling convention puts it.
    Convention,
    /// Where the calling convention puts a pointer to it.
    Reference,
    /// In these pieces.
    At(Vec<Piece>),
    /// Nowhere: the compiler dropped it.
    Gone,
}

/// Part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it is.
    pub spot: Spot,
    /// Bytes from the start of the value.
    pub offset: u32,
    /// Bytes; 0 for the whole value.
    pub size: u32,
}

/// A place that a probe can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// A register, by its DWARF number.
    Register(u16),
    /// Memory this far above a register, by its DWARF number.
    Memory(u16, i64),
    /// A constant.
    Constant(i64),
    /// Not kept.
    Gone,
}

/// What frame offsets of a function count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameBase {
    /// The canonical frame address, or this far from it.
    Cfa(i64),
    /// A register that the prologue has yet to set.
    Later,
}

/// The stack pointer, and how far above it the canonical frame address is at the start.
#[cfg(target_arch = "x86_64")]
const STACK: (u16, i64) = (7, 8);
#[cfg(not(target_arch = "x86_64"))]
const STACK: (u16, i64) = (31, 0);

/// What the frame offsets of function `e` count from.
pub(super) fn frame_base(unit: &Unit<'_>, e: &Entry<'_>) -> FrameBase {
    let Some(AttributeValue::Exprloc(x)) = e.attr_value(gimli::DW_AT_frame_base) else {
        return FrameBase::Later;
    };
    let mut ops = x.operations(unit.encoding());
    match ops.next() {
        Ok(Some(Operation::CallFrameCFA)) => FrameBase::Cfa(0),
        // rbp of x86-64, once the return address and the old one are above it.
        Ok(Some(Operation::Register { register }))
            if cfg!(target_arch = "x86_64") && register.0 == 6 =>
        {
            FrameBase::Cfa(-16)
        }
        _ => FrameBase::Later,
    }
}

/// Where the parameter `p` is at `start`. `later` is what it means that debug information begins
/// to describe it after that, or as a computation.
pub(super) fn place(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    p: &Entry<'_>,
    start: u64,
    base: FrameBase,
    later: &Place,
) -> Place {
    if let Some(constant) = p.attr_value(gimli::DW_AT_const_value) {
        let n = match constant {
            AttributeValue::Sdata(n) => Some(n),
            v => v.udata_value().map(u64::cast_signed),
        };
        let spot = n.map_or(Spot::Gone, Spot::Constant);
        return whole(spot);
    }
    let Some(location) = p.attr_value(gimli::DW_AT_location) else {
        return Place::Gone;
    };
    if let AttributeValue::Exprloc(x) = location {
        return expression(unit, x, base, later);
    }
    let Ok(Some(mut list)) = dwarf.attr_locations(unit, location) else {
        return Place::Gone;
    };
    while let Ok(Some(at)) = list.next() {
        if (at.range.begin..at.range.end).contains(&start) {
            return expression(unit, at.data, base, later);
        }
    }
    later.clone()
}

fn whole(spot: Spot) -> Place {
    match spot {
        Spot::Gone => Place::Gone,
        spot => Place::At(vec![Piece {
            spot,
            offset: 0,
            size: 0,
        }]),
    }
}

/// A location description: one place, or pieces.
fn expression(
    unit: &Unit<'_>,
    x: gimli::Expression<Slice<'_>>,
    base: FrameBase,
    later: &Place,
) -> Place {
    let mut ops = Ops::new(x.operations(unit.encoding()));
    let mut pieces = Vec::new();
    let mut offset = 0u32;
    let mut spot = None;
    while let Some(op) = ops.pop() {
        let found = match op {
            Operation::Piece {
                size_in_bits,
                bit_offset: None,
            } if size_in_bits % 8 == 0 => {
                let Ok(size) = u32::try_from(size_in_bits / 8) else {
                    return Place::Gone;
                };
                pieces.push(Piece {
                    spot: spot.take().unwrap_or(Spot::Gone),
                    offset,
                    size,
                });
                offset = offset.saturating_add(size);
                continue;
            }
            Operation::Register { register } => Spot::Register(register.0),
            Operation::RegisterOffset {
                register, offset, ..
            } => match ops.then_value() {
                // The value is the register's plus an offset: a computed one.
                true if offset == 0 => Spot::Register(register.0),
                true => Spot::Gone,
                false => Spot::Memory(register.0, offset),
            },
            Operation::FrameOffset { offset } => match base {
                FrameBase::Cfa(from) if from.saturating_add(offset) >= 0 => {
                    Spot::Memory(STACK.0, (STACK.1 + from).saturating_add(offset))
                }
                // A slot of the function's own frame, or one that cannot be told from it.
                _ if matches!(ops.next, Some(Operation::Deref { .. })) => return Place::Reference,
                _ => return Place::Convention,
            },
            Operation::EntryValue { expression } => {
                let mut inner = gimli::Expression(expression).operations(unit.encoding());
                match inner.next() {
                    Ok(Some(Operation::Register { register })) if ops.then_value() => {
                        Spot::Register(register.0)
                    }
                    _ => Spot::Gone,
                }
            }
            Operation::UnsignedConstant { value } if ops.then_value() => {
                Spot::Constant(value.cast_signed())
            }
            Operation::SignedConstant { value } if ops.then_value() => Spot::Constant(value),
            // Computed from what was passed.
            _ => return later.clone(),
        };
        spot = Some(found);
    }
    match spot {
        Some(spot) if pieces.is_empty() => whole(spot),
        None if !pieces.is_empty() => Place::At(pieces),
        _ => Place::Gone,
    }
}

/// Operations with one of look-ahead.
struct Ops<'a> {
    left: gimli::OperationIter<Slice<'a>>,
    next: Option<Operation<Slice<'a>>>,
}

impl<'a> Ops<'a> {
    fn new(mut left: gimli::OperationIter<Slice<'a>>) -> Self {
        let next = left.next().ok().flatten();
        Self { left, next }
    }

    fn pop(&mut self) -> Option<Operation<Slice<'a>>> {
        let next = self.left.next().ok().flatten();
        std::mem::replace(&mut self.next, next)
    }

    /// Takes `DW_OP_stack_value`, if that is next: what came before is the value itself.
    fn then_value(&mut self) -> bool {
        let is = matches!(self.next, Some(Operation::StackValue));
        if is {
            self.pop();
        }
        is
    }
}
