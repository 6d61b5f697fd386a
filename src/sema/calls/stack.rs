//! Stacks: mode and limit become part of the type.

use super::{Call, Rule};
use crate::diag::{Code, Diagnostic};
use crate::sema::hir::Expr;
use crate::sema::types::DEFAULT_STACK_LIMIT;
use crate::sema::value::{self, literal_value};
use crate::types::{StackKind, StackMode, StackTy, Type};

/// Most frames that may be asked for.
const MAX_LIMIT: u16 = 1024;

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "kstack" => |call| stack(call, StackKind::Kernel),
        "ustack" => |call| stack(call, StackKind::User),
        "dw_ustack" => dw_ustack,
        _ => return None,
    })
}

/// The mode of this name.
pub(in crate::sema) fn mode(name: &str) -> Option<StackMode> {
    Some(match name {
        "bpftrace" => StackMode::Bpftrace,
        "perf" => StackMode::Perf,
        "raw" => StackMode::Raw,
        "build_id" => StackMode::BuildId,
        _ => return None,
    })
}

/// The walk is a loop of the kernel's.
fn dw_ustack(call: &mut Call<'_, '_>) -> Option<Expr> {
    let setting = call.c.settings.dw_ustack;
    if !call.c.unstable("dw_ustack", setting, call.span) {
        return None;
    }
    if !call.c.cx.facts.has_feature("loop") {
        let text = "Missing required kernel feature: loop";
        let help = "dw_ustack needs Linux 5.17; ustack walks frame pointers";
        let problem = Diagnostic::error(Code::MissingFeature, call.span, text);
        call.c.report(problem.hint(help));
        return None;
    }
    stack(call, StackKind::User)
}

fn stack(call: &mut Call<'_, '_>, kind: StackKind) -> Option<Expr> {
    let mut ty = StackTy {
        kind,
        mode: call.c.settings.stack_mode,
        limit: DEFAULT_STACK_LIMIT,
    };
    let mut limit_at = None;
    if call.len() > 0 {
        match call.word(0) {
            Some(word) => match mode(word) {
                Some(m) => ty.mode = m,
                None if call.len() == 1 && !is_value(call, word) => return bad_mode(call),
                None => limit_at = Some(0),
            },
            None => limit_at = Some(0),
        }
        if limit_at.is_some() && call.len() == 2 {
            return bad_mode(call);
        }
        if call.len() == 2 {
            limit_at = Some(1);
        }
    }
    if let Some(i) = limit_at {
        let v = call.value(i)?;
        let name = call.row.name;
        match literal_value(&v) {
            Some(n) if n < 0 => {
                let text = format!("{name}: invalid limit value (must be non-negative literal)");
                return call.fail(Code::BadArgument, call.span, text);
            }
            Some(n) if n > i128::from(MAX_LIMIT) => {
                let text =
                    format!("{name}([int limit]): limit shouldn't exceed {MAX_LIMIT}, {n} given");
                return call.fail(Code::BadArgument, call.span, text);
            }
            Some(n) => ty.limit = (n as u16).max(1),
            None => {
                let text = format!("{name}: invalid limit value");
                return call.fail(Code::LiteralRequired, call.span, text);
            }
        }
    }
    if ty.mode == StackMode::BuildId && kind == StackKind::Kernel {
        return call.fail(
            Code::BadArgument,
            call.span,
            "'build_id' stack mode can only be used for ustack",
        );
    }
    call.make(vec![], Type::Stack(ty))
}

/// Whether a word can be a limit: a C constant.
fn is_value(call: &mut Call<'_, '_>, word: &str) -> bool {
    let c = &mut *call.c;
    c.cx.facts.constant(&mut c.store, word).is_some() || c.cx.facts.c_macro(word).is_some()
}

fn bad_mode(call: &mut Call<'_, '_>) -> Option<Expr> {
    let text = format!(
        "Error parsing stack mode: {}: Invalid value for stack_mode: valid values are bpftrace, raw, perf, and build_id.",
        call.row.name
    );
    let span = call.arg_span(0);
    call.fail(Code::BadArgument, span, text);
    Some(value::unknown(call.loc))
}
