//! Values as the kernel left them: bytes read through a [`Layout`].
//!
//! [`read`] looks at one level only and allocates nothing: a tuple comes back as its fields and
//! its bytes, and whoever prints it reads those in turn. Bytes that are too short for their
//! layout are [`Malformed`], never a panic; nothing here knows how a value is spelt.

use crate::error::Error;
use crate::object::{EnumTable, FieldLayout, Layout, MapId, STACK_VALUE_HEADER};
use crate::types::StackTy;

/// Bytes that do not have the size or the contents their layout demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Error::invalid("a value from the kernel does not have the expected size")
    }
}

/// One level of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    None,
    /// A signed integer.
    Signed(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// True or false.
    Bool(bool),
    /// A string without its NUL; the capacity says whether it was cut.
    Str {
        /// The characters, in no particular encoding.
        text: &'a [u8],
        /// Bytes that the string could have had, NUL included.
        capacity: u32,
    },
    /// A blob.
    Buf(&'a [u8]),
    /// An address.
    Ptr(u64),
    /// A constant of the enum with this table.
    Enum(u32, Integer),
    /// Elements of one layout.
    Array(Items<'a>),
    /// Fields without names.
    Tuple(&'a [FieldLayout], &'a [u8]),
    /// Fields with names.
    Struct(&'a [FieldLayout], &'a [u8]),
    /// An IPv4 address.
    Inet4([u8; 4]),
    /// An IPv6 address.
    Inet6([u8; 16]),
    /// A hardware address.
    Mac([u8; 6]),
    /// A user by id.
    Username(u64),
    /// A cgroup by id, and the time-format index of the hierarchy filter.
    CgroupPath(u64, u64),
    /// Nanoseconds, index of the format, clock.
    Timestamp(u64, u32, u32),
    /// A kernel address with a name.
    KSym(u64),
    /// A user address with a name.
    USym(UserAddress),
    /// An attach point by index.
    ProbeName(u64),
    /// A stack that is kept in a map.
    StackId {
        /// How it prints.
        ty: StackTy,
        /// The map.
        map: MapId,
        /// Its key, 0 for no stack.
        id: u64,
        /// The process of a user stack.
        pid: u32,
    },
    /// A stack in place: its addresses, eight bytes each.
    Stack {
        /// How it prints.
        ty: StackTy,
        /// The addresses.
        ips: &'a [u8],
        /// The process of a user stack.
        pid: u32,
    },
}

/// An integer of either signedness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integer {
    /// Two's complement.
    Signed(i64),
    /// Not negative.
    Unsigned(u64),
}

impl Integer {
    /// The 64 bits, sign-extended where there is a sign.
    pub fn bits(self) -> u64 {
        match self {
            Self::Signed(v) => v as u64,
            Self::Unsigned(v) => v,
        }
    }

    /// The number itself.
    pub fn wide(self) -> i128 {
        match self {
            Self::Signed(v) => v.into(),
            Self::Unsigned(v) => v.into(),
        }
    }

    /// Division by a positive number; towards zero.
    #[must_use]
    pub fn divided_by(self, by: u64) -> Self {
        let by = by.max(1);
        match self {
            Self::Signed(v) => {
                let q = i128::from(v) / i128::from(by);
                // |q| <= |v|
                Self::Signed(q as i64)
            }
            Self::Unsigned(v) => Self::Unsigned(v / by),
        }
    }
}

/// A user address, and the process and attach point it was seen in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserAddress {
    /// The address.
    pub addr: u64,
    /// Thread group id in the initial namespace.
    pub pid: u32,
    /// Index of the attach point whose file holds the address, if it is known.
    pub attach: Option<u32>,
}

/// The elements of an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Items<'a> {
    elem: &'a Layout,
    len: usize,
    stride: usize,
    bytes: &'a [u8],
}

impl<'a> Items<'a> {
    /// Element by element.
    pub fn iter(self) -> impl Iterator<Item = Result<Value<'a>, Malformed>> {
        (0..self.len).map(move |i| read(self.elem, part(self.bytes, i * self.stride)?))
    }
}

