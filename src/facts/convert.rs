//! C types become types of the language.
//!
//! In: a [`TypeSource`] (BTF or the script's C definitions) and an id in it. Out: a [`Type`]
//! whose structs are entries of the [`TypeStore`], without members until somebody asks: kernel
//! types form a graph of which a script touches little.

use std::collections::HashMap;

use crate::ctypes::model::{CType, IntKind, NameSpace, RecordKind, TypeId, TypeSource};
use crate::types::{AddrSpace, EnumDef, EnumId, Field, StructDef, StructId, StructKind, Type};
use crate::types::TypeStore;

/// Deepest chain of typedefs, arrays and pointers that is followed; damaged files can loop.
const MAX_DEPTH: u32 = 64;

/// Where types come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// The script's C definitions.
    Script,
    /// BTF: 0 is the kernel, then modules as they were first needed.
    Btf(u32),
}

/// What has been converted so far.
#[derive(Debug, Default)]
pub(super) struct Types {
    structs: HashMap<(Origin, TypeId), StructId>,
    enums: HashMap<(Origin, TypeId), EnumId>,
    places: HashMap<StructId, (Origin, TypeId)>,
    modules: Vec<String>,
}

impl Types {
    /// The number of a module's BTF.
    pub fn module_number(&mut self, name: &str) -> u32 {
        let known = self.modules.iter().position(|m| m == name);
        let i = known.unwrap_or_else(|| {
            self.modules.push(name.to_owned());
            self.modules.len() - 1
        });
        i as u32 + 1
    }

    /// The module with this number.
    pub fn module_name(&self, n: u32) -> Option<String> {
        self.modules.get((n as usize).checked_sub(1)?).cloned()
    }

    /// Where a struct was defined.
    pub fn place(&self, id: StructId) -> Option<(Origin, TypeId)> {
        self.places.get(&id).copied()
    }

    /// The type with this id; `None` for functions and for what has no meaning as a value.
    pub fn convert(
        &mut self,
        store: &mut TypeStore,
        source: &dyn TypeSource,
        origin: Origin,
        id: TypeId,
    ) -> Option<Type> {
        self.convert_at(store, source, origin, id, 0)
    }

    fn convert_at(
        &mut self,
        store: &mut TypeStore,
        source: &dyn TypeSource,
        origin: Origin,
        id: TypeId,
        depth: u32,
    ) -> Option<Type> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match source.ctype(id) {
            CType::Void => Type::Void,
            CType::Int {
                name,
                size,
                signed,
                kind,
            } => match (kind, size) {
                (IntKind::Bool, 1) => Type::Bool,
                // Plain char is signed wherever BPF runs with this ABI.
                _ if name == "char" => Type::int(true, 1),
                (_, 1 | 2 | 4 | 8) => Type::int(signed, size as u8),
                (_, n) => Type::Array(Type::U64.into(), n / 8),
            },
            CType::Float { size, .. } => match size {
                2 | 4 | 8 => Type::int(false, size as u8),
                n => Type::Array(Type::int(false, 1).into(), n),
            },
            CType::Pointer(target) => self
                .convert_at(store, source, origin, target, depth + 1)
                .unwrap_or(Type::Void)
                .ptr_in(AddrSpace::None),
            CType::Array { element, len } => {
                let elem = self.convert_at(store, source, origin, element, depth + 1)?;
                Type::Array(elem.into(), u32::try_from(len).ok()?)
            }
            CType::Record { .. } => Type::Struct(self.record(store, source, origin, id)),
            CType::Enum { name, size, signed } if name.is_empty() => {
                Type::int(signed, u8::try_from(size).ok()?)
            }
            CType::Enum { .. } => Type::Enum(self.convert_enum(store, source, origin, id)?),
            CType::Forward { space, name } | CType::External { space, name, .. } => {
                self.declared(store, source, space, name)
            }
            CType::Typedef { target, .. } | CType::Qualified { target, .. } => {
                self.convert_at(store, source, origin, target, depth + 1)?
            }
            CType::Function { .. } => return None,
        })
    }

    /// A type of which only the name is known here.
    fn declared(
        &mut self,
        store: &mut TypeStore,
        source: &dyn TypeSource,
        space: NameSpace,
        name: &str,
    ) -> Type {
        let kind = match space {
            NameSpace::Union => StructKind::Union,
            NameSpace::Enum => return Type::U32,
            _ => StructKind::Struct,
        };
        if let Some(id) = store.find_struct(kind, name) {
            return Type::Struct(id);
        }
        let size = source.find(space, name).and_then(|id| source.size(id));
        Type::Struct(store.add_struct(StructDef {
            kind,
            name: name.to_owned(),
            size: size.and_then(|s| u32::try_from(s).ok()).unwrap_or(0),
            align: 8,
            fields: None,
            btf: None,
        }))
    }

    fn record(
        &mut self,
        store: &mut TypeStore,
        source: &dyn TypeSource,
        origin: Origin,
        id: TypeId,
    ) -> StructId {
        if let Some(known) = self.structs.get(&(origin, id)) {
            return *known;
        }
        let (kind, name, size) = match source.ctype(id) {
            CType::Record { kind, name, size } => (kind, name.to_owned(), size),
            _ => (RecordKind::Struct, String::new(), 0),
        };
        let kind = match kind {
            RecordKind::Struct => StructKind::Struct,
            RecordKind::Union => StructKind::Union,
        };
        let new = store.add_struct(StructDef {
            kind,
            name,
            size: u32::try_from(size).unwrap_or(u32::MAX),
            align: source
                .align(id)
                .and_then(|a| u32::try_from(a).ok())
                .unwrap_or(1),
            fields: None,
            btf: match origin {
                Origin::Btf(n) => Some((n, id.0)),
                Origin::Script => None,
            },
        });
        self.structs.insert((origin, id), new);
        self.places.insert(new, (origin, id));
        new
    }

    /// The enum with this id.
    pub fn convert_enum(
        &mut self,
        store: &mut TypeStore,
        source: &dyn TypeSource,
        origin: Origin,
        id: TypeId,
    ) -> Option<EnumId> {
        let id = source.resolve(id);
        if let Some(known) = self.enums.get(&(origin, id)) {
            return Some(*known);
        }
        let CType::Enum { name, size, signed } = source.ctype(id) else {
            return None;
        };
        let new = store.add_enum(EnumDef {
            name: name.to_owned(),
            size: u8::try_from(size).ok()?,
            signed,
            variants: source
                .variants(id)
                .iter()
                .map(|v| (v.name.to_owned(), v.value))
                .collect(),
        });
        self.enums.insert((origin, id), new);
        Some(new)
    }

    /// Fills in the members of a struct.
    pub fn fill(
        &mut self,
        store: &mut TypeStore,
        source: &dyn TypeSource,
        origin: Origin,
        id: StructId,
        ty: TypeId,
    ) {
        let members = source.members(ty);
        let mut fields = Vec::with_capacity(members.len());
        for m in &members {
            // A bitfield without a name is padding.
            if m.name.is_empty() && m.bits.is_some() {
                continue;
            }
            let Some(mt) = self.convert(store, source, origin, m.ty) else {
                continue;
            };
            let Ok(bit_offset) = u32::try_from(m.bit_offset) else {
                continue;
            };
            fields.push(Field {
                name: m.name.to_owned(),
                ty: mt,
                bit_offset,
                bits: m.bits.and_then(|b| u8::try_from(b).ok()),
                data_loc: false,
            });
        }
        store.struct_def_mut(id).fields = Some(fields);
    }
}
