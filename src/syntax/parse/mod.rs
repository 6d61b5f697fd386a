//! Text to syntax tree.
//!
//! `grammar/rtrace.pest` splits the text; this module and its children turn the pairs into
//! [`ast`](super::ast) nodes and what is missing or skipped into diagnostics. pest is visible
//! here only. A statement or item with a mistake is left out of the tree; the rest is kept.

mod attach;
mod expr;
mod hints;
pub(crate) mod literal;
mod root;
mod stmt;
#[cfg(test)]
mod tests;
mod types;

use pest::Parser as _;
use pest::iterators::Pair;

use super::Parsed;
use super::ast::{Comment, ExpnId, Expr, ExprKind, Ident, NodeId, Program};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::source::{FileId, Span};

/// Brackets may nest this deep. Later phases walk trees recursively in threads with 2 MiB of
/// stack, so the bound is what those can take, far above what scripts need.
const MAX_BRACKETS: usize = 128;
/// Height of an expression tree, chains of operators included.
const MAX_DEPTH: usize = 512;
/// Stack for pest and the builder, whose frames are large in debug builds. The pages are
/// touched only by scripts that nest deeply.
const PARSER_STACK: usize = 64 << 20;
/// Texts that nest no deeper and are no longer are parsed on the caller's stack.
const SHALLOW: usize = 8;
/// Bytes.
const SHORT: usize = 8 << 10;

#[derive(pest_derive::Parser)]
#[grammar = "../grammar/rtrace.pest"]
struct Grammar;

type P<'a> = Pair<'a, Rule>;

/// Parses a script. `text` is the whole text of `file`, so that offsets are spans.
pub fn parse(file: FileId, text: &str) -> Parsed {
    match deepest_bracket(text) {
        Err(at) => {
            return Parsed {
                program: Program::default(),
                diags: too_deep(Span::new(file, at, at + 1)).into(),
            };
        }
        // A thread costs more than parsing a one-liner.
        Ok(depth) if depth <= SHALLOW && text.len() <= SHORT => return parse_here(file, text),
        Ok(_) => {}
    }
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || parse_here(file, text))
            .map(|t| match t.join() {
                Ok(parsed) => parsed,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            // Without a thread the caller's stack has to do; pest stops before it runs out.
            .unwrap_or_else(|_| parse_here(file, text))
    })
}

fn parse_here(file: FileId, text: &str) -> Parsed {
    let mut b = Builder {
        file,
        text,
        next_id: 0,
        depth: 0,
        quiet_until: 0,
        diags: Diagnostics::new(),
    };
    let mut pairs = match Grammar::parse(Rule::program, text) {
        Ok(pairs) => pairs,
        Err(e) => {
            // The grammar accepts every text; pest gives up only when the stack gets short.
            let at = match e.location {
                pest::error::InputLocation::Pos(p) => p,
                pest::error::InputLocation::Span((p, _)) => p,
            };
            let d = match e.variant {
                pest::error::ErrorVariant::CustomError { .. } => too_deep(b.token_at(at)),
                pest::error::ErrorVariant::ParsingError { .. } => Diagnostic::error(
                    Code::UnexpectedInput,
                    b.token_at(at),
                    "syntax: unexpected input",
                ),
            };
            return Parsed {
                program: Program::default(),
                diags: d.into(),
            };
        }
    };
    let mut program = Program::default();
    if let Some(root) = pairs.next() {
        program.comments = b.comments(&root);
        b.program(root, &mut program);
    }
    program.next_id = b.next_id;
    Parsed {
        program,
        diags: b.diags,
    }
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(Code::TooDeep, span, "syntax: nested too deeply")
}

