//! One unit's entries as types and functions.
//!
//! In: a unit. Out: its types, numbered, with those of other units that they refer to (partial
//! units of `dwz`, type units, what link-time optimisation merged), and the signatures of its
//! functions by address. Damaged data gives missing types.

use std::collections::HashMap;

use gimli::{AttributeValue, DebugInfoOffset, EndianSlice, RunTimeEndian, UnitOffset};

use super::entry::{self, Place};
use super::types::{Field, Node, Parameter, Signature, UnitTypes};
use crate::ctypes::model::{IntKind, NameSpace, RecordKind, TypeId};

pub(super) type Slice<'a> = EndianSlice<'a, RunTimeEndian>;
pub(super) type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;
pub(super) type Unit<'a> = gimli::Unit<Slice<'a>>;
pub(super) type Entry<'a> = gimli::DebuggingInformationEntry<Slice<'a>>;

/// Entries that may refer to each other before there is a name.
const MAX_CHAIN: u32 = 8;

/// An entry: its unit, by number, and where in it.
type At = (usize, UnitOffset);

/// A unit and the file it belongs to.
struct Opened<'r, 'a> {
    dwarf: &'r Dwarf<'a>,
    unit: Unit<'a>,
    /// Whether it is in the shared file of `dwz`.
    shared: bool,
}

pub(super) struct UnitReader<'r, 'a> {
    /// The unit that is read, then those that it refers to.
    units: Vec<Opened<'r, 'a>>,
    ids: HashMap<At, TypeId>,
    left: Vec<(At, TypeId)>,
    /// Type units by signature.
    signatures: Option<HashMap<u64, (usize, UnitOffset)>>,
    /// What it means for a parameter that its description begins after the function does. gcc
    /// describes what it has from the start; LLVM may wait for the first instructions.
    later: Place,
    out: UnitTypes,
}

/// Reads a unit.
pub(super) fn read(dwarf: &Dwarf<'_>, unit: Unit<'_>) -> Option<UnitTypes> {
    let mut out = UnitTypes::default();
    let mut later = Place::Convention;
    if let Ok(Some(root)) = unit.entries().next_dfs() {
        out.rust = matches!(
            root.attr_value(gimli::DW_AT_language),
            Some(AttributeValue::Language(gimli::DW_LANG_Rust))
        );
        let producer = text(dwarf, &unit, root, gimli::DW_AT_producer);
        if producer.is_some_and(|p| p.starts_with("GNU ")) {
            later = Place::Gone;
        }
    }
    let opened = Opened {
        dwarf,
        unit,
        shared: false,
    };
    let mut reader = UnitReader {
        units: vec![opened],
        ids: HashMap::new(),
        left: Vec::new(),
        signatures: None,
        later,
        out,
    };
    reader.number()?;
    let functions = reader.functions();
    for at in functions {
        reader.function(at);
    }
    while let Some((at, id)) = reader.left.pop() {
        reader.ty(at, id);
    }
    // Anonymous arrays inside arrays were numbered last; enums look at what they are made of.
    reader.out.settle();
    Some(reader.out)
}

/// The name space in which types of this tag are looked up.
pub(super) fn space_of(tag: gimli::DwTag) -> Option<NameSpace> {
    Some(match tag {
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => NameSpace::Struct,
        gimli::DW_TAG_union_type => NameSpace::Union,
        gimli::DW_TAG_enumeration_type => NameSpace::Enum,
        gimli::DW_TAG_typedef | gimli::DW_TAG_base_type | gimli::DW_TAG_template_alias => {
            NameSpace::Ordinary
        }
        _ => return None,
    })
}

fn is_type(tag: gimli::DwTag) -> bool {
    space_of(tag).is_some()
        || matches!(
            tag,
            gimli::DW_TAG_pointer_type
                | gimli::DW_TAG_reference_type
                | gimli::DW_TAG_rvalue_reference_type
                | gimli::DW_TAG_ptr_to_member_type
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type
                | gimli::DW_TAG_subroutine_type
                | gimli::DW_TAG_array_type
        )
}

