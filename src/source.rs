//! Source texts and positions in them.
//!
//! Every text that is compiled (a script, an imported file, a macro of the standard library)
//! gets a [`FileId`]; a [`Span`] is a byte range in one of them.

use std::fmt;

/// A source text in a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A half-open byte range in one source text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The text.
    pub file: FileId,
    /// First byte.
    pub lo: u32,
    /// One past the last byte.
    pub hi: u32,
}

impl Span {
    /// The range `lo..hi` of `file`.
    pub fn new(file: FileId, lo: usize, hi: usize) -> Self {
        Self {
            file,
            lo: lo as u32,
            hi: hi as u32,
        }
    }

    /// This span up to where `end` ends; `self` where they lie in different texts.
    #[must_use]
    pub fn to_end_of(self, end: Span) -> Span {
        match self.file == end.file {
            true => Span { hi: end.hi, ..self },
            false => self,
        }
    }

    /// The smallest span that covers both; `self` where they lie in different texts.
    #[must_use]
    pub fn to(self, end: Span) -> Span {
        if self.file != end.file {
            return self;
        }
        Span {
            file: self.file,
            lo: self.lo.min(end.lo),
            hi: self.hi.max(end.hi),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}..{}", self.file.0, self.lo, self.hi)
    }
}

/// A position for people: both numbers start at 1, columns count bytes with tabs as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineCol {
    /// Line.
    pub line: u32,
    /// Column.
    pub col: u32,
}

/// One source text.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The name diagnostics show: the path as given, or `stdin`.
    pub name: String,
    /// The text; script bytes that are not UTF-8 are refused before they get here.
    pub text: String,
    line_starts: Vec<u32>,
}

impl SourceFile {
    /// The position of byte `offset`.
    pub fn line_col(&self, offset: u32) -> LineCol {
        let line = self.line_starts.partition_point(|&s| s <= offset).max(1);
        LineCol {
            line: line as u32,
            col: offset - self.line_starts[line - 1] + 1,
        }
    }

    /// The byte of a position; the end of the text past it.
    pub fn offset(&self, line: u32, col: u32) -> u32 {
        let i = (line as usize).saturating_sub(1);
        let start = self.line_starts.get(i).copied();
        let end = self.text.len() as u32;
        start.map_or(end, |s| (s + col.saturating_sub(1)).min(end))
    }

    /// The text of a line (from 1), without its newline; empty past the end.
    pub fn line(&self, line: u32) -> &str {
        let i = (line as usize).saturating_sub(1);
        let Some(&start) = self.line_starts.get(i) else {
            return "";
        };
        let end = self
            .line_starts
            .get(i + 1)
            .map_or(self.text.len(), |&e| e as usize);
        self.text[start as usize..end].trim_end_matches(['\n', '\r'])
    }
}

/// All source texts of one compilation.
#[derive(Debug, Default, Clone)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a text; texts over 4 GiB are not supported by [`Span`].
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let text = text.into();
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(i, _)| i as u32 + 1))
            .collect();
        self.files.push(SourceFile {
            name: name.into(),
            text,
            line_starts,
        });
        FileId(self.files.len() as u32 - 1)
    }

    /// Number of texts.
    pub fn len(&self) -> u32 {
        self.files.len() as u32
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The text with this id.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// Start of a span as line and column.
    pub fn start(&self, span: Span) -> LineCol {
        self.file(span.file).line_col(span.lo)
    }

    /// End (exclusive) of a span as line and column.
    pub fn end(&self, span: Span) -> LineCol {
        self.file(span.file).line_col(span.hi)
    }

    /// The text that a span covers.
    pub fn text(&self, span: Span) -> &str {
        &self.file(span.file).text[span.lo as usize..span.hi as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one() {
        let mut map = SourceMap::default();
        let id = map.add("stdin", "a\nbc\n");
        let at = |lo| map.start(Span::new(id, lo, lo));
        assert_eq!(at(0), LineCol { line: 1, col: 1 });
        assert_eq!(at(3), LineCol { line: 2, col: 2 });
        assert_eq!(map.file(id).line(2), "bc");
        assert_eq!(map.file(id).line(9), "");
    }
}
