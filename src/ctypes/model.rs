//! The shape of C types, whatever they were read from.
//!
//! BTF, C text and debug information each keep their types in their own storage and answer the
//! same questions through [`TypeSource`]: one layer of a type at a time, by id. Sizes, alignments,
//! and flattened member lookup are derived here once for all of them.
//!
//! Nothing here reads a file or owns a type.

/// How deep chains of typedefs, qualifiers, arrays and anonymous members are followed. Real ones
/// stay below 10; damaged data may form a cycle.
const MAX_DEPTH: u32 = 48;

/// A type in one [`TypeSource`]; [`TypeId::VOID`] is `void` in each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`.
    pub const VOID: TypeId = TypeId(0);
}

/// `struct` or `union`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// Members follow each other.
    Struct,
    /// Members share their storage.
    Union,
}

impl RecordKind {
    /// The C keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            RecordKind::Struct => "struct",
            RecordKind::Union => "union",
        }
    }
}

/// What an integer type is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntKind {
    /// A number.
    Number,
    /// A character: arrays of it are strings.
    Char,
    /// A truth value.
    Bool,
}

/// What a type wrapped around another one says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qualifier<'a> {
    /// `const`
    Const,
    /// `volatile`
    Volatile,
    /// `restrict`
    Restrict,
    /// A type tag such as `user`, `percpu` or `rcu`.
    Tag(&'a str),
}

/// The name spaces in which C looks a type up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameSpace {
    /// `struct X`
    Struct,
    /// `union X`
    Union,
    /// `enum X`
    Enum,
    /// A typedef name, or a basic type by its plain name (`int`).
    Ordinary,
}

/// One layer of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CType<'a> {
    /// `void`
    Void,
    /// An integer, `_Bool` and `char` included.
    Int {
        /// The name that its source gives it (`unsigned int`).
        name: &'a str,
        /// Bytes.
        size: u32,
        /// Two's complement rather than unsigned.
        signed: bool,
        /// What it is used for.
        kind: IntKind,
    },
    /// A floating-point number.
    Float {
        /// The name that its source gives it.
        name: &'a str,
        /// Bytes.
        size: u32,
    },
    /// A pointer; the target of a function pointer is a [`CType::Function`].
    Pointer(TypeId),
    /// An array; a flexible one has length 0.
    Array {
        /// The element.
        element: TypeId,
        /// Number of elements.
        len: u64,
    },
    /// A struct or union with its members known.
    Record {
        /// Which of the two.
        kind: RecordKind,
        /// The tag, empty when anonymous.
        name: &'a str,
        /// Bytes.
        size: u64,
    },
    /// An enumeration.
    Enum {
        /// The tag, empty when anonymous.
        name: &'a str,
        /// Bytes.
        size: u32,
        /// Whether its values are signed.
        signed: bool,
    },
    /// A struct, union or enum that is only declared here.
    Forward {
        /// Where its definition would be found.
        space: NameSpace,
        /// The tag.
        name: &'a str,
    },
    /// A type that another source defines, with the layout it has there.
    External {
        /// Where its definition is found.
        space: NameSpace,
        /// The name.
        name: &'a str,
        /// Bytes.
        size: u64,
        /// Bytes.
        align: u64,
    },
    /// Another name for a type.
    Typedef {
        /// The name.
        name: &'a str,
        /// What it stands for.
        target: TypeId,
    },
    /// A qualified or tagged type.
    Qualified {
        /// The qualifier.
        qualifier: Qualifier<'a>,
        /// The type that it qualifies.
        target: TypeId,
    },
    /// A function type; parameters by [`TypeSource::params`].
    Function {
        /// The return type.
        ret: TypeId,
    },
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name; empty for an anonymous struct or union and for padding bitfields.
    pub name: &'a str,
    /// The declared type.
    pub ty: TypeId,
    /// Offset in bits from the start of the record; a bitfield starts at its lowest bit.
    pub bit_offset: u64,
    /// Width of a bitfield.
    pub bits: Option<u32>,
}

/// A constant of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant<'a> {
    /// The name.
    pub name: &'a str,
    /// The value; of an unsigned 64-bit enumeration, its bit pattern.
    pub value: i64,
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name, empty where the source has none.
    pub name: &'a str,
    /// The type.
    pub ty: TypeId,
}

/// A place where C types are kept.
///
/// Ids that the source never handed out, and ids in damaged data, read as `void`.
pub trait TypeSource {
    /// One layer of a type.
    fn ctype(&self, id: TypeId) -> CType<'_>;

    /// The members of a record in order, none for anything else.
    fn members(&self, id: TypeId) -> Vec<Member<'_>>;

    /// The constants of an enumeration in order, none for anything else.
    fn variants(&self, id: TypeId) -> Vec<Variant<'_>>;

    /// The parameters of a function type in order, none for anything else.
    fn params(&self, id: TypeId) -> Vec<Param<'_>>;

    /// The definition of a name.
    fn find(&self, space: NameSpace, name: &str) -> Option<TypeId>;

    /// Alignment in bytes that a definition demands beyond what its members do (or, for a packed
    /// record, instead of it).
    fn declared_align(&self, _id: TypeId) -> Option<u64> {
        None
    }

    /// The type below typedefs, qualifiers and tags.
    fn resolve(&self, mut id: TypeId) -> TypeId {
        for _ in 0..MAX_DEPTH {
            match self.ctype(id) {
                CType::Typedef { target, .. } | CType::Qualified { target, .. } => id = target,
                _ => return id,
            }
        }
        TypeId::VOID
    }

