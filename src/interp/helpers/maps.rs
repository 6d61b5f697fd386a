//! Maps: look-up, update, deletion, walks; and `bpf_loop`, which calls back as walks do.

use super::super::fault::FaultKind;
use super::super::map::{Map, UpdateMode};
use super::super::memory::{Kind, Pointer};
use super::super::vm::{Regs, Run};
use super::{Outcome, done, err, function, map_index};

// Runs `f` with the map's key at `addr`.
fn with_key<T>(
    run: &mut Run<'_>,
    map: usize,
    addr: u64,
    f: impl FnOnce(&mut Map, &[u8]) -> T,
) -> Result<T, FaultKind> {
    let key = run.copied(addr, run.maps[map].key_size())?;
    let result = f(&mut run.maps[map], &key);
    run.recycle(key);
    Ok(result)
}

fn value_address(map: usize, at: Option<u64>) -> u64 {
    at.map_or(0, |at| Pointer::encode(Kind::MapValue, map, at))
}

/// `bpf_map_lookup_elem(map, key)`: address of the value, 0 where there is none.
pub fn map_lookup(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let cpu = run.cpu;
    let at = with_key(run, map, a[1], |m, key| {
        m.use_slot(key).map(|slot| m.address(slot, cpu))
    })?;
    Ok(value_address(map, at))
}

/// `bpf_map_lookup_percpu_elem(map, key, cpu)`
pub fn map_lookup_percpu(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let at = with_key(run, map, a[1], |m, key| {
        let cpu = a[2] as u32 as usize;
        let slot = m.slot(key).filter(|_| cpu < m.cpus())?;
        Some(m.address(slot, cpu))
    })?;
    Ok(value_address(map, at))
}

/// `bpf_map_update_elem(map, key, value, flags)`
pub fn map_update(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let Some(mode) = UpdateMode::from_flags(a[3]) else {
        return Ok(err(libc::EINVAL));
    };
    let value = run.copied(a[2], run.maps[map].value_size())?;
    let cpu = run.cpu;
    let result = with_key(run, map, a[1], |m, key| {
        m.update_from_program(key, &value, mode, cpu)
    })?;
    run.recycle(value);
    Ok(done(result, |e| e.errno()))
}

/// `bpf_map_delete_elem(map, key)`
pub fn map_delete(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let result = with_key(run, map, a[1], |m, key| m.delete(key))?;
    Ok(done(result, |e| e.errno()))
}

/// `bpf_task_storage_get(map, task, value, flags)`: storage is kept by address of the task.
pub fn task_storage_get(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let [_, task, value, flags, _] = a;
    if task == 0 || flags > 1 {
        return Ok(0);
    }
    let key = task.to_ne_bytes();
    let m = &mut run.maps[map];
    if let Some(slot) = m.slot(&key) {
        return Ok(value_address(map, Some(m.address(slot, 0))));
    }
    if flags == 0 {
        return Ok(0);
    }
    let Ok(slot) = m.get_or_create(&key) else {
        return Ok(0);
    };
    let at = value_address(map, Some(m.address(slot, 0)));
    if value != 0 {
        let len = m.value_size();
        let init = run.copied(value, len)?;
        run.view_mut(at, len)?.copy_from_slice(&init);
        run.recycle(init);
    }
    Ok(at)
}

/// `bpf_task_storage_delete(map, task)`
pub fn task_storage_delete(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let result = run.maps[map].delete(&a[1].to_ne_bytes());
    Ok(done(result, |e| e.errno()))
}

/// `bpf_for_each_map_elem(map, callback, ctx, flags)`: the number of elements visited.
pub fn for_each(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let callback = function(2, a[1])?;
    if a[3] != 0 {
        return Ok(err(libc::EINVAL));
    }
    let slots = run.maps[map].slots();
    let nesting = run.keys.len();
    let cpu = run.cpu;
    let mut visited = 0;
    for (slot, seq) in slots {
        let m = &run.maps[map];
        // Elements that the callback deleted are gone.
        let Some(key) = m.key_at(slot, seq) else {
            continue;
        };
        let value = value_address(map, Some(m.address(slot, cpu)));
        run.keys.push(key.into_owned());
        let key = Pointer::encode(Kind::Key, nesting, 0);
        let stop = run.call(callback, Regs::with_args(&[a[0], key, value, a[2]]));
        run.keys.truncate(nesting);
        visited += 1;
        if stop? != 0 {
            break;
        }
    }
    Ok(visited)
}

/// Most rounds of `bpf_loop` (the kernel's BPF_MAX_LOOPS).
const MAX_LOOPS: u32 = 8 << 20;

/// `bpf_loop(rounds, callback, ctx, flags)`: the number of rounds made.
pub fn bpf_loop(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let rounds = a[0] as u32;
    let callback = function(2, a[1])?;
    if a[3] != 0 {
        return Ok(err(libc::EINVAL));
    }
    if rounds > MAX_LOOPS {
        return Ok(err(libc::E2BIG));
    }
    for i in 0..rounds {
        let stop = run.call(callback, Regs::with_args(&[u64::from(i), a[2]]))?;
        if stop != 0 {
            return Ok(u64::from(i) + 1);
        }
    }
    Ok(u64::from(rounds))
}
