//! The functions of one file: address to symbol, name to addresses, patterns over names.
//!
//! In: an ELF file and the folders where its debug file may lie. Out: symbols from .symtab and
//! .dynsym, and if the file was stripped, from its separate debug file or .gnu_debugdata. An
//! address is one function however many symbols name it. Tables are read when the index is made;
//! each lookup structure is built on first use, so a single lookup by name is one scan and sorts,
//! hashes and demangles nothing. What takes long (all signatures of a file, an unpacked
//! .gnu_debugdata) is kept on disk by build id. It never guesses: an address outside every function has no name.
//!
//! How far a function reaches:
//! - a symbol with a size covers `[addr, addr + size)`; where functions overlap, the one that
//!   starts last wins;
//! - a symbol without a size (hand-written assembly) in .symtab reaches to the next symbol of
//!   its section, or the end of the section;
//! - a symbol without a size in .dynsym covers its first byte only: what follows it may be a
//!   local function that .dynsym does not list.

use std::borrow::Cow;
use std::cmp::Ordering as Order;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use memchr::memmem::Finder;
use object::elf;

use super::debuglink::{self, DebugDirs};
use super::demangle::{self, Form};
use super::disk_cache::{DiskCache, Key};
use super::elf::{ElfFile, RawSymbol, Table, string_at};
use super::glob::Glob;
use super::hits::{Hits, MAX_NAME};
use super::signatures::Signatures;
use crate::error::Result;

/// Largest .gnu_debugdata when unpacked, in bytes; real ones stay below 10 MiB.
const MAX_MINI_SYMTAB: usize = 256 << 20;
/// Lookups by name that scan before a hash table pays for itself.
const SCANS_BEFORE_HASH: usize = 3;
/// So many names are demangled each time they are asked for; of more, all are kept.
const FEW_NAMES: usize = 2000;
/// Smallest unpacked table that is kept on disk, in bytes.
const WORTH_STORING: usize = 256 << 10;

/// What a symbol stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SymbolKind {
    /// A function.
    Function,
    /// STT_GNU_IFUNC: the function that picks the implementation, run once by the dynamic
    /// linker. A probe on it does not see the calls.
    Indirect,
    /// A label in code without a type, as assemblers write it.
    Label,
}

/// One symbol of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// As the table spells it, without a version (`@GLIBC_2.2.5`).
    pub name: Cow<'a, str>,
    /// Virtual address in the file.
    pub addr: u64,
    /// Bytes; 0 if nobody recorded it.
    pub size: u64,
    /// What it stands for.
    pub kind: SymbolKind,
}

impl Symbol<'_> {
    /// The readable name.
    pub fn readable(&self, form: Form) -> String {
        demangle::readable(&self.name, form).into_owned()
    }
}

/// Accepts or dismisses a raw symbol name.
pub(super) type RawFilter<'a> = dyn Fn(&[u8]) -> bool + Sync + 'a;

/// The functions of one file.
pub struct SymbolIndex {
    elf: Arc<ElfFile>,
    sources: Vec<Source>,
    entries: Vec<Entry>,
    ranges: OnceLock<Ranges>,
    hashes: OnceLock<Vec<(u32, u32)>>,
    demangled: OnceLock<Signatures>,
    scans: AtomicUsize,
    disk: Option<DiskCache>,
}

/// One symbol table that names come from.
struct Source {
    elf: Arc<ElfFile>,
    table: Table,
    /// Where the table's strings lie in `elf`.
    strings: Range<usize>,
}

/// One symbol: 24 bytes, since node has 130,000.
struct Entry {
    addr: u64,
    size: u64,
    name: u32,
    source: u8,
    kind: SymbolKind,
    local: bool,
}

/// Functions by address.
struct Ranges {
    /// All entries, by address; of an address, the one that knows its extent first.
    order: Vec<u32>,
    /// Disjoint, ascending `[start, end)` with the place in `order` of what covers it.
    spans: Vec<(u64, u64, u32)>,
}

