//! BPF maps in user space: hashes, arrays, their per-CPU and LRU forms, task storage.
//!
//! Semantics and error codes are the kernel's, with these choices where the kernel leaves
//! them open: a walk visits elements in the order of their insertion; an LRU map evicts the
//! element unused for longest; an update of an existing element writes in place; the memory
//! of a deleted element stays readable until the run ends, as it does under RCU.
//!
//! Values live in one slab. Element `slot`, CPU `cpu` is cell `slot * cpus + cpu`, one cell
//! every `stride` bytes; in addresses, cells are twice as far apart at least, so that a
//! pointer that leaves its value meets nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::ring::Ring;
use crate::error::{Error, Result};
use crate::object::{MapDef, MapKind};

/// Bytes of a ring buffer whose definition leaves the size open.
const DEFAULT_RING: u32 = 1 << 20;

/// Most bytes the values of one map may take; a definition above is refused.
const MAX_SLAB: u64 = 1 << 34;

/// `BPF_F_RDONLY_PROG`: programs may not write to the map.
const RDONLY_PROG: u32 = 1 << 7;

/// Why a map operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No element has the key.
    NoEntry,
    /// An element has the key already.
    Exists,
    /// There is no room for another element, or an array's index is out of range.
    Full,
    /// The map cannot do this, or an argument has the wrong size.
    Invalid,
}

impl MapError {
    /// The errno value (positive) the kernel gives.
    pub fn errno(self) -> i32 {
        match self {
            MapError::NoEntry => libc::ENOENT,
            MapError::Exists => libc::EEXIST,
            MapError::Full => libc::E2BIG,
            MapError::Invalid => libc::EINVAL,
        }
    }
}

/// What an update demands of the element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// Nothing (`BPF_ANY`).
    Any,
    /// That it does not exist (`BPF_NOEXIST`).
    NoExist,
    /// That it exists (`BPF_EXIST`).
    Exist,
}

