//! Whole runs against the running kernel, with programs assembled by hand.

use std::process::Command;
use std::time::{Duration, Instant};

use super::attaching::order;
use super::*;
use crate::object::MissingProbes;
use crate::object::{ProgramType, Rate};
use crate::runtime::MapAccess;
use crate::runtime::testing::{
    CProgram, assert_silent, attach as point, counter, counting_object, emitter, kernel_usable,
};

/// Event number that the [`Log`] takes for `exit()`.
const EXIT: i32 = 99;

/// Writes down what it is told.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
}

impl Sink for Log {
    fn attached(&mut self, probes: usize) -> Result<()> {
        self.lines.push(format!("attached {probes}"));
        Ok(())
    }

    fn warning(&mut self, text: &str) -> Result<()> {
        self.lines.push(format!("warning {text}"));
        Ok(())
    }

    fn record(&mut self, bytes: &[u8], _: &dyn MapAccess) -> Result<Flow> {
        let event = i32::from_ne_bytes(bytes[..4].try_into().unwrap());
        let payload = i64::from_ne_bytes(bytes[8..16].try_into().unwrap());
        self.lines.push(format!("{event} {payload}"));
        Ok(match event {
            EXIT => Flow::Exit(payload as i32),
            _ => Flow::Continue,
        })
    }

    fn finish(&mut self, maps: &dyn MapAccess) -> Result<()> {
        let mut value = Vec::new();
        maps.lookup(
            crate::runtime::testing::MAP0,
            &1u32.to_ne_bytes(),
            &mut value,
        )?;
        let n = u64::from_ne_bytes(value[..8].try_into().unwrap());
        self.lines.push(format!("finish {n}"));
        Ok(())
    }
}

fn begin(object: &mut Object, event: i32, payload: i32) {
    let p = emitter(object, ProgramType::RawTracepoint, event, payload);
    point(object, p, Attach::Begin);
}

fn end(object: &mut Object, event: i32, payload: i32) {
    let p = emitter(object, ProgramType::RawTracepoint, event, payload);
    point(object, p, Attach::End);
}

fn run(object: Object, options: Options) -> (Result<Outcome>, Vec<String>) {
    let mut log = Log::default();
    let env = Arc::new(HostEnv::default());
    let outcome = Session::new(Arc::new(object), env, options).and_then(|mut s| s.run(&mut log));
    (outcome, log.lines)
}

#[test]
fn patterns_attach_last_to_first_and_their_matches_first_to_last() {
    let mut object = counting_object();
    let p = emitter(&mut object, ProgramType::Kprobe, 1, 1);
    for (line, offset) in [(1, 10), (2, 20), (2, 30), (3, 10)] {
        let file = crate::object::TargetFile::new("/bin/sh");
        let at = Attach::Uprobe {
            file,
            offset,
            semaphore: 0,
            ret: false,
        };
        point(&mut object, p, at);
        object.attach.last_mut().unwrap().loc.line = line;
    }
    let timer = Attach::Interval(Rate::Hz(1));
    point(&mut object, p, timer);
    assert_eq!(order(&object).collect::<Vec<_>>(), [3, 1, 2, 0, 4]);
}

#[test]
fn begin_and_end_alone_finish_by_themselves() {
    if !kernel_usable("begin_and_end_alone_finish_by_themselves") {
        return;
    }
    let mut object = counting_object();
    begin(&mut object, 1, 10);
    end(&mut object, 3, 30);
    begin(&mut object, 2, 20);
    let (outcome, lines) = run(object, Options::default());
    assert_eq!(lines, ["attached 3", "1 10", "2 20", "3 30", "finish 0"]);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.code, outcome.stop), (0, Stop::Idle));
}

