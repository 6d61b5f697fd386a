//! Generated programs: whatever type-checks loads, and prints the same in the interpreter and
//! in the kernel, optimised or not.
//!
//! 300 programs from fixed seeds in every run. `RTRACE_GENERATED=10000` runs as many (as
//! `scripts/nightly` does), `RTRACE_SEED=n` starts at that seed (alone: runs that program only and prints it). A failure
//! prints its seed, and the program after everything was taken away that does not matter.
//!
//! What is counted are programs: a draft that does not type-check (`RTRACE_REFUSED=1` shows them)
//! or needs more stack than BPF has is drawn anew.

mod engines;
mod grammar;
#[path = "../support/kernel.rs"]
mod kernel;
mod mutate;
mod rng;
mod tree;
mod types;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rtrace::env::HostEnv;
use rtrace::ir::pass::Level;

use engines::{Engine, Verdict};
use tree::Node;

/// Programs in a run of the test suite.
const PROGRAMS: u64 = 300;

/// How a program fared.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The same everywhere.
    Same,
    /// No program: does not type-check, or is beyond a limit.
    Refused(String),
    /// A defect of rtrace.
    Failed(Failure),
}

/// What is wrong: its kind, by which shrinking recognises it, and the whole story.
#[derive(Debug)]
struct Failure {
    kind: String,
    story: String,
}

