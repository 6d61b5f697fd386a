//! The terminal, key by key.

use std::os::fd::AsRawFd as _;

use super::call;
use crate::error::Result;

/// Standard input without lines, echo and signals; dropped, it is as before.
#[derive(Debug)]
pub struct RawInput(libc::termios);

impl RawInput {
    /// Takes standard input.
    ///
    /// # Errors
    /// It is not a terminal.
    pub fn new() -> Result<Self> {
        let fd = std::io::stdin().as_raw_fd();
        // SAFETY: termios is plain data, which the call fills.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: `before` outlives the call.
        call("tcgetattr", || unsafe {
            i64::from(libc::tcgetattr(fd, &mut before))
        })?;
        let mut raw = before;
        raw.c_lflag &= !(libc::ICANON | libc::ECHO | libc::ISIG);
        raw.c_cc[libc::VMIN] = 0;
        raw.c_cc[libc::VTIME] = 0;
        // SAFETY: `raw` outlives the call.
        call("tcsetattr", || unsafe {
            i64::from(libc::tcsetattr(fd, libc::TCSANOW, &raw))
        })?;
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
        let fd = std::io::stdin().as_raw_fd();
        // SAFETY: the settings outlive the call. A terminal that is gone needs none.
        unsafe { libc::tcsetattr(fd, libc::TCSANOW, &self.0) };
    }
}