#[test]
fn exit_ends_the_run_with_its_code_and_end_still_runs() {
    if !kernel_usable("exit_ends_the_run_with_its_code_and_end_still_runs") {
        return;
    }
    let mut object = counting_object();
    begin(&mut object, 1, 10);
    begin(&mut object, EXIT, 7);
    begin(&mut object, 2, 20);
    end(&mut object, 3, 30);
    let clock = counter(&mut object, ProgramType::PerfEvent, Some(1));
    point(
        &mut object,
        clock,
        Attach::Interval(Rate::Period(3_600_000_000_000)),
    );
    let (outcome, lines) = run(object, Options::default());
    assert_eq!(lines, ["attached 5", "1 10", "99 7", "3 30", "finish 0"]);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.code, outcome.stop), (7, Stop::Exit(7)));
}

#[test]
fn intervals_emit_until_one_exits() {
    if !kernel_usable("intervals_emit_until_one_exits") {
        return;
    }
    let mut object = counting_object();
    let tick = emitter(&mut object, ProgramType::PerfEvent, 1, 5);
    let stop = emitter(&mut object, ProgramType::PerfEvent, EXIT, 0);
    point(&mut object, tick, Attach::Interval(Rate::Period(5_000_000)));
    point(
        &mut object,
        stop,
        Attach::Interval(Rate::Period(100_000_000)),
    );
    let (outcome, lines) = run(object, Options::default());
    outcome.unwrap();
    let ticks = lines.iter().filter(|l| *l == "1 5").count();
    assert!((5..=40).contains(&ticks), "{lines:?}");
    assert_eq!(lines[lines.len() - 2..], ["99 0", "finish 0"]);
}

#[test]
fn a_command_is_traced_from_its_first_instruction_to_its_end() {
    if !kernel_usable("a_command_is_traced_from_its_first_instruction_to_its_end") {
        return;
    }
    let source = "__attribute__((noipa)) int f(int x) { return x; }
        __attribute__((constructor)) static void early(void) { f(1); }
        int main(void) { f(2); return 5; }";
    let Some(prog) = CProgram::compile("session", source, &[]) else {
        return;
    };
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::Kprobe, Some(1));
    let place = Attach::Uprobe {
        file: crate::object::TargetFile::new(prog.path.to_str().unwrap()),
        offset: prog.offset("f"),
        semaphore: 0,
        ret: false,
    };
    point(&mut object, p, place);
    let child = Child::spawn(prog.path.to_str().unwrap()).unwrap();
    let options = Options {
        child: Some(child),
        ..Options::default()
    };
    let (outcome, lines) = run(object, options);
    assert_eq!(lines, ["attached 1", "finish 2"]);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.stop, Stop::Target);
    assert_eq!(outcome.child.and_then(|s| s.code()), Some(5));
}

#[test]
fn the_end_of_a_process_ends_the_run() {
    if !kernel_usable("the_end_of_a_process_ends_the_run") {
        return;
    }
    let mut sleeper = Command::new("sleep").arg("2").spawn().unwrap();
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::PerfEvent, Some(1));
    point(&mut object, p, Attach::Profile(Rate::Hz(99)));
    let options = Options {
        pid: Some(sleeper.id()),
        ..Options::default()
    };
    let (outcome, _) = run(object.clone(), options);
    assert_eq!(outcome.unwrap().stop, Stop::Target);
    let gone = sleeper.id();
    sleeper.wait().unwrap();
    let options = Options {
        pid: Some(gone),
        ..Options::default()
    };
    let (outcome, _) = run(object, options);
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "Failed to attach to pid: Unable to open pidfd (No such process)"
    );
}

#[test]
fn signals_run_probes_or_end_the_run() {
    if !kernel_usable("signals_run_probes_or_end_the_run") {
        return;
    }
    let mut object = counting_object();
    let p = emitter(&mut object, ProgramType::RawTracepoint, 4, 40);
    point(&mut object, p, Attach::SelfSignal(libc::SIGUSR1));
    end(&mut object, 3, 30);
    let env = Arc::new(HostEnv::default());
    let options = Options::default();
    let mut session = Session::new(Arc::new(object), env, options).unwrap();
    // To this thread, where they are blocked: other tests run in the same process.
    let raise = |n| crate::runtime::sys::process::raise(n).unwrap();
    raise(libc::SIGUSR1);
    let mut log = Log::default();
    let mut stop = None;
    while log.lines.is_empty() {
        stop = session.poll(&mut log, 10).unwrap();
    }
    assert_eq!((stop, &log.lines[..]), (None, &["4 40".to_owned()][..]));
    raise(libc::SIGINT);
    let stop = session.poll(&mut log, 1000).unwrap();
    assert_eq!(stop, Some(Stop::Signal(libc::SIGINT)));
    session.finish(&mut log, stop.unwrap()).unwrap();
    assert_eq!(log.lines, ["4 40", "3 30", "finish 0"]);
}

