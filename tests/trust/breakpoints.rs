//! Faults: rtrace is killed while it attaches to functions of a program, or while they are
//! released, and no breakpoint stays in the program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kernel::usable;
use crate::killed::{Random, kills};
use crate::run::{program, rtrace};
use crate::safe::signal;

/// A running program of breakpoints.c, which looks at itself.
pub struct Target {
    pub child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Target {
    pub fn start(path: &Path) -> Self {
        let mut child = Command::new(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, to, from }
    }

    /// How many of its functions have a breakpoint.
    pub fn breakpoints(&mut self) -> u32 {
        self.ask(b"?")
    }

    /// Has it call all of its functions.
    pub fn call(&mut self) {
        self.ask(b"c");
    }

    fn ask(&mut self, byte: &[u8; 1]) -> u32 {
        self.to.write_all(byte).unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap()
    }

    pub fn end(mut self) {
        drop(self.to);
        assert!(self.child.wait().unwrap().success());
    }
}

/// Ends a process and whatever is in its group, as a terminal's or a service's end may.
fn kill_group(tracer: &Child) {
    // SAFETY: takes numbers; the process was not waited for, so its group is still its own.
    unsafe { libc::kill(-(tracer.id() as i32), libc::SIGKILL) };
}

#[test]
fn no_breakpoint_is_left_of_who_was_killed() {
    if !cfg!(target_arch = "x86_64") || !usable("no_breakpoint_is_left_of_who_was_killed") {
        return;
    }
    let Some(path) = program("breakpoints") else {
        return;
    };
    let script = format!("uprobe:{}:many_* {{ @n++; }}", path.display());
    let (mut random, seed) = Random::seeded();
    let mut in_the_middle = 0;
    for i in 0..kills() {
        let mut target = Target::start(&path);
        let mut tracer = rtrace();
        tracer.args(["-q", "-e", &script, "-p", &target.child.id().to_string()]);
        let mut tracer = tracer
            .env("BPFTRACE_MAX_PROBES", "4000")
            .env("__BPFTRACE_NOTIFY_PROBES_ATTACHED", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        match i % 2 {
            0 => {
                // As soon as it has begun to attach.
                let start = Instant::now();
                while target.breakpoints() == 0 && start.elapsed() < Duration::from_secs(30) {}
                std::thread::sleep(Duration::from_micros(random.below(8000)));
            }
            _ => {
                let mut line = String::new();
                let out = tracer.stdout.as_mut().unwrap();
                BufReader::new(out).read_line(&mut line).unwrap();
                signal(tracer.id(), libc::SIGINT);
                std::thread::sleep(Duration::from_micros(random.below(15_000)));
            }
        }
        kill_group(&tracer);
        let then = target.breakpoints();
        in_the_middle += u32::from(then > 0 && then < 4000);
        tracer.wait().unwrap();
        let start = Instant::now();
        loop {
            let left = target.breakpoints();
            if left == 0 {
                break;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "kill {i}, seed {seed}: {left} breakpoints are left"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        target.end();
    }
    eprintln!(
        "{in_the_middle} of {} were killed between the first breakpoint and the last",
        kills()
    );
}
