//! Stacks of processes that are not there any more when they are printed: not the one of `-c` or
//! `-p`, but whatever ran while a script traced.

use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{Live, Run, fixture, have, scratch};

const FLAGS: &[&str] = &["-O1", "-fno-omit-frame-pointer", "-ldl"];

/// A program of the test's own: others trace theirs at the same time.
fn program(test: &str) -> Option<String> {
    if !kernel::usable(test) {
        return None;
    }
    let common = fixture("past.c", "past", FLAGS)?;
    let own = scratch(&format!("past-{}", test.replace(' ', "-")));
    // Not by this process: a child that another test starts meanwhile would hold it open for
    // writing, and it could not be executed.
    let copied = Command::new("cp").arg(common).arg(&own).status().unwrap();
    assert!(copied.success());
    Some(own.to_str().unwrap().to_owned())
}

fn start(command: &mut Command) -> Live {
    command.stdin(Stdio::piped());
    Live::start(std::mem::replace(command, Command::new("true")))
}

/// Traces `leaf` of a program while `work` happens; what was printed afterwards.
fn traced(program: &str, script: &str, work: impl FnOnce(&mut Live)) -> Run {
    let script = script.replace("PROGRAM", program);
    let mut tracer = Live::attached(&["-e", &script]);
    work(&mut tracer);
    tracer.interrupt()
}

const COUNT: &str = "uprobe:PROGRAM:leaf { @[ustack] = count(); printf(\"hit\\n\"); }";

