//! From IR to BPF: the instruction set, selection, register allocation and emission.
//!
//! ```text
//! ir::Func --isel--> minst::MFunc --liveness, regalloc--> Allocation --emit--> Code --link--> Program
//! ```
//! Pure: nothing here asks the kernel. [`insn`] and [`helper`] are also what the
//! interpreter executes and what the loader hands to the kernel.

pub mod btf;
pub mod disasm;
pub mod emit;
pub mod frame;
pub mod helper;
pub mod insn;
pub mod isel;
pub mod layout;
pub mod link;
pub mod liveness;
pub mod minst;
pub mod regalloc;
pub mod regs;
pub mod slots;
pub mod spill;

use std::collections::HashMap;
use std::fmt;

use crate::ir::{Func, FuncId, Module, emission};
use crate::object::{Program, ProgramType};

use btf::Btf;
use emit::Code;
use frame::Frame;

/// A program to generate.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its entry function.
    pub func: FuncId,
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ProgramType,
    /// [`Program::attach_btf`].
    pub attach_btf: Option<(String, Option<String>)>,
}

/// Generated programs.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// One per entry, in order.
    pub programs: Vec<Program>,
    /// BTF for all of them.
    pub btf: Vec<u8>,
}

/// Why code cannot be generated: limits of the machine that a script can exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodegenError {
    /// A function needs more than 512 bytes of stack.
    FrameTooLarge {
        /// Function.
        func: String,
        /// Bytes of variables and buffers.
        slots: u64,
        /// Bytes of values that did not fit into registers.
        spills: u64,
    },
    /// A chain of calls needs more than 512 bytes of stack or more than 8 frames.
    CallChain {
        /// Function where the chain starts.
        func: String,
        /// Bytes of its deepest chain, frames rounded up to 32.
        bytes: u32,
        /// Frames of its longest chain.
        frames: usize,
        /// Functions of the program and their frames in bytes.
        each: Vec<(String, u32)>,
    },
    /// A function calls itself.
    Recursion {
        /// Function.
        func: String,
    },
    /// A jump spans more than 16 bits can express.
    JumpTooFar {
        /// Function.
        func: String,
        /// Bytes of machine code it spans.
        bytes: u64,
    },
}

impl fmt::Display for CodegenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameTooLarge {
                func,
                slots,
                spills,
            } => write!(
                f,
                "{func} needs {} bytes of stack, the limit is 512: {slots} for variables and \
                 buffers, {spills} for values that do not fit into registers",
                slots + spills
            ),
            Self::CallChain {
                func,
                bytes,
                frames,
                each,
            } => {
                write!(
                    f,
                    "calls from {func} need {bytes} bytes of stack in {frames} frames, the limits \
                     are 512 and 8:"
                )?;
                for (i, (name, bytes)) in each.iter().enumerate() {
                    let sep = if i == 0 { " " } else { ", " };
                    write!(f, "{sep}{name} {bytes}")?;
                }
                Ok(())
            }
            Self::Recursion { func } => write!(f, "{func} calls itself"),
            Self::JumpTooFar { func, bytes } => write!(
                f,
                "{func} is too large: a jump spans {bytes} bytes of machine code, the limit is \
                 262136"
            ),
        }
    }
}

impl std::error::Error for CodegenError {}

impl CodegenError {
    /// The function that is too large, or where the chain of calls starts.
    pub fn func(&self) -> &str {
        match self {
            Self::FrameTooLarge { func, .. }
            | Self::CallChain { func, .. }
            | Self::Recursion { func }
            | Self::JumpTooFar { func, .. } => func,
        }
    }
}

/// Generates a program for each entry. `sources` are the script's texts, indexed by
/// [`Loc::file`](crate::object::Loc::file).
pub fn generate(
    module: &Module,
    entries: &[Entry],
    sources: &[(String, String)],
) -> Result<Output, CodegenError> {
    let mut codes: Vec<Option<Code>> = vec![None; module.funcs.len()];
    let mut work: Vec<FuncId> = entries.iter().map(|e| e.func).collect();
    while let Some(id) = work.pop() {
        if codes[id.index()].is_none() {
            let code = function(module.func(id))?;
            work.extend(code.calls.iter().chain(&code.func_addrs).map(|(_, f)| *f));
            codes[id.index()] = Some(code);
        }
    }
    let lines = link::Lines::new(sources);
    let mut btf = Btf::new();
    let mut ids = HashMap::new();
    let emits = emission::bounds(module);
    let programs = entries
        .iter()
        .map(|e| {
            link::link(
                module,
                &codes,
                e,
                emits[e.func.index()],
                &lines,
                &mut btf,
                &mut ids,
            )
        })
        .collect::<Result<_, _>>()?;
    Ok(Output {
        programs,
        btf: btf.finish(),
    })
}

/// Machine code of one function.
fn function(func: &Func) -> Result<Code, CodegenError> {
    let m = isel::select(func);
    let live = liveness::analyse(&m);
    let slots = slots::ranges(&m, &live.starts);
    let alloc = regalloc::allocate(&m, live);
    let frame = Frame::new(&m, &slots, &alloc.spills)?;
    emit::emit(&m, &alloc, &frame)
}

#[cfg(test)]
mod tests;
