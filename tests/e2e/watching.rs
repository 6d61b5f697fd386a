//! Watchpoints: every write of a variable, by every thread of a process.

use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{Live, fixture, rtrace, value};

/// Whether this machine lets a process watch its own memory; says so if not.
fn watchable(address: &str) -> bool {
    let script = format!("watchpoint:{address}:8:w {{ }}");
    let run = rtrace(&["-c", "/bin/true", "-e", &script]);
    if run.code != Some(0) {
        eprintln!("skipped: watchpoints: {}", run.err);
    }
    run.code == Some(0)
}

#[test]
fn writes_by_all_threads_count() {
    if !kernel::usable("watchpoints of all threads") {
        return;
    }
    // At one address in every run.
    let flags = &["-O1", "-no-pie", "-fno-pie", "-pthread"];
    let Some(path) = fixture("watched.c", "watched", flags) else {
        return;
    };
    let printed = Command::new(&path).arg("now").output().unwrap().stdout;
    let address = String::from_utf8(printed).unwrap().trim().to_owned();
    if !watchable(&address) {
        return;
    }
    let script = format!("watchpoint:{address}:8:w {{ @ = count(); @by[tid] = count(); }}");

    let out = rtrace(&["-c", &format!("{path} now"), "-e", &script]).ok();
    assert_eq!(value(&out, "@"), "500");
    assert_eq!(out.matches("]: 100\n").count(), 5, "{out}");

    // Three threads are there when it is attached to, two come later; nobody else counts.
    let start = || {
        let mut command = Command::new(&path);
        command.stdin(Stdio::piped());
        let mut watched = Live::start(command);
        watched.line("0x");
        watched
    };
    let (mut one, other) = (start(), start());
    let live = Live::attached(&["-p", &one.pid().to_string(), "-e", &script]);
    one.say("\n");
    one.end().ok();
    other.end().ok();
    // The process has ended, and with it the run.
    let out = live.end().ok();
    assert_eq!(value(&out, "@"), "500");
    assert_eq!(out.matches("]: 100\n").count(), 5, "{out}");
}
