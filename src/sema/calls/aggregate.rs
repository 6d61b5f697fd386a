//! `count()`, `hist()` and the like: the right side of a map assignment.

use super::Call;
use crate::builtins::Builtin;
use crate::diag::Code;
use crate::sema::check::Checker;
use crate::sema::hir::Expr;
use crate::sema::value::literal_value;
use crate::source::Span;
use crate::syntax::ast;
use crate::types::{AggKind, AggTy, TseriesAgg};

/// Makes the kind of an aggregation from the literal arguments after the first.
pub(in crate::sema) type Maker = fn(&mut Call<'_, '_>) -> Option<AggKind>;

/// How to make the aggregation of a row, if it is one.
pub(in crate::sema) fn maker(row: &Builtin) -> Option<Maker> {
    Some(match row.name {
        "count" => |_| Some(AggKind::Count),
        "sum" => |_| Some(AggKind::Sum),
        "min" => |_| Some(AggKind::Min),
        "max" => |_| Some(AggKind::Max),
        "avg" => |_| Some(AggKind::Avg),
        "stats" => |_| Some(AggKind::Stats),
        "hist" => hist,
        "lhist" => lhist,
        "tseries" => tseries,
        _ => return None,
    })
}

impl Checker<'_> {
    /// The aggregation and its number, of 64 bits.
    pub(in crate::sema) fn aggregate(
        &mut self,
        row: &'static Builtin,
        make: Maker,
        _func: &ast::Ident,
        args: &[ast::Arg],
        span: Span,
    ) -> Option<(AggTy, Option<Expr>)> {
        if !self.check_count(row, args.len(), span) {
            return None;
        }
        let loc = self.loc(span);
        let mut call = Call {
            c: self,
            row,
            args,
            span,
            loc,
        };
        let kind = make(&mut call);
        let value = if args.is_empty() {
            None
        } else {
            Some(call.integer(0)?)
        };
        let signed = match kind? {
            AggKind::Count => false,
            // Buckets do not depend on the sign of what was counted.
            AggKind::Hist { .. } | AggKind::Lhist { .. } => true,
            _ => value.as_ref().is_some_and(|v| v.ty.is_signed()),
        };
        let kind = kind?;
        Some((AggTy { kind, signed }, value))
    }
}

fn hist(call: &mut Call<'_, '_>) -> Option<AggKind> {
    if call.len() < 2 {
        return Some(AggKind::Hist { bits: 0 });
    }
    let v = call.value(1)?;
    let span = call.span;
    match literal_value(&v) {
        Some(n @ 0..=5) => Some(AggKind::Hist { bits: n as u8 }),
        Some(n) => {
            let text = format!("hist: bits {n} must be 0..5");
            call.fail(Code::BadArgument, span, text);
            None
        }
        None => {
            call.fail(
                Code::LiteralRequired,
                span,
                "hist: invalid bits value, must be a literal",
            );
            None
        }
    }
}

fn lhist(call: &mut Call<'_, '_>) -> Option<AggKind> {
    let mut bounds = [0i64; 3];
    let mut ok = true;
    for (i, name) in ["min", "max", "step"].into_iter().enumerate() {
        let v = call.value(i + 1)?;
        match literal_value(&v).and_then(|n| i64::try_from(n).ok()) {
            Some(n) if n >= 0 => bounds[i] = n,
            _ => {
                let text = format!("lhist: invalid {name} value (must be non-negative literal)");
                call.fail(Code::BadArgument, call.span, text);
                ok = false;
            }
        }
    }
    if !ok {
        return None;
    }
    let [min, max, step] = bounds;
    let text = if step <= 0 {
        format!("lhist() step must be >= 1 ({step} provided)")
    } else if min >= max {
        format!("lhist() min must be less than max (provided min {min} and max {max})")
    } else if (max - min) / step > 1000 {
        format!(
            "lhist() too many buckets, must be <= 1000 (would need {})",
            (max - min) / step
        )
    } else if step > max - min {
        format!(
            "lhist() step is too large for the given range (provided step {step} for range {})",
            max - min
        )
    } else {
        return Some(AggKind::Lhist { min, max, step });
    };
    call.fail(Code::BadArgument, call.span, text);
    None
}

fn tseries(call: &mut Call<'_, '_>) -> Option<AggKind> {
    let setting = call.c.settings.tseries;
    if !call.c.unstable("tseries", setting, call.span) {
        return None;
    }
    let mut numbers = [0i128; 2];
    for (i, name) in ["interval_ns", "num_intervals"].into_iter().enumerate() {
        let v = call.value(i + 1)?;
        match literal_value(&v) {
            Some(n) => numbers[i] = n,
            None => {
                let text = format!("tseries: invalid {name} value (must be non-negative literal)");
                call.fail(Code::LiteralRequired, call.span, text);
                return None;
            }
        }
    }
    let [interval, intervals] = numbers;
    let text = if interval < 1 {
        format!("tseries() interval_ns must be >= 1 ({interval} provided)")
    } else if intervals < 1 {
        format!("tseries() num_intervals must be >= 1 ({intervals} provided)")
    } else if intervals > 1_000_000 {
        format!("tseries() num_intervals must be < 1000000 ({intervals} provided)")
    } else {
        String::new()
    };
    if !text.is_empty() {
        call.fail(Code::BadArgument, call.span, text);
        return None;
    }
    let agg = match call.len() {
        4 => match call.text(3)?.as_str() {
            "avg" => TseriesAgg::Avg,
            "max" => TseriesAgg::Max,
            "min" => TseriesAgg::Min,
            "sum" => TseriesAgg::Sum,
            other => {
                let text = format!(
                    "tseries() expects one of the following aggregation functions: avg, max, min, sum (\"{other}\" provided)"
                );
                call.fail(Code::BadArgument, call.span, text);
                return None;
            }
        },
        _ => TseriesAgg::Last,
    };
    Some(AggKind::Tseries {
        interval: u64::try_from(interval).ok()?,
        intervals: u32::try_from(intervals).ok()?,
        agg,
    })
}
