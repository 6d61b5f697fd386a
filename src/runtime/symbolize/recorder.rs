//! What processes had mapped as code, and when they had it no more.
//!
//! In: the kernel's reports of what processes map ([`Change`]), and a look at each process that
//! ran before. Out: the mapping that an address of a process meant, also after it has ended,
//! executed another program or closed a library. Of mappings that followed each other at one
//! address, the newest answers.
//!
//! Bounded: of ended processes the last [`MAX_ENDED`] are remembered, of each process
//! [`MAX_MAPPINGS`] mappings and [`PAST`] earlier programs. What was dropped is counted, as is
//! what the kernel could not report.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::maps::{Mapping, Maps, split_deleted};

/// Ended processes that are remembered. One that forked and did nothing else takes 100 bytes,
/// one that ran a program 2 kB.
const MAX_ENDED: usize = 4096;
/// Mappings of code of one process; node has 60, a JIT that maps each function some thousands.
const MAX_MAPPINGS: usize = 1 << 14;
/// Programs of one process before its present one.
const PAST: usize = 4;
/// Names that are kept for use by other mappings.
const MAX_NAMES: usize = 1 << 14;
/// How long one look at processes that ran before takes.
const SLICE: Duration = Duration::from_millis(3);

/// What happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It mapped a file or memory as code.
    Mapped {
        /// The process.
        pid: u32,
        /// What is there now; the name may still say that the file was deleted.
        mapping: Mapping,
    },
    /// It executed a program: nothing is mapped any more.
    Executed {
        /// The process.
        pid: u32,
    },
    /// It came to be, with what its parent had mapped.
    Forked {
        /// The new process.
        pid: u32,
        /// Its parent.
        parent: u32,
    },
    /// It ended.
    Ended {
        /// The process.
        pid: u32,
    },
    /// So many changes were not reported.
    Lost(u64),
}

/// The mappings of all processes that were seen.
#[derive(Debug, Default)]
pub struct Recorder {
    processes: HashMap<u32, Recorded>,
    /// Ended ones, oldest first, each with what `Recorded::ended` says if it still is.
    ended: VecDeque<(u32, u64)>,
    ends: u64,
    names: HashSet<Arc<str>>,
    /// Processes to be looked at: those that ran before.
    backlog: Vec<u32>,
    /// Processes that were looked at since [`Recorder::take_looked_at`] was called last.
    looked_at: Vec<u32>,
    incomplete: u64,
}

#[derive(Clone, Debug, Default)]
struct Recorded {
    maps: Arc<Maps>,
    past: Vec<Arc<Maps>>,
    ended: Option<u64>,
}

impl Recorder {
    /// Takes all processes that run now for looking at.
    pub fn start(&mut self) {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        self.backlog = all
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect();
        // The youngest end soonest, and are taken from the end.
        self.backlog.sort_unstable();
    }

    /// Looks at some of the processes that ran before; whether more are to be looked at.
    pub fn catch_up(&mut self) -> bool {
        let end = Instant::now() + SLICE;
        while let Some(pid) = self.backlog.pop() {
            self.look(pid);
            if Instant::now() >= end {
                break;
            }
        }
        !self.backlog.is_empty()
    }

    /// Whether processes are still to be looked at.
    pub fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// The processes that were looked at since the last call.
    pub fn take_looked_at(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.looked_at)
    }

    /// What a process has mapped as code now.
    pub fn maps(&self, pid: u32) -> impl Iterator<Item = &Mapping> {
        let known = self.processes.get(&pid);
        known.into_iter().flat_map(|p| p.maps.iter())
    }

    /// How often something was not recorded, or forgotten again.
    pub fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// The mapping that `addr` of a process meant.
    pub fn find(&self, pid: u32, addr: u64) -> Option<&Mapping> {
        let known = self.processes.get(&pid)?;
        std::iter::once(&known.maps)
            .chain(known.past.iter().rev())
            .find_map(|maps| maps.find(addr))
    }

    /// Takes a change in. The mapping that is new, for its file to be opened.
    pub fn apply(&mut self, change: Change) -> Option<&Mapping> {
        match change {
            Change::Mapped { pid, mapping } => return self.map(pid, mapping),
            Change::Executed { pid } => self.replace(pid, Arc::default()),
            Change::Forked { pid, parent } => {
                if !self.processes.contains_key(&parent) {
                    self.look(parent);
                }
                if let Some(maps) = self.processes.get(&parent).map(|p| Arc::clone(&p.maps)) {
                    self.replace(pid, maps);
                }
            }
            Change::Ended { pid } => self.end(pid),
            Change::Lost(n) => self.incomplete += n,
        }
        None
    }

    /// Reads what a process has mapped, unless that is known.
    fn look(&mut self, pid: u32) {
        if self.processes.contains_key(&pid) {
            return;
        }
        let Ok(text) = std::fs::read(format!("/proc/{pid}/maps")) else {
            return;
        };
        let mut maps = Maps::parse(&String::from_utf8_lossy(&text));
        maps.retain_code();
        // A thread of the kernel maps nothing.
        if maps.is_empty() {
            return;
        }
        let names = &mut self.names;
        maps.share_names(|name| share(names, name));
        let known = self.processes.entry(pid).or_default();
        known.maps = Arc::new(maps);
        self.looked_at.push(pid);
    }

    fn map(&mut self, pid: u32, mut mapping: Mapping) -> Option<&Mapping> {
        // Ran before, and its turn has not come: it is looked at now, this mapping included.
        if !self.processes.contains_key(&pid) && self.backlog.contains(&pid) {
            self.look(pid);
        }
        let (name, deleted) = split_deleted(&mapping.name);
        mapping.deleted = deleted;
        mapping.name = share(&mut self.names, name);
        let known = self.processes.entry(pid).or_default();
        if known.maps.len() >= MAX_MAPPINGS {
            self.incomplete += 1;
            return None;
        }
        let start = mapping.start;
        Arc::make_mut(&mut known.maps).insert(mapping);
        known.maps.find(start)
    }

    /// Another program, or another process under the same pid.
    fn replace(&mut self, pid: u32, maps: Arc<Maps>) {
        let known = self.processes.entry(pid).or_default();
        known.ended = None;
        let old = std::mem::replace(&mut known.maps, maps);
        if !old.is_empty() {
            known.past.push(old);
        }
        if known.past.len() > PAST {
            known.past.remove(0);
        }
    }

    fn end(&mut self, pid: u32) {
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        self.ends += 1;
        known.ended = Some(self.ends);
        self.ended.push_back((pid, self.ends));
        while self.ended.len() > MAX_ENDED {
            let Some((pid, end)) = self.ended.pop_front() else {
                return;
            };
            if self
                .processes
                .get(&pid)
                .is_some_and(|p| p.ended == Some(end))
            {
                self.processes.remove(&pid);
                self.incomplete += 1;
            }
        }
    }
}

