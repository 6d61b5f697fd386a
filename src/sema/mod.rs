//! From the syntax tree to the typed program: names, probes, types.

pub mod hir;
