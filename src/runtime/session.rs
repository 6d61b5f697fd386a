//! A run: loading, attaching, the event loop, the end.
//!
//! In goes an object; out go records and maps, to a [`Sink`]. The life of a run: programs are
//! loaded; BEGIN runs; everything else is attached; the command of `-c` starts; records are
//! handed over until something ends the run; probes are detached; END runs; what is left in the
//! ring buffer is handed over; the sink prints the maps.
//!
//! [`Session::run`] is all of it. The REPL calls the parts: [`attach`](Session::attach),
//! [`poll`](Session::poll), [`detach`](Session::detach), [`finish`](Session::finish).

mod attaching;
mod lost_exit;

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lost_exit::LostExit;

use super::attach::{self, Attacher, IterRun, Link, Release, special};
use super::child::Child;
use super::load::{LoadOptions, Loaded};
use super::privilege;
use super::ringbuf::RingBuf;
use super::shared::SharedMaps;
use super::sink::{Flow, Sink};
use super::sys::wait::{Epoll, Signals, pidfd_open};
use super::sys::{self, bpf};
use super::unwind::Unwinder;
use super::watch::Watch;
use crate::env::HostEnv;
use crate::error::{Error, ErrorExt, ErrorKind, Result};
use crate::object::{Attach, Object};

/// Records after which signals and ends are looked at again while more records wait.
const BATCH: usize = 4096;

/// Time after which signals and ends are looked at again while records are slow to handle:
/// each may run a command.
const BATCH_TIME: Duration = Duration::from_millis(100);

/// How long records are still handled after a signal or the end of the target.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the records of END may take.
const END_TIME: Duration = Duration::from_secs(60);

/// Longest wait of the event loop in milliseconds: how late the sink may flush.
const TICK_MS: i32 = 1000;

/// How late changes of processes are taken in: a file of a container is opened while its process
/// is there.
const WATCH_MS: i32 = 100;

/// When to look at the process that a run is about: it maps its libraries within its first
/// milliseconds, others perhaps later, and is not there to be asked when its stacks are printed.
struct Looks {
    pid: u32,
    next: Instant,
    pause: Duration,
}

impl Looks {
    fn new(pid: u32) -> Self {
        let pause = Duration::from_millis(1);
        Self {
            pid,
            next: Instant::now() + pause,
            pause,
        }
    }

    fn timeout_ms(&self) -> i32 {
        let wait = self.next.saturating_duration_since(Instant::now());
        // Rounded up: waking early would only mean to wait again.
        let ms = wait.as_micros().div_ceil(1000);
        i32::try_from(ms).map_or(TICK_MS, |ms| ms.min(TICK_MS))
    }

    /// Whether it is time; then this is the last time.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.pause = (self.pause * 4).min(Duration::from_millis(TICK_MS as u64));
            self.next = now + self.pause;
        }
        due
    }
}

/// Numbers of the descriptors that the event loop waits on; iterators count up from the last.
mod token {
    pub const RING: u64 = 0;
    pub const SIGNAL: u64 = 1;
    pub const CHILD: u64 = 2;
    pub const TARGET: u64 = 3;
    pub const ITER: u64 = 4;
    pub const WATCH: u64 = u64::MAX;
}

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// `-p`: probes are limited to this process, and its end ends the run.
    pub pid: Option<u32>,
    /// `-c`: as with `pid`; it is let go when everything is attached.
    pub child: Option<Child>,
    /// Say what is attached; put the verifier's log into errors.
    pub verbose: bool,
    /// Do not say how many probes are attached.
    pub quiet: bool,
    /// Load and attach, then end: no probe's effect is shown, BEGIN and END do not run.
    pub dry_run: bool,
    /// Write a line to standard output once everything is attached.
    pub notify: bool,
    /// More processes whose stacks are to be unwound from the start.
    pub unwind: Vec<u32>,
    /// Leave SIGINT and SIGTERM to others.
    pub ignore_signals: bool,
    /// Give up capabilities of the calling thread that are not needed once everything is
    /// attached.
    pub shed: bool,
    /// Whether the end of the run waits until the kernel has released everything.
    pub release: Release,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pid: None,
            child: None,
            verbose: false,
            quiet: false,
            dry_run: false,
            unwind: Vec::new(),
            ignore_signals: false,
            shed: false,
            notify: std::env::var_os(NOTIFY).is_some(),
            release: Release::InBackground,
        }
    }
}