/// Reads the value of `layout` at the start of `bytes`.
///
/// # Errors
/// [`Malformed`] if there are fewer bytes than the layout occupies, or they contradict it.
pub fn read<'a>(layout: &'a Layout, bytes: &'a [u8]) -> Result<Value<'a>, Malformed> {
    let b = bytes.get(..layout.size() as usize).ok_or(Malformed)?;
    Ok(match layout {
        Layout::None => Value::None,
        Layout::Int { signed, size } => match integer(b, *size, *signed)? {
            Integer::Signed(v) => Value::Signed(v),
            Integer::Unsigned(v) => Value::Unsigned(v),
        },
        Layout::Bool => Value::Bool(b.first().is_some_and(|&v| v != 0)),
        Layout::Str(n) => Value::Str {
            text: until_nul(b),
            capacity: *n,
        },
        Layout::Buf(_) => {
            let len = u32_at(b, 0)? as usize;
            Value::Buf(b.get(4..4 + len).ok_or(Malformed)?)
        }
        Layout::Ptr => Value::Ptr(u64_at(b, 0)?),
        Layout::Enum {
            size,
            signed,
            table,
        } => Value::Enum(*table, integer(b, *size, *signed)?),
        Layout::Array { elem, len, stride } => Value::Array(Items {
            elem,
            len: *len as usize,
            stride: *stride as usize,
            bytes: b,
        }),
        Layout::Tuple { fields, .. } => Value::Tuple(fields, b),
        Layout::Struct { fields, .. } => Value::Struct(fields, b),
        Layout::Inet => match u64_at(b, 0)? {
            10 => Value::Inet6(array(b, 8)?),
            _ => Value::Inet4(array(b, 8)?),
        },
        Layout::Mac => Value::Mac(array(b, 0)?),
        Layout::Username => Value::Username(u64_at(b, 0)?),
        Layout::CgroupPath => Value::CgroupPath(u64_at(b, 0)?, u64_at(b, 8)?),
        Layout::Timestamp => Value::Timestamp(u64_at(b, 0)?, u32_at(b, 8)?, u32_at(b, 12)?),
        Layout::KSym => Value::KSym(u64_at(b, 0)?),
        Layout::USym => Value::USym(UserAddress {
            addr: u64_at(b, 0)?,
            pid: u32_at(b, 8)?,
            attach: u32_at(b, 12)?.checked_sub(1),
        }),
        Layout::ProbeName => Value::ProbeName(u64_at(b, 0)?),
        Layout::Stack { ty, map } => Value::StackId {
            ty: *ty,
            map: *map,
            id: u64_at(b, 0)?,
            pid: u32_at(b, 8)?,
        },
        Layout::StackInline(ty) => Value::Stack {
            ty: *ty,
            ips: stack_addresses(b)?,
            pid: u32_at(b, 4)?,
        },
    })
}

/// Reads a field of the whole that `bytes` holds.
///
/// # Errors
/// As for [`read`].
pub fn field<'a>(f: &'a FieldLayout, bytes: &'a [u8]) -> Result<Value<'a>, Malformed> {
    let at = part(bytes, f.offset as usize)?;
    let Some((first, width)) = f.bits else {
        return read(&f.layout, at);
    };
    // A bitfield lies in the eight bytes from its offset; near the end of the whole there may
    // be fewer, and what is missing cannot belong to the field.
    let mut raw = [0; 8];
    let n = at.len().min(8);
    raw[..n].copy_from_slice(&at[..n]);
    let (first, width) = (u32::from(first), u32::from(width));
    if width == 0 || first + width > n as u32 * 8 {
        return Err(Malformed);
    }
    let up = u64::from_le_bytes(raw) << (64 - width - first);
    let signed = (up as i64 >> (64 - width)) as u64;
    let unsigned = up >> (64 - width);
    Ok(match &f.layout {
        Layout::Bool => Value::Bool(unsigned != 0),
        Layout::Int { signed: true, .. } => Value::Signed(signed as i64),
        Layout::Enum {
            table,
            signed: true,
            ..
        } => Value::Enum(*table, Integer::Signed(signed as i64)),
        Layout::Enum { table, .. } => Value::Enum(*table, Integer::Unsigned(unsigned)),
        _ => Value::Unsigned(unsigned),
    })
}

/// The addresses in a value of a stack map or in an inline stack: eight bytes each.
///
/// # Errors
/// [`Malformed`] if there are fewer bytes than the header announces.
pub fn stack_addresses(value: &[u8]) -> Result<&[u8], Malformed> {
    let frames = u32_at(value, 0)? as usize;
    let start = STACK_VALUE_HEADER as usize;
    value.get(start..start + 8 * frames).ok_or(Malformed)
}

