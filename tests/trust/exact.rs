//! Exact: totals equal what the traced program did, whoever else writes to the same maps.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::accounted::counted;
use crate::kernel::usable;
use crate::run::{rtrace, threads};

/// Threads of the traced program.
const THREADS: u64 = 8;
/// Calls of `tick(n)` by each, with n from 0.
const CALLS: u64 = 50_000;

/// Runs a script on the threads; every line of its output that is `@NAME: VALUE`, and the rest of
/// a histogram's lines as one value.
fn trace(test: &str, script: &str) -> Option<BTreeMap<String, String>> {
    if !usable(test) {
        return None;
    }
    let target = threads()?;
    let script = script.replace("TICK", &format!("uprobe:{}:tick", target.display()));
    let command = format!("{} {THREADS} {CALLS}", target.display());
    let out = rtrace()
        .args(["-q", "--strict", "-c", &command, "-e", &script])
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{err}");
    let mut values = BTreeMap::new();
    let mut last = String::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        if line.starts_with('@') {
            let (name, value) = line.split_once(':').unwrap();
            last = name.to_owned();
            values.insert(last.clone(), value.trim().to_owned());
        } else if line.starts_with(['[', '(']) {
            let value = values.get_mut(&last).unwrap();
            value.push_str(line);
            value.push('\n');
        }
    }
    Some(values)
}

/// The numbers in the second column of a histogram.
fn buckets(text: &str) -> u64 {
    let counts = text.lines().filter_map(|l| {
        let (_, rest) = l.split_once([')', ']'])?;
        rest.split('|').next()?.trim().parse::<u64>().ok()
    });
    counts.sum()
}

#[test]
fn scalars_lose_nothing() {
    let script = "TICK { @incr++; @add += 2; @count = count(); @sum = sum(arg0); \
        @min = min(arg0 + 5); @max = max(arg0); @avg = avg(arg0); @stats = stats(arg0); \
        @hist = hist(arg0); @lhist = lhist(arg0, 0, 50000, 1000); }";
    let Some(v) = trace("scalars_lose_nothing", script) else {
        return;
    };
    let n = THREADS * CALLS;
    let sum = THREADS * (CALLS * (CALLS - 1) / 2);
    let is = |name: &str, value: u64| assert_eq!(v[name], value.to_string(), "{name}");
    is("@incr", n);
    is("@add", 2 * n);
    is("@count", n);
    is("@sum", sum);
    is("@min", 5);
    is("@max", CALLS - 1);
    is("@avg", sum / n);
    let stats = format!("{{ .count = {n}, .average = {}, .total = {sum} }}", sum / n);
    assert_eq!(v["@stats"], stats);
    assert_eq!(buckets(&v["@hist"]), n, "{}", v["@hist"]);
    assert_eq!(buckets(&v["@lhist"]), n, "{}", v["@lhist"]);
}

#[test]
fn keys_lose_nothing() {
    let script = "TICK { $k = arg0 % 7; @incr[$k]++; @add[$k] += 2; @count[$k] = count(); \
        @sum[$k] = sum(arg0); @min[$k] = min(arg0); @max[$k] = max(arg0); @avg[$k] = avg(arg0); \
        @stats[$k] = stats(arg0); @hist[$k] = hist(arg0); \
        @lhist[$k] = lhist(arg0, 0, 50000, 1000); }";
    let Some(v) = trace("keys_lose_nothing", script) else {
        return;
    };
    for k in 0..7 {
        let calls: Vec<u64> = (0..CALLS).filter(|n| n % 7 == k).collect();
        let n = THREADS * calls.len() as u64;
        let sum = THREADS * calls.iter().sum::<u64>();
        let is = |name: &str, value: u64| {
            assert_eq!(v[&format!("{name}[{k}]")], value.to_string(), "{name}[{k}]");
        };
        is("@incr", n);
        is("@add", 2 * n);
        is("@count", n);
        is("@sum", sum);
        is("@min", k);
        is("@max", *calls.last().unwrap());
        is("@avg", sum / n);
        let stats = format!("{{ .count = {n}, .average = {}, .total = {sum} }}", sum / n);
        assert_eq!(v[&format!("@stats[{k}]")], stats);
        assert_eq!(buckets(&v[&format!("@hist[{k}]")]), n);
        assert_eq!(buckets(&v[&format!("@lhist[{k}]")]), n);
    }
}

#[test]
fn a_clock_that_interrupts_the_probe_takes_nothing_away() {
    // The clock's own share is also in maps that nobody else writes to.
    let script = "TICK { @incr++; @key[1]++; @count = count(); @sum = sum(1); @ks[1] = sum(1); \
        @kc[1] = count(); @h = hist(1); } \
        profile:hz:4999 { @incr++; @key[1]++; @count = count(); @sum = sum(1); @ks[1] = sum(1); \
        @kc[1] = count(); @h = hist(1); @clock++; @clocks[1]++; }";
    let Some(v) = trace(
        "a_clock_that_interrupts_the_probe_takes_nothing_away",
        script,
    ) else {
        return;
    };
    let clock: u64 = v["@clock"].parse().unwrap();
    assert!(clock > 0);
    assert_eq!(v["@clocks[1]"], v["@clock"]);
    for name in ["@incr", "@key[1]", "@count", "@sum", "@ks[1]", "@kc[1]"] {
        let n: u64 = v[name].parse().unwrap();
        assert_eq!(n, THREADS * CALLS + clock, "{name}");
    }
    assert_eq!(buckets(&v["@h"]), THREADS * CALLS + clock);
}

