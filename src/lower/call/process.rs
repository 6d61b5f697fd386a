//! Functions that change the traced process. All of them need `--unsafe`.

use crate::codegen::helper::{self, HelperId};
use crate::ir::Value;
use crate::ir::inst::{Cond, Ty};
use crate::object::SiteKind;
use crate::sema::hir::Call;
use crate::types::Type;

use super::super::fx::Fx;
use super::expr;

fn send<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, id: HelperId, name: &str) {
    let number = fx.number(call, 0);
    let code = fx.b.call(id, &[number], Ty::Scalar);
    fx.check_code(code, SiteKind::Helper, name);
}

/// `signal`
pub fn signal<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    send(fx, call, helper::SEND_SIGNAL, "send_signal");
}

/// `signal_thread`
pub fn signal_thread<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    send(fx, call, helper::SEND_SIGNAL_THREAD, "send_signal_thread");
}

/// `override`
pub fn override_return<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let value = fx.number(call, 0);
    let ctx = fx.ctx();
    fx.b.call(helper::OVERRIDE_RETURN, &[ctx, value], Ty::Scalar);
}

/// `write_user`: whether it succeeded.
pub fn write_user<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let to = fx.scalar(expr(call, 0));
    let from = fx.scalar(expr(call, 1));
    let n = fx.number(call, 2);
    let code =
        fx.b.call(helper::PROBE_WRITE_USER, &[to, from, n], Ty::Scalar);
    let zero = fx.b.iconst(0);
    fx.select_bool(Cond::Eq, code, zero)
}
