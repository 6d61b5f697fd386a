//! rtrace: a bpftrace-compatible tracing language for Linux without LLVM.
//!
//! The pipeline: `syntax` parses a script into an AST with spans; `sema` resolves names and
//! probes and infers types into a typed HIR; `lower` turns it into the CFG form of `ir`;
//! `codegen` allocates registers and emits BPF; the result is an `object::Object`. `runtime`
//! loads and attaches an object and prints what comes back; `interp` runs it in user space.

pub mod builtins;
pub mod cli;
pub mod codegen;
pub mod compile;
pub mod ctypes;
pub mod diag;
pub mod env;
pub mod error;
pub mod facts;
pub mod interp;
pub mod ir;
pub mod lower;
pub mod nearest;
pub mod object;
pub mod repl;
pub mod runtime;
pub mod sema;
pub mod source;
pub mod symbols;
pub mod syntax;
pub mod types;