/// Runs a script on a command with `--strict`, its output as JSON in a file: in a pipe that both
/// write to, the command's own output may come in the middle of a line of ours.
fn to_file(name: &str, script: &str, command: &str) -> (String, Option<i32>) {
    let file = format!("{}/trust-{name}.json", env!("CARGO_TARGET_TMPDIR"));
    let status = rtrace()
        .args(["-q", "--strict", "-f", "json", "-o", &file])
        .args(["-e", script, "-c", command])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    (std::fs::read_to_string(file).unwrap(), status.code())
}

/// The values of a time series in JSON output, interval by interval.
fn series(json: &str, name: &str) -> Vec<u64> {
    let head = format!("{{\"{name}\": [");
    let line = json.lines().find(|l| l.contains(&head));
    let line = line.unwrap_or_else(|| panic!("no {name} in {json}"));
    line.split("\"value\":")
        .skip(1)
        .map(|v| v.split('}').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_series_that_a_clock_interrupts_has_every_value_or_tells() {
    if !usable("a_series_that_a_clock_interrupts_has_every_value_or_tells") {
        return;
    }
    let Some(target) = threads() else { return };
    // Short intervals, so that many are begun, and room for all of them.
    let body = "@n++; @sum = tseries(1, 5ms, 20000, \"sum\"); \
        @min = tseries((uint64)3, 5ms, 20000, \"min\"); @max = tseries((uint64)9, 5ms, 20000, \"max\");";
    let script = format!(
        "config = {{ unstable_tseries = \"enable\"; max_map_keys = 40000 }} \
         uprobe:{}:tick {{ {body} }} profile:hz:4999 {{ {body} }}",
        target.display()
    );
    let (json, code) = to_file("series", &script, &format!("{} 8 20000", target.display()));
    let n = json
        .lines()
        .find_map(|l| l.split_once("{\"@n\": "))
        .unwrap()
        .1;
    let n: u64 = n.trim_end_matches('}').parse().unwrap();
    assert!(n > 160_000);
    let sum: u64 = series(&json, "@sum").iter().sum();
    let each = json.matches("\"runtime_error\"").count() as u64;
    let lost = each + counted(&json, "map_update");
    // Whatever is lost was told, and it is nothing but what met the start of an interval.
    assert!(sum <= n && n - sum <= lost, "{n} {sum} {lost}");
    assert_eq!(code, Some(if lost > 0 { 3 } else { 0 }));
    assert!(series(&json, "@min").iter().all(|&v| v == 3));
    assert!(series(&json, "@max").iter().all(|&v| v == 9));
}

#[test]
fn keys_kept_and_keys_dropped_are_all_keys() {
    if !usable("keys_kept_and_keys_dropped_are_all_keys") {
        return;
    }
    let Some(target) = threads() else { return };
    let target = target.display();
    let script = format!(
        "config = {{ max_map_keys = 10 }} uprobe:{target}:tick {{ @[arg0] = count(); @n++; }}"
    );
    let (json, code) = to_file("keys", &script, &format!("{target} 4 10000"));
    assert_eq!(code, Some(3));
    let map = json.lines().find(|l| l.contains("{\"@\": ")).unwrap();
    let kept = map.split("\"@\": {").nth(1).unwrap();
    let kept: Vec<u64> = kept
        .split([',', '}'])
        .filter_map(|e| e.split_once("\": ")?.1.parse().ok())
        .collect();
    assert_eq!(kept.len(), 10, "{map}");
    let each = json.matches("\"helper_error\"").count() as u64;
    let dropped = each + counted(&json, "map_full");
    assert_eq!(kept.iter().sum::<u64>() + dropped, 40_000);
}

#[test]
fn events_of_many_threads_are_printed_or_lost() {
    if !usable("events_of_many_threads_are_printed_or_lost") {
        return;
    }
    let Some(target) = threads() else { return };
    let target = target.display();
    let script = format!(
        "config = {{ perf_rb_pages = 1 }} uprobe:{target}:tick {{ printf(\"event\\n\"); @n++; }}"
    );
    let (json, code) = to_file("events", &script, &format!("{target} 8 20000"));
    assert!(matches!(code, Some(0 | 3)), "{code:?}");
    assert!(json.contains("{\"@n\": 160000}"), "{json}");
    let printed = json.matches("\"printf\"").count() as u64;
    assert_eq!(printed + counted(&json, "lost_event"), 160_000);
}

#[test]
fn the_traced_program_counts_the_same() {
    let Some(target) = threads() else { return };
    let out = Command::new(target).args(["8", "50000"]).output().unwrap();
    assert_eq!(out.stdout, b"400000\n");
}
