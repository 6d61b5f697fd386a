//! The ring buffer: records in the order of their reservation.
//!
//! Keeps the kernel's accounting (an 8-byte header per record, sizes rounded up to 8, records
//! released in order) so that a program meets a full buffer where it would in the kernel.
//! Reserved memory is filled with [`POISON`], which makes bytes that a program forgot to
//! write visible and equal in every run.

use std::collections::VecDeque;

/// What fresh memory of records and stack frames holds.
pub const POISON: u8 = 0xcc;

const HEADER: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reserved,
    Submitted,
    Discarded,
}

#[derive(Debug)]
struct Record {
    /// Twice the position of the first payload byte since the creation of the ring: addresses
    /// of records are spread so that a pointer past the end of one meets nothing.
    at: u64,
    state: State,
    bytes: Vec<u8>,
}

/// A ring buffer.
#[derive(Debug)]
pub struct Ring {
    capacity: u64,
    produced: u64,
    consumed: u64,
    records: VecDeque<Record>,
    /// Buffers of consumed records, to be used again.
    spare: Vec<Vec<u8>>,
    reserved: usize,
}

impl Ring {
    /// An empty ring of `capacity` bytes.
    pub fn new(capacity: u64) -> Ring {
        Ring {
            capacity,
            produced: 0,
            consumed: 0,
            records: VecDeque::new(),
            spare: Vec::new(),
            reserved: 0,
        }
    }

    /// Reserves a record of `size` bytes; its address in the ring's range, or `None` where there is no room.
    pub fn reserve(&mut self, size: u64) -> Option<u64> {
        let taken = size.checked_add(HEADER)?.checked_next_multiple_of(8)?;
        // As in the kernel, the last byte is never filled.
        if self.produced.checked_add(taken)? - self.consumed >= self.capacity {
            return None;
        }
        let at = 2 * (self.produced + HEADER);
        self.produced += taken;
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.resize(size as usize, POISON);
        self.records.push_back(Record {
            at,
            state: State::Reserved,
            bytes,
        });
        self.reserved += 1;
        Some(at)
    }

    fn find(&self, at: u64) -> Option<usize> {
        let i = self
            .records
            .partition_point(|r| r.at <= at)
            .checked_sub(1)?;
        Some(i)
    }

    /// The reserved record that address `at` belongs to, with the offset of `at` in it. An
    /// offset past the payload is still given, for the caller to refuse.
    pub fn reserved_at(&mut self, at: u64) -> Option<(&mut Vec<u8>, u64)> {
        let i = self.find(at)?;
        let r = self.records.get_mut(i)?;
        (r.state == State::Reserved).then_some((&mut r.bytes, at - r.at))
    }

    /// Submits or discards the record reserved at exactly `at`; whether there was one.
    pub fn release(&mut self, at: u64, submit: bool) -> bool {
        let record = self.find(at).and_then(|i| self.records.get_mut(i));
        let Some(r) = record.filter(|r| r.at == at && r.state == State::Reserved) else {
            return false;
        };
        r.state = if submit {
            State::Submitted
        } else {
            State::Discarded
        };
        self.reserved -= 1;
        true
    }

    /// Records reserved and not yet released.
    pub fn unreleased(&self) -> usize {
        self.reserved
    }

    /// Drops every reservation, as after a program that faulted.
    pub fn abandon(&mut self) {
        for r in &mut self.records {
            if r.state == State::Reserved {
                r.state = State::Discarded;
            }
        }
        self.reserved = 0;
    }

    /// Hands the submitted records to `f`, oldest first, up to the first that is still
    /// reserved; how many there were.
    pub fn drain(&mut self, mut f: impl FnMut(&[u8])) -> usize {
        let mut n = 0;
        while let Some(r) = self.records.pop_front_if(|r| r.state != State::Reserved) {
            self.consumed = (r.at / 2 + r.bytes.len() as u64).next_multiple_of(8);
            if r.state == State::Submitted {
                f(&r.bytes);
                n += 1;
            }
            self.spare.push(r.bytes);
        }
        n
    }

    /// Bytes not yet consumed, headers included.
    pub fn available(&self) -> u64 {
        self.produced - self.consumed
    }

    /// Size in bytes.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Positions of the consumer and the producer.
    pub fn positions(&self) -> (u64, u64) {
        (self.consumed, self.produced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(r: &mut Ring) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        r.drain(|b| out.push(b.to_vec()));
        out
    }

    #[test]
    fn records_come_out_in_order_of_reservation() {
        let mut r = Ring::new(4096);
        let a = r.reserve(3).unwrap();
        let b = r.reserve(8).unwrap();
        r.reserved_at(a).unwrap().0.copy_from_slice(b"abc");
        assert!(r.release(b, true));
        assert!(drained(&mut r).is_empty(), "a is still reserved");
        assert!(r.release(a, true));
        assert_eq!(drained(&mut r), [b"abc".to_vec(), vec![POISON; 8]]);
        assert!(!r.release(a, true), "already gone");
    }

    #[test]
    fn room_is_counted_with_headers_and_given_back() {
        let mut r = Ring::new(64);
        let a = r.reserve(17).unwrap(); // 8 + 24
        assert_eq!(r.reserve(24), None, "would fill it to the last byte");
        let b = r.reserve(16).unwrap();
        assert_eq!((r.available(), r.reserve(0)), (56, None));
        r.release(a, false);
        r.release(b, true);
        assert_eq!(drained(&mut r).len(), 1);
        assert_eq!(r.available(), 0);
        assert!(r.reserve(48).is_some());
        assert_eq!(r.reserve(u64::MAX), None);
    }
}
