//! What must not disturb who types: floods of events. And who may type: everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::can_trace;
use super::pty::{Dir, Setup, Terminal};

/// Events of a flood: three seconds of 100,000 a second, or as long as it takes here.
const EVENTS: u64 = 300_000;

/// A thread of this process that makes system calls until it is dropped.
struct Caller {
    stop: Arc<AtomicBool>,
    tid: i32,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Caller {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let (tell, tid) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: takes and changes nothing.
            tell.send(unsafe { libc::gettid() }).unwrap();
            while !told.load(Ordering::Relaxed) {
                // SAFETY: takes and changes nothing.
                unsafe { libc::syscall(libc::SYS_getpgid, 0) };
            }
        });
        Self {
            stop,
            tid: tid.recv().unwrap(),
            thread: Some(thread),
        }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The columns of `probes` for item 1: hits and lost events.
fn columns(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().rfind(|l| l.starts_with("[1]  attached"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    // [1] attached HITS TIME UNIT EACH UNIT LOST TEXT
    Some((words.get(2)?.parse().ok()?, words.get(7)?.parse().ok()?))
}

#[test]
fn a_flood_of_events_leaves_the_line_alone_and_is_counted() {
    if !can_trace("a_flood_of_events_leaves_the_line_alone_and_is_counted") {
        return;
    }
    let dir = Dir::new("flood");
    let mut t = Terminal::start(&dir, &["-q"]);
    let mut caller = Caller::start();
    let tid = caller.tid;
    t.line(&format!(
        "tracepoint:syscalls:sys_enter_getpgid / tid == {tid} / {{ printf(\"flood %d\\n\", tid); }}"
    ));
    t.expect("[1] attached");
    let seen = "flood ";
    t.expect(seen);
    // Typed key by key into the flood: after each, the whole line stands below the events.
    let mut typed = String::new();
    for key in "6 * 7 + 100".chars() {
        t.keys(&key.to_string());
        typed.push(key);
        let line = format!("rtrace> {}", typed.trim_end());
        t.shows(&line, |s| s.trim_end().ends_with(&line));
    }
    t.keys("\r");
    t.expect("\n142\n");
    t.expect("lines not shown]");
    let hits = loop {
        t.line("probes");
        t.expect("were not shown");
        match columns(&t.text()) {
            Some((hits, _)) if hits >= EVENTS => break hits,
            Some(_) => {}
            None => panic!("no hits:\n{}", t.text()),
        }
    };
    caller.stop();
    // The rest is printed; then every event was shown or is counted.
    let mut last = (hits, 0);
    let mut progress = Instant::now();
    loop {
        t.line("probes");
        t.expect("were not shown");
        let text = t.text();
        let (hits, lost) = columns(&text).unwrap();
        let dropped = text.rfind(" lines of output were not shown").unwrap();
        let dropped = &text[text[..dropped].rfind('\n').unwrap() + 1..dropped];
        let dropped: u64 = dropped.parse().unwrap();
        let shown = text.matches(&format!("flood {tid}\n")).count() as u64;
        let sum = shown + dropped + lost;
        assert!(sum <= hits + SLACK, "{shown} + {dropped} + {lost} > {hits}");
        if sum >= hits {
            break;
        }
        // It must come nearer, if not between any two looks.
        if (hits, sum) != last {
            progress = Instant::now();
        }
        assert!(
            progress.elapsed() < PATIENCE,
            "{shown} + {dropped} + {lost} < {hits}"
        );
        last = (hits, sum);
        std::thread::sleep(Duration::from_millis(100));
    }
    t.prompt();
    t.keys("\x04");
    assert_eq!(t.wait(), 0);
}

/// Longest time in which no more events need be shown or counted.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lines of other kinds that may be among those that were not shown: warnings about losses, at
/// most a few a second.
const SLACK: u64 = 1000;

#[test]
fn an_ordinary_user_has_a_session_and_hears_what_root_adds() {
    let dir = Dir::new("user");
    // SAFETY: takes and changes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    let setup = Setup {
        nobody: root,
        ..Setup::default()
    };
    let mut t = Terminal::with(&dir, &[], setup);
    t.expect("runs in user space: begin, end and interval probes");
    t.expect("Root adds");
    t.line("interval:ms:20 { @n++; @h = hist(@n); }");
    t.expect("[1] attached");
    t.line("@n > 0 ? 42 : 43");
    t.expect("\n4");
    t.line("probes");
    t.expect("attached");
    t.line("kprobe:vfs_read { @ = count(); }");
    t.expect("ERROR");
    t.line("tracepoint:raw_syscalls:sys_enter { @ = count(); }");
    t.expect("ERROR");
    t.prompt();
    t.keys("watch @h\r");
    t.expect("watch @h: any key stops");
    t.expect("@h:");
    t.keys("x");
    t.prompt();
    t.keys("\x04");
    t.expect("@n: ");
    assert_eq!(t.wait(), 0);
}
