//! The session: tracing by typing.
//!
//! In: lines from the terminal, and perhaps a script to start from. Out: what probes print,
//! above the line that is being typed, and answers to commands. A line is a command
//! ([`commands`]), a piece of a script, which is attached at once ([`tracer`]), or an
//! expression or statement, which is evaluated in this process ([`eval`]).
//!
//! Threads: this one reads lines and compiles; each attached item has a [`worker`], which prints
//! into the [`console`]; the console's thread writes to the terminal. Nobody who handles events
//! waits for the terminal or for the user.
//!
//! Nothing here is reached by scripts that are just run.

mod base;
mod commands;
mod complete;
mod console;
mod editor;
mod eval;
mod history;
pub mod items;
pub mod text;
pub mod top;
mod tracer;
mod worker;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::config::{CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, EventHandler, KeyEvent};

use crate::builtins;
use crate::cli::args::Args;
use crate::cli::input::{self, Input};
use crate::cli::list;
use crate::cli::terminal::{colour, complain};
use crate::cli::{FAILED, REFUSED};
use crate::diag::Code;
use crate::error::{Error, ErrorExt as _, Result};
use crate::object::MapId;
use crate::runtime::sys::tty::{self, HeldTerminal, RawInput};
use crate::runtime::sys::wait::{Epoll, Signals};
use crate::symbols::paths::PathResolver;

use base::Base;
use commands::{COMMANDS, Verb};
use complete::Candidates;
use console::Console;
use editor::Assistant;
use items::Kind;
use tracer::{Refused, Tracer};

/// Milliseconds between two looks of `watch`.
const WATCH_MS: i32 = 500;

/// Entries that `watch` shows of a map unless it is told how many.
const WATCH_TOP: u32 = 20;

/// Lines of a long answer between two looks whether Ctrl-C was pressed.
const PAGE: usize = 100;

type LineEditor = Editor<Assistant, FileHistory>;

/// Runs a session and gives the exit code.
pub fn main(args: &Args, script: Option<Input>) -> i32 {
    match session(args, script) {
        Ok(code) => code,
        Err(e) => {
            complain(&format!("ERROR: {e}"));
            FAILED
        }
    }
}

fn session(args: &Args, script: Option<Input>) -> Result<i32> {
    let base = Base::new(args, &[libc::SIGINT])?;
    let note = base.note();
    let Base {
        cx,
        kernel,
        signals,
        ..
    } = base;
    let (args, console) = (Arc::clone(&cx.args), Arc::clone(&cx.console));
    let env = Arc::clone(&cx.env);
    let candidates = Arc::new(Candidates::new(env, args.pid, cx.indexes.clone()));
    let history = history::file();
    let mut editor = line_editor(Arc::clone(&candidates)).map_err(terminal)?;
    let interrupted_empty = Arc::new(AtomicBool::new(false));
    let on_interrupt = editor::Interrupt {
        on_empty: Arc::clone(&interrupted_empty),
    };
    editor.bind_sequence(
        KeyEvent::ctrl('C'),
        EventHandler::Conditional(Box::new(on_interrupt)),
    );
    if let Some(file) = &history {
        // A history that cannot be read is an empty one.
        let _ = editor.load_history(file);
    }
    let mut held = None;
    if std::io::stdin().is_terminal() {
        let ends = Signals::new(&[libc::SIGTERM, libc::SIGHUP]).context("signalfd")?;
        let printer = editor.create_external_printer().map_err(terminal)?;
        console.start(printer).context("thread")?;
        end_on(ends, Arc::clone(&console))?;
        held = Some(HeldTerminal::new()?);
    }
    if !args.quiet {
        console.say("rtrace: type a probe, an expression or `help`; Tab completes, Ctrl-D ends.\n");
        if let Some(note) = note {
            console.say(&note);
        }
    }
    let mut repl = Repl {
        tracer: Tracer::new(cx, kernel)?,
        args,
        console,
        signals,
        candidates,
        draft: None,
        history: Vec::new(),
        history_file: history,
        interrupted_empty,
    };
    if let Some(script) = script
        && let Err(text) = repl.script(&script.text)
    {
        complain(&text);
        return Ok(REFUSED);
    }
    repl.read(&mut editor);
    drop(held);
    repl.console.finish();
    repl.tracer.finish()?;
    Ok(0)
}

