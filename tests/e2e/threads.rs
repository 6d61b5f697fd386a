//! Nothing is lost: eight threads, a million calls each, counted four ways.

use crate::kernel;
use crate::support::{fixture, rtrace, value};

#[test]
fn counts_are_exact_under_contention() {
    if !kernel::usable("eight threads on one probe") {
        return;
    }
    let Some(path) = fixture("threads.c", "threads", &["-O2", "-pthread"]) else {
        return;
    };
    let script = format!("uprobe:{path}:tick {{ @a++; @b = count(); @c = sum(1); }}");
    let out = rtrace(&["-e", &script, "-c", &format!("{path} 8 1000000")]).ok();
    // The program's own count is its first line.
    assert_eq!(out.lines().next(), Some("8000000"), "{out}");
    for map in ["@a", "@b", "@c"] {
        assert_eq!(value(&out, map), "8000000", "{out}");
    }
}
