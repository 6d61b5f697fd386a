//! Diagnostics: what is wrong with a script, as data.
//!
//! Every phase pushes [`Diagnostic`]s into a [`Diagnostics`] and goes on where it can, so that
//! one run reports several mistakes. [`render`] alone turns them into text. System errors are
//! `crate::error::Error`, not diagnostics.

pub mod codes;
pub mod render;

pub use codes::Code;

use std::collections::HashSet;

use crate::source::Span;

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The script cannot run.
    Error,
    /// The script runs, perhaps not as its author thinks.
    Warning,
}

/// A further remark of a diagnostic, shown after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// The remark.
    pub message: String,
    /// The place it speaks of.
    pub span: Option<Span>,
}

/// One mistake in a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Stable identification.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, one sentence.
    pub message: String,
    /// Where; `None` for what has no place in a script (an option, the machine).
    pub span: Option<Span>,
    /// Further places and remarks.
    pub notes: Vec<Note>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Macro calls that led to the place, innermost first.
    pub expanded_from: Vec<Span>,
}

impl Diagnostic {
    fn new(code: Code, severity: Severity, span: Option<Span>, message: String) -> Self {
        Self {
            code,
            severity,
            message,
            span,
            notes: Vec::new(),
            hint: None,
            expanded_from: Vec::new(),
        }
    }

    /// An error; `span` may be a `Span` or an `Option<Span>`.
    pub fn error(code: Code, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, span.into(), message.into())
    }

    /// A warning; `span` may be a `Span` or an `Option<Span>`.
    pub fn warning(code: Code, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, span.into(), message.into())
    }

    /// Adds a suggestion; a second one goes on a line of its own.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.hint = Some(match self.hint {
            Some(old) => old + "\n" + &hint,
            None => hint,
        });
        self
    }

    /// Adds a remark, with the place it speaks of if there is one.
    #[must_use]
    pub fn note(mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        self.notes.push(Note {
            message: message.into(),
            span: span.into(),
        });
        self
    }

    /// Sets the macro calls that led here, innermost first.
    #[must_use]
    pub fn expanded_from(mut self, calls: impl IntoIterator<Item = Span>) -> Self {
        self.expanded_from = calls.into_iter().collect();
        self
    }
}

/// The diagnostics of a run, in the order they were found, without repetitions.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    seen: HashSet<Diagnostic>,
}

impl Diagnostics {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a diagnostic unless an equal one is there.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.seen.insert(diagnostic.clone()) {
            self.list.push(diagnostic);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Diagnostics) {
        for d in other.list {
            self.push(d);
        }
    }

    /// Whether anything forbids to run the script.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of diagnostics.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// In the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// In the order they are shown: errors before warnings, otherwise as found.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<_> = self.list.iter().collect();
        all.sort_by_key(|d| d.severity);
        all
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(d: Diagnostic) -> Self {
        let mut all = Self::new();
        all.push(d);
        all
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, iter: I) {
        for d in iter {
            self.push(d);
        }
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_first_and_repetitions_once() {
        let mut all = Diagnostics::new();
        all.push(Diagnostic::warning(Code::UnusedMap, None, "w"));
        assert!(!all.has_errors());
        all.push(Diagnostic::error(Code::Expected, None, "a"));
        all.push(Diagnostic::error(Code::Expected, None, "b"));
        all.push(Diagnostic::error(Code::Expected, None, "a"));
        assert!(all.has_errors());
        let shown: Vec<_> = all.sorted().iter().map(|d| d.message.as_str()).collect();
        assert_eq!(shown, ["a", "b", "w"]);
    }
}
