//! `--test` and `--bench`: runs the probes of that kind and reports.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::{Args, Mode};
use super::run::{names, print_options};
use super::terminal::say;
use super::{FAILED, REFUSED};
use crate::env::HostEnv;
use crate::error::Result;
use crate::object::{Attach, Object};
use crate::runtime::event::Printer;
use crate::runtime::output::{Buffering, Format, Writer, json};
use crate::runtime::session::{Options, Session};

/// Runs of a benchmark after which its time is taken as it is.
const MOST_RUNS: u32 = 1_000_000;

/// What a test printed, output and messages together.
#[derive(Clone, Default)]
struct Transcript(Rc<RefCell<Vec<u8>>>);

impl Write for Transcript {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the tests or benchmarks of `object`, as `args` say, and gives the exit code.
///
/// # Errors
/// The object cannot be loaded, or a program of it cannot be run.
pub fn run(object: &Arc<Object>, args: &Args, env: Arc<HostEnv>) -> Result<i32> {
    let options = Options {
        pid: args.pid,
        verbose: args.verbose > 0,
        ..Options::default()
    };
    let mut session = Session::new(Arc::clone(object), env, options)?;
    match args.mode {
        Mode::Bench => bench(object, args, &mut session),
        _ => test(object, args, &mut session),
    }
}

fn test(object: &Object, args: &Args, session: &mut Session) -> Result<i32> {
    let tests: Vec<(usize, &str)> = object
        .attach
        .iter()
        .enumerate()
        .filter_map(|(i, a)| match &a.attach {
            Attach::Test(name) => Some((i, name.as_str())),
            _ => None,
        })
        .collect();
    let transcript = Transcript::default();
    let mut printer = Printer::new(
        object,
        names(object, args),
        Writer::new(Box::new(transcript.clone()), Buffering::None),
        Box::new(transcript.clone()),
        print_options(args, false),
    );
    let text = args.format == Format::Text;
    let many = |n: usize| if n == 1 { "test" } else { "tests" };
    let total = tests.len();
    if text {
        say(&format!(
            "{}Running {total} {}.\n",
            mark("=========="),
            many(total)
        ));
    }
    let mut failed = Vec::new();
    for (index, name) in tests {
        if text {
            say(&format!("{}{name}\n", mark(" RUN      ")));
        }
        let before = printer.failures();
        let start = Instant::now();
        let (returned, exit) = session.run_once(index, &mut printer)?;
        let time = start.elapsed();
        let passed = returned == 0 && exit.unwrap_or(0) == 0 && printer.failures() == before;
        let output = std::mem::take(&mut *transcript.0.borrow_mut());
        if !text {
            say(&json_result(name, time, passed, &output));
        } else if passed {
            let took = duration(time);
            say(&format!("{}{name} ({took})\n", mark("       OK ")));
        } else {
            let output = String::from_utf8_lossy(&output);
            let took = duration(time);
            say(&format!("{output}{}{name} ({took})\n", alarm("  FAILED  ")));
        }
        if !passed {
            failed.push(name);
        }
    }
    if text {
        let passed = total - failed.len();
        let mut out = format!("{}{total} {} ran.\n", mark("=========="), many(total));
        out += &format!("{}{passed} {}.\n", mark("  PASSED  "), many(passed));
        if !failed.is_empty() {
            let n = failed.len();
            out += &format!("{}{n} {}, listed below:\n", alarm("  FAILED  "), many(n));
            for name in &failed {
                out += &format!("{}{name}\n", alarm("  FAILED  "));
            }
        }
        say(&out);
    }
    Ok(if failed.is_empty() { 0 } else { REFUSED })
}

/// A tag of the report, always green.
fn mark(tag: &str) -> String {
    format!("\x1b[32m[{tag}]\x1b[0m ")
}

/// A tag of the report, always red.
fn alarm(tag: &str) -> String {
    format!("\x1b[31m[{tag}]\x1b[0m ")
}

/// A duration in the unit that leaves it one to three digits.
fn duration(time: Duration) -> String {
    match time.as_nanos() {
        n @ ..1_000 => format!("{n} ns"),
        n @ ..1_000_000 => format!("{} us", n / 1_000),
        n @ ..1_000_000_000 => format!("{} ms", n / 1_000_000),
        n => format!("{} s", n / 1_000_000_000),
    }
}

fn json_result(name: &str, time: Duration, passed: bool, output: &[u8]) -> String {
    let mut out = Vec::new();
    json::open("test_result", &mut out);
    out.push(b'{');
    json::string(name.as_bytes(), &mut out);
    let head = format!(
        ": {{\"duration\": {}, \"passed\": {passed}, \"output\": ",
        time.as_nanos()
    );
    out.extend_from_slice(head.as_bytes());
    json::string(output, &mut out);
    out.extend_from_slice(b"}}");
    json::close(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn bench(object: &Object, args: &Args, session: &mut Session) -> Result<i32> {
    let text = args.format == Format::Text;
    if text {
        let head = format!("{:<41}{:<15}Iterations", "Benchmark", "Time(ns)");
        say(&format!("{head}\n{}\n", "-".repeat(head.len())));
    }
    let mut any = false;
    for (index, point) in object.attach.iter().enumerate() {
        let Attach::Bench(name) = &point.attach else {
            continue;
        };
        any = true;
        let (nanoseconds, iterations) = measure(index, session)?;
        if text {
            say(&format!("{name:<41}{nanoseconds:<15}{iterations}\n"));
            continue;
        }
        let mut out = Vec::new();
        json::open("benchmark_result", &mut out);
        out.push(b'{');
        json::string(name.as_bytes(), &mut out);
        let rest = format!(": {{\"time\": {nanoseconds}, \"iterations\": {iterations}}}}}");
        out.extend_from_slice(rest.as_bytes());
        json::close(&mut out);
        say(&String::from_utf8_lossy(&out));
    }
    Ok(if any { 0 } else { FAILED })
}

/// Runs a benchmark ever more often until the time of all runs tells the time of one: gives
/// nanoseconds and runs.
fn measure(index: usize, session: &mut Session) -> Result<(u64, u32)> {
    let mut runs = 1;
    loop {
        let nanoseconds = session.bench(index, runs)?;
        runs *= match nanoseconds * u64::from(runs) {
            ..1_000 => 1_000,
            1_000..10_000 => 100,
            10_000..100_000 => 10,
            100_000..1_000_000 => 2,
            _ => return Ok((nanoseconds, runs)),
        };
        // An empty program takes no measurable time however often it runs.
        if runs > MOST_RUNS {
            return Ok((nanoseconds, runs));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let d = |n| duration(Duration::from_nanos(n));
        assert_eq!(d(742), "742 ns");
        assert_eq!(d(1_999), "1 us");
        assert_eq!(d(3_000_000), "3 ms");
        assert_eq!(d(2_000_000_000), "2 s");
    }

    #[test]
    fn results_are_json() {
        assert_eq!(
            json_result("a", Duration::from_nanos(742), true, b"x\n"),
            "{\"type\": \"test_result\", \"data\": {\"a\": {\"duration\": 742, \
             \"passed\": true, \"output\": \"x\\n\"}}}\n"
        );
    }
}