impl SymbolIndex {
    /// Opens `path` and reads its symbol tables.
    ///
    /// # Errors
    /// The file cannot be opened or is not ELF.
    pub fn open(path: &Path, dirs: &DebugDirs) -> Result<Self> {
        Ok(Self::new(Arc::new(ElfFile::open(path)?), dirs))
    }

    /// Reads the symbol tables of an open file.
    pub fn new(elf: Arc<ElfFile>, dirs: &DebugDirs) -> Self {
        // Tests say which folder they mean.
        let disk = DiskCache::of_user().filter(|_| !cfg!(test));
        Self::with_disk(elf, dirs, disk)
    }

    /// As [`new`](Self::new), with a folder for what takes long to make.
    pub fn with_disk(elf: Arc<ElfFile>, dirs: &DebugDirs, disk: Option<DiskCache>) -> Self {
        let mut index = Self {
            elf: Arc::clone(&elf),
            sources: Vec::new(),
            entries: Vec::new(),
            ranges: OnceLock::new(),
            hashes: OnceLock::new(),
            demangled: OnceLock::new(),
            scans: AtomicUsize::new(0),
            disk,
        };
        index.add(&elf, Table::Symtab);
        index.add(&elf, Table::Dynsym);
        if !elf.has_symbols(Table::Symtab) {
            if let Some(debug) = debuglink::find(&elf, dirs) {
                index.add(&Arc::new(debug), Table::Symtab);
            } else if let Some(mini) = mini_symtab(&elf, index.disk.as_ref()) {
                index.add(&Arc::new(mini), Table::Symtab);
            }
        }
        index
    }

    /// The file.
    pub fn elf(&self) -> &Arc<ElfFile> {
        &self.elf
    }

    /// Whether nothing names any code of this file: it was stripped, and no debug file is there.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether local functions can be found: from .symtab, a debug file or .gnu_debugdata.
    pub fn is_complete(&self) -> bool {
        self.sources.iter().any(|s| s.table == Table::Symtab)
    }

