//! The typed program: what name resolution, probe expansion and inference make of the tree.
//!
//! Nothing here is looked up by name any more. Every expression has its final type; implicit
//! conversions are [`ExprKind::Cast`] nodes; macros, C constants, positional parameters and
//! constant branches are gone; `unroll` is copied out; a probe whose attach points differ in
//! what the body means (other `args`) is one [`Probe`] per variant. Lowering never fails for a
//! reason a user could have caused, except limits of size.

use std::sync::Arc;

use crate::builtins::Builtin;
use crate::object::{Attach, Format, Loc, ProgramType, RunConfig};
use crate::types::{AggTy, Type, TypeStore};

/// A `@map`: index into [`Program::maps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapRef(pub u32);

/// A variable of one probe or function: index into its `locals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub u32);

/// A `fn` of the script: index into [`Program::funcs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FnRef(pub u32);

/// A checked script.
#[derive(Debug)]
pub struct Program {
    /// Compile-time limits and choices.
    pub config: Config,
    /// Licence string.
    pub license: String,
    /// What the configuration says about run time.
    pub run: RunConfig,
    /// Structs and enums.
    pub types: TypeStore,
    /// Maps.
    pub maps: Vec<Map>,
    /// Functions that are called.
    pub funcs: Vec<Func>,
    /// Probes, each one BPF program with at least one attach point.
    pub probes: Vec<Probe>,
    /// Formats of `strftime()` and `time()`, and filters of `cgroup_path()`.
    pub time_formats: Vec<String>,
}

/// Configuration that shapes code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a string from `str()`, terminator included.
    pub max_strlen: u32,
    /// Entries of maps that do not say otherwise.
    pub max_map_keys: u32,
    /// Most BPF programs.
    pub max_bpf_progs: u32,
    /// Values up to this many bytes may live on the stack.
    pub on_stack_limit: u32,
    /// Possible CPUs: how far loops over per-CPU values go.
    pub possible_cpus: u32,
    /// Report failed reads and look-ups too (`-k`).
    pub warn_helpers: bool,
    /// Only this process is traced (`-p`), where the attachment itself does not filter.
    pub pid_filter: Option<u32>,
    /// Only tasks in one of these control groups are traced.
    pub cgroups: Vec<String>,
    /// Device and inode of rtrace's pid namespace where it is not the initial one: `pid` and
    /// `tid` are those of this namespace.
    pub pid_ns: Option<(u64, u64)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_strlen: 1024,
            max_map_keys: 4096,
            max_bpf_progs: 1024,
            on_stack_limit: 32,
            possible_cpus: 1,
            warn_helpers: false,
            pid_filter: None,
            cgroups: Vec::new(),
            pid_ns: None,
        }
    }
}

/// A map of the script.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Name with the `@`.
    pub name: String,
    /// Type of the key; `None` for a scalar map.
    pub key: Option<Type>,
    /// Type of the value, [`Type::Agg`] for aggregations.
    pub value: Type,
    /// Declared kind.
    pub kind: Option<DeclaredKind>,
    /// Declared number of entries.
    pub max_entries: Option<u32>,
    /// Whether the script deletes single keys of it.
    pub deletes: bool,
    /// Its declaration, or its first use.
    pub loc: Loc,
}

/// Kinds that a map declaration may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredKind {
    /// `hash`
    Hash,
    /// `lruhash`
    LruHash,
    /// `percpuhash`
    PercpuHash,
    /// `percpulruhash`
    PercpuLruHash,
}

/// What the context pointer of a program points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// Nothing of interest: begin, end, self, test, bench.
    None,
    /// `struct pt_regs` (kprobes, uprobes, USDT).
    PtRegs {
        /// User registers rather than kernel registers.
        user: bool,
        /// At return: `retval` rather than arguments.
        ret: bool,
    },
    /// The record of a trace event.
    Tracepoint,
    /// An array of `u64` arguments: raw tracepoints; with BTF also fentry and fexit, where
    /// the return value follows the arguments.
    Args {
        /// Number of arguments; the return value of fexit is argument `count`.
        count: u8,
        /// Typed by BTF (tp_btf, fentry, fexit) rather than plain numbers.
        btf: bool,
    },
    /// `struct bpf_perf_event_data`
    PerfEvent,
    /// `struct bpf_iter__X`
    Iter,
}

