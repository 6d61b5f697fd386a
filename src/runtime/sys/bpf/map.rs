//! Maps.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use libbpf_sys as lib;

use super::{attributes, bpf, kernel_name, object_name};
use crate::error::{Error, Result};
use crate::object::{MapDef, MapKind};
use crate::runtime::map::entry_size;
use crate::runtime::sys::{call, call_fd, possible_cpus};

/// A map in the kernel, with the sizes that make accesses to it sound.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_size: usize,
    entry_size: usize,
    max_entries: u32,
    kind: MapKind,
}

fn map_type(kind: MapKind) -> lib::bpf_map_type {
    match kind {
        MapKind::Hash => lib::BPF_MAP_TYPE_HASH,
        MapKind::LruHash => lib::BPF_MAP_TYPE_LRU_HASH,
        MapKind::PercpuHash => lib::BPF_MAP_TYPE_PERCPU_HASH,
        MapKind::LruPercpuHash => lib::BPF_MAP_TYPE_LRU_PERCPU_HASH,
        MapKind::Array => lib::BPF_MAP_TYPE_ARRAY,
        MapKind::PercpuArray => lib::BPF_MAP_TYPE_PERCPU_ARRAY,
        MapKind::Ringbuf => lib::BPF_MAP_TYPE_RINGBUF,
        MapKind::TaskStorage => lib::BPF_MAP_TYPE_TASK_STORAGE,
        MapKind::ArrayOfMaps => lib::BPF_MAP_TYPE_ARRAY_OF_MAPS,
        MapKind::HashOfMaps => lib::BPF_MAP_TYPE_HASH_OF_MAPS,
        MapKind::CgroupArray => lib::BPF_MAP_TYPE_CGROUP_ARRAY,
    }
}

/// BTF of a map's key and value, which task storage demands.
#[derive(Clone, Copy, Debug)]
pub struct MapTypes<'a> {
    /// BTF object.
    pub btf: BorrowedFd<'a>,
    /// Type of keys.
    pub key: u32,
    /// Type of values.
    pub value: u32,
}

/// A function of libbpf that goes through a map in batches: descriptor, cursor, next cursor, keys,
/// values, their number, options.
type Batch = unsafe extern "C" fn(
    i32,
    *mut libc::c_void,
    *mut libc::c_void,
    *mut libc::c_void,
    *mut libc::c_void,
    *mut u32,
    *const lib::bpf_map_batch_opts,
) -> i32;

impl Map {
    /// Creates a map of `max_entries` (the definition's own number is not looked at).
    pub fn create(def: &MapDef, max_entries: u32, types: Option<MapTypes<'_>>) -> Result<Map> {
        Self::create_holding(def, max_entries, types, None)
    }

    /// The same; `inner` is what the maps in a map of maps are like.
    pub fn create_holding(
        def: &MapDef,
        max_entries: u32,
        types: Option<MapTypes<'_>>,
        inner: Option<BorrowedFd<'_>>,
    ) -> Result<Map> {
        let cpus = if def.kind.is_percpu() {
            possible_cpus()?
        } else {
            1
        };
        let (key_size, value_size) = match def.kind {
            MapKind::Ringbuf => (0, 0),
            _ => (def.key_size, def.value_size),
        };
        let mut create = lib::bpf_attr__bindgen_ty_1 {
            map_type: map_type(def.kind),
            map_name: object_name(&kernel_name(&def.name)),
            map_flags: def.flags,
            key_size,
            value_size,
            max_entries,
            ..Default::default()
        };
        if let Some(inner) = inner {
            create.inner_map_fd = inner.as_raw_fd() as u32;
        }
        if let Some(t) = types {
            create.btf_fd = t.btf.as_raw_fd() as u32;
            create.btf_key_type_id = t.key;
            create.btf_value_type_id = t.value;
        }
        let mut attr = attributes(|attr| attr.__bindgen_anon_1 = create);
        // SAFETY: nothing is pointed to.
        let fd = call_fd("BPF_MAP_CREATE", || unsafe {
            bpf(lib::BPF_MAP_CREATE, &mut attr)
        })?;
        Ok(Map {
            fd,
            key_size: key_size as usize,
            entry_size: if def.kind == MapKind::Ringbuf {
                0
            } else {
                entry_size(def, cpus)
            },
            max_entries,
            kind: def.kind,
        })
    }

    /// Another descriptor of the same map.
    ///
    /// # Errors
    /// Too many open files.
    pub fn try_clone(&self) -> Result<Map> {
        Ok(Map {
            fd: self.fd.try_clone()?,
            ..*self
        })
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.key_size
    }

    /// Bytes of the values of one entry, all CPUs together.
    pub fn entry_size(&self) -> usize {
        self.entry_size
    }

    /// Most entries (bytes of a ring buffer).
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Kind of map.
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    fn check(&self, key: &[u8], value: Option<usize>) -> Result<()> {
        if key.len() != self.key_size || value.is_some_and(|n| n != self.entry_size) {
            return Err(Error::invalid(format!(
                "map access with {} key and {} value bytes where the map has {} and {}",
                key.len(),
                value.unwrap_or(self.entry_size),
                self.key_size,
                self.entry_size
            )));
        }
        Ok(())
    }

