//! Accounted: losses that take some effort to cause, each told with its place, as text and as JSON,
//! and by `--strict`.

use std::io::Read as _;
use std::process::{Child, Stdio};

use libbpf_sys as sys;

use crate::accounted::counted;
use crate::breakpoints::Target;
use crate::kernel::usable;
use crate::run::{Done, program, rtrace, run, threads};
use crate::safe::signal;

/// Those that were told one by one, in either format.
fn told(done: &Done, text: &str) -> u64 {
    (done.out.matches(text).count() + done.err.matches(&format!("WARNING: {text}")).count()) as u64
}

/// The number in a line of the end, such as `WARNING: 3 more calls of x failed`.
fn summed(err: &str, text: &str) -> u64 {
    let lines = err.lines().filter(|l| l.contains(text));
    let numbers = lines.filter_map(|l| {
        l.split_once("WARNING: ")?
            .1
            .split(' ')
            .next()?
            .parse::<u64>()
            .ok()
    });
    numbers.sum()
}

/// Starts a run and waits until its probes are attached.
fn start(args: &[&str]) -> Child {
    let mut tracer = rtrace()
        .args(args)
        .env("__BPFTRACE_NOTIFY_PROBES_ATTACHED", "1")
        .env("BPFTRACE_MAX_PROBES", "4000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0];
    let out = tracer.stdout.as_mut().unwrap();
    while line != *b"\n" {
        out.read_exact(&mut line).unwrap();
    }
    tracer
}

/// Interrupts a run and gives what it said.
fn finish(tracer: Child) -> Done {
    signal(tracer.id(), libc::SIGINT);
    let done = tracer.wait_with_output().unwrap();
    Done {
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
        code: done.status.code(),
    }
}

#[test]
fn calls_that_the_kernel_refuses_are_counted() {
    if !usable("calls_that_the_kernel_refuses_are_counted") {
        return;
    }
    let Some(target) = threads() else { return };
    // No such signal; and room for a few reports at a time.
    let script = format!(
        "config = {{ perf_rb_pages = 1 }} uprobe:{}:tick {{ signal(arg0 + 200); }}",
        target.display()
    );
    let command = format!("{} 2 2000", target.display());
    let args = ["-q", "--strict", "--unsafe", "-e", &script, "-c", &command];
    let json = run(&[&args[..], &["-f", "json"]].concat());
    let each = json.out.matches("\"helper\": \"send_signal\"").count() as u64;
    assert_eq!(each + counted(&json.out, "helper"), 4000, "{}", json.err);
    assert_eq!(json.code, Some(3));
    let text = run(&args);
    let each = told(&text, "Invalid argument");
    assert_eq!(
        each + summed(&text.err, "of send_signal failed"),
        4000,
        "{}",
        text.err
    );
    assert!(text.err.contains("signal(arg0 + 200)"), "{}", text.err);
    assert_eq!(text.code, Some(3));
}

#[test]
fn stacks_that_found_no_room_are_counted() {
    if !usable("stacks_that_found_no_room_are_counted") {
        return;
    }
    let Some(path) = program("breakpoints") else {
        return;
    };
    // Each function is a stack of its own; 1024 are kept where maps have few keys.
    let script = format!(
        "config = {{ max_map_keys = 10 }} uprobe:{}:many_* {{ @last = ustack(4); @n++; }}",
        path.display()
    );
    for format in ["json", "text"] {
        let mut target = Target::start(&path);
        let pid = target.child.id().to_string();
        let tracer = start(&["-q", "--strict", "-f", format, "-e", &script, "-p", &pid]);
        target.call();
        let done = finish(tracer);
        target.end();
        let lost = match format {
            "json" => {
                assert!(done.out.contains("{\"@n\": 4000}"), "{}", done.out);
                told(&done, "\"helper_error\"") + counted(&done.out, "stack")
            }
            _ => told(&done, "Argument list too long") + summed(&done.err, "not stored"),
        };
        assert_eq!(lost, 4000 - 1024, "{format}: {}{}", done.out, done.err);
        assert_eq!(done.code, Some(3), "{format}");
    }
}

#[test]
fn updates_that_met_another_one_are_told() {
    if !usable("updates_that_met_another_one_are_told") {
        return;
    }
    let Some(target) = threads() else { return };
    // A clock interrupts the start of an interval: there are as many as there are events.
    let body = "@ = tseries(1, 1us, 10, \"sum\");";
    let script = format!(
        "config = {{ unstable_tseries = \"enable\" }} \
         uprobe:{}:tick {{ {body} }} profile:hz:4999 {{ {body} }}",
        target.display()
    );
    let command = format!("{} 4 50000", target.display());
    for format in ["json", "text"] {
        let args = [
            "-q", "--strict", "-f", format, "-e", &script, "-c", &command,
        ];
        let met = (0..20).any(|_| {
            let done = run(&args);
            let lost = match format {
                "json" => told(&done, "\"runtime_error\"") + counted(&done.out, "map_update"),
                _ => told(&done, "Device or resource busy") + summed(&done.err, "failed"),
            };
            let code = if lost > 0 { 3 } else { 0 };
            assert_eq!(done.code, Some(code), "{}{}", done.out, done.err);
            lost > 0
        });
        assert!(
            met,
            "{format}: no update met another one: nothing was tested"
        );
    }
}

/// Marks all scratch memory of a run as in use, as 32 programs would that are nested on each CPU.
fn take_scratch(tracer: &Child) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{}/fdinfo", tracer.id())).unwrap();
    for entry in fds.flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let Some(id) = text.lines().find_map(|l| l.strip_prefix("map_id:")) else {
            continue;
        };
        let id: u32 = id.trim().parse().unwrap();
        let mut info = sys::bpf_map_info::default();
        let mut size = size_of_val(&info) as u32;
        // SAFETY: takes a number; `info` has `size` bytes and outlives the call; the name ends
        // with NUL.
        let (fd, name) = unsafe {
            let fd = sys::bpf_map_get_fd_by_id(id);
            let got = sys::bpf_map_get_info_by_fd(fd, &raw mut info, &raw mut size);
            assert_eq!(got, 0, "map {id}");
            (fd, std::ffi::CStr::from_ptr(info.name.as_ptr()))
        };
        if name.to_bytes() == b"scratch" {
            let cpus = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
            let last = cpus.trim().rsplit(['-', ',']).next().unwrap();
            let cpus = last.parse::<usize>().unwrap() + 1;
            let value = vec![1u8; info.value_size as usize * cpus];
            for key in 0..info.max_entries {
                // SAFETY: a value for each CPU, of the size that the kernel named.
                let set = unsafe {
                    sys::bpf_map_update_elem(fd, (&raw const key).cast(), value.as_ptr().cast(), 0)
                };
                assert_eq!(set, 0, "slot {key}");
            }
        }
        // SAFETY: the descriptor is ours and is not used again.
        unsafe { libc::close(fd) };
        if name.to_bytes() == b"scratch" {
            return true;
        }
    }
    false
}

#[test]
fn runs_that_found_no_scratch_memory_are_counted() {
    if !usable("runs_that_found_no_scratch_memory_are_counted") {
        return;
    }
    let Some(built) = threads() else { return };
    let target = built.with_file_name("trust-threads-scratch");
    std::fs::copy(&built, &target).unwrap();
    let script = format!(
        "uprobe:{}:tick {{ printf(\"%s\\n\", str_concat(comm, \"!\")); }}",
        target.display()
    );
    for format in ["json", "text"] {
        let tracer = start(&["-q", "--strict", "-f", format, "-e", &script]);
        assert!(take_scratch(&tracer), "it has no scratch memory");
        let status = std::process::Command::new(&target)
            .args(["2", "50"])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        let done = finish(tracer);
        let skipped = match format {
            "json" => counted(&done.out, "no_scratch"),
            _ => summed(
                &done.err,
                "of the probe skipped: too many programs were nested",
            ),
        };
        assert_eq!(skipped, 100, "{format}: {}{}", done.out, done.err);
        assert!(!done.out.contains('!'), "{}", done.out);
        assert_eq!(done.code, Some(3), "{format}");
    }
}
