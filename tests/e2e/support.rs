//! Running rtrace as its users do: whole processes, texts and exit codes.
//!
//! Nothing here waits for a time: a run is over when it ends, a tracer is ready when it says so.
//! [`PATIENCE`] only keeps a defect from hanging the tests.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A fixture that is compiled by whoever asks first; `None` if it cannot be.
type Built = Arc<OnceLock<Option<String>>>;

/// How long a run may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The line that rtrace writes when everything is attached, if this variable is set.
const NOTIFY: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// The program under test.
pub const RTRACE: &str = env!("CARGO_BIN_EXE_rtrace");

/// What a finished run left behind.
#[derive(Debug)]
pub struct Run {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl Run {
    /// Asserts that the run succeeded, and gives its output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }
}

/// Runs rtrace to its end.
#[track_caller]
pub fn rtrace(args: &[&str]) -> Run {
    let mut command = Command::new(RTRACE);
    command.args(args).stdin(Stdio::null());
    run(command)
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: Command) -> Run {
    Live::start(command).end()
}

/// A running command whose output is read as it comes.
pub struct Live {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: String,
    err: Option<JoinHandle<String>>,
}

impl Live {
    /// Starts a command; standard input is as the command says.
    #[track_caller]
    pub fn start(mut command: Command) -> Live {
        let mut child = command
            .env_remove("BPFTRACE_COLOR")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut err = child.stderr.take().unwrap();
        let (send, lines) = channel();
        // Ends with the pipe.
        std::thread::spawn(move || {
            loop {
                let mut line = Vec::new();
                match out.read_until(b'\n', &mut line) {
                    Ok(n) if n > 0 => {}
                    _ => break,
                }
                if send
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
        let err = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = err.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Live {
            stdin: child.stdin.take(),
            child,
            lines,
            seen: String::new(),
            err: Some(err),
        }
    }

    /// Starts rtrace and waits until everything is attached. Its standard input is a pipe.
    #[track_caller]
    pub fn attached(args: &[&str]) -> Live {
        let mut command = Command::new(RTRACE);
        command.args(args).stdin(Stdio::piped()).env(NOTIFY, "1");
        let mut live = Live::start(command);
        live.line(NOTIFY);
        live
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of output that contains `part`.
    #[track_caller]
    pub fn line(&mut self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    if !line.starts_with(NOTIFY) {
                        self.seen.push_str(&line);
                    }
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(why) => {
                    let _ = self.child.kill();
                    let err = self.err.take().map(JoinHandle::join);
                    panic!("no line with {part:?}: {why:?}\n{}\n{err:?}", self.seen);
                }
            }
        }
    }

    /// Writes to its standard input.
    pub fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is a pipe");
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: takes no memory; the process is our unreaped child, so the pid is its own.
        assert_eq!(unsafe { libc::kill(self.pid() as i32, signal) }, 0);
    }

    /// As Ctrl-C does; gives what was printed from the start.
    #[track_caller]
    pub fn interrupt(self) -> Run {
        self.signal(libc::SIGINT);
        self.end()
    }

    /// Waits for the end; gives what was printed from the start. Standard input is closed.
    #[track_caller]
    pub fn end(mut self) -> Run {
        self.stdin = None;
        let end = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.starts_with(NOTIFY) => {}
                Ok(line) => self.seen.push_str(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("does not end; so far it said\n{}", self.seen);
                }
            }
        }
        let status = self.child.wait().unwrap();
        Run {
            out: std::mem::take(&mut self.seen),
            err: self.err.take().unwrap().join().unwrap(),
            code: status.code(),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A test that failed leaves nobody behind; one that ended has nobody to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of `tests/fixtures/e2e`, compiled with these flags once for this run of the tests;
/// `None`, said loudly, where there is no compiler.
#[track_caller]
pub fn fixture(source: &str, name: &str, flags: &[&str]) -> Option<String> {
    static MADE: Mutex<Option<HashMap<String, Built>>> = Mutex::new(None);
    let made = {
        let mut all = MADE.lock().unwrap();
        let all = all.get_or_insert_default();
        Arc::clone(all.entry(name.to_owned()).or_default())
    };
    made.get_or_init(|| compile(source, name, flags)).clone()
}

fn compile(source: &str, name: &str, flags: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("tests/fixtures/e2e").join(source);
    let path = scratch(name);
    let compiler = match source.extension() {
        Some(e) if e == "cpp" => "c++",
        Some(e) if e == "rs" => "rustc",
        _ => "cc",
    };
    let made = Command::new(compiler)
        .arg("-o")
        .args([&path, &source])
        .args(flags)
        .output();
    match made {
        Ok(o) if o.status.success() => Some(path.to_str().expect("paths are UTF-8").to_owned()),
        Ok(o) => panic!("{compiler}: {}", String::from_utf8_lossy(&o.stderr)),
        Err(e) => {
            eprintln!("skipped: {name}: no {compiler}: {e}");
            None
        }
    }
}

/// A file name of this run of the tests alone.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("e2e-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

/// Whether a program is there to be run; says so if not.
pub fn have(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|d| d.join(program).is_file());
    if !found {
        eprintln!("skipped: {test}: no {program} here");
    }
    found
}

/// The file `docs/examples/NAME`.
pub fn example(name: &str) -> String {
    format!("{}/docs/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The value that a map is printed with at the end: `@name: VALUE`.
#[track_caller]
pub fn value<'a>(out: &'a str, map: &str) -> &'a str {
    let prefix = format!("{map}: ");
    out.lines()
        .find_map(|l| l.strip_prefix(&prefix))
        .unwrap_or_else(|| panic!("no {map} in\n{out}"))
}
