//! Memory, strings, and what a program asks about the current task.

use super::super::fault::FaultKind;
use super::super::memory::Pointer;
use super::super::vm::Run;
use super::super::world::{Errno, Space};
use super::{Outcome, done, err, size};

/// The address space that the helpers older than the split take `addr` to be in.
pub fn space_of(addr: u64) -> Space {
    if Pointer::decode(addr).is_none() && addr >> 63 == 0 {
        Space::User
    } else {
        Space::Kernel
    }
}

/// `bpf_probe_read_*(dst, size, src)`; a failed read leaves zeros.
pub fn probe_read(run: &mut Run<'_>, space: Space, a: [u64; 5]) -> Outcome {
    let len = size(2, a[1])?;
    run.view_mut(a[0], len)?;
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

/// `bpf_probe_read_*_str(dst, size, src)`: bytes copied, NUL included.
pub fn probe_read_str(run: &mut Run<'_>, space: Space, a: [u64; 5]) -> Outcome {
    let len = size(2, a[1])?;
    run.view_mut(a[0], len)?;
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

/// `bpf_probe_write_user(dst, src, size)`
pub fn probe_write_user(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
    let data = run.copied(a[1], size(3, a[2])?)?;
    let result = run.world.write_user(a[0], &data);
    run.recycle(data);
    Ok(done(result, |e| e))
}

/// `bpf_get_current_comm(buf, size)`
pub fn get_comm(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

/// `bpf_get_ns_current_pid_tgid(dev, ino, info, size)`
pub fn get_ns_pid(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

/// `bpf_get_stack(ctx, buf, size, flags)`: bytes written; no build ids.
pub fn get_stack(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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

/// `bpf_send_signal(sig)` and its variant for the thread.
pub fn send_signal(run: &mut Run<'_>, a: [u64; 5], thread: bool) -> Outcome {
    let result = run.world.signal(a[0] as u32, thread);
    Ok(done(result, |e| e))
}

/// `bpf_strncmp(s1, size, s2)`: -1, 0 or 1.
pub fn strncmp(run: &mut Run<'_>, a: [u64; 5]) -> Outcome {
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