    /// Size in bytes; `None` for `void`, functions and incomplete types.
    fn size(&self, id: TypeId) -> Option<u64> {
        let mut count = 1u64;
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let size = match self.ctype(id) {
                CType::Typedef { target, .. } | CType::Qualified { target, .. } => {
                    id = target;
                    continue;
                }
                CType::Array { element, len } => {
                    count = count.checked_mul(len)?;
                    id = element;
                    continue;
                }
                CType::Int { size, .. } | CType::Float { size, .. } | CType::Enum { size, .. } => {
                    u64::from(size)
                }
                CType::Record { size, .. } | CType::External { size, .. } => size,
                CType::Pointer(_) => 8,
                CType::Void | CType::Forward { .. } | CType::Function { .. } => return None,
            };
            return count.checked_mul(size);
        }
        None
    }

    /// Natural alignment in bytes; `None` where there is no size.
    fn align(&self, id: TypeId) -> Option<u64> {
        align_at(self, id, 0, &mut 0)
    }

    /// A member by name, looked up through anonymous members too; the offset is from the start of
    /// `record`.
    fn field(&self, record: TypeId, name: &str) -> Option<Member<'_>> {
        field_at(self, record, name, 0)
    }

    /// All named members with anonymous ones replaced by their own, offsets from the start of
    /// `record`.
    fn fields(&self, record: TypeId) -> Vec<Member<'_>> {
        let mut out = Vec::new();
        fields_at(self, record, 0, &mut out, 0);
        out
    }
}

/// Passes every question on to what `$inner` of `self` answers.
macro_rules! delegate_type_source {
    ($self:ident => $inner:expr) => {
        fn ctype(&$self, id: $crate::ctypes::model::TypeId) -> $crate::ctypes::model::CType<'_> {
            $inner.ctype(id)
        }
        fn members(
            &$self,
            id: $crate::ctypes::model::TypeId,
        ) -> Vec<$crate::ctypes::model::Member<'_>> {
            $inner.members(id)
        }
        fn variants(
            &$self,
            id: $crate::ctypes::model::TypeId,
        ) -> Vec<$crate::ctypes::model::Variant<'_>> {
            $inner.variants(id)
        }
        fn params(
            &$self,
            id: $crate::ctypes::model::TypeId,
        ) -> Vec<$crate::ctypes::model::Param<'_>> {
            $inner.params(id)
        }
        fn find(
            &$self,
            space: $crate::ctypes::model::NameSpace,
            name: &str,
        ) -> Option<$crate::ctypes::model::TypeId> {
            $inner.find(space, name)
        }
        fn declared_align(&$self, id: $crate::ctypes::model::TypeId) -> Option<u64> {
            $inner.declared_align(id)
        }
    };
}
pub(crate) use delegate_type_source;

impl<T: TypeSource + ?Sized> TypeSource for std::sync::Arc<T> {
    delegate_type_source!(self => (**self));
}

/// Types that one alignment may depend on: records that hold each other by value, which only
/// damaged BTF says, would otherwise be looked at more often with each level.
const MAX_LOOKS: u32 = 1 << 15;

fn align_at<S: TypeSource + ?Sized>(
    source: &S,
    id: TypeId,
    depth: u32,
    looks: &mut u32,
) -> Option<u64> {
    *looks += 1;
    if depth > MAX_DEPTH || *looks > MAX_LOOKS {
        return None;
    }
    if let Some(align) = source.declared_align(id) {
        return Some(align);
    }
    match source.ctype(id) {
        CType::Typedef { target, .. } | CType::Qualified { target, .. } => {
            align_at(source, target, depth + 1, looks)
        }
        CType::Array { element, .. } => align_at(source, element, depth + 1, looks),
        CType::Int { size, .. } | CType::Float { size, .. } | CType::Enum { size, .. } => {
            Some(u64::from(size).clamp(1, 16))
        }
        CType::Pointer(_) => Some(8),
        CType::External { align, .. } => Some(align),
        CType::Record { size, .. } => {
            let mut align = 1;
            for m in source.members(id) {
                let natural = align_at(source, m.ty, depth + 1, looks).unwrap_or(1);
                // A member that is not naturally placed betrays a packed record.
                if m.bits.is_none() && m.bit_offset % (natural * 8) != 0 {
                    return Some(1);
                }
                align = align.max(natural);
            }
            Some(if size % align == 0 { align } else { 1 })
        }
        CType::Void | CType::Forward { .. } | CType::Function { .. } => None,
    }
}

fn field_at<'a, S: TypeSource + ?Sized>(
    source: &'a S,
    record: TypeId,
    name: &str,
    depth: u32,
) -> Option<Member<'a>> {
    if depth > MAX_DEPTH || name.is_empty() {
        return None;
    }
    let members = source.members(source.resolve(record));
    if let Some(m) = members.iter().find(|m| m.name == name) {
        return Some(*m);
    }
    members
        .iter()
        .filter(|m| m.name.is_empty())
        .find_map(|outer| {
            let inner = field_at(source, outer.ty, name, depth + 1)?;
            Some(Member {
                bit_offset: outer.bit_offset.checked_add(inner.bit_offset)?,
                ..inner
            })
        })
}

fn fields_at<'a, S: TypeSource + ?Sized>(
    source: &'a S,
    record: TypeId,
    base: u64,
    out: &mut Vec<Member<'a>>,
    depth: u32,
) {
    if depth > MAX_DEPTH {
        return;
    }
    for m in source.members(source.resolve(record)) {
        let bit_offset = base.saturating_add(m.bit_offset);
        if !m.name.is_empty() {
            out.push(Member { bit_offset, ..m });
        } else if m.bits.is_none() {
            fields_at(source, m.ty, bit_offset, out, depth + 1);
        }
    }
}
