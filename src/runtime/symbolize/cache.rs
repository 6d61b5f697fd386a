//! Files whose symbols are in use, each opened once.
//!
//! In: a mapping of a process. Out: the module behind it. A file is known by device and inode,
//! and again by build id, so that the same library in ten containers is indexed once. What is
//! cached stays mapped: its inode cannot be re-used, and its symbols outlive the process and
//! even the file's deletion.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::maps::{FileId, Mapping, Maps};
use crate::symbols::debuglink::DebugDirs;
use crate::symbols::dwarf::Lines;
use crate::symbols::elf::{BuildId, ElfFile};
use crate::symbols::index::SymbolIndex;

/// Largest vDSO that is read, in bytes; real ones have two to six pages.
const MAX_VDSO: u64 = 1 << 20;

/// An open file with its symbols, which are read on first use.
#[derive(Debug)]
pub struct Module {
    elf: Arc<ElfFile>,
    dirs: DebugDirs,
    index: OnceLock<SymbolIndex>,
    lines: OnceLock<Option<Lines>>,
}

impl Module {
    fn new(elf: ElfFile, dirs: DebugDirs) -> Self {
        Self {
            elf: Arc::new(elf),
            dirs,
            index: OnceLock::new(),
            lines: OnceLock::new(),
        }
    }

    /// The file.
    pub fn elf(&self) -> &ElfFile {
        &self.elf
    }

    /// Its functions.
    pub fn index(&self) -> &SymbolIndex {
        self.index
            .get_or_init(|| SymbolIndex::new(Arc::clone(&self.elf), &self.dirs))
    }

    /// Its source lines; `None` without debug information.
    pub fn lines(&self) -> Option<&Lines> {
        self.lines
            .get_or_init(|| Lines::load(&self.elf, &self.dirs))
            .as_ref()
    }
}

/// The modules in use.
#[derive(Debug)]
pub struct ModuleCache {
    dirs: DebugDirs,
    files: HashMap<FileId, Option<Arc<Module>>>,
    builds: HashMap<BuildId, Arc<Module>>,
    vdso: Option<Option<Arc<Module>>>,
}

/// Where a process' file system hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// It is ours.
    Shared,
    /// Behind `/proc/PID/root`.
    Foreign(PathBuf),
}

impl ModuleCache {
    /// An empty cache that finds debug files in `dirs`.
    pub fn new(dirs: DebugDirs) -> Self {
        Self {
            dirs,
            files: HashMap::new(),
            builds: HashMap::new(),
            vdso: None,
        }
    }

    /// Whether the file behind a mapping was opened already, or is none.
    pub fn knows(&self, mapping: &Mapping) -> bool {
        self.files.contains_key(&mapping.file)
    }

    /// The module behind a mapping of `pid`; `None` if it is no ELF file or cannot be opened.
    pub fn module(&mut self, pid: u32, root: &Root, mapping: &Mapping) -> Option<Arc<Module>> {
        if &*mapping.name == "[vdso]" {
            return self
                .vdso
                .get_or_insert_with(|| vdso().map(Arc::new))
                .clone();
        }
        if !mapping.is_file() {
            return None;
        }
        if let Some(known) = self.files.get(&mapping.file) {
            return known.clone();
        }
        // What cannot be opened through this process may be through another.
        let (file, path) = open(pid, root, mapping)?;
        let elf = ElfFile::from_file(&file, &path).ok();
        let module = elf.map(|elf| self.shared(elf, root));
        self.files.insert(mapping.file, module.clone());
        module
    }

    /// The module with the build id of `elf`, or a new one.
    fn shared(&mut self, elf: ElfFile, root: &Root) -> Arc<Module> {
        let mut dirs = self.dirs.clone();
        if let Root::Foreign(root) = root {
            // The container's own debug files fit best.
            let own = dirs.below(root).roots;
            dirs.roots.splice(0..0, own);
        }
        match elf.build_id() {
            Some(id) => Arc::clone(
                self.builds
                    .entry(id)
                    .or_insert_with(|| Arc::new(Module::new(elf, dirs))),
            ),
            None => Arc::new(Module::new(elf, dirs)),
        }
    }
}

/// Opens the file behind a mapping: through the kernel's own link, which works for deleted files
/// and foreign file systems but wants CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN; else by path.
pub fn open(pid: u32, root: &Root, mapping: &Mapping) -> Option<(File, PathBuf)> {
    let path = match root {
        Root::Shared => PathBuf::from(&*mapping.name),
        Root::Foreign(root) => root.join(mapping.name.trim_start_matches('/')),
    };
    let link = format!(
        "/proc/{pid}/map_files/{:x}-{:x}",
        mapping.start, mapping.end
    );
    if let Ok(file) = File::open(link) {
        return Some((file, path));
    }
    if mapping.deleted {
        return None;
    }
    let file = File::open(&path).ok()?;
    // Another file may have taken the path. Devices are not compared: overlay and btrfs show
    // one in maps and another in stat.
    let same = file.metadata().is_ok_and(|m| m.ino() == mapping.file.inode);
    same.then_some((file, path))
}

/// The vDSO, from this process' memory: every 64-bit process has the same.
fn vdso() -> Option<Module> {
    Some(Module::new(vdso_file()?, DebugDirs::none()))
}

/// The same as a file.
pub fn vdso_file() -> Option<ElfFile> {
    let maps = Maps::parse(&std::fs::read_to_string("/proc/self/maps").ok()?);
    let mapping = maps.iter().find(|m| &*m.name == "[vdso]")?;
    let size = (mapping.end - mapping.start).min(MAX_VDSO);
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    File::open("/proc/self/mem")
        .ok()?
        .read_exact_at(&mut bytes, mapping.start)
        .ok()?;
    ElfFile::from_bytes(bytes, Path::new("[vdso]")).ok()
}
