//! C preprocessing tokens.
//!
//! In: the text of a header or of a script's C part. Out: small, copyable tokens whose texts are
//! interned; comments and line splices are gone, starts of lines are marked. Every text can be
//! tokenized: what C does not know becomes a token of its own.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

/// An interned text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sym(u32);

impl Sym {
    /// Small and dense: usable as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// FNV-1a, eight bytes a step. The texts are short, and nobody gains by making them collide but
/// the one who runs the script.
#[derive(Debug)]
pub struct TextHasher(u64);

impl Default for TextHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut step = |word: u64| {
            self.0 = (self.0 ^ word)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(23);
        };
        let mut chunks = bytes.chunks_exact(8);
        for c in &mut chunks {
            step(u64::from_le_bytes([
                c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7],
            ]));
        }
        for &b in chunks.remainder() {
            step(u64::from(b));
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

/// The texts of all tokens.
#[derive(Debug, Default)]
pub struct Interner {
    ids: HashMap<Rc<str>, Sym, BuildHasherDefault<TextHasher>>,
    texts: Vec<Rc<str>>,
}

impl Interner {
    /// The symbol of a text.
    pub fn intern(&mut self, text: &str) -> Sym {
        if let Some(&sym) = self.ids.get(text) {
            return sym;
        }
        let sym = Sym(self.texts.len() as u32);
        let text: Rc<str> = Rc::from(text);
        self.texts.push(text.clone());
        self.ids.insert(text, sym);
        sym
    }

    /// The symbol of a text that may never have occurred.
    pub fn get(&self, text: &str) -> Option<Sym> {
        self.ids.get(text).copied()
    }

    /// The text of a symbol.
    pub fn text(&self, sym: Sym) -> &str {
        &self.texts[sym.0 as usize]
    }
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier or keyword.
    Ident,
    /// A preprocessing number.
    Number,
    /// A character constant, with its quotes.
    Char,
    /// A string literal, with its quotes.
    String,
    /// An operator or separator.
    Punct,
    /// Anything else, one character.
    Other,
}

/// Where a token stands: a text in the preprocessor's list and a byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Loc {
    /// The text.
    pub file: u32,
    /// The byte.
    pub offset: u32,
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// First on its line.
    pub starts_line: bool,
    /// White space stands before it.
    pub spaced: bool,
    /// Its text.
    pub sym: Sym,
    /// Where it stands; for a token out of a macro, where the macro was used.
    pub loc: Loc,
    /// Macros that it may not be expanded by again: a chain in the preprocessor.
    pub hidden: u32,
}

/// Operators of more than one character, longest first.
const OPERATORS: [&str; 24] = [
    "...", "<<=", ">>=", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "*=",
    "/=", "%=", "+=", "-=", "&=", "^=", "|=", "##", "::",
];

