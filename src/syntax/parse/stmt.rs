//! Blocks and statements.

use super::{Builder, P, Rule, hints, kids};
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast::{
    BinOp, Block, ExpnId, Expr, ExprKind, ForIter, Stmt, StmtKind, TypeExpr, Var,
};

impl Builder<'_> {
    pub(super) fn block(&mut self, p: P<'_>) -> Block {
        let span = self.span(&p);
        let mut stmts = Vec::new();
        // The last expression without a semicolon so far: a statement if anything follows.
        let mut last: Option<Expr> = None;
        for k in kids(p) {
            if let Some(e) = last.take() {
                let span = e.whole();
                stmts.push(self.stmt_node(span, span.hi, StmtKind::Expr(e)));
            }
            let rule = k.as_rule();
            let start = self.span(&k);
            let end = start.lo + k.as_str().trim_end().len() as u32;
            match rule {
                Rule::empty => {}
                Rule::missing_rbrace => self.missing(&k),
                Rule::junk => self.junk(&k),
                Rule::block_stmt => last = kids(k).next().and_then(|e| self.primary(e)),
                Rule::expr_stmt => match self.expr_stmt(k) {
                    Some((StmtKind::Expr(e), _, false)) => last = Some(e),
                    Some((kind, span, _)) => stmts.push(self.stmt_node(span, end, kind)),
                    None => {}
                },
                _ => {
                    if let Some((kind, hi)) = self.statement(k) {
                        stmts.push(self.stmt_node(Span { hi, ..start }, end, kind));
                    }
                }
            }
        }
        Block {
            stmts,
            value: last.map(Box::new),
            span,
        }
    }

    fn stmt_node(&mut self, span: Span, end: u32, kind: StmtKind) -> Stmt {
        Stmt {
            kind,
            span,
            end: end.max(span.hi),
            id: self.id(),
            expn: ExpnId::ROOT,
        }
    }

    fn junk(&mut self, p: &P<'_>) {
        let at = p.as_span().start();
        let mut d = Diagnostic::error(
            Code::UnexpectedInput,
            self.token_at(at),
            "syntax: unexpected input in block",
        );
        if let Some(hint) = hints::junk(self.text, at) {
            d = d.hint(hint);
        }
        self.structural(d);
    }

    /// A statement that starts with a keyword or `_`, and its end.
    fn statement(&mut self, p: P<'_>) -> Option<(StmtKind, u32)> {
        let rule = p.as_rule();
        if rule == Rule::import {
            let import = self.import(p)?;
            let hi = import.span.hi;
            return Some((StmtKind::Import(import), hi));
        }
        let mut parts = Parts::default();
        let mut ok = true;
        for k in kids(p) {
            let span = self.span(&k);
            match k.as_rule() {
                Rule::kw_break | Rule::kw_continue | Rule::kw_return => parts.hi = span.hi,
                Rule::kw_let | Rule::kw_while | Rule::kw_unroll | Rule::kw_for => {}
                Rule::discard => {}
                Rule::var => {
                    let var = self.var(&k);
                    parts.hi = span.hi;
                    parts.var = Some(var);
                }
                Rule::type_expr => match self.type_expr(k) {
                    Some(ty) => {
                        parts.hi = ty.span.hi;
                        parts.ty = Some(ty);
                    }
                    None => ok = false,
                },
                Rule::expr => match self.expr(k) {
                    Some(e) => {
                        parts.hi = e.end;
                        parts.expr = Some(e);
                    }
                    None => ok = false,
                },
                Rule::for_iter => match self.for_iter(k) {
                    Some(iter) => parts.iter = Some(iter),
                    None => ok = false,
                },
                Rule::block => {
                    let block = self.block(k);
                    parts.hi = block.span.hi;
                    parts.body = Some(block);
                }
                Rule::bad_for => {
                    ok = false;
                    self.bad_for(&k);
                }
                _ => {
                    self.missing(&k);
                    ok = false;
                }
            }
        }
        if !ok {
            return None;
        }
        let hi = parts.hi;
        let kind = match rule {
            Rule::let_stmt => StmtKind::Let {
                var: parts.var?,
                ty: parts.ty,
                init: parts.expr,
            },
            Rule::while_stmt => StmtKind::While {
                cond: parts.expr?,
                body: parts.body?,
            },
            Rule::unroll_stmt => StmtKind::Unroll {
                count: parts.expr?,
                body: parts.body?,
            },
            Rule::for_stmt => StmtKind::For {
                var: parts.var?,
                iter: parts.iter?,
                body: parts.body?,
            },
            Rule::break_stmt => StmtKind::Break,
            Rule::continue_stmt => StmtKind::Continue,
            Rule::return_stmt => StmtKind::Return(parts.expr),
            Rule::discard_stmt => StmtKind::Discard(parts.expr?),
            _ => return None,
        };
        Some((kind, hi))
    }

    fn bad_for(&mut self, p: &P<'_>) {
        let at = p.as_span().start();
        let mut d = Diagnostic::error(
            Code::Expected,
            self.token_at(at),
            "syntax: expected loop variable and ':'",
        );
        d = if p.as_str().contains(';') {
            d.hint("C loops do not exist; write: for $i : 0..10 { ... }")
        } else {
            d.hint("write: for $kv : @map { ... } or for $i : 0..10 { ... }")
        };
        self.structural(d);
        // The head of a C loop holds semicolons, which do not end the statement.
        self.quiet_until = self.quiet_until.max(p.as_span().end());
    }

    fn for_iter(&mut self, p: P<'_>) -> Option<ForIter> {
        let mut ends = Vec::new();
        for k in kids(p) {
            match k.as_rule() {
                Rule::unary => ends.push(self.unary(k)?),
                _ => {
                    self.missing(&k);
                    return None;
                }
            }
        }
        let mut ends = ends.into_iter();
        match (ends.next()?, ends.next()) {
            (start, Some(end)) => Some(ForIter::Range { start, end }),
            (
                Expr {
                    kind: ExprKind::Map(map),
                    ..
                },
                None,
            ) => Some(ForIter::Map(map)),
            (other, None) => {
                let d =
                    Diagnostic::error(Code::Expected, other.span, "syntax: expected map or range")
                        .hint("loops run over a map (for $kv : @m) or a range (for $i : 0..10)");
                self.structural(d);
                None
            }
        }
    }

    pub(super) fn var(&self, p: &P<'_>) -> Var {
        let ident = self.sigil_ident(p);
        Var {
            name: ident.name,
            expn: ExpnId::ROOT,
            span: ident.span,
        }
    }

    /// An expression or assignment, its place, and whether a semicolon ends it.
    fn expr_stmt(&mut self, p: P<'_>) -> Option<(StmtKind, Span, bool)> {
        let (mut first, mut assign, mut value) = (None, None, None);
        let (mut ended, mut ok) = (false, true);
        for k in kids(p) {
            match k.as_rule() {
                Rule::expr => {
                    let e = self.expr(k);
                    ok &= e.is_some();
                    if assign.is_none() && first.is_none() {
                        first = e;
                    } else {
                        value = e;
                    }
                }
                Rule::assign_op => assign = Some((compound(k.as_str()), self.span(&k))),
                Rule::semicolon => ended = true,
                _ => {
                    self.missing(&k);
                    ok = false;
                }
            }
        }
        if !ok {
            return None;
        }
        let first = first?;
        let Some((op, op_span)) = assign else {
            let span = first.whole();
            return Some((StmtKind::Expr(first), span, ended));
        };
        let value = value?;
        let span = first.span.to(value.whole());
        self.assignable(&first, span)?;
        let kind = StmtKind::Assign {
            target: first,
            op,
            op_span,
            value,
        };
        Some((kind, span, ended))
    }

    fn assignable(&mut self, target: &Expr, whole: Span) -> Option<()> {
        match target.kind {
            ExprKind::Var(_) | ExprKind::Map(_) | ExprKind::MapElem { .. } => Some(()),
            ExprKind::TupleField { .. } | ExprKind::Field { .. } => {
                self.push(
                    Code::ImmutableTuple,
                    whole,
                    "Tuples and records are immutable once created. Consider creating a new \
                     value and assigning it instead.",
                );
                None
            }
            _ => {
                self.push(
                    Code::BadAssignTarget,
                    target.span,
                    "invalid assignment target",
                );
                None
            }
        }
    }
}

#[derive(Default)]
struct Parts {
    var: Option<Var>,
    ty: Option<TypeExpr>,
    expr: Option<Expr>,
    iter: Option<ForIter>,
    body: Option<Block>,
    hi: u32,
}

/// The operator of a compound assignment; `None` for `=`.
fn compound(op: &str) -> Option<BinOp> {
    super::expr::binary_op(op.strip_suffix('=')?)
}
