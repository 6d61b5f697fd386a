//! A script from its text to its exit code: compiles, prints what `-d` asks for, runs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::args::{Args, Engine, Mode, Stage as Dump};
use super::imports::FileLoader;
use super::input::Input;
use super::terminal::{colour, complain, say};
use super::{FAILED, REFUSED, run, scope};
use crate::compile::{self, Compiled, Observer, Stage};
use crate::ctypes;
use crate::diag::{Diagnostics, Severity, render};
use crate::env::{Env as _, HostEnv, HostOptions};
use crate::error::{Error, Result};
use crate::facts::FactOptions;
use crate::ir::pass;
use crate::object::{Attach, Object};
use crate::runtime::child::Child;
use crate::runtime::privilege;
use crate::sema;
use crate::source::SourceMap;
use crate::symbols::cache::IndexCache;
use crate::syntax::{self, ast};

/// Compiles and runs a script.
pub fn main(input: Input, args: &Args) -> i32 {
    // Before the script is looked at: what lacks the privilege to trace often lacks that to see
    // what there is to trace, too.
    let runs = matches!(args.mode, Mode::Run | Mode::Test | Mode::Bench) && !args.list;
    if runs
        && args.engine == Engine::Kernel
        && let Err(e) = privilege::check()
    {
        complain(&format!("ERROR: {e}"));
        return REFUSED;
    }
    if let Some(pid) = args.pid
        && let Err(e) = process_exists(pid)
    {
        complain(&format!("ERROR: {e}"));
        return REFUSED;
    }
    let child = match &args.command {
        Some(command) => match Child::spawn(command) {
            Ok(child) => Some(child),
            Err(e) => {
                complain(&format!("ERROR: {e}"));
                return REFUSED;
            }
        },
        None => None,
    };
    let env = Arc::new(HostEnv::new(HostOptions {
        functions: args.traceable_functions.clone(),
        btf: std::env::var_os("BPFTRACE_BTF").map(Into::into),
        without: args.avoid.iter().map(|a| a.feature()).collect(),
    }));
    if runs
        && !args.quiet
        && let Some(text) = args.pid.and_then(scope::elsewhere)
    {
        complain(&text);
    }
    let mut dumps = Dumps::new(args);
    let cpid = child.as_ref().map(Child::pid);
    let text = input.text.clone();
    let (object, options) = compile(input, args, &env, cpid, &mut dumps);
    let asks_for_help = args.params.iter().any(|p| p == "--help");
    if asks_for_help && !options.iter().any(|(name, _)| name == "help") {
        complain(&options_help(&options));
        return REFUSED;
    }
    let Some(object) = object else {
        return REFUSED;
    };
    if object.attach.is_empty()
        && let Some(kind) = only_on_demand(&text)
    {
        complain(&format!(
            "ERROR: No probes attached; use --{kind} to run {kind} probes."
        ));
        return FAILED;
    }
    dumps.timing();
    if args.mode == Mode::Codegen {
        return 0;
    }
    if args.list {
        list(&object);
        return 0;
    }
    run::run(object, args, env, child)
}

/// Options that a script asks for by `getopt()`, with their descriptions.
type ScriptOptions = Vec<(String, Option<String>)>;

/// What `-- --help` prints.
fn options_help(options: &ScriptOptions) -> String {
    let mut text = String::from("HINT: expected program options:\n");
    for (name, description) in options {
        let _ = match description {
            Some(d) => writeln!(text, "--{name}: {d}"),
            None => writeln!(text, "--{name}"),
        };
    }
    text
}

/// `test` or `bench` if the script has such probes and no others.
fn only_on_demand(text: &str) -> Option<&'static str> {
    let mut sources = SourceMap::default();
    let file = sources.add("", text);
    let parsed = syntax::parse(file, text);
    let points = || parsed.program.probes().flat_map(|p| &p.attach_points);
    let provider = |ap: &ast::AttachPoint| {
        let name = ap.parts.first().and_then(ast::ApPart::text);
        name.map(|n| n.to_ascii_lowercase())
    };
    ["test", "bench"]
        .into_iter()
        .find(|kind| points().any(|ap| provider(ap).as_deref() == Some(kind)))
}

/// Whether a process can be traced by its id.
fn process_exists(pid: u32) -> Result<()> {
    let known = std::fs::exists(format!("/proc/{pid}")).unwrap_or(true);
    if known {
        return Ok(());
    }
    Err(Error::not_found(
        "Failed to attach to pid: Unable to open pidfd (No such process)",
    ))
}

/// Compiles; diagnostics go to standard error.
fn compile(
    input: Input,
    args: &Args,
    env: &HostEnv,
    cpid: Option<u32>,
    dumps: &mut Dumps,
) -> (Option<Object>, ScriptOptions) {
    let (done, sources) = compile_input(input, args, env, cpid, None, dumps);
    report(&done.diags, &sources, args);
    (done.object, done.options)
}

