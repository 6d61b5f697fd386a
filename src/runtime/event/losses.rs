//! Failures that are counted in the kernel: what was lost, and what was never told.
//!
//! Every place that can fail has a counter; most failures are also records, but a record can be
//! lost too.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::object::{Object, SiteKind};
use crate::runtime::map::MapAccess;
use crate::runtime::output::value::{u32_at, u64_at};

/// Time between two looks at the counters while the run goes on.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known about failures.
#[derive(Debug)]
pub(super) struct Losses {
    /// By site: how often it failed when the counters were last looked at.
    counts: Vec<u64>,
    /// By site: how often it was reported.
    reported: Vec<u64>,
    /// By site: whether it counts lost events.
    loses: Vec<bool>,
    /// Lost events that were told.
    told: u64,
    next_look: Instant,
}

impl Losses {
    /// For a run of `object`.
    pub fn new(object: &Object) -> Self {
        let loses = object.sites.iter().map(|s| s.kind == SiteKind::LostEvent);
        Self {
            counts: vec![0; object.sites.len()],
            reported: vec![0; object.sites.len()],
            loses: loses.collect(),
            told: 0,
            next_look: Instant::now() + PAUSE,
        }
    }

    /// A failure of this site was reported.
    pub fn reported(&mut self, site: usize) {
        if let Some(n) = self.reported.get_mut(site) {
            *n += 1;
        }
    }

    /// Whether the last look is long enough ago.
    pub fn is_time_to_look(&self) -> bool {
        Instant::now() >= self.next_look
    }

    /// Reads the counters; returns how many events were lost since the last look, and in all.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn look(&mut self, object: &Object, maps: &dyn MapAccess) -> Result<(u64, u64)> {
        self.next_look = Instant::now() + PAUSE;
        let Some(counters) = object.counters_map else {
            return Ok((0, 0));
        };
        let counts = &mut self.counts;
        maps.for_each(counters, &mut |key, value| {
            let at = u32_at(key, 0)? as usize;
            if let Some(count) = counts.get_mut(at) {
                *count = 0;
                for cpu in value.chunks_exact(8) {
                    *count = count.wrapping_add(u64_at(cpu, 0)?);
                }
            }
            Ok(())
        })?;
        let lost = self.counts.iter().zip(&self.loses).filter(|(_, l)| **l);
        let total = lost.fold(0u64, |sum, (n, _)| sum.saturating_add(*n));
        let new = total.saturating_sub(self.told);
        self.told = total;
        Ok((new, total))
    }

    /// By site, as of the last look: failures other than lost events that were not reported.
    pub fn unreported(&self) -> Vec<u64> {
        let known = self.reported.iter().zip(&self.loses);
        let each = self.counts.iter().zip(known);
        each.map(|(count, (reported, loses))| match loses {
            true => 0,
            false => count.saturating_sub(*reported),
        })
        .collect()
    }
}
