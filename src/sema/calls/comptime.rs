//! Questions that are answered while the script is compiled.

use std::sync::Arc;

use super::{Call, Rule};
use crate::diag::Code;
use crate::object::{Conv, Format, Piece};
use crate::sema::hir::{Expr, ExprKind};
use crate::sema::params::OptionDefault;
use crate::sema::value::{self, literal_text, literal_value};
use crate::types::Type;

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "getopt" => getopt,
        "config" => config,
        "cpid" => cpid,
        "has_cpid" => |call| {
            let has = call.c.cx.options.cpid.is_some();
            Some(value::boolean(has, call.loc))
        },
        "is_str" => |call| is(call, |e| matches!(e.ty, Type::Str(_) | Type::ProbeName)),
        "is_ptr" => |call| is(call, |e| matches!(e.ty, Type::Ptr(..))),
        "is_array" => |call| is(call, |e| matches!(e.ty, Type::Array(..))),
        "is_integer" => |call| is(call, |e| matches!(e.ty, Type::Int(_))),
        "is_unsigned_integer" => |call| is(call, |e| matches!(e.ty, Type::Int(t) if !t.signed)),
        "is_literal" => |call| is(call, value::is_literal),
        "kfunc_exist" | "kfunc_allowed" => |call| {
            let name = call.text(0)?;
            let c = &mut *call.c;
            let known = c.cx.facts.function(&mut c.store, None, &name).is_some();
            Some(value::boolean(known, call.loc))
        },
        "static_assert" => static_assert,
        "fail" => fail,
        _ => return None,
    })
}

fn is(call: &mut Call<'_, '_>, test: fn(&Expr) -> bool) -> Option<Expr> {
    let e = call.ast(0)?;
    let v = call.c.expr(e);
    if value::is_unknown(&v) {
        return None;
    }
    Some(value::boolean(test(&v), call.loc))
}

fn getopt(call: &mut Call<'_, '_>) -> Option<Expr> {
    let name = call.text(0)?;
    let default = if call.len() > 1 {
        let v = call.value(1)?;
        if let Some(t) = literal_text(&v) {
            OptionDefault::Text(t.to_vec())
        } else {
            match (literal_value(&v), &v.ty) {
                (Some(n), Type::Bool) => OptionDefault::Bool(n != 0),
                (Some(n), _) => OptionDefault::Int(n),
                (None, _) => {
                    return call.fail(
                        Code::LiteralRequired,
                        call.arg_span(1),
                        "Second argument to 'getopt' must be a string literal, integer literal, or a boolean literal.",
                    );
                }
            }
        }
    } else {
        OptionDefault::Bool(false)
    };
    let description = if call.len() > 2 {
        Some(call.text(2)?)
    } else {
        None
    };
    let e = call.c.option(&name, default, description, call.span);
    (!value::is_unknown(&e)).then_some(e)
}

fn config(call: &mut Call<'_, '_>) -> Option<Expr> {
    let loc = call.loc;
    let mut fields: Vec<(Arc<str>, Type)> = Vec::new();
    let mut values = Vec::new();
    for (name, v) in call.c.settings.record(&call.c.config, &call.c.run) {
        let e = match v {
            crate::sema::config::Shown::Bool(b) => value::boolean(b, loc),
            crate::sema::config::Shown::Int(n) => value::constant(i128::from(n), Type::U64, loc),
            crate::sema::config::Shown::Text(t) => value::string(t.into_bytes(), loc),
        };
        fields.push((Arc::from(name), e.ty.clone()));
        values.push(e);
    }
    Some(Expr {
        kind: ExprKind::Tuple(values),
        ty: Type::Record(fields.into()),
        loc,
    })
}

fn cpid(call: &mut Call<'_, '_>) -> Option<Expr> {
    let pid = call.c.cx.options.cpid;
    if pid.is_none() {
        call.c.warn(
            Code::ArgumentTruncated,
            call.span,
            "No child command (`-c`); cpid is zero",
        );
    }
    let pid = i128::from(pid.unwrap_or(0));
    Some(value::constant(pid, Type::U32, call.loc))
}

fn static_assert(call: &mut Call<'_, '_>) -> Option<Expr> {
    let cond = call.value(0)?;
    let message = call.text(1)?;
    match literal_value(&cond) {
        Some(0) => call.fail(Code::BadArgument, call.span, message),
        Some(_) => Some(value::constant(0, Type::None, call.loc)),
        None => call.fail(
            Code::NotConstant,
            call.arg_span(0),
            "Unable to resolve comptime expression",
        ),
    }
}

/// Reports a message of the script; what is reached here is live code.
fn fail(call: &mut Call<'_, '_>) -> Option<Expr> {
    let text = call.text(0)?;
    let format = match Format::parse(&text) {
        Ok(f) => f,
        Err(e) => return call.fail(Code::BadFormat, call.span, e.to_string()),
    };
    let mut out = String::new();
    let mut next = 1;
    for piece in &format.pieces {
        match piece {
            Piece::Text(t) => out.push_str(t),
            Piece::Spec(spec) => {
                let v = call.value(next)?;
                next += 1;
                match (literal_text(&v), literal_value(&v)) {
                    (Some(t), _) => out.push_str(&String::from_utf8_lossy(t)),
                    (None, Some(n)) => match spec.conv {
                        Conv::Hex => out.push_str(&format!("{:x}", n as u64)),
                        _ => out.push_str(&n.to_string()),
                    },
                    (None, None) => {
                        return call.fail(
                            Code::LiteralRequired,
                            call.span,
                            "fail() arguments need to be literals",
                        );
                    }
                }
            }
        }
    }
    call.fail(Code::BadArgument, call.span, out)
}
