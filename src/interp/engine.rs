//! `--engine=user`: runs scripts that need no kernel events in this process.
//!
//! In: an object whose probes are BEGIN, END, signals and intervals. Out: records and maps, to
//! a [`Sink`], exactly as from the kernel's event loop. Anything that needs an event of the
//! kernel is refused before the first program runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::machine::Machine;
use super::map::{MapError, UpdateMode};
use super::world::{self, HostWorld};
use crate::codegen::disasm::Line;
use crate::codegen::insn::Insn;
use crate::error::{Error, ErrorKind, Result};
use crate::object::{Attach, MapId, MapRole, Object, Rate};
use crate::runtime::map::{MapAccess, Visit, route};
use crate::runtime::sink::{Flow, Sink};

/// Bytes of the context that programs get: zeros, as many as any context has
/// (`struct bpf_perf_event_data` is the largest).
const CONTEXT: usize = 256;

/// Longest wait before the sink is given a chance to flush.
const FLUSH: Duration = Duration::from_secs(1);

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time is over.
    Timeout,
    /// The run shall end.
    Stop,
    /// This process got a signal that a probe may be on.
    Signal(i32),
}

/// The maps of a machine as the output sees them.
#[derive(Debug)]
pub struct UserMaps {
    machine: RefCell<Machine>,
    /// The maps of short keys and the size of these, by the maps whose they are.
    short: HashMap<MapId, (MapId, usize)>,
}

impl UserMaps {
    /// The maps of `machine`, which was made for `object`.
    pub fn new(object: &Object, machine: Machine) -> UserMaps {
        let short = object.maps.iter().zip(0..).filter_map(|(def, id)| {
            let MapRole::ShortKeys(of) = def.role else {
                return None;
            };
            Some((of, (MapId(id), def.key_size as usize)))
        });
        UserMaps {
            machine: RefCell::new(machine),
            short: short.collect(),
        }
    }

    fn short(&self, map: MapId) -> Option<(MapId, usize)> {
        self.short.get(&map).copied()
    }

    /// Calls `f` with the entries of one map of the machine.
    fn for_each_of(&self, map: MapId, f: Visit<'_>) -> Result<()> {
        let find = |machine: &Machine| machine.map(map).map(super::Map::slots);
        let slots = find(&self.machine.borrow()).ok_or_else(no_such_map)?;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for (slot, seq) in slots {
            // Copied, so that `f` may change the map.
            {
                let machine = self.machine.borrow();
                let Some(entry) = machine.map(map).and_then(|m| m.entry_at(slot, seq)) else {
                    continue;
                };
                key.clear();
                key.extend_from_slice(&entry.key);
                value.clear();
                value.extend_from_slice(entry.value);
            }
            f(&key, &value)?;
        }
        Ok(())
    }

    fn change(
        &self,
        map: MapId,
        f: impl FnOnce(&mut super::Map) -> Result<(), MapError>,
    ) -> Result<()> {
        let mut machine = self.machine.borrow_mut();
        let map = machine.map_mut(map).ok_or_else(no_such_map)?;
        f(map).map_err(|e| Error::from_errno(e.errno()).context(format!("map {}", map.name())))
    }
}

fn no_such_map() -> Error {
    Error::not_found("no such map")
}

impl MapAccess for UserMaps {
    fn cpus(&self) -> usize {
        self.machine.borrow().cpus()
    }

    fn for_each(&self, map: MapId, f: Visit<'_>) -> Result<()> {
        self.for_each_of(map, f)?;
        let Some((short, size)) = self.short(map) else {
            return Ok(());
        };
        let long = self.machine.borrow().map(map).map(super::Map::key_size);
        let mut key = vec![0; long.unwrap_or(size)];
        self.for_each_of(short, &mut |k, v| {
            key[..k.len()].copy_from_slice(k);
            f(&key, v)
        })
    }

    fn lookup(&self, map: MapId, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let (map, key) = route(map, key, self.short(map));
        value.clear();
        let machine = self.machine.borrow();
        let found = machine.map(map).ok_or_else(no_such_map)?.get(key);
        value.extend_from_slice(found.unwrap_or_default());
        Ok(found.is_some())
    }