/// The number behind any value that is one: what `%d` and `%x` print.
pub fn number(value: Value<'_>) -> Option<Integer> {
    Some(match value {
        Value::Signed(v) => Integer::Signed(v),
        Value::Unsigned(v)
        | Value::Ptr(v)
        | Value::KSym(v)
        | Value::Username(v)
        | Value::CgroupPath(v, _)
        | Value::Timestamp(v, ..)
        | Value::ProbeName(v) => Integer::Unsigned(v),
        Value::USym(u) => Integer::Unsigned(u.addr),
        Value::Bool(v) => Integer::Unsigned(v.into()),
        Value::Enum(_, v) => v,
        _ => return None,
    })
}

/// The name of an enum constant; the first of several names.
pub fn enum_name(tables: &[EnumTable], table: u32, value: Integer) -> Option<&str> {
    let wanted = value.bits();
    tables
        .get(table as usize)?
        .variants
        .iter()
        .find(|(_, v)| *v as u64 == wanted)
        .map(|(name, _)| name.as_str())
}

/// `u64` in host byte order at `at`.
///
/// # Errors
/// [`Malformed`] past the end.
pub fn u64_at(b: &[u8], at: usize) -> Result<u64, Malformed> {
    array(b, at).map(u64::from_ne_bytes)
}

/// `u32` in host byte order at `at`.
///
/// # Errors
/// [`Malformed`] past the end.
pub fn u32_at(b: &[u8], at: usize) -> Result<u32, Malformed> {
    array(b, at).map(u32::from_ne_bytes)
}

/// The bytes up to the first NUL, or all of them.
pub fn until_nul(b: &[u8]) -> &[u8] {
    let end = b.iter().position(|&c| c == 0).unwrap_or(b.len());
    &b[..end]
}

fn part(bytes: &[u8], from: usize) -> Result<&[u8], Malformed> {
    bytes.get(from..).ok_or(Malformed)
}

fn array<const N: usize>(b: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    b.get(at..at + N)
        .and_then(|s| s.try_into().ok())
        .ok_or(Malformed)
}

fn integer(b: &[u8], size: u8, signed: bool) -> Result<Integer, Malformed> {
    let raw = match size {
        1 => u64::from(array::<1>(b, 0)?[0]),
        2 => u64::from(u16::from_ne_bytes(array(b, 0)?)),
        4 => u64::from(u32_at(b, 0)?),
        8 => u64_at(b, 0)?,
        _ => return Err(Malformed),
    };
    if !signed {
        return Ok(Integer::Unsigned(raw));
    }
    let up = 64 - 8 * u32::from(size);
    Ok(Integer::Signed((raw << up) as i64 >> up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_size_keep_their_sign() {
        let int = |signed, size| Layout::Int { signed, size };
        assert_eq!(read(&int(true, 1), &[0xff]), Ok(Value::Signed(-1)));
        assert_eq!(read(&int(false, 1), &[0xff]), Ok(Value::Unsigned(255)));
        assert_eq!(read(&int(true, 2), &[0xfe, 0xff]), Ok(Value::Signed(-2)));
        assert_eq!(
            read(&int(true, 4), &(-3i32).to_ne_bytes()),
            Ok(Value::Signed(-3))
        );
        assert_eq!(
            read(&int(false, 8), &u64::MAX.to_ne_bytes()),
            Ok(Value::Unsigned(u64::MAX))
        );
    }

    #[test]
    fn short_bytes_are_malformed() {
        let l = Layout::Int {
            signed: true,
            size: 8,
        };
        assert_eq!(read(&l, &[0; 7]), Err(Malformed));
        // The length says more than the buffer holds.
        assert_eq!(
            read(&Layout::Buf(4), &[9, 0, 0, 0, 1, 2, 3, 4]),
            Err(Malformed)
        );
        assert_eq!(read(&Layout::Str(4), b"ab"), Err(Malformed));
    }

    #[test]
    fn bitfields_are_cut_out_and_sign_extended() {
        let f = |signed, first, width| FieldLayout {
            name: String::new(),
            offset: 1,
            bits: Some((first, width)),
            layout: Layout::Int { signed, size: 4 },
        };
        let bytes = [0xff, 0b0110_1000, 0, 0, 0];
        assert_eq!(field(&f(false, 3, 2), &bytes), Ok(Value::Unsigned(1)));
        assert_eq!(field(&f(true, 5, 2), &bytes), Ok(Value::Signed(-1)));
        assert_eq!(field(&f(true, 30, 4), &bytes), Err(Malformed));
    }
}
