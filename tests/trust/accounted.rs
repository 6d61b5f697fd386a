//! Accounted: every loss is told once per place of the script, and `--strict` fails the run.

use crate::kernel::usable;
use crate::run::{program, run, threads};

#[test]
fn failed_reads_are_counted_per_line() {
    if !usable("failed_reads_are_counted_per_line") {
        return;
    }
    let script = "begin { for ($i : 0..3) { @x = *(uint64*)0; } exit(); }";
    let done = run(&["-q", "-e", script]);
    assert_eq!(done.code, Some(0));
    assert!(
        done.err.starts_with("stdin:1:")
            && done.err.contains("WARNING: 3 reads of memory failed\n"),
        "{}",
        done.err
    );
    assert_eq!(run(&["-q", "--strict", "-e", script]).code, Some(3));
    let quiet = run(&["-q", "--strict", "--no-warnings", "-e", script]);
    assert_eq!((quiet.err.as_str(), quiet.code), ("", Some(3)));
    let each = run(&["-q", "-k", "-e", script]);
    assert_eq!(each.err.matches("Bad address").count(), 3, "{}", each.err);
    assert!(!each.err.contains("reads of memory"), "{}", each.err);
    let json = run(&["-q", "-f", "json", "-e", script]);
    let line = json.out.lines().find(|l| l.contains("\"loss\"")).unwrap();
    assert!(
        line.starts_with("{\"type\": \"loss\", \"kind\": \"failed_read\", \"count\": 3, "),
        "{line}"
    );
}

#[test]
fn a_run_without_losses_says_nothing_and_is_strict() {
    if !usable("a_run_without_losses_says_nothing_and_is_strict") {
        return;
    }
    let script = "begin { @x = 1; @y[1] = 2; $z = @y[7]; exit(4); }";
    let done = run(&["-q", "--strict", "-e", script]);
    assert_eq!((done.err.as_str(), done.code), ("", Some(4)));
}

#[test]
fn full_maps_are_counted() {
    if !usable("full_maps_are_counted") {
        return;
    }
    let script = "config = { max_map_keys = 10 } \
        begin { for ($i : 0..10000) { @[$i] = 1; } exit(); }";
    let done = run(&["--strict", "-q", "-f", "json", "-e", script]);
    assert_eq!(done.code, Some(3), "{}", done.err);
    let each = done.out.matches("\"helper_error\"").count() as u64;
    let kept = done.out.lines().find(|l| l.contains("\"map\"")).unwrap();
    let kept = kept.matches("\": 1").count() as u64;
    assert_eq!(kept, 10);
    assert_eq!(kept + each + counted(&done.out, "map_full"), 10_000);
}