/// Compiles as the command line says and prints nothing. `indexes` are kept for the next time.
pub(crate) fn compile_input(
    input: Input,
    args: &Args,
    env: &HostEnv,
    cpid: Option<u32>,
    indexes: Option<&IndexCache>,
    observer: &mut dyn Observer,
) -> (Compiled, SourceMap) {
    let mut sources = SourceMap::default();
    let file = sources.add(input.name, input.text);
    let includes: Vec<String> = args
        .includes
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    let mut loader = FileLoader::new(&args.include_dirs);
    let wants_btf = sources.file(file).text.contains('#') || !includes.is_empty();
    let options = compile::Options {
        sema: script_options(args, env, cpid),
        facts: FactOptions {
            pid: args.pid.or(cpid),
            unsafe_: args.allow_unsafe,
            debug_dirs: args.debuginfo.clone(),
            indexes: indexes.cloned(),
        },
        headers: ctypes::Options {
            include_dirs: &args.include_dirs,
            include_first: &includes,
            have_btf: wants_btf && env.btf().is_some(),
            ..ctypes::Options::default()
        },
        loader: &mut loader,
        passes: pass::Options {
            level: if args.no_optimise {
                pass::Level::O0
            } else {
                pass::Level::O2
            },
            without: Vec::new(),
        },
    };
    let done = compile::compile(&mut sources, file, env, options, observer);
    (done, sources)
}

/// Prints diagnostics.
fn report(diags: &Diagnostics, sources: &SourceMap, args: &Args) {
    let mut shown = Diagnostics::new();
    for d in diags.sorted() {
        if d.severity == Severity::Error || !args.no_warnings {
            shown.push(d.clone());
        }
    }
    if shown.is_empty() {
        return;
    }
    let style = render::Style {
        color: colour(),
        codes: args.verbose > 0,
    };
    complain(render::text(&shown, sources, style).trim_end_matches('\n'));
}

/// What the command line says about the script.
fn script_options(args: &Args, env: &HostEnv, cpid: Option<u32>) -> sema::env::Options {
    let mut positional = Vec::new();
    let mut named = Vec::new();
    for p in &args.params {
        match p.strip_prefix("--") {
            Some(option) if !option.is_empty() => match option.split_once('=') {
                Some((name, value)) => named.push((name.to_owned(), Some(value.to_owned()))),
                None => named.push((option.to_owned(), None)),
            },
            _ => positional.push(p.clone()),
        }
    }
    let own = |name: &str| name.starts_with("BPFTRACE_") || name.starts_with("RTRACE_");
    let vars: HashMap<_, _> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .filter(|(k, _)| own(k))
        .collect();
    sema::env::Options {
        positional,
        named,
        pid: args.pid,
        cgroups: args.cgroups.clone(),
        cpid,
        unsafe_: args.allow_unsafe,
        warn_helpers: args.helper_warnings,
        probe_filter: args.probe_filter.clone(),
        test: args.mode == Mode::Test,
        bench: args.mode == Mode::Bench,
        env: vars,
        in_kernel: args.engine == Engine::Kernel,
        // The kernel numbers processes itself where rtrace runs in the initial namespace; the
        // interpreter knows only one.
        pid_ns: (args.engine == Engine::Kernel)
            .then(|| env.machine().pid_namespace.as_ref())
            .flatten()
            .filter(|ns| !ns.is_initial())
            .map(|ns| (ns.dev, ns.inode)),
    }
}

/// `-l` with a program: the probes it attaches, without begin and end.
fn list(object: &Object) {
    let mut names: Vec<Cow<'_, str>> = object
        .attach
        .iter()
        .filter(|a| !matches!(a.attach, Attach::Begin | Attach::End))
        .map(|a| match a.attach {
            // Provider and unit: there are as many rates as numbers.
            Attach::Interval(_) | Attach::Profile(_) => {
                let unit: Vec<_> = a.name.split(':').take(2).collect();
                Cow::Owned(format!("{}:", unit.join(":")))
            }
            _ => Cow::Borrowed(a.name.as_str()),
        })
        .collect();
    names.dedup();
    let mut text = String::new();
    for n in names {
        let _ = writeln!(text, "{n}");
    }
    say(&text);
}

/// Prints the stages that `-d` names.
struct Dumps {
    wanted: Vec<Dump>,
    times: Vec<(&'static str, Duration)>,
    last_ir: Option<String>,
}

impl Dumps {
    fn new(args: &Args) -> Self {
        Self {
            wanted: args.dump.clone(),
            times: Vec::new(),
            last_ir: None,
        }
    }

    fn wants(&self, stage: Dump) -> bool {
        self.wanted.contains(&stage)
    }

    /// The table of `-d timing`.
    fn timing(&self) {
        if !self.wants(Dump::Timing) {
            return;
        }
        let mut text = String::new();
        let mut total = Duration::ZERO;
        for (phase, time) in &self.times {
            total += *time;
            let _ = writeln!(text, "{phase:<12} {:>10.1} us", time.as_secs_f64() * 1e6);
        }
        let _ = write!(
            text,
            "{:<12} {:>10.1} us",
            "total",
            total.as_secs_f64() * 1e6
        );
        complain(&text);
    }
}

impl Observer for Dumps {
    fn stage(&mut self, stage: Stage, text: &mut dyn FnMut() -> String) {
        let dump = match stage {
            Stage::Ast => Dump::Ast,
            Stage::Hir => Dump::Hir,
            Stage::Ir | Stage::IrPass(_) => Dump::Ir,
            Stage::Regs => Dump::Regs,
            Stage::Bpf => Dump::Bpf,
            Stage::Object => Dump::Object,
        };
        if !self.wants(dump) {
            return;
        }
        let text = text();
        if dump == Dump::Ir {
            if self.last_ir.as_ref() == Some(&text) {
                return;
            }
            let title = match stage {
                Stage::IrPass(name) => name,
                _ => "lower",
            };
            say(&format!("; after {title}\n{text}"));
            self.last_ir = Some(text);
            return;
        }
        say(&text);
    }

    fn sees_passes(&self) -> bool {
        self.wants(Dump::Ir)
    }

    fn took(&mut self, phase: &'static str, time: Duration) {
        self.times.push((phase, time));
    }
}