    fn update(&self, map: MapId, key: &[u8], value: &[u8]) -> Result<()> {
        let (map, key) = route(map, key, self.short(map));
        self.change(map, |m| m.update(key, value, UpdateMode::Any))
    }

    fn delete(&self, map: MapId, key: &[u8]) -> Result<bool> {
        let (map, key) = route(map, key, self.short(map));
        let mut existed = true;
        self.change(map, |m| match m.delete(key) {
            Err(MapError::NoEntry) => {
                existed = false;
                Ok(())
            }
            // Entries of an array cannot go; they become zero.
            Err(MapError::Invalid) => {
                let zeros = m.get(key).map(|v| vec![0; v.len()]);
                existed = zeros.is_some();
                zeros.map_or(Ok(()), |z| m.update(key, &z, UpdateMode::Any))
            }
            done => done,
        })?;
        Ok(existed)
    }

    fn clear(&self, map: MapId) -> Result<()> {
        let short = self.short(map).map(|(id, _)| id);
        [map].into_iter().chain(short).try_for_each(|id| {
            self.change(id, |m| {
                m.clear();
                Ok(())
            })
        })
    }

    fn zero(&self, map: MapId) -> Result<()> {
        let short = self.short(map).map(|(id, _)| id);
        [map].into_iter().chain(short).try_for_each(|id| {
            self.change(id, |m| {
                m.zero();
                Ok(())
            })
        })
    }
}

/// A repeating timer.
struct Timer {
    /// Index in [`Object::attach`].
    attach: usize,
    due: Instant,
    period: Duration,
}

/// An object's programs in this process, to be run one at a time.
#[derive(Debug)]
pub struct Runner<'a> {
    object: &'a Object,
    maps: UserMaps,
    world: HostWorld,
    /// Records that wait to be handed over, one after the other, and their lengths.
    records: (Vec<u8>, Vec<usize>),
}

impl<'a> Runner<'a> {
    /// The programs and empty maps of `object`; per-CPU maps have values for `cpus` CPUs.
    ///
    /// # Errors
    /// A definition that is impossible, or a malformed program.
    pub fn new(object: &'a Object, cpus: usize) -> Result<Self> {
        let maps = UserMaps::new(object, Machine::load(object, cpus)?);
        for (i, def) in object.maps.iter().enumerate() {
            if matches!(def.role, MapRole::Start) {
                let start = world::now(libc::CLOCK_BOOTTIME).to_ne_bytes();
                maps.update(MapId(i as u32), &[0; 4], &start)?;
            }
        }
        Ok(Self {
            object,
            maps,
            world: HostWorld::new(),
            records: Default::default(),
        })
    }

    /// The maps.
    pub fn maps(&self) -> &UserMaps {
        &self.maps
    }

    /// Runs the program of an attach point.
    ///
    /// # Errors
    /// The program faults: where and why.
    pub fn run(&mut self, attach: usize) -> Result<()> {
        self.forget();
        self.run_on(attach)
    }

    /// Drops the records.
    fn forget(&mut self) {
        self.records.0.clear();
        self.records.1.clear();
    }

    /// As [`run`](Self::run), after the records that are there.
    fn run_on(&mut self, attach: usize) -> Result<()> {
        let point = &self.object.attach[attach];
        self.world.cookie = attach as u64;
        let mut machine = self.maps.machine.borrow_mut();
        machine
            .run(point.program, &[0; CONTEXT], &mut self.world)
            .map_err(|fault| {
                let program = self.object.programs.get(point.program.0 as usize);
                let insns: Vec<Insn> = program
                    .iter()
                    .flat_map(|p| &p.insns)
                    .map(|&b| Insn::decode(b))
                    .collect();
                let line = Line {
                    insns: &insns,
                    slot: fault.insn,
                    names: &(),
                };
                Error::invalid(format!("{fault} ({line})")).context(point.name.clone())
            })?;
        let (bytes, lengths) = &mut self.records;
        if let Some(map) = self.object.events_map {
            machine.drain_ringbuf(map, |record| {
                bytes.extend_from_slice(record);
                lengths.push(record.len());
            });
        }
        Ok(())
    }

