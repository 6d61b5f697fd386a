//! Keeps the maps of the unwinder filled: tables of files, mappings of processes.
//!
//! In: process ids, of processes that are about to be traced or that a program has met without
//! knowing them. Out: entries of the maps that [`crate::object::unwind`] describes, and at the
//! end a sentence about the stacks that are not whole.
//!
//! A file's table is built once, whatever number of processes maps it. It stays until the end of
//! the run; all tables together take at most [`MAX_BYTES`].

mod process;
mod table;

use std::collections::HashMap;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::process::{Mapped, Opened};
use self::table::{Packed, Rules};
use super::map::KernelMaps;
use super::symbolize::maps::FileId;
use super::sys::bpf::Map;
use crate::error::{ErrorExt as _, Result};
use crate::object::unwind::{End, MAX_TABLES, SEGMENT, Unwind};
use crate::object::{MapDef, Object};
use crate::symbols::elf::ElfFile;
use crate::symbols::unwind::UnwindTable;

/// How often processes that have ended are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Most bytes of all tables.
const MAX_BYTES: usize = 512 << 20;

/// A file's table in the kernel.
#[derive(Debug)]
struct File {
    /// Number; 0: it has none.
    table: u32,
    base: u64,
    pages: u32,
    /// Keeps the inode from being re-used.
    elf: Option<Arc<ElfFile>>,
}

/// The tables of a run.
#[derive(Debug)]
pub struct Unwinder {
    maps: Unwind,
    template: MapDef,
    rules: Rules,
    files: HashMap<FileId, File>,
    /// By table number, less 1: what to call the file.
    names: Vec<Arc<str>>,
    /// By process: its mappings as they were written last.
    processes: HashMap<u32, Vec<Mapped>>,
    bytes: usize,
    swept: Instant,
}

impl Unwinder {
    /// For a run of `object`; `None` if nothing in it unwinds.
    pub fn new(object: &Object) -> Option<Self> {
        let maps = object.unwind?;
        Some(Self {
            maps,
            template: object.maps[maps.template.0 as usize].clone(),
            rules: Rules::default(),
            files: HashMap::new(),
            names: Vec::new(),
            processes: HashMap::new(),
            bytes: 0,
            swept: Instant::now(),
        })
    }

    /// Reads what a process has mapped and makes the tables that are missing. A process that is
    /// gone is forgotten.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn look_at(&mut self, pid: u32, maps: &KernelMaps) -> Result<()> {
        let Some(mappings) = process::mappings(pid) else {
            self.processes.remove(&pid);
            maps.get(self.maps.processes).delete(&pid.to_ne_bytes())?;
            return Ok(());
        };
        let new = process::open_new(pid, &mappings, |id| self.files.contains_key(&id));
        self.add_files(new, maps)?;
        let mapped = process::mapped(&mappings, |id| {
            let f = self.files.get(&id)?;
            Some((f.table, f.base, f.pages, f.elf.as_deref()))
        });
        if self.processes.get(&pid) == Some(&mapped) {
            return Ok(());
        }
        let segment = process::segment(&mapped);
        let inner = self.fill(&segment)?;
        let fd = inner.as_fd().as_raw_fd().to_ne_bytes();
        maps.get(self.maps.processes)
            .update(&pid.to_ne_bytes(), &fd)
            .context("unwind table of a process")?;
        self.processes.insert(pid, mapped);
        Ok(())
    }

    /// Removes the tables of processes that have ended, now and then.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_ended(&mut self, maps: &KernelMaps) -> Result<()> {
        if self.swept.elapsed() < SWEEP {
            return Ok(());
        }
        self.swept = Instant::now();
        let outer = maps.get(self.maps.processes);
        let ended = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
        let gone: Vec<u32> = self.processes.keys().copied().filter(ended).collect();
        for pid in gone {
            self.processes.remove(&pid);
            outer.delete(&pid.to_ne_bytes())?;
        }
        Ok(())
    }

    fn add_files(&mut self, new: Vec<Opened>, maps: &KernelMaps) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let built = build_all(new);
        let first_rule = self.rules.next();
        let mut made: Vec<(u32, Map)> = Vec::new();
        for (opened, table) in built {
            let file = match table {
                Some(table) => {
                    let packed = Packed::new(&table, &mut self.rules);
                    let number = self.names.len() as u32 + 1;
                    let bytes = self.bytes + packed.segments.len();
                    if number >= MAX_TABLES || bytes > MAX_BYTES {
                        File {
                            table: 0,
                            base: 0,
                            pages: 0,
                            elf: None,
                        }
                    } else {
                        self.bytes = bytes;
                        made.push((number, self.fill(&packed.segments)?));
                        self.names.push(opened.name);
                        File {
                            table: number,
                            base: packed.base,
                            pages: packed.pages,
                            elf: opened.elf,
                        }
                    }
                }
                None => File {
                    table: 0,
                    base: 0,
                    pages: 0,
                    elf: opened.elf,
                },
            };
            self.files.insert(opened.id, file);
        }
        // Rules before the tables that name them.
        let rules = maps.get(self.maps.rules);
        for (number, record) in self.rules.since(first_rule) {
            rules
                .update(&number.to_ne_bytes(), &record.to_bytes())
                .context("unwind rules")?;
        }
        let outer = maps.get(self.maps.tables);
        let keys: Vec<u8> = made.iter().flat_map(|(n, _)| n.to_ne_bytes()).collect();
        let fds: Vec<u8> = made
            .iter()
            .flat_map(|(_, m)| m.as_fd().as_raw_fd().to_ne_bytes())
            .collect();
        outer.update_batch(&keys, &fds).context("unwind tables")
    }

    /// A map with these segments.
    fn fill(&self, segments: &[u8]) -> Result<Map> {
        let parts = segments.chunks_exact(SEGMENT as usize);
        let map = Map::create(&self.template, parts.len() as u32, None)
            .context("cannot create an unwind table")?;
        for (i, part) in (0u32..).zip(parts) {
            map.update(&i.to_ne_bytes(), part).context("unwind table")?;
        }
        Ok(map)
    }

    /// Stacks that are not whole, in a sentence; `None` if all are.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn summary(&self, maps: &KernelMaps) -> Result<Option<String>> {
        let ends = maps.get(self.maps.ends);
        let mut counts = Vec::new();
        let mut value = [0; 8];
        for table in 0..=self.names.len() as u32 {
            for end in End::ALL {
                let key = table * End::COUNT + end as u32;
                ends.lookup(&key.to_ne_bytes(), &mut value)?;
                match u64::from_ne_bytes(value) {
                    0 => {}
                    n => counts.push((table, end, n)),
                }
            }
        }
        Ok(report(&counts, &self.names))
    }
}

