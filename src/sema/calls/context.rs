//! Values of the context, and which probes have them.

use std::sync::Arc;

use super::{Call, Rule};
use crate::builtins;
use crate::diag::Code;
use crate::sema::check::Checker;
use crate::sema::env::{ArgField, ArgSource};
use crate::sema::hir::{self, Arg, Context, Expr, ExprKind};
use crate::sema::probes::{Args, Provider};
use crate::sema::value;
use crate::source::Span;
use crate::types::Type;

/// Bytes of a task's name, terminator included.
const COMM: u32 = 16;

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "pid" | "tid" => pid,
        "uid" | "gid" | "cpu" | "numaid" | "cgroup" | "rand" => |call| call.make(vec![], Type::U64),
        "username" => |call| call.make(vec![], Type::Username),
        "comm" => comm,
        "pcomm" => |call| task_text(call, &["real_parent"]),
        "leader_comm" => |call| task_text(call, &["group_leader"]),
        "ppid" => |call| task_number(call, &["real_parent", "tgid"]),
        "leader_tid" => |call| task_number(call, &["group_leader", "pid"]),
        "ncpus" => |call| {
            let n = call.c.cx.facts.ncpus();
            Some(value::constant(i128::from(n), Type::U64, call.loc))
        },
        "curtask" => |call| {
            let ty = call.c.kernel_pointer("task_struct");
            call.make(vec![], ty)
        },
        "func" => func,
        "retval" => retval,
        "probe" => probe,
        "probetype" => probetype,
        "usermode" => |call| call.make(vec![], Type::int(false, 1)),
        "args" => args,
        "ctx" => ctx,
        "reg" => reg,
        _ => return None,
    })
}

fn pid(call: &mut Call<'_, '_>) -> Option<Expr> {
    let mut initial = false;
    if call.len() > 0 {
        match call.word(0) {
            Some("init") => initial = true,
            Some("curr_ns") => {}
            word => {
                let word = match word {
                    Some(w) => w.to_owned(),
                    None => call.text(0)?,
                };
                let text = format!("Invalid PID namespace mode: {word} (expects: curr_ns or init)");
                return call.fail(Code::BadArgument, call.span, text);
            }
        }
    }
    call.make(vec![Arg::Int(i64::from(initial))], Type::U32)
}

/// Argument: the process, or where the name is in the current task if it can be read there.
fn comm(call: &mut Call<'_, '_>) -> Option<Expr> {
    let mut args = Vec::new();
    if call.len() > 0 {
        let pid = call.integer(0)?;
        args.push(Arg::Expr(value::cast(pid, &Type::U32)));
    } else if call.c.cx.options.in_kernel && call.c.is_event() {
        let offset = call.c.cx.facts.task_comm();
        args.extend(offset.map(|at| Arg::Int(i64::from(at))));
    }
    call.make(args, Type::Str(COMM))
}

/// The task in argument 0, or the current one.
fn task(call: &mut Call<'_, '_>) -> Option<Expr> {
    if call.len() > 0 {
        return call.value(0);
    }
    let ty = call.c.kernel_pointer("task_struct");
    let row = builtins::find("curtask")?;
    Some(call.make_row(row, vec![], ty))
}

fn task_number(call: &mut Call<'_, '_>, path: &[&str]) -> Option<Expr> {
    let task = task(call)?;
    let e = call.c.walk(task, path, call.span);
    (!value::is_unknown(&e)).then(|| value::cast(e, &Type::U32))
}

fn task_text(call: &mut Call<'_, '_>, path: &[&str]) -> Option<Expr> {
    let task = task(call)?;
    let path: Vec<&str> = path.iter().copied().chain(["comm"]).collect();
    let e = call.c.walk(task, &path, call.span);
    (!value::is_unknown(&e)).then(|| value::cast(e, &Type::Str(COMM)))
}

