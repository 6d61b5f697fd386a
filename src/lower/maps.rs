//! The map planner: which BPF map holds each `@map`, and the maps that programs share.
//!
//! * Scalar plain values live in an array of one entry and are addressed directly, without a
//!   helper call; a byte behind the value says whether it was assigned.
//! * Scalar aggregations live in a per-CPU array, whose look-up the kernel inlines.
//! * Keyed maps are hashes; aggregations per-CPU ones. Histograms with keys append the bucket
//!   to the key, so that a key costs what its buckets need.

use super::keys::{ShortKeys, short_size};
use crate::object::{AggStorage, Layout, MapDef, MapId, MapKind, MapRole, MapValue, UserMap};
use crate::sema::hir::{self, DeclaredKind};
use crate::types::{AggKind, AggTy, StackTy, Type, TypeStore, size_of};

/// `BPF_F_RDONLY_PROG`
pub(super) const RDONLY_PROG: u32 = 1 << 7;
/// Most stacks that are kept for `kstack` and `ustack` values of one limit.
const MAX_STACKS: u32 = 65_536;
/// Fewest.
const MIN_STACKS: u32 = 1024;
/// Scratch slots per CPU: how many programs may be inside at once on one CPU, preempted ones
/// included.
pub(super) const SCRATCH_SLOTS: u32 = 32;

/// Most bytes of a slot: per-CPU memory comes in units of 32 KiB (PCPU_MIN_UNIT_SIZE).
pub(super) const MAX_SCRATCH: u32 = (32 << 10) - 8;

/// How a `@map` is stored.
#[derive(Clone, Debug)]
pub(super) struct MapPlan {
    pub id: MapId,
    /// Key type of the script.
    pub key: Option<Type>,
    /// Bytes of the script's key.
    pub key_size: u32,
    /// Bytes of the BPF map's key.
    pub full_key_size: u32,
    pub value: Type,
    /// Bytes of a value of one CPU.
    pub value_size: u32,
    pub percpu: bool,
    /// Aggregation storage.
    pub storage: AggStorage,
    /// See [`UserMap::set_flag`].
    pub set_flag: Option<u32>,
    /// Whether an assignment may store into the entry that is there. Not where the script
    /// deletes keys: most keys are new then, and another may take the entry's place meanwhile.
    pub in_place: bool,
    /// The map of its short keys.
    pub short: Option<ShortKeys>,
}

impl MapPlan {
    /// Bytes of its short keys, if it is to have a map of them.
    pub(super) fn short_size(&self, def: &MapDef, store: &TypeStore) -> Option<u32> {
        let fits = self.storage == AggStorage::Value
            && matches!(def.kind, MapKind::Hash | MapKind::PercpuHash);
        short_size(self.key.as_ref()?, store).filter(|_| fits)
    }
}

/// The map of the short keys of `map`, whose definition is `long`.
pub(super) fn short_keys_map(map: MapId, long: &MapDef, key_size: u32) -> MapDef {
    MapDef {
        name: format!("{}_short", long.name),
        key_size,
        role: MapRole::ShortKeys(map),
        ..long.clone()
    }
}

impl MapPlan {
    pub(super) fn agg(&self) -> Option<AggTy> {
        match self.value {
            Type::Agg(t) => Some(t),
            _ => None,
        }
    }
}

/// Number of buckets of a log2 histogram with 2^`bits` buckets per power of two.
pub(super) fn hist_buckets(bits: u8) -> u32 {
    let bits = u32::from(bits);
    // The largest value has its top bit at 62; bucket 0 holds negative numbers.
    1 + ((62 - bits + 1) << bits) + (1 << bits)
}

/// Number of buckets of a linear histogram.
pub(super) fn lhist_buckets(min: i64, max: i64, step: i64) -> u32 {
    ((max.wrapping_sub(min)) / step.max(1)) as u32 + 2
}

/// Bytes of an aggregation's value, without buckets.
fn agg_value_size(kind: AggKind, scalar: bool) -> u32 {
    match kind {
        AggKind::Count | AggKind::Hist { .. } | AggKind::Lhist { .. } => 8,
        AggKind::Sum if !scalar => 8,
        AggKind::Sum | AggKind::Min | AggKind::Max | AggKind::Avg | AggKind::Stats => 16,
        AggKind::Tseries { .. } => 24,
    }
}

