//! Many functions at once: all of a library, by one link and by many, and an interrupt halfway.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{Live, PATIENCE, RTRACE, fixture, rtrace, run, value};

/// A library of 200 functions and a helper, and the program that calls them.
fn many() -> Option<(String, String)> {
    let library = fixture(
        "many.c",
        "libmany.so",
        &["-DLIBRARY", "-shared", "-fPIC", "-O1"],
    )?;
    Some((library, fixture("many.c", "many", &["-O1", "-ldl"])?))
}

/// Calls of `fn_1NNN`.
fn calls(n: usize) -> usize {
    n % 7
}

#[test]
fn a_wildcard_over_a_library_counts_what_was_called() {
    if !kernel::usable("all functions of a library") {
        return;
    }
    let Some((library, program)) = many() else {
        return;
    };
    let command = format!("{program} {library}");
    let expected = |names: std::ops::Range<usize>| names.map(calls).sum::<usize>();
    // By one link for all; and by one for each of a few, which take long to detach.
    for (pattern, names, options) in [
        ("*", 0..200, &[][..]),
        ("fn_103*", 30..40, &["--no-feature", "uprobe_multi"]),
    ] {
        let script = format!(
            "uprobe:{library}:{pattern} {{ @[probe] = count(); }} \
             uretprobe:{library}:fn_103* {{ @returns = count(); }}"
        );
        let mut args = vec!["-e", &script, "-c", &command];
        args.extend(options);
        let out = rtrace(&args).ok();
        let count = |what: &str| -> usize {
            let prefix = format!("{what}: ");
            let line = out.lines().find_map(|l| l.strip_prefix(&prefix));
            line.map_or(0, |n| n.parse().unwrap())
        };
        for n in names {
            let name = format!("fn_1{n:03}");
            let probe = format!("@[uprobe:{library}:{name}]");
            assert_eq!(count(&probe), calls(n), "{probe} {options:?}");
        }
        if pattern == "*" {
            let helper = format!("@[uprobe:{library}:helper]");
            assert_eq!(count(&helper), expected(0..200));
        }
        let returns = expected(30..40).to_string();
        assert_eq!(value(&out, "@returns"), returns, "{options:?}");
    }
}

#[test]
fn an_interrupt_while_attaching_ends_the_run_and_leaves_nothing() {
    if !kernel::usable("an interrupt while attaching") {
        return;
    }
    let flags = &["-DLIBRARY", "-DMORE", "-shared", "-fPIC", "-O1"];
    let Some(library) = fixture("many.c", "libmore.so", flags) else {
        return;
    };
    let script = format!("uprobe:{library}:* {{ @ = count(); }} END {{ printf(\"ended\\n\"); }}");
    let mut child = Command::new(RTRACE)
        // One link for each of some thousand functions.
        .args(["-v", "--no-feature", "uprobe_multi"])
        .args(["-e", &script])
        .env("BPFTRACE_MAX_PROBES", "100000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    let attaching = |l: &String| l.starts_with("Attaching '");
    for _ in 0..20 {
        let line = err.by_ref().map_while(Result::ok).find(attaching);
        assert!(line.is_some(), "the run ended early");
    }
    // SAFETY: takes no memory; the process is our unreaped child.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let start = std::time::Instant::now();
    let rest: Vec<String> = err.map_while(Result::ok).collect();
    let out = child.wait_with_output().unwrap();
    assert!(start.elapsed() < PATIENCE);
    assert!(out.status.success(), "{rest:?}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("ended"));
    // Far from all functions were attached, and nobody says otherwise.
    let attached = rest.iter().filter(|l| attaching(l)).count();
    assert!(attached <= 96, "{attached} after the interrupt");
    assert!(!rest.iter().any(|l| l.starts_with("Attached ")), "{rest:?}");
}

#[test]
fn twenty_thousand_functions_in_one_go() {
    if !kernel::usable("twenty thousand functions") {
        return;
    }
    if !rtrace(&["--info"]).out.contains("uprobe_multi: yes") {
        eprintln!("skipped: twenty thousand functions: one link for all takes Linux 6.6");
        return;
    }
    let (Some(library), Some(program)) = (
        fixture("swarm.c", "libswarm.so", &["-DLIBRARY", "-shared", "-fPIC"]),
        fixture("swarm.c", "swarm", &["-ldl"]),
    ) else {
        return;
    };
    let script = format!("uprobe:{library}:f_* {{ @all = count(); @[func] = count(); }}");
    let mut command = Command::new(RTRACE);
    command
        .args(["-e", &script, "-c", &format!("{program} {library}")])
        .env("BPFTRACE_MAX_PROBES", "20000");
    let run = run(command);
    assert!(run.err.contains("Attached 20000 probes"), "{}", run.err);
    let out = run.ok();
    let called = (0..20000).filter(|n| n % 7 == 0);
    let calls = called.clone().map(|n| n % 3 + 1);
    assert_eq!(value(&out, "@all"), calls.sum::<usize>().to_string());
    for n in called.clone() {
        assert_eq!(value(&out, &format!("@[f_{n}]")), (n % 3 + 1).to_string());
    }
    // And nobody else was.
    assert_eq!(out.matches("@[f_").count(), called.count());
}

#[test]
fn more_than_may_be_opened_is_refused_before_anything_is_attached() {
    if !kernel::usable("more probes than open files") {
        return;
    }
    let flags = &["-DLIBRARY", "-DMORE", "-shared", "-fPIC", "-O1"];
    let Some(library) = fixture("many.c", "libtoomany.so", flags) else {
        return;
    };
    let script = format!("uprobe:{library}:more_* {{ @ = count(); }}");
    let mut command = Command::new(RTRACE);
    command
        .args(["-v", "--no-feature", "uprobe_multi", "-e", &script])
        .env("BPFTRACE_MAX_PROBES", "100000");
    // SAFETY: two system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let few = libc::rlimit {
                rlim_cur: 1000,
                rlim_max: 1000,
            };
            libc::setrlimit(libc::RLIMIT_NOFILE, &few);
            // Or root may raise it again.
            const CAP_SYS_RESOURCE: libc::c_ulong = 24;
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0);
            Ok(())
        });
    }
    let run = Live::start(command).end();
    assert_ne!(run.code, Some(0));
    assert!(
        run.err.contains("4000 probes that each need 2 open files"),
        "{}",
        run.err
    );
    assert!(run.err.contains("(1000)") && run.err.contains("ulimit -Hn"));
    assert!(!run.err.contains("Attaching '"), "{}", run.err);
}