/// Ends the input of the session when one of `signals` comes: it ends as with Ctrl-D.
///
/// # Errors
/// No thread can be started.
fn end_on(signals: Signals, console: Arc<Console>) -> Result<()> {
    let waits = Epoll::new().context("epoll")?;
    waits.add(signals.fd(), 0).context("epoll")?;
    let thread = std::thread::Builder::new().name("end".into());
    let wait = move || {
        while !matches!(signals.next(), Ok(Some(_))) {
            if waits.wait(-1).is_err() {
                return;
            }
        }
        if tty::end_input().is_ok() {
            console.nudge();
        }
    };
    thread.spawn(wait).context("thread")?;
    Ok(())
}

fn line_editor(candidates: Arc<Candidates>) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .max_history_size(history::ENTRIES)?
        .history_ignore_dups(true)?
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .completion_prompt_limit(200)
        .build();
    let mut editor = LineEditor::with_config(config)?;
    editor.set_helper(Some(Assistant {
        candidates,
        colour: colour(),
    }));
    Ok(editor)
}

/// A running session.
struct Repl {
    tracer: Tracer,
    args: Arc<Args>,
    console: Arc<Console>,
    signals: Signals,
    candidates: Arc<Candidates>,
    /// Text that the next line starts with: what `edit N` is about.
    draft: Option<String>,
    history: Vec<String>,
    /// Where that is kept.
    history_file: Option<PathBuf>,
    /// Whether the last Ctrl-C was pressed on an empty line.
    interrupted_empty: Arc<AtomicBool>,
}

/// Whether the session goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Read,
    End,
}

impl Repl {
    /// Reads and obeys lines until the end.
    fn read(&mut self, editor: &mut LineEditor) {
        self.history = editor.history().iter().cloned().collect();
        loop {
            // A Ctrl-C that came while something was done was meant for that.
            while let Ok(Some(_)) = self.signals.next() {}
            let maps = self.tracer.maps().into_iter();
            let maps = maps.map(|(_, m)| m.name.clone()).collect();
            let items = self.tracer.script().items().iter();
            let items = items.map(|i| (i.number, i.first_line().to_owned()));
            self.candidates.set_known(maps, items.collect());
            let line = match self.draft.take() {
                Some(draft) => editor.readline_with_initial("rtrace> ", (&draft, "")),
                None => editor.readline("rtrace> "),
            };
            match line {
                Ok(line) => {
                    if self.console.mute(false) {
                        self.console.say("Output goes on.\n");
                    }
                    if line.trim().is_empty() {
                        continue;
                    }
                    // What cannot be kept is no reason to stop. Kept at once: a session may be
                    // ended from outside.
                    let _ = editor.add_history_entry(line.as_str());
                    if let Some(file) = &self.history_file {
                        let _ = editor.append_history(file);
                    }
                    self.history.push(line.clone());
                    match self.obey(&line) {
                        Ok(Next::Read) => {}
                        Ok(Next::End) => return,
                        Err(text) => self.console.say(&text),
                    }
                }
                Err(ReadlineError::Interrupted) => {
                    let stop = self.interrupted_empty.load(Ordering::Relaxed);
                    if stop && self.console.mute(true) {
                        self.console.say("Output stopped; Enter lets it go on.\n");
                    }
                }
                // The end of input, or a terminal that went away.
                Err(_) => return,
            }
        }
    }

    fn obey(&mut self, line: &str) -> Result<Next, Refused> {
        if let Some((command, rest)) = commands::find(line) {
            return self.command(command.verb, rest);
        }
        match tracer::cut(line) {
            Ok(pieces) if !pieces.items.is_empty() || !pieces.settings.is_empty() => {
                let numbers = self.tracer.add(pieces)?;
                self.added(&numbers);
            }
            cut => {
                let done = self.tracer.evaluate(line);
                match (done, cut) {
                    (Ok(None), _) => {}
                    (Ok(Some(number)), _) => self.added(&[number]),
                    // What looks like a probe was meant as one.
                    (Err(_), Err(text)) if looks_like_probe(line) => return Err(text),
                    (Err(text), _) => return Err(text),
                }
            }
        }
        Ok(Next::Read)
    }

