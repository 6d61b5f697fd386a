//! Every kind of attachment against the running kernel, with programs assembled by hand.

use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::object::{Object, PerfClock, Rate, TargetFile};
use crate::runtime::load::{LoadOptions, Plan};
use crate::runtime::testing::{
    CProgram, assert_silent, attach, cookies_usable, counter, counting_object, counts, crowd,
    kernel_usable, load, program,
};

const CALLS: &str = "
__attribute__((noipa)) int one(int x) { return x + 1; }
__attribute__((noipa)) int two(int x) { return x + 2; }
int main(void) { int s = 0; for (int i = 0; i < 1000; i++) { s += one(i); if (i % 2) s += two(i); } return s == 0; }
";

fn uprobe(prog: &CProgram, symbol: &str, ret: bool) -> Attach {
    Attach::Uprobe {
        file: TargetFile::new(prog.path.to_str().unwrap()),
        offset: prog.offset(symbol),
        semaphore: 0,
        ret,
    }
}

fn run(prog: &CProgram) {
    assert!(Command::new(&prog.path).status().unwrap().success());
}

fn attach_all(loaded: &Loaded, env: &HostEnv, pid: Option<u32>) -> Vec<Link> {
    let attacher = Attacher { loaded, env, pid };
    (0..loaded.object.attach.len())
        .map(|i| attacher.attach(i).unwrap())
        .collect()
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn uprobes_of_pie_and_of_executables_with_shifted_text() {
    if !kernel_usable("uprobes_of_pie_and_of_executables_with_shifted_text") {
        return;
    }
    let shifted = ["-no-pie", "-Wl,-Ttext-segment=0x1000000"];
    for (name, flags) in [("pie", &["-fPIE", "-pie"]), ("nopie", &shifted)] {
        let Some(prog) = CProgram::compile(name, CALLS, flags) else {
            return;
        };
        let mut object = counting_object();
        let entry = counter(&mut object, ProgramType::Kprobe, Some(1));
        let exit = counter(&mut object, ProgramType::Kprobe, Some(2));
        attach(&mut object, entry, uprobe(&prog, "one", false));
        attach(&mut object, exit, uprobe(&prog, "two", true));
        let (loaded, env) = load(object);
        let links = attach_all(&loaded, &env, None);
        run(&prog);
        assert_eq!(counts(&loaded)[1..3], [1000, 500], "{name}");
        detach(links, Release::Wait);
        run(&prog);
        assert_eq!(
            counts(&loaded)[1..3],
            [1000, 500],
            "{name}: after detaching"
        );
    }
}

#[test]
fn cookies_tell_attach_points_of_one_program_apart() {
    if !cookies_usable("cookies_tell_attach_points_of_one_program_apart") {
        return;
    }
    let Some(prog) = CProgram::compile("cookie", CALLS, &[]) else {
        return;
    };
    for multi in [false, true] {
        let mut object = counting_object();
        let p = counter(&mut object, ProgramType::Kprobe, None);
        attach(&mut object, p, Attach::SelfSignal(10));
        attach(&mut object, p, uprobe(&prog, "one", false));
        attach(&mut object, p, uprobe(&prog, "two", false));
        if multi {
            // Only then do all attach points of the program fit into a link.
            object.attach[0] = object.attach[1].clone();
            crowd(&mut object);
        }
        let (loaded, env) = load(object);
        let plan = loaded.programs[0].plan;
        if multi && plan == Plan::Single {
            eprintln!("skipped: this kernel has no uprobe_multi");
            return;
        }
        assert_eq!(plan == Plan::UprobeMulti, multi);
        let attacher = Attacher {
            loaded: &loaded,
            env: &env,
            pid: None,
        };
        let (links, failures) = attacher.attach_group(&[1, 2]);
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(links.len(), if multi { 1 } else { 2 });
        run(&prog);
        assert_eq!(counts(&loaded)[..3], [0, 1000, 500], "multi: {multi}");
    }
}

#[test]
fn a_pid_limits_a_uprobe_to_a_process() {
    if !kernel_usable("a_pid_limits_a_uprobe_to_a_process") {
        return;
    }
    let Some(prog) = CProgram::compile("pid", CALLS, &[]) else {
        return;
    };
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::Kprobe, Some(1));
    attach(&mut object, p, uprobe(&prog, "one", false));
    let (loaded, env) = load(object);
    let links = attach_all(&loaded, &env, Some(std::process::id()));
    run(&prog);
    assert_eq!(counts(&loaded)[1], 0);
    drop(links);

    let child = crate::runtime::sys::process::spawn_stopped(Command::new(&prog.path), None);
    let mut child = child.unwrap();
    let links = attach_all(&loaded, &env, Some(child.id()));
    crate::runtime::sys::process::resume(&child).unwrap();
    child.wait().unwrap();
    run(&prog);
    assert_eq!(counts(&loaded)[1], 1000);
    drop(links);
}

