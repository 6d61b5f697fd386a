//! `rtrace top`: a script's maps, histograms and probes on the full screen.
//!
//! In: a script and keys. Out: a picture a second, and at the end what the script prints when it
//! is just run. It is a session like the one that is typed: the same tracer, so a probe that is
//! switched off keeps its maps. [`state`] is what is shown, [`view`] how.

mod state;
mod view;

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::base::Base;
use super::tracer::{Tracer, cut};
use crate::cli::args::Args;
use crate::cli::input::Input;
use crate::cli::terminal::complain;
use crate::cli::{FAILED, REFUSED};
use crate::error::{Error, ErrorExt as _, Result};

use state::State;

/// Longest time until a signal, an `exit()` or a printed line is noticed.
const LOOK: Duration = Duration::from_millis(100);

/// Shows a script until a key ends it, and gives the exit code.
pub fn main(args: &Args, script: &Input) -> i32 {
    match run(args, script) {
        Ok(code) => code,
        Err(e) => {
            complain(&format!("ERROR: {e}"));
            FAILED
        }
    }
}

fn run(args: &Args, script: &Input) -> Result<i32> {
    if !std::io::stdout().is_terminal() {
        return Err(Error::invalid(
            "the live view needs a terminal; without `top` the script just runs",
        ));
    }
    let base = Base::new(args, &[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
    let note = base.note();
    let (cx, signals) = (base.cx, base.signals);
    let mut tracer = Tracer::new(cx.clone(), base.kernel)?;
    let added = cut(&script.text).and_then(|pieces| tracer.add(pieces));
    if let Err(text) = added {
        complain(text.trim_end());
        return Ok(REFUSED);
    }
    cx.console.capture();
    if let Some(note) = note {
        cx.console.say(&note);
    }
    let name = Path::new(&script.name).file_name();
    let mut state = State::new(&name.unwrap_or_default().to_string_lossy());
    let mut terminal = ratatui::try_init().context("terminal")?;
    let shown = show(&mut terminal, &mut state, &mut tracer, &cx, || {
        matches!(signals.next(), Ok(Some(_)))
    });
    // In any case: what follows is for the ordinary screen.
    ratatui::restore();
    cx.console.finish();
    tracer.finish()?;
    shown?;
    Ok(cx.exit.get().copied().unwrap_or(0))
}

/// Draws and obeys keys until the end.
fn show(
    terminal: &mut ratatui::DefaultTerminal,
    state: &mut State,
    tracer: &mut Tracer,
    cx: &super::worker::Context,
    told_to_end: impl Fn() -> bool,
) -> Result<()> {
    let mut due = Instant::now();
    let mut changed = true;
    loop {
        let (text, dropped) = cx.console.take();
        changed |= state.print(&text, dropped);
        if due <= Instant::now() && !state.paused {
            state.sample(tracer);
            due = Instant::now() + state.every;
            changed = true;
        }
        if changed {
            terminal
                .draw(|frame| view::draw(frame, state))
                .context("terminal")?;
        }
        if told_to_end() || cx.exit.get().is_some() {
            return Ok(());
        }
        let wait = due.saturating_duration_since(Instant::now());
        let wait = if state.paused { LOOK } else { wait.min(LOOK) };
        changed = event::poll(wait).context("terminal")?;
        if changed && let Event::Key(key) = event::read().context("terminal")? {
            match obey(key, state, tracer) {
                Next::Go => {}
                // What changed is seen at once.
                Next::Look => due = Instant::now(),
                Next::End => return Ok(()),
            }
        }
    }
}

/// What a key leads to.
enum Next {
    Go,
    Look,
    End,
}

fn obey(key: KeyEvent, state: &mut State, tracer: &mut Tracer) -> Next {
    if key.kind == KeyEventKind::Release {
        return Next::Go;
    }
    state.message = None;
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if control => return Next::End,
        KeyCode::Char('q') => return Next::End,
        KeyCode::Esc if state.zoomed => state.zoomed = false,
        KeyCode::Char(' ' | 'p') => {
            state.paused = !state.paused;
            return Next::Look;
        }
        KeyCode::Char('s') => {
            state.sort = state.sort.next();
            return state.look(tracer);
        }
        KeyCode::Char('t') => {
            let toggled = state.toggle(tracer);
            state.tell(toggled);
            return state.look(tracer);
        }
        KeyCode::Char('r') => {
            let done = state.reset(tracer).map_err(|e| format!("ERROR: {e}"));
            state.tell(done);
            return state.look(tracer);
        }
        KeyCode::Char('x') => state.hide(),
        KeyCode::Char('X') => state.hidden.clear(),
        KeyCode::Char('+') => state.every = (state.every / 2).max(Duration::from_millis(125)),
        KeyCode::Char('-') => state.every = (state.every * 2).min(Duration::from_secs(64)),
        KeyCode::Enter | KeyCode::Char('z') => state.zoomed = !state.zoomed,
        KeyCode::Tab => state.turn(1),
        KeyCode::BackTab => state.turn(-1),
        KeyCode::Up | KeyCode::Char('k') => state.step(-1),
        KeyCode::Down | KeyCode::Char('j') => state.step(1),
        KeyCode::PageUp => state.step(-10),
        KeyCode::PageDown => state.step(10),
        _ => {}
    }
    Next::Go
}

impl State {
    /// A new picture, unless it stands still: then at least of what was just changed.
    fn look(&mut self, tracer: &Tracer) -> Next {
        if self.paused {
            self.sample(tracer);
            return Next::Go;
        }
        Next::Look
    }

    /// Keeps a refusal for the last line of the screen.
    fn tell(&mut self, done: Result<(), String>) {
        if let Err(text) = done {
            let line = text.lines().next().unwrap_or_default();
            self.message = Some(line.to_owned());
        }
    }
}
