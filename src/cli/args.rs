//! argv as typed options, or what is wrong with it.
//!
//! Nothing is opened or read here. Messages are those that scripts of the original tool may
//! match on; see [`Refusal`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::flags;
use crate::env::Feature;
use crate::runtime::output::{Buffering, Format};

/// Where the program's text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// `-e`
    Inline(String),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// What to do with the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Run it.
    #[default]
    Run,
    /// Compile it and stop.
    Codegen,
    /// Measure the compiler.
    CompilerBench,
    /// Run its tests.
    Test,
    /// Run its benchmarks.
    Bench,
    /// Print it in standard layout.
    Format,
}

/// Where programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// In the kernel.
    #[default]
    Kernel,
    /// In the interpreter: `begin`, `end` and `interval` probes, no privilege needed.
    User,
}

/// Something that `-d` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The syntax tree.
    Ast,
    /// The typed program.
    Hir,
    /// The intermediate form.
    Ir,
    /// The intermediate form with registers.
    Regs,
    /// The BPF instructions.
    Bpf,
    /// Maps, events, attach points.
    Object,
    /// The log of the kernel's verifier.
    Verifier,
    /// How long each stage took.
    Timing,
}

impl Stage {
    /// Names of `-d`; those of the original tool map to what comes nearest.
    const NAMES: &'static [(&'static str, &'static [Stage])] = &[
        ("ast", &[Stage::Ast]),
        ("parse", &[Stage::Ast]),
        ("types", &[Stage::Hir]),
        ("hir", &[Stage::Hir]),
        ("codegen", &[Stage::Ir]),
        ("ir", &[Stage::Ir]),
        ("codegen-opt", &[Stage::Regs]),
        ("regs", &[Stage::Regs]),
        ("bpf", &[Stage::Bpf]),
        ("dis", &[Stage::Bpf]),
        ("object", &[Stage::Object]),
        ("libbpf", &[Stage::Verifier]),
        ("verifier", &[Stage::Verifier]),
        ("timing", &[Stage::Timing]),
        (
            "all",
            &[
                Stage::Ast,
                Stage::Hir,
                Stage::Ir,
                Stage::Regs,
                Stage::Bpf,
                Stage::Object,
                Stage::Verifier,
                Stage::Timing,
            ],
        ),
    ];
}

/// A kernel feature that `--no-feature` can switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Avoid {
    /// Multi-attach of kprobes.
    KprobeMulti,
    /// Sessions of kprobes.
    KprobeSession,
    /// Multi-attach of uprobes.
    UprobeMulti,
}

impl Avoid {
    /// The feature by its name in reports.
    pub fn feature(self) -> Feature {
        match self {
            Avoid::KprobeMulti => Feature::KprobeMulti,
            Avoid::KprobeSession => Feature::KprobeSession,
            Avoid::UprobeMulti => Feature::UprobeMulti,
        }
    }
}