#[test]
fn trace_events_with_and_without_types() {
    if !kernel_usable("trace_events_with_and_without_types") {
        return;
    }
    let mut object = counting_object();
    let tp = counter(&mut object, ProgramType::Tracepoint, Some(1));
    let raw = counter(&mut object, ProgramType::RawTracepoint, Some(2));
    attach(
        &mut object,
        tp,
        Attach::Tracepoint {
            category: "syscalls".into(),
            event: "sys_enter_getppid".into(),
        },
    );
    attach(
        &mut object,
        raw,
        Attach::RawTracepoint {
            event: "sys_enter".into(),
        },
    );
    let btf = counter(&mut object, ProgramType::TracingRawTp, Some(3));
    object.programs[btf.0 as usize].attach_btf = Some(("sys_enter".into(), None));
    attach(
        &mut object,
        btf,
        Attach::RawTracepoint {
            event: "sys_enter".into(),
        },
    );
    let (loaded, env) = load(object);
    let links = attach_all(&loaded, &env, None);
    for _ in 0..100 {
        // std caches no parent id: each asks the kernel.
        let _ = std::os::unix::process::parent_id();
    }
    let seen = counts(&loaded);
    assert!(seen[1..4].iter().all(|&n| n >= 100), "{seen:?}");
    drop(links);
}

#[test]
fn clocks_tick_and_stop() {
    if !kernel_usable("clocks_tick_and_stop") {
        return;
    }
    let mut object = counting_object();
    let profile = counter(&mut object, ProgramType::PerfEvent, Some(1));
    let interval = counter(&mut object, ProgramType::PerfEvent, Some(2));
    let software = counter(&mut object, ProgramType::PerfEvent, Some(3));
    attach(&mut object, profile, Attach::Profile(Rate::Hz(1000)));
    attach(
        &mut object,
        interval,
        Attach::Interval(Rate::Period(1_000_000)),
    );
    // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES
    let switches = PerfClock {
        ty: 1,
        config: 3,
        period: 1,
    };
    attach(&mut object, software, Attach::Perf(switches));
    let (loaded, env) = load(object);
    let links = attach_all(&loaded, &env, None);
    wait_until(|| counts(&loaded)[1..4].iter().all(|&n| n >= 10));
    detach(links, Release::InBackground);
    assert_silent(&loaded, || std::thread::sleep(Duration::from_millis(20)));
}

#[test]
fn watchpoints_follow_all_threads_of_a_process() {
    if !kernel_usable("watchpoints_follow_all_threads_of_a_process") {
        return;
    }
    // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY
    let own = sys_perf::Event {
        ty: 1,
        config: 9,
        period: 0,
    };
    let follows = sys_perf::open(own, Scope::ThreadAndNew(std::process::id()));
    if let Err(e) = follows {
        eprintln!("skipped: watchpoints_follow_all_threads_of_a_process: before Linux 5.13: {e}");
        return;
    }
    static WATCHED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let bump = || WATCHED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::PerfEvent, Some(1));
    let watch = Attach::Watchpoint {
        addr: WATCHED.as_ptr() as u64,
        len: 8,
        mode: 2, // HW_BREAKPOINT_W
    };
    attach(&mut object, p, watch);
    let (loaded, env) = load(object);
    let attacher = Attacher {
        loaded: &loaded,
        env: &env,
        pid: Some(std::process::id()),
    };
    let link = match attacher.attach(0) {
        Ok(link) => link,
        Err(e) => {
            eprintln!("skipped: watchpoints_follow_all_threads_of_a_process: {e}");
            return;
        }
    };
    bump();
    std::thread::spawn(move || {
        bump();
        bump();
    })
    .join()
    .unwrap();
    detach(vec![link], Release::InBackground);
    assert_eq!(counts(&loaded)[1], 3);
    std::thread::spawn(bump).join().unwrap();
    assert_eq!(counts(&loaded)[1], 3, "detached watchpoint fired");
}

