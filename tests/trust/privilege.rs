//! Least privilege: what is enough to trace, what is given up, and what is said when it is not
//! enough.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::kernel::usable;
use crate::run::{plain, program, rtrace, threads};
use crate::safe::signal;

/// rtrace as user 65534 with these capabilities and no others; the copy is where that user may
/// execute it.
fn as_nobody(test: &str, caps: &str, args: &[&str]) -> Option<(String, String, Option<i32>)> {
    let dir = std::env::temp_dir().join(format!("rtrace-trust-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let copy = dir.join("rtrace");
    std::fs::copy(env!("CARGO_BIN_EXE_rtrace"), &copy).unwrap();
    let mut setpriv = Command::new("setpriv");
    plain(&mut setpriv);
    let out = setpriv
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["--inh-caps", &format!("-all{caps}")])
        .args(["--bounding-set", &format!("-all{caps}")])
        .args(["--ambient-caps", &format!("-all{caps}")])
        .arg(&copy)
        .args(args)
        .stdin(Stdio::null())
        .current_dir("/")
        .output();
    std::fs::remove_dir_all(&dir).unwrap();
    match out {
        Ok(out) => Some((
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
            out.status.code(),
        )),
        Err(e) => {
            eprintln!("skipped: {test}: setpriv(1) is not there: {e}");
            None
        }
    }
}

const ENOUGH: &str = ",+bpf,+perfmon";

#[test]
fn two_capabilities_are_enough_to_trace() {
    if !usable("two_capabilities_are_enough_to_trace") {
        return;
    }
    // Programs and clocks, then a function of a program that this user may read.
    let clocks = "begin { printf(\"begin\\n\"); } profile:hz:99 { @p[cpu] = count(); } \
        interval:ms:200 { @n++; exit(); } end { @end = hist(@n); }";
    let Some((out, err, code)) = as_nobody("clocks", ENOUGH, &["-q", "--strict", "-e", clocks])
    else {
        return;
    };
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("begin\n") && out.contains("@n: 1\n"), "{out}");
    let functions = "uprobe:libc:getppid { @calls = count(); }";
    let args = [
        "-q",
        "--strict",
        "-e",
        functions,
        "-c",
        "/bin/sh -c 'exit 0'",
    ];
    let (out, err, code) = as_nobody("functions", ENOUGH, &args).unwrap();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("@calls: 1\n"), "{out}");
}

#[test]
fn what_is_missing_is_named() {
    if !usable("what_is_missing_is_named") {
        return;
    }
    let script = "begin { exit(); }";
    let args = ["-q", "-e", script];
    for (caps, names) in [
        ("", "CAP_BPF and CAP_PERFMON"),
        (",+bpf", "CAP_PERFMON"),
        (",+perfmon", "CAP_BPF"),
    ] {
        let Some((_, err, code)) = as_nobody("missing", caps, &args) else {
            return;
        };
        assert!(err.contains(&format!("tracing needs {names}:")), "{err}");
        assert_eq!(code, Some(1), "{caps}");
    }
}

#[test]
fn a_probe_that_needs_more_says_what() {
    if !usable("a_probe_that_needs_more_says_what") {
        return;
    }
    for (probe, said) in [
        ("tracepoint:sched:sched_switch", "CAP_DAC_READ_SEARCH"),
        (
            "watchpoint:0xffffffff81000000:8:w",
            "CAP_SYS_ADMIN is missing",
        ),
    ] {
        let script = format!("{probe} {{ exit(); }} interval:ms:100 {{ exit(); }}");
        let Some((_, err, code)) = as_nobody("more", ENOUGH, &["-q", "-e", &script]) else {
            return;
        };
        assert!(err.contains(said), "{probe}: {err}");
        assert_ne!(code, Some(0), "{probe}");
    }
    // With it, it works.
    let script = "tracepoint:sched:sched_switch { exit(); } interval:s:20 { exit(); }";
    let more = format!("{ENOUGH},+dac_read_search");
    let (_, err, code) = as_nobody("more", &more, &["-q", "-e", script]).unwrap();
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn what_is_not_needed_is_given_up_when_everything_is_attached() {
    if !usable("what_is_not_needed_is_given_up_when_everything_is_attached") {
        return;
    }
    let Some(target) = threads() else { return };
    let effective = |script: &str, more: &[&str]| {
        let mut tracer = rtrace();
        tracer.args(["-q", "-e", script]).args(more);
        let mut tracer = tracer
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let full = capabilities(std::process::id());
        let mut now = full;
        // With system() nothing is given up, however long one waits.
        let patience = Duration::from_secs(if more.is_empty() { 20 } else { 2 });
        while now == full && start.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(5));
            now = capabilities(tracer.id());
        }
        signal(tracer.id(), libc::SIGINT);
        assert_eq!(tracer.wait().unwrap().code(), Some(0));
        (full, now)
    };
    let script = format!(
        "uprobe:{}:tick {{ @++; }} end {{ @ = 3; }}",
        target.display()
    );
    let (full, now) = effective(&script, &[]);
    let bit = |n: u32| 1u64 << n;
    // CAP_SYS_ADMIN and CAP_SETUID are not needed, CAP_BPF is.
    if full & bit(21) != 0 {
        assert_eq!(now & (bit(21) | bit(7)), 0, "{now:x}");
    }
    assert_ne!(now & bit(39), 0, "{now:x}");
    let (full, now) = effective("interval:s:100 { system(\"true\"); }", &["--unsafe"]);
    assert_eq!(now, full);
}

fn capabilities(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let set = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    u64::from_str_radix(set.unwrap().trim(), 16).unwrap()
}

#[test]
fn maps_symbols_and_the_command_work_without_what_was_given_up() {
    if !usable("maps_symbols_and_the_command_work_without_what_was_given_up") {
        return;
    }
    let Some(target) = program("strings") else {
        return;
    };
    // Everything that comes after attaching: stacks by name, END, maps, a command of another user.
    let script = format!(
        "uprobe:{}:take {{ @[ustack(1)] = count(); print(usym(reg(\"ip\"))); }} \
         end {{ @last = 7; }}",
        target.display()
    );
    let out = rtrace()
        .args(["-q", "-e", &script, "-c", target.to_str().unwrap()])
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .env_remove("SUDO_USER")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let err = String::from_utf8_lossy(&out.stderr);
    if err.contains("Permission denied") && err.contains("does not exist or is not executable") {
        eprintln!("skipped: another user may not execute {}", target.display());
        return;
    }
    assert_eq!(text.matches("take\n").count(), 4, "{text}{err}");
    assert!(
        text.contains("take+0") && text.contains("]: 4\n"),
        "{text}{err}"
    );
    assert!(text.contains("@last: 7\n"), "{text}");
}
