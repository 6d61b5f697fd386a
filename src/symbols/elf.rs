//! A read-only view of one ELF file: headers, segments, sections, notes and symbol tables.
//!
//! In: a path, an open file or bytes. Out: facts in this host's terms, the same for 32- and
//! 64-bit files of either byte order. Headers are checked once, when the file is opened;
//! section contents are borrowed from the mapping and read only when asked for. It never
//! follows a link to another file (see `debuglink`) and never interprets a symbol name.
//!
//! Three kinds of number describe a place in a program, and they differ:
//!
//! ```text
//! file offset   where the byte lies in the file        (uprobes attach here)
//! vaddr         where the linker put it                (symbols, DWARF, .eh_frame)
//! address       where it is in a process               (vaddr + load bias)
//! ```
//!
//! `vaddr == file offset` holds for many small shared objects and for few large programs, so
//! every conversion goes through the PT_LOAD segments.

mod headers;
mod note;

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::elf;
use object::read::elf::FileHeader;
use object::{Endianness, Object as _, ObjectSection as _};

use self::headers::Headers;
use self::note::Notes;
pub use self::note::{BuildId, Note};
use super::archive;
use crate::error::{Error, ErrorExt as _, Result};

/// Largest section that is decompressed, in bytes. The largest debug sections in use (Chromium,
/// librustc_driver) stay below 3 GiB; a header that promises more is damaged or hostile.
const MAX_DECOMPRESSED: u64 = 4 << 30;

/// What the file is, from `e_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ET_EXEC: a program that runs at the addresses it was linked for.
    Executable,
    /// ET_DYN with an interpreter or DF_1_PIE: a program that runs anywhere.
    Pie,
    /// ET_DYN otherwise: a shared object.
    SharedObject,
    /// ET_REL, ET_CORE and anything else: nothing can be attached to it.
    Other(u16),
}

/// One PT_LOAD segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where the linker put it.
    pub vaddr: u64,
    /// Bytes in memory; more than `file_size` where .bss follows.
    pub mem_size: u64,
    /// Where its bytes lie in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// PF_X: holds code.
    pub executable: bool,
}

/// One section header.
#[derive(Clone, Debug)]
pub struct Section {
    /// Name; empty if the string table is damaged.
    pub name: Box<str>,
    /// SHT_*.
    pub kind: u32,
    /// SHF_*.
    pub flags: u64,
    /// Virtual address; 0 if it is not loaded.
    pub addr: u64,
    /// File offset of its bytes.
    pub offset: u64,
    /// Bytes: in the file, or in memory for SHT_NOBITS.
    pub size: u64,
    /// sh_link: for a symbol table, its string table.
    pub link: u32,
    /// sh_addralign.
    pub align: u64,
}

impl Section {
    /// Whether it is loaded and holds code.
    pub fn is_code(&self) -> bool {
        const CODE: u64 = (elf::SHF_ALLOC | elf::SHF_EXECINSTR) as u64;
        self.flags & CODE == CODE
    }

    /// The virtual addresses it covers.
    pub fn vaddrs(&self) -> Range<u64> {
        self.addr..self.addr.saturating_add(self.size)
    }
}

/// Which of a file's symbol tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// .symtab: everything, removed by `strip`.
    Symtab,
    /// .dynsym: what the dynamic linker needs.
    Dynsym,
}

/// One entry of a symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSymbol {
    /// Offset of the name in the table's strings.
    pub name: u32,
    /// st_value: a vaddr in programs and shared objects.
    pub value: u64,
    /// st_size in bytes; 0 means that nobody recorded it.
    pub size: u64,
    /// STT_*.
    pub kind: u8,
    /// STB_*.
    pub binding: u8,
    /// st_shndx; `SHN_UNDEF` for an import.
    pub section: u16,
}

enum Bytes {
    Mapped(Mmap),
    /// A part of a file.
    Part(Mmap, Range<usize>),
    Owned(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(m) => m,
            // The range is one of the mapping.
            Self::Part(m, range) => m.get(range.clone()).unwrap_or_default(),
            Self::Owned(v) => v,
        }
    }
}

/// An open ELF file.
pub struct ElfFile {
    path: PathBuf,
    bytes: Bytes,
    is_64: bool,
    endian: Endianness,
    machine: u16,
    entry: u64,
    kind: Kind,
    segments: Vec<Segment>,
    note_segments: Vec<(Range<u64>, u64)>,
    sections: Vec<Section>,
    interp: Option<Box<str>>,
    soname: Option<Box<str>>,
}

