//! The file into which `dwz` moved what several debug files have in common.
//!
//! In: a debug file. Out: the file that its `.gnu_debugaltlink` names, checked by build id. Debian
//! and Fedora build their debug packages this way.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::symbols::debuglink::DebugDirs;
use crate::symbols::elf::ElfFile;

/// The shared file of `elf`, if it has one and it is there.
pub(super) fn find(elf: &ElfFile, dirs: &DebugDirs) -> Option<ElfFile> {
    let link = elf.section_data(".gnu_debugaltlink").ok()??;
    let (name, id) = parse(&link)?;
    let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
    // The path is relative to the file that holds the link, links resolved.
    let real = std::fs::canonicalize(elf.path()).ok();
    let beside = real.as_deref().and_then(Path::parent).map(|d| d.join(name));
    let by_id = hex.len() > 2;
    let in_roots = dirs.roots.iter().filter(|_| by_id).map(|r| {
        r.join(".build-id")
            .join(&hex[..2])
            .join(format!("{}.debug", &hex[2..]))
    });
    let candidates: Vec<PathBuf> = beside.into_iter().chain(in_roots).collect();
    candidates
        .into_iter()
        .filter_map(|path| ElfFile::open(&path).ok())
        .find(|file| file.build_id().is_some_and(|i| i.to_string() == hex))
}

/// A NUL-terminated name and a build id.
fn parse(link: &[u8]) -> Option<(&Path, &[u8])> {
    let end = link.iter().position(|b| *b == 0)?;
    let name = &link[..end];
    let id = &link[end + 1..];
    (!name.is_empty() && !id.is_empty()).then(|| (Path::new(OsStr::from_bytes(name)), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_a_name_and_a_build_id() {
        let link = b"../.dwz/x.debug\0\x12\xab";
        let (name, id) = parse(link).unwrap();
        assert_eq!(name, Path::new("../.dwz/x.debug"));
        assert_eq!(id, [0x12, 0xab]);
        assert_eq!(parse(b"\0\x12"), None);
        assert_eq!(parse(b"name"), None);
        assert_eq!(parse(b"name\0"), None);
    }
}
