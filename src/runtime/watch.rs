//! What all processes map as code, as the kernel reports it: perf's task events.
//!
//! In: nothing; the kernel writes reports into a ring buffer for each CPU. Out: [`Change`]s in
//! the order of their times, so that a stack of a process that has ended, or closed a library,
//! still finds what its addresses meant. A report says what was mapped, not what was unmapped.
//!
//! The ring's layout: a page whose words at 1024 and 1032 are the producer's and the consumer's
//! position, then the data, in which records wrap:
//!
//! ```text
//!   u32 type, u16 misc, u16 size, body, u64 time
//!   MMAP2  u32 pid, tid; u64 addr, len, pgoff; u32 major, minor; u64 inode, generation;
//!          u32 prot, flags; name, NUL, padding to 8
//!   COMM   u32 pid, tid; name, NUL, padding to 8
//!   FORK, EXIT  u32 pid, ppid, tid, ptid; u64 time
//!   LOST   u64 id, lost
//! ```

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use super::symbolize::{Change, FileId, Mapping};
use super::sys::mem::{Mapping as Memory, page_size};
use super::sys::perf;
use crate::error::{ErrorExt as _, Result};

/// Bytes of each ring: some five hundred reports.
const RING: usize = 64 << 10;

/// Words of the first page.
const HEAD: usize = 1024;
const TAIL: usize = 1032;

