//! Assignments to variables and maps.

use super::check::Checker;
use super::hir::{Expr, ExprKind, StmtKind};
use super::value::{self, is_unknown};
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast;
use crate::types::Type;

impl Checker<'_> {
    /// `target = value` and the compound forms.
    pub(super) fn assign(
        &mut self,
        s: &ast::Stmt,
        target: &ast::Expr,
        op: Option<ast::BinOp>,
        value: &ast::Expr,
    ) -> Option<StmtKind> {
        let step = match &s.kind {
            ast::StmtKind::Assign { op_span, .. } => op_span.to(value.whole()),
            _ => s.span,
        };
        match &target.kind {
            ast::ExprKind::Var(v) => {
                let e = match op {
                    None => self.expr(value),
                    Some(op) => self.binary(op, target, value, step),
                };
                if op.is_some() && self.lookup(v).is_none() {
                    return None;
                }
                let id = self.assigned_var(v, s.span, s.id);
                let e = self.assign_local(id, e, value.span, s.span)?;
                Some(StmtKind::Assign(id, e))
            }
            ast::ExprKind::Map(_) | ast::ExprKind::MapElem { .. } => match op {
                None => self.assign_map(s, target, value),
                Some(op) => self.update_map((s, step), target, op, value),
            },
            _ => {
                self.error(
                    Code::BadAssignTarget,
                    target.span,
                    "invalid assignment target",
                );
                None
            }
        }
    }

    fn assign_map(
        &mut self,
        s: &ast::Stmt,
        target: &ast::Expr,
        value: &ast::Expr,
    ) -> Option<StmtKind> {
        if let ast::ExprKind::Call { func, args } = &value.kind
            && let Some(row) = crate::builtins::find(&func.name)
            && let Some(make) = super::calls::aggregate::maker(row)
        {
            let place = self.map_place(target);
            let outer = std::mem::replace(&mut self.expn, value.expn);
            let made = self.aggregate(row, make, func, args, value.span);
            self.expn = outer;
            let (agg, v) = made?;
            let name = match &target.kind {
                ast::ExprKind::Map(m) | ast::ExprKind::MapElem { map: m, .. } => m,
                _ => return None,
            };
            let map = self.map(name);
            let shape = Expr {
                kind: ExprKind::Zero,
                ty: Type::Agg(agg),
                loc: self.loc(value.span),
            };
            let ty = self.grow_map(map, &shape, (s.span, value.span))?;
            let (map, key) = place?;
            let Type::Agg(agg) = ty else { return None };
            return Some(StmtKind::Aggregate {
                map,
                key,
                agg,
                value: v.map(|v| value::cast(v, &Type::int(agg.signed, 8))),
            });
        }
        let e = self.expr(value);
        let place = self.map_place(target);
        let name = match &target.kind {
            ast::ExprKind::Map(m) | ast::ExprKind::MapElem { map: m, .. } => m,
            _ => return None,
        };
        let map = self.map(name);
        if is_unknown(&e) {
            self.map_state(map).written = true;
            return None;
        }
        if let Type::Agg(_) = e.ty {
            let text = format!(
                "Map value '{}' cannot be assigned from one map to another. The function that returns this type must be called directly e.g. `{} = {};`.",
                self.spell(&e.ty),
                self.map_state(map).name.clone(),
                agg_example(&e.ty)
            );
            let mut d = Diagnostic::error(Code::AggregationUse, s.span, text);
            if value::reduced(&e.ty).is_some() {
                let source = match &e.kind {
                    ExprKind::MapGet { map, .. } => self.map_state(*map).name.clone(),
                    _ => String::new(),
                };
                d = d.hint(format!(
                    "Add a cast to integer if you want the value of the aggregate, e.g. `{} = (int64){source};`.",
                    self.map_state(map).name.clone()
                ));
            }
            self.report(d);
            self.map_state(map).written = true;
            return None;
        }
        if e.ty == Type::None || matches!(e.kind, ExprKind::Ctx) {
            let text = format!("Invalid expression for assignment: '{}'", self.spell(&e.ty));
            self.error(Code::TypeMismatch, value.span, text);
            return None;
        }
        let ty = self.grow_map(map, &e, (s.span, s.span))?;
        let (map, key) = place?;
        let value = self.implicit(e, &ty, value.span);
        Some(StmtKind::MapAssign { map, key, value })
    }

    fn update_map(
        &mut self,
        (s, step): (&ast::Stmt, Span),
        target: &ast::Expr,
        op: ast::BinOp,
        value: &ast::Expr,
    ) -> Option<StmtKind> {
        let v = self.expr(value);
        let (map, key) = self.map_place(target)?;
        let loc = self.loc(target.span);
        // The first use may be this one: then the map starts as an integer of the value's sign.
        let have = match (self.map_state(map).value.clone(), &v.ty) {
            (Some(have), _) => have,
            (None, Type::Int(t)) => super::ops::widened(*t),
            (None, _) => Type::I64,
        };
        let old = Expr {
            kind: ExprKind::MapGet { map, key: None },
            ty: have,
            loc,
        };
        let e = self.binary_of(op, (old, target.span), (v, value.span), step);
        if is_unknown(&e) {
            self.map_state(map).written = true;
            return None;
        }
        let ty = self.grow_map(map, &e, (s.span, s.span))?;
        match e.kind {
            ExprKind::Binary(op, _, rhs) if matches!(ty, Type::Int(_)) => {
                Some(StmtKind::MapUpdate {
                    map,
                    key,
                    op,
                    value: *rhs,
                })
            }
            kind => {
                // A pointer: the key is evaluated twice, which has no effect to see.
                let (_, again) = self.map_place(target)?;
                let kind = with_key(kind, again);
                let value = value::cast(
                    Expr {
                        kind,
                        ty: e.ty,
                        loc,
                    },
                    &ty,
                );
                Some(StmtKind::MapAssign { map, key, value })
            }
        }
    }
}

/// Puts the key into the map access that `kind` starts from.
fn with_key(kind: ExprKind, key: Option<Expr>) -> ExprKind {
    match kind {
        ExprKind::MapGet { map, key: None } => ExprKind::MapGet {
            map,
            key: key.map(Box::new),
        },
        ExprKind::Cast(mut e) => {
            e.kind = with_key(e.kind, key);
            ExprKind::Cast(e)
        }
        ExprKind::Binary(op, mut a, b) => {
            a.kind = with_key(a.kind, key);
            ExprKind::Binary(op, a, b)
        }
        other => other,
    }
}

/// A call that makes an aggregation of this type, for a message.
fn agg_example(ty: &Type) -> &'static str {
    use crate::types::AggKind as K;
    match ty {
        Type::Agg(t) => match t.kind {
            K::Count => "count()",
            K::Sum => "sum(retval)",
            K::Min => "min(retval)",
            K::Max => "max(retval)",
            K::Avg => "avg(retval)",
            K::Stats => "stats(arg2)",
            K::Hist { .. } => "hist(retval)",
            K::Lhist { .. } => "lhist(rand, 0, 10, 1)",
            K::Tseries { .. } => "tseries(rand, 10s, 1)",
        },
        _ => "",
    }
}
