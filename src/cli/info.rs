//! What this machine can do: `--info` and `doctor`.

use std::fmt::Write as _;

use super::REFUSED;
use super::terminal::say;
use crate::env::features::{Answer, FEATURES};
use crate::env::privilege::Privileges;
use crate::env::{Feature, HostEnv, HostOptions, cgroup};
use crate::runtime::privilege;

/// Sections of `--info` after those of the system: the name there, the feature.
const SECTIONS: &[(&str, &[(&str, Feature)])] = &[
    (
        "Kernel helpers",
        &[
            ("dpath", Feature::DPath),
            ("get_tai_ns", Feature::KtimeTai),
            ("get_func_ip", Feature::GetFuncIp),
            ("lookup_percpu_elem", Feature::LookupPercpuElem),
            ("loop", Feature::Loop),
            ("for_each_map_elem", Feature::ForEachMapElem),
            ("get_boot_ns", Feature::KtimeBoot),
            ("jiffies64", Feature::Jiffies),
            ("skb_output", Feature::SkbOutput),
            ("send_signal", Feature::SendSignal),
        ],
    ),
    (
        "Kernel features",
        &[
            ("btf", Feature::Btf),
            ("module btf", Feature::ModuleBtf),
            ("ring buffer", Feature::Ringbuf),
            ("attach cookie", Feature::AttachCookie),
            ("map batches", Feature::BatchOps),
            ("atomic fetch", Feature::AtomicFetch),
        ],
    ),
    (
        "Probe types",
        &[
            ("kprobe", Feature::Kprobe),
            ("kprobe_multi", Feature::KprobeMulti),
            ("kprobe_session", Feature::KprobeSession),
            ("uprobe", Feature::Uprobe),
            ("uprobe_multi", Feature::UprobeMulti),
            ("uprobe_session", Feature::UprobeSession),
            ("fentry", Feature::Fentry),
            ("iter", Feature::Iter),
        ],
    ),
];

/// The text of `--info`.
pub fn text() -> String {
    let env = HostEnv::new(HostOptions::default());
    let release = crate::env::Env::machine(&env).release.clone();
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "System\n  OS: Linux {release}\n  Arch: {}\n\nBuild\n  version: v{}\n",
        std::env::consts::ARCH,
        env!("CARGO_PKG_VERSION"),
    );
    for (title, rows) in SECTIONS {
        let _ = write!(out, "\n{title}\n");
        if *title == "Kernel features" {
            let million = yes(env.feature(Feature::InsnLimit1M));
            let limit = if million == "yes" { 1_000_000 } else { 4096 };
            let _ = writeln!(out, "  Instruction limit: {limit}");
        }
        for pair in rows.chunks(2) {
            let cells: Vec<_> = pair
                .iter()
                .map(|(name, feature)| format!("  {name}: {}", yes(env.feature(*feature))))
                .collect();
            match &cells[..] {
                [left, right] => {
                    let _ = writeln!(out, "{left:<30}{right}");
                }
                cells => {
                    let _ = writeln!(out, "{}", cells.concat());
                }
            }
        }
    }
    out
}

fn yes(answer: &Answer) -> &'static str {
    match answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::Unknown(_) => "unknown",
    }
}

