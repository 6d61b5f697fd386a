//! Differential: what generated scripts print here, in the interpreter and in bpftrace.
//!
//! Scripts use what every release of bpftrace of the last years knows and means the same by; the
//! differences that are meant are in docs/differences.md. `RTRACE_PEERS` names other commands
//! than `bpftrace` to compare with, `RTRACE_DIFFERENTIAL` says how many scripts,
//! `RTRACE_SEED` which is the first.

use std::process::{Command, Stdio};

use crate::kernel::usable;
use crate::run::{rtrace, threads};

/// Scripts in a run of the test suite: a peer takes half a second for each.
const SCRIPTS: u64 = 8;

/// Pseudo-random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A script in the making.
struct Writer {
    random: Random,
    /// Variables that are set.
    variables: u64,
    /// `arg0` exists.
    in_probe: bool,
    text: String,
}

impl Writer {
    /// A number. Division and shifts to the right are of small positive ones: how they treat
    /// signs differs among releases.
    fn number(&mut self, depth: u32) -> String {
        let leaf = depth == 0 || self.random.below(4) == 0;
        match self.random.below(if leaf { 3 } else { 8 }) {
            0 => self.random.below(300).to_string(),
            1 if self.variables > 0 => format!("$v{}", self.random.below(self.variables)),
            2 if self.in_probe => "arg0".into(),
            1 | 2 => (self.random.below(9) + 1).to_string(),
            3 => {
                let op = self.random.pick(&["+", "-", "*", "&", "|", "^"]);
                format!(
                    "({} {op} {})",
                    self.number(depth - 1),
                    self.number(depth - 1)
                )
            }
            4 => {
                let op = self.random.pick(&["/", "%"]);
                let (a, b) = (self.number(depth - 1), self.number(depth - 1));
                format!("(({a} & 0xffff) {op} (({b} & 15) + 1))")
            }
            5 => {
                let op = self.random.pick(&["<<", ">>"]);
                let (a, b) = (self.number(depth - 1), self.number(depth - 1));
                format!("(({a} & 0xffff) {op} ({b} & 7))")
            }
            6 => {
                let condition = self.condition(depth - 1);
                format!(
                    "({condition} ? {} : {})",
                    self.number(depth - 1),
                    self.number(depth - 1)
                )
            }
            _ => {
                // As 64 bits, whatever the literals are.
                format!("({} & 0x7fffffff)", self.number(depth - 1))
            }
        }
    }

    /// A number of at most 16 bits, not negative.
    fn small(&mut self, depth: u32) -> String {
        format!("({} & 0x3ff)", self.number(depth))
    }

    fn condition(&mut self, depth: u32) -> String {
        let op = self.random.pick(&["==", "!=", "<", "<=", ">", ">="]);
        let one = format!("{} {op} {}", self.small(depth), self.small(depth));
        match self.random.below(4) {
            0 => format!("({one} && {} != 3)", self.small(depth)),
            1 => format!("({one} || {} == 3)", self.small(depth)),
            _ => format!("({one})"),
        }
    }

    fn statements(&mut self, n: u64, depth: u32) {
        for _ in 0..n {
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: u32) {
        let kind = self.random.below(if depth == 0 { 9 } else { 12 });
        let line = match kind {
            // Variables are of the whole probe only where nothing was opened.
            0 if depth == 2 => {
                let value = self.number(2);
                self.variables += 1;
                format!("$v{} = {value};", self.variables - 1)
            }
            0 | 1 => {
                let spec = self
                    .random
                    .pick(&["%d", "%x", "%5d", "%-6d|", "%08x", "%ld"]);
                format!("printf(\"{spec}\\n\", {});", self.number(2))
            }
            2 => {
                let s = self
                    .random
                    .pick(&["\"abc\"", "\"a b\"", "\"\"", "\"long text here\""]);
                let spec = self.random.pick(&["%s", "%10s", "%-8s|", "%.3s"]);
                format!("printf(\"<{spec}>\\n\", {s});")
            }
            3 => format!("@m[{}] = {};", self.small(1), self.number(2)),
            4 => format!(
                "@pair[{}, \"{}\"] = {};",
                self.small(1),
                self.random.pick(&["x", "yy"]),
                self.small(1)
            ),
            5 => {
                let call = self.random.pick(&["count()", "sum", "min", "max", "avg"]);
                let name = call.trim_end_matches("()");
                match call {
                    "count()" => format!("@count[{}] = count();", self.small(1)),
                    _ => format!(
                        "@{name}[{}] = {name}({});",
                        self.random.below(3),
                        self.small(2)
                    ),
                }
            }
            6 => format!("@h = hist({});", self.small(2)),
            7 => format!(
                "@l[{}] = lhist({}, 0, 1000, 100);",
                self.random.below(2),
                self.small(2)
            ),
            8 => match self.random.below(4) {
                0 => format!("@n += {};", self.small(1)),
                1 => "@n++;".into(),
                2 => format!("delete(@m[{}]);", self.small(0)),
                _ => format!("@t = ({}, \"s\", {});", self.small(1), self.small(1)),
            },
            9 => {
                let condition = self.condition(1);
                self.text.push_str(&format!("if {condition} {{ "));
                let n = 1 + self.random.below(2);
                self.statements(n, depth - 1);
                if self.random.below(2) == 0 {
                    self.text.push_str("} else { ");
                    self.statement(depth - 1);
                }
                "}".into()
            }
            10 => {
                let times = 1 + self.random.below(4);
                self.text.push_str(&format!("unroll({times}) {{ "));
                self.statement(0);
                "}".into()
            }
            _ => {
                let times = self.random.below(8);
                let i = format!("$i{}", self.text.len());
                self.text
                    .push_str(&format!("{i} = 0; while ({i} < {times}) {{ @w[{i}] += 2; "));
                self.statement(0);
                format!("{i}++; }}")
            }
        };
        self.text.push_str(&line);
        self.text.push(' ');
    }
}

/// The script of a seed, with `PROGRAM` where the traced one is to be.
fn script(seed: u64, user: bool) -> String {
    let mut w = Writer {
        random: Random(seed),
        variables: 0,
        in_probe: false,
        text: String::new(),
    };
    w.text.push_str("BEGIN { ");
    w.statements(6, 2);
    match user {
        true => w.text.push_str("exit(); } "),
        false => {
            w.text.push_str("} uprobe:PROGRAM:tick { ");
            w.variables = 0;
            w.in_probe = true;
            w.statements(5, 2);
            w.text.push_str("} ");
        }
    }
    w.text.push_str("END { ");
    w.variables = 0;
    w.in_probe = false;
    w.statements(2, 1);
    w.text.push('}');
    w.text
}

/// Lines that a command prints, without what only one of them says, sorted: equal values come in
/// any order.
fn lines(command: &mut Command) -> Result<Vec<String>, String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        return Err(format!(
            "{:?}: {}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        ));
    }
    let mut lines: Vec<String> = text
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.starts_with("Attach"))
        // Some releases end the line of a histogram's name with a blank.
        .map(|l| if l.starts_with('@') { l.trim_end() } else { l })
        .map(str::to_owned)
        .collect();
    lines.sort();
    Ok(lines)
}

