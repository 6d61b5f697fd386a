//! Unwind tables in maps: what the unwinder's programs read and the runtime fills in.
//!
//! A *table* says for every address of a file how to find the caller; processes that map the
//! file share it. A *process table* says which file is mapped where. Both are arrays of segments
//! of [`SEGMENT`] bytes, made when they are needed and held by maps of maps:
//!
//! ```text
//! processes[pid]   -> segment: mappings by address, 32 bytes each
//! tables[number]   -> segments: page directory, then rows, 4 bytes each
//! rules[number]    -> 16 bytes: how to find the caller
//! ```
//! Memory of a file's table: `4 x rows + 8 x (bytes of code / 4 KiB)`, rounded up to whole
//! segments; of a process: one segment.

use super::MapId;

/// Bytes of a segment.
pub const SEGMENT: u32 = 1 << SEGMENT_BITS;
/// log2 of [`SEGMENT`].
pub const SEGMENT_BITS: u32 = 14;
/// Words of 4 bytes in a segment.
pub const SEGMENT_WORDS: u32 = SEGMENT / 4;
/// log2 of the bytes of code that a page of the directory covers. A row holds the offset in its
/// page in its upper half and the number of its rule in the lower.
pub const PAGE_BITS: u32 = 12;
/// Bytes of an entry of the page directory: `{ u32 first word; u32 rows }`.
pub const PAGE_ENTRY: u32 = 8;
/// Tables at most; number 0 is none.
pub const MAX_TABLES: u32 = 4096;
/// Distinct rules of all files together; number 0 is none.
pub const MAX_RULES: u32 = 16_384;
/// Processes at most.
pub const MAX_PROCESSES: u32 = 8192;

/// Layout of a mapping in a process' segment. Entry 0 is the header: it starts at address 0 and
/// covers nothing; its `pages` is the largest power of two that is not above the number of the
/// others, where a search begins. Unused entries start at [`UNUSED`], so that a search need not know how many
/// there are.
///
/// ```text
///   0       8      16      24      28      32
///   +-------+------+-------+-------+-------+
///   | start | end  | bias  | table | pages |
///   +-------+------+-------+-------+-------+
/// ```
/// `address - bias` counts from the first page of the table, which has `pages` pages.
pub mod mapping {
    /// First address.
    pub const START: u32 = 0;
    /// One past the last address.
    pub const END: u32 = 8;
    /// What to subtract from an address.
    pub const BIAS: u32 = 16;
    /// Number of the table; 0: the mapping has none.
    pub const TABLE: u32 = 24;
    /// Pages of the table.
    pub const PAGES: u32 = 28;
    /// Bytes of all.
    pub const SIZE: u32 = 32;
}

/// Start of unused entries: above every address of a process.
pub const UNUSED: u64 = i64::MAX as u64;

/// Most mappings of a process; the header is one entry more.
pub const MAX_MAPPINGS: usize = (SEGMENT / mapping::SIZE - 1) as usize;

/// How the canonical frame address is computed: first byte of a rule.
pub mod cfa {
    /// It cannot be: the walk stops.
    pub const NONE: u8 = 0;
    /// Stack pointer plus offset.
    pub const SP: u8 = 1;
    /// Frame pointer plus offset.
    pub const FP: u8 = 2;
    /// The word at stack pointer plus offset.
    pub const DEREF_SP: u8 = 3;
    /// The word at frame pointer plus offset.
    pub const DEREF_FP: u8 = 4;
    /// A PLT stub: stack pointer plus offset, and 8 more if the low four bits of the address
    /// have reached the rule's `extra`.
    pub const PLT: u8 = 5;
    /// Another register plus offset, in the innermost frame: `extra` is where it is in the
    /// registers, in words.
    pub const REGISTER: u8 = 6;
}

