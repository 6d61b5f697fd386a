//! What runs: a thread that keeps probes attached and prints what they emit.
//!
//! In the kernel there is a worker for each item, which owns its programs, links and ring buffer
//! and shares the `@maps`; so an item comes and goes without touching the others. With the
//! interpreter there is one worker for the whole script, as there is nothing that could go on
//! without it. Workers are told what to do between records.

use std::io::Write;
use std::ops::AddAssign;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::console::Console;
use crate::cli::args::Args;
use crate::cli::run;
use crate::env::HostEnv;
use crate::error::{Error, ErrorExt as _, Result};
use crate::interp::engine::Runner;
use crate::object::{Attach, MapId, Object, Rate, SiteKind};
use crate::runtime::event::{Options as PrintOptions, Printer};
use crate::runtime::output::{Buffering, Format, Writer};
use crate::runtime::session::{Options, Session, Stop};
use crate::runtime::shared::SharedMaps;
use crate::runtime::sys::bpf;
use crate::runtime::sys::wait::Epoll;
use crate::runtime::{Flow, MapAccess, Sink as _};
use crate::symbols::cache::IndexCache;

/// Longest sleep: how late losses are told.
const TICK_MS: i32 = 1000;

/// What all workers of a session need.
#[derive(Clone)]
pub struct Context {
    /// The command line.
    pub args: Arc<Args>,
    /// The machine.
    pub env: Arc<HostEnv>,
    /// Where output goes.
    pub console: Arc<Console>,
    /// Symbols of the files that were named.
    pub indexes: IndexCache,
    /// The code of the first `exit()`, once there was one.
    pub exit: Arc<OnceLock<i32>>,
}

impl Context {
    /// A printer of what the probes of an object emit.
    pub fn printer<'o>(&self, object: &'o Object) -> Printer<'o> {
        self.printing(object, Console::writer)
    }

    /// A printer of the answer to what was typed.
    pub fn answering<'o>(&self, object: &'o Object) -> Printer<'o> {
        self.printing(object, Console::answers)
    }

    fn printing<'o>(
        &self,
        object: &'o Object,
        to: impl Fn(&Arc<Console>) -> Box<dyn Write>,
    ) -> Printer<'o> {
        let names = run::names(object, &self.args);
        let options = PrintOptions {
            format: Format::Text,
            ..run::print_options(&self.args, true)
        };
        let writer = Writer::new(to(&self.console), Buffering::Line);
        Printer::new(object, names, writer, to(&self.console), options)
    }
}

/// What was counted for a worker's programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times its programs ran, while the kernel counts that.
    pub hits: u64,
    /// Nanoseconds they took.
    pub time_ns: u64,
    /// Times they were skipped as they were running on the CPU already.
    pub missed: u64,
    /// Events that did not fit the ring buffer.
    pub lost: u64,
}

impl Counts {
    /// What came after `then`, which was counted before.
    pub fn since(self, then: Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(then.hits),
            time_ns: self.time_ns.saturating_sub(then.time_ns),
            missed: self.missed.saturating_sub(then.missed),
            lost: self.lost.saturating_sub(then.lost),
        }
    }

    /// Counts a run that began at `start` and is over.
    fn ran(&mut self, start: Instant) {
        self.hits += 1;
        self.time_ns += start.elapsed().as_nanos() as u64;
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.time_ns += other.time_ns;
        self.missed += other.missed;
        self.lost += other.lost;
    }
}

type Job = Box<dyn FnOnce(&dyn MapAccess) + Send>;

enum Command {
    /// Detach and end, with or without the END probes.
    Stop { end: bool },
    /// Run the END probes, do something with the maps, and end.
    Finish(Job),
    /// Say what was counted: for all programs together in the kernel, for each attach point of
    /// the interpreter.
    Count(Sender<Vec<Counts>>),
    /// Do something with the maps.
    With(Job),
}

