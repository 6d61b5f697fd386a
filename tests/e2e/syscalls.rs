//! System calls counted over a busy program: the totals are those that it made.

use std::collections::BTreeMap;
use std::process::Command;

use crate::kernel;
use crate::support::{Live, fixture, have, rtrace, scratch};

/// What the program makes with the argument 1000: system call, its number, how often.
#[cfg(target_arch = "x86_64")]
const KNOWN: &[(&str, u32, u64)] = &[("getppid", 110, 1000), ("close", 3, 500), ("write", 1, 100)];

#[test]
#[cfg(target_arch = "x86_64")]
fn of_a_program_among_all_others() {
    if !kernel::usable("system calls of all processes") {
        return;
    }
    let name = format!("busy{}", std::process::id());
    let Some(path) = fixture("syscalls.c", &name, &["-O2", "-static"]) else {
        return;
    };
    let script = "tracepoint:raw_syscalls:sys_enter { @[comm, args.id] = count(); }";
    let live = Live::attached(&["-e", script]);
    let status = Command::new(&path).arg("1000").status().unwrap();
    assert!(status.success());
    let out = live.interrupt().ok();
    for (call, number, times) in KNOWN {
        // Start-up code of the static program calls neither.
        let line = format!("@[{name}, {number}]: {times}\n");
        assert!(out.contains(&line), "{call}: no {line}in\n{out}");
    }
}

/// System calls and how often they were made, as `@[probe]` of `sys_enter_*` prints them.
fn by_probe(out: &str) -> BTreeMap<String, u64> {
    let lines = out
        .lines()
        .filter_map(|l| l.strip_prefix("@[tracepoint:syscalls:sys_enter_"));
    lines
        .map(|l| {
            let (name, count) = l.split_once("]: ").unwrap();
            (name.to_owned(), count.parse().unwrap())
        })
        .collect()
}

/// The same, as `strace -c` counts.
fn by_strace(command: &[&str]) -> BTreeMap<String, u64> {
    let table = scratch("strace");
    let mut strace = Command::new("strace");
    strace.args(["-c", "-o"]).arg(&table).args(command);
    assert!(strace.status().unwrap().success());
    let text = std::fs::read_to_string(table).unwrap();
    let mut out = BTreeMap::new();
    // % time, seconds, usecs/call, calls, errors if any, name.
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(name), Some(Ok(calls))) = (words.last(), words.get(3).map(|w| w.parse::<u64>()))
        else {
            continue;
        };
        if *name != "total" {
            // The kernel's names of these calls differ.
            let name = match *name {
                "stat" | "fstat" | "lstat" | "uname" => format!("new{name}"),
                "sendfile" => "sendfile64".to_owned(),
                other => other.to_owned(),
            };
            out.insert(name, calls);
        }
    }
    out
}

#[test]
fn by_probe_name_as_strace_counts_them() {
    let test = "system calls by probe name";
    if !kernel::usable(test) || !have("strace", test) {
        return;
    }
    let Some(path) = fixture("syscalls.c", "syscalls", &["-O2"]) else {
        return;
    };
    let script = "tracepoint:syscalls:sys_enter_* /pid == cpid/ { @[probe] = count(); }";
    let out = rtrace(&["-e", script, "-c", &format!("{path} 2000")]).ok();
    let mut got = by_probe(&out);
    let mut expected = by_strace(&[&path, "2000"]);
    // The program was started before the probes were attached; strace does not see a call end
    // that never returns.
    expected.remove("execve");
    assert_eq!(got.remove("exit_group"), Some(1));
    expected.remove("exit_group");
    assert_eq!(got, expected);
    assert_eq!(got["getppid"], 2000);
}

/// A pattern over all system calls takes one attachment, not hundreds.
#[test]
fn all_events_of_system_calls_share_a_program() {
    if !kernel::usable("one program for all system calls") {
        return;
    }
    let events = rtrace(&["-l", "tracepoint:syscalls:sys_enter_*"]).ok();
    let events = events.lines().count();
    let script = "tracepoint:syscalls:sys_enter_* { @[probe] = count(); }";
    let run = rtrace(&["-v", "--dry-run", "-e", script]);
    let attached = run.err.lines().filter(|l| l.starts_with("Attaching '"));
    // A kernel that is newer than this program has calls whose numbers it does not know.
    let attached = attached.count();
    assert!(events > 300 && attached <= 12, "{events}: {}", run.err);
    run.ok();
}

/// The numbers of 32-bit calls mean other calls.
#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_32_bit_programs_are_not_taken_for_others() {
    let test = "system calls of 32-bit programs";
    if !kernel::usable(test) {
        return;
    }
    let Some(path) = fixture("calls32.c", "calls32", &["-O2"]) else {
        return;
    };
    let script = "tracepoint:syscalls:sys_enter_* /pid == cpid/ { @[probe] = count(); } \
                  tracepoint:syscalls:sys_exit_* /pid == cpid/ { @out[probe, args.ret] = count(); } \
                  tracepoint:raw_syscalls:sys_enter /pid == cpid && args.id == 20/ { @raw = count(); }";
    let run = rtrace(&["-e", script, "-c", &format!("{path} 100")]);
    let out = run.out.clone();
    let raw: u64 = out
        .lines()
        .find_map(|l| l.strip_prefix("@raw: "))
        .map_or(0, |n| n.parse().unwrap());
    if raw < 100 {
        eprintln!("skipped: {test}: this kernel takes none");
        return;
    }
    run.ok();
    assert_eq!(raw, 101);
    assert_eq!(by_probe(&out)["writev"], 1);
    assert!(
        out.contains("@out[tracepoint:syscalls:sys_exit_writev, 0]: 1\n"),
        "{out}"
    );
    assert!(!by_probe(&out).contains_key("getpid"), "{out}");
}
