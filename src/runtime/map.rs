//! The maps of a running object: creating, reading and changing them.
//!
//! [`MapAccess`] is what the output needs of maps, whoever keeps them: the kernel
//! ([`KernelMaps`]) or the interpreter. Values of per-CPU maps appear as the values of all
//! possible CPUs side by side.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};

use super::memory;
use super::privilege;
use super::ring_size;
use super::shared::SharedMaps;
use super::sys::bpf::{Map, MapTypes};
use super::sys::process::Capability;
use super::sys::{self, possible_cpus};
use crate::env::machine;
use crate::error::{Error, ErrorExt, Result};
use crate::object::{MapDef, MapId, MapKind, MapRole, Object};

/// Bytes from the value of one CPU to that of the next in what [`MapAccess`] hands out.
pub const fn percpu_stride(value_size: u32) -> usize {
    (value_size as usize).next_multiple_of(8)
}

/// Bytes of one entry's value in what [`MapAccess`] hands out: one value, or for per-CPU maps
/// `cpus` values of [`percpu_stride`] bytes each.
pub fn entry_size(def: &MapDef, cpus: usize) -> usize {
    if def.kind.is_percpu() {
        percpu_stride(def.value_size) * cpus
    } else {
        def.value_size as usize
    }
}

/// What [`MapAccess::for_each`] calls with key and value of each entry.
pub type Visit<'a> = &'a mut (dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a);

/// The maps of a running object.
///
/// Keys are `key_size` bytes, values [`entry_size`] bytes. Array maps have the keys
/// `0u32..max_entries` in host byte order, and entries of them that are "deleted" become zero.
/// Methods take `&self`: programs change the maps at the same time anyway.
pub trait MapAccess {
    /// Possible CPUs: how many values an entry of a per-CPU map has.
    fn cpus(&self) -> usize;

