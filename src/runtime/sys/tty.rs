//! The terminal, key by key.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use super::call;
use crate::error::Result;

fn settings(fd: BorrowedFd<'_>) -> Result<libc::termios> {
    // SAFETY: termios is plain data, which the call fills.
    let mut found: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `found` outlives the call.
    call("tcgetattr", || unsafe {
        i64::from(libc::tcgetattr(fd.as_raw_fd(), &mut found))
    })?;
    Ok(found)
}

fn set(fd: BorrowedFd<'_>, wanted: &libc::termios) -> Result<()> {
    // SAFETY: `wanted` outlives the call.
    call("tcsetattr", || unsafe {
        i64::from(libc::tcsetattr(fd.as_raw_fd(), libc::TCSANOW, wanted))
    })
    .map(drop)
}

/// The terminal of a session: keys that are pressed while nobody reads wait for whoever reads
/// next, Ctrl-D among them, and are not echoed. Dropped, it is as before.
///
/// Line by line, as terminals are, the end of input would be lost when an editor takes over.
pub struct HeldTerminal {
    terminal: OwnedFd,
    before: libc::termios,
}

impl HeldTerminal {
    /// Takes the terminal that standard input is.
    ///
    /// # Errors
    /// It is not a terminal.
    pub fn new() -> Result<Self> {
        let terminal = std::io::stdin().as_fd().try_clone_to_owned()?;
        let before = settings(terminal.as_fd())?;
        let mut held = before;
        held.c_lflag &= !(libc::ICANON | libc::ECHO);
        held.c_cc[libc::VMIN] = 1;
        held.c_cc[libc::VTIME] = 0;
        set(terminal.as_fd(), &held)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for HeldTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = set(self.terminal.as_fd(), &self.before);
    }
}

/// Ends standard input: who reads it from now on finds its end.
///
/// # Errors
/// `/dev/null` cannot be opened.
pub fn end_input() -> Result<()> {
    let nothing = File::open("/dev/null")?;
    // SAFETY: descriptor 0 stays open and is a file; nobody owns it.
    call("dup2", || unsafe {
        i64::from(libc::dup2(nothing.as_raw_fd(), libc::STDIN_FILENO))
    })
    .map(drop)
}

/// Standard input without lines, echo and signals; dropped, it is as before.
#[derive(Debug)]
pub struct RawInput(libc::termios);

impl RawInput {
    /// Takes standard input.
    ///
    /// # Errors
    /// It is not a terminal.
    pub fn new() -> Result<Self> {
        let before = settings(std::io::stdin().as_fd())?;
        let mut raw = before;
        raw.c_lflag &= !(libc::ICANON | libc::ECHO | libc::ISIG);
        raw.c_cc[libc::VMIN] = 0;
        raw.c_cc[libc::VTIME] = 0;
        set(std::io::stdin().as_fd(), &raw)?;
        Ok(Self(before))
    }

    /// Waits for a key and takes it; whether there was one.
    pub fn key(&self, timeout_ms: i32) -> bool {
        let fd = std::io::stdin().as_raw_fd();
        let mut poll = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, which outlives the call.
        if unsafe { libc::poll(&mut poll, 1, timeout_ms) } <= 0 {
            return false;
        }
        let mut bytes = [0u8; 32];
        // A key may be several bytes; all that are there belong to it.
        // SAFETY: the buffer is as long as said.
        unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
        // The end of input stops as a key does.
        true
    }
}

impl Drop for RawInput {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = set(std::io::stdin().as_fd(), &self.0);
    }
}
