//! Probes: attach points become [`Unit`]s, one per BPF program.
//!
//! [`PROVIDERS`] is the table of probe types: names, aliases, number of parts and the function
//! that turns an attach point into [`Match`]es. Matches in which the body means the same share
//! a unit.

mod fentry;
mod iter;
mod kprobe;
mod perf;
mod special;
mod syscalls;
mod timer;
mod tracepoint;
mod uprobe;
mod usdt;
mod watchpoint;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::SemaContext;
use super::env::ArgField;
use super::hir::{self, AttachSpec, Context};
use super::usage::{self, Usage};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::env::wildcard;
use crate::object::{Attach, MissingProbes, ProgramType, RunConfig, TargetFile};
use crate::source::Span;
use crate::syntax::ast;
use crate::types::{AddrSpace, StructId, Type, TypeStore};

/// Types of probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the language")]
pub enum Provider {
    Begin,
    End,
    SelfSignal,
    Test,
    Bench,
    Kprobe,
    Kretprobe,
    Fentry,
    Fexit,
    Tracepoint,
    RawTracepoint,
    Uprobe,
    Uretprobe,
    Usdt,
    Profile,
    Interval,
    Software,
    Hardware,
    Watchpoint,
    Iter,
}

/// A row of the table of probe types.
pub struct ProviderRow {
    /// Which.
    pub provider: Provider,
    /// Its name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// Fewest and most parts after the name.
    pub parts: (usize, usize),
    /// Turns an attach point into matches.
    expand: fn(&mut Expander<'_, '_>, &Ap),
}

/// All probe types.
pub static PROVIDERS: &[ProviderRow] = &[
    ProviderRow {
        provider: Provider::Begin,
        name: "begin",
        aliases: &[],
        parts: (0, 0),
        expand: special::begin,
    },
    ProviderRow {
        provider: Provider::End,
        name: "end",
        aliases: &[],
        parts: (0, 0),
        expand: special::end,
    },
    ProviderRow {
        provider: Provider::SelfSignal,
        name: "self",
        aliases: &[],
        parts: (2, 2),
        expand: special::self_,
    },
    ProviderRow {
        provider: Provider::Test,
        name: "test",
        aliases: &[],
        parts: (1, 1),
        expand: special::test,
    },
    ProviderRow {
        provider: Provider::Bench,
        name: "bench",
        aliases: &[],
        parts: (1, 1),
        expand: special::bench,
    },
    ProviderRow {
        provider: Provider::Kprobe,
        name: "kprobe",
        aliases: &["k"],
        parts: (1, 2),
        expand: kprobe::expand,
    },
    ProviderRow {
        provider: Provider::Kretprobe,
        name: "kretprobe",
        aliases: &["kr"],
        parts: (1, 2),
        expand: kprobe::expand,
    },
    ProviderRow {
        provider: Provider::Fentry,
        name: "fentry",
        aliases: &["f", "kfunc"],
        parts: (1, 3),
        expand: fentry::expand,
    },
    ProviderRow {
        provider: Provider::Fexit,
        name: "fexit",
        aliases: &["fr", "kretfunc"],
        parts: (1, 3),
        expand: fentry::expand,
    },
    ProviderRow {
        provider: Provider::Tracepoint,
        name: "tracepoint",
        aliases: &["t"],
        parts: (1, 2),
        expand: tracepoint::expand,
    },
    ProviderRow {
        provider: Provider::RawTracepoint,
        name: "rawtracepoint",
        aliases: &["rt"],
        parts: (1, 2),
        expand: fentry::raw_tracepoint,
    },
    ProviderRow {
        provider: Provider::Uprobe,
        name: "uprobe",
        aliases: &["u"],
        parts: (1, 4),
        expand: uprobe::expand,
    },
    ProviderRow {
        provider: Provider::Uretprobe,
        name: "uretprobe",
        aliases: &["ur"],
        parts: (2, 3),
        expand: uprobe::expand,
    },
    ProviderRow {
        provider: Provider::Usdt,
        name: "usdt",
        aliases: &["U"],
        parts: (1, 3),
        expand: usdt::expand,
    },
    ProviderRow {
        provider: Provider::Profile,
        name: "profile",
        aliases: &["p"],
        parts: (1, 2),
        expand: timer::expand,
    },
    ProviderRow {
        provider: Provider::Interval,
        name: "interval",
        aliases: &["i"],
        parts: (1, 2),
        expand: timer::expand,
    },
    ProviderRow {
        provider: Provider::Software,
        name: "software",
        aliases: &["s"],
        parts: (1, 2),
        expand: perf::software,
    },
    ProviderRow {
        provider: Provider::Hardware,
        name: "hardware",
        aliases: &["h"],
        parts: (1, 2),
        expand: perf::hardware,
    },
    ProviderRow {
        provider: Provider::Watchpoint,
        name: "watchpoint",
        aliases: &["w"],
        parts: (3, 3),
        expand: watchpoint::expand,
    },
    ProviderRow {
        provider: Provider::Iter,
        name: "iter",
        aliases: &["it"],
        parts: (1, 2),
        expand: iter::expand,
    },
];

