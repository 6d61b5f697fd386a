//! Where output goes: standard output or a file, buffered as asked for.
//!
//! A reader that went away (a broken pipe) is no error: output stops being written and
//! [`Writer::is_broken`] tells the run to end.

use std::io::{self, Write};

use crate::error::{Error, Result};

/// Bytes that are kept back at most.
const LIMIT: usize = 1 << 16;

/// When output is handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buffering {
    /// Whole lines, after each batch of records.
    #[default]
    Line,
    /// When the buffer is full and at the end.
    Full,
    /// Everything at once.
    None,
}

/// A buffered output.
pub struct Writer {
    to: Box<dyn Write>,
    mode: Buffering,
    pending: Vec<u8>,
    broken: bool,
}

impl Writer {
    /// Writes to `to`, which should not buffer itself.
    pub fn new(to: Box<dyn Write>, mode: Buffering) -> Self {
        Self {
            to,
            mode,
            pending: Vec::new(),
            broken: false,
        }
    }

    /// The buffer to append output to; [`wrote`](Self::wrote) must follow.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Hands on what the mode demands after something was appended.
    ///
    /// # Errors
    /// The output cannot be written, other than for lack of a reader.
    pub fn wrote(&mut self) -> Result<()> {
        if self.mode == Buffering::None || self.pending.len() >= LIMIT {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands on whole lines in the line mode.
    ///
    /// # Errors
    /// As for [`wrote`](Self::wrote).
    pub fn flush_lines(&mut self) -> Result<()> {
        if self.mode != Buffering::Line {
            return Ok(());
        }
        match self.pending.iter().rposition(|&b| b == b'\n') {
            Some(last) => self.hand_on(last + 1),
            None => Ok(()),
        }
    }

    /// Hands on everything.
    ///
    /// # Errors
    /// As for [`wrote`](Self::wrote).
    pub fn flush(&mut self) -> Result<()> {
        self.hand_on(self.pending.len())
    }

    /// Whether the reader went away.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn hand_on(&mut self, n: usize) -> Result<()> {
        let mut outcome = Ok(());
        if !self.broken && n > 0 {
            let written = self.to.write_all(&self.pending[..n]);
            outcome = written.and_then(|()| self.to.flush());
        }
        // What could not be written is not tried again.
        self.pending.drain(..n);
        match outcome {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.broken = true;
                Ok(())
            }
            Err(e) => Err(Error::from(e).context("cannot write output")),
            Ok(()) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Shared(Rc<RefCell<Vec<u8>>>, Option<io::ErrorKind>);

    impl Write for Shared {
        fn write(&mut self, b: &[u8]) -> io::Result<usize> {
            match self.1 {
                Some(kind) => Err(kind.into()),
                None => self.0.borrow_mut().write(b),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer(mode: Buffering, fail: Option<io::ErrorKind>) -> (Writer, Rc<RefCell<Vec<u8>>>) {
        let seen = Rc::default();
        let to = Shared(Rc::clone(&seen), fail);
        (Writer::new(Box::new(to), mode), seen)
    }

    #[test]
    fn line_mode_keeps_back_what_is_no_line_yet() {
        let (mut w, seen) = writer(Buffering::Line, None);
        w.buffer().extend_from_slice(b"a\nb");
        w.wrote().unwrap();
        assert!(seen.borrow().is_empty());
        w.flush_lines().unwrap();
        assert_eq!(*seen.borrow(), b"a\n");
        w.flush().unwrap();
        assert_eq!(*seen.borrow(), b"a\nb");
    }

    #[test]
    fn modes_none_and_full() {
        let (mut w, seen) = writer(Buffering::None, None);
        w.buffer().push(b'a');
        w.wrote().unwrap();
        assert_eq!(*seen.borrow(), b"a");
        let (mut w, seen) = writer(Buffering::Full, None);
        w.buffer().extend_from_slice(b"a\n");
        w.wrote().unwrap();
        w.flush_lines().unwrap();
        assert!(seen.borrow().is_empty());
    }

    #[test]
    fn broken_pipe_is_quiet_and_a_full_disk_is_not() {
        let (mut w, _) = writer(Buffering::None, Some(io::ErrorKind::BrokenPipe));
        w.buffer().push(b'a');
        w.wrote().unwrap();
        assert!(w.is_broken());
        let (mut w, _) = writer(Buffering::None, Some(io::ErrorKind::StorageFull));
        w.buffer().push(b'a');
        let e = w.wrote().unwrap_err().to_string();
        assert!(e.starts_with("cannot write output: "), "{e}");
    }
}
