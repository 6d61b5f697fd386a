//! C types as types of the language: from any [`TypeSource`] into a [`TypeStore`].
//!
//! In: sources in the order in which names are looked up (the script's C types, the kernel's BTF,
//! a module's), and names or ids. Out: types whose structs and enums are interned once for each
//! definition. A struct arrives without members; [`Importer::fill`] brings them when somebody asks,
//! because kernel types refer to each other without end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::{
    AddrSpace, EnumDef, EnumId, Field, IntTy, StructDef, StructId, StructKind, Type, TypeStore,
};
use crate::ctypes::defs::basic_name;
use crate::ctypes::model::{
    CType, IntKind, Member, NameSpace, Qualifier, RecordKind, TypeId, TypeSource,
};
use crate::ctypes::store::Store;

/// Pointers, arrays and qualifiers that one type may stack up.
const MAX_DEPTH: u32 = 32;

/// A source of types, by its place in the order of lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(u32);

struct Source {
    types: Rc<dyn TypeSource>,
    /// Number of the BTF object, for relocations: 0 is vmlinux.
    btf: Option<u32>,
}

/// Imports types into one store.
#[derive(Default)]
pub struct Importer {
    sources: RefCell<Vec<Source>>,
    structs: RefCell<HashMap<(SourceId, TypeId), StructId>>,
    enums: RefCell<HashMap<(SourceId, TypeId), EnumId>>,
    origins: RefCell<HashMap<StructId, (SourceId, TypeId)>>,
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sources", self.sources.borrow().len())
    }
}

impl Importer {
    /// Adds a source behind the others; `btf` is its number if it is a BTF object.
    pub fn add(&self, types: Rc<dyn TypeSource>, btf: Option<u32>) -> SourceId {
        let mut sources = self.sources.borrow_mut();
        sources.push(Source { types, btf });
        SourceId(sources.len() as u32 - 1)
    }

    fn source(&self, id: SourceId) -> Option<Rc<dyn TypeSource>> {
        let sources = self.sources.borrow();
        sources.get(id.0 as usize).map(|s| s.types.clone())
    }

    /// Finds a name in the first source that defines it.
    pub fn find(&self, space: NameSpace, name: &str) -> Option<(SourceId, TypeId)> {
        let count = self.sources.borrow().len() as u32;
        (0..count).map(SourceId).find_map(|s| {
            let id = self.source(s)?.find(space, name)?;
            Some((s, id))
        })
    }

    /// The struct or union of this tag.
    pub fn find_struct(
        &self,
        store: &mut TypeStore,
        kind: StructKind,
        name: &str,
    ) -> Option<StructId> {
        let space = match kind {
            StructKind::Struct => NameSpace::Struct,
            StructKind::Union => NameSpace::Union,
        };
        let (source, id) = self.find(space, name)?;
        match self.import(store, source, id) {
            Type::Struct(id) => Some(id),
            _ => None,
        }
    }

    /// The enum of this tag.
    pub fn find_enum(&self, store: &mut TypeStore, name: &str) -> Option<EnumId> {
        let (source, id) = self.find(NameSpace::Enum, name)?;
        match self.import(store, source, id) {
            Type::Enum(id) => Some(id),
            _ => None,
        }
    }

    /// What a typedef or the name of a basic type stands for.
    pub fn find_typedef(&self, store: &mut TypeStore, name: &str) -> Option<Type> {
        let (source, id) = self.find(NameSpace::Ordinary, name)?;
        Some(self.import(store, source, id))
    }

