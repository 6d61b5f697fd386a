//! Attaching everything that a script wants: in which order, how much at once, and what is said.
//!
//! What one pattern of the script matches is attached together: by one link where the program was
//! loaded for that, else in batches, each by several threads. Between batches signals are looked
//! at, and a terminal sees how far it is.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::{Session, Stop, is_on_demand};
use crate::error::{Error, ErrorKind, Result};
use crate::object::{Attach, MissingProbes, Object};
use crate::runtime::attach::Failure;
use crate::runtime::load::Plan;
use crate::runtime::sink::Sink;
use crate::runtime::sys::process;

/// Attach points that are attached between two looks at the signals. Those that have events of
/// their own take the kernel 100 ms each to detach (Linux 6.18), one after the other.
const BATCH: usize = 32;

/// From then on a terminal is told how far it is.
const PATIENCE: Duration = Duration::from_millis(500);

/// Descriptors of an attach point on its own: its event and its link.
const DESCRIPTORS: usize = 2;

impl Session {
    /// Attaches everything that the script wants; returns how many probes are attached (those
    /// that run instead are among them), and why the run is over already, if it is.
    pub(super) fn attach_all(&mut self, sink: &mut dyn Sink) -> Result<(usize, Option<Stop>)> {
        let known: Vec<u32> = self
            .pid()
            .into_iter()
            .chain(self.options.unwind.clone())
            .collect();
        self.look_at_all(&known)?;
        let object = self.loaded.object.clone();
        let single = |i: &usize| self.plan(*i) == Plan::Single;
        let singles = (0..object.attach.len()).filter(single).count();
        // Before anything is attached: what is attached in vain takes the kernel long to detach,
        // and nobody else can trace meanwhile.
        process::allow_descriptors(singles * DESCRIPTORS)
            .map_err(|limit| too_many(singles, limit))?;
        let mut progress = Progress::new(object.attach.len(), self.options.quiet);
        let mut attached = 0;
        for group in self.groups(&object) {
            let mut failures = Vec::new();
            let batch = match self.plan(group[0]) {
                Plan::Single => BATCH,
                _ => group.len(),
            };
            for part in group.chunks(batch) {
                if let Some(stop) = self.signals()? {
                    return Ok((attached.max(1), Some(stop)));
                }
                if self.options.verbose {
                    self.tell(&object, part);
                }
                let (links, failed) = self.attacher().attach_group(part);
                attached += links.iter().map(|l| l.points().len()).sum::<usize>();
                self.links.extend(links);
                failures.extend(failed);
                progress.at(attached);
            }
            self.judge(&object, &group, &failures, sink)?;
            self.start_iters(group[0])?;
        }
        Ok((attached, None))
    }

    /// What is attached together: the attach points of a program that has one link for all, and
    /// those that one pattern stands for.
    fn groups(&self, object: &Object) -> Vec<Vec<usize>> {
        let mut shared = HashSet::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for index in order(object) {
            let point = &object.attach[index];
            if is_on_demand(&point.attach) {
                continue;
            }
            if self.plan(index) != Plan::Single {
                if shared.insert(point.program) {
                    let all = object.attach.iter().enumerate();
                    let all = all
                        .filter(|(_, p)| p.program == point.program && !is_on_demand(&p.attach))
                        .map(|(i, _)| i);
                    groups.push(all.collect());
                }
                continue;
            }
            // Places of one pattern differ, so their order does not matter.
            match groups.last_mut() {
                Some(last)
                    if point.wildcard
                        && object.attach[last[0]].wildcard
                        && object.attach[last[0]].loc == point.loc
                        && self.plan(last[0]) == Plan::Single =>
                {
                    last.push(index);
                }
                _ => groups.push(vec![index]),
            }
        }
        groups
    }

    fn plan(&self, index: usize) -> Plan {
        let program = self.loaded.object.attach[index].program;
        self.loaded.program(program).plan
    }

    /// `-v`: one line for what one link attaches.
    fn tell(&self, object: &Object, part: &[usize]) {
        let shown = match self.plan(part[0]) {
            Plan::Single => part,
            _ => &part[..1],
        };
        for &i in shown {
            eprintln!("Attaching '{}' probe", object.attach[i].name);
        }
    }