    /// The function that covers `vaddr`, under its preferred name.
    pub fn lookup(&self, vaddr: u64) -> Option<Symbol<'_>> {
        let spans = &self.ranges().spans;
        let at = spans.partition_point(|s| s.0 <= vaddr).checked_sub(1)?;
        let (_, end, first) = spans[at];
        (vaddr < end).then(|| self.preferred(self.aliases(first)))
    }

    /// Makes now what the lookup of many names by [`by_name`](Self::by_name) needs.
    pub fn prepare_names(&self) {
        self.hashes();
    }

    /// The functions called exactly `name` (mangled; with or without its version), one per
    /// address, by address.
    pub fn by_name(&self, name: &str) -> Vec<Symbol<'_>> {
        let hashed = self.hashes.get().is_some()
            || self.scans.fetch_add(1, Ordering::Relaxed) >= SCANS_BEFORE_HASH;
        let found: Vec<u32> = if hashed {
            let hashes = self.hashes();
            let wanted = hash(name.split('@').next().unwrap_or(name).as_bytes());
            let start = hashes.partition_point(|h| h.0 < wanted);
            hashes[start..]
                .iter()
                .take_while(|h| h.0 == wanted)
                .map(|h| h.1)
                .filter(|&e| is_named(self.raw_name(e), name.as_bytes()))
                .collect()
        } else {
            self.scan_exact(name.as_bytes())
        };
        self.one_per_address(found)
    }

    /// The functions whose symbol matches `pattern`, one per address, by address.
    pub fn matching(&self, pattern: &Glob) -> Vec<Symbol<'_>> {
        let matches = |raw: &[u8]| pattern.matches(unversioned(raw));
        let found = self.scan_containing(pattern.longest_piece(), matches);
        self.one_per_address(found)
    }

    /// Every function under its preferred name, by address.
    pub fn functions(&self) -> impl Iterator<Item = Symbol<'_>> {
        let order = &self.ranges().order;
        order
            .chunk_by(|&a, &b| self.entries[a as usize].addr == self.entries[b as usize].addr)
            .map(|same| self.preferred(same))
    }

    /// Calls `f` with every mangled symbol whose raw name `keep` accepts, and its signature
    /// (`ns::f<int>(int)`). A few are demangled as they are asked for; many at once, on all
    /// processors, together with all the others, which are kept here and on disk.
    /// `literal` is something that every name which `keep` accepts contains.
    pub(super) fn for_each_signature<'a>(
        &'a self,
        literal: Option<&Finder<'_>>,
        keep: Option<&RawFilter>,
        mut f: impl FnMut(Symbol<'a>, &str),
    ) {
        let known = self.demangled.get();
        if let (Some(keep), None) = (keep, known) {
            let found = self.scan_containing(literal, |raw| is_mangled(raw) && keep(raw));
            if found.len() < FEW_NAMES {
                let found = self.one_per_name(found);
                let fresh = Signatures::demangle(&found, |entry| self.raw_name(entry));
                return fresh.for_each(|entry, text| f(self.symbol(entry), text));
            }
        }
        let all = known.unwrap_or_else(|| self.signatures());
        all.for_each(|entry, text| {
            if keep.is_none_or(|keep| keep(self.raw_name(entry))) {
                f(self.symbol(entry), text);
            }
        });
    }

    /// Signatures of all mangled names: from memory, from disk, or made now.
    fn signatures(&self) -> &Signatures {
        self.demangled.get_or_init(|| {
            let disk = self.disk.as_ref().map(|disk| (disk, self.identity()));
            if let Some((disk, Some(identity))) = &disk
                && let Some(stored) = disk.load(names_key(identity))
                && let Some(known) = Signatures::from_stored(stored, self.entries.len())
            {
                return known;
            }
            let mangled = self.scan(is_mangled);
            let mangled = self.one_per_name(mangled);
            let all = Signatures::demangle(&mangled, |entry| self.raw_name(entry));
            if let Some((disk, Some(identity))) = &disk
                && mangled.len() >= FEW_NAMES
            {
                // Without it the next run takes as long as this one.
                all.store(disk, names_key(identity));
            }
            all
        })
    }

    /// What the numbering of the entries depends on; `None` if a file has no build id.
    fn identity(&self) -> Option<Vec<u8>> {
        let mut identity = Vec::new();
        for source in &self.sources {
            let id = source.elf.build_id()?;
            identity.extend_from_slice(id.as_bytes());
            for number in [
                source.elf.bytes().len(),
                source.strings.len(),
                usize::from(source.table == Table::Symtab),
                self.entries.len(),
            ] {
                identity.extend_from_slice(&(number as u64).to_le_bytes());
            }
        }
        Some(identity)
    }

    /// Calls `f` with the name of every symbol that is not mangled, in table order.
    pub(super) fn for_each_name(&self, mut f: impl FnMut(&str)) {
        for e in &self.entries {
            let raw = unversioned(self.name_of(e));
            if !is_mangled(raw)
                && let Ok(name) = std::str::from_utf8(raw)
            {
                f(name);
            }
        }
    }

    fn add(&mut self, elf: &Arc<ElfFile>, table: Table) {
        elf.prefetch_symbols(table);
        let strings = elf.symbol_strings(table);
        if strings.is_empty() {
            return;
        }
        let Ok(source) = u8::try_from(self.sources.len()) else {
            return;
        };
        // Of the sections of a debug file only headers are left; the code is in the program.
        let code: Vec<bool> = elf.sections().iter().map(|s| s.is_code()).collect();
        let entries = &mut self.entries;
        entries.reserve(elf.symbol_count(table));
        elf.for_each_symbol(table, |s| {
            if let Some(kind) = classify(&s, &code, strings) {
                entries.push(Entry {
                    addr: s.value,
                    size: s.size,
                    name: s.name,
                    source,
                    kind,
                    local: s.binding == elf::STB_LOCAL,
                });
            }
        });
        let start = strings.as_ptr() as usize - elf.bytes().as_ptr() as usize;
        let strings = start..start + strings.len();
        self.sources.push(Source {
            elf: Arc::clone(elf),
            table,
            strings,
        });
    }

    fn symbol(&self, entry: u32) -> Symbol<'_> {
        let e = &self.entries[entry as usize];
        Symbol {
            name: String::from_utf8_lossy(unversioned(self.name_of(e))),
            addr: e.addr,
            size: e.size,
            kind: e.kind,
        }
    }

    fn raw_name(&self, entry: u32) -> &[u8] {
        self.name_of(&self.entries[entry as usize])
    }

    fn name_of(&self, e: &Entry) -> &[u8] {
        let source = &self.sources[usize::from(e.source)];
        string_at(&source.elf.bytes()[source.strings.clone()], e.name as usize)
    }

    fn scan(&self, keep: impl Fn(&[u8]) -> bool) -> Vec<u32> {
        (0..)
            .zip(&self.entries)
            .filter(|(_, e)| keep(self.name_of(e)))
            .map(|(i, _)| i)
            .collect()
    }

    /// As [`scan`](Self::scan) for names that all contain `literal`: where it is rare, the tables
    /// of strings are searched as a whole, and only names around a hit are looked at.
    fn scan_containing(
        &self,
        literal: Option<&Finder<'_>>,
        keep: impl Fn(&[u8]) -> bool,
    ) -> Vec<u32> {
        let Some(hits) = literal.and_then(|literal| self.hits(literal)) else {
            return self.scan(keep);
        };
        let near = |e: &Entry| {
            let hits = &hits[usize::from(e.source)];
            // Most names are ruled out by one bit.
            if !hits.is_near(e.name) {
                return None;
            }
            let hit = hits.next_after(e.name)?;
            let ahead = (hit - e.name) as usize;
            if ahead >= MAX_NAME {
                return None;
            }
            let name = self.name_of(e);
            (ahead < name.len()).then_some(name)
        };
        (0..)
            .zip(&self.entries)
            .filter(|(_, e)| near(e).is_some_and(&keep))
            .map(|(i, _)| i)
            .collect()
    }

    /// Where `literal` is in each table of strings; `None` if that is often.
    fn hits(&self, literal: &Finder<'_>) -> Option<Vec<Hits>> {
        let mut left = self.entries.len() / 8;
        let mut all = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let strings = &source.elf.bytes()[source.strings.clone()];
            let mut hits = Hits::new(strings.len());
            let mut from = 0;
            // Names share their ends: occurrences that overlap count each.
            while let Some(at) = literal.find(&strings[from..]) {
                left = left.checked_sub(1)?;
                hits.add(strings, from + at)?;
                from += at + 1;
            }
            all.push(hits);
        }
        Some(all)
    }

    /// Symbols called `name`, without looking for where each name ends.
    fn scan_exact(&self, name: &[u8]) -> Vec<u32> {
        let tables: Vec<&[u8]> = self
            .sources
            .iter()
            .map(|s| &s.elf.bytes()[s.strings.clone()])
            .collect();
        (0..)
            .zip(&self.entries)
            .filter(|(_, e)| {
                tables[usize::from(e.source)]
                    .get(e.name as usize..)
                    .and_then(|tail| tail.strip_prefix(name))
                    .is_some_and(|rest| matches!(rest.first(), None | Some(0 | b'@')))
            })
            .map(|(i, _)| i)
            .collect()
    }

    fn one_per_address(&self, mut found: Vec<u32>) -> Vec<Symbol<'_>> {
        found.sort_by(|&a, &b| self.compare(a, b));
        found.dedup_by_key(|e| self.entries[*e as usize].addr);
        found.into_iter().map(|e| self.symbol(e)).collect()
    }

    fn one_per_name(&self, mut found: Vec<u32>) -> Vec<u32> {
        let addr = |e: u32| self.entries[e as usize].addr;
        found.sort_by_key(|&e| addr(e));
        // A name is in .symtab and in .dynsym; aliases of one address are few.
        let mut kept: Vec<u32> = Vec::with_capacity(found.len());
        for e in found {
            let twin = kept
                .iter()
                .rev()
                .take_while(|&&k| addr(k) == addr(e))
                .take(32)
                .any(|&k| unversioned(self.raw_name(k)) == unversioned(self.raw_name(e)));
            if !twin {
                kept.push(e);
            }
        }
        kept
    }

    /// Orders by address, then by how good a name the entry is: real functions before labels,
    /// known sizes first, global before local, `write` before `__write`, short before long.
    fn compare(&self, a: u32, b: u32) -> Order {
        let (x, y) = (&self.entries[a as usize], &self.entries[b as usize]);
        let cheap = |e: &Entry| (e.addr, e.kind == SymbolKind::Label, e.size == 0, e.local);
        cheap(x).cmp(&cheap(y)).then_with(|| {
            let (x, y) = (unversioned(self.name_of(x)), unversioned(self.name_of(y)));
            let looks = |name: &[u8]| {
                let private = name.iter().take_while(|&&b| b == b'_').count();
                (if is_mangled(name) { 0 } else { private }, name.len())
            };
            looks(x).cmp(&looks(y)).then_with(|| x.cmp(y))
        })
    }

    fn ranges(&self) -> &Ranges {
        self.ranges.get_or_init(|| self.build_ranges())
    }

    fn build_ranges(&self) -> Ranges {
        let addr = |e: u32| self.entries[e as usize].addr;
        let mut keyed: Vec<(u64, bool, bool, u32)> = (0..)
            .zip(&self.entries)
            .map(|(i, e)| (e.addr, e.kind == SymbolKind::Label, e.size == 0, i))
            .collect();
        keyed.sort_unstable();
        let order: Vec<u32> = keyed.into_iter().map(|k| k.3).collect();
        let mut spans = Vec::with_capacity(order.len());
        // Functions that cover the current position, innermost last.
        let mut open: Vec<(u64, u32)> = Vec::new();
        let mut at = 0;
        let mut place = 0;
        let mut groups = order.chunk_by(|&a, &b| addr(a) == addr(b)).peekable();
        while let Some(same) = groups.next() {
            let first = place;
            place += same.len() as u32;
            let start = addr(same[0]);
            close(&mut open, &mut spans, &mut at, start);
            if let Some(&(_, outer)) = open.last() {
                // A label inside a function is no function of its own.
                if self.entries[same[0] as usize].size == 0 {
                    continue;
                }
                if at < start {
                    spans.push((at, start, outer));
                }
            }
            at = start;
            let next = groups.peek().map(|g| addr(g[0]));
            open.push((self.end_of(same[0], next), first));
        }
        close(&mut open, &mut spans, &mut at, u64::MAX);
        Ranges { order, spans }
    }

    /// The entries that share the address of the one at `first` of the order.
    fn aliases(&self, first: u32) -> &[u32] {
        let tail = &self.ranges().order[first as usize..];
        let addr = self.entries[tail[0] as usize].addr;
        let len = tail
            .iter()
            .take_while(|&&e| self.entries[e as usize].addr == addr);
        &tail[..len.count()]
    }

    /// The best name among entries of one address.
    fn preferred(&self, same: &[u32]) -> Symbol<'_> {
        let best = same.iter().copied().min_by(|&a, &b| self.compare(a, b));
        self.symbol(best.expect("an address has at least one entry"))
    }

    fn end_of(&self, entry: u32, next: Option<u64>) -> u64 {
        let e = &self.entries[entry as usize];
        if e.size != 0 {
            return e.addr.saturating_add(e.size);
        }
        let first_byte = e.addr.saturating_add(1);
        if self.sources[usize::from(e.source)].table == Table::Dynsym {
            return first_byte;
        }
        match self.elf.section_at(e.addr) {
            Some(section) => next.unwrap_or(u64::MAX).min(section.vaddrs().end),
            None => first_byte,
        }
    }

    fn hashes(&self) -> &[(u32, u32)] {
        self.hashes.get_or_init(|| {
            let mut table: Vec<(u32, u32)> = (0..)
                .zip(&self.entries)
                .map(|(i, e)| (hash(unversioned(self.name_of(e))), i))
                .collect();
            table.sort_unstable();
            table
        })
    }
}

