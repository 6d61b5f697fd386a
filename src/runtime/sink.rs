//! Where a run's records and final maps go: the seam between the event loop and the output.
//!
//! An event loop (the kernel's or the interpreter's) calls a [`Sink`] once per record, in the
//! order of the ring buffer, and once at the end. The sink formats and prints; it never attaches
//! or detaches, but tells the loop to by the [`Flow`] it returns.

use super::map::MapAccess;
use super::symbolize::Change;
use crate::error::Result;
use crate::object::Loc;

/// What the event loop does after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Takes the next record.
    Continue,
    /// Ends the run with this exit code: END runs, maps are printed.
    Exit(i32),
    /// Detaches the watchpoints on this address, then goes on.
    Unwatch(u64),
    /// Looks at this process, whose stacks cannot be unwound yet, then goes on.
    Unwind(u32),
}

/// Receives what a run produces.
pub trait Sink {
    /// So many probes are attached, BEGIN and END included. Called once, before any record.
    ///
    /// # Errors
    /// As for [`record`](Self::record).
    fn attached(&mut self, _probes: usize) -> Result<()> {
        Ok(())
    }

    /// Something the user should know although the run goes on: a probe that is missing.
    ///
    /// # Errors
    /// As for [`record`](Self::record).
    fn warning(&mut self, _text: &str) -> Result<()> {
        Ok(())
    }

    /// Records that nobody will hand over: they were still waiting when the run's time was up.
    ///
    /// # Errors
    /// As for [`record`](Self::record).
    fn dropped(&mut self, _events: u64) -> Result<()> {
        Ok(())
    }

    /// So often the kernel did not run this probe, because BPF programs were already running on
    /// the CPU. Called at the end, before [`finish`](Self::finish).
    fn skipped(&mut self, _probe: &str, _loc: Loc, _times: u64) {}

    /// The process that the run is about exists and may have mapped more than before: the
    /// chance to learn what its addresses mean before it ends. Called now and then.
    fn look_at(&mut self, _pid: u32) {}

    /// Whether it names code of processes, and wants [`changed`](Self::changed). Called once,
    /// when probes are about to be attached.
    fn wants_changes(&mut self) -> bool {
        false
    }

    /// What the kernel reports of a process: mappings, forks, ends.
    fn changed(&mut self, _change: Change) {}

    /// Uses a moment in which nothing happens; whether it could use more.
    fn idle(&mut self) -> bool {
        false
    }

    /// One record of the ring buffer, header included (see `crate::object`). The bytes are
    /// the ring buffer's own and gone after the call.
    ///
    /// # Errors
    /// An error ends the run as a failure: output that cannot be written, a map that cannot be
    /// read.
    fn record(&mut self, bytes: &[u8], maps: &dyn MapAccess) -> Result<Flow>;

    /// Called after each batch of records, and at least once a second: the place to flush what
    /// is line-buffered.
    ///
    /// # Errors
    /// As for [`record`](Self::record).
    fn batch_done(&mut self, _maps: &dyn MapAccess) -> Result<()> {
        Ok(())
    }

    /// The run is over, all records were handed over: prints maps and losses and flushes
    /// everything. The process may end without further clean-up afterwards.
    ///
    /// # Errors
    /// As for [`record`](Self::record).
    fn finish(&mut self, maps: &dyn MapAccess) -> Result<()>;
}
