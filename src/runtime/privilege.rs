//! What the process may do, and how to say what it lacks.

use super::sys::process::{Capability, effective_capabilities, has};
use crate::error::{Error, ErrorKind, Result};

/// Fails where the process cannot load BPF programs at all: the check before any work, so that
/// the message comes instead of a refused system call somewhere.
///
/// # Errors
/// Names the missing capabilities.
pub fn check() -> Result<()> {
    // Without /proc nothing is known; the system calls will tell.
    let Ok(caps) = effective_capabilities() else {
        return Ok(());
    };
    let missing: Vec<_> = [Capability::Bpf, Capability::Perfmon]
        .into_iter()
        .filter(|&c| !has(c, caps))
        .map(Capability::name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "tracing needs {}: run as root, or give the program the capabilities ({} on Linux \
             before 5.8)",
            missing.join(" and "),
            Capability::SysAdmin.name()
        ),
    ))
}

/// Adds to a refusal (EPERM, EACCES) which of the capabilities that the operation `needs` are
/// missing, or, where none is, what else refuses.
pub fn explain(e: Error, needs: &[Capability]) -> Error {
    if !matches!(e.errno(), Some(libc::EPERM | libc::EACCES)) {
        return e;
    }
    let caps = effective_capabilities().unwrap_or(u64::MAX);
    let missing: Vec<_> = needs
        .iter()
        .filter(|&&c| !has(c, caps))
        .map(|c| c.name())
        .collect();
    if !missing.is_empty() {
        return e.context(format!("{} is missing", missing.join(" and ")));
    }
    match lockdown() {
        Some(mode) => e.context(format!("kernel lockdown ({mode}) may forbid this")),
        None => e,
    }
}

/// The kernel's lockdown mode, where it is locked down.
pub fn lockdown() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let mode = text.split('[').nth(1)?.split(']').next()?;
    (mode != "none").then(|| mode.to_owned())
}
