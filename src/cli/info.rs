//! What this machine can do: `--info` and `doctor`.

use std::fmt::Write as _;

use super::REFUSED;
use super::terminal::say;
use crate::env::features::{Answer, FEATURES};
use crate::env::{Feature, HostEnv, HostOptions};
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
