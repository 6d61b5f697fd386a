//! An `exit()` whose record found no room in the ring buffer.
//!
//! The script asked for the end, in the middle of a flood; the run must not go on because of it.
//! The failure was counted like any lost event, at the place of the call: that counter tells.

use std::time::{Duration, Instant};

use crate::object::{EventKind, MapId, Object, SiteKind};
use crate::runtime::map::MapAccess;

/// How often the counters are looked at while records come.
const PAUSE: Duration = Duration::from_millis(100);

/// Exit code of a call whose code nobody knows any more.
const UNKNOWN: i32 = 1;

/// Watches the counters of all calls of `exit()`.
#[derive(Debug)]
pub(super) struct LostExit {
    counters: Option<MapId>,
    /// Keys of the counters map, and the codes of the calls.
    calls: Vec<(u32, i32)>,
    next: Instant,
    value: Vec<u8>,
}

impl LostExit {
    /// Finds the calls in `object`.
    pub fn new(object: &Object) -> Self {
        let lost = object.sites.iter().enumerate();
        let lost = lost.filter(|(_, s)| s.kind == SiteKind::LostEvent);
        let calls = lost.filter_map(|(i, site)| {
            let mut here = object.events.iter().filter(|e| e.loc == site.loc);
            here.find_map(|e| match e.kind {
                EventKind::Exit { known, .. } => Some((i as u32, known.unwrap_or(UNKNOWN))),
                _ => None,
            })
        });
        Self {
            counters: object.counters_map,
            calls: calls.collect(),
            next: Instant::now() + PAUSE,
            value: Vec::new(),
        }
    }

    /// The code of a call that was lost, looked for every now and then.
    pub fn look(&mut self, maps: &dyn MapAccess) -> Option<i32> {
        let now = Instant::now();
        if self.calls.is_empty() || now < self.next {
            return None;
        }
        self.next = now + PAUSE;
        self.find(maps)
    }

    /// The same, now.
    fn find(&mut self, maps: &dyn MapAccess) -> Option<i32> {
        let map = self.counters?;
        let value = &mut self.value;
        let happened = |key: u32, value: &mut Vec<u8>| {
            // A map that cannot be read says nothing; the script's next call may get through.
            let known = maps.lookup(map, &key.to_ne_bytes(), value);
            known.unwrap_or(false) && value.iter().any(|b| *b != 0)
        };
        let mut calls = self.calls.iter();
        calls.find_map(|&(key, code)| happened(key, value).then_some(code))
    }
}