/// The line, and the environment variable that asks for it: a test driver's cue to start its
/// workload.
pub const NOTIFY: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `exit()`, with its code.
    Exit(i32),
    /// SIGINT or SIGTERM.
    Signal(i32),
    /// The command of `-c` or the process of `-p` ended.
    Target,
    /// Nothing is left that could happen.
    Idle,
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The script's exit code: that of `exit()`, else 0.
    pub code: i32,
    /// Why it ended.
    pub stop: Stop,
    /// How the command of `-c` ended, if it has.
    pub child: Option<ExitStatus>,
}

/// A loaded object, its links and its event loop.
#[derive(Debug)]
pub struct Session {
    // Declared first, dropped first: detaches before the rest goes.
    links: Vec<Link>,
    iters: Vec<IterRun>,
    loaded: Loaded,
    env: Arc<HostEnv>,
    options: Options,
    ring: Option<RingBuf>,
    epoll: Epoll,
    signals: Signals,
    /// What processes map, if the sink names their code.
    watch: Option<Watch>,
    /// Keeps the process of `-p` in `epoll`.
    _target: Option<OwnedFd>,
    /// Exit code, once the script has called exit().
    exit: Option<i32>,
    lost_exit: LostExit,
    /// Keeps unwind tables, if the script wants them.
    unwinder: Option<Unwinder>,
}

impl Session {
    /// Loads `object`; takes SIGINT, SIGTERM and the script's own signals over for this thread
    /// and those it starts from now on.
    ///
    /// # Errors
    /// Missing privilege (says which capability), a process that does not exist, or what
    /// [`Loaded::load`] says.
    pub fn new(object: Arc<Object>, env: Arc<HostEnv>, options: Options) -> Result<Self> {
        Self::sharing(object, env, options, None)
    }