impl Checker<'_> {
    /// Whether this is in a probe of what happens often: worth a look at the kernel's types.
    fn is_event(&self) -> bool {
        self.unit.probe.as_ref().is_some_and(|p| {
            !matches!(
                p.provider,
                Provider::Begin | Provider::End | Provider::SelfSignal | Provider::Interval
            )
        })
    }

    /// `argN` and `sargN`, if that is what a name is.
    pub(in crate::sema) fn context_arg(&mut self, name: &str, span: Span) -> Option<Expr> {
        let bare = name.strip_prefix("__builtin_").unwrap_or(name);
        let digits = bare
            .strip_prefix("arg")
            .or_else(|| bare.strip_prefix("sarg"))?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let loc = self.loc(span);
        let n: u8 = digits.parse().unwrap_or(u8::MAX);
        let wrong = |c: &mut Self| {
            let text = format!(
                "The {bare} builtin can only be used with 'kprobes', 'uprobes' and 'usdt' probes"
            );
            Some(c.fail(Code::WrongProbeForBuiltin, span, text))
        };
        let Some(p) = &self.unit.probe else {
            return wrong(self);
        };
        if bare.starts_with('s') {
            return wrong(self);
        }
        if let Some(usdt) = &p.usdt_args {
            return Some(match usdt.get(usize::from(n)).cloned() {
                Some(Some(at)) => Expr {
                    ty: location_type(&at),
                    kind: ExprKind::Location(at),
                    loc,
                },
                Some(None) => {
                    let text = format!("The place of {bare} is not understood");
                    self.fail(Code::BadArgument, span, text)
                }
                None => {
                    let text = format!(
                        "Invalid argument {bare}: the probe has {} arguments",
                        usdt.len()
                    );
                    self.fail(Code::BadArgument, span, text)
                }
            });
        }
        let available = match p.ctx {
            Context::PtRegs { ret, .. } => !ret,
            Context::Args { count, .. } => {
                p.provider == Provider::RawTracepoint && (count == 0 || n < count)
            }
            _ => false,
        };
        if !available {
            return wrong(self);
        }
        Some(Expr {
            kind: ExprKind::CtxArg(n),
            ty: Type::U64,
            loc,
        })
    }

    /// The arguments of the current probe by name; reports where there are none.
    pub(in crate::sema) fn probe_args(&mut self, span: Span) -> Option<Arc<Args>> {
        let Some(p) = &self.unit.probe else {
            self.error(
                Code::WrongProbeForBuiltin,
                span,
                "The args builtin cannot be used in functions",
            );
            return None;
        };
        if let Some(args) = &p.args {
            return Some(args.clone());
        }
        let text = match &p.no_args {
            Some(reason) => reason.clone(),
            None => format!(
                "The args builtin can only be used with tracepoint, rawtracepoint, fentry/fexit, and uprobe probes ({} used here)",
                p.provider.type_name()
            ),
        };
        self.error(Code::WrongProbeForBuiltin, span, text);
        None
    }
}

fn location_type(at: &hir::ArgLocation) -> Type {
    match at {
        hir::ArgLocation::Const { size, signed, .. }
        | hir::ArgLocation::Reg { size, signed, .. }
        | hir::ArgLocation::Memory { size, signed, .. } => Type::int(*signed, *size),
    }
}

fn func(call: &mut Call<'_, '_>) -> Option<Expr> {
    let provider = call.c.unit.probe.as_ref().map(|p| p.provider);
    let ty = match provider {
        Some(Provider::Kprobe | Provider::Kretprobe | Provider::Fentry | Provider::Fexit) => {
            Type::KSym
        }
        Some(Provider::Uprobe | Provider::Uretprobe) => Type::USym,
        Some(p) => {
            let text = format!(
                "The func builtin can not be used with '{}' probes",
                p.name()
            );
            return call.fail(Code::WrongProbeForBuiltin, call.span, text);
        }
        None => {
            return call.fail(
                Code::WrongProbeForBuiltin,
                call.span,
                "The func builtin can not be used in functions",
            );
        }
    };
    call.make(vec![], ty)
}

fn retval(call: &mut Call<'_, '_>) -> Option<Expr> {
    let probe = call.c.unit.probe.clone();
    match probe.as_ref().map(|p| (p.ctx, p.retval.clone())) {
        Some((_, Some((ty, n)))) => Some(Expr {
            kind: ExprKind::CtxArg(n),
            ty,
            loc: call.loc,
        }),
        Some((Context::PtRegs { ret: true, .. }, _)) => call.make(vec![], Type::U64),
        _ => call.fail(
            Code::WrongProbeForBuiltin,
            call.span,
            "The retval builtin can only be used with 'kretprobe' and 'uretprobe' and 'fentry' probes",
        ),
    }
}

fn probe(call: &mut Call<'_, '_>) -> Option<Expr> {
    Some(Expr {
        kind: ExprKind::Probe,
        ty: Type::ProbeName,
        loc: call.loc,
    })
}

