//! BTF: the kernel's own description of its types, read lazily.
//!
//! In: the bytes of `/sys/kernel/btf/vmlinux`, of a module's blob beside it, or of a file. Out:
//! types by name and by id, through [`TypeSource`] and the queries of [`query`]. Opening maps the
//! file and reads its header; the first question walks the records once (about 1 ms for a whole
//! kernel); names are searched, not loaded. Damaged data yields missing types, never a panic.
//!
//! A module's blob continues the numbering of types and strings of vmlinux, its base.

pub mod build;
pub mod from_c;
pub mod query;
pub mod raw;

mod names;
mod types;

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::ctypes::model::TypeId;
use crate::error::{Error, ErrorExt, Result};

use names::Names;
pub use raw::Kind;
use raw::{Header, Index, Record};

/// Where the kernel exposes its BTF (since 5.4; modules since 5.11).
pub const SYSFS: &str = "/sys/kernel/btf";

/// A BTF blob with its lazily built indexes.
#[derive(Debug)]
pub struct Btf {
    data: Data,
    header: Header,
    base: Option<Arc<Btf>>,
    index: OnceLock<Index>,
    names: Names,
}

/// The bytes: mapped where the kernel allows it.
enum Data {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            Data::Mapped(m) => m,
            Data::Owned(v) => v,
        }
    }

    fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() > 0 {
            // SAFETY: the mapping is private and read-only. A kernel's BTF never changes; a BTF
            // file that another process truncates while we run could fault, as with any mapped
            // object file.
            // The kernel maps its BTF only as a private copy.
            if let Ok(map) = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) } {
                return Ok(Data::Mapped(map));
            }
        }
        // Older kernels refuse to map the sysfs file (6.12: ENODEV; 6.18 maps it).
        std::fs::read(path).map(Data::Owned)
    }
}

impl Btf {
    /// Opens a blob that stands alone: the kernel's, or a detached BTF file.
    ///
    /// # Errors
    /// A file that cannot be read, or that is not BTF.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), None)
    }

    /// Opens a module's blob, which refers to types of `base`.
    ///
    /// # Errors
    /// As [`Btf::open`].
    pub fn open_module(path: impl AsRef<Path>, base: Arc<Btf>) -> Result<Self> {
        Self::open_with(path.as_ref(), Some(base))
    }

    fn open_with(path: &Path, base: Option<Arc<Btf>>) -> Result<Self> {
        Data::open(path)
            .map_err(Error::from)
            .and_then(|data| Self::new(data, base))
            .with_context(|| path.display().to_string())
    }

    /// Takes a blob from memory.
    ///
    /// # Errors
    /// Bytes that are not BTF.
    pub fn from_bytes(bytes: Vec<u8>, base: Option<Arc<Btf>>) -> Result<Self> {
        Self::new(Data::Owned(bytes), base)
    }

    fn new(data: Data, base: Option<Arc<Btf>>) -> Result<Self> {
        let header = Header::read(data.bytes())?;
        Ok(Self {
            data,
            header,
            base,
            index: OnceLock::new(),
            names: Names::default(),
        })
    }

    fn type_bytes(&self) -> &[u8] {
        &self.data.bytes()[self.header.types.clone()]
    }

    fn string_bytes(&self) -> &[u8] {
        &self.data.bytes()[self.header.strings.clone()]
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::build(self.type_bytes()))
    }

    /// The first id that this blob defines itself: 1, or what follows the base.
    pub fn first_id(&self) -> u32 {
        self.base.as_ref().map_or(1, |b| b.end_id())
    }

    /// One past the last id.
    pub fn end_id(&self) -> u32 {
        self.first_id().saturating_add(self.index().count())
    }

    /// Offset of this blob's first string in the numbering that it shares with its base.
    fn first_string(&self) -> u32 {
        self.base.as_ref().map_or(0, |b| {
            b.first_string()
                .saturating_add(b.string_bytes().len() as u32)
        })
    }

    /// The record of a type, from the base where the id belongs to it; `None` for `void` and for
    /// ids out of range.
    pub fn record(&self, id: TypeId) -> Option<Record<'_>> {
        let own = self.first_id();
        if id.0 >= own {
            return self.index().record(self.type_bytes(), id.0 - own);
        }
        self.base.as_ref()?.record(id)
    }

    /// The string at an offset, empty where there is none or it is not UTF-8.
    pub fn string(&self, offset: u32) -> &str {
        let own = self.first_string();
        if offset < own {
            return self.base.as_ref().map_or("", |b| b.string(offset));
        }
        let tail = self
            .string_bytes()
            .get((offset - own) as usize..)
            .unwrap_or(&[]);
        let Some(end) = memchr::memchr(0, tail) else {
            return "";
        };
        std::str::from_utf8(&tail[..end]).unwrap_or("")
    }

    /// The kind of a type; out of range reads as `void`.
    pub fn kind(&self, id: TypeId) -> Kind {
        self.record(id).map_or(Kind::Void, |r| r.kind)
    }

    /// The name of a type, empty when anonymous.
    pub fn name(&self, id: TypeId) -> &str {
        self.record(id).map_or("", |r| self.string(r.name_off))
    }

    /// All types of one kind that this blob itself defines, with their names, in order of id.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (TypeId, &str)> + '_ {
        let first = self.first_id();
        self.index()
            .names(self.type_bytes())
            .filter(move |&(_, _, k)| k == kind as u8)
            .map(move |(i, name, _)| (TypeId(first + i), self.string(name)))
    }

    /// The whole blob, for handing to the kernel or to a file.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.data.bytes())
    }
}

#[cfg(test)]
mod tests;
