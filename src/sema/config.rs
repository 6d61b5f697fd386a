//! Configuration: the `config` block and the environment.
//!
//! Options are a table; names are those of the environment variables without their prefix and
//! in any case. The environment wins over the script.

use super::SemaContext;
use super::hir;
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::object::{MissingProbes, RunConfig, SymbolCache, SymbolNames};
use crate::source::Span;
use crate::syntax::ast::{self, ConfigValue};
use crate::types::StackMode;

/// Whether an unstable feature may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unstable {
    /// Refused.
    Error,
    /// Used with a warning.
    Warn,
    /// Used silently.
    Enable,
}

/// Options that concern type checking alone.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Mode of stacks that do not name one.
    pub stack_mode: StackMode,
    /// `unstable_tseries`
    pub tseries: Unstable,
    /// `unstable_dw_ustack`
    pub dw_ustack: Unstable,
    /// `unstable_typeinfo`
    pub typeinfo: Unstable,
    /// Licence of the programs.
    pub license: String,
    lazy_symbolication: bool,
}

/// A value in the `config` record.
pub(crate) enum Shown {
    /// A switch.
    Bool(bool),
    /// A number.
    Int(u64),
    /// Anything else as text.
    Text(String),
}

/// What a configuration amounts to.
pub(crate) struct Loaded {
    /// What shapes code.
    pub compile: hir::Config,
    /// What concerns run time.
    pub run: RunConfig,
    /// The rest.
    pub settings: Settings,
}

const LICENSES: [&str; 6] = [
    "GPL",
    "GPL v2",
    "GPL and additional rights",
    "Dual BSD/GPL",
    "Dual MIT/GPL",
    "Dual MPL/GPL",
];

/// A value that is being assigned: its text and, from the script, its kind.
struct Given {
    text: String,
    number: Option<u64>,
}

impl Given {
    fn number(&self, name: &str) -> Result<u64, String> {
        self.number
            .ok_or_else(|| format!("{name}: expecting a number, got {}", self.text))
    }

    fn number32(&self, name: &str) -> Result<u32, String> {
        u32::try_from(self.number(name)?).map_err(|_| {
            format!(
                "{name}: value {} is too large, the maximum is {}",
                self.text,
                u32::MAX
            )
        })
    }

    fn boolean(&self, name: &str) -> Result<bool, String> {
        match self.text.to_ascii_lowercase().as_str() {
            "1" | "true" | "on" | "yes" => Ok(true),
            "0" | "false" | "off" | "no" => Ok(false),
            _ => Err(format!(
                "{name}: Invalid bool value: valid values are true, false, 1 or 0."
            )),
        }
    }

    fn one_of<T: Copy>(&self, name: &str, values: &[(&str, T)], list: &str) -> Result<T, String> {
        let text = self.text.to_ascii_lowercase();
        let found = values.iter().find(|(n, _)| n.eq_ignore_ascii_case(&text));
        found
            .map(|(_, v)| *v)
            .ok_or_else(|| format!("{name}: Invalid value for {name}: valid values are {list}."))
    }

    fn unstable(&self, name: &str) -> Result<Unstable, String> {
        self.one_of(
            name,
            &[
                ("error", Unstable::Error),
                ("warn", Unstable::Warn),
                ("enable", Unstable::Enable),
            ],
            "error, warn, and enable",
        )
    }
}

/// Names that changed, or that mean nothing any more (`None`).
const RENAMED: &[(&str, Option<&str>)] = &[
    ("strlen", Some("max_strlen")),
    ("cat_bytes_max", Some("max_cat_bytes")),
    ("map_keys_max", Some("max_map_keys")),
    ("no_cpp_demangle", Some("cpp_demangle")),
    ("symbol_source", None),
    ("max_type_res_iterations", None),
    ("unstable_addr", None),
    ("unstable_import", None),
    ("unstable_macro", None),
    ("unstable_map_decl", None),
    ("max_ast_nodes", None),
];

/// Environment variables with the prefix that are no options.
const ENVIRONMENT_ONLY: &[&str] = &[
    "btf",
    "kernel_source",
    "kernel_build",
    "vmlinux",
    "color",
    "debug_output",
    "cache",
];

impl Loaded {
    fn new(cx: &SemaContext<'_>) -> Self {
        Self {
            compile: hir::Config {
                warn_helpers: cx.options.warn_helpers,
                pid_filter: cx.options.pid,
                cgroups: cx.options.cgroups.clone(),
                pid_ns: cx.options.pid_ns,
                ..Default::default()
            },
            run: RunConfig {
                symbol_cache: if cx.options.cpid.is_some() {
                    SymbolCache::PerProgram
                } else {
                    SymbolCache::PerPid
                },
                ..Default::default()
            },
            settings: Settings::default(),
        }
    }