impl Provider {
    /// Name in attach points.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Begin => "begin",
            Provider::End => "end",
            Provider::SelfSignal => "self",
            Provider::Test => "test",
            Provider::Bench => "bench",
            Provider::Kprobe => "kprobe",
            Provider::Kretprobe => "kretprobe",
            Provider::Fentry => "fentry",
            Provider::Fexit => "fexit",
            Provider::Tracepoint => "tracepoint",
            Provider::RawTracepoint => "rawtracepoint",
            Provider::Uprobe => "uprobe",
            Provider::Uretprobe => "uretprobe",
            Provider::Usdt => "usdt",
            Provider::Profile => "profile",
            Provider::Interval => "interval",
            Provider::Software => "software",
            Provider::Hardware => "hardware",
            Provider::Watchpoint => "watchpoint",
            Provider::Iter => "iter",
        }
    }

    /// Whether its events happen to a task that a filter can look at. An `interval` is the
    /// script's own clock.
    pub fn is_of_a_task(self) -> bool {
        !matches!(
            self,
            Provider::Begin
                | Provider::End
                | Provider::SelfSignal
                | Provider::Test
                | Provider::Bench
                | Provider::Interval
                | Provider::Iter
        )
    }

    /// What `probetype` gives.
    pub fn type_name(self) -> &'static str {
        match self {
            Provider::Begin | Provider::End | Provider::SelfSignal => "special",
            other => other.name(),
        }
    }
}

/// Arguments that a probe offers by name.
#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    /// What diagnostics call their struct.
    pub name: String,
    /// The arguments in order.
    pub fields: Vec<ArgField>,
}

/// What a body can see of the probe it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProbeCx {
    pub provider: Provider,
    pub ty: ProgramType,
    pub ctx: Context,
    /// Address space of pointers that the probe gives.
    pub space: AddrSpace,
    pub args: Option<Arc<Args>>,
    /// Why there are no arguments by name, where the probe type alone does not tell.
    pub no_args: Option<String>,
    /// The record as a struct, where `args` is used as a value.
    pub args_struct: Option<StructId>,
    /// Type of `retval` and the context argument it is in.
    pub retval: Option<(Type, u8)>,
    /// The context struct of an iterator.
    pub iter: Option<StructId>,
    /// Arguments of a static user probe.
    pub usdt_args: Option<Vec<Option<hir::ArgLocation>>>,
    /// The traced program.
    pub file: Option<TargetFile>,
    /// Where in it the probe is, as its symbols count.
    pub address: Option<u64>,
    pub default_return: i32,
    pub filter_pid: bool,
    /// Name of the attach point, where the program has only one and its text matters.
    pub only_name: Option<String>,
}

impl ProbeCx {
    /// A context of this kind that offers nothing by name.
    pub fn new(provider: Provider, ty: ProgramType, ctx: Context) -> Self {
        Self {
            provider,
            ty,
            ctx,
            space: AddrSpace::None,
            args: None,
            no_args: None,
            args_struct: None,
            retval: None,
            iter: None,
            usdt_args: None,
            file: None,
            address: None,
            default_return: 0,
            filter_pid: false,
            only_name: None,
        }
    }
}

/// One match of an attach point.
#[derive(Debug)]
pub(crate) struct Match {
    pub spec: AttachSpec,
    pub cx: ProbeCx,
    pub attach_btf: Option<(String, Option<String>)>,
}

/// One BPF program to be: a probe of the script and the attach points that share the program.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    pub ast: &'a ast::Probe,
    pub name: String,
    pub cx: ProbeCx,
    pub attach: Vec<AttachSpec>,
    pub attach_btf: Option<(String, Option<String>)>,
    /// For system calls that share the program: which of them they are.
    pub syscalls: Option<hir::SyscallTable>,
}