#[test]
fn missing_probes_are_errors_warnings_or_nothing() {
    if !kernel_usable("missing_probes_are_errors_warnings_or_nothing") {
        return;
    }
    for policy in [
        MissingProbes::Error,
        MissingProbes::Warn,
        MissingProbes::Ignore,
    ] {
        let mut object = counting_object();
        object.config.missing_probes = policy;
        begin(&mut object, EXIT, 0);
        let p = counter(&mut object, ProgramType::RawTracepoint, Some(1));
        let event = "no_such_event".to_owned();
        let at = point(&mut object, p, Attach::RawTracepoint { event });
        object.attach[at].name = "rawtracepoint:no_such_event".into();
        let (outcome, lines) = run(object, Options::default());
        match policy {
            MissingProbes::Error => {
                let text = outcome.unwrap_err().to_string();
                assert_eq!(
                    text,
                    "Unable to attach probe: rawtracepoint:no_such_event. If this is expected, \
                     set the 'missing_probes' config variable to 'warn'.\n  \
                     no such tracepoint: No such file or directory"
                );
                assert!(lines.is_empty(), "{lines:?}");
            }
            MissingProbes::Warn => {
                outcome.unwrap();
                assert!(lines[0].starts_with("warning Unable to attach probe: rawtracepoint:"));
                assert_eq!(lines[1], "attached 1");
            }
            MissingProbes::Ignore => {
                outcome.unwrap();
                assert_eq!(lines[0], "attached 1");
            }
        }
    }
}

#[test]
fn a_wildcard_survives_what_cannot_be_probed() {
    if !kernel_usable("a_wildcard_survives_what_cannot_be_probed") {
        return;
    }
    let Some(prog) = CProgram::compile("wildcard", "int main(void) { return 0; }", &[]) else {
        return;
    };
    let mut object = counting_object();
    begin(&mut object, EXIT, 0);
    let p = counter(&mut object, ProgramType::Kprobe, Some(1));
    for i in 0..20 {
        let place = Attach::Uprobe {
            file: crate::object::TargetFile::new(prog.path.to_str().unwrap()),
            offset: if i == 7 { 1 << 40 } else { prog.offset("main") },
            semaphore: 0,
            ret: false,
        };
        let at = point(&mut object, p, place);
        object.attach[at].wildcard = true;
        object.attach[at].name = format!("uprobe:t:{i}");
    }
    let (outcome, lines) = run(object, Options::default());
    use crate::env::{Env, Feature};
    if !HostEnv::default().has(Feature::UprobeMulti) {
        eprintln!("skipped: this kernel has no uprobe_multi");
        return;
    }
    outcome.unwrap();
    let expected = "warning 1 of 20 matches of a wildcard cannot be attached, such as uprobe:t:7:";
    assert!(lines[0].starts_with(expected), "{lines:?}");
    assert_eq!(lines[1], "attached 20");
}