/// What of the machine and of this process stands in the way, and what to do about it.
fn advice(env: &HostEnv, may: &Privileges) -> Vec<String> {
    let mut out = Vec::new();
    let mut say = |text: &str| out.push(text.to_owned());
    let no = |feature| env.feature(feature) != &Answer::Yes;
    if !may.may_trace() {
        say(
            "CAP_BPF and CAP_PERFMON are missing: run as root, or setcap cap_bpf,cap_perfmon=ep on the program",
        );
    }
    match may.lockdown.as_deref() {
        Some("confidentiality") => say(
            "lockdown is confidentiality: programs cannot read kernel memory; boot with lockdown=integrity or without it",
        ),
        Some("integrity") => say("lockdown is integrity: programs cannot write user memory"),
        _ => {}
    }
    if env.tracefs().is_err() {
        say("tracefs is not mounted or not readable: mount -t tracefs tracefs /sys/kernel/tracing");
    }
    if no(Feature::Btf) {
        say(
            "no kernel types: a kernel with CONFIG_DEBUG_INFO_BTF=y, or BPFTRACE_BTF=FILE; without them fentry, rawtracepoint arguments, iter and kernel structs are missing",
        );
    }
    if no(Feature::Kprobe) {
        say(
            "no kprobes: a kernel with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y; tracepoints and rawtracepoints work",
        );
    } else if no(Feature::KprobeMulti) {
        say(
            "no kprobe_multi: a kernel with CONFIG_FPROBE=y (5.18); many kprobes attach one by one",
        );
    }
    if no(Feature::Uprobe) {
        say("no uprobes: a kernel with CONFIG_UPROBE_EVENTS=y");
    } else if no(Feature::UprobeMulti) {
        say("no uprobe_multi (Linux 6.6): many uprobes attach one by one");
    }
    if no(Feature::Fentry) {
        say(
            "no fentry: a kernel with BTF, CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y; kprobe takes its place, without typed arguments",
        );
    }
    if crate::env::Env::functions(env).is_err() {
        say(
            "the list of traceable kernel functions (available_filter_functions) cannot be read: --traceable-functions FILE gives one for wildcards",
        );
    }
    if cgroup::root().is_none() {
        say("no cgroup2 is mounted: --cgroup and --container do not work");
    }
    out
}

/// Capabilities, lockdown and settings, a line each.
fn privileges(may: &Privileges, out: &mut String) {
    for c in &may.capabilities {
        let held = if c.held { "yes" } else { "no" };
        let _ = writeln!(out, "{held:<8} {:<22} {}", c.name, c.doc);
    }
    let lockdown = may.lockdown.as_deref().unwrap_or("none");
    let _ = writeln!(
        out,
        "{lockdown:<8} {:<22} what the kernel keeps from root",
        "lockdown"
    );
    for s in &may.settings {
        if let Some(value) = &s.value {
            let _ = writeln!(out, "{value:<8} {}", s.name);
        }
    }
}

/// `doctor`: every feature with what it is for, and what stands in the way of tracing. The exit
/// code is 0 if tracing is possible.
pub fn doctor() -> i32 {
    let env = HostEnv::new(HostOptions::default());
    let mut out = format!("kernel {}\n\n", crate::env::Env::machine(&env).release);
    for row in FEATURES {
        let answer = env.feature(row.feature);
        let _ = write!(
            out,
            "{:<8} {:<22} {} (Linux {})",
            yes(answer),
            row.name,
            row.doc,
            row.since
        );
        if let Answer::Unknown(why) = answer {
            let _ = write!(out, ": {why}");
        }
        out.push('\n');
    }
    let may = Privileges::probe();
    out.push_str("\nThis process\n");
    privileges(&may, &mut out);
    let advice = advice(&env, &may);
    if !advice.is_empty() {
        out.push_str("\nWhat is missing, and how to get it\n");
    }
    for line in advice {
        let _ = writeln!(out, "- {line}");
    }
    let outcome = privilege::check();
    match &outcome {
        Ok(()) => out.push_str("\nThis process may trace.\n"),
        Err(e) => {
            let _ = write!(out, "\n{e}\n");
        }
    }
    say(&out);
    if outcome.is_ok() { 0 } else { REFUSED }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_missing_comes_with_its_cure() {
        use crate::env::{Feature, HostEnv, HostOptions};
        let env = HostEnv::new(HostOptions {
            without: vec![Feature::Kprobe, Feature::UprobeMulti, Feature::Btf],
            ..HostOptions::default()
        });
        let mut may = crate::env::privilege::Privileges::probe();
        for c in &mut may.capabilities {
            c.held = false;
        }
        may.lockdown = Some("confidentiality".into());
        let text = super::advice(&env, &may).join("\n");
        for part in [
            "setcap cap_bpf,cap_perfmon",
            "lockdown=integrity",
            "CONFIG_DEBUG_INFO_BTF",
            "CONFIG_KPROBE_EVENTS",
            "no uprobe_multi",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn info_has_its_sections_in_order() {
        let text = super::text();
        let titles = [
            "System\n",
            "\nBuild\n",
            "\nKernel helpers\n",
            "\nKernel features\n",
        ];
        let places: Vec<_> = titles.iter().map(|t| text.find(t).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.contains("\n  dpath: "), "{text}");
    }
}
