//! The bytes of BTF: the header, type records, and the index of where each record starts.
//!
//! In: the bytes of one BTF blob. Out: bounds-checked records by number. Strings, names and the
//! meaning of records belong to the parent module. Layout: include/uapi/linux/btf.h and
//! Documentation/bpf/btf.rst of the kernel.

use crate::error::{Error, Result};

const MAGIC: u16 = 0xeb9f;
/// Size of a type record before what its kind appends.
const RECORD: usize = 12;

/// The kinds of type records, numbered as in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "named as in linux/btf.h")]
pub enum Kind {
    Void = 0,
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

const KINDS: [Kind; 20] = [
    Kind::Void,
    Kind::Int,
    Kind::Ptr,
    Kind::Array,
    Kind::Struct,
    Kind::Union,
    Kind::Enum,
    Kind::Fwd,
    Kind::Typedef,
    Kind::Volatile,
    Kind::Const,
    Kind::Restrict,
    Kind::Func,
    Kind::FuncProto,
    Kind::Var,
    Kind::Datasec,
    Kind::Float,
    Kind::DeclTag,
    Kind::TypeTag,
    Kind::Enum64,
];

/// Bytes that follow a record, by kind: a constant part and a part for each element counted in
/// `vlen`.
const TAIL: [(u8, u8); 20] = [
    (0, 0),  // void: never stored
    (4, 0),  // int: encoding
    (0, 0),  // ptr
    (12, 0), // array: element, index type, length
    (0, 12), // struct: members
    (0, 12), // union: members
    (0, 8),  // enum: name, value
    (0, 0),  // fwd
    (0, 0),  // typedef
    (0, 0),  // volatile
    (0, 0),  // const
    (0, 0),  // restrict
    (0, 0),  // func
    (0, 8),  // func_proto: parameters
    (4, 0),  // var: linkage
    (0, 12), // datasec: variables
    (0, 0),  // float
    (4, 0),  // decl_tag: component
    (0, 0),  // type_tag
    (0, 12), // enum64: name, low half, high half
];

/// One type record, with the bytes its kind appends.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Offset of the name in the string table.
    pub name_off: u32,
    /// The kind.
    pub kind: Kind,
    /// The kind flag: bitfield sizes in members, signed enumerations, a forward union.
    pub flag: bool,
    /// Size in bytes or a type id, as the kind has it.
    pub size_or_type: u32,
    /// What follows the record.
    pub tail: &'a [u8],
}

impl<'a> Record<'a> {
    /// The appended elements, `width` bytes each.
    pub fn elements(&self, width: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.tail.chunks_exact(width)
    }
}

/// Reads a little-endian word; 0 past the end.
pub fn word(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(b) => u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        None => 0,
    }
}

/// Where the sections of a BTF blob lie.
#[derive(Clone, Debug)]
pub struct Header {
    /// The type records.
    pub types: std::ops::Range<usize>,
    /// The string table.
    pub strings: std::ops::Range<usize>,
}

impl Header {
    /// Reads and checks the header of `data`.
    ///
    /// # Errors
    /// Data that is not BTF, has another byte order or version, or names sections that lie outside.
    pub fn read(data: &[u8]) -> Result<Self> {
        if data.len() < 24 {
            return Err(Error::invalid("too short for a BTF header"));
        }
        let magic = u16::from_le_bytes([data[0], data[1]]);
        if magic == MAGIC.swap_bytes() {
            return Err(Error::invalid("BTF of the other byte order"));
        }
        if magic != MAGIC {
            return Err(Error::invalid("not BTF: wrong magic number"));
        }
        if data[2] != 1 {
            return Err(Error::invalid(format!("unknown BTF version {}", data[2])));
        }
        let header = word(data, 4) as usize;
        let section = |at: usize| {
            let start = header.checked_add(word(data, at) as usize)?;
            let end = start.checked_add(word(data, at + 4) as usize)?;
            (end <= data.len() && header >= 24).then_some(start..end)
        };
        match (section(8), section(16)) {
            (Some(types), Some(strings)) => Ok(Self { types, strings }),
            _ => Err(Error::invalid("a BTF section lies outside the data")),
        }
    }
}

/// Start of each record in the type section, by id minus the first id.
#[derive(Debug)]
pub struct Index(Vec<u32>);

impl Index {
    /// Walks the type section once. A record of unknown kind or one that is cut off ends the walk:
    /// types before it stay usable.
    pub fn build(types: &[u8]) -> Self {
        // vmlinux averages 29 bytes a record, members and parameters included.
        let mut starts = Vec::with_capacity(types.len() / 24);
        let mut at = 0;
        while let Some(head) = types.get(at..at + RECORD) {
            let info = word(head, 4);
            let Some(&(fixed, each)) = TAIL.get((info >> 24 & 0x1f) as usize) else {
                break;
            };
            let vlen = (info & 0xffff) as usize;
            let next = at + RECORD + fixed as usize + each as usize * vlen;
            if next > types.len() {
                break;
            }
            starts.push(at as u32);
            at = next;
        }
        Self(starts)
    }

    /// Number of records.
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// Record number `i` of `types`, the section the index was built from.
    pub fn record<'a>(&self, types: &'a [u8], i: u32) -> Option<Record<'a>> {
        let at = *self.0.get(i as usize)? as usize;
        let head = types.get(at..at + RECORD)?;
        let info = word(head, 4);
        let kind = (info >> 24 & 0x1f) as usize;
        let &(fixed, each) = TAIL.get(kind)?;
        let len = fixed as usize + each as usize * (info & 0xffff) as usize;
        Some(Record {
            name_off: word(head, 0),
            kind: *KINDS.get(kind)?,
            flag: info >> 31 != 0,
            size_or_type: word(head, 8),
            tail: types.get(at + RECORD..at + RECORD + len)?,
        })
    }

    /// Name offset and kind of every record in order: the fast path of name searches.
    pub fn names<'a>(&'a self, types: &'a [u8]) -> impl Iterator<Item = (u32, u32, u8)> + 'a {
        self.0.iter().enumerate().map(|(i, &at)| {
            let at = at as usize;
            let kind = (word(types, at + 4) >> 24 & 0x1f) as u8;
            (i as u32, word(types, at), kind)
        })
    }
}