/// Parsed options.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// The program, if there is one.
    pub program: Option<Program>,
    /// Operands after the program: `$1`, and `--name=value` for `getopt()`.
    pub params: Vec<String>,
    /// `-l`; the search is the first operand.
    pub list: bool,
    /// What `-l` searches for.
    pub search: Option<String>,
    /// How often `-v` was given.
    pub verbose: u8,
    /// `-p`
    pub pid: Option<u32>,
    /// `--cgroup`
    pub cgroups: Vec<String>,
    /// `--container`
    pub containers: Vec<String>,
    /// `-c`
    pub command: Option<String>,
    /// `--dwarf-pid`
    pub dwarf_pids: Vec<u32>,
    /// `--usdt-file-activation`
    pub usdt_file_activation: bool,
    /// `--probe-filter`
    pub probe_filter: Option<regex::Regex>,
    /// `--traceable-functions`
    pub traceable_functions: Option<PathBuf>,
    /// `--debuginfo`
    pub debuginfo: Vec<PathBuf>,
    /// `--no-feature`
    pub avoid: Vec<Avoid>,
    /// `--engine`
    pub engine: Engine,
    /// `-O0`
    pub no_optimise: bool,
    /// `--dry-run`
    pub dry_run: bool,
    /// `-o`
    pub output: Option<PathBuf>,
    /// `-f`
    pub format: Format,
    /// `-B`
    pub buffering: Buffering,
    /// `-q`
    pub quiet: bool,
    /// `-k`
    pub helper_warnings: bool,
    /// `--no-warnings`
    pub no_warnings: bool,
    /// `--strict`
    pub strict: bool,
    /// `-I`
    pub include_dirs: Vec<PathBuf>,
    /// `--include`
    pub includes: Vec<PathBuf>,
    /// `--unsafe`
    pub allow_unsafe: bool,
    /// `--mode`, `--test`, `--bench`, `--fmt`
    pub mode: Mode,
    /// `-d`
    pub dump: Vec<Stage>,
    /// `--emit-elf`, `--aot`
    pub emit: Option<PathBuf>,
    /// `--info`
    pub info: bool,
    /// `-h`
    pub help: bool,
    /// `-V`
    pub version: bool,
    /// `-i`
    pub interactive: bool,
    /// `--live`, `top`
    pub live: bool,
}

/// Why argv is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Lines for the error stream.
    pub message: String,
    /// Whether the help follows them.
    pub help: bool,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: false,
        }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: true,
        }
    }
}

/// The highest process id that Linux gives.
const PID_MAX: i64 = 0x40_0000;

/// Parses argv, its first element being the program's own name.
///
/// # Errors
/// What is wrong, in the words of getopt where it is a matter of spelling.
pub fn parse(argv: &[OsString]) -> Result<Args, Refusal> {
    let matches = flags::command()
        .try_get_matches_from(argv)
        .map_err(|e| spelling(&e, argv))?;
    let m = Matches(&matches);
    let mut args = Args {
        list: m.is_set("list"),
        verbose: m.count("verbose"),
        pid: m.value("pid").map(pid).transpose()?,
        command: m.text("cmd"),
        cgroups: m.texts("cgroup"),
        containers: m.texts("container"),
        dwarf_pids: m.values("dwarf_pid").map(pid).collect::<Result<_, _>>()?,
        usdt_file_activation: m.is_set("usdt_file_activation"),
        probe_filter: m.text("probe_filter").map(filter).transpose()?,
        traceable_functions: m.value("traceable_functions").map(PathBuf::from),
        debuginfo: m
            .values("debuginfo")
            .flat_map(|dirs| std::env::split_paths(dirs))
            .collect(),
        engine: engine(m.value("engine"))?,
        no_optimise: optimise(&m)?,
        dry_run: m.is_set("dry_run"),
        output: m.value("output").map(PathBuf::from),
        format: format(m.value("format"))?,
        buffering: buffering(m.value("buffering"))?,
        quiet: m.is_set("quiet"),
        helper_warnings: m.count("warnings") > 0,
        no_warnings: m.is_set("no_warnings"),
        strict: m.is_set("strict"),
        include_dirs: m.values("include_dir").map(PathBuf::from).collect(),
        includes: m.values("include").map(PathBuf::from).collect(),
        allow_unsafe: m.is_set("unsafe_mode"),
        mode: mode(&m)?,
        emit: m.value("emit_elf").or(m.value("aot")).map(PathBuf::from),
        info: m.is_set("info"),
        help: m.is_set("help"),
        version: m.is_set("version"),
        interactive: m.is_set("interactive"),
        live: m.is_set("live"),
        ..Args::default()
    };
    for list in m.values("no_feature") {
        for name in list.to_string_lossy().split(',') {
            args.avoid.push(match name {
                "kprobe_multi" => Avoid::KprobeMulti,
                "kprobe_session" => Avoid::KprobeSession,
                "uprobe_multi" => Avoid::UprobeMulti,
                _ => {
                    return Err(Refusal::usage(format!(
                        "ERROR: USAGE: --no-feature can only have values 'kprobe_multi', \
                         'kprobe_session', 'uprobe_multi': {name}"
                    )));
                }
            });
        }
    }
    for list in m.values("debug") {
        for name in list.to_string_lossy().split(',') {
            let known = Stage::NAMES.iter().find(|(n, _)| *n == name);
            let Some((_, stages)) = known else {
                let names: Vec<_> = Stage::NAMES.iter().map(|(n, _)| *n).collect();
                // Often a long option with one dash, `-debug`: the help tells.
                return Err(Refusal::usage(format!(
                    "ERROR: Invalid debug stage \"{name}\"\nValid stages: {}",
                    names.join(", ")
                )));
            };
            args.dump.extend_from_slice(stages);
        }
    }
    if args.emit.is_some() {
        // Better than to run the script instead of what was asked for.
        return Err(Refusal::new(
            "ERROR: this version cannot write compiled programs to files",
        ));
    }
    if args.pid.is_some() && args.command.is_some() {
        return Err(Refusal::usage("ERROR: USAGE: Cannot use both -c and -p."));
    }
    operands(&m, &mut args)?;
    Ok(args)
}

