//! Ring buffers: reservation, release, output.

use super::super::fault::FaultKind;
use super::super::map::Map;
use super::super::memory::{Kind, Pointer};
use super::super::vm::Run;
use super::{Outcome, err, map_index, size};

fn ring(argument: u8) -> FaultKind {
    FaultKind::BadArgument {
        argument,
        expected: "a ring buffer",
    }
}

fn reserve(run: &mut Run<'_>, map: usize, len: u64) -> Result<Option<u64>, FaultKind> {
    let ring = run.maps[map].ring().ok_or(ring(1))?;
    let at = ring.reserve(len);
    Ok(at.map(|at| Pointer::encode(Kind::Record, map, at)))
}

/// `bpf_ringbuf_reserve(map, size, flags)`: address of the record, 0 where it is full.
pub fn ringbuf_reserve(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    if a[2] != 0 {
        return Ok(0);
    }
    Ok(reserve(run, map, size(2, a[1])? as u64)?.unwrap_or(0))
}

/// `bpf_ringbuf_submit(record, flags)` and `bpf_ringbuf_discard`.
pub fn release(run: &mut Run<'_>, addr: u64, submit: bool) -> Outcome {
    let record = Pointer::decode(addr).filter(|p| p.kind == Kind::Record);
    let released = record.is_some_and(|p| {
        let ring = run.maps.get_mut(p.index).and_then(Map::ring);
        ring.is_some_and(|r| r.release(p.offset as u64, submit))
    });
    if released {
        Ok(0)
    } else {
        Err(FaultKind::BadArgument {
            argument: 1,
            expected: "a reserved record",
        })
    }
}

/// `bpf_ringbuf_output(map, data, size, flags)`
pub fn ringbuf_output(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let data = run.copied(a[1], size(3, a[2])?)?;
    let at = reserve(run, map, data.len() as u64)?;
    if let Some(at) = at {
        run.view_mut(at, data.len())?.copy_from_slice(&data);
        release(run, at, true)?;
    }
    run.recycle(data);
    Ok(at.map_or(err(libc::EAGAIN), |_| 0))
}

/// `bpf_ringbuf_query(map, what)`
pub fn ringbuf_query(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let ring = run.maps[map].ring().ok_or(ring(1))?;
    let (consumed, produced) = ring.positions();
    Ok(match a[1] {
        0 => ring.available(),
        1 => ring.capacity(),
        2 => consumed,
        3 => produced,
        _ => 0,
    })
}