    /// What the last program emitted, or the last ones together.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let (bytes, lengths) = &self.records;
        let mut rest = bytes.as_slice();
        lengths.iter().map(move |&len| {
            let (record, tail) = rest.split_at(len);
            rest = tail;
            record
        })
    }
}

/// A run in progress.
struct Engine<'a> {
    object: &'a Object,
    runner: Runner<'a>,
    sink: &'a mut dyn Sink,
    /// Code of the last `exit()` that was handed over.
    exit: Option<i32>,
    /// Whether END runs: its output comes although the script has called `exit()`.
    ending: bool,
}

/// Why `object` cannot run in user space: the first probe that needs the kernel.
pub fn unsupported(object: &Object) -> Option<Error> {
    if object.unwind.is_some() {
        let text = "stacks by unwind tables are walked in the kernel only";
        return Some(Error::new(ErrorKind::Unsupported, text));
    }
    let needs_kernel = object.attach.iter().find(|a| {
        !matches!(
            a.attach,
            Attach::Begin | Attach::End | Attach::SelfSignal(_) | Attach::Interval(_)
        )
    })?;
    Some(Error::new(
        ErrorKind::Unsupported,
        format!("{} needs events of the kernel", needs_kernel.name),
    ))
}

/// Runs `object` to its end and gives the exit code: BEGIN, then intervals and signals until
/// the script exits or `wait` says so, then END; then the sink prints the maps. A script
/// without intervals and signals ends after BEGIN.
///
/// `wait` sleeps for at most the given time. Per-CPU maps have values for `cpus` CPUs.
/// [`Sink::attached`] is left to the caller, who knows whether it is wanted.
///
/// # Errors
/// The object needs the kernel ([`unsupported`]), a program faults, or the sink fails.
pub fn run(
    object: &Object,
    cpus: usize,
    sink: &mut dyn Sink,
    wait: &mut dyn FnMut(Duration) -> Result<Wake>,
) -> Result<i32> {
    if let Some(e) = unsupported(object) {
        return Err(e);
    }
    let mut engine = Engine {
        object,
        runner: Runner::new(object, cpus)?,
        sink,
        exit: None,
        ending: false,
    };
    engine.run_all(|a| *a == Attach::Begin)?;
    engine.serve(wait)?;
    engine.ending = true;
    engine.run_all(|a| *a == Attach::End)?;
    engine.sink.finish(engine.runner.maps())?;
    Ok(engine.exit.unwrap_or(0))
}

impl Engine<'_> {
    fn run_all(&mut self, which: impl Fn(&Attach) -> bool) -> Result<()> {
        let object = self.object;
        // All of them run before the first record is handed over, as in the kernel: what a
        // record says of a map is read when it is printed.
        self.runner.forget();
        for (index, a) in object.attach.iter().enumerate() {
            if which(&a.attach) {
                self.runner.run_on(index)?;
            }
        }
        self.hand_over()?;
        self.sink.batch_done(self.runner.maps())
    }

    // Intervals and signals, until something ends the run.
    fn serve(&mut self, wait: &mut dyn FnMut(Duration) -> Result<Wake>) -> Result<()> {
        let start = Instant::now();
        let mut timers: Vec<Timer> = Vec::new();
        let mut waits_for_signals = false;
        for (attach, a) in self.object.attach.iter().enumerate() {
            match a.attach {
                Attach::Interval(rate) => {
                    let period = period(rate);
                    timers.push(Timer {
                        attach,
                        due: start + period,
                        period,
                    });
                }
                Attach::SelfSignal(_) => waits_for_signals = true,
                _ => {}
            }
        }
        if timers.is_empty() && !waits_for_signals {
            return Ok(());
        }
        while self.exit.is_none() {
            let next = timers.iter().map(|t| t.due).min();
            let pause = next.map_or(FLUSH, |due| due.saturating_duration_since(Instant::now()));
            match wait(pause.min(FLUSH))? {
                Wake::Stop => break,
                Wake::Signal(n) => self.run_all(|a| *a == Attach::SelfSignal(n))?,
                Wake::Timeout => {}
            }
            for t in &mut timers {
                if self.exit.is_none() && t.due <= Instant::now() {
                    self.fire(t.attach)?;
                    // Periods that went by meanwhile are skipped, as the kernel's timers do.
                    while t.due <= Instant::now() {
                        t.due += t.period;
                    }
                }
            }
            self.sink.batch_done(self.runner.maps())?;
        }
        Ok(())
    }

    // Runs one program and hands over what it wrote.
    fn fire(&mut self, attach: usize) -> Result<()> {
        self.runner.run(attach)?;
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<()> {
        for record in self.runner.records() {
            if self.exit.is_some() && !self.ending {
                // Whatever happened after exit() did not happen.
                break;
            }
            match self.sink.record(record, self.runner.maps())? {
                Flow::Exit(code) => self.exit = Some(code),
                // Watchpoints and unwinding need the kernel: there are none.
                Flow::Continue | Flow::Unwatch(_) | Flow::Unwind(_) => {}
            }
        }
        Ok(())
    }
}

