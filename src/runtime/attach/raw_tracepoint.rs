//! Raw tracepoints. Minimum Linux 4.17; with types 5.5; cookies 6.10.

use std::ffi::CString;

use libbpf_sys as lib;

use super::{Attacher, Link, with_optional_cookie};
use crate::error::{Error, Result};
use crate::object::ProgramType;
use crate::runtime::privilege;
use crate::runtime::sys::bpf;
use crate::runtime::sys::process::Capability;

impl Attacher<'_> {
    pub(super) fn attach_raw_tracepoint(&self, index: usize, event: &str) -> Result<Link> {
        let prog = self.program(index);
        let link = if self.program_type(index) == ProgramType::TracingRawTp {
            with_optional_cookie(index as u64, |cookie| {
                bpf::link_tracing(prog, lib::BPF_TRACE_RAW_TP, cookie)
            })
            .or_else(|_| bpf::raw_tracepoint_open_btf(prog))
        } else {
            let name = CString::new(event).map_err(|_| Error::invalid("zero byte in a name"))?;
            with_optional_cookie(index as u64, |cookie| {
                bpf::raw_tracepoint_open(prog, &name, cookie)
            })
        };
        let link = link.map_err(|e| match e.errno() {
            Some(libc::ENOENT) => e.context("no such tracepoint"),
            Some(libc::EINVAL) => e.context("the script reads past the tracepoint's arguments"),
            _ => privilege::explain(e, &[Capability::Bpf, Capability::Perfmon]),
        })?;
        Ok(Link::new(vec![link], Vec::new()).quick())
    }
}
