//! BEGIN, END, signals, tests, benchmarks: programs that are run, not attached. Minimum Linux
//! 5.10.

use std::os::fd::AsFd;

use crate::error::{Error, ErrorExt, Result};
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

/// Runs the program of attach point `index` `runs` times and returns how long one run took on
/// average, in nanoseconds, as the kernel measures it (Linux 5.8).
///
/// # Errors
/// As for [`run`], or the kernel does not measure.
pub fn bench(loaded: &Loaded, index: usize, runs: u32) -> Result<u64> {
    let prog = loaded
        .program(loaded.object.attach[index].program)
        .fd
        .as_fd();
    let _measuring = bpf::enable_stats()
        .map_err(|e| privilege::explain(e, &[Capability::SysAdmin]))
        .context("cannot measure run times")?;
    let before = bpf::prog_stats(prog)?;
    for _ in 0..runs {
        run(loaded, index)?;
    }
    let after = bpf::prog_stats(prog)?;
    let counted = after.run_count.saturating_sub(before.run_count);
    let time = after.run_time_ns.saturating_sub(before.run_time_ns);
    time.checked_div(counted)
        .ok_or_else(|| Error::invalid("the kernel counted no run"))
}

fn explain(e: Error) -> Error {
    match e.errno() {
        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
            e.context("running programs on demand needs Linux 5.10")
        }
        _ => privilege::explain(e, &[Capability::Bpf, Capability::Perfmon]),
    }
}
