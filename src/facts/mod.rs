//! The answers to what type checking asks: this machine, the script's C definitions, and the
//! programs that are probed.
//!
//! [`HostFacts`] belongs to one compilation: it remembers which C type became which entry of
//! the compilation's [`TypeStore`]. Types of modules are read only if the kernel proper does
//! not know a name; files are opened when they are first asked about.

mod passing;
#[cfg(test)]
mod tests;
mod user;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use crate::ctypes::model::{NameSpace, TypeId, TypeSource as _};
use crate::ctypes::{self, CEnv, MacroValue};
use crate::env::btf::Kind;
use crate::env::format::FieldKind;
use crate::env::{Btf, Env, Feature, ProgramFunction};
use crate::object::TargetFile;
use crate::sema::env::{
    ArgField, ArgSource, BpfFunction, Facts, FunctionQuery, Prototype, UsdtProbe, UserCode,
    UserFunction,
};
use crate::source::{FileId, Span};
use crate::symbols::dwarf::types::UnitTypes;
use crate::syntax::ast;
use crate::types::import::{Importer, SourceId};
use crate::types::{AddrSpace, EnumId, StructId, StructKind, Type, TypeStore};

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
    /// Where symbol tables are kept for the next compilation; `None` if there is none.
    pub indexes: Option<crate::symbols::cache::IndexCache>,
}

/// Facts for one compilation.
pub struct HostFacts<'a> {
    env: &'a dyn Env,
    c: Rc<CEnv>,
    types: Importer,
    script: SourceId,
    /// The kernel's types, added to `types` with the first question that the script's own
    /// definitions do not answer.
    kernel: OnceCell<Option<SourceId>>,
    modules: RefCell<HashMap<String, Option<SourceId>>>,
    files: Files,
    /// Debug information of probed functions, by file and the function's address.
    units: RefCell<HashMap<(String, u64), Option<Unit>>>,
}

/// Debug information of one compilation unit, and its number among the sources of types.
type Unit = (Rc<UnitTypes>, SourceId);

impl std::fmt::Debug for HostFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostFacts").finish_non_exhaustive()
    }
}

impl<'a> HostFacts<'a> {
    /// Facts of a machine and of the C definitions of a script.
    pub fn new(env: &'a dyn Env, c: CEnv, options: FactOptions) -> Self {
        let c = Rc::new(c);
        let types = Importer::default();
        let script = types.add(c.clone(), None);
        let needs_kernel = c.types().needs_others();
        let facts = Self {
            env,
            c,
            types,
            script,
            kernel: OnceCell::new(),
            modules: RefCell::default(),
            files: Files::new(options),
            units: RefCell::default(),
        };
        // What the script's definitions only name is found while they are imported.
        if needs_kernel {
            facts.kernel();
        }
        facts
    }

    /// The unit of a probed function.
    fn unit(&self, file: &TargetFile, address: u64) -> Option<Unit> {
        let key = (file.path.clone(), address);
        if let Some(known) = self.units.borrow().get(&key) {
            return known.clone();
        }
        // Another function's unit may hold this one too.
        let same = {
            let units = self.units.borrow();
            let of_file = units.iter().filter(|((path, _), _)| *path == file.path);
            let mut known = of_file.filter_map(|(_, unit)| unit.as_ref());
            known.find(|(u, _)| u.function(address).is_some()).cloned()
        };
        let found = same.or_else(|| {
            let unit = Rc::new(self.files.unit_at(file, address)?);
            let source = self.types.add(unit.clone(), None);
            Some((unit, source))
        });
        self.units.borrow_mut().insert(key, found.clone());
        found
    }

    /// An enumerator of the probed programs: of the units of probed functions, then of others.
    fn enumerator(&self, name: &str) -> Option<(SourceId, TypeId, i64)> {
        let known: Vec<Unit> = self.units.borrow().values().flatten().cloned().collect();
        let in_known = known.iter().find_map(|(unit, source)| {
            let (id, value) = unit.enumerator(name)?;
            Some((*source, id, value))
        });
        in_known.or_else(|| {
            // What everybody knows is not looked for in every unit.
            if ctypes::consts::lookup(name).is_some() {
                return None;
            }
            let unit = Rc::new(self.files.unit_enumerating(name)?);
            let (id, value) = unit.enumerator(name)?;
            Some((self.types.add(unit, None), id, value))
        })
    }