/// Distributes the operands: program, search, parameters.
fn operands(m: &Matches<'_>, args: &mut Args) -> Result<(), Refusal> {
    let mut rest = m.values("operands").peekable();
    if let Some(text) = m.value("eval") {
        let text = text.to_str();
        let text = text.ok_or_else(|| Refusal::new("ERROR: the program of -e is not UTF-8"))?;
        args.program = Some(Program::Inline(text.to_owned()));
    } else if let Some(first) = rest.next_if(|_| !args.list) {
        args.program = Some(match first.as_bytes() {
            b"-" => Program::Stdin,
            _ => Program::File(PathBuf::from(first)),
        });
    } else if args.list {
        args.search = rest.next().map(|s| s.to_string_lossy().into_owned());
    }
    for param in rest {
        let text = param.to_str();
        let text = text.ok_or_else(|| Refusal::new("ERROR: a parameter is not UTF-8"))?;
        args.params.push(text.to_owned());
    }
    Ok(())
}

struct Matches<'a>(&'a ArgMatches);

impl<'a> Matches<'a> {
    fn is_set(&self, id: &str) -> bool {
        self.0.get_flag(id)
    }
    fn count(&self, id: &str) -> u8 {
        self.0.get_count(id)
    }
    fn value(&self, id: &str) -> Option<&'a OsStr> {
        self.0.get_one::<OsString>(id).map(OsString::as_os_str)
    }
    fn values(&self, id: &str) -> impl Iterator<Item = &'a OsStr> + use<'a> {
        let all = self.0.get_many::<OsString>(id).unwrap_or_default();
        all.map(OsString::as_os_str)
    }
    fn texts(&self, id: &str) -> Vec<String> {
        self.values(id)
            .map(|v| v.to_string_lossy().into_owned())
            .collect()
    }
    fn text(&self, id: &str) -> Option<String> {
        self.value(id).map(|v| v.to_string_lossy().into_owned())
    }
}

fn pid(text: &OsStr) -> Result<u32, Refusal> {
    let text = text.to_string_lossy();
    let n: i64 = text.parse().map_err(|_| {
        Refusal::new(format!(
            "ERROR: Failed to parse pid: invalid integer: {text}"
        ))
    })?;
    match u32::try_from(n) {
        Ok(pid) if (1..=PID_MAX).contains(&n) => Ok(pid),
        _ => Err(Refusal::new(format!("ERROR: Pid out of range: {n}"))),
    }
}

fn filter(text: String) -> Result<regex::Regex, Refusal> {
    regex::Regex::new(&text).map_err(|e| Refusal::new(format!("ERROR: Invalid probe filter: {e}")))
}