impl UpdateMode {
    /// The mode that the flags of a helper or system call ask for.
    pub fn from_flags(flags: u64) -> Option<UpdateMode> {
        match flags {
            0 => Some(UpdateMode::Any),
            1 => Some(UpdateMode::NoExist),
            2 => Some(UpdateMode::Exist),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Element {
    key: Box<[u8]>,
    /// Order of insertion.
    seq: u64,
    /// Last use, for LRU maps.
    used: u64,
}

#[derive(Debug, Default)]
struct Hash {
    slots: HashMap<Box<[u8]>, usize>,
    /// By slot; `None` is free.
    elements: Vec<Option<Element>>,
    by_seq: BTreeMap<u64, usize>,
    /// LRU maps only.
    by_use: BTreeMap<u64, usize>,
    free: Vec<usize>,
    /// Deleted in this run: free when it ends.
    retired: Vec<usize>,
    clock: u64,
}

#[derive(Debug)]
enum Store {
    Hash(Hash),
    Array,
    Ring(Ring),
}

/// A map.
#[derive(Debug)]
pub struct Map {
    name: String,
    kind: MapKind,
    key_size: usize,
    value_size: usize,
    max_entries: usize,
    flags: u32,
    /// Cells of an element: CPUs of a per-CPU map, else 1.
    cpus: usize,
    stride: usize,
    /// Bits of an address below the cell number.
    shift: u32,
    slab: Vec<u8>,
    store: Store,
}

/// An element as user space reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key; for arrays the index as a native `u32`.
    pub key: Cow<'a, [u8]>,
    /// The value, or for per-CPU maps the values of all CPUs, each rounded up to 8 bytes:
    /// what a look-up by system call gives.
    pub value: &'a [u8],
}

impl Map {
    /// A map as `def` describes it, for `cpus` CPUs.
    pub fn new(def: &MapDef, cpus: usize) -> Result<Map> {
        let refuse = |why: &str| Err(Error::invalid(format!("map {}: {why}", def.name)));
        let cpus = if def.kind.is_percpu() { cpus.max(1) } else { 1 };
        let stride = (def.value_size as usize).next_multiple_of(8);
        let shift = (stride.max(8) * 2).next_power_of_two().trailing_zeros();
        let cells = u64::from(def.max_entries) * cpus as u64;
        let mut slab = Vec::new();
        let store = match def.kind {
            MapKind::Ringbuf => {
                let bytes = match def.max_entries {
                    0 => DEFAULT_RING,
                    n => n,
                };
                Store::Ring(Ring::new(u64::from(bytes)))
            }
            MapKind::TaskStorage => Store::Hash(Hash::default()),
            _ if def.max_entries == 0 || def.value_size == 0 || def.key_size == 0 => {
                return refuse("key, value and number of entries must not be zero");
            }
            // The address of the last cell must stay below the bias, twice over.
            _ if cells > (1 << 38) >> shift.min(63) => {
                return refuse("too large");
            }
            MapKind::Array | MapKind::PercpuArray => {
                let bytes = cells * stride as u64;
                if def.key_size != 4 {
                    return refuse("an array has keys of 4 bytes");
                }
                if bytes > MAX_SLAB {
                    return refuse("too large");
                }
                slab = vec![0; bytes as usize];
                Store::Array
            }
            _ => Store::Hash(Hash::default()),
        };
        if let Some(init) = &def.init {
            match slab.get_mut(..init.len()) {
                Some(to) if init.len() <= def.value_size as usize => to.copy_from_slice(init),
                _ => return refuse("initial contents do not fit"),
            }
        }
        Ok(Map {
            name: def.name.clone(),
            kind: def.kind,
            key_size: match def.kind {
                // Programs name a task by its address, not by the descriptor of user space.
                MapKind::TaskStorage => 8,
                _ => def.key_size as usize,
            },
            value_size: def.value_size as usize,
            max_entries: match def.kind {
                MapKind::TaskStorage => usize::MAX,
                _ => def.max_entries as usize,
            },
            flags: def.flags,
            cpus,
            stride,
            shift,
            slab,
            store,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Bytes of the value of one CPU.
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    /// Number of CPUs that have a value of their own: 1 unless the map is per-CPU.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// Number of elements; of an array its size.
    pub fn len(&self) -> usize {
        match &self.store {
            Store::Hash(h) => h.slots.len(),
            Store::Array => self.max_entries,
            Store::Ring(_) => 0,
        }
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ring buffer, if it is one.
    pub(super) fn ring(&mut self) -> Option<&mut Ring> {
        match &mut self.store {
            Store::Ring(r) => Some(r),
            _ => None,
        }
    }

    pub(super) fn writable_by_programs(&self) -> bool {
        self.flags & RDONLY_PROG == 0
    }

    fn is_lru(&self) -> bool {
        matches!(self.kind, MapKind::LruHash | MapKind::LruPercpuHash)
    }

    fn array_index(&self, key: &[u8]) -> Option<usize> {
        let index = u32::from_ne_bytes(key.try_into().ok()?) as usize;
        (index < self.max_entries).then_some(index)
    }

    /// The slot of the element with `key`.
    pub(super) fn slot(&self, key: &[u8]) -> Option<usize> {
        match &self.store {
            Store::Hash(h) => h.slots.get(key).copied(),
            Store::Array => self.array_index(key),
            Store::Ring(_) => None,
        }
    }

    /// As [`slot`](Self::slot), and counts as a use of the element.
    pub(super) fn use_slot(&mut self, key: &[u8]) -> Option<usize> {
        let slot = self.slot(key)?;
        if self.is_lru()
            && let Store::Hash(h) = &mut self.store
        {
            h.touch(slot);
        }
        Some(slot)
    }

    /// Slots of all elements in order of insertion, with what identifies each element should
    /// the slot be used again.
    pub(super) fn slots(&self) -> Vec<(usize, u64)> {
        match &self.store {
            Store::Hash(h) => h.by_seq.iter().map(|(&seq, &slot)| (slot, seq)).collect(),
            Store::Array => (0..self.max_entries).map(|i| (i, 0)).collect(),
            Store::Ring(_) => Vec::new(),
        }
    }

    /// The key of the element in `slot`, if it is still the one of order `seq`.
    pub(super) fn key_at(&self, slot: usize, seq: u64) -> Option<Cow<'_, [u8]>> {
        match &self.store {
            Store::Hash(h) => {
                let e = h.elements.get(slot)?.as_ref()?;
                (e.seq == seq).then_some(Cow::Borrowed(&e.key))
            }
            Store::Array => Some(Cow::Owned((slot as u32).to_ne_bytes().to_vec())),
            Store::Ring(_) => None,
        }
    }

    /// Offset in the map's address range of `slot`'s value for `cpu`.
    pub(super) fn address(&self, slot: usize, cpu: usize) -> u64 {
        ((slot * self.cpus + cpu % self.cpus) as u64) << self.shift
    }

    /// The value that byte `offset` of the address range lies in, and the offset in it. The
    /// value may belong to an element deleted in this run.
    pub(super) fn value_at(&mut self, offset: u64) -> Option<(&mut [u8], usize)> {
        let cell = (offset >> self.shift) as usize;
        let within = (offset & ((1 << self.shift) - 1)) as usize;
        let start = cell.checked_mul(self.stride)?;
        let value = self.slab.get_mut(start..start + self.value_size)?;
        Some((value, within))
    }

    fn value_range(&self, slot: usize) -> std::ops::Range<usize> {
        let start = slot * self.cpus * self.stride;
        if self.kind.is_percpu() {
            start..start + self.cpus * self.stride
        } else {
            start..start + self.value_size
        }
    }

    /// Sets the value of `key`: where `cpu` is given only that CPU's (`value` is one value),
    /// else all of them (`value` as in [`Entry::value`]). A new element's other values are
    /// zero.
    fn write(
        &mut self,
        key: &[u8],
        value: &[u8],
        mode: UpdateMode,
        cpu: Option<usize>,
    ) -> Result<usize, MapError> {
        let range_len = match cpu {
            Some(_) => self.value_size,
            None => self.value_range(0).len(),
        };
        if key.len() != self.key_size || value.len() != range_len {
            return Err(MapError::Invalid);
        }
        let slot = self.claim(key, mode)?;
        let start = match cpu {
            Some(cpu) => (slot * self.cpus + cpu % self.cpus) * self.stride,
            None => self.value_range(slot).start,
        };
        if let Some(to) = self.slab.get_mut(start..start + value.len()) {
            to.copy_from_slice(value);
        }
        Ok(slot)
    }

    /// The slot of `key`, which `mode` allows to write; a new one is zero.
    fn claim(&mut self, key: &[u8], mode: UpdateMode) -> Result<usize, MapError> {
        match (self.slot(key), mode) {
            (Some(_), UpdateMode::NoExist) => return Err(MapError::Exists),
            (Some(slot), _) => {
                self.use_slot(key);
                return Ok(slot);
            }
            (None, UpdateMode::Exist) if self.kind_is_hash() => return Err(MapError::NoEntry),
            (None, _) => {}
        }
        let (lru, max, span) = (self.is_lru(), self.max_entries, self.cpus * self.stride);
        let Store::Hash(h) = &mut self.store else {
            return Err(MapError::Full);
        };
        if h.slots.len() >= max {
            if !lru {
                return Err(MapError::Full);
            }
            h.evict();
        }
        let slot = h.insert(key, lru);
        let start = slot * span;
        if self.slab.len() < start + span {
            self.slab.resize(start + span, 0);
        } else {
            self.slab[start..start + span].fill(0);
        }
        Ok(slot)
    }

    fn kind_is_hash(&self) -> bool {
        matches!(self.store, Store::Hash(_))
    }

    /// A program's update: of per-CPU maps only this CPU's value.
    pub(super) fn update_from_program(
        &mut self,
        key: &[u8],
        value: &[u8],
        mode: UpdateMode,
        cpu: usize,
    ) -> Result<(), MapError> {
        self.write(key, value, mode, Some(cpu)).map(|_| ())
    }

    /// The slot of `key`, made with a value of zeros where there is none.
    pub(super) fn get_or_create(&mut self, key: &[u8]) -> Result<usize, MapError> {
        self.claim(key, UpdateMode::Any)
    }

    /// Makes memory of elements deleted in the run available again.
    pub(super) fn end_of_run(&mut self) {
        if let Store::Hash(h) = &mut self.store {
            h.free.append(&mut h.retired);
        }
    }

    /// The value of `key`, in the form of [`Entry::value`].
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let slot = self.slot(key)?;
        self.slab.get(self.value_range(slot))
    }

    /// Sets the value of `key`; `value` has the form of [`Entry::value`].
    pub fn update(&mut self, key: &[u8], value: &[u8], mode: UpdateMode) -> Result<(), MapError> {
        self.write(key, value, mode, None).map(|_| ())
    }

    /// Deletes the element with `key`; arrays have none to delete.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), MapError> {
        match &mut self.store {
            Store::Hash(h) => h.remove(key).ok_or(MapError::NoEntry),
            _ => Err(MapError::Invalid),
        }
    }

    /// Deletes all elements; an array's become zero.
    pub fn clear(&mut self) {
        match &mut self.store {
            Store::Hash(h) => {
                *h = Hash::default();
                self.slab.clear();
            }
            Store::Array => self.slab.fill(0),
            Store::Ring(_) => {}
        }
    }

    /// Sets all values to zero and keeps the keys.
    pub fn zero(&mut self) {
        self.slab.fill(0);
    }

    /// All elements, in order of insertion or of the index.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.slots()
            .into_iter()
            .filter_map(|(slot, seq)| self.entry_at(slot, seq))
    }

    /// The element in `slot`, if it is still the one of order `seq`.
    pub(super) fn entry_at(&self, slot: usize, seq: u64) -> Option<Entry<'_>> {
        Some(Entry {
            key: self.key_at(slot, seq)?,
            value: self.slab.get(self.value_range(slot))?,
        })
    }
}

impl Hash {
    fn touch(&mut self, slot: usize) {
        self.clock += 1;
        if let Some(Some(e)) = self.elements.get_mut(slot) {
            self.by_use.remove(&e.used);
            e.used = self.clock;
            self.by_use.insert(e.used, slot);
        }
    }

