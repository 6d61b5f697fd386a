//! Tables made from files, kept on disk for the next run.
//!
//! In: a kind of table with its version, and the identity of what it was made from (build id,
//! size, ...). Out: its bytes as they were stored, mapped, or nothing. An entry is one file,
//! `KIND-VERSION-HASH`, that starts with the identity itself and a checksum: a file that is cut,
//! damaged, of another version or for something else counts as absent, never as an error. What
//! is stored is written under another name and renamed, so that nobody sees half of it; all
//! entries together stay below a limit, the longest unused go first.
//!
//! Whoever can write here decides what addresses are called. Folder and files are private (0700,
//! 0600), and one of another user, or one that others may write, is not read. Root's folder is
//! `/var/cache/rtrace` and not in HOME, which sudo may leave as the caller's.
//!
//! Nothing here is needed: a folder that cannot be written, or a disk that is nearly full, means
//! that tables are made anew. It does not know what the bytes mean; who stores them parses them
//! as untrusted input would be, by offsets that are checked.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use memmap2::Mmap;

/// The environment variable that names another folder; empty for none.
pub const VARIABLE: &str = "RTRACE_CACHE";

/// Bytes of all entries together.
const LIMIT: u64 = 256 << 20;

/// Bytes that stay free on the disk.
const RESERVE: u64 = 1 << 30;

/// Unused for this long, an entry is marked as used again.
const USED_AGAIN: Duration = Duration::from_secs(3600);

/// A file that was being written this long ago never will be done.
const ABANDONED: Duration = Duration::from_secs(600);

/// What files that are being written are called.
const UNFINISHED: &str = ".unfinished-";

const MAGIC: &[u8; 8] = b"rtrace\0\x01";

/// Magic, length of the identity, length of the payload, checksum of the payload.
const HEADER: usize = 32;

/// The folder.
#[derive(Clone, Debug)]
pub struct DiskCache {
    dir: PathBuf,
    limit: u64,
}

/// What an entry is found by.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The kind of table: a word.
    pub kind: &'a str,
    /// Version of its layout: whoever changes the layout counts up.
    pub version: u32,
    /// Everything that the table depends on. Two identities that differ are two entries.
    pub identity: &'a [u8],
}

impl Key<'_> {
    fn file_name(&self) -> String {
        let hash = checksum(self.identity);
        format!("{}-{}-{hash:016x}", self.kind, self.version)
    }
}

/// The bytes of an entry.
#[derive(Debug)]
pub struct Stored {
    map: Mmap,
    start: usize,
}

impl std::ops::Deref for Stored {
    type Target = [u8];

    /// Starts at an address that is a multiple of eight.
    fn deref(&self) -> &[u8] {
        &self.map[self.start..]
    }
}

impl DiskCache {
    /// The folder of this user, which need not exist; `None` if there is none or none is wanted.
    pub fn of_user() -> Option<Self> {
        let env = |name| std::env::var_os(name).filter(|v| !v.is_empty());
        let dir = match std::env::var_os(VARIABLE) {
            Some(dir) if dir.is_empty() => return None,
            Some(dir) => PathBuf::from(dir),
            None if nix::unistd::geteuid().is_root() => PathBuf::from("/var/cache/rtrace"),
            None => match env("XDG_CACHE_HOME") {
                Some(dir) => PathBuf::from(dir).join("rtrace"),
                None => PathBuf::from(env("HOME")?).join(".cache/rtrace"),
            },
        };
        dir.is_absolute().then(|| Self::at(&dir, LIMIT))
    }