/// One BPF program and where it goes.
#[derive(Debug)]
pub struct Probe {
    /// Base of its kernel name: provider and target made safe.
    pub name: String,
    /// Program type.
    pub ty: ProgramType,
    /// Its context.
    pub ctx: Context,
    /// For tracing programs: see [`crate::object::Program::attach_btf`].
    pub attach_btf: Option<(String, Option<String>)>,
    /// Attach points.
    pub attach: Vec<AttachSpec>,
    /// Where the attach points are [`Attach::Syscall`]: which calls they are.
    pub syscalls: Option<SyscallTable>,
    /// Variables, parameters of loops included.
    pub locals: Vec<Local>,
    /// The predicate (as an `if`) and the body.
    pub body: Block,
    /// Value that the program returns unless it says otherwise.
    pub default_return: i32,
    /// Whether the program must check [`Config::pid_filter`] itself.
    pub filter_pid: bool,
    /// Whether the program must check [`Config::cgroups`].
    pub filter_cgroup: bool,
    /// The probe in the script.
    pub loc: Loc,
}

/// Which system calls a program is for that runs at all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallTable {
    /// The number of each attach point's call.
    pub numbers: Vec<u16>,
    /// Byte of the task at which the kernel notes that the call is of a 32-bit process.
    pub status: u32,
}

/// One attach point of a probe.
#[derive(Clone, Debug)]
pub struct AttachSpec {
    /// Fully expanded name.
    pub name: String,
    /// Where.
    pub attach: Attach,
    /// Whether it came from a wildcard.
    pub wildcard: bool,
    /// User probe on a function's first instruction: the caller's frame is not set up yet and
    /// the immediate caller is on top of the stack.
    pub at_entry: bool,
    /// The attach point in the script.
    pub loc: Loc,
}

/// A function of the script.
#[derive(Debug)]
pub struct Func {
    /// Name.
    pub name: String,
    /// The first locals are the parameters.
    pub params: u32,
    /// Variables.
    pub locals: Vec<Local>,
    /// Type of the result.
    pub ret: Type,
    /// Body.
    pub body: Block,
    /// The definition.
    pub loc: Loc,
}

/// A variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// Name with the `$`, for dumps.
    pub name: String,
    /// Type.
    pub ty: Type,
}

/// A block: statements, then possibly a value.
#[derive(Debug, Default)]
pub struct Block {
    /// Statements.
    pub stmts: Vec<Stmt>,
    /// Value of the block.
    pub value: Option<Box<Expr>>,
}

/// A statement.
#[derive(Debug)]
pub struct Stmt {
    /// Which.
    pub kind: StmtKind,
    /// Its place.
    pub loc: Loc,
}

/// The statements.
#[derive(Debug)]
pub enum StmtKind {
    /// `$x = e`; `e` has the variable's type. A declaration without a value is an
    /// assignment of zero ([`ExprKind::Zero`]).
    Assign(LocalId, Expr),
    /// `@m = e`, `@m[k] = e`; plain values of the map's type.
    MapAssign {
        /// The map.
        map: MapRef,
        /// The key, of the map's key type.
        key: Option<Expr>,
        /// The value.
        value: Expr,
    },
    /// `@m += e` and the like on integer maps; `e` has type `int64` or `uint64`.
    MapUpdate {
        /// The map.
        map: MapRef,
        /// The key.
        key: Option<Expr>,
        /// The operator.
        op: BinOp,
        /// Right operand.
        value: Expr,
    },
    /// `@m = count()` and the like.
    Aggregate {
        /// The map; its value type is the aggregation.
        map: MapRef,
        /// The key.
        key: Option<Expr>,
        /// Which.
        agg: AggTy,
        /// The number, of type `int64` or `uint64`; absent for `count()`.
        value: Option<Expr>,
    },
    /// An expression for its effect.
    Expr(Expr),
    /// `while`: a jump back, bounded by the verifier.
    While {
        /// Condition, a bool.
        cond: Expr,
        /// Body.
        body: Block,
    },
    /// `for $i : a..b`
    ForRange {
        /// Loop variable, fresh in every round.
        var: LocalId,
        /// First value, of the variable's type.
        start: Expr,
        /// One past the last.
        end: Expr,
        /// Body.
        body: Block,
    },
    /// `for $kv : @m`
    ForMap {
        /// Loop variable, a tuple of key and value (aggregations reduced to a number).
        var: LocalId,
        /// The map.
        map: MapRef,
        /// Body.
        body: Block,
    },
    /// `break`
    Break,
    /// `continue`
    Continue,
    /// `return`: in a probe the program's result; in a function its value.
    Return(Option<Expr>),
}