    /// Copies the value of `key` into `value`; `false` where there is no such key.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.check(key, Some(value.len()))?;
        // SAFETY: `check` made sure that key and value are as long as the kernel reads and
        // writes.
        let r = call("BPF_MAP_LOOKUP_ELEM", || unsafe {
            i64::from(lib::bpf_map_lookup_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
                value.as_mut_ptr().cast(),
            ))
        });
        found(r)
    }

    /// Sets the value of `key`.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.check(key, Some(value.len()))?;
        // SAFETY: as in `lookup`; both are only read.
        call("BPF_MAP_UPDATE_ELEM", || unsafe {
            i64::from(lib::bpf_map_update_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
                value.as_ptr().cast(),
                u64::from(lib::BPF_ANY),
            ))
        })
        .map(drop)
    }

    /// Removes `key`; `false` where there is no such key.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check(key, None)?;
        // SAFETY: as in `lookup`.
        let r = call("BPF_MAP_DELETE_ELEM", || unsafe {
            i64::from(lib::bpf_map_delete_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
            ))
        });
        found(r)
    }

    /// Puts the key after `key` (the first where `None` or where `key` is gone) into `next`;
    /// `false` at the end.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        self.check(next, None)?;
        if let Some(k) = key {
            self.check(k, None)?;
        }
        let from = key.map_or(ptr::null(), <[u8]>::as_ptr);
        // SAFETY: as in `lookup`; a null key means the first one.
        let r = call("BPF_MAP_GET_NEXT_KEY", || unsafe {
            i64::from(lib::bpf_map_get_next_key(
                self.fd.as_raw_fd(),
                from.cast(),
                next.as_mut_ptr().cast(),
            ))
        });
        found(r)
    }

    /// Reads up to `keys.len() / key_size` entries and returns how many, and whether there are
    /// more. `cursor` is where to go on and is `None` before the first call. ENOSPC means that
    /// a bucket of the hash has more entries than the buffers hold (Linux 5.6; arrays of
    /// per-CPU values 5.13).
    pub fn lookup_batch(
        &self,
        cursor: &mut Option<Vec<u8>>,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<(usize, bool)> {
        self.batch(
            lib::bpf_map_lookup_batch,
            "BPF_MAP_LOOKUP_BATCH",
            cursor,
            keys,
            values,
        )
    }

    /// As [`lookup_batch`](Self::lookup_batch), but the entries go (hashes only).
    pub fn take_batch(
        &self,
        cursor: &mut Option<Vec<u8>>,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<(usize, bool)> {
        let command = "BPF_MAP_LOOKUP_AND_DELETE_BATCH";
        self.batch(
            lib::bpf_map_lookup_and_delete_batch,
            command,
            cursor,
            keys,
            values,
        )
    }

    fn batch(
        &self,
        function: Batch,
        command: &'static str,
        cursor: &mut Option<Vec<u8>>,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<(usize, bool)> {
        if self.key_size == 0 || self.entry_size == 0 {
            return Err(Error::from_errno(libc::EINVAL));
        }
        let room = (keys.len() / self.key_size).min(values.len() / self.entry_size);
        let mut count = room as u32;
        // Hash maps put a u32 bucket number here, arrays a key: both fit.
        let mut out = vec![0u8; self.key_size.max(4)];
        let from = cursor.as_mut().map_or(ptr::null_mut(), |c| c.as_mut_ptr());
        // SAFETY: keys and values have room for `count` entries; the cursors are as long as the
        // kernel's.
        let r = call(command, || unsafe {
            i64::from(function(
                self.fd.as_raw_fd(),
                from.cast(),
                out.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &mut count,
                ptr::null(),
            ))
        });
        *cursor = Some(out);
        found(r).map(|more| ((count as usize).min(room), more))
    }

    /// Sets the values of all `keys`: at once where the kernel can do that (of maps of maps,
    /// each single change waits for all running programs).
    pub fn update_batch(&self, keys: &[u8], values: &[u8]) -> Result<()> {
        let (key, value) = (self.key_size.max(1), self.entry_size.max(1));
        let count = keys.len() / key;
        if keys.len() != count * key || values.len() != count * value {
            return Err(Error::from_errno(libc::EINVAL));
        }
        if count == 0 {
            return Ok(());
        }
        let mut done = count as u32;
        // SAFETY: keys and values have `count` entries, which are only read.
        let r = call("BPF_MAP_UPDATE_BATCH", || unsafe {
            i64::from(lib::bpf_map_update_batch(
                self.fd.as_raw_fd(),
                keys.as_ptr().cast(),
                values.as_ptr().cast(),
                &mut done,
                ptr::null(),
            ))
        });
        if r.is_ok() {
            return Ok(());
        }
        for (k, v) in keys.chunks_exact(key).zip(values.chunks_exact(value)) {
            self.update(k, v)?;
        }
        Ok(())
    }

    /// Forbids user space to change the map from now on (Linux 5.2).
    pub fn freeze(&self) -> Result<()> {
        // SAFETY: no memory is passed.
        call("BPF_MAP_FREEZE", || unsafe {
            i64::from(lib::bpf_map_freeze(self.fd.as_raw_fd()))
        })
        .map(drop)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn found(r: Result<i64>) -> Result<bool> {
    match r {
        Ok(_) => Ok(true),
        Err(e) if e.errno() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}
