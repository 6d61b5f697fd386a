//! The answers to what type checking asks: this machine, the script's C definitions, and the
//! programs that are probed.
//!
//! [`HostFacts`] belongs to one compilation: it remembers which C type became which entry of
//! the compilation's [`TypeStore`]. Files are opened when they are first asked about.

mod convert;
mod user;

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::ctypes::model::{NameSpace, TypeSource};
use crate::ctypes::{self, CEnv, MacroValue};
use crate::env::format::FieldKind;
use crate::env::{Btf, Env, Feature};
use crate::object::TargetFile;
use crate::sema::env::{
    ArgField, ArgSource, Facts, FunctionQuery, Prototype, UsdtProbe, UserFunction,
};
use crate::source::{FileId, Span};
use crate::syntax::ast;
use crate::types::{AddrSpace, EnumId, StructId, StructKind, Type, TypeStore};

use convert::{Origin, Types};
use user::Files;

/// What [`HostFacts`] needs besides the machine.
#[derive(Clone, Debug, Default)]
pub struct FactOptions {
    /// The process of `-p`: user targets are files as it sees them.
    pub pid: Option<u32>,
    /// `--unsafe`: targets that are not ELF files are accepted.
    pub unsafe_: bool,
    /// Folders with debug files (`--debuginfo`); empty for the usual ones.
    pub debug_dirs: Vec<std::path::PathBuf>,
}

/// Facts for one compilation.
pub struct HostFacts<'a> {
    env: &'a dyn Env,
    c: CEnv,
    types: RefCell<Types>,
    files: Files,
}

impl std::fmt::Debug for HostFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostFacts").finish_non_exhaustive()
    }
}

impl<'a> HostFacts<'a> {
    /// Facts of a machine and of the C definitions of a script.
    pub fn new(env: &'a dyn Env, c: CEnv, options: FactOptions) -> Self {
        Self {
            env,
            c,
            types: RefCell::default(),
            files: Files::new(options),
        }
    }

