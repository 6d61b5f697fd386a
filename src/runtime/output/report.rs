//! Messages that point into the script: `FILE:LINE:C1-C2: WARNING: text`, the source line, and
//! its underline.
//!
//! The same form as compile-time diagnostics, from positions instead of spans: at run time
//! there is an object and no source map.

use super::names::push_display;
use crate::error::Error;
use crate::object::{Loc, Site, SiteKind};

/// A tab in a quoted source line takes this many spaces.
const TAB: &str = "    ";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Results may not be what they seem.
    Warning,
}

/// Writes messages about places in these sources.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// Name and text of each source.
    pub sources: &'a [(String, String)],
    /// Colour the word that says the level.
    pub color: bool,
}

impl Reporter<'_> {
    /// Appends a message; `detail` is a line between message and source, `expanded_from` are
    /// the macro calls around the place.
    pub fn at(
        &self,
        level: Level,
        loc: Loc,
        message: &[u8],
        detail: Option<&str>,
        expanded_from: &[Loc],
        out: &mut Vec<u8>,
    ) {
        self.head(level, Some(loc), message, out);
        if let Some(detail) = detail {
            push_display(out, format_args!("{detail}\n"));
        }
        self.quote(loc, out);
        for &call in expanded_from {
            self.head(level, Some(call), b"expanded from", out);
            self.quote(call, out);
        }
    }

    /// Appends a message of the script itself, with its place alone.
    pub fn said(&self, level: Level, loc: Loc, message: &[u8], out: &mut Vec<u8>) {
        self.head(level, Some(loc), message, out);
    }

    /// Appends a message about no place in particular.
    pub fn plain(&self, level: Level, message: &[u8], out: &mut Vec<u8>) {
        self.head(level, None, message, out);
    }

    fn head(&self, level: Level, loc: Option<Loc>, message: &[u8], out: &mut Vec<u8>) {
        if let Some(loc) = loc {
            self.place(loc, out);
            out.extend_from_slice(b": ");
        }
        let (word, colour) = match level {
            Level::Error => ("ERROR", "31"),
            Level::Warning => ("WARNING", "33"),
        };
        if self.color {
            push_display(out, format_args!("\x1b[{colour}m{word}\x1b[0m: "));
        } else {
            push_display(out, format_args!("{word}: "));
        }
        out.extend_from_slice(message.strip_suffix(b"\n").unwrap_or(message));
        out.push(b'\n');
    }

    fn place(&self, loc: Loc, out: &mut Vec<u8>) {
        let file = self.file_name(loc);
        if loc.line == loc.end_line {
            let end = loc.end_col.max(loc.col + 1);
            push_display(out, format_args!("{file}:{}:{}-{end}", loc.line, loc.col));
        } else {
            push_display(out, format_args!("{file}:{}-{}", loc.line, loc.end_line));
        }
    }

    /// Name of the source that `loc` is in.
    pub fn file_name(&self, loc: Loc) -> &str {
        self.sources
            .get(loc.file as usize)
            .map_or("", |(name, _)| name)
    }

    fn quote(&self, loc: Loc, out: &mut Vec<u8>) {
        let source = self.sources.get(loc.file as usize);
        let line = source.and_then(|(_, text)| text.lines().nth((loc.line as usize).max(1) - 1));
        let Some(line) = line.filter(|_| loc.line == loc.end_line) else {
            return;
        };
        let lo = (loc.col as usize).saturating_sub(1).min(line.len());
        let hi = (loc.end_col as usize)
            .saturating_sub(1)
            .clamp(lo, line.len());
        // A character takes one column, whatever its number of bytes.
        let width = |s: &str| -> usize {
            let tabs = s.matches('\t').count();
            s.chars().count() + tabs * (TAB.len() - 1)
        };
        let before = line.get(..lo).map_or(lo, width);
        let marked = line.get(lo..hi).map_or(hi - lo, width).max(1);
        out.extend_from_slice(line.replace('\t', TAB).as_bytes());
        push_display(out, format_args!("\n{:before$}{:~<marked$}\n", "", ""));
    }
}

/// What failed at a site, given the return code of its helper (0 if there is none).
pub fn site_text(site: &Site, code: i64) -> String {
    /// `E2BIG`: no room for another key.
    const FULL: i64 = -7;
    match site.kind {
        SiteKind::MapUpdate if code == FULL => MAP_FULL.to_owned(),
        SiteKind::MapFull => MAP_FULL.to_owned(),
        SiteKind::MapLookup => "Can't lookup map element because it does not exist.".to_owned(),
        SiteKind::DivideByZero => "Divide or modulo by 0 detected. This can lead to unexpected \
             results. 1 is being used as the result."
            .to_owned(),
        SiteKind::OutOfBounds => {
            "Array access out of bounds. This can lead to unexpected results.".to_owned()
        }
        SiteKind::Scratch => {
            "No scratch memory: too many programs are nested on this CPU. The probe did not run."
                .to_owned()
        }
        SiteKind::Truncated => "There was no room for the whole value (max_strlen).".to_owned(),
        SiteKind::Assert => format!("assert failed: {}", site.message),
        SiteKind::LostEvent => "The ring buffer was full.".to_owned(),
        SiteKind::MapUpdate | SiteKind::Read | SiteKind::Stack | SiteKind::Helper => {
            match i32::try_from(-code) {
                Ok(errno) if errno > 0 => Error::from_errno(errno).to_string(),
                _ => format!("{} failed", site.helper),
            }
        }
    }
}

const MAP_FULL: &str = "Map full; can't update element. Try increasing max_map_keys config or \
     manually setting the max entries in a map declaration e.g. `let @a = hash(5000)`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_line_and_underline() {
        let sources = [("stdin".to_owned(), "begin {\n\t@a = 1/$x;\n}".to_owned())];
        let r = Reporter {
            sources: &sources,
            color: false,
        };
        let loc = Loc {
            file: 0,
            line: 2,
            col: 7,
            end_line: 2,
            end_col: 11,
        };
        let mut out = Vec::new();
        r.at(
            Level::Warning,
            loc,
            b"zero\n",
            Some("Additional Info"),
            &[],
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "stdin:2:7-11: WARNING: zero\nAdditional Info\n    @a = 1/$x;\n         ~~~~\n"
        );
    }

    #[test]
    fn places_out_of_range_are_harmless() {
        let r = Reporter {
            sources: &[],
            color: true,
        };
        let mut out = Vec::new();
        r.at(
            Level::Error,
            Loc::default(),
            b"x",
            None,
            &[Loc::default()],
            &mut out,
        );
        assert!(out.starts_with(b":0:0-1: \x1b[31mERROR"));
    }
}
