//! Soak: hours of events, processes that come and go, and no more memory at the end than at the
//! beginning. `RTRACE_SOAK_SECONDS` says how long.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::accounted::counted;
use crate::kernel::usable;
use crate::run::{rtrace, threads};
use crate::safe::signal;

/// Seconds in a run of the test suite.
const SECONDS: u64 = 6;
/// Threads of each process, and calls of each thread.
const THREADS: u64 = 4;
const CALLS: u64 = 20_000;
/// How often memory is looked at.
const SAMPLES: u32 = 12;

/// Processes besides those that are traced, in each round: that they come and go is recorded too.
const OTHERS: u64 = 20;
/// What may be added in the second half of a run, in KiB: ended processes are remembered until
/// there are 4096 of them, by 2 kB each (`runtime::symbolize::recorder`).
const REMEMBERED: u64 = 8 << 10;

/// Memory of a process in KiB. Pages of files that it maps are not its own: of those there are
/// the more the more symbols were read.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[test]
fn memory_stays_and_counts_are_true() {
    if !usable("memory_stays_and_counts_are_true") {
        return;
    }
    let Some(target) = threads() else { return };
    let seconds = std::env::var("RTRACE_SOAK_SECONDS").ok();
    let seconds = seconds.and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    // Aggregations of every kind, keys that come and go with processes, events, stacks by name.
    let script = format!(
        "uprobe:{}:tick {{ @n++; @count = count(); @sum = sum(arg0); @h = hist(arg0); \
         @by[arg0 % 100] = count(); @tids[tid % 64] = sum(1); \
         if (arg0 % 2000 == 7) {{ printf(\"%d %s %s\\n\", pid, comm, usym(reg(\"ip\"))); \
         print(ustack); }} }}",
        target.display()
    );
    // A program of its own: other tests run that one too.
    let own = target.with_file_name(format!("trust-threads-{}", std::process::id()));
    std::fs::copy(&target, &own).unwrap();
    let script = script.replace(&*target.to_string_lossy(), &own.to_string_lossy());
    let target = own;
    let mut tracer = rtrace()
        .args(["-f", "json", "-e", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(tracer.stdout.take().unwrap());
    let mut head = String::new();
    out.read_line(&mut head).unwrap();
    assert!(head.contains("attached_probes"), "{head}");
    // What is printed is read all the time, and only the events are counted: it may be much.
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut events, mut rest) = (0u64, String::new());
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|n| n > 0) {
            match line.starts_with("{\"type\": \"printf\"") {
                true => events += 1,
                false if line.starts_with("{\"type\": \"value\"") => {}
                false => rest.push_str(&line),
            }
            line.clear();
        }
        let _ = out.read_to_string(&mut rest);
        let _ = tell.send((events, rest));
    });
    let start = Instant::now();
    let end = Duration::from_secs(seconds);
    let (mut rounds, mut memory) = (0u64, Vec::new());
    while start.elapsed() < end || rounds < 4 {
        let status = Command::new(&target)
            .args([THREADS.to_string(), CALLS.to_string()])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        rounds += 1;
        for _ in 0..OTHERS {
            assert!(Command::new("true").status().unwrap().success());
        }
        while start.elapsed() >= end / SAMPLES * (memory.len() as u32 + 1) {
            memory.push(resident(tracer.id()));
        }
    }
    signal(tracer.id(), libc::SIGINT);
    assert_eq!(tracer.wait().unwrap().code(), Some(0));
    let _ = std::fs::remove_file(&target);
    let (events, json) = told.recv().unwrap();
    eprintln!(
        "{} processes, {} events, {events} printed, KiB of memory: {memory:?}, {:?}",
        rounds * (1 + OTHERS),
        rounds * THREADS * CALLS,
        start.elapsed()
    );
    let n = rounds * THREADS * CALLS;
    let has = |text: String| assert!(json.contains(&text), "no {text} in {json}");
    has(format!("{{\"@n\": {n}}}"));
    has(format!("{{\"@count\": {n}}}"));
    has(format!(
        "{{\"@sum\": {}}}",
        rounds * THREADS * (CALLS * (CALLS - 1) / 2)
    ));
    for key in [0, 99] {
        has(format!("\"{key}\": {}", n / 100));
    }
    // Each has a stack besides the line.
    let lost = counted(&json, "lost_event");
    let asked = 2 * rounds * THREADS * (CALLS / 2000);
    assert!(
        events + lost >= asked / 2 && events <= asked / 2,
        "{events} {lost} {asked}"
    );
    let half = memory[memory.len() / 2 - 1];
    let last = memory[memory.len() - 1];
    assert!(last <= half + half / 10 + REMEMBERED, "{memory:?} KiB");
}
