//! Expressions and statements evaluated now, in this process, with the session's maps.
//!
//! In: an object that was compiled from the session's script and the statement, the attach point
//! of the statement, and the session's maps. The maps that the statement uses are copied into
//! the interpreter before it runs; entries that it changed are written back afterwards, others
//! are left to the probes that count in them meanwhile. What it emits refers to the session's
//! maps themselves: `print(@)` copies nothing, `clear(@)` clears.

use std::collections::{HashMap, HashSet};

use crate::error::Result;
use crate::interp::engine::{Runner, UserMaps};
use crate::object::{MapId, MapRole, Object, RelocKind};
use crate::runtime::event::Printer;
use crate::runtime::map::Visit;
use crate::runtime::shared;
use crate::runtime::{MapAccess, Sink as _};

/// The session's maps.
pub struct Live<'a> {
    /// The object that they belong to.
    pub object: &'a Object,
    /// The maps.
    pub maps: &'a dyn MapAccess,
}

/// Runs the attach point `attach` of `object` once and prints what it emits.
///
/// # Errors
/// The program faults, or a map cannot be read or written.
pub fn evaluate(
    object: &Object,
    attach: usize,
    live: &Live<'_>,
    printer: &mut Printer<'_>,
) -> Result<()> {
    let mut runner = Runner::new(object, live.maps.cpus())?;
    let ids: Vec<Option<MapId>> = object
        .maps
        .iter()
        .map(|def| shared::find(live.object, object, def))
        .collect();
    let program = &object.programs[object.attach[attach].program.0 as usize];
    let used: HashSet<MapId> = program
        .relocs
        .iter()
        .map(|r| match r.kind {
            RelocKind::Map(map) | RelocKind::MapValue(map, _) => map,
        })
        .collect();
    let mut before = HashMap::new();
    for &map in &used {
        let user = matches!(object.maps[map.0 as usize].role, MapRole::User(_));
        let Some(id) = ids[map.0 as usize].filter(|_| user) else {
            continue;
        };
        let mut entries = HashMap::new();
        live.maps.for_each(id, &mut |key, value| {
            runner.maps().update(map, key, value)?;
            entries.insert(key.to_vec(), value.to_vec());
            Ok(())
        })?;
        before.insert(map, (id, entries));
    }
    runner.run(attach)?;
    for (map, (id, mut entries)) in before {
        runner.maps().for_each(map, &mut |key, value| {
            if entries.remove(key).is_none_or(|old| old != value) {
                live.maps.update(id, key, value)?;
            }
            Ok(())
        })?;
        for key in entries.keys() {
            live.maps.delete(id, key)?;
        }
    }
    let routed = Routed {
        ids: &ids,
        live: live.maps,
        own: runner.maps(),
    };
    for record in runner.records() {
        printer.record(record, &routed)?;
    }
    printer.batch_done(&routed)
}

/// The maps of an evaluation: the session's where it has them.
struct Routed<'a> {
    ids: &'a [Option<MapId>],
    live: &'a dyn MapAccess,
    own: &'a UserMaps,
}

impl Routed<'_> {
    fn route(&self, map: MapId) -> (&dyn MapAccess, MapId) {
        match self.ids.get(map.0 as usize).copied().flatten() {
            Some(id) => (self.live, id),
            None => (self.own, map),
        }
    }
}

impl MapAccess for Routed<'_> {
    fn cpus(&self) -> usize {
        self.live.cpus()
    }

    fn for_each(&self, map: MapId, f: Visit<'_>) -> Result<()> {
        let (maps, id) = self.route(map);
        maps.for_each(id, f)
    }

    fn lookup(&self, map: MapId, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let (maps, id) = self.route(map);
        maps.lookup(id, key, value)
    }

    fn update(&self, map: MapId, key: &[u8], value: &[u8]) -> Result<()> {
        let (maps, id) = self.route(map);
        maps.update(id, key, value)
    }

    fn delete(&self, map: MapId, key: &[u8]) -> Result<bool> {
        let (maps, id) = self.route(map);
        maps.delete(id, key)
    }

    fn clear(&self, map: MapId) -> Result<()> {
        let (maps, id) = self.route(map);
        maps.clear(id)
    }

    fn zero(&self, map: MapId) -> Result<()> {
        let (maps, id) = self.route(map);
        maps.zero(id)
    }
}
