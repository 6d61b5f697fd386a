//! Types and functions of one compilation unit, as its debug information describes them.
//!
//! In: a file and either the address of a function or the name of a type. Out: the types of
//! the unit that holds it, as a [`TypeSource`], and the parameters of its functions. Other
//! units are skipped over, because a large program has thousands.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use gimli::{AttributeValue, EndianSlice, RunTimeEndian, UnitOffset};
use object::Endianness;

use crate::ctypes::model::{
    CType, IntKind, Member, NameSpace, Param, Qualifier, RecordKind, TypeId, TypeSource, Variant,
};
use crate::symbols::debuglink::{self, DebugDirs};
use crate::symbols::elf::ElfFile;

type Reader<'a> = EndianSlice<'a, RunTimeEndian>;
type Dwarf<'a> = gimli::Dwarf<Reader<'a>>;
type Unit<'a> = gimli::Unit<Reader<'a>>;
type Entry<'a> = gimli::DebuggingInformationEntry<Reader<'a>>;

#[derive(Debug)]
enum Node {
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
        members: Vec<Field>,
    },
    Enum {
        name: String,
        size: u32,
        signed: bool,
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
struct Field {
    name: String,
    ty: TypeId,
    bit_offset: u64,
    bits: Option<u32>,
}

/// A function with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Names and types of the parameters in order.
    pub params: Vec<(String, TypeId)>,
    /// Type of the result.
    pub ret: TypeId,
}

/// The types and functions of one unit.
#[derive(Debug)]
pub struct UnitTypes {
    nodes: Vec<Node>,
    names: HashMap<(NameSpace, String), TypeId>,
    functions: HashMap<u64, Signature>,
}

impl UnitTypes {
    /// The unit that holds the code at `vaddr`.
    pub fn at(elf: &Arc<ElfFile>, dirs: &DebugDirs, vaddr: u64) -> Option<Self> {
        Self::of(elf, dirs, |dwarf, unit| {
            let mut ranges = dwarf.unit_ranges(unit).ok()?;
            while let Ok(Some(r)) = ranges.next() {
                if (r.begin..r.end).contains(&vaddr) {
                    return Self::read(dwarf, unit);
                }
            }
            None
        })
    }

    /// The first unit that defines a type of this name.
    pub fn defining(
        elf: &Arc<ElfFile>,
        dirs: &DebugDirs,
        space: NameSpace,
        name: &str,
    ) -> Option<Self> {
        Self::of(elf, dirs, |dwarf, unit| {
            if !mentions(dwarf, unit, space, name) {
                return None;
            }
            let types = Self::read(dwarf, unit)?;
            types.find(space, name)?;
            Some(types)
        })
    }

    fn of(
        elf: &Arc<ElfFile>,
        dirs: &DebugDirs,
        f: impl Fn(&Dwarf<'_>, &Unit<'_>) -> Option<Self>,
    ) -> Option<Self> {
        let debug;
        let elf: &ElfFile = if elf.section(".debug_info").is_some() {
            elf
        } else {
            debug = debuglink::find(elf, dirs)?;
            &debug
        };
        let sections = gimli::DwarfSections::load(|id| {
            // A damaged section is a missing one.
            let data = elf.section_data(id.name()).ok().flatten();
            Ok::<Cow<'_, [u8]>, gimli::Error>(data.unwrap_or_default())
        })
        .ok()?;
        let endian = match elf.endian() {
            Endianness::Little => RunTimeEndian::Little,
            Endianness::Big => RunTimeEndian::Big,
        };
        let dwarf = sections.borrow(|s| EndianSlice::new(s, endian));
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = dwarf.unit(header) else {
                continue;
            };
            if let Some(found) = f(&dwarf, &unit) {
                return Some(found);
            }
        }
        None
    }

    fn read(dwarf: &Dwarf<'_>, unit: &Unit<'_>) -> Option<Self> {
        let mut reader = UnitReader {
            dwarf,
            unit,
            ids: HashMap::new(),
            out: Self {
                nodes: vec![Node::Void],
                names: HashMap::new(),
                functions: HashMap::new(),
            },
        };
        reader.number()?;
        let mut tree = unit.entries_tree(None).ok()?;
        reader.children(tree.root().ok()?, 0);
        Some(reader.out)
    }

    /// The function that starts at `vaddr`.
    pub fn function(&self, vaddr: u64) -> Option<&Signature> {
        self.functions.get(&vaddr)
    }

    fn node(&self, id: TypeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::Void)
    }
}

/// Whether a unit has a top-level definition of this name; cheaper than reading it.
fn mentions(dwarf: &Dwarf<'_>, unit: &Unit<'_>, space: NameSpace, name: &str) -> bool {
    let mut entries = unit.entries();
    while let Ok(Some(e)) = entries.next_dfs() {
        if space_of(e.tag()) == Some(space)
            && e.attr_value(gimli::DW_AT_declaration).is_none()
            && text(dwarf, unit, e, gimli::DW_AT_name).as_deref() == Some(name)
        {
            return true;
        }
    }
    false
}

