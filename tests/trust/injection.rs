//! No name and no string of a traced process drives the terminal, ends a JSON string or is taken
//! for a format.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::kernel::usable;
use crate::run::{plain, program, rtrace};
use crate::safe::on_terminal;

/// The program of evil.c in a folder whose name is as bad as what the program has inside.
fn evil(test: &str) -> Option<PathBuf> {
    let built = program("evil")?;
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}\x1b]0;dir\x07\"%n"));
    std::fs::create_dir_all(&dir).unwrap();
    let to = dir.join("evil");
    let _ = std::fs::remove_file(&to);
    std::fs::copy(&built, &to).unwrap();
    let mut bytes = std::fs::read(&built).unwrap();
    let (old, new) = (b"evil_function", b"\x1b]0;sym\x07\"}%n\x9b");
    assert_eq!(old.len(), new.len());
    for at in 0..bytes.len() - old.len() {
        if bytes[at..].starts_with(old) {
            bytes[at..at + old.len()].copy_from_slice(new);
        }
    }
    std::fs::write(&to, bytes).unwrap();
    Some(to)
}

/// Everything that is printed of a process: string, buffer, name, symbols, stacks, as events and
/// as keys and values of maps.
const SCRIPT: &str = "uprobe:PROGRAM:tick { \
    printf(\"%s|%s|%s|%s\\n\", str(arg0), comm, usym(reg(\"ip\")), ustack); \
    print(str(arg0)); print(comm); print(ustack); print(usym(reg(\"ip\"))); print((1, comm)); \
    print(buf(arg0, 8)); errorf(\"%s\\n\", str(arg0)); warnf(\"%s\\n\", comm); \
    @key[str(arg0), comm] = count(); @stack[ustack] = count(); @value = str(arg0); \
    @tuple = (comm, str(arg0)); print(@key); print(@value); @probe[probe] = count(); }";

/// Script and command for a program: the path goes in where a link without evil leads to it, as
/// what a user writes is not what is tested.
fn arguments(test: &str) -> Option<(String, String)> {
    let path = evil(test)?;
    let link = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("trust-{test}-link"));
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(path, &link).unwrap();
    let link = link.display().to_string();
    Some((SCRIPT.replace("PROGRAM", &link), link))
}

#[test]
fn nothing_drives_the_terminal() {
    if !usable("nothing_drives_the_terminal") {
        return;
    }
    let Some((script, command)) = arguments("terminal") else {
        return;
    };
    let Some(seen) = on_terminal(&["-q", "-e", &script, "-c", &command]) else {
        return;
    };
    let bad = |c: &char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    assert_eq!(seen.chars().find(bad), None, "{seen:?}");
    for shown in ["\\x1b]0;str\\x07", "\\x1b]0;sym\\x07", "\\x1b]0;c\\x07\"%n"] {
        assert!(seen.contains(shown), "no {shown} in {seen:?}");
    }
}

#[test]
fn json_is_json() {
    if !usable("json_is_json") {
        return;
    }
    let Some((script, command)) = arguments("json") else {
        return;
    };
    let out = rtrace()
        .args(["-q", "-f", "json", "-e", &script, "-c", &command])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).expect("JSON is UTF-8");
    let mut kinds = Vec::new();
    for line in text.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        kinds.push(value["type"].as_str().unwrap().to_owned());
    }
    // The string holds a line that looks like one of ours.
    assert!(!kinds.contains(&"x".to_owned()), "{text}");
    assert!(kinds.len() >= 15, "{text}");
    assert!(text.contains("\\u001b]0;sym"), "{text}");
}

#[test]
fn what_looks_like_a_format_is_text() {
    if !usable("what_looks_like_a_format_is_text") {
        return;
    }
    let Some((script, command)) = arguments("format") else {
        return;
    };
    let out = rtrace()
        .args(["-q", "-e", &script, "-c", &command])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("{\"type\": \"x\"}%s%n"), "{text}");
    assert!(text.contains("\"%n|"), "{text}");
}

#[test]
fn nothing_drives_the_terminal_by_folded_stacks() {
    if !usable("nothing_drives_the_terminal_by_folded_stacks") {
        return;
    }
    let Some((_, command)) = arguments("folded") else {
        return;
    };
    let script = format!("uprobe:{command}:tick {{ @[comm, str(arg0), ustack] = count(); }}");
    let args = ["-q", "-f", "folded", "-e", &script, "-c", &command];
    let Some(seen) = on_terminal(&args) else {
        return;
    };
    let bad = |c: &char| c.is_control() && !matches!(c, '\n' | '\r');
    assert_eq!(seen.chars().find(bad), None, "{seen:?}");
    // One line, whatever the string has in it; what separates frames is not in a frame.
    assert!(seen.contains("\\x1b]0:c\\x07\"%n;"), "{seen:?}");
    assert!(seen.contains("]0:sym"), "{seen:?}");
    assert!(seen.contains("tick 1\r\n"), "{seen:?}");
}

#[test]
fn nothing_drives_the_terminal_of_a_session() {
    if !usable("nothing_drives_the_terminal_of_a_session") {
        return;
    }
    let Some((script, command)) = arguments("session") else {
        return;
    };
    let mut session = Command::new("script");
    plain(&mut session);
    let session = session
        .args(["-qec", concat!("'", env!("CARGO_BIN_EXE_rtrace"), "' -q")])
        .arg("/dev/null")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut session = match session {
        Ok(session) => session,
        Err(e) => {
            eprintln!("skipped: script(1) is not there: {e}");
            return;
        }
    };
    let (mut keys, mut out) = (
        session.stdin.take().unwrap(),
        session.stdout.take().unwrap(),
    );
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = out.read(&mut bytes) {
            if tell.send(bytes[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut seen = Vec::new();
    // Waits until the terminal got this so often.
    let mut until = |text: &str, times: usize| {
        let end = Instant::now() + Duration::from_secs(60);
        while String::from_utf8_lossy(&seen).matches(text).count() < times {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(more) = told.recv_timeout(left) else {
                panic!("no {text:?} in {:?}", String::from_utf8_lossy(&seen));
            };
            seen.extend(more);
        }
    };
    writeln!(keys, "{script}").unwrap();
    until("attached", 1);
    assert!(Command::new(&command).status().is_ok());
    until("\\x1b]0;sym", 1);
    until("\\x1b]0;str\\x07", 4);
    writeln!(keys, "@key").unwrap();
    until("@key[", 2);
    writeln!(keys, "@stack").unwrap();
    until("@stack[", 1);
    keys.write_all(b"\x04").unwrap();
    drop(keys);
    session.wait().unwrap();
    seen.extend(told.iter().flatten());
    // The session's own sequences move the cursor; none sets a title, and none has one byte.
    let text = String::from_utf8_lossy(&seen);
    assert!(
        !text.contains("\x1b]") && !text.contains('\x07'),
        "{text:?}"
    );
    assert!(!seen.contains(&0x9b), "{text:?}");
}
