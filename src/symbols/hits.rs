//! Where a text occurs in a table of strings, and which names are near.
//!
//! In: a table of strings and the places of a text in it. Out: for the start of a name, whether
//! the text may be in it. A search through all symbols of a file asks that for each of them.

/// Longest name that is found by what it contains, in bytes.
pub(super) const MAX_NAME: usize = 1 << 20;

/// Places in a table of strings, in ascending order.
pub(super) struct Hits {
    places: Vec<u32>,
    /// A bit for each [`BLOCK`] bytes of the table: whether a name that starts there may have a
    /// place in it.
    near: Vec<u64>,
}

/// Bytes of a table of strings that share a bit.
const BLOCK: usize = 64;

impl Hits {
    /// None yet, in a table of so many bytes.
    pub(super) fn new(table: usize) -> Self {
        Self {
            places: Vec::new(),
            near: vec![0; table / BLOCK / 64 + 1],
        }
    }

    /// Adds the place `at` of `strings`, behind all others; `None` if the table is too large.
    pub(super) fn add(&mut self, strings: &[u8], at: usize) -> Option<()> {
        // Of a name with several places only what comes after the last one is new.
        let last = self.places.last().map_or(0, |&last| last as usize);
        let from = last.max(at.saturating_sub(MAX_NAME));
        let start = memchr::memrchr(0, &strings[from..at]).map_or(from, |nul| from + nul + 1);
        self.places.push(u32::try_from(at).ok()?);
        for block in start / BLOCK..=at / BLOCK {
            self.near[block / 64] |= 1 << (block % 64);
        }
        Some(())
    }

    /// Whether a place may be in the name that starts at `name`: a bit, which rules out most.
    pub(super) fn is_near(&self, name: u32) -> bool {
        let block = name as usize / BLOCK;
        let word = self.near.get(block / 64);
        word.is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// The first place at or behind `name`.
    pub(super) fn next_after(&self, name: u32) -> Option<u32> {
        let at = self.places.partition_point(|&hit| hit < name);
        self.places.get(at).copied()
    }
}
