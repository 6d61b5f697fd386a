//! Static probes: of a program of ours whose probes stand behind a semaphore, and of Python.

use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{Live, fixture, have, rtrace, scratch, value};

/// A script that sums up what each sale says, and what the sales of a run sum up to.
fn script(path: &str) -> String {
    format!(
        "usdt:{path}:kiosk:sale {{ \
             @n = count(); @price = sum(arg0 - 1000000000000); @at = sum((int32)arg1); \
             @what[str(arg2)] = count(); \
         }} \
         usdt:{path}:kiosk:always {{ @all = count(); }}"
    )
}

#[track_caller]
fn assert_sales(out: &str, sales: &[u64]) {
    let all = || sales.iter().flat_map(|&n| 0..n);
    assert_eq!(value(out, "@n"), all().count().to_string());
    assert_eq!(value(out, "@all"), all().count().to_string());
    assert_eq!(value(out, "@price"), all().sum::<u64>().to_string());
    // Odd ones give their number, the others a constant.
    let at = all().map(|i| if i % 2 == 1 { -(i as i64) } else { -7 });
    assert_eq!(value(out, "@at"), at.sum::<i64>().to_string());
    let bread = all().filter(|i| i % 3 == 0).count();
    assert_eq!(value(out, "@what[bread]"), bread.to_string());
    let tea = all().count() - bread;
    assert_eq!(value(out, "@what[tea]"), tea.to_string());
}

