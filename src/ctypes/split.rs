//! Where one declaration ends and the next one begins.
//!
//! In: preprocessed tokens. Out: the length of the first declaration in them and what sort it is,
//! told by its brackets and a few keywords, so that only types need to be parsed.

use super::preprocess::PACK;
use super::token::{Interner, Kind, Token};

/// What a run of tokens declares.
pub(super) enum Shape {
    /// Types: it is parsed.
    Types,
    /// A function with its body.
    FunctionBody,
    /// A prototype or a variable.
    Other,
    /// `#pragma pack`
    Pack(u64),
    /// The text ended inside it.
    Unfinished,
}

/// Length of the first declaration in `tokens`, and what it is.
pub(super) fn declaration_end(tokens: &[Token], names: &Interner) -> (usize, Shape) {
    let word = |i: usize| tokens.get(i).map_or("", |t| names.text(t.sym));
    if word(0) == PACK {
        return (
            3.min(tokens.len()),
            Shape::Pack(word(1).parse().unwrap_or(0)),
        );
    }
    let (mut braces, mut parens) = (0u32, 0u32);
    let (mut typedef, mut record, mut body) = (false, false, false);
    // A parenthesis at the top level that is no attribute's: a parameter list.
    let mut function = false;
    for i in 0..tokens.len() {
        let top = braces == 0 && parens == 0;
        match word(i) {
            "typedef" if top => typedef = true,
            "struct" | "union" | "enum" if top => record = true,
            "(" => {
                if top && i > 0 {
                    let before = word(i - 1);
                    let attribute = before.starts_with("__attribute")
                        || before.starts_with("__asm")
                        || matches!(before, "asm" | "_Alignas" | "__declspec");
                    function |= !attribute;
                }
                parens += 1;
            }
            ")" => parens = parens.saturating_sub(1),
            "{" => {
                body |= top;
                braces += 1;
            }
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 && function && !typedef {
                    return (i + 1, Shape::FunctionBody);
                }
            }
            ";" if top => {
                let shape = if typedef || record && (body || !function && i == 2) {
                    Shape::Types
                } else {
                    Shape::Other
                };
                return (i + 1, shape);
            }
            _ => {}
        }
    }
    (tokens.len(), Shape::Unfinished)
}

/// The largest number of brackets open at once.
pub(super) fn nesting(tokens: &[Token], names: &Interner) -> usize {
    let (mut open, mut most) = (0usize, 0);
    for t in tokens {
        match names.text(t.sym) {
            "(" | "[" | "{" => open += 1,
            ")" | "]" | "}" => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

pub(super) fn function_name<'a>(tokens: &[Token], names: &'a Interner) -> &'a str {
    let open = tokens.windows(2).find(|w| {
        let (name, paren) = (names.text(w[0].sym), names.text(w[1].sym));
        paren == "(" && w[0].kind == Kind::Ident && !name.starts_with("__attribute")
    });
    open.map_or("?", |w| names.text(w[0].sym))
}