    /// The type that C text names, as the formats of tracepoints do: `const char *`,
    /// `struct file *`, `pid_t`. `None` where a name is unknown; an unknown target of a pointer
    /// is `void`.
    pub fn c_type(&self, store: &mut TypeStore, text: &str) -> Option<Type> {
        let stars = text.matches('*').count();
        let spaced = text.replace('*', " ");
        let words: Vec<&str> = spaced
            .split_ascii_whitespace()
            .filter(|w| !matches!(*w, "const" | "volatile" | "restrict"))
            // Address space annotations: `void __seg_gs *`.
            .filter(|w| !w.starts_with("__seg") && !matches!(*w, "__user" | "__rcu" | "__percpu"))
            .collect();
        let base = match words.as_slice() {
            ["struct", tag] => self
                .find_struct(store, StructKind::Struct, tag)
                .map(Type::Struct),
            ["union", tag] => self
                .find_struct(store, StructKind::Union, tag)
                .map(Type::Struct),
            ["enum", tag] => self.find_enum(store, tag).map(Type::Enum),
            ["void"] => Some(Type::Void),
            [name] => self.find_typedef(store, name).or_else(|| basic(&[name])),
            words => basic(words),
        };
        let mut ty = match base {
            None if stars == 0 => return None,
            base => base.unwrap_or(Type::Void),
        };
        for _ in 0..stars.min(MAX_DEPTH as usize) {
            ty = Type::Ptr(Arc::new(ty), AddrSpace::None);
        }
        Some(ty)
    }

    /// The type with this id of a source.
    pub fn import(&self, store: &mut TypeStore, source: SourceId, id: TypeId) -> Type {
        match self.source(source) {
            Some(types) => self.convert(store, source, &*types, id, 0),
            None => Type::Void,
        }
    }

    fn convert(
        &self,
        store: &mut TypeStore,
        source: SourceId,
        types: &dyn TypeSource,
        id: TypeId,
        depth: u32,
    ) -> Type {
        if depth > MAX_DEPTH {
            return Type::Void;
        }
        let next = |store: &mut TypeStore, id| self.convert(store, source, types, id, depth + 1);
        match types.ctype(id) {
            CType::Void | CType::Function { .. } => Type::Void,
            CType::Int {
                kind: IntKind::Bool,
                ..
            } => Type::Bool,
            // BTF does not call plain char signed, but it is, wherever strings are made of it.
            CType::Int { name: "char", .. } => integer(true, 1),
            CType::Int { size, signed, .. } => integer(signed, size),
            CType::Float { size, .. } => bytes(size),
            CType::Pointer(target) => {
                let space = address_space(types, target);
                Type::Ptr(Arc::new(next(store, target)), space)
            }
            CType::Array { element, len } => {
                let element = next(store, element);
                Type::Array(Arc::new(element), u32::try_from(len).unwrap_or(u32::MAX))
            }
            CType::Typedef { target, .. } | CType::Qualified { target, .. } => next(store, target),
            CType::Record { kind, name, size } => {
                let align = types.align(id).unwrap_or(1);
                let known = self.structs.borrow().get(&(source, id)).copied();
                Type::Struct(known.unwrap_or_else(|| {
                    let btf = self.sources.borrow()[source.0 as usize].btf;
                    let new = store.add_struct(StructDef {
                        kind: struct_kind(kind),
                        name: name.to_owned(),
                        size: u32::try_from(size).unwrap_or(u32::MAX),
                        align: u32::try_from(align).unwrap_or(1),
                        fields: None,
                        btf: btf.map(|object| (object, id.0)),
                    });
                    self.structs.borrow_mut().insert((source, id), new);
                    self.origins.borrow_mut().insert(new, (source, id));
                    new
                }))
            }
            // Other sizes are no numbers; BTF that others wrote may say anything.
            CType::Enum { size, .. } if !matches!(size, 1 | 2 | 4 | 8) => bytes(size),
            CType::Enum { name, size, signed } => {
                let known = self.enums.borrow().get(&(source, id)).copied();
                Type::Enum(known.unwrap_or_else(|| {
                    let variants = types.variants(id);
                    let new = store.add_enum(EnumDef {
                        name: name.to_owned(),
                        size: size as u8,
                        signed,
                        variants: variants
                            .iter()
                            .map(|v| (v.name.to_owned(), v.value))
                            .collect(),
                    });
                    self.enums.borrow_mut().insert((source, id), new);
                    new
                }))
            }
            CType::Forward { space, name } | CType::External { space, name, .. } => {
                self.elsewhere(store, source, id, space, name)
            }
        }
    }

