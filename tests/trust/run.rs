//! Running rtrace and the programs it traces.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// What a run left behind.
#[derive(Debug)]
pub struct Done {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

/// The command, ready for its arguments.
pub fn rtrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtrace"));
    command.stdin(Stdio::null());
    plain(&mut command);
    command
}

/// Takes away what would configure rtrace, and what is for the tests: rtrace takes such names for
/// its configuration too.
pub fn plain(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("RTRACE_") || text.starts_with("BPFTRACE_") {
            command.env_remove(&name);
        }
    }
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Done {
    let out = rtrace().args(args).output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    Done {
        out: text(out.stdout),
        err: text(out.stderr),
        code: out.status.code(),
    }
}

/// The program whose threads call `tick(n)`, built; `None` (and a word about it) if there is no
/// C compiler.
pub fn threads() -> Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT
        .get_or_init(|| build("threads", "trust-threads", &[]))
        .clone()
}

/// Another program of tests/fixtures/e2e, built.
pub fn program(name: &str) -> Option<PathBuf> {
    // Tests of one process may want the same one at the same time.
    static BUILT: Mutex<Vec<(String, Option<PathBuf>)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap();
    if let Some((_, path)) = built.iter().find(|(n, _)| n == name) {
        return path.clone();
    }
    let path = build(name, &format!("trust-{name}"), &[]);
    built.push((name.to_owned(), path.clone()));
    path
}

/// A source of tests/fixtures/e2e, compiled with extra `flags` to a file of this name.
pub fn build(name: &str, to: &str, flags: &[&str]) -> Option<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/e2e");
    let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(to);
    let status = Command::new("cc")
        .args(["-O1", "-pthread", "-o"])
        .arg(&to)
        .args(flags)
        .arg(format!("{dir}/{name}.c"))
        .status();
    match status {
        Ok(s) if s.success() => Some(to),
        other => {
            eprintln!("skipped: no C compiler: {other:?}");
            None
        }
    }
}
