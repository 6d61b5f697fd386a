//! Trace events by perf. Minimum Linux 4.7.

use super::{Attacher, Link, everywhere, link_event};
use crate::error::{Error, Result};
use crate::runtime::privilege;
use crate::runtime::sys::perf;
use crate::runtime::sys::process::Capability;

impl Attacher<'_> {
    pub(super) fn attach_tracepoint(
        &self,
        index: usize,
        category: &str,
        event: &str,
    ) -> Result<Link> {
        let id = self.env.tracefs()?.id(category, event)?;
        perf::open_tracepoint(id, everywhere()?)
            .map_err(explain_open)
            .and_then(|event| {
                link_event(self.program(index), event, index as u64).map_err(explain_link)
            })
    }

    /// The program of several system calls, which looks at the number itself.
    pub(super) fn attach_syscalls(&self, index: usize, exit: bool) -> Result<Link> {
        let event = if exit { "sys_exit" } else { "sys_enter" };
        self.attach_tracepoint(index, "raw_syscalls", event)
    }
}

fn explain_open(e: Error) -> Error {
    match e.errno() {
        Some(libc::ENODEV | libc::ENOENT) => e.context("the event is gone or cannot be traced"),
        Some(libc::EMFILE) => e.context("too many open files: raise ulimit -n"),
        _ => privilege::explain(e, &[Capability::Perfmon]),
    }
}

fn explain_link(e: Error) -> Error {
    match e.errno() {
        Some(libc::EACCES) => e.context("the script reads past the last field of the event"),
        _ => privilege::explain(e, &[Capability::Bpf, Capability::Perfmon]),
    }
}
