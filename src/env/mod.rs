//! Facts about a machine: its kernel's types, tracepoints, symbols and features.
//!
//! Everything here is read when it is first asked for, and nothing else.

pub mod btf;