/// An expression.
#[derive(Debug)]
pub struct Expr {
    /// Which.
    pub kind: ExprKind,
    /// Its final type.
    pub ty: Type,
    /// Its place.
    pub loc: Loc,
}

/// The expressions.
#[derive(Debug)]
pub enum ExprKind {
    /// A constant of a scalar type: its bits, sign- or zero-extended by its type.
    Int(u64),
    /// A string constant without terminator, at most as long as the type holds.
    Str(Arc<[u8]>),
    /// The zero of the type.
    Zero,
    /// Constant bytes of an array type (`pton`).
    Bytes(Arc<[u8]>),
    /// A variable.
    Local(LocalId),
    /// A map's plain value, or an aggregation reduced to a number; zero if absent.
    MapGet {
        /// The map.
        map: MapRef,
        /// The key.
        key: Option<Box<Expr>>,
    },
    /// Loads what is at a place. A load of `char[]` gives a string one byte longer.
    Load(Place),
    /// Address of a place (a pointer's field, a variable, a scalar map's value).
    AddrOf(Place),
    /// Address of a scalar map's value.
    MapAddr(MapRef),
    /// Argument `n` of the context: `u64` register, stack or array element.
    CtxArg(u8),
    /// The context pointer.
    Ctx,
    /// A `__data_loc` string of a trace event whose descriptor is at this offset.
    DataLoc {
        /// Offset of the 4-byte descriptor in the record.
        offset: u32,
    },
    /// Location of a USDT or DWARF argument, evaluated from registers.
    Location(ArgLocation),
    /// A struct made of parts from registers, memory and constants; the rest is zero.
    Parts(Vec<ArgPart>),
    /// Operation on one operand.
    Unary(UnOp, Box<Expr>),
    /// Arithmetic; operands and result have the same width of 64 bits.
    Binary(BinOp, Box<Expr>, Box<Expr>),
    /// Comparison of scalars of one type.
    Compare {
        /// Which.
        op: CmpOp,
        /// Signed comparison.
        signed: bool,
        /// Left operand.
        lhs: Box<Expr>,
        /// Right operand.
        rhs: Box<Expr>,
    },
    /// Equality of strings (up to the shorter capacity), arrays, tuples.
    EqualMemory {
        /// `==` rather than `!=`.
        equal: bool,
        /// Left operand.
        lhs: Box<Expr>,
        /// Right operand.
        rhs: Box<Expr>,
    },
    /// `&&` with short circuit; operands are bools.
    And(Box<Expr>, Box<Expr>),
    /// `||` with short circuit; operands are bools.
    Or(Box<Expr>, Box<Expr>),
    /// `if` or `?:`; both values have the expression's type (`None` for statements).
    If {
        /// Condition, a bool.
        cond: Box<Expr>,
        /// If it holds.
        then: Block,
        /// If not.
        els: Block,
    },
    /// `{ ... }` as a value.
    Block(Block),
    /// Conversion to the expression's type: integers, bool, enum, pointers; integer to array
    /// and back; strings to wider strings; tuples element by element.
    Cast(Box<Expr>),
    /// A tuple or record, values in the order of the type's fields.
    Tuple(Vec<Expr>),
    /// Element of a tuple or record.
    TupleField(Box<Expr>, u32),
    /// `++`/`--` on a variable.
    IncLocal {
        /// The variable.
        local: LocalId,
        /// Added to it: 1, -1, or the pointee's size.
        by: i64,
        /// The value is the new one.
        prefix: bool,
    },
    /// `++`/`--` on an integer map.
    IncMap {
        /// The map.
        map: MapRef,
        /// The key.
        key: Option<Box<Expr>>,
        /// Added to it.
        by: i64,
        /// The value is the new one.
        prefix: bool,
    },
    /// A call of a builtin (also the values without arguments: `pid`).
    Call(Call),
    /// A call of a function of the script.
    CallFn(FnRef, Vec<Expr>),
    /// The index of the attach point that fired (`probe`).
    Probe,
}

