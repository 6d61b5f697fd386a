//! One process as it was when it was last looked at.
//!
//! In: a pid. Out: its mappings, kept after it has ended, with those it had before: after an
//! exec, a dlclose or a new process under the same pid, addresses recorded earlier still find
//! what they meant.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::cache::Root;
use super::maps::{Mapping, Maps};
use crate::symbols::perfmap::{self, PerfMap};

/// How many earlier states are kept.
const PAST: usize = 4;
/// An address that is in no mapping makes us look again, at most this often: broken stacks are
/// full of such addresses. A pid is checked for a new owner as often.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What is remembered of a process.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    identity: Identity,
    root: Root,
    maps: Maps,
    past: Vec<Maps>,
    /// When its mappings were last read, and its pid last checked.
    looked: Instant,
    followed: Instant,
    generated: Generated,
}

/// Tells one user of a pid from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    /// Clock ticks after boot; field 22 of /proc/PID/stat.
    started: u64,
    /// Device and inode of the program, which an exec changes.
    program: Option<(u64, u64)>,
}

/// Names of code that the process generates.
#[derive(Debug, Default)]
struct Generated {
    file: Option<File>,
    map: Option<PerfMap>,
}

impl Process {
    /// Looks at a live process; `None` if there is none or it may not be looked at.
    pub fn look(pid: u32) -> Option<Self> {
        let identity = Identity::of(pid)?;
        let maps = read_maps(pid)?;
        let mut process = Self {
            pid,
            identity,
            root: root_of(pid),
            maps,
            past: Vec::new(),
            looked: Instant::now(),
            followed: Instant::now(),
            generated: Generated::default(),
        };
        process.open_generated();
        Some(process)
    }

    /// The process' pid.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its file system hangs.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its mappings.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The mapping that covers `addr`, now or before.
    pub fn find(&self, addr: u64) -> Option<&Mapping> {
        self.maps
            .find(addr)
            .or_else(|| self.past.iter().rev().find_map(|m| m.find(addr)))
    }

    /// Looks again if the last look is not too fresh. Whether anything has changed.
    pub fn look_again(&mut self) -> bool {
        is_due(&mut self.looked) && self.refresh(Identity::of(self.pid))
    }

    /// Looks again. Whether anything has changed.
    pub fn look_now(&mut self) -> bool {
        self.looked = Instant::now();
        self.refresh(Identity::of(self.pid))
    }

    /// Looks again if the pid has a new owner or program; asks at most once in a while. Whether
    /// it has.
    pub fn follow_pid(&mut self) -> bool {
        if !is_due(&mut self.followed) {
            return false;
        }
        let now = Identity::of(self.pid);
        now.is_some_and(|now| now != self.identity) && self.refresh(now)
    }

    fn refresh(&mut self, identity: Option<Identity>) -> bool {
        // A process that has ended stays as it was.
        let (Some(identity), Some(maps)) = (identity, read_maps(self.pid)) else {
            return false;
        };
        if identity != self.identity {
            self.identity = identity;
            self.root = root_of(self.pid);
            self.generated = Generated::default();
        } else if maps == self.maps {
            return false;
        }
        self.past.push(std::mem::replace(&mut self.maps, maps));
        if self.past.len() > PAST {
            self.past.remove(0);
        }
        self.open_generated();
        true
    }

    /// The generated function that covers `addr`, and where it starts.
    pub fn generated(&mut self, addr: u64) -> Option<(&str, u64)> {
        if self.generated.file.is_none() {
            self.open_generated();
        }
        let Generated { file, map } = &mut self.generated;
        let file = file.as_ref()?;
        let known = map.as_ref().is_some_and(|m| m.lookup(addr).is_some());
        if !known && map.as_ref().is_none_or(|m| m.has_grown(file)) {
            *map = PerfMap::read(file).ok();
        }
        map.as_ref()?.lookup(addr)
    }

    /// Opens the perf map while the process' file system is there; it is read when needed.
    fn open_generated(&mut self) {
        let Ok(meta) = std::fs::metadata(format!("/proc/{}", self.pid)) else {
            // Gone: what it left in our /tmp was its user's, or root's.
            return;
        };
        let paths = perfmap::paths(self.pid, own_pid(self.pid));
        self.generated.file = paths
            .iter()
            .find_map(|path| perfmap::open(path, meta.uid()).ok());
    }
}

/// Whether the last time is long enough ago; then this is the last time.
fn is_due(last: &mut Instant) -> bool {
    let due = last.elapsed() >= LOOK_AGAIN;
    if due {
        *last = Instant::now();
    }
    due
}

impl Identity {
    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field, the name, may hold anything; the last `)` ends it.
        let rest = &stat[stat.rfind(')')? + 1..];
        let started = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let program = std::fs::metadata(format!("/proc/{pid}/exe")).ok();
        Some(Self {
            started,
            program: program.map(|m| (m.dev(), m.ino())),
        })
    }
}

/// The mappings of a process; `None` if there is none.
pub fn read_maps(pid: u32) -> Option<Maps> {
    let text = std::fs::read(format!("/proc/{pid}/maps")).ok()?;
    let maps = Maps::parse(&String::from_utf8_lossy(&text));
    // A zombie has a stat and no memory.
    (!maps.is_empty()).then_some(maps)
}

/// The pid by which the process knows itself: the last of NSpid.
fn own_pid(pid: u32) -> u32 {
    let own = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
        line.split_ascii_whitespace().next_back()?.parse().ok()
    };
    own().unwrap_or(pid)
}

/// Where the file system of a process hangs.
pub fn root_of(pid: u32) -> Root {
    let link = |path: String| std::fs::read_link(path).ok();
    let same = link(format!("/proc/{pid}/ns/mnt")) == link("/proc/self/ns/mnt".into())
        && link(format!("/proc/{pid}/root")) == link("/proc/self/root".into());
    if same {
        Root::Shared
    } else {
        Root::Foreign(PathBuf::from(format!("/proc/{pid}/root")))
    }
}
