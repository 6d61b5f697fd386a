//! Programs inside of ZIP archives: `app.apk!/lib/x86_64/libgame.so`.
//!
//! Android maps libraries right out of the packages they come in. What is stored in an archive as
//! it is can be mapped so, and probed: a place in the member is a place in the archive. In: the
//! bytes of an archive and the name of a member. Out: where it lies, or why it cannot be used.
//! Archives above 4 GB (ZIP64) are not read.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Between an archive and the name of its member.
const SEPARATOR: &str = "!/";

/// End of central directory, a record of the central directory, a member's own header: their
/// first words and their sizes without names (APPNOTE 4.3.16, 4.3.12, 4.3.7).
const END: (u32, usize) = (0x0605_4b50, 22);
const ENTRY: (u32, usize) = (0x0201_4b50, 46);
const LOCAL: (u32, usize) = (0x0403_4b50, 30);

/// Longest comment at the end of an archive.
const MAX_COMMENT: usize = u16::MAX as usize;

/// The archive and the member that `path` names: there is no such file, but there is one by the
/// text before `!/`.
pub fn split(path: &Path) -> Option<(PathBuf, String)> {
    let text = path.to_str().filter(|t| t.contains(SEPARATOR))?;
    if path.exists() {
        return None;
    }
    let parts = text.match_indices(SEPARATOR).map(|(at, s)| {
        let (archive, member) = text.split_at(at);
        (PathBuf::from(archive), member[s.len()..].to_owned())
    });
    parts.into_iter().find(|(archive, _)| archive.is_file())
}

/// The path of a member of an archive, as probes write it.
pub fn join(archive: &Path, member: &str) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push(SEPARATOR);
    path.push(member);
    path.into()
}

/// Where the bytes of a member lie.
///
/// # Errors
/// Not an archive, no such member, or one that is compressed.
pub fn member(bytes: &[u8], name: &str) -> Result<Range<usize>> {
    let end = end_record(bytes).ok_or_else(|| Error::invalid("not a ZIP archive"))?;
    let count = u16_at(end, 10).unwrap_or(0);
    let mut at = u32_at(end, 16).map_or(usize::MAX, |o| o as usize);
    for _ in 0..count {
        let entry = record(bytes, at, ENTRY)?;
        let field = |offset| usize::from(u16_at(entry, offset).unwrap_or(0));
        let (name_len, extra, comment) = (field(28), field(30), field(32));
        let found = entry.get(ENTRY.1..ENTRY.1 + name_len) == Some(name.as_bytes());
        if !found {
            at = at.saturating_add(ENTRY.1 + name_len + extra + comment);
            continue;
        }
        if field(10) != 0 {
            let why = format!("{name} is compressed: only what is stored as it is can be mapped");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let size = u32_at(entry, 24).unwrap_or(0) as usize;
        let header = u32_at(entry, 42).map_or(usize::MAX, |o| o as usize);
        let local = record(bytes, header, LOCAL)?;
        // Its own lengths: paddings that align a member differ from the central ones.
        let lengths = [26, 28].map(|o| usize::from(u16_at(local, o).unwrap_or(0)));
        let start = header + LOCAL.1 + lengths.iter().sum::<usize>();
        return match start.checked_add(size).filter(|&end| end <= bytes.len()) {
            Some(end) => Ok(start..end),
            None => Err(damaged()),
        };
    }
    Err(Error::not_found(format!("the archive has no {name}")))
}

/// The record at the end that says where the central directory is; a comment may follow it.
fn end_record(bytes: &[u8]) -> Option<&[u8]> {
    let last = bytes.len().checked_sub(END.1)?;
    let first = last.saturating_sub(MAX_COMMENT);
    let at = (first..=last).rev().find(|&at| {
        let comment = u16_at(bytes, at + 20).map(usize::from);
        u32_at(bytes, at) == Some(END.0) && comment == Some(last - at)
    })?;
    bytes.get(at..)
}

/// What begins at `at`, if it is a record of that kind.
fn record(bytes: &[u8], at: usize, (magic, size): (u32, usize)) -> Result<&[u8]> {
    let found = bytes.get(at..).filter(|b| b.len() >= size);
    found
        .filter(|b| u32_at(b, 0) == Some(magic))
        .ok_or_else(damaged)
}

fn damaged() -> Error {
    Error::invalid("a damaged ZIP archive, or one above 4 GB")
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let raw = bytes.get(at..)?.get(..2)?;
    Some(u16::from_le_bytes(raw.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let raw = bytes.get(at..)?.get(..4)?;
    Some(u32::from_le_bytes(raw.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with a stored member behind `padding` bytes of its header, and a comment.
    pub(super) fn archive(name: &str, data: &[u8], method: u16, padding: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let words = |out: &mut Vec<u8>, all: &[u16]| {
            out.extend(all.iter().flat_map(|w| w.to_le_bytes()));
        };
        let size = (data.len() as u32).to_le_bytes();
        out.extend(LOCAL.0.to_le_bytes());
        words(&mut out, &[10, 0, method, 0, 0, 0, 0]);
        out.extend([size, size].concat());
        words(&mut out, &[name.len() as u16, padding as u16]);
        out.extend(name.as_bytes());
        out.extend(vec![0; padding]);
        out.extend(data);
        let directory = out.len() as u32;
        out.extend(ENTRY.0.to_le_bytes());
        words(&mut out, &[10, 10, 0, method, 0, 0, 0, 0]);
        out.extend([size, size].concat());
        words(&mut out, &[name.len() as u16, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(name.as_bytes());
        let length = out.len() as u32 - directory;
        out.extend(END.0.to_le_bytes());
        words(&mut out, &[0, 0, 1, 1]);
        out.extend([length.to_le_bytes(), directory.to_le_bytes()].concat());
        words(&mut out, &[3]);
        out.extend(b"end");
        out
    }

    #[test]
    fn a_member_is_found_behind_its_padding() {
        let bytes = archive("lib/a.so", b"content", 0, 50);
        let at = member(&bytes, "lib/a.so").unwrap();
        assert_eq!(&bytes[at], b"content");
        let none = member(&bytes, "lib/b.so").unwrap_err();
        assert_eq!(none.to_string(), "the archive has no lib/b.so");
        let packed = member(&archive("a", b"x", 8, 0), "a").unwrap_err();
        assert!(packed.to_string().contains("is compressed"));
        assert!(member(b"PK", "a").is_err());
    }

    #[test]
    fn damaged_archives_are_refused() {
        let bytes = archive("a", b"content", 0, 3);
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] = 0xff;
            let _ = member(&broken, "a");
            let _ = member(&bytes[..at], "a");
        }
    }

    #[test]
    fn a_file_with_such_a_name_is_itself() {
        let dir = std::env::temp_dir().join(format!("rtrace-archive-{}!", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("a");
        std::fs::write(&file, "").unwrap();
        assert_eq!(split(&file), None);
        std::fs::remove_dir_all(&dir).unwrap();
        let me = std::env::current_exe().unwrap();
        let inside = join(&me, "lib/a.so");
        assert_eq!(split(&inside), Some((me, "lib/a.so".to_owned())));
        assert_eq!(split(Path::new("/nonexistent!/a")), None);
    }
}