#[test]
fn iterators_visit_every_task() {
    if !kernel_usable("iterators_visit_every_task") {
        return;
    }
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::TracingIter, Some(1));
    object.programs[p.0 as usize].attach_btf = Some(("task".into(), None));
    attach(
        &mut object,
        p,
        Attach::Iter {
            object: "task".into(),
            pin: None,
        },
    );
    let (loaded, env) = load(object);
    let attacher = Attacher {
        loaded: &loaded,
        env: &env,
        pid: None,
    };
    let link = attacher.attach(0).unwrap();
    attacher.run_iter(&link).unwrap().finish().unwrap();
    assert!(counts(&loaded)[1] > 1);
}

#[test]
fn refusals_say_what_and_why() {
    if !kernel_usable("refusals_say_what_and_why") {
        return;
    }
    let mut object = counting_object();
    let k = counter(&mut object, ProgramType::Kprobe, Some(1));
    let t = counter(&mut object, ProgramType::Tracepoint, Some(1));
    let file = |path: &str| TargetFile::new(path);
    let no_file = Attach::Uprobe {
        file: file("/nonexistent/x"),
        offset: 0x10,
        semaphore: 0,
        ret: false,
    };
    let outside = Attach::Uprobe {
        file: file("/bin/true"),
        offset: 1 << 40,
        semaphore: 0,
        ret: false,
    };
    let no_event = Attach::Tracepoint {
        category: "syscalls".into(),
        event: "sys_enter_nonsense".into(),
    };
    let no_function = Attach::Kprobe {
        symbol: "no_such_function_here".into(),
        module: None,
        offset: 0,
        ret: false,
    };
    attach(&mut object, k, no_file);
    attach(&mut object, k, outside);
    attach(&mut object, t, no_event);
    attach(&mut object, k, no_function);
    let (loaded, env) = load(object);
    let attacher = Attacher {
        loaded: &loaded,
        env: &env,
        pid: None,
    };
    let text = |i| attacher.attach(i).unwrap_err().to_string();
    let no_file = text(0);
    assert!(
        no_file.contains("/nonexistent/x, file offset 0x10: no such file"),
        "{no_file}"
    );
    let outside = text(1);
    assert!(outside.contains("the place is outside of it"), "{outside}");
    let no_event = text(2);
    assert!(no_event.contains("sys_enter_nonsense"), "{no_event}");
    let no_function = text(3);
    assert!(
        no_function.contains("no such function") || no_function.contains("CONFIG_KPROBE_EVENTS"),
        "{no_function}"
    );
}

#[test]
fn one_bad_place_does_not_spoil_the_others() {
    if !cookies_usable("one_bad_place_does_not_spoil_the_others") {
        return;
    }
    let Some(prog) = CProgram::compile("spoil", CALLS, &[]) else {
        return;
    };
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::Kprobe, None);
    attach(&mut object, p, uprobe(&prog, "one", false));
    attach(&mut object, p, uprobe(&prog, "two", false));
    if let Attach::Uprobe { offset, .. } = &mut object.attach[0].attach {
        *offset = 1 << 40;
    }
    crowd(&mut object);
    let (loaded, env) = load(object);
    let attacher = Attacher {
        loaded: &loaded,
        env: &env,
        pid: None,
    };
    let (links, failures) = attacher.attach_group(&[0, 1]);
    assert_eq!((links.len(), failures.len()), (1, 1));
    assert_eq!(failures[0].0, 0);
    run(&prog);
    assert_eq!(counts(&loaded)[..2], [0, 500]);
}

#[test]
fn a_rejected_program_names_the_script_line() {
    if !kernel_usable("a_rejected_program_names_the_script_line") {
        return;
    }
    use crate::codegen::insn::{Insn, R0, R2, Size};
    use crate::object::{LineInfo, Loc};
    let mut object: Object = counting_object();
    object.sources = vec![("t.bt".into(), "BEGIN {\n  $x = *$p;\n}\n".into())];
    let insns = vec![
        Insn::mov64(R2, 0),
        Insn::ldx(Size::DW, R0, R2, 0),
        Insn::exit(),
    ];
    let p = program(&mut object, ProgramType::RawTracepoint, insns, vec![]);
    let at = |insn, line| LineInfo {
        insn,
        file_off: 0,
        line_off: 0,
        loc: Loc {
            line,
            col: 3,
            ..Loc::default()
        },
    };
    object.programs[p.0 as usize].lines = vec![at(0, 1), at(1, 2)];
    let env = HostEnv::default();
    let options = LoadOptions {
        env: &env,
        pid: None,
        verbose: false,
        shared: None,
    };
    let e = Loaded::load(std::sync::Arc::new(object), &options).unwrap_err();
    let text = e.to_string();
    assert!(text.contains("t.bt:2:3: $x = *$p;"), "{text}");
    assert!(text.contains("invalid mem access"), "{text}");
}

