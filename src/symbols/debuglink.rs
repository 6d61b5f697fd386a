//! Finds the separate debug file of a stripped program.
//!
//! In: an open ELF file and the folders to search. Out: the debug file, checked to belong to it:
//! by build id where both have one, else by the checksum in .gnu_debuglink. It searches only
//! this machine's disk; a debuginfod server is never asked, its cache is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::Endianness;

use super::elf::{BuildId, ElfFile, string_at};

/// Where separate debug files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugDirs {
    /// Global debug folders, each with a `.build-id` tree and a mirror of the file system.
    pub roots: Vec<PathBuf>,
    /// Cache folder of debuginfod clients: `BUILDID/debuginfo`.
    pub debuginfod_cache: Option<PathBuf>,
}

impl DebugDirs {
    /// /usr/lib/debug and the debuginfod cache that the environment names.
    pub fn system() -> Self {
        let env = |name| std::env::var_os(name).map(PathBuf::from);
        Self {
            roots: vec![PathBuf::from("/usr/lib/debug")],
            // The order is that of debuginfod-find.
            debuginfod_cache: env("DEBUGINFOD_CACHE_PATH")
                .or_else(|| Some(env("XDG_CACHE_HOME")?.join("debuginfod_client")))
                .or_else(|| Some(env("HOME")?.join(".cache/debuginfod_client"))),
        }
    }

    /// No folder: only what the file itself holds and what lies beside it.
    pub fn none() -> Self {
        Self {
            roots: Vec::new(),
            debuginfod_cache: None,
        }
    }

    /// The same folders below another root, such as `/proc/PID/root` of a container.
    #[must_use]
    pub fn below(&self, root: &Path) -> Self {
        let under = |p: &PathBuf| root.join(p.strip_prefix("/").unwrap_or(p));
        Self {
            roots: self.roots.iter().map(under).collect(),
            debuginfod_cache: self.debuginfod_cache.clone(),
        }
    }
}

/// The separate debug file of `elf`, or `None` if none that belongs to it is found.
pub fn find(elf: &ElfFile, dirs: &DebugDirs) -> Option<ElfFile> {
    let id = elf.build_id();
    by_build_id(id.as_ref(), dirs).or_else(|| by_link(elf, id.as_ref(), dirs))
}

fn by_build_id(id: Option<&BuildId>, dirs: &DebugDirs) -> Option<ElfFile> {
    let id = id?;
    let hex = id.to_string();
    let (head, tail) = hex.split_at(2);
    let in_roots = dirs
        .roots
        .iter()
        .map(|r| r.join(".build-id").join(head).join(format!("{tail}.debug")));
    let in_cache = dirs
        .debuginfod_cache
        .iter()
        .map(|c| c.join(&hex).join("debuginfo"));
    in_roots
        .chain(in_cache)
        .filter_map(|path| ElfFile::open(&path).ok())
        .find(|debug| debug.build_id().is_none_or(|d| d == *id))
}

fn by_link(elf: &ElfFile, id: Option<&BuildId>, dirs: &DebugDirs) -> Option<ElfFile> {
    let section = elf.section(".gnu_debuglink")?;
    let (name, crc) = parse_link(elf.raw_data(section), elf.endian())?;
    let dir = elf.path().parent()?;
    let mirrored = dir.strip_prefix("/").unwrap_or(dir);
    let candidates = [dir.join(name), dir.join(".debug").join(name)]
        .into_iter()
        .chain(dirs.roots.iter().map(|r| r.join(mirrored).join(name)));
    candidates
        .filter(|path| path != elf.path())
        .filter_map(|path| ElfFile::open(&path).ok())
        .find(|debug| match (id, debug.build_id()) {
            (Some(a), Some(b)) => *a == b,
            _ => crc32(debug.bytes()) == crc,
        })
}

/// File name and checksum: a NUL-terminated name, padding to 4, a CRC-32.
fn parse_link(data: &[u8], endian: Endianness) -> Option<(&Path, u32)> {
    let name = string_at(data, 0);
    // A link names a file, not a place.
    if name.is_empty() || name.contains(&b'/') {
        return None;
    }
    let at = (name.len() + 1).next_multiple_of(4);
    let raw: [u8; 4] = data.get(at..at + 4)?.try_into().ok()?;
    let crc = match endian {
        Endianness::Little => u32::from_le_bytes(raw),
        Endianness::Big => u32::from_be_bytes(raw),
    };
    Some((Path::new(OsStr::from_bytes(name)), crc))
}

/// CRC-32 as in zlib (reflected polynomial 0xedb88320), eight bytes at a time: debug files run
/// to hundreds of megabytes.
fn crc32(data: &[u8]) -> u32 {
    static TABLES: [[u32; 256]; 8] = crc_tables();
    let mut crc = !0u32;
    let (chunks, rest) = data.as_chunks::<8>();
    for c in chunks {
        let low = u32::from_le_bytes([c[0], c[1], c[2], c[3]]) ^ crc;
        let b = low.to_le_bytes();
        crc = TABLES[7][usize::from(b[0])]
            ^ TABLES[6][usize::from(b[1])]
            ^ TABLES[5][usize::from(b[2])]
            ^ TABLES[4][usize::from(b[3])]
            ^ TABLES[3][usize::from(c[4])]
            ^ TABLES[2][usize::from(c[5])]
            ^ TABLES[1][usize::from(c[6])]
            ^ TABLES[0][usize::from(c[7])];
    }
    for &b in rest {
        crc = (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ b)];
    }
    !crc
}

const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut t = 1;
    while t < 8 {
        let mut i = 0;
        while i < 256 {
            let before = tables[t - 1][i];
            tables[t][i] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            i += 1;
        }
        t += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_standard_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn link_section_is_name_padding_checksum() {
        let data = b"a.debug\0\x78\x56\x34\x12";
        assert_eq!(
            parse_link(data, Endianness::Little),
            Some((Path::new("a.debug"), 0x1234_5678))
        );
        assert_eq!(parse_link(b"../x\0\0\0\0abcd", Endianness::Little), None);
        assert_eq!(parse_link(b"a.debug\0\x78", Endianness::Little), None);
    }
}