/// An attach point with its parameters filled in.
#[derive(Debug)]
pub(crate) struct Ap {
    pub provider: Provider,
    /// Parts after the provider.
    pub parts: Vec<String>,
    /// Whether a part stands after `@`.
    pub at: Vec<bool>,
    pub span: Span,
}

/// Expansion of attach points.
pub(crate) struct Expander<'e, 'a> {
    pub cx: &'e SemaContext<'a>,
    pub store: &'e mut TypeStore,
    pub diags: Diagnostics,
    pub run: &'e RunConfig,
    pub usage: Usage,
    out: Vec<Match>,
    /// What is said of patterns without matches, if the rest of their probe has none either.
    unmatched: Diagnostics,
    /// Names of `test:` and `bench:` probes so far.
    names: std::collections::HashSet<String>,
}

/// The units of a program, in order.
pub(crate) fn expand<'p>(
    cx: &SemaContext<'_>,
    program: &'p ast::Program,
    store: &mut TypeStore,
    run: &RunConfig,
) -> (Vec<Unit<'p>>, Diagnostics) {
    let mut ex = Expander {
        cx,
        store,
        diags: Diagnostics::new(),
        run,
        usage: Usage::default(),
        out: Vec::new(),
        unmatched: Diagnostics::new(),
        names: Default::default(),
    };
    let mut units = Vec::new();
    for probe in program.probes() {
        ex.usage = usage::of(probe);
        let before = ex.diags.len();
        for ap in &probe.attach_points {
            ex.attach_point(ap);
        }
        let mut matches = std::mem::take(&mut ex.out);
        let unmatched = std::mem::take(&mut ex.unmatched);
        if matches.is_empty() {
            ex.diags.merge(unmatched);
        }
        if matches.is_empty() && ex.diags.len() > before {
            ex.none_left(probe);
        }
        if let Some(filter) = &cx.options.probe_filter {
            let exempt = |a: &Attach| matches!(a, Attach::Begin | Attach::End);
            matches.retain(|m| exempt(&m.spec.attach) || filter.is_match(&m.spec.name));
        }
        let first = units.len();
        group(probe, matches, ex.usage, &mut units);
        syscalls::share(&mut ex, &mut units, first);
    }
    (units, ex.diags)
}

/// Puts matches in which the body means the same into one unit.
fn group<'p>(probe: &'p ast::Probe, matches: Vec<Match>, usage: Usage, units: &mut Vec<Unit<'p>>) {
    // Units that can take more, by the name of their one attach point if that matters. Only a
    // few kinds of contexts occur in one probe, so the search in a bucket is short.
    let mut open: HashMap<Option<String>, Vec<usize>> = HashMap::new();
    let mut seen: HashSet<String> = HashSet::new();
    for m in matches {
        let mut cx = m.cx;
        if !usage.args {
            cx.args = None;
            cx.no_args = None;
            cx.args_struct = None;
        }
        if !usage.arg_numbers && cx.usdt_args.is_some() {
            cx.usdt_args = Some(Vec::new());
        }
        if !usage.retval {
            cx.retval = None;
        }
        if !usage.file {
            cx.file = None;
            cx.address = None;
        }
        if usage.probe_text {
            cx.only_name = Some(m.spec.name.clone());
        }
        // The same place twice, by overlapping patterns, is one attachment. Static probes can
        // be at several places under one name.
        let new = seen.insert(m.spec.name.clone());
        if m.spec.wildcard && !new && cx.provider != Provider::Usdt {
            continue;
        }
        let bucket = open.entry(cx.only_name.clone()).or_default();
        let shared = bucket.iter().copied().find(|&i| units[i].cx == cx);
        match shared {
            // Tracing programs are bound to one function when they are loaded.
            Some(i) if m.attach_btf.is_none() => units[i].attach.push(m.spec),
            _ => {
                if m.attach_btf.is_none() {
                    bucket.push(units.len());
                }
                units.push(Unit {
                    ast: probe,
                    name: program_name(&m.spec.name),
                    cx,
                    attach: vec![m.spec],
                    attach_btf: m.attach_btf,
                    syscalls: None,
                });
            }
        }
    }
}

/// How a file is called in the names of its probes: a path as it was written, else where the
/// file was found.
pub(super) fn shown_path<'a>(target: &'a str, file: &'a TargetFile) -> &'a str {
    if target.contains('/') && !wildcard::is_pattern(target) {
        target
    } else {
        &file.path
    }
}

