//! Types and functions of one compilation unit, as its debug information describes them.
//!
//! In: a file and either the address of a function or the name of a type. Out: the types of
//! the unit that holds it, as a [`TypeSource`], and the parameters of its functions. Other
//! units are skipped over, because a large program has thousands.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use gimli::{EndianSlice, RunTimeEndian};
use object::Endianness;

use super::entry::Place;
use super::reader::{self, Dwarf, Unit, space_of, text};
use super::{shared, split};
use crate::ctypes::model::{
    CType, IntKind, Member, NameSpace, Param, Qualifier, RecordKind, TypeId, TypeSource, Variant,
};
use crate::symbols::debuglink::{self, DebugDirs};
use crate::symbols::elf::ElfFile;

#[derive(Debug)]
pub(super) enum Node {
    Void,
    Int {
        name: String,
        size: u32,
        signed: bool,
        kind: IntKind,
    },
    Float {
        name: String,
        size: u32,
    },
    Pointer(TypeId),
    Array {
        element: TypeId,
        len: u64,
    },
    Record {
        kind: RecordKind,
        name: String,
        size: u64,
        /// Whether this is a mere declaration.
        declared: bool,
        /// Whether values are passed as pointers to them: C++ objects with constructors.
        by_reference: bool,
        members: Vec<Field>,
    },
    Enum {
        name: String,
        size: u32,
        signed: bool,
        underlying: TypeId,
        variants: Vec<(String, i64)>,
    },
    Typedef {
        name: String,
        target: TypeId,
    },
    Qualified {
        volatile: bool,
        target: TypeId,
    },
    Function {
        ret: TypeId,
    },
}

#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub ty: TypeId,
    pub bit_offset: u64,
    pub bits: Option<u32>,
}

/// A function with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The parameters in order.
    pub params: Vec<Parameter>,
    /// Type of the result.
    pub ret: TypeId,
}

/// A parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, possibly empty.
    pub name: String,
    /// Its type.
    pub ty: TypeId,
    /// Where it is when the function starts.
    pub place: Place,
}

/// The types and functions of one unit.
#[derive(Debug)]
pub struct UnitTypes {
    nodes: Vec<Node>,
    pub(super) names: HashMap<(NameSpace, String), TypeId>,
    pub(super) functions: HashMap<u64, Signature>,
    /// Whether the unit is Rust, whose calling convention is its own.
    pub rust: bool,
}

impl Default for UnitTypes {
    fn default() -> Self {
        Self {
            nodes: vec![Node::Void],
            names: HashMap::new(),
            functions: HashMap::new(),
            rust: false,
        }
    }
}

