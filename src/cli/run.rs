//! Runs a compiled program: in the kernel, or in this process with `--engine=user`.
//!
//! In: an object, the options, and the command of `-c`, which waits to be let go. Out: the
//! program's output where the options want it, and the exit code.

use std::fs::File;
use std::io::{IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use super::args::{Args, Engine, Mode};
use super::terminal::{colour, complain, say};
use super::{FAILED, LOSSY, REFUSED, trials};
use crate::env::machine::wall_clock_offset;
use crate::env::{Env as _, HostEnv};
use crate::error::{ErrorExt as _, Result};
use crate::interp::engine::{self, Wake};
use crate::object::{Attach, Object, SymbolNames};
use crate::runtime::child::Child;
use crate::runtime::event::{Options as PrintOptions, Printer};
use crate::runtime::output::{Clocks, Format, Names, SystemSymbols, Writer};
use crate::runtime::session::{Options, Session};
use crate::runtime::sink::Sink as _;
use crate::runtime::symbolize::UserOptions;
use crate::runtime::sys::wait::{Epoll, Signals};
use crate::symbols::debuglink::DebugDirs;
use crate::symbols::demangle::Form;

/// Runs `object` to its end and gives the exit code.
pub fn run(object: Object, args: &Args, env: Arc<HostEnv>, child: Option<Child>) -> i32 {
    if args.mode == Mode::Run && object.attach.is_empty() {
        say("No probes to attach\n");
        return REFUSED;
    }
    let runs = |a: &Attach| !matches!(a, Attach::Test(_) | Attach::Bench(_));
    if args.mode == Mode::Run && !object.attach.iter().any(|a| runs(&a.attach)) {
        complain("ERROR: No probes attached; use --test to run test probes.");
        return FAILED;
    }
    if args.format == Format::Pprof && args.output.is_none() && std::io::stdout().is_terminal() {
        complain("ERROR: pprof files are no text for a terminal; use -o FILE.");
        return REFUSED;
    }
    let object = Arc::new(object);
    if args.engine == Engine::User
        && let Some(e) = engine::unsupported(&object)
    {
        complain(&format!("ERROR: {e}"));
        return REFUSED;
    }
    let outcome = match args.mode {
        Mode::Test | Mode::Bench => trials::run(&object, args, env),
        _ => start(object, args, env, child),
    };
    match outcome {
        Ok(code) => code,
        Err(e) => {
            complain(&format!("ERROR: {e}"));
            FAILED
        }
    }
}

fn start(object: Arc<Object>, args: &Args, env: Arc<HostEnv>, child: Option<Child>) -> Result<i32> {
    let (to, terminal): (Box<dyn Write>, bool) = match &args.output {
        Some(path) => {
            let file = File::create(path)
                .with_context(|| format!("failed to open file '{}'", path.display()))?;
            (Box::new(file), false)
        }
        // Past the line buffer of std: the writer has its own.
        None => {
            let fd = std::io::stdout().as_fd().try_clone_to_owned()?;
            (Box::new(File::from(fd)), std::io::stdout().is_terminal())
        }
    };
    let mut printer = Printer::new(
        &object,
        names(&object, args),
        Writer::new(to, args.buffering),
        Box::new(std::io::stderr()),
        print_options(args, terminal),
    );
    let code = match args.engine {
        Engine::User => interpret(&object, &mut printer, args, &env)?,
        Engine::Kernel => {
            let options = Options {
                pid: args.pid,
                child,
                verbose: args.verbose > 0,
                quiet: args.quiet,
                dry_run: args.dry_run,
                shed: true,
                unwind: args.dwarf_pids.clone(),
                ..Options::default()
            };
            let mut session = Session::new(Arc::clone(&object), env, options)?;
            session.run(&mut printer)?.code
        }
    };
    Ok(match args.strict && printer.lost() > 0 {
        true => LOSSY,
        false => code,
    })
}

/// How the options want things printed.
pub(crate) fn print_options(args: &Args, terminal: bool) -> PrintOptions {
    PrintOptions {
        format: args.format,
        warnings: !args.no_warnings,
        helper_warnings: args.helper_warnings,
        terminal,
        error_terminal: std::io::stderr().is_terminal(),
        color: colour(),
    }
}

/// Names as the script's configuration wants them.
pub(crate) fn names(object: &Object, args: &Args) -> Names {
    let mut dirs = DebugDirs::system();
    dirs.roots.splice(0..0, args.debuginfo.iter().cloned());
    let form = match object.config.symbol_names {
        SymbolNames::Full => Form::Full,
        SymbolNames::NoReturn => Form::Signature,
        SymbolNames::NoParams => Form::Name,
        SymbolNames::NoTemplateArgs => Form::Qualified,
    };
    let symbols = SystemSymbols::new(UserOptions {
        demangle: object.config.demangle.then_some(form),
        lines: object.config.show_debug_info,
        dirs,
    });
    let clocks = Clocks {
        boot: wall_clock_offset(libc::CLOCK_BOOTTIME),
        monotonic: wall_clock_offset(libc::CLOCK_MONOTONIC),
        tai: wall_clock_offset(libc::CLOCK_TAI),
    };
    Names::new(Box::new(symbols), clocks)
}

/// Runs in this process until the script ends or a signal asks for it.
fn interpret(
    object: &Object,
    printer: &mut Printer<'_>,
    args: &Args,
    env: &HostEnv,
) -> Result<i32> {
    if args.dry_run {
        return Ok(0);
    }
    let mut taken = vec![libc::SIGINT, libc::SIGTERM];
    taken.extend(object.attach.iter().filter_map(|a| match a.attach {
        Attach::SelfSignal(n) => Some(n),
        _ => None,
    }));
    let own = taken[2..].to_vec();
    let signals = Signals::new(&taken).context("signalfd")?;
    let epoll = Epoll::new().context("epoll")?;
    epoll.add(signals.fd(), 0).context("epoll")?;
    if !args.quiet {
        printer.attached(object.attach.len())?;
    }
    let mut wait = |pause: Duration| {
        // Rounded up: waking early would only mean to wait again.
        let ms = pause.as_nanos().div_ceil(1_000_000);
        epoll.wait(i32::try_from(ms).unwrap_or(i32::MAX))?;
        Ok(match signals.next()? {
            Some(n) if own.contains(&n) => Wake::Signal(n),
            Some(_) => Wake::Stop,
            None => Wake::Timeout,
        })
    };
    let cpus = env.machine().cpus_possible as usize;
    engine::run(object, cpus, printer, &mut wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Event, EventKind, FieldLayout, Layout, Loc, ProgramType};
    use crate::runtime::testing;

    /// A script that prints 7, then exits with code 3.
    fn object() -> Object {
        let mut object = testing::counting_object();
        let value = FieldLayout {
            name: String::new(),
            offset: 8,
            bits: None,
            layout: Layout::Int {
                signed: true,
                size: 8,
            },
        };
        for kind in [
            EventKind::Print { value },
            EventKind::Exit {
                code: 8,
                known: None,
            },
        ] {
            object.events.push(Event {
                kind,
                loc: Loc::default(),
                size: 16,
            });
        }
        for (event, payload) in [(0, 7), (1, 3)] {
            let ty = ProgramType::RawTracepoint;
            let program = testing::emitter(&mut object, ty, event, payload);
            testing::attach(&mut object, program, Attach::Begin);
        }
        object
    }

    fn output(engine: Engine, format: Format) -> (String, i32) {
        let name = format!("rtrace-run-{}-{engine:?}-{format:?}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let args = Args {
            engine,
            format,
            quiet: format == Format::Text,
            output: Some(path.clone()),
            ..Args::default()
        };
        let code = run(object(), &args, Arc::new(HostEnv::default()), None);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        (text, code)
    }

    #[test]
    fn the_interpreter_runs_and_prints() {
        assert_eq!(output(Engine::User, Format::Text), ("7\n\n\n".into(), 3));
    }

    #[test]
    fn the_kernel_runs_and_prints() {
        if !testing::kernel_usable("the_kernel_runs_and_prints") {
            return;
        }
        assert_eq!(output(Engine::Kernel, Format::Text), ("7\n\n\n".into(), 3));
        let (json, _) = output(Engine::Kernel, Format::Json);
        assert_eq!(
            json,
            "{\"type\": \"attached_probes\", \"count\": 2, \"data\": {\"probes\": 2}}\n\
             {\"type\": \"value\", \"data\": 7}\n"
        );
    }

    #[test]
    fn tests_and_benchmarks_run_on_demand() {
        if !testing::kernel_usable("tests_and_benchmarks_run_on_demand") {
            return;
        }
        let mut object = object();
        for (i, point) in object.attach.iter_mut().enumerate() {
            point.attach = match i {
                0 => Attach::Test("passes".into()),
                _ => Attach::Test("exits".into()),
            };
        }
        let env = Arc::new(HostEnv::default());
        // Its own output would look like that of the test runner.
        let mut args = Args {
            mode: Mode::Test,
            output: Some("/dev/null".into()),
            ..Args::default()
        };
        assert_eq!(run(object.clone(), &args, Arc::clone(&env), None), REFUSED);
        object.attach.pop();
        assert_eq!(run(object.clone(), &args, Arc::clone(&env), None), 0);
        object.attach[0].attach = Attach::Bench("b".into());
        args.mode = Mode::Bench;
        assert_eq!(run(object, &args, env, None), 0);
    }

    #[test]
    fn nothing_to_attach_is_refused() {
        let args = Args::default();
        let env = Arc::new(HostEnv::default());
        assert_eq!(run(Object::default(), &args, env, None), REFUSED);
    }
}
