//! The command line: argv in, exit code out.
//!
//! Data goes to standard output, everything else to standard error. Nothing is opened before
//! the options say that it is needed. Exit codes: 0 fine, the script's own `exit(n)`, 1 for a
//! refused command line or script, 255 where loading, attaching or running failed.

pub mod args;
mod commands;
pub mod flags;
mod flame;
pub mod imports;
mod info;
pub(crate) mod input;
pub(crate) mod list;
pub mod run;
mod scope;
pub(crate) mod script;
pub(crate) mod terminal;
mod trials;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::Path;

use args::{Args, Mode, Program};

use terminal::{complain, say};

use crate::env::{HostEnv, HostOptions};
use crate::repl;
use crate::symbols::paths::PathResolver;

/// A refused command line or script.
pub const REFUSED: i32 = 1;
/// The run lost something and `--strict` forbids that.
pub const LOSSY: i32 = 3;
/// Loading, attaching or running failed.
pub const FAILED: i32 = 255;

/// Runs the command that `argv` (program name first) asks for and gives the exit code.
pub fn main(argv: &[OsString]) -> i32 {
    if let Some(code) = argv.get(1).and_then(|name| commands::run(name, &argv[2..])) {
        return code;
    }
    let mut spelt = argv.to_vec();
    // The command is another way to write the option.
    if let Some(word) = spelt.get_mut(1).filter(|w| *w == "top") {
        *word = "--live".into();
    }
    let mut args = match args::parse(&spelt) {
        Ok(args) => args,
        Err(refusal) => {
            complain(&refusal.message);
            if refusal.help {
                complain(&flags::help());
            }
            return REFUSED;
        }
    };
    // What `-l` lists may be the probes of a script.
    let script = args.search.as_deref().map(std::path::Path::new);
    if let Some(file) = script.filter(|path| path.is_file()) {
        args.program = Some(Program::File(file.to_owned()));
    }
    if let Err(e) = scope::settle(&mut args) {
        complain(&format!("ERROR: {e}"));
        return REFUSED;
    }
    dispatch(&args, argv)
}

fn dispatch(args: &Args, argv: &[OsString]) -> i32 {
    if args.help {
        say(&flags::help());
        return 0;
    }
    if args.version {
        // Under the name it was started by, as links to it are.
        say(&format!(
            "{} v{}\n",
            own_name(argv),
            env!("CARGO_PKG_VERSION")
        ));
        return 0;
    }
    if args.info {
        say(&info::text());
        return 0;
    }
    if args.list && args.program.is_none() {
        return search(args);
    }
    let on_terminal = || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let interactive = !args.live && (args.interactive || (args.program.is_none() && on_terminal()));
    if args.live && args.program.is_none() {
        complain("ERROR: USAGE: rtrace top FILE, or rtrace top -e PROGRAM");
        return REFUSED;
    }
    if interactive && args.program.is_none() {
        return repl::main(args, None);
    }
    // Without a program on the command line it may come through a pipe.
    let program = args.program.as_ref().unwrap_or(&Program::Stdin);
    let input = match input::read(program) {
        Ok(input) if args.program.is_some() || !input.text.trim().is_empty() => input,
        Err(message) if args.program.is_some() => {
            complain(&message);
            return REFUSED;
        }
        _ => {
            complain("ERROR: USAGE: filename or -e 'program' required.");
            return REFUSED;
        }
    };
    if args.live {
        return repl::top::main(args, &input);
    }
    if interactive {
        return repl::main(args, Some(input));
    }
    if args.mode == Mode::Format {
        return commands::format_one(&input);
    }
    script::main(input, args)
}

/// The name this program was started by, without its folder.
fn own_name(argv: &[OsString]) -> String {
    let name = argv.first().and_then(|a| Path::new(a).file_name());
    name.map_or_else(|| "rtrace".into(), |n| n.to_string_lossy().into_owned())
}

/// `-l` with a search, or without one.
fn search(args: &Args) -> i32 {
    let env = HostEnv::new(HostOptions {
        functions: args.traceable_functions.clone(),
        btf: std::env::var_os("BPFTRACE_BTF").map(Into::into),
        ..HostOptions::default()
    });
    let paths = match args.pid {
        Some(pid) => PathResolver::for_pid(pid),
        None => PathResolver::system(),
    };
    let listing = list::list(args.search.as_deref(), args.verbose > 0, &env, &paths);
    say(&listing.text);
    if !args.no_warnings {
        for warning in &listing.warnings {
            complain(&format!("WARNING: {warning}"));
        }
    }
    0
}
