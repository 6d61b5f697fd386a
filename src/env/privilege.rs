//! What this process may do: capabilities, lockdown and the settings that restrict tracing.
//!
//! For reports to people. Nothing decides by it: an operation is tried, and its refusal explained.

use std::fs;

/// Capabilities that tracing needs or profits from: number (linux/capability.h), name, use.
const CAPABILITIES: [(u32, &str, &str); 7] = [
    (21, "CAP_SYS_ADMIN", "everything, on kernels before 5.8"),
    (38, "CAP_PERFMON", "tracing programs and perf events"),
    (39, "CAP_BPF", "BPF programs and maps"),
    (19, "CAP_SYS_PTRACE", "symbols of other users' processes"),
    (34, "CAP_SYSLOG", "addresses of kernel symbols"),
    (
        24,
        "CAP_SYS_RESOURCE",
        "memory limits, on kernels before 5.11",
    ),
    (
        2,
        "CAP_DAC_READ_SEARCH",
        "tracefs and the files of other users",
    ),
];

/// A capability and whether the process has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The name.
    pub name: &'static str,
    /// What tracing uses it for.
    pub doc: &'static str,
    /// Whether it is in the effective set.
    pub held: bool,
}

/// A kernel setting that restricts tracing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name, as sysctl has it.
    pub name: &'static str,
    /// The value now, `None` where the kernel has no such setting.
    pub value: Option<String>,
}

/// What this process may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Capabilities.
    pub capabilities: Vec<Capability>,
    /// `none`, `integrity` or `confidentiality`; `None` where there is no such file. In the last
    /// mode programs cannot read kernel memory.
    pub lockdown: Option<String>,
    /// Settings.
    pub settings: Vec<Setting>,
}

impl Privileges {
    /// Asks the running system.
    pub fn probe() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let effective = effective_set(&status);
        let capabilities = CAPABILITIES
            .iter()
            .map(|&(number, name, doc)| Capability {
                name,
                doc,
                held: effective & (1 << number) != 0,
            })
            .collect();
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").ok();
        let settings = [
            "kernel.unprivileged_bpf_disabled",
            "kernel.perf_event_paranoid",
            "kernel.kptr_restrict",
            "net.core.bpf_jit_enable",
        ];
        Self {
            capabilities,
            lockdown: lockdown.and_then(|text| chosen(&text)),
            settings: settings
                .map(|name| Setting {
                    name,
                    value: fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/")))
                        .ok()
                        .map(|v| v.trim().to_owned()),
                })
                .to_vec(),
        }
    }

    /// Whether programs may be loaded: by the capabilities, which is not the last word.
    pub fn may_trace(&self) -> bool {
        let held = |name| self.capabilities.iter().any(|c| c.name == name && c.held);
        held("CAP_SYS_ADMIN") || held("CAP_BPF") && held("CAP_PERFMON")
    }
}

/// The effective set in `/proc/PID/status`.
fn effective_set(status: &str) -> u64 {
    status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// The bracketed word of `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_texts() {
        assert_eq!(
            effective_set("Name:\tx\nCapEff:\t000001fffeffffff\n"),
            0x01ff_feff_ffff
        );
        assert_eq!(
            chosen("none [integrity] confidentiality\n").as_deref(),
            Some("integrity")
        );
        assert_eq!(chosen("none"), None);
    }
}
