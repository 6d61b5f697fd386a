//! From addresses to names: of kernel code, of programs, of code that a JIT wrote.
//!
//! In: addresses, and for user space the process they belong to. Out: [`Frame`]s. Everything is
//! read on first need and kept: kallsyms once, a process' mappings when it is first seen, a
//! file's symbols when an address first falls into it. What cannot be named is shown as
//! `module+0xoffset` or `0xaddress`, never as the nearest symbol.

pub mod cache;
pub mod kernel;
pub mod maps;
pub mod process;
pub mod recorder;
pub mod user;

use std::fmt;
use std::sync::Arc;

pub use kernel::KernelSymbolizer;
pub use maps::{FileId, Mapping};
pub use recorder::Change;
pub use user::{UserOptions, UserSymbolizer};

use crate::symbols::paths::basename;

/// What is known about one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The address itself.
    pub address: u64,
    /// The function that covers it, readable or raw as the options ask.
    pub symbol: Option<Arc<str>>,
    /// Bytes from the start of the symbol; without one, the virtual address in the module's
    /// file (the file offset if the file could not be read).
    pub offset: u64,
    /// The file or mapping it lies in, as the process or the kernel names it.
    pub module: Option<Arc<str>>,
    /// Offset in the module's file.
    pub file_offset: Option<u64>,
    /// Where the code of this address was written, if lines were asked for.
    pub source: Option<SourceLine>,
    /// Functions that the compiler expanded in place here, innermost first, if asked for.
    pub inlined: Vec<InlinedFrame>,
}

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// Path as the compiler recorded it.
    pub file: Arc<str>,
    /// Line from 1.
    pub line: u32,
}

/// A function without a frame of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlinedFrame {
    /// Readable name.
    pub name: Arc<str>,
    /// Where its code was written.
    pub source: Option<SourceLine>,
}

impl Frame {
    /// A frame of which nothing but the address is known.
    pub fn unknown(address: u64) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }
}

impl fmt::Display for Frame {
    /// `name+12`, `libx.so+0x1f40` or `0x7f0000001f40`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.symbol, &self.module) {
            (Some(symbol), _) => write!(f, "{symbol}+{}", self.offset),
            (None, Some(module)) => write!(f, "{}+{:#x}", basename(module), self.offset),
            (None, None) => write!(f, "{:#x}", self.address),
        }
    }
}

impl fmt::Display for SourceLine {
    /// `path/file.c:12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
