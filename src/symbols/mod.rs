//! What files on disk say about programs: symbols, names, lines, probes in them.
//!
//! A leaf: it knows files and names, never a process, a probe of a script or the kernel.

pub mod elf;