/// A running worker. Dropped, it detaches its probes without running END.
pub struct Worker {
    commands: Sender<Command>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// A worker's own end.
struct Seat {
    commands: Receiver<Command>,
    wake: UnixStream,
}

impl Worker {
    /// Attaches an item in the kernel; returns once that is done.
    ///
    /// # Errors
    /// What [`Session::sharing`] and [`Session::start`] say.
    pub fn kernel(
        cx: &Context,
        object: Object,
        shared: Arc<SharedMaps>,
        name: &str,
    ) -> Result<Self> {
        let cx = cx.clone();
        let name = name.to_owned();
        Self::spawn(move |seat, ready| {
            let object = Arc::new(object);
            let ended = kernel(&cx, &object, &shared, &name, &seat, ready);
            complain(&cx, &name, ended);
        })
    }

    /// Runs a whole script in this process. `fresh` says which BEGIN probes run; `contents` are
    /// entries that maps start with.
    ///
    /// # Errors
    /// A malformed program, or one that faults in BEGIN.
    pub fn user(
        cx: &Context,
        object: Arc<Object>,
        fresh: Vec<usize>,
        contents: Vec<(MapId, Vec<u8>, Vec<u8>)>,
    ) -> Result<Self> {
        let cx = cx.clone();
        Self::spawn(move |seat, ready| {
            let ended = user(&cx, &object, &fresh, contents, &seat, ready);
            complain(&cx, "session", ended);
        })
    }

    fn spawn(run: impl FnOnce(Seat, Sender<Result<()>>) + Send + 'static) -> Result<Self> {
        let (commands, receiver) = channel();
        let (wake, other) = UnixStream::pair().context("socketpair")?;
        for end in [&wake, &other] {
            end.set_nonblocking(true).context("socketpair")?;
        }
        let (ready, started) = channel();
        let seat = Seat {
            commands: receiver,
            wake: other,
        };
        let thread = std::thread::Builder::new().name("probes".into());
        let thread = thread.spawn(move || run(seat, ready)).context("thread")?;
        // A worker that is gone without a word has said why on its own.
        started
            .recv()
            .unwrap_or_else(|_| Err(Error::invalid("the probes ended at once")))?;
        Ok(Self {
            commands,
            wake,
            thread: Some(thread),
        })
    }

    fn tell(&self, command: Command) -> bool {
        let told = self.commands.send(command).is_ok();
        // Full means that it has been woken already.
        let _ = (&self.wake).write(&[0]);
        told
    }

    /// Detaches the probes and, if asked for, runs END; returns when all is printed.
    pub fn stop(mut self, end: bool) {
        self.tell(Command::Stop { end });
        if let Some(thread) = self.thread.take() {
            // A panic has printed its own message.
            let _ = thread.join();
        }
    }