    /// As [`new`](Self::new), with maps that other sessions use as well.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn sharing(
        object: Arc<Object>,
        env: Arc<HostEnv>,
        options: Options,
        shared: Option<&SharedMaps>,
    ) -> Result<Self> {
        privilege::check()?;
        let mut taken = match options.ignore_signals {
            true => Vec::new(),
            false => vec![libc::SIGINT, libc::SIGTERM],
        };
        taken.extend(object.attach.iter().filter_map(|p| match p.attach {
            Attach::SelfSignal(n) => Some(n),
            _ => None,
        }));
        let signals = Signals::new(&taken).context("signalfd")?;
        let epoll = Epoll::new().context("epoll")?;
        epoll.add(signals.fd(), token::SIGNAL).context("epoll")?;
        let target = match options.pid {
            Some(pid) => {
                let fd = open_process(pid)?;
                epoll.add(fd.as_fd(), token::TARGET).context("epoll")?;
                Some(fd)
            }
            None => None,
        };
        if let Some(child) = &options.child {
            epoll.add(child.fd(), token::CHILD).context("epoll")?;
        }
        let load = LoadOptions {
            env: &env,
            pid: options.pid,
            verbose: options.verbose,
            shared,
        };
        let loaded = Loaded::load(object, &load)?;
        let ring = match loaded.object.events_map {
            Some(map) => {
                let map = loaded.maps.get(map);
                epoll.add(map.as_fd(), token::RING).context("epoll")?;
                Some(RingBuf::new(map)?)
            }
            None => None,
        };
        let unwinder = Unwinder::new(&loaded.object);
        Ok(Self {
            links: Vec::new(),
            iters: Vec::new(),
            lost_exit: LostExit::new(&loaded.object),
            loaded,
            env,
            options,
            ring,
            epoll,
            signals,
            watch: None,
            _target: target,
            exit: None,
            unwinder,
        })
    }

    /// What is loaded: maps, programs, the object.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The process that probes are limited to.
    fn pid(&self) -> Option<u32> {
        let child = self.options.child.as_ref().map(Child::pid);
        self.options.pid.or(child)
    }

    fn attacher(&self) -> Attacher<'_> {
        Attacher {
            loaded: &self.loaded,
            env: &self.env,
            pid: self.pid(),
        }
    }

    /// The whole run.
    ///
    /// # Errors
    /// A probe that cannot be attached, unless the script allows for that; a sink that fails.
    /// Nothing stays attached.
    pub fn run(&mut self, sink: &mut dyn Sink) -> Result<Outcome> {
        if !self.options.dry_run {
            self.run_special(|a| *a == Attach::Begin)?;
        }
        self.watch_processes(sink);
        let (attached, interrupted) = self.attach_all(sink)?;
        if attached == 0 {
            return Err(Error::not_found("No probes to attach"));
        }
        if self.options.dry_run {
            self.detach_all();
            return Ok(self.outcome(Stop::Idle));
        }
        let has_command = self.options.child.is_some();
        if self.options.shed
            && let Err(e) = privilege::shed(&self.loaded.object, has_command)
        {
            sink.warning(&format!("capabilities that are not needed are kept: {e}"))?;
        }
        if interrupted.is_none() {
            if !self.options.quiet {
                sink.attached(attached)?;
            }
            if self.options.notify {
                say(NOTIFY)?;
            }
            if let Some(pid) = self.pid() {
                sink.look_at(pid);
            }
            if let Some(child) = &mut self.options.child {
                child.resume()?;
            }
        }
        let mut stop = interrupted.or_else(|| self.nothing_to_wait_for().then_some(Stop::Idle));
        let mut looks = self.pid().map(Looks::new);
        while stop.is_none() {
            let timeout_ms = looks.as_ref().map_or(TICK_MS, Looks::timeout_ms);
            let timeout_ms = match &self.watch {
                Some(_) => timeout_ms.min(WATCH_MS),
                None => timeout_ms,
            };
            stop = self.poll(sink, timeout_ms)?;
            if let Some(looks) = &mut looks
                && looks.is_due()
            {
                sink.look_at(looks.pid);
                self.look_at_all(&[looks.pid])?;
            }
        }
        let stop = stop.unwrap_or(Stop::Idle);
        self.finish(sink, stop)
    }

    /// The start of a run alone: runs BEGIN and attaches everything; says if the run is over
    /// already. [`poll`](Self::poll) hands over what BEGIN emitted.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn start(&mut self, sink: &mut dyn Sink) -> Result<Option<Stop>> {
        self.run_special(|a| *a == Attach::Begin)?;
        self.watch_processes(sink);
        Ok(self.attach_all(sink)?.1)
    }

    /// Becomes readable when [`poll`](Self::poll) has something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.fd()
    }

    /// Waits up to `timeout_ms` for records and ends, and hands over what is there; says if
    /// the run is over.
    ///
    /// # Errors
    /// The sink fails.
    pub fn poll(&mut self, sink: &mut dyn Sink, timeout_ms: i32) -> Result<Option<Stop>> {
        let waiting = self.ring.as_ref().is_some_and(RingBuf::has_stash);
        let timeout_ms = if waiting { 0 } else { timeout_ms };
        let ready = self.epoll.wait(timeout_ms).context("epoll")?;
        let mut stop = None;
        for token in ready {
            match token {
                token::RING | token::WATCH => {}
                token::SIGNAL => stop = self.signals()?.or(stop),
                token::CHILD | token::TARGET => stop = Some(Stop::Target),
                n => {
                    let at = (n - token::ITER) as usize;
                    if self.iters[at].is_done() {
                        self.epoll.remove(self.iters[at].fd()).context("epoll")?;
                    }
                    if self.iters.iter().all(IterRun::is_done) {
                        stop = Some(Stop::Idle);
                    }
                }
            }
        }
        self.tell_changes(sink);
        let exit = self.hand_over(sink, BATCH, BATCH_TIME)?;
        // Of what was handed over all changes are reported by now: before anybody reads of it, and
        // deletes a file.
        self.tell_changes(sink);
        sink.batch_done(&self.loaded.maps)?;
        // exit() came before whatever else ends the run now.
        let stop = exit.map(Stop::Exit).or(stop);
        if stop.is_none() {
            self.exit = self.lost_exit.look(&self.loaded.maps);
            // What is in the ring buffer came before the call.
            return Ok(self.exit.map(|_| Stop::Idle));
        }
        Ok(stop)
    }

    /// The end of a run: detaches, runs END, hands over the rest and lets the sink print the
    /// maps.
    ///
    /// # Errors
    /// A program that cannot be run, or a sink that fails.
    pub fn finish(&mut self, sink: &mut dyn Sink, stop: Stop) -> Result<Outcome> {
        self.end(sink, stop)?;
        self.tell_changes(sink);
        self.tell_missed(sink);
        if let Some(unwinder) = &self.unwinder
            && let Some(text) = unwinder.summary(&self.loaded.maps)?
        {
            sink.warning(&text)?;
        }
        sink.finish(&self.loaded.maps)?;
        let outcome = self.outcome(stop);
        // If it still runs, this tells it to end.
        self.options.child = None;
        Ok(outcome)
    }

    /// The end of a run without its maps: detaches, runs END and hands over the rest.
    ///
    /// # Errors
    /// A program that cannot be run, or a sink that fails.
    pub fn end(&mut self, sink: &mut dyn Sink, stop: Stop) -> Result<()> {
        self.halt(sink, stop)?;
        self.run_special(|a| *a == Attach::End)?;
        self.drain(sink)
    }

    /// Detaches everything and hands over what was emitted until then; END does not run.
    ///
    /// # Errors
    /// An iterator that cannot be read, or a sink that fails.
    pub fn halt(&mut self, sink: &mut dyn Sink, stop: Stop) -> Result<()> {
        self.detach_all();
        for iter in std::mem::take(&mut self.iters) {
            iter.finish()?;
        }
        let exited = matches!(stop, Stop::Exit(_))
            || self.hand_over(sink, usize::MAX, LAST_WORDS)?.is_some();
        // Whatever happened after exit() did not happen.
        let dropped = self.ring.as_mut().map_or(0, RingBuf::discard);
        if dropped > 0 && !exited {
            sink.dropped(dropped as u64)?;
        }
        sink.batch_done(&self.loaded.maps)
    }

    fn outcome(&mut self, stop: Stop) -> Outcome {
        Outcome {
            code: self.exit.unwrap_or(0),
            stop,
            child: self.options.child.as_mut().and_then(Child::try_wait),
        }
    }

    /// Attaches one attach point of the object.
    ///
    /// # Errors
    /// The reason it cannot be attached.
    pub fn attach(&mut self, index: usize) -> Result<()> {
        let link = self.attacher().attach(index)?;
        self.links.push(link);
        Ok(())
    }

    /// Detaches the link that attaches this attach point, with whatever else it attaches.
    pub fn detach(&mut self, index: usize) {
        self.detach_where(|_, link| link.points().contains(&index), Release::Wait);
    }

    /// Runs the program of one attach point (a test, a benchmark) once and hands over what it
    /// emitted; returns what it returned, and the code if it called `exit()`.
    ///
    /// # Errors
    /// The kernel cannot run it, or the sink fails.
    pub fn run_once(&mut self, index: usize, sink: &mut dyn Sink) -> Result<(u32, Option<i32>)> {
        let returned = special::run(&self.loaded, index)?;
        let exit = self.hand_over(sink, usize::MAX, END_TIME)?;
        sink.batch_done(&self.loaded.maps)?;
        Ok((returned, exit))
    }

    /// The average run time in nanoseconds of `runs` runs of one attach point's program. What it
    /// emits is dropped.
    ///
    /// # Errors
    /// The kernel cannot run it or does not measure.
    pub fn bench(&mut self, index: usize, runs: u32) -> Result<u64> {
        let time = special::bench(&self.loaded, index, runs);
        if let Some(ring) = &mut self.ring {
            ring.discard();
        }
        time
    }

    /// How often the kernel did not run programs because they were running on the CPU already:
    /// index of the program and count, none that is zero (Linux 5.12).
    pub fn missed(&self) -> Vec<(usize, u64)> {
        let programs = self.loaded.programs.iter().enumerate();
        programs
            .filter_map(|(i, l)| {
                let missed = bpf::prog_stats(l.fd.as_fd()).ok()?.recursion_misses;
                (missed > 0).then_some((i, missed))
            })
            .collect()
    }

    /// Starts to watch what processes map, if the sink wants to know. Where the kernel does not
    /// let us, names come from what can be looked at when it is needed.
    fn watch_processes(&mut self, sink: &mut dyn Sink) {
        if self.watch.is_some() || self.options.dry_run || !sink.wants_changes() {
            return;
        }
        match sys::online_cpus().and_then(|cpus| Watch::new(cpus.into_iter())) {
            Ok(watch) => {
                for fd in watch.fds() {
                    // Without it, changes wait for the next round of the loop.
                    let _ = self.epoll.add(fd, token::WATCH);
                }
                self.watch = Some(watch);
                // What runs now is known before anything fires. What it maps from here on is
                // reported.
                while sink.idle() {}
            }
            Err(e) if self.options.verbose => {
                eprintln!("Processes that end are not recorded: {e}");
            }
            Err(_) => {}
        }
    }

    /// Tells the sink what processes have mapped since.
    fn tell_changes(&mut self, sink: &mut dyn Sink) {
        if let Some(watch) = &mut self.watch {
            watch.drain(|change| sink.changed(change));
        }
    }

    /// Tells the sink of the runs that the kernel skipped.
    fn tell_missed(&self, sink: &mut dyn Sink) {
        for (program, times) in self.missed() {
            let mut probes = self.loaded.object.attach.iter();
            if let Some(p) = probes.find(|p| p.program.0 as usize == program) {
                sink.skipped(&p.name, p.loc, times);
            }
        }
    }

    fn detach_where(&mut self, which: impl Fn(&Object, &Link) -> bool, release: Release) {
        let object = &self.loaded.object;
        let gone = self.links.extract_if(.., |l| which(object, l)).collect();
        attach::detach(gone, release);
    }

    fn detach_all(&mut self) {
        attach::detach(std::mem::take(&mut self.links), self.options.release);
    }

    /// Runs the iterator that was attached last, or says where it is pinned.
    fn start_iters(&mut self, index: usize) -> Result<()> {
        let Attach::Iter { pin, .. } = &self.loaded.object.attach[index].attach else {
            return Ok(());
        };
        if self.options.dry_run {
            return Ok(());
        }
        if let Some(pin) = pin {
            return say(&format!(
                "Program pinned to {}",
                attach::pin_path(pin).display()
            ));
        }
        let Some(link) = self.links.last().filter(|l| l.points() == [index]) else {
            return Ok(());
        };
        let run = self.attacher().run_iter(link)?;
        let token = token::ITER + self.iters.len() as u64;
        self.epoll.add(run.fd(), token).context("epoll")?;
        self.iters.push(run);
        Ok(())
    }

    /// Whether no attached probe can fire any more.
    fn nothing_to_wait_for(&self) -> bool {
        self.iters.is_empty()
            && self.loaded.object.attach.iter().all(|p| {
                matches!(
                    p.attach,
                    Attach::Begin
                        | Attach::End
                        | Attach::Test(_)
                        | Attach::Bench(_)
                        | Attach::Iter { .. }
                )
            })
    }

    /// Takes the signals that have arrived: runs the script's probes on them, and says if one
    /// ends the run.
    fn signals(&self) -> Result<Option<Stop>> {
        let mut stop = None;
        while let Some(n) = self.signals.next().context("signalfd")? {
            let mut ours = false;
            for (i, p) in self.loaded.object.attach.iter().enumerate() {
                if p.attach == Attach::SelfSignal(n) {
                    ours = true;
                    special::run(&self.loaded, i)?;
                }
            }
            if !ours {
                stop = Some(Stop::Signal(n));
            }
        }
        Ok(stop)
    }

    /// Runs the programs of all such attach points. They may emit more than the ring buffer
    /// holds.
    fn run_special(&mut self, which: impl Fn(&Attach) -> bool) -> Result<()> {
        let loaded = &self.loaded;
        let points = loaded.object.attach.iter().enumerate();
        let mut points = points.filter(|(_, p)| which(&p.attach)).peekable();
        if points.peek().is_none() {
            return Ok(());
        }
        let emits = points.clone().try_fold(0u64, |sum, (_, p)| {
            sum.checked_add(loaded.object.programs[p.program.0 as usize].emits?)
        });
        let mut run = || points.try_for_each(|(i, _)| special::run(loaded, i).map(drop));
        match &mut self.ring {
            // A thread costs as much as a small program.
            Some(ring) if emits.is_none_or(|bytes| bytes >= ring.size()) => ring.while_busy(run),
            _ => run(),
        }
    }

    /// Hands over up to `max` records, for as long as `patience` lasts; the code if one of them
    /// is `exit()`, which is the last one then.
    fn hand_over(
        &mut self,
        sink: &mut dyn Sink,
        max: usize,
        patience: Duration,
    ) -> Result<Option<i32>> {
        let Some(ring) = &mut self.ring else {
            return Ok(None);
        };
        let maps = &self.loaded.maps;
        let mut exit = None;
        let mut unwatched = Vec::new();
        let mut new = Vec::new();
        let mut left = max;
        let end = Instant::now() + patience;
        ring.consume(|record| {
            left -= 1;
            match sink.record(record, maps)? {
                Flow::Continue => {}
                Flow::Exit(code) => exit = Some(code),
                Flow::Unwatch(addr) => unwatched.push(addr),
                Flow::Unwind(pid) => new.push(pid),
            }
            // A clock reading per record costs little beside its output, and one that runs a
            // command may take long.
            Ok(exit.is_none() && left > 0 && Instant::now() < end)
        })?;
        if exit.is_some() {
            self.exit = exit;
        }
        for addr in unwatched {
            self.unwatch(addr);
        }
        self.look_at_all(&new)?;
        if let Some(unwinder) = &mut self.unwinder {
            unwinder.forget_ended(&self.loaded.maps)?;
        }
        Ok(exit)
    }

    /// Makes unwind tables for processes.
    fn look_at_all(&mut self, pids: &[u32]) -> Result<()> {
        if let Some(unwinder) = &mut self.unwinder {
            for &pid in pids {
                unwinder.look_at(pid, &self.loaded.maps)?;
            }
        }
        Ok(())
    }

    /// Hands over everything; `exit()` in END changes the code, but END's other output comes.
    fn drain(&mut self, sink: &mut dyn Sink) -> Result<()> {
        while self.hand_over(sink, usize::MAX, END_TIME)?.is_some() {}
        sink.batch_done(&self.loaded.maps)
    }

    fn unwatch(&mut self, addr: u64) {
        self.detach_where(
            |object, link| {
                link.points().iter().any(|&i| {
                    matches!(object.attach[i].attach, Attach::Watchpoint { addr: a, .. } if a == addr)
                })
            },
            Release::Wait,
        );
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.detach_all();
    }
}

/// Whether nothing but [`Session::run_once`] runs it.
fn is_on_demand(attach: &Attach) -> bool {
    matches!(attach, Attach::Test(_) | Attach::Bench(_))
}

/// A descriptor that shows the end of process `pid`, which may be given by any of its threads.
fn open_process(pid: u32) -> Result<OwnedFd> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let group = status
        .lines()
        .find_map(|l| l.strip_prefix("Tgid:"))
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or(pid);
    pidfd_open(group).map_err(|e| {
        let why = match e.errno() {
            Some(libc::ENOSYS) => "Linux 5.3 is needed".to_owned(),
            _ => e.to_string(),
        };
        Error::new(
            ErrorKind::NotFound,
            format!("Failed to attach to pid: Unable to open pidfd ({why})"),
        )
    })
}

/// Writes a line to standard output at once.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("standard output")
}

#[cfg(test)]
mod tests;
