//! Expressions and types of the formatter.
//!
//! Parsed trees carry their grouping parentheses, so no precedence is looked at here. Literals
//! are copied from the source to keep their spelling.

use super::format::{Formatter, WIDTH};
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr, ExprKind, Ident, TypeExpr, TypeExprKind, TypeOrExpr};

/// Continuation lines are indented by this many columns more.
const CONTINUE: usize = 4;

impl Formatter<'_> {
    pub(super) fn expr(&mut self, e: &Expr) {
        for _ in 0..e.parens {
            self.put("(");
        }
        self.bare(e);
        for _ in 0..e.parens {
            self.put(")");
        }
    }

    fn column(&self) -> usize {
        self.out.len() - self.out.rfind('\n').map_or(0, |n| n + 1)
    }

    /// Whether what `f` prints fits into the rest of the line, with `reserve` columns after it.
    fn fits(&self, reserve: usize, f: impl FnOnce(&mut Self)) -> bool {
        let mut m = self.measure();
        f(&mut m);
        let first = m.out.split('\n').next().unwrap_or("").len();
        self.column() + first + reserve <= WIDTH
    }

    /// `open a, b, c close`, with line breaks in front of items that do not fit.
    fn items<T>(&mut self, open: &str, items: &[T], close: &str, print: impl Fn(&mut Self, &T)) {
        self.put(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.put(",");
                if self.flat || self.fits(2, |m| print(m, item)) {
                    self.put(" ");
                } else {
                    self.newline(CONTINUE);
                }
            }
            print(self, item);
        }
        self.put(close);
    }

    fn bare(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Int(_) | ExprKind::Str(_) => {
                let text = self.literal(e.span);
                self.put(&text);
            }
            ExprKind::Bool(b) => self.put(if *b { "true" } else { "false" }),
            ExprKind::Positional(n) => self.put(&format!("${n}")),
            ExprKind::PositionalCount => self.put("$#"),
            ExprKind::Var(v) => self.put(&format!("${}", v.name)),
            ExprKind::Map(m) => self.put(&format!("@{}", m.name)),
            ExprKind::MapElem { map, keys } => {
                self.put(&format!("@{}", map.name));
                self.items("[", keys, "]", |f, e| f.expr(e));
            }
            ExprKind::Ident(n) => self.put(n),
            ExprKind::Call { func, args } => {
                self.put(&func.name);
                self.items("(", args, ")", |f, a| match a {
                    Arg::Expr(e) => f.expr(e),
                    Arg::Type(t) => f.ty(t),
                });
            }
            ExprKind::Unary { op, expr, .. } => self.prefixed(op.as_str(), expr),
            ExprKind::Binary { op, lhs, rhs, .. } => {
                self.expr(lhs);
                self.put(" ");
                self.put(op.as_str());
                if self.flat || self.fits(1, |m| m.expr(rhs)) {
                    self.put(" ");
                } else {
                    self.newline(CONTINUE);
                }
                self.expr(rhs);
            }
            ExprKind::IncDec {
                inc,
                prefix,
                target,
            } => {
                let op = if *inc { "++" } else { "--" };
                if *prefix {
                    self.prefixed(op, target);
                } else {
                    self.expr(target);
                    self.put(op);
                }
            }
            ExprKind::AddrOf(e) => self.prefixed("&", e),
            ExprKind::Ternary { cond, then, els } => {
                self.expr(cond);
                self.put(" ? ");
                self.expr(then);
                self.put(" : ");
                self.expr(els);
            }
            ExprKind::Elvis { cond, els } => {
                self.expr(cond);
                self.put(" ?: ");
                self.expr(els);
            }
            ExprKind::Cast { ty, expr } => {
                self.put("(");
                self.ty(ty);
                self.put(")");
                self.expr(expr);
            }
            ExprKind::Tuple(all) => {
                let close = if all.len() == 1 { ",)" } else { ")" };
                self.items("(", all, close, |f, e| f.expr(e));
            }
            ExprKind::Record(fields) => {
                self.items("(", fields, ")", |f, (name, e): &(Ident, Expr)| {
                    f.put(&name.name);
                    f.put(" = ");
                    f.expr(e);
                });
            }
            ExprKind::Field { base, name, arrow } => {
                self.expr(base);
                self.put(if *arrow { "->" } else { "." });
                self.put(&name.name);
            }
            ExprKind::TupleField { base, index, .. } => {
                self.expr(base);
                self.put(&format!(".{index}"));
            }
            ExprKind::Index { base, indices } => {
                self.expr(base);
                self.items("[", indices, "]", |f, e| f.expr(e));
            }
            ExprKind::Sizeof(t) => self.operator("sizeof", t),
            ExprKind::Typeinfo(t) => self.operator("typeinfo", t),
            ExprKind::Offsetof { of, path } => {
                self.put("offsetof(");
                self.type_or_expr(of);
                let path: Vec<_> = path.iter().map(|i| i.name.as_str()).collect();
                self.put(&format!(", {})", path.join(".")));
            }
            ExprKind::Comptime(e) => {
                self.put("comptime ");
                self.expr(e);
            }
            ExprKind::If { cond, then, els } => {
                self.put("if ");
                self.expr(cond);
                self.put(" ");
                self.block(then);
                if let Some(e) = els {
                    self.put(" else ");
                    self.expr(e);
                }
            }
            ExprKind::Block(b) => self.block(b),
        }
    }

    /// A prefix operator, kept apart from an operand that starts with the same sign.
    fn prefixed(&mut self, op: &str, e: &Expr) {
        self.put(op);
        let at = self.out.len();
        self.expr(e);
        if matches!(op, "-" | "++" | "--") && self.out[at..].starts_with(&op[..1]) {
            self.out.insert(at, ' ');
        }
    }

    fn operator(&mut self, name: &str, t: &TypeOrExpr) {
        self.put(name);
        self.put("(");
        self.type_or_expr(t);
        self.put(")");
    }

    fn type_or_expr(&mut self, t: &TypeOrExpr) {
        match t {
            TypeOrExpr::Type(t) => self.ty(t),
            TypeOrExpr::Expr(e) => self.expr(e),
        }
    }

    pub(super) fn ty(&mut self, t: &TypeExpr) {
        match &t.kind {
            TypeExprKind::Named(n) => self.put(n),
            TypeExprKind::Tagged { tag, name } => {
                self.put(&format!("{} {}", tag.as_str(), name.name));
            }
            TypeExprKind::Typeof(t) => self.operator("typeof", t),
            TypeExprKind::Pointer(inner) => {
                self.ty(inner);
                // As in C: `struct x *`, `uint8 **`.
                let apart = !matches!(inner.kind, TypeExprKind::Pointer(_));
                self.put(if apart { " *" } else { "*" });
            }
            TypeExprKind::Array { elem, len } => {
                self.ty(elem);
                let len = len.map_or(String::new(), |n| n.to_string());
                self.put(&format!("[{len}]"));
            }
        }
    }

    /// The literal in `span`, without the parentheses and comments around it.
    fn literal(&self, span: Span) -> String {
        let mut rest = self.source(span);
        loop {
            rest = rest.trim_start_matches(|c: char| c == '(' || c.is_ascii_whitespace());
            rest = if rest.starts_with("//") {
                rest.split_once('\n').map_or("", |(_, r)| r)
            } else if let Some(r) = rest.strip_prefix("/*") {
                r.split_once("*/").map_or("", |(_, r)| r)
            } else {
                break;
            };
        }
        let mut escaped = false;
        let mut quotes = 0;
        let string = rest.starts_with('"');
        let end = rest.find(|c: char| {
            if !string {
                return !c.is_ascii_alphanumeric() && c != '_';
            }
            // The end is behind the second quote.
            if quotes == 2 {
                return true;
            }
            quotes += u32::from(c == '"' && !escaped);
            escaped = c == '\\' && !escaped;
            false
        });
        rest[..end.unwrap_or(rest.len())].to_owned()
    }
}
