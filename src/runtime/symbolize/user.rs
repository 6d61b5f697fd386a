//! User addresses to names.
//!
//! In: a pid and addresses of its stack. Out: frames. A process is looked at when it is first
//! named ([`UserSymbolizer::remember`] does so early) and its files are opened then, so that
//! stacks resolve after it has ended. It is looked at again when an address lies in no mapping,
//! or when its pid has a new owner. What the kernel reports of processes in the meantime
//! ([`UserSymbolizer::apply`]) answers for those that nobody looked at in time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::cache::Root;
use super::cache::{Module, ModuleCache};
use super::maps::Mapping;
use super::process::{self, Process};
use super::recorder::{Change, Recorder};
use super::{Frame, InlinedFrame, SourceLine};
use crate::symbols::debuglink::DebugDirs;
use crate::symbols::demangle::{self, Form};

/// Frames kept per process; more distinct addresses than this in one process empty the cache.
const MAX_FRAMES: usize = 1 << 16;
/// Processes that generate code and are looked at when they begin to.
const MAX_GENERATING: usize = 256;

/// What frames show.
#[derive(Clone, Debug)]
pub struct UserOptions {
    /// Readable form of mangled names; `None` leaves them as they are.
    pub demangle: Option<Form>,
    /// Source lines and inlined functions.
    pub lines: bool,
    /// Where separate debug files are.
    pub dirs: DebugDirs,
}

impl Default for UserOptions {
    fn default() -> Self {
        Self {
            demangle: Some(Form::Full),
            lines: false,
            dirs: DebugDirs::system(),
        }
    }
}

/// Resolves addresses of processes.
#[derive(Debug)]
pub struct UserSymbolizer {
    options: UserOptions,
    modules: ModuleCache,
    processes: HashMap<u32, Known>,
    recorder: Recorder,
    /// Processes with code in memory that no file backs, while they are few.
    generating: HashSet<u32>,
    /// An address was in nothing that is known.
    unknown: bool,
}

#[derive(Debug)]
struct Known {
    /// `None`: it had ended before it was first looked at.
    process: Option<Process>,
    /// By the address looked up and the address shown, which differ for return addresses.
    frames: HashMap<(u64, u64), Frame>,
}

impl UserSymbolizer {
    /// A symbolizer that has not looked at anything yet.
    pub fn new(options: UserOptions) -> Self {
        Self {
            modules: ModuleCache::new(options.dirs.clone()),
            options,
            processes: HashMap::new(),
            recorder: Recorder::default(),
            generating: HashSet::new(),
            unknown: false,
        }
    }

    /// Takes all running processes for looking at; [`catch_up`](Self::catch_up) does so.
    pub fn watch(&mut self) {
        self.recorder.start();
    }

    /// Looks for a moment at processes that ran before; whether there are more.
    pub fn catch_up(&mut self) -> bool {
        let more = self.recorder.catch_up();
        self.open_endangered();
        more
    }

    /// Opens the files of processes that ran before, where they will be out of reach later:
    /// those of other file systems, and deleted ones.
    fn open_endangered(&mut self) {
        for pid in self.recorder.take_looked_at() {
            let root = process::root_of(pid);
            for mapping in self.recorder.maps(pid) {
                let endangered = mapping.deleted || root != Root::Shared;
                if mapping.is_file() && endangered && !self.modules.knows(mapping) {
                    self.modules.module(pid, &root, mapping);
                }
            }
        }
    }

    /// Whether processes are still to be looked at.
    pub fn is_behind(&self) -> bool {
        self.recorder.is_behind()
    }

    /// How often what a process had mapped was not recorded, or forgotten again; 0 if every
    /// address was in something known all the same.
    pub fn incomplete(&self) -> u64 {
        match self.unknown {
            true => self.recorder.incomplete(),
            false => 0,
        }
    }

    /// Takes in what the kernel reports of a process.
    pub fn apply(&mut self, change: Change) {
        let pid = match &change {
            Change::Mapped { pid, .. } => *pid,
            _ => 0,
        };
        let new = self.recorder.apply(change).cloned();
        self.open_endangered();
        let Some(mapping) = new else {
            return;
        };
        if !mapping.is_file() {
            // A JIT at work. Its list of names is opened while its file system is there.
            let jit = mapping.executable && mapping.name.is_empty();
            if jit && self.generating.len() < MAX_GENERATING && self.generating.insert(pid) {
                self.remember(pid);
            }
            return;
        }
        // A file that is new is opened now: it may be deleted, or out of reach with its process.
        if !self.modules.knows(&mapping) {
            let root = process::root_of(pid);
            self.modules.module(pid, &root, &mapping);
        }
    }

    /// Looks at a process now and opens its files, unless it is known and still the same.
    pub fn remember(&mut self, pid: u32) {
        let known = self.processes.entry(pid).or_insert_with(|| Known {
            process: None,
            frames: HashMap::new(),
        });
        match &mut known.process {
            Some(process) => {
                if !process.follow_pid() {
                    return;
                }
                known.frames.clear();
            }
            None => known.process = Process::look(pid),
        }
        self.open_files(pid);
    }

