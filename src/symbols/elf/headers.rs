//! The headers of an ELF file of either class and byte order, in neutral form.
//!
//! In: the bytes of a file. Out: segments, sections and what the dynamic section says about the
//! file itself. Nothing of the contents is read.

use std::ops::Range;

use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, elf};

use super::{Kind, Section, Segment, slice, string_at};

/// What [`ElfFile`] keeps of the headers, whatever their class.
pub(super) struct Headers {
    pub(super) endian: Endianness,
    pub(super) machine: u16,
    pub(super) entry: u64,
    pub(super) kind: Kind,
    pub(super) segments: Vec<Segment>,
    pub(super) note_segments: Vec<(Range<u64>, u64)>,
    pub(super) sections: Vec<Section>,
    pub(super) interp: Option<Box<str>>,
    pub(super) soname: Option<Box<str>>,
}

impl Headers {
    pub(super) fn read<E: FileHeader<Endian = Endianness>>(data: &[u8]) -> object::Result<Self> {
        let header = E::parse(data)?;
        let endian = header.endian()?;
        let mut segments = Vec::new();
        let mut note_segments = Vec::new();
        let mut interp = None;
        let mut soname = None;
        let mut pie = false;
        for p in header.program_headers(endian, data)? {
            let offset: u64 = p.p_offset(endian).into();
            let file_size: u64 = p.p_filesz(endian).into();
            match p.p_type(endian) {
                elf::PT_LOAD => segments.push(Segment {
                    vaddr: p.p_vaddr(endian).into(),
                    mem_size: p.p_memsz(endian).into(),
                    offset,
                    file_size,
                    executable: p.p_flags(endian) & elf::PF_X != 0,
                }),
                elf::PT_NOTE => note_segments.push((
                    offset..offset.saturating_add(file_size),
                    p.p_align(endian).into(),
                )),
                elf::PT_INTERP => {
                    let bytes = slice(data, offset, file_size).unwrap_or_default();
                    interp = Some(String::from_utf8_lossy(string_at(bytes, 0)).into());
                }
                _ => {}
            }
        }
        let mut sections = Vec::new();
        // A file may have lost its section headers (sstrip) and still run.
        if let Ok(table) = header.sections(endian, data) {
            sections.reserve_exact(table.len());
            for s in table.iter() {
                sections.push(Section {
                    name: String::from_utf8_lossy(
                        table.section_name(endian, s).unwrap_or_default(),
                    )
                    .into(),
                    kind: s.sh_type(endian),
                    flags: s.sh_flags(endian).into(),
                    addr: s.sh_addr(endian).into(),
                    offset: s.sh_offset(endian).into(),
                    size: s.sh_size(endian).into(),
                    link: s.sh_link(endian),
                    align: s.sh_addralign(endian).into(),
                });
            }
            if let Ok(Some((dynamic, link))) = table.dynamic(endian, data) {
                let strings = table.strings(endian, data, link).unwrap_or_default();
                for d in dynamic {
                    let value: u64 = d.d_val(endian).into();
                    match d.d_tag(endian).into() {
                        elf::DT_SONAME => {
                            soname = u32::try_from(value)
                                .ok()
                                .and_then(|at| strings.get(at).ok())
                                .map(|s| String::from_utf8_lossy(s).into());
                        }
                        elf::DT_FLAGS_1 => pie = value & u64::from(elf::DF_1_PIE) != 0,
                        _ => {}
                    }
                }
            }
        }
        let kind = match header.e_type(endian) {
            elf::ET_EXEC => Kind::Executable,
            // libc.so.6 is a shared object with an interpreter; DF_1_PIE tells them apart, and
            // linkers older than 2.26 did not write it, so the soname decides.
            elf::ET_DYN if pie || (interp.is_some() && soname.is_none()) => Kind::Pie,
            elf::ET_DYN => Kind::SharedObject,
            other => Kind::Other(other),
        };
        Ok(Self {
            endian,
            machine: header.e_machine(endian),
            entry: header.e_entry(endian).into(),
            kind,
            segments,
            note_segments,
            sections,
            interp,
            soname,
        })
    }
}
