//! Output: `print`, `printf` and its kin, `join`, `time`, `exit`.

use super::{Call, Rule};
use crate::diag::Code;
use crate::object::{Conv, Format};
use crate::sema::hir::{Arg, Block, Expr, ExprKind, Stmt, StmtKind};
use crate::sema::value::{self, int_like, is_unknown, literal_value};
use crate::syntax::ast;
use crate::types::{AggKind, Type};

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "print" => print,
        "printf" | "errorf" | "warnf" | "system" | "cat" => formatted,
        "debugf" => debugf,
        "join" => join,
        "time" => time,
        "exit" => exit,
        "unwatch" => |call| {
            let address = call.address(0)?;
            call.make(vec![Arg::Expr(address)], Type::None)
        },
        "skboutput" => skboutput,
        "assert" => assert,
        _ => return None,
    })
}

fn print(call: &mut Call<'_, '_>) -> Option<Expr> {
    let e = call.ast(0)?;
    match &e.kind {
        ast::ExprKind::Map(m) => return print_map(call, m),
        _ if call.len() > 1 => {
            let text = format!(
                "Non-map print() only takes 1 argument, {} found",
                call.len()
            );
            return call.fail(Code::ArgumentCount, call.span, text);
        }
        _ => {}
    }
    let is_args =
        matches!(&e.kind, ast::ExprKind::Ident(n) if n == "args" || n == "__builtin_args");
    let v = call.c.expr(e);
    if is_unknown(&v) {
        return None;
    }
    // Of a map's element it is the value that is printed.
    if let Type::Agg(t) = &v.ty
        && value::reduced(&v.ty).is_none()
    {
        match v.kind {
            ExprKind::MapGet { map, key } if t.kind == AggKind::Stats => {
                return call.make(vec![Arg::MapElem(map, key.map(|k| *k))], Type::None);
            }
            _ => {}
        }
        let text = format!(
            "Map type {} cannot print the value of individual keys. You must print the whole map.",
            call.c.spell(&v.ty)
        );
        return call.fail(Code::AggregationUse, call.span, text);
    }
    let v = call.c.reduce(v);
    if !printable(&v) || is_args && matches!(v.kind, ExprKind::Ctx) {
        let ty = match &v.ty {
            Type::Ptr(t, _) if is_args => call.c.spell(t),
            Type::Tuple(items) if items.contains(&Type::None) => "none".to_owned(),
            ty => call.c.spell(ty),
        };
        let text = format!("{ty} type passed to print() is not printable");
        return call.fail(Code::NotPrintable, call.span, text);
    }
    call.c.complete(&v.ty);
    call.make(vec![Arg::Expr(v)], Type::None)
}

fn printable(v: &Expr) -> bool {
    match &v.ty {
        Type::None => !matches!(
            v.kind,
            ExprKind::Call(_) | ExprKind::If { .. } | ExprKind::Block(_)
        ),
        Type::Tuple(items) => !items.contains(&Type::None),
        Type::Agg(_) => false,
        _ => true,
    }
}

fn print_map(call: &mut Call<'_, '_>, m: &ast::MapName) -> Option<Expr> {
    let map = call.c.map(m);
    call.c.reads_map(map, m.span);
    let value = call.c.map_state(map).value.clone();
    let stats = matches!(
        &value,
        Some(Type::Agg(t)) if matches!(t.kind, AggKind::Stats)
    );
    if stats && call.len() > 1 {
        call.c.warn(
            Code::ArgumentTruncated,
            call.span,
            "print()'s top and div arguments are ignored when used on stats() maps.",
        );
    }
    if !call.c.unit.loops.is_empty() {
        call.c.warn(
            Code::AsyncInLoop,
            call.span,
            "Due to it's asynchronous nature using 'print()' in a loop can lead to unexpected behavior. The map will likely be updated before the runtime can 'print' it.",
        );
    }
    let mut numbers = [0i64, 1];
    for i in 1..call.len() {
        let v = call.value(i)?;
        match literal_value(&v).and_then(|n| i64::try_from(n).ok()) {
            Some(n) if n >= 0 => numbers[i - 1] = n,
            _ => {
                let what = if i == 1 { "top" } else { "div" };
                let text = format!("Builtin print requires a non-negative literal for {what}");
                return call.fail(Code::LiteralRequired, call.span, text);
            }
        }
    }
    let args = vec![
        Arg::Map(map),
        Arg::Int(numbers[0]),
        Arg::Int(numbers[1].max(1)),
    ];
    call.make(args, Type::None)
}