#[test]
fn a_dry_run_attaches_and_shows_nothing() {
    if !kernel_usable("a_dry_run_attaches_and_shows_nothing") {
        return;
    }
    let mut object = counting_object();
    begin(&mut object, 1, 1);
    end(&mut object, 1, 1);
    let options = Options {
        dry_run: true,
        ..Options::default()
    };
    let (outcome, lines) = run(object, options);
    assert_eq!(outcome.unwrap().code, 0);
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn iterators_run_once_and_more_than_the_ring_buffer_holds_arrives() {
    if !kernel_usable("iterators_run_once_and_more_than_the_ring_buffer_holds_arrives") {
        return;
    }
    let mut object = counting_object();
    let p = emitter(&mut object, ProgramType::TracingIter, 1, 1);
    object.programs[p.0 as usize].attach_btf = Some(("task".into(), None));
    let (kind, pin) = ("task".to_owned(), None);
    point(&mut object, p, Attach::Iter { object: kind, pin });
    let (outcome, lines) = run(object, Options::default());
    assert_eq!(outcome.unwrap().stop, Stop::Idle);
    assert!(lines.len() > 3, "{lines:?}");
    assert_eq!(lines[lines.len() - 1], "finish 0");
}

#[test]
fn probes_can_be_detached_and_attached_again_while_it_runs() {
    if !kernel_usable("probes_can_be_detached_and_attached_again_while_it_runs") {
        return;
    }
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::PerfEvent, Some(1));
    point(&mut object, p, Attach::Interval(Rate::Period(1_000_000)));
    let env = Arc::new(HostEnv::default());
    let mut s = Session::new(Arc::new(object), env, Options::default()).unwrap();
    let count = |s: &Session| crate::runtime::testing::counts(s.loaded())[1];
    for _ in 0..2 {
        s.attach(0).unwrap();
        let (start, before) = (Instant::now(), count(&s));
        while count(&s) < before + 3 {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        s.detach(0);
        assert_silent(s.loaded(), || std::thread::sleep(Duration::from_millis(10)));
    }
}

/// What the kernel may refuse a system call with.
const REFUSALS: [i32; 6] = [
    libc::EPERM,
    libc::ENOMEM,
    libc::EINVAL,
    libc::EAGAIN,
    libc::ENOSPC,
    libc::E2BIG,
];

/// Runs what `make` gives again and again, each time with the next system call failing with
/// `errno`: always an error that says something, or a full run; never a panic or a hang; and
/// nothing is left.
fn fail_each_call(errno: i32, make: impl Fn() -> (Object, Options)) {
    for skip in 0..300 {
        let (mut object, options) = make();
        let name = format!("f{errno}_{skip}_{}", std::process::id() % 10_000);
        let map = crate::runtime::testing::MAP0;
        object.maps[map.0 as usize].name.clone_from(&name);
        let child = options.child.as_ref().map(Child::pid);
        let guard = crate::runtime::sys::fake::fail_once("", skip, errno);
        let (outcome, lines) = run(object, options);
        let hit = guard.hit();
        drop(guard);
        match outcome {
            Ok(_) => assert!(lines.last().is_some_and(|l| l.starts_with("finish"))),
            Err(e) => {
                let text = e.to_string();
                let why = Error::from_errno(errno).to_string();
                // What was tried, and the kernel's word for why not or what it means here.
                assert!(text.len() > why.len() + 2, "call {skip}: {text}");
            }
        }
        // The copy that closes what is slow to close may still be at it.
        let start = Instant::now();
        while crate::runtime::testing::map_named(&name) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "call {skip}: a map is left"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        let there = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat"));
        while child.is_some_and(|pid| there(pid).is_ok_and(|s| !s.contains(") Z "))) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "call {skip}: the command is left"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        if !hit {
            assert!(skip > 10, "the seam saw {skip} calls only");
            return;
        }
    }
    panic!("the run makes more than 300 calls");
}

/// Every system call of a run fails once, each in its turn, in every way.
#[test]
fn each_system_call_may_fail() {
    if !kernel_usable("each_system_call_may_fail") {
        return;
    }
    for errno in REFUSALS {
        fail_each_call(errno, || {
            let mut object = counting_object();
            begin(&mut object, EXIT, 0);
            let p = counter(&mut object, ProgramType::PerfEvent, Some(1));
            point(&mut object, p, Attach::Interval(Rate::Hz(99)));
            end(&mut object, 3, 30);
            (object, Options::default())
        });
    }
}

#[test]
fn each_system_call_of_a_run_with_functions_and_a_command_may_fail() {
    if !kernel_usable("each_system_call_of_a_run_with_functions_and_a_command_may_fail") {
        return;
    }
    let source =
        "__attribute__((noipa)) int f(int x) { return x; } int main(void) { return f(5); }";
    let Some(prog) = CProgram::compile("faults", source, &[]) else {
        return;
    };
    for errno in [libc::EPERM, libc::ENOSPC] {
        fail_each_call(errno, || {
            let mut object = counting_object();
            for (ret, value) in [(false, 1), (true, 2)] {
                let p = counter(&mut object, ProgramType::Kprobe, Some(value));
                let file = crate::object::TargetFile::new(prog.path.to_str().unwrap());
                let at = Attach::Uprobe {
                    file,
                    offset: prog.offset("f"),
                    semaphore: 0,
                    ret,
                };
                point(&mut object, p, at);
            }
            let p = counter(&mut object, ProgramType::RawTracepoint, Some(1));
            let event = "sys_enter".into();
            point(&mut object, p, Attach::RawTracepoint { event });
            let options = Options {
                child: Some(Child::spawn(prog.path.to_str().unwrap()).unwrap()),
                ..Options::default()
            };
            (object, options)
        });
    }
}

const VICTIM: &str = "RTRACE_TEST_VICTIM";

/// Not a test by itself: what [`a_killed_run_leaves_nothing_behind`] runs and kills.
#[test]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::Tracepoint, Some(1));
    let (category, event) = ("syscalls".into(), "sys_enter_pipe".into());
    point(&mut object, p, Attach::Tracepoint { category, event });
    let p = counter(&mut object, ProgramType::RawTracepoint, Some(1));
    let event = "sys_enter".into();
    point(&mut object, p, Attach::RawTracepoint { event });
    let env = Arc::new(HostEnv::default());
    let mut s = Session::new(Arc::new(object), env, Options::default()).unwrap();
    s.attach_all(&mut Log::default()).unwrap();
    let ids: Vec<u32> = s
        .loaded()
        .programs
        .iter()
        .map(|p| {
            crate::runtime::sys::bpf::prog_stats(p.fd.as_fd())
                .unwrap()
                .id
        })
        .collect();
    println!("\nprograms {ids:?}");
    s.poll(&mut Log::default(), 60_000).unwrap();
}

