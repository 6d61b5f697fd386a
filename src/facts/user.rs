//! Programs and libraries that are probed: where they are, their functions, addresses and
//! static probes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::FactOptions;
use crate::ctypes::model::NameSpace;
use crate::env::wildcard;
use crate::object::TargetFile;
use crate::sema::env::{FunctionQuery, UsdtProbe, UserCode, UserFunction};
use crate::sema::hir::ArgLocation;
use crate::source::FileId;
use crate::symbols::absent;
use crate::symbols::archive;
use crate::symbols::code;
use crate::symbols::debuglink::DebugDirs;
use crate::symbols::dwarf::types::UnitTypes;
use crate::symbols::dwarf::{LineMatch, Lines};
use crate::symbols::elf::{ElfFile, Kind, Table, string_at};
use crate::symbols::golang;
use crate::symbols::index::SymbolIndex;
use crate::symbols::paths::PathResolver;
use crate::symbols::target::{Match, Target};
use crate::symbols::targets::TargetPath;
use crate::symbols::usdt;
use crate::syntax::ast;

/// Files that were asked about.
pub(super) struct Files {
    options: FactOptions,
    dirs: DebugDirs,
    indexes: RefCell<HashMap<String, Option<Arc<SymbolIndex>>>>,
    /// Files in the order in which they were asked about.
    order: RefCell<Vec<String>>,
}

/// The text before the last `*` of a C pointer type.
pub(super) fn pointee(text: &str) -> Option<&str> {
    let t = text.trim().strip_suffix('*')?;
    Some(t.trim())
}

/// The value of a C macro as an expression, if it is one.
pub(super) fn expression(text: &str) -> Option<ast::Expr> {
    let script = format!("begin{{({text})}}");
    let parsed = crate::syntax::parse(FileId(0), &script);
    if parsed.diags.has_errors() {
        return None;
    }
    let value = match parsed.program.items.into_iter().next()? {
        ast::Item::Probe(p) if p.body.stmts.is_empty() => p.body.value?,
        _ => return None,
    };
    // Names and literals have no parts with places of their own.
    let simple = matches!(
        value.kind,
        ast::ExprKind::Ident(_)
            | ast::ExprKind::Int(_)
            | ast::ExprKind::Str(_)
            | ast::ExprKind::Bool(_)
    );
    let mut value = *value;
    value.span = crate::source::Span::new(FileId(0), 0, 0);
    simple.then_some(value)
}

impl Files {
    pub fn new(options: FactOptions) -> Self {
        let mut dirs = DebugDirs::system();
        if !options.debug_dirs.is_empty() {
            dirs.roots.clone_from(&options.debug_dirs);
        }
        Self {
            options,
            dirs,
            indexes: RefCell::default(),
            order: RefCell::default(),
        }
    }

    fn index(&self, file: &TargetFile) -> Option<Arc<SymbolIndex>> {
        let mut known = self.indexes.borrow_mut();
        known
            .entry(file.path.clone())
            .or_insert_with(|| {
                self.order.borrow_mut().push(file.path.clone());
                let path = Path::new(&file.path);
                match &self.options.indexes {
                    Some(cache) => cache.open(path, &self.dirs).ok(),
                    None => SymbolIndex::open(path, &self.dirs).ok().map(Arc::new),
                }
            })
            .clone()
    }

    /// The files that a target means.
    pub fn targets(&self, target: &str) -> Result<Vec<TargetFile>, String> {
        let missing =
            || format!("uprobe target file '{target}' does not exist or is not executable");
        let resolver = match self.options.pid {
            Some(pid) => PathResolver::for_pid(pid),
            None => PathResolver::system(),
        };
        let files = resolver.files(target);
        if wildcard::is_pattern(target) {
            let path = |f: TargetPath| f.path.to_string_lossy().into_owned();
            return Ok(files
                .into_iter()
                .map(|f| TargetFile::new(path(f)))
                .collect());
        }
        let path = files.into_iter().next().ok_or_else(missing)?.path;
        let archive = archive::split(&path);
        if archive.is_none() && !path.is_file() {
            return Err(missing());
        }
        if archive.is_some() {
            // Without it there is nothing to attach to, whatever is allowed.
            ElfFile::open(&path).map_err(|e| format!("uprobe target file {e}"))?;
        }
        let file = TargetFile {
            path: path.to_string_lossy().into_owned(),
            archive: archive.map(|(file, _)| file.to_string_lossy().into_owned()),
        };
        if !self.options.unsafe_ && ElfFile::open(&path).is_err() {
            // A script, an archive: there, but nothing that has code to probe.
            return Err(format!(
                "uprobe target file '{target}' is not an ELF program or library"
            ));
        }
        Ok(vec![file])
    }

