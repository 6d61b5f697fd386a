//! Types of the language: what inference computes and lowering lays out.
//!
//! A [`Type`] is cheap to clone. Structs, unions and enums are interned in a [`TypeStore`] and
//! named by index; their members are filled in on demand, because kernel types form a graph
//! of which a script touches little.

pub mod import;
mod layout;
mod promote;
mod store;

use std::fmt;
use std::sync::Arc;

pub use layout::{align_of, size_of, tuple_offsets};
pub use promote::{int_for_literal, join_ints};
pub use store::{EnumDef, EnumId, Field, StructDef, StructId, StructKind, TypeStore};

/// Which memory a pointer points into: decides the helper that reads through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum AddrSpace {
    /// Unknown: read with the generic helper.
    #[default]
    None,
    /// Kernel memory: `bpf_probe_read_kernel`.
    Kernel,
    /// User memory: `bpf_probe_read_user`.
    User,
    /// Memory of the BPF program itself (a variable, a map value): loaded directly.
    Bpf,
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntTy {
    /// Two's complement if set.
    pub signed: bool,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
}

impl IntTy {
    /// `int64`
    pub const I64: Self = Self {
        signed: true,
        size: 8,
    };
    /// `uint64`
    pub const U64: Self = Self {
        signed: false,
        size: 8,
    };
    /// `uint32`
    pub const U32: Self = Self {
        signed: false,
        size: 4,
    };
    /// `int32`
    pub const I32: Self = Self {
        signed: true,
        size: 4,
    };
}

/// Kernel or user stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackKind {
    /// `kstack`
    Kernel,
    /// `ustack`
    User,
}

/// How a stack is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum StackMode {
    /// Indented `symbol+offset` lines.
    #[default]
    Bpftrace,
    /// Address, symbol and module, as `perf script` has them.
    Perf,
    /// Hexadecimal addresses.
    Raw,
    /// Build id and file offset (user stacks only).
    BuildId,
}

/// A stack's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackTy {
    /// Kernel or user.
    pub kind: StackKind,
    /// How it prints.
    pub mode: StackMode,
    /// Most frames that are kept, 1 to 1024.
    pub limit: u16,
}

/// Which aggregation a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggKind {
    /// `count()`
    Count,
    /// `sum(n)`
    Sum,
    /// `min(n)`
    Min,
    /// `max(n)`
    Max,
    /// `avg(n)`
    Avg,
    /// `stats(n)`
    Stats,
    /// `hist(n, bits)`
    Hist {
        /// log2 of the number of buckets per power of two, 0 to 5.
        bits: u8,
    },
    /// `lhist(n, min, max, step)`
    Lhist {
        /// Lower bound of the first bucket.
        min: i64,
        /// Upper bound (exclusive) of the last bucket.
        max: i64,
        /// Width of a bucket.
        step: i64,
    },
    /// `tseries(n, interval, intervals, agg)`
    Tseries {
        /// Nanoseconds per interval.
        interval: u64,
        /// How many intervals are kept.
        intervals: u32,
        /// What happens to several values in one interval.
        agg: TseriesAgg,
    },
}

/// How a time series combines values of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TseriesAgg {
    /// The last value wins.
    Last,
    /// Arithmetic mean.
    Avg,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Total.
    Sum,
}

/// An aggregation type: the only kind of value its map can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AggTy {
    /// Which one.
    pub kind: AggKind,
    /// Whether its values are signed.
    pub signed: bool,
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// No value: result of a call made for its effect, `()` of a block.
    None,
    /// Pointee of an untyped pointer.
    Void,
    /// `bool`, one byte.
    Bool,
    /// An integer.
    Int(IntTy),
    /// `string[N]`: at most N bytes, the terminating NUL included.
    Str(u32),
    /// `buffer[N]`: a 4-byte length and at most N bytes.
    Buf(u32),
    /// A pointer.
    Ptr(Arc<Type>, AddrSpace),
    /// `T[N]`
    Array(Arc<Type>, u32),
    /// A struct or union.
    Struct(StructId),
    /// An enum.
    Enum(EnumId),
    /// A tuple.
    Tuple(Arc<[Type]>),
    /// A tuple whose fields have names.
    Record(Arc<[(Arc<str>, Type)]>),
    /// Result of `ntop()`: see [`crate::object::INET_SIZE`].
    Inet,
    /// Six bytes of a hardware address.
    Mac,
    /// A uid that prints as a user name.
    Username,
    /// Result of `cgroup_path()`.
    CgroupPath,
    /// Result of `strftime()`.
    Timestamp,
    /// A kernel address that prints as a symbol.
    KSym,
    /// A user address and its process, which prints as a symbol.
    USym,
    /// The `probe` builtin: index of an attach point, prints as its name.
    ProbeName,
    /// A stack handle.
    Stack(StackTy),
    /// An aggregation (map values only).
    Agg(AggTy),
}