/// The format of argument 0 and the values after it, checked against each other.
fn format_args(call: &mut Call<'_, '_>) -> Option<Vec<Arg>> {
    let text = call.text(0);
    // All arguments are checked even if the format is wrong.
    let values: Vec<Option<Expr>> = (1..call.len()).map(|i| call.value(i)).collect();
    let text = text?;
    let format = match Format::parse(&text) {
        Ok(f) => f,
        Err(e) => {
            call.fail(Code::BadFormat, call.span, e.to_string());
            return None;
        }
    };
    let wanted = format.specs().count();
    let given = values.len();
    if given != wanted {
        let what = if given < wanted {
            "not enough"
        } else {
            "too many"
        };
        let text =
            format!("{what} arguments for format string ({given} supplied, {wanted} expected)");
        call.fail(Code::BadFormat, call.span, text);
        return None;
    }
    let mut args = vec![Arg::Format(format.clone())];
    let mut ok = true;
    for (spec, v) in format.specs().zip(values) {
        let Some(v) = v else {
            ok = false;
            continue;
        };
        if !accepts(spec.conv, &v, call) {
            let text = if v.ty == Type::None || matches!(v.ty, Type::Agg(_)) {
                format!(
                    "{} type passed to {}() is not printable",
                    call.c.spell(&v.ty),
                    call.row.name
                )
            } else {
                format!(
                    "unsupported format specifier for type '{}': {}",
                    call.c.spell(&v.ty),
                    letter(spec.conv)
                )
            };
            call.fail(Code::BadFormat, call.span, text);
            ok = false;
        }
        call.c.complete(&v.ty);
        args.push(Arg::Expr(v));
    }
    ok.then_some(args)
}

/// How a conversion is written.
pub(in crate::sema) fn letter(conv: Conv) -> &'static str {
    match conv {
        Conv::Signed => "d",
        Conv::Unsigned => "u",
        Conv::Octal => "o",
        Conv::Hex => "x",
        Conv::HexUpper => "X",
        Conv::Char => "c",
        Conv::Pointer => "p",
        Conv::Text => "s",
        Conv::Raw => "r",
        Conv::RawHexEscaped => "rx",
        Conv::RawHex => "rh",
        Conv::GfpFlags => "gr",
    }
}

fn accepts(conv: Conv, v: &Expr, call: &Call<'_, '_>) -> bool {
    let number = int_like(&v.ty, &call.c.store).is_some() || matches!(v.ty, Type::Ptr(..));
    match conv {
        Conv::Text => printable(v) && v.ty != Type::None,
        Conv::Raw | Conv::RawHex | Conv::RawHexEscaped => matches!(v.ty, Type::Buf(_)),
        _ => number,
    }
}

fn formatted(call: &mut Call<'_, '_>) -> Option<Expr> {
    let args = format_args(call)?;
    call.make(args, Type::None)
}

fn debugf(call: &mut Call<'_, '_>) -> Option<Expr> {
    if call.len() > 4 {
        let text = "cannot use more than 3 conversion specifiers".to_string();
        return call.fail(Code::ArgumentCount, call.span, text);
    }
    let args = format_args(call)?;
    call.make(args, Type::None)
}

fn join(call: &mut Call<'_, '_>) -> Option<Expr> {
    let v = call.value(0)?;
    if int_like(&v.ty, &call.c.store).is_none() && !matches!(v.ty, Type::Ptr(..)) {
        let text = format!(
            "join() only supports int or pointer arguments ({} provided)",
            call.c.spell(&v.ty)
        );
        return call.fail(Code::ArgumentType, call.span, text);
    }
    let sep = if call.len() > 1 {
        call.text(1)?
    } else {
        " ".to_owned()
    };
    call.make(vec![Arg::Expr(v), Arg::Str(sep)], Type::None)
}

fn time(call: &mut Call<'_, '_>) -> Option<Expr> {
    let text = if call.len() > 0 {
        call.text(0)?
    } else {
        "%H:%M:%S\n".to_owned()
    };
    let format = call.c.time_format(&text);
    call.make(vec![Arg::TimeFormat(format)], Type::None)
}

/// The call, then a `return`.
fn exit(call: &mut Call<'_, '_>) -> Option<Expr> {
    let code = if call.len() > 0 {
        call.unsigned(0)?
    } else {
        value::constant(0, Type::U64, call.loc)
    };
    let loc = call.loc;
    let e = call.make(vec![Arg::Expr(code)], Type::None)?;
    let stmts = vec![
        Stmt {
            kind: StmtKind::Expr(e),
            loc,
        },
        Stmt {
            kind: StmtKind::Return(None),
            loc,
        },
    ];
    Some(Expr {
        kind: ExprKind::Block(Block { stmts, value: None }),
        ty: Type::None,
        loc,
    })
}

fn skboutput(call: &mut Call<'_, '_>) -> Option<Expr> {
    let path = call.text(0)?;
    let skb = call.value(1)?;
    if !matches!(skb.ty, Type::Ptr(..)) {
        let text = format!(
            "skboutput() expects a pointer to struct sk_buff ({} provided)",
            call.c.spell(&skb.ty)
        );
        return call.fail(Code::ArgumentType, call.span, text);
    }
    let len = call.unsigned(2)?;
    let offset = call.unsigned(3)?;
    let mut args = vec![Arg::Str(path)];
    for field in ["data", "len", "data_len"] {
        let skb = call.value(1)?;
        let e = call.c.walk(skb, &[field], call.arg_span(1));
        if is_unknown(&e) {
            return None;
        }
        args.push(Arg::Expr(value::cast(e, &Type::U64)));
    }
    args.extend([Arg::Expr(len), Arg::Expr(offset)]);
    call.make(args, Type::U32)
}

fn assert(call: &mut Call<'_, '_>) -> Option<Expr> {
    let cond = call.value(0)?;
    let cond = call.c.condition(cond, call.arg_span(0));
    let message = call.text(1)?;
    call.make(vec![Arg::Expr(cond), Arg::Str(message)], Type::None)
}
