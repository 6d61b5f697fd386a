//! Clocks and time stamps.

use crate::codegen::helper;
use crate::ir::Value;
use crate::ir::inst::{MemTy, Ty};
use crate::sema::hir::Call;
use crate::types::Type;

use super::super::fx::{Addr, Fx};
use super::{expr, int, time_format};

/// `nsecs`: by clock.
pub fn nsecs<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let id = match int(call, 0) {
        1 => helper::KTIME_GET_NS,
        2 | 3 => helper::KTIME_GET_TAI_NS,
        _ => helper::KTIME_GET_BOOT_NS,
    };
    fx.b.call(id, &[], Ty::Scalar)
}

/// `elapsed`: boot time less the start that the runtime writes into a map.
pub fn elapsed<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    let map = fx.lw.start_map();
    let now = fx.b.call(helper::KTIME_GET_BOOT_NS, &[], Ty::Scalar);
    let p = fx.b.map_addr(map, 0);
    let start = fx.b.load(MemTy::DW, p, 0);
    fx.b.sub(now, start)
}

/// `jiffies`
pub fn jiffies<'a>(fx: &mut Fx<'_, 'a>, _: &'a Call, _: &Type) -> Value {
    fx.b.call(helper::JIFFIES64, &[], Ty::Scalar)
}

/// `strftime`: formatted when it is printed.
pub fn strftime<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type, dst: Addr) {
    let ns = fx.scalar(expr(call, 1));
    fx.b.store(MemTy::DW, dst.ptr, dst.off, ns);
    let format = i64::from(time_format(call, 0));
    let clock = int(call, 2);
    fx.b.store_imm(MemTy::W, dst.ptr, dst.off + 8, format);
    fx.b.store_imm(MemTy::W, dst.ptr, dst.off + 12, clock);
}
