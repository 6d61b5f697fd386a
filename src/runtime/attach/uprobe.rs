//! Uprobes, uretprobes and USDT: places in user files. Minimum Linux 4.17; semaphores 4.20; one
//! link for many places 6.6.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;

use super::{Attacher, Link, everywhere, link_event, vector_insn};
use crate::error::{Error, ErrorKind, Result};
use crate::object::{Attach, TargetFile};
use crate::runtime::load::Plan;
use crate::runtime::privilege;
use crate::runtime::sys::ENOTSUPP;
use crate::runtime::sys::bpf::{self, UprobeMulti};
use crate::runtime::sys::perf::{self, Scope};
use crate::runtime::sys::process::Capability;

/// A place in a file.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a TargetFile,
    offset: u64,
    semaphore: u64,
    ret: bool,
}

impl<'a> Attacher<'a> {
    fn place(&self, index: usize) -> Result<Place<'a>> {
        match &self.point(index).attach {
            Attach::Uprobe {
                file,
                offset,
                semaphore,
                ret,
            } => Ok(Place {
                file,
                offset: *offset,
                semaphore: *semaphore,
                ret: *ret,
            }),
            _ => Err(Error::invalid("not a uprobe")),
        }
    }

    pub(super) fn attach_uprobe(&self, index: usize) -> Result<Link> {
        if self.plan(index) == Plan::UprobeMulti {
            let mut links = self.attach_uprobes(&[index])?;
            return links.pop().ok_or_else(|| Error::invalid("no link"));
        }
        let place = self.place(index)?;
        vector_insn::check(place.file.on_disk(), [place.offset])?;
        let path =
            CString::new(place.file.on_disk()).map_err(|_| Error::invalid("zero byte in path"))?;
        let scope = match self.pid {
            Some(pid) => Scope::Thread(pid),
            None => everywhere()?,
        };
        perf::open_uprobe(&path, place.offset, place.semaphore, place.ret, scope)
            .and_then(|event| link_event(self.program(index), event, index as u64))
            .map_err(|e| explain(&place, self.pid, e))
    }

    /// Attaches places that share a program: one link per file.
    pub(super) fn attach_uprobes(&self, indices: &[usize]) -> Result<Vec<Link>> {
        // Insertion order is kept: it is the order of attaching.
        let mut groups: Vec<(Place<'a>, UprobeMulti, Vec<usize>)> = Vec::new();
        let mut by_file: HashMap<(&str, bool), usize> = HashMap::new();
        for &i in indices {
            let place = self.place(i)?;
            let key = (place.file.on_disk(), place.ret);
            let at = *by_file.entry(key).or_insert(groups.len());
            if at == groups.len() {
                groups.push((place, UprobeMulti::default(), Vec::new()));
            }
            let (_, places, points) = &mut groups[at];
            places.offsets.push(place.offset);
            places.semaphores.push(place.semaphore);
            places.cookies.push(i as u64);
            points.push(i);
        }
        let mut out = Vec::new();
        for (place, places, points) in groups {
            vector_insn::check(place.file.on_disk(), places.offsets.iter().copied())?;
            let path = Path::new(place.file.on_disk());
            let prog = self.program(points[0]);
            let pid = self.pid.unwrap_or(0);
            let link = bpf::link_uprobe_multi(prog, path, pid, &places, place.ret)
                .map_err(|e| explain(&place, self.pid, e))?;
            out.push(Link::new(vec![link], Vec::new()).of(points));
        }
        Ok(out)
    }
}

fn explain(place: &Place<'_>, pid: Option<u32>, e: Error) -> Error {
    let path = place.file.on_disk();
    let at = format!("{path}, file offset {:#x}", place.offset);
    match e.errno() {
        Some(libc::ENOENT) if Path::new(path).exists() => {
            e.context("this kernel has no uprobes (CONFIG_UPROBE_EVENTS)")
        }
        Some(libc::ENOENT) => e.context("no such file"),
        Some(libc::ESRCH) => {
            let pid = pid.map_or(String::new(), |p| format!(" {p}"));
            e.context(format!("process{pid} is gone"))
        }
        Some(libc::EPERM | libc::EACCES) => {
            // What perf events on user places need; multi links need less.
            privilege::explain(e, &[Capability::SysAdmin])
        }
        Some(libc::EINVAL) if place.semaphore != 0 => {
            e.context("the place or its semaphore is outside of the file, or in use otherwise")
        }
        Some(libc::EINVAL) => e.context("not a regular file, or the place is outside of it"),
        // The text of ENOTSUPP is no help.
        Some(ENOTSUPP | libc::EOPNOTSUPP | libc::ENOEXEC) => Error::new(
            ErrorKind::Unsupported,
            "the instruction there cannot be probed",
        ),
        Some(libc::EMFILE) => e.context("too many open files: raise ulimit -n"),
        _ => e,
    }
    .context(at)
}
