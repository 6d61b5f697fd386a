//! Writing to standard output and standard error.

use std::io::{IsTerminal as _, Write as _};

/// Writes to standard output. A reader that went away is no error.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error, with a newline unless there is one.
pub fn complain(text: &str) {
    let mut err = std::io::stderr().lock();
    // Nobody can be told that standard error does not work.
    let _ = err.write_all(text.as_bytes());
    if !text.is_empty() && !text.ends_with('\n') {
        let _ = err.write_all(b"\n");
    }
}

/// Whether messages are coloured: `BPFTRACE_COLOR` says always or never, otherwise standard
/// error must be a terminal and `NO_COLOR` unset.
pub fn colour() -> bool {
    match std::env::var("BPFTRACE_COLOR").as_deref() {
        Ok("always") => true,
        Ok("never") => false,
        _ => {
            let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            !unwanted && std::io::stderr().is_terminal()
        }
    }
}
