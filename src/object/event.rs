//! The event table: what a record in the ring buffer asks user space to do.

use super::{FieldLayout, Format, Layout, Loc, MapId};

/// Where formatted text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Output.
    Out,
    /// `errorf()`: standard error with the place in the script.
    Error,
    /// `warnf()`: likewise, as a warning.
    Warning,
}

/// One entry of the event table.
#[derive(Clone, Debug)]
pub struct Event {
    /// What to do.
    pub kind: EventKind,
    /// The call in the script.
    pub loc: Loc,
    /// Bytes of the whole record, header included.
    pub size: u32,
}

/// What a record asks for. Offsets of fields count from the start of the record.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// `printf`, `errorf`, `warnf`
    Printf {
        /// Where to.
        stream: Stream,
        /// Format.
        format: Format,
        /// Arguments.
        args: Vec<FieldLayout>,
    },
    /// `print(value)`
    Print {
        /// The value.
        value: FieldLayout,
    },
    /// `print(@m, top, div)`
    PrintMap {
        /// The map.
        map: MapId,
        /// Entries to print, 0 = all.
        top: u32,
        /// Divisor of values, at least 1.
        div: u64,
    },
    /// `clear(@m)`
    Clear(MapId),
    /// `zero(@m)`
    Zero(MapId),
    /// `time(fmt)`: index into `Object::time_formats`.
    Time(u32),
    /// `join(argv, sep)`: `args` are up to 16 strings; the payload starts with a `u32` count.
    Join {
        /// Separator.
        sep: String,
        /// Offset of the `u32` count of strings.
        count: u32,
        /// The strings.
        args: Vec<FieldLayout>,
    },
    /// `system(fmt, ...)`
    System {
        /// Format of the command.
        format: Format,
        /// Arguments.
        args: Vec<FieldLayout>,
    },
    /// `cat(fmt, ...)`
    Cat {
        /// Format of the path.
        format: Format,
        /// Arguments.
        args: Vec<FieldLayout>,
    },
    /// `exit(code)`: `u64` code at this offset.
    Exit {
        /// Offset.
        code: u32,
        /// The code where the script says it as a number: for a call whose record found no room.
        known: Option<i32>,
    },
    /// The tables of a process are missing or old: `u32` process id at this offset.
    UnwindTables {
        /// Offset.
        pid: u32,
    },
    /// A runtime error: `aux` of the header is the [`super::SiteId`], the payload an `i64`
    /// return code of the helper.
    RuntimeError,
    /// `unwatch(addr)`: `u64` at this offset.
    Unwatch {
        /// Offset.
        addr: u32,
    },
    /// `skboutput`: packet bytes for a capture file.
    SkbOutput {
        /// Path of the file.
        path: String,
        /// Offset of `u64` time stamp, then `u32` captured length, then `u32` length of the
        /// packet, then bytes.
        data: u32,
    },
    /// A value evaluated for a caller of the library (the REPL).
    Value(Layout),
}

/// What can fail at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SiteKind {
    /// An event that found the ring buffer full.
    LostEvent,
    /// A map update that found the map full.
    MapFull,
    /// A map update that failed otherwise.
    MapUpdate,
    /// A map look-up of a key that does not exist (reported with `-k` only).
    MapLookup,
    /// A read of memory that failed (reported with `-k` only).
    Read,
    /// A string or a blob that was longer than `max_strlen`.
    Truncated,
    /// A division by zero.
    DivideByZero,
    /// An index past the end of an array.
    OutOfBounds,
    /// A stack that could not be walked or stored.
    Stack,
    /// No scratch memory: too many programs nested on one CPU. The probe did not run.
    Scratch,
    /// Any other helper.
    Helper,
    /// `assert()` of the script.
    Assert,
}

/// A place in the script where the kernel can fail.
#[derive(Clone, Debug)]
pub struct Site {
    /// What can fail.
    pub kind: SiteKind,
    /// Helper name without `bpf_`, empty if none is involved.
    pub helper: String,
    /// The place.
    pub loc: Loc,
    /// Macro calls it was expanded from, innermost first.
    pub expanded_from: Vec<Loc>,
    /// Message of `assert()`; empty otherwise.
    pub message: String,
}
