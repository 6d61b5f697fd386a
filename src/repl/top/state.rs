//! What the live view shows: counts and map entries, and what keys have chosen.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::super::items::Kind;
use super::super::tracer::{Refused, Tracer};
use super::super::worker::Counts;
use crate::error::Result;
use crate::object::{MapId, MapValue, UserMap};
use crate::runtime::output::mapprint::{self, Cell, CellValue, Entry};
use crate::types::AggKind;

/// Printed lines that are kept.
const LINES: usize = 500;

/// Entries of a map that are shown at most: more than any screen has lines.
const MOST: usize = 200;

/// The order of map entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The largest first.
    #[default]
    Value,
    /// What grows fastest first.
    Rate,
    /// By key.
    Key,
}

impl Sort {
    /// The one that `s` leads to.
    pub fn next(self) -> Self {
        match self {
            Self::Value => Self::Rate,
            Self::Rate => Self::Key,
            Self::Key => Self::Value,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Rate => "rate",
            Self::Key => "key",
        }
    }
}

/// A line of the table of probes.
#[derive(Clone, Debug, Default)]
pub struct ProbeRow {
    /// Number of the item.
    pub number: u32,
    /// Its text in one line.
    pub text: String,
    /// What was counted since the start or the last reset; `None` while it is switched off.
    pub counts: Option<Counts>,
    /// Hits a second.
    pub rate: f64,
    /// Part of the time that one CPU spent in it.
    pub load: f64,
}

