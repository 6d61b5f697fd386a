//! From the syntax tree to the typed program: names, probes, types.
//!
//! In: an [`ast::Program`] whose macros are expanded and whose imports are merged, and
//! [`env::Facts`] about the machine. Out: [`hir::Program`] or diagnostics. Nothing here reads
//! a file or asks the kernel.

mod access;
mod assign;
mod branch;
mod calls;
mod cast;
mod check;
pub mod config;
pub mod env;
mod expr;
pub mod hir;
mod maps;
pub mod names;
mod ops;
mod params;
pub mod print;
pub mod probes;
mod stmt;
mod types;
mod usage;
mod value;

#[cfg(test)]
mod tests;

use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::object::Loc;
use crate::source::{SourceMap, Span};
use crate::syntax::ast;
use crate::types::TypeStore;

/// What checking needs besides the tree.
pub struct SemaContext<'a> {
    /// The texts that spans refer to.
    pub sources: &'a SourceMap,
    /// The machine.
    pub facts: &'a dyn env::Facts,
    /// The command line.
    pub options: &'a env::Options,
}

impl SemaContext<'_> {
    /// The place of a span in lines and columns.
    pub fn loc(&self, span: Span) -> Loc {
        let (start, end) = (self.sources.start(span), self.sources.end(span));
        Loc {
            file: span.file.0,
            line: start.line,
            col: start.col,
            end_line: end.line,
            end_col: end.col,
        }
    }
}

/// What checking gives.
#[derive(Debug)]
pub struct Checked {
    /// The program; `None` if there are errors.
    pub program: Option<hir::Program>,
    /// Errors and warnings.
    pub diags: Diagnostics,
    /// Options that the script asks for by `getopt()`, with their descriptions.
    pub options: Vec<(String, Option<String>)>,
}

/// Checks a program.
pub fn check(program: &ast::Program, cx: &SemaContext<'_>) -> Checked {
    check_with(program, cx, TypeStore::default())
}

/// Checks a program with types that are known already: those of the script's C definitions.
pub fn check_with(program: &ast::Program, cx: &SemaContext<'_>, store: TypeStore) -> Checked {
    let mut store = store;
    let (loaded, mut diags) = config::load(cx, program);
    let (units, found) = probes::expand(cx, program, &mut store, &loaded.run);
    diags.merge(found);
    let mut checker = check::Checker::new(cx, program, store, loaded);
    let (probes, funcs) = checker.run(&units);
    diags.merge(std::mem::take(&mut checker.diags));
    let limit = checker.config.max_bpf_progs;
    if probes.len() as u64 > u64::from(limit) {
        let text = format!(
            "Your program is trying to generate more than {limit} BPF programs, which exceeds the current limit. If you know what you are doing, raise max_bpf_progs"
        );
        diags.push(Diagnostic::error(Code::TooManyProbes, None, text));
    }
    let attached: usize = probes.iter().map(|p| p.attach.len()).sum();
    if attached as u64 > checker.run.max_probes {
        let text = format!(
            "Can't attach to {attached} probes because it exceeds the current limit of {} probes. You can increase the limit through the BPFTRACE_MAX_PROBES environment variable, but BE CAREFUL since a high number of probes attached can cause your system to crash.",
            checker.run.max_probes
        );
        diags.push(
            Diagnostic::error(Code::TooManyProbes, None, text).hint(
                "BPFTRACE_MAX_PROBES limits attach points, BPFTRACE_MAX_BPF_PROGS the programs behind them",
            ),
        );
    }
    let options = checker.option_list();
    let program = (!diags.has_errors()).then(|| hir::Program {
        maps: checker.take_maps(),
        time_formats: checker.take_time_formats(),
        config: checker.config.clone(),
        license: checker.settings.license.clone(),
        run: checker.run.clone(),
        types: std::mem::take(&mut checker.store),
        funcs,
        probes,
    });
    Checked {
        program,
        diags,
        options,
    }
}

/// Offset of a register in the registers that a probe saves (`struct pt_regs`); `None` if the
/// architecture has none of this name.
pub fn register(name: &str) -> Option<i64> {
    calls::context::register(name)
}