    /// A type that is only named: its definition in another source, or an empty struct.
    fn elsewhere(
        &self,
        store: &mut TypeStore,
        source: SourceId,
        id: TypeId,
        space: NameSpace,
        name: &str,
    ) -> Type {
        if let Some((other, found)) = self.find(space, name)
            && (other, found) != (source, id)
            && let Some(types) = self.source(other)
            && !matches!(
                types.ctype(types.resolve(found)),
                CType::Forward { .. } | CType::External { .. }
            )
        {
            return self.import(store, other, found);
        }
        let kind = match space {
            NameSpace::Struct => StructKind::Struct,
            NameSpace::Union => StructKind::Union,
            NameSpace::Enum => return integer(false, 4),
            NameSpace::Ordinary => return Type::Void,
        };
        let known = self.structs.borrow().get(&(source, id)).copied();
        Type::Struct(known.unwrap_or_else(|| {
            let new = store.add_struct(StructDef {
                kind,
                name: name.to_owned(),
                size: 0,
                align: 1,
                fields: None,
                btf: None,
            });
            self.structs.borrow_mut().insert((source, id), new);
            new
        }))
    }

    /// Brings the members of a struct, unless they are there or nobody knows them.
    pub fn fill(&self, store: &mut TypeStore, id: StructId) {
        if store.struct_def(id).fields.is_some() {
            return;
        }
        let origin = self.origins.borrow().get(&id).copied();
        let Some((source, ty)) = origin else { return };
        let Some(types) = self.source(source) else {
            return;
        };
        let fields = types
            .members(ty)
            .iter()
            .map(|m| self.field(store, source, &*types, m))
            .collect();
        store.struct_def_mut(id).fields = Some(fields);
    }

    fn field(
        &self,
        store: &mut TypeStore,
        source: SourceId,
        types: &dyn TypeSource,
        m: &Member<'_>,
    ) -> Field {
        Field {
            name: m.name.to_owned(),
            ty: self.convert(store, source, types, m.ty, 0),
            bit_offset: u32::try_from(m.bit_offset).unwrap_or(u32::MAX),
            bits: m.bits.map(|b| b as u8),
            data_loc: false,
        }
    }
}

/// A basic type of C by the words of its name.
fn basic(words: &[&str]) -> Option<Type> {
    let mut scratch = Store::default();
    let name = basic_name(words)?;
    let id = scratch.basic(&name)?;
    Some(match scratch.ctype(id) {
        CType::Int {
            kind: IntKind::Bool,
            ..
        } => Type::Bool,
        CType::Int { size, signed, .. } => integer(signed, size),
        CType::Float { size, .. } => bytes(size),
        _ => Type::Void,
    })
}

fn struct_kind(kind: RecordKind) -> StructKind {
    match kind {
        RecordKind::Struct => StructKind::Struct,
        RecordKind::Union => StructKind::Union,
    }
}

/// An integer; wider ones than the language has are arrays of words.
fn integer(signed: bool, size: u32) -> Type {
    match size {
        1 | 2 | 4 | 8 => Type::Int(IntTy {
            signed,
            size: size as u8,
        }),
        16 => Type::Array(Arc::new(Type::Int(IntTy::U64)), 2),
        other => bytes(other),
    }
}

fn bytes(size: u32) -> Type {
    let byte = IntTy {
        signed: false,
        size: 1,
    };
    Type::Array(Arc::new(Type::Int(byte)), size)
}