/// A call of a builtin.
#[derive(Debug)]
pub struct Call {
    /// The table row.
    pub builtin: &'static Builtin,
    /// Arguments after checking, in the order of the row's parameters.
    pub args: Vec<Arg>,
}

/// An argument of a builtin.
#[derive(Debug)]
pub enum Arg {
    /// A value.
    Expr(Expr),
    /// A map.
    Map(MapRef),
    /// An element of a map (`None` for a scalar map).
    MapElem(MapRef, Option<Expr>),
    /// A string literal.
    Str(String),
    /// A constant.
    Int(i64),
    /// A parsed format.
    Format(Format),
    /// Index into [`Program::time_formats`].
    TimeFormat(u32),
    /// A variable passed by reference (`find`).
    Local(LocalId),
}

/// Memory that an expression names.
#[derive(Debug)]
pub struct Place {
    /// Where it starts.
    pub base: Base,
    /// Constant bytes added.
    pub offset: u32,
    /// Variable parts added.
    pub index: Vec<Index>,
    /// For a bitfield: first bit (from the least significant bit at the place) and width.
    pub bits: Option<(u8, u8)>,
}

/// Where a place starts.
#[derive(Debug)]
pub enum Base {
    /// What a pointer points to; the address space is in its type.
    Deref(Box<Expr>),
    /// A variable of memory type.
    Local(LocalId),
    /// A value that is computed into memory.
    Temp(Box<Expr>),
    /// The program's context, loaded directly.
    Ctx,
}

/// A variable part of a place.
#[derive(Debug)]
pub struct Index {
    /// The index, of type `uint64` or `int64`.
    pub index: Expr,
    /// Bytes per step.
    pub stride: u32,
    /// Number of elements where it is known: an index past it is a runtime error and the
    /// value is zero.
    pub len: Option<u32>,
}

/// Where an argument of a user probe is.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgLocation {
    /// A constant.
    Const {
        /// The value, extended from `size`.
        value: i64,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
        /// Sign-extended.
        signed: bool,
    },
    /// Part of a register: byte offset in `struct pt_regs`, size in bytes, signed.
    Reg {
        /// Offset in `struct pt_regs`.
        regs_offset: u32,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
        /// Sign-extended.
        signed: bool,
    },
    /// In user memory at `[base + index * scale + offset]`.
    Memory {
        /// Offset of the base register in `struct pt_regs`.
        base: u32,
        /// Offset of the index register and scale.
        index: Option<(u32, u8)>,
        /// Bytes added.
        offset: i64,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
        /// Sign-extended.
        signed: bool,
    },
}

/// Part of an argument that is passed by value.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgPart {
    /// Where it is.
    pub at: ArgLocation,
    /// Bytes from the start of the value.
    pub offset: u32,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
}

/// Operations on one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnOp {
    /// `-`
    Neg,
    /// `~`
    BitNot,
    /// `!` on a bool.
    Not,
}

/// Arithmetic operators. Division and modulo are unsigned and `>>` is logical; a divisor of
/// zero gives 1 and a runtime error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmpOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}
