//! Diagnostics as text for people and as JSON for editors.
//!
//! Input: diagnostics and the source map they point into. Output: a string; nothing is
//! written anywhere. A place is `FILE:LINE:C1-C2` (the second column exclusive) or, over
//! several lines, `FILE:L1-L2`; columns count bytes from 1.

use std::fmt::Write as _;

use super::{Diagnostic, Diagnostics, Severity};
use crate::source::{SourceMap, Span};

/// A tab in a quoted source line takes this many spaces.
const TAB: &str = "    ";

/// How diagnostics are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Colour the words ERROR, WARNING and HINT.
    pub color: bool,
    /// Show the stable code in brackets after the message.
    pub codes: bool,
}

/// All diagnostics as text, errors first; empty if there are none.
pub fn text(diags: &Diagnostics, sources: &SourceMap, style: Style) -> String {
    let mut out = String::new();
    for d in diags.sorted() {
        one(&mut out, d, sources, style);
    }
    out
}

/// One diagnostic as text, with its notes, hint and macro calls.
pub fn diagnostic(d: &Diagnostic, sources: &SourceMap, style: Style) -> String {
    let mut out = String::new();
    one(&mut out, d, sources, style);
    out
}

fn one(out: &mut String, d: &Diagnostic, sources: &SourceMap, style: Style) {
    let suffix = if style.codes {
        format!(" [{}]", d.code)
    } else {
        String::new()
    };
    let message = format!("{}{suffix}", d.message);
    placed(out, d.span, d.severity, &message, sources, style);
    for note in &d.notes {
        placed(out, note.span, d.severity, &note.message, sources, style);
    }
    for line in d.hint.iter().flat_map(|h| h.lines()) {
        let _ = writeln!(out, "{}: {line}", paint("HINT", "36", style));
    }
    for call in &d.expanded_from {
        placed(
            out,
            Some(*call),
            d.severity,
            "expanded from",
            sources,
            style,
        );
    }
}

/// `PLACE: WORD: message` and, for a span within a line, that line with its underline.
fn placed(
    out: &mut String,
    span: Option<Span>,
    severity: Severity,
    message: &str,
    sources: &SourceMap,
    style: Style,
) {
    if let Some(span) = span {
        let _ = write!(out, "{}: ", place(span, sources));
    }
    let word = match severity {
        Severity::Error => paint("ERROR", "31", style),
        Severity::Warning => paint("WARNING", "33", style),
    };
    let _ = writeln!(out, "{word}: {message}");
    if let Some(span) = span {
        quote(out, span, sources);
    }
}

/// A span as people read it.
pub fn place(span: Span, sources: &SourceMap) -> String {
    let name = &sources.file(span.file).name;
    let (a, b) = (sources.start(span), sources.end(span));
    if a.line == b.line {
        format!("{name}:{}:{}-{}", a.line, a.col, b.col.max(a.col + 1))
    } else {
        format!("{name}:{}-{}", a.line, b.line)
    }
}

fn quote(out: &mut String, span: Span, sources: &SourceMap) {
    let (a, b) = (sources.start(span), sources.end(span));
    if a.line != b.line {
        return;
    }
    let line = sources.file(span.file).line(a.line);
    let lo = (a.col as usize - 1).min(line.len());
    let hi = (b.col as usize - 1).clamp(lo, line.len());
    // A character takes one column, whatever its number of bytes.
    let width = |s: &str| -> usize {
        s.chars()
            .map(|c| if c == '\t' { TAB.len() } else { 1 })
            .sum()
    };
    // Spans end on character boundaries; a wrong one must still not panic.
    let before = line.get(..lo).map_or(lo, width);
    let marked = line.get(lo..hi).map_or(hi - lo, width).max(1);
    let _ = writeln!(out, "{}", line.replace('\t', TAB));
    let _ = writeln!(out, "{}{}", " ".repeat(before), "~".repeat(marked));
}

fn paint(word: &str, colour: &str, style: Style) -> String {
    if style.color {
        format!("\x1b[{colour}m{word}\x1b[0m")
    } else {
        word.to_owned()
    }
}

