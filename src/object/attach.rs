//! Attach points: what a program is attached to.

use super::{Loc, ProgramId};

/// One match of a probe of the script.
#[derive(Clone, Debug)]
pub struct AttachPoint {
    /// Fully expanded name, the value of `probe`.
    pub name: String,
    /// The program to attach. Several attach points may share one; the cookie tells them
    /// apart: it is this attach point's index in `Object::attach`.
    pub program: ProgramId,
    /// To what.
    pub attach: Attach,
    /// The probe in the script.
    pub loc: Loc,
    /// Whether it came from a wildcard: then a failure counts as one missing probe.
    pub wildcard: bool,
}

/// A file that is probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetFile {
    /// Path to open (under `/proc/PID/root` where the target process is in another
    /// mount namespace); of a member of an archive, `ARCHIVE!/MEMBER`.
    pub path: String,
    /// The archive, if it is a member of one.
    pub archive: Option<String>,
}

impl TargetFile {
    /// A file on disk.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            archive: None,
        }
    }

    /// The file that the kernel opens: what offsets count from the beginning of.
    pub fn on_disk(&self) -> &str {
        self.archive.as_deref().unwrap_or(&self.path)
    }
}

/// Number of events or time between two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Times per second.
    Hz(u64),
    /// Nanoseconds from one to the next.
    Period(u64),
}

/// What drives a perf event that is not a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PerfClock {
    /// `perf_event_attr.type`
    pub ty: u32,
    /// `perf_event_attr.config`
    pub config: u64,
    /// Events from one sample to the next.
    pub period: u64,
}

/// What an attach point attaches to.
#[derive(Clone, Debug, PartialEq)]
pub enum Attach {
    /// Runs once before the other probes are attached.
    Begin,
    /// Runs once after they are detached.
    End,
    /// Runs when rtrace gets this signal.
    SelfSignal(i32),
    /// A function of a user program or library.
    Uprobe {
        /// The file.
        file: TargetFile,
        /// Offset in the file (not the virtual address).
        offset: u64,
        /// File offset of a USDT semaphore, 0 for none.
        semaphore: u64,
        /// At return instead of at entry.
        ret: bool,
    },
    /// A kernel function by perf event or multi link.
    Kprobe {
        /// Function name, or empty for an address.
        symbol: String,
        /// Module it is in, if it was named.
        module: Option<String>,
        /// Bytes from the symbol, or the address.
        offset: u64,
        /// At return instead of at entry.
        ret: bool,
    },
    /// A tracing program: what it attaches to is fixed at load ([`super::Program::attach_btf`]).
    Fentry {
        /// At exit.
        exit: bool,
        /// For `fentry:bpf`: id of the BPF program and name of its function.
        bpf: Option<(u32, String)>,
    },
    /// A kernel trace event.
    Tracepoint {
        /// Category (`syscalls`).
        category: String,
        /// Event (`sys_enter_openat`).
        event: String,
    },
    /// The event of one system call, by the event of all: the attach points of a program share
    /// one attachment, and the program looks at the number of the call.
    Syscall {
        /// At its end instead of at its begin.
        exit: bool,
    },
    /// A raw tracepoint, by name.
    RawTracepoint {
        /// Name.
        event: String,
    },
    /// A sampled clock on every CPU.
    Profile(Rate),
    /// A sampled clock on one CPU.
    Interval(Rate),
    /// A software or hardware event on every CPU.
    Perf(PerfClock),
    /// A hardware breakpoint.
    Watchpoint {
        /// Address.
        addr: u64,
        /// Bytes: 1, 2, 4 or 8.
        len: u8,
        /// `HW_BREAKPOINT_*` bits.
        mode: u32,
    },
    /// A BPF iterator.
    Iter {
        /// Object (`task`).
        object: String,
        /// Path to pin at.
        pin: Option<String>,
    },
    /// `test:name`
    Test(String),
    /// `bench:name`
    Bench(String),
}
