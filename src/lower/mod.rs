//! From the typed program to the IR: the only phase that knows both.
//!
//! Input: a checked [`hir::Program`]. Output: an IR module, the functions that are entries of
//! programs, and the tables that records and maps are read back with. Nothing here asks the
//! kernel or the file system.
//!
//! How values are held: scalars are SSA values, extended to 64 bits by their type. Everything
//! else lives in memory and is built where it is needed (destination-driven): in a frame slot
//! if it is small, in the ring-buffer record if it is output, else in scratch. Strings in
//! memory are padded with zeros to their capacity, so that they can be keys, except inside
//! records.
//!
//! ## Scratch
//! One per-CPU array entry is claimed with an atomic exchange when a program that needs it
//! starts and is released when it ends. Programs that interrupt or preempt this one claim
//! another entry: contents are private whatever the order in which they end.

mod agg;
pub mod call;
mod capture;
mod cast;
mod event;
mod expr;
mod filter;
mod fx;
mod keys;
mod layout;
mod loops;
mod mapop;
mod maps;
mod memory;
mod place;
mod regs;
mod report;
mod stack;
mod stmt;
#[cfg(test)]
mod tests;
mod unwind;

use std::collections::HashMap;

use crate::ir;
use crate::object::{
    AttachPoint, Event, EventId, Layout, Loc, MapDef, MapId, ProgramId, ProgramType, Site,
};
use crate::sema::hir;
use crate::types::{StackTy, Type};

pub use fx::Fx;
use keys::ShortKeys;
use layout::Layouts;
use maps::MapPlan;

/// A value that does not fit what the kernel offers: the user's to change.
#[derive(Clone, Debug)]
pub struct LimitError {
    /// What is too large.
    pub message: String,
    /// Where.
    pub loc: Loc,
}

/// A function that is the entry of a program.
#[derive(Debug)]
pub struct Entry {
    /// The function.
    pub func: ir::FuncId,
    /// Kernel name of the program.
    pub name: String,
    /// Type of the program.
    pub ty: ProgramType,
    /// See [`crate::object::Program::attach_btf`].
    pub attach_btf: Option<(String, Option<String>)>,
}

/// Result of lowering.
#[derive(Debug, Default)]
pub struct Lowered {
    /// Functions and maps.
    pub module: ir::Module,
    /// Programs, in the order of `ProgramId`.
    pub entries: Vec<Entry>,
    /// Attach points.
    pub attach: Vec<AttachPoint>,
    /// Event table.
    pub events: Vec<Event>,
    /// Places that can fail.
    pub sites: Vec<Site>,
    /// Enum tables.
    pub enums: Vec<crate::object::EnumTable>,
    /// The ring buffer.
    pub events_map: Option<MapId>,
    /// The failure counters.
    pub counters_map: Option<MapId>,
    /// The maps of the unwinder.
    pub unwind: Option<crate::object::unwind::Unwind>,
}

/// Lowers a checked program.
pub fn lower(program: &hir::Program) -> Result<Lowered, Vec<LimitError>> {
    let mut cx = Lower::new(program);
    for (i, f) in program.funcs.iter().enumerate() {
        let func = ir::Func::new(f.name.clone(), ir::FuncKind::Static);
        let id = cx.module.add(func);
        debug_assert_eq!(id.index(), i, "script functions come first");
    }
    for (i, f) in program.funcs.iter().enumerate() {
        fx::lower_func(&mut cx, ir::FuncId(i as u32), f);
    }
    let mut entries = Vec::new();
    let mut attach = Vec::new();
    for (i, probe) in program.probes.iter().enumerate() {
        let first = attach.len() as u32;
        let func = fx::lower_probe(&mut cx, probe, first);
        entries.push(Entry {
            func,
            name: format!("{}_{}", probe.name, i + 1),
            ty: probe.ty,
            attach_btf: probe.attach_btf.clone(),
        });
        attach.extend(probe.attach.iter().map(|a| AttachPoint {
            name: a.name.clone(),
            program: ProgramId(i as u32),
            attach: a.attach.clone(),
            loc: a.loc,
            wildcard: a.wildcard,
        }));
    }
    if let Some(id) = cx.scratch_map {
        let size = cx.scratch_size;
        cx.module.maps[id.0 as usize] = maps::scratch_map(size);
    }
    if let Some(id) = cx.counters_map {
        cx.module.maps[id.0 as usize] = maps::counters_map(cx.sites.len() as u32);
    }
    if !cx.errors.is_empty() {
        return Err(cx.errors);
    }
    Ok(Lowered {
        module: cx.module,
        entries,
        attach,
        events: cx.events,
        sites: cx.sites,
        enums: cx.layouts.tables,
        events_map: cx.events_map,
        counters_map: cx.counters_map,
        unwind: cx.unwind,
    })
}