/// What a register of the caller is relative to: second and third byte of a rule.
pub mod base {
    /// Nothing: it is lost. For the return address: there is no caller.
    pub const NONE: u8 = 0;
    /// The canonical frame address.
    pub const CFA: u8 = 1;
    /// The stack pointer.
    pub const SP: u8 = 2;
    /// The frame pointer.
    pub const FP: u8 = 3;
    /// It is still in its register.
    pub const SAME: u8 = 4;
    /// Of the frame pointer: the word below the return address, which is relative to the frame
    /// address; one read gives both.
    pub const PAIR: u8 = 5;
}

/// Flag in the `extra` byte of rules that are not [`cfa::PLT`] or [`cfa::REGISTER`]: a signal
/// handler returns here.
pub const SIGNAL: u8 = 1;

/// A rule as programs read it.
///
/// ```text
///   0     1    2    3       4         8        12       16
///   +-----+----+----+-------+---------+--------+--------+
///   | cfa | ra | fp | extra | cfa off | ra off | fp off |
///   +-----+----+----+-------+---------+--------+--------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleRecord {
    /// One of [`cfa`].
    pub cfa: u8,
    /// One of [`base`].
    pub ra: u8,
    /// One of [`base`].
    pub fp: u8,
    /// See [`cfa`] and [`SIGNAL`].
    pub extra: u8,
    /// Offsets.
    pub cfa_off: i32,
    /// Of the return address.
    pub ra_off: i32,
    /// Of the frame pointer.
    pub fp_off: i32,
}

impl RuleRecord {
    /// Bytes.
    pub const SIZE: u32 = 16;
    /// Where things are.
    pub const CFA: u32 = 0;
    /// See [`base`].
    pub const RA: u32 = 1;
    /// See [`base`].
    pub const FP: u32 = 2;
    /// See [`cfa`].
    pub const EXTRA: u32 = 3;
    /// `i32`
    pub const CFA_OFF: u32 = 4;
    /// `i32`
    pub const RA_OFF: u32 = 8;
    /// `i32`
    pub const FP_OFF: u32 = 12;

    /// The bytes of the map's value.
    pub fn to_bytes(self) -> [u8; Self::SIZE as usize] {
        let mut out = [0; Self::SIZE as usize];
        out[..4].copy_from_slice(&[self.cfa, self.ra, self.fp, self.extra]);
        out[4..8].copy_from_slice(&self.cfa_off.to_ne_bytes());
        out[8..12].copy_from_slice(&self.ra_off.to_ne_bytes());
        out[12..].copy_from_slice(&self.fp_off.to_ne_bytes());
        out
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum End {
    /// The stack is as long as its limit.
    Limit = 0,
    /// The outermost frame was reached.
    Complete = 1,
    /// The process is not known yet.
    NewProcess = 2,
    /// The address is in no known mapping.
    Unmapped = 3,
    /// The file says nothing about the address, and the frame pointer leads nowhere.
    NoRule = 4,
    /// The rule is one that cannot be followed in the kernel.
    Unsupported = 5,
    /// The stack cannot be read.
    Unreadable = 6,
    /// The caller's frame is not above.
    Damaged = 7,
}

impl End {
    /// How many there are: each table has a counter for every end.
    pub const COUNT: u32 = 8;

    /// All, by number.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::Limit,
        Self::Complete,
        Self::NewProcess,
        Self::Unmapped,
        Self::NoRule,
        Self::Unsupported,
        Self::Unreadable,
        Self::Damaged,
    ];
}

/// The maps of the unwinder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwind {
    /// One segment: what the maps in `tables` and `processes` look like.
    pub template: MapId,
    /// Array of tables by number.
    pub tables: MapId,
    /// Process tables by process id in the initial namespace.
    pub processes: MapId,
    /// Rules by number.
    pub rules: MapId,
    /// `u64` counters: walks by table where they ended and by [`End`].
    pub ends: MapId,
    /// When the table of a process was last asked for: nanoseconds since boot, by process.
    pub asked: MapId,
}