    fn script(&mut self, text: &str) -> Result<(), Refused> {
        let pieces = tracer::cut(text)?;
        let numbers = self.tracer.add(pieces)?;
        self.added(&numbers);
        Ok(())
    }

    fn added(&self, numbers: &[u32]) {
        let mut text = String::new();
        for &number in numbers {
            let Some(item) = self.tracer.script().item(number) else {
                continue;
            };
            let what = match item.kind {
                Kind::Probe => "attached",
                Kind::Declaration | Kind::C => "defined",
            };
            let _ = writeln!(text, "[{number}] {what}");
        }
        self.console.say(&text);
    }

    fn command(&mut self, verb: Verb, rest: &str) -> Result<Next, Refused> {
        match verb {
            Verb::Help => self.help(rest)?,
            Verb::Probes => self.probes(),
            Verb::Maps => self.maps()?,
            Verb::Disable => self.each(rest, |t, n| t.enable(n, false))?,
            Verb::Enable => self.each(rest, |t, n| t.enable(n, true))?,
            Verb::Delete => self.each(rest, Tracer::delete)?,
            Verb::Edit => self.edit(rest)?,
            Verb::Clear => self.tracer.clear()?,
            Verb::Watch => self.watch(rest)?,
            Verb::List => self.list(rest, false),
            Verb::Args => self.list(rest, true),
            Verb::Load => {
                let input = input::read_file(Path::new(needed(rest, "a file")?))?;
                self.script(&input.text)?;
            }
            Verb::Save => {
                let path = needed(rest, "a file")?;
                let text = self.tracer.script().save();
                std::fs::write(path, text).map_err(|e| {
                    let e = Error::from(e);
                    format!("ERROR: failed to write file '{path}': {e}")
                })?;
            }
            Verb::History => self.page(&self.history.join("\n")),
            Verb::Set => self.set(rest)?,
            Verb::Explain => {
                let id = needed(rest, "a code")?.to_uppercase();
                let code = Code::from_id(&id);
                let code =
                    code.ok_or_else(|| format!("ERROR: there is no diagnostic called '{rest}'"))?;
                let (brief, text) = (code.brief(), code.explanation());
                self.console
                    .say(&format!("{}: {brief}\n\n{text}\n", code.id()));
            }
            Verb::Pid => {
                if rest.is_empty() {
                    let pid = self.tracer.script().filter.pid;
                    self.console
                        .say(&pid.map_or("off".into(), |p| p.to_string()));
                } else {
                    let pid = rest.parse().ok();
                    self.tracer.configure(|s| s.filter.pid = pid)?;
                }
            }
            Verb::Cgroup => {
                if rest.is_empty() {
                    let group = self.tracer.script().filter.cgroup.clone();
                    self.console.say(group.as_deref().unwrap_or("off"));
                } else {
                    let group = (rest != "off").then(|| rest.to_owned());
                    self.tracer.configure(|s| s.filter.cgroup = group)?;
                }
            }
            Verb::Quit => return Ok(Next::End),
        }
        Ok(Next::Read)
    }

    fn help(&self, name: &str) -> Result<(), Refused> {
        if name.is_empty() {
            let mut text = String::from(
                "A probe is attached at once; an expression or statement is evaluated now:\n  \
                 tracepoint:raw_syscalls:sys_enter { @[comm] = count() }\n  \
                 print(@, 5)\n  @x = 1 << 12\n\nCommands:\n",
            );
            for c in COMMANDS {
                let _ = writeln!(text, "  {:<22} {}", c.usage, c.doc);
            }
            text.push_str(
                "\nTab completes, Ctrl-C clears the line or stops the output of probes.\n",
            );
            self.console.say(&text);
            return Ok(());
        }
        if let Some(builtin) = builtins::find(name) {
            self.console
                .say(&format!("{}\n  {}\n", builtin.usage, builtin.doc));
            return Ok(());
        }
        let command = COMMANDS.iter().find(|c| c.name == name);
        let command = command.ok_or_else(|| format!("ERROR: nothing is called '{name}'"))?;
        self.console
            .say(&format!("{}\n  {}\n", command.usage, command.doc));
        Ok(())
    }

