//! The compiler as one call: the phases in order.
//!
//! ```text
//! text --syntax--> AST --imports, macros--> AST --sema--> HIR --lower--> IR
//!      --ir::pass--> IR --codegen--> BPF --> object::Object
//! ```
//! Files and the kernel are reached only through what is passed in: the loader of imports,
//! the headers' file system and [`Env`].

use std::time::Instant;

use crate::codegen;
use crate::ctypes;
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::env::Env;
use crate::facts::{FactOptions, HostFacts};
use crate::ir::{self, pass};
use crate::lower;
use crate::object::{Loc, Object};
use crate::sema::{self, SemaContext};
use crate::source::{FileId, SourceMap, Span};
use crate::syntax::{self, ast, imports};

/// What shapes a compilation besides the script.
pub struct Options<'a> {
    /// The command line's word on the script.
    pub sema: sema::env::Options,
    /// How targets and debug files are found.
    pub facts: FactOptions,
    /// The C front end.
    pub headers: ctypes::Options<'a>,
    /// Where imports come from.
    pub loader: &'a mut dyn imports::Loader,
    /// The optimiser.
    pub passes: pass::Options,
}

/// A phase's result, as `-d` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Syntax tree, macros expanded.
    Ast,
    /// Typed program.
    Hir,
    /// IR as it was lowered.
    Ir,
    /// IR after a pass.
    IrPass(&'static str),
    /// Machine code with virtual registers and where they went.
    Regs,
    /// Instructions.
    Bpf,
    /// Maps, events, attach points.
    Object,
}

/// Sees each stage; `text` is made only if it is asked for.
pub trait Observer {
    /// Called when a stage is done.
    fn stage(&mut self, stage: Stage, text: &mut dyn FnMut() -> String) {
        let _ = (stage, text);
    }

    /// Whether it looks at the IR between passes.
    fn sees_passes(&self) -> bool {
        true
    }

    /// Called with the name of a phase and the time it took.
    fn took(&mut self, phase: &'static str, time: std::time::Duration) {
        let _ = (phase, time);
    }
}

/// An observer that looks at nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn sees_passes(&self) -> bool {
        false
    }
}

/// What a compilation gives.
#[derive(Debug)]
pub struct Compiled {
    /// The object; `None` if there are errors.
    pub object: Option<Object>,
    /// Errors and warnings.
    pub diags: Diagnostics,
    /// Options that the script asks for by `getopt()`, with their descriptions.
    pub options: Vec<(String, Option<String>)>,
}

/// Compiles the text `file` of `sources`; imported texts are added there.
pub fn compile(
    sources: &mut SourceMap,
    file: FileId,
    env: &dyn Env,
    options: Options<'_>,
    observer: &mut dyn Observer,
) -> Compiled {
    let mut diags = Diagnostics::new();
    let mut clock = Clock(Instant::now());
    let refuse = |diags, options| Compiled {
        object: None,
        diags,
        options,
    };

    let text = sources.file(file).text.clone();
    let parsed = syntax::parse(file, &text);
    diags.merge(parsed.diags);
    let program = imports::resolve(parsed.program, file, sources, options.loader, &mut diags);
    let mut program = syntax::expand::expand(program, None, &mut diags);
    syntax::join::join(&mut program);
    clock.took("parse", observer);
    observer.stage(Stage::Ast, &mut || syntax::print::dump(&program));
    if diags.has_errors() {
        return refuse(diags, Vec::new());
    }

    let c = definitions(&program, &options.headers, env, &mut diags);
    clock.took("headers", observer);
    let facts = HostFacts::new(env, c, options.facts);
    let cx = SemaContext {
        sources,
        facts: &facts,
        options: &options.sema,
    };
    let checked = sema::check(&program, &cx);
    diags.merge(checked.diags);
    clock.took("types", observer);
    let Some(mut hir) = checked.program else {
        return refuse(diags, checked.options);
    };
    if diags.has_errors() {
        return refuse(diags, checked.options);
    }
    hir.config.possible_cpus = env.machine().cpus_possible;
    observer.stage(Stage::Hir, &mut || sema::print::program(&hir));

    let mut lowered = match lower::lower(&hir) {
        Ok(l) => l,
        Err(errors) => {
            for e in errors {
                let span = span_of(sources, e.loc);
                diags.push(Diagnostic::error(Code::TooLarge, span, e.message));
            }
            return refuse(diags, checked.options);
        }
    };
    clock.took("lower", observer);
    observer.stage(Stage::Ir, &mut || lowered.module.to_string());
    // What follows a jump in the script was lowered, too, and is no valid IR.
    pass::drop_unreachable(&mut lowered.module);
    verify(&lowered.module, "lower");
    if cfg!(debug_assertions) || observer.sees_passes() {
        pass::optimise(&mut lowered.module, &options.passes, &mut |name, module| {
            observer.stage(Stage::IrPass(name), &mut || module.to_string());
            verify(module, name);
        });
    } else {
        pass::optimise_unseen(&mut lowered.module, &options.passes);
    }
    clock.took("optimise", observer);

    let texts: Vec<_> = (0..sources.len())
        .map(|i| {
            let f = sources.file(FileId(i));
            (f.name.clone(), f.text.clone())
        })
        .collect();
    let entries: Vec<_> = lowered
        .entries
        .iter()
        .map(|e| codegen::Entry {
            func: e.func,
            name: e.name.clone(),
            ty: e.ty,
            attach_btf: e.attach_btf.clone(),
        })
        .collect();
    observer.stage(Stage::Regs, &mut || codegen::regs::dump(&lowered.module));
    let output = match codegen::generate(&lowered.module, &entries, &texts) {
        Ok(o) => o,
        Err(e) => {
            let span = span_of(sources, place_of(&lowered.module, e.func()));
            diags.push(
                Diagnostic::error(Code::StackLimit, span, e.to_string())
                    .hint("Split the probe, or use fewer large values at once."),
            );
            return refuse(diags, checked.options);
        }
    };
    let object = Object {
        license: hir.license,
        sources: texts,
        maps: lowered.module.maps,
        programs: output.programs,
        attach: lowered.attach,
        events: lowered.events,
        sites: lowered.sites,
        enums: lowered.enums,
        time_formats: hir.time_formats,
        btf: output.btf,
        events_map: lowered.events_map,
        counters_map: lowered.counters_map,
        unwind: lowered.unwind,
        config: hir.run,
    };
    clock.took("codegen", observer);
    observer.stage(Stage::Bpf, &mut || listing(&object));
    observer.stage(Stage::Object, &mut || format!("{object:#?}\n"));
    Compiled {
        object: Some(object),
        diags,
        options: checked.options,
    }
}

