//! Scripts with their expected output: `tests/scripts/<area>/*.bt`.
//!
//! A file is a script that starts with directives, one a line:
//!
//! ```text
//! // test: run            run | kernel | diag | compile
//! // options: --unsafe    of rtrace, before the file
//! // args: 5 abc          of the script, after the file
//! // env: NAME=value      one variable
//! // exit: 3              expected exit code (0; diag: 1)
//! // stage: ir            compile: what `-d` prints
//! // needs: btf           skipped, loudly, where it is missing
//! ```
//! and ends with its expectations, each line of output as a comment:
//!
//! ```text
//! //- stdout
//! // 5
//! //- stderr
//! // x.bt:5:9-14: WARNING: ...
//! ```
//! `run` scripts run in the interpreter and, with privileges, in the kernel: both must print what
//! is expected. `kernel` scripts run in the kernel alone. `diag` scripts are refused before
//! anything runs; their expectation is standard error, as it is of any script that has the
//! section. `compile` scripts print a stage of the compiler.
//!
//! `RTRACE_BLESS=1` writes the expectations anew; `RTRACE_FILETEST=part` picks files by path.

#[path = "support/kernel.rs"]
mod kernel;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a script is for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Run,
    Kernel,
    Diag,
    Compile,
}

/// A file, read.
struct Case {
    path: PathBuf,
    /// Directives and script.
    text: String,
    kind: Kind,
    options: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    exit: i32,
    stage: String,
    needs: Vec<String>,
    stdout: Option<String>,
    stderr: Option<String>,
}

impl Case {
    fn read(path: PathBuf) -> Result<Case, String> {
        let whole = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        let at = whole.find("//- ").unwrap_or(whole.len());
        let (text, sections) = whole.split_at(at);
        let mut case = Case {
            path,
            text: text.to_owned(),
            kind: Kind::Run,
            options: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            exit: -1,
            stage: String::new(),
            needs: Vec::new(),
            stdout: None,
            stderr: None,
        };
        let mut kind = None;
        for line in text.lines() {
            // A script may start with `#!`.
            if line.starts_with("#!") {
                continue;
            }
            let Some((key, value)) = line.strip_prefix("// ").and_then(|d| d.split_once(": "))
            else {
                break;
            };
            let words = || value.split_whitespace().map(str::to_owned);
            match key {
                "test" => {
                    kind = Some(match value {
                        "run" => Kind::Run,
                        "kernel" => Kind::Kernel,
                        "diag" => Kind::Diag,
                        "compile" => Kind::Compile,
                        _ => return Err(format!("unknown kind of test '{value}'")),
                    });
                }
                "options" => case.options.extend(words()),
                "args" => case.args.extend(words()),
                "env" => {
                    let (name, value) = value.split_once('=').ok_or("env: NAME=value")?;
                    case.env.push((name.into(), value.into()));
                }
                "exit" => case.exit = value.parse().map_err(|_| "exit: a number")?,
                "stage" => case.stage = value.into(),
                "needs" => case.needs.extend(words()),
                _ => return Err(format!("unknown directive '{key}'")),
            }
        }
        case.kind = kind.ok_or("no `// test:` line")?;
        if case.exit < 0 {
            case.exit = i32::from(case.kind == Kind::Diag);
        }
        for section in sections.split("//- ").skip(1) {
            let (name, body) = section.split_once('\n').unwrap_or((section, ""));
            let body = uncomment(body)?;
            match name.trim_end() {
                "stdout" => case.stdout = Some(body),
                "stderr" => case.stderr = Some(body),
                _ => return Err(format!("unknown section '{name}'")),
            }
        }
        Ok(case)
    }

    /// The file with new expectations; standard error only where it is expected or matters.
    fn blessed(&self, got: &Got) -> String {
        let mut out = format!("{}\n", self.text.trim_end());
        if self.kind != Kind::Diag {
            out.push('\n');
            comment(&mut out, "stdout", &got.stdout);
        }
        if self.stderr.is_some() || self.kind == Kind::Diag {
            if self.kind == Kind::Diag {
                out.push('\n');
            }
            comment(&mut out, "stderr", &got.stderr);
        }
        out
    }

    fn run(&self, engine: &str) -> Result<Got, String> {
        let dir = self.path.parent().expect("scripts lie in areas");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtrace"));
        command.current_dir(dir);
        // Standard error is compared without the word that probes are attached.
        if self.stderr.is_some() {
            command.arg("-q");
        }
        match self.kind {
            Kind::Run | Kind::Kernel => {
                command.arg(format!("--engine={engine}"));
            }
            Kind::Diag => {
                command.arg("--mode=codegen");
            }
            Kind::Compile => {
                command.args(["--mode=codegen", "-d", &self.stage]);
            }
        }
        let output = command
            .args(&self.options)
            .arg(self.path.file_name().expect("a file has a name"))
            .args(&self.args)
            .env("BPFTRACE_COLOR", "never")
            // What is for this test would be configuration for rtrace.
            .env_remove("RTRACE_BLESS")
            .env_remove("RTRACE_FILETEST")
            .env("TZ", "UTC")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Got {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            exit: output.status.code(),
        })
    }

    /// What differs from the expectation.
    fn differences(&self, got: &Got) -> String {
        let mut out = String::new();
        if got.exit != Some(self.exit) {
            let _ = writeln!(out, "exit code {:?}, not {}", got.exit, self.exit);
            if self.stderr.is_none() {
                out.push_str(&got.stderr);
            }
        }
        let empty = String::new();
        let stdout = match self.kind {
            Kind::Diag => Some(&empty),
            _ => self.stdout.as_ref(),
        };
        match stdout {
            Some(s) if *s == got.stdout => {}
            s => diff(&mut out, "stdout", s, &got.stdout),
        }
        match &self.stderr {
            None if self.kind != Kind::Diag => {}
            Some(s) if *s == got.stderr => {}
            s => diff(&mut out, "stderr", s.as_ref(), &got.stderr),
        }
        out
    }
}