    /// Type information by its origin.
    fn source(&self, origin: Origin) -> Option<Source<'_>> {
        match origin {
            Origin::Script => Some(Source::Script(&self.c)),
            Origin::Btf(0) => Some(Source::Btf(self.env.btf()?.clone())),
            Origin::Btf(n) => {
                let name = self.types.borrow().module_name(n)?;
                Some(Source::Btf(self.env.module_btf(&name)?))
            }
        }
    }

    /// Runs `f` with the types of one origin.
    fn with<T>(
        &self,
        origin: Origin,
        f: impl FnOnce(&dyn TypeSource, &mut Types) -> Option<T>,
    ) -> Option<T> {
        match self.source(origin)? {
            Source::Script(c) => f(c.types(), &mut self.types.borrow_mut()),
            Source::Btf(btf) => f(&*btf, &mut self.types.borrow_mut()),
        }
    }

    /// A type of this name, from the script or the kernel.
    fn find(&self, store: &mut TypeStore, space: NameSpace, name: &str) -> Option<Type> {
        for origin in [Origin::Script, Origin::Btf(0)] {
            let found = self.with(origin, |source, types| {
                let id = source.find(space, name)?;
                types.convert(store, source, origin, id)
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// A struct that only a module knows.
    fn find_in_modules(
        &self,
        store: &mut TypeStore,
        space: NameSpace,
        name: &str,
    ) -> Option<Type> {
        for module in self.env.modules() {
            let n = self.types.borrow_mut().module_number(&module);
            let origin = Origin::Btf(n);
            let found = self.with(origin, |source, types| {
                let id = source.find(space, name)?;
                types.convert(store, source, origin, id)
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn prototype(
        &self,
        store: &mut TypeStore,
        origin: Origin,
        module: &str,
        btf: &Btf,
        proto: &crate::env::btf::query::Prototype<'_>,
    ) -> Prototype {
        let mut types = self.types.borrow_mut();
        let mut convert = |store: &mut TypeStore, id| {
            let ty = types.convert(store, btf, origin, id).unwrap_or(Type::U64);
            match ty {
                Type::Ptr(t, AddrSpace::None) => Type::Ptr(t, AddrSpace::Kernel),
                other => other,
            }
        };
        Prototype {
            params: proto
                .params
                .iter()
                .map(|p| (p.name.to_owned(), convert(store, p.ty)))
                .collect(),
            ret: convert(store, proto.ret),
            module: module.to_owned(),
        }
    }

    /// Runs `f` for the kernel's types and those of each module (or one module) until it
    /// answers.
    fn in_kernel<T>(
        &self,
        module: Option<&str>,
        mut f: impl FnMut(&Btf, Origin, &str) -> Option<T>,
    ) -> Option<T> {
        if module.is_none_or(|m| m == "vmlinux")
            && let Some(btf) = self.env.btf()
            && let Some(t) = f(btf, Origin::Btf(0), "vmlinux")
        {
            return Some(t);
        }
        let modules = match module {
            Some("vmlinux") => Vec::new(),
            Some(m) => vec![m.to_owned()],
            None => self.env.modules(),
        };
        modules.iter().find_map(|m| {
            let n = self.types.borrow_mut().module_number(m);
            let btf = self.env.module_btf(m)?;
            f(&btf, Origin::Btf(n), m)
        })
    }
}

enum Source<'s> {
    Script(&'s CEnv),
    Btf(Arc<Btf>),
}

/// A literal that stands for a C macro.
fn literal(kind: ast::ExprKind) -> ast::Expr {
    ast::Expr {
        kind,
        span: Span::new(FileId(0), 0, 0),
        id: ast::NodeId(u32::MAX),
        expn: ast::ExpnId::ROOT,
        parens: 0,
    }
}

fn number(value: i64, unsigned: bool) -> ast::Expr {
    if unsigned || value >= 0 {
        return literal(ast::ExprKind::Int(value as u64));
    }
    let magnitude = literal(ast::ExprKind::Int(value.unsigned_abs()));
    let span = magnitude.span;
    literal(ast::ExprKind::Unary {
        op: ast::UnaryOp::Neg,
        op_span: span,
        expr: Box::new(magnitude),
    })
}

impl Facts for HostFacts<'_> {
    fn find_struct(&self, store: &mut TypeStore, kind: StructKind, name: &str) -> Option<StructId> {
        let space = match kind {
            StructKind::Struct => NameSpace::Struct,
            StructKind::Union => NameSpace::Union,
        };
        let found = self
            .find(store, space, name)
            .or_else(|| self.find_in_modules(store, space, name))?;
        match found {
            Type::Struct(id) => Some(id),
            _ => None,
        }
    }

    fn fill(&self, store: &mut TypeStore, id: StructId) {
        let Some((origin, ty)) = self.types.borrow().place(id) else {
            return;
        };
        self.with(origin, |source, types| {
            types.fill(store, source, origin, id, ty);
            Some(())
        });
    }

    fn find_enum(&self, store: &mut TypeStore, name: &str) -> Option<EnumId> {
        match self.find(store, NameSpace::Enum, name)? {
            Type::Enum(id) => Some(id),
            _ => None,
        }
    }

    fn typedef(&self, store: &mut TypeStore, name: &str) -> Option<Type> {
        self.find(store, NameSpace::Ordinary, name)
    }

    fn constant(&self, store: &mut TypeStore, name: &str) -> Option<(EnumId, i64)> {
        let (origin, id, value) = if let Some(c) = self.c.constant(name) {
            (Origin::Script, c.enumeration, c.value)
        } else {
            let c = self.env.btf()?.constant(name)?;
            (Origin::Btf(0), c.enumeration, c.value)
        };
        let ty = self.with(origin, |source, types| {
            types.convert_enum(store, source, origin, id)
        })?;
        Some((ty, value))
    }

    fn c_macro(&self, name: &str) -> Option<ast::Expr> {
        match self.c.macro_value(name) {
            Some(MacroValue::Int(v)) => Some(number(v.bits, v.unsigned)),
            Some(MacroValue::Str(s)) => Some(literal(ast::ExprKind::Str(s))),
            Some(MacroValue::Text(text)) => user::expression(&text),
            None => ctypes::consts::lookup(name).map(|v| number(v, false)),
        }
    }

    fn tracepoints(&self, category: &str, event: &str) -> Vec<(String, String)> {
        self.env.tracepoints(category, event).unwrap_or_default()
    }

    fn tracepoint_fields(
        &self,
        store: &mut TypeStore,
        category: &str,
        event: &str,
    ) -> Option<Vec<ArgField>> {
        let tp = self.env.tracepoint(category, event).ok()?;
        let fields = tp.fields.iter();
        Some(fields.map(|f| self.tracepoint_field(store, f)).collect())
    }

    fn kernel_symbol(&self, name: &str) -> Option<u64> {
        self.env.kernel_address(name).ok()
    }

    fn kernel_functions(&self, module: Option<&str>, pattern: &str) -> Vec<(String, String)> {
        let Ok(list) = self.env.functions() else {
            return Vec::new();
        };
        list.matching(module, pattern)
            .into_iter()
            .map(|f| (f.name.to_owned(), f.module.unwrap_or("vmlinux").to_owned()))
            .collect()
    }

    fn function(
        &self,
        store: &mut TypeStore,
        module: Option<&str>,
        name: &str,
    ) -> Option<Prototype> {
        self.in_kernel(module, |btf, origin, module| {
            let proto = btf.function(name)?;
            Some(self.prototype(store, origin, module, btf, &proto))
        })
    }

    fn btf_functions(&self, module: Option<&str>, pattern: &str) -> Vec<(String, String)> {
        // What ftrace cannot trace, fentry cannot attach to; the list also tells the module.
        let traceable = self.kernel_functions(module, pattern);
        if !traceable.is_empty() || crate::env::wildcard::is_pattern(pattern) {
            return traceable;
        }
        let found = self.in_kernel(module, |btf, _, module| {
            btf.function(pattern)?;
            Some((pattern.to_owned(), module.to_owned()))
        });
        found.into_iter().collect()
    }

    fn raw_tracepoints(&self, module: Option<&str>, pattern: &str) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let wild = crate::env::wildcard::is_pattern(pattern);
        self.in_kernel(module, |btf, _, module| {
            if wild {
                let names = btf.raw_tracepoints().into_iter();
                out.extend(
                    names
                        .filter(|n| crate::env::wildcard::matches(pattern, n))
                        .map(|n| (n.to_owned(), module.to_owned())),
                );
                return None;
            }
            btf.raw_tracepoint(pattern)?;
            out.push((pattern.to_owned(), module.to_owned()));
            Some(())
        });
        out
    }

    fn raw_tracepoint(&self, store: &mut TypeStore, name: &str) -> Option<Prototype> {
        self.in_kernel(None, |btf, origin, module| {
            let proto = btf.raw_tracepoint(name)?;
            Some(self.prototype(store, origin, module, btf, &proto))
        })
    }

    fn iterator(&self, store: &mut TypeStore, object: &str) -> Option<StructId> {
        self.in_kernel(None, |btf, origin, _| {
            let (_, context) = btf.iterator(object)?;
            let mut types = self.types.borrow_mut();
            match types.convert(store, btf, origin, context)? {
                Type::Struct(id) => Some(id),
                _ => None,
            }
        })
    }

    fn user_targets(&self, target: &str) -> Result<Vec<TargetFile>, String> {
        self.files.targets(target)
    }

    fn user_functions(
        &self,
        file: &TargetFile,
        query: FunctionQuery<'_>,
    ) -> Result<Vec<UserFunction>, String> {
        self.files.functions(file, query)
    }

    fn user_offset(&self, file: &TargetFile, address: u64) -> Option<u64> {
        self.files.offset(file, address)
    }

    fn user_line(
        &self,
        file: &TargetFile,
        source: &str,
        line: u32,
        column: Option<u32>,
    ) -> Result<Vec<u64>, String> {
        self.files.line(file, source, line, column)
    }

    fn user_symbol(&self, file: &TargetFile, name: &str) -> Option<(u64, u64, bool)> {
        self.files.symbol(file, name)
    }

    fn usdt(&self, file: &TargetFile, provider: &str, name: &str) -> Result<Vec<UsdtProbe>, String> {
        self.files.usdt(file, provider, name)
    }

    fn ncpus(&self) -> u64 {
        u64::from(self.env.machine().cpus_possible)
    }

    fn cgroup_id(&self, path: &str) -> Option<u64> {
        // The id of a version 2 cgroup is the inode number of its folder.
        Some(std::fs::metadata(path).ok()?.ino())
    }

    fn has_feature(&self, name: &str) -> bool {
        let row = crate::env::features::FEATURES
            .iter()
            .find(|r| r.name == name);
        row.is_none_or(|r: &crate::env::features::Row| self.env.has(feature_of(r)))
    }
}

fn feature_of(row: &crate::env::features::Row) -> Feature {
    row.feature
}

impl HostFacts<'_> {
    /// A field of a trace event. Types that C text names are looked up; what is not found
    /// there is an integer of the field's size.
    fn tracepoint_field(&self, store: &mut TypeStore, f: &crate::env::format::Field) -> ArgField {
        let sized = |size: u32, signed: bool| match size {
            1 | 2 | 4 | 8 => Type::int(signed, size as u8),
            n => Type::Array(Type::int(false, 1).into(), n),
        };
        let field = |ty, source| ArgField {
            name: f.name.clone(),
            ty,
            source,
        };
        let at = ArgSource::Offset(f.offset);
        match f.kind {
            FieldKind::DataLoc if f.is_text() => {
                field(Type::Str(0), ArgSource::DataLoc(f.offset))
            }
            FieldKind::DataLoc | FieldKind::RelLoc => field(Type::U32, at),
            FieldKind::Array { len } if f.is_text() => {
                field(Type::Array(Type::int(true, 1).into(), len), at)
            }
            FieldKind::Array { len } => {
                let elem = sized(f.element_size(), f.signed);
                field(Type::Array(elem.into(), len), at)
            }
            FieldKind::Pointer { user } => {
                let space = if user {
                    AddrSpace::User
                } else {
                    AddrSpace::Kernel
                };
                let target = user::pointee(&f.ty)
                    .and_then(|t| self.c_type(store, t))
                    .unwrap_or(Type::Void);
                field(target.ptr_in(space), at)
            }
            FieldKind::Value => {
                let named = self.c_type(store, &f.ty);
                let fits = |t: &Type| crate::types::size_of(t, store) == f.size;
                let ty = match named {
                    Some(t @ (Type::Struct(_) | Type::Enum(_) | Type::Bool)) if fits(&t) => t,
                    _ => sized(f.size, f.signed),
                };
                field(ty, at)
            }
        }
    }

    /// The type of simple C text such as `const struct sockaddr`.
    fn c_type(&self, store: &mut TypeStore, text: &str) -> Option<Type> {
        let text = text.trim().trim_start_matches("const ").trim();
        if let Some(inner) = user::pointee(text) {
            return Some(self.c_type(store, inner)?.ptr_in(AddrSpace::None));
        }
        let (space, name) = if let Some(name) = text.strip_prefix("struct ") {
            (NameSpace::Struct, name)
        } else if let Some(name) = text.strip_prefix("union ") {
            (NameSpace::Union, name)
        } else if let Some(name) = text.strip_prefix("enum ") {
            (NameSpace::Enum, name)
        } else {
            match text {
                "char" => return Some(Type::int(true, 1)),
                "void" => return Some(Type::Void),
                "bool" => return Some(Type::Bool),
                _ => (NameSpace::Ordinary, text),
            }
        };
        self.find(store, space, name.trim())
    }
}