    /// A table: what of an item is known stands in columns, its text comes last.
    fn probes(&self) {
        let mut rows = vec![["", "", "hits", "time", "each", "lost"].map(str::to_owned)];
        let mut texts = vec![String::new()];
        for item in self.tracer.script().items() {
            let first = item.first_line();
            let more = match item.text.trim_end().ends_with(first) {
                true => "",
                false => " ...",
            };
            texts.push(format!("{first}{more}"));
            let counts = self.tracer.counts(item.number);
            let state = match (item.kind, &counts) {
                (Kind::Declaration | Kind::C, _) => "defined",
                (Kind::Probe, None) => "disabled",
                (Kind::Probe, Some(_)) => "attached",
            };
            let c = counts.filter(|_| item.kind == Kind::Probe);
            let number = |n: Option<u64>| n.map_or_else(String::new, |n| n.to_string());
            let each = c.and_then(|c| c.time_ns.checked_div(c.hits));
            rows.push([
                format!("[{}]", item.number),
                state.to_owned(),
                number(c.map(|c| c.hits)),
                c.map_or_else(String::new, |c| duration(c.time_ns)),
                each.map_or_else(String::new, duration),
                // Skipped runs are lost events as well.
                number(c.map(|c| c.lost + c.missed)),
            ]);
        }
        if rows.len() == 1 {
            self.console.say("no probes yet\n");
            return;
        }
        let width = ratatui::crossterm::terminal::size().map_or(80, |(columns, _)| columns.into());
        let mut text = String::new();
        for (row, what) in rows.iter().zip(&texts) {
            let start = text.len();
            for (i, cell) in row.iter().enumerate() {
                let wide = rows.iter().map(|r| r[i].len()).max().unwrap_or(0);
                let _ = match i {
                    0 | 1 => write!(text, "{cell:<wide$}  "),
                    _ => write!(text, "{cell:>wide$}  "),
                };
            }
            let room = usize::saturating_sub(width, text.len() - start).max(20);
            match what.char_indices().nth(room) {
                Some(_) => {
                    let end = what.char_indices().nth(room - 4).map_or(0, |(i, _)| i);
                    text.push_str(&format!("{} ...", &what[..end]));
                }
                None => text.push_str(what),
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        let dropped = self.console.dropped_in_all();
        if dropped > 0 {
            let _ = writeln!(text, "{dropped} lines of output were not shown");
        }
        self.console.say(&text);
    }

    fn maps(&self) -> Result<(), Refused> {
        let mut text = String::new();
        for (id, map) in self.tracer.maps() {
            let entries = self.tracer.entries(id).map_err(failed)?;
            let s = if entries == 1 { "y" } else { "ies" };
            let _ = writeln!(text, "{}: {entries} entr{s}", map.name);
        }
        self.console.say(&text);
        Ok(())
    }

    /// Does something to each item that is named by number.
    fn each(
        &mut self,
        numbers: &str,
        f: impl Fn(&mut Tracer, u32) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let numbers = needed(numbers, "a number; `probes` shows them")?;
        for word in numbers.split([' ', ',']).filter(|w| !w.is_empty()) {
            let number = word
                .parse()
                .map_err(|_| format!("ERROR: '{word}' is no number"))?;
            f(&mut self.tracer, number)?;
        }
        Ok(())
    }

    fn edit(&mut self, rest: &str) -> Result<(), Refused> {
        let (number, text) = match rest.split_once(char::is_whitespace) {
            Some((number, text)) => (number, text.trim()),
            None => (needed(rest, "a number; `probes` shows them")?, ""),
        };
        let number = number
            .parse()
            .map_err(|_| format!("ERROR: '{number}' is no number"))?;
        if text.is_empty() {
            let item = self.tracer.script().item(number);
            let item = item.ok_or_else(|| format!("ERROR: there is no item {number}"))?;
            self.draft = Some(format!("edit {number} {}", item.text));
            return Ok(());
        }
        self.tracer.edit(number, text)?;
        self.added(&[number]);
        Ok(())
    }

    fn watch(&mut self, rest: &str) -> Result<(), Refused> {
        let mut words = rest.split_whitespace();
        let name = needed(words.next().unwrap_or_default(), "a map")?;
        let top = match words.next() {
            None => WATCH_TOP,
            Some(n) => n
                .parse()
                .map_err(|_| format!("ERROR: '{n}' is no number"))?,
        };
        let known = self.tracer.maps();
        let found = known.iter().find(|(_, m)| m.name == name);
        let id: MapId = found
            .ok_or_else(|| format!("ERROR: there is no map {name}"))?
            .0;
        let keyboard = RawInput::new().map_err(failed)?;
        self.console.hold(true);
        let mut last = Ok(String::new());
        loop {
            let text = self.tracer.map_text(id, Some(top));
            let shown = text.as_deref().unwrap_or_default();
            // The last lines are the largest.
            let room = ratatui::crossterm::terminal::size().map_or(24, |(_, rows)| rows.into());
            let lines: Vec<&str> = shown.lines().collect();
            let from = lines.len().saturating_sub(room.max(4usize) - 3);
            // Home, each line cleared to its end, then what is below: nothing flickers.
            let shown = lines[from..].join("\x1b[K\n");
            let head = "\x1b[?1049h\x1b[H";
            self.console.draw(&format!(
                "{head}watch {name}: any key stops\x1b[K\n\n{shown}\x1b[J"
            ));
            let over = text.is_err();
            last = text.or(last);
            if over || keyboard.key(WATCH_MS) {
                break;
            }
        }
        drop(keyboard);
        self.console.draw("\x1b[?1049l");
        self.console.hold(false);
        self.console.say(&last.map_err(failed)?);
        Ok(())
    }

    fn list(&self, pattern: &str, arguments: bool) {
        let search = (!pattern.is_empty()).then_some(pattern);
        let paths = self
            .args
            .pid
            .map_or_else(PathResolver::system, PathResolver::for_pid);
        let listing = list::list(search, arguments, self.tracer.env(), &paths);
        self.page(&listing.text);
        for warning in &listing.warnings {
            self.console.say(&format!("WARNING: {warning}\n"));
        }
    }

    fn set(&mut self, rest: &str) -> Result<(), Refused> {
        if rest.is_empty() {
            // All of them with the values that they have.
            return self.tracer.evaluate("config").map(drop);
        }
        let (key, value) = rest.split_once('=').ok_or("ERROR: USAGE: set KEY=VALUE")?;
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        self.tracer.configure(|s| s.set(&key, &value))
    }

    /// Writes a long answer, unless Ctrl-C stops it.
    fn page(&self, text: &str) {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for page in lines.chunks(PAGE) {
            if matches!(self.signals.next(), Ok(Some(_))) {
                self.console.say("Stopped.\n");
                return;
            }
            self.console.say(&page.concat());
        }
    }
}

fn terminal(e: ReadlineError) -> Error {
    Error::invalid(e.to_string()).context("terminal")
}

fn failed(e: Error) -> Refused {
    format!("ERROR: {e}")
}

fn needed<'a>(rest: &'a str, what: &str) -> Result<&'a str, Refused> {
    match rest {
        "" => Err(format!("ERROR: USAGE: the command needs {what}")),
        rest => Ok(rest),
    }
}

/// Whether a text that is no script was meant to be one.
fn looks_like_probe(line: &str) -> bool {
    let head = line.split('{').next().unwrap_or(line).trim();
    let provider = head.split([':', ' ', '/']).next().unwrap_or(head);
    crate::sema::probes::PROVIDERS
        .iter()
        .any(|r| r.name == provider || r.aliases.contains(&provider))
}

/// A time with a unit that suits it.
fn duration(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1000),
        10_000_000..10_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}
