//! Helper functions: one row each, answered from the machine or from the world.
//!
//! Helpers that only make sense inside the kernel (overriding a return value, packets, BTF
//! objects) have no row; calling one is a fault.

use super::fault::FaultKind;
use super::map::{Map, UpdateMode};
use super::memory::{Kind, Pointer};
use super::printk;
use super::vm::{Regs, Run};
use super::world::{Clock, Errno, Space};
use crate::codegen::helper::{self, HelperId};
use crate::codegen::insn::STACK_SIZE;

/// What a helper gives: the content of r0.
type Outcome = Result<u64, FaultKind>;

/// A helper the machine has.
pub struct Row {
    id: HelperId,
    /// Arguments that must hold a value.
    pub args: u8,
    /// The implementation. Registers beyond `args` come as they are, 0 where they hold
    /// nothing.
    pub run: fn(&mut Run<'_>, [u64; 5]) -> Outcome,
}

const fn row(id: HelperId, args: u8, run: fn(&mut Run<'_>, [u64; 5]) -> Outcome) -> Row {
    Row { id, args, run }
}

static ROWS: &[Row] = &[
    row(helper::MAP_LOOKUP_ELEM, 2, map_lookup),
    row(helper::MAP_UPDATE_ELEM, 4, map_update),
    row(helper::MAP_DELETE_ELEM, 2, map_delete),
    row(helper::PROBE_READ, 3, |r, a| {
        probe_read(r, space_of(a[2]), a)
    }),
    row(helper::KTIME_GET_NS, 0, |r, _| {
        Ok(r.world.clock(Clock::Monotonic))
    }),
    row(helper::TRACE_PRINTK, 2, trace_printk),
    row(helper::GET_PRANDOM_U32, 0, |r, _| {
        Ok(u64::from(r.world.random()))
    }),
    row(helper::GET_SMP_PROCESSOR_ID, 0, |r, _| Ok(r.cpu as u64)),
    row(helper::GET_CURRENT_PID_TGID, 0, |r, _| {
        let t = r.world.task();
        Ok(u64::from(t.pid) << 32 | u64::from(t.tid))
    }),
    row(helper::GET_CURRENT_UID_GID, 0, |r, _| {
        let t = r.world.task();
        Ok(u64::from(t.gid) << 32 | u64::from(t.uid))
    }),
    row(helper::GET_CURRENT_COMM, 2, get_comm),
    row(helper::GET_CURRENT_TASK, 0, |r, _| {
        Ok(r.world.task().address)
    }),
    row(helper::PROBE_WRITE_USER, 3, probe_write_user),
    row(helper::GET_NUMA_NODE_ID, 0, |r, _| {
        Ok(u64::from(r.world.numa_node()))
    }),
    row(helper::PROBE_READ_STR, 3, |r, a| {
        probe_read_str(r, space_of(a[2]), a)
    }),
    row(helper::GET_STACK, 4, get_stack),
    row(helper::GET_CURRENT_CGROUP_ID, 0, |r, _| {
        Ok(r.world.task().cgroup)
    }),
    row(helper::SEND_SIGNAL, 1, |r, a| send_signal(r, a, false)),
    row(helper::PROBE_READ_USER, 3, |r, a| {
        probe_read(r, Space::User, a)
    }),
    row(helper::PROBE_READ_KERNEL, 3, |r, a| {
        probe_read(r, Space::Kernel, a)
    }),
    row(helper::PROBE_READ_USER_STR, 3, |r, a| {
        probe_read_str(r, Space::User, a)
    }),
    row(helper::PROBE_READ_KERNEL_STR, 3, |r, a| {
        probe_read_str(r, Space::Kernel, a)
    }),
    row(helper::SEND_SIGNAL_THREAD, 1, |r, a| {
        send_signal(r, a, true)
    }),
    row(helper::JIFFIES64, 0, |r, _| Ok(r.world.jiffies())),
    row(helper::GET_NS_CURRENT_PID_TGID, 4, get_ns_pid),
    row(helper::GET_CURRENT_ANCESTOR_CGROUP_ID, 1, |r, a| {
        Ok(r.world.ancestor_cgroup(a[0] as u32))
    }),
    row(helper::KTIME_GET_BOOT_NS, 0, |r, _| {
        Ok(r.world.clock(Clock::Boot))
    }),
    row(helper::RINGBUF_OUTPUT, 4, ringbuf_output),
    row(helper::RINGBUF_RESERVE, 3, ringbuf_reserve),
    row(helper::RINGBUF_SUBMIT, 2, |r, a| release(r, a[0], true)),
    row(helper::RINGBUF_DISCARD, 2, |r, a| release(r, a[0], false)),
    row(helper::RINGBUF_QUERY, 2, ringbuf_query),
    row(helper::COPY_FROM_USER, 3, |r, a| {
        probe_read(r, Space::User, a)
    }),
    row(helper::TASK_STORAGE_GET, 4, task_storage_get),
    row(helper::TASK_STORAGE_DELETE, 2, task_storage_delete),
    row(helper::GET_CURRENT_TASK_BTF, 0, |r, _| {
        Ok(r.world.task().address)
    }),
    row(helper::KTIME_GET_COARSE_NS, 0, |r, _| {
        Ok(r.world.clock(Clock::Coarse))
    }),
    row(helper::FOR_EACH_MAP_ELEM, 4, for_each),
    row(helper::SNPRINTF, 5, snprintf),
    row(helper::GET_FUNC_IP, 1, |r, _| Ok(r.world.func_ip())),
    row(helper::GET_ATTACH_COOKIE, 1, |r, _| {
        Ok(r.world.attach_cookie())
    }),
    row(helper::TRACE_VPRINTK, 4, trace_vprintk),
    row(helper::LOOP, 4, bpf_loop),
    row(helper::STRNCMP, 3, strncmp),
    row(helper::MAP_LOOKUP_PERCPU_ELEM, 3, map_lookup_percpu),
    row(helper::KTIME_GET_TAI_NS, 0, |r, _| {
        Ok(r.world.clock(Clock::Tai))
    }),
];

/// One more than the highest helper number there is.
const IDS: usize = 256;

/// Index into [`ROWS`] by helper number; 255 is none.
static BY_ID: [u8; IDS] = {
    let mut table = [u8::MAX; IDS];
    let mut i = 0;
    while i < ROWS.len() {
        table[ROWS[i].id.id() as usize] = i as u8;
        i += 1;
    }
    table
};

/// The row of a helper.
pub fn find(id: HelperId) -> Option<&'static Row> {
    let at = *BY_ID.get(id.id() as usize)?;
    ROWS.get(usize::from(at))
}

/// Whether the machine has the helper.
pub fn implemented(id: HelperId) -> bool {
    find(id).is_some()
}

/// A negative error number as r0 holds it.
fn err(errno: Errno) -> u64 {
    -i64::from(errno) as u64
}

fn done<E>(result: Result<(), E>, errno: impl Fn(E) -> Errno) -> u64 {
    match result {
        Ok(()) => 0,
        Err(e) => err(errno(e)),
    }
}

// A size argument: negative and absurd ones cannot come from a verified program.
fn size(argument: u8, value: u64) -> Result<usize, FaultKind> {
    let bad = FaultKind::BadArgument {
        argument,
        expected: "a size",
    };
    let n = u32::try_from(value).map_err(|_| bad.clone())?;
    if n > 1 << 29 {
        Err(bad)
    } else {
        Ok(n as usize)
    }
}

fn map_index(run: &Run<'_>, argument: u8, addr: u64) -> Result<usize, FaultKind> {
    match Pointer::decode(addr) {
        Some(p) if p.kind == Kind::Map && p.offset == 0 && p.index < run.maps.len() => Ok(p.index),
        _ => Err(FaultKind::BadArgument {
            argument,
            expected: "a map",
        }),
    }
}

fn function(argument: u8, addr: u64) -> Result<usize, FaultKind> {
    match Pointer::decode(addr) {
        Some(p) if p.kind == Kind::Function => Ok(p.offset as usize),
        _ => Err(FaultKind::BadArgument {
            argument,
            expected: "a function",
        }),
    }
}

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

fn map_lookup(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let cpu = run.cpu;
    let at = with_key(run, map, a[1], |m, key| {
        m.use_slot(key).map(|slot| m.address(slot, cpu))
    })?;
    Ok(value_address(map, at))
}

fn map_lookup_percpu(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let at = with_key(run, map, a[1], |m, key| {
        let cpu = a[2] as u32 as usize;
        let slot = m.slot(key).filter(|_| cpu < m.cpus())?;
        Some(m.address(slot, cpu))
    })?;
    Ok(value_address(map, at))
}

fn map_update(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

fn map_delete(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let result = with_key(run, map, a[1], |m, key| m.delete(key))?;
    Ok(done(result, |e| e.errno()))
}

// The kernel numbers tasks by address; so do we.
fn task_storage_get(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

fn task_storage_delete(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    let result = run.maps[map].delete(&a[1].to_ne_bytes());
    Ok(done(result, |e| e.errno()))
}

fn for_each(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

fn bpf_loop(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

// The helpers that predate the split of address spaces take the address to tell.
fn space_of(addr: u64) -> Space {
    if Pointer::decode(addr).is_none() && addr >> 63 == 0 {
        Space::User
    } else {
        Space::Kernel
    }
}

fn probe_read(run: &mut Run<'_>, space: Space, a: [u64; 5]) -> Outcome {
    let len = size(2, a[1])?;
    let mut buf = run.zeroed(len);
    let result = run.read_foreign(space, a[2], &mut buf)?;
    if result.is_err() {
        buf.fill(0);
    }
    run.view_mut(a[0], len)?.copy_from_slice(&buf);
    run.recycle(buf);
    Ok(done(result, |e| e))
}

/// Bytes read at once while the end of a string is looked for; a divisor of the page size.
const STRING_CHUNK: u64 = 64;

/// Reads a string into `buf`, cut to its size and always ended by a NUL; the bytes written,
/// NUL included. Bytes of `buf` after the NUL keep their values.
pub fn read_string(
    run: &mut Run<'_>,
    space: Space,
    addr: u64,
    buf: &mut [u8],
) -> Result<Result<usize, Errno>, FaultKind> {
    let mut chunk = [0; STRING_CHUNK as usize];
    let mut at = 0;
    while at < buf.len() {
        let from = addr.wrapping_add(at as u64);
        // Never across a boundary that a readable region may end at, unless byte by byte.
        let want = (STRING_CHUNK - from % STRING_CHUNK).min((buf.len() - at) as u64) as usize;
        let mut got = &mut chunk[..want];
        let whole = run.read_foreign(space, from, got);
        if !matches!(whole, Ok(Ok(()))) {
            got = &mut chunk[..1];
            if let Err(e) = run.read_foreign(space, from, got)? {
                return Ok(Err(e));
            }
        }
        let end = got.iter().position(|&b| b == 0);
        let n = end.map_or(got.len(), |e| e + 1);
        buf[at..at + n].copy_from_slice(&got[..n]);
        at += n;
        if end.is_some() {
            return Ok(Ok(at));
        }
    }
    if let Some(last) = buf.last_mut() {
        *last = 0;
    }
    Ok(Ok(buf.len()))
}

fn probe_read_str(run: &mut Run<'_>, space: Space, a: [u64; 5]) -> Outcome {
    let len = size(2, a[1])?;
    let mut buf = run.zeroed(len);
    let result = read_string(run, space, a[2], &mut buf)?;
    // To the verifier the whole buffer is written, so it is marked; after the NUL it keeps
    // what it held.
    let to = run.view_mut(a[0], len)?;
    match result {
        Ok(n) => to[..n].copy_from_slice(&buf[..n]),
        Err(_) => to.fill(0),
    }
    run.recycle(buf);
    Ok(match result {
        Ok(n) => n as u64,
        Err(e) => err(e),
    })
}

fn probe_write_user(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let data = run.copied(a[1], size(3, a[2])?)?;
    let result = run.world.write_user(a[0], &data);
    run.recycle(data);
    Ok(done(result, |e| e))
}

fn get_comm(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let len = size(2, a[1])?;
    let comm = run.world.task().comm;
    let to = run.view_mut(a[0], len)?;
    to.fill(0);
    for (to, from) in to.iter_mut().zip(comm) {
        *to = from;
    }
    if let Some(last) = to.last_mut() {
        *last = 0;
    }
    Ok(0)
}

fn get_ns_pid(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let len = size(4, a[3])?;
    let result = match len {
        8 => run.world.ns_pid(a[0], a[1]),
        _ => Err(libc::EINVAL),
    };
    let to = run.view_mut(a[2], len)?;
    to.fill(0);
    Ok(match result {
        Ok((pid, tid)) => {
            // struct bpf_pidns_info { u32 pid, tgid } in the kernel's sense of the words.
            let both = [tid.to_ne_bytes(), pid.to_ne_bytes()];
            to.copy_from_slice(both.as_flattened());
            0
        }
        Err(e) => err(e),
    })
}

/// Flags of `bpf_get_stack`.
const SKIP_FRAMES: u64 = 0xff;
const USER_STACK: u64 = 1 << 8;

fn get_stack(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let len = size(3, a[2])?;
    let space = if a[3] & USER_STACK != 0 {
        Space::User
    } else {
        Space::Kernel
    };
    let skip = (a[3] & SKIP_FRAMES) as usize;
    let result = if a[3] & !(SKIP_FRAMES | USER_STACK) != 0 || !len.is_multiple_of(8) {
        Err(libc::EINVAL)
    } else {
        run.world.stack(space)
    };
    let to = run.view_mut(a[1], len)?;
    to.fill(0);
    let frames = match &result {
        Ok(s) if s.len() >= skip => s.get(skip..).unwrap_or_default(),
        Ok(_) => return Ok(err(libc::EFAULT)),
        Err(e) => return Ok(err(*e)),
    };
    let mut written = 0;
    for (to, ip) in to.as_chunks_mut::<8>().0.iter_mut().zip(frames) {
        *to = ip.to_ne_bytes();
        written += 8;
    }
    Ok(written)
}

fn send_signal(run: &mut Run<'_>, a: [u64; 5], thread: bool) -> Outcome {
    let result = run.world.signal(a[0] as u32, thread);
    Ok(done(result, |e| e))
}

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

fn ringbuf_reserve(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let map = map_index(run, 1, a[0])?;
    if a[2] != 0 {
        return Ok(0);
    }
    Ok(reserve(run, map, size(2, a[1])? as u64)?.unwrap_or(0))
}

fn release(run: &mut Run<'_>, addr: u64, submit: bool) -> Outcome {
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

fn ringbuf_output(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

fn ringbuf_query(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

fn strncmp(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let len = size(2, a[1])?;
    let first = run.copied(a[0], len)?;
    let mut second = run.zeroed(len);
    // The second string is read-only memory that ends at its NUL.
    for (i, (&x, y)) in first.iter().zip(&mut second).enumerate() {
        *y = run.view(a[2].wrapping_add(i as u64), 1)?[0];
        if x != *y || *y == 0 {
            break;
        }
    }
    let differs = first.iter().zip(&second).find(|(x, y)| x != y || **x == 0);
    let order = differs.map_or(0, |(x, y)| match x.cmp(y) {
        std::cmp::Ordering::Less => -1i64,
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Greater => 1,
    });
    run.recycle(first);
    run.recycle(second);
    Ok(order as u64)
}

// Up to 12 arguments of the printf-like helpers, from an array of u64.
fn array_of_args(run: &mut Run<'_>, addr: u64, len: u64) -> Result<Vec<u64>, FaultKind> {
    let bytes = run.view(addr, size(5, len)?)?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok(words.iter().map(|&w| u64::from_ne_bytes(w)).collect())
}

fn trace(run: &mut Run<'_>, format: &[u8], args: &[u64]) -> Outcome {
    match printk::format(run, format, args)? {
        Some(text) => {
            run.world.trace(&text);
            Ok(text.len() as u64)
        }
        None => Ok(err(libc::EINVAL)),
    }
}

fn trace_printk(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let format = run.copied(a[0], size(2, a[1])?)?;
    let result = trace(run, &format, &a[2..]);
    run.recycle(format);
    result
}

fn trace_vprintk(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let format = run.copied(a[0], size(2, a[1])?)?;
    let args = array_of_args(run, a[2], a[3])?;
    let result = trace(run, &format, &args);
    run.recycle(format);
    result
}

fn snprintf(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let len = size(2, a[1])?;
    let mut format = Vec::new();
    // The format is constant memory that ends at its NUL.
    while !format.ends_with(&[0]) && format.len() < STACK_SIZE {
        let at = a[2].wrapping_add(format.len() as u64);
        format.push(run.view(at, 1)?[0]);
    }
    let args = array_of_args(run, a[3], a[4])?;
    let Some(text) = printk::format(run, &format, &args)? else {
        return Ok(err(libc::EINVAL));
    };
    let to = run.view_mut(a[0], len)?;
    let n = text.len().min(len.saturating_sub(1));
    let (text_part, rest) = to.split_at_mut(n.min(to.len()));
    text_part.copy_from_slice(&text[..n]);
    if let Some(end) = rest.first_mut() {
        *end = 0;
    }
    Ok(text.len() as u64 + 1)
}
