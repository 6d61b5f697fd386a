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
use std::sync::atomic::Ordering;

use libbpf_sys::{BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ};

use super::sys::bpf::Map;
use super::sys::mem::{Mapping, page_size};
use crate::error::{Error, ErrorExt, Result};
use crate::object::MapKind;

const HEADER: u64 = BPF_RINGBUF_HDR_SZ as u64;

/// Records after which the consumer's position is told to the kernel, so that a long batch makes
/// room as it goes.
const COMMIT_EVERY: usize = 64;

/// The consumer's end of a ring buffer. There must be only one per map.
#[derive(Debug)]
pub struct RingBuf {
    consumer: Mapping,
    producer: Mapping,
    /// Bytes of data, a power of two.
    size: u64,
    page: usize,
    position: u64,
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
            consumer,
            producer,
            size: size as u64,
            page,
            position,
        })
    }

    /// Hands the records that are ready to `f`, in order, without copying, until there is none
    /// or `f` returns `false`, and says how many. The record that `f` stopped at is consumed.
    ///
    /// # Errors
    /// What `f` returned; the record it failed on is consumed.
    pub fn consume(&mut self, mut f: impl FnMut(&[u8]) -> Result<bool>) -> Result<usize> {
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
    pub fn pending(&self) -> u64 {
        self.producer.load_u64(0, Ordering::Acquire) - self.position
    }
}