/// All diagnostics as one JSON array, errors first: objects with `code`, `severity`,
/// `message`, `span`, `notes`, `hint` and `expanded_from`; a span has `file`, `start` and `end`
/// with `line`, `col` (from 1) and `byte` (from 0), the end exclusive.
pub fn json(diags: &Diagnostics, sources: &SourceMap) -> String {
    let mut out = String::from("[");
    for (i, d) in diags.sorted().into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        let severity = match d.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = write!(
            out,
            "{{\"code\":\"{}\",\"severity\":\"{severity}\",\"message\":",
            d.code
        );
        json_string(&mut out, &d.message);
        out.push_str(",\"span\":");
        json_span(&mut out, d.span, sources);
        out.push_str(",\"notes\":[");
        for (i, note) in d.notes.iter().enumerate() {
            out.push_str(if i > 0 {
                ",{\"message\":"
            } else {
                "{\"message\":"
            });
            json_string(&mut out, &note.message);
            out.push_str(",\"span\":");
            json_span(&mut out, note.span, sources);
            out.push('}');
        }
        out.push_str("],\"hint\":");
        match &d.hint {
            Some(h) => json_string(&mut out, h),
            None => out.push_str("null"),
        }
        out.push_str(",\"expanded_from\":[");
        for (i, call) in d.expanded_from.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            json_span(&mut out, Some(*call), sources);
        }
        out.push_str("]}");
    }
    out.push(']');
    out
}

fn json_span(out: &mut String, span: Option<Span>, sources: &SourceMap) {
    let Some(span) = span else {
        out.push_str("null");
        return;
    };
    out.push_str("{\"file\":");
    json_string(out, &sources.file(span.file).name);
    for (key, at, byte) in [
        ("start", sources.start(span), span.lo),
        ("end", sources.end(span), span.hi),
    ] {
        let _ = write!(
            out,
            ",\"{key}\":{{\"line\":{},\"col\":{},\"byte\":{byte}}}",
            at.line, at.col
        );
    }
    out.push('}');
}

fn json_string(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Code;

    fn sources() -> (SourceMap, crate::source::FileId) {
        let mut s = SourceMap::default();
        let f = s.add("stdin", "begin {\tprint(é 1) }\nend {\n}\n");
        (s, f)
    }

    #[test]
    fn one_line_is_quoted_with_tabs_expanded() {
        let (s, f) = sources();
        let d = Diagnostic::error(Code::Expected, Span::new(f, 8, 13), "bad")
            .hint("try this")
            .note(Span::new(f, 0, 5), "This is the original definition.")
            .expanded_from([Span::new(f, 22, 25)]);
        assert_eq!(
            diagnostic(&d, &s, Style::default()),
            "stdin:1:9-14: ERROR: bad\n\
             begin {    print(é 1) }\n\
             \x20          ~~~~~\n\
             stdin:1:1-6: ERROR: This is the original definition.\n\
             begin {    print(é 1) }\n\
             ~~~~~\n\
             HINT: try this\n\
             stdin:2:1-4: ERROR: expanded from\n\
             end {\n\
             ~~~\n"
        );
    }

    #[test]
    fn several_lines_are_named_only() {
        let (s, f) = sources();
        let d = Diagnostic::warning(Code::Unreachable, Span::new(f, 22, 29), "w");
        assert_eq!(
            diagnostic(
                &d,
                &s,
                Style {
                    color: true,
                    codes: true
                }
            ),
            "stdin:2-3: \x1b[33mWARNING\x1b[0m: w [W0303]\n"
        );
        let d = Diagnostic::error(Code::BadOption, None, "no such flag");
        assert_eq!(
            diagnostic(&d, &s, Style::default()),
            "ERROR: no such flag\n"
        );
    }

    #[test]
    fn json_is_json() {
        let (s, f) = sources();
        let mut all = Diagnostics::new();
        all.push(Diagnostic::error(Code::Expected, Span::new(f, 22, 25), "a \"b\"").hint("x\ny"));
        all.push(Diagnostic::warning(Code::UnusedMap, None, "w").note(None, "n"));
        let v: serde_json::Value = serde_json::from_str(&json(&all, &s)).unwrap();
        assert_eq!(v[0]["code"], "E0101");
        assert_eq!(v[0]["message"], "a \"b\"");
        assert_eq!(v[0]["span"]["start"]["line"], 2);
        assert_eq!(v[0]["span"]["end"]["byte"], 25);
        assert_eq!(v[1]["severity"], "warning");
        assert_eq!(v[1]["notes"][0]["message"], "n");
        assert!(v[1]["span"].is_null());
    }
}
