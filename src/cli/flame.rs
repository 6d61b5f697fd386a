//! `rtrace flame`: a flame graph in one command, of what runs or of folded stacks.
//!
//! In: options. Out: an SVG file. Recording is a run of a script that could be typed; nothing
//! here traces.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::PathBuf;

use super::terminal::{complain, say};
use super::{FAILED, REFUSED, args, dispatch};
use crate::runtime::output::profile::{Profile, flame, folded};

const USAGE: &str = "\
USAGE:
  rtrace flame [-p PID | -c COMMAND] [-d SECONDS] [-F HZ] [-o FILE]
      samples what runs (all of it without -p or -c) and draws its stacks
  rtrace flame [-o FILE] FOLDED|-
      draws folded stacks, of `rtrace -f folded` or another tool

  -p PID      this process only; ends when it does
  -c COMMAND  run COMMAND and sample it; ends when it does
  -d SECONDS  for so long (default: until Ctrl-C, or the end of PID or COMMAND)
  -F HZ       samples a second on each processor (default: 99)
  -f FORMAT   flame (default), folded or pprof
  -o FILE     where to (default: flame.svg, and to standard output for folded stacks)

Any script that counts by stack draws the same way: rtrace -f flame -o FILE -e 'PROGRAM'.
";

/// What the words ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    pid: Option<u32>,
    command: Option<OsString>,
    seconds: Option<u32>,
    hertz: Option<u32>,
    format: Option<OsString>,
    output: Option<PathBuf>,
    folded: Option<PathBuf>,
    help: bool,
}

/// Runs the command.
pub fn run(words: &[OsString]) -> i32 {
    let request = match parse(words) {
        Ok(request) => request,
        Err(message) => {
            complain(&format!("ERROR: {message}\n\n{USAGE}"));
            return REFUSED;
        }
    };
    if request.help {
        say(USAGE);
        return 0;
    }
    if let Some(from) = &request.folded {
        return match convert(from, request.output.as_ref()) {
            Ok(()) => 0,
            Err(e) => {
                complain(&format!("ERROR: {}: {e}", from.display()));
                FAILED
            }
        };
    }
    let argv = record(&request);
    let args = match args::parse(&argv) {
        Ok(args) => args,
        Err(refusal) => {
            complain(&refusal.message);
            return REFUSED;
        }
    };
    let code = dispatch(&args, &argv);
    if let (0, Some(file)) = (code, &args.output) {
        complain(&format!("Written to {}", file.display()));
    }
    code
}

fn parse(words: &[OsString]) -> Result<Request, String> {
    let mut request = Request::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = word.to_string_lossy();
        let mut value = || words.next().ok_or_else(|| format!("{name} needs a value"));
        let number = |value: &OsStr| {
            let text = value.to_string_lossy();
            let n = text.parse::<u32>().ok().filter(|&n| n > 0);
            n.ok_or_else(|| format!("{name} needs a number, not '{text}'"))
        };
        match &*name {
            "-h" | "--help" => request.help = true,
            "-p" => request.pid = Some(number(value()?)?),
            "-c" => request.command = Some(value()?.clone()),
            "-d" => request.seconds = Some(number(value()?)?),
            "-F" => request.hertz = Some(number(value()?)?),
            "-f" => request.format = Some(value()?.clone()),
            "-o" => request.output = Some(value()?.into()),
            option if option.len() > 1 && option.starts_with('-') => {
                return Err(format!("there is no option {option}"));
            }
            _ if request.folded.is_some() => return Err("one file is enough".to_owned()),
            _ => request.folded = Some(word.into()),
        }
    }
    if request.pid.is_some() && request.command.is_some() {
        return Err("-p and -c exclude each other".to_owned());
    }
    let records = request.pid.is_some() || request.command.is_some() || request.seconds.is_some();
    if records && request.folded.is_some() {
        return Err("folded stacks are drawn as they are, without -p, -c and -d".to_owned());
    }
    Ok(request)
}

/// The command line that records.
fn record(request: &Request) -> Vec<OsString> {
    let filter = match (request.pid, &request.command) {
        (Some(pid), _) => format!("/pid == {pid}/ "),
        (None, Some(_)) => "/pid == cpid/ ".to_owned(),
        // Idle processors have process 0.
        (None, None) => "/pid != 0/ ".to_owned(),
    };
    let hertz = request.hertz.unwrap_or(99);
    let mut script = format!("profile:hz:{hertz} {filter}{{ @[comm, ustack, kstack] = count(); }}");
    if let Some(seconds) = request.seconds {
        script.push_str(&format!(" interval:s:{seconds} {{ exit(); }}"));
    }
    let format = request.format.clone().unwrap_or_else(|| "flame".into());
    let default = (format == "flame").then(|| PathBuf::from("flame.svg"));
    let mut argv: Vec<OsString> = vec!["rtrace".into(), "-f".into(), format];
    if let Some(output) = request.output.clone().or(default) {
        argv.extend(["-o".into(), output.into()]);
    }
    if let Some(pid) = request.pid {
        argv.extend(["-p".into(), pid.to_string().into()]);
    }
    if let Some(command) = &request.command {
        argv.extend(["-c".into(), command.clone()]);
    }
    argv.extend(["-e".into(), script.into()]);
    argv
}

/// Draws a file of folded stacks.
fn convert(from: &PathBuf, to: Option<&PathBuf>) -> std::io::Result<()> {
    let mut profile = Profile::default();
    let skipped = match from.as_os_str() == "-" {
        true => folded::read(std::io::stdin().lock(), &mut profile)?,
        false => folded::read(BufReader::new(File::open(from)?), &mut profile)?,
    };
    if skipped > 0 {
        complain(&format!("WARNING: {skipped} lines are no folded stacks."));
    }
    let title = match from.file_name() {
        Some(name) => name.to_string_lossy(),
        None => "rtrace".into(),
    };
    let mut out: Box<dyn std::io::Write> = match to {
        Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        None => Box::new(std::io::stdout().lock()),
    };
    flame::write(&profile, &title, &mut out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, String> {
        let words: Vec<OsString> = line.split_ascii_whitespace().map(OsString::from).collect();
        parse(&words)
    }

    #[test]
    fn recording_is_an_ordinary_run() {
        let argv = record(&request("-p 7 -d 10 -F 49").unwrap());
        let argv: Vec<_> = argv.iter().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(
            argv[1..],
            [
                "-f",
                "flame",
                "-o",
                "flame.svg",
                "-p",
                "7",
                "-e",
                "profile:hz:49 /pid == 7/ { @[comm, ustack, kstack] = count(); } interval:s:10 { exit(); }",
            ]
        );
        let argv = record(&request("-c true -f folded").unwrap());
        assert!(!argv.contains(&"-o".into()) && argv.contains(&"-c".into()));
    }

    #[test]
    fn mistakes_are_told() {
        for line in [
            "-x",
            "-p",
            "-p x",
            "-p 0",
            "-p 1 -c x",
            "a b",
            "-d 1 a",
            "-F -1",
        ] {
            assert!(request(line).is_err(), "{line}");
        }
        assert_eq!(request("a -o b").unwrap().output, Some("b".into()));
    }
}
