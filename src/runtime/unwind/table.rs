//! From a file's unwind table to the segments that programs search.
//!
//! In: an [`UnwindTable`]. Out: the bytes of its segments, with rules numbered across all files
//! ([`crate::object::unwind`] has the layout).

use std::collections::HashMap;

use crate::object::unwind::{
    MAX_RULES, PAGE_BITS, PAGE_ENTRY, RuleRecord, SEGMENT, SEGMENT_WORDS, SIGNAL, base, cfa,
};
use crate::symbols::unwind::{Cfa, Rule, Saved, UnwindTable};

/// Offset in `pt_regs` of x86-64, in words, of each DWARF register number: ax, dx, cx, bx, si,
/// di, bp, sp, r8 to r15.
const REGISTERS: [u8; 16] = [10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0];

/// The rules of all files, numbered from 1.
#[derive(Debug, Default)]
pub struct Rules {
    numbers: HashMap<RuleRecord, u16>,
    /// By number, less 1.
    records: Vec<RuleRecord>,
}

impl Rules {
    /// The rule's number; 0 once there are too many.
    fn number(&mut self, rule: &Rule) -> u16 {
        let record = record(rule);
        if let Some(&n) = self.numbers.get(&record) {
            return n;
        }
        let next = self.records.len() + 1;
        if next >= MAX_RULES as usize {
            return 0;
        }
        self.records.push(record);
        self.numbers.insert(record, next as u16);
        next as u16
    }

    /// Rules from number `first` on.
    pub fn since(&self, first: usize) -> impl Iterator<Item = (u32, RuleRecord)> {
        let records = self.records.iter().enumerate().skip(first - 1);
        records.map(|(i, r)| (i as u32 + 1, *r))
    }

    /// The number that the next new rule will get.
    pub fn next(&self) -> usize {
        self.records.len() + 1
    }
}

fn record(rule: &Rule) -> RuleRecord {
    let plain = u8::from(rule.signal) * SIGNAL;
    let (kind, cfa_off, extra) = match rule.cfa {
        Cfa::Sp(o) => (cfa::SP, o, plain),
        Cfa::Fp(o) => (cfa::FP, o, plain),
        Cfa::DerefSp(o) => (cfa::DEREF_SP, o, plain),
        Cfa::DerefFp(o) => (cfa::DEREF_FP, o, plain),
        Cfa::Plt { base, pushed } => (cfa::PLT, base, pushed),
        Cfa::Register(r, o) => match REGISTERS.get(usize::from(r)) {
            Some(&at) => (cfa::REGISTER, o, at),
            None => (cfa::NONE, 0, 0),
        },
        Cfa::Unsupported => (cfa::NONE, 0, 0),
    };
    let place = |saved| match saved {
        Saved::Same => (base::SAME, 0),
        Saved::AtCfa(o) => (base::CFA, o),
        Saved::AtSp(o) => (base::SP, o),
        Saved::AtFp(o) => (base::FP, o),
        Saved::Undefined => (base::NONE, 0),
    };
    let (ra, ra_off) = place(rule.ra);
    let (fp, fp_off) = match (rule.ra, rule.fp) {
        (Saved::AtCfa(ra), Saved::AtCfa(fp)) if fp == ra.wrapping_sub(8) => (base::PAIR, fp),
        (_, fp) => place(fp),
    };
    RuleRecord {
        cfa: kind,
        ra,
        fp,
        extra,
        cfa_off,
        ra_off,
        fp_off,
    }
}

/// A table as programs search it.
#[derive(Debug)]
pub struct Packed {
    /// Whole segments.
    pub segments: Vec<u8>,
    /// Virtual address of the first page.
    pub base: u64,
    /// Pages of code that the directory has.
    pub pages: u32,
}

