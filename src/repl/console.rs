//! Where a session prints: above the line that is being typed.
//!
//! Probes write into a bounded buffer and never wait for the terminal; a thread of its own hands
//! the buffer to the line editor some thirty times a second. What does not fit is counted and
//! told. While nobody types, answers to commands are written directly.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustyline::ExternalPrinter;

/// Least time between two refreshes of the terminal.
const REFRESH: Duration = Duration::from_millis(33);

/// Bytes that one refresh shows at most. With [`REFRESH`] that is 500 KiB a second: more than
/// can be read, less than a terminal can take.
const LIMIT: usize = 16 << 10;

/// Least time between two messages about what was left out.
const TELL: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// Lines that were left out and not told yet.
    dropped: u64,
    /// Lines that were left out in all.
    total_dropped: u64,
    /// The user stopped the output.
    muted: bool,
    /// The terminal shows something else for a while.
    held: bool,
    /// No editor will read any more: everything goes to standard output at once.
    direct: bool,
    /// Answers wait for [`Console::take`], too.
    captured: bool,
}

/// The output of a session.
#[derive(Default)]
pub struct Console {
    state: Mutex<State>,
    changed: Condvar,
}

impl Console {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts handing output to the editor. The thread ends with the process.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        self: &Arc<Self>,
        mut printer: impl ExternalPrinter + Send + 'static,
    ) -> io::Result<()> {
        let console = Arc::clone(self);
        let thread = std::thread::Builder::new().name("output".into());
        thread.spawn(move || {
            let mut told = Instant::now() - TELL;
            while let Some(text) = console.next(&mut told) {
                if printer.print(text).is_err() {
                    return;
                }
                std::thread::sleep(REFRESH);
            }
        })?;
        Ok(())
    }

    /// Waits for output; `None` when it goes elsewhere from now on.
    fn next(&self, told: &mut Instant) -> Option<String> {
        let mut state = self.state();
        loop {
            if state.direct {
                return None;
            }
            let tell = state.dropped > 0 && told.elapsed() >= TELL;
            if !state.held && (!state.pending.is_empty() || tell) {
                break;
            }
            let waited = match state.dropped {
                0 => self.changed.wait(state),
                _ if state.held => self.changed.wait(state),
                _ => self
                    .changed
                    .wait_timeout(state, TELL)
                    .map_or_else(|e| Ok(e.into_inner().0), |(state, _)| Ok(state)),
            };
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let mut text = String::from_utf8_lossy(&state.pending).into_owned();
        state.pending.clear();
        if state.dropped > 0 && told.elapsed() >= TELL {
            text.push_str(&format!("[{} lines not shown]\n", state.dropped));
            state.dropped = 0;
            *told = Instant::now();
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Some(text)
    }

    /// Takes what a probe printed.
    fn put(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.direct {
            drop(state);
            let mut out = io::stdout().lock();
            // A terminal that went away ends the session by other means.
            let _ = out.write_all(bytes).and_then(|()| out.flush());
            return;
        }
        let room = LIMIT.saturating_sub(state.pending.len());
        let fits = match bytes {
            _ if state.muted => 0,
            b if b.len() <= room => b.len(),
            // Whole lines only.
            b => b[..room]
                .iter()
                .rposition(|&c| c == b'\n')
                .map_or(0, |i| i + 1),
        };
        state.pending.extend_from_slice(&bytes[..fits]);
        let lost = bytes[fits..].iter().filter(|&&c| c == b'\n').count() as u64;
        if !state.muted {
            state.dropped += lost;
        }
        state.total_dropped += lost;
        drop(state);
        self.changed.notify_one();
    }

    /// Writes an answer now, after what probes have printed so far.
    pub fn say(&self, text: &str) {
        let end = match text.is_empty() || text.ends_with('\n') {
            true => "",
            false => "\n",
        };
        self.answer(format!("{text}{end}").as_bytes());
    }

    /// Lets the editor look at its input again, which it does after it has printed something.
    pub fn nudge(&self) {
        self.state().pending.push(b'\n');
        self.changed.notify_all();
    }

    /// Stops or resumes the output of probes; says whether that changed anything.
    pub fn mute(&self, muted: bool) -> bool {
        let mut state = self.state();
        if muted {
            state.pending.clear();
            state.dropped = 0;
        }
        std::mem::replace(&mut state.muted, muted) != muted
    }

    /// From now on nothing is written: somebody else has the terminal and takes the output.
    pub fn capture(&self) {
        self.state().captured = true;
    }

    /// What was printed since the last time, and how many lines there was no room for.
    pub fn take(&self) -> (String, u64) {
        let mut state = self.state();
        let text = String::from_utf8_lossy(&state.pending).into_owned();
        state.pending.clear();
        (text, std::mem::take(&mut state.dropped))
    }

    /// Keeps output back, as far as there is room, or lets it go on.
    pub fn hold(&self, held: bool) {
        self.state().held = held;
        self.changed.notify_all();
    }

    /// Writes to the terminal and nothing before it.
    pub fn draw(&self, text: &str) {
        let mut out = io::stdout().lock();
        // A terminal that went away ends the session by other means.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Lines that were not shown since the start.
    pub fn dropped_in_all(&self) -> u64 {
        self.state().total_dropped
    }

    /// From now on everything is written at once: nobody types any more.
    pub fn finish(&self) {
        self.state().captured = false;
        self.say("");
        let mut state = self.state();
        state.direct = true;
        state.muted = false;
        drop(state);
        self.changed.notify_all();
    }

    /// Writes a part of an answer now, after what probes have printed so far.
    fn answer(&self, part: &[u8]) {
        let mut state = self.state();
        if state.captured {
            state.pending.extend_from_slice(part);
            return;
        }
        let mut bytes = std::mem::take(&mut state.pending);
        drop(state);
        bytes.extend_from_slice(part);
        let mut out = io::stdout().lock();
        // A terminal that went away ends the session by other means.
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }

    /// A writer for the answer to what was typed: unlike what probes print, it always fits.
    pub fn answers(self: &Arc<Self>) -> Box<dyn Write> {
        Box::new(Answer(Arc::clone(self)))
    }

    /// A writer for a probe's output.
    pub fn writer(self: &Arc<Self>) -> Box<dyn Write> {
        Box::new(Output(Arc::clone(self)))
    }
}

struct Output(Arc<Console>);

struct Answer(Arc<Console>);

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.answer(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_at_a_line_and_counted() {
        let console = Arc::new(Console::default());
        let lines = 2 * LIMIT / 8;
        for _ in 0..lines {
            console.writer().write_all(b"1234567\n").unwrap();
        }
        let mut told = Instant::now() - TELL;
        let text = console.next(&mut told).unwrap();
        assert!(text.len() < LIMIT + 100);
        assert!(text.ends_with(&format!("1234567\n[{} lines not shown]\n", lines / 2)));
        assert_eq!(console.dropped_in_all(), lines as u64 / 2);
    }

    #[test]
    fn answers_come_through_a_flood() {
        let console = Arc::new(Console::default());
        console.capture();
        for _ in 0..LIMIT {
            console.writer().write_all(b"1234567\n").unwrap();
        }
        console.answers().write_all(b"42\n").unwrap();
        console.say("done");
        let (text, dropped) = console.take();
        assert!(text.ends_with("\n42\ndone\n"), "{text}");
        assert!(dropped > 0);
    }

    #[test]
    fn stopped_output_is_thrown_away() {
        let console = Arc::new(Console::default());
        console.writer().write_all(b"before\n").unwrap();
        assert!(console.mute(true));
        console.writer().write_all(b"while\n").unwrap();
        assert!(console.mute(false));
        assert!(!console.mute(false));
        console.writer().write_all(b"after\n").unwrap();
        let mut told = Instant::now();
        assert_eq!(console.next(&mut told).unwrap(), "after\n");
    }
}
