//! Stacks of programs without frame pointers: `dw_ustack` against what the programs say of
//! themselves, for every shape of stack that compilers and libcs make.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{Live, RTRACE, Run, fixture};

const FLAGS: &[&str] = &["-O2", "-fomit-frame-pointer", "-rdynamic"];

/// Builds of the program: position independent, not, and static.
fn builds() -> Vec<String> {
    let kinds: [(&str, &[&str]); 3] = [
        ("shapes-pie", &[]),
        ("shapes-fixed", &["-no-pie"]),
        ("shapes-static", &["-static", "-DSTATIC"]),
    ];
    kinds
        .into_iter()
        .filter_map(|(name, more)| fixture("shapes.cpp", name, &[FLAGS, more].concat()))
        .collect()
}

/// Starts the program, lets it wait until `script` is attached to it, and runs it to its end.
/// Gives what both said.
fn trace(program: &str, library: Option<&str>, script: &str, more: &[&str]) -> (String, Run) {
    let mut command = Command::new(program);
    command.args(library).stdin(Stdio::piped());
    let mut target = Live::start(command);
    target.line("ready");
    let pid = target.pid().to_string();
    let mut args = vec!["-q", "-p", &pid];
    args.extend(more);
    args.extend(["-e", script]);
    let tracer = Live::attached(&args);
    target.say("g");
    target.line("done");
    let run = tracer.interrupt();
    (target.end().ok(), run)
}

/// Number, shape and callers of each stack, as the program says.
fn truth(said: &str) -> BTreeMap<u32, (String, Vec<String>)> {
    let stacks = said.lines().filter_map(|l| l.strip_prefix("callers "));
    let stacks = stacks.map(|l| {
        let mut words = l.split(' ');
        let number = words.next().unwrap().parse().unwrap();
        let shape = words.next().unwrap().to_owned();
        (number, (shape, words.map(str::to_owned).collect()))
    });
    stacks.collect()
}

/// The same, as the tracer says: innermost frames are left out.
fn seen(out: &str) -> BTreeMap<u32, Vec<String>> {
    let mut stacks: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut at = None;
    for line in out.lines() {
        if line.starts_with('@') {
            break;
        }
        if let Some(n) = line.strip_prefix("stack ") {
            at = Some(n.parse().unwrap());
            stacks.insert(n.parse().unwrap(), Vec::new());
        } else if let (Some(n), false) = (at, line.trim().is_empty()) {
            let frame = line.trim().trim_start_matches("0x").to_owned();
            stacks.get_mut(&n).unwrap().push(frame);
        }
    }
    for frames in stacks.values_mut() {
        frames.remove(0);
    }
    stacks
}

#[track_caller]
fn same(program: &str, said: &str, run: Run) {
    let err = run.err.clone();
    let out = run.ok();
    let (truth, seen) = (truth(said), seen(&out));
    assert!(truth.len() >= 12, "{said}");
    for (number, (shape, callers)) in &truth {
        assert_eq!(
            seen.get(number),
            Some(callers),
            "{shape} of {program}\n{err}"
        );
    }
    assert!(!err.contains("not whole"), "{err}");
}

#[test]
fn stacks_of_every_shape_are_those_that_the_program_sees() {
    if !kernel::usable("stacks without frame pointers") {
        return;
    }
    let library = fixture(
        "shapes.cpp",
        "shapes-lib.so",
        &[FLAGS, &["-shared", "-fPIC", "-DLIBRARY"]].concat(),
    );
    for program in builds() {
        let script = format!(
            "config = {{ unstable_dw_ustack = enable }} uprobe:{program}:mark {{ printf(\"stack %d\\n%s\\n\", arg0, dw_ustack(raw)); }}"
        );
        let (said, run) = trace(&program, library.as_deref(), &script, &[]);
        same(&program, &said, run);
    }
}

