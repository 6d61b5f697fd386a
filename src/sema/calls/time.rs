//! Time.

use super::{Call, Rule};
use crate::diag::Code;
use crate::sema::hir::{self, Arg, Expr, ExprKind};
use crate::sema::value::{self, literal_value};
use crate::types::Type;

/// Clocks as `nsecs` numbers them.
const MONOTONIC: i64 = 1;
const TAI: i64 = 2;
const SW_TAI: i64 = 3;

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "nsecs" => nsecs,
        "elapsed" | "jiffies" => |call| call.make(vec![], Type::U64),
        "strftime" => strftime,
        _ => return None,
    })
}

fn nsecs(call: &mut Call<'_, '_>) -> Option<Expr> {
    let mut clock = 0;
    if call.len() > 0 {
        let word = match call.word(0) {
            Some(w) => w.to_owned(),
            None => call.text(0)?,
        };
        clock = match word.as_str() {
            "boot" => 0,
            "monotonic" => MONOTONIC,
            "tai" => TAI,
            "sw_tai" => SW_TAI,
            _ => {
                let text = format!("Invalid timestamp mode: {word}");
                return call.fail(Code::BadArgument, call.span, text);
            }
        };
    }
    if clock == TAI && !call.c.cx.facts.has_feature("get_tai_ns") {
        return call.fail(
            Code::MissingFeature,
            call.span,
            "Kernel does not support tai timestamp, please try sw_tai",
        );
    }
    call.make(vec![Arg::Int(clock)], Type::U64)
}

/// The clock that a time comes from, where it is a plain call of `nsecs`.
fn clock_of(e: &Expr) -> i64 {
    match &e.kind {
        ExprKind::Call(hir::Call { builtin, args }) if builtin.name == "nsecs" => {
            match args.first() {
                Some(Arg::Int(clock)) => *clock,
                _ => 0,
            }
        }
        ExprKind::Cast(inner) => clock_of(inner),
        _ => 0,
    }
}

fn strftime(call: &mut Call<'_, '_>) -> Option<Expr> {
    let format = call.text(0);
    let time = call.integer(1)?;
    let span = call.span;
    if literal_value(&time).is_some_and(|n| n < 0) {
        return call.fail(
            Code::BadArgument,
            span,
            "strftime() does not accept negative timestamps",
        );
    }
    let clock = match clock_of(&time) {
        MONOTONIC => {
            return call.fail(
                Code::BadArgument,
                span,
                "strftime() can not take a monotonic timestamp",
            );
        }
        TAI | SW_TAI => TAI,
        other => other,
    };
    let format = call.c.time_format(&format?);
    let args = vec![
        Arg::TimeFormat(format),
        Arg::Expr(value::cast(time, &Type::U64)),
        Arg::Int(clock),
    ];
    call.make(args, Type::Timestamp)
}
