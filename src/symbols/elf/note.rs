//! ELF notes, and the build id that one of them holds.
//!
//! In: the bytes of a note segment or section. Out: owner, type and contents of each note; a
//! damaged one ends the list.

use std::fmt;

use object::Endianness;

use super::string_at;

/// The build id of a file: 2 to 64 bytes (20 as a rule) that name one link of one program.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(Box<[u8]>);

impl BuildId {
    /// A build id from its bytes; `None` if there are none or implausibly many.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (2..=64).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    /// Lower-case hexadecimal, as in /usr/lib/debug/.build-id and `file`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

/// One ELF note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Owner without the terminating NUL, such as `GNU` or `stapsdt`.
    pub owner: &'a [u8],
    /// Type, meaningful within the owner.
    pub kind: u32,
    /// Contents.
    pub desc: &'a [u8],
}

/// The notes of one group, in order.
pub(super) struct Notes<'a> {
    pub(super) data: &'a [u8],
    pub(super) align: u64,
    pub(super) endian: Endianness,
}

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Note<'a>> {
        let word = |at: usize| {
            let raw: [u8; 4] = self.data.get(at..at + 4)?.try_into().ok()?;
            Some(match self.endian {
                Endianness::Little => u32::from_le_bytes(raw),
                Endianness::Big => u32::from_be_bytes(raw),
            })
        };
        let (name_size, desc_size, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        // Alignment 8 is used by .note.gnu.property alone; everything else pads to 4.
        let align = if self.align == 8 { 8 } else { 4 };
        let name_end = 12usize.checked_add(name_size)?;
        let desc_at = name_end.checked_next_multiple_of(align)?;
        let desc_end = desc_at.checked_add(desc_size)?;
        let owner = string_at(self.data.get(12..name_end)?, 0);
        let desc = self.data.get(desc_at..desc_end)?;
        let next = desc_end.checked_next_multiple_of(align)?;
        self.data = self.data.get(next..).unwrap_or_default();
        Some(Note { owner, kind, desc })
    }
}
