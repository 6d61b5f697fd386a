//! Fuzzing with the stable toolchain: changed copies of known inputs, from a seed that is
//! printed (always the same one, unless it is told to search for longer), each target in a process of its own with a limit on memory.
//!
//! A second for each target in every run of the test suite; `RTRACE_FUZZ_SECONDS` says how long,
//! `RTRACE_FUZZ_SEED` from where. A failure leaves its input beside the test's other files and
//! says how to run it again: `cargo test --test fuzz -- TARGET FILE`. What was found once is in
//! `fuzz/corpus/TARGET`, and is run first every time. `fuzz/run` searches by coverage.

mod mutate;
mod records;
mod seeds;
mod targets;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use mutate::Random;
use targets::{TARGETS, Target};

/// Most memory that a target may map.
const MEMORY: u64 = 1 << 30;

/// Most bytes of an input: seeds are not cut.
const INPUT: usize = 256 << 10;

/// Longest time for one input, of the processor and not of the clock: others run too. Code that
/// is not optimised may take longer.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

/// Set for the process that does the work.
const WORKER: &str = "RTRACE_FUZZ_WORKER";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Ok(name) = std::env::var(WORKER) {
        let target = TARGETS.iter().find(|t| t.name == name);
        return worker(target.expect("our parent knows its name"), &args);
    }
    if args.iter().any(|a| a == "--list") {
        for t in TARGETS {
            println!("{}: test", t.name);
        }
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    if let [name, file] = words[..]
        && let Some(target) = TARGETS.iter().find(|t| t.name == name)
    {
        // One input, where a debugger can see it.
        (target.run)(&std::fs::read(file).expect("the input can be read"));
        return ExitCode::SUCCESS;
    }
    let wanted = |t: &&Target| words.is_empty() || words.iter().any(|w| t.name.contains(*w));
    let chosen: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
    let mut failures = 0;
    println!("\nrunning {} tests", chosen.len());
    for target in &chosen {
        match run(target) {
            Ok(said) => println!("test {} ... ok ({said})", target.name),
            Err(said) => {
                failures += 1;
                println!("test {} ... FAILED\n{said}", target.name);
            }
        }
    }
    let passed = chosen.len() - failures;
    let word = if failures == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failures} failed; 0 ignored\n");
    ExitCode::from(u8::from(failures > 0))
}

/// Where a target's worker notes its input before it feeds it.
fn note(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}-input", target.name))
}

/// Runs a target in a process of its own; what it says, or what went wrong.
fn run(target: &Target) -> Result<String, String> {
    // A run that is to find something starts elsewhere each time; the test suite's does not.
    let (seconds, seed) = match number("RTRACE_FUZZ_SECONDS") {
        None => (1, 1),
        Some(seconds) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            (seconds, now.map_or(1, |d| d.as_nanos() as u64))
        }
    };
    let seed = number("RTRACE_FUZZ_SEED").unwrap_or(seed);
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command
        .args([seconds.to_string(), seed.to_string()])
        .env(WORKER, target.name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: the closure makes one system call, which takes memory that outlives it.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: MEMORY,
                rlim_max: MEMORY,
            };
            match libc::setrlimit(libc::RLIMIT_AS, &raw const limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let start = Instant::now();
    // Whoever is still at it long after the end hangs, however loaded the machine is.
    let patience = Duration::from_secs(seconds * 3 + 120);
    let hangs = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(_) => break false,
            None if start.elapsed() > patience => break true,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if hangs {
        let _ = child.kill();
    }
    let done = child.wait_with_output().map_err(|e| e.to_string())?;
    let out = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    if done.status.success() && !hangs {
        return Ok(out);
    }
    let kept = note(target).with_file_name(format!("fuzz-{}-{seed:x}", target.name));
    if let Err(e) = keep(&note(target), &kept) {
        eprintln!("{}: {e}", kept.display());
    }
    let what = match (hangs, done.status.signal()) {
        (true, _) => "it hangs".to_owned(),
        (_, Some(n)) => format!("it died of signal {n}"),
        _ => String::new(),
    };
    let file = kept.display();
    Err(format!(
        "{what}{out}\n{}\nseed: {seed}\nagain: cargo test --test fuzz -- {} {file}",
        String::from_utf8_lossy(&done.stderr),
        target.name,
    ))
}

/// Feeds a target until its time is up. The input is in a file while it is fed.
fn worker(target: &Target, args: &[String]) -> ExitCode {
    let [seconds, seed] = args else {
        return ExitCode::FAILURE;
    };
    let time = Duration::from_secs(seconds.parse().unwrap_or(1));
    let mut random = Random(seed.parse().unwrap_or(1));
    std::panic::set_hook(Box::new(|info| {
        let _ = writeln!(std::io::stderr(), "{info}");
    }));
    let mut seeds = (target.seeds)();
    seeds.extend(corpus(target));
    seeds.retain(|s| s.len() <= INPUT);
    let mut noted = match shared(&note(target)) {
        Ok(map) => map,
        Err(e) => {
            println!("the input cannot be noted: {e}");
            return ExitCode::FAILURE;
        }
    };
    let start = Instant::now();
    let mut fed = 0u64;
    let mut slowest = Duration::ZERO;
    for i in 0.. {
        let input = match seeds.get(i) {
            Some(seed) => seed.clone(),
            None => mutate::mutated(&seeds, &mut random),
        };
        if i >= seeds.len() && start.elapsed() >= time {
            break;
        }
        noted[..8].copy_from_slice(&(input.len() as u64).to_le_bytes());
        noted[8..8 + input.len()].copy_from_slice(&input);
        let before = processor_time();
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            println!("it panicked");
            return ExitCode::FAILURE;
        }
        let took = processor_time().saturating_sub(before);
        slowest = slowest.max(took);
        if took > LIMIT {
            println!("it took {took:?} for {} bytes", input.len());
            return ExitCode::FAILURE;
        }
        fed += 1;
    }
    let _ = std::fs::remove_file(note(target));
    println!("{fed} inputs, the slowest {} ms", slowest.as_millis());
    ExitCode::SUCCESS
}

/// Memory that outlives whoever writes to it: a length, then the input.
fn shared(path: &Path) -> std::io::Result<memmap2::MmapMut> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.set_len(8 + INPUT as u64)?;
    // SAFETY: nobody else opens the file while this process lives.
    unsafe { memmap2::MmapMut::map_mut(&file) }
}

/// Takes the input out of the file of [`shared`] and keeps it as `to`.
fn keep(from: &Path, to: &Path) -> std::io::Result<()> {
    let bytes = std::fs::read(from)?;
    let (len, input) = bytes.split_at(bytes.len().min(8));
    let len = len.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
    std::fs::write(to, &input[..len.min(input.len())])?;
    std::fs::remove_file(from)
}

/// Inputs that were found to do harm once.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target.name);
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|f| std::fs::read(f.path()).ok()).collect()
}

/// Time that all threads of this process have run.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
