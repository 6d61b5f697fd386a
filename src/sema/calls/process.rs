//! Functions that change the traced process or kernel.

use super::{Call, Rule};
use crate::diag::Code;
use crate::sema::hir::{Arg, Expr};
use crate::sema::names;
use crate::sema::probes::Provider;
use crate::sema::value::{self, literal_text, literal_value};
use crate::types::Type;

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "signal" | "signal_thread" => signal,
        "override" => override_,
        "write_user" => write_user,
        _ => return None,
    })
}

fn signal(call: &mut Call<'_, '_>) -> Option<Expr> {
    if let Some(p) = &call.c.unit.probe
        && !matches!(
            p.provider,
            Provider::Kprobe
                | Provider::Kretprobe
                | Provider::Uprobe
                | Provider::Uretprobe
                | Provider::Usdt
                | Provider::Tracepoint
                | Provider::Profile
                | Provider::Fentry
                | Provider::Fexit
                | Provider::RawTracepoint
        )
    {
        let text = format!(
            "{}() can not be used for this probetype {}",
            call.row.name,
            p.provider.name()
        );
        return call.fail(Code::WrongProbeForBuiltin, call.span, text);
    }
    let v = call.value(0)?;
    let span = call.span;
    if let Some(name) = literal_text(&v) {
        let name = String::from_utf8_lossy(name).into_owned();
        return match names::signal_number(&name) {
            Some(n) => call.make(vec![Arg::Int(n)], Type::None),
            None => {
                let text = format!("{name} is not a valid signal");
                call.fail(Code::BadArgument, span, text)
            }
        };
    }
    if let Some(n) = literal_value(&v) {
        if !(1..=64).contains(&n) {
            let text = format!("{n} is not a valid signal, allowed range: [1,64]");
            return call.fail(Code::BadArgument, span, text);
        }
        return call.make(vec![Arg::Int(n as i64)], Type::None);
    }
    let v = call.unsigned(0)?;
    call.make(vec![Arg::Expr(v)], Type::None)
}

fn override_(call: &mut Call<'_, '_>) -> Option<Expr> {
    if let Some(p) = &call.c.unit.probe
        && p.provider != Provider::Kprobe
    {
        let text = format!(
            "override can not be used with \"{}\" probes",
            p.provider.name()
        );
        return call.fail(Code::WrongProbeForBuiltin, call.span, text);
    }
    let v = call.unsigned(0)?;
    call.make(vec![Arg::Expr(v)], Type::None)
}

fn write_user(call: &mut Call<'_, '_>) -> Option<Expr> {
    let to = call.value(0)?;
    let from = call.value(1)?;
    for v in [&to, &from] {
        if !matches!(v.ty, Type::Ptr(..) | Type::Int(_)) {
            let text = format!(
                "write_user() expects a pointer ({} provided)",
                call.c.spell(&v.ty)
            );
            return call.fail(Code::ArgumentType, call.span, text);
        }
    }
    let len = call.integer(2)?;
    let len = match literal_value(&len).and_then(|n| i64::try_from(n).ok()) {
        Some(n) => Arg::Int(n),
        None => Arg::Expr(value::cast(len, &Type::U64)),
    };
    call.make(vec![Arg::Expr(to), Arg::Expr(from), len], Type::Bool)
}