impl ElfFile {
    /// Maps the ELF file at `path`, which may be a member of an archive (see [`archive`]).
    ///
    /// # Errors
    /// The file cannot be opened, is not a regular file, or is not ELF.
    pub fn open(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let file = match (File::open(path), archive::split(path)) {
            (Err(_), Some((archive, member))) => {
                return Self::member(&archive, &member, path).with_context(name);
            }
            (file, _) => file.with_context(name)?,
        };
        Self::from_file(&file, path)
    }

    fn member(archive: &Path, member: &str, path: &Path) -> Result<Self> {
        let file = File::open(archive)?;
        // SAFETY: as in `from_file`.
        let map = unsafe { Mmap::map(&file) }?;
        let range = archive::member(&map, member)?;
        Self::parse(Bytes::Part(map, range), path)
    }

    /// Maps an open file; `path` is the name under which errors and [`Self::path`] show it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_file(file: &File, path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let meta = file.metadata().with_context(name)?;
        if !meta.is_file() {
            return Err(Error::invalid("not a regular file").context(name()));
        }
        if meta.len() == 0 {
            return Err(Error::invalid("empty, not an ELF file").context(name()));
        }
        // SAFETY: the mapping is private and read-only. Like every program that maps ELF files,
        // it relies on nobody truncating them in place: linkers and package managers replace
        // a file by renaming, which leaves the mapped one untouched.
        let map = unsafe { Mmap::map(file) }.with_context(name)?;
        Self::parse(Bytes::Mapped(map), path).with_context(name)
    }

    /// Takes the bytes of an ELF file that is not on disk, such as the vDSO.
    ///
    /// # Errors
    /// The bytes are not ELF.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        Self::parse(Bytes::Owned(bytes), path).with_context(|| path.display().to_string())
    }

    fn parse(bytes: Bytes, path: &Path) -> Result<Self> {
        let data = bytes.get();
        if !data.starts_with(&elf::ELFMAG) {
            return Err(Error::invalid("not an ELF file"));
        }
        let h = match data.get(4) {
            Some(&elf::ELFCLASS64) => Headers::read::<elf::FileHeader64<Endianness>>(data),
            Some(&elf::ELFCLASS32) => Headers::read::<elf::FileHeader32<Endianness>>(data),
            _ => return Err(Error::invalid("unknown ELF class")),
        }
        .map_err(malformed)?;
        Ok(Self {
            path: path.to_owned(),
            is_64: data[4] == elf::ELFCLASS64,
            endian: h.endian,
            machine: h.machine,
            entry: h.entry,
            kind: h.kind,
            segments: h.segments,
            note_segments: h.note_segments,
            sections: h.sections,
            interp: h.interp,
            soname: h.soname,
            bytes,
        })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it begins in the file on disk: not at 0 if it is a member of an archive.
    pub fn start_on_disk(&self) -> u64 {
        match &self.bytes {
            Bytes::Part(_, range) => range.start as u64,
            Bytes::Mapped(_) | Bytes::Owned(_) => 0,
        }
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// Whether it is a 64-bit file.
    pub fn is_64(&self) -> bool {
        self.is_64
    }

    /// Byte order of the file.
    pub fn endian(&self) -> Endianness {
        self.endian
    }

    /// EM_*: the processor.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// e_entry, a vaddr; 0 where there is none.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// What the file is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The PT_LOAD segments in file order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The dynamic linker that the program asks for.
    pub fn interp(&self) -> Option<&str> {
        self.interp.as_deref()
    }

    /// DT_SONAME of a shared object.
    pub fn soname(&self) -> Option<&str> {
        self.soname.as_deref()
    }

    /// The file offset of a virtual address; `None` outside what the file holds (.bss too).
    pub fn vaddr_to_offset(&self, vaddr: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|s| vaddr.checked_sub(s.vaddr).is_some_and(|d| d < s.file_size))
            .and_then(|s| (vaddr - s.vaddr).checked_add(s.offset))
    }

    /// The virtual address of a file offset; `None` for bytes that are not loaded. Where two
    /// segments share bytes, the one with code wins: offsets come from code addresses.
    pub fn offset_to_vaddr(&self, offset: u64) -> Option<u64> {
        self.segments
            .iter()
            .filter(|s| {
                offset
                    .checked_sub(s.offset)
                    .is_some_and(|d| d < s.file_size)
            })
            .max_by_key(|s| s.executable)
            .and_then(|s| (offset - s.offset).checked_add(s.vaddr))
    }

    /// All section headers, the null section included, so that indices are `st_shndx`.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section called `name`.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| &*s.name == name)
    }

    /// The loaded section that covers `vaddr`.
    pub fn section_at(&self, vaddr: u64) -> Option<&Section> {
        self.sections.iter().find(|s| {
            s.flags & u64::from(elf::SHF_ALLOC) != 0
                && s.flags & u64::from(elf::SHF_TLS) == 0
                && s.vaddrs().contains(&vaddr)
        })
    }

    /// The bytes of a section as they lie in the file; empty for SHT_NOBITS or a damaged header.
    pub fn raw_data(&self, section: &Section) -> &[u8] {
        if section.kind == elf::SHT_NOBITS {
            return &[];
        }
        slice(self.bytes(), section.offset, section.size).unwrap_or_default()
    }

    /// The contents of the section called `name`, decompressed (SHF_COMPRESSED, or the older
    /// `.zdebug_` form of a `.debug_` name). `None` if there is no such section.
    ///
    /// # Errors
    /// The section is compressed and its data is damaged.
    pub fn section_data(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>> {
        let plain = self
            .section(name)
            .filter(|s| s.flags & u64::from(elf::SHF_COMPRESSED) == 0);
        if let Some(s) = plain {
            return Ok(Some(Cow::Borrowed(self.raw_data(s))));
        }
        let old = || {
            let rest = name.strip_prefix(".debug_")?;
            self.section(&format!(".zdebug_{rest}"))
        };
        if self.section(name).is_none() && old().is_none() {
            return Ok(None);
        }
        if self.is_64 {
            self.decompress::<elf::FileHeader64<Endianness>>(name)
        } else {
            self.decompress::<elf::FileHeader32<Endianness>>(name)
        }
        .with_context(|| format!("{}: section {name}", self.path.display()))
    }

    fn decompress<E: FileHeader<Endian = Endianness>>(
        &self,
        name: &str,
    ) -> Result<Option<Cow<'_, [u8]>>> {
        let file =
            object::read::elf::ElfFile::<E, &[u8]>::parse(self.bytes()).map_err(malformed)?;
        let Some(section) = file.section_by_name(name) else {
            return Ok(None);
        };
        let data = section.compressed_data().map_err(malformed)?;
        if data.uncompressed_size > MAX_DECOMPRESSED {
            return Err(Error::invalid(format!(
                "claims {} bytes when decompressed",
                data.uncompressed_size
            )));
        }
        data.decompress().map_err(malformed).map(Some)
    }

    /// Every note of the file: those of its note segments, then those of its note sections
    /// (.note.stapsdt is in no segment; loaded notes come up twice). A damaged note ends its
    /// group.
    pub fn notes(&self) -> impl Iterator<Item = Note<'_>> {
        let segments = self.note_segments.iter().filter_map(|(range, align)| {
            let data = slice(self.bytes(), range.start, range.end - range.start)?;
            Some((data, *align))
        });
        let sections = self
            .sections
            .iter()
            .filter(|s| s.kind == elf::SHT_NOTE)
            .map(|s| (self.raw_data(s), s.align));
        segments.chain(sections).flat_map(|(data, align)| Notes {
            data,
            align,
            endian: self.endian,
        })
    }

    /// The notes of one section.
    pub fn section_notes<'a>(&'a self, section: &Section) -> impl Iterator<Item = Note<'a>> {
        Notes {
            data: self.raw_data(section),
            align: section.align,
            endian: self.endian,
        }
    }

    /// The build id.
    pub fn build_id(&self) -> Option<BuildId> {
        self.notes()
            .find(|n| n.owner == b"GNU" && n.kind == elf::NT_GNU_BUILD_ID)
            .and_then(|n| BuildId::new(n.desc))
    }

    /// The name strings of a symbol table; empty if the file has no such table.
    pub fn symbol_strings(&self, table: Table) -> &[u8] {
        self.symbol_section(table)
            .and_then(|s| self.sections.get(s.link as usize))
            .map_or(&[], |s| self.raw_data(s))
    }

    /// Asks the kernel to map a symbol table and its names in one go, before a pass over all of
    /// it: a fault for every 64 KiB costs more than the pass. Linux 5.14; a no-op before.
    pub fn prefetch_symbols(&self, table: Table) {
        let Bytes::Mapped(map) = &self.bytes else {
            return;
        };
        let Some(symbols) = self.symbol_section(table) else {
            return;
        };
        for s in [Some(symbols), self.sections.get(symbols.link as usize)]
            .into_iter()
            .flatten()
        {
            if !self.raw_data(s).is_empty() {
                // Only speed depends on it.
                let _ = map.advise_range(
                    memmap2::Advice::PopulateRead,
                    s.offset as usize,
                    s.size as usize,
                );
            }
        }
    }

    /// Whether the file has a symbol table of this kind with anything in it.
    pub fn has_symbols(&self, table: Table) -> bool {
        self.symbol_section(table)
            .is_some_and(|s| !self.raw_data(s).is_empty())
    }

    /// Entries of a symbol table, symbols of all kinds.
    pub fn symbol_count(&self, table: Table) -> usize {
        let entry = match self.is_64 {
            true => size_of::<elf::Sym64<Endianness>>(),
            false => size_of::<elf::Sym32<Endianness>>(),
        };
        let section = self.symbol_section(table);
        section.map_or(0, |s| self.raw_data(s).len() / entry)
    }

    /// Calls `f` for every entry of a symbol table, in table order.
    pub fn for_each_symbol(&self, table: Table, f: impl FnMut(RawSymbol)) {
        let Some(section) = self.symbol_section(table) else {
            return;
        };
        let data = self.raw_data(section);
        if self.is_64 {
            for_each_symbol::<elf::Sym64<Endianness>>(data, self.endian, f);
        } else {
            for_each_symbol::<elf::Sym32<Endianness>>(data, self.endian, f);
        }
    }

    fn symbol_section(&self, table: Table) -> Option<&Section> {
        let kind = match table {
            Table::Symtab => elf::SHT_SYMTAB,
            Table::Dynsym => elf::SHT_DYNSYM,
        };
        self.sections.iter().find(|s| s.kind == kind)
    }
}

