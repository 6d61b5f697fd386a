//! Kprobes and kretprobes: kernel functions and instructions. Minimum Linux 4.17, with
//! CONFIG_KPROBE_EVENTS; one link for many functions 5.18.

use std::ffi::CString;

use super::{Attacher, Link, everywhere, link_event};
use crate::error::{Error, ErrorKind, Result};
use crate::object::Attach;
use crate::runtime::load::Plan;
use crate::runtime::privilege;
use crate::runtime::sys::bpf;
use crate::runtime::sys::perf;
use crate::runtime::sys::process::Capability;

impl Attacher<'_> {
    pub(super) fn attach_kprobe(&self, index: usize) -> Result<Link> {
        let Attach::Kprobe {
            symbol,
            module,
            offset,
            ret,
        } = &self.point(index).attach
        else {
            return Err(Error::invalid("not a kprobe"));
        };
        if self.plan(index) == Plan::KprobeMulti {
            let mut links = self.attach_kprobes(&[index])?;
            return links.pop().ok_or_else(|| Error::invalid("no link"));
        }
        if !perf::has_pmu("kprobe") {
            return Err(no_kprobes());
        }
        let name = match (symbol.as_str(), module) {
            ("", _) => None,
            (s, Some(m)) if m != "vmlinux" => Some(c_string(&format!("{m}:{s}"))?),
            (s, _) => Some(c_string(s)?),
        };
        perf::open_kprobe(name.as_deref(), *offset, *ret, everywhere()?)
            .and_then(|event| link_event(self.program(index), event, index as u64))
            .map_err(explain)
    }

    /// Attaches functions that share a program in one link.
    pub(super) fn attach_kprobes(&self, indices: &[usize]) -> Result<Vec<Link>> {
        let mut symbols = Vec::with_capacity(indices.len());
        let mut cookies = Vec::with_capacity(indices.len());
        let mut at_return = false;
        for &i in indices {
            let Attach::Kprobe { symbol, ret, .. } = &self.point(i).attach else {
                return Err(Error::invalid("not a kprobe"));
            };
            symbols.push(c_string(symbol)?);
            cookies.push(i as u64);
            at_return = *ret;
        }
        let prog = self.program(indices[0]);
        let link = bpf::link_kprobe_multi(prog, &symbols, &cookies, at_return).map_err(explain)?;
        Ok(vec![Link::new(vec![link], Vec::new()).of(indices.to_vec())])
    }
}

fn c_string(s: &str) -> Result<CString> {
    CString::new(s).map_err(|_| Error::invalid("zero byte in a name"))
}

fn no_kprobes() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "this kernel has no kprobes (CONFIG_KPROBE_EVENTS)",
    )
}

fn explain(e: Error) -> Error {
    match e.errno() {
        Some(libc::ENOENT | libc::ESRCH) => {
            e.context("no such function in the kernel or its loaded modules")
        }
        Some(libc::EADDRNOTAVAIL) => e.context("several functions have this name"),
        Some(libc::EPERM | libc::EACCES) => {
            privilege::explain(e, &[Capability::Perfmon, Capability::Bpf])
        }
        Some(libc::EINVAL) => e.context("the kernel does not allow a probe there (notrace?)"),
        Some(libc::EILSEQ) => e.context("the offset is not at the start of an instruction"),
        Some(libc::EMFILE) => e.context("too many open files: raise ulimit -n"),
        _ => e,
    }
}
