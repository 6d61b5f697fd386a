//! What the command line passes to the script: `$1`, `$#` and `getopt()`.

use std::collections::BTreeMap;

use super::check::Checker;
use super::hir::Expr;
use super::value;
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast;

/// The default of an option, which is also its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OptionDefault {
    /// A switch.
    Bool(bool),
    /// A number.
    Int(i128),
    /// A text.
    Text(Vec<u8>),
}

/// Options that the script asks for.
#[derive(Debug, Default)]
pub(super) struct OptionUses {
    seen: BTreeMap<String, (OptionDefault, Option<String>)>,
}

impl OptionUses {
    pub fn clear(&mut self) {
        self.seen.clear();
    }
}

/// A parameter as an integer literal: decimal, `0x` hexadecimal or `0` octal, with sign.
pub(super) fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.strip_prefix("0x") {
        Some(hex) => (16, hex),
        None if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        None => (10, lower.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let n = i128::from(u64::from_str_radix(digits, radix).ok()?);
    if negative && n > -i128::from(i64::MIN) {
        return None;
    }
    Some(if negative { -n } else { n })
}

impl Checker<'_> {
    /// `$n` as a value: a number if it looks like one.
    pub(super) fn positional(&mut self, n: u32, span: Span) -> Expr {
        let loc = self.loc(span);
        match self.positional_text(n, span) {
            None => value::literal(0, loc),
            Some(text) => match number(&text) {
                Some(v) => value::literal(v, loc),
                None => value::string(text.into_bytes(), loc),
            },
        }
    }

    /// `$n` as it was given; missing ones are reported.
    pub(super) fn positional_text(&mut self, n: u32, span: Span) -> Option<String> {
        let given = (n as usize)
            .checked_sub(1)
            .and_then(|i| self.cx.options.positional.get(i));
        if given.is_none() {
            let text = format!("Positional parameter ${n} is empty or not provided. ");
            self.warn(Code::ArgumentTruncated, span, text);
        }
        given.cloned()
    }

    /// `str($1)` and `str($1 + n)`: the parameter's text, if that is what `e` is.
    pub(super) fn positional_string(&mut self, e: &ast::Expr) -> Option<Expr> {
        let (n, skip) = match &e.kind {
            ast::ExprKind::Positional(n) => (*n, 0),
            ast::ExprKind::Binary {
                op: ast::BinOp::Add,
                lhs,
                rhs,
                ..
            } => match (&lhs.kind, &rhs.kind) {
                (ast::ExprKind::Positional(n), ast::ExprKind::Int(k))
                | (ast::ExprKind::Int(k), ast::ExprKind::Positional(n)) => (*n, *k),
                _ => return None,
            },
            _ => return None,
        };
        let text = self.positional_text(n, e.span).unwrap_or_default();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(text.len());
        Some(value::string(
            text.as_bytes()[skip..].to_vec(),
            self.loc(e.span),
        ))
    }

    /// `getopt(name, default, description)`
    pub(super) fn option(
        &mut self,
        name: &str,
        default: OptionDefault,
        description: Option<String>,
        span: Span,
    ) -> Expr {
        let loc = self.loc(span);
        let known = self.options.seen.get(name).cloned();
        match known {
            Some((old, _)) if old != default => {
                let same = std::mem::discriminant(&old) == std::mem::discriminant(&default);
                let what = if same { "default value" } else { "type" };
                let text = format!(
                    "Command line option '{name}' needs to have the same {what} in all places it is used. Hint: You can wrap it in a macro"
                );
                return self.fail(Code::BadArgument, span, text);
            }
            Some((_, old)) if old.is_some() && description.is_some() && old != description => {
                let text = format!(
                    "Command line option '{name}' must have the same description in all places it's used. Hint: You can wrap it in a macro"
                );
                return self.fail(Code::BadArgument, span, text);
            }
            _ => {}
        }
        let entry = self.options.seen.entry(name.to_owned());
        let slot = entry.or_insert_with(|| (default.clone(), None));
        slot.1 = slot.1.take().or(description);
        let given = self.cx.options.named.iter().rev().find(|(n, _)| n == name);
        let Some((_, given)) = given else {
            return match default {
                OptionDefault::Bool(b) => value::boolean(b, loc),
                OptionDefault::Int(n) => value::literal(n, loc),
                OptionDefault::Text(t) => value::string(t, loc),
            };
        };
        let bad = |c: &mut Self, what: &str| {
            let text = format!(
                "program command line option --{name} {what} (value: {})",
                given.as_deref().unwrap_or("")
            );
            c.report(Diagnostic::error(Code::BadOption, None, text));
            value::unknown(loc)
        };
        match (default, given.as_deref()) {
            (OptionDefault::Bool(_), None | Some("true" | "1")) => value::boolean(true, loc),
            (OptionDefault::Bool(_), Some("false" | "0")) => value::boolean(false, loc),
            (OptionDefault::Bool(_), _) => bad(self, "expects a boolean (e.g. 'true')"),
            (OptionDefault::Int(_), text) => match text.and_then(number) {
                Some(n) => value::literal(n, loc),
                None => bad(self, "invalid integer"),
            },
            (OptionDefault::Text(_), text) => {
                value::string(text.unwrap_or("").as_bytes().to_vec(), loc)
            }
        }
    }

    /// Options that were given but that nothing asks for.
    pub(super) fn finish_options(&mut self) {
        let asked_for_help = self.cx.options.named.iter().any(|(n, _)| n == "help");
        let unexpected: Vec<String> = self
            .cx
            .options
            .named
            .iter()
            .filter(|(n, _)| !self.options.seen.contains_key(n) && n != "help")
            .map(|(n, _)| format!("--{n}"))
            .collect();
        if asked_for_help && unexpected.is_empty() && !self.options.seen.contains_key("help") {
            return;
        }
        if unexpected.is_empty() {
            return;
        }
        let expected: Vec<String> = self.options.seen.keys().map(|n| format!("--{n}")).collect();
        let text = format!(
            "unexpected program command line options: {}",
            unexpected.join(", ")
        );
        let mut d = Diagnostic::error(Code::BadOption, None, text);
        if !expected.is_empty() {
            d = d.hint(format!("expected program options: {}", expected.join(", ")));
        }
        self.report(d);
    }

    /// The script's options with their descriptions, for `-- --help`.
    pub(super) fn option_list(&self) -> Vec<(String, Option<String>)> {
        let seen = self.options.seen.iter();
        seen.map(|(name, (_, text))| (name.clone(), text.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn parameters_that_are_numbers() {
        assert_eq!(number("12"), Some(12));
        assert_eq!(number("-0x10"), Some(-16));
        assert_eq!(number("017"), Some(15));
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("1a"), None);
        assert_eq!(number(""), None);
        assert_eq!(number("-"), None);
    }
}