/// What to say about how walks ended.
fn report(counts: &[(u32, End, u64)], names: &[Arc<str>]) -> Option<String> {
    let total: u64 = counts.iter().map(|c| c.2).sum();
    let whole = |end| matches!(end, End::Complete | End::Limit);
    let mut bad: Vec<_> = counts.iter().filter(|c| !whole(c.1)).collect();
    let stopped: u64 = bad.iter().map(|c| c.2).sum();
    if stopped == 0 {
        return None;
    }
    bad.sort_by_key(|c| std::cmp::Reverse(c.2));
    let mut text = format!("{stopped} of {total} user stacks are not whole:");
    const SHOWN: usize = 8;
    for (table, end, n) in bad.iter().take(SHOWN) {
        let file = (*table as usize).checked_sub(1).and_then(|i| names.get(i));
        let place = match file {
            Some(name) => format!("in {name} "),
            None => String::new(),
        };
        let why = match end {
            End::Complete | End::Limit => continue,
            End::NewProcess => "of processes that were seen for the first time",
            End::Unmapped => "where nothing is known to be mapped",
            End::NoRule => "where the file has no unwind information",
            End::Unsupported => "at unwind information that cannot be followed",
            End::Unreadable => "where the stack cannot be read",
            End::Damaged => "where the stack makes no sense",
        };
        text.push_str(&format!("\n  {n} {place}{why}"));
    }
    if bad.len() > SHOWN {
        let rest: u64 = bad[SHOWN..].iter().map(|c| c.2).sum();
        text.push_str(&format!("\n  {rest} elsewhere"));
    }
    Some(text)
}

/// Builds tables in as many threads as there are CPUs.
fn build_all(new: Vec<Opened>) -> Vec<(Opened, Option<UnwindTable>)> {
    let build = |o: &Opened| {
        o.elf
            .as_deref()
            .and_then(|elf| UnwindTable::build(elf).ok())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut tables: Vec<(usize, Option<UnwindTable>)> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(o) = new.get(i) else {
                    return done;
                };
                done.push((i, build(o)));
            }
        };
        let workers: Vec<_> = (1..threads.min(new.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut all = work();
        for w in workers {
            all.extend(w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
        }
        all
    });
    tables.sort_by_key(|t| t.0);
    new.into_iter()
        .zip(tables.into_iter().map(|t| t.1))
        .collect()
}