    /// Calls `f` with key and value of every entry, in no particular order. Entries that come
    /// or go during the walk may or may not be seen; none is seen twice.
    ///
    /// # Errors
    /// A failed read of the map, or what `f` returned, which ends the walk.
    fn for_each(&self, map: MapId, f: Visit<'_>) -> Result<()>;

    /// Puts the value of `key` into `value` (its old contents are dropped, its memory is
    /// reused) and says whether there was one; if not, `value` is left empty.
    ///
    /// # Errors
    /// A failed read of the map.
    fn lookup(&self, map: MapId, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// Sets the value of `key`, inserting it if need be.
    ///
    /// # Errors
    /// The map is full, or refuses.
    fn update(&self, map: MapId, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes `key` and says whether it was there.
    ///
    /// # Errors
    /// The map refuses.
    fn delete(&self, map: MapId, key: &[u8]) -> Result<bool>;

    /// Removes every entry.
    ///
    /// # Errors
    /// The map refuses.
    fn clear(&self, map: MapId) -> Result<()>;

    /// Sets the value of every entry to zero and keeps the keys.
    ///
    /// # Errors
    /// The map refuses.
    fn zero(&self, map: MapId) -> Result<()>;
}

/// Which BPF map a key of `map` is in, and its bytes there; `short` is the map of short keys and
/// their size.
pub fn route(map: MapId, key: &[u8], short: Option<(MapId, usize)>) -> (MapId, &[u8]) {
    match short {
        // A string ends there, and zeros follow, unless it is longer.
        Some((short, size)) if key.len() > size && key[size - 1] == 0 => (short, &key[..size]),
        _ => (map, key),
    }
}

/// What was tried when the kernel refuses to read an entry.
const READING: &str = "cannot read a map";

/// The same where it refuses to write or delete one.
const WRITING: &str = "cannot write to a map";

/// Entries that one batch read asks for at first.
const BATCH: usize = 1024;

/// A system call for many entries: [`Map::lookup_batch`] and the like.
type Walk = fn(&Map, &mut Option<Vec<u8>>, &mut [u8], &mut [u8]) -> Result<(usize, bool)>;

/// The maps of an object in the kernel.
#[derive(Debug)]
pub struct KernelMaps {
    maps: Vec<Map>,
    cpus: usize,
    /// Whether batch reads work, per map: false once the kernel has refused one.
    batch: Vec<AtomicBool>,
    /// The map of its short keys, per map.
    short: Vec<Option<MapId>>,
}

impl KernelMaps {
    /// Creates every map of `object` and fills and freezes those with initial contents.
    ///
    /// # Errors
    /// The kernel refuses a map: its name, the reason and, where known, the cure.
    pub fn create(object: &Object) -> Result<Self> {
        Self::create_sharing(object, None)
    }

    /// As [`create`](Self::create), but takes maps that `shared` has instead of making them.
    ///
    /// # Errors
    /// As for [`create`](Self::create); no descriptor is left.
    pub fn create_sharing(object: &Object, shared: Option<&SharedMaps>) -> Result<Self> {
        let cpus = possible_cpus()?;
        let existing = |def| shared.and_then(|s| s.find(object, def));
        let new = object.maps.iter().filter(|def| existing(def).is_none());
        let new: Vec<_> = new.map(|def| (def, entries(def, object))).collect();
        memory::check(&new, cpus, memory::available)?;
        let mut maps = Vec::with_capacity(object.maps.len());
        for def in &object.maps {
            maps.push(match existing(def) {
                Some(map) => map.try_clone()?,
                None => {
                    let inner = match def.role {
                        MapRole::Maps(MapId(of)) => maps.get(of as usize),
                        _ => None,
                    };
                    create_one(def, object, inner)?
                }
            });
        }
        let ids = (0..maps.len() as u32).map(MapId);
        Ok(Self {
            batch: maps.iter().map(|_| AtomicBool::new(true)).collect(),
            short: ids.map(|id| object.short_keys(id)).collect(),
            maps,
            cpus,
        })
    }

    /// The kernel's map.
    pub fn get(&self, map: MapId) -> &Map {
        &self.maps[map.0 as usize]
    }

    fn short(&self, map: MapId) -> Option<(MapId, usize)> {
        let id = self.short[map.0 as usize]?;
        Some((id, self.get(id).key_size()))
    }

    /// Calls `f` with the entries of one BPF map.
    fn for_each_of(&self, map: MapId, f: Visit<'_>) -> Result<()> {
        let m = self.get(map);
        let batch = &self.batch[map.0 as usize];
        if batch.load(Ordering::Relaxed) {
            if self.for_each_batch(m, f)? {
                return Ok(());
            }
            batch.store(false, Ordering::Relaxed);
        }
        self.for_each_single(m, f)
    }

    /// Reads entries in batches; `false` if the kernel cannot do that for this map (nothing
    /// was handed out then).
    fn for_each_batch(&self, m: &Map, f: Visit<'_>) -> Result<bool> {
        let walk = Map::lookup_batch;
        self.in_batches(m, walk, &mut |keys, values| {
            let keys = keys.chunks_exact(m.key_size());
            let mut entries = keys.zip(values.chunks_exact(m.entry_size()));
            entries.try_for_each(|(k, v)| f(k, v))
        })
    }

    /// Calls `f` with the keys and values of one batch after the other; `false` as above.
    fn in_batches(&self, m: &Map, walk: Walk, f: Visit<'_>) -> Result<bool> {
        let (key, entry) = (m.key_size(), m.entry_size());
        let mut room = BATCH.min(m.max_entries() as usize).max(1);
        let mut keys = vec![0; room * key];
        let mut values = vec![0; room * entry];
        let mut cursor = None;
        loop {
            let before = cursor.clone();
            match walk(m, &mut cursor, &mut keys, &mut values) {
                Ok((n, more)) => {
                    f(&keys[..n * key], &values[..n * entry])?;
                    if !more {
                        return Ok(true);
                    }
                }
                // One bucket of the hash does not fit: more room, same place.
                Err(e) if e.errno() == Some(libc::ENOSPC) => {
                    room *= 2;
                    keys.resize(room * key, 0);
                    values.resize(room * entry, 0);
                    cursor = before;
                }
                Err(_) if before.is_none() => return Ok(false),
                Err(e) => return Err(e.context(READING)),
            }
        }
    }

    /// Reads entries one by one.
    fn for_each_single(&self, m: &Map, f: Visit<'_>) -> Result<()> {
        let mut value = vec![0; m.entry_size()];
        // A key that is deleted between two steps sends the walk back to the start, so keys
        // are collected first.
        for key in self.keys(m)? {
            if m.lookup(&key, &mut value).context(READING)? {
                f(&key, &value)?;
            }
        }
        Ok(())
    }

    fn keys(&self, m: &Map) -> Result<Vec<Vec<u8>>> {
        let mut seen = HashSet::new();
        let mut keys = Vec::new();
        let mut next = vec![0; m.key_size()];
        let mut at: Option<Vec<u8>> = None;
        while m.next_key(at.as_deref(), &mut next).context(READING)? {
            if seen.insert(next.clone()) {
                keys.push(next.clone());
            } else if keys.len() >= m.max_entries() as usize {
                // Sent back to the start again and again by programs that delete.
                break;
            }
            at = Some(next.clone());
        }
        Ok(keys)
    }
}

fn is_array(kind: MapKind) -> bool {
    matches!(kind, MapKind::Array | MapKind::PercpuArray)
}

/// The entries that a map is created with; of the ring buffer, bytes.
fn entries(def: &MapDef, object: &Object) -> u32 {
    match def.kind {
        MapKind::Ringbuf => ring_size::bytes(def.max_entries, object),
        _ => def.max_entries,
    }
}

fn create_one(def: &MapDef, object: &Object, inner: Option<&Map>) -> Result<Map> {
    let entries = entries(def, object);
    let create = || {
        if def.kind == MapKind::TaskStorage {
            let (btf, key, value) = storage_types(def.value_size);
            let btf = sys::bpf::btf_load(&btf)?;
            let btf = btf.as_fd();
            Map::create(def, entries, Some(MapTypes { btf, key, value }))
        } else {
            Map::create_holding(def, entries, None, inner.map(AsFd::as_fd))
        }
    };
    let mut made = create();
    if made.as_ref().is_err_and(|e| e.errno() == Some(libc::EPERM)) {
        // Before Linux 5.11 this also means: too much locked memory.
        sys::bpf::raise_memlock();
        made = create();
    }
    let map = made.map_err(|e| explain_create(def, entries, e))?;
    if let Some(init) = &def.init {
        let context = || format!("cannot fill map {}", def.name);
        let mut entry = init.clone();
        entry.resize(map.entry_size(), 0);
        map.update(&0u32.to_ne_bytes(), &entry)
            .with_context(context)?;
        map.freeze().with_context(context)?;
    }
    if matches!(def.role, MapRole::Start) {
        let now = machine::nanoseconds(libc::CLOCK_BOOTTIME);
        map.update(&0u32.to_ne_bytes(), &now.to_ne_bytes())
            .with_context(|| format!("cannot fill map {}", def.name))?;
    }
    if let MapRole::Cgroups(paths) = &def.role {
        for (i, path) in paths.iter().enumerate() {
            let group = std::fs::File::open(path)
                .with_context(|| format!("cannot open the cgroup {path}"))?;
            let fd = group.as_fd().as_raw_fd().to_ne_bytes();
            map.update(&(i as u32).to_ne_bytes(), &fd)
                .with_context(|| format!("{path} is no cgroup of version 2"))?;
        }
    }
    Ok(map)
}

fn explain_create(def: &MapDef, entries: u32, e: Error) -> Error {
    let what = match def.kind {
        MapKind::Ringbuf => format!("cannot create a ring buffer of {entries} bytes"),
        _ => format!(
            "cannot create map {} ({entries} entries of {} + {} bytes)",
            def.name, def.key_size, def.value_size
        ),
    };
    match e.errno() {
        Some(libc::EPERM) => privilege::explain(e, &[Capability::Bpf]),
        Some(libc::ENOMEM) => e.context("reduce max_map_keys, or give the memory cgroup more"),
        Some(libc::E2BIG) => e.context("reduce max_map_keys or max_strlen"),
        Some(libc::EINVAL) if def.kind == MapKind::Ringbuf => {
            e.context("ring buffers need Linux 5.8")
        }
        Some(libc::EINVAL) if def.kind == MapKind::TaskStorage => {
            e.context("task storage needs Linux 5.11")
        }
        _ => e,
    }
    .context(what)
}

/// BTF for the key (`int`) and value (`char[size]`) of task storage, which the kernel wants
/// described: type 1 is the key, type 3 the value.
fn storage_types(size: u32) -> (Vec<u8>, u32, u32) {
    let strings = b"\0int\0char\0";
    // { name, kind << 24, size } and the word { encoding << 24 | bits } of an integer (kind 1);
    // kind 3 is an array: { element type, index type, count }.
    let int = |name: u32, bytes: u32| [name, 1 << 24, bytes, (1 << 24) | (bytes * 8)];
    let array = [0, 3 << 24, 0, 2, 1, size];
    let types: Vec<u32> = [&int(1, 4)[..], &int(5, 1), &array].concat();
    let type_len = (types.len() * 4) as u32;
    let header = [24, 0, type_len, type_len, strings.len() as u32];
    let mut out = Vec::new();
    out.extend(0xeb9fu16.to_ne_bytes());
    out.extend([1, 0]);
    out.extend(header.iter().chain(&types).flat_map(|w| w.to_ne_bytes()));
    out.extend(strings);
    (out, 1, 3)
}

impl MapAccess for KernelMaps {
    fn cpus(&self) -> usize {
        self.cpus
    }

    fn for_each(&self, map: MapId, f: Visit<'_>) -> Result<()> {
        self.for_each_of(map, f)?;
        let Some((short, _)) = self.short(map) else {
            return Ok(());
        };
        let mut key = vec![0; self.get(map).key_size()];
        self.for_each_of(short, &mut |k, v| {
            key[..k.len()].copy_from_slice(k);
            f(&key, v)
        })
    }

    fn lookup(&self, map: MapId, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let (map, key) = route(map, key, self.short(map));
        let m = self.get(map);
        value.resize(m.entry_size(), 0);
        let found = m.lookup(key, value).context(READING)?;
        if !found {
            value.clear();
        }
        Ok(found)
    }

    fn update(&self, map: MapId, key: &[u8], value: &[u8]) -> Result<()> {
        let (map, key) = route(map, key, self.short(map));
        self.get(map).update(key, value).context(WRITING)
    }

    fn delete(&self, map: MapId, key: &[u8]) -> Result<bool> {
        let (map, key) = route(map, key, self.short(map));
        let m = self.get(map);
        if is_array(m.kind()) {
            m.update(key, &vec![0; m.entry_size()]).context(WRITING)?;
            return Ok(true);
        }
        m.delete(key).context(WRITING)
    }

    fn clear(&self, map: MapId) -> Result<()> {
        let m = self.get(map);
        if is_array(m.kind()) {
            return self.zero(map);
        }
        let short = self.short(map).map(|(id, _)| self.get(id));
        for m in [m].into_iter().chain(short) {
            if self.in_batches(m, Map::take_batch, &mut |_, _| Ok(()))? {
                continue;
            }
            for key in self.keys(m)? {
                m.delete(&key).context(WRITING)?;
            }
        }
        Ok(())
    }

    fn zero(&self, map: MapId) -> Result<()> {
        let short = self.short(map).map(|(id, _)| self.get(id));
        for m in [self.get(map)].into_iter().chain(short) {
            let mut keys = Vec::new();
            let collect: Visit<'_> = &mut |k, _| {
                keys.extend_from_slice(k);
                Ok(())
            };
            if !self.in_batches(m, Map::lookup_batch, collect)? {
                keys = self.keys(m)?.concat();
            }
            let values = vec![0; keys.len() / m.key_size().max(1) * m.entry_size()];
            m.update_batch(&keys, &values).context(WRITING)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MAP0, kernel_usable, map, object};
    use super::*;

    fn collect(maps: &KernelMaps) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut out = Vec::new();
        maps.for_each(MAP0, &mut |k, v| {
            out.push((k.to_vec(), v.to_vec()));
            Ok(())
        })
        .unwrap();
        out.sort();
        out
    }

    #[test]
    fn hash_round_trip_with_and_without_batch() {
        if !kernel_usable("hash_round_trip_with_and_without_batch") {
            return;
        }
        let maps = KernelMaps::create(&object(vec![map(MapKind::Hash, 8, 16, 2000)])).unwrap();
        for i in 0..1000u64 {
            let value: Vec<u8> = [i, i * 2].iter().flat_map(|w| w.to_ne_bytes()).collect();
            maps.update(MAP0, &i.to_be_bytes(), &value).unwrap();
        }
        let all = collect(&maps);
        assert_eq!(all.len(), 1000);
        assert!(
            maps.batch[0].load(Ordering::Relaxed),
            "this kernel has batch reads of hashes"
        );
        maps.batch[0].store(false, Ordering::Relaxed);
        assert_eq!(collect(&maps), all);

        let mut value = Vec::new();
        assert!(maps.lookup(MAP0, &5u64.to_be_bytes(), &mut value).unwrap());
        assert_eq!(value[8..], 10u64.to_ne_bytes());
        assert!(maps.delete(MAP0, &5u64.to_be_bytes()).unwrap());
        assert!(!maps.delete(MAP0, &5u64.to_be_bytes()).unwrap());
        assert!(!maps.lookup(MAP0, &5u64.to_be_bytes(), &mut value).unwrap());
        assert!(value.is_empty());
        maps.zero(MAP0).unwrap();
        assert!(collect(&maps).iter().all(|(_, v)| v == &[0; 16]));
        assert_eq!(collect(&maps).len(), 999);
        maps.clear(MAP0).unwrap();
        assert!(collect(&maps).is_empty());
    }

    #[test]
    fn short_keys_are_entries_of_the_map_they_belong_to() {
        if !kernel_usable("short_keys_are_entries_of_the_map_they_belong_to") {
            return;
        }
        let mut short = map(MapKind::Hash, 4, 8, 10);
        short.role = MapRole::ShortKeys(MAP0);
        let maps = vec![map(MapKind::Hash, 12, 8, 10), short];
        let maps = KernelMaps::create(&object(maps)).unwrap();
        let (abc, abcd) = (b"abc\0\0\0\0\0\0\0\0\0", b"abcdefghij\0\0");
        maps.update(MAP0, abc, &[1; 8]).unwrap();
        maps.update(MAP0, abcd, &[2; 8]).unwrap();
        let both = [(abc.to_vec(), vec![1; 8]), (abcd.to_vec(), vec![2; 8])];
        assert_eq!(collect(&maps), both);
        let mut one = Vec::new();
        let all = |k: &[u8], _: &[u8]| -> Result<()> {
            one.push(k.to_vec());
            Ok(())
        };
        maps.for_each(MapId(1), &mut { all }).unwrap();
        assert_eq!(one, [b"abc\0"]);
        let mut value = Vec::new();
        assert!(maps.lookup(MAP0, abc, &mut value).unwrap() && value == [1; 8]);
        maps.zero(MAP0).unwrap();
        assert!(collect(&maps).iter().all(|(_, v)| v == &[0; 8]));
        assert!(maps.delete(MAP0, abc).unwrap() && !maps.delete(MAP0, abc).unwrap());
        assert_eq!(collect(&maps).len(), 1);
        maps.update(MAP0, abc, &[1; 8]).unwrap();
        maps.clear(MAP0).unwrap();
        assert!(collect(&maps).is_empty());
    }

    #[test]
    fn per_cpu_values_come_side_by_side() {
        if !kernel_usable("per_cpu_values_come_side_by_side") {
            return;
        }
        for kind in [MapKind::PercpuHash, MapKind::PercpuArray] {
            let maps = KernelMaps::create(&object(vec![map(kind, 4, 12, 1)])).unwrap();
            let mut entry = vec![0; percpu_stride(12) * maps.cpus()];
            for (cpu, value) in entry.chunks_exact_mut(16).enumerate() {
                value[..12].fill(cpu as u8 + 1);
            }
            maps.update(MAP0, &0u32.to_ne_bytes(), &entry).unwrap();
            assert_eq!(collect(&maps), [(vec![0; 4], entry)], "{kind:?}");
        }
    }

    #[test]
    fn arrays_forget_instead_of_deleting() {
        if !kernel_usable("arrays_forget_instead_of_deleting") {
            return;
        }
        let maps = KernelMaps::create(&object(vec![map(MapKind::Array, 4, 8, 2)])).unwrap();
        maps.update(MAP0, &1u32.to_ne_bytes(), &[7; 8]).unwrap();
        maps.delete(MAP0, &1u32.to_ne_bytes()).unwrap();
        assert!(collect(&maps).iter().all(|(_, v)| v == &[0; 8]));
        assert_eq!(collect(&maps).len(), 2);
    }

    #[test]
    fn constants_are_filled_and_frozen() {
        if !kernel_usable("constants_are_filled_and_frozen") {
            return;
        }
        let mut def = map(MapKind::Array, 4, 16, 1);
        def.flags = libbpf_sys::BPF_F_RDONLY_PROG;
        def.init = Some(b"hello".to_vec());
        let maps = KernelMaps::create(&object(vec![def])).unwrap();
        let mut value = Vec::new();
        maps.lookup(MAP0, &[0; 4], &mut value).unwrap();
        assert_eq!(value, b"hello\0\0\0\0\0\0\0\0\0\0\0");
        let e = maps.update(MAP0, &[0; 4], &[0; 16]).unwrap_err();
        assert_eq!(e.errno(), Some(libc::EPERM));
    }

    #[test]
    fn task_storage_gets_the_types_it_needs() {
        if !kernel_usable("task_storage_gets_the_types_it_needs") {
            return;
        }
        let mut def = map(MapKind::TaskStorage, 4, 40, 0);
        def.flags = libbpf_sys::BPF_F_NO_PREALLOC;
        match KernelMaps::create(&object(vec![def])) {
            Err(e) if e.to_string().contains("5.11") => eprintln!("skipped: task storage: {e}"),
            made => drop(made.unwrap()),
        }
    }

    #[test]
    fn a_refused_map_says_which_and_what_to_do() {
        let _guard = sys::fake::fail_once("BPF_MAP_CREATE", 0, libc::ENOMEM);
        let mut def = map(MapKind::Hash, 8, 8, 1 << 20);
        def.name = "@big".into();
        let e = KernelMaps::create(&object(vec![def])).unwrap_err();
        let text = e.to_string();
        assert!(
            text.starts_with("cannot create map @big (1048576 entries"),
            "{text}"
        );
        assert!(text.contains("max_map_keys"), "{text}");
    }

    #[test]
    fn wrong_sizes_are_refused_before_the_kernel_sees_them() {
        if !kernel_usable("wrong_sizes_are_refused_before_the_kernel_sees_them") {
            return;
        }
        let maps = KernelMaps::create(&object(vec![map(MapKind::Hash, 8, 8, 4)])).unwrap();
        assert!(maps.update(MAP0, &[0; 4], &[0; 8]).is_err());
        assert!(maps.update(MAP0, &[0; 8], &[0; 4]).is_err());
    }
}