impl PartialEq for Failure {
    fn eq(&self, other: &Failure) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Failure {}

fn failed(kind: impl Into<String>, story: impl Into<String>) -> Outcome {
    Outcome::Failed(Failure {
        kind: kind.into(),
        story: story.into(),
    })
}

/// Runs a script everywhere.
fn check(script: &str, env: &Arc<HostEnv>, kernel: bool) -> Outcome {
    let mut all = Vec::new();
    let mut refused = None;
    for level in [Level::O0, Level::O2] {
        let object = match engines::compile(script, level, env) {
            Verdict::Object(o) => Arc::new(*o),
            Verdict::Refused(text) if beyond_a_limit(&text) => {
                if !text.contains("generated:") {
                    return failed("no place", text);
                }
                refused = Some(text);
                continue;
            }
            Verdict::Refused(text) => {
                if !all.is_empty() {
                    return failed("refused at -O2 only", text);
                }
                return Outcome::Refused(text);
            }
            Verdict::Panic(text) => {
                let kind: String = text.chars().take(60).collect();
                return failed(format!("compile {level:?}: {kind}"), text);
            }
        };
        for engine in [Engine::User, Engine::Kernel] {
            if engine == Engine::Kernel && !kernel {
                continue;
            }
            match engines::run(&object, engine, env) {
                Ok(shown) => all.push((level, engine, shown)),
                Err(e) => {
                    let what: String = e.chars().take(16).collect();
                    return failed(format!("{engine:?} {level:?}: {what}"), e);
                }
            }
        }
    }
    let Some(((level, engine, first), rest)) = all.split_first() else {
        return Outcome::Refused(refused.unwrap_or_default());
    };
    for (l, e, other) in rest {
        if first != other {
            return failed(
                format!("differs: {level:?} {engine:?}, {l:?} {e:?}"),
                format!(
                    "--- {level:?} {engine:?}\n{}\n--- {l:?} {e:?}\n{}\n",
                    side(first),
                    side(other)
                ),
            );
        }
    }
    match refused {
        Some(text) => Outcome::Refused(text),
        None => Outcome::Same,
    }
}

fn side(shown: &engines::Shown) -> String {
    format!(
        "{}exit code {}\n{}",
        shown.out,
        shown.code,
        shown.messages.join("\n")
    )
}

/// Whether a diagnostic speaks of BPF's limits.
fn beyond_a_limit(text: &str) -> bool {
    text.contains("E0803") || text.contains("E0804")
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Drafts for one program, at most.
const DRAFTS: u64 = 40;

/// The seed of a program's draft.
fn draft(seed: u64, at: u64) -> u64 {
    seed + (at << 40)
}

/// What a run of many programs came to.
#[derive(Default)]
struct Tally {
    /// Same in every engine, optimised or not.
    same: u64,
    /// Drafts that were no programs, with the reason.
    refused: Vec<(u64, String)>,
    /// Seeds of defects, with their kinds.
    failed: Vec<(u64, String)>,
}

/// Draws the program of `seed` and runs it everywhere.
fn draw(seed: u64, env: &Arc<HostEnv>, kernel: bool, tally: &Mutex<Tally>) {
    for at in 0..DRAFTS {
        let seed = draft(seed, at);
        let program = grammar::program(seed);
        match check(&program.to_string(), env, kernel) {
            Outcome::Same => {
                tally.lock().unwrap().same += 1;
                return;
            }
            Outcome::Refused(text) => tally.lock().unwrap().refused.push((seed, text)),
            Outcome::Failed(failure) => {
                let report = report(seed, program, &failure, env, kernel);
                eprintln!("{report}");
                tally.lock().unwrap().failed.push((seed, failure.kind));
                return;
            }
        }
    }
    let reason = format!("{DRAFTS} drafts were all refused");
    tally.lock().unwrap().failed.push((seed, reason));
}

#[test]
fn generated_programs_mean_the_same_everywhere() {
    let kernel = kernel::usable("generated_programs_mean_the_same_everywhere (in the kernel)");
    let seed = number("RTRACE_SEED");
    let count = number("RTRACE_GENERATED");
    let (first, count) = match (seed, count) {
        (Some(s), None) => (s, 1),
        (s, n) => (s.unwrap_or(1), n.unwrap_or(PROGRAMS)),
    };
    if count == 1 {
        println!("{}", grammar::program(first));
    }
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let env = Arc::new(HostEnv::default());
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if i >= count {
                        return;
                    }
                    draw(first + i, &env, kernel, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    let (beyond, mistyped): (Vec<_>, Vec<_>) =
        tally.refused.iter().partition(|r| beyond_a_limit(&r.1));
    eprintln!(
        "{count} programs from seed {first}: {} the same {}, {} failed (drafts drawn anew: {} do \
         not type-check, {} need more stack than BPF has)",
        tally.same,
        match kernel {
            true => "in the interpreter and in the kernel, at -O0 and -O2",
            false => "in the interpreter, at -O0 and -O2; not tried in the kernel",
        },
        tally.failed.len(),
        mistyped.len(),
        beyond.len(),
    );
    if std::env::var_os("RTRACE_REFUSED").is_some() {
        for (seed, text) in &tally.refused {
            eprintln!("--- refused {seed}\n{text}");
        }
    }
    assert!(tally.failed.is_empty(), "{:#?}", tally.failed);
    assert!(
        count < 100 || (mistyped.len() as u64) < count / 2,
        "many drafts do not type-check: {:?}",
        mistyped.first()
    );
}

/// Damaged scripts of each generated one.
const DAMAGES: u64 = 4;

/// Longest time that the compiler may take for a short text, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn damaged_scripts_are_refused_or_compiled() {
    let first = number("RTRACE_SEED").unwrap_or(1);
    let count = number("RTRACE_GENERATED").unwrap_or(PROGRAMS / 2);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let env = HostEnv::default();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if i >= count {
                        return;
                    }
                    let script = grammar::program(first + i).to_string();
                    for k in 0..DAMAGES {
                        let mut rng = rng::Rng((first + i) * DAMAGES + k);
                        let text = mutate::damaged(&script, &mut rng);
                        let start = Instant::now();
                        let wrong = match engines::compile(&text, Level::O2, &env) {
                            Verdict::Panic(e) => Some(e),
                            _ if start.elapsed() > PATIENCE => {
                                Some(format!("took {:?}", start.elapsed()))
                            }
                            _ => None,
                        };
                        if let Some(wrong) = wrong {
                            let wrong: String = wrong.chars().take(400).collect();
                            eprintln!("=== damaged {} {k}: {wrong}\n{text}\n=== end", first + i);
                            failures.lock().unwrap().push(wrong);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The failing program made small, with what is wrong.
fn report(seed: u64, program: Node, failure: &Failure, env: &Arc<HostEnv>, kernel: bool) -> String {
    let small = tree::shrink(
        program,
        |p| matches!(check(&p.to_string(), env, kernel), Outcome::Failed(f) if f == *failure),
    );
    let text = small.to_string();
    let story = match check(&text, env, kernel) {
        Outcome::Failed(f) => f.story,
        _ => failure.story.clone(),
    };
    let tail: Vec<_> = story.lines().collect();
    let tail = tail[tail.len().saturating_sub(60)..].join("\n");
    format!(
        "=== seed {seed}: {}\n{text}\n{tail}\n=== end of {seed}",
        failure.kind
    )
}
