//! Perf maps: the names that a JIT compiler writes for its code.
//!
//! In: `/tmp/perf-PID.map`, lines of `START SIZE NAME` in hexadecimal, written while the program
//! runs. Out: address to name. The file is the program's own word and may be huge, cut off or
//! nonsense: reading is bounded, bad lines are skipped and counted, and of overlapping entries
//! the later line wins, since a JIT reuses addresses.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorExt as _, Result};

/// Most bytes of a map that are read. A long-running node writes tens of megabytes.
const MAX_BYTES: u64 = 512 << 20;
/// Largest single function in bytes; more is a damaged line.
const MAX_FUNCTION: u64 = 1 << 30;

/// The names of one process' generated code.
#[derive(Debug, Default)]
pub struct PerfMap {
    text: String,
    /// Disjoint and ascending.
    spans: Vec<Span>,
    /// Length of the file when it was read, to see that it has grown.
    read: u64,
    skipped: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
    /// Where the whole function starts; `start` may be the rest of an overwritten one.
    function: u64,
    name: (u32, u32),
}

impl PerfMap {
    /// Reads an open map.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(file: &File) -> Result<Self> {
        let mut bytes = Vec::new();
        let mut file = file;
        file.rewind().context("perf map")?;
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .context("perf map")?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
        };
        Ok(Self::parse(text))
    }

    /// Parses the text of a map.
    pub fn parse(text: String) -> Self {
        let mut spans = Vec::new();
        let mut skipped = 0;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let start = at;
            at += line.len();
            // The last line may be half written.
            if !line.ends_with('\n') {
                break;
            }
            match parse_line(line) {
                Some((from, size, name)) => {
                    let offset = start + (name.as_ptr() as usize - line.as_ptr() as usize);
                    let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(name.len()))
                    else {
                        break;
                    };
                    spans.push(Span {
                        start: from,
                        end: from + size,
                        function: from,
                        name: (offset, len),
                    });
                }
                None => skipped += 1,
            }
        }
        Self {
            spans: newest_wins(&spans),
            read: text.len() as u64,
            text,
            skipped,
        }
    }

    /// The function that covers `addr`, and where it starts.
    pub fn lookup(&self, addr: u64) -> Option<(&str, u64)> {
        let at = self
            .spans
            .partition_point(|s| s.start <= addr)
            .checked_sub(1)?;
        let s = self.spans[at];
        let (from, len) = (s.name.0 as usize, s.name.1 as usize);
        (addr < s.end).then(|| (&self.text[from..from + len], s.function))
    }

    /// How many lines made no sense.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether the file has more than was read.
    pub fn has_grown(&self, file: &File) -> bool {
        file.metadata()
            .is_ok_and(|m| m.len() > self.read && self.read < MAX_BYTES)
    }
}

/// Opens the map at `path`; what is open can be read after the process and its file system are
/// gone.
///
/// # Errors
/// The file cannot be opened, or it is not a regular file of root or of `owner`: the name is
/// predictable and /tmp is open to all, so another user may have put it there.
pub fn open(path: &Path, owner: u32) -> Result<File> {
    let name = || path.display().to_string();
    // A fifo must not make us wait for its writer.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .with_context(name)?;
    let meta = file.metadata().with_context(name)?;
    if !meta.is_file() || (meta.uid() != owner && meta.uid() != 0) {
        return Err(Error::invalid("not a regular file of the process' user").context(name()));
    }
    Ok(file)
}

/// Where the map of a process may lie, best first: in its own mount namespace under the pid that
/// it knows itself by, then in ours. `ns_pid` is the innermost pid of NSpid.
pub fn paths(pid: u32, ns_pid: u32) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from(format!(
        "/proc/{pid}/root/tmp/perf-{ns_pid}.map"
    ))];
    if ns_pid != pid {
        all.push(PathBuf::from(format!(
            "/proc/{pid}/root/tmp/perf-{pid}.map"
        )));
    }
    // A process that has ended has no root any more.
    all.push(PathBuf::from(format!("/tmp/perf-{pid}.map")));
    all
}