/// Plans one map. `layout` turns types into layouts.
pub(super) fn plan(
    id: MapId,
    map: &hir::Map,
    store: &TypeStore,
    config: &hir::Config,
    layout: &mut dyn FnMut(&Type) -> Layout,
) -> (MapPlan, MapDef) {
    let entries = map.max_entries.unwrap_or(config.max_map_keys).max(1);
    let key_size = map.key.as_ref().map_or(0, |k| size_of(k, store));
    let agg = match map.value {
        Type::Agg(t) => Some(t),
        _ => None,
    };
    let scalar = map.key.is_none();
    let buckets = agg.and_then(|a| match a.kind {
        AggKind::Hist { bits } => Some(hist_buckets(bits)),
        AggKind::Lhist { min, max, step } => Some(lhist_buckets(min, max, step)),
        _ => None,
    });
    let storage = match (agg.map(|a| a.kind), buckets) {
        (Some(AggKind::Tseries { .. }), _) => AggStorage::Keyed,
        (_, Some(n)) if scalar => AggStorage::Buckets(n),
        (_, Some(_)) => AggStorage::Keyed,
        _ => AggStorage::Value,
    };
    let plain_size = match agg {
        Some(a) => match storage {
            AggStorage::Buckets(n) => 8 * n,
            _ => agg_value_size(a.kind, scalar),
        },
        // Integers take a whole word, so that they can be added to atomically.
        None if map.value.is_scalar() => 8,
        None => size_of(&map.value, store).next_multiple_of(8).max(8),
    };
    let set_flag = match agg.map(|a| a.kind) {
        None if scalar => Some(plain_size),
        Some(AggKind::Sum | AggKind::Min | AggKind::Max) if scalar => Some(8),
        _ => None,
    };
    let value_size = if agg.is_none() && scalar {
        plain_size + 8
    } else {
        plain_size
    };
    let array = scalar && storage != AggStorage::Keyed;
    let full_key_size = match (array, storage) {
        (true, _) => 4,
        (_, AggStorage::Keyed) => key_size.next_multiple_of(8) + 8,
        _ => key_size.max(1),
    };
    let percpu = agg.is_some()
        || (!array
            && matches!(
                map.kind,
                Some(DeclaredKind::PercpuHash | DeclaredKind::PercpuLruHash)
            ));
    let lru = matches!(
        map.kind,
        Some(DeclaredKind::LruHash | DeclaredKind::PercpuLruHash)
    );
    let kind = match (array, percpu, lru) {
        (true, false, _) => MapKind::Array,
        (true, true, _) => MapKind::PercpuArray,
        (false, false, false) => MapKind::Hash,
        (false, false, true) => MapKind::LruHash,
        (false, true, false) => MapKind::PercpuHash,
        (false, true, true) => MapKind::LruPercpuHash,
    };
    let value = match agg {
        Some(a) => MapValue::Agg(a, storage),
        None => MapValue::Plain(layout(&map.value)),
    };
    let def = MapDef {
        name: format!("AT_{}", &map.name[1..]),
        kind,
        key_size: full_key_size,
        value_size,
        max_entries: if array { 1 } else { entries },
        flags: 0,
        init: None,
        role: MapRole::User(UserMap {
            name: map.name.clone(),
            key: map.key.as_ref().map(layout),
            value,
            set_flag,
        }),
    };
    let plan = MapPlan {
        id,
        key: map.key.clone(),
        key_size,
        full_key_size,
        value: map.value.clone(),
        value_size,
        percpu,
        storage,
        set_flag,
        in_place: kind == MapKind::Hash && map.value.is_scalar() && !map.deletes,
        short: None,
    };
    (plan, def)
}

/// The ring buffer.
pub(super) fn events_map() -> MapDef {
    MapDef {
        name: "events".into(),
        kind: MapKind::Ringbuf,
        key_size: 0,
        value_size: 0,
        max_entries: 0,
        flags: 0,
        init: None,
        role: MapRole::Events,
    }
}

/// The control groups that probes are limited to.
pub(super) fn cgroups_map(groups: Vec<String>) -> MapDef {
    MapDef {
        name: "cgroups".into(),
        kind: MapKind::CgroupArray,
        key_size: 4,
        value_size: 4,
        max_entries: groups.len() as u32,
        flags: 0,
        init: None,
        role: MapRole::Cgroups(groups),
    }
}

/// The per-site failure counters.
pub(super) fn counters_map(sites: u32) -> MapDef {
    MapDef {
        name: "counters".into(),
        kind: MapKind::PercpuArray,
        key_size: 4,
        value_size: 8,
        max_entries: sites.max(1),
        flags: 0,
        init: None,
        role: MapRole::Counters,
    }
}

/// Scratch memory: slots of `{ u64 claimed; u8 bytes[size] }`.
pub(super) fn scratch_map(size: u32) -> MapDef {
    MapDef {
        name: "scratch".into(),
        kind: MapKind::PercpuArray,
        key_size: 4,
        value_size: 8 + size.next_multiple_of(8),
        max_entries: SCRATCH_SLOTS,
        flags: 0,
        init: None,
        role: MapRole::Scratch,
    }
}

/// The stacks of one limit.
///
/// Twice as many as a map has keys, so that maps may come and go. Preallocated: samples are
/// taken in interrupts, where the kernel cannot wait for memory.
pub(super) fn stacks_map(ty: StackTy, max_map_keys: u32) -> MapDef {
    MapDef {
        name: format!("stacks_{}", ty.limit),
        kind: MapKind::Hash,
        key_size: 8,
        value_size: crate::object::STACK_VALUE_HEADER + 8 * u32::from(ty.limit),
        max_entries: max_map_keys.saturating_mul(2).clamp(MIN_STACKS, MAX_STACKS),
        flags: 0,
        init: None,
        role: MapRole::Stacks { limit: ty.limit },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_counts_cover_the_largest_value() {
        assert_eq!(hist_buckets(0), 65);
        assert_eq!(hist_buckets(5), 1 + 58 * 32 + 32);
        assert_eq!(lhist_buckets(0, 100, 10), 12);
    }
}
