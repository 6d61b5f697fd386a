//! What may have been meant: advice for the commonest mistakes.

use super::Rule;

/// Operators, longest first, so that a diagnostic underlines them whole.
const OPERATORS: &[&str] = &[
    "===", "!==", "<<=", ">>=", "**", "==", "!=", "<=", ">=", "<<", ">>", "&&", "||", "++", "--",
    "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "->", "=>", "<>", ":=", "..", "?:",
];

/// The token at the start of `text`; empty only at its end.
pub(super) fn token(text: &str) -> &str {
    let Some(first) = text.chars().next() else {
        return "";
    };
    let word = |from: usize| {
        text[from..]
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map_or(text.len(), |n| from + n)
    };
    let len = match first {
        '$' | '@' => word(1),
        c if c.is_ascii_alphanumeric() || c == '_' => word(0),
        '"' => text[1..].find(['"', '\n']).map_or(text.len(), |n| {
            n + 1 + usize::from(text.as_bytes()[n + 1] == b'"')
        }),
        _ => OPERATORS
            .iter()
            .find(|op| text.starts_with(**op))
            .map_or(first.len_utf8(), |op| op.len()),
    };
    &text[..len]
}

/// Advice for a missing token: `rule` is the `missing_*` rule, `at` where it belongs.
pub(super) fn missing(rule: Rule, text: &str, at: usize) -> Option<String> {
    let next = token(&text[at..]);
    let before = text[..at].trim_end();
    if let Some(hint) = by_token(next) {
        return Some(hint);
    }
    Some(match rule {
        Rule::missing_semi if ends_with_word(before, &["elseif", "elif", "elsif"]) => {
            "write 'else if'".into()
        }
        Rule::missing_semi if next == ")" || next == "]" => {
            format!("there is no bracket that this '{next}' closes")
        }
        Rule::missing_semi => "statements are separated by ';'".into(),
        Rule::missing_slash if next == "=" => "'=' assigns; compare with '=='".into(),
        Rule::missing_slash => "a predicate stands between slashes: probe / condition / { ... }".into(),
        Rule::missing_lbrace | Rule::missing_rparen if next == "=" => {
            "'=' assigns; compare with '=='".into()
        }
        Rule::missing_lbrace => "a body stands in braces: { ... }".into(),
        Rule::missing_rparen => "an opening '(' has no ')'".into(),
        Rule::missing_rbracket => "the list of keys or indices ends with ']'".into(),
        Rule::missing_rbrace => "a '{' has no '}'".into(),
        Rule::missing_iter => "loops run over a map (for $kv : @m) or a range (for $i : 0..10)".into(),
        Rule::missing_expr if before.ends_with(['=', ',', '(']) && next == ";" => {
            "if the script came from a shell, '$' may have been replaced: use single quotes around it".into()
        }
        _ => return None,
    })
}

/// Advice for text that starts no statement.
pub(super) fn junk(text: &str, at: usize) -> Option<String> {
    let next = token(&text[at..]);
    by_token(next).or_else(|| {
        Some(match next {
            "else" => "'else' follows the '}' of an 'if'".into(),
            "=" | "+=" | "-=" | "," => {
                "if the script came from a shell, '$' may have been replaced: use single quotes around it".into()
            }
            ")" | "]" => format!("there is no bracket that this '{next}' closes"),
            _ => return None,
        })
    })
}

fn by_token(next: &str) -> Option<String> {
    let instead = |op: &str| Some(format!("there is no operator '{next}'; use '{op}'"));
    match next {
        "'" => Some("strings stand in double quotes".into()),
        "and" => instead("&&"),
        "or" => instead("||"),
        "not" => instead("!"),
        "===" => instead("=="),
        "!==" | "<>" => instead("!="),
        ":=" => instead("="),
        "**" => Some("there is no power operator".into()),
        "=>" => instead(">="),
        "elseif" | "elif" | "elsif" => Some("write 'else if'".into()),
        _ => None,
    }
}

fn ends_with_word(text: &str, words: &[&str]) -> bool {
    words.iter().any(|w| {
        text.strip_suffix(w)
            .is_some_and(|t| !t.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}