/// The number that the losses of a kind add up to.
pub fn counted(json: &str, kind: &str) -> u64 {
    let kind = format!("\"kind\": \"{kind}\", \"count\": ");
    let rest = json.lines().filter_map(|l| l.split_once(&kind));
    rest.map(|(_, n)| n.split(',').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn lost_events_and_printed_ones_are_all_that_were_emitted() {
    if !usable("lost_events_and_printed_ones_are_all_that_were_emitted") {
        return;
    }
    // While BEGIN runs, one page is not emptied fast enough.
    let script = "config = { perf_rb_pages = 1 } \
        begin { for ($i : 0..50000) { printf(\"event %d\\n\", $i); } } \
        interval:ms:300 { exit(); }";
    for format in ["text", "json"] {
        let done = run(&["--strict", "-q", "-f", format, "-e", script]);
        let printed = done.out.matches("event ").count() as u64;
        let lost = match format {
            "json" => counted(&done.out, "lost_event"),
            _ => done
                .err
                .lines()
                .filter_map(|l| {
                    l.split_once(" lost: the ring buffer")?
                        .0
                        .rsplit_once("WARNING: ")
                })
                .map(|(_, n)| n.split(' ').next().unwrap().parse::<u64>().unwrap())
                .sum(),
        };
        assert_eq!(printed + lost, 50_000, "{format}: {}", done.err);
        assert_eq!(done.code, Some(if lost > 0 { 3 } else { 0 }));
    }
}

#[test]
fn an_exit_that_found_no_room_ends_the_run_all_the_same() {
    if !usable("an_exit_that_found_no_room_ends_the_run_all_the_same") {
        return;
    }
    // A page is full after some hundred records, long before anybody looks.
    let script = "config = { perf_rb_pages = 1 } \
        begin { for ($i : 0..2000) { printf(\"x\\n\"); } exit(7); } interval:s:60 { }";
    let lost = (0..20).any(|_| {
        let done = run(&["-q", "-e", script]);
        assert_eq!(done.code, Some(7), "{}", done.err);
        assert!(done.out.starts_with("x\nx\n"), "{}", done.out);
        done.err.contains("1 event lost: the ring buffer was full")
    });
    assert!(lost, "exit() was never lost: nothing was tested");
}

/// The losses in a run's JSON: kind, count, column.
fn losses(json: &str) -> Vec<(String, u64, u64)> {
    let part = |line: &str, from: &str, to: char| -> Option<String> {
        Some(line.split_once(from)?.1.split(to).next()?.to_owned())
    };
    json.lines()
        .filter(|l| l.starts_with("{\"type\": \"loss\""))
        .map(|l| {
            let kind = part(l, "\"kind\": \"", '"').unwrap();
            let count = part(l, "\"count\": ", ',').unwrap().parse().unwrap();
            let col = part(l, "\"col\": ", '}').unwrap().parse().unwrap();
            (kind, count, col)
        })
        .collect()
}

#[test]
fn strings_that_were_cut_are_counted_and_those_that_fit_are_not() {
    if !usable("strings_that_were_cut_are_counted_and_those_that_fit_are_not") {
        return;
    }
    let Some(target) = program("strings") else {
        return;
    };
    let command = format!("{} short", target.display());
    // Of the strings, one fits exactly into 16 bytes with its NUL, two do not.
    let body = |call: &str| {
        format!(
            "config = {{ max_strlen = 16 }} uprobe:{}:take {{ @[{call}] = count(); }}",
            target.display()
        )
    };
    for (call, cut) in [
        ("str(arg0)", 2),
        ("str(arg0, arg1)", 1),
        ("str(arg0, 5)", 0),
        ("buf(arg0, arg1)", 1),
        ("str_concat(str(arg0), \"x\")", 2),
    ] {
        let script = body(call);
        let args = [
            "-q", "--strict", "-f", "json", "-e", &script, "-c", &command,
        ];
        let done = run(&args);
        let all = losses(&done.out);
        let counts: Vec<_> = all.iter().map(|(k, n, _)| (k.as_str(), *n)).collect();
        match cut {
            0 => assert_eq!(counts, [], "{call}"),
            n => assert_eq!(counts, [("truncated", n)], "{call}: {}", done.out),
        }
        assert_eq!(done.code, Some(if cut == 0 { 0 } else { 3 }), "{call}");
    }
    let done = run(&["-q", "-e", &body("str(arg0)"), "-c", &command]);
    assert!(
        done.err
            .contains("WARNING: 2 values cut: no room for the whole (max_strlen)"),
        "{}",
        done.err
    );
    assert_eq!(done.code, Some(0));
}

#[test]
fn arithmetic_and_indices_out_of_range_are_told_with_their_place() {
    if !usable("arithmetic_and_indices_out_of_range_are_told_with_their_place") {
        return;
    }
    for (script, kind, text) in [
        (
            "begin { @z = 0; @x = 7 / @z; exit(); }",
            "divide_by_zero",
            "Divide or modulo by 0",
        ),
        (
            "begin { $i = (uint64)pid; $a = (uint8[4])1; @x = $a[$i + 9]; exit(); }",
            "out_of_bounds",
            "Array access out of bounds",
        ),
    ] {
        let done = run(&["-q", "--strict", "-e", script]);
        assert!(done.err.contains(text), "{kind}: {}", done.err);
        assert!(done.err.starts_with("stdin:1:"), "{kind}: {}", done.err);
        assert_eq!(done.code, Some(3), "{kind}");
    }
}

#[test]
fn runs_that_the_kernel_skipped_are_counted() {
    if !usable("runs_that_the_kernel_skipped_are_counted") {
        return;
    }
    // Of x86, and where tracefs is mounted.
    let events = "/sys/kernel/tracing/events/exceptions/page_fault_kernel";
    if !std::path::Path::new(events).exists() {
        eprintln!("skipped: runs_that_the_kernel_skipped_are_counted: no {events}");
        return;
    }
    let Some(target) = threads() else { return };
    // A read that faults fires the tracepoint, whose program reads and faults: while it runs.
    let script = format!(
        "uprobe:{}:tick {{ @x = *(uint8*)uptr(8); }} \
         rawtracepoint:page_fault_kernel {{ @n++; @y = *(uint8*)uptr(8); }}",
        target.display()
    );
    let command = format!("{} 1 50", target.display());
    let done = run(&[
        "-q", "--strict", "-f", "json", "-e", &script, "-c", &command,
    ]);
    let skipped = counted(&done.out, "skipped_run");
    assert!(skipped >= 50, "{}{}", done.out, done.err);
    assert_eq!(done.code, Some(3));
}
