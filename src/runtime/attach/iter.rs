//! Iterators: programs that the kernel runs once per object while a file is read. Minimum
//! Linux 5.8.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::{Attacher, Link};
use crate::error::{Error, ErrorExt, Result};
use crate::runtime::privilege;
use crate::runtime::sys::bpf;
use crate::runtime::sys::process::Capability;

/// Where names without a slash are pinned.
const BPF_FS: &str = "/sys/fs/bpf";

impl Attacher<'_> {
    pub(super) fn attach_iter(&self, index: usize, pin: Option<&str>) -> Result<Link> {
        let link = bpf::link_iter(self.program(index))
            .map_err(|e| privilege::explain(e, &[Capability::Bpf, Capability::Perfmon]))?;
        if let Some(pin) = pin {
            let path = pin_path(pin);
            bpf::pin(link.as_fd(), &path).map_err(|e| {
                let e = match e.errno() {
                    Some(libc::EPERM | libc::EINVAL) => e.context("not in a BPF file system"),
                    _ => e,
                };
                e.context(format!("cannot pin at {}", path.display()))
            })?;
        }
        Ok(Link::new(vec![link], Vec::new()).quick())
    }

    /// Runs an iterator that was attached, in a thread of its own: its records would not fit
    /// into the ring buffer if nobody read them meanwhile.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn run_iter(&self, link: &Link) -> Result<IterRun> {
        let fd = link
            .link_fds()
            .next()
            .ok_or_else(|| Error::invalid("not an iterator"))?;
        IterRun::start(bpf::iter_create(fd)?)
    }
}

/// Where a pin's name leads.
pub fn pin_path(name: &str) -> PathBuf {
    Path::new(BPF_FS).join(name)
}

/// An iterator that is running.
#[derive(Debug)]
pub struct IterRun {
    thread: JoinHandle<Result<()>>,
    done: OwnedFd,
}

impl IterRun {
    fn start(iter: OwnedFd) -> Result<Self> {
        let (done, held) = std::io::pipe().context("pipe")?;
        let thread = std::thread::spawn(move || {
            let _held = held;
            let mut file = File::from(iter);
            let mut text = [0; 4096];
            loop {
                match file.read(&mut text) {
                    Ok(0) => return Ok(()),
                    // What the program writes to the file itself is not ours to print.
                    Ok(_) => {}
                    // The kernel pauses long iterations this way.
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(Error::from(e).context("iterator")),
                }
            }
        });
        Ok(Self {
            thread,
            done: done.into(),
        })
    }

    /// Readable (at its end) once the iterator is done.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The kernel broke off.
    pub fn finish(self) -> Result<()> {
        self.thread
            .join()
            .unwrap_or_else(|p| std::panic::resume_unwind(p))
    }
}
