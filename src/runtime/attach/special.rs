//! BEGIN, END, signals, tests: programs that are run, not attached. Minimum Linux 5.10.

use std::os::fd::AsFd;

use crate::error::{Error, Result};
use crate::runtime::load::Loaded;
use crate::runtime::privilege;
use crate::runtime::sys::bpf;
use crate::runtime::sys::process::Capability;

/// Runs the program of attach point `index` once, here and now, and returns what it returned.
///
/// # Errors
/// The kernel cannot run programs on demand, or refuses.
pub fn run(loaded: &Loaded, index: usize) -> Result<u32> {
    let point = &loaded.object.attach[index];
    let prog = loaded.program(point.program).fd.as_fd();
    bpf::test_run(prog, &[]).map_err(|e| explain(e).context(format!("cannot run {}", point.name)))
}

fn explain(e: Error) -> Error {
    match e.errno() {
        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
            e.context("running programs on demand needs Linux 5.10")
        }
        _ => privilege::explain(e, &[Capability::Bpf, Capability::Perfmon]),
    }
}
