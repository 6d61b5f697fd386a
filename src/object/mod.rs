//! The contract between the compiler and whatever runs its output.
//!
//! An [`Object`] holds everything that the runtime and the interpreter need: linked BPF
//! programs, maps, attach points, the event table with value layouts, and source positions for
//! messages. It refers to nothing of the compiler and can be written to a file.
//!
//! ## Records
//! Every record in the ring buffer starts with an 8-byte header, then the payload at
//! [`RECORD_HEADER`]:
//!
//! ```text
//!   0        4        8
//!   +--------+--------+-----------------------------
//!   | event  | aux    | payload (Event::kind says what)
//!   +--------+--------+-----------------------------
//! ```
//! `event` indexes [`Object::events`]; `aux` is the record's use of it, 0 unless said so.

mod attach;
mod event;
mod format;
mod layout;
pub mod unwind;

pub use attach::{Attach, AttachPoint, PerfClock, Rate, TargetFile};
pub use event::{Event, EventKind, Site, SiteKind, Stream};
pub use format::{Conv, Format, FormatError, LenMod, Piece, Spec};
pub use layout::{AggStorage, EnumTable, FieldLayout, Layout, MapValue, SERIES_BUSY};

/// Bytes before the payload of a record.
pub const RECORD_HEADER: u32 = 8;
/// Bytes of a stack handle: `{ u64 id; u32 pid; u32 zero }`. `id` is the key in the stack map
/// (0: the walk failed and there is no stack); `pid` is the thread group id in the initial
/// namespace for user stacks, 0 for kernel stacks.
pub const STACK_HANDLE_SIZE: u32 = 16;
/// Bytes of a value of the stack map before its addresses: `{ u32 frames; u32 zero }`.
pub const STACK_VALUE_HEADER: u32 = 8;
/// Bytes of an `inet` value: `{ u64 af; u8 address[16] }` with `af` 2 (IPv4) or 10 (IPv6).
pub const INET_SIZE: u32 = 24;

/// A map of an [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapId(pub u32);

/// A BPF program of an [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramId(pub u32);

/// An entry of the event table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u32);

/// A place in the script where the kernel can fail: index into [`Object::sites`] and into the
/// counters map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub u32);

/// A compiled script.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Licence string for the kernel.
    pub license: String,
    /// Source texts: name and contents, for messages.
    pub sources: Vec<(String, String)>,
    /// Maps; [`MapId`] indexes them.
    pub maps: Vec<MapDef>,
    /// Programs; [`ProgramId`] indexes them.
    pub programs: Vec<Program>,
    /// Where programs attach, in the order of the script.
    pub attach: Vec<AttachPoint>,
    /// The event table; [`EventId`] indexes it.
    pub events: Vec<Event>,
    /// Places that can fail at run time; [`SiteId`] indexes them.
    pub sites: Vec<Site>,
    /// Enum tables that layouts refer to.
    pub enums: Vec<EnumTable>,
    /// strftime formats that `Layout::Timestamp` values refer to by index.
    pub time_formats: Vec<String>,
    /// BTF for func_info and line_info, ready to load; empty if there is none.
    pub btf: Vec<u8>,
    /// The ring buffer, if any program emits events.
    pub events_map: Option<MapId>,
    /// The per-site counters (`u64` each, [`MapKind::PercpuArray`]): how often each site
    /// failed. A record that could not be reserved counts at the site of its event.
    pub counters_map: Option<MapId>,
    /// The maps of the unwinder, if any program unwinds user stacks by tables.
    pub unwind: Option<unwind::Unwind>,
    /// What the script's configuration says about run time.
    pub config: RunConfig,
}

/// Kinds of BPF maps that rtrace uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`
    Hash,
    /// `BPF_MAP_TYPE_LRU_HASH`
    LruHash,
    /// `BPF_MAP_TYPE_PERCPU_HASH`
    PercpuHash,
    /// `BPF_MAP_TYPE_LRU_PERCPU_HASH`
    LruPercpuHash,
    /// `BPF_MAP_TYPE_ARRAY`
    Array,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`
    PercpuArray,
    /// `BPF_MAP_TYPE_RINGBUF` (5.8); `max_entries` is bytes.
    Ringbuf,
    /// `BPF_MAP_TYPE_TASK_STORAGE` (5.11)
    TaskStorage,
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS`; [`MapRole::Maps`] says of which.
    ArrayOfMaps,
    /// `BPF_MAP_TYPE_HASH_OF_MAPS`
    HashOfMaps,
    /// `BPF_MAP_TYPE_CGROUP_ARRAY` (4.8); values are descriptors of groups.
    CgroupArray,
}