/// Cuts a text into tokens.
pub fn tokenize(text: &str, file: u32, names: &mut Interner) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::with_capacity(bytes.len() / 5);
    let mut scratch = String::new();
    let mut at = 0;
    let (mut starts_line, mut spaced) = (true, false);
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'\n' => {
                starts_line = true;
                spaced = true;
                at += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' | 0x0b | 0x0c => {
                spaced = true;
                at += 1;
                continue;
            }
            b'\\' if splice(bytes, at).is_some() => {
                at = splice(bytes, at).unwrap_or(at + 1);
                spaced = true;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                // A splice continues the comment on the next line.
                while at < bytes.len() && bytes[at] != b'\n' {
                    at = splice(bytes, at).unwrap_or(at + 1);
                }
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = memchr::memmem::find(&bytes[at + 2..], b"*/")
                    .map_or(bytes.len(), |end| at + 2 + end + 2);
                spaced = true;
                continue;
            }
            _ => {}
        }
        let kind = match bytes[at] {
            b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$' => {
                at = run(bytes, at, |b, _| is_ident(b));
                let prefix = &bytes[start..at];
                match bytes.get(at) {
                    // Wide and Unicode literals.
                    Some(&q @ (b'"' | b'\'')) if matches!(prefix, b"L" | b"u" | b"U" | b"u8") => {
                        match quoted(bytes, at, q) {
                            Some(end) => {
                                at = end;
                                if q == b'"' { Kind::String } else { Kind::Char }
                            }
                            None => Kind::Ident,
                        }
                    }
                    _ => Kind::Ident,
                }
            }
            b'0'..=b'9' => {
                at = run(bytes, at, number_continues);
                Kind::Number
            }
            b'.' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                at = run(bytes, at, number_continues);
                Kind::Number
            }
            q @ (b'"' | b'\'') => match quoted(bytes, at, q) {
                Some(end) => {
                    at = end;
                    if q == b'"' { Kind::String } else { Kind::Char }
                }
                // An apostrophe in the text of an #error.
                None => {
                    at += 1;
                    Kind::Other
                }
            },
            b if b.is_ascii_punctuation() => {
                let rest = &bytes[at..];
                let operator = OPERATORS.iter().find(|o| rest.starts_with(o.as_bytes()));
                at += operator.map_or(1, |o| o.len());
                Kind::Punct
            }
            _ => {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                Kind::Other
            }
        };
        let raw = &text[start..at];
        let sym = if raw.contains('\\') && kind != Kind::Punct {
            unspliced(raw, &mut scratch);
            names.intern(&scratch)
        } else {
            names.intern(raw)
        };
        tokens.push(Token {
            kind,
            starts_line,
            spaced,
            sym,
            loc: Loc {
                file,
                offset: start as u32,
            },
            hidden: 0,
        });
        (starts_line, spaced) = (false, false);
    }
    tokens
}

fn is_ident(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$'
}

/// `1e+5` and `0x1p-3` are one number.
fn number_continues(b: u8, before: u8) -> bool {
    is_ident(b)
        || b == b'.'
        || matches!(b, b'+' | b'-') && matches!(before, b'e' | b'E' | b'p' | b'P')
}

/// End of the run of bytes that `continues`, splices skipped over.
fn run(bytes: &[u8], start: usize, continues: fn(u8, u8) -> bool) -> usize {
    let mut at = start + 1;
    let mut before = bytes[start];
    while let Some(&b) = bytes.get(at) {
        if let Some(next) = splice(bytes, at) {
            if !bytes.get(next).is_some_and(|&b| continues(b, before)) {
                break;
            }
            at = next;
        } else if continues(b, before) {
            // `0x1e+5` is a sum: e is a digit of a hexadecimal number.
            let hex = bytes[start..at].starts_with(b"0x") || bytes[start..at].starts_with(b"0X");
            if matches!(b, b'+' | b'-') && hex && matches!(before, b'e' | b'E') {
                break;
            }
            before = b;
            at += 1;
        } else {
            break;
        }
    }
    at
}

/// One past a backslash and the newline behind it.
fn splice(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..) {
        Some([b'\\', b'\n', ..]) => Some(at + 2),
        Some([b'\\', b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    }
}

/// One past the closing quote on the same line.
fn quoted(bytes: &[u8], at: usize, quote: u8) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match *bytes.get(at)? {
            b'\n' => return None,
            b'\\' => at = splice(bytes, at).unwrap_or(at + 2),
            b if b == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn unspliced(raw: &str, out: &mut String) {
    out.clear();
    out.push_str(&raw.replace("\\\r\n", "").replace("\\\n", ""));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let mut names = Interner::default();
        tokenize(text, 0, &mut names)
            .iter()
            .map(|t| names.text(t.sym).to_owned())
            .collect()
    }

    #[test]
    fn tokens_without_comments_and_splices() {
        assert_eq!(
            texts("a/*x*/+=0x1e+1 // c\\\n still\n\"s\\\"t\"..."),
            ["a", "+=", "0x1e", "+", "1", "\"s\\\"t\"", "..."]
        );
        assert_eq!(texts("ab\\\ncd 1.5e-3"), ["abcd", "1.5e-3"]);
    }

    #[test]
    fn any_text_ends() {
        assert_eq!(texts("don't é \\"), ["don", "'", "t", "é", "\\"]);
        assert_eq!(texts("/* open"), [] as [&str; 0]);
        assert_eq!(texts("\"a\\"), ["\"", "a", "\\"]);
    }
}
