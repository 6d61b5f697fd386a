//! How large the ring buffer of a run is.
//!
//! Creating and mapping one takes 0.25 ms a MiB, and twice its size counts as our memory, so a
//! script gets no more than its probes can fill: BEGIN prints a known number of bytes, a clock
//! so many a second. Only for events that come as they like is there a size that suits most,
//! and `perf_rb_pages` for the others.

use super::sys::mem::{page_size, physical_memory};
use crate::object::{Attach, Object, Rate};

const MIB: u64 = 1 << 20;

/// The least: what fits here costs next to nothing.
const LEAST: u64 = 64 << 10;

/// The kernel's own bound is 2 GiB less a page.
const MOST: u64 = 1 << 30;

/// Seconds for which clocks must find room while nobody takes their records.
const PATIENCE: u64 = 10;

/// Signals that may come before the first of them is looked after.
const SIGNALS: u64 = 100;

/// Bytes of `object`'s ring buffer, a power of two of pages: `own`, if the map's definition says
/// so (is not 0), or the configured pages, or what the programs can fill, at most 2 MiB (a
/// thousandth of a small machine's memory where that is less).
pub(super) fn bytes(own: u32, object: &Object) -> u32 {
    let want = match (u64::from(own), object.config.perf_rb_pages) {
        (0, 0) => {
            let usual = (physical_memory() / 1000).clamp(MIB / 4, 2 * MIB);
            need(object).map_or(usual, |need| need.clamp(LEAST.min(usual), usual))
        }
        (0, pages) => pages.saturating_mul(page_size() as u64),
        (own, _) => own,
    };
    want.clamp(page_size() as u64, MOST).next_power_of_two() as u32
}

/// Bytes that the programs may fill before somebody is sure to look; `None` where events come
/// as they like.
fn need(object: &Object) -> Option<u64> {
    object.attach.iter().try_fold(0u64, |sum, point| {
        let each = object.programs[point.program.0 as usize].emits?;
        let times = match point.attach {
            _ if each == 0 => 0,
            Attach::Begin | Attach::End | Attach::Test(_) | Attach::Bench(_) => 1,
            Attach::SelfSignal(_) => SIGNALS,
            Attach::Interval(rate) => PATIENCE * per_second(rate),
            _ => return None,
        };
        sum.checked_add(each.checked_mul(times)?)
    })
}

/// Times a second, rounded up.
fn per_second(rate: Rate) -> u64 {
    match rate {
        Rate::Hz(hz) => hz.max(1),
        Rate::Period(ns) => 1_000_000_000u64.div_ceil(ns.max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ProgramType;
    use crate::runtime::testing;

    /// An object with one program that emits `each` bytes a run.
    fn object(emits: Option<u64>, attach: Attach) -> Object {
        let mut object = testing::counting_object();
        let program = testing::emitter(&mut object, ProgramType::RawTracepoint, 0, 0);
        object.programs[program.0 as usize].emits = emits;
        testing::attach(&mut object, program, attach);
        object
    }

    #[test]
    fn what_is_asked_for_wins() {
        let mut object = object(Some(8), Attach::Begin);
        let page = page_size() as u32;
        assert_eq!(bytes(100, &object), page);
        assert_eq!(bytes(u32::MAX, &object), MOST as u32);
        object.config.perf_rb_pages = 3;
        assert_eq!(bytes(0, &object), 4 * page);
    }

    #[test]
    fn no_more_than_the_programs_can_fill() {
        let usual = bytes(0, &object(None, Attach::Begin));
        let size = |emits, attach| bytes(0, &object(Some(emits), attach));
        assert_eq!(size(100, Attach::Begin), LEAST as u32);
        assert_eq!(size(100_000, Attach::Begin), 128 << 10);
        assert_eq!(size(1 << 40, Attach::Begin), usual);
        let interval = |ms: u64| Attach::Interval(Rate::Period(ms * 1_000_000));
        assert_eq!(size(64, interval(1000)), LEAST as u32);
        assert_eq!(size(64, interval(1)), usual.min(1 << 20));
        let event = || Attach::RawTracepoint {
            event: "sched_switch".into(),
        };
        assert_eq!(size(64, event()), usual);
        assert_eq!(size(0, event()), LEAST as u32);
    }
}