impl Packed {
    /// Lays out a table.
    pub fn new(table: &UnwindTable, rules: &mut Rules) -> Self {
        const PAGE: u64 = 1 << PAGE_BITS;
        let numbers: Vec<u16> = table.rules().iter().map(|r| rules.number(r)).collect();
        // Local number 0 is a gap, which has no rule.
        let number = |local: u16| match local {
            0 => 0,
            n => numbers[usize::from(n)],
        };
        let base = table.base() & !(PAGE - 1);
        let skew = table.base() - base;
        let end = table
            .rows()
            .next_back()
            .map_or(0, |(at, _)| u64::from(at) + skew + 1);
        let pages = end.div_ceil(PAGE) as u32;
        let mut directory = Vec::with_capacity(pages as usize);
        let first = pages * PAGE_ENTRY / 4;
        let mut words: Vec<u32> = vec![0; first as usize];
        let mut rows = table.rows().peekable();
        let mut inherited = 0u16;
        let mut page_rows: Vec<u32> = Vec::new();
        for page in 0..u64::from(pages) {
            page_rows.clear();
            page_rows.push(u32::from(inherited));
            while let Some(&(at, local)) = rows.peek() {
                let at = u64::from(at) + skew;
                if at >> PAGE_BITS != page {
                    break;
                }
                rows.next();
                inherited = number(local);
                let low = (at & (PAGE - 1)) as u32;
                let row = (low << 16) | u32::from(inherited);
                match page_rows.last_mut() {
                    Some(last) if *last >> 16 == low => *last = row,
                    _ => page_rows.push(row),
                }
            }
            // More rows than a segment has: the rest of the page has no rule.
            if page_rows.len() > SEGMENT_WORDS as usize {
                page_rows.truncate(SEGMENT_WORDS as usize);
                if let Some(last) = page_rows.last_mut() {
                    *last &= !0xffff;
                }
            }
            let room = SEGMENT_WORDS as usize - words.len() % SEGMENT_WORDS as usize;
            if page_rows.len() > room {
                words.resize(words.len() + room, 0);
            }
            directory.push((words.len() as u32, page_rows.len() as u32));
            words.extend_from_slice(&page_rows);
        }
        for (i, (word, rows)) in directory.into_iter().enumerate() {
            words[2 * i] = word;
            words[2 * i + 1] = rows;
        }
        words.resize(words.len().next_multiple_of(SEGMENT_WORDS as usize), 0);
        let segments: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        debug_assert_eq!(segments.len() % SEGMENT as usize, 0);
        Self {
            segments,
            base,
            pages,
        }
    }

    /// What the programs find for an address: the number of its rule, 0 if there is none.
    #[cfg(test)]
    pub fn lookup(&self, vaddr: u64) -> u16 {
        let word = |i: u32| {
            let at = i as usize * 4;
            u32::from_ne_bytes(self.segments[at..at + 4].try_into().unwrap())
        };
        let at = vaddr.wrapping_sub(self.base);
        let page = at >> PAGE_BITS;
        if page >= u64::from(self.pages) {
            return 0;
        }
        let (first, rows) = (word(2 * page as u32), word(2 * page as u32 + 1));
        assert_eq!(
            first / SEGMENT_WORDS,
            (first + rows - 1) / SEGMENT_WORDS,
            "rows of a page in one segment"
        );
        let low = (at as u32) & ((1 << PAGE_BITS) - 1);
        let key = (low << 16) | 0xffff;
        let row = (first..first + rows)
            .map(word)
            .take_while(|r| *r <= key)
            .last();
        (row.unwrap() & 0xffff) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::elf::ElfFile;
    use std::path::Path;

    #[test]
    fn segments_say_what_the_table_says() {
        let me = std::env::current_exe().unwrap();
        let mut rules = Rules::default();
        for path in [
            me.as_path(),
            Path::new("/proc/self/exe"),
            Path::new("/bin/sh"),
        ] {
            let elf = ElfFile::open(path).unwrap();
            let table = UnwindTable::build(&elf).unwrap();
            let packed = Packed::new(&table, &mut rules);
            let mut checked = 0;
            for (at, _) in table.rows() {
                for delta in [-1i64, 0, 1] {
                    let vaddr = (table.base() + u64::from(at)).wrapping_add_signed(delta);
                    let want = table.lookup(vaddr).map_or(0, |r| rules.number(r));
                    assert_eq!(
                        packed.lookup(vaddr),
                        want,
                        "{vaddr:#x} of {}",
                        path.display()
                    );
                    checked += 1;
                }
            }
            assert!(checked > 1000, "{}: {checked}", path.display());
        }
    }
}
