//! Function entry and exit by trampoline. Minimum Linux 5.5 (x86-64), with BTF and
//! CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS; cookies 5.18.

use libbpf_sys as lib;

use super::{Attacher, Link, with_optional_cookie};
use crate::error::Result;
use crate::object::ProgramType;
use crate::runtime::privilege;
use crate::runtime::sys::bpf;
use crate::runtime::sys::process::Capability;

impl Attacher<'_> {
    pub(super) fn attach_fentry(&self, index: usize) -> Result<Link> {
        let prog = self.program(index);
        let ty = match self.program_type(index) {
            ProgramType::TracingFexit => lib::BPF_TRACE_FEXIT,
            _ => lib::BPF_TRACE_FENTRY,
        };
        let link = with_optional_cookie(index as u64, |c| bpf::link_tracing(prog, ty, c))
            .or_else(|e| bpf::raw_tracepoint_open_btf(prog).map_err(|_| e))
            .map_err(|e| match e.errno() {
                Some(libc::EBUSY) => e.context("the function is patched or traced otherwise"),
                Some(libc::ENOENT | libc::EINVAL) => {
                    e.context("the kernel does not allow tracing this function")
                }
                Some(libc::E2BIG) => e.context("too many programs on this function (at most 38)"),
                _ => privilege::explain(e, &[Capability::Bpf, Capability::Perfmon]),
            })?;
        Ok(Link::new(vec![link], Vec::new()))
    }
}