    pub fn functions(
        &self,
        file: &TargetFile,
        query: FunctionQuery<'_>,
    ) -> Result<Vec<UserFunction>, Vec<String>> {
        let Some(index) = self.index(file) else {
            return Ok(Vec::new());
        };
        let target = target(query);
        let candidates = match target.find(&index) {
            Match::One(c) => vec![c],
            Match::Overloads(all) if target.takes_all() => all,
            Match::Overloads(all) => return Err(all.into_iter().map(|c| c.spelling).collect()),
            Match::None(_) => return Ok(Vec::new()),
        };
        let elf = index.elf();
        let mut out = Vec::new();
        for c in candidates {
            for p in c.places {
                let Some(offset) = elf.vaddr_to_offset(p.addr) else {
                    continue;
                };
                out.push(UserFunction {
                    demangled: (c.spelling != p.symbol).then(|| c.spelling.clone()),
                    name: p.symbol,
                    address: p.addr,
                    size: p.size,
                    offset: elf.start_on_disk() + offset,
                });
            }
        }
        Ok(out)
    }

    pub fn near_functions(&self, file: &TargetFile, query: FunctionQuery<'_>) -> Vec<String> {
        let Some(index) = self.index(file) else {
            return Vec::new();
        };
        match target(query).find(&index) {
            Match::None(near) => near,
            Match::One(_) | Match::Overloads(_) => Vec::new(),
        }
    }

    pub fn is_go(&self, file: &TargetFile, address: u64) -> bool {
        self.index(file).is_some_and(|i| {
            golang::has_go(i.elf())
                && i.lookup(address)
                    .is_none_or(|s| golang::is_go_name(&s.name))
        })
    }

    pub fn code(&self, file: &TargetFile, address: u64) -> Option<UserCode> {
        let index = self.index(file)?;
        let function = index.lookup(address)?;
        let found = code::instructions(index.elf(), function.addr, function.size)?;
        Some(UserCode {
            address: function.addr,
            starts: found.starts,
            returns: found.returns,
        })
    }

    pub fn why_absent(
        &self,
        file: &TargetFile,
        query: FunctionQuery<'_>,
        probe: &str,
    ) -> Option<String> {
        let index = self.index(file)?;
        absent::explain(&index, &target(query), &self.dirs, probe)
    }

    pub fn offset(&self, file: &TargetFile, address: u64) -> Option<u64> {
        let index = self.index(file)?;
        let offset = index.elf().vaddr_to_offset(address)?;
        Some(index.elf().start_on_disk() + offset)
    }

    pub fn line(
        &self,
        file: &TargetFile,
        source: &str,
        line: u32,
        column: Option<u32>,
    ) -> Result<Vec<u64>, String> {
        let index = self
            .index(file)
            .ok_or_else(|| format!("{} cannot be read", file.path))?;
        let lines = Lines::load(index.elf(), &self.dirs)
            .ok_or_else(|| format!("No debuginfo found for {}", file.path))?;
        match lines.addresses(source, line, column) {
            LineMatch::Found(all) => Ok(all.into_iter().map(|a| a.vaddr).collect()),
            LineMatch::NoCode(next) => {
                let hint = match next {
                    Some(n) => format!("; the next line with code is {n}"),
                    None => String::new(),
                };
                Err(format!("No code at {source}:{line}{hint}"))
            }
            LineMatch::NoFile => Err(format!("No source file {source} in {}", file.path)),
        }
    }

    /// The debug information of the code at an address.
    pub fn unit_at(&self, file: &TargetFile, address: u64) -> Option<UnitTypes> {
        UnitTypes::at(self.index(file)?.elf(), &self.dirs, address)
    }

    /// Debug information that defines a type, of the files that were asked about.
    pub fn unit_defining(&self, space: NameSpace, name: &str) -> Option<UnitTypes> {
        let files = self.order.borrow().clone();
        files.into_iter().find_map(|path| {
            let index = self.index(&TargetFile::new(path))?;
            UnitTypes::defining(index.elf(), &self.dirs, space, name)
        })
    }