/// The text of an attribute.
pub(super) fn text(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    e: &Entry<'_>,
    at: gimli::DwAt,
) -> Option<String> {
    let s = dwarf.attr_string(unit, e.attr_value(at)?).ok()?;
    Some(s.to_string_lossy().into_owned())
}

fn number(e: &Entry<'_>, at: gimli::DwAt) -> Option<u64> {
    e.attr_value(at)?.udata_value()
}

impl<'r, 'a> UnitReader<'r, 'a> {
    /// Numbers every type of the unit, and remembers to read it.
    fn number(&mut self) -> Option<()> {
        let mut found = Vec::new();
        let mut entries = self.units[0].unit.entries();
        while let Some(e) = entries.next_dfs().ok()? {
            if is_type(e.tag()) {
                found.push(e.offset());
            }
        }
        for at in found {
            self.id((0, at));
        }
        Some(())
    }

    fn functions(&self) -> Vec<At> {
        let mut found = Vec::new();
        let mut entries = self.units[0].unit.entries();
        while let Ok(Some(e)) = entries.next_dfs() {
            let code = e.attr_value(gimli::DW_AT_low_pc).is_some()
                || e.attr_value(gimli::DW_AT_ranges).is_some();
            if e.tag() == gimli::DW_TAG_subprogram && code {
                found.push((0, e.offset()));
            }
        }
        found
    }

    /// The number of the type at an entry, which is read later if it is new.
    fn id(&mut self, at: At) -> TypeId {
        if let Some(&id) = self.ids.get(&at) {
            return id;
        }
        let id = self.out.add(Node::Void);
        self.ids.insert(at, id);
        self.left.push((at, id));
        id
    }

