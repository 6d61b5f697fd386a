//! What the process may do, and how to say what it lacks.

use super::sys::process::{Capability, effective_capabilities, has, keep_capabilities};
use crate::error::{Error, ErrorKind, Result};
use crate::object::{EventKind, Object};

/// Fails where the process cannot load BPF programs at all: the check before any work, so that
/// the message comes instead of a refused system call somewhere.
///
/// # Errors
/// Names the missing capabilities.
pub fn check() -> Result<()> {
    // Where this cannot be asked, the system calls will tell.
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

/// Gives up what a run does not need any more once its probes are attached. What stays is for
/// the maps, for detaching (which loads a program of its own), for symbols of whatever is traced,
/// and what the script's own events ask for.
///
/// # Errors
/// The kernel refuses.
pub fn shed(object: &Object, has_command: bool) -> Result<()> {
    let Ok(held) = effective_capabilities() else {
        return Ok(());
    };
    match needed(object, has_command, held) {
        all if all & held == held => Ok(()),
        keep => keep_capabilities(keep),
    }
}

/// The capabilities that a run needs once its probes are attached, of those that are `held`.
fn needed(object: &Object, has_command: bool, held: u64) -> u64 {
    let set = |caps: &[Capability]| caps.iter().fold(0, |set, &c| set | 1 << (c as u32));
    let event = |f: fn(&EventKind) -> bool| object.events.iter().any(|e| f(&e.kind));
    // Its commands may need whatever they inherit.
    if event(|e| matches!(e, EventKind::System { .. })) {
        return held;
    }
    let mut keep = set(&[
        Capability::Bpf,
        Capability::Perfmon,
        Capability::SysPtrace,
        Capability::DacReadSearch,
        Capability::Syslog,
    ]);
    if held & set(&[Capability::Bpf]) == 0 {
        // Before Linux 5.8 this one stands for the others.
        keep |= set(&[Capability::SysAdmin]);
    }
    if event(|e| matches!(e, EventKind::SkbOutput { .. })) {
        keep |= set(&[Capability::DacOverride]);
    }
    if has_command {
        keep |= set(&[Capability::Kill]);
    }
    keep & held
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Event, Format, Loc};

    fn with(kind: EventKind) -> Object {
        Object {
            events: vec![Event {
                kind,
                loc: Loc::default(),
                size: 16,
            }],
            ..Object::default()
        }
    }

    #[test]
    fn what_is_kept_depends_on_what_may_still_happen() {
        let bit = |c: Capability| 1u64 << (c as u32);
        let all = (1u64 << 41) - 1;
        let kept = needed(&Object::default(), false, all);
        for c in [Capability::Bpf, Capability::Perfmon, Capability::SysPtrace] {
            assert_ne!(kept & bit(c), 0, "{}", c.name());
        }
        for c in [
            Capability::SysAdmin,
            Capability::Kill,
            Capability::DacOverride,
            Capability::SysResource,
        ] {
            assert_eq!(kept & bit(c), 0, "{}", c.name());
        }
        let command = needed(&Object::default(), true, all);
        assert_eq!(command ^ kept, bit(Capability::Kill));
        let format = Format::default();
        let args = Vec::new();
        assert_eq!(
            needed(&with(EventKind::System { format, args }), false, all),
            all
        );
        // A kernel that does not know the finer ones.
        let old = needed(&Object::default(), false, bit(Capability::SysAdmin) | 1);
        assert_eq!(old, bit(Capability::SysAdmin));
    }
}
