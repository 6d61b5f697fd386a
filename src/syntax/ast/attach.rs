//! Attach points: raw text and its parts.

use super::Ident;
use crate::source::Span;

/// One attach point: raw text, and the same split at `:` and `@`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachPoint {
    /// `name=` in front of the provider.
    pub label: Option<Ident>,
    /// The text as written, without the label.
    pub raw: String,
    /// The parts, at least one; the first is the provider.
    pub parts: Vec<ApPart>,
    /// The attach point with its label.
    pub span: Span,
}

/// One part of an attach point.
#[derive(Clone, Debug, PartialEq)]
pub struct ApPart {
    /// What stands before the part.
    pub sep: ApSep,
    /// The pieces of the part; empty for an empty part, as at the end of `hardware:cycles:`.
    pub segments: Vec<ApSegment>,
    /// The part without its separator.
    pub span: Span,
}

/// What separates a part from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApSep {
    /// The part is the provider.
    Start,
    /// `:`
    Colon,
    /// `@`
    At,
}

/// A piece of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum ApSegment {
    /// Text as written.
    Text(String),
    /// Text from double quotes with escapes resolved; never split further.
    Quoted(String),
    /// `$n`: the positional parameter `n`, from 1.
    Positional(u32),
}

impl ApPart {
    /// The text of the part, with `param(n)` for `$n`. The first missing parameter is the error.
    pub fn resolve<'a>(
        &self,
        mut param: impl FnMut(u32) -> Option<&'a str>,
    ) -> Result<String, u32> {
        let mut out = String::new();
        for s in &self.segments {
            match s {
                ApSegment::Text(t) | ApSegment::Quoted(t) => out.push_str(t),
                ApSegment::Positional(n) => out.push_str(param(*n).ok_or(*n)?),
            }
        }
        Ok(out)
    }

    /// The text of a part that has no positional parameter.
    pub fn text(&self) -> Option<String> {
        self.resolve(|_| None).ok()
    }

    /// Whether any of the part stood in quotes.
    pub fn is_quoted(&self) -> bool {
        self.segments
            .iter()
            .any(|s| matches!(s, ApSegment::Quoted(_)))
    }
}
