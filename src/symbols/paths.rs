//! From the name in a probe to a file: paths, programs in PATH, libraries by soname.
//!
//! In: `/usr/bin/node`, `node`, `libc`, `libssl.so.3`, and for a process with its own file
//! system, the root to look below. Out: the path of an existing file. A name without a slash is
//! a program in PATH if there is one, else a library: from /etc/ld.so.cache, then from the
//! folders that the dynamic linker searches by default. It does not look into the file.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use super::archive;

/// Folders that ld.so searches without a cache.
const DEFAULT_DIRS: [&str; 8] = [
    "/lib64",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib",
    "/usr/lib",
];

/// PATH of a process that has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Most symbolic links that are followed below a root.
const MAX_LINKS: usize = 40;

/// Where names are resolved.
#[derive(Clone, Debug)]
pub struct PathResolver {
    pub(super) root: PathBuf,
    pub(super) path: String,
    /// The process whose files are meant.
    pub(super) pid: Option<u32>,
}

impl PathResolver {
    /// On this system, with PATH of this process.
    pub fn system() -> Self {
        Self {
            root: PathBuf::from("/"),
            path: std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned()),
            pid: None,
        }
    }

    /// In the file system of a process, `/proc/PID/root`.
    pub fn for_pid(pid: u32) -> Self {
        let own = |pid: &str| std::fs::read_link(format!("/proc/{pid}/root")).ok();
        let same_namespace = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
            == std::fs::read_link("/proc/self/ns/mnt").ok();
        // Most processes share our file system; their paths then read as usual.
        let there = if same_namespace && own(&pid.to_string()) == own("self") {
            Self::system()
        } else {
            Self::below(Path::new(&format!("/proc/{pid}/root")))
        };
        Self {
            pid: Some(pid),
            ..there
        }
    }

    /// Below another root.
    pub fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            path: DEFAULT_PATH.to_owned(),
            pid: None,
        }
    }

    /// The process whose files are meant.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The file that `name` stands for, links followed; `None` if there is none.
    pub fn resolve(&self, name: &str) -> Option<PathBuf> {
        if name.is_empty() {
            return None;
        }
        if name.contains('/') {
            let found = self.existing(Path::new(name));
            return found.or_else(|| self.archived(name));
        }
        self.program(name).or_else(|| self.library(name))
    }

    /// A member of an archive: the path of an archive that exists, `!/` and the rest.
    fn archived(&self, name: &str) -> Option<PathBuf> {
        let (archive, member) = name.split_once("!/")?;
        let archive = self.existing(Path::new(archive)).filter(|p| p.is_file())?;
        Some(archive::join(&archive, member))
    }

    /// A program in PATH.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.path
            .split(':')
            .filter(|dir| !dir.is_empty())
            .filter_map(|dir| self.existing(&Path::new(dir).join(name)))
            .find(|file| {
                std::fs::metadata(file)
                    .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
            })
    }

    /// A library by soname (`libssl.so.3`) or by its name without version (`libc`, `ssl`).
    pub fn library(&self, name: &str) -> Option<PathBuf> {
        let cache = std::fs::read(self.below_root(Path::new("/etc/ld.so.cache"))).ok();
        let cached = cache.as_deref().map(parse_cache).unwrap_or_default();
        let best = cached
            .iter()
            .filter_map(|(soname, path)| Some((fit(name, soname)?, soname, path)))
            .min_by(|a, b| (a.0, version(b.1)).cmp(&(b.0, version(a.1))));
        if let Some(path) = best.and_then(|(_, _, path)| self.existing(Path::new(path))) {
            return Some(path);
        }
        DEFAULT_DIRS.iter().find_map(|dir| {
            let entries = std::fs::read_dir(self.below_root(Path::new(dir))).ok()?;
            let best = entries
                .flatten()
                .filter_map(|e| e.file_name().into_string().ok())
                .filter_map(|file| Some((fit(name, &file)?, file)))
                .min_by(|a, b| (a.0, version(&b.1)).cmp(&(b.0, version(&a.1))))?;
            self.existing(&Path::new(dir).join(best.1))
        })
    }

    pub(super) fn below_root(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The file at `path` if it exists. Absolute links are read below the root, where the
    /// process that has this root would find them.
    pub(super) fn existing(&self, path: &Path) -> Option<PathBuf> {
        if self.root == Path::new("/") {
            // What stands behind a process' root is not below our own, wherever the link seems
            // to lead.
            return match process_root(path) {
                Some((root, inside)) => Self::below(&root).existing(inside),
                None => std::fs::canonicalize(path).ok(),
            };
        }
        let mut todo: Vec<PathBuf> = vec![path.to_owned()];
        let mut done = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = todo.pop() {
            let mut components = part.components();
            let Some(first) = components.next() else {
                continue;
            };
            let rest = components.as_path();
            if !rest.as_os_str().is_empty() {
                todo.push(rest.to_owned());
            }
            match first {
                Component::RootDir => done = PathBuf::from("/"),
                Component::ParentDir => {
                    done.pop();
                }
                Component::Normal(name) => {
                    let here = done.join(name);
                    match std::fs::read_link(self.below_root(&here)) {
                        Ok(link) => {
                            links += 1;
                            if links > MAX_LINKS {
                                return None;
                            }
                            todo.push(link);
                        }
                        Err(_) => done = here,
                    }
                }
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        let full = self.below_root(&done);
        full.exists().then_some(full)
    }
}

/// `/proc/PID/root` and the rest of a path that begins with it.
fn process_root(path: &Path) -> Option<(PathBuf, &Path)> {
    let rest = path.strip_prefix("/proc").ok()?;
    let mut parts = rest.components();
    let (pid, root) = (parts.next()?, parts.next()?);
    let is_pid = pid
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .all(u8::is_ascii_digit);
    (is_pid && root.as_os_str() == "root")
        .then(|| (Path::new("/proc").join(pid).join("root"), parts.as_path()))
}

/// How well a library file called `soname` fits `name`; smaller is better.
fn fit(name: &str, soname: &str) -> Option<u8> {
    if soname == name {
        return Some(0);
    }
    let stem_fits = |stem: &str| {
        soname
            .strip_prefix(stem)
            .and_then(|rest| rest.strip_prefix(".so"))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if stem_fits(name) {
        return Some(1);
    }
    // `libcrypto.so` names whatever version there is.
    if name.ends_with(".so")
        && soname
            .strip_prefix(name)
            .is_some_and(|r| r.starts_with('.'))
    {
        return Some(1);
    }
    (!name.starts_with("lib") && stem_fits(&format!("lib{name}"))).then_some(2)
}

/// The numbers after `.so`, so that of two versions the higher is taken.
fn version(soname: &str) -> Vec<u32> {
    let numbers = soname.split_once(".so").map_or("", |(_, v)| v);
    numbers.split('.').filter_map(|n| n.parse().ok()).collect()
}

/// Soname and path of every library of this machine's word size in an ld.so cache. Only the
/// format that glibc has written since 2.2 is read, alone or behind the older table.
fn parse_cache(data: &[u8]) -> Vec<(&str, &str)> {
    const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    /// flags, key, value, osversion, hwcap.
    const ENTRY: usize = 24;
    const HEADER: usize = 48;
    let mut data = data;
    if data.starts_with(OLD_MAGIC) {
        // The old table: a count and entries of 12 bytes, then the new one aligned to 8.
        let Some(count) = word(data, 12) else {
            return Vec::new();
        };
        let at = (16 + count as usize * 12).next_multiple_of(8);
        data = data.get(at..).unwrap_or_default();
    }
    if !data.starts_with(MAGIC) {
        return Vec::new();
    }
    let count = word(data, 20).unwrap_or(0) as usize;
    let text = |at: Option<u32>| {
        let tail = data.get(at? as usize..)?;
        std::ffi::CStr::from_bytes_until_nul(tail)
            .ok()?
            .to_str()
            .ok()
    };
    data.get(HEADER..)
        .unwrap_or_default()
        .chunks_exact(ENTRY)
        .take(count)
        .filter(|e| {
            // FLAG_ELF_LIBC6 with the bits of the processor: 3 x86-64, 8 x32, 0xa aarch64; plain
            // 0x0003 is a 32-bit x86 library.
            let flags = word(e, 0).unwrap_or(0);
            flags & 0xff == 3 && matches!(flags >> 8 & 0xff, 0x03 | 0x0a)
        })
        .filter_map(|e| Some((text(word(e, 4))?, text(word(e, 8))?)))
        .collect()
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let raw = data.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(raw))
}

/// The last component of a path, for messages and frames.
pub fn basename(path: &str) -> &str {
    Path::new(path)
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str) -> Option<String> {
        let path = PathResolver::system().resolve(name)?;
        Some(path.to_str().unwrap().to_owned())
    }

    #[test]
    fn programs_come_from_path_and_libraries_from_the_cache() {
        assert!(resolve("sh").is_some_and(|p| p.starts_with('/')));
        assert!(resolve("libc").is_some_and(|p| p.contains("libc")));
        assert!(resolve("libc.so.6").is_some_and(|p| p.contains("libc")));
        assert_eq!(resolve("c"), resolve("libc"));
        assert_eq!(resolve("no-such-program-or-library"), None);
        assert_eq!(resolve(""), None);
        assert_eq!(resolve("/no/such/file"), None);
    }

    #[test]
    fn libpthread_is_itself_and_not_a_neighbour() {
        assert!(resolve("libpthread").is_none_or(|p| p.contains("libpthread")));
        assert_eq!(fit("libc", "libcrypt.so.1"), None);
        assert_eq!(fit("libc", "libc.so.6"), Some(1));
        assert_eq!(fit("libssl.so", "libssl.so.3"), Some(1));
        assert_eq!(fit("ssl", "libssl.so.3"), Some(2));
    }

    #[test]
    fn of_two_versions_the_higher_is_taken() {
        assert!(version("libx.so.10") > version("libx.so.9.1"));
        assert!(version("libx.so.1") > version("libx.so"));
    }

    #[test]
    fn a_damaged_cache_is_an_empty_one() {
        let whole = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
        for n in [0, 11, 12, 20, 30, 48, 60, whole.len() / 2] {
            let _ = parse_cache(&whole[..n.min(whole.len())]);
        }
        assert_eq!(parse_cache(b"ld.so-1.7.0\0\xff\xff\xff\xff"), []);
    }

    #[test]
    fn the_root_of_a_process_stays_in_the_path() {
        let path = format!("/proc/{}/root/proc/self/../self/exe", std::process::id());
        let found = PathResolver::system().resolve(&path).unwrap();
        assert!(
            found.starts_with(format!("/proc/{}/root", std::process::id())),
            "{found:?}"
        );
        assert_eq!(process_root(Path::new("/proc/self/exe")), None);
        assert_eq!(process_root(Path::new("/proc/7/maps")), None);
    }

    #[test]
    fn absolute_links_stay_below_the_root() {
        let root = std::env::temp_dir().join(format!("rtrace-root-{}", std::process::id()));
        std::fs::create_dir_all(root.join("opt/v2")).unwrap();
        std::fs::write(root.join("opt/v2/prog"), "").unwrap();
        std::os::unix::fs::symlink("/opt/v2", root.join("opt/now")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        let resolver = PathResolver::below(&root);
        assert_eq!(
            resolver.resolve("/opt/now/prog"),
            Some(root.join("opt/v2/prog"))
        );
        assert_eq!(
            resolver.resolve("/opt/now/../../../opt/v2/prog"),
            Some(root.join("opt/v2/prog"))
        );
        assert_eq!(resolver.resolve("/loop/x"), None);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