/// A program's name: provider and target, made safe.
fn program_name(attach: &str) -> String {
    let mut out = String::new();
    let last = attach.rsplit([':', '/']).next().unwrap_or(attach);
    let provider = attach.split(':').next().unwrap_or(attach);
    let text = if last == provider {
        provider.to_owned()
    } else {
        format!("{provider}_{last}")
    };
    for c in text.chars() {
        out.push(if c.is_ascii_alphanumeric() { c } else { '_' });
    }
    out
}

impl Expander<'_, '_> {
    /// Reports a mistake in an attach point.
    pub fn error(&mut self, code: Code, span: Span, text: impl Into<String>) {
        self.diags.push(Diagnostic::error(code, span, text));
    }

    /// Adds a match.
    pub fn push(&mut self, m: Match) {
        self.out.push(m);
    }

    /// Adds an attach point without further ado.
    pub fn attach(&mut self, ap: &Ap, name: String, attach: Attach, cx: ProbeCx) {
        self.attach_as(ap, name, attach, cx, false, false);
    }

    /// Adds an attach point.
    pub fn attach_as(
        &mut self,
        ap: &Ap,
        name: String,
        attach: Attach,
        cx: ProbeCx,
        wildcard: bool,
        at_entry: bool,
    ) {
        let loc = self.cx.loc(ap.span);
        self.out.push(Match {
            spec: AttachSpec {
                name,
                attach,
                wildcard,
                at_entry,
                loc,
            },
            cx,
            attach_btf: None,
        });
    }

    /// Reports that nothing matches, as the configuration says. A wildcard among attach points
    /// that exist may match nothing: scripts cover several kernels so.
    pub fn no_match(&mut self, ap: &Ap, pattern: &str) {
        self.no_match_hint(ap, pattern, None);
    }

    /// The same with names that are near.
    pub fn no_match_near(&mut self, ap: &Ap, pattern: &str, near: &[String]) {
        let hint = (!near.is_empty()).then(|| format!("nearest names: {}", near.join(", ")));
        self.no_match_hint(ap, pattern, hint);
    }

    /// The same where what there is cannot be seen.
    pub fn no_match_because(&mut self, ap: &Ap, pattern: &str, why: String) {
        self.no_match_hint(ap, pattern, Some(why));
    }

    /// The same with what may help.
    pub fn no_match_hint(&mut self, ap: &Ap, pattern: &str, hint: Option<String>) {
        let text = format!("No matches for {} {pattern}.", ap.provider.name());
        if wildcard::is_pattern(pattern) && self.run.missing_probes == MissingProbes::Error {
            let d = Diagnostic::error(Code::NoMatch, ap.span, text);
            self.unmatched.push(match hint {
                Some(hint) => d.hint(hint),
                None => d,
            });
        } else {
            self.missing_hint(ap.span, text, hint);
        }
    }

    /// Reports a missing attach point, as the configuration says.
    pub fn missing(&mut self, span: Span, text: String) {
        self.missing_hint(span, text, None);
    }

    fn missing_hint(&mut self, span: Span, text: String, hint: Option<String>) {
        let d = match self.run.missing_probes {
            MissingProbes::Error => Diagnostic::error(Code::NoMatch, span, text),
            MissingProbes::Warn => {
                Diagnostic::warning(Code::MissingProbe, span, format!("{text} Skipping."))
            }
            MissingProbes::Ignore => return,
        };
        self.diags.push(match hint {
            Some(hint) => d.hint(hint),
            None => d,
        });
    }

    fn none_left(&mut self, probe: &ast::Probe) {
        if self.run.missing_probes != MissingProbes::Error || !self.only_missing() {
            return;
        }
        let span = match probe.attach_points.as_slice() {
            [] => probe.span,
            [first, .., last] => first.span.to(last.span),
            [one] => one.span,
        };
        self.error(
            Code::NoAttachPoints,
            span,
            "Probe has no valid attach points. If this is expected, set the 'missing_probes' config variable to 'warn'.",
        );
    }

    /// Whether the last report was of something missing.
    fn only_missing(&self) -> bool {
        self.diags
            .iter()
            .last()
            .is_some_and(|d| d.code == Code::NoMatch)
    }

