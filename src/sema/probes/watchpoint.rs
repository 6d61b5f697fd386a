//! `watchpoint`: hardware breakpoints.

use super::{Ap, Expander, ProbeCx};
use crate::diag::{Code, Diagnostic};
use crate::object::{Attach, ProgramType};
use crate::sema::hir::Context;
use crate::sema::params;

/// `HW_BREAKPOINT_*` of include/uapi/linux/hw_breakpoint.h, for the modes that x86 has.
const MODES: &[(&str, u32)] = &[("w", 2), ("rw", 3), ("wr", 3), ("x", 4)];

/// `watchpoint:address:length:mode`
pub(super) fn expand(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let [address, len, mode] = ap.parts.as_slice() else {
        return;
    };
    let Some(addr) = params::number(address).and_then(|n| u64::try_from(n).ok()) else {
        let text = format!("Invalid watchpoint address: {address}");
        return ex.error(Code::BadTarget, ap.span, text);
    };
    let Some(len) = len.parse().ok().filter(|n| matches!(n, 1 | 2 | 4 | 8)) else {
        return ex.error(
            Code::BadTarget,
            ap.span,
            "watchpoint length must be one of (1,2,4,8)",
        );
    };
    let Some((_, bits)) = MODES.iter().find(|(m, _)| m == mode) else {
        let text = format!("invalid watchpoint mode: {mode}");
        ex.diags.push(
            Diagnostic::error(Code::BadTarget, ap.span, text).hint("supported modes: x,w,rw"),
        );
        return;
    };
    let cx = ProbeCx::new(ap.provider, ProgramType::PerfEvent, Context::PerfEvent);
    let attach = Attach::Watchpoint {
        addr,
        len,
        mode: *bits,
    };
    let name = format!("watchpoint:0x{addr:x}:{len}:{mode}");
    ex.attach(ap, name, attach, cx);
}