/// What a unit is looked for by.
enum Wanted<'q> {
    Code(u64),
    Type(NameSpace, &'q str),
    Enumerator(&'q str),
}

impl UnitTypes {
    /// The unit that holds the code at `vaddr`.
    pub fn at(elf: &Arc<ElfFile>, dirs: &DebugDirs, vaddr: u64) -> Option<Self> {
        Self::of(elf, dirs, &Wanted::Code(vaddr))
    }

    /// The first unit that defines a type of this name.
    pub fn defining(
        elf: &Arc<ElfFile>,
        dirs: &DebugDirs,
        space: NameSpace,
        name: &str,
    ) -> Option<Self> {
        Self::of(elf, dirs, &Wanted::Type(space, name))
    }

    /// The first unit that has an enumerator of this name.
    pub fn enumerating(elf: &Arc<ElfFile>, dirs: &DebugDirs, name: &str) -> Option<Self> {
        Self::of(elf, dirs, &Wanted::Enumerator(name))
    }

    fn of(elf: &Arc<ElfFile>, dirs: &DebugDirs, wanted: &Wanted<'_>) -> Option<Self> {
        let debug;
        let elf: &ElfFile =
            if elf.section(".debug_info").is_some() || elf.section(".zdebug_info").is_some() {
                elf
            } else {
                debug = debuglink::find(elf, dirs)?;
                &debug
            };
        let endian = match elf.endian() {
            Endianness::Little => RunTimeEndian::Little,
            Endianness::Big => RunTimeEndian::Big,
        };
        let own = sections(elf)?;
        let common = shared::find(elf, dirs);
        let common = common.as_ref().and_then(sections);
        let mut dwarf = own.borrow(|s| EndianSlice::new(s, endian));
        if let Some(common) = &common {
            dwarf.set_sup(common.borrow(|s| EndianSlice::new(s, endian)));
        }
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = dwarf.unit(header) else {
                continue;
            };
            if let Wanted::Code(vaddr) = wanted
                && !covers(&dwarf, &unit, *vaddr)
            {
                continue;
            }
            let pick = |d: &Dwarf<'_>, u: Unit<'_>| Self::pick(d, u, wanted);
            let found = match split::with_unit(elf.path(), &dwarf, &unit, endian, pick) {
                Some(found) => found,
                None => Self::pick(&dwarf, unit, wanted),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The unit, if it has what is wanted.
    fn pick(dwarf: &Dwarf<'_>, unit: Unit<'_>, wanted: &Wanted<'_>) -> Option<Self> {
        if !mentions(dwarf, &unit, wanted) {
            return None;
        }
        let types = reader::read(dwarf, unit)?;
        if let Wanted::Type(space, name) = wanted {
            types.find(*space, name)?;
        }
        Some(types)
    }

    /// The function that starts at `vaddr`.
    pub fn function(&self, vaddr: u64) -> Option<&Signature> {
        self.functions.get(&vaddr)
    }

    /// The enumeration that has an enumerator of this name, and its value.
    pub fn enumerator(&self, name: &str) -> Option<(TypeId, i64)> {
        self.nodes.iter().enumerate().find_map(|(i, n)| match n {
            Node::Enum { variants, .. } => {
                let found = variants.iter().find(|v| v.0 == name)?;
                Some((TypeId(i as u32), found.1))
            }
            _ => None,
        })
    }

    /// Whether values of this type are passed as pointers to them, whatever their size.
    pub fn passed_by_reference(&self, id: TypeId) -> bool {
        matches!(
            self.node(self.resolve(id)),
            Node::Record {
                by_reference: true,
                ..
            }
        )
    }

    fn node(&self, id: TypeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::Void)
    }

    pub(super) fn add(&mut self, node: Node) -> TypeId {
        self.nodes.push(node);
        TypeId(self.nodes.len() as u32 - 1)
    }

    pub(super) fn set(&mut self, id: TypeId, node: Node) {
        self.nodes[id.0 as usize] = node;
    }

    /// Once all types are read: enumerations are as signed as what they are stored in.
    pub(super) fn settle(&mut self) {
        for i in 0..self.nodes.len() {
            let Node::Enum {
                underlying,
                variants,
                ..
            } = &self.nodes[i]
            else {
                continue;
            };
            let by_type = match self.node(self.resolve(*underlying)) {
                Node::Int { signed, .. } => Some(*signed),
                _ => None,
            };
            let is = by_type.unwrap_or_else(|| variants.iter().any(|v| v.1 < 0));
            if let Node::Enum { signed, .. } = &mut self.nodes[i] {
                *signed = is;
            }
        }
    }
}

/// A file's sections of debug information, unpacked where they are compressed. A damaged section
/// is a missing one.
fn sections(elf: &ElfFile) -> Option<gimli::DwarfSections<Cow<'_, [u8]>>> {
    gimli::DwarfSections::load(|id| {
        let data = elf.section_data(id.name()).ok().flatten();
        Ok::<_, gimli::Error>(data.unwrap_or_default())
    })
    .ok()
}

fn covers(dwarf: &Dwarf<'_>, unit: &Unit<'_>, vaddr: u64) -> bool {
    let Ok(mut ranges) = dwarf.unit_ranges(unit) else {
        return false;
    };
    while let Ok(Some(r)) = ranges.next() {
        if (r.begin..r.end).contains(&vaddr) {
            return true;
        }
    }
    false
}

/// Whether a unit has a definition of what is wanted; cheaper than reading it.
fn mentions(dwarf: &Dwarf<'_>, unit: &Unit<'_>, wanted: &Wanted<'_>) -> bool {
    let is = |tag| match wanted {
        Wanted::Code(_) => true,
        Wanted::Type(space, _) => space_of(tag) == Some(*space),
        Wanted::Enumerator(_) => tag == gimli::DW_TAG_enumerator,
    };
    let name = match wanted {
        Wanted::Code(_) => return true,
        Wanted::Type(_, name) | Wanted::Enumerator(name) => *name,
    };
    let mut entries = unit.entries();
    while let Ok(Some(e)) = entries.next_dfs() {
        if is(e.tag())
            && e.attr_value(gimli::DW_AT_declaration).is_none()
            && text(dwarf, unit, e, gimli::DW_AT_name).as_deref() == Some(name)
        {
            return true;
        }
    }
    false
}

impl TypeSource for UnitTypes {
    fn ctype(&self, id: TypeId) -> CType<'_> {
        match self.node(id) {
            Node::Void => CType::Void,
            Node::Int {
                name,
                size,
                signed,
                kind,
            } => CType::Int {
                name,
                size: *size,
                signed: *signed,
                kind: *kind,
            },
            Node::Float { name, size } => CType::Float { name, size: *size },
            Node::Pointer(t) => CType::Pointer(*t),
            Node::Array { element, len } => CType::Array {
                element: *element,
                len: *len,
            },
            Node::Record {
                kind,
                name,
                declared: true,
                ..
            } => CType::Forward {
                space: match kind {
                    RecordKind::Struct => NameSpace::Struct,
                    RecordKind::Union => NameSpace::Union,
                },
                name,
            },
            Node::Record {
                kind, name, size, ..
            } => CType::Record {
                kind: *kind,
                name,
                size: *size,
            },
            Node::Enum {
                name, size, signed, ..
            } => CType::Enum {
                name,
                size: *size,
                signed: *signed,
            },
            Node::Typedef { name, target } => CType::Typedef {
                name,
                target: *target,
            },
            Node::Qualified { volatile, target } => CType::Qualified {
                qualifier: if *volatile {
                    Qualifier::Volatile
                } else {
                    Qualifier::Const
                },
                target: *target,
            },
            Node::Function { ret } => CType::Function { ret: *ret },
        }
    }

    fn members(&self, id: TypeId) -> Vec<Member<'_>> {
        match self.node(id) {
            Node::Record { members, .. } => members
                .iter()
                .map(|f| Member {
                    name: &f.name,
                    ty: f.ty,
                    bit_offset: f.bit_offset,
                    bits: f.bits,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn variants(&self, id: TypeId) -> Vec<Variant<'_>> {
        match self.node(id) {
            Node::Enum { variants, .. } => variants
                .iter()
                .map(|(name, value)| Variant {
                    name,
                    value: *value,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn params(&self, _id: TypeId) -> Vec<Param<'_>> {
        Vec::new()
    }

    fn find(&self, space: NameSpace, name: &str) -> Option<TypeId> {
        self.names.get(&(space, name.to_owned())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::fixture;
    use crate::symbols::index::SymbolIndex;

    #[test]
    fn functions_have_their_parameters() {
        let Some(path) = fixture::compile("types", "inlined.c", &["-g"]) else {
            return;
        };
        let elf = Arc::new(ElfFile::open(&path).unwrap());
        let index = SymbolIndex::new(Arc::clone(&elf), &DebugDirs::none());
        let f = index.by_name("outer").remove(0).addr;
        let types = UnitTypes::at(&elf, &DebugDirs::none(), f).unwrap();
        let signature = types.function(f).unwrap();
        assert!(!signature.params.is_empty());
        let ty = &signature.params[0].ty;
        assert!(matches!(types.ctype(types.resolve(*ty)), CType::Int { .. }));
        assert!(UnitTypes::at(&elf, &DebugDirs::none(), u64::MAX).is_none());
    }

    #[test]
    fn places_at_the_start_are_those_of_the_compiler() {
        let Some(path) = fixture::compile("types", "inlined.c", &["-g"]) else {
            return;
        };
        let elf = Arc::new(ElfFile::open(&path).unwrap());
        let index = SymbolIndex::new(Arc::clone(&elf), &DebugDirs::none());
        let f = index.by_name("outer").remove(0).addr;
        let types = UnitTypes::at(&elf, &DebugDirs::none(), f).unwrap();
        let first = &types.function(f).unwrap().params[0];
        let Place::At(pieces) = &first.place else {
            panic!("{first:?}")
        };
        assert_eq!(
            pieces[0].spot,
            crate::symbols::dwarf::entry::Spot::Register(5)
        );
    }

    #[test]
    fn damaged_sections_never_panic() {
        for (name, flags) in [
            ("types-5", &["-g", "-gdwarf-5"][..]),
            ("types-4", &["-g", "-gdwarf-4", "-fdebug-types-section"]),
        ] {
            let Some(path) = fixture::compile(name, "inlined.c", flags) else {
                return;
            };
            let good = std::fs::read(&path).unwrap();
            let elf = ElfFile::open(&path).unwrap();
            let sections: Vec<_> = [
                ".debug_info",
                ".debug_abbrev",
                ".debug_loclists",
                ".debug_loc",
            ]
            .iter()
            .filter_map(|n| elf.section(n))
            .map(|s| s.offset as usize..(s.offset + s.size) as usize)
            .collect();
            let text = elf.section(".text").unwrap().vaddrs();
            let mut seed = 7u32;
            for _ in 0..200 {
                let mut bytes = good.clone();
                for range in sections.iter().chain(&sections) {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    bytes[range.start + seed as usize % range.len()] ^= (seed >> 24) as u8;
                }
                let elf = Arc::new(ElfFile::from_bytes(bytes, &path).unwrap());
                for a in text.clone().step_by(64) {
                    if let Some(types) = UnitTypes::at(&elf, &DebugDirs::none(), a) {
                        for n in 0..types.nodes.len() as u32 {
                            let _ = (types.size(TypeId(n)), types.members(TypeId(n)));
                        }
                    }
                }
            }
        }
    }
}