/// The rings of all CPUs.
#[derive(Debug)]
pub struct Watch {
    rings: Vec<Ring>,
    /// What is taken out of the rings and not handed over, with its time.
    batch: Vec<(u64, Change)>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Ring {
    fd: OwnedFd,
    memory: Memory,
    page: usize,
}

impl Watch {
    /// Starts watching on these CPUs.
    ///
    /// # Errors
    /// The kernel has no perf events, or does not let us (CAP_PERFMON).
    pub fn new(cpus: impl Iterator<Item = u32>) -> Result<Self> {
        let page = page_size();
        let size = RING.max(page);
        let rings = cpus.map(|cpu| {
            let fd = perf::open_task_events(cpu)?;
            let memory = Memory::shared(fd.as_fd(), 0, page + size, true)
                .context("cannot map a ring of task events")?;
            Ok(Ring { fd, memory, page })
        });
        Ok(Self {
            rings: rings.collect::<Result<_>>()?,
            batch: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Descriptors that become readable when much is waiting.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|r| r.fd.as_fd())
    }

    /// Hands over what was reported up to now. A process that moves to another CPU while the
    /// rings are read may have its later report in one that is read and its earlier one in one
    /// that was read before: what is later than the call waits for the next.
    pub fn drain(&mut self, mut f: impl FnMut(Change)) {
        let now = perf::clock();
        for ring in &self.rings {
            self.bytes.clear();
            ring.take(&mut self.bytes);
            let mut rest = &self.bytes[..];
            while let Some((record, tail)) = split(rest) {
                self.batch.extend(parse(record));
                rest = tail;
            }
        }
        // Stable: of one time, the order within a ring.
        self.batch.sort_by_key(|r| r.0);
        let due = self.batch.partition_point(|r| r.0 <= now);
        self.batch.drain(..due).for_each(|(_, change)| f(change));
    }
}

impl Ring {
    /// Appends what is waiting, and gives its room back to the kernel.
    fn take(&self, out: &mut Vec<u8>) {
        let head = self.memory.load_u64(HEAD, Ordering::Acquire);
        let tail = self.memory.load_u64(TAIL, Ordering::Relaxed);
        let size = RING.max(self.page) as u64;
        let len = head.wrapping_sub(tail).min(size);
        let start = (tail % size) as usize;
        let first = (len as usize).min(size as usize - start);
        for (at, len) in [(start, first), (0, len as usize - first)] {
            // SAFETY: the kernel writes only outside [tail, head) until the tail is moved below.
            out.extend_from_slice(unsafe { self.memory.bytes(self.page + at, len) });
        }
        self.memory.store_u64(TAIL, head, Ordering::Release);
    }
}

/// The first record and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let size = usize::from(u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?));
    (size >= 16).then(|| bytes.split_at_checked(size))?
}

/// A record's time and what it says; `None` for one that is of no interest.
fn parse(record: &[u8]) -> Option<(u64, Change)> {
    /// Types of records, `PERF_RECORD_*`.
    const LOST: u32 = 2;
    const COMM: u32 = 3;
    const EXIT: u32 = 4;
    const FORK: u32 = 7;
    const MMAP2: u32 = 10;
    /// `PERF_RECORD_MISC_COMM_EXEC`: the name changed because another program started.
    const EXEC: u16 = 1 << 13;
    const HEADER: usize = 8;
    const PROT_EXEC: u32 = 4;
    let (body, time) = record.get(HEADER..)?.split_last_chunk::<8>()?;
    let word = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let misc = u16::from_ne_bytes([record[4], record[5]]);
    let change = match u32::from_ne_bytes(record[..4].try_into().ok()?) {
        LOST => Change::Lost(long(8)?),
        COMM if misc & EXEC != 0 => Change::Executed { pid: word(0)? },
        // Of the threads of a process, the first one stands for it.
        EXIT if word(0)? == word(8)? => Change::Ended { pid: word(0)? },
        FORK if word(0)? != word(4)? => Change::Forked {
            pid: word(0)?,
            parent: word(4)?,
        },
        MMAP2 => {
            let (start, len) = (long(8)?, long(16)?);
            let text = body.get(64..)?;
            let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
            let mapping = Mapping {
                start,
                end: start.checked_add(len)?,
                offset: long(24)?,
                executable: word(56)? & PROT_EXEC != 0,
                file: FileId {
                    device: (word(32)?, word(36)?),
                    inode: long(40)?,
                },
                name: name(&String::from_utf8_lossy(&text[..end])).into(),
                deleted: false,
            };
            Change::Mapped {
                pid: word(0)?,
                mapping,
            }
        }
        _ => return None,
    };
    Some((u64::from_ne_bytes(*time), change))
}

/// What /proc would call the mapping.
fn name(reported: &str) -> &str {
    match reported {
        "//anon" | "//enomem" | "//toolong" => "",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ty: u32, misc: u16, body: &[u8], time: u64) -> Vec<u8> {
        let mut all = ty.to_ne_bytes().to_vec();
        all.extend(misc.to_ne_bytes());
        all.extend((8 + body.len() as u16 + 8).to_ne_bytes());
        all.extend(body);
        all.extend(time.to_ne_bytes());
        all
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    #[test]
    fn reports_are_read_and_threads_left_out() {
        let mut bytes = Vec::new();
        bytes.extend(record(7, 0, &words(&[7, 5, 7, 5, 0, 0]), 10));
        bytes.extend(record(7, 0, &words(&[7, 7, 8, 7, 0, 0]), 11));
        bytes.extend(record(3, 1 << 13, &words(&[7, 7, 0x6162, 0]), 12));
        bytes.extend(record(3, 0, &words(&[7, 8, 0x6162, 0]), 13));
        let mut map = words(&[
            7, 7, 0x1000, 0, 0x2000, 0, 0x3000, 0, 8, 1, 42, 0, 0, 0, 5, 2,
        ]);
        map.extend(b"/bin/x (deleted)\0\0\0\0\0\0\0\0");
        bytes.extend(record(10, 0, &map, 14));
        bytes.extend(record(4, 0, &words(&[7, 7, 8, 8, 0, 0]), 15));
        bytes.extend(record(4, 0, &words(&[7, 5, 7, 5, 0, 0]), 16));
        bytes.extend(record(2, 0, &words(&[1, 0, 3, 0]), 17));
        bytes.extend(&[1, 2, 3]);
        let mut seen = Vec::new();
        let mut rest = &bytes[..];
        while let Some((r, tail)) = split(rest) {
            seen.extend(parse(r));
            rest = tail;
        }
        let times: Vec<u64> = seen.iter().map(|s| s.0).collect();
        assert_eq!(times, [10, 12, 14, 16, 17]);
        assert_eq!(seen[0].1, Change::Forked { pid: 7, parent: 5 });
        assert_eq!(seen[1].1, Change::Executed { pid: 7 });
        assert_eq!(seen[3].1, Change::Ended { pid: 7 });
        assert_eq!(seen[4].1, Change::Lost(3));
        let Change::Mapped { pid: 7, mapping } = &seen[2].1 else {
            panic!("{seen:?}")
        };
        assert_eq!(
            (mapping.start, mapping.end, mapping.offset),
            (0x1000, 0x3000, 0x3000)
        );
        assert_eq!((mapping.file.device, mapping.file.inode), ((8, 1), 42));
        assert!(mapping.executable);
    }

    #[test]
    fn nonsense_is_no_report() {
        for len in 0..64 {
            for byte in [0, 1, 0xff] {
                let bytes = vec![byte; len];
                if let Some((r, _)) = split(&bytes) {
                    let _ = parse(r);
                }
            }
        }
        for ty in 0..20 {
            for len in (0..80).step_by(8) {
                let _ = parse(&record(ty, 0xffff, &vec![0xff; len], 1));
            }
        }
    }
}
