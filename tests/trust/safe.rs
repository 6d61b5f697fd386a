//! Safe: whatever happens to the output, the traced program goes on and nothing is left behind.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::accounted::counted;
use crate::kernel::usable;
use crate::run::{plain, rtrace, run, threads};

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    if !usable("a_reader_that_goes_away_is_a_quiet_end") {
        return;
    }
    let mut child = rtrace()
        .args(["-q", "-e", "interval:ms:10 { printf(\"tick\\n\"); }"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 4];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn a_full_disk_is_an_error() {
    if !usable("a_full_disk_is_an_error") {
        return;
    }
    for script in [
        "begin { printf(\"x\\n\"); exit(); }",
        "begin { @x = 1; exit(); }",
    ] {
        let out = rtrace()
            .args(["-q", "-e", script])
            .stdout(File::options().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(
            err.contains("ERROR: cannot write output: No space left on device"),
            "{err}"
        );
        assert_eq!(out.status.code(), Some(255));
    }
    let file = run(&["-q", "-o", "/dev/full", "-e", "begin { print(1); exit(); }"]);
    assert_eq!(file.code, Some(255), "{}", file.err);
}

#[test]
fn a_blocked_output_blocks_nobody_else() {
    if !usable("a_blocked_output_blocks_nobody_else") {
        return;
    }
    let Some(target) = threads() else { return };
    let script = format!(
        "config = {{ perf_rb_pages = 16 }} \
         uprobe:{}:tick {{ printf(\"event with a text to fill a pipe\\n\"); }}",
        target.display()
    );
    let mut tracer = rtrace()
        .args(["-f", "json", "-e", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = tracer.stdout.take().unwrap();
    // The first line says that the probe is attached. Nothing else is read for now.
    let mut head = Vec::new();
    while !head.ends_with(b"\n") {
        let mut byte = [0];
        out.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let start = Instant::now();
    let status = Command::new(&target).args(["4", "25000"]).output().unwrap();
    assert!(status.status.success());
    assert!(start.elapsed() < Duration::from_secs(30));
    signal(tracer.id(), libc::SIGINT);
    let mut json = String::new();
    out.read_to_string(&mut json).unwrap();
    assert_eq!(tracer.wait().unwrap().code(), Some(0));
    let printed = json.matches("\"printf\"").count() as u64;
    let lost = counted(&json, "lost_event");
    assert!(lost > 0);
    assert_eq!(printed + lost, 100_000);
}

pub fn signal(pid: u32, signal: i32) {
    // SAFETY: takes numbers; the process is a child of ours that was not waited for yet.
    let sent = unsafe { libc::kill(pid as i32, signal) };
    assert_eq!(sent, 0);
}

/// Runs a command line on a terminal of its own and gives what the terminal got.
pub fn on_terminal(args: &[&str]) -> Option<String> {
    let quoted: Vec<_> = [env!("CARGO_BIN_EXE_rtrace")]
        .iter()
        .chain(args)
        .map(|a| format!("'{}'", a.replace('\'', "'\\''")))
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-qec", &quoted.join(" "), "/dev/null"])
        .stdin(Stdio::null());
    plain(&mut script);
    match script.env("NO_COLOR", "1").output() {
        Ok(out) => Some(String::from_utf8_lossy(&out.stdout).into_owned()),
        Err(e) => {
            eprintln!("skipped: script(1) is not there: {e}");
            None
        }
    }
}

#[test]
fn strings_cannot_drive_the_terminal() {
    if !usable("strings_cannot_drive_the_terminal") {
        return;
    }
    let script = "begin { printf(\"%s\\n\", str($1)); print(str($1)); @[str($1)] = 1; \
        errorf(\"%s\\n\", str($1)); exit(); }";
    let args = ["-q", "-e", script, "\x1b]0;title\x07"];
    let Some(seen) = on_terminal(&args) else {
        return;
    };
    // Errors quote the source line, in which nothing evil is.
    assert!(!seen.contains('\x1b') && !seen.contains('\x07'), "{seen:?}");
    assert_eq!(seen.matches("\\x1b]0;title\\x07").count(), 4, "{seen:?}");
    // To a file goes what there was.
    assert!(run(&args).out.contains("\x1b]0;title\x07"));
}

#[test]
fn under_sudo_the_command_runs_as_who_called() {
    if !usable("under_sudo_the_command_runs_as_who_called") {
        return;
    }
    let script = "interval:s:100 { }";
    let ids = |sudo: bool| {
        let mut command = rtrace();
        command.args(["-q", "-e", script, "-c"]).arg(
            "sh -c 'id -u; id -ru; id -g; id -G; echo $SUDO_UID $HOME $MARK; grep CapEff /proc/self/status'",
        );
        command.env("HOME", "/some/where").env("MARK", "kept");
        if sudo {
            command.env("SUDO_UID", "12345").env("SUDO_GID", "23456");
        } else {
            command.env_remove("SUDO_UID").env_remove("SUDO_GID");
        }
        command.env_remove("SUDO_USER");
        let out = command.current_dir("/").output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let user = ids(true);
    let lines: Vec<&str> = user.lines().collect();
    assert_eq!(
        lines[..6],
        [
            "12345",
            "12345",
            "23456",
            "23456",
            "12345 /some/where kept",
            "CapEff:\t0000000000000000"
        ]
    );
    assert!(ids(false).starts_with("0\n0\n"));
}

#[test]
fn maps_that_do_not_fit_are_refused_before_they_are_made() {
    if !usable("maps_that_do_not_fit_are_refused_before_they_are_made") {
        return;
    }
    let script = "config = { max_map_keys = 4000000000 } begin { @[1] = 1; exit(); }";
    let done = run(&["-q", "-e", script]);
    assert!(
        done.err.contains("the maps of this script need"),
        "{}",
        done.err
    );
    assert!(done.err.contains("reduce max_map_keys"), "{}", done.err);
    assert_eq!(done.code, Some(255));
}
