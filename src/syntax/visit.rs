//! A mutable walk over the syntax tree.
//!
//! Implement the methods of [`VisitMut`] for the nodes of interest; the others descend. A method
//! that wants its children visited calls the `walk_*` function of its node.

use super::ast::{
    Arg, Block, Expr, ExprKind, ForIter, Item, MapName, Stmt, StmtKind, TypeExpr, TypeExprKind,
    TypeOrExpr, Var,
};

/// Visits nodes in source order, parents first.
pub trait VisitMut {
    /// A block.
    fn visit_block(&mut self, b: &mut Block) {
        walk_block(self, b);
    }
    /// A statement.
    fn visit_stmt(&mut self, s: &mut Stmt) {
        walk_stmt(self, s);
    }
    /// An expression.
    fn visit_expr(&mut self, e: &mut Expr) {
        walk_expr(self, e);
    }
    /// A type.
    fn visit_type(&mut self, t: &mut TypeExpr) {
        walk_type(self, t);
    }
    /// The operand of `sizeof` and its kin.
    fn visit_type_or_expr(&mut self, t: &mut TypeOrExpr) {
        walk_type_or_expr(self, t);
    }
    /// A variable, wherever it stands.
    fn visit_var(&mut self, _: &mut Var) {}
    /// A map, wherever it stands.
    fn visit_map(&mut self, _: &mut MapName) {}
}

/// The code of an item; macros are left out, their bodies are templates.
pub fn walk_item<V: VisitMut + ?Sized>(v: &mut V, item: &mut Item) {
    match item {
        Item::Probe(p) => {
            if let Some(e) = &mut p.predicate {
                v.visit_expr(e);
            }
            v.visit_block(&mut p.body);
        }
        Item::Subprog(f) => {
            for p in &mut f.params {
                v.visit_var(&mut p.var);
                v.visit_type(&mut p.ty);
            }
            v.visit_type(&mut f.ret);
            v.visit_block(&mut f.body);
        }
        Item::MapDecl(d) => v.visit_map(&mut d.map),
        Item::Macro(_) => {}
    }
}

/// The statements and value of a block.
pub fn walk_block<V: VisitMut + ?Sized>(v: &mut V, b: &mut Block) {
    for s in &mut b.stmts {
        v.visit_stmt(s);
    }
    if let Some(e) = &mut b.value {
        v.visit_expr(e);
    }
}

/// The parts of a statement.
pub fn walk_stmt<V: VisitMut + ?Sized>(v: &mut V, s: &mut Stmt) {
    match &mut s.kind {
        StmtKind::Let { var, ty, init } => {
            v.visit_var(var);
            if let Some(t) = ty {
                v.visit_type(t);
            }
            if let Some(e) = init {
                v.visit_expr(e);
            }
        }
        StmtKind::While { cond: e, body } | StmtKind::Unroll { count: e, body } => {
            v.visit_expr(e);
            v.visit_block(body);
        }
        StmtKind::For { var, iter, body } => {
            v.visit_var(var);
            match iter {
                ForIter::Map(m) => v.visit_map(m),
                ForIter::Range { start, end } => {
                    v.visit_expr(start);
                    v.visit_expr(end);
                }
            }
            v.visit_block(body);
        }
        StmtKind::Return(e) => {
            if let Some(e) = e {
                v.visit_expr(e);
            }
        }
        StmtKind::Discard(e) | StmtKind::Expr(e) => v.visit_expr(e),
        StmtKind::Assign { target, value, .. } => {
            v.visit_expr(target);
            v.visit_expr(value);
        }
        StmtKind::Import(_) | StmtKind::Break | StmtKind::Continue => {}
    }
}

/// The operands of an expression.
pub fn walk_expr<V: VisitMut + ?Sized>(v: &mut V, e: &mut Expr) {
    match &mut e.kind {
        ExprKind::Int(_)
        | ExprKind::Bool(_)
        | ExprKind::Str(_)
        | ExprKind::Positional(_)
        | ExprKind::PositionalCount
        | ExprKind::Ident(_) => {}
        ExprKind::Var(x) => v.visit_var(x),
        ExprKind::Map(m) => v.visit_map(m),
        ExprKind::MapElem { map, keys } => {
            v.visit_map(map);
            keys.iter_mut().for_each(|k| v.visit_expr(k));
        }
        ExprKind::Call { args, .. } => {
            for a in args {
                match a {
                    Arg::Expr(e) => v.visit_expr(e),
                    Arg::Type(t) => v.visit_type(t),
                }
            }
        }
        ExprKind::Unary { expr: e, .. }
        | ExprKind::IncDec { target: e, .. }
        | ExprKind::AddrOf(e)
        | ExprKind::Comptime(e)
        | ExprKind::Field { base: e, .. }
        | ExprKind::TupleField { base: e, .. } => v.visit_expr(e),
        ExprKind::Binary { lhs, rhs, .. } => {
            v.visit_expr(lhs);
            v.visit_expr(rhs);
        }
        ExprKind::Ternary { cond, then, els } => {
            v.visit_expr(cond);
            v.visit_expr(then);
            v.visit_expr(els);
        }
        ExprKind::Elvis { cond, els } => {
            v.visit_expr(cond);
            v.visit_expr(els);
        }
        ExprKind::Cast { ty, expr } => {
            v.visit_type(ty);
            v.visit_expr(expr);
        }
        ExprKind::Tuple(all) => all.iter_mut().for_each(|e| v.visit_expr(e)),
        ExprKind::Record(fields) => fields.iter_mut().for_each(|(_, e)| v.visit_expr(e)),
        ExprKind::Index { base, indices } => {
            v.visit_expr(base);
            indices.iter_mut().for_each(|e| v.visit_expr(e));
        }
        ExprKind::Sizeof(t) | ExprKind::Typeinfo(t) | ExprKind::Offsetof { of: t, .. } => {
            v.visit_type_or_expr(t);
        }
        ExprKind::If { cond, then, els } => {
            v.visit_expr(cond);
            v.visit_block(then);
            if let Some(e) = els {
                v.visit_expr(e);
            }
        }
        ExprKind::Block(b) => v.visit_block(b),
    }
}

/// The types and expressions inside a type.
pub fn walk_type<V: VisitMut + ?Sized>(v: &mut V, t: &mut TypeExpr) {
    match &mut t.kind {
        TypeExprKind::Named(_) | TypeExprKind::Tagged { .. } => {}
        TypeExprKind::Typeof(t) => v.visit_type_or_expr(t),
        TypeExprKind::Pointer(t) | TypeExprKind::Array { elem: t, .. } => v.visit_type(t),
    }
}

/// The type or the expression.
pub fn walk_type_or_expr<V: VisitMut + ?Sized>(v: &mut V, t: &mut TypeOrExpr) {
    match t {
        TypeOrExpr::Type(t) => v.visit_type(t),
        TypeOrExpr::Expr(e) => v.visit_expr(e),
    }
}