    /// Says what could not be attached, and fails where the script does not allow for it.
    fn judge(
        &mut self,
        object: &Object,
        group: &[usize],
        failures: &[Failure],
        sink: &mut dyn Sink,
    ) -> Result<()> {
        // A wildcard may match what cannot be probed; the rest of it still stands.
        let partial = !failures.is_empty() && failures.len() < group.len();
        if partial && failures.iter().all(|(i, _)| object.attach[*i].wildcard) {
            let (first, e) = &failures[0];
            let text = format!(
                "{} of {} matches of a wildcard cannot be attached, such as {}: {e}",
                failures.len(),
                group.len(),
                object.attach[*first].name
            );
            if object.config.missing_probes != MissingProbes::Ignore {
                sink.warning(&text)?;
            }
            return Ok(());
        }
        for (i, e) in failures {
            let point = &object.attach[*i];
            match object.config.missing_probes {
                MissingProbes::Error => {
                    self.detach_all();
                    return Err(missing(&point.name, e));
                }
                MissingProbes::Warn => {
                    sink.warning(&format!("Unable to attach probe: {}: {e}", point.name))?;
                }
                MissingProbes::Ignore => {}
            }
        }
        Ok(())
    }
}

/// A line on a terminal that says how many probes are attached; gone when it is done.
struct Progress {
    total: usize,
    start: Instant,
    /// When the line was last written, once it is there.
    written: Option<Instant>,
    wanted: bool,
}

impl Progress {
    fn new(total: usize, quiet: bool) -> Self {
        Self {
            total,
            start: Instant::now(),
            written: None,
            wanted: !quiet && std::io::stderr().is_terminal(),
        }
    }

    fn at(&mut self, attached: usize) {
        const OFTEN: Duration = Duration::from_millis(100);
        let due = match self.written {
            None => self.start.elapsed() >= PATIENCE,
            Some(last) => last.elapsed() >= OFTEN,
        };
        if !self.wanted || !due || attached >= self.total {
            return;
        }
        self.written = Some(Instant::now());
        let mut err = std::io::stderr().lock();
        // Nobody is hurt where the terminal does not take it.
        let _ = write!(err, "\rAttaching: {attached} of {} probes", self.total);
        let _ = err.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.written.is_some() {
            let _ = std::io::stderr().lock().write_all(b"\r\x1b[K");
        }
    }
}

/// The order of attaching. Probes on functions and perf events go last to first: the kernel
/// calls the one that came last first, so those on one function then run in the order of the
/// script. What one pattern stands for is at different places and keeps its order, as do clocks
/// and tracepoints.
pub(super) fn order(object: &Object) -> impl Iterator<Item = usize> {
    let forward = |a: &Attach| {
        matches!(
            a,
            Attach::Kprobe { ret: true, .. }
                | Attach::Tracepoint { .. }
                | Attach::Syscall { .. }
                | Attach::RawTracepoint { .. }
                | Attach::Profile(_)
                | Attach::Interval(_)
                | Attach::Watchpoint { .. }
        )
    };
    let (events, functions): (Vec<_>, Vec<_>) =
        (0..object.attach.len()).partition(|&i| forward(&object.attach[i].attach));
    let patterns: Vec<_> = functions
        .chunk_by(|&a, &b| object.attach[a].loc == object.attach[b].loc)
        .rev()
        .flatten()
        .copied()
        .collect();
    patterns.into_iter().chain(events)
}

fn too_many(probes: usize, limit: u64) -> Error {
    let text = format!(
        "{probes} probes that each need {DESCRIPTORS} open files are more than this process may \
         open ({limit}). Probe fewer functions, or raise the limit: ulimit -Hn {}. (One link for \
         all takes Linux 6.6 for user functions, 5.18 with CONFIG_FPROBE for the kernel's.)",
        (probes * DESCRIPTORS + 512).next_multiple_of(1000)
    );
    Error::new(ErrorKind::Unsupported, text)
}

fn missing(name: &str, e: &Error) -> Error {
    let text = format!(
        "Unable to attach probe: {name}. If this is expected, set the 'missing_probes' config \
         variable to 'warn'.\n  {e}"
    );
    Error::new(e.kind(), text)
}
