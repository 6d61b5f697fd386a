//! Running rtrace and the programs it traces.

use std::process::{Command, Stdio};

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
    command
        .stdin(Stdio::null())
        .env_remove("BPFTRACE_COLOR")
        .env_remove("BPFTRACE_MAX_MAP_KEYS");
    command
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
