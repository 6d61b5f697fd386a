//! Functions on maps.

use super::{Call, Rule};
use crate::diag::Code;
use crate::sema::hir::{Arg, Expr, MapRef};
use crate::sema::maps::KeyState;
use crate::sema::value;
use crate::syntax::ast;
use crate::types::Type;

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "clear" | "zero" => whole,
        "delete" => delete,
        "has_key" => has_key,
        "find" => find,
        "len" => len,
        _ => return None,
    })
}

/// Argument 0, a bare map.
fn map_arg(call: &mut Call<'_, '_>) -> Option<MapRef> {
    let e = call.ast(0)?;
    let ast::ExprKind::Map(m) = &e.kind else {
        let text = format!("{}() expects a map argument", call.row.name);
        call.fail(Code::ArgumentType, e.span, text);
        return None;
    };
    let map = call.c.map(m);
    call.c.reads_map(map, m.span);
    Some(map)
}

fn whole(call: &mut Call<'_, '_>) -> Option<Expr> {
    let map = map_arg(call)?;
    call.make(vec![Arg::Map(map)], Type::None)
}

/// The element named by a map in argument 0 and a key in argument 1.
fn element(call: &mut Call<'_, '_>) -> Option<Arg> {
    let map = map_arg(call)?;
    if call.c.map_state(map).key == KeyState::Scalar {
        let text = format!(
            "call to {}() expects a map with explicit keys (non-scalar map)",
            call.row.name
        );
        call.fail(Code::MapKeyMismatch, call.arg_span(0), text);
        return None;
    }
    let key = call.ast(1)?;
    let span = key.span;
    let key = call.c.expr(key);
    let key = call.c.key_access(map, key, span)?;
    Some(Arg::MapElem(map, Some(key)))
}

fn delete(call: &mut Call<'_, '_>) -> Option<Expr> {
    if call.len() == 2 {
        let elem = element(call)?;
        if let Arg::MapElem(map, _) = elem {
            call.c.map_state(map).deletes = true;
        }
        return call.make(vec![elem], Type::Bool);
    }
    let e = call.ast(0)?;
    let (ast::ExprKind::Map(m) | ast::ExprKind::MapElem { map: m, .. }) = &e.kind else {
        return call.fail(
            Code::ArgumentType,
            e.span,
            "delete() expects a map argument",
        );
    };
    let map = call.c.map(m);
    call.c.reads_map(map, m.span);
    let (map, key) = call.c.map_place(e)?;
    call.c.map_state(map).deletes = true;
    call.make(vec![Arg::MapElem(map, key)], Type::Bool)
}

fn has_key(call: &mut Call<'_, '_>) -> Option<Expr> {
    let elem = element(call)?;
    call.make(vec![elem], Type::Bool)
}

fn find(call: &mut Call<'_, '_>) -> Option<Expr> {
    let elem = element(call);
    let e = call.ast(2)?;
    let ast::ExprKind::Var(v) = &e.kind else {
        return call.fail(
            Code::ArgumentType,
            e.span,
            "find() expects a scratch variable as third argument",
        );
    };
    let (id, declares) = match call.c.lookup(v) {
        Some(id) => (id, false),
        None => (call.c.assigned_var(v, e.span, e.id), true),
    };
    call.c.local(id).used = true;
    call.c.local(id).assigned = true;
    let Arg::MapElem(map, key) = elem? else {
        return None;
    };
    let Some(ty) = call.c.map_state(map).value.clone() else {
        call.c.unresolved_map(map, call.arg_span(0));
        return None;
    };
    let ty = value::reduced(&ty).unwrap_or(ty);
    let shape = Expr {
        kind: crate::sema::hir::ExprKind::MapGet { map, key: None },
        ty,
        loc: call.loc,
    };
    call.c.assign_local(id, shape, e.span, e.span)?;
    let args = vec![
        Arg::MapElem(map, key),
        Arg::Local(id),
        Arg::Int(i64::from(declares)),
    ];
    call.make(args, Type::Bool)
}

fn len(call: &mut Call<'_, '_>) -> Option<Expr> {
    let e = call.ast(0)?;
    if let ast::ExprKind::Map(m) = &e.kind {
        let map = call.c.map(m);
        call.c.reads_map(map, m.span);
        let state = call.c.map_state(map);
        // A scalar map can hold a stack, whose length is meant.
        if state.key != KeyState::Scalar {
            return call.make(vec![Arg::Map(map)], Type::I64);
        }
        if !matches!(state.value, Some(Type::Stack(_)) | None) {
            return call.fail(
                Code::ArgumentType,
                e.span,
                "call to len() expects a map with explicit keys (non-scalar map)",
            );
        }
    }
    let v = call.value(0)?;
    if !matches!(v.ty, Type::Stack(_)) {
        return call.fail(
            Code::ArgumentType,
            e.span,
            "len() expects a map or stack to be provided",
        );
    }
    call.make(vec![Arg::Expr(v)], Type::I64)
}