fn probetype(call: &mut Call<'_, '_>) -> Option<Expr> {
    let name = call
        .c
        .unit
        .probe
        .as_ref()
        .map_or("", |p| p.provider.type_name());
    Some(value::string(name.as_bytes(), call.loc))
}

/// `args` as a whole: a record of all arguments where they are values.
fn args(call: &mut Call<'_, '_>) -> Option<Expr> {
    let args = call.c.probe_args(call.span)?;
    let whole = call.c.unit.probe.as_ref().and_then(|p| p.args_struct);
    if let Some(id) = whole {
        return Some(Expr {
            kind: ExprKind::Ctx,
            ty: Type::Struct(id).ptr_in(crate::types::AddrSpace::Kernel),
            loc: call.loc,
        });
    }
    let loc = call.loc;
    let readable = || {
        let lost = |f: &&ArgField| matches!(f.source, ArgSource::Lost(_));
        args.fields.iter().filter(move |f| !lost(f))
    };
    let values: Vec<Expr> = readable().map(|f| call.c.arg_value(f, loc)).collect();
    let fields: Vec<(Arc<str>, Type)> = readable()
        .zip(&values)
        .map(|(f, v)| (Arc::from(f.name.as_str()), v.ty.clone()))
        .collect();
    Some(Expr {
        kind: ExprKind::Tuple(values),
        ty: Type::Record(fields.into()),
        loc,
    })
}

fn ctx(call: &mut Call<'_, '_>) -> Option<Expr> {
    let target = call
        .c
        .unit
        .probe
        .as_ref()
        .and_then(|p| p.iter)
        .map_or(Type::Void, Type::Struct);
    Some(Expr {
        kind: ExprKind::Ctx,
        ty: target.ptr_in(crate::types::AddrSpace::Kernel),
        loc: call.loc,
    })
}

/// Registers by name and their offsets in `struct pt_regs` (arch/x86/include/asm/ptrace.h).
#[cfg(target_arch = "x86_64")]
const REGISTERS: (&str, &[(&str, i64)]) = (
    "x86_64",
    &[
        ("r15", 0),
        ("r14", 8),
        ("r13", 16),
        ("r12", 24),
        ("bp", 32),
        ("bx", 40),
        ("r11", 48),
        ("r10", 56),
        ("r9", 64),
        ("r8", 72),
        ("ax", 80),
        ("cx", 88),
        ("dx", 96),
        ("si", 104),
        ("di", 112),
        ("orig_rax", 120),
        ("ip", 128),
        ("pc", 128),
        ("cs", 136),
        ("flags", 144),
        ("sp", 152),
        ("ss", 160),
    ],
);

/// Registers by name and their offsets in `struct user_pt_regs`; `r0` to `r30` are computed.
#[cfg(target_arch = "aarch64")]
const REGISTERS: (&str, &[(&str, i64)]) = ("aarch64", &[("sp", 248), ("pc", 256), ("pstate", 264)]);

/// Registers of other architectures are not known.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REGISTERS: (&str, &[(&str, i64)]) = (std::env::consts::ARCH, &[]);

/// Offset of a register in the saved registers of a probe (`struct pt_regs`, on aarch64
/// `struct user_pt_regs`); `None` if there is none of this name.
pub(in crate::sema) fn register(name: &str) -> Option<i64> {
    let known = REGISTERS.1.iter().find(|(n, _)| *n == name).map(|r| r.1);
    if cfg!(target_arch = "aarch64") && known.is_none() {
        let n: i64 = name.strip_prefix('r')?.parse().ok()?;
        return (0..=30).contains(&n).then_some(n * 8);
    }
    known
}

fn reg(call: &mut Call<'_, '_>) -> Option<Expr> {
    if let Some(p) = &call.c.unit.probe
        && !matches!(p.ctx, Context::PtRegs { .. })
    {
        let text = format!("reg can not be used with \"{}\" probes", p.provider.name());
        return call.fail(Code::WrongProbeForBuiltin, call.span, text);
    }
    let name = call.text(0)?;
    match register(&name) {
        Some(offset) => call.make(vec![Arg::Int(offset)], Type::U64),
        None => {
            let text = format!(
                "'{name}' is not a valid register on this architecture ({})",
                REGISTERS.0
            );
            call.fail(Code::BadArgument, call.span, text)
        }
    }
}
