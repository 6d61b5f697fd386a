//! The mappings of a process: the text of /proc/PID/maps as a sorted table.
//!
//! In: the text. Out: which mapping covers an address. Names are shared, since the mappings of
//! one file are several.

use std::sync::Arc;

/// Identity of a mapped file on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device as maps prints it: major and minor.
    pub device: (u32, u32),
    /// Inode; 0 for memory without a file.
    pub inode: u64,
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// PROT_EXEC.
    pub executable: bool,
    /// The file.
    pub file: FileId,
    /// Path in the process' own file system, without the mark of a deleted file; or `[vdso]`,
    /// `[anon:name]`; empty for unnamed memory.
    pub name: Arc<str>,
    /// The file has been deleted or replaced since.
    pub deleted: bool,
}

impl Mapping {
    /// Whether a file is mapped here.
    pub fn is_file(&self) -> bool {
        self.file.inode != 0
    }

    /// The file offset behind an address of this mapping.
    pub fn file_offset(&self, addr: u64) -> u64 {
        (addr - self.start).saturating_add(self.offset)
    }
}

/// All mappings of a process, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps(Vec<Mapping>);

impl Maps {
    /// Parses the text of /proc/PID/maps; lines that make no sense are left out.
    pub fn parse(text: &str) -> Self {
        let mut all: Vec<Mapping> = Vec::new();
        for line in text.lines() {
            let name = match all.last() {
                // Neighbours mostly map the same file.
                Some(last) => Arc::clone(&last.name),
                None => Arc::from(""),
            };
            all.extend(parse_line(line, name));
        }
        all.sort_by_key(|m| m.start);
        Self(all)
    }

    /// The mapping that covers `addr`.
    pub fn find(&self, addr: u64) -> Option<&Mapping> {
        let at = self.0.partition_point(|m| m.start <= addr).checked_sub(1)?;
        Some(&self.0[at]).filter(|m| addr < m.end)
    }

    /// Adds a mapping, in place of what was there.
    pub fn insert(&mut self, new: Mapping) {
        let all = &mut self.0;
        let first = all.partition_point(|m| m.end <= new.start);
        let last = all.partition_point(|m| m.start < new.end);
        // What the new one leaves of the first and the last that it touches.
        let mut pieces = Vec::with_capacity(3);
        if let Some(m) = all.get(first).filter(|m| m.start < new.start) {
            pieces.push(Mapping {
                end: new.start,
                ..m.clone()
            });
        }
        let end = new.end;
        pieces.push(new);
        if let Some(m) = last.checked_sub(1).and_then(|at| all.get(at))
            && m.end > end
        {
            pieces.push(Mapping {
                start: end,
                offset: m.file_offset(end),
                ..m.clone()
            });
        }
        all.splice(first..last.max(first), pieces);
    }

    /// Replaces each name by what `share` has for it.
    pub fn share_names(&mut self, mut share: impl FnMut(&str) -> Arc<str>) {
        for m in &mut self.0 {
            m.name = share(&m.name);
        }
    }

    /// Leaves only what code can be in.
    pub fn retain_code(&mut self) {
        self.0.retain(|m| m.executable);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.0.iter()
    }
}

/// `START-END PERMS OFFSET MAJOR:MINOR INODE   NAME`
fn parse_line(line: &str, before: Arc<str>) -> Option<Mapping> {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut rest = line;
    let mut field = || {
        let (head, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        head
    };
    let (start, end) = field().split_once('-')?;
    let permissions = field();
    let offset = hex(field())?;
    let (major, minor) = field().split_once(':')?;
    let inode = field().parse().ok()?;
    let name = rest.trim_start();
    let (path, deleted) = split_deleted(name);
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset,
        executable: permissions.as_bytes().get(2) == Some(&b'x'),
        file: FileId {
            device: (
                u32::from_str_radix(major, 16).ok()?,
                u32::from_str_radix(minor, 16).ok()?,
            ),
            inode,
        },
        name: if *before == *path {
            before
        } else {
            unescape(path)
        },
        deleted,
    })
}

/// A name as the kernel shows it, and whether it says that the file was deleted.
pub(super) fn split_deleted(name: &str) -> (&str, bool) {
    match name.strip_suffix(" (deleted)") {
        Some(path) => (path, true),
        None => (name, false),
    }
}

/// The kernel writes a newline in a path as `\012`, and nothing else.
fn unescape(path: &str) -> Arc<str> {
    if path.contains("\\012") {
        return path.replace("\\012", "\n").into();
    }
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
00400000-00b6f000 r--p 00000000 fe:00 1234                     /usr/bin/node
00b72000-02600000 r-xp 00772000 fe:00 1234                     /usr/bin/node
7f0000000000-7f0000001000 r-xp 00000000 00:00 0 
7f0000002000-7f0000003000 r-xp 00001000 00:1f 77               /tmp/a b\\012c.so (deleted)
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
garbage
";

    #[test]
    fn addresses_find_their_mapping_and_file_offset() {
        let maps = Maps::parse(TEXT);
        let m = maps.find(0xb8_0000).unwrap();
        assert_eq!(
            (&*m.name, m.file_offset(0xb8_0000)),
            ("/usr/bin/node", 0x78_0000)
        );
        assert!(m.executable && m.is_file());
        assert_eq!(maps.find(0xb7_0000), None, "between two mappings");
        assert_eq!(maps.find(0x3f_ffff), None);
        assert_eq!(maps.find(u64::MAX), None);
    }

    #[test]
    fn a_new_mapping_takes_the_place_of_what_was_there() {
        let file = |start, end, offset, name: &str| Mapping {
            start,
            end,
            offset,
            executable: true,
            file: FileId {
                device: (8, 1),
                inode: 1,
            },
            name: name.into(),
            deleted: false,
        };
        let mut maps = Maps::default();
        for (start, end, name) in [
            (0x1000, 0x9000, "old"),
            (0x3000, 0x4000, "hole"),
            (0xa000, 0xb000, "far"),
            (0x8000, 0xa000, "edge"),
            (0x3000, 0x4000, "again"),
        ] {
            maps.insert(file(start, end, start, name));
        }
        let seen: Vec<_> = maps
            .iter()
            .map(|m| (m.start, m.end, m.offset, &*m.name))
            .collect();
        assert_eq!(
            seen,
            [
                (0x1000, 0x3000, 0x1000, "old"),
                (0x3000, 0x4000, 0x3000, "again"),
                (0x4000, 0x8000, 0x4000, "old"),
                (0x8000, 0xa000, 0x8000, "edge"),
                (0xa000, 0xb000, 0xa000, "far"),
            ]
        );
        maps.insert(file(0, u64::MAX, 0, "all"));
        assert_eq!(maps.len(), 1);
    }

    #[test]
    fn names_may_have_spaces_newlines_and_be_deleted() {
        let maps = Maps::parse(TEXT);
        let m = maps.find(0x7f00_0000_2000).unwrap();
        assert_eq!(&*m.name, "/tmp/a b\nc.so");
        assert!(m.deleted);
        assert_eq!(
            m.file,
            FileId {
                device: (0, 0x1f),
                inode: 77
            }
        );
        assert_eq!(&*maps.find(0x7ffd_0000_0001).unwrap().name, "[vdso]");
        assert_eq!(&*maps.find(0x7f00_0000_0001).unwrap().name, "");
    }
}
