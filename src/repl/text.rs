//! Reading a line that is still being typed: where the cursor stands, what is open.
//!
//! No grammar here, as half a script has none; a scan that knows strings, comments and braces.

/// Pieces of a line, for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A name.
    Word,
    /// `@name`
    Map,
    /// `$name`
    Variable,
    /// A number.
    Number,
    /// A string, perhaps without its end.
    Text,
    /// A comment.
    Comment,
    /// Anything else, a byte or more.
    Other,
}

/// Cuts a text into tokens: kind and end of each, in order.
pub fn tokens(text: &str) -> Vec<(Token, usize)> {
    let bytes = text.as_bytes();
    let name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let rest = &bytes[at..];
        let run = |from: usize| from + rest[from..].iter().take_while(|b| name(b)).count();
        let (token, len) = match b {
            b'"' => {
                let mut end = 1;
                while end < rest.len() && rest[end] != b'"' {
                    end += 1 + usize::from(rest[end] == b'\\');
                }
                (Token::Text, (end + 1).min(rest.len()))
            }
            b'/' if rest.starts_with(b"//") => {
                let line = rest.iter().position(|&c| c == b'\n');
                (Token::Comment, line.unwrap_or(rest.len()))
            }
            b'/' if rest.starts_with(b"/*") => {
                let end = rest[2..].windows(2).position(|w| w == b"*/");
                (Token::Comment, end.map_or(rest.len(), |i| i + 4))
            }
            b'@' => (Token::Map, run(1)),
            b'$' => (Token::Variable, run(1)),
            b'0'..=b'9' => (Token::Number, run(0)),
            _ if name(&b) => (Token::Word, run(0)),
            // A whole character.
            _ => (
                Token::Other,
                text[at..].chars().next().map_or(1, char::len_utf8),
            ),
        };
        at += len;
        out.push((token, at));
    }
    out
}

/// Whether braces or parentheses are open, so that another line belongs to this one.
pub fn is_open(text: &str) -> bool {
    let mut depth = 0i32;
    let mut from = 0;
    let mut in_comment = false;
    for (token, end) in tokens(text) {
        let piece = &text[from..end];
        from = end;
        in_comment = token == Token::Comment && piece.starts_with("/*") && !piece.ends_with("*/");
        match piece {
            "{" | "(" => depth += 1,
            "}" | ")" => depth -= 1,
            _ => {}
        }
    }
    depth > 0 || in_comment
}