/// What functions of one program share.
pub struct Lower<'a> {
    program: &'a hir::Program,
    module: ir::Module,
    plans: Vec<MapPlan>,
    layouts: Layouts<'a>,
    events: Vec<Event>,
    sites: Vec<Site>,
    /// Stack maps by limit.
    stacks: HashMap<u16, MapId>,
    events_map: Option<MapId>,
    counters_map: Option<MapId>,
    scratch_map: Option<MapId>,
    /// Bytes of a scratch slot that the hungriest function uses.
    scratch_size: u32,
    shared: HashMap<fx::Shared, ir::FuncId>,
    /// Text tables by capacity of their entries, with their number.
    tables: HashMap<(call::tables::Table, u32), (MapId, u32)>,
    start_map: Option<MapId>,
    cgroups_map: Option<MapId>,
    /// Tables of system calls, by their numbers.
    syscall_maps: HashMap<Vec<u16>, MapId>,
    unwind: Option<crate::object::unwind::Unwind>,
    /// The event of runtime errors.
    error_event: Option<EventId>,
    errors: Vec<LimitError>,
}

impl<'a> Lower<'a> {
    fn new(program: &'a hir::Program) -> Self {
        let mut cx = Self {
            program,
            module: ir::Module::default(),
            plans: Vec::new(),
            layouts: Layouts::new(&program.types),
            events: Vec::new(),
            sites: Vec::new(),
            stacks: HashMap::new(),
            events_map: None,
            counters_map: None,
            scratch_map: None,
            scratch_size: 0,
            shared: HashMap::new(),
            tables: HashMap::new(),
            start_map: None,
            cgroups_map: None,
            syscall_maps: HashMap::new(),
            unwind: None,
            error_event: None,
            errors: Vec::new(),
        };
        // Places for the script's maps first, so that stack maps come behind them.
        let stand_in = maps::counters_map(0);
        cx.module.maps = vec![stand_in; program.maps.len()];
        let keys = program.config.max_map_keys;
        for (i, map) in program.maps.iter().enumerate() {
            let id = MapId(i as u32);
            let (plan, def) = maps::plan(id, map, &program.types, &program.config, &mut |t| {
                cx.layouts.of(t, &mut |s| {
                    stacks_map(&mut cx.stacks, &mut cx.module.maps, s, keys)
                })
            });
            cx.plans.push(plan);
            cx.module.maps[i] = def;
        }
        for i in 0..cx.plans.len() {
            let (map, def) = (MapId(i as u32), &cx.module.maps[i]);
            let Some(key_size) = cx.plans[i].short_size(def, &program.types) else {
                continue;
            };
            let id = cx.add_map(maps::short_keys_map(map, def, key_size));
            cx.plans[i].short = Some(ShortKeys { id, key_size });
        }
        cx
    }

    fn add_map(&mut self, def: MapDef) -> MapId {
        self.module.maps.push(def);
        MapId(self.module.maps.len() as u32 - 1)
    }

    /// The ring buffer.
    fn events_map(&mut self) -> MapId {
        if let Some(id) = self.events_map {
            return id;
        }
        let id = self.add_map(maps::events_map());
        self.events_map = Some(id);
        id
    }

    /// The failure counters.
    fn counters_map(&mut self) -> MapId {
        if let Some(id) = self.counters_map {
            return id;
        }
        let id = self.add_map(maps::counters_map(1));
        self.counters_map = Some(id);
        id
    }

    /// Scratch memory.
    fn scratch_map(&mut self) -> MapId {
        if let Some(id) = self.scratch_map {
            return id;
        }
        let id = self.add_map(maps::scratch_map(0));
        self.scratch_map = Some(id);
        id
    }

    /// The word that holds the time of the start.
    fn start_map(&mut self) -> MapId {
        if let Some(id) = self.start_map {
            return id;
        }
        let id = self.add_map(MapDef {
            name: "start".into(),
            kind: crate::object::MapKind::Array,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0,
            init: None,
            role: crate::object::MapRole::Start,
        });
        self.start_map = Some(id);
        id
    }

    /// The control groups that probes are limited to.
    fn cgroups_map(&mut self) -> MapId {
        if let Some(id) = self.cgroups_map {
            return id;
        }
        let groups = self.program.config.cgroups.clone();
        let id = self.add_map(maps::cgroups_map(groups));
        self.cgroups_map = Some(id);
        id
    }

    /// The stack map of a type.
    fn stacks_map(&mut self, ty: StackTy) -> MapId {
        let keys = self.program.config.max_map_keys;
        stacks_map(&mut self.stacks, &mut self.module.maps, ty, keys)
    }

    /// Layout of a type.
    fn layout(&mut self, ty: &Type) -> Layout {
        let keys = self.program.config.max_map_keys;
        self.layouts.of(ty, &mut |s| {
            stacks_map(&mut self.stacks, &mut self.module.maps, s, keys)
        })
    }
}

fn stacks_map(
    known: &mut HashMap<u16, MapId>,
    maps: &mut Vec<MapDef>,
    ty: StackTy,
    max_map_keys: u32,
) -> MapId {
    *known.entry(ty.limit).or_insert_with(|| {
        maps.push(maps::stacks_map(ty, max_map_keys));
        MapId(maps.len() as u32 - 1)
    })
}