/// The address space that the tags of a pointer's target name.
fn address_space(types: &dyn TypeSource, mut target: TypeId) -> AddrSpace {
    for _ in 0..MAX_DEPTH {
        match types.ctype(target) {
            CType::Qualified {
                qualifier: Qualifier::Tag("user"),
                ..
            } => return AddrSpace::User,
            CType::Qualified { target: t, .. } => target = t,
            _ => break,
        }
    }
    AddrSpace::None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctypes::{Options, translate};
    use crate::env::{Env, FakeEnv};
    use crate::source::{FileId, Span};

    fn importer(kernel: &str, script: &str) -> Importer {
        let fake = FakeEnv::new().with_kernel(kernel).unwrap();
        let btf = fake.btf().unwrap().clone();
        let options = Options {
            externals: Some(&*btf),
            ..Options::default()
        };
        let span = Span::new(FileId(0), 0, script.len());
        let (env, diagnostics) = translate(&[(script, span)], &options);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let importer = Importer::default();
        importer.add(Rc::new(env), None);
        importer.add(Rc::new(btf), Some(0));
        importer
    }

    fn field(importer: &Importer, store: &mut TypeStore, id: StructId, name: &str) -> Field {
        importer.fill(store, id);
        let fields = store.struct_def(id).fields.as_ref().unwrap();
        fields.iter().find(|f| f.name == name).unwrap().clone()
    }

    #[test]
    fn structs_arrive_empty_and_are_filled_once() {
        let i = importer(
            "struct task { int pid; struct task *parent; char comm[16]; _Bool on; };",
            "",
        );
        let mut store = TypeStore::default();
        let task = i
            .find_struct(&mut store, StructKind::Struct, "task")
            .unwrap();
        assert!(store.struct_def(task).fields.is_none());
        assert_eq!(store.struct_def(task).size, 40);
        let parent = field(&i, &mut store, task, "parent");
        assert_eq!(
            parent.ty,
            Type::Ptr(Arc::new(Type::Struct(task)), AddrSpace::None)
        );
        assert_eq!(parent.bit_offset, 64);
        let comm = field(&i, &mut store, task, "comm").ty;
        assert!(matches!(comm, Type::Array(c, 16) if *c == Type::int(true, 1)));
        assert_eq!(field(&i, &mut store, task, "on").ty, Type::Bool);
        assert!(
            store
                .struct_def(task)
                .btf
                .is_some_and(|(object, _)| object == 0)
        );
    }

    #[test]
    fn types_by_their_c_text() {
        let i = importer("struct file { int f; }; typedef unsigned int gfp_t;", "");
        let mut store = TypeStore::default();
        let mut ty = |text| i.c_type(&mut store, text);
        let file = ty("struct file").unwrap();
        let ptr = |t: &Type| Type::Ptr(Arc::new(t.clone()), AddrSpace::None);
        assert_eq!(ty("const struct file *").unwrap(), ptr(&file));
        assert_eq!(
            ty("const char *const *").unwrap(),
            ptr(&ptr(&Type::int(true, 1)))
        );
        assert_eq!(ty("gfp_t").unwrap(), Type::Int(IntTy::U32));
        assert_eq!(ty("unsigned long long").unwrap(), Type::Int(IntTy::U64));
        assert_eq!(ty("struct nope *").unwrap(), ptr(&Type::Void));
        assert_eq!(ty("nope_t"), None);
    }

    #[test]
    fn script_types_reach_into_the_kernels() {
        let i = importer(
            "struct inode { long nr; }; typedef struct inode inode_t; enum color { RED = 3 };",
            "struct mine { struct inode *i; inode_t v; enum color c; struct far *f; int b:5; };",
        );
        let mut store = TypeStore::default();
        let mine = i
            .find_struct(&mut store, StructKind::Struct, "mine")
            .unwrap();
        let inode = i
            .find_struct(&mut store, StructKind::Struct, "inode")
            .unwrap();
        let ptr = Type::Ptr(Arc::new(Type::Struct(inode)), AddrSpace::None);
        assert_eq!(field(&i, &mut store, mine, "i").ty, ptr);
        assert_eq!(field(&i, &mut store, mine, "v").ty, Type::Struct(inode));
        assert_eq!(field(&i, &mut store, mine, "b").bits, Some(5));
        let Type::Enum(color) = field(&i, &mut store, mine, "c").ty else {
            panic!("no enum");
        };
        assert_eq!(store.enum_def(color).variants, [("RED".to_owned(), 3)]);
        // Declared nowhere: a pointer one can print and not follow.
        let far = field(&i, &mut store, mine, "f").ty;
        let Type::Ptr(target, _) = far else {
            panic!("no pointer")
        };
        let Type::Struct(far) = *target else {
            panic!("no struct")
        };
        i.fill(&mut store, far);
        assert!(store.struct_def(far).fields.is_none());
    }
}
