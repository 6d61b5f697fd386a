//! One target of tests/fuzz under libFuzzer: `RTRACE_FUZZ_TARGET` says which.
//!
//! `RTRACE_FUZZ_SEEDS=DIR` writes the target's seeds to a folder first.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/fuzz/records.rs"]
mod records;
#[path = "../../tests/fuzz/seeds.rs"]
mod seeds;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

fn run() -> fn(&[u8]) {
    static RUN: OnceLock<fn(&[u8])> = OnceLock::new();
    *RUN.get_or_init(|| {
        let name = std::env::var("RTRACE_FUZZ_TARGET").expect("RTRACE_FUZZ_TARGET names a target");
        let target = targets::TARGETS.iter().find(|t| t.name == name);
        target.expect("there is no target of this name").run
    })
}

fuzz_target!(
    init: {
        let name = std::env::var("RTRACE_FUZZ_TARGET").unwrap_or_default();
        if let (Some(target), Ok(dir)) = (
            targets::TARGETS.iter().find(|t| t.name == name),
            std::env::var("RTRACE_FUZZ_SEEDS"),
        ) {
            for (i, seed) in (target.seeds)().into_iter().enumerate() {
                std::fs::write(format!("{dir}/seed-{i}"), seed).expect("seeds can be written");
            }
        }
    },
    |bytes: &[u8]| run()(bytes)
);