impl MapKind {
    /// Whether there is one value per possible CPU.
    pub fn is_percpu(self) -> bool {
        matches!(
            self,
            Self::PercpuHash | Self::LruPercpuHash | Self::PercpuArray
        )
    }
}

/// A BPF map to create.
#[derive(Clone, Debug)]
pub struct MapDef {
    /// Name for the kernel (made of at most 15 safe characters at load).
    pub name: String,
    /// Kind.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU).
    pub value_size: u32,
    /// Entries (ring buffer: bytes; 0 = the runtime chooses).
    pub max_entries: u32,
    /// `BPF_F_*` map flags.
    pub flags: u32,
    /// Initial contents of entry 0 of an array; such a map is frozen after it is filled.
    pub init: Option<Vec<u8>>,
    /// What it is for.
    pub role: MapRole,
}

/// What a map is for.
#[derive(Clone, Debug)]
pub enum MapRole {
    /// A `@map` of the script.
    User(UserMap),
    /// The ring buffer.
    Events,
    /// [`Object::counters_map`].
    Counters,
    /// Per-CPU memory for values too large for the stack.
    Scratch,
    /// Constants.
    Data,
    /// Stacks by id: key `u64`, value `{ u32 frames; u32 zero; u64 ip[limit] }`.
    Stacks {
        /// Most frames.
        limit: u16,
    },
    /// One `u64`: boot-time nanoseconds at the start of the run, written by the loader.
    Start,
    /// More entries of a `@map`: those whose keys, but for zeros at the end, fit into the keys of
    /// this map. It has the same values. [`Object::short_keys`] finds it.
    ShortKeys(MapId),
    /// Maps like this one, of any number of entries (5.10).
    Maps(MapId),
    /// The control groups that probes are limited to, by their folders; filled by the loader.
    Cgroups(Vec<String>),
    /// Anything else that programs keep for themselves.
    Internal,
}

/// A `@map` of the script.
#[derive(Clone, Debug)]
pub struct UserMap {
    /// Name with the `@`.
    pub name: String,
    /// Layout of the key; `None` for a scalar map, which is an [`MapKind::Array`] or
    /// [`MapKind::PercpuArray`] of one entry.
    pub key: Option<Layout>,
    /// What a value holds.
    pub value: MapValue,
    /// For scalar maps other than `count()`: offset in the value of a byte that is 1 once the
    /// map was assigned.
    pub set_flag: Option<u32>,
}

/// Program types, which decide context and attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgramType {
    /// `BPF_PROG_TYPE_KPROBE`: kprobes, uprobes, USDT.
    Kprobe,
    /// `BPF_PROG_TYPE_TRACEPOINT`
    Tracepoint,
    /// `BPF_PROG_TYPE_PERF_EVENT`: profile, interval, software, hardware, watchpoint.
    PerfEvent,
    /// `BPF_PROG_TYPE_RAW_TRACEPOINT`; also BEGIN, END and signals by test run.
    RawTracepoint,
    /// `BPF_PROG_TYPE_TRACING` with `BPF_TRACE_RAW_TP`.
    TracingRawTp,
    /// `BPF_PROG_TYPE_TRACING` with `BPF_TRACE_FENTRY`.
    TracingFentry,
    /// `BPF_PROG_TYPE_TRACING` with `BPF_TRACE_FEXIT`.
    TracingFexit,
    /// `BPF_PROG_TYPE_TRACING` with `BPF_TRACE_ITER`.
    TracingIter,
}

/// One linked BPF program: the entry function first, then the functions it calls.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name for the kernel, `<provider>_<target>_<n>` made safe and cut at load.
    pub name: String,
    /// Type.
    pub ty: ProgramType,
    /// Instructions, 8 bytes each, as the kernel takes them but for `relocs`.
    pub insns: Vec<[u8; 8]>,
    /// What is still to be filled in.
    pub relocs: Vec<Reloc>,
    /// Functions in `insns`, entry first, by ascending start.
    pub funcs: Vec<FuncInfo>,
    /// Source lines of instructions, by ascending instruction.
    pub lines: Vec<LineInfo>,
    /// For each tracing program: the kernel name whose BTF id it attaches to (function,
    /// `btf_trace_*` typedef without prefix or iterator) and the module, if any.
    pub attach_btf: Option<(String, Option<String>)>,
    /// Most bytes of the ring buffer that one run takes, headers of the kernel included; `None`
    /// where no bound is known.
    pub emits: Option<u64>,
}

/// Something in a program that is known only at load time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// Index of the first slot of the `ld_imm64`.
    pub insn: u32,
    /// What to put there.
    pub kind: RelocKind,
}