impl fmt::Debug for ElfFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElfFile")
            .field("path", &self.path)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// The string that starts at `offset` of a string table, without its NUL.
pub fn string_at(strings: &[u8], offset: usize) -> &[u8] {
    let tail = strings.get(offset..).unwrap_or_default();
    let end = memchr::memchr(0, tail).unwrap_or(tail.len());
    &tail[..end]
}

fn for_each_symbol<S>(data: &[u8], endian: Endianness, mut f: impl FnMut(RawSymbol))
where
    S: object::read::elf::Sym<Endian = Endianness> + object::pod::Pod,
{
    let count = data.len() / size_of::<S>();
    let Ok((symbols, _)) = object::pod::slice_from_bytes::<S>(data, count) else {
        return;
    };
    for s in symbols {
        f(RawSymbol {
            name: s.st_name(endian),
            value: s.st_value(endian).into(),
            size: s.st_size(endian).into(),
            kind: s.st_type(),
            binding: s.st_bind(),
            section: s.st_shndx(endian),
        });
    }
}

fn slice(data: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    data.get(start..end)
}

fn malformed(e: object::Error) -> Error {
    Error::invalid(format!("damaged ELF file: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> ElfFile {
        ElfFile::open(&std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn conversions_are_inverse_within_every_segment() {
        let elf = own();
        let text = elf.segments().iter().find(|s| s.executable).unwrap();
        for d in [0, 1, text.file_size - 1] {
            let offset = elf.vaddr_to_offset(text.vaddr + d).unwrap();
            assert_eq!(offset, text.offset + d);
            assert_eq!(elf.offset_to_vaddr(offset), Some(text.vaddr + d));
        }
    }

    #[test]
    fn text_of_a_program_may_lie_elsewhere_in_the_file_than_in_memory() {
        let elf = own();
        let text = elf.section(".text").unwrap();
        assert_ne!(text.addr, text.offset, "the linker pads segments to pages");
        assert_eq!(elf.vaddr_to_offset(text.addr), Some(text.offset));
    }

    #[test]
    fn bss_has_no_file_offset() {
        let elf = own();
        let bss = elf.section(".bss").unwrap();
        assert_eq!(elf.vaddr_to_offset(bss.addr + bss.size - 1), None);
    }

    #[test]
    fn this_test_program_is_a_pie_with_an_interpreter() {
        let elf = own();
        assert_eq!(elf.kind(), Kind::Pie);
        assert!(elf.interp().is_some_and(|i| i.contains("ld-linux")));
        assert!(elf.section_at(elf.entry()).is_some_and(Section::is_code));
    }

    #[test]
    fn what_is_not_elf_is_refused_by_name() {
        let text = |bytes: &[u8]| {
            ElfFile::from_bytes(bytes.to_vec(), Path::new("x.sh"))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(text(b"#!/bin/sh\n"), "x.sh: not an ELF file");
        assert_eq!(text(b"\x7fELF\x09"), "x.sh: unknown ELF class");
        assert!(text(b"\x7fELF\x02\x01").contains("damaged ELF file"));
    }

    #[test]
    fn truncated_files_never_panic() {
        let whole = own().bytes()[..4096].to_vec();
        for n in (4..whole.len()).step_by(37) {
            if let Ok(elf) = ElfFile::from_bytes(whole[..n].to_vec(), Path::new("t")) {
                assert!(elf.notes().count() < 64);
                elf.for_each_symbol(Table::Symtab, |_| {});
            }
        }
    }
}
