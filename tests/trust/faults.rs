//! Faults: whatever becomes of the traced program while it is traced, the counts are right and
//! the run comes to its end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kernel::usable;
use crate::run::{build, program, rtrace};
use crate::safe::signal;

/// Tracing that is under way; its output is JSON.
struct Tracer {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Tracer {
    /// Starts and waits until everything is attached.
    fn start(args: &[&str]) -> Self {
        let mut child = rtrace()
            .args(["-f", "json"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut head = String::new();
        out.read_line(&mut head).unwrap();
        assert!(head.contains("attached_probes"), "{head}");
        Self { child, out }
    }

    /// Waits for its end, at most 60 seconds, and gives output and exit code.
    fn finish(mut self) -> (String, Option<i32>) {
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        (text, self.child.wait().unwrap().code())
    }

    fn interrupt(self) -> (String, Option<i32>) {
        signal(self.child.id(), libc::SIGINT);
        self.finish()
    }
}

/// A running program of beats.c.
struct Beats {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Beats {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, to, from }
    }

    fn say(&mut self, line: &str) {
        let to = self.to.as_mut().unwrap();
        writeln!(to, "{line}").unwrap();
        to.flush().unwrap();
    }

    /// Has it done, and waits until it is.
    fn does(&mut self, line: &str) {
        self.say(line);
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "it ended at {line:?}");
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn end(mut self) {
        drop(self.to.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// What a map of numbers has at the end.
fn value(json: &str, name: &str) -> u64 {
    let head = format!("{{\"{name}\": ");
    let Some((_, rest)) = json.split_once(&head) else {
        return 0;
    };
    rest.split('}').next().unwrap().parse().unwrap()
}

/// A program in a folder of this test, which another one may replace.
fn copy(of: &Path, test: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("trust-{test}"));
    std::fs::create_dir_all(&dir).unwrap();
    let to = dir.join("beats");
    let _ = std::fs::remove_file(&to);
    std::fs::copy(of, &to).unwrap();
    to
}

#[test]
fn the_target_ends() {
    if !usable("the_target_ends") {
        return;
    }
    let Some(path) = program("beats") else { return };
    let script = format!("uprobe:{}:tick {{ @n++; }}", path.display());
    let mut target = Beats::start(&path);
    let tracer = Tracer::start(&["-p", &target.pid(), "-e", &script]);
    target.does("100");
    target.end();
    let (json, code) = tracer.finish();
    assert_eq!((value(&json, "@n"), code), (100, Some(0)), "{json}");
}

#[test]
fn the_target_is_killed_while_it_is_stopped() {
    if !usable("the_target_is_killed_while_it_is_stopped") {
        return;
    }
    let Some(path) = program("beats") else { return };
    let script = format!("uprobe:{}:tick {{ @n++; }}", path.display());
    let mut target = Beats::start(&path);
    let tracer = Tracer::start(&["-p", &target.pid(), "-e", &script]);
    target.does("50");
    signal(target.child.id(), libc::SIGSTOP);
    signal(target.child.id(), libc::SIGKILL);
    let (json, code) = tracer.finish();
    target.child.wait().unwrap();
    assert_eq!((value(&json, "@n"), code), (50, Some(0)), "{json}");
}

#[test]
fn the_target_is_stopped_and_goes_on() {
    if !usable("the_target_is_stopped_and_goes_on") {
        return;
    }
    let Some(path) = program("beats") else { return };
    let script = format!("uprobe:{}:tick {{ @n++; }}", path.display());
    let mut target = Beats::start(&path);
    let tracer = Tracer::start(&["-p", &target.pid(), "-e", &script]);
    target.does("50");
    signal(target.child.id(), libc::SIGSTOP);
    // Nobody waits for it: the run ends while it is stopped.
    let (json, code) = tracer.interrupt();
    assert_eq!((value(&json, "@n"), code), (50, Some(0)), "{json}");
    signal(target.child.id(), libc::SIGCONT);
    target.does("50");
    target.end();
}

#[test]
fn the_target_becomes_another_program() {
    if !usable("the_target_becomes_another_program") {
        return;
    }
    let Some(path) = program("beats") else { return };
    let other = copy(&path, "exec");
    let script = format!(
        "uprobe:{}:tick {{ @first++; }} uprobe:{}:tick {{ @second++; }}",
        path.display(),
        other.display()
    );
    let mut target = Beats::start(&path);
    let tracer = Tracer::start(&["-p", &target.pid(), "-e", &script]);
    target.does("10");
    target.say(&format!("exec {}", other.display()));
    target.does("20");
    target.end();
    let (json, code) = tracer.finish();
    let counts = (value(&json, "@first"), value(&json, "@second"));
    assert_eq!((counts, code), ((10, 20), Some(0)), "{json}");
}

#[test]
fn the_program_is_replaced_on_disk() {
    if !usable("the_program_is_replaced_on_disk") {
        return;
    }
    let Some(path) = program("beats") else { return };
    let path = copy(&path, "replaced");
    let script = format!(
        "uprobe:{}:tick {{ @n++; @s[ustack(1)]++; }}",
        path.display()
    );
    let mut old = Beats::start(&path);
    let tracer = Tracer::start(&["-e", &script]);
    old.does("30");
    // As package managers do: a new file takes the name.
    let new = path.with_extension("new");
    std::fs::copy(&path, &new).unwrap();
    std::fs::rename(&new, &path).unwrap();
    old.does("30");
    let mut fresh = Beats::start(&path);
    fresh.does("7");
    let (json, code) = tracer.interrupt();
    old.end();
    fresh.end();
    // The probe is on the file that was there; the new one is another.
    assert_eq!((value(&json, "@n"), code), (60, Some(0)), "{json}");
}

#[test]
fn a_library_comes_and_goes() {
    if !usable("a_library_comes_and_goes") {
        return;
    }
    let (Some(path), Some(library)) = (
        program("beats"),
        build("plug", "trust-plug.so", &["-shared", "-fPIC"]),
    ) else {
        return;
    };
    let script = format!("uprobe:{}:plug {{ @n++; }}", library.display());
    let mut target = Beats::start(&path);
    let tracer = Tracer::start(&["-p", &target.pid(), "-e", &script]);
    for _ in 0..40 {
        target.does(&format!("dl {}", library.display()));
    }
    target.end();
    let (json, code) = tracer.finish();
    assert_eq!((value(&json, "@n"), code), (40, Some(0)), "{json}");
}