    fn insert(&mut self, key: &[u8], lru: bool) -> usize {
        self.clock += 1;
        let slot = self.free.pop().unwrap_or(self.elements.len());
        let element = Element {
            key: key.into(),
            seq: self.clock,
            used: self.clock,
        };
        match self.elements.get_mut(slot) {
            Some(e) => *e = Some(element),
            None => self.elements.push(Some(element)),
        }
        self.slots.insert(key.into(), slot);
        self.by_seq.insert(self.clock, slot);
        if lru {
            self.by_use.insert(self.clock, slot);
        }
        slot
    }

    fn remove(&mut self, key: &[u8]) -> Option<()> {
        let slot = self.slots.remove(key)?;
        let e = self.elements.get_mut(slot)?.take()?;
        self.by_seq.remove(&e.seq);
        self.by_use.remove(&e.used);
        self.retired.push(slot);
        Some(())
    }

    fn evict(&mut self) {
        let oldest = self.by_use.first_key_value().map(|(_, &slot)| slot);
        let element = oldest.and_then(|slot| self.elements.get(slot)?.as_ref());
        if let Some(key) = element.map(|e| e.key.clone()) {
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::MapRole;

    pub fn def(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
        MapDef {
            name: "m".into(),
            kind,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            init: None,
            role: MapRole::Internal,
        }
    }

    fn map(kind: MapKind, key: u32, value: u32, max: u32) -> Map {
        Map::new(&def(kind, key, value, max), 2).unwrap()
    }

    fn keys(m: &Map) -> Vec<u8> {
        m.entries().map(|e| e.key[0]).collect()
    }

    #[test]
    fn hash_honours_modes_and_capacity() {
        let mut m = map(MapKind::Hash, 1, 1, 2);
        assert_eq!(
            m.update(b"a", b"1", UpdateMode::Exist),
            Err(MapError::NoEntry)
        );
        m.update(b"b", b"1", UpdateMode::NoExist).unwrap();
        assert_eq!(
            m.update(b"b", b"2", UpdateMode::NoExist),
            Err(MapError::Exists)
        );
        m.update(b"a", b"3", UpdateMode::Any).unwrap();
        assert_eq!(m.update(b"c", b"4", UpdateMode::Any), Err(MapError::Full));
        assert_eq!(MapError::Full.errno(), libc::E2BIG);
        assert_eq!(m.get(b"a"), Some(&b"3"[..]));
        assert_eq!(keys(&m), b"ba", "order of insertion");
        m.delete(b"b").unwrap();
        assert_eq!(m.delete(b"b"), Err(MapError::NoEntry));
        m.update(b"c", b"4", UpdateMode::Any).unwrap();
        assert_eq!(keys(&m), b"ac");
        m.clear();
        assert!(m.is_empty());
        assert_eq!(
            m.update(b"ab", b"1", UpdateMode::Any),
            Err(MapError::Invalid)
        );
    }

    #[test]
    fn lru_evicts_what_was_unused_for_longest() {
        let mut m = map(MapKind::LruHash, 1, 1, 2);
        m.update(b"a", b"1", UpdateMode::Any).unwrap();
        m.update(b"b", b"2", UpdateMode::Any).unwrap();
        m.use_slot(b"a");
        m.update(b"c", b"3", UpdateMode::Any).unwrap();
        assert_eq!(keys(&m), b"ac");
    }

    #[test]
    fn percpu_values_are_one_per_cpu_rounded_to_eight() {
        let mut m = map(MapKind::PercpuHash, 1, 4, 8);
        m.update_from_program(b"k", b"cpu1", UpdateMode::Any, 1)
            .unwrap();
        assert_eq!(m.get(b"k"), Some(&b"\0\0\0\0\0\0\0\0cpu1\0\0\0\0"[..]));
        let slot = m.slot(b"k").unwrap();
        let at = m.address(slot, 1);
        assert_eq!(m.value_at(at + 2), Some((&mut b"cpu1".to_vec()[..], 2)));
        m.zero();
        assert_eq!(m.get(b"k"), Some(&[0; 16][..]));
    }

    #[test]
    fn arrays_exist_from_the_start_and_keep_their_elements() {
        let mut d = def(MapKind::Array, 4, 4, 2);
        d.init = Some(b"init".to_vec());
        let mut m = Map::new(&d, 4).unwrap();
        let one = 1u32.to_ne_bytes();
        assert_eq!(m.get(&0u32.to_ne_bytes()), Some(&b"init"[..]));
        assert_eq!(
            m.update(&one, b"abcd", UpdateMode::NoExist),
            Err(MapError::Exists)
        );
        m.update(&one, b"abcd", UpdateMode::Any).unwrap();
        let out = 2u32.to_ne_bytes();
        assert_eq!(
            m.update(&out, b"abcd", UpdateMode::Any),
            Err(MapError::Full)
        );
        assert_eq!(m.delete(&one), Err(MapError::Invalid));
        assert_eq!(m.entries().count(), 2);
    }

    #[test]
    fn deleted_memory_is_not_reused_before_the_run_ends() {
        let mut m = map(MapKind::Hash, 1, 1, 8);
        m.update(b"a", b"1", UpdateMode::Any).unwrap();
        let at = m.address(m.slot(b"a").unwrap(), 0);
        m.delete(b"a").unwrap();
        m.update(b"b", b"2", UpdateMode::Any).unwrap();
        assert_eq!(m.value_at(at).map(|v| v.0[0]), Some(b'1'));
        m.end_of_run();
        m.update(b"c", b"3", UpdateMode::Any).unwrap();
        assert_eq!(m.value_at(at).map(|v| v.0[0]), Some(b'3'));
    }

    #[test]
    fn impossible_definitions_are_refused() {
        assert!(Map::new(&def(MapKind::Hash, 0, 4, 4), 1).is_err());
        assert!(Map::new(&def(MapKind::Array, 8, 4, 4), 1).is_err());
        assert!(Map::new(&def(MapKind::Hash, 8, 1 << 20, u32::MAX), 64).is_err());
    }
}
