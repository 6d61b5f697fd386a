//! What a process has mapped, as the unwinder's programs search it.
//!
//! In: a process id. Out: the executable mappings, the files behind them, and the bytes of the
//! process' segment. Memory without a file is left out: code there was generated, and keeps
//! frame pointers or is not walked.

use std::sync::Arc;

use crate::object::unwind::{MAX_MAPPINGS, PAGE_BITS, SEGMENT, UNUSED, mapping};
use crate::runtime::symbolize::cache::{self, Root};
use crate::runtime::symbolize::maps::{FileId, Mapping, Maps};
use crate::runtime::symbolize::process::{read_maps, root_of};
use crate::symbols::elf::ElfFile;

/// Stands for the vDSO, which has no file.
const VDSO: FileId = FileId {
    device: (0, 0),
    inode: u64::MAX,
};

/// A file that is not known yet.
#[derive(Debug)]
pub struct Opened {
    /// Which one.
    pub id: FileId,
    /// What to call it.
    pub name: Arc<str>,
    /// `None`: it is no ELF file or cannot be opened.
    pub elf: Option<Arc<ElfFile>>,
}

/// A mapping with its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    start: u64,
    end: u64,
    bias: u64,
    table: u32,
    pages: u32,
}

/// The mappings of a process; `None` if it is gone.
pub fn mappings(pid: u32) -> Option<Maps> {
    read_maps(pid)
}

fn file_id(m: &Mapping) -> Option<FileId> {
    match &*m.name {
        "[vdso]" => Some(VDSO),
        _ => m.is_file().then_some(m.file),
    }
}

/// Opens the executable files of a process that are not known yet.
pub fn open_new(pid: u32, maps: &Maps, known: impl Fn(FileId) -> bool) -> Vec<Opened> {
    let mut new: Vec<Opened> = Vec::new();
    let mut root: Option<Root> = None;
    for m in maps.iter().filter(|m| m.executable) {
        let Some(id) = file_id(m) else {
            continue;
        };
        if known(id) || new.iter().any(|o| o.id == id) {
            continue;
        }
        let elf = if id == VDSO {
            cache::vdso_file()
        } else {
            let root = root.get_or_insert_with(|| root_of(pid));
            cache::open(pid, root, m).and_then(|(f, path)| ElfFile::from_file(&f, &path).ok())
        };
        new.push(Opened {
            id,
            name: Arc::clone(&m.name),
            elf: elf.map(Arc::new),
        });
    }
    new
}

/// Pairs mappings with tables: `table` gives number, first virtual address, pages and the file.
pub fn mapped<'a>(
    maps: &Maps,
    table: impl Fn(FileId) -> Option<(u32, u64, u32, Option<&'a ElfFile>)>,
) -> Vec<Mapped> {
    let mut out: Vec<Mapped> = Vec::new();
    for m in maps.iter().filter(|m| m.executable) {
        let Some((number, base, pages, elf)) = file_id(m).and_then(&table) else {
            continue;
        };
        let vaddr = match (number, elf) {
            (0, _) | (_, None) => None,
            (_, Some(elf)) => elf.offset_to_vaddr(m.offset),
        };
        let entry = match vaddr {
            Some(vaddr) => Mapped {
                start: m.start,
                end: m.end,
                // Addresses then count from the first page of the table.
                bias: m.start.wrapping_sub(vaddr).wrapping_add(base),
                table: number,
                pages,
            },
            None => Mapped {
                start: m.start,
                end: m.end,
                bias: 0,
                table: 0,
                pages: 0,
            },
        };
        debug_assert!(base.trailing_zeros() >= PAGE_BITS || base == 0);
        match out.last_mut() {
            Some(last)
                if last.end == entry.start
                    && (last.bias, last.table) == (entry.bias, entry.table) =>
            {
                last.end = entry.end;
            }
            _ => out.push(entry),
        }
    }
    out.truncate(MAX_MAPPINGS);
    out
}

/// The segment of a process.
pub fn segment(mapped: &[Mapped]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEGMENT as usize);
    let mut entry = |start: u64, m: Mapped| {
        for word in [start, m.end, m.bias] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(m.table.to_ne_bytes());
        out.extend(m.pages.to_ne_bytes());
    };
    let none = Mapped {
        start: 0,
        end: 0,
        bias: 0,
        table: 0,
        pages: 0,
    };
    let first = match mapped.len() {
        0 => 0,
        n => 1 << n.ilog2(),
    };
    let header = Mapped {
        pages: first,
        ..none
    };
    entry(0, header);
    for m in mapped {
        entry(m.start, *m);
    }
    for _ in mapped.len()..MAX_MAPPINGS {
        entry(UNUSED, none);
    }
    debug_assert_eq!(out.len(), SEGMENT as usize);
    debug_assert_eq!(mapping::SIZE as usize * (MAX_MAPPINGS + 1), out.len());
    out
}