impl std::fmt::Debug for SymbolIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SymbolIndex")
            .field("elf", &self.elf)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// Ends the functions that end at or before `limit`, innermost first.
fn close(open: &mut Vec<(u64, u32)>, spans: &mut Vec<(u64, u64, u32)>, at: &mut u64, limit: u64) {
    while let Some(&(end, entry)) = open.last() {
        if end > limit {
            return;
        }
        if *at < end {
            spans.push((*at, end, entry));
            *at = end;
        }
        open.pop();
    }
}

/// What a raw symbol stands for, or `None` if it names no code.
fn classify(s: &RawSymbol, code: &[bool], strings: &[u8]) -> Option<SymbolKind> {
    let in_code = || code.get(usize::from(s.section)).copied().unwrap_or(false);
    let defined = s.section != elf::SHN_UNDEF;
    match s.kind {
        elf::STT_FUNC if defined && s.value != 0 => Some(SymbolKind::Function),
        elf::STT_GNU_IFUNC if defined && s.value != 0 => Some(SymbolKind::Indirect),
        elf::STT_NOTYPE if in_code() => {
            let name = string_at(strings, s.name as usize);
            // Mapping symbols of ARM and RISC-V, and marks that tools leave, name no function.
            let noise = name.is_empty()
                || name.starts_with(b"$")
                || name.starts_with(b".L")
                || name.starts_with(b".annobin");
            (!noise).then_some(SymbolKind::Label)
        }
        _ => None,
    }
    .filter(|_| s.name != 0)
}

