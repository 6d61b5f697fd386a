//! How to read a value from bytes: the run-time shadow of a type.

use crate::types::{AggTy, StackKind, StackTy};

/// A value in a map or a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// Nothing; prints as `null`.
    None,
    /// An integer of 1, 2, 4 or 8 bytes.
    Int {
        /// Two's complement.
        signed: bool,
        /// Bytes.
        size: u8,
    },
    /// One byte.
    Bool,
    /// At most this many bytes, ends at the first NUL.
    Str(u32),
    /// `u32` length, then at most this many bytes.
    Buf(u32),
    /// Eight bytes, prints as `0x...`.
    Ptr,
    /// An integer with names: size, signedness, index into `Object::enums`.
    Enum {
        /// Bytes.
        size: u8,
        /// Two's complement.
        signed: bool,
        /// Index into `Object::enums`.
        table: u32,
    },
    /// `len` elements, one every `stride` bytes.
    Array {
        /// Element.
        elem: Box<Layout>,
        /// Number of elements.
        len: u32,
        /// Bytes from one to the next.
        stride: u32,
    },
    /// Fields without names.
    Tuple {
        /// Fields in order.
        fields: Vec<FieldLayout>,
        /// Bytes in all.
        size: u32,
    },
    /// Record, struct or union: fields with names.
    Struct {
        /// Fields in order.
        fields: Vec<FieldLayout>,
        /// Bytes in all.
        size: u32,
    },
    /// See [`super::INET_SIZE`].
    Inet,
    /// Six bytes.
    Mac,
    /// `u64` uid.
    Username,
    /// `{ u64 cgroup id; u64 index into Object::time_formats of the filter }`.
    CgroupPath,
    /// `{ u64 nanoseconds; u32 index into Object::time_formats; u32 clock }` where clock 0 is
    /// boot time, 1 monotonic, 2 TAI, 3 already wall-clock time.
    Timestamp,
    /// `u64` kernel address.
    KSym,
    /// `{ u64 address; u32 pid; u32 attach point + 1 }`.
    USym,
    /// `u64` index into `Object::attach`.
    ProbeName,
    /// A stack handle (see [`super::STACK_HANDLE_SIZE`]) into `map`.
    Stack {
        /// How it prints.
        ty: StackTy,
        /// The map with role `Stacks`.
        map: super::MapId,
    },
    /// A stack in place: `{ u32 frames; u32 pid; u64 ip[ty.limit] }`.
    StackInline(StackTy),
}

impl Layout {
    /// Whether it holds addresses of a process that are printed by name.
    pub fn names_user_code(&self) -> bool {
        let in_fields = |fields: &[FieldLayout]| fields.iter().any(|f| f.layout.names_user_code());
        match self {
            Self::USym => true,
            Self::Stack { ty, .. } | Self::StackInline(ty) => ty.kind != StackKind::Kernel,
            Self::Array { elem, .. } => elem.names_user_code(),
            Self::Tuple { fields, .. } | Self::Struct { fields, .. } => in_fields(fields),
            _ => false,
        }
    }

    /// Bytes that the value occupies.
    pub fn size(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::Int { size, .. } | Self::Enum { size, .. } => u32::from(*size),
            Self::Bool => 1,
            Self::Str(n) => *n,
            Self::Buf(n) => 4 + n,
            Self::Ptr | Self::Username | Self::KSym | Self::ProbeName => 8,
            Self::Array { len, stride, .. } => len * stride,
            Self::Tuple { size, .. } | Self::Struct { size, .. } => *size,
            Self::Inet => super::INET_SIZE,
            Self::Mac => 6,
            Self::CgroupPath | Self::Timestamp | Self::USym => 16,
            Self::Stack { .. } => super::STACK_HANDLE_SIZE,
            Self::StackInline(t) => super::STACK_VALUE_HEADER + 8 * u32::from(t.limit),
        }
    }
}

/// A field of a tuple, a struct or a record of the ring buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldLayout {
    /// Name; empty in tuples.
    pub name: String,
    /// Bytes from the start of the whole.
    pub offset: u32,
    /// For bitfields: first bit (from the least significant bit of the bytes at `offset`)
    /// and width.
    pub bits: Option<(u8, u8)>,
    /// The value there.
    pub layout: Layout,
}

/// Names of an enum's values.
#[derive(Clone, Debug, PartialEq)]
pub struct EnumTable {
    /// Tag of the enum.
    pub name: String,
    /// Constants in order of definition; the first name of a value wins.
    pub variants: Vec<(String, i64)>,
}

/// What the values of a `@map` hold.
#[derive(Clone, Debug, PartialEq)]
pub enum MapValue {
    /// A plain value at offset 0.
    Plain(Layout),
    /// An aggregation; per-CPU parts are combined by the reader.
    Agg(AggTy, AggStorage),
}

/// The epoch of a slot of a time series that a program is just starting anew: its value is
/// neither the old nor the new one. Above all real ones.
pub const SERIES_BUSY: u64 = u64::MAX;

/// How an aggregation is stored.
///
/// | kind | value of one CPU |
/// |---|---|
/// | count | `u64 n` |
/// | sum | `i64 total` (scalar maps: then the set flag) |
/// | min, max | `u64 rank; u64 is_set`: the largest rank counts. The rank of a value is the value itself for an unsigned max, with its top bit flipped for a signed one; for min it is the complement of that |
/// | avg, stats | `u64 count; i64 total` |
/// | hist, lhist | [`AggStorage::Buckets`]: `u64` each; [`AggStorage::Keyed`]: one `u64` |
/// | tseries | [`AggStorage::Keyed`]: `u64 epoch; i64 value; u64 count`, where `count` of
/// [`crate::types::TseriesAgg::Last`] is the time of the update in nanoseconds |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggStorage {
    /// The value as in the table.
    Value,
    /// All buckets in one value (scalar histograms): this many.
    Buckets(u32),
    /// The map's key is the script's key (padded to 8 bytes) followed by a `u64` bucket
    /// number (tseries: slot number).
    Keyed,
}
