//! What rtrace refuses: one diagnostic each, exit code 1, nothing attached.

use crate::hello::Nobody;
use crate::kernel;
use crate::support::{RTRACE, Run, fixture, rtrace};

/// Asserts that a script is refused, with these words, and gives what was said.
#[track_caller]
fn refused(script: &str, words: &[&str]) -> String {
    let run = rtrace(&["-e", script]);
    check(&run, script, words);
    run.err
}

#[track_caller]
fn check(run: &Run, script: &str, words: &[&str]) {
    assert_eq!(run.code, Some(1), "{script}\n{run:#?}");
    assert_eq!(run.out, "", "{script}");
    assert!(!run.err.contains("Attached"), "{script}\n{}", run.err);
    assert!(run.err.contains("ERROR: "), "{script}\n{}", run.err);
    for w in words {
        assert!(run.err.contains(w), "{script}: no {w:?} in\n{}", run.err);
    }
}

#[test]
fn files_that_are_missing_or_no_programs() {
    if !kernel::usable("refused files") {
        return;
    }
    refused(
        "uprobe:/nonexistent/file:main { }",
        &["'/nonexistent/file' does not exist"],
    );
    refused("uprobe:/etc/passwd:main { }", &["'/etc/passwd'"]);
    // A script that can be run is no ELF file.
    refused("uprobe:/usr/bin/ldd:main { }", &["'/usr/bin/ldd'", "ELF"]);
    refused("uprobe:libnonexistent:f { }", &["'libnonexistent'"]);
}

#[test]
fn symbols_that_are_not_there_have_neighbours() {
    if !kernel::usable("near names") {
        return;
    }
    let Some(c) = fixture("addnum.c", "addnum", &["-O2", "-g"]) else {
        return;
    };
    let Some(cpp) = fixture("zoo.cpp", "zoo-pie", &["-O2"]) else {
        return;
    };
    refused(
        &format!("uprobe:{c}:AddNun {{ }}"),
        &[&format!("No matches for uprobe {c}:AddNun."), "AddNum"],
    );
    refused(
        &format!("uprobe:{cpp}:cpp:\"zoo::Dog::metod\" {{ }}"),
        &["zoo::Dog::method"],
    );
    refused(
        &format!("uprobe:{c}:AddNum {{ print(args.c); }}"),
        &["does not contain a field named 'c'"],
    );
}

#[test]
fn kernel_names_that_are_not_there_have_neighbours() {
    if !kernel::usable("near names of the kernel") {
        return;
    }
    refused(
        "tracepoint:syscalls:sys_enter_opnat { }",
        &["No matches for tracepoint", "sys_enter_openat"],
    );
    refused(
        "tracepoint:syscalls:sys_enter_openat { print(args.filenam); }",
        &["does not contain a field named 'filenam'", "filename"],
    );
    refused("software:page-fault:1 { }", &["is not a software probe"]);
    refused("frobnicate:x { }", &["Invalid probe type: frobnicate"]);
}

#[test]
fn names_in_scripts_have_neighbours() {
    let user = |script: &str, words: &[&str]| {
        let run = rtrace(&["--engine=user", "-e", script]);
        check(&run, script, words);
        assert_eq!(run.err.matches("ERROR").count(), 1, "{}", run.err);
    };
    user("BEGIN { print(pidd); }", &["'pidd'", "'pid'"]);
    user("BEGIN { prnt(1); }", &["'prnt'", "'print'"]);
    user(
        "BEGIN { $count = 1; print($cuont); }",
        &["$cuont", "'$count'"],
    );
    user(
        "BEGIN { @bytes = 1; print(@byte); }",
        &["@byte", "'@bytes'"],
    );
    user(
        "BEGIN { $r = (size=1, kind=2); print($r.sise); }",
        &["'sise'", "'size'"],
    );
    user(
        "struct S { int first; int second; } BEGIN { $s = (struct S *)0; print($s.secnd); }",
        &["'secnd'", "'second'"],
    );
}

#[test]
fn types_that_do_not_fit() {
    for (script, words) in [
        ("BEGIN { @a = 1; @a = \"x\"; }", "Type mismatch for @a"),
        ("BEGIN { $a = 1; $a = \"x\"; }", "Type mismatch for $a"),
        ("BEGIN { print(1 == \"x\"); }", "Type mismatch for '=='"),
        ("BEGIN { printf(\"%d\\n\", \"x\"); }", "%d"),
        (
            "BEGIN { @a = 1; @a[1] = 2; }",
            "@a used as a map with an explicit key",
        ),
        ("BEGIN { system(\"ls\"); }", "unsafe"),
    ] {
        let run = rtrace(&["--engine=user", "-e", script]);
        assert_eq!(run.code, Some(1), "{script}\n{run:#?}");
        assert_eq!(run.out, "");
        // A comparison shows both its sides as well.
        let more = if script.contains("==") { 2 } else { 0 };
        assert_eq!(run.err.matches("ERROR").count(), 1 + more, "{}", run.err);
        if !words.starts_with('%') {
            assert!(run.err.contains(words), "{script}\n{}", run.err);
        }
    }
}

#[test]
fn without_privileges_the_capability_is_named() {
    let Some(nobody) = Nobody::new("refused for want of privilege") else {
        return;
    };
    for script in [
        "BEGIN { exit(); }",
        "interval:1s { exit(); }",
        "tracepoint:syscalls:sys_enter_openat { exit(); }",
    ] {
        let run = nobody.rtrace(&["-e", script]);
        check(&run, script, &["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(run.err.matches("ERROR").count(), 1, "{}", run.err);
    }
}

#[test]
fn what_the_interpreter_cannot_do_is_said() {
    let run = rtrace(&["--engine=user", "-e", "profile:hz:9 { exit(); }"]);
    check(&run, "profile", &["profile"]);
}

#[test]
fn an_unsupported_kernel_feature_is_named_and_nothing_stays() {
    if !kernel::usable("an unsupported feature") {
        return;
    }
    if std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        eprintln!("skipped: an unsupported feature: this kernel has kprobes");
        return;
    }
    let name = format!("y{:04x}", std::process::id() & 0xffff);
    let flags = ["-O2", &format!("-DAddNum={name}")];
    let Some(path) = fixture("addnum.c", &name, &flags) else {
        return;
    };
    // Attach errors have their own exit code.
    let script = format!("uprobe:{path}:{name} {{ }} kprobe:vfs_read {{ }}");
    let run = rtrace(&["--no-warnings", "-e", &script]);
    assert_eq!(run.code, Some(255), "{run:?}");
    assert_eq!(run.err.matches("ERROR").count(), 1, "{}", run.err);
    assert!(run.err.contains("kprobe:vfs_read"), "{}", run.err);
    assert!(run.err.contains("CONFIG_KPROBE"), "{}", run.err);
    crate::ending::wait_until(|| crate::programs::named(&name) == 0);
}

#[test]
fn several_mistakes_are_reported_in_one_run() {
    let script = "BEGIN { print(nope); print($x); foo(); }";
    let run = rtrace(&["--engine=user", "-e", script]);
    assert_eq!(run.code, Some(1), "{RTRACE}: {run:?}");
    assert_eq!(run.err.matches("ERROR").count(), 3, "{}", run.err);
}
