//! Source lines and inlined functions, from DWARF.
//!
//! In: a file with .debug_info and .debug_line (its own or its separate debug file's). Out: for
//! an address, the chain of functions that the code belongs to, with lines; for a source line,
//! the addresses where it starts. Units are listed once and each is read when an address first
//! falls into it. Split DWARF (.dwo files) gives lines but no inlined functions; names that
//! `dwz` moved into a shared file are missing.

pub mod entry;
mod reader;
mod shared;
mod split;
pub mod types;
mod unit;

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use gimli::{EndianSlice, RunTimeEndian};
use object::Endianness;

use self::unit::Unit;
use super::debuglink::{self, DebugDirs};
use super::elf::ElfFile;

/// What a section's bytes are read through.
type Slice<'a> = EndianSlice<'a, RunTimeEndian>;
type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path as the compiler recorded it, made absolute with its working folder.
    pub file: Arc<str>,
    /// Line from 1.
    pub line: u32,
    /// Column from 1; 0 if it was not recorded.
    pub column: u32,
}

/// One function of the chain at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Linkage name, else the plain name; `None` if the producer gave none.
    pub name: Option<String>,
    /// Line of the address in this function: for one that others were inlined into, the call.
    pub place: Option<Place>,
}

/// An address where a source line starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineAddress {
    /// Virtual address in the file.
    pub vaddr: u64,
    /// The place found, with its full path.
    pub place: Place,
}

/// A call that the compiler expanded in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlinedCall {
    /// A line of the function that was called.
    pub body: Option<Place>,
    /// The function with a frame that it became a part of.
    pub into: Option<String>,
}

/// What a source line means in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineMatch {
    /// Where its code starts: one address for each function or inlined copy that holds it.
    Found(Vec<LineAddress>),
    /// No code; the next line of the file that has some.
    NoCode(Option<u32>),
    /// No such source file.
    NoFile,
}

/// Line information of one file.
pub struct Lines {
    sections: gimli::DwarfSections<SectionBytes>,
    endian: RunTimeEndian,
    /// Address ranges of units by start; `upto` is the largest end so far, so that a search
    /// backwards knows when to stop.
    ranges: Vec<UnitRange>,
    units: Vec<Slot>,
}

struct UnitRange {
    start: u64,
    end: u64,
    upto: u64,
    unit: u32,
}

struct Slot {
    offset: gimli::DebugInfoOffset,
    unit: OnceLock<Option<Unit>>,
}

/// A section: in the mapped file, or unpacked.
enum SectionBytes {
    Mapped(Arc<ElfFile>, Range<usize>),
    Owned(Vec<u8>),
}

