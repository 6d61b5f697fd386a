//! The pictures of the README: real sessions, as their terminal shows them.
//!
//! They are drawn on every run; with `UPDATE_PICTURES=1` those of `docs/pictures` are replaced.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::can_trace;
use super::picture;
use super::pty::{Dir, Setup, Terminal};

const SCREEN: Setup = Setup {
    rows: 34,
    columns: 112,
    colour: true,
    nobody: false,
};

fn keep(name: &str, svg: &str) {
    let folder = match std::env::var_os("UPDATE_PICTURES") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures"),
        None => PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
    };
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), svg).unwrap();
}

/// Something to look at: programs that read and look for files, again and again.
struct Work(Vec<Child>);

impl Work {
    fn start() -> Self {
        let start = |script: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).stdin(Stdio::null());
            shell.stdout(Stdio::null()).stderr(Stdio::null());
            shell.spawn().unwrap()
        };
        Self(vec![
            start("while :; do find /usr/share/doc -name '*.gz'; done"),
            start("while :; do grep -r --max-count=1 zlib /usr/include; done"),
            start("while :; do cat /etc/*.conf; sleep 0.01; done"),
        ])
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_session_is_drawn() {
    if !can_trace("a_session_is_drawn") {
        return;
    }
    let dir = Dir::new("picture");
    let _work = Work::start();
    let mut t = Terminal::with(&dir, &[], SCREEN);
    t.prompt();
    t.line("tracepoint:syscalls:sys_enter_openat { @opens[comm] = count(); @start[tid] = nsecs }");
    t.expect("[1] attached");
    t.line("tracepoint:syscalls:sys_exit_openat /@start[tid]/ { @ns = hist(nsecs - @start[tid]) }");
    t.expect("[2] attached");
    t.line("sizeof(struct task_struct)");
    t.expect("\n");
    t.line("print(@opens, 5)");
    t.expect("@opens[find]");
    t.line("edit 2 tracepoint:syscalls:sys_exit_openat / args.ret < 0 / { @failed[comm, args.ret] = count() }");
    t.expect("[2] attached");
    t.line("begin { @x = coutn() }");
    t.expect("ERROR");
    t.line("probes");
    t.expect("[2]  attached");
    t.line("@failed");
    t.expect("@failed[");
    t.prompt();
    t.keys("tracepoint:sched:sched_switch { @[args.pr\t");
    let all = |s: &str| s.contains("prev_comm") && s.contains("prev_state");
    t.shows("candidates", |s| {
        all(s) && s.trim_end().ends_with("@[args.prev_")
    });
    let svg = t.look("the colours", |screen| Some(picture::svg(screen, "rtrace")));
    keep("session.svg", &svg);
    for part in ["attached", "did you mean", "hits", "prev_comm"] {
        assert!(svg.contains(part), "{part}:\n{svg}");
    }
    t.keys("\x03");
    t.prompt();
    t.keys("\x04");
    assert_eq!(t.wait(), 0);
}

#[test]
fn the_live_view_is_drawn() {
    if !can_trace("the_live_view_is_drawn") {
        return;
    }
    let dir = Dir::new("picture-live");
    let _work = Work::start();
    let script = "// Who reads how much, and which files are opened\n\
        tracepoint:syscalls:sys_exit_read / args.ret > 0 / {\n\
          @bytes[comm] = sum(args.ret); @size = hist(args.ret); @reads = count();\n\
        }\n\
        tracepoint:syscalls:sys_enter_openat { @opens[comm] = count(); }\n\
        tracepoint:syscalls:sys_exit_openat / args.ret < 0 / { @failed[comm, args.ret] = count(); }\n\
        tracepoint:syscalls:sys_enter_execve { printf(\"%-8s runs %s\\n\", comm, str(args.filename)); }\n";
    std::fs::write(dir.path("reads.bt"), script).unwrap();
    let setup = Setup {
        rows: 42,
        columns: 120,
        ..SCREEN
    };
    let mut t = Terminal::with(&dir, &["top", &dir.path("reads.bt")], setup);
    t.shows("rates and output", |s| {
        s.contains("/s") && s.contains("runs /") && s.contains("0:00:05")
    });
    let svg = t.look("the view", |screen| {
        Some(picture::svg(screen, "rtrace top reads.bt"))
    });
    for part in ["@bytes", "@size", "hits/s", "█", "quit"] {
        assert!(svg.contains(part), "{part}:\n{svg}");
    }
    keep("live.svg", &svg);
    t.keys("q");
    t.expect("@reads: ");
    assert_eq!(t.wait(), 0);
}