/// Where the cursor stands, for completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In an attach point; its text so far, and whether the line starts there.
    Probe(&'a str, bool),
    /// In a body: the word so far, with the members before it (`curtask.mm.`), and the header
    /// of the probe.
    Body(&'a str, &'a str),
    /// In a `config` block, where the name of an option is.
    Config(&'a str),
    /// After `struct`.
    Struct(&'a str),
    /// In a string or comment.
    Nowhere,
}

/// Where the end of `text` stands.
pub fn place(text: &str) -> Place<'_> {
    let (mut depth, mut from, mut header, mut body) = (0u32, 0, 0, 0);
    let mut last = (Token::Other, 0);
    for (token, end) in tokens(text) {
        let piece = &text[from..end];
        // Slashes of paths look like comments, quotes belong to C++ names.
        last = (token, from);
        from = end;
        match piece {
            "{" => {
                if depth == 0 {
                    body = end;
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    header = end;
                }
            }
            _ => {}
        }
    }
    let text_open = last.0 == Token::Text && (!text.ends_with('"') || text.len() == last.1 + 1);
    let quoted = |c: char| c == ' ' || c == ',';
    if depth == 0 {
        let spec = &text[header..];
        let lead = spec.len() - spec.trim_start().len();
        // The attach point that the cursor is in: from the last blank or comma outside of quotes.
        let mut start = lead;
        let mut in_quotes = false;
        for (i, c) in spec.char_indices().skip_while(|(i, _)| *i < lead) {
            match c {
                '"' => in_quotes = !in_quotes,
                c if (quoted(c) || c == '\n') && !in_quotes => start = i + c.len_utf8(),
                _ => {}
            }
        }
        let first = header == 0 && start == lead;
        let word = &spec[start..];
        let before = spec[..start].trim_end();
        if before.ends_with("struct") {
            return Place::Struct(word);
        }
        let is_probe = first || before.is_empty() || before.ends_with(',');
        if is_probe && (word.contains(':') || !word.contains(['(', '@', '.', '$'])) {
            return Place::Probe(word, first);
        }
        if text_open {
            return Place::Nowhere;
        }
        // An expression, or the arguments of a command.
        return Place::Body(tail(spec), "");
    }
    if text_open || last.0 == Token::Comment {
        return Place::Nowhere;
    }
    let word = tail(&text[body..]);
    let before = text[..text.len() - word.len()].trim_end();
    if before.ends_with("struct") {
        return Place::Struct(word);
    }
    let header = text[header..body].trim_end_matches('{').trim();
    let is_config = header
        .strip_prefix("config")
        .is_some_and(|rest| rest.trim() == "=");
    if is_config {
        return match before.ends_with(['{', ';', ',']) {
            true => Place::Config(word),
            false => Place::Nowhere,
        };
    }
    Place::Body(word, header)
}

/// The word at the end, with `.` and `->`.
fn tail(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut start = bytes.len();
    while start > 0 {
        let b = bytes[start - 1];
        let arrow = b == b'>' && start > 1 && bytes[start - 2] == b'-';
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@' | b'$') {
            start -= 1;
        } else if arrow {
            start -= 2;
        } else {
            break;
        }
    }
    &text[start..]
}

/// The name of the function whose parentheses the end of `text` is in.
pub fn open_call(text: &str) -> Option<&str> {
    let mut open: Vec<Option<&str>> = Vec::new();
    let (mut from, mut word) = (0, None);
    for (token, end) in tokens(text) {
        let piece = &text[from..end];
        from = end;
        match (token, piece) {
            (Token::Word, name) => word = Some(name),
            (Token::Other, "(") => open.push(word.take()),
            (Token::Other, ")") => {
                open.pop();
                word = None;
            }
            _ => word = None,
        }
    }
    open.pop().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_braces_ask_for_more() {
        assert!(is_open("begin {"));
        assert!(is_open("begin { printf(\"}\\\"}\""));
        assert!(is_open("begin { // }"));
        assert!(is_open("/* what"));
        assert!(!is_open("begin { if (1) { } }"));
        assert!(!is_open("uprobe:/bin/node:f { }"));
    }

    #[test]
    fn places_of_the_cursor() {
        use Place::{Body, Nowhere, Probe, Struct};
        assert_eq!(place("upr"), Probe("upr", true));
        assert_eq!(
            place("uprobe:node:node::TCP"),
            Probe("uprobe:node:node::TCP", true)
        );
        assert_eq!(place("begin { } k:a, k:b"), Probe("k:b", false));
        assert_eq!(
            place("uprobe:node:cpp:\"a b::c"),
            Probe("uprobe:node:cpp:\"a b::c", true)
        );
        assert_eq!(
            place("tracepoint:sched:sched_switch { @[args.pr"),
            Body("args.pr", "tracepoint:sched:sched_switch")
        );
        assert_eq!(
            place("begin { print(curtask->mm."),
            Body("curtask->mm.", "begin")
        );
        assert_eq!(place("print(@la"), Body("@la", ""));
        assert_eq!(place("watch @l"), Body("@l", ""));
        assert_eq!(place("sizeof(struct tas"), Struct("tas"));
        assert_eq!(place("begin { sizeof(struct tas"), Struct("tas"));
        assert_eq!(place("begin { printf(\"x"), Nowhere);
    }

    #[test]
    fn the_innermost_open_call() {
        assert_eq!(open_call("begin { printf(\"%s\", str("), Some("str"));
        assert_eq!(open_call("begin { printf(\"%s\", str(1), "), Some("printf"));
        assert_eq!(open_call("begin { ("), None);
    }
}