    /// Looks at a process now, known or not, and opens what it has mapped since.
    pub fn look_at(&mut self, pid: u32) {
        if let Some(known) = self.processes.get_mut(&pid)
            && let Some(process) = &mut known.process
        {
            if !process.look_now() {
                return;
            }
            known.frames.clear();
        }
        self.remember(pid);
        self.open_files(pid);
    }

    /// Opens what a process has mapped, once each.
    fn open_files(&mut self, pid: u32) {
        let known = self.processes.get(&pid);
        if let Some(process) = known.and_then(|k| k.process.as_ref()) {
            for mapping in process.maps().iter().filter(|m| m.executable) {
                self.modules.module(pid, process.root(), mapping);
            }
        }
    }

    /// The frame of an exact address: an instruction pointer or a function pointer.
    pub fn resolve(&mut self, pid: u32, addr: u64) -> Frame {
        self.remember(pid);
        self.frame(pid, addr, addr)
    }

    /// The frame of a return address. The call that it follows is what is named: after a call
    /// that never returns, the address itself may belong to the next function.
    pub fn resolve_return(&mut self, pid: u32, addr: u64) -> Frame {
        self.remember(pid);
        self.frame(pid, addr.saturating_sub(1), addr)
    }

    /// The frames of a stack, innermost first: an instruction pointer and return addresses.
    pub fn resolve_stack(&mut self, pid: u32, addrs: &[u64]) -> Vec<Frame> {
        self.remember(pid);
        (0..)
            .zip(addrs)
            .map(|(i, &addr)| {
                self.frame(
                    pid,
                    if i == 0 { addr } else { addr.saturating_sub(1) },
                    addr,
                )
            })
            .collect()
    }

    /// Forgets a process; its files stay cached.
    pub fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    fn frame(&mut self, pid: u32, at: u64, addr: u64) -> Frame {
        let Some(known) = self.processes.get_mut(&pid) else {
            return Frame::unknown(addr);
        };
        if let Some(frame) = known.frames.get(&(at, addr)) {
            return frame.clone();
        }
        if let Some(process) = &mut known.process
            && process.maps().find(at).is_none()
            && process.look_again()
        {
            known.frames.clear();
        }
        let seen = known.process.as_ref();
        let (mapping, root) = match seen.and_then(|p| Some((p.find(at)?, p.root()))) {
            Some((mapping, root)) => (mapping.clone(), root),
            None => match self.recorder.find(pid, at) {
                // Its files were opened when they were mapped.
                Some(mapping) => (mapping.clone(), &Root::Shared),
                // Not cached: the mapping may come.
                None => {
                    self.unknown = true;
                    return Frame::unknown(addr);
                }
            },
        };
        let module = self.modules.module(pid, root, &mapping);
        let mut frame = locate(&mapping, module.as_deref(), at, addr);
        match &module {
            Some(module) => name(&mut frame, module, &mapping, at, &self.options),
            // Code in memory that no ELF file backs: a JIT's.
            None if mapping.executable => {
                let process = known.process.as_mut();
                if let Some((name, start)) = process.and_then(|p| p.generated(at)) {
                    frame.symbol = Some(Arc::from(name));
                    frame.offset = addr - start;
                }
            }
            None => {}
        }
        // A JIT may yet write the name.
        if module.is_some() || frame.symbol.is_some() {
            if known.frames.len() >= MAX_FRAMES {
                known.frames.clear();
            }
            known.frames.insert((at, addr), frame.clone());
        }
        frame
    }
}

/// The frame without its name: module and offsets.
fn locate(mapping: &Mapping, module: Option<&Module>, at: u64, addr: u64) -> Frame {
    let file_offset = mapping.file_offset(at) + (addr - at);
    let vaddr = module.and_then(|m| m.elf().offset_to_vaddr(mapping.file_offset(at)));
    Frame {
        address: addr,
        symbol: None,
        offset: vaddr.map_or(file_offset, |v| v + (addr - at)),
        module: (!mapping.name.is_empty()).then(|| Arc::clone(&mapping.name)),
        file_offset: mapping.is_file().then_some(file_offset),
        source: None,
        inlined: Vec::new(),
    }
}

fn name(frame: &mut Frame, module: &Module, mapping: &Mapping, at: u64, options: &UserOptions) {
    let Some(vaddr) = module.elf().offset_to_vaddr(mapping.file_offset(at)) else {
        return;
    };
    let readable = |raw: &str| -> Arc<str> {
        match options.demangle {
            Some(form) => Arc::from(&*demangle::readable(raw, form)),
            None => Arc::from(raw),
        }
    };
    if let Some(symbol) = module.index().lookup(vaddr) {
        frame.symbol = Some(readable(&symbol.name));
        frame.offset -= symbol.addr;
    }
    if !options.lines {
        return;
    }
    let Some(lines) = module.lines() else {
        return;
    };
    let place = |p: crate::symbols::dwarf::Place| SourceLine {
        file: p.file,
        line: p.line,
    };
    let mut found = lines.lookup(vaddr);
    // The outermost is the function itself; the others were expanded into it.
    if let Some(outer) = found.pop() {
        frame.source = outer.place.map(place);
    }
    frame.inlined = found
        .into_iter()
        .map(|f| InlinedFrame {
            name: f.name.as_deref().map_or_else(|| Arc::from("?"), readable),
            source: f.place.map(place),
        })
        .collect();
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
