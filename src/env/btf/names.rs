//! Finding types by name without loading all names.
//!
//! A BTF blob holds each distinct name once in its string table. The first few searches therefore
//! look for the text there (a vectorized scan of about 0.1 ms) and then for the records that carry
//! its offset; a run that asks for many names gets a hash table of all of them (about 4 ms).
//! Answers are remembered.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use memchr::memmem;

use super::Btf;
use super::raw::{Kind, word};
use crate::ctypes::model::TypeId;

/// After so many searches that scanned, the hash tables pay for themselves.
const SCANS: u32 = 12;

/// What has been found so far, and the tables once they are built.
#[derive(Debug, Default)]
pub(super) struct Names {
    memo: Mutex<Memo>,
    types: OnceLock<HashTable>,
    constants: OnceLock<HashTable>,
}

#[derive(Debug, Default)]
struct Memo {
    scans: u32,
    types: HashMap<(Box<str>, u32), Option<u32>>,
    constants: HashMap<Box<str>, Option<u32>>,
}

/// Open addressing from the hash of a name to ids (0: free); the name is compared in the blob.
#[derive(Debug)]
struct HashTable(Vec<u32>);

impl HashTable {
    fn build(entries: &[(u32, u32)], strings: &[u8]) -> Self {
        let mut slots = vec![0; (entries.len() * 2).next_power_of_two().max(2)];
        let mask = slots.len() - 1;
        for &(id, name_off) in entries {
            let mut slot = hash(c_str(strings, name_off)) as usize & mask;
            while slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = id;
        }
        Self(slots)
    }

    /// Ids whose name may be `name`, in the order they were entered.
    fn candidates(&self, name: &[u8]) -> impl Iterator<Item = u32> + '_ {
        let mask = self.0.len() - 1;
        let start = hash(name) as usize;
        (0..self.0.len())
            .map(move |i| self.0[start.wrapping_add(i) & mask])
            .take_while(|&id| id != 0)
    }
}

/// FNV-1a, eight bytes a step: names are short and the table is small.
fn hash(name: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    let mut step = |w: u64| h = (h ^ w).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    let mut chunks = name.chunks_exact(8);
    for c in &mut chunks {
        step(u64::from_le_bytes([
            c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7],
        ]));
    }
    for &b in chunks.remainder() {
        step(u64::from(b));
    }
    h ^ h >> 29
}

fn c_str(strings: &[u8], offset: u32) -> &[u8] {
    let tail = strings.get(offset as usize..).unwrap_or(&[]);
    memchr::memchr(0, tail).map_or(&[], |end| &tail[..end])
}

/// Bit of a kind in a set of kinds.
fn bit(kind: u8) -> u32 {
    1 << kind
}

impl Btf {
    /// The first type called `name` whose kind is one of `kinds`: this blob's own before its
    /// base's.
    pub fn find_kind(&self, kinds: &[Kind], name: &str) -> Option<TypeId> {
        if name.is_empty() {
            return None;
        }
        let set = kinds.iter().fold(0, |set, &k| set | bit(k as u8));
        let own = self.find_own(set, name).map(TypeId);
        own.or_else(|| self.base.as_ref()?.find_kind(kinds, name))
    }

    fn find_own(&self, set: u32, name: &str) -> Option<u32> {
        let table = || {
            self.names.types.get_or_init(|| {
                let first = self.first_id();
                let own = self.first_string();
                let entries: Vec<_> = self
                    .index()
                    .names(self.type_bytes())
                    .filter(|&(_, name_off, _)| name_off > own)
                    .map(|(i, name_off, _)| (first + i, name_off - own))
                    .collect();
                HashTable::build(&entries, self.string_bytes())
            })
        };
        {
            let mut memo = self
                .names
                .memo
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = memo.types.get(&(Box::from(name), set)) {
                return *found;
            }
            memo.scans += 1;
            if memo.scans <= SCANS || self.base.is_some() {
                let found = self.scan_types(set, name.as_bytes());
                memo.types.insert((Box::from(name), set), found);
                return found;
            }
        }
        let hit = |id: &u32| {
            self.record(TypeId(*id))
                .is_some_and(|r| set & bit(r.kind as u8) != 0 && self.string(r.name_off) == name)
        };
        table().candidates(name.as_bytes()).find(hit)
    }

    /// Offsets of the string `name`: in this blob's own table, and in the base's.
    fn string_offsets(&self, name: &[u8]) -> Vec<u32> {
        let mut needle = Vec::with_capacity(name.len() + 2);
        needle.push(0);
        needle.extend_from_slice(name);
        needle.push(0);
        let own = self.first_string();
        let mut found: Vec<u32> = memmem::find_iter(self.string_bytes(), &needle)
            .map(|at| own.saturating_add(at as u32 + 1))
            .collect();
        if let Some(base) = &self.base {
            found.extend(base.string_offsets(name));
        }
        found
    }

    fn scan_types(&self, set: u32, name: &[u8]) -> Option<u32> {
        let offsets = self.string_offsets(name);
        let &[first, ref others @ ..] = offsets.as_slice() else {
            return None;
        };
        self.index()
            .names(self.type_bytes())
            .find(|&(_, off, kind)| (off == first || others.contains(&off)) && set & bit(kind) != 0)
            .map(|(i, ..)| self.first_id() + i)
    }

    /// The enumeration that defines the constant `name`: this blob's own before its base's.
    pub fn find_enum_of(&self, name: &str) -> Option<TypeId> {
        if name.is_empty() {
            return None;
        }
        let own = self.enum_of_own(name).map(TypeId);
        own.or_else(|| self.base.as_ref()?.find_enum_of(name))
    }

    fn enum_of_own(&self, name: &str) -> Option<u32> {
        {
            let mut memo = self
                .names
                .memo
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = memo.constants.get(name) {
                return *found;
            }
            memo.scans += 1;
            if memo.scans <= SCANS || self.base.is_some() {
                let found = self.scan_constants(name.as_bytes());
                memo.constants.insert(Box::from(name), found);
                return found;
            }
        }
        let table = self.names.constants.get_or_init(|| {
            let own = self.first_string();
            let entries: Vec<_> = self
                .constants()
                .filter(|&(_, off)| off > own)
                .map(|(id, off)| (id, off - own))
                .collect();
            HashTable::build(&entries, self.string_bytes())
        });
        let defines = |id: &u32| self.constant_names(*id).any(|off| self.string(off) == name);
        table.candidates(name.as_bytes()).find(defines)
    }

    fn scan_constants(&self, name: &[u8]) -> Option<u32> {
        let offsets = self.string_offsets(name);
        if offsets.is_empty() {
            return None;
        }
        self.constants()
            .find(|(_, off)| offsets.contains(off))
            .map(|(id, _)| id)
    }

    /// Every enumeration constant of this blob: id of the enumeration, offset of the name.
    fn constants(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let first = self.first_id();
        self.index()
            .names(self.type_bytes())
            .filter(|&(_, _, kind)| kind == Kind::Enum as u8 || kind == Kind::Enum64 as u8)
            .flat_map(move |(i, ..)| {
                let id = first + i;
                self.constant_names(id).map(move |off| (id, off))
            })
    }

    fn constant_names(&self, id: u32) -> impl Iterator<Item = u32> + '_ {
        let record = self.record(TypeId(id));
        record.into_iter().flat_map(|r| {
            let width = if r.kind == Kind::Enum64 { 12 } else { 8 };
            r.elements(width).map(|e| word(e, 0))
        })
    }
}