    /// Sets one option, whose name is lower case already.
    fn set(&mut self, name: &str, v: &Given) -> Result<(), String> {
        match name {
            "cache_user_symbols" => {
                let values = [
                    ("PER_PID", SymbolCache::PerPid),
                    ("PER_PROGRAM", SymbolCache::PerProgram),
                    ("NONE", SymbolCache::None),
                    ("1", SymbolCache::PerPid),
                    ("0", SymbolCache::None),
                ];
                self.run.symbol_cache =
                    v.one_of(name, &values, "PER_PID, PER_PROGRAM, and NONE")?;
            }
            "cpp_demangle" => self.run.demangle = v.boolean(name)?,
            "no_cpp_demangle" => self.run.demangle = !v.boolean(name)?,
            "lazy_symbolication" => self.settings.lazy_symbolication = v.boolean(name)?,
            "license" => {
                if !LICENSES.contains(&v.text.as_str()) {
                    return Err(format!(
                        "Invalid value for license. Found: {}. Valid values: {}.",
                        v.text,
                        LICENSES.join(", ")
                    ));
                }
                self.settings.license = v.text.clone();
            }
            "log_size" => self.run.log_size = v.number32(name)?,
            "max_bpf_progs" => self.compile.max_bpf_progs = v.number32(name)?,
            "max_cat_bytes" => self.run.max_cat_bytes = v.number(name)?,
            "max_map_keys" => self.compile.max_map_keys = v.number32(name)?,
            "max_probes" => self.run.max_probes = v.number(name)?,
            "max_strlen" => self.compile.max_strlen = v.number32(name)?.max(1),
            "missing_probes" => {
                let values = [
                    ("error", MissingProbes::Error),
                    ("warn", MissingProbes::Warn),
                    ("ignore", MissingProbes::Ignore),
                ];
                self.run.missing_probes = v.one_of(name, &values, "ignore, warn, and error")?;
            }
            "on_stack_limit" => self.compile.on_stack_limit = v.number32(name)?,
            "perf_rb_pages" => self.run.perf_rb_pages = v.number(name)?,
            "print_maps_on_exit" => self.run.print_maps_on_exit = v.boolean(name)?,
            "show_debug_info" => self.run.show_debug_info = v.boolean(name)?,
            "use_blazesym" => {
                v.boolean(name)?;
            }
            "stack_mode" => {
                self.settings.stack_mode = v.one_of(
                    name,
                    &[
                        ("bpftrace", StackMode::Bpftrace),
                        ("raw", StackMode::Raw),
                        ("perf", StackMode::Perf),
                        ("build_id", StackMode::BuildId),
                    ],
                    "bpftrace, raw, perf, and build_id",
                )?;
            }
            "symbol_names" => {
                let values = [
                    ("full", SymbolNames::Full),
                    ("no_return", SymbolNames::NoReturn),
                    ("no_params", SymbolNames::NoParams),
                    ("no_template_args", SymbolNames::NoTemplateArgs),
                ];
                self.run.symbol_names = v.one_of(
                    name,
                    &values,
                    "full, no_return, no_params, and no_template_args",
                )?;
            }
            "str_trunc_trailer" => self.run.str_trunc_trailer = v.text.clone(),
            "unstable_tseries" => self.settings.tseries = v.unstable(name)?,
            "unstable_typeinfo" => self.settings.typeinfo = v.unstable(name)?,
            "unstable_dw_ustack" => self.settings.dw_ustack = v.unstable(name)?,
            "unstable_import_statement" => {
                v.unstable(name)?;
            }
            _ => return Err(format!("{name}: not a known configuration option")),
        }
        Ok(())
    }
}

/// Reads the configuration.
pub(crate) fn load(cx: &SemaContext<'_>, program: &ast::Program) -> (Loaded, Diagnostics) {
    let mut out = Loaded::new(cx);
    let mut diags = Diagnostics::new();
    for entry in program.config.iter().flat_map(|c| &c.entries) {
        let (text, number) = match &entry.value {
            ConfigValue::Int(n) => (n.to_string(), Some(*n)),
            ConfigValue::Bool(b) => (b.to_string(), None),
            ConfigValue::Str(s) => (String::from_utf8_lossy(s).into_owned(), None),
            ConfigValue::Word(w) => (w.clone(), None),
        };
        let given = Given { text, number };
        assign(
            &mut out,
            &entry.name.name,
            &given,
            Some(entry.span),
            &mut diags,
        );
    }
    let mut env: Vec<_> = cx.options.env.iter().collect();
    env.sort();
    for (name, text) in env {
        let lower = name.to_ascii_lowercase();
        let known = lower
            .strip_prefix("bpftrace_")
            .or_else(|| lower.strip_prefix("rtrace_"));
        let Some(option) = known else { continue };
        if ENVIRONMENT_ONLY.contains(&option) {
            continue;
        }
        let given = Given {
            text: text.clone(),
            number: text.parse().ok(),
        };
        assign(&mut out, option, &given, None, &mut diags);
    }
    (out, diags)
}

