//! Reading and changing the maps of a running object.
//!
//! [`MapAccess`] is what the output needs of maps, whoever keeps them: the kernel or the
//! interpreter. Values of per-CPU maps appear as the values of all possible CPUs side by side.

use crate::error::Result;
use crate::object::{MapDef, MapId};

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
    fn for_each(&self, map: MapId, f: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()>;

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