    /// A folder with a limit of its own.
    pub fn at(dir: &Path, limit: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            limit,
        }
    }

    /// The bytes stored under `key`, if they are there and whole.
    pub fn load(&self, key: Key<'_>) -> Option<Stored> {
        if !is_private(&fs::symlink_metadata(&self.dir).ok()?) {
            return None;
        }
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(self.dir.join(key.file_name()))
            .ok()?;
        let meta = file.metadata().ok()?;
        if !meta.is_file() || !is_private(&meta) || meta.len() < HEADER as u64 {
            return None;
        }
        // SAFETY: private and read-only. The file is ours alone (checked above), and entries are
        // replaced by renaming and removed by unlinking, which leaves a mapped one untouched.
        let map = unsafe { memmap2::MmapOptions::new().populate().map(&file) }.ok()?;
        let start = check(&map, key.identity)?;
        mark_used(&file, &meta);
        Some(Stored { map, start })
    }

    /// Stores the parts, one after another, under `key`. Whether they are stored.
    pub fn store(&self, key: Key<'_>, parts: &[&[u8]]) -> bool {
        self.try_store(key, parts).is_ok()
    }

    fn try_store(&self, key: Key<'_>, parts: &[&[u8]]) -> io::Result<()> {
        let payload: usize = parts.iter().map(|p| p.len()).sum();
        let identity = key.identity.len().next_multiple_of(8);
        let total = (HEADER + identity + payload) as u64;
        if total > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.create_dir()?;
        if !has_room(&self.dir, total) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.evict(total);
        let mut head = Vec::with_capacity(HEADER + identity);
        head.extend_from_slice(MAGIC);
        for number in [
            key.identity.len() as u64,
            payload as u64,
            checksum_of(parts),
        ] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(key.identity);
        head.resize(HEADER + identity, 0);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .dir
            .join(format!("{UNFINISHED}{}-{count}", std::process::id()));
        let written = write_new(&temporary, &head, parts)
            .and_then(|()| fs::rename(&temporary, self.dir.join(key.file_name())));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn create_dir(&self) -> io::Result<()> {
        let known = || fs::symlink_metadata(&self.dir);
        if known().is_err() {
            if let Some(parent) = self.dir.parent() {
                // ~/.cache is the user's own as well.
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(parent)?;
            }
            DirBuilder::new()
                .mode(0o700)
                .create(&self.dir)
                .or_else(|e| {
                    // Another run was first.
                    known().map(|_| ()).map_err(|_| e)
                })?;
        }
        let meta = known()?;
        if meta.is_dir() && is_private(&meta) {
            return Ok(());
        }
        Err(io::ErrorKind::PermissionDenied.into())
    }

    /// Removes the longest unused entries until `more` bytes fit.
    fn evict(&self, more: u64) {
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        let now = SystemTime::now();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let unfinished = entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(UNFINISHED.as_bytes());
            if unfinished && now.duration_since(used).is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
                continue;
            }
            entries.push((used, meta.len(), entry.path()));
        }
        let mut sum: u64 = entries.iter().map(|e| e.1).sum();
        entries.sort();
        for (_, size, path) in entries {
            if sum + more <= self.limit {
                return;
            }
            if fs::remove_file(path).is_ok() {
                sum -= size;
            }
        }
    }
}

/// Whether it is ours and nobody else can write it.
fn is_private(meta: &Metadata) -> bool {
    meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

/// Whether `size` more bytes leave the disk with its reserve.
fn has_room(dir: &Path, size: u64) -> bool {
    nix::sys::statvfs::statvfs(dir)
        .is_ok_and(|v| v.blocks_available() * v.fragment_size() >= size + RESERVE)
}

fn write_new(path: &Path, head: &[u8], parts: &[&[u8]]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(head)?;
    parts.iter().try_for_each(|part| file.write_all(part))
}

/// The time of the last change says when an entry was last used: that of the last access is not
/// kept everywhere.
fn mark_used(file: &File, meta: &Metadata) {
    let now = SystemTime::now();
    let stale = meta
        .modified()
        .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > USED_AGAIN));
    if stale {
        let _ = file.set_modified(now);
    }
}

/// Where the payload starts, if this is a whole entry for `identity`.
fn check(bytes: &[u8], identity: &[u8]) -> Option<usize> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    if !bytes.starts_with(MAGIC) || number(8)? != identity.len() as u64 {
        return None;
    }
    let start = HEADER + identity.len().next_multiple_of(8);
    let payload = bytes.get(start..)?;
    let whole = bytes[HEADER..].starts_with(identity)
        && number(16)? == payload.len() as u64
        && number(24)? == checksum(payload);
    whole.then_some(start)
}

fn checksum(bytes: &[u8]) -> u64 {
    checksum_of(&[bytes])
}

/// Of the parts as if they were one. It tells damage, not malice: four lanes of eight bytes, each
/// multiplied and rotated, folded at the end.
fn checksum_of(parts: &[&[u8]]) -> u64 {
    const LANE: usize = 32;
    let mut state = Checksum::default();
    // What a part leaves over continues with the next one.
    let mut rest = [0u8; LANE];
    let mut held = 0;
    for part in parts {
        let mut part = *part;
        state.len += part.len() as u64;
        if held > 0 {
            let take = part.len().min(LANE - held);
            rest[held..held + take].copy_from_slice(&part[..take]);
            held += take;
            part = &part[take..];
            if held < LANE {
                continue;
            }
            state.add(&rest);
        }
        let (lanes, tail) = part.as_chunks::<LANE>();
        lanes.iter().for_each(|lane| state.add(lane));
        rest[..tail.len()].copy_from_slice(tail);
        held = tail.len();
    }
    rest[held..].fill(0);
    state.add(&rest);
    state.finish()
}

#[derive(Default)]
struct Checksum {
    lanes: [u64; 4],
    len: u64,
}

