//! The session on a real terminal: a pty, keys in, text out.
//!
//! Nothing here waits for time to pass: each step waits for the text that shows that the one
//! before is done. Tests that trace the kernel say so and pass where they cannot.

mod flood;
mod live;
mod picture;
mod pictures;
mod pty;

use pty::Terminal;

/// Whether programs can be loaded here; says so if not.
fn can_trace(test: &str) -> bool {
    // SAFETY: takes and changes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("SKIPPED {test}: needs root");
    }
    root
}

#[test]
fn probes_come_and_change_while_maps_keep_their_values() {
    if !can_trace("probes_come_and_change_while_maps_keep_their_values") {
        return;
    }
    let dir = pty::Dir::new("maps");
    let mut t = Terminal::start(&dir, &["-q"]);
    t.line("tracepoint:raw_syscalls:sys_enter { @calls = count(); }");
    t.expect("[1] attached");
    t.line("@kept[\"a\"] = 41");
    t.expect("[2] attached");
    t.line("interval:s:3600 { print(@kept); @ticks = count() }");
    t.expect("[3] attached");
    t.line("@kept");
    t.expect("@kept[a]: 41");
    t.line("@calls");
    let before = t.number_after("@calls: ");
    assert!(before > 0);
    t.line("edit 3 interval:ms:10 { @ticks = count(); }");
    t.expect("[3] attached");
    t.line("@kept[\"b\"] = 1 + @kept[\"a\"]");
    t.line("@kept");
    t.expect("@kept[b]: 42");
    t.line("@calls");
    assert!(t.number_after("@calls: ") >= before, "no count is lost");
    t.line("probes");
    assert!(t.number_after("[1]  attached") > 0, "hits are counted");
    t.line("disable 1");
    t.line("maps");
    t.expect("@kept: 2 entries");
    t.prompt();
    t.keys("watch @kept\r");
    t.expect("watch @kept: any key stops");
    t.expect("@kept[a]: 41");
    // A second picture.
    t.expect("watch @kept: any key stops");
    t.keys("x");
    t.prompt();

    // Saved, it runs by itself: what is disabled is a comment.
    t.line(&format!("save {}", dir.path("saved.bt")));
    t.prompt();
    t.keys("\x04");
    t.expect("@kept[b]: 42");
    assert_eq!(t.wait(), 0);
    let saved = std::fs::read_to_string(dir.path("saved.bt")).unwrap();
    let expected = "// tracepoint:raw_syscalls:sys_enter { @calls = count(); }\n\
                    begin { @kept[\"a\"] = (int64)41; }\n\
                    interval:ms:10 { @ticks = count(); }\n";
    assert_eq!(saved, expected);
    let with_end = format!("{saved}interval:ms:20 {{ exit() }}\n");
    std::fs::write(dir.path("saved.bt"), with_end).unwrap();
    let out = pty::rtrace(&[&dir.path("saved.bt")]);
    assert!(out.contains("@kept[a]: 41"), "{out}");

    let mode = std::fs::metadata(dir.path("state/rtrace/history")).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn keys_wait_while_a_command_runs() {
    let dir = pty::Dir::new("ahead");
    let mut t = Terminal::start(&dir, &["-q", "--engine=user"]);
    assert!(!t.is_as_before());
    // In one go: the end of input, too, is there before anybody reads it.
    t.keys("@x = 6 * 7\rprint(@x)\r\x04");
    t.expect("@x: 42");
    assert_eq!(t.wait(), 0);
}

#[test]
fn a_signal_ends_a_session_as_ctrl_d_does() {
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let dir = pty::Dir::new(&format!("signal-{signal}"));
        let mut t = Terminal::start(&dir, &["-q", "--engine=user"]);
        t.line("begin { @x = (int64)7; }");
        t.expect("[1] attached");
        t.line("end { printf(\"%d left\\n\", @x * 3); }");
        t.expect("[2] attached");
        t.prompt();
        t.keys("half a li");
        t.expect("half a li");
        t.signal(signal);
        t.expect("21 left");
        assert_eq!(t.wait(), 0);
        assert!(t.is_as_before());
    }
}

#[test]
fn end_probes_run_when_the_session_ends() {
    if !can_trace("end_probes_run_when_the_session_ends") {
        return;
    }
    let dir = pty::Dir::new("end");
    let mut t = Terminal::start(&dir, &["-q"]);
    t.line("begin { @x = (int64)7; }");
    t.expect("[1] attached");
    t.line("end { printf(\"%d left\\n\", @x * 3); }");
    t.expect("attached");
    // A map whose numbers get larger keeps them; BEGIN does not run again.
    t.line("begin { @small = 3; }");
    t.expect("attached");
    t.line("@small = 4");
    t.line("interval:s:3600 { @small = @small + 100000; }");
    t.expect("attached");
    t.line("@small");
    t.expect("@small: 4");
    t.line("quit");
    t.expect("21 left");
    t.expect("@small: 4");
    t.expect("@x: 7");
    assert_eq!(t.wait(), 0);
}