/// The C definitions of a script.
fn definitions(
    program: &ast::Program,
    options: &ctypes::Options<'_>,
    env: &dyn Env,
    diags: &mut Diagnostics,
) -> ctypes::CEnv {
    if program.c_defs.is_empty() && options.include_first.is_empty() {
        return ctypes::CEnv::default();
    }
    let parts: Vec<_> = program
        .c_defs
        .iter()
        .map(|d| (d.text.as_str(), d.span))
        .collect();
    // Members of kernel types have sizes, which only BTF knows.
    let options = ctypes::Options {
        externals: env.btf().map(|b| &**b as &dyn ctypes::model::TypeSource),
        ..*options
    };
    let (c, found) = ctypes::translate(&parts, &options);
    diags.merge(found);
    c
}

/// Our own invariants; a failure is a defect of the compiler.
fn verify(module: &ir::Module, phase: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    if let Err(errors) = ir::verify::verify(module) {
        let list: Vec<_> = errors.iter().map(ToString::to_string).collect();
        panic!(
            "this is a bug in rtrace: invalid IR after {phase} (`-d ir` prints it):\n{}\n{module}",
            list.join("\n")
        );
    }
}

/// Where a function of the module stands in the script, as far as its code says.
fn place_of(module: &ir::Module, func: &str) -> Loc {
    let named = module.funcs.iter().filter(|f| f.name == func);
    let mut locs = named
        .flat_map(|f| &f.blocks)
        .flat_map(|b| &b.insts)
        .map(|n| n.loc);
    locs.find(|l| l.line != 0).unwrap_or_default()
}

/// The span of a place.
fn span_of(sources: &SourceMap, loc: Loc) -> Option<Span> {
    if loc.line == 0 {
        return None;
    }
    let file = FileId(loc.file);
    let at = |line, col| sources.file(file).offset(line, col);
    Some(Span {
        file,
        lo: at(loc.line, loc.col),
        hi: at(loc.end_line, loc.end_col),
    })
}

/// Instructions of all programs.
fn listing(object: &Object) -> String {
    use crate::codegen::{disasm, insn};
    use std::borrow::Cow;

    struct Named<'a>(&'a Object, &'a crate::object::Program);
    impl disasm::Names for Named<'_> {
        fn map(&self, fd: i32) -> Option<Cow<'_, str>> {
            let map = self.0.maps.get(usize::try_from(fd).ok()?)?;
            Some(Cow::Borrowed(&map.name))
        }
        fn function(&self, slot: usize) -> Option<Cow<'_, str>> {
            let f = self.1.funcs.iter().find(|f| f.insn as usize == slot)?;
            Some(Cow::Borrowed(&f.name))
        }
        fn source(&self, slot: usize) -> Option<Cow<'_, str>> {
            let i = self.1.lines.partition_point(|l| l.insn as usize <= slot);
            let loc = self.1.lines.get(i.checked_sub(1)?)?.loc;
            let (name, text) = self.0.sources.get(loc.file as usize)?;
            let line = text.lines().nth((loc.line as usize).checked_sub(1)?)?;
            Some(Cow::Owned(format!("{name}:{}: {}", loc.line, line.trim())))
        }
    }
    let mut out = String::new();
    for p in &object.programs {
        let mut insns: Vec<_> = p.insns.iter().map(|b| insn::Insn::decode(*b)).collect();
        for r in &p.relocs {
            let (crate::object::RelocKind::Map(m) | crate::object::RelocKind::MapValue(m, _)) =
                r.kind;
            insns[r.insn as usize].imm = m.0 as i32;
        }
        out.push_str(&format!("{} ({} instructions)\n", p.name, insns.len()));
        out.push_str(&disasm::listing(&insns, &Named(object, p)));
        out.push('\n');
    }
    out
}

/// Time since the last phase.
struct Clock(Instant);

impl Clock {
    fn took(&mut self, phase: &'static str, observer: &mut dyn Observer) {
        let now = Instant::now();
        observer.took(phase, now - self.0);
        self.0 = now;
    }
}