/// How deep brackets nest, strings and comments aside; the error is the offset of the first that
/// exceeds [`MAX_BRACKETS`].
fn deepest_bracket(text: &str) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut deepest, mut i) = (0usize, 0, 0);
    while let Some(&c) = bytes.get(i) {
        match c {
            b'(' | b'[' | b'{' => {
                depth += 1;
                if depth > MAX_BRACKETS {
                    return Err(i);
                }
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                i += 1;
                while bytes.get(i).is_some_and(|c| !matches!(c, b'"' | b'\n')) {
                    i += 1 + usize::from(bytes[i] == b'\\');
                }
            }
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                while bytes.get(i).is_some_and(|&c| c != b'\n') {
                    i += 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    Ok(deepest)
}

/// Parts of a pair, comments left out.
fn kids(pair: P<'_>) -> impl Iterator<Item = P<'_>> {
    pair.into_inner().filter(|p| p.as_rule() != Rule::COMMENT)
}

/// State of one parse.
struct Builder<'a> {
    file: FileId,
    text: &'a str,
    next_id: u32,
    /// Height of the expression tree above the current node.
    depth: usize,
    /// Structural mistakes before this offset follow from one that was reported.
    quiet_until: usize,
    diags: Diagnostics,
}

impl Builder<'_> {
    fn span(&self, p: &P<'_>) -> Span {
        let s = p.as_span();
        Span::new(self.file, s.start(), s.end())
    }

    fn ident(&self, p: &P<'_>) -> Ident {
        Ident {
            name: p.as_str().to_owned(),
            span: self.span(p),
        }
    }

    /// A name without its `$` or `@`.
    fn sigil_ident(&self, p: &P<'_>) -> Ident {
        Ident {
            name: p.as_str()[1..].to_owned(),
            span: self.span(p),
        }
    }

    fn id(&mut self) -> NodeId {
        self.next_id += 1;
        NodeId(self.next_id - 1)
    }

    fn expr_node(&mut self, kind: ExprKind, span: Span) -> Expr {
        Expr {
            kind,
            end: span.hi,
            span,
            id: self.id(),
            expn: ExpnId::ROOT,
            parens: 0,
        }
    }

    /// Reports a mistake that has no influence on what follows.
    fn push(&mut self, code: Code, span: Span, message: impl AsRef<str>) {
        let message = format!("syntax: {}", message.as_ref());
        self.diags.push(Diagnostic::error(code, span, message));
    }

    /// Reports a structural mistake, unless it follows from one before: after a mistake the
    /// rest of its line or statement is not judged.
    fn structural(&mut self, diagnostic: Diagnostic) {
        let Some(span) = diagnostic.span else { return };
        let at = span.lo as usize;
        if at < self.quiet_until {
            return;
        }
        // A semicolon inside an open string ends nothing.
        let from = if diagnostic.code == Code::Unterminated {
            span.hi as usize
        } else {
            at
        };
        self.quiet_until = self.text[from..]
            .find([';', '\n'])
            .map_or(usize::MAX, |n| from + n + 1);
        self.diags.push(diagnostic);
    }

    /// Reports what is missing where `p`, an empty `missing_*` pair, stands.
    fn missing(&mut self, p: &P<'_>) {
        let what = match p.as_rule() {
            Rule::missing_semi => "';'",
            Rule::missing_rparen => "')'",
            Rule::missing_lparen => "'('",
            Rule::missing_rbracket => "']'",
            Rule::missing_lbrace => "'{'",
            Rule::missing_rbrace => "'}'",
            Rule::missing_colon => "':'",
            Rule::missing_comma => "','",
            Rule::missing_equals => "'='",
            Rule::missing_slash => "'/'",
            Rule::missing_ident => "identifier",
            Rule::missing_type => "type",
            Rule::missing_string => "string",
            Rule::missing_iter => "map or range",
            _ => "expression",
        };
        let at = p.as_span().start();
        let span = self.token_at(at);
        let mut d = Diagnostic::error(Code::Expected, span, format!("syntax: expected {what}"));
        if let Some(hint) = hints::missing(p.as_rule(), self.text, at) {
            d = d.hint(hint);
        }
        self.structural(d);
    }

    /// The token that starts at `at`; empty at the end of the text.
    fn token_at(&self, at: usize) -> Span {
        Span::new(self.file, at, at + hints::token(&self.text[at..]).len())
    }

    /// Runs `f` for nodes that are `by` levels further down; refuses trees that get too high.
    fn deeper<T>(
        &mut self,
        by: usize,
        at: Span,
        f: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if self.depth + by > MAX_DEPTH {
            self.diags.push(too_deep(at));
            return None;
        }
        self.depth += by;
        let result = f(self);
        self.depth -= by;
        result
    }

    fn comments(&mut self, root: &P<'_>) -> Vec<Comment> {
        let mut all = Vec::new();
        for p in root.clone().into_inner().flatten() {
            if p.as_rule() != Rule::COMMENT {
                continue;
            }
            let span = self.span(&p);
            let text = p.as_str();
            if text.starts_with("/*") && (text.len() < 4 || !text.ends_with("*/")) {
                let start = Span::new(self.file, p.as_span().start(), p.as_span().start() + 2);
                self.push(Code::Unterminated, start, "unterminated comment");
            }
            all.push(Comment {
                text: text.trim_end_matches('\r').to_owned(),
                span,
            });
        }
        all
    }
}
