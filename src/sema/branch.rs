//! Conditions, and what depends on them: logical operators, `?:`, the two values of an `if`.

use super::check::Checker;
use super::hir::{Block, CmpOp, Expr, ExprKind, Stmt, StmtKind};
use super::value::{self, is_unknown, literal_value};
use crate::diag::Code;
use crate::source::Span;
use crate::syntax::ast;
use crate::types::Type;

impl Checker<'_> {
    /// `e` as the condition of an `if`, a loop or a logical operator.
    pub(super) fn condition(&mut self, e: Expr, span: Span) -> Expr {
        if is_unknown(&e) {
            return value::boolean(false, e.loc);
        }
        let e = self.reduce(e);
        let loc = e.loc;
        if let Some(v) = literal_value(&e) {
            return value::boolean(v != 0, loc);
        }
        match &e.ty {
            Type::Bool => e,
            Type::Int(_) | Type::Enum(_) | Type::Ptr(..) | Type::Timestamp | Type::KSym => {
                let zero = Expr {
                    kind: ExprKind::Int(0),
                    ty: e.ty.clone(),
                    loc,
                };
                Expr {
                    kind: ExprKind::Compare {
                        op: CmpOp::Ne,
                        signed: false,
                        lhs: Box::new(e),
                        rhs: Box::new(zero),
                    },
                    ty: Type::Bool,
                    loc,
                }
            }
            other => {
                let name = match other {
                    Type::Str(_) => "string".to_owned(),
                    other => self.spell(other),
                };
                self.error(
                    Code::BadCondition,
                    span,
                    format!("Invalid condition: {name}"),
                );
                value::boolean(false, loc)
            }
        }
    }

    /// `a && b`, `a || b`; a literal on either side decides or goes.
    pub(super) fn logical(
        &mut self,
        op: ast::BinOp,
        lhs: &ast::Expr,
        rhs: &ast::Expr,
        span: Span,
    ) -> Expr {
        let loc = self.loc(span);
        let a = self.expr(lhs);
        let known = !is_unknown(&a);
        let a = self.condition(a, lhs.span);
        let decides = op == ast::BinOp::Or;
        if known && let Some(v) = literal_value(&a) {
            if (v != 0) == decides {
                // The right side is never evaluated; its mistakes are still mistakes.
                let b = self.expr(rhs);
                self.condition(b, rhs.span);
                return value::boolean(decides, loc);
            }
            let b = self.expr(rhs);
            return self.condition(b, rhs.span);
        }
        let b = self.expr(rhs);
        let b_known = !is_unknown(&b);
        let b = self.condition(b, rhs.span);
        if b_known && let Some(v) = literal_value(&b) {
            if (v != 0) != decides {
                return a;
            }
            // The left side is evaluated for its effects alone.
            let stmt = Stmt {
                kind: StmtKind::Expr(a),
                loc,
            };
            let block = Block {
                stmts: vec![stmt],
                value: Some(Box::new(b)),
            };
            return Expr {
                kind: ExprKind::Block(block),
                ty: Type::Bool,
                loc,
            };
        }
        let (a, b) = (Box::new(a), Box::new(b));
        Expr {
            kind: if decides {
                ExprKind::Or(a, b)
            } else {
                ExprKind::And(a, b)
            },
            ty: Type::Bool,
            loc,
        }
    }

    /// `cond ? then : els`, and `cond ?: els`.
    pub(super) fn ternary(
        &mut self,
        cond: &ast::Expr,
        then: &ast::Expr,
        els: &ast::Expr,
        span: Span,
    ) -> Expr {
        let c = self.expr(cond);
        let unknown = is_unknown(&c);
        let c = self.condition(c, cond.span);
        let a = self.expr(then);
        let b = self.expr(els);
        if unknown {
            return value::unknown(self.loc(span));
        }
        self.choose(c, (Block::default(), a), (Block::default(), b), span)
    }

    /// An `if` with a value: joins the two values, folds a constant condition.
    pub(super) fn choose(
        &mut self,
        cond: Expr,
        (mut then, a): (Block, Expr),
        (mut els, b): (Block, Expr),
        span: Span,
    ) -> Expr {
        let loc = self.loc(span);
        let void = |e: &Expr| e.ty == Type::None && !is_unknown(e);
        let ty = if void(&a) && void(&b) {
            Type::None
        } else if is_unknown(&a) || is_unknown(&b) {
            // The other one's type is what is known of this one's.
            let known = if is_unknown(&a) { &b } else { &a };
            if is_unknown(known) {
                return value::unknown(loc);
            }
            known.ty.clone()
        } else {
            let joined = match (&a.ty, &b.ty) {
                (Type::Int(x), Type::Int(y)) => {
                    Some(Type::Int(value::join_operands(&a, *x, &b, *y)))
                }
                (x, _) => {
                    let x = x.clone();
                    value::unify(&x, &b, &self.store)
                }
            };
            match joined {
                Some(ty) => ty,
                None => {
                    let text = format!(
                        "Branches must return the same type or compatible types: have '{}' and '{}'",
                        self.spell(&a.ty),
                        self.spell(&b.ty)
                    );
                    return self.fail(Code::TypeMismatch, span, text);
                }
            }
        };
        let (a, b) = if ty == Type::None {
            (a, b)
        } else {
            (value::cast(a, &ty), value::cast(b, &ty))
        };
        if let Some(v) = literal_value(&cond) {
            let (mut block, value) = if v != 0 { (then, a) } else { (els, b) };
            if block.stmts.is_empty() {
                return value;
            }
            block.value = Some(Box::new(value));
            return Expr {
                kind: ExprKind::Block(block),
                ty,
                loc,
            };
        }
        // A value of no type is worth keeping only if computing it does something.
        let kept = |e: Expr| {
            (!matches!(e.kind, ExprKind::Int(_)) || e.ty != Type::None).then(|| Box::new(e))
        };
        then.value = kept(a);
        els.value = kept(b);
        Expr {
            kind: ExprKind::If {
                cond: Box::new(cond),
                then,
                els,
            },
            ty,
            loc,
        }
    }
}
