//! Failures that are counted in the kernel: what was lost, and what was never told.
//!
//! Every place that can fail has a counter; most failures are also records, but a record can be
//! lost too.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::object::{Loc, Object, Site, SiteKind};
use crate::runtime::map::MapAccess;
use crate::runtime::output::report::site_text;
use crate::runtime::output::value::{u32_at, u64_at};

/// Time between two looks at the counters while the run goes on.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a place may report that it fails before that becomes a flood.
const EACH: u64 = 10;

/// Time between two reports of a place that fails all the time.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// What is known about failures.
#[derive(Debug)]
pub(super) struct Losses {
    /// By site: how often it failed when the counters were last looked at.
    counts: Vec<u64>,
    /// By site: how often it was reported.
    reported: Vec<u64>,
    /// By site: when it may be reported again, once it was reported [`EACH`] times.
    again: HashMap<usize, Instant>,
    /// By site: whether it counts lost events.
    loses: Vec<bool>,
    /// Lost events that were told.
    told: u64,
    /// Records that were not handed over.
    dropped: u64,
    /// Probes that the kernel did not run at times.
    skipped: Vec<Loss>,
    next_look: Instant,
}

impl Losses {
    /// For a run of `object`.
    pub fn new(object: &Object) -> Self {
        let loses = object.sites.iter().map(|s| s.kind == SiteKind::LostEvent);
        Self {
            counts: vec![0; object.sites.len()],
            reported: vec![0; object.sites.len()],
            again: HashMap::new(),
            loses: loses.collect(),
            told: 0,
            dropped: 0,
            skipped: Vec::new(),
            next_look: Instant::now() + PAUSE,
        }
    }

    /// Whether one more report of this site would be part of a flood: it has had [`EACH`] and one
    /// within the last second. What is not reported is in the last word on the run.
    pub fn floods(&mut self, site: usize) -> bool {
        if self.reported.get(site).is_none_or(|&n| n < EACH) {
            return false;
        }
        let now = Instant::now();
        match self.again.get_mut(&site) {
            Some(again) if now < *again => true,
            Some(again) => {
                *again = now + REPORT_PAUSE;
                false
            }
            None => {
                self.again.insert(site, now + REPORT_PAUSE);
                true
            }
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

    /// Records that were not handed over.
    pub fn dropped(&mut self, events: u64) {
        self.dropped = self.dropped.saturating_add(events);
    }

    /// A probe that the kernel did not run so often.
    pub fn skipped(&mut self, probe: &str, loc: Loc, times: u64) {
        self.skipped.push(Loss {
            what: What::Skipped(probe.to_owned()),
            loc,
            times,
            more: false,
        });
    }

    /// Everything that was lost, as of the last look.
    pub fn total(&self, object: &Object) -> u64 {
        let sites = object.sites.iter().zip(&self.counts);
        let failed =
            sites.filter(|(s, _)| !matches!(s.kind, SiteKind::MapLookup | SiteKind::Assert));
        let failed = failed.map(|(_, n)| *n);
        let skipped = self.skipped.iter().map(|l| l.times);
        failed
            .chain(skipped)
            .fold(self.dropped, u64::saturating_add)
    }

    /// What was lost and not told when it happened, as of the last look: one for each kind and
    /// place, in the order of the script. A probe that became several programs is one place.
    pub fn summary(&self, object: &Object, lookups: bool) -> Vec<Loss> {
        let mut losses = self.skipped.clone();
        let mut at: HashMap<(SiteKind, Loc), usize> = HashMap::new();
        let counts = self.counts.iter().zip(&self.reported);
        for (site, (&count, &reported)) in object.sites.iter().zip(counts) {
            let times = count.saturating_sub(reported);
            if times == 0 || (site.kind == SiteKind::MapLookup && !lookups) {
                continue;
            }
            let i = *at.entry((site.kind, site.loc)).or_insert_with(|| {
                losses.push(Loss {
                    what: What::Site(site.clone()),
                    loc: site.loc,
                    times: 0,
                    more: false,
                });
                losses.len() - 1
            });
            losses[i].times = losses[i].times.saturating_add(times);
            losses[i].more |= reported > 0;
        }
        losses.sort_by_key(|l| (l.loc.file, l.loc.line, l.loc.col));
        losses
    }
}

/// Something that a place of the script lost.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    what: What,
    /// Where.
    pub loc: Loc,
    /// How often.
    pub times: u64,
    /// There were others, which were told.
    more: bool,
}

#[derive(Clone, Debug)]
enum What {
    Site(Site),
    /// A probe, by name.
    Skipped(String),
}

impl Loss {
    /// The kind, for programs to read.
    pub fn name(&self) -> &'static str {
        match &self.what {
            What::Skipped(_) => "skipped_run",
            What::Site(site) => match site.kind {
                SiteKind::LostEvent => "lost_event",
                SiteKind::MapFull => "map_full",
                SiteKind::MapUpdate => "map_update",
                SiteKind::MapLookup => "map_lookup",
                SiteKind::Read => "failed_read",
                SiteKind::Truncated => "truncated",
                SiteKind::Stack => "stack",
                SiteKind::Scratch => "no_scratch",
                SiteKind::DivideByZero => "divide_by_zero",
                SiteKind::OutOfBounds => "out_of_bounds",
                SiteKind::Helper => "helper",
                SiteKind::Assert => "assert",
            },
        }
    }

    /// The kind and the number, for people.
    pub fn text(&self) -> String {
        let n = self.times;
        let times = |one: &str, many: &str| {
            let more = if self.more { "more " } else { "" };
            format!("{n} {more}{}", if n == 1 { one } else { many })
        };
        let site = match &self.what {
            What::Skipped(probe) => {
                let runs = times("run", "runs");
                return format!(
                    "{runs} of {probe} skipped: the kernel was running a BPF program on this CPU"
                );
            }
            What::Site(site) => site,
        };
        match site.kind {
            SiteKind::LostEvent => {
                let events = times("event", "events");
                format!("{events} lost: the ring buffer was full")
            }
            SiteKind::MapUpdate => format!("{} failed", times("map update", "map updates")),
            SiteKind::MapFull => {
                format!("{} dropped: the map is full", times("update", "updates"))
            }
            SiteKind::Read => format!("{} of memory failed", times("read", "reads")),
            SiteKind::Truncated => format!(
                "{} cut: no room for the whole (max_strlen)",
                times("value", "values")
            ),
            SiteKind::Stack => format!("{} not stored", times("stack", "stacks")),
            SiteKind::Scratch => format!(
                "{} of the probe skipped: too many programs were nested on one CPU",
                times("run", "runs")
            ),
            SiteKind::Helper => format!("{} of {} failed", times("call", "calls"), site.helper),
            SiteKind::MapLookup
            | SiteKind::DivideByZero
            | SiteKind::OutOfBounds
            | SiteKind::Assert => {
                format!(
                    "{} (not reported: {})",
                    site_text(site, 0),
                    times("time", "times")
                )
            }
        }
    }
}