    fn attach_point(&mut self, ap: &ast::AttachPoint) {
        let positional = &self.cx.options.positional;
        let resolve = |p: &ast::ApPart| {
            p.resolve(|n| {
                let i = (n as usize).checked_sub(1)?;
                positional.get(i).map(String::as_str)
            })
        };
        let mut parts = Vec::with_capacity(ap.parts.len());
        for p in &ap.parts {
            match resolve(p) {
                Ok(text) => parts.push(text),
                Err(n) => {
                    let text = format!("Positional parameter ${n} is empty or not provided. ");
                    return self.error(Code::BadAttachPoint, p.span, text);
                }
            }
        }
        if parts.is_empty() {
            return;
        }
        let written = parts.remove(0);
        let provider = written.to_ascii_lowercase();
        let at: Vec<bool> = ap.parts[1..]
            .iter()
            .map(|p| p.sep == ast::ApSep::At)
            .collect();
        let pattern = wildcard::is_pattern(&provider);
        let rows: Vec<&ProviderRow> = PROVIDERS
            .iter()
            .filter(|r| {
                if pattern {
                    wildcard::matches(&provider, r.name)
                } else {
                    // `u` and `U` are different aliases; names have no case.
                    r.name == provider || r.aliases.contains(&written.as_str())
                }
            })
            .collect();
        if rows.is_empty() {
            let text = format!("Invalid probe type: {written}");
            let d = Diagnostic::error(Code::UnknownProvider, ap.span, text);
            let names = PROVIDERS.iter().map(|r| r.name);
            let d = super::check::did_you_mean(d, &provider, names);
            self.diags.push(d);
            return;
        }
        // Of several types of probes, those count that have such a probe; if none has, all say why.
        let earlier = std::mem::take(&mut self.diags);
        let (mut fitting, mut missing) = (Diagnostics::new(), Diagnostics::new());
        let before = self.out.len();
        for row in rows {
            let mut parts = parts.clone();
            if pattern && row.provider == Provider::Tracepoint && parts.len() == 1 {
                parts.insert(0, "*".into());
            }
            if matches!(row.provider, Provider::Uprobe | Provider::Uretprobe) {
                join_scopes(&mut parts);
            }
            // `hardware:cycles:` is how listings spell it.
            while parts.len() > row.parts.0 && parts.last().is_some_and(String::is_empty) {
                parts.pop();
            }
            if !(row.parts.0..=row.parts.1).contains(&parts.len()) {
                if pattern {
                    continue;
                }
                self.wrong_count(row, parts.len(), ap.span);
                missing.merge(std::mem::take(&mut self.diags));
                continue;
            }
            let at = at[..parts.len().min(at.len())].to_vec();
            let ap = Ap {
                provider: row.provider,
                parts,
                at,
                span: ap.span,
            };
            let found = self.out.len();
            (row.expand)(self, &ap);
            let said = std::mem::take(&mut self.diags);
            // A function that is only assumed to exist is not what a pattern means.
            if pattern && !said.is_empty() {
                self.out.truncate(found);
            }
            if self.out.len() > found {
                fitting.merge(said);
            } else {
                missing.merge(said);
            }
        }
        self.diags = earlier;
        self.diags.merge(fitting);
        if self.out.len() == before {
            self.diags.merge(missing);
        }
    }

    fn wrong_count(&mut self, row: &ProviderRow, found: usize, span: Span) {
        let (lo, hi) = row.parts;
        let wanted = match hi - lo {
            0 => lo.to_string(),
            1 => format!("{lo} or {hi}"),
            _ => {
                let all: Vec<String> = (lo..hi).map(|n| n.to_string()).collect();
                format!("{} or {hi}", all.join(", "))
            }
        };
        let text = format!(
            "{} probe type requires {wanted} arguments, found {found}",
            row.name
        );
        self.error(Code::ProbeArity, span, text);
    }
}

/// Puts a C++ name back together that was split at its `::`: `target`, `ns`, ``, `f` are
/// `target` and `ns::f`.
fn join_scopes(parts: &mut Vec<String>) {
    let first = match parts.get(1).map(String::as_str) {
        Some("cpp") => 2,
        _ => 1,
    };
    // The end of the list may be an empty part of its own right.
    let Some(inner) = parts.get(first..parts.len().saturating_sub(1)) else {
        return;
    };
    if inner.iter().any(String::is_empty) {
        let name = parts.drain(first..).collect::<Vec<_>>().join(":");
        parts.push(name);
    }
}