impl SectionBytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(file, range) => &file.bytes()[range.clone()],
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Lines {
    /// The line information of `elf`: its own, or that of its debug file. `None` if there is
    /// none.
    pub fn load(elf: &Arc<ElfFile>, dirs: &DebugDirs) -> Option<Self> {
        let has_lines =
            |e: &ElfFile| e.section(".debug_line").is_some() || e.section(".zdebug_line").is_some();
        if has_lines(elf) {
            return Self::of(elf);
        }
        let debug = Arc::new(debuglink::find(elf, dirs)?);
        has_lines(&debug).then(|| Self::of(&debug))?
    }

    fn of(elf: &Arc<ElfFile>) -> Option<Self> {
        let load = |id: gimli::SectionId| {
            // A damaged section is a missing one.
            let data = elf
                .section_data(id.name())
                .ok()
                .flatten()
                .unwrap_or_default();
            Ok::<_, gimli::Error>(match data {
                std::borrow::Cow::Borrowed([]) => SectionBytes::Owned(Vec::new()),
                std::borrow::Cow::Borrowed(slice) => {
                    let start = slice.as_ptr() as usize - elf.bytes().as_ptr() as usize;
                    SectionBytes::Mapped(Arc::clone(elf), start..start + slice.len())
                }
                std::borrow::Cow::Owned(bytes) => SectionBytes::Owned(bytes),
            })
        };
        let mut lines = Self {
            sections: gimli::DwarfSections::load(load).ok()?,
            endian: match elf.endian() {
                Endianness::Little => RunTimeEndian::Little,
                Endianness::Big => RunTimeEndian::Big,
            },
            ranges: Vec::new(),
            units: Vec::new(),
        };
        lines.list_units();
        (!lines.units.is_empty()).then_some(lines)
    }

    /// The functions whose code is at `vaddr`: inlined ones first, the one with a frame last.
    /// Empty outside what DWARF describes.
    pub fn lookup(&self, vaddr: u64) -> Vec<Function> {
        let dwarf = self.dwarf();
        for unit in self.units_at(vaddr) {
            if let Some(chain) = self
                .unit(&dwarf, unit)
                .and_then(|u| u.lookup(&dwarf, self.units[unit as usize].offset, vaddr))
            {
                return chain;
            }
        }
        Vec::new()
    }

    /// Places where calls of the functions that `wanted` accepts (by linkage name, else by plain
    /// name) were expanded, at most `most`, as far as they are found before `end`.
    pub fn inlined(
        &self,
        wanted: &dyn Fn(&str) -> bool,
        most: usize,
        end: Instant,
    ) -> Vec<InlinedCall> {
        let dwarf = self.dwarf();
        let mut found = Vec::new();
        for (i, slot) in (0..).zip(&self.units) {
            if found.len() >= most || Instant::now() >= end {
                break;
            }
            let Some(unit) = self.unit(&dwarf, i) else {
                continue;
            };
            for vaddr in unit.inlined(&dwarf, slot.offset, wanted, most - found.len()) {
                let mut chain = self.lookup(vaddr);
                let into = chain.pop().and_then(|f| f.name);
                let own = chain
                    .into_iter()
                    .find(|f| f.name.as_deref().is_some_and(wanted));
                found.push(InlinedCall {
                    body: own.and_then(|f| f.place),
                    into,
                });
            }
        }
        found
    }

    /// The addresses where `line` of the file `path` starts, and its `column` if given. `path`
    /// names a source file by its last components (`server.c`, `src/server.c`).
    pub fn addresses(&self, path: &str, line: u32, column: Option<u32>) -> LineMatch {
        let dwarf = self.dwarf();
        let mut found = Vec::new();
        let mut next = None;
        let mut file_seen = false;
        for i in 0..self.units.len() as u32 {
            let Some(unit) = self.unit(&dwarf, i) else {
                continue;
            };
            file_seen |= unit.addresses(path, line, column, &mut found, &mut next);
        }
        if !file_seen {
            return LineMatch::NoFile;
        }
        if found.is_empty() {
            return LineMatch::NoCode(next);
        }
        found.sort_by_key(|a| a.vaddr);
        found.dedup_by_key(|a| a.vaddr);
        LineMatch::Found(found)
    }

    fn dwarf(&self) -> Dwarf<'_> {
        self.sections
            .borrow(|s| EndianSlice::new(s.get(), self.endian))
    }

    fn list_units(&mut self) {
        let mut units = Vec::new();
        let mut ranges: Vec<UnitRange> = Vec::new();
        {
            let dwarf = self.dwarf();
            let mut headers = dwarf.units();
            while let Ok(Some(header)) = headers.next() {
                let Some(offset) = header.debug_info_offset() else {
                    continue;
                };
                let Ok(unit) = dwarf.unit(header) else {
                    continue;
                };
                let number = units.len() as u32;
                let before = ranges.len();
                if let Ok(mut list) = dwarf.unit_ranges(&unit) {
                    while let Ok(Some(r)) = list.next() {
                        add_range(&mut ranges, r.begin, r.end, number);
                    }
                }
                let slot = OnceLock::new();
                if before == ranges.len() {
                    // Assemblers may give no ranges: the line table has them.
                    let parsed = Unit::read(&dwarf, &unit);
                    for (start, end) in parsed.iter().flat_map(Unit::sequences) {
                        add_range(&mut ranges, start, end, number);
                    }
                    let _ = slot.set(parsed);
                }
                units.push(Slot { offset, unit: slot });
            }
        }
        ranges.sort_by_key(|r| r.start);
        let mut upto = 0;
        for r in &mut ranges {
            upto = upto.max(r.end);
            r.upto = upto;
        }
        self.units = units;
        self.ranges = ranges;
    }

    fn units_at(&self, vaddr: u64) -> impl Iterator<Item = u32> {
        let end = self.ranges.partition_point(|r| r.start <= vaddr);
        self.ranges[..end]
            .iter()
            .rev()
            .take_while(move |r| r.upto > vaddr)
            .filter(move |r| r.end > vaddr)
            .map(|r| r.unit)
    }

    fn unit(&self, dwarf: &Dwarf<'_>, number: u32) -> Option<&Unit> {
        let slot = &self.units[number as usize];
        slot.unit
            .get_or_init(|| {
                let header = dwarf.unit_header(slot.offset).ok()?;
                Unit::read(dwarf, &dwarf.unit(header).ok()?)
            })
            .as_ref()
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("units", &self.units.len())
            .finish_non_exhaustive()
    }
}

