//! Consuming the BPF ring buffer (Linux 5.8).
//!
//! The kernel's layout: a page with the consumer's position, which we write; a page with the
//! producer's position, then the data twice in a row, so that no record wraps:
//!
//! ```text
//!   page 0          page 1          page 2 ...
//!   +-------------+ +-------------+ +--------------+--------------+
//!   | consumer u64| | producer u64| | data         | data again   |
//!   +-------------+ +-------------+ +--------------+--------------+
//!   record: { u32 length | BUSY | DISCARD; u32 page offset; bytes..., padded to 8 }
//! ```

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libbpf_sys::{BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ};

use super::sys::bpf::Map;
use super::sys::mem::{Mapping, page_size};
use crate::error::{Error, ErrorExt, Result};
use crate::object::MapKind;

const HEADER: u64 = BPF_RINGBUF_HDR_SZ as u64;

/// Records after which the consumer's position is told to the kernel, so that a long batch makes
/// room as it goes.
const COMMIT_EVERY: usize = 64;

/// Most bytes of records that are kept in our own memory while nobody takes them.
const MAX_STASH: usize = 64 << 20;

/// How often the ring buffer is looked at while its consumer is busy. A program in a loop fills
/// 2 MiB in 3 ms, so on a busy machine records may be lost all the same; they are counted.
const LOOK: Duration = Duration::from_micros(50);

/// The consumer's end of a ring buffer. There must be only one per map.
#[derive(Debug)]
pub struct RingBuf {
    ring: Ring,
    stash: Stash,
}

/// The shared memory.
#[derive(Debug)]
struct Ring {
    consumer: Mapping,
    producer: Mapping,
    /// Bytes of data, a power of two.
    size: u64,
    page: usize,
    position: u64,
}

/// Records that had to be moved out of the shared memory; they come before those in it.
#[derive(Debug, Default)]
struct Stash {
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    /// Records, and bytes of them, that were consumed.
    taken: (usize, usize),
}

impl RingBuf {
    /// Maps the ring buffer `map`.
    ///
    /// # Errors
    /// Not a ring buffer, or no memory to map it.
    pub fn new(map: &Map) -> Result<Self> {
        if map.kind() != MapKind::Ringbuf {
            return Err(Error::invalid("not a ring buffer"));
        }
        let (page, size) = (page_size(), map.max_entries() as usize);
        let fd = map.as_fd();
        let context = "cannot map the ring buffer";
        let consumer = Mapping::shared(fd, 0, page, true).context(context)?;
        let producer = Mapping::shared(fd, page, page + 2 * size, false).context(context)?;
        let position = consumer.load_u64(0, Ordering::Relaxed);
        Ok(Self {
            ring: Ring {
                consumer,
                producer,
                size: size as u64,
                page,
                position,
            },
            stash: Stash::default(),
        })
    }

    /// Runs `f`, which keeps this thread from consuming (a program that emits more than the
    /// ring buffer holds, run to its end), while another thread makes room
    /// as well as it can.
    pub fn while_busy<T>(&mut self, f: impl FnOnce() -> T) -> T {
        /// Ends the helper however `f` ends.
        struct Done<'a>(&'a AtomicBool, std::thread::Thread);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
                self.1.unpark();
            }
        }
        let done = AtomicBool::new(false);
        let Self { ring, stash } = self;
        std::thread::scope(|scope| {
            let done = &done;
            let helper = scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    std::thread::park_timeout(LOOK);
                    if ring.pending() > ring.size / 8 && stash.bytes.len() < MAX_STASH {
                        stash.fill(ring);
                    }
                }
            });
            let _done = Done(done, helper.thread().clone());
            f()
        })
    }

    /// Bytes of records, the kernel's headers included, that it has no room for.
    pub fn size(&self) -> u64 {
        self.ring.size
    }

    /// Whether records wait that no descriptor tells of.
    pub fn has_stash(&self) -> bool {
        !self.stash.is_empty()
    }

    /// Hands the records that are ready to `f`, in order, without copying, until there is none
    /// or `f` returns `false`, and says how many. The record that `f` stopped at is consumed.
    ///
    /// # Errors
    /// What `f` returned; the record it failed on is consumed.
    pub fn consume(&mut self, mut f: impl FnMut(&[u8]) -> Result<bool>) -> Result<usize> {
        let (stashed, go_on) = self.stash.take(&mut f)?;
        if !go_on {
            return Ok(stashed);
        }
        Ok(stashed + self.ring.consume(f)?)
    }

    /// Drops all records that are ready, and says how many.
    pub fn discard(&mut self) -> usize {
        let stashed = self.stash.lengths.len() - self.stash.taken.0;
        self.stash = Stash::default();
        // Nothing in the closure fails.
        stashed + self.ring.consume(|_| Ok(true)).unwrap_or(0)
    }
}

impl Stash {
    fn is_empty(&self) -> bool {
        self.taken.0 == self.lengths.len()
    }

    fn fill(&mut self, ring: &mut Ring) {
        // Nothing in the closure fails.
        let _ = ring.consume(|record| {
            self.bytes.extend_from_slice(record);
            self.lengths.push(record.len() as u32);
            Ok(self.bytes.len() < MAX_STASH)
        });
    }