    /// Adds the debug information of a probed file that defines a type.
    fn defining_unit(&self, space: NameSpace, name: &str) -> Option<()> {
        let unit = self.files.unit_defining(space, name)?;
        self.types.add(Rc::new(unit), None);
        Some(())
    }

    /// The kernel's types, if there are any.
    fn kernel(&self) -> Option<SourceId> {
        *self.kernel.get_or_init(|| {
            let btf = self.env.btf()?.clone();
            Some(self.types.add(Rc::new(btf), Some(0)))
        })
    }

    /// The types of a module.
    fn module(&self, name: &str) -> Option<SourceId> {
        if name == "vmlinux" {
            return self.kernel();
        }
        if let Some(known) = self.modules.borrow().get(name) {
            return *known;
        }
        let number = self.modules.borrow().len() as u32 + 1;
        let source = self
            .env
            .module_btf(name)
            .map(|btf| self.types.add(Rc::new(btf), Some(number)));
        self.modules.borrow_mut().insert(name.to_owned(), source);
        source
    }

    /// A type of this name: of the script, of the kernel, of any module.
    fn find(&self, store: &mut TypeStore, space: NameSpace, name: &str) -> Option<Type> {
        let known = || self.types.find(space, name);
        let found = known()
            .or_else(|| {
                self.kernel()?;
                known()
            })
            .or_else(|| {
                self.defining_unit(space, name)?;
                known()
            })
            .or_else(|| {
                // Plain names are in the kernel proper; reading all modules for a misspelt
                // one would be slow.
                if space == NameSpace::Ordinary {
                    return None;
                }
                self.env.modules().iter().find_map(|m| {
                    self.module(m)?;
                    known()
                })
            });
        let (source, id) = found?;
        Some(self.types.import(store, source, id))
    }

