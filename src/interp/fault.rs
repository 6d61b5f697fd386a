//! Why a program stopped before its end.

use std::fmt;

use super::memory::Kind;
use crate::codegen::helper::HelperId;

/// A program did what no verified program does, or used up its budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Slot of the instruction.
    pub insn: usize,
    /// What happened.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: {}", self.insn, self.kind)
    }
}

impl std::error::Error for Fault {}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access outside the region that its pointer belongs to.
    OutOfBounds {
        /// The region.
        region: Kind,
        /// First byte of the access, from the start of the region (or of the map value).
        offset: i64,
        /// Bytes accessed.
        len: usize,
        /// Bytes there are.
        size: usize,
    },
    /// An access through something that is not a pointer.
    NotAPointer {
        /// The address.
        addr: u64,
    },
    /// An access through a pointer whose memory is gone: a frame that returned, a record that
    /// was submitted.
    Dangling {
        /// What it pointed to.
        region: Kind,
    },
    /// A write to read-only memory.
    ReadOnly {
        /// The region.
        region: Kind,
    },
    /// A read of stack bytes that were never written.
    UninitStack {
        /// First unwritten byte, relative to r10 (negative).
        offset: i32,
    },
    /// A read of a register that holds nothing.
    UninitRegister(u8),
    /// An access that must be aligned and is not (stack, atomics).
    Misaligned {
        /// The address.
        addr: u64,
        /// Bytes accessed.
        len: usize,
    },
    /// An opcode that means nothing.
    InvalidInsn(u8),
    /// A helper the machine does not implement.
    UnknownHelper(HelperId),
    /// A call of a kernel function.
    KernelFunction(i32),
    /// A use of a kernel variable, named by its BTF id.
    KernelVariable(i32),
    /// An argument of a helper that is not what it must be.
    BadArgument {
        /// Number of the argument, from 1.
        argument: u8,
        /// What it must be.
        expected: &'static str,
    },
    /// Execution left the program.
    OutOfProgram,
    /// Too many instructions.
    Budget,
    /// Too many nested calls.
    CallDepth,
    /// The program ended with a ring buffer record neither submitted nor discarded.
    UnreleasedRecord,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds {
                region,
                offset,
                len,
                size,
            } => write!(
                f,
                "{len} bytes at offset {offset} are outside the {region} of {size} bytes"
            ),
            Self::NotAPointer { addr } => write!(f, "{addr:#x} is not a pointer"),
            Self::Dangling { region } => write!(f, "the {region} no longer exists"),
            Self::ReadOnly { region } => write!(f, "the {region} is read-only"),
            Self::UninitStack { offset } => {
                write!(f, "the stack at r10{offset} was never written")
            }
            Self::UninitRegister(r) => write!(f, "r{r} holds no value"),
            Self::Misaligned { addr, len } => {
                write!(f, "{addr:#x} is not aligned to {len} bytes")
            }
            Self::InvalidInsn(code) => write!(f, "invalid opcode {code:#04x}"),
            Self::UnknownHelper(h) => write!(f, "helper {h} is not available here"),
            Self::KernelFunction(id) => {
                write!(f, "kernel function {id} is not available here")
            }
            Self::KernelVariable(id) => {
                write!(f, "kernel variable {id} is not available here")
            }
            Self::BadArgument { argument, expected } => {
                write!(f, "argument {argument} of the helper must be {expected}")
            }
            Self::OutOfProgram => f.write_str("execution left the program"),
            Self::Budget => f.write_str("the instruction budget is used up"),
            Self::CallDepth => f.write_str("calls are nested too deep"),
            Self::UnreleasedRecord => {
                f.write_str("a ring buffer record was neither submitted nor discarded")
            }
        }
    }
}