impl Checksum {
    /// An odd number with its bits evenly spread: the golden ratio's.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    fn add(&mut self, bytes: &[u8; 32]) {
        let (words, _) = bytes.as_chunks::<8>();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = (*lane ^ u64::from_le_bytes(*word))
                .wrapping_mul(Self::FACTOR)
                .rotate_left(29);
        }
    }

    fn finish(self) -> u64 {
        let mut all = self.len;
        for lane in self.lanes {
            all = (all ^ lane).wrapping_mul(Self::FACTOR);
            all ^= all >> 32;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let dir =
                std::env::temp_dir().join(format!("rtrace-disk-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }

        fn cache(&self, limit: u64) -> DiskCache {
            DiskCache::at(&self.0.join("cache"), limit)
        }

        fn files(&self) -> Vec<PathBuf> {
            let mut all: Vec<_> = fs::read_dir(self.0.join("cache"))
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            all.sort();
            all
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn key(identity: &[u8]) -> Key<'_> {
        Key {
            kind: "test",
            version: 3,
            identity,
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_private() {
        let folder = Folder::new("roundtrip");
        let cache = folder.cache(1 << 20);
        assert!(cache.load(key(b"id")).is_none());
        for parts in [
            &[&b""[..]][..],
            &[b"abc", b"", b"defgh"],
            &[&[7; 33], &[8; 31], &[9; 100]],
        ] {
            assert!(cache.store(key(b"id"), parts));
            let stored = cache.load(key(b"id")).unwrap();
            assert_eq!(&stored[..], parts.concat());
            assert_eq!(stored.as_ptr() as usize % 8, 0);
        }
        assert!(cache.load(key(b"ix")).is_none());
        assert!(
            cache
                .load(Key {
                    version: 4,
                    ..key(b"id")
                })
                .is_none()
        );
        let [file] = &folder.files()[..] else {
            panic!()
        };
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&cache.dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_entry_is_absent() {
        let folder = Folder::new("damaged");
        let cache = folder.cache(1 << 20);
        assert!(cache.store(key(b"identity"), &[&[5; 1000]]));
        let file = folder.files().remove(0);
        let whole = fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&file, &bytes).unwrap();
            assert!(cache.load(key(b"identity")).is_none(), "byte {at}");
            fs::write(&file, &whole[..at]).unwrap();
            assert!(cache.load(key(b"identity")).is_none(), "cut at {at}");
        }
        fs::write(&file, &whole).unwrap();
        assert!(cache.load(key(b"identity")).is_some());
    }

    #[test]
    fn another_identity_under_the_same_name_is_absent() {
        let folder = Folder::new("collision");
        let cache = folder.cache(1 << 20);
        assert!(cache.store(key(b"one"), &[b"1"]));
        let file = folder.files().remove(0);
        fs::rename(&file, cache.dir.join(key(b"two").file_name())).unwrap();
        assert!(cache.load(key(b"two")).is_none());
    }

    #[test]
    fn what_others_can_write_is_not_read() {
        let folder = Folder::new("foreign");
        let cache = folder.cache(1 << 20);
        assert!(cache.store(key(b"id"), &[b"1"]));
        let file = folder.files().remove(0);
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        set(&file, 0o620).unwrap();
        assert!(cache.load(key(b"id")).is_none());
        set(&file, 0o600).unwrap();
        set(&cache.dir, 0o777).unwrap();
        assert!(cache.load(key(b"id")).is_none());
        assert!(!cache.store(key(b"id"), &[b"1"]));
        set(&cache.dir, 0o700).unwrap();
        fs::rename(&file, folder.0.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(folder.0.join("elsewhere"), &file).unwrap();
        assert!(cache.load(key(b"id")).is_none(), "a link");
    }

    #[test]
    fn the_longest_unused_make_room_and_nothing_grows() {
        let folder = Folder::new("evict");
        let cache = folder.cache(4000);
        let day = Duration::from_secs(86_400);
        for (i, id) in [b"a", b"b", b"c"].into_iter().enumerate() {
            assert!(cache.store(key(id), &[&[0; 1000]]));
            let file = cache.dir.join(key(id).file_name());
            let at = SystemTime::now() - day * (10 - i as u32);
            File::options()
                .write(true)
                .open(file)
                .unwrap()
                .set_modified(at)
                .unwrap();
        }
        assert!(cache.load(key(b"a")).is_some(), "which uses it");
        fs::write(cache.dir.join(".unfinished-1-1"), [0; 10]).unwrap();
        assert!(cache.store(key(b"d"), &[&[0; 1000]]));
        assert!(cache.load(key(b"b")).is_none());
        for id in [b"a", b"c", b"d"] {
            assert!(cache.load(key(id)).is_some());
        }
        assert!(
            !cache.store(key(b"e"), &[&[0; 5000]]),
            "larger than everything"
        );
        for i in 0..50u8 {
            assert!(cache.store(key(&[i]), &[&[i; 900]]));
            let sum: u64 = folder
                .files()
                .iter()
                .map(|f| fs::metadata(f).unwrap().len())
                .sum();
            assert!(sum <= 4000, "{sum}");
        }
    }

    #[test]
    fn parts_are_summed_as_one() {
        let data: Vec<u8> = (0..200u8).collect();
        for cut in 0..data.len() {
            let (a, b) = data.split_at(cut);
            assert_eq!(checksum_of(&[a, b]), checksum(&data), "{cut}");
        }
        assert_ne!(checksum(&[0; 32]), checksum(&[0; 33]));
    }
}
