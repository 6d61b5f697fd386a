//! The command line as its users see it: texts and exit codes.

use std::process::{Command, Output, Stdio};

fn rtrace(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rtrace"))
        .args(args)
        .stdin(Stdio::null())
        .env_remove("BPFTRACE_COLOR")
        .output()
        .unwrap()
}

/// Standard output, standard error, exit code.
fn run(args: &[&str]) -> (String, String, i32) {
    let out = rtrace(args);
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (
        text(out.stdout),
        text(out.stderr),
        out.status.code().unwrap(),
    )
}

#[test]
fn nothing_to_do() {
    let expect = "ERROR: USAGE: filename or -e 'program' required.\n";
    assert_eq!(run(&[]), (String::new(), expect.into(), 1));
}

#[test]
fn help_goes_where_it_was_asked_for() {
    let (out, err, code) = run(&["-h"]);
    assert!(out.starts_with("USAGE:\n  rtrace "), "{out}");
    assert_eq!((err.as_str(), code), ("", 0));
    let (none, err, code) = run(&["--nope"]);
    assert_eq!(err, format!("rtrace: unrecognized option '--nope'\n{out}"));
    assert_eq!((none.as_str(), code), ("", 1));
}

#[test]
fn version() {
    let expect = format!("rtrace v{}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["-V"]), (expect, String::new(), 0));
}

#[test]
fn missing_files_are_named() {
    let expect = "ERROR: failed to open file 'nofile.bt': No such file or directory\n";
    assert_eq!(run(&["nofile.bt"]), (String::new(), expect.into(), 1));
}

#[test]
fn formats_are_checked() {
    let (_, err, code) = run(&["-f", "xml", "-e", "begin {}"]);
    assert_eq!(
        (err.as_str(), code),
        (
            "ERROR: Invalid output format \"xml\"\nValid formats: 'text', 'json', 'folded', 'flame', 'pprof'\n",
            1
        )
    );
}

#[test]
fn scripts_are_put_into_standard_layout() {
    let (out, err, code) = run(&["--fmt", "-e", "begin{print(1);}"]);
    assert_eq!((err.as_str(), code), ("", 0));
    assert_eq!(out, "begin {\n  print(1);\n}\n");
    let (out, err, code) = run(&["--fmt", "-e", "begin {"]);
    assert_eq!((out.as_str(), code), ("", 1));
    assert!(err.starts_with("stdin:1:"), "{err}");
}

#[test]
fn codes_are_explained() {
    let (out, _, code) = run(&["explain", "e0101"]);
    assert!(out.starts_with("E0101 (error): "), "{out}");
    assert_eq!(code, 0);
    let (_, err, code) = run(&["explain", "E9999"]);
    assert_eq!(err, "ERROR: there is no diagnostic called 'E9999'\n");
    assert_eq!(code, 1);
}

#[test]
fn fixed_probes_are_listed() {
    let (out, _, code) = run(&["-l", "software:c*"]);
    assert_eq!(
        out,
        "software:context-switches:\nsoftware:cpu-clock:\nsoftware:cpu-migrations:\n"
    );
    assert_eq!(code, 0);
    assert_eq!(
        run(&["-l", "nosuchprovider:x"]),
        (String::new(), String::new(), 0)
    );
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rtrace"))
        .arg("-h")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!(
        (out.stderr.as_slice(), out.status.code()),
        (&b""[..], Some(0))
    );
}

#[test]
fn elapsed_counts_from_the_start_of_the_run() {
    let program = "begin { if (elapsed < 5000000000) { print(\"soon\") } exit() }";
    for engine in ["user", "kernel"] {
        let (out, err, code) = run(&["-q", "--engine", engine, "-e", program]);
        if engine == "kernel" && code != 0 {
            eprintln!("SKIP elapsed_counts_from_the_start_of_the_run: {err}");
            continue;
        }
        assert_eq!((out.as_str(), code), ("soon\n\n\n", 0), "{engine}: {err}");
    }
}

#[test]
fn a_command_does_not_limit_events_to_itself() {
    let program = r#"t:sched:sched_process_exec /comm == "cat"/ { print(pid != cpid); }"#;
    let command = "/bin/sh -c \"/bin/cat /dev/null; true\"";
    let (out, err, code) = run(&["-q", "-e", program, "-c", command]);
    if code != 0 {
        eprintln!("skipped: {err}");
        return;
    }
    assert!(out.starts_with("true\n"), "{out}");
}

#[test]
fn a_variable_that_find_declares_is_zero_when_nothing_is_found() {
    let program = "begin { @a[1] = 2; if (find(@a, 1, $x)) { print($x) } \
                   if (!find(@a, 7, $y)) { print($y) } \
                   let $k = 9; if (!find(@a, 5, $k)) { print($k) } clear(@a); exit() }";
    let (out, err, code) = run(&["-q", "--engine=user", "-e", program]);
    assert_eq!((out.as_str(), code), ("2\n0\n9\n\n\n", 0), "{err}");
}

#[test]
fn listing_a_script_shows_what_it_attaches() {
    let file = std::env::temp_dir().join(format!("rtrace-list-{}.bt", std::process::id()));
    std::fs::write(&file, "begin { } interval:ms:5 { } software:dummy:1 { }").unwrap();
    let (out, err, code) = run(&["-l", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        (out.as_str(), code),
        ("interval:ms:\nsoftware:dummy:1\n", 0),
        "{err}"
    );
}
