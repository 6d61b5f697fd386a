//! Names for numbers: symbols, users, cgroups, times.
//!
//! Everything is read when it is first needed and kept: a script that prints no user name
//! never opens `/etc/passwd`. What has no name keeps its number; nothing is guessed.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::time::Clocks;
use super::value::UserAddress;
use crate::runtime::symbolize::Change;

/// One line of a symbolized stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The function, demangled as configured; `None` if only the module is known.
    pub name: Option<&'a str>,
    /// Bytes from the start of the function; `None` for a function that was inlined.
    pub offset: Option<u64>,
    /// The file or kernel module it is in.
    pub module: Option<&'a str>,
    /// Source file and line.
    pub source: Option<(&'a str, u32)>,
}

/// Where names of addresses come from.
pub trait Symbols {
    /// Calls `emit` with the frames of a kernel address, innermost first: what was inlined,
    /// then the function; not at all if nothing is known. `call` says that the address follows
    /// a call, which is what is to be named.
    fn kernel(&mut self, addr: u64, call: bool, emit: &mut dyn FnMut(Frame<'_>));

    /// Likewise for an address of a process.
    fn user(&mut self, at: UserAddress, call: bool, emit: &mut dyn FnMut(Frame<'_>));

    /// Build id and file offset of an address of process `pid`.
    fn build_id(&mut self, pid: u32, addr: u64) -> Option<(Vec<u8>, u64)>;

    /// Learns what process `pid` has mapped now, for when it is gone.
    fn look_at(&mut self, _pid: u32) {}

    /// Prepares for [`changed`](Self::changed) and [`catch_up`](Self::catch_up).
    fn watch(&mut self) {}

    /// Takes in what the kernel reports of a process.
    fn changed(&mut self, _change: Change) {}

    /// Looks for a moment at processes that nothing was reported of; whether there are more.
    fn catch_up(&mut self) -> bool {
        false
    }

    /// How often what a process had mapped was not recorded, or forgotten again.
    fn incomplete(&self) -> u64 {
        0
    }
}

/// Knows no symbols: addresses print as numbers.
#[derive(Debug, Default)]
pub struct NoSymbols;

impl Symbols for NoSymbols {
    fn kernel(&mut self, _: u64, _: bool, _: &mut dyn FnMut(Frame<'_>)) {}
    fn user(&mut self, _: UserAddress, _: bool, _: &mut dyn FnMut(Frame<'_>)) {}
    fn build_id(&mut self, _: u32, _: u64) -> Option<(Vec<u8>, u64)> {
        None
    }
}

/// All sources of names of one run.
pub struct Names {
    /// Symbols.
    pub symbols: Box<dyn Symbols + Send>,
    /// Offsets between clocks.
    pub clocks: Clocks,
    users: Option<HashMap<u64, String>>,
    cgroups: Option<Vec<Hierarchy>>,
}

/// A mounted cgroup hierarchy and the cgroups met in it.
struct Hierarchy {
    /// `unified`, or the controllers of a version 1 hierarchy.
    name: String,
    mount: PathBuf,
    /// Path below the mount point by id, which is the directory's inode number.
    paths: HashMap<u64, String>,
}

impl Names {
    /// Names from these sources.
    pub fn new(symbols: Box<dyn Symbols + Send>, clocks: Clocks) -> Self {
        Self {
            symbols,
            clocks,
            users: None,
            cgroups: None,
        }
    }

    /// Appends the name of a user, or its number.
    pub fn username(&mut self, uid: u64, out: &mut Vec<u8>) {
        let users = self.users.get_or_insert_with(|| {
            let text = fs::read("/etc/passwd").unwrap_or_default();
            parse_passwd(&String::from_utf8_lossy(&text))
        });
        match users.get(&uid) {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => push_display(out, uid),
        }
    }

    /// Appends `hierarchy:path`, separated by commas, for each hierarchy that has a cgroup of
    /// this id and whose name matches `filter` (`*` stands for anything; empty matches all).
    pub fn cgroup_path(&mut self, id: u64, filter: &str, out: &mut Vec<u8>) {
        let hierarchies = self.cgroups.get_or_insert_with(|| {
            let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            parse_cgroup_mounts(&text)
        });
        let start = out.len();
        for h in hierarchies.iter_mut() {
            if !(filter.is_empty() || glob(filter.as_bytes(), h.name.as_bytes())) {
                continue;
            }
            if !h.paths.contains_key(&id) {
                h.scan();
            }
            if let Some(path) = h.paths.get(&id) {
                if out.len() > start {
                    out.push(b',');
                }
                out.extend_from_slice(h.name.as_bytes());
                out.push(b':');
                out.extend_from_slice(path.as_bytes());
            }
        }
    }
}

impl Hierarchy {
    /// Notes the ids of all cgroups there are now; those that are gone keep their names. An
    /// id that stays unknown costs a walk each time it is printed.
    fn scan(&mut self) {
        let mut todo = vec![self.mount.clone()];
        while let Some(dir) = todo.pop() {
            if let Ok(meta) = fs::metadata(&dir) {
                let below = dir.strip_prefix(&self.mount).unwrap_or(Path::new(""));
                self.paths
                    .insert(meta.ino(), format!("/{}", below.display()));
            }
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    todo.push(entry.path());
                }
            }
        }
    }
}

fn parse_passwd(text: &str) -> HashMap<u64, String> {
    let mut users = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), _, Some(Ok(uid))) = (
            fields.next(),
            fields.next(),
            fields.next().map(str::parse::<u64>),
        ) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

/// What the hierarchy of version 2 is called.
const UNIFIED: &str = "unified";

/// The cgroup mounts in a `/proc/PID/mountinfo`: version 2 comes first and is called
/// `unified`, those of version 1 by their controllers.
fn parse_cgroup_mounts(text: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(mount), mut right) = (left.split(' ').nth(4), right.split(' ')) else {
            continue;
        };
        let (kind, _, options) = (right.next(), right.next(), right.next());
        let name = match kind {
            Some("cgroup2") => UNIFIED.to_owned(),
            Some("cgroup") => {
                let options = options.unwrap_or_default().split(',');
                // A hierarchy without controllers has a name of its own.
                let controllers: Vec<_> = options
                    .filter(|o| !matches!(*o, "rw" | "ro"))
                    .map(|o| o.strip_prefix("name=").unwrap_or(o))
                    .collect();
                controllers.join(",")
            }
            _ => continue,
        };
        // A hierarchy may be mounted several times; each shows all of it.
        if found.iter().any(|h: &Hierarchy| h.name == name) {
            continue;
        }
        found.push(Hierarchy {
            name,
            mount: PathBuf::from(mount),
            paths: HashMap::new(),
        });
    }
    found.sort_by(|a, b| (a.name != UNIFIED, &a.name).cmp(&(b.name != UNIFIED, &b.name)));
    found
}

/// Whether `text` matches `pattern`, in which `*` stands for any bytes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            p = star + 1;
            t = from + 1;
            retry = Some((star, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Appends what `value` displays as.
pub(crate) fn push_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_name_of_a_uid_wins() {
        let users = parse_passwd("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad line\n");
        assert_eq!(users.get(&0).map(String::as_str), Some("root"));
        assert_eq!(users.len(), 1);
    }

    #[test]
    fn cgroup_hierarchies_are_named_by_version_and_controllers() {
        let text = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n\
                    31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                    33 24 0:26 / /mnt/unified rw - cgroup2 cgroup2 rw\n\
                    32 24 0:28 / /proc rw - proc proc rw\n";
        let names: Vec<_> = parse_cgroup_mounts(text)
            .into_iter()
            .map(|h| h.name)
            .collect();
        assert_eq!(names, ["unified", "cpu,cpuacct"]);
    }

    #[test]
    fn globs_backtrack() {
        assert!(glob(b"*ab*c", b"xaabyc"));
        assert!(!glob(b"uni*d", b"unify"));
    }
}
