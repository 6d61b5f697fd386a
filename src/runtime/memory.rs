//! The memory that maps take, known before any is created.
//!
//! In go the maps of an object; out comes a number of bytes, or an error that names the largest
//! maps. All maps are allocated in full when they are created, so this is a bound on what a
//! script can make the kernel keep. Nothing here creates a map.

use crate::error::{Error, ErrorKind, Result};
use crate::object::{MapDef, MapKind};

/// `struct htab_elem` before its key (Linux 5.4 to 6.18).
const HASH_ENTRY: u64 = 48;
/// `struct bucket`.
const BUCKET: u64 = 16;
/// A pointer.
const POINTER: u64 = 8;
/// Largest value of a per-CPU map: `PCPU_MIN_UNIT_SIZE`.
const PERCPU_VALUE: u64 = 32 << 10;
/// Largest key and value of a hash map: `KMALLOC_MAX_SIZE` less its own data.
const HASH_VALUE: u64 = (4 << 20) - HASH_ENTRY;
/// What is created without asking how much memory there is.
const MODEST: u64 = 64 << 20;

/// Bytes that a map of `entries` takes (a ring buffer: `entries` is bytes), with `cpus` possible
/// CPUs:
///
/// - array: `entries × value`
/// - per-CPU array: `entries × (8 + value × cpus)`
/// - hash: `(entries + cpus) × (48 + key + value) + 16 × buckets`
/// - per-CPU hash: `entries × (56 + key + value × cpus) + 16 × buckets`
///
/// - array of maps: `entries × 8`; hash of maps: as a hash. What they hold is not counted: it is
///   made while the script runs
///
/// Keys and values are rounded up to 8 bytes; buckets are `entries`, rounded up to a power of 2.
/// Task storage takes what it is used for, a value for each task that is stored.
pub fn bytes(def: &MapDef, entries: u32, cpus: usize) -> u64 {
    let n = u64::from(entries);
    let cpus = cpus as u64;
    let key = u64::from(def.key_size).next_multiple_of(8);
    let value = u64::from(def.value_size).next_multiple_of(8);
    let buckets = BUCKET.saturating_mul(n.next_power_of_two());
    let each = |n: u64, entry: u64| n.saturating_mul(entry);
    let all_cpus = value.saturating_mul(cpus);
    match def.kind {
        MapKind::Array => each(n, value),
        MapKind::PercpuArray => each(n, POINTER + all_cpus),
        MapKind::Hash | MapKind::LruHash => {
            each(n + cpus, HASH_ENTRY + key + value).saturating_add(buckets)
        }
        MapKind::PercpuHash | MapKind::LruPercpuHash => {
            each(n, HASH_ENTRY + key + POINTER + all_cpus).saturating_add(buckets)
        }
        MapKind::Ringbuf => n,
        // Of what it holds nothing is made yet.
        MapKind::ArrayOfMaps => each(n, POINTER),
        MapKind::HashOfMaps => each(n + cpus, HASH_ENTRY + key + value).saturating_add(buckets),
        MapKind::TaskStorage => 0,
        MapKind::CgroupArray => each(n, POINTER),
    }
}

/// Checks maps and their entries against what the kernel can hold and what is free.
///
/// # Errors
/// A value is too large for its kind of map, or all maps together need more memory than
/// `available` says there is; it is asked only for 64 MiB and more.
pub fn check(
    maps: &[(&MapDef, u32)],
    cpus: usize,
    available: impl FnOnce() -> Option<u64>,
) -> Result<()> {
    for (def, _) in maps {
        too_large(def)?;
    }
    let mut sizes: Vec<(u64, &MapDef, u32)> = maps
        .iter()
        .map(|&(def, n)| (bytes(def, n, cpus), def, n))
        .collect();
    let total = sizes.iter().fold(0u64, |sum, s| sum.saturating_add(s.0));
    let free = match total > MODEST {
        true => available(),
        false => None,
    };
    let Some(free) = free.filter(|free| total > *free) else {
        return Ok(());
    };
    sizes.sort_by_key(|s| std::cmp::Reverse(s.0));
    let mut text = format!(
        "the maps of this script need {} of memory and {} are available",
        human(total),
        human(free)
    );
    for (size, def, n) in sizes.iter().take(3) {
        text.push_str(&format!(
            "\n  {}: {} for {n} entries",
            def.name,
            human(*size)
        ));
    }
    text.push_str("\n  reduce max_map_keys, or declare maps with fewer entries");
    Err(Error::new(ErrorKind::Other, text))
}