fn format(value: Option<&OsStr>) -> Result<Format, Refusal> {
    match value.map(OsStr::as_bytes) {
        None | Some(b"text") => Ok(Format::Text),
        Some(b"json") => Ok(Format::Json),
        Some(b"folded") => Ok(Format::Folded),
        Some(b"flame") => Ok(Format::Flame),
        Some(b"pprof") => Ok(Format::Pprof),
        Some(other) => Err(Refusal::new(format!(
            "ERROR: Invalid output format \"{}\"\nValid formats: 'text', 'json', 'folded', \
             'flame', 'pprof'",
            String::from_utf8_lossy(other)
        ))),
    }
}

fn buffering(value: Option<&OsStr>) -> Result<Buffering, Refusal> {
    match value.map(OsStr::as_bytes) {
        None | Some(b"line") => Ok(Buffering::Line),
        Some(b"full") => Ok(Buffering::Full),
        Some(b"none") => Ok(Buffering::None),
        Some(_) => Err(Refusal::usage(
            "ERROR: USAGE: -B must be either 'line', 'full', or 'none'.",
        )),
    }
}

fn engine(value: Option<&OsStr>) -> Result<Engine, Refusal> {
    match value.map(OsStr::as_bytes) {
        None | Some(b"kernel") => Ok(Engine::Kernel),
        Some(b"user") => Ok(Engine::User),
        Some(_) => Err(Refusal::usage(
            "ERROR: USAGE: --engine must be either 'kernel' or 'user'.",
        )),
    }
}

/// Whether `-O` says to leave the optimiser out.
fn optimise(m: &Matches<'_>) -> Result<bool, Refusal> {
    match m.value("optimise").map(OsStr::as_bytes) {
        None | Some(b"2") => Ok(false),
        Some(b"0") => Ok(true),
        Some(_) => Err(Refusal::usage(
            "ERROR: USAGE: -O must be either '0' or '2'.",
        )),
    }
}

fn mode(m: &Matches<'_>) -> Result<Mode, Refusal> {
    let short = [
        ("test", Mode::Test),
        ("bench", Mode::Bench),
        ("format_script", Mode::Format),
    ];
    let flag = short.iter().find(|(id, _)| m.is_set(id)).map(|(_, m)| *m);
    Ok(match m.value("mode").map(OsStr::as_bytes) {
        None => flag.unwrap_or_default(),
        Some(b"codegen") => Mode::Codegen,
        Some(b"compiler-bench") => Mode::CompilerBench,
        Some(b"bench") => Mode::Bench,
        Some(b"test") => Mode::Test,
        Some(b"format") => Mode::Format,
        Some(_) => {
            return Err(Refusal::usage(
                "ERROR: USAGE: --mode can only be 'codegen', 'compiler-bench', 'bench', 'test' \
                 or 'format'.",
            ));
        }
    })
}