fn space_of(tag: gimli::DwTag) -> Option<NameSpace> {
    Some(match tag {
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => NameSpace::Struct,
        gimli::DW_TAG_union_type => NameSpace::Union,
        gimli::DW_TAG_enumeration_type => NameSpace::Enum,
        gimli::DW_TAG_typedef | gimli::DW_TAG_base_type => NameSpace::Ordinary,
        _ => return None,
    })
}

fn text(dwarf: &Dwarf<'_>, unit: &Unit<'_>, e: &Entry<'_>, at: gimli::DwAt) -> Option<String> {
    let value = e.attr_value(at)?;
    let s = dwarf.attr_string(unit, value).ok()?;
    Some(s.to_string_lossy().into_owned())
}

fn number(e: &Entry<'_>, at: gimli::DwAt) -> Option<u64> {
    e.attr_value(at)?.udata_value()
}

/// Deepest nesting of scopes that is followed.
const MAX_DEPTH: u32 = 64;

struct UnitReader<'r, 'a> {
    dwarf: &'r Dwarf<'a>,
    unit: &'r Unit<'a>,
    ids: HashMap<UnitOffset, TypeId>,
    out: UnitTypes,
}

impl<'a> UnitReader<'_, 'a> {
    /// Gives every type its number, so that types can refer to later ones.
    fn number(&mut self) -> Option<()> {
        let mut entries = self.unit.entries();
        while let Some(e) = entries.next_dfs().ok()? {
            if is_type(e.tag()) {
                let id = TypeId(self.out.nodes.len() as u32);
                self.out.nodes.push(Node::Void);
                self.ids.insert(e.offset(), id);
            }
        }
        Some(())
    }

    fn type_of(&self, e: &Entry<'a>) -> TypeId {
        match e.attr_value(gimli::DW_AT_type) {
            Some(AttributeValue::UnitRef(at)) => self.ids.get(&at).copied().unwrap_or(TypeId::VOID),
            _ => TypeId::VOID,
        }
    }

    fn name(&self, e: &Entry<'a>) -> String {
        text(self.dwarf, self.unit, e, gimli::DW_AT_name).unwrap_or_default()
    }

    fn children(&mut self, node: gimli::EntriesTreeNode<'_, '_, Reader<'a>>, depth: u32) {
        if depth > MAX_DEPTH {
            return;
        }
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let e = child.entry().clone();
            match e.tag() {
                gimli::DW_TAG_subprogram => self.function(&e, child, depth),
                tag if is_type(tag) => self.ty(&e, child, depth),
                gimli::DW_TAG_namespace | gimli::DW_TAG_module => self.children(child, depth + 1),
                _ => {}
            }
        }
    }

    fn function(
        &mut self,
        e: &Entry<'a>,
        node: gimli::EntriesTreeNode<'_, '_, Reader<'a>>,
        depth: u32,
    ) {
        let start = match e.attr_value(gimli::DW_AT_low_pc) {
            Some(v) => self.dwarf.attr_address(self.unit, v).ok().flatten(),
            None => None,
        };
        let mut params = Vec::new();
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let p = child.entry().clone();
            if p.tag() == gimli::DW_TAG_formal_parameter {
                // A copy of an inlined function refers to the original's parameters.
                let origin = match p.attr_value(gimli::DW_AT_abstract_origin) {
                    Some(AttributeValue::UnitRef(at)) => self.unit.entry(at).ok(),
                    _ => None,
                };
                let source = origin.as_ref().unwrap_or(&p);
                params.push((self.name(source), self.type_of(source)));
            } else if is_type(p.tag()) {
                self.ty(&p, child, depth + 1);
            }
        }
        if let Some(start) = start {
            let ret = self.type_of(e);
            let f = Signature { params, ret };
            self.out.functions.insert(start, f);
        }
    }

    fn ty(&mut self, e: &Entry<'a>, node: gimli::EntriesTreeNode<'_, '_, Reader<'a>>, depth: u32) {
        let Some(&id) = self.ids.get(&e.offset()) else {
            return;
        };
        let name = self.name(e);
        let size = number(e, gimli::DW_AT_byte_size);
        let target = self.type_of(e);
        let declared = e.attr_value(gimli::DW_AT_declaration).is_some();
        let new = match e.tag() {
            gimli::DW_TAG_base_type => self.base(e, name.clone(), size),
            gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type => Node::Pointer(target),
            gimli::DW_TAG_typedef => Node::Typedef {
                name: name.clone(),
                target,
            },
            gimli::DW_TAG_const_type | gimli::DW_TAG_restrict_type | gimli::DW_TAG_atomic_type => {
                Node::Qualified {
                    volatile: false,
                    target,
                }
            }
            gimli::DW_TAG_volatile_type => Node::Qualified {
                volatile: true,
                target,
            },
            gimli::DW_TAG_subroutine_type => Node::Function { ret: target },
            gimli::DW_TAG_array_type => self.array(target, node),
            gimli::DW_TAG_enumeration_type => self.enumeration(name.clone(), size, target, node),
            tag => {
                let kind = if tag == gimli::DW_TAG_union_type {
                    RecordKind::Union
                } else {
                    RecordKind::Struct
                };
                let members = self.members(node, depth);
                Node::Record {
                    kind,
                    name: name.clone(),
                    size: size.unwrap_or(0),
                    declared,
                    members,
                }
            }
        };
        self.out.nodes[id.0 as usize] = new;
        if let Some(space) = space_of(e.tag())
            && !declared
            && !name.is_empty()
        {
            self.out.names.entry((space, name)).or_insert(id);
        }
    }

    fn base(&self, e: &Entry<'a>, name: String, size: Option<u64>) -> Node {
        let size = size.unwrap_or(0) as u32;
        let encoding = match e.attr_value(gimli::DW_AT_encoding) {
            Some(AttributeValue::Encoding(x)) => x,
            _ => gimli::DW_ATE_unsigned,
        };
        match encoding {
            gimli::DW_ATE_float => Node::Float { name, size },
            _ => Node::Int {
                name,
                size,
                signed: matches!(encoding, gimli::DW_ATE_signed | gimli::DW_ATE_signed_char),
                kind: match encoding {
                    gimli::DW_ATE_boolean => IntKind::Bool,
                    gimli::DW_ATE_signed_char | gimli::DW_ATE_unsigned_char => IntKind::Char,
                    _ => IntKind::Number,
                },
            },
        }
    }

    /// Several dimensions are arrays of arrays, the last one innermost.
    fn array(&mut self, element: TypeId, node: gimli::EntriesTreeNode<'_, '_, Reader<'a>>) -> Node {
        let mut lens = Vec::new();
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let e = child.entry();
            if e.tag() == gimli::DW_TAG_subrange_type {
                let len = number(e, gimli::DW_AT_count)
                    .or_else(|| Some(number(e, gimli::DW_AT_upper_bound)?.wrapping_add(1)));
                lens.push(len.unwrap_or(0));
            }
        }
        let mut element = element;
        while lens.len() > 1 {
            let len = lens.pop().unwrap_or(0);
            let id = TypeId(self.out.nodes.len() as u32);
            self.out.nodes.push(Node::Array { element, len });
            element = id;
        }
        Node::Array {
            element,
            len: lens.pop().unwrap_or(0),
        }
    }

    fn enumeration(
        &mut self,
        name: String,
        size: Option<u64>,
        underlying: TypeId,
        node: gimli::EntriesTreeNode<'_, '_, Reader<'a>>,
    ) -> Node {
        let mut variants = Vec::new();
        let mut negative = false;
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let e = child.entry();
            if e.tag() != gimli::DW_TAG_enumerator {
                continue;
            }
            let value = match e.attr_value(gimli::DW_AT_const_value) {
                Some(AttributeValue::Sdata(n)) => n,
                Some(v) => v.sdata_value().unwrap_or(0),
                None => 0,
            };
            negative |= value < 0;
            variants.push((self.name(e), value));
        }
        let signed = match self.out.node(underlying) {
            Node::Int { signed, .. } => *signed,
            _ => negative,
        };
        Node::Enum {
            name,
            size: size.unwrap_or(4) as u32,
            signed,
            variants,
        }
    }

    fn members(
        &mut self,
        node: gimli::EntriesTreeNode<'_, '_, Reader<'a>>,
        depth: u32,
    ) -> Vec<Field> {
        let mut out = Vec::new();
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let e = child.entry().clone();
            match e.tag() {
                // Members of a base class are found as if they were the class's own.
                gimli::DW_TAG_member | gimli::DW_TAG_inheritance
                    if e.attr_value(gimli::DW_AT_external).is_none() =>
                {
                    let bytes = number(&e, gimli::DW_AT_data_member_location).unwrap_or(0);
                    let bits = number(&e, gimli::DW_AT_bit_size);
                    let start = number(&e, gimli::DW_AT_data_bit_offset);
                    out.push(Field {
                        name: self.name(&e),
                        ty: self.type_of(&e),
                        bit_offset: start.unwrap_or(bytes * 8),
                        bits: bits.and_then(|b| u32::try_from(b).ok()),
                    });
                }
                tag if is_type(tag) && depth < MAX_DEPTH => self.ty(&e, child, depth + 1),
                _ => {}
            }
        }
        out
    }
}

fn is_type(tag: gimli::DwTag) -> bool {
    space_of(tag).is_some()
        || matches!(
            tag,
            gimli::DW_TAG_pointer_type
                | gimli::DW_TAG_reference_type
                | gimli::DW_TAG_rvalue_reference_type
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type
                | gimli::DW_TAG_subroutine_type
                | gimli::DW_TAG_array_type
        )
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
        let (_, ty) = &signature.params[0];
        assert!(matches!(types.ctype(types.resolve(*ty)), CType::Int { .. }));
        assert!(UnitTypes::at(&elf, &DebugDirs::none(), u64::MAX).is_none());
    }
}