fn too_large(def: &MapDef) -> Result<()> {
    let (key, value) = (u64::from(def.key_size), u64::from(def.value_size));
    let (size, limit, what) = match def.kind {
        MapKind::PercpuArray | MapKind::PercpuHash | MapKind::LruPercpuHash => {
            (value, PERCPU_VALUE, "value of a per-CPU map")
        }
        MapKind::Hash | MapKind::LruHash => (key + value, HASH_VALUE, "key and value of a map"),
        _ => return Ok(()),
    };
    if size <= limit {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "map {} is too wide: {size} bytes, and the largest {what} has {limit}; reduce max_strlen \
         or the number of buckets",
        def.name
    )))
}

/// Bytes that can be had without swapping, as the kernel estimates; `None` without /proc.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// A number of bytes, in MiB or GiB.
fn human(bytes: u64) -> String {
    let mib = bytes.div_ceil(1 << 20);
    match mib {
        ..10_000 => format!("{mib} MiB"),
        _ => format!("{} GiB", mib.div_ceil(1 << 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sys::bpf::Map;
    use crate::runtime::testing;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn too_many_keys_are_refused_with_names_and_numbers() {
        let big = testing::map(MapKind::Hash, 8, 8, 1 << 30);
        let small = testing::map(MapKind::Array, 4, 8, 1);
        let maps = [(&small, 1), (&big, 1 << 30)];
        let e = check(&maps, 4, || Some(1 << 30)).unwrap_err().to_string();
        assert!(
            e.contains("need 81 GiB of memory and 1024 MiB are available"),
            "{e}"
        );
        assert!(e.contains("81 GiB for 1073741824 entries"), "{e}");
        assert!(e.contains("max_map_keys"), "{e}");
        assert!(check(&maps, 4, || Some(1 << 40)).is_ok());
        assert!(check(&maps, 4, || None).is_ok());
        let asked = || -> Option<u64> { panic!("asked for a small map") };
        assert!(check(&[(&small, 1)], 4, asked).is_ok());
    }

    #[test]
    fn values_that_no_map_can_hold_are_refused() {
        let wide = testing::map(MapKind::PercpuHash, 8, 33 << 10, 10);
        let e = check(&[(&wide, 10)], 4, || None).unwrap_err().to_string();
        assert!(e.contains("33792 bytes") && e.contains("32768"), "{e}");
        let wide = testing::map(MapKind::Array, 4, 33 << 10, 1);
        assert!(check(&[(&wide, 1)], 4, || None).is_ok());
    }

    #[test]
    fn the_formula_is_what_the_kernel_says() {
        if !testing::kernel_usable("the_formula_is_what_the_kernel_says") {
            return;
        }
        let cpus = crate::runtime::sys::possible_cpus().unwrap();
        for (kind, key) in [
            (MapKind::Array, 4),
            (MapKind::PercpuArray, 4),
            (MapKind::Hash, 12),
            (MapKind::LruHash, 12),
            (MapKind::PercpuHash, 12),
            (MapKind::LruPercpuHash, 12),
        ] {
            let def = testing::map(kind, key, 20, 3000);
            let map = Map::create(&def, 3000, None).unwrap();
            let info = format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd());
            let text = std::fs::read_to_string(info).unwrap();
            let told = text.lines().find_map(|l| l.strip_prefix("memlock:"));
            let told: u64 = told.unwrap().trim().parse().unwrap();
            let ours = bytes(&def, 3000, cpus);
            let slack = 8192 + told / 50;
            assert!(
                ours.abs_diff(told) <= slack,
                "{kind:?}: {ours}, kernel {told}"
            );
        }
    }
}