/// `START SIZE NAME`; the name may have spaces.
fn parse_line(line: &str) -> Option<(u64, u64, &str)> {
    let line = line.trim_end();
    let (start, rest) = line.split_once(' ')?;
    let (size, name) = rest.split_once(' ')?;
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let (start, size, name) = (hex(start)?, hex(size)?, name.trim());
    let sane = size != 0 && size <= MAX_FUNCTION && start.checked_add(size).is_some();
    (sane && !name.is_empty()).then_some((start, size, name))
}

/// Cuts older spans where newer ones (later in the list) cover them: a sweep over all borders
/// with the newest open span on top of a heap.
fn newest_wins(spans: &[Span]) -> Vec<Span> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| spans[i].start);
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    let mut open = std::collections::BinaryHeap::<usize>::new();
    let mut at = 0;
    let mut next = 0;
    let mut emit = |start: u64, end: u64, i: usize| {
        let piece = Span {
            start,
            end,
            ..spans[i]
        };
        match out.last_mut() {
            Some(last) if last.end == start && last.name == piece.name => last.end = end,
            _ => out.push(piece),
        }
    };
    loop {
        while open.peek().is_some_and(|&i| spans[i].end <= at) {
            open.pop();
        }
        let Some(&top) = open.peek() else {
            let Some(&i) = order.get(next) else { break };
            at = spans[i].start;
            open.push(i);
            next += 1;
            continue;
        };
        let border = order.get(next).map(|&i| spans[i].start);
        let end = spans[top].end.min(border.unwrap_or(u64::MAX));
        if at < end {
            emit(at, end, top);
        }
        at = at.max(end);
        if border == Some(end) {
            open.push(order[next]);
            next += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, addrs: &[u64]) -> Vec<Option<String>> {
        let map = PerfMap::parse(text.to_owned());
        let show = |(name, start): (&str, u64)| format!("{name}@{start:x}");
        addrs.iter().map(|&a| map.lookup(a).map(show)).collect()
    }

    #[test]
    fn a_name_may_have_spaces_and_covers_its_size_only() {
        assert_eq!(
            names("10 4 LazyCompile:~f /a b.js:1\n", &[0xf, 0x10, 0x13, 0x14]),
            [
                None,
                Some("LazyCompile:~f /a b.js:1@10".into()),
                Some("LazyCompile:~f /a b.js:1@10".into()),
                None
            ]
        );
    }

    #[test]
    fn the_later_line_wins_and_leaves_the_rest_of_the_earlier() {
        assert_eq!(
            names("10 10 old\n14 4 new\n", &[0x10, 0x14, 0x17, 0x18, 0x1f]),
            ["old@10", "new@14", "new@14", "old@10", "old@10"].map(|s| Some(s.to_owned()))
        );
        assert_eq!(names("10 4 a\n10 4 b\n", &[0x10]), [Some("b@10".into())]);
        assert_eq!(names("14 4 a\n10 8 b\n", &[0x15]), [Some("b@10".into())]);
    }

    #[test]
    fn nonsense_is_skipped() {
        let text = "zz 4 a\n10\n10 0 zero\n10 ffffffffffffffff huge\nffffffffffffffff 2 wraps\n\
                    20 4 \n30 4 good\n40 4 half";
        let map = PerfMap::parse(text.to_owned());
        assert_eq!(map.skipped(), 6);
        assert_eq!(map.lookup(0x31), Some(("good", 0x30)));
        assert_eq!(map.lookup(0x41), None);
    }

    #[test]
    fn a_map_of_another_user_is_refused() {
        let path = std::env::temp_dir().join(format!("rtrace-perfmap-{}", std::process::id()));
        std::fs::write(&path, "10 4 a\n").unwrap();
        let owner = std::fs::metadata(&path).unwrap().uid();
        let file = open(&path, owner).unwrap();
        let map = PerfMap::read(&file).unwrap();
        assert_eq!(map.lookup(0x11), Some(("a", 0x10)));
        assert!(!map.has_grown(&file));
        std::fs::write(&path, "10 4 a\n20 4 b\n").unwrap();
        assert!(map.has_grown(&file));
        if owner != 0 {
            assert!(open(&path, owner + 1).is_err());
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_process_in_a_container_is_looked_up_by_its_own_pid() {
        assert_eq!(paths(70, 1)[0], Path::new("/proc/70/root/tmp/perf-1.map"));
    }
}
