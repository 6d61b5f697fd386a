//! The line editor's helpers: completion, hints, colours, lines that go on.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ConditionalEventHandler, Context, Event, EventContext, Helper, RepeatCount, Result,
};

use super::commands;
use super::complete::Candidates;
use super::text::{self, Token};
use crate::builtins;

/// What rustyline asks while a line is typed.
pub struct Assistant {
    /// Completion.
    pub candidates: Arc<Candidates>,
    /// Whether to use colours.
    pub colour: bool,
}

impl Helper for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        Ok(self.candidates.find(&line[..pos]))
    }
}

/// A signature beside the line; nothing to insert.
pub struct Signature(String);

impl Hint for Signature {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Assistant {
    type Hint = Signature;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Signature> {
        if pos < line.len() {
            return None;
        }
        // The file's functions will be wanted by the time its name is typed.
        if line.starts_with('u') && line.ends_with(':') && line.matches(':').count() == 2 {
            let (candidates, line) = (Arc::clone(&self.candidates), line.to_owned());
            let thread = std::thread::Builder::new().name("symbols".into());
            // Without it, the first completion waits for them.
            let _ = thread.spawn(move || candidates.prepare(&line));
        }
        if let Some((command, "")) = commands::find(line)
            && line.ends_with(' ')
        {
            return Some(Signature(format!("  {}", command.usage)));
        }
        let builtin = builtins::find(text::open_call(line)?)?;
        Some(Signature(format!("  {}", builtin.usage)))
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if !self.colour {
            return Cow::Borrowed(line);
        }
        let mut out = String::with_capacity(line.len() * 2);
        let mut from = 0;
        for (token, end) in text::tokens(line) {
            let piece = &line[from..end];
            from = end;
            let code = match token {
                Token::Word if builtins::find(piece).is_some() => "34",
                Token::Word if is_keyword(piece) => "36",
                Token::Map => "33",
                Token::Variable => "35",
                Token::Text => "32",
                Token::Comment => "90",
                Token::Word | Token::Number | Token::Other => "",
            };
            if code.is_empty() {
                out.push_str(piece);
            } else {
                out.push_str(&format!("\x1b[{code}m{piece}\x1b[0m"));
            }
        }
        Cow::Owned(out)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if !self.colour {
            return Cow::Borrowed(hint);
        }
        Cow::Owned(format!("\x1b[90m{hint}\x1b[0m"))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.colour && kind != CmdKind::MoveCursor
    }
}

/// Notes what Ctrl-C was pressed on, and leaves the rest to the editor.
pub struct Interrupt {
    /// Whether the line was empty.
    pub on_empty: Arc<AtomicBool>,
}

impl ConditionalEventHandler for Interrupt {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, ctx: &EventContext<'_>) -> Option<Cmd> {
        self.on_empty
            .store(ctx.line().is_empty(), Ordering::Relaxed);
        None
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "if" | "else"
            | "while"
            | "for"
            | "unroll"
            | "break"
            | "continue"
            | "return"
            | "let"
            | "struct"
            | "union"
            | "enum"
            | "sizeof"
            | "offsetof"
            | "typeof"
            | "begin"
            | "end"
            | "macro"
            | "fn"
            | "import"
            | "config"
    )
}

impl Validator for Assistant {
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(match text::is_open(ctx.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}
