//! `software` and `hardware`: perf events on every CPU.

use super::{Ap, Expander, ProbeCx};
use crate::diag::Code;
use crate::object::{Attach, PerfClock, ProgramType};
use crate::sema::hir::Context;

/// `PERF_TYPE_HARDWARE` and `PERF_TYPE_SOFTWARE` of include/uapi/linux/perf_event.h.
const HARDWARE: u32 = 0;
const SOFTWARE: u32 = 1;

/// An event: names, `perf_event_attr.config`, default period.
pub struct PerfEvent {
    /// Its name.
    pub name: &'static str,
    /// Another name, or empty.
    pub alias: &'static str,
    /// `PERF_COUNT_*`
    pub config: u64,
    /// Events from one sample to the next.
    pub period: u64,
}

const fn event(name: &'static str, alias: &'static str, config: u64, period: u64) -> PerfEvent {
    PerfEvent {
        name,
        alias,
        config,
        period,
    }
}

/// Software events.
pub static SOFTWARE_EVENTS: &[PerfEvent] = &[
    event("alignment-faults", "", 7, 1),
    event("bpf-output", "", 10, 1),
    event("context-switches", "cs", 3, 1000),
    event("cpu-clock", "cpu", 0, 1_000_000),
    event("cpu-migrations", "", 4, 1),
    event("dummy", "", 9, 1),
    event("emulation-faults", "", 8, 1),
    event("major-faults", "", 6, 1),
    event("minor-faults", "", 5, 100),
    event("page-faults", "faults", 2, 100),
    event("task-clock", "", 1, 1),
];

/// Hardware events.
pub static HARDWARE_EVENTS: &[PerfEvent] = &[
    event("backend-stalls", "", 8, 1_000_000),
    event("branch-instructions", "branches", 4, 100_000),
    event("branch-misses", "", 5, 100_000),
    event("bus-cycles", "", 6, 100_000),
    event("cache-misses", "", 3, 1_000_000),
    event("cache-references", "", 2, 1_000_000),
    event("cpu-cycles", "cycles", 0, 1_000_000),
    event("frontend-stalls", "", 7, 1_000_000),
    event("instructions", "", 1, 1_000_000),
    event("ref-cycles", "", 9, 1_000_000),
];

/// `software:faults:100`
pub(super) fn software(ex: &mut Expander<'_, '_>, ap: &Ap) {
    expand(ex, ap, SOFTWARE, SOFTWARE_EVENTS);
}

/// `hardware:cycles:1000`
pub(super) fn hardware(ex: &mut Expander<'_, '_>, ap: &Ap) {
    expand(ex, ap, HARDWARE, HARDWARE_EVENTS);
}

fn expand(ex: &mut Expander<'_, '_>, ap: &Ap, ty: u32, events: &[PerfEvent]) {
    let kind = ap.provider.name();
    let name = ap.parts[0].as_str();
    let found = events
        .iter()
        .find(|e| e.name == name || (!name.is_empty() && e.alias == name));
    let Some(e) = found else {
        let text = format!("{name} is not a {kind} probe");
        return ex.error(Code::BadTarget, ap.span, text);
    };
    let mut period = e.period;
    if let Some(count) = ap.parts.get(1) {
        match count.parse::<u64>() {
            Ok(n) if n > 0 => period = n,
            _ => {
                let text = format!("{kind} count must be a positive integer");
                return ex.error(Code::BadRate, ap.span, text);
            }
        }
    }
    let cx = ProbeCx::new(ap.provider, ProgramType::PerfEvent, Context::PerfEvent);
    let attach = Attach::Perf(PerfClock {
        ty,
        config: e.config,
        period,
    });
    ex.attach(ap, format!("{kind}:{name}:{period}"), attach, cx);
}