/// The name as other mappings have it.
fn share(names: &mut HashSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    if names.len() >= MAX_NAMES {
        names.retain(|n| Arc::strong_count(n) > 1);
        // All in use: those to come are not shared.
        if names.len() >= MAX_NAMES {
            return name.into();
        }
    }
    let name: Arc<str> = name.into();
    names.insert(Arc::clone(&name));
    name
}

#[cfg(test)]
mod tests {
    use super::super::maps::FileId;
    use super::*;

    fn mapped(pid: u32, start: u64, name: &str) -> Change {
        let mapping = Mapping {
            start,
            end: start + 0x1000,
            offset: 0,
            executable: true,
            file: FileId {
                device: (1, 1),
                inode: 1,
            },
            name: name.into(),
            deleted: false,
        };
        Change::Mapped { pid, mapping }
    }

    fn at(r: &Recorder, pid: u32, addr: u64) -> Option<(String, bool)> {
        r.find(pid, addr).map(|m| (m.name.to_string(), m.deleted))
    }

    /// Beyond what the kernel gives to processes.
    const PID: u32 = 0x7000_0000;

    #[test]
    fn ends_execs_and_forks_keep_what_addresses_meant() {
        let mut r = Recorder::default();
        r.apply(mapped(PID, 0x1000, "/bin/sh"));
        r.apply(Change::Forked {
            pid: PID + 1,
            parent: PID,
        });
        r.apply(Change::Executed { pid: PID + 1 });
        r.apply(mapped(PID + 1, 0x1000, "/bin/ls (deleted)"));
        r.apply(mapped(PID + 1, 0x5000, "/lib/x.so"));
        r.apply(Change::Ended { pid: PID + 1 });
        r.apply(Change::Forked {
            pid: PID + 2,
            parent: PID,
        });
        r.apply(Change::Ended { pid: PID });
        let named = |name: &str, deleted| Some((name.to_owned(), deleted));
        assert_eq!(at(&r, PID, 0x1fff), named("/bin/sh", false));
        assert_eq!(at(&r, PID + 1, 0x1000), named("/bin/ls", true));
        assert_eq!(at(&r, PID + 1, 0x5000), named("/lib/x.so", false));
        assert_eq!(at(&r, PID + 2, 0x1000), named("/bin/sh", false));
        assert_eq!(at(&r, PID + 2, 0x2000), None);
        // The pid comes back as another program: both answer for their own addresses.
        r.apply(Change::Forked {
            pid: PID + 1,
            parent: PID + 2,
        });
        assert_eq!(at(&r, PID + 1, 0x1000), named("/bin/sh", false));
        assert_eq!(at(&r, PID + 1, 0x5000), named("/lib/x.so", false));
        assert_eq!(r.incomplete(), 0);
    }

    #[test]
    fn memory_is_bounded_and_what_was_dropped_counted() {
        let mut r = Recorder::default();
        r.apply(mapped(PID, 0x1000, "/bin/sh"));
        for i in 1..=MAX_ENDED as u32 + 10 {
            let pid = PID + i;
            r.apply(Change::Forked { pid, parent: PID });
            r.apply(Change::Ended { pid });
        }
        assert_eq!(r.processes.len(), MAX_ENDED + 1);
        assert_eq!(r.incomplete(), 10);
        assert!(at(&r, PID + 1, 0x1000).is_none());
        assert!(at(&r, PID + 11, 0x1000).is_some());
        for i in 0..MAX_MAPPINGS as u64 + 5 {
            r.apply(mapped(PID, 0x10_0000 + i * 0x1000, &i.to_string()));
        }
        assert!(r.processes[&PID].maps.len() <= MAX_MAPPINGS);
        assert!(r.names.len() <= MAX_NAMES);
        r.apply(Change::Lost(3));
        assert_eq!(r.incomplete(), 10 + 6 + 3);
    }

    #[test]
    fn processes_that_ran_before_are_looked_at() {
        let mut r = Recorder::default();
        r.start();
        assert!(r.is_behind());
        while r.catch_up() {}
        let here = at as *const () as u64;
        let found = r.find(std::process::id(), here);
        assert!(
            found.is_some_and(|m| m.name.contains("rtrace")),
            "{found:?}"
        );
    }
}