fn assign(
    out: &mut Loaded,
    written: &str,
    given: &Given,
    span: Option<Span>,
    diags: &mut Diagnostics,
) {
    let mut name = written.to_ascii_lowercase();
    if let Some(rest) = name.strip_prefix("bpftrace_") {
        name = rest.to_owned();
    }
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == name) {
        let text = match new {
            Some(new) => format!("{name} has been renamed, please use {new}"),
            None => format!("{name} is deprecated and has no effect"),
        };
        diags.push(Diagnostic::warning(Code::DeprecatedConfig, span, text));
        match new {
            Some(new) if name != "no_cpp_demangle" => name = (*new).to_owned(),
            Some(_) => {}
            None => return,
        }
    }
    if let Err(text) = out.set(&name, given) {
        let code = if text.ends_with("not a known configuration option") {
            Code::UnknownConfig
        } else {
            Code::BadConfigValue
        };
        let d = Diagnostic::error(code, span, text);
        diags.push(match code {
            Code::UnknownConfig => {
                let record = out.settings.record(&out.compile, &out.run);
                let names = record.iter().map(|(name, _)| *name);
                super::check::did_you_mean(d, &name, names)
            }
            _ => d,
        });
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stack_mode: StackMode::Bpftrace,
            tseries: Unstable::Warn,
            dw_ustack: Unstable::Warn,
            typeinfo: Unstable::Error,
            license: "GPL".into(),
            lazy_symbolication: true,
        }
    }
}

impl Settings {
    /// Whether `typeinfo` may be used.
    pub fn allows_typeinfo(&self) -> bool {
        self.typeinfo != Unstable::Error
    }

    /// All options with their values, in the order in which the `config` record prints them.
    pub fn record(&self, compile: &hir::Config, run: &RunConfig) -> Vec<(&'static str, Shown)> {
        let text = |t: &str| Shown::Text(t.to_owned());
        let int = |n: u32| Shown::Int(u64::from(n));
        vec![
            ("cpp_demangle", Shown::Bool(run.demangle)),
            ("lazy_symbolication", Shown::Bool(self.lazy_symbolication)),
            ("print_maps_on_exit", Shown::Bool(run.print_maps_on_exit)),
            ("use_blazesym", Shown::Bool(false)),
            ("show_debug_info", Shown::Bool(run.show_debug_info)),
            ("log_size", int(run.log_size)),
            ("max_bpf_progs", int(compile.max_bpf_progs)),
            ("max_cat_bytes", Shown::Int(run.max_cat_bytes)),
            ("max_map_keys", int(compile.max_map_keys)),
            ("max_probes", Shown::Int(run.max_probes)),
            ("max_strlen", int(compile.max_strlen)),
            ("on_stack_limit", int(compile.on_stack_limit)),
            ("perf_rb_pages", Shown::Int(run.perf_rb_pages)),
            (
                "stack_mode",
                text(match self.stack_mode {
                    StackMode::Bpftrace => "bpftrace",
                    StackMode::Perf => "perf",
                    StackMode::Raw => "raw",
                    StackMode::BuildId => "build_id",
                }),
            ),
            (
                "cache_user_symbols",
                text(match run.symbol_cache {
                    SymbolCache::PerPid => "PER_PID",
                    SymbolCache::PerProgram => "PER_PROGRAM",
                    SymbolCache::None => "NONE",
                }),
            ),
            (
                "missing_probes",
                text(match run.missing_probes {
                    MissingProbes::Error => "error",
                    MissingProbes::Warn => "warn",
                    MissingProbes::Ignore => "ignore",
                }),
            ),
            ("license", text(&self.license)),
            ("str_trunc_trailer", text(&run.str_trunc_trailer)),
        ]
    }
}

/// Names of the options that a script sets.
pub fn options() -> Vec<&'static str> {
    let all = Settings::default().record(&hir::Config::default(), &RunConfig::default());
    all.into_iter().map(|(name, _)| name).collect()
}

impl super::check::Checker<'_> {
    /// Whether an unstable feature may be used here; warns or refuses as configured.
    pub(super) fn unstable(&mut self, name: &str, setting: Unstable, span: Span) -> bool {
        match setting {
            Unstable::Enable => true,
            Unstable::Warn => {
                let text = format!(
                    "Script is using an unstable feature: {name}. To prevent this warning you must explicitly enable it in the config e.g. unstable_{name}=enable"
                );
                self.report(Diagnostic::warning(Code::UnstableUse, None, text));
                true
            }
            Unstable::Error => {
                let text = format!(
                    "{name} feature is not enabled by default. To enable this unstable feature, set the config flag to enable. unstable_{name}=enable"
                );
                self.error(Code::UnstableFeature, span, text);
                false
            }
        }
    }
}