    fn prototype(
        &self,
        store: &mut TypeStore,
        source: SourceId,
        module: &str,
        proto: &crate::env::btf::query::Prototype<'_>,
    ) -> Prototype {
        let convert = |store: &mut TypeStore, id| match self.types.import(store, source, id) {
            Type::Ptr(t, AddrSpace::None) => Type::Ptr(t, AddrSpace::Kernel),
            other => other,
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
        mut f: impl FnMut(&Btf, SourceId, &str) -> Option<T>,
    ) -> Option<T> {
        if module.is_none_or(|m| m == "vmlinux")
            && let Some(btf) = self.env.btf()
            && let Some(source) = self.kernel()
            && let Some(t) = f(btf, source, "vmlinux")
        {
            return Some(t);
        }
        let modules = match module {
            Some("vmlinux") => Vec::new(),
            Some(m) => vec![m.to_owned()],
            None => self.env.modules(),
        };
        modules.iter().find_map(|m| {
            let source = self.module(m)?;
            let btf = self.env.module_btf(m)?;
            f(&btf, source, m)
        })
    }
}

/// A literal that stands for a C macro.
fn literal(kind: ast::ExprKind) -> ast::Expr {
    ast::Expr {
        kind,
        span: Span::new(FileId(0), 0, 0),
        end: 0,
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
        let found = self.find(store, space, name)?;
        match found {
            Type::Struct(id) => Some(id),
            _ => None,
        }
    }

    fn fill(&self, store: &mut TypeStore, id: StructId) {
        // Members of the script's structs can have types that only the kernel defines.
        self.kernel();
        self.types.fill(store, id);
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
        // A macro of the script hides what the kernel calls so.
        if self.c.constant(name).is_none() && self.c.macro_value(name).is_some() {
            return None;
        }
        let of_kernel = || {
            let c = self.env.btf()?.constant(name)?;
            Some((self.kernel()?, c.enumeration, c.value))
        };
        let (source, id, value) = match self.c.constant(name) {
            Some(c) => (self.script, c.enumeration, c.value),
            None => of_kernel().or_else(|| self.enumerator(name))?,
        };
        match self.types.import(store, source, id) {
            Type::Enum(id) => Some((id, value)),
            _ => None,
        }
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

    fn no_tracepoints(&self) -> Option<String> {
        Some(self.env.tracepoints("*", "*").err()?.to_string())
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
        self.in_kernel(module, |btf, source, module| {
            let proto = btf.function(name)?;
            Some(self.prototype(store, source, module, &proto))
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

    fn bpf_functions(&self, id: &str, name: &str) -> Result<Vec<BpfFunction>, String> {
        let found = self.env.bpf_functions(id, name);
        let found = found.map_err(|e| format!("BPF programs cannot be listed: {e}"))?;
        let function = |f: ProgramFunction| BpfFunction {
            id: f.id,
            name: f.name,
        };
        Ok(found.into_iter().map(function).collect())
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
        self.in_kernel(None, |btf, source, module| {
            let proto = btf.raw_tracepoint(name)?;
            Some(self.prototype(store, source, module, &proto))
        })
    }

    fn iterator(&self, store: &mut TypeStore, object: &str) -> Option<StructId> {
        self.in_kernel(None, |btf, source, _| {
            let (_, context) = btf.iterator(object)?;
            match self.types.import(store, source, context) {
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
    ) -> Result<Vec<UserFunction>, Vec<String>> {
        self.files.functions(file, query)
    }

    fn near_functions(&self, file: &TargetFile, query: FunctionQuery<'_>) -> Vec<String> {
        self.files.near_functions(file, query)
    }

    fn is_go(&self, file: &TargetFile, address: u64) -> bool {
        self.files.is_go(file, address)
    }

    fn user_code(&self, file: &TargetFile, address: u64) -> Option<UserCode> {
        self.files.code(file, address)
    }

    fn why_absent(
        &self,
        file: &TargetFile,
        query: FunctionQuery<'_>,
        probe: &str,
    ) -> Option<String> {
        self.files.why_absent(file, query, probe)
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

    fn user_args(
        &self,
        store: &mut TypeStore,
        file: &TargetFile,
        function: &UserFunction,
    ) -> Option<Vec<ArgField>> {
        let (unit, source) = self.unit(file, function.address)?;
        let signature = unit.function(function.address)?;
        let params = passing::places(&unit, signature).into_iter().map(|p| {
            let ty = match self.types.import(store, source, p.ty) {
                Type::Ptr(t, AddrSpace::None) => Type::Ptr(t, AddrSpace::User),
                other => other,
            };
            ArgField {
                name: p.name,
                ty,
                source: p.source,
            }
        });
        Some(params.collect())
    }

    fn user_symbol(&self, file: &TargetFile, name: &str) -> Option<(u64, u64, bool)> {
        self.files.symbol(file, name)
    }

    fn usdt(
        &self,
        file: &TargetFile,
        provider: &str,
        name: &str,
    ) -> Result<Vec<UsdtProbe>, String> {
        self.files.usdt(file, provider, name)
    }

    fn task_comm(&self) -> Option<u32> {
        // Bytes are told apart by arithmetic on whole words.
        if cfg!(target_endian = "big") || !self.env.has(Feature::CurrentTaskBtf) {
            return None;
        }
        let btf = self.env.btf()?;
        let task = btf.find_kind(&[Kind::Struct], "task_struct")?;
        let members = btf.members(task);
        let comm = members.iter().find(|m| m.name == "comm")?;
        let at = u32::try_from(comm.bit_offset / 8).ok()?;
        (comm.bit_offset % 64 == 0 && at < 1 << 15).then_some(at)
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
        // Where even the ring buffer is missing the kernel could not be asked, for lack of
        // privilege: then nothing is refused here.
        row.is_none_or(|r| self.env.has(r.feature) || !self.env.has(Feature::Ringbuf))
    }
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
            FieldKind::DataLoc if f.is_text() => field(Type::Str(0), ArgSource::DataLoc(f.offset)),
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
        let mut text = text.trim();
        // What a pointer or its target may not do does not matter for its type.
        while let Some(rest) = text
            .strip_prefix("const ")
            .or_else(|| text.strip_suffix("const"))
            .or_else(|| text.strip_suffix("__user"))
        {
            text = rest.trim();
        }
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
