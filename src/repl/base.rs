//! What a session stands on, whatever it shows itself with.
//!
//! In: the command line. Out: the machine, the output, and whether programs can run in the
//! kernel. Made before any thread starts, so that all leave signals to the one that asked.

use std::sync::Arc;

use super::console::Console;
use super::worker::Context;
use crate::cli::args::{Args, Engine};
use crate::env::{HostEnv, HostOptions};
use crate::error::{Error, ErrorExt as _, Result};
use crate::runtime::privilege;
use crate::runtime::sys::wait::Signals;
use crate::symbols::cache::IndexCache;

/// The ground of a session.
pub struct Base {
    /// What workers need.
    pub cx: Context,
    /// Whether programs run in the kernel.
    pub kernel: bool,
    /// Why they do not, if nobody asked for that.
    pub lacks: Option<Error>,
    /// Signals that are taken.
    pub signals: Signals,
}

impl Base {
    /// Takes `signals` over and looks at what this process may do.
    ///
    /// # Errors
    /// Options that make no sense here.
    pub fn new(args: &Args, signals: &[i32]) -> Result<Self> {
        if args.command.is_some() {
            return Err(Error::invalid(
                "a session starts no command: start it elsewhere and use -p PID",
            ));
        }
        let signals = Signals::new(signals).context("signalfd")?;
        let env = Arc::new(HostEnv::new(HostOptions {
            functions: args.traceable_functions.clone(),
            btf: std::env::var_os("BPFTRACE_BTF").map(Into::into),
            ..HostOptions::default()
        }));
        let lacks = match args.engine {
            Engine::User => None,
            Engine::Kernel => privilege::check().err(),
        };
        let kernel = args.engine == Engine::Kernel && lacks.is_none();
        let mut args = args.clone();
        if !kernel {
            args.engine = Engine::User;
        }
        let cx = Context {
            args: Arc::new(args),
            env,
            console: Arc::new(Console::default()),
            indexes: IndexCache::default(),
            exit: Arc::default(),
        };
        Ok(Self {
            cx,
            kernel,
            lacks,
            signals,
        })
    }

    /// What an ordinary user should know: nothing if nothing lacks.
    pub fn note(&self) -> Option<String> {
        let e = self.lacks.as_ref()?;
        Some(format!(
            "NOTE: {e}.\nThis session runs in user space: begin, end and interval probes and \
             expressions work.\nRoot adds all probes of the kernel and of programs, and kernel \
             types and memory.\n"
        ))
    }
}