/// A misspelt command line, in the words of getopt_long.
fn spelling(e: &clap::Error, argv: &[OsString]) -> Refusal {
    let context = |kind| match e.get(kind) {
        Some(ContextValue::String(s)) => s.clone(),
        _ => String::new(),
    };
    let arg = context(ContextKind::InvalidArg);
    let what = match e.kind() {
        ErrorKind::UnknownArgument => match arg.strip_prefix("--") {
            Some(_) => format!("unrecognized option '{arg}'"),
            None => {
                let letter = arg.trim_start_matches('-');
                format!(
                    "invalid option -- '{}'",
                    letter.chars().next().unwrap_or('?')
                )
            }
        },
        // Only the last word can lack its value.
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            let last = argv.last().map(|a| a.to_string_lossy().into_owned());
            let last = last.unwrap_or_default();
            if last.starts_with("--") {
                format!("option '{last}' requires an argument")
            } else {
                let letter = last.chars().next_back().unwrap_or('?');
                format!("option requires an argument -- '{letter}'")
            }
        }
        ErrorKind::TooManyValues => {
            let name = arg.split(['=', ' ']).next().unwrap_or_default().to_owned();
            format!("option '{name}' doesn't allow an argument")
        }
        _ => format!("cannot understand '{arg}'"),
    };
    Refusal::usage(format!("rtrace: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> Result<Args, Refusal> {
        let argv: Vec<OsString> = std::iter::once("rtrace")
            .chain(line.iter().copied())
            .map(OsString::from)
            .collect();
        parse(&argv)
    }

    fn refused(line: &[&str]) -> (String, bool) {
        let r = args(line).unwrap_err();
        (r.message, r.help)
    }

    #[test]
    fn options_and_operands_mix() {
        let a = args(&["x.bt", "-q", "7", "--unsafe", "--", "--n=1", "-5"]).unwrap();
        assert_eq!(a.program, Some(Program::File("x.bt".into())));
        assert_eq!(a.params, ["7", "--n=1", "-5"]);
        assert!(a.quiet && a.allow_unsafe);
    }

    #[test]
    fn inline_programs_leave_all_operands_to_the_script() {
        let a = args(&["-kve", "begin {}", "1", "-fjson", "-B", "none", "-k"]).unwrap();
        assert_eq!(a.program, Some(Program::Inline("begin {}".into())));
        assert_eq!(a.params, ["1"]);
        assert_eq!((a.format, a.buffering), (Format::Json, Buffering::None));
        assert!(a.helper_warnings && a.verbose == 1);
        assert_eq!(args(&["-"]).unwrap().program, Some(Program::Stdin));
    }

    #[test]
    fn listing_searches_for_its_operand() {
        let a = args(&["-lv", "kprobe:*"]).unwrap();
        assert!(a.list && a.verbose == 1);
        assert_eq!((a.search.as_deref(), a.program), (Some("kprobe:*"), None));
        let a = args(&["-l", "-e", "begin {}"]).unwrap();
        assert_eq!(a.program, Some(Program::Inline("begin {}".into())));
    }

    #[test]
    fn names_may_be_abbreviated_and_the_last_one_wins() {
        let a = args(&["--out", "a", "--output=b", "--no-w", "f"]).unwrap();
        assert_eq!(a.output, Some("b".into()));
        assert!(a.no_warnings);
    }

    #[test]
    fn debug_stages_are_a_list() {
        let a = args(&["-d", "ast,codegen", "-d", "dis", "f"]).unwrap();
        assert_eq!(a.dump, [Stage::Ast, Stage::Ir, Stage::Bpf]);
        assert!(
            refused(&["-d", "x"])
                .0
                .starts_with("ERROR: Invalid debug stage \"x\"")
        );
    }

    #[test]
    fn refusals_have_the_known_words() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&["--nope"], "rtrace: unrecognized option '--nope'", true),
            (&["-y"], "rtrace: invalid option -- 'y'", true),
            (&["-e"], "rtrace: option requires an argument -- 'e'", true),
            (&["-ve"], "rtrace: option requires an argument -- 'e'", true),
            (
                &["--output"],
                "rtrace: option '--output' requires an argument",
                true,
            ),
            (
                &["--quiet=1"],
                "rtrace: option '--quiet' doesn't allow an argument",
                true,
            ),
            (
                &["-p", "1", "-c", "x"],
                "ERROR: USAGE: Cannot use both -c and -p.",
                true,
            ),
            (
                &["-p", "abc"],
                "ERROR: Failed to parse pid: invalid integer: abc",
                false,
            ),
            (
                &["-p", "99999999"],
                "ERROR: Pid out of range: 99999999",
                false,
            ),
            (
                &["-f", "xml"],
                "ERROR: Invalid output format \"xml\"\nValid formats: 'text', 'json', 'folded', \
                 'flame', 'pprof'",
                false,
            ),
            (
                &["-B", "x"],
                "ERROR: USAGE: -B must be either 'line', 'full', or 'none'.",
                true,
            ),
        ];
        for (line, message, help) in cases {
            assert_eq!(refused(line), ((*message).to_owned(), *help), "{line:?}");
        }
    }
}