fn period(rate: Rate) -> Duration {
    let ns = match rate {
        Rate::Hz(hz) => 1_000_000_000 / hz.max(1),
        Rate::Period(ns) => ns,
    };
    Duration::from_nanos(ns.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::helper;
    use crate::codegen::insn::{AluOp, AtomicOp, R0, R1, R2, R3, R4, R10, Size};
    use crate::object::{
        AttachPoint, Loc, MapDef, MapKind, MapRole, Program, ProgramId, ProgramType,
    };

    /// Remembers records as numbers and exits on the record 3.
    #[derive(Default)]
    struct Collector {
        seen: Vec<u64>,
        finished: bool,
    }

    impl Sink for Collector {
        fn record(&mut self, bytes: &[u8], maps: &dyn MapAccess) -> Result<Flow> {
            let n = u64::from_ne_bytes(bytes.try_into().unwrap());
            self.seen.push(n);
            let mut value = Vec::new();
            assert!(maps.lookup(MapId(1), &[0; 4], &mut value)?);
            assert!(value[0] > 0, "maps can be read while records are handled");
            Ok(if n == 3 {
                Flow::Exit(7)
            } else {
                Flow::Continue
            })
        }

        fn finish(&mut self, _: &dyn MapAccess) -> Result<()> {
            self.finished = true;
            Ok(())
        }
    }

    fn map(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
        MapDef {
            name: "m".into(),
            kind,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            init: None,
            role: MapRole::Internal,
        }
    }

    /// Emits the value of a counter and advances it.
    fn emit_next() -> Program {
        let mut p = Insn::ld_map_value(R1, 1, 0).to_vec();
        p.extend([
            Insn::mov64(R2, 1),
            Insn::atomic(AtomicOp::FetchAdd, Size::DW, R1, 0, R2),
            Insn::stx(Size::DW, R10, -8, R2),
        ]);
        p.extend(Insn::ld_map_fd(R1, 0));
        p.extend([
            Insn::mov64(R2, R10),
            Insn::alu64(AluOp::Add, R2, -8),
            Insn::mov64(R3, 8),
            Insn::mov64(R4, 0),
            Insn::call(helper::RINGBUF_OUTPUT),
            Insn::mov64(R0, 0),
            Insn::exit(),
        ]);
        Program {
            name: "p".into(),
            ty: ProgramType::RawTracepoint,
            insns: p.iter().map(|i| i.encode()).collect(),
            relocs: Vec::new(),
            funcs: Vec::new(),
            lines: Vec::new(),
            attach_btf: None,
            emits: None,
        }
    }

    fn object(attach: Vec<Attach>) -> Object {
        let point = |attach| AttachPoint {
            name: "probe".into(),
            program: ProgramId(0),
            attach,
            loc: Loc::default(),
            wildcard: false,
        };
        Object {
            maps: vec![
                map(MapKind::Ringbuf, 0, 0, 4096),
                map(MapKind::Array, 4, 8, 1),
            ],
            programs: vec![emit_next()],
            attach: attach.into_iter().map(point).collect(),
            events_map: Some(MapId(0)),
            ..Object::default()
        }
    }

    fn run_with(attach: Vec<Attach>, wakes: &[Wake]) -> (Result<i32>, Collector) {
        let mut sink = Collector::default();
        let mut wakes = wakes.iter();
        let mut wait = |pause| {
            std::thread::sleep(pause);
            Ok(*wakes.next().unwrap_or(&Wake::Timeout))
        };
        let code = run(&object(attach), 1, &mut sink, &mut wait);
        (code, sink)
    }

    #[test]
    fn begin_then_end_without_waiting() {
        let (code, sink) = run_with(vec![Attach::End, Attach::Begin, Attach::Begin], &[]);
        assert_eq!(code.unwrap(), 0);
        assert_eq!(sink.seen, [0, 1, 2]);
        assert!(sink.finished);
    }

    #[test]
    fn intervals_tick_until_exit_and_end_still_runs() {
        let tick = Attach::Interval(Rate::Period(1_000_000));
        let (code, sink) = run_with(vec![Attach::Begin, tick, Attach::End], &[]);
        assert_eq!(code.unwrap(), 7);
        assert_eq!(sink.seen, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn nothing_is_shown_between_exit_and_end() {
        let mut probes = vec![Attach::Begin; 6];
        probes.push(Attach::End);
        let (code, sink) = run_with(probes, &[]);
        assert_eq!(code.unwrap(), 7, "exit in the fourth");
        assert_eq!(sink.seen, [0, 1, 2, 3, 6]);
    }

    #[test]
    fn signals_run_their_probe_and_stop_ends() {
        let wakes = [Wake::Signal(10), Wake::Signal(12), Wake::Stop];
        let tick = Attach::Interval(Rate::Period(5_000_000));
        let (code, sink) = run_with(vec![Attach::SelfSignal(10), tick], &wakes);
        assert_eq!(code.unwrap(), 0);
        assert!(sink.seen.len() >= 2 && sink.finished);
    }

    #[test]
    fn probes_of_the_kernel_are_refused_before_anything_runs() {
        let raw = Attach::RawTracepoint {
            event: "sched_switch".into(),
        };
        let (code, sink) = run_with(vec![Attach::Begin, raw], &[]);
        assert_eq!(code.unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(sink.seen.is_empty() && !sink.finished);
    }

    #[test]
    fn a_fault_names_probe_and_instruction() {
        let mut o = object(vec![Attach::Begin]);
        o.programs[0].insns = vec![Insn::exit().encode()];
        let mut wait = |_| Ok(Wake::Stop);
        let e = run(&o, 1, &mut Collector::default(), &mut wait).unwrap_err();
        assert_eq!(
            e.to_string(),
            "probe: instruction 0: r0 holds no value (exit)"
        );
    }

    #[test]
    fn maps_may_change_while_they_are_walked() {
        let mut o = object(Vec::new());
        o.maps.push(map(MapKind::Hash, 1, 1, 8));
        let (maps, hash) = (UserMaps::new(&o, Machine::load(&o, 1).unwrap()), MapId(2));
        for key in [3, 1, 2] {
            maps.update(hash, &[key], &[key * 10]).unwrap();
        }
        let mut seen = Vec::new();
        maps.for_each(hash, &mut |key, value| {
            seen.push((key[0], value[0]));
            maps.delete(hash, &[1])?;
            maps.update(hash, &[9], &[0])
        })
        .unwrap();
        assert_eq!(seen, [(3, 30), (2, 20)]);
    }

    #[test]
    fn array_entries_become_zero_instead_of_going() {
        let o = object(Vec::new());
        let maps = UserMaps::new(&o, Machine::load(&o, 1).unwrap());
        maps.update(MapId(1), &[0; 4], &[9; 8]).unwrap();
        assert!(maps.delete(MapId(1), &[0; 4]).unwrap());
        let mut value = Vec::new();
        assert!(maps.lookup(MapId(1), &[0; 4], &mut value).unwrap());
        assert_eq!(value, [0; 8]);
        assert!(!maps.lookup(MapId(1), &[1; 4], &mut value).unwrap());
        assert!(value.is_empty());
    }
}
