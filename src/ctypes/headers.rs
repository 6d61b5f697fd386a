//! Where `#include` finds its files.
//!
//! In: the name between the brackets and the place it is written. Out: the path and the text. The
//! few headers that belong to a compiler rather than to the C library (`stddef.h` and the like)
//! are built in, because a machine without a compiler does not have them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Headers of the compiler: name, whether the C library's own file of that name comes first, text.
const BUILT_IN: [(&str, bool, &str); 6] = [
    ("stddef.h", false, include_str!("builtin/stddef.h")),
    ("stdarg.h", false, include_str!("builtin/stdarg.h")),
    ("stdbool.h", false, include_str!("builtin/stdbool.h")),
    ("float.h", false, "#pragma once\n"),
    ("limits.h", true, include_str!("builtin/limits.h")),
    ("stdint.h", true, include_str!("builtin/stdint.h")),
];

/// Folders of headers that belong to the kernel and the C library.
const SYSTEM_DIRS: &str = "acpi arpa asm asm-generic bits crypto drm generated gnu kvm linux media memory misc mtd \
    net netinet pcmcia ras rdma rpc scsi soc sound sys trace uapi";

/// Headers of the C library that are in no folder.
const C_LIBRARY: &str = "aio.h alloca.h assert.h byteswap.h ctype.h dirent.h dlfcn.h elf.h endian.h err.h errno.h \
    fcntl.h features.h float.h getopt.h grp.h ifaddrs.h inttypes.h libgen.h limits.h link.h \
    locale.h math.h mqueue.h netdb.h poll.h pthread.h pwd.h sched.h semaphore.h setjmp.h \
    signal.h stdio.h stdlib.h string.h time.h ucontext.h unistd.h wchar.h wctype.h";

/// Whether a header belongs to the kernel or the C library, whose types and constants are known
/// without it.
pub fn is_system(name: &str) -> bool {
    let (word, list) = match name.split_once('/') {
        Some((dir, _)) => (dir, SYSTEM_DIRS),
        None => (name, C_LIBRARY),
    };
    list.split(' ').any(|known| known == word)
}

/// Where Debian and its relatives keep what depends on the processor.
#[cfg(target_arch = "x86_64")]
const MULTIARCH: &str = "/usr/include/x86_64-linux-gnu";
#[cfg(not(target_arch = "x86_64"))]
const MULTIARCH: &str = "/usr/include/aarch64-linux-gnu";

/// Reads files: the machine's, or those of a test.
pub trait Files {
    /// The text of a file; `None` where it does not exist or cannot be read.
    fn read(&self, path: &Path) -> Option<String>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Option<String> {
        let bytes = std::fs::read(path).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Files for HashMap<PathBuf, String> {
    fn read(&self, path: &Path) -> Option<String> {
        self.get(path).cloned()
    }
}

/// The kernel's own header directories that exist below its source and build trees
/// (`/lib/modules/RELEASE/source` and `build`, which distributions split), in order of search.
pub fn kernel_dirs(source: &Path, build: &Path) -> Vec<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86"
    };
    [
        (source, format!("arch/{arch}/include")),
        (build, format!("arch/{arch}/include/generated")),
        (source, "include".to_owned()),
        (build, "include".to_owned()),
        (source, format!("arch/{arch}/include/uapi")),
        (build, format!("arch/{arch}/include/generated/uapi")),
        (source, "include/uapi".to_owned()),
        (build, "include/generated/uapi".to_owned()),
    ]
    .into_iter()
    .map(|(tree, dir)| tree.join(dir))
    .filter(|dir| dir.is_dir())
    .collect()
}

/// A header that was found.
#[derive(Clone, Debug)]
pub struct Header {
    /// Its path, as diagnostics show it and as `#pragma once` knows it.
    pub path: PathBuf,
    /// Its text.
    pub text: Rc<str>,
    /// The place in the search list where it was found: `#include_next` goes on behind it.
    pub place: usize,
}

/// The directories that are searched, with what they gave so far.
pub struct Search<'a> {
    files: &'a dyn Files,
    dirs: Vec<Dir>,
    read: HashMap<PathBuf, Option<Rc<str>>>,
}

enum Dir {
    Path(PathBuf),
    /// Built-in headers that come before the library's.
    Compiler,
    /// Built-in headers that complete the library's.
    Fallback,
}

impl std::fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} directories", self.dirs.len())
    }
}

impl<'a> Search<'a> {
    /// Searches `first` and then the usual places of a Linux machine.
    pub fn new(files: &'a dyn Files, first: &[PathBuf]) -> Self {
        let mut dirs: Vec<Dir> = first.iter().cloned().map(Dir::Path).collect();
        dirs.push(Dir::Compiler);
        for usual in ["/usr/local/include", MULTIARCH, "/usr/include"] {
            dirs.push(Dir::Path(PathBuf::from(usual)));
        }
        dirs.push(Dir::Fallback);
        Self {
            files,
            dirs,
            read: HashMap::new(),
        }
    }

    /// Finds a header. With `beside`, the directory of the including file is tried first (the form
    /// with quotes); `after` continues the search behind a place (`#include_next`).
    pub fn find(
        &mut self,
        name: &str,
        beside: Option<&Path>,
        after: Option<usize>,
    ) -> Option<Header> {
        if name.starts_with('/') {
            return self.header(PathBuf::from(name), 0);
        }
        if let Some(dir) = beside
            && let Some(header) = self.header(dir.join(name), 0)
        {
            return Some(header);
        }
        for place in after.map_or(0, |p| p + 1)..self.dirs.len() {
            let (path, late) = match &self.dirs[place] {
                Dir::Path(dir) => {
                    let path = dir.join(name);
                    match self.header(path, place) {
                        Some(header) => return Some(header),
                        None => continue,
                    }
                }
                Dir::Compiler => (format!("<built-in>/{name}"), false),
                Dir::Fallback => (format!("<built-in>/fallback/{name}"), true),
            };
            let found = BUILT_IN.iter().find(|b| b.0 == name && b.1 == late);
            if let Some(&(_, _, text)) = found {
                return Some(Header {
                    path: PathBuf::from(path),
                    text: Rc::from(text),
                    place,
                });
            }
        }
        None
    }

    fn header(&mut self, path: PathBuf, place: usize) -> Option<Header> {
        let files = self.files;
        let text = self
            .read
            .entry(path.clone())
            .or_insert_with(|| files.read(&path).map(Rc::from))
            .clone()?;
        Some(Header { path, text, place })
    }
}