/// What a run printed.
#[derive(PartialEq)]
struct Got {
    stdout: String,
    stderr: String,
    exit: Option<i32>,
}

fn diff(out: &mut String, name: &str, expected: Option<&String>, got: &str) {
    let expected = expected.map_or("(no section)\n", String::as_str);
    let _ = writeln!(out, "{name} expected:\n{expected}{name} found:\n{got}");
}

/// A section's lines without their `// `.
fn uncomment(body: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut lines: Vec<&str> = body.lines().collect();
    while lines.last().is_some_and(|l| l.is_empty()) {
        lines.pop();
    }
    for line in lines {
        let rest = line
            .strip_prefix("//")
            .ok_or_else(|| format!("not a comment: '{line}'"))?;
        // `//\` ends a text without a newline.
        if rest == "\\" {
            out.pop();
            continue;
        }
        out.push_str(rest.strip_prefix(' ').unwrap_or(rest));
        out.push('\n');
    }
    Ok(out)
}

/// A section: `text` as comments.
fn comment(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "//- {name}");
    for line in text.lines() {
        let space = if line.is_empty() { "" } else { " " };
        let _ = writeln!(out, "//{space}{line}");
    }
    if !text.is_empty() && !text.ends_with('\n') {
        out.push_str("//\\\n");
    }
}

fn missing(needs: &[String]) -> Option<String> {
    needs.iter().find_map(|n| match n.as_str() {
        "btf" if Path::new("/sys/kernel/btf/vmlinux").exists() => None,
        "tracefs" if Path::new("/sys/kernel/tracing/events").exists() => None,
        other => Some(format!("no {other} here")),
    })
}

/// Runs a file; what is wrong, if anything.
fn check(path: &Path, kernel: bool, bless: bool) -> Result<(), String> {
    let case = Case::read(path.to_owned())?;
    if let Some(why) = missing(&case.needs) {
        eprintln!("skipped: {}: {why}", path.display());
        return Ok(());
    }
    let engines: &[&str] = match case.kind {
        Kind::Run if kernel => &["user", "kernel"],
        Kind::Run => &["user"],
        Kind::Kernel if kernel => &["kernel"],
        Kind::Kernel => &[],
        Kind::Diag | Kind::Compile => &["none"],
    };
    let mut problems = String::new();
    let mut first: Option<Got> = None;
    for engine in engines {
        let got = case.run(engine)?;
        let wrong = match (&first, bless) {
            (None, true) => {
                std::fs::write(path, case.blessed(&got)).map_err(|e| e.to_string())?;
                match got.exit == Some(case.exit) {
                    true => String::new(),
                    false => format!("exit code {:?}, not {}\n", got.exit, case.exit),
                }
            }
            // The second engine against the first.
            (Some(f), true) => match *f == got {
                true => String::new(),
                false => format!(
                    "engines differ\nuser:\n{}{}kernel:\n{}{}",
                    f.stdout, f.stderr, got.stdout, got.stderr
                ),
            },
            (_, false) => case.differences(&got),
        };
        if !wrong.is_empty() {
            let _ = writeln!(problems, "--- engine {engine}\n{wrong}");
        }
        first.get_or_insert(got);
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems),
    }
}

/// The scripts, in order.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let only = std::env::var("RTRACE_FILETEST").unwrap_or_default();
    let list = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir)
            .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
            .map(|entry| entry.expect("a directory can be read to its end").path())
            .collect()
    };
    let mut out: Vec<PathBuf> = list(&root)
        .iter()
        .filter(|d| d.is_dir())
        .flat_map(|d| list(d))
        .filter(|f| f.extension().is_some_and(|e| e == "bt"))
        .filter(|f| f.to_string_lossy().contains(&only))
        .collect();
    out.sort();
    out
}

#[test]
fn scripts_print_what_they_should() {
    let files = files();
    assert!(!files.is_empty(), "no scripts");
    let kernel = kernel::usable("scripts in the kernel");
    let bless = std::env::var_os("RTRACE_BLESS").is_some_and(|v| v != "0");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(e) = check(path, kernel, bless) {
                        let failure = format!("==== {}\n{e}", path.display());
                        failures.lock().expect("no holder panics").push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no holder panics");
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} of {} scripts failed (RTRACE_BLESS=1 accepts their output)\n{}",
        failures.len(),
        files.len(),
        failures.join("\n")
    );
}
