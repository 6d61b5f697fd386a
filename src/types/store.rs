//! Structs, unions and enums, named by index.

use std::collections::HashMap;

use super::Type;

/// A struct or union in a [`TypeStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StructId(pub u32);

/// An enum in a [`TypeStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnumId(pub u32);

/// Struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StructKind {
    /// `struct`
    Struct,
    /// `union`
    Union,
}

/// A member of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name; empty for an anonymous struct or union member.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Bits from the start of the struct (little-endian numbering, as BTF has it).
    pub bit_offset: u32,
    /// Width of a bitfield in bits.
    pub bits: Option<u8>,
    /// `__data_loc` fields of tracepoints: the four bytes here are offset (low half) and
    /// length (high half) of the data, relative to the start of the record.
    pub data_loc: bool,
}

/// A struct or union.
#[derive(Clone, Debug)]
pub struct StructDef {
    /// Struct or union.
    pub kind: StructKind,
    /// Tag, without `struct`; empty where it has none. `args` structs are named after their
    /// probe, e.g. `tracepoint:sched:sched_switch_args`.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Bytes, a power of two.
    pub align: u32,
    /// Members in order; `None` until somebody asks (or for ever, for a mere declaration).
    pub fields: Option<Vec<Field>>,
    /// Where the definition comes from, for filling in `fields` and for relocations:
    /// the BTF object (0 = vmlinux, then modules in the order of loading) and type id.
    pub btf: Option<(u32, u32)>,
}

impl StructDef {
    /// `struct name` or `union name`.
    pub fn spelling(&self) -> String {
        let kw = match self.kind {
            StructKind::Struct => "struct",
            StructKind::Union => "union",
        };
        format!("{kw} {}", self.name)
    }
}

/// An enum.
#[derive(Clone, Debug)]
pub struct EnumDef {
    /// Tag, without `enum`.
    pub name: String,
    /// Bytes.
    pub size: u8,
    /// Whether constants are signed.
    pub signed: bool,
    /// Constants in order of definition.
    pub variants: Vec<(String, i64)>,
}

/// All structs and enums that one compilation has met.
#[derive(Debug, Default, Clone)]
pub struct TypeStore {
    structs: Vec<StructDef>,
    enums: Vec<EnumDef>,
    struct_names: HashMap<(StructKind, String), StructId>,
    enum_names: HashMap<String, EnumId>,
    /// Bytes of the longest probe name with its NUL: what `probe` takes as a string.
    pub probe_name: u32,
}

impl TypeStore {
    /// Adds a struct; a named one replaces what the name meant.
    pub fn add_struct(&mut self, def: StructDef) -> StructId {
        let id = StructId(self.structs.len() as u32);
        if !def.name.is_empty() {
            self.struct_names.insert((def.kind, def.name.clone()), id);
        }
        self.structs.push(def);
        id
    }

    /// Adds an enum; a named one replaces what the name meant.
    pub fn add_enum(&mut self, def: EnumDef) -> EnumId {
        let id = EnumId(self.enums.len() as u32);
        if !def.name.is_empty() {
            self.enum_names.insert(def.name.clone(), id);
        }
        self.enums.push(def);
        id
    }

    /// The struct with this id.
    pub fn struct_def(&self, id: StructId) -> &StructDef {
        &self.structs[id.0 as usize]
    }

    /// The struct with this id, to fill in its members.
    pub fn struct_def_mut(&mut self, id: StructId) -> &mut StructDef {
        &mut self.structs[id.0 as usize]
    }

    /// The enum with this id.
    pub fn enum_def(&self, id: EnumId) -> &EnumDef {
        &self.enums[id.0 as usize]
    }

    /// The struct or union of this name, if it was met.
    pub fn find_struct(&self, kind: StructKind, name: &str) -> Option<StructId> {
        self.struct_names.get(&(kind, name.to_owned())).copied()
    }

    /// The enum of this name, if it was met.
    pub fn find_enum(&self, name: &str) -> Option<EnumId> {
        self.enum_names.get(name).copied()
    }
}