fn run(path: &str, n: &str) -> String {
    let out = Command::new(path).arg(n).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// A kiosk that waits for orders.
fn waiting(path: &str) -> Live {
    let mut command = Command::new(path);
    command.stdin(Stdio::piped());
    let mut kiosk = Live::start(command);
    kiosk.line("open");
    kiosk
}

#[test]
fn programs_that_start_later_see_that_somebody_looks() {
    if !kernel::usable("static probes of programs that start later") {
        return;
    }
    let Some(path) = fixture("kiosk.c", "kiosk-later", &["-O2"]) else {
        return;
    };
    assert_eq!(run(&path, "10"), "seen 0 of 10\n");
    let mut before = waiting(&path);
    // By one link for all places, and by one for each.
    for options in [&[][..], &["--no-feature", "uprobe_multi"]] {
        let script = script(&path);
        let mut args = vec!["-e", &script];
        args.extend(options);
        let live = Live::attached(&args);
        assert_eq!(run(&path, "30"), "seen 30 of 30\n", "{options:?}");
        before.say("9\n");
        before.line("seen 9 of 9");
        assert_eq!(run(&path, "20"), "seen 20 of 20\n", "{options:?}");
        assert_sales(&live.interrupt().ok(), &[30, 9, 20]);
        // The semaphore of a process that goes on is let down.
        before.say("off\n12\n");
        before.line("nobody looks");
        before.line("seen 0 of 12");
        assert_eq!(run(&path, "10"), "seen 0 of 10\n", "{options:?}");
    }
    before.end().ok();
}

#[test]
fn one_process_is_looked_at_and_not_another() {
    if !kernel::usable("static probes of one process") {
        return;
    }
    let Some(path) = fixture("kiosk.c", "kiosk-one", &["-O2"]) else {
        return;
    };
    let (mut one, mut other) = (waiting(&path), waiting(&path));
    let pid = one.pid().to_string();
    for options in [&[][..], &["--no-feature", "uprobe_multi"]] {
        let script = script(&path);
        let mut args = vec!["-p", &pid, "-e", &script];
        args.extend(options);
        let live = Live::attached(&args);
        one.say("15\n");
        one.line("seen 15 of 15");
        other.say("40\n");
        other.line("of 40");
        assert_sales(&live.interrupt().ok(), &[15]);
        one.say("off\n");
        one.line("nobody looks");
    }
    // Its probes are found in what it has mapped.
    let live = Live::attached(&["-p", &pid, "-e", "usdt:*:kiosk:sale { @[comm] = count(); }"]);
    one.say("5\n");
    one.line("seen 5 of 5");
    let out = live.interrupt().ok();
    assert_eq!(value(&out, "@[kiosk-one]"), "5");
    one.end().ok();
    other.end().ok();
}

#[test]
fn a_command_sees_that_somebody_looks_from_its_start() {
    if !kernel::usable("static probes of a command") {
        return;
    }
    let Some(path) = fixture("kiosk.c", "kiosk-command", &["-O2"]) else {
        return;
    };
    let out = rtrace(&["-c", &format!("{path} 25"), "-e", &script(&path)]).ok();
    assert!(out.contains("seen 25 of 25"), "{out}");
    assert_sales(&out, &[25]);
    let out = rtrace(&["-l", &format!("usdt:{path}:*")]).ok();
    assert_eq!(
        out,
        format!("usdt:{path}:kiosk:always\nusdt:{path}:kiosk:sale\n")
    );
    let out = rtrace(&["-lv", &format!("usdt:{path}:kiosk:sale")]).ok();
    assert_eq!(
        out,
        format!("usdt:{path}:kiosk:sale\n    uint64 arg0\n    int32 arg1\n    uint64 arg2\n")
    );
}

#[test]
fn a_process_with_files_and_numbers_of_its_own() {
    const TEST: &str = "a process in namespaces of its own";
    if !kernel::usable(TEST) || !have("unshare", TEST) {
        return;
    }
    let Some(path) = fixture("kiosk.c", "kiosk-inside", &["-O2"]) else {
        return;
    };
    let inside =
        format!("mount -t tmpfs none /mnt && cp {path} /mnt/kiosk-there && exec /mnt/kiosk-there");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--mount-proc"])
        .args(["sh", "-c", &inside])
        .stdin(Stdio::piped());
    let mut kiosk = Live::start(command);
    kiosk.line("open");
    let outer = kiosk.pid();
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
    let pid = children.unwrap().trim().to_owned();
    // Nobody but the process has such a file.
    let script = script("/mnt/kiosk-there");
    let live = Live::attached(&["-v", "-p", &pid, "-e", &script]);
    kiosk.say("11\n");
    kiosk.line("seen 11 of 11");
    let run = live.interrupt();
    let both = format!("process {pid} is 1 in its own PID namespace");
    assert!(run.err.contains(&both), "{}", run.err);
    assert_sales(&run.ok(), &[11]);
    kiosk.end().ok();
}

#[test]
fn the_probes_of_python() {
    const PYTHON: &str = "/usr/bin/python3";
    if !kernel::usable("the static probes of Python") {
        return;
    }
    let listed = rtrace(&["-l", &format!("usdt:{PYTHON}:python:*")]).out;
    if !["audit", "gc__start", "gc__done"]
        .iter()
        .all(|name| listed.contains(&format!("usdt:{PYTHON}:python:{name}\n")))
    {
        eprintln!("skipped: the static probes of Python: {PYTHON} has none");
        return;
    }
    let program = scratch("collects.py");
    let text = "import gc, sys\n\
                for i in range(37): sys.audit('rtrace.event', i)\n\
                gc.disable()\n\
                sys.audit('rtrace.begin')\n\
                for i in range(10): gc.collect(i % 2)\n\
                sys.audit('rtrace.end')\n";
    std::fs::write(&program, text).unwrap();
    let script = format!(
        "usdt:{PYTHON}:python:audit /str(arg0) == \"rtrace.event\"/ {{ @events = count(); }} \
         usdt:{PYTHON}:python:audit /str(arg0) == \"rtrace.begin\"/ {{ @on[pid] = 1; }} \
         usdt:{PYTHON}:python:audit /str(arg0) == \"rtrace.end\"/ {{ delete(@on, pid); }} \
         usdt:{PYTHON}:python:gc__start /@on[pid]/ {{ @start[arg0] = count(); }} \
         usdt:{PYTHON}:python:gc__done /@on[pid]/ {{ @done = count(); }}"
    );
    // Started by the tracer, and by somebody else after it.
    let command = format!("{PYTHON} {}", program.display());
    let mut outs = vec![rtrace(&["-c", &command, "-e", &script]).ok()];
    let live = Live::attached(&["-e", &script]);
    let status = Command::new(PYTHON).arg(&program).status().unwrap();
    assert!(status.success());
    outs.push(live.interrupt().ok());
    for out in outs {
        assert_eq!(value(&out, "@events"), "37");
        assert_eq!(value(&out, "@start[0]"), "5");
        assert_eq!(value(&out, "@start[1]"), "5");
        assert_eq!(value(&out, "@done"), "10");
    }
}
