//! From IR to BPF: the instruction set, selection, register allocation and emission.
//!
//! Pure: nothing here asks the kernel. [`insn`] and [`helper`] are also what the
//! interpreter executes and what the loader hands to the kernel.

pub mod disasm;
pub mod helper;
pub mod insn;
