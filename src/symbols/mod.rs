//! What files on disk say about programs: symbols, names, lines, probes in them.
//!
//! A leaf: it knows files and names, never a process, a probe of a script or the kernel.

pub mod absent;
pub mod archive;
pub mod cache;
pub mod code;
pub mod debuglink;
pub mod demangle;
pub mod disk_cache;
pub mod dwarf;
pub mod elf;
#[cfg(test)]
pub(crate) mod fixture;
pub mod glob;
pub mod golang;
mod hits;
pub mod index;
pub mod paths;
pub mod perfmap;
mod signatures;
pub mod target;
pub mod targets;
pub mod unwind;
pub mod usdt;