impl Type {
    /// `int64`
    pub const I64: Self = Self::Int(IntTy::I64);
    /// `uint64`
    pub const U64: Self = Self::Int(IntTy::U64);
    /// `uint32`
    pub const U32: Self = Self::Int(IntTy::U32);
    /// `int32`
    pub const I32: Self = Self::Int(IntTy::I32);

    /// An integer of `size` bytes.
    pub fn int(signed: bool, size: u8) -> Self {
        Self::Int(IntTy { signed, size })
    }

    /// A pointer to `self`.
    #[must_use]
    pub fn ptr_in(self, space: AddrSpace) -> Self {
        Self::Ptr(Arc::new(self), space)
    }

    /// A tuple of these.
    pub fn tuple(items: impl Into<Arc<[Type]>>) -> Self {
        Self::Tuple(items.into())
    }

    /// The integer type behind an integer.
    pub fn as_int(&self) -> Option<IntTy> {
        match self {
            Self::Int(t) => Some(*t),
            _ => None,
        }
    }

    /// Whether a value of this type fits a register and is computed in one: integers, bool,
    /// enums, pointers and the handles that are one word.
    pub fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Bool
                | Self::Int(_)
                | Self::Ptr(..)
                | Self::Enum(_)
                | Self::KSym
                | Self::Username
                | Self::ProbeName
        )
    }

    /// Whether values live in memory and are copied: strings, tuples, structs, arrays...
    pub fn is_memory(&self) -> bool {
        !self.is_scalar() && !matches!(self, Self::None | Self::Void)
    }

    /// Whether arithmetic sees it as signed.
    pub fn is_signed(&self) -> bool {
        matches!(self, Self::Int(IntTy { signed: true, .. }))
    }

    /// The type as diagnostics spell it.
    pub fn display<'a>(&'a self, store: &'a TypeStore) -> impl fmt::Display + 'a {
        Shown(self, store)
    }
}

struct Shown<'a>(&'a Type, &'a TypeStore);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(ty, store) = *self;
        let sub = |t| Shown(t, store);
        match ty {
            Type::None => f.write_str("none"),
            Type::Void => f.write_str("void"),
            Type::Bool => f.write_str("bool"),
            Type::Int(t) => {
                let sign = if t.signed { "int" } else { "uint" };
                write!(f, "{sign}{}", u32::from(t.size) * 8)
            }
            Type::Str(n) => write!(f, "string[{n}]"),
            Type::Buf(n) => write!(f, "buffer[{n}]"),
            Type::Ptr(t, _) => write!(f, "{} *", sub(t)),
            Type::Array(t, n) => write!(f, "{}[{n}]", sub(t)),
            Type::Struct(id) => f.write_str(&store.struct_def(*id).spelling()),
            Type::Enum(id) => write!(f, "enum {}", store.enum_def(*id).name),
            Type::Tuple(items) => {
                f.write_str("(")?;
                for (i, t) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{}", sub(t))?;
                }
                f.write_str(")")
            }
            Type::Record(items) => {
                f.write_str("record {")?;
                for (i, (n, t)) in items.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(f, "{comma} .{n} = {}", sub(t))?;
                }
                f.write_str(" }")
            }
            Type::Inet => f.write_str("inet"),
            Type::Mac => f.write_str("macaddr_t"),
            Type::Username => f.write_str("username_t"),
            Type::CgroupPath => f.write_str("cgroup_path_t"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::KSym => f.write_str("ksym_t"),
            Type::USym => f.write_str("usym_t"),
            Type::ProbeName => f.write_str("string"),
            Type::Stack(t) => {
                let kind = match t.kind {
                    StackKind::Kernel => "kstack",
                    StackKind::User => "ustack",
                };
                let mode = match t.mode {
                    StackMode::Bpftrace => "bpftrace",
                    StackMode::Perf => "perf",
                    StackMode::Raw => "raw",
                    StackMode::BuildId => "build_id",
                };
                write!(f, "{kind}_{mode}_{}", t.limit)
            }
            Type::Agg(t) => {
                let u = if t.signed { "" } else { "u" };
                match t.kind {
                    AggKind::Count => f.write_str("count_t"),
                    AggKind::Sum => write!(f, "{u}sum_t"),
                    AggKind::Min => write!(f, "{u}min_t"),
                    AggKind::Max => write!(f, "{u}max_t"),
                    AggKind::Avg => write!(f, "{u}avg_t"),
                    AggKind::Stats => write!(f, "{u}stats_t"),
                    AggKind::Hist { .. } => f.write_str("hist_t"),
                    AggKind::Lhist { .. } => f.write_str("lhist_t"),
                    AggKind::Tseries { .. } => f.write_str("tseries_t"),
                }
            }
        }
    }
}