    /// Debug information with an enumerator, of the files that were asked about.
    pub fn unit_enumerating(&self, name: &str) -> Option<UnitTypes> {
        let files = self.order.borrow().clone();
        files.into_iter().find_map(|path| {
            let index = self.index(&TargetFile::new(path))?;
            UnitTypes::enumerating(index.elf(), &self.dirs, name)
        })
    }

    /// Address, size and whether the file moves when it is loaded.
    pub fn symbol(&self, file: &TargetFile, name: &str) -> Option<(u64, u64, bool)> {
        let index = self.index(file)?;
        let elf = index.elf();
        let moves = elf.kind() != Kind::Executable;
        for table in [Table::Symtab, Table::Dynsym] {
            let strings = elf.symbol_strings(table);
            let mut found = None;
            elf.for_each_symbol(table, |s| {
                if found.is_none()
                    && s.value != 0
                    && string_at(strings, s.name as usize) == name.as_bytes()
                {
                    found = Some((s.value, s.size, moves));
                }
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    pub fn usdt(
        &self,
        file: &TargetFile,
        provider: &str,
        name: &str,
    ) -> Result<Vec<UsdtProbe>, String> {
        let Some(index) = self.index(file) else {
            return Ok(Vec::new());
        };
        let provider = (!provider.is_empty()).then_some(provider);
        let start = index.elf().start_on_disk();
        Ok(usdt::matching(index.elf(), provider, name)
            .into_iter()
            .map(|s| UsdtProbe {
                address: s.vaddr,
                args: s.arguments.iter().map(|a| location(a.as_ref()?)).collect(),
                provider: s.provider,
                name: s.name,
                offset: start + s.file_offset,
                semaphore: s.semaphore.map_or(0, |at| start + at),
            })
            .collect())
    }
}

/// The low bytes of a constant, extended as the probe's note says.
fn extended(value: i64, width: usdt::Width) -> i64 {
    let unused = 64 - 8 * u32::from(width.bytes.clamp(1, 8));
    if width.signed {
        value << unused >> unused
    } else {
        ((value as u64) << unused >> unused) as i64
    }
}

/// Offset of a register in the registers that a probe saves. Assemblers call the general ones
/// of x86-64 `rax`, the kernel `ax`.
fn register(name: &str) -> Option<u32> {
    let offset =
        crate::sema::register(name).or_else(|| crate::sema::register(name.strip_prefix('r')?))?;
    u32::try_from(offset).ok()
}

fn location(a: &usdt::Argument) -> Option<ArgLocation> {
    if a.width.float {
        return None;
    }
    Some(match &a.operand {
        usdt::Operand::Constant(n) => ArgLocation::Const {
            value: extended(*n, a.width),
            size: a.width.bytes,
            signed: a.width.signed,
        },
        usdt::Operand::Register(r) => ArgLocation::Reg {
            regs_offset: register(r.name)? + u32::from(r.shift / 8),
            size: a.width.bytes,
            signed: a.width.signed,
        },
        usdt::Operand::Memory {
            base,
            index,
            offset,
        } => ArgLocation::Memory {
            base: register(base.name)?,
            index: match index {
                Some((r, scale)) => Some((register(r.name)?, *scale)),
                None => None,
            },
            offset: *offset,
            size: a.width.bytes,
            signed: a.width.signed,
        },
        usdt::Operand::Static(_) => return None,
    })
}

/// What a query looks for.
fn target(query: FunctionQuery<'_>) -> Target {
    match query {
        FunctionQuery::Linked(t) => Target::plain(t),
        FunctionQuery::Cpp(t) => Target::cpp(t),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::usdt::{Argument, Operand, Width};

    #[test]
    fn constants_have_the_width_of_the_argument() {
        let constant = |n, bytes, signed| {
            let width = Width {
                bytes,
                signed,
                float: false,
            };
            let at = location(&Argument {
                width,
                operand: Operand::Constant(n),
            });
            match at {
                Some(ArgLocation::Const { value, .. }) => value,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(constant(-16, 1, false), 240);
        assert_eq!(constant(-16, 1, true), -16);
        assert_eq!(constant(-202_182_160, 4, false), 4_092_785_136);
        assert_eq!(constant(-2, 8, false), -2);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn registers_are_known_by_the_assemblers_names() {
        for (assembler, kernel) in [("rax", "ax"), ("rbp", "bp"), ("r12", "r12"), ("rip", "ip")] {
            let offset = u32::try_from(crate::sema::register(kernel).unwrap());
            assert_eq!(register(assembler), Some(offset.unwrap()), "{assembler}");
        }
        assert_eq!(register("xmm0"), None);
    }
}
