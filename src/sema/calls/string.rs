//! Functions on strings.

use super::{Call, Rule};
use crate::diag::Code;
use crate::sema::hir::{Arg, Expr};
use crate::sema::value::{self, int_like, literal_text, literal_value};
use crate::types::Type;

/// Bytes of the result of `str_concat()`.
const CONCAT: u32 = 1024;
/// Bytes of the longest text of the tables behind `strerror()` and the like.
const TABLE_TEXT: u32 = 64;

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "str" => str,
        "strlen" => strlen,
        "strcap" => |call| {
            let s = call.string(0)?;
            let size = call.c.size(&s.ty);
            Some(value::constant(i128::from(size), Type::U64, call.loc))
        },
        "strncmp" => strncmp,
        "strcontains" => |call| two(call, Type::Bool),
        "strstr" => |call| two(call, Type::I64),
        "str_concat" => |call| two(call, Type::Str(CONCAT)),
        "strerror" => |call| table(call, crate::sema::names::error_text),
        "signal_name" => |call| table(call, crate::sema::names::signal_text),
        "syscall_name" => |call| table(call, crate::sema::names::syscall),
        _ => return None,
    })
}

fn str(call: &mut Call<'_, '_>) -> Option<Expr> {
    let e = call.ast(0)?;
    let v = match call.c.positional_string(e) {
        Some(v) => v,
        None => call.value(0)?,
    };
    if call.len() == 1
        && let Some(text) = super::text::of(call.c, &v.ty)
    {
        return super::text::read(call, v, &text);
    }
    let is_text = matches!(v.ty, Type::Str(_) | Type::ProbeName);
    let is_bytes = matches!(&v.ty, Type::Array(t, _) if call.c.size(t) == 1);
    let number = int_like(&v.ty, &call.c.store).is_some();
    if !is_text && !is_bytes && !number && !matches!(v.ty, Type::Ptr(..)) {
        let text = format!(
            "str() expects a string, integer or a pointer type as first argument ({} provided)",
            call.c.spell(&v.ty)
        );
        return call.fail(Code::ArgumentType, call.span, text);
    }
    let max = call.c.config.max_strlen;
    if call.len() == 1 {
        if is_text {
            return Some(v);
        }
        let cap = match &v.ty {
            Type::Array(_, n) => (*n + 1).min(max),
            _ => max,
        };
        let args = vec![Arg::Expr(v), Arg::Int(i64::from(cap))];
        return call.make(args, Type::Str(cap));
    }
    let len = call.integer(1)?;
    let Some(n) = literal_value(&len) else {
        let len = value::cast(len, &Type::U64);
        return call.make(vec![Arg::Expr(v), Arg::Expr(len)], Type::Str(max));
    };
    if n < 0 {
        let text = "Builtin str requires a non-negative literal".to_string();
        return call.fail(Code::BadArgument, call.span, text);
    }
    let cap = if n + 1 > i128::from(max) {
        let text = format!(
            "length param ({n}) is too long and will be shortened to {max} bytes (see BPFTRACE_MAX_STRLEN)"
        );
        call.c.warn(Code::ArgumentTruncated, call.arg_span(1), text);
        max
    } else {
        n as u32 + 1
    };
    if let Some(s) = literal_text(&v) {
        let cut = s[..s.len().min(cap as usize - 1)].to_vec();
        return Some(value::string(cut, call.loc));
    }
    call.make(vec![Arg::Expr(v), Arg::Int(i64::from(cap))], Type::Str(cap))
}

fn strlen(call: &mut Call<'_, '_>) -> Option<Expr> {
    let s = call.string(0)?;
    if let Some(t) = literal_text(&s) {
        let n = t.iter().position(|b| *b == 0).unwrap_or(t.len());
        return Some(value::constant(n as i128, Type::U64, call.loc));
    }
    call.make(vec![Arg::Expr(s)], Type::U64)
}

fn strncmp(call: &mut Call<'_, '_>) -> Option<Expr> {
    let a = call.string(0)?;
    let b = call.string(1)?;
    let n = call.value(2)?;
    match literal_value(&n).and_then(|n| i64::try_from(n).ok()) {
        Some(n) if n >= 0 => call.make(vec![Arg::Expr(a), Arg::Expr(b), Arg::Int(n)], Type::U64),
        _ => call.fail(
            Code::LiteralRequired,
            call.span,
            "Builtin strncmp requires a non-negative literal",
        ),
    }
}

fn two(call: &mut Call<'_, '_>, ty: Type) -> Option<Expr> {
    let a = call.string(0)?;
    let b = call.string(1)?;
    call.make(vec![Arg::Expr(a), Arg::Expr(b)], ty)
}

/// A table of texts by number: literals are looked up now.
fn table(call: &mut Call<'_, '_>, find: fn(i64) -> Option<&'static str>) -> Option<Expr> {
    let n = call.integer(0)?;
    if let Some(v) = literal_value(&n) {
        let text = i64::try_from(v).ok().and_then(find).unwrap_or("");
        let text = value::string(text.as_bytes(), call.loc);
        return Some(value::cast(text, &Type::Str(TABLE_TEXT)));
    }
    let n = value::cast(n, &Type::I64);
    call.make(vec![Arg::Expr(n)], Type::Str(TABLE_TEXT))
}