    /// Hands over records until `f` returns `false`; how many, and whether `f` wants more.
    fn take(&mut self, f: &mut impl FnMut(&[u8]) -> Result<bool>) -> Result<(usize, bool)> {
        let before = self.taken.0;
        let mut go_on = true;
        while go_on && !self.is_empty() {
            let (record, from) = self.taken;
            let to = from + self.lengths[record] as usize;
            self.taken = (record + 1, to);
            go_on = f(&self.bytes[from..to])?;
        }
        let count = self.taken.0 - before;
        if self.is_empty() {
            *self = Stash::default();
        }
        Ok((count, go_on))
    }
}

impl Ring {
    fn consume(&mut self, mut f: impl FnMut(&[u8]) -> Result<bool>) -> Result<usize> {
        let mut n = 0;
        let mut result = Ok(());
        let mut go_on = true;
        // Acquire: the headers up to this position are written.
        let mut end = self.producer.load_u64(0, Ordering::Acquire);
        while go_on {
            if self.position == end {
                end = self.producer.load_u64(0, Ordering::Acquire);
                if self.position == end {
                    break;
                }
            }
            let at = self.page + (self.position & (self.size - 1)) as usize;
            // Acquire: pairs with the commit that clears the busy bit.
            let header = self.producer.load_u32(at, Ordering::Acquire);
            if header & BPF_RINGBUF_BUSY_BIT != 0 {
                // Reserved, not yet committed: whoever comes after it has to wait too.
                break;
            }
            let len = header & !(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
            if header & BPF_RINGBUF_DISCARD_BIT == 0 {
                // SAFETY: the record is committed, and the kernel does not touch it again
                // before the consumer's position has passed it, which only this object moves.
                let bytes = unsafe { self.producer.bytes(at + HEADER as usize, len as usize) };
                match f(bytes) {
                    Ok(more) => go_on = more,
                    Err(e) => {
                        result = Err(e);
                        go_on = false;
                    }
                }
                n += 1;
            }
            self.position += (HEADER + u64::from(len)).next_multiple_of(8);
            if n % COMMIT_EVERY == 0 {
                self.commit();
            }
        }
        self.commit();
        result.map(|()| n)
    }

    // Release: what was read is read before the kernel may overwrite it.
    fn commit(&self) {
        self.consumer.store_u64(0, self.position, Ordering::Release);
    }

    /// Bytes that wait to be consumed.
    fn pending(&self) -> u64 {
        self.producer.load_u64(0, Ordering::Acquire) - self.position
    }
}

#[cfg(test)]
mod tests {
    use super::super::attach::special;
    use super::super::testing::{MAP1, attach, counting_object, emitter, kernel_usable, load};
    use super::*;
    use crate::object::{Attach, ProgramType};

    #[test]
    fn records_come_in_order_however_often_the_buffer_goes_round() {
        if !kernel_usable("records_come_in_order_however_often_the_buffer_goes_round") {
            return;
        }
        let mut object = counting_object();
        for n in 0..7 {
            let p = emitter(&mut object, ProgramType::RawTracepoint, n, 0);
            attach(&mut object, p, Attach::Begin);
        }
        let (loaded, _) = load(object);
        let mut ring = RingBuf::new(loaded.maps.get(MAP1)).unwrap();
        let mut expected = 0u32;
        // 24 bytes a record in 64 KiB: three times round.
        for i in 0..9000u32 {
            special::run(&loaded, (i % 7) as usize).unwrap();
            if i % 1000 < 999 {
                continue;
            }
            // Stopping and going on loses nothing.
            for stop in [1, usize::MAX] {
                let mut seen = 0;
                ring.consume(|r| {
                    assert_eq!(r[..4], (expected % 7).to_ne_bytes());
                    expected += 1;
                    seen += 1;
                    Ok(seen < stop)
                })
                .unwrap();
            }
        }
        assert_eq!(expected, 9000);
        assert_eq!(ring.ring.pending(), 0);
    }

    #[test]
    fn a_busy_consumer_loses_nothing() {
        if !kernel_usable("a_busy_consumer_loses_nothing") {
            return;
        }
        let mut object = counting_object();
        let p = emitter(&mut object, ProgramType::RawTracepoint, 1, 2);
        attach(&mut object, p, Attach::Begin);
        let (loaded, _) = load(object);
        let mut ring = RingBuf::new(loaded.maps.get(MAP1)).unwrap();
        let map = loaded.maps.get(MAP1);
        let page = page_size();
        let consumer = Mapping::shared(map.as_fd(), 0, page, false).unwrap();
        let producer = Mapping::shared(map.as_fd(), page, page, false).unwrap();
        let pending = || {
            let at = producer.load_u64(0, Ordering::Acquire);
            at - consumer.load_u64(0, Ordering::Acquire)
        };
        // Ten times what the buffer holds.
        let total = 10 * 65536 / 24;
        ring.while_busy(|| {
            for _ in 0..total {
                special::run(&loaded, 0).unwrap();
                // The helper may be slow to get a processor.
                while pending() > 3 * 65536 / 4 {
                    std::thread::yield_now();
                }
            }
        });
        assert!(ring.has_stash());
        let mut seen = 0;
        for stop in [1, 2, usize::MAX] {
            let mut now = 0;
            seen += ring
                .consume(|r| {
                    now += 1;
                    assert_eq!((r.len(), r[0]), (16, 1));
                    Ok(now < stop)
                })
                .unwrap();
        }
        assert_eq!(seen, total);
        assert!(!ring.has_stash());
    }
}
