//! The live view on a real terminal: what the screen shows, and what keys do.

use super::can_trace;
use super::pty::{Dir, Setup, Terminal};

const SCREEN: Setup = Setup {
    rows: 32,
    columns: 120,
    colour: false,
    nobody: false,
};

/// The number after a text on the screen, where one follows it.
fn number_after(screen: &str, text: &str) -> Option<u64> {
    screen.match_indices(text).find_map(|(at, _)| {
        let rest = screen[at + text.len()..].trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().ok()
    })
}

#[test]
fn maps_probes_and_output_are_shown_and_keys_work() {
    let dir = Dir::new("live");
    let script = "begin { @first = (int64)1000; }\n\
                  interval:ms:20 { @n = count(); @names[\"a\"] = sum(3); @names[\"b\"] = sum(2); }\n\
                  interval:ms:50 { @size = hist(7); printf(\"tick %d\\n\", 6 * 7); }\n\
                  end { printf(\"the end of %d\\n\", @first); }\n";
    std::fs::write(dir.path("s.bt"), script).unwrap();
    let args = ["top", "--engine=user", &dir.path("s.bt")];
    let mut t = Terminal::with(&dir, &args, SCREEN);
    t.shows("the whole view", |s| {
        let parts = [
            "rtrace top",
            "s.bt",
            "[2]  on",
            "@names: 2 entries",
            "@size",
            "[4, 8)",
            "█",
            "@first",
            "1000",
            "tick 42",
        ];
        parts.iter().all(|p| s.contains(p))
    });
    // It goes on by itself, largest first.
    let n = t.look("a count", |s| number_after(&s.contents(), "@n "));
    t.shows("more", |s| number_after(s, "@n ").is_some_and(|m| m > n));
    t.shows("a rate", |s| s.contains("/s"));
    let order = |s: &str| {
        let row = |key: &str| s.lines().position(|l| l.starts_with(&format!("│{key}  ")));
        Some(row("a")? < row("b")?)
    };
    t.shows("the largest first", |s| order(s) == Some(true));

    // Standing still: sorted anew, but nothing grows.
    t.keys(" ");
    t.shows("PAUSED", |s| s.contains("PAUSED"));
    t.keys("ss");
    t.shows("the order", |s| s.contains("sorted by key"));
    t.keys(" ");
    t.shows("going on", |s| !s.contains("PAUSED"));

    // A probe that is switched off stays off and keeps its map; the other goes on.
    t.keys("jt");
    t.shows("off", |s| s.contains("[2]  off"));
    let n = t.look("a count", |s| number_after(&s.contents(), "@n "));
    let size = |s: &str| number_after(s, "[4, 8)");
    let before = t.look("a histogram", |s| size(&s.contents()));
    t.shows("the other", |s| size(s).is_some_and(|m| m > before));
    t.shows("the same count", |s| number_after(s, "@n ") == Some(n));
    t.keys("t");
    t.shows("on", |s| s.contains("[2]  on"));
    t.shows("more", |s| number_after(s, "@n ").is_some_and(|m| m > n));

    // From zero: what was assigned once is gone.
    t.keys("r");
    // Until it counts again: a map without a count is not printed at the end.
    t.shows("less", |s| {
        number_after(s, "@n ").is_some_and(|m| 0 < m && m < n)
    });

    // The end is that of a run: END, then the maps, on the ordinary screen.
    t.keys("q");
    t.expect("the end of 0");
    t.expect("@n: ");
    t.expect("@names[a]: ");
    assert_eq!(t.wait(), 0);
}

#[test]
fn a_script_that_exits_ends_the_view() {
    let dir = Dir::new("live-exit");
    let script = "interval:ms:300 { @done = 1; exit(3) }";
    let args = ["top", "--engine=user", "-e", script];
    let mut t = Terminal::with(&dir, &args, SCREEN);
    t.expect("@done: 1");
    assert_eq!(t.wait(), 3);
}

#[test]
fn the_kernels_probes_have_their_costs() {
    if !can_trace("the_kernels_probes_have_their_costs") {
        return;
    }
    let dir = Dir::new("live-kernel");
    let script = "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); @ids = lhist(args.id, 0, 400, 50); }";
    let mut t = Terminal::with(&dir, &["top", "-e", script], SCREEN);
    t.shows("costs", |s| {
        let probe = s.lines().find(|l| l.contains("[1]  on"));
        probe.is_some_and(|l| l.contains(" ns ") && l.contains('%') && !l.contains(" 0.00%"))
    });
    // Only the map that was chosen; then what can be chosen is hidden.
    t.keys("\t\r");
    t.shows("one map", |s| {
        s.contains("@:") && !s.contains("@ids") && !s.contains("[1]  on")
    });
    t.keys("x");
    t.shows("the other map", |s| s.contains("@ids") && !s.contains("@:"));
    t.keys("X");
    t.shows("both", |s| s.contains("@ids") && s.contains("@:"));
    t.keys("\x03");
    t.expect("@ids:\n");
    assert_eq!(t.wait(), 0);
}

#[test]
fn mistakes_and_pipes_are_refused() {
    let out = super::pty::rtrace(&["top", "-e", "begin { }"]);
    assert!(out.contains("needs a terminal"), "{out}");
    let out = super::pty::rtrace(&["top"]);
    assert!(out.contains("USAGE: rtrace top FILE"), "{out}");
    let dir = Dir::new("live-mistake");
    let mut t = Terminal::with(&dir, &["top", "-e", "begin { nosuch }"], SCREEN);
    t.expect("nosuch");
    assert_eq!(t.wait(), 1);
}
