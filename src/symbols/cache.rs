//! Symbol indexes that outlive a compilation: a session names the same files again and again.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::archive;
use super::debuglink::DebugDirs;
use super::index::SymbolIndex;
use crate::error::Result;

/// What tells a file from the one that was there before: device, inode, size and the time of the
/// last change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

/// An index and the file it was read from.
type Known = (Stamp, Arc<SymbolIndex>);

/// Indexes by file, shared by all clones. A file that changed is read again.
#[derive(Clone, Default)]
pub struct IndexCache(Arc<Mutex<HashMap<PathBuf, Known>>>);

impl fmt::Debug for IndexCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IndexCache")
    }
}

impl IndexCache {
    /// The index of `path`, read now if it is not known.
    ///
    /// # Errors
    /// As for [`SymbolIndex::open`].
    pub fn open(&self, path: &Path, dirs: &DebugDirs) -> Result<Arc<SymbolIndex>> {
        let m = match archive::split(path) {
            Some((archive, _)) => fs::metadata(archive)?,
            None => fs::metadata(path)?,
        };
        let stamp = (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec());
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, index)) = known().get(path)
            && *at == stamp
        {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(SymbolIndex::open(path, dirs)?);
        known().insert(path.to_owned(), (stamp, Arc::clone(&index)));
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_until_it_changes() {
        let copy = std::env::temp_dir().join(format!("rtrace-cache-{}", std::process::id()));
        fs::copy("/proc/self/exe", &copy).unwrap();
        let (cache, dirs) = (IndexCache::default(), DebugDirs::system());
        let first = cache.open(&copy, &dirs).unwrap();
        let second = cache.clone().open(&copy, &dirs).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let file = fs::File::options().write(true).open(&copy).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let third = cache.open(&copy, &dirs).unwrap();
        fs::remove_file(&copy).unwrap();
        assert!(!Arc::ptr_eq(&first, &third));
        assert!(cache.open(&copy, &dirs).is_err());
    }
}
