//! Attach points: raw text split at `:` and `@` outside of quotes.

use super::{Builder, P, Rule, kids};
use crate::diag::Code;
use crate::source::Span;
use crate::syntax::ast::{ApPart, ApSegment, ApSep, AttachPoint};

impl Builder<'_> {
    pub(super) fn attach_point(&mut self, p: P<'_>) -> Option<AttachPoint> {
        let span = self.span(&p);
        let (mut label, mut raw, mut raw_at) = (None, "", 0);
        for k in kids(p) {
            match k.as_rule() {
                Rule::ap_label => label = Some(self.ident(&k)),
                _ => {
                    raw_at = k.as_span().start();
                    raw = k.as_str();
                }
            }
        }
        Some(AttachPoint {
            label,
            raw: raw.to_owned(),
            parts: self.split(raw, raw_at)?,
            span,
        })
    }

    fn split(&mut self, raw: &str, base: usize) -> Option<Vec<ApPart>> {
        let span = |lo: usize, hi: usize| Span::new(self.file, base + lo, base + hi);
        let mut parts = Vec::new();
        let mut part = ApPart {
            sep: ApSep::Start,
            segments: Vec::new(),
            span: span(0, 0),
        };
        let mut start = 0;
        let mut i = 0;
        while let Some(c) = raw[i..].chars().next() {
            match c {
                ':' | '@' => {
                    part.span = span(start, i);
                    let sep = if c == ':' { ApSep::Colon } else { ApSep::At };
                    i += 1;
                    start = i;
                    let next = ApPart {
                        sep,
                        segments: Vec::new(),
                        span: span(i, i),
                    };
                    parts.push(std::mem::replace(&mut part, next));
                }
                '"' => {
                    let Some((text, len)) = quoted(&raw[i..]) else {
                        let at = span(i, raw.len());
                        self.push(Code::Unterminated, at, "unterminated string");
                        return None;
                    };
                    part.segments.push(ApSegment::Quoted(text));
                    i += len;
                }
                '$' if raw[i + 1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    let digits = raw[i + 1..]
                        .find(|c: char| !c.is_ascii_digit())
                        .unwrap_or(raw.len() - i - 1);
                    let number = &raw[i + 1..i + 1 + digits];
                    let Some(n) = number.parse().ok().filter(|&n: &u32| n > 0) else {
                        let at = span(i, i + 1 + digits);
                        let message = format!("invalid positional parameter: ${number}");
                        self.push(Code::BadAttachPoint, at, message);
                        return None;
                    };
                    part.segments.push(ApSegment::Positional(n));
                    i += 1 + digits;
                }
                _ => {
                    match part.segments.last_mut() {
                        Some(ApSegment::Text(t)) => t.push(c),
                        _ => part.segments.push(ApSegment::Text(c.into())),
                    }
                    i += c.len_utf8();
                }
            }
        }
        part.span = span(start, raw.len());
        parts.push(part);
        Some(parts)
    }
}

/// Content and whole length of the quoted text at the start of `text`; a backslash takes the
/// character after it as it is.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((out, i + 1)),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}