#[test]
fn many_programs_load_in_parallel() {
    if !kernel_usable("many_programs_load_in_parallel") {
        return;
    }
    let mut object = counting_object();
    for i in 0..20 {
        let p = counter(&mut object, ProgramType::RawTracepoint, Some(i));
        attach(&mut object, p, Attach::Begin);
    }
    let (loaded, _) = load(object);
    for i in 0..20 {
        special::run(&loaded, i).unwrap();
    }
    assert_eq!(counts(&loaded)[..20], [1; 20]);
}

#[test]
fn kernel_without_perf_links_attaches_by_ioctl() {
    if !kernel_usable("kernel_without_perf_links_attaches_by_ioctl") {
        return;
    }
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::Tracepoint, Some(1));
    let event = Attach::Tracepoint {
        category: "syscalls".into(),
        event: "sys_enter_getppid".into(),
    };
    attach(&mut object, p, event);
    let (loaded, env) = load(object);
    let guard = sys::fake::fail_once("BPF_LINK_CREATE", 0, libc::EINVAL);
    let links = attach_all(&loaded, &env, None);
    assert!(guard.hit());
    let _ = std::os::unix::process::parent_id();
    assert!(counts(&loaded)[1] >= 1);
    detach(links, Release::InBackground);
    assert_silent(&loaded, || _ = std::os::unix::process::parent_id());
}

#[test]
fn detaching_in_the_background_is_complete() {
    if !kernel_usable("detaching_in_the_background_is_complete") {
        return;
    }
    let Some(prog) = CProgram::compile("background", CALLS, &[]) else {
        return;
    };
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::Tracepoint, Some(1));
    for event in ["openat", "close", "read", "write", "mmap", "brk", "dup"] {
        let event = Attach::Tracepoint {
            category: "syscalls".into(),
            event: format!("sys_enter_{event}"),
        };
        attach(&mut object, p, event);
    }
    let u = counter(&mut object, ProgramType::Kprobe, Some(2));
    attach(&mut object, u, uprobe(&prog, "one", false));
    attach(&mut object, u, uprobe(&prog, "two", false));
    let (loaded, env) = load(object);
    let links = attach_all(&loaded, &env, None);
    run(&prog);
    assert!(counts(&loaded)[1] > 0);
    detach(links, Release::InBackground);
    assert_silent(&loaded, || run(&prog));
    assert_eq!(counts(&loaded)[2], 1500);
}

#[test]
fn semaphores_are_raised_while_attached() {
    if !kernel_usable("semaphores_are_raised_while_attached") {
        return;
    }
    // The counter is what a program with USDT probes looks at before it prepares arguments.
    let source = "
        __attribute__((section(\".probes\"))) volatile unsigned short semaphore;
        __attribute__((noipa)) void probe(void) {}
        int main(void) { if (semaphore) probe(); return semaphore; }";
    let Some(prog) = CProgram::compile("semaphore", source, &[]) else {
        return;
    };
    let mut object = counting_object();
    for multi in [false, true] {
        let p = counter(&mut object, ProgramType::Kprobe, Some(1 + i32::from(multi)));
        for symbol in ["probe", "main"].into_iter().take(1 + usize::from(multi)) {
            let Attach::Uprobe { file, offset, .. } = uprobe(&prog, symbol, false) else {
                unreachable!()
            };
            let semaphore = prog.offset("semaphore");
            let ret = false;
            let place = Attach::Uprobe {
                file,
                offset,
                semaphore,
                ret,
            };
            attach(&mut object, p, place);
        }
    }
    crowd(&mut object);
    let (loaded, env) = load(object);
    let value = || Command::new(&prog.path).status().unwrap().code();
    assert_eq!(value(), Some(0));
    let attacher = Attacher {
        loaded: &loaded,
        env: &env,
        pid: None,
    };
    let link = attacher.attach(0).unwrap();
    assert_eq!((value(), counts(&loaded)[1]), (Some(1), 1));
    drop(link);
    let (links, failures) = attacher.attach_group(&[1, 2]);
    assert!(failures.is_empty(), "{failures:?}");
    // Each place of a multi link raises it.
    assert_eq!((value(), counts(&loaded)[2]), (Some(2), 2));
    drop(links);
    // A process that another test forks may hold our links until it executes its program.
    wait_until(|| value() == Some(0));
}
