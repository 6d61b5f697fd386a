//! Accounted: every loss is told once per place of the script, and `--strict` fails the run.

use crate::kernel::usable;
use crate::run::run;

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