/// What a relocation stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocKind {
    /// The map's descriptor (`BPF_PSEUDO_MAP_FD`).
    Map(MapId),
    /// Address of byte `.1` in the value of entry 0 of an array map (`BPF_PSEUDO_MAP_VALUE`).
    MapValue(MapId, u32),
}

/// A function inside a program.
#[derive(Clone, Debug)]
pub struct FuncInfo {
    /// First instruction (slot index).
    pub insn: u32,
    /// Name.
    pub name: String,
    /// BTF type id of its `BTF_KIND_FUNC` in [`Object::btf`].
    pub btf_id: u32,
}

/// Where an instruction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// First instruction (slot index) of this line.
    pub insn: u32,
    /// Offset in the BTF string section of the file name.
    pub file_off: u32,
    /// Offset in the BTF string section of the line's text.
    pub line_off: u32,
    /// The place in the script.
    pub loc: Loc,
}

/// A place in the script: index into [`Object::sources`], and positions from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Loc {
    /// Source text.
    pub file: u32,
    /// First line.
    pub line: u32,
    /// First column.
    pub col: u32,
    /// Last line.
    pub end_line: u32,
    /// Column after the last one.
    pub end_col: u32,
}

impl Object {
    /// The map that holds the short keys of `map`, if it has one.
    pub fn short_keys(&self, map: MapId) -> Option<MapId> {
        let of = |d: &MapDef| matches!(d.role, MapRole::ShortKeys(of) if of == map);
        let at = self.maps.iter().position(of)?;
        Some(MapId(at as u32))
    }

    /// Whether anything it prints may hold addresses of a process by name.
    pub fn names_user_code(&self) -> bool {
        let in_map = |m: &MapDef| match &m.role {
            MapRole::User(u) => {
                let value = match &u.value {
                    MapValue::Plain(value) => Some(value),
                    MapValue::Agg(..) => None,
                };
                u.key.iter().chain(value).any(Layout::names_user_code)
            }
            _ => false,
        };
        let in_event = |e: &Event| match &e.kind {
            EventKind::Printf { args, .. } => args.iter().any(|a| a.layout.names_user_code()),
            EventKind::Print { value } => value.layout.names_user_code(),
            EventKind::Value(layout) => layout.names_user_code(),
            _ => false,
        };
        self.maps.iter().any(in_map) || self.events.iter().any(in_event)
    }
}

/// How much of a demangled name is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolNames {
    /// Everything.
    Full,
    /// No return type, which instances of templates have.
    NoReturn,
    /// No return type and no parameters.
    NoParams,
    /// Nothing but the qualified name.
    NoTemplateArgs,
}

/// What the configuration says about run time.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Most bytes that `cat()` prints.
    pub max_cat_bytes: u64,
    /// Ring buffer pages; 0 = chosen by the runtime.
    pub perf_rb_pages: u64,
    /// Print maps when the run ends.
    pub print_maps_on_exit: bool,
    /// Demangle C++ and Rust names.
    pub demangle: bool,
    /// How much of a demangled name is shown.
    pub symbol_names: SymbolNames,
    /// Print source lines and inlined frames of stacks.
    pub show_debug_info: bool,
    /// Appended to strings that were cut: those that fill their capacity without a NUL, and
    /// those that fill a string of `max_strlen` bytes up to its NUL.
    pub str_trunc_trailer: String,
    /// Capacity of `str()` without a length, NUL included.
    pub max_strlen: u32,
    /// Size of the verifier log in bytes.
    pub log_size: u32,
    /// What to do when an attach point cannot be attached.
    pub missing_probes: MissingProbes,
    /// Most probes that may be attached.
    pub max_probes: u64,
    /// User symbol caching.
    pub symbol_cache: SymbolCache,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            max_cat_bytes: 10_240,
            perf_rb_pages: 0,
            print_maps_on_exit: true,
            demangle: true,
            symbol_names: SymbolNames::Full,
            show_debug_info: false,
            str_trunc_trailer: "..".into(),
            max_strlen: 1024,
            log_size: 1_000_000,
            missing_probes: MissingProbes::Error,
            max_probes: 1024,
            symbol_cache: SymbolCache::PerPid,
        }
    }
}

/// Values of the `missing_probes` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingProbes {
    /// Stop.
    Error,
    /// Say so and go on.
    Warn,
    /// Go on.
    Ignore,
}

/// Values of the `cache_user_symbols` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolCache {
    /// One table per process.
    PerPid,
    /// One table per program file.
    PerProgram,
    /// No caching.
    None,
}