    /// As [`stop`](Self::stop) with END; `last` sees the maps after it.
    pub fn finish(mut self, last: impl FnOnce(&dyn MapAccess) + Send + 'static) {
        self.tell(Command::Finish(Box::new(last)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// What was counted so far: one for the item of the kernel, in the interpreter one for each
    /// attach point of the script.
    pub fn counts(&self) -> Vec<Counts> {
        let (reply, counts) = channel();
        self.tell(Command::Count(reply));
        counts.recv().unwrap_or_default()
    }

    /// Does something with the maps, in the worker's thread; `None` if the worker has ended.
    pub fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&dyn MapAccess) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, result) = channel();
        let job: Job = Box::new(move |maps| {
            // The asker waits.
            let _ = reply.send(f(maps));
        });
        self.tell(Command::With(job));
        result.recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tell(Command::Stop { end: false });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seat {
    fn drain_wakes(&self) {
        use std::io::Read as _;
        let mut bytes = [0; 64];
        while matches!((&self.wake).read(&mut bytes), Ok(n) if n > 0) {}
    }

    /// The next command; `None` if there is none now.
    fn next(&self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Command::Stop { end: false }),
        }
    }
}

fn complain(cx: &Context, name: &str, ended: Result<()>) {
    if let Err(e) = ended {
        let _ = writeln!(cx.console.writer(), "ERROR: {name}: {e}");
    }
}

/// The life of an item in the kernel.
fn kernel(
    cx: &Context,
    object: &Arc<Object>,
    shared: &SharedMaps,
    name: &str,
    seat: &Seat,
    ready: Sender<Result<()>>,
) -> Result<()> {
    let options = Options {
        pid: cx.args.pid,
        quiet: true,
        ignore_signals: true,
        ..Options::default()
    };
    let mut printer = cx.printer(object);
    let env = Arc::clone(&cx.env);
    let started = Session::sharing(Arc::clone(object), env, options, Some(shared))
        .and_then(|mut session| session.start(&mut printer).map(|_| session));
    let mut session = match started {
        Ok(session) => session,
        Err(e) => {
            let _ = ready.send(Err(e));
            return Ok(());
        }
    };
    // What BEGIN printed comes before the next prompt.
    let mut over = ended(cx, name, session.poll(&mut printer, 0)?)?;
    let _ = ready.send(Ok(()));
    let epoll = Epoll::new().context("epoll")?;
    epoll.add(session.fd(), 0).context("epoll")?;
    epoll.add(seat.wake.as_fd(), 1).context("epoll")?;
    loop {
        seat.drain_wakes();
        while let Some(command) = seat.next() {
            match command {
                Command::Stop { end } => {
                    return match end {
                        true => session.end(&mut printer, Stop::Idle),
                        false => session.halt(&mut printer, Stop::Idle),
                    };
                }
                Command::Finish(last) => {
                    session.end(&mut printer, Stop::Idle)?;
                    last(&session.loaded().maps);
                    return Ok(());
                }
                Command::Count(reply) => {
                    let _ = reply.send(vec![counts(object, &session)]);
                }
                Command::With(job) => job(&session.loaded().maps),
            }
        }
        if !over {
            over = ended(cx, name, session.poll(&mut printer, 0)?)?;
            if over {
                for index in 0..object.attach.len() {
                    session.detach(index);
                }
                epoll.remove(session.fd()).context("epoll")?;
            }
        }
        epoll.wait(TICK_MS).context("epoll")?;
    }
}

/// Whether a run is over: only if the script says so.
fn ended(cx: &Context, name: &str, stop: Option<Stop>) -> Result<bool> {
    let Some(Stop::Exit(code)) = stop else {
        return Ok(false);
    };
    // Later ones change nothing.
    let _ = cx.exit.set(code);
    let text = format!("{name} called exit({code}): its probes are detached\n");
    cx.console.writer().write_all(text.as_bytes())?;
    Ok(true)
}

fn counts(object: &Object, session: &Session) -> Counts {
    let mut sum = Counts::default();
    for program in &session.loaded().programs {
        if let Ok(stats) = bpf::prog_stats(program.fd.as_fd()) {
            sum.hits += stats.run_count;
            sum.time_ns += stats.run_time_ns;
            sum.missed += stats.recursion_misses;
        }
    }
    if let Some(map) = object.counters_map {
        // Counts that cannot be read are not shown.
        let _ = session.loaded().maps.for_each(map, &mut |key, value| {
            let site = key.first_chunk().map(|k| u32::from_ne_bytes(*k) as usize);
            let site = site.and_then(|at| object.sites.get(at));
            if site.is_some_and(|s| s.kind == SiteKind::LostEvent) {
                let cpus = value.as_chunks::<8>().0;
                sum.lost += cpus.iter().map(|c| u64::from_ne_bytes(*c)).sum::<u64>();
            }
            Ok(())
        });
    }
    sum
}

/// A repeating timer of the interpreter.
struct Timer {
    attach: usize,
    due: Instant,
    period: Duration,
}

/// The life of a script in the interpreter.
fn user(
    cx: &Context,
    object: &Object,
    fresh: &[usize],
    contents: Vec<(MapId, Vec<u8>, Vec<u8>)>,
    seat: &Seat,
    ready: Sender<Result<()>>,
) -> Result<()> {
    let mut printer = cx.printer(object);
    let cpus = cpus(cx);
    let mut counts = vec![Counts::default(); object.attach.len()];
    let prepared = Runner::new(object, cpus).and_then(|mut runner| {
        for (map, key, value) in &contents {
            runner.maps().update(*map, key, value)?;
        }
        let mut over = false;
        for &index in fresh {
            if object.attach[index].attach == Attach::Begin && !over {
                let start = Instant::now();
                over = fire(cx, &mut runner, &mut printer, index)?;
                counts[index].ran(start);
            }
        }
        Ok((runner, over))
    });
    let (mut runner, mut over) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => {
            let _ = ready.send(Err(e));
            return Ok(());
        }
    };
    printer.batch_done(runner.maps())?;
    let _ = ready.send(Ok(()));
    let start = Instant::now();
    let mut timers: Vec<Timer> = Vec::new();
    for (attach, point) in object.attach.iter().enumerate() {
        if let Attach::Interval(rate) = point.attach {
            let period = period(rate);
            timers.push(Timer {
                attach,
                due: start + period,
                period,
            });
        }
    }
    let epoll = Epoll::new().context("epoll")?;
    epoll.add(seat.wake.as_fd(), 1).context("epoll")?;
    loop {
        seat.drain_wakes();
        while let Some(command) = seat.next() {
            match command {
                Command::Stop { end } => {
                    if end {
                        run_end(cx, &mut runner, &mut printer, object)?;
                    }
                    return Ok(());
                }
                Command::Finish(last) => {
                    run_end(cx, &mut runner, &mut printer, object)?;
                    last(runner.maps());
                    return Ok(());
                }
                Command::Count(reply) => {
                    let _ = reply.send(counts.clone());
                }
                Command::With(job) => job(runner.maps()),
            }
        }
        for timer in &mut timers {
            if !over && timer.due <= Instant::now() {
                let start = Instant::now();
                over = fire(cx, &mut runner, &mut printer, timer.attach)?;
                counts[timer.attach].ran(start);
                // Periods that went by meanwhile are skipped, as the kernel's timers do.
                while timer.due <= Instant::now() {
                    timer.due += timer.period;
                }
            }
        }
        printer.batch_done(runner.maps())?;
        let next = timers.iter().map(|t| t.due).min().filter(|_| !over);
        let pause = next.map_or(TICK_MS as u128, |due| {
            let left = due.saturating_duration_since(Instant::now());
            left.as_nanos().div_ceil(1_000_000)
        });
        let pause = i32::try_from(pause).unwrap_or(TICK_MS).min(TICK_MS);
        epoll.wait(pause).context("epoll")?;
    }
}

