//! `profile` and `interval`: sampled clocks.

use super::{Ap, Expander, ProbeCx, Provider};
use crate::diag::Code;
use crate::object::{Attach, ProgramType, Rate};
use crate::sema::hir::Context;

/// Shortest period in nanoseconds.
const MIN_PERIOD: u64 = 1000;

/// `profile:hz:99`, `interval:1s`
pub(super) fn expand(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let kind = ap.provider.name();
    let (rate, name) = match ap.parts.as_slice() {
        [duration] => {
            let Some((n, unit)) = split(duration) else {
                let text = format!("Invalid rate of {kind} probe: {duration}");
                return ex.error(Code::BadRate, ap.span, text);
            };
            let Some(ns) = n.checked_mul(unit) else {
                let text = format!("{kind} frequency should be a positive integer");
                return ex.error(Code::BadRate, ap.span, text);
            };
            if ns < MIN_PERIOD {
                let text = format!(
                    "Invalid rate of {kind} probe. Minimum is 1000 or 1us. Found: {ns} nanoseconds"
                );
                return ex.error(Code::BadRate, ap.span, text);
            }
            (Rate::Period(ns), format!("{kind}:us:{}", ns / 1000))
        }
        [unit, count] => {
            let scale = match unit.as_str() {
                "hz" => None,
                "s" => Some(1_000_000_000),
                "ms" => Some(1_000_000),
                "us" => Some(1_000),
                _ => {
                    let text = format!("{unit} is not an accepted unit of time");
                    return ex.error(Code::BadRate, ap.span, text);
                }
            };
            let n = count.parse::<u64>().ok().filter(|n| *n > 0);
            let rate = match (n, scale) {
                (Some(n), None) => Some(Rate::Hz(n)),
                (Some(n), Some(scale)) => n.checked_mul(scale).map(Rate::Period),
                (None, _) => None,
            };
            let Some(rate) = rate else {
                let text = format!("{kind} frequency should be a positive integer");
                return ex.error(Code::BadRate, ap.span, text);
            };
            (rate, format!("{kind}:{unit}:{count}"))
        }
        _ => return,
    };
    let cx = ProbeCx::new(ap.provider, ProgramType::PerfEvent, Context::PerfEvent);
    let attach = match ap.provider {
        Provider::Profile => Attach::Profile(rate),
        _ => Attach::Interval(rate),
    };
    ex.attach(ap, name, attach, cx);
}

/// Number and nanoseconds per unit of a duration; a bare number is in nanoseconds.
fn split(text: &str) -> Option<(u64, u64)> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let unit = match &text[at..] {
        "" | "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    Some((text[..at].parse().ok()?, unit))
}
