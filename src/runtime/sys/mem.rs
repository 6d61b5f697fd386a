//! Shared memory mappings.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::call;
use crate::error::{Error, Result};

/// Bytes of a page.
pub fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    let n = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(n).unwrap_or(4096)
}

/// Bytes of memory that the machine has.
pub fn physical_memory() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    u64::try_from(pages).unwrap_or(0) * page_size() as u64
}

/// A mapping shared with the kernel, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    at: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping belongs to the process, not to a thread, and all shared access is atomic
// or by the ring buffer's protocol.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset` (both multiples of the page size).
    pub fn shared(fd: BorrowedFd<'_>, offset: usize, len: usize, writable: bool) -> Result<Self> {
        let prot = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        let mut at = std::ptr::null_mut();
        call("mmap", || {
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory of
            // ours.
            at = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    len,
                    prot,
                    libc::MAP_SHARED,
                    fd.as_raw_fd(),
                    offset as libc::off_t,
                )
            };
            if at == libc::MAP_FAILED { -1 } else { 0 }
        })?;
        let at = NonNull::new(at.cast()).ok_or_else(|| Error::invalid("mapping at address 0"))?;
        Ok(Self { at, len, writable })
    }

    fn check(&self, offset: usize, len: usize, align: usize) {
        assert!(
            offset.is_multiple_of(align) && offset.checked_add(len).is_some_and(|e| e <= self.len),
            "access past the end of a mapping"
        );
    }

    /// The word at `offset`, a multiple of 8.
    pub fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        self.check(offset, 8, 8);
        // SAFETY: in bounds and aligned; the kernel accesses it atomically too.
        unsafe { AtomicU64::from_ptr(self.at.add(offset).as_ptr().cast()) }.load(order)
    }

    /// Stores the word at `offset`, a multiple of 8, of a writable mapping.
    pub fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        self.check(offset, 8, 8);
        assert!(self.writable, "store to a read-only mapping");
        // SAFETY: in bounds, aligned and writable.
        unsafe { AtomicU64::from_ptr(self.at.add(offset).as_ptr().cast()) }.store(value, order);
    }

    /// The half word at `offset`, a multiple of 4.
    pub fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        self.check(offset, 4, 4);
        // SAFETY: in bounds and aligned; the kernel accesses it atomically too.
        unsafe { AtomicU32::from_ptr(self.at.add(offset).as_ptr().cast()) }.load(order)
    }

    /// The bytes at `offset`.
    ///
    /// # Safety
    /// Nobody, the kernel included, may write them while the slice lives.
    pub unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        self.check(offset, len, 1);
        // SAFETY: in bounds; the caller vouches that they do not change.
        unsafe { std::slice::from_raw_parts(self.at.add(offset).as_ptr(), len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no reference into it outlives `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