fn add_range(ranges: &mut Vec<UnitRange>, start: u64, end: u64, unit: u32) {
    // Linkers leave ranges of dropped functions at 0.
    if start != 0 && start < end {
        ranges.push(UnitRange {
            start,
            end,
            upto: end,
            unit,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::fixture;
    use crate::symbols::index::SymbolIndex;

    fn lines(flags: &[&str], name: &str) -> Option<(SymbolIndex, Lines)> {
        let path = fixture::compile(name, "inlined.c", flags)?;
        let elf = Arc::new(ElfFile::open(&path).unwrap());
        let index = SymbolIndex::new(Arc::clone(&elf), &DebugDirs::none());
        Some((index, Lines::load(&elf, &DebugDirs::none()).unwrap()))
    }

    /// The line of the fixture that holds `text`.
    fn line_of(text: &str) -> u32 {
        let source = include_str!("../../../tests/fixtures/symbols/inlined.c");
        1 + source.lines().position(|l| l.contains(text)).unwrap() as u32
    }

    fn chains_of_outer(index: &SymbolIndex, lines: &Lines) -> Vec<Vec<(String, u32)>> {
        let f = index.by_name("outer").remove(0);
        let show = |f: Function| (f.name.unwrap(), f.place.unwrap().line);
        (f.addr..f.addr + f.size)
            .map(|a| lines.lookup(a).into_iter().map(show).collect())
            .collect()
    }

    #[test]
    fn inlined_functions_come_with_the_lines_of_their_calls() {
        for (flags, name) in [
            (&["-g", "-gdwarf-5"][..], "inlined-5"),
            (&["-g", "-gdwarf-4"], "inlined-4"),
            (&["-g", "-gz=zlib"], "inlined-z"),
        ] {
            let Some((index, lines)) = lines(flags, name) else {
                return;
            };
            let expected = [
                ("inner".to_owned(), line_of("work: ")),
                ("middle".to_owned(), line_of("calls inner")),
                ("outer".to_owned(), line_of("calls middle")),
            ];
            let chains = chains_of_outer(&index, &lines);
            assert!(chains.contains(&expected.to_vec()), "{name}: {chains:?}");
            assert!(
                chains
                    .iter()
                    .all(|c| c.last().is_some_and(|f| f.0 == "outer"))
            );
        }
    }

    #[test]
    fn addresses_outside_code_have_no_line() {
        let Some((_, lines)) = lines(&["-g", "-gdwarf-5"], "inlined-5") else {
            return;
        };
        assert_eq!(lines.lookup(0), []);
        assert_eq!(lines.lookup(u64::MAX), []);
    }

    #[test]
    fn a_source_line_is_found_by_path_suffix() {
        let Some((index, lines)) = lines(&["-g", "-gdwarf-5"], "inlined-5") else {
            return;
        };
        let line = line_of("calls middle");
        let LineMatch::Found(found) = lines.addresses("inlined.c", line, None) else {
            panic!()
        };
        let f = index.by_name("outer").remove(0);
        for a in &found {
            assert!((f.addr..f.addr + f.size).contains(&a.vaddr));
            assert_eq!(a.place.line, line);
            assert!(a.place.file.ends_with("/symbols/inlined.c"));
        }
        let LineMatch::Found(more) = lines.addresses("symbols/inlined.c", line, None) else {
            panic!()
        };
        assert_eq!(more, found);
        assert_eq!(lines.addresses("lined.c", line, None), LineMatch::NoFile);
        let blank = line_of("a line without code");
        let LineMatch::NoCode(Some(next)) = lines.addresses("inlined.c", blank, None) else {
            panic!()
        };
        assert!(next > blank);
        assert_eq!(
            lines.addresses("inlined.c", 100_000, None),
            LineMatch::NoCode(None)
        );
    }

    #[test]
    fn without_debug_information_there_are_no_lines() {
        let Some(path) = fixture::compile("inlined-plain", "inlined.c", &["-s"]) else {
            return;
        };
        let elf = Arc::new(ElfFile::open(&path).unwrap());
        assert!(Lines::load(&elf, &DebugDirs::none()).is_none());
    }

    #[test]
    fn damaged_sections_never_panic() {
        let Some(path) = fixture::compile("inlined-4", "inlined.c", &["-g", "-gdwarf-4"]) else {
            return;
        };
        let good = std::fs::read(&path).unwrap();
        let elf = ElfFile::open(&path).unwrap();
        let sections: Vec<_> = [
            ".debug_info",
            ".debug_line",
            ".debug_abbrev",
            ".debug_ranges",
        ]
        .iter()
        .filter_map(|n| elf.section(n))
        .map(|s| s.offset as usize..(s.offset + s.size) as usize)
        .collect();
        let text = elf.section(".text").unwrap().vaddrs();
        let mut seed = 1u32;
        for _ in 0..300 {
            let mut bytes = good.clone();
            for range in &sections {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = range.start + seed as usize % range.len();
                bytes[at] ^= (seed >> 24) as u8;
            }
            let elf = Arc::new(ElfFile::from_bytes(bytes, &path).unwrap());
            if let Some(lines) = Lines::load(&elf, &DebugDirs::none()) {
                for a in text.clone().step_by(16) {
                    let _ = lines.lookup(a);
                }
                let _ = lines.addresses("inlined.c", 10, None);
            }
        }
    }
}
