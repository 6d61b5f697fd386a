//! The types that C text defined: storage, names, and the [`TypeSource`] over them.

use std::collections::HashMap;

use super::model::{
    CType, IntKind, Member, NameSpace, Param, RecordKind, TypeId, TypeSource, Variant,
};

/// A type with everything it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Def {
    /// `void`
    Void,
    /// An integer.
    Int {
        /// Its name in C.
        name: &'static str,
        /// Bytes.
        size: u32,
        /// Signed rather than unsigned.
        signed: bool,
        /// What it is used for.
        kind: IntKind,
    },
    /// A floating-point number.
    Float {
        /// Its name in C.
        name: &'static str,
        /// Bytes.
        size: u32,
    },
    /// A pointer.
    Pointer(TypeId),
    /// An array.
    Array(TypeId, u64),
    /// A struct or union.
    Record(Record),
    /// An enumeration.
    Enum {
        /// The tag, empty when anonymous.
        name: String,
        /// Bytes.
        size: u32,
        /// Whether a value is negative.
        signed: bool,
        /// The constants.
        variants: Vec<(String, i64)>,
    },
    /// A tag that has no definition yet.
    Forward(NameSpace, String),
    /// A type that another source defines.
    External {
        /// Where its definition is found.
        space: NameSpace,
        /// Its name.
        name: String,
        /// Bytes.
        size: u64,
        /// Bytes.
        align: u64,
    },
    /// Another name, perhaps with an alignment of its own.
    Typedef {
        /// The name.
        name: String,
        /// What it stands for.
        target: TypeId,
        /// Alignment in bytes, if the definition demands one.
        align: Option<u64>,
    },
    /// A function; its parameters are not kept.
    Function(TypeId),
}

/// A struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which of the two.
    pub kind: RecordKind,
    /// The tag, empty when anonymous.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes.
    pub align: u64,
    /// The members in order.
    pub members: Vec<Field>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, empty when anonymous.
    pub name: String,
    /// The type.
    pub ty: TypeId,
    /// Offset in bits.
    pub bit_offset: u64,
    /// Width of a bitfield.
    pub bits: Option<u32>,
}

/// The types and their names.
#[derive(Debug)]
pub struct Store {
    defs: Vec<Def>,
    names: HashMap<(NameSpace, String), TypeId>,
    pointers: HashMap<TypeId, TypeId>,
    basic: HashMap<&'static str, TypeId>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            defs: vec![Def::Void],
            names: HashMap::new(),
            pointers: HashMap::new(),
            basic: HashMap::new(),
        }
    }
}

/// The basic types of LP64: name, bytes, signed, use.
const INTEGERS: [(&str, u32, bool, IntKind); 14] = [
    ("char", 1, cfg!(not(target_arch = "aarch64")), IntKind::Char),
    ("signed char", 1, true, IntKind::Char),
    ("unsigned char", 1, false, IntKind::Number),
    ("short", 2, true, IntKind::Number),
    ("unsigned short", 2, false, IntKind::Number),
    ("int", 4, true, IntKind::Number),
    ("unsigned int", 4, false, IntKind::Number),
    ("long", 8, true, IntKind::Number),
    ("unsigned long", 8, false, IntKind::Number),
    ("long long", 8, true, IntKind::Number),
    ("unsigned long long", 8, false, IntKind::Number),
    ("__int128", 16, true, IntKind::Number),
    ("unsigned __int128", 16, false, IntKind::Number),
    ("_Bool", 1, false, IntKind::Bool),
];

impl Store {
    /// Adds a type.
    pub fn add(&mut self, def: Def) -> TypeId {
        self.defs.push(def);
        TypeId(self.defs.len() as u32 - 1)
    }

    /// Replaces a type, keeping its id: a tag gets its definition.
    pub fn set(&mut self, id: TypeId, def: Def) {
        if let Some(slot) = self.defs.get_mut(id.0 as usize) {
            *slot = def;
        }
    }

    /// A type with everything it owns.
    pub fn def(&self, id: TypeId) -> &Def {
        self.defs.get(id.0 as usize).unwrap_or(&Def::Void)
    }

