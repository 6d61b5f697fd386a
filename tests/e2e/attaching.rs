//! Many functions at once: all of a library, by one link and by many, and an interrupt halfway.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{PATIENCE, RTRACE, fixture, rtrace, value};

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