/// Offsets of the first instructions of `mark`, by the disassembler.
fn prologue(program: &str) -> Vec<u64> {
    let out = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn", "--disassemble=mark", program])
        .output();
    let Ok(out) = out else {
        eprintln!("skipped: prologues: no objdump");
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let at = text.lines().filter_map(|l| {
        let (addr, _) = l.trim().split_once(":\t")?;
        u64::from_str_radix(addr, 16).ok()
    });
    let at: Vec<u64> = at.take(9).collect();
    at.iter().skip(1).map(|a| a - at[0]).collect()
}

#[test]
fn stacks_are_whole_at_each_instruction_of_a_prologue() {
    if !kernel::usable("stacks within a prologue") {
        return;
    }
    for program in builds() {
        let offsets = prologue(&program);
        let mut script = "config = { unstable_dw_ustack = enable }".to_owned();
        for offset in &offsets {
            // The argument may be gone from its register: the calls are counted.
            script.push_str(&format!(
                " uprobe:{program}:mark+{offset} {{ @[{offset}]++; printf(\"stack %d\\n%s\\n\", {offset} * 1000 + @[{offset}], dw_ustack(raw)); }}"
            ));
        }
        let (said, run) = trace(&program, None, &script, &[]);
        let err = run.err.clone();
        let out = run.ok();
        let (truth, seen) = (truth(&said), seen(&out));
        for offset in offsets {
            for (number, (shape, callers)) in &truth {
                let got = seen.get(&(offset as u32 * 1000 + number));
                assert_eq!(
                    got,
                    Some(callers),
                    "{shape} of {program} at +{offset}\n{err}"
                );
            }
        }
        assert!(!err.contains("not whole"), "{err}");
    }
}

#[test]
fn stacks_are_keys_and_stop_at_their_limit() {
    if !kernel::usable("unwound stacks as keys") {
        return;
    }
    let Some(program) = fixture("shapes.cpp", "shapes-pie", FLAGS) else {
        return;
    };
    let script = format!(
        "config = {{ unstable_dw_ustack = enable }} uprobe:{program}:mark {{ @[dw_ustack(3)] = count(); @s[arg0] = dw_ustack; @len[arg0] = len(dw_ustack(20)); }}"
    );
    let (said, run) = trace(&program, None, &script, &[]);
    let truth = truth(&said);
    let err = run.err.clone();
    let out = run.ok();
    assert!(!err.contains("not whole"), "{err}");
    // Names of what is on the stack, down to the start of the program.
    let deep = out.split("@s[2]: ").nth(1).unwrap();
    let deep = &deep[..deep.find("@s[").unwrap_or(deep.len())];
    assert_eq!(deep.matches("deep(int)+").count(), 91, "{deep}");
    assert!(deep.contains("main+") && deep.contains("_start+"), "{deep}");
    for (number, (shape, callers)) in truth {
        let want = (callers.len() + 1).min(20);
        let line = format!("@len[{number}]: {want}\n");
        assert!(out.contains(&line), "{shape}: no {line} in {out}");
    }
    // Three frames: mark and two more.
    let keys = out.split("\n@[\n").skip(1);
    for key in keys {
        let frames = key.lines().take_while(|l| !l.starts_with(']')).count();
        assert_eq!(frames, 3, "{key}");
    }
}

#[test]
fn a_process_met_on_the_way_is_told_of_and_then_known() {
    if !kernel::usable("stacks of any process") {
        return;
    }
    let Some(program) = fixture("shapes.cpp", "shapes-pie", FLAGS) else {
        return;
    };
    // Not limited to a process: the first stack asks for the tables.
    let script = format!(
        "config = {{ unstable_dw_ustack = enable }} uprobe:{program}:mark {{ @[dw_ustack] = count(); }}"
    );
    let mut command = Command::new(RTRACE);
    command
        .args(["-q", "-e", &script])
        .env("__BPFTRACE_NOTIFY_PROBES_ATTACHED", "1");
    let mut tracer = Live::start(command);
    tracer.line("__BPFTRACE_NOTIFY_PROBES_ATTACHED");
    let mut target = Command::new(&program);
    target.stdin(Stdio::piped());
    let mut target = Live::start(target);
    target.line("ready");
    target.say("g");
    target.line("done");
    let run = tracer.interrupt();
    target.end().ok();
    let err = run.err.clone();
    let out = run.ok();
    assert!(out.contains("mark+0"), "{out}");
    assert!(
        err.contains("user stacks are not whole") && err.contains("for the first time"),
        "{err}"
    );
}