/// The mini symbol table that distributions leave in stripped files: an xz-compressed ELF file.
fn mini_symtab(elf: &ElfFile, disk: Option<&DiskCache>) -> Option<ElfFile> {
    let section = elf.section(".gnu_debugdata")?;
    let identity = elf.build_id().map(|id| {
        let size = (section.size).to_le_bytes();
        [id.as_bytes(), &size].concat()
    });
    // Unpacking takes a second for every 10 MiB.
    let key = identity.as_deref().map(|identity| Key {
        kind: "mini",
        version: 1,
        identity,
    });
    if let (Some(disk), Some(key)) = (disk, key)
        && let Some(stored) = disk.load(key)
        && let Ok(known) = ElfFile::from_bytes(stored.to_vec(), elf.path())
    {
        return Some(known);
    }
    let mut out = Capped(Vec::new());
    let mut packed = elf.raw_data(section);
    lzma_rs::xz_decompress(&mut packed, &mut out).ok()?;
    if let (Some(disk), Some(key)) = (disk, key)
        && out.0.len() >= WORTH_STORING
    {
        disk.store(key, &[&out.0]);
    }
    ElfFile::from_bytes(out.0, elf.path()).ok()
}

/// Where the signatures of a file are stored. Counts up when their layout changes, or what is
/// demangled to what.
fn names_key(identity: &[u8]) -> Key<'_> {
    Key {
        kind: "names",
        version: 1,
        identity,
    }
}

/// A buffer that refuses to grow past [`MAX_MINI_SYMTAB`].
struct Capped(Vec<u8>);

impl std::io::Write for Capped {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + data.len() > MAX_MINI_SYMTAB {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A name without its version: `memcpy@@GLIBC_2.14` is `memcpy`.
fn unversioned(raw: &[u8]) -> &[u8] {
    match raw.iter().position(|&b| b == b'@') {
        Some(at) if at > 0 => &raw[..at],
        _ => raw,
    }
}

fn is_named(raw: &[u8], name: &[u8]) -> bool {
    raw.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || (rest[0] == b'@' && !name.is_empty()))
}

fn is_mangled(raw: &[u8]) -> bool {
    raw.starts_with(b"_Z") || raw.starts_with(b"_R")
}

fn hash(name: &[u8]) -> u32 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name) as u32
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
