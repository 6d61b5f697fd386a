//! How runs end: signals, exit(), the end of a command; what is printed then, what stays behind.

use crate::support::{Live, PATIENCE, fixture, rtrace, value};
use crate::{kernel, programs};

/// Prints at the start and the end, and has a map to print.
const SCRIPT: &str =
    r#"BEGIN { @begun = 1; printf("begin\n"); } END { @ended = 1; printf("end\n"); } "#;

#[test]
fn signals_run_end_and_print_maps() {
    if !kernel::usable("ends by signal") {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let script = format!("{SCRIPT} interval:1h {{ }}");
        let mut live = Live::attached(&["-e", &script]);
        live.line("begin");
        live.signal(signal);
        let out = live.end().ok();
        assert_eq!(out, "begin\nend\n\n\n@begun: 1\n@ended: 1\n");
    }
}

#[test]
fn signals_end_the_interpreter_too() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let script = format!("{SCRIPT} interval:1h {{ }}");
        let mut command = std::process::Command::new(crate::support::RTRACE);
        command.args(["--engine=user", "-e", &script]);
        let mut live = Live::start(command);
        live.line("begin");
        live.signal(signal);
        let out = live.end().ok();
        assert_eq!(out, "begin\nend\n\n\n@begun: 1\n@ended: 1\n");
    }
}

#[test]
fn exit_ends_with_its_code() {
    if !kernel::usable("ends by exit()") {
        return;
    }
    let script = format!("{SCRIPT} interval:ms:1 {{ exit(7); }}");
    let run = rtrace(&["-e", &script]);
    assert_eq!(run.code, Some(7), "{run:?}");
    assert_eq!(run.out, "begin\nend\n\n\n@begun: 1\n@ended: 1\n");
}

#[test]
fn the_end_of_the_command_drains_what_it_caused() {
    if !kernel::usable("ends with its command") {
        return;
    }
    let Some(path) = fixture("threads.c", "threads", &["-O2", "-pthread"]) else {
        return;
    };
    // The command ends right after its last call; each call has a line of output.
    let script =
        format!("{SCRIPT} uprobe:{path}:tick {{ @n = count(); printf(\"tick %d\\n\", arg0); }}");
    let out = rtrace(&["-e", &script, "-c", &format!("{path} 1 2000")]).ok();
    assert_eq!(out.lines().filter(|l| l.starts_with("tick ")).count(), 2000);
    // Its own line is somewhere among them.
    let out = out.replace("\n2000\n", "\n");
    assert!(out.ends_with("tick 1999\nend\n\n\n@begun: 1\n@ended: 1\n@n: 2000\n"));
}

#[test]
fn the_end_of_a_traced_process_ends_the_run() {
    if !kernel::usable("ends with its process") {
        return;
    }
    let mut sleeper = std::process::Command::new("sh")
        .args(["-c", "read line"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!("{SCRIPT} interval:1h {{ }}");
    let live = Live::attached(&["-p", &sleeper.id().to_string(), "-e", &script]);
    drop(sleeper.stdin.take());
    sleeper.wait().unwrap();
    assert!(live.end().ok().ends_with("end\n\n\n@begun: 1\n@ended: 1\n"));
}

#[test]
fn nothing_stays_attached() {
    if !kernel::usable("nothing stays attached") {
        return;
    }
    // Programs are named after their functions, in 15 letters: this name is this run's alone.
    let name = format!("z{:04x}", std::process::id() & 0xffff);
    let Some(path) = fixture(
        "addnum.c",
        &name,
        &["-O2", &format!("-DAddNum={name}"), "-rdynamic"],
    ) else {
        return;
    };
    let script = format!(
        "uprobe:{path}:{name} {{ @n = count(); }} uretprobe:{path}:{name} {{ @r = count(); }}"
    );
    let mine = || programs::named(&name);
    assert_eq!(mine(), 0);
    // By a signal that it cannot handle, by one that it can, by its own end.
    for signal in [libc::SIGKILL, libc::SIGINT] {
        let live = Live::attached(&["-e", &script]);
        assert_eq!(mine(), 2);
        live.signal(signal);
        live.end();
        wait_until(|| mine() == 0);
    }
    let out = rtrace(&["-e", &script, "-c", &format!("{path} 1 2")]).ok();
    assert_eq!(value(&out, "@n"), "1");
    wait_until(|| mine() == 0);
    // And the traced program runs as before.
    let plain = std::process::Command::new(&path)
        .args(["20", "3"])
        .output()
        .unwrap();
    assert_eq!(plain.stdout, b"23\n");
}

/// Waits for what the kernel does in its own time.
#[track_caller]
pub fn wait_until(done: impl Fn() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < end, "it never came");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