    fn entry(&self, at: At) -> Option<Entry<'a>> {
        self.units[at.0].unit.entry(at.1).ok()
    }

    fn text(&self, unit: usize, e: &Entry<'a>, at: gimli::DwAt) -> Option<String> {
        let u = &self.units[unit];
        text(u.dwarf, &u.unit, e, at)
    }

    /// The entry that an attribute of an entry in `unit` refers to.
    fn refer(&mut self, unit: usize, value: AttributeValue<Slice<'a>>) -> Option<At> {
        let shared = self.units[unit].shared;
        match value {
            AttributeValue::UnitRef(at) => Some((unit, at)),
            AttributeValue::DebugInfoRef(at) => self.in_file(at, shared),
            AttributeValue::DebugInfoRefSup(at) => self.in_file(at, true),
            AttributeValue::DebugTypesRef(signature) => self.by_signature(signature.0),
            _ => None,
        }
    }

    fn file(&self, shared: bool) -> Option<&'r Dwarf<'a>> {
        let own = self.units[0].dwarf;
        if shared { own.sup() } else { Some(own) }
    }

    fn in_file(&mut self, at: DebugInfoOffset, shared: bool) -> Option<At> {
        let inside = |o: &Opened<'_, 'a>| {
            let known = o.shared == shared && o.unit.header.debug_info_offset().is_some();
            known.then(|| at.to_unit_offset(&o.unit.header)).flatten()
        };
        let known = self.units.iter().enumerate();
        if let Some(found) = known.filter_map(|(i, o)| Some((i, inside(o)?))).next() {
            return Some(found);
        }
        let dwarf = self.file(shared)?;
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            if let Some(offset) = at.to_unit_offset(&header) {
                let unit = dwarf.unit(header).ok()?;
                let opened = Opened {
                    dwarf,
                    unit,
                    shared,
                };
                self.units.push(opened);
                return Some((self.units.len() - 1, offset));
            }
        }
        None
    }

    /// The type with this signature, from the type units.
    fn by_signature(&mut self, signature: u64) -> Option<At> {
        if self.signatures.is_none() {
            let dwarf = self.units[0].dwarf;
            let mut headers = Vec::new();
            let mut old = dwarf.type_units();
            while let Ok(Some(h)) = old.next() {
                headers.push(h);
            }
            let mut new = dwarf.units();
            while let Ok(Some(h)) = new.next() {
                headers.push(h);
            }
            let mut all = HashMap::new();
            for header in headers {
                let (gimli::UnitType::Type {
                    type_signature,
                    type_offset,
                }
                | gimli::UnitType::SplitType {
                    type_signature,
                    type_offset,
                }) = header.type_()
                else {
                    continue;
                };
                let Ok(unit) = dwarf.unit(header) else {
                    continue;
                };
                all.insert(type_signature.0, (self.units.len(), type_offset));
                self.units.push(Opened {
                    dwarf,
                    unit,
                    shared: false,
                });
            }
            self.signatures = Some(all);
        }
        self.signatures.as_ref()?.get(&signature).copied()
    }

    fn type_of(&mut self, unit: usize, e: &Entry<'a>) -> TypeId {
        let Some(value) = e.attr_value(gimli::DW_AT_type) else {
            return TypeId::VOID;
        };
        match self.refer(unit, value) {
            Some(at) => self.id(at),
            None => TypeId::VOID,
        }
    }

    /// What an entry is a copy or the completion of.
    fn origin(&mut self, at: At, e: &Entry<'a>) -> Option<At> {
        let value = e
            .attr_value(gimli::DW_AT_abstract_origin)
            .or_else(|| e.attr_value(gimli::DW_AT_specification))?;
        self.refer(at.0, value)
    }

    /// Name and type of an entry, or of what it is a copy of.
    fn named(&mut self, at: At, e: &Entry<'a>) -> (Option<String>, Option<TypeId>) {
        let (mut at, mut e) = (at, e.clone());
        let (mut name, mut ty) = (None, None);
        for _ in 0..MAX_CHAIN {
            name = name.or_else(|| self.text(at.0, &e, gimli::DW_AT_name));
            if ty.is_none() && e.attr_value(gimli::DW_AT_type).is_some() {
                ty = Some(self.type_of(at.0, &e));
            }
            let Some(origin) = self.origin(at, &e) else {
                break;
            };
            let Some(next) = self.entry(origin) else {
                break;
            };
            (at, e) = (origin, next);
        }
        (name, ty)
    }

    /// The entries right below one.
    fn children(&self, at: At) -> Vec<Entry<'a>> {
        let mut out = Vec::new();
        let Ok(mut tree) = self.units[at.0].unit.entries_tree(Some(at.1)) else {
            return out;
        };
        let Ok(root) = tree.root() else {
            return out;
        };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            out.push(child.entry().clone());
        }
        out
    }

    fn function(&mut self, at: At) {
        let Some(e) = self.entry(at) else { return };
        let (start, base) = {
            let u = &self.units[at.0];
            let ranges = u.dwarf.die_ranges(&u.unit, &e).ok();
            // The first range has the entry; a cold part comes after it.
            let first = ranges.and_then(|mut r| r.next().ok().flatten());
            let Some(first) = first else { return };
            (first.begin, entry::frame_base(&u.unit, &e))
        };
        let mut params = Vec::new();
        for p in self.children(at) {
            if p.tag() != gimli::DW_TAG_formal_parameter {
                continue;
            }
            let (name, ty) = self.named((at.0, p.offset()), &p);
            let u = &self.units[at.0];
            params.push(Parameter {
                name: name.unwrap_or_default(),
                ty: ty.unwrap_or(TypeId::VOID),
                place: entry::place(u.dwarf, &u.unit, &p, start, base, &self.later),
            });
        }
        let (_, ret) = self.named(at, &e);
        // LLVM changed what is passed: only what it says of each argument counts.
        let odd = matches!(
            e.attr_value(gimli::DW_AT_calling_convention),
            Some(AttributeValue::CallingConvention(gimli::DW_CC_nocall))
        );
        if odd {
            for p in &mut params {
                if p.place == Place::Convention {
                    p.place = Place::Gone;
                }
            }
        }
        let signature = Signature {
            params,
            ret: ret.unwrap_or(TypeId::VOID),
        };
        self.out.functions.insert(start, signature);
    }

    fn ty(&mut self, at: At, id: TypeId) {
        let Some(e) = self.entry(at) else { return };
        let name = self.named(at, &e).0.unwrap_or_default();
        let size = number(&e, gimli::DW_AT_byte_size);
        let target = self.type_of(at.0, &e);
        let declared = e.attr_value(gimli::DW_AT_declaration).is_some();
        // The definition is in a type unit.
        if let Some(value) = e.attr_value(gimli::DW_AT_signature)
            && let Some(definition) = self.refer(at.0, value)
        {
            let target = self.id(definition);
            self.out.set(id, Node::Typedef { name, target });
            return;
        }
        let qualified = |volatile| Node::Qualified { volatile, target };
        let new = match e.tag() {
            gimli::DW_TAG_base_type => base(&e, name.clone(), size),
            gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type => Node::Pointer(target),
            gimli::DW_TAG_ptr_to_member_type => self.member_pointer(target),
            gimli::DW_TAG_typedef | gimli::DW_TAG_template_alias => Node::Typedef {
                name: name.clone(),
                target,
            },
            gimli::DW_TAG_const_type | gimli::DW_TAG_restrict_type | gimli::DW_TAG_atomic_type => {
                qualified(false)
            }
            gimli::DW_TAG_volatile_type => qualified(true),
            gimli::DW_TAG_subroutine_type => Node::Function { ret: target },
            gimli::DW_TAG_array_type => self.array(at, target),
            gimli::DW_TAG_enumeration_type => Node::Enum {
                name: name.clone(),
                size: size.unwrap_or(4) as u32,
                signed: false,
                underlying: target,
                variants: self.variants(at),
            },
            tag => {
                let by_reference = matches!(
                    e.attr_value(gimli::DW_AT_calling_convention),
                    Some(AttributeValue::CallingConvention(
                        gimli::DW_CC_pass_by_reference
                    ))
                );
                let kind = if tag == gimli::DW_TAG_union_type {
                    RecordKind::Union
                } else {
                    RecordKind::Struct
                };
                Node::Record {
                    kind,
                    name: name.clone(),
                    size: size.unwrap_or(0),
                    declared,
                    by_reference,
                    members: self.members(at),
                }
            }
        };
        self.out.set(id, new);
        if let Some(space) = space_of(e.tag())
            && !declared
            && !name.is_empty()
        {
            self.out.names.entry((space, name)).or_insert(id);
        }
    }

    /// A pointer to a member is an offset; to a member function, an address and an offset.
    fn member_pointer(&mut self, target: TypeId) -> Node {
        let at = self.ids.iter().find(|(_, id)| **id == target);
        let at = at.map(|(at, _)| *at);
        let function = at
            .and_then(|at| self.entry(at))
            .is_some_and(|e| e.tag() == gimli::DW_TAG_subroutine_type);
        let word = Node::Int {
            name: "long".to_owned(),
            size: 8,
            signed: true,
            kind: IntKind::Number,
        };
        if !function {
            return word;
        }
        let element = self.out.add(word);
        Node::Array { element, len: 2 }
    }

    /// Several dimensions are arrays of arrays, the last one innermost.
    fn array(&mut self, at: At, element: TypeId) -> Node {
        let mut lens = Vec::new();
        for e in self.children(at) {
            if e.tag() == gimli::DW_TAG_subrange_type {
                let len = number(&e, gimli::DW_AT_count)
                    .or_else(|| Some(number(&e, gimli::DW_AT_upper_bound)?.wrapping_add(1)));
                lens.push(len.unwrap_or(0));
            }
        }
        let mut element = element;
        while lens.len() > 1 {
            let len = lens.pop().unwrap_or(0);
            element = self.out.add(Node::Array { element, len });
        }
        Node::Array {
            element,
            len: lens.pop().unwrap_or(0),
        }
    }

    fn variants(&mut self, at: At) -> Vec<(String, i64)> {
        let mut out = Vec::new();
        for e in self.children(at) {
            if e.tag() != gimli::DW_TAG_enumerator {
                continue;
            }
            // Compilers write negative values as signed ones.
            let value = match e.attr_value(gimli::DW_AT_const_value) {
                Some(AttributeValue::Sdata(n)) => n,
                Some(v) => v.udata_value().map_or(0, u64::cast_signed),
                None => 0,
            };
            let name = self.text(at.0, &e, gimli::DW_AT_name).unwrap_or_default();
            out.push((name, value));
        }
        out
    }

    fn members(&mut self, at: At) -> Vec<Field> {
        let mut out = Vec::new();
        for e in self.children(at) {
            match e.tag() {
                // Members of a base class are found as if they were the class's own.
                gimli::DW_TAG_member | gimli::DW_TAG_inheritance
                    if e.attr_value(gimli::DW_AT_external).is_none() =>
                {
                    out.extend(self.member(at.0, &e));
                }
                // A Rust enum: its variants share their storage.
                gimli::DW_TAG_variant_part => {
                    for part in self.children((at.0, e.offset())) {
                        match part.tag() {
                            gimli::DW_TAG_member => out.extend(self.member(at.0, &part)),
                            gimli::DW_TAG_variant => {
                                let fields = self.children((at.0, part.offset()));
                                for f in fields {
                                    if f.tag() == gimli::DW_TAG_member {
                                        out.extend(self.member(at.0, &f));
                                    }
                                }
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        out
    }

    /// A member; `None` if its place depends on the object (virtual base classes).
    fn member(&mut self, unit: usize, e: &Entry<'a>) -> Option<Field> {
        let bytes = match e.attr_value(gimli::DW_AT_data_member_location) {
            None => 0,
            Some(AttributeValue::Exprloc(x)) => {
                let mut ops = x.operations(self.units[unit].unit.encoding());
                match (ops.next(), ops.next()) {
                    (Ok(Some(gimli::Operation::PlusConstant { value })), Ok(None)) => value,
                    _ => return None,
                }
            }
            Some(v) => v.udata_value()?,
        };
        let name = self.text(unit, e, gimli::DW_AT_name);
        let ty = self.type_of(unit, e);
        let bits = number(e, gimli::DW_AT_bit_size).and_then(|b| u32::try_from(b).ok());
        let start = match (number(e, gimli::DW_AT_data_bit_offset), bits) {
            (Some(at), _) => at,
            // Before version 5: counted from the highest bit of the storage.
            (None, Some(bits)) => match number(e, gimli::DW_AT_bit_offset) {
                Some(from_top) => {
                    let storage = number(e, gimli::DW_AT_byte_size).unwrap_or(4);
                    let end = bytes.checked_add(storage)?.checked_mul(8)?;
                    end.checked_sub(from_top)?.checked_sub(u64::from(bits))?
                }
                None => bytes.checked_mul(8)?,
            },
            (None, None) => bytes.checked_mul(8)?,
        };
        let tag = e.attr_value(gimli::DW_AT_artificial).is_some() && name.is_none();
        Some(Field {
            // What tells the variants of a Rust enum apart has no name of its own.
            name: if tag {
                "__tag".to_owned()
            } else {
                name.unwrap_or_default()
            },
            ty,
            bit_offset: start,
            bits,
        })
    }
}

fn base(e: &Entry<'_>, name: String, size: Option<u64>) -> Node {
    let size = size.unwrap_or(0) as u32;
    let encoding = match e.attr_value(gimli::DW_AT_encoding) {
        Some(AttributeValue::Encoding(x)) => x,
        _ => gimli::DW_ATE_unsigned,
    };
    match encoding {
        gimli::DW_ATE_float | gimli::DW_ATE_complex_float | gimli::DW_ATE_decimal_float => {
            Node::Float { name, size }
        }
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
