//! Checks the invariants of the IR.

use std::fmt;

use super::entity::{Block, FuncId};
use super::func::Module;

/// An invariant that does not hold: a defect of the compiler, not of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// Function.
    pub func: FuncId,
    /// Block.
    pub block: Block,
    /// Instruction in it; the number of instructions for the terminator.
    pub inst: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            func, block, inst, ..
        } = self;
        write!(f, "{func} {block} #{inst}: {}", self.message)
    }
}

impl std::error::Error for VerifyError {}

/// Checks every function of `module`.
pub fn verify(module: &Module) -> Result<(), Vec<VerifyError>> {
    let mut errors = Vec::new();
    for (i, f) in module.funcs.iter().enumerate() {
        for (j, b) in f.blocks.iter().enumerate() {
            if b.term.is_none() {
                errors.push(VerifyError {
                    func: FuncId(i as u32),
                    block: Block(j as u32),
                    inst: b.insts.len(),
                    message: "block has no end".into(),
                });
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}