/// The commands to compare with: those that are there and can trace.
fn peers() -> Vec<String> {
    let named = std::env::var("RTRACE_PEERS").unwrap_or_else(|_| "bpftrace".into());
    let works = |p: &&str| {
        let mut command = Command::new(p);
        command.args(["-e", "BEGIN { printf(\"yes\\n\"); exit(); }"]);
        lines(&mut command).is_ok_and(|l| l == ["yes"])
    };
    named.split(' ').filter(works).map(str::to_owned).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn generated_scripts_print_what_bpftrace_prints() {
    if !usable("generated_scripts_print_what_bpftrace_prints") {
        return;
    }
    let Some(target) = threads() else { return };
    // A peer may count what other tests do with the same program at the same time.
    let own = target.with_file_name("trust-threads-compared");
    std::fs::copy(&target, &own).unwrap();
    let target = own;
    let peers = peers();
    if peers.is_empty() {
        eprintln!("skipped: generated_scripts_print_what_bpftrace_prints: no bpftrace that works");
    }
    let first = number("RTRACE_SEED").unwrap_or(1);
    let count = number("RTRACE_DIFFERENTIAL").unwrap_or(SCRIPTS);
    let mut failures = Vec::new();
    let mut refused = 0;
    for seed in first..first + count {
        let user = seed % 2 == 0;
        let script = script(seed, user).replace("PROGRAM", &target.display().to_string());
        let workload = format!("{} 1 20", target.display());
        let args = match user {
            true => vec!["-e", &script],
            false => vec!["-e", &script, "-c", &workload],
        };
        let ours = lines(rtrace().arg("--no-warnings").args(&args));
        let Ok(ours) = ours else {
            failures.push(format!(
                "seed {seed}: {script}\nrtrace: {}",
                ours.unwrap_err()
            ));
            continue;
        };
        if user {
            let inside = lines(
                rtrace()
                    .args(["--no-warnings", "--engine=user"])
                    .args(&args),
            );
            if inside.as_ref() != Ok(&ours) {
                failures.push(format!(
                    "seed {seed}: {script}\nkernel: {ours:?}\nuser: {inside:?}"
                ));
            }
        }
        for peer in &peers {
            match lines(Command::new(peer).args(&args)) {
                Ok(theirs) if theirs == ours => {}
                Ok(theirs) => failures.push(format!(
                    "seed {seed}: {script}\nrtrace only: {:?}\n{peer} only: {:?}",
                    only(&ours, &theirs),
                    only(&theirs, &ours)
                )),
                // A release that cannot load it, or knows less.
                Err(_) => refused += 1,
            }
        }
    }
    eprintln!(
        "{count} scripts, {} peers, refused by them {refused}",
        peers.len()
    );
    assert!(
        failures.is_empty(),
        "{} differences\n{}",
        failures.len(),
        failures.join("\n\n")
    );
    let asked = count * peers.len() as u64;
    assert!(
        refused * 2 <= asked,
        "the peers take {refused} of {asked} not"
    );
}

/// What is in `a` and not in `b`.
fn only<'a>(a: &'a [String], b: &[String]) -> Vec<&'a String> {
    a.iter().filter(|l| !b.contains(l)).collect()
}
