//! Facts about a machine: its kernel's types, tracepoints, symbols and features.
//!
//! Everything here is read when it is first asked for, and nothing else.

pub mod btf;
pub mod format;
pub mod kallsyms;
pub mod tracefs;
pub mod wildcard;
