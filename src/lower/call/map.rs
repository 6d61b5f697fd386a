//! Functions on maps.

use crate::codegen::helper;
use crate::ir::builder::Builder;
use crate::ir::inst::Ty;
use crate::ir::{FuncKind, Value};
use crate::object::{EventKind, MapId, RECORD_HEADER};
use crate::sema::hir::{Arg, Call};
use crate::types::Type;

use super::super::fx::Fx;
use super::{elem, expr, int, map_arg};

/// `clear`
pub fn clear<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let map = fx.plan(map_arg(call, 0)).id;
    fx.record(EventKind::Clear(map), RECORD_HEADER, |_, _| {});
}

/// `zero`
pub fn zero<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let map = fx.plan(map_arg(call, 0)).id;
    fx.record(EventKind::Zero(map), RECORD_HEADER, |_, _| {});
}

/// `delete`
pub fn delete<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let (map, key) = elem(call, 0);
    fx.map_delete(map, key)
}

/// `has_key`
pub fn has_key<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let (map, key) = elem(call, 0);
    fx.map_has(map, key)
}

/// `find`
pub fn find<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let (map, key) = elem(call, 0);
    match call.args.get(1) {
        Some(Arg::Local(local)) => fx.map_find(map, key, *local, int(call, 2) != 0),
        other => unreachable!("find: {other:?} is no variable"),
    }
}

/// `len`: of a map by walking it, of a stack by its handle.
pub fn len<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    if let Some(Arg::Expr(_)) = call.args.first() {
        let e = expr(call, 0);
        let Type::Stack(ty) = e.ty else {
            return fx.b.iconst(0);
        };
        let at = fx.memory(e);
        return fx.stack_len(ty, at);
    }
    let plan = fx.plan(map_arg(call, 0));
    let n = count(fx, plan.id);
    match plan.short {
        Some(short) => {
            let more = count(fx, short.id);
            fx.b.add(n, more)
        }
        None => n,
    }
}

/// The elements of a map, by walking it.
fn count(fx: &mut Fx<'_, '_>, id: MapId) -> Value {
    let name = format!("visit_{}", fx.lw.module.funcs.len());
    let params = [Ty::Map, Ty::MapKey(id), Ty::MapVal(id), Ty::Frame];
    let mut b = Builder::new(name, FuncKind::EachBody, &params);
    b.ret_imm(0);
    let f = fx.lw.module.add(b.finish());
    let fd = fx.b.map_fd(id);
    let fp = fx.b.func_addr(f);
    let word = fx.frame_words(1);
    let flags = fx.b.iconst(0);
    // The helper's result is the number of elements it went through.
    fx.b.call(
        helper::FOR_EACH_MAP_ELEM,
        &[fd, fp, word, flags],
        Ty::Scalar,
    )
}