#[test]
fn a_killed_run_leaves_nothing_behind() {
    if !kernel_usable("a_killed_run_leaves_nothing_behind") {
        return;
    }
    use std::io::{BufRead, BufReader};
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runtime::session::tests::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(victim.stdout.take().unwrap());
    let line = out
        .lines()
        .map(|l| l.unwrap())
        .find(|l| l.starts_with("programs"))
        .unwrap();
    let ids: Vec<u32> = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    let alive = |id: &u32| crate::env::bpf::program_by_id(*id).is_ok();
    assert!(ids.len() == 2 && ids.iter().all(alive), "{line}");
    victim.kill().unwrap();
    victim.wait().unwrap();
    let start = Instant::now();
    while ids.iter().any(alive) {
        assert!(start.elapsed() < Duration::from_secs(5), "still loaded");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn tests_and_benchmarks_are_run_on_demand() {
    if !kernel_usable("tests_and_benchmarks_are_run_on_demand") {
        return;
    }
    let mut object = counting_object();
    let p = emitter(&mut object, ProgramType::RawTracepoint, 1, 2);
    point(&mut object, p, Attach::Test("t".into()));
    let p = emitter(&mut object, ProgramType::RawTracepoint, EXIT, 3);
    point(&mut object, p, Attach::Bench("b".into()));
    let env = Arc::new(HostEnv::default());
    let mut s = Session::new(Arc::new(object), env, Options::default()).unwrap();
    let mut log = Log::default();
    assert_eq!(s.run_once(0, &mut log).unwrap(), (0, None));
    assert_eq!(s.run_once(1, &mut log).unwrap(), (0, Some(3)));
    assert_eq!(log.lines, ["1 2", "99 3"]);
    let ns = s.bench(0, 1000).unwrap();
    assert!((1..100_000).contains(&ns), "{ns}");
    assert_eq!(s.run_once(0, &mut log).unwrap(), (0, None));
    assert_eq!(log.lines.len(), 3, "records of the benchmark were kept");
    assert!(s.missed().is_empty());
}
