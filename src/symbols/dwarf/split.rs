//! Split debug information: units whose entries are in a `.dwo` file or a `.dwp` package.
//!
//! In: the skeleton unit that the program holds. Out: the unit itself, lent to a function, since
//! its bytes belong to another file. Packages beside the program or its debug file are preferred;
//! `.dwo` files are where the compiler wrote them, or beside the program.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use gimli::{EndianSlice, RunTimeEndian};

use super::reader::{Dwarf, Unit};
use crate::symbols::elf::ElfFile;

/// Runs `f` on the unit that `skeleton` of the file `path` stands for. `None` if it is no
/// skeleton, or if the rest of it is missing.
pub(super) fn with_unit<T>(
    path: &Path,
    dwarf: &Dwarf<'_>,
    skeleton: &Unit<'_>,
    endian: RunTimeEndian,
    f: impl Fn(&Dwarf<'_>, Unit<'_>) -> Option<T>,
) -> Option<Option<T>> {
    let id = skeleton.dwo_id?;
    let name = skeleton.dwo_name().ok()??;
    for package in packages(path) {
        let Ok(file) = ElfFile::open(&package) else {
            continue;
        };
        let load = |s: gimli::SectionId| section(&file, s);
        let Ok(sections) = gimli::DwarfPackageSections::load(load) else {
            continue;
        };
        let empty = EndianSlice::new(&[], endian);
        let Ok(all) = sections.borrow(|s| EndianSlice::new(s, endian), empty) else {
            continue;
        };
        if let Ok(Some(split)) = all.find_cu(id, dwarf)
            && let Some(unit) = unit_of(&split, skeleton)
        {
            return Some(f(&split, unit));
        }
    }
    let name = dwarf.attr_string(skeleton, name).ok()?;
    let name = PathBuf::from(name.to_string_lossy().into_owned());
    let folder = skeleton.comp_dir.map(|d| d.to_string_lossy().into_owned());
    let recorded = match folder {
        Some(dir) => Path::new(&dir).join(&name),
        None => name.clone(),
    };
    let beside = path.parent()?.join(name.file_name()?);
    for file in [recorded, beside] {
        let Ok(file) = ElfFile::open(&file) else {
            continue;
        };
        let load = |s: gimli::SectionId| section(&file, s);
        let Ok(sections) = gimli::DwarfSections::load(load) else {
            continue;
        };
        let mut split = sections.borrow(|s| EndianSlice::new(s, endian));
        split.make_dwo(dwarf);
        if let Some(unit) = unit_of(&split, skeleton) {
            return Some(f(&split, unit));
        }
    }
    None
}

fn section(file: &ElfFile, id: gimli::SectionId) -> Result<Cow<'_, [u8]>, gimli::Error> {
    let data = id
        .dwo_name()
        .and_then(|n| file.section_data(n).ok().flatten());
    Ok(data.unwrap_or_default())
}

/// `a.out.dwp`; of a debug file `a.out.debug` also `a.out.dwp`.
fn packages(path: &Path) -> Vec<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".dwp");
    let mut all = vec![PathBuf::from(name)];
    if path.extension().is_some_and(|e| e == "debug") {
        all.push(path.with_extension("dwp"));
    }
    all
}

/// The unit of a split file that belongs to `skeleton`.
fn unit_of<'a>(split: &Dwarf<'a>, skeleton: &Unit<'a>) -> Option<Unit<'a>> {
    let mut headers = split.units();
    while let Ok(Some(header)) = headers.next() {
        let Ok(mut unit) = split.unit(header) else {
            continue;
        };
        if unit.dwo_id == skeleton.dwo_id {
            unit.copy_relocated_attributes(skeleton);
            return Some(unit);
        }
    }
    None
}