/// The frames of the only stack, without offsets.
#[track_caller]
fn stack(run: Run) -> Vec<String> {
    let out = run.ok();
    let maps: Vec<&str> = out.split("@[\n").collect();
    assert_eq!(maps.len(), 2, "one stack in\n{out}");
    maps[1]
        .lines()
        .take_while(|l| !l.starts_with(']'))
        .map(|l| {
            let frame = l.trim();
            frame.split('+').next().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_process_that_came_and_went() {
    let Some(program) = program("came and went") else {
        return;
    };
    let run = traced(&program, COUNT, |_| {
        let mut p = start(&mut Command::new(&program));
        p.say("cc");
        p.end();
    });
    assert_eq!(stack(run)[..3], ["leaf", "middle", "main"]);
}

#[test]
fn a_process_that_ran_before_and_went() {
    let Some(program) = program("ran before") else {
        return;
    };
    let mut p = start(&mut Command::new(&program));
    p.say("l");
    p.line("done");
    let run = traced(&program, COUNT, |tracer| {
        p.say("c");
        p.line("done");
        tracer.line("hit");
        p.end();
    });
    assert_eq!(stack(run)[..3], ["leaf", "middle", "main"]);
}

#[test]
fn a_child_that_only_forked() {
    let Some(program) = program("only forked") else {
        return;
    };
    let mut p = start(&mut Command::new(&program));
    let run = traced(&program, COUNT, |tracer| {
        p.say("f");
        p.line("done");
        tracer.line("hit");
        p.end();
    });
    assert_eq!(stack(run)[..3], ["leaf", "middle", "main"]);
}

#[test]
fn a_library_that_was_closed() {
    let Some(program) = program("closed library") else {
        return;
    };
    let flags = ["-O1", "-fno-omit-frame-pointer", "-shared", "-fPIC"];
    let Some(library) = fixture("plugin.c", "plugin.so", &flags) else {
        return;
    };
    let run = traced(&program, COUNT, |tracer| {
        let mut p = start(Command::new(&program).arg(&library));
        p.say("l");
        p.line("done");
        tracer.line("hit");
        p.end();
    });
    let frames = stack(run);
    assert_eq!(frames[..2], ["leaf", "plugin_entry"], "{frames:?}");
    assert!(frames.contains(&"main".to_owned()), "{frames:?}");
}

#[test]
fn a_program_that_was_deleted() {
    let Some(program) = program("deleted program") else {
        return;
    };
    let run = traced(&program, COUNT, |tracer| {
        let mut p = start(&mut Command::new(&program));
        p.say("c");
        p.line("done");
        tracer.line("hit");
        std::fs::remove_file(&program).unwrap();
        p.end();
    });
    assert_eq!(stack(run)[..3], ["leaf", "middle", "main"]);
}

#[test]
fn a_program_of_a_file_system_that_is_gone() {
    const TEST: &str = "a file system of its own";
    let Some(original) = program(TEST).filter(|_| have("unshare", TEST)) else {
        return;
    };
    // The probe finds the file by the process, since no path of ours leads to it.
    let dir = scratch("past-mount");
    std::fs::create_dir_all(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let inside = format!(
        "mount -t tmpfs rtrace-test {dir} && cp {original} {dir}/inside && exec {dir}/inside"
    );
    let mut p = start(Command::new("unshare").args(["-m", "sh", "-c", &inside]));
    p.say("c");
    p.line("done");
    let file = format!("/proc/{}/root{dir}/inside", p.pid());
    let run = traced(&file, COUNT, |tracer| {
        p.say("c");
        p.line("done");
        tracer.line("hit");
        p.end();
    });
    assert_eq!(stack(run)[..3], ["leaf", "middle", "main"]);
}

#[test]
fn a_stripped_program_says_where_its_code_is() {
    let Some(original) = program("stripped program") else {
        return;
    };
    if !have("objcopy", "stripped program") {
        return;
    }
    let copy = scratch("past-stripped");
    let stripped = Command::new("objcopy")
        .arg("--strip-all")
        // By its build id another test's copy of the program would name it.
        .arg("--remove-section=.note.gnu.build-id")
        .args([original.as_str(), copy.to_str().unwrap()])
        .status();
    assert!(stripped.unwrap().success());
    let table = Command::new("nm").arg(&original).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let address = table
        .lines()
        .find_map(|l| l.strip_suffix(" T leaf"))
        .expect("nm knows leaf");
    let leaf = u64::from_str_radix(address, 16).unwrap();
    // In a program that moves, the address of the file is its offset in the segment of code.
    let script = format!("uprobe:PROGRAM:{leaf:#x} {{ @[ustack] = count(); }}");
    let run = traced(copy.to_str().unwrap(), &script, |_| {
        let mut p = start(&mut Command::new(&copy));
        p.say("c");
        p.end();
    });
    let out = run.ok();
    let expected = format!("        past-stripped+{leaf:#x}\n        past-stripped+0x");
    assert!(out.contains(&expected), "{expected}\n{out}");
}

/// The three drawings of the same two stacks.
#[test]
fn stacks_as_folded_lines_and_pictures() {
    let Some(program) = program("folded stacks") else {
        return;
    };
    let script =
        format!("uprobe:{program}:leaf {{ @[comm, ustack] = count(); printf(\"hit\\n\"); }}");
    let drawn = |format: &str| {
        let to = scratch(&format!("past.{format}"));
        let path = to.to_str().unwrap();
        let tracer = Live::attached(&["-f", format, "-o", path, "-e", &script]);
        let mut p = start(&mut Command::new(&program));
        p.say("ccc");
        p.end();
        let run = tracer.interrupt();
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert!(
            run.err.contains("hit\n"),
            "other output is not lost: {run:#?}"
        );
        std::fs::read(to).unwrap()
    };
    let folded = String::from_utf8(drawn("folded")).unwrap();
    let line = folded.strip_suffix(";main;middle;leaf 3\n");
    assert!(
        line.is_some_and(|l| l.starts_with("past-folded-sta;") && !l.contains('\n')),
        "{folded}"
    );
    let svg = String::from_utf8(drawn("flame")).unwrap();
    assert!(svg.starts_with("<?xml") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("data-n=\"3\" data-f=\"middle\""), "{svg}");
    assert_eq!(drawn("pprof")[..2], [0x1f, 0x8b], "gzip");
}
