//! The front of the compiler: text to syntax tree and back.
//!
//! In: script texts. Out: an [`ast::Program`] with a span on everything, in which macros are
//! expanded and imports merged. Nothing here knows types, builtins or the machine, and nothing
//! reads a file.

pub mod ast;
pub mod expand;
#[cfg(test)]
mod fuzz;
pub mod imports;
pub mod join;
mod parse;
pub mod print;
pub mod visit;

pub use parse::parse;

use ast::Program;

use crate::diag::Diagnostics;

/// What parsing gives: always a tree, holding what could be understood, and what was wrong.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The tree; statements with mistakes are missing from it.
    pub program: Program,
    /// The mistakes.
    pub diags: Diagnostics,
}