#[test]
fn mistakes_and_ctrl_c_leave_the_session_alive() {
    let dir = pty::Dir::new("alive");
    let mut t = Terminal::start(&dir, &["-q", "--engine=user"]);
    t.line("begin { @x = }");
    t.expect("ERROR");
    t.prompt();
    t.line("begin { nosuch(1) }");
    t.expect("ERROR");
    t.prompt();
    t.line("1 << 12");
    t.expect("4096");
    t.prompt();
    // A line that is half typed goes; the next one stands alone.
    t.keys("quit");
    t.expect("quit");
    t.keys("\x03");
    t.prompt();
    t.line("@a = 5 * 5");
    t.expect("[1] attached");
    t.line("@a + 1");
    t.expect("26");
    // A probe over several lines.
    t.prompt();
    t.keys("interval:ms:10 {\r  @a = 77;\r  print(\"done\");\r}\r");
    t.expect("[2] attached");
    t.expect("\ndone");
    t.line("disable 2");
    t.line("pid 12x");
    t.expect("ERROR");
    t.prompt();
    t.line("explain E0203");
    t.expect("E0203");
    t.prompt();
    t.keys("\x04");
    t.expect("@a: 77");
    assert_eq!(t.wait(), 0);
}

#[test]
fn output_stops_and_goes_on() {
    let dir = pty::Dir::new("output");
    let mut t = Terminal::start(&dir, &["-q", "--engine=user"]);
    t.line("interval:ms:5 { printf(\"tick %d\\n\", 40 + 2); }");
    t.expect("[1] attached");
    t.expect("tick 42");
    // The line that is typed stays whole while ticks are printed above it.
    t.keys("1 + ");
    t.expect("tick 42");
    t.expect("rtrace> 1 + ");
    t.keys("110\r");
    t.expect("111");
    t.prompt();
    t.keys("\x03");
    t.expect("Output stopped");
    t.prompt();
    t.keys("\r");
    t.expect("Output goes on");
    t.expect("tick 42");
    t.line("delete 1");
    t.prompt();
    t.keys("\x04");
    assert_eq!(t.wait(), 0);
}

#[test]
fn completion_knows_the_language_and_the_machine() {
    let dir = pty::Dir::new("complete");
    let mut t = Terminal::start(&dir, &["-q", "--engine=user"]);
    t.keys("tracepo\t");
    t.expect("tracepoint:");
    t.keys("\x03");
    t.prompt();
    t.keys("begin { strnc\t");
    t.expect("strncmp");
    t.keys("\x03");
    t.prompt();
    let me = std::env::current_exe().unwrap();
    t.keys(&format!(
        "uprobe:{}:repl::pty::Terminal::sta\t",
        me.display()
    ));
    t.expect("cpp:\"repl::pty::Terminal::start");
    t.keys("\x03");
    t.prompt();
    if can_trace("completion of kernel types") {
        t.keys("begin { curtask.start_boott\t");
        t.expect("start_boottime");
        t.keys("\x03");
        t.prompt();
        t.keys("tracepoint:sched:sched_switch { args.prev_com\t");
        t.expect("args.prev_comm");
        t.keys("\x03");
        t.prompt();
    }
    t.keys("\x04");
    assert_eq!(t.wait(), 0);
}

#[test]
fn functions_of_node_complete_with_their_readable_names() {
    let found = std::process::Command::new("node").arg("--version").output();
    if found.is_err() {
        eprintln!("SKIPPED functions_of_node_complete_with_their_readable_names: no node");
        return;
    }
    let dir = pty::Dir::new("node");
    let mut t = Terminal::start(&dir, &["-q", "--engine=user"]);
    t.keys("uprobe:node:node::TCPWrap::Conn\t");
    t.expect("cpp:\"node::TCPWrap::Connect");
    t.keys("\x03");
    t.prompt();
    t.keys("\x04");
    assert_eq!(t.wait(), 0);
}

#[test]
fn a_session_starts_from_a_script() {
    let dir = pty::Dir::new("script");
    let script = "// counts\nbegin { @n = (int64)3; }\nend { printf(\"n is %d\\n\", @n); }\n";
    std::fs::write(dir.path("s.bt"), script).unwrap();
    let mut t = Terminal::start(&dir, &["-q", "--engine=user", "-i", &dir.path("s.bt")]);
    t.line("probes");
    t.expect("[2]  attached");
    t.expect("end {");
    t.line("@n = 11");
    t.prompt();
    t.line("@n");
    t.expect("@n: 11");
    t.prompt();
    t.keys("\x04");
    t.expect("n is 11");
    assert_eq!(t.wait(), 0);
}

#[test]
fn a_pipe_is_a_script() {
    let run = |text: &str| {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut child = Command::new(env!("CARGO_BIN_EXE_rtrace"))
            .arg("--engine=user")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let out = child.wait_with_output().unwrap();
        (
            String::from_utf8(out.stdout).unwrap(),
            String::from_utf8(out.stderr).unwrap(),
            out.status.code(),
        )
    };
    let (out, _, code) = run("begin { print(6 * 7); exit() }");
    assert!(out.contains("42"), "{out}");
    assert_eq!(code, Some(0));
    let (_, err, code) = run("");
    assert!(err.contains("USAGE"), "{err}");
    assert_eq!(code, Some(1));
}
