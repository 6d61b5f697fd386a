//! Types to layouts: what user space needs to know to read a value back.

use std::collections::HashMap;

use crate::object::{EnumTable, FieldLayout, Layout, MapId};
use crate::types::{EnumId, StackTy, StructId, Type, TypeStore, size_of, tuple_offsets};

/// Fields of structs that a program may print, all layouts together. The largest struct of the
/// kernel has some thousands, those of its members included; structs of damaged BTF may hold each
/// other many times over.
const MAX_FIELDS: u32 = 1 << 18;

/// Structs within structs; the kernel's have less than twenty levels.
const MAX_NESTING: usize = 64;

/// Builds layouts; keeps one table per enum and asks for a stack map per kind of stack.
pub(super) struct Layouts<'a> {
    store: &'a TypeStore,
    /// Structs whose layout is being made.
    open: Vec<StructId>,
    /// What is left of [`MAX_FIELDS`].
    fields_left: u32,
    enums: HashMap<EnumId, u32>,
    /// Tables made so far.
    pub tables: Vec<EnumTable>,
}

impl<'a> Layouts<'a> {
    pub(super) fn new(store: &'a TypeStore) -> Self {
        Self {
            store,
            open: Vec::new(),
            fields_left: MAX_FIELDS,
            enums: HashMap::new(),
            tables: Vec::new(),
        }
    }

    /// The layout of a value of `ty`; `stacks` names the stack map of a stack type.
    pub(super) fn of(&mut self, ty: &Type, stacks: &mut dyn FnMut(StackTy) -> MapId) -> Layout {
        match ty {
            Type::None | Type::Void => Layout::None,
            Type::Bool => Layout::Bool,
            Type::Int(t) => Layout::Int {
                signed: t.signed,
                size: t.size,
            },
            Type::Str(n) => Layout::Str(*n),
            Type::Buf(n) => Layout::Buf(*n),
            Type::Ptr(..) => Layout::Ptr,
            Type::Array(elem, len) => Layout::Array {
                stride: size_of(elem, self.store),
                len: *len,
                elem: Box::new(self.of(elem, stacks)),
            },
            Type::Struct(id) => self.structure(*id, stacks),
            Type::Enum(id) => {
                let def = self.store.enum_def(*id);
                Layout::Enum {
                    size: def.size,
                    signed: def.signed,
                    table: self.enumeration(*id),
                }
            }
            Type::Tuple(items) => {
                let (offsets, size) = tuple_offsets(items.iter(), self.store);
                let fields = items
                    .iter()
                    .zip(offsets)
                    .map(|(t, offset)| FieldLayout {
                        name: String::new(),
                        offset,
                        bits: None,
                        layout: self.of(t, stacks),
                    })
                    .collect();
                Layout::Tuple { fields, size }
            }
            Type::Record(items) => {
                let (offsets, size) = tuple_offsets(items.iter().map(|(_, t)| t), self.store);
                let fields = items
                    .iter()
                    .zip(offsets)
                    .map(|((name, t), offset)| FieldLayout {
                        name: name.to_string(),
                        offset,
                        bits: None,
                        layout: self.of(t, stacks),
                    })
                    .collect();
                Layout::Struct { fields, size }
            }
            Type::Inet => Layout::Inet,
            Type::Mac => Layout::Mac,
            Type::Username => Layout::Username,
            Type::CgroupPath => Layout::CgroupPath,
            Type::Timestamp => Layout::Timestamp,
            Type::KSym => Layout::KSym,
            Type::USym => Layout::USym,
            Type::ProbeName => Layout::ProbeName,
            Type::Stack(t) => Layout::Stack {
                ty: *t,
                map: stacks(*t),
            },
            Type::Agg(t) => Layout::Int {
                signed: t.signed,
                size: 8,
            },
        }
    }

    fn structure(&mut self, id: StructId, stacks: &mut dyn FnMut(StackTy) -> MapId) -> Layout {
        let def = self.store.struct_def(id);
        let mut fields = Vec::new();
        // A struct that contains itself other than behind a pointer is damaged: it has no fields.
        let damaged = self.open.contains(&id) || self.open.len() >= MAX_NESTING;
        self.open.push(id);
        for f in def
            .fields
            .as_deref()
            .filter(|_| !damaged)
            .unwrap_or_default()
        {
            let Some(left) = self.fields_left.checked_sub(1) else {
                break;
            };
            self.fields_left = left;
            let layout = match &f.ty {
                Type::Array(elem, n) if is_char(elem) => Layout::Str(*n),
                ty => self.of(ty, stacks),
            };
            fields.push(FieldLayout {
                name: f.name.clone(),
                offset: f.bit_offset / 8,
                bits: f.bits.map(|width| ((f.bit_offset % 8) as u8, width)),
                layout,
            });
        }
        self.open.pop();
        Layout::Struct {
            fields,
            size: def.size,
        }
    }

    fn enumeration(&mut self, id: EnumId) -> u32 {
        if let Some(&i) = self.enums.get(&id) {
            return i;
        }
        let def = self.store.enum_def(id);
        self.tables.push(EnumTable {
            name: def.name.clone(),
            variants: def.variants.clone(),
        });
        let i = self.tables.len() as u32 - 1;
        self.enums.insert(id, i);
        i
    }
}

/// Whether arrays of this are text in C.
fn is_char(ty: &Type) -> bool {
    ty.as_int().is_some_and(|t| t.signed && t.size == 1)
}