/// CPUs that values of per-CPU maps have in the interpreter.
pub fn cpus(cx: &Context) -> usize {
    use crate::env::Env as _;
    cx.env.machine().cpus_possible as usize
}

/// Runs a probe in the interpreter; whether it called `exit()`.
fn fire(
    cx: &Context,
    runner: &mut Runner<'_>,
    printer: &mut Printer<'_>,
    index: usize,
) -> Result<bool> {
    runner.run(index)?;
    let mut exit = None;
    for record in runner.records() {
        if let Flow::Exit(code) = printer.record(record, runner.maps())? {
            exit = Some(Stop::Exit(code));
            break;
        }
    }
    ended(cx, "the script", exit)
}

fn run_end(
    cx: &Context,
    runner: &mut Runner<'_>,
    printer: &mut Printer<'_>,
    object: &Object,
) -> Result<()> {
    for (index, point) in object.attach.iter().enumerate() {
        if point.attach == Attach::End {
            fire(cx, runner, printer, index)?;
        }
    }
    printer.batch_done(runner.maps())
}

fn period(rate: Rate) -> Duration {
    let ns = match rate {
        Rate::Hz(hz) => 1_000_000_000 / hz.max(1),
        Rate::Period(ns) => ns,
    };
    Duration::from_nanos(ns.max(1))
}