    /// Whether definitions name types that are defined elsewhere.
    pub fn needs_others(&self) -> bool {
        self.defs.iter().any(|d| match d {
            Def::External { .. } => true,
            Def::Forward(_, name) => !name.is_empty(),
            _ => false,
        })
    }

    /// Enters a name.
    pub fn bind(&mut self, space: NameSpace, name: &str, id: TypeId) {
        self.names.insert((space, name.to_owned()), id);
    }

    /// A basic type by its full name.
    pub fn basic(&mut self, name: &str) -> Option<TypeId> {
        if name == "void" {
            return Some(TypeId::VOID);
        }
        if let Some(&id) = self.basic.get(name) {
            return Some(id);
        }
        let float = |name, size| Def::Float { name, size };
        let (key, def) = match name {
            "float" => ("float", float("float", 4)),
            "double" => ("double", float("double", 8)),
            "long double" => ("long double", float("long double", 16)),
            "__float128" => ("__float128", float("__float128", 16)),
            _ => {
                let &(name, size, signed, kind) = INTEGERS.iter().find(|i| i.0 == name)?;
                let def = Def::Int {
                    name,
                    size,
                    signed,
                    kind,
                };
                (name, def)
            }
        };
        let id = self.add(def);
        self.basic.insert(key, id);
        Some(id)
    }

    /// The pointer to a type.
    pub fn pointer(&mut self, target: TypeId) -> TypeId {
        if let Some(&id) = self.pointers.get(&target) {
            return id;
        }
        let id = self.add(Def::Pointer(target));
        self.pointers.insert(target, id);
        id
    }

    /// The id of a name, whether or not it has a definition.
    pub fn tag(&self, space: NameSpace, name: &str) -> Option<TypeId> {
        self.names.get(&(space, name.to_owned())).copied()
    }

    /// All named types.
    pub fn names(&self) -> impl Iterator<Item = (NameSpace, &str, TypeId)> {
        self.names.iter().map(|((s, n), &id)| (*s, n.as_str(), id))
    }
}

impl TypeSource for Store {
    fn ctype(&self, id: TypeId) -> CType<'_> {
        match self.def(id) {
            Def::Void => CType::Void,
            &Def::Int {
                name,
                size,
                signed,
                kind,
            } => CType::Int {
                name,
                size,
                signed,
                kind,
            },
            &Def::Float { name, size } => CType::Float { name, size },
            &Def::Pointer(target) => CType::Pointer(target),
            &Def::Array(element, len) => CType::Array { element, len },
            Def::Record(r) => CType::Record {
                kind: r.kind,
                name: &r.name,
                size: r.size,
            },
            Def::Enum {
                name, size, signed, ..
            } => CType::Enum {
                name,
                size: *size,
                signed: *signed,
            },
            Def::Forward(space, name) => CType::Forward {
                space: *space,
                name,
            },
            Def::External {
                space,
                name,
                size,
                align,
            } => CType::External {
                space: *space,
                name,
                size: *size,
                align: *align,
            },
            Def::Typedef { name, target, .. } => CType::Typedef {
                name,
                target: *target,
            },
            &Def::Function(ret) => CType::Function { ret },
        }
    }

    fn members(&self, id: TypeId) -> Vec<Member<'_>> {
        match self.def(id) {
            Def::Record(r) => r
                .members
                .iter()
                .map(|m| Member {
                    name: &m.name,
                    ty: m.ty,
                    bit_offset: m.bit_offset,
                    bits: m.bits,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn variants(&self, id: TypeId) -> Vec<Variant<'_>> {
        match self.def(id) {
            Def::Enum { variants, .. } => variants
                .iter()
                .map(|(name, value)| Variant {
                    name,
                    value: *value,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn params(&self, _: TypeId) -> Vec<Param<'_>> {
        Vec::new()
    }

    fn find(&self, space: NameSpace, name: &str) -> Option<TypeId> {
        let id = self.names.get(&(space, name.to_owned())).copied()?;
        let elsewhere = matches!(self.def(id), Def::Forward(..) | Def::External { .. });
        (!elsewhere).then_some(id)
    }

    fn declared_align(&self, id: TypeId) -> Option<u64> {
        match self.def(id) {
            Def::Record(r) => Some(r.align),
            Def::Typedef { align, .. } => *align,
            _ => None,
        }
    }
}
