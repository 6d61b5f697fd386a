//! One script through the compiler, the interpreter and the kernel.

use std::cell::RefCell;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rtrace::compile::{self, Unobserved};
use rtrace::ctypes;
use rtrace::diag::{Diagnostics, Severity, render};
use rtrace::env::{Env as _, HostEnv};
use rtrace::facts::FactOptions;
use rtrace::interp::engine::{self, Wake};
use rtrace::ir::pass::{self, Level};
use rtrace::object::Object;
use rtrace::runtime::event::{Options as PrintOptions, Printer};
use rtrace::runtime::output::{Buffering, Clocks, Names, NoSymbols, Writer};
use rtrace::runtime::session::{self, Session};
use rtrace::sema;
use rtrace::source::SourceMap;
use rtrace::syntax::imports::{Found, LoadError, Loader};

/// Scripts of tests import nothing.
struct NoImports;

impl Loader for NoImports {
    fn find(&mut self, _: &str, _: &str) -> Result<Found, LoadError> {
        Err(LoadError::NotFound(Vec::new()))
    }

    fn read(&mut self, path: &str) -> Result<String, String> {
        Err(format!("no file '{path}'"))
    }
}

/// What the compiler says of a script.
#[derive(Debug)]
pub enum Verdict {
    /// It is a program.
    Object(Box<Object>),
    /// It is refused, with the diagnostics as text.
    Refused(String),
    /// The compiler fell over.
    Panic(String),
}

/// Compiles `script`. The IR is verified after every pass, as in every debug build.
pub fn compile(script: &str, level: Level, env: &HostEnv) -> Verdict {
    let done = catch_unwind(AssertUnwindSafe(|| {
        let mut sources = SourceMap::default();
        let file = sources.add("generated", script);
        let options = compile::Options {
            sema: sema::env::Options::default(),
            facts: FactOptions::default(),
            headers: ctypes::Options::default(),
            loader: &mut NoImports,
            passes: pass::Options {
                level,
                without: Vec::new(),
            },
        };
        let done = compile::compile(&mut sources, file, env, options, &mut Unobserved);
        (done.object, errors(&done.diags, &sources))
    }));
    match done {
        Ok((Some(object), _)) => Verdict::Object(Box::new(object)),
        Ok((None, errors)) => Verdict::Refused(errors),
        Err(payload) => Verdict::Panic(panic_text(&*payload)),
    }
}

/// The errors of `diags`, with their codes.
fn errors(diags: &Diagnostics, sources: &SourceMap) -> String {
    let mut only = Diagnostics::new();
    for d in diags.sorted() {
        if d.severity == Severity::Error {
            only.push(d.clone());
        }
    }
    let style = render::Style {
        color: false,
        codes: true,
    };
    render::text(&only, sources, style)
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    format!("panic: {}", text.unwrap_or_default())
}

/// Bytes that several writers append to.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a run shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// Standard output.
    pub out: String,
    /// Messages, sorted: those of a loop over a map come in the map's order.
    pub messages: Vec<String>,
    /// Exit code of the script.
    pub code: i32,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// In this process.
    User,
    /// In the kernel.
    Kernel,
}

/// Runs `object` to its end.
///
/// # Errors
/// The verifier refuses it, the interpreter faults, or either panics.
pub fn run(object: &Arc<Object>, engine: Engine, env: &Arc<HostEnv>) -> Result<Shown, String> {
    let done = catch_unwind(AssertUnwindSafe(|| {
        let (out, messages) = (Shared::default(), Shared::default());
        let mut printer = Printer::new(
            object,
            Names::new(Box::new(NoSymbols), Clocks::default()),
            Writer::new(Box::new(out.clone()), Buffering::Full),
            Box::new(messages.clone()),
            PrintOptions::default(),
        );
        let code = match engine {
            Engine::User => {
                let mut wait = |pause: Duration| {
                    std::thread::sleep(pause);
                    Ok(Wake::Timeout)
                };
                let cpus = env.machine().cpus_possible as usize;
                engine::run(object, cpus, &mut printer, &mut wait)
            }
            Engine::Kernel => {
                let options = session::Options {
                    quiet: true,
                    ..session::Options::default()
                };
                Session::new(Arc::clone(object), Arc::clone(env), options)
                    .and_then(|mut s| s.run(&mut printer))
                    .map(|o| o.code)
            }
        };
        drop(printer);
        let text = |s: &Shared| String::from_utf8_lossy(&s.0.borrow()).into_owned();
        let mut lines: Vec<_> = text(&messages).lines().map(str::to_owned).collect();
        lines.sort_unstable();
        code.map(|code| Shown {
            out: text(&out),
            messages: lines,
            code,
        })
        .map_err(|e| e.to_string())
    }));
    match done {
        Ok(done) => done,
        Err(payload) => Err(panic_text(&*payload)),
    }
}