/// A map.
#[derive(Clone, Debug, Default)]
pub struct MapRows {
    /// Its name.
    pub name: String,
    /// Whether it has no key and a value of one line.
    pub scalar: bool,
    /// How many entries it has.
    pub entries: usize,
    /// Those that are shown.
    pub rows: Vec<Row>,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Row {
    /// Key and value.
    pub cell: Cell,
    /// What entries of the map are compared by.
    pub weight: Option<i128>,
    /// By how much that grows a second.
    pub rate: Option<f64>,
}

/// What a sample says about a map: the rows, and the weights for the next one.
type Shot = (MapRows, HashMap<Vec<u8>, i128>);

/// The state of the view.
pub struct State {
    /// Name of the script.
    pub title: String,
    /// When it was started.
    pub started: Instant,
    /// Time between two pictures.
    pub every: Duration,
    /// The picture stands still; the probes go on.
    pub paused: bool,
    /// The order of entries.
    pub sort: Sort,
    /// The chosen probe, by place.
    pub probe: usize,
    /// The chosen map, by place among those that are shown; `None`: the table of probes.
    pub map: Option<usize>,
    /// Only the chosen map is shown.
    pub zoomed: bool,
    /// Lines by which the chosen map is scrolled.
    pub scroll: usize,
    /// Names of maps that are not shown.
    pub hidden: HashSet<String>,
    /// Probes in order.
    pub probes: Vec<ProbeRow>,
    /// Maps by name.
    pub maps: Vec<MapRows>,
    /// What probes printed.
    pub output: VecDeque<String>,
    /// Lines of it that were left out.
    pub dropped: u64,
    /// What went wrong with the last key.
    pub message: Option<String>,
    /// Counts at the last reset, and at the last sample.
    base: BTreeMap<u32, Counts>,
    last: BTreeMap<u32, Counts>,
    last_at: Option<Instant>,
    weights: HashMap<String, HashMap<Vec<u8>, i128>>,
}

impl State {
    /// The start.
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            started: Instant::now(),
            every: Duration::from_secs(1),
            paused: false,
            sort: Sort::default(),
            probe: 0,
            map: None,
            zoomed: false,
            scroll: 0,
            hidden: HashSet::new(),
            probes: Vec::new(),
            maps: Vec::new(),
            output: VecDeque::new(),
            dropped: 0,
            message: None,
            base: BTreeMap::new(),
            last: BTreeMap::new(),
            last_at: None,
            weights: HashMap::new(),
        }
    }

    /// Takes what probes printed; whether there was anything.
    pub fn print(&mut self, text: &str, dropped: u64) -> bool {
        for line in text.lines() {
            self.output.push_back(line.replace('\t', "    "));
        }
        let over = self.output.len().saturating_sub(LINES);
        self.output.drain(..over);
        self.dropped += dropped;
        !text.is_empty() || dropped > 0
    }

    /// Reads counts and maps.
    pub fn sample(&mut self, tracer: &Tracer) {
        let now = Instant::now();
        let seconds = self.last_at.replace(now).map(|at| (now - at).as_secs_f64());
        self.sample_probes(tracer, seconds);
        let known: Vec<(MapId, String)> = tracer
            .maps()
            .into_iter()
            .map(|(id, map)| (id, map.name.clone()))
            .collect();
        self.maps.clear();
        for (id, name) in known {
            match self.sample_map(tracer, id, &name, seconds) {
                Ok(rows) => self.maps.push(rows),
                Err(e) => self.message = Some(format!("ERROR: {name}: {e}")),
            }
        }
        let shown = self.shown().len();
        self.map = self.map.filter(|_| shown > 0).map(|at| at.min(shown - 1));
    }

    fn sample_probes(&mut self, tracer: &Tracer, seconds: Option<f64>) {
        let items = tracer.script().items().iter();
        let rows = items.filter(|i| i.kind == Kind::Probe).map(|item| {
            let counts = tracer.counts(item.number);
            let mut row = ProbeRow {
                number: item.number,
                text: one_line(&item.text),
                ..ProbeRow::default()
            };
            // A probe that was switched off and on counts from zero.
            let since = |then: Option<&Counts>, now: Counts| match then {
                Some(&then) if then.hits <= now.hits => now.since(then),
                _ => now,
            };
            if let Some(now) = counts {
                if let (Some(seconds), Some(then)) = (seconds, self.last.get(&item.number)) {
                    let new = since(Some(then), now);
                    row.rate = new.hits as f64 / seconds;
                    row.load = new.time_ns as f64 / 1e9 / seconds;
                }
                row.counts = Some(since(self.base.get(&item.number), now));
                self.last.insert(item.number, now);
            } else {
                self.last.remove(&item.number);
            }
            row
        });
        self.probes = rows.collect();
        self.probe = self.probe.min(self.probes.len().saturating_sub(1));
    }

    fn sample_map(
        &mut self,
        tracer: &Tracer,
        id: MapId,
        name: &str,
        seconds: Option<f64>,
    ) -> Result<MapRows> {
        let before = self.weights.remove(name).unwrap_or_default();
        let sort = self.sort;
        let (rows, weights) = tracer.look_at(id, move |scope, user, mut entries| {
            let mut rows = MapRows {
                name: user.name.clone(),
                entries: entries.len(),
                ..MapRows::default()
            };
            let weights: HashMap<Vec<u8>, i128> = entries
                .iter()
                .filter_map(|e| Some((e.key().to_vec(), mapprint::weight(user, e)?)))
                .collect();
            let rate = |e: &Entry| {
                let seconds = seconds.filter(|_| grows(user))?;
                let now = weights.get(e.key()).copied().unwrap_or(0);
                let then = before.get(e.key()).copied().unwrap_or(0);
                // Less than before: it was cleared meanwhile.
                let new = if now < then { now } else { now - then };
                Some(new as f64 / seconds)
            };
            arrange(user, &mut entries, sort, rate);
            for entry in entries.iter().take(MOST) {
                rows.rows.push(Row {
                    cell: mapprint::cell(scope, user, entry)?,
                    weight: weights.get(entry.key()).copied(),
                    rate: rate(entry),
                });
            }
            let is_line = |r: &Row| match &r.cell.value {
                CellValue::Text(text) => !text.contains('\n'),
                CellValue::Buckets(_) => false,
            };
            rows.scalar = user.key.is_none() && rows.rows.iter().all(is_line);
            Ok::<Shot, _>((rows, weights))
        })?;
        self.weights.insert(name.to_owned(), weights);
        Ok(rows)
    }

    /// The maps that are shown, in order: those of one line come last, together.
    pub fn shown(&self) -> Vec<&MapRows> {
        let visible = || self.maps.iter().filter(|m| !self.hidden.contains(&m.name));
        visible()
            .filter(|m| !m.scalar)
            .chain(visible().filter(|m| m.scalar))
            .collect()
    }

    /// Switches the chosen probe off or on.
    pub fn toggle(&mut self, tracer: &mut Tracer) -> Result<(), Refused> {
        let Some(row) = self.probes.get(self.probe) else {
            return Ok(());
        };
        let number = row.number;
        let enabled = tracer.script().item(number).is_some_and(|i| i.enabled);
        tracer.enable(number, !enabled)
    }

    /// Empties the maps and counts from zero.
    pub fn reset(&mut self, tracer: &Tracer) -> Result<()> {
        self.base = self.last.clone();
        self.weights.clear();
        self.dropped = 0;
        self.output.clear();
        tracer.reset()
    }

    /// No longer shows the chosen map.
    pub fn hide(&mut self) {
        let name = self
            .map
            .and_then(|at| Some(self.shown().get(at)?.name.clone()));
        self.hidden.extend(name);
        self.map = None;
        self.zoomed = false;
    }

    /// Chooses the next part of the screen.
    pub fn turn(&mut self, by: isize) {
        let places = self.shown().len() as isize + 1;
        let at = self.map.map_or(0, |at| at as isize + 1);
        let next = (at + by).rem_euclid(places);
        self.map = (next > 0).then(|| next as usize - 1);
        self.scroll = 0;
        self.zoomed &= self.map.is_some();
    }

    /// Chooses another probe, or scrolls the chosen map.
    pub fn step(&mut self, by: isize) {
        match self.map {
            None => {
                let last = self.probes.len().saturating_sub(1);
                self.probe = self.probe.saturating_add_signed(by).min(last);
            }
            Some(at) => {
                let rows = self.shown().get(at).map_or(0, |m| m.rows.len());
                let last = rows.saturating_sub(1);
                self.scroll = self.scroll.saturating_add_signed(by).min(last);
            }
        }
    }
}

/// Whether the numbers of a map add up over time, so that their growth means something.
fn grows(user: &UserMap) -> bool {
    match &user.value {
        MapValue::Agg(ty, _) => matches!(
            ty.kind,
            AggKind::Count | AggKind::Sum | AggKind::Hist { .. } | AggKind::Lhist { .. }
        ),
        MapValue::Plain(_) => false,
    }
}

/// Puts entries, which come in the order they are printed, into the order that was chosen.
fn arrange(
    user: &UserMap,
    entries: &mut [Entry],
    sort: Sort,
    rate: impl Fn(&Entry) -> Option<f64>,
) {
    let ranked = entries.iter().any(|e| mapprint::weight(user, e).is_some());
    match sort {
        Sort::Key => mapprint::sort_by_key(user, entries),
        Sort::Rate if grows(user) => {
            entries.reverse();
            entries.sort_by(|a, b| {
                let (a, b) = (rate(a).unwrap_or(0.0), rate(b).unwrap_or(0.0));
                b.total_cmp(&a)
            });
        }
        _ if ranked => entries.reverse(),
        _ => {}
    }
}

/// A probe's text without comments and line ends.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|l| !l.starts_with("//")).collect();
    lines.join(" ")
}
