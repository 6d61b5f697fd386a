//! Stacks as values.

use crate::sema::hir::Call;
use crate::types::Type;

use super::super::fx::{Addr, Fx};
use super::super::stack::Walk;

/// `kstack`, `ustack`, `dw_ustack`
pub fn stack<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr) {
    match ty {
        Type::Stack(ty) => fx.stack_handle(*ty, Walk::of(call), dst),
        _ => fx.unsupported(call),
    }
}
