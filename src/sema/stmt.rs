//! Statements, blocks, probes and functions.

use super::check::{Checker, LoopKind, Origin, UnitState};
use super::hir::{self, Block, Expr, ExprKind, Stmt, StmtKind};
use super::probes::Unit;
use super::value::{self, is_unknown, literal_value};
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast;
use crate::types::Type;

/// Copies of an `unroll` body.
const UNROLL: std::ops::RangeInclusive<i128> = 1..=100;

impl<'a> Checker<'a> {
    /// Checks one variant of a probe.
    pub(super) fn probe(&mut self, number: u32, unit: &Unit<'a>) -> hir::Probe {
        self.begin_unit(UnitState {
            number,
            probe: Some(unit.cx.clone()),
            ..Default::default()
        });
        let ast = unit.ast;
        let loc = self.loc(ast.span);
        let cond = ast.predicate.as_ref().map(|p| {
            let e = self.expr(p);
            (is_unknown(&e), self.condition(e, p.span))
        });
        let skip = matches!(&cond, Some((false, c)) if literal_value(c) == Some(0));
        let mut body = if skip {
            Block::default()
        } else {
            self.block(&ast.body)
        };
        if let Some((_, cond)) = cond
            && literal_value(&cond).is_none()
        {
            let kind = ExprKind::If {
                cond: Box::new(cond),
                then: body,
                els: Block::default(),
            };
            let e = Expr {
                kind,
                ty: Type::None,
                loc,
            };
            let stmt = Stmt {
                kind: StmtKind::Expr(e),
                loc,
            };
            body = Block {
                stmts: vec![stmt],
                value: None,
            };
        }
        hir::Probe {
            name: unit.name.clone(),
            ty: unit.cx.ty,
            ctx: unit.cx.ctx,
            attach_btf: unit.attach_btf.clone(),
            attach: unit.attach.clone(),
            syscalls: unit.syscalls.clone(),
            locals: self.end_unit(),
            body,
            default_return: unit.cx.default_return,
            filter_pid: unit.cx.filter_pid && self.config.pid_filter.is_some(),
            filter_cgroup: unit.cx.provider.is_of_a_task() && !self.config.cgroups.is_empty(),
            loc,
        }
    }

    /// Checks a function.
    pub(super) fn func(&mut self, number: u32, f: &'a ast::Subprog) -> hir::Func {
        let ret = self.type_expr(&f.ret).unwrap_or(Type::None);
        let void = ret == Type::Void;
        self.begin_unit(UnitState {
            number,
            func: Some((f.name.name.clone(), ret.clone())),
            ..Default::default()
        });
        for p in &f.params {
            let ty = self.type_expr(&p.ty).unwrap_or(Type::None);
            self.declare(
                &p.var,
                p.var.span,
                ast::NodeId(u32::MAX),
                Origin::Parameter,
                Some(ty),
            );
        }
        let mut body = self.block_as_body(&f.body, !void);
        if let Some(v) = body.value.take() {
            let loc = v.loc;
            let v = self.return_value(*v, f.body.span, f.body.span);
            body.stmts.push(Stmt {
                kind: StmtKind::Return(v),
                loc,
            });
        }
        hir::Func {
            name: f.name.name.clone(),
            params: f.params.len() as u32,
            locals: self.end_unit(),
            ret: if void { Type::None } else { ret },
            body,
            loc: self.loc(f.span),
        }
    }

    fn block_as_body(&mut self, b: &'a ast::Block, value: bool) -> Block {
        let wanted = value
            && b.value
                .as_deref()
                .is_some_and(|v| !matches!(v.kind, ast::ExprKind::If { .. }));
        if wanted {
            let (mut block, v) = self.value_block(b);
            if v.ty != Type::None {
                block.value = Some(Box::new(v));
            }
            block
        } else {
            self.block(b)
        }
    }

    /// A block whose value, if any, is dropped.
    pub(super) fn block(&mut self, b: &ast::Block) -> Block {
        self.scoped(|c| {
            let mut out = Vec::new();
            let ended = c.stmts(&b.stmts, &mut out);
            if let Some(v) = &b.value {
                let mut dropped = Vec::new();
                if ended {
                    c.unreachable(v.whole());
                }
                c.expr_stmt(v, v.whole(), if ended { &mut dropped } else { &mut out });
            }
            Block {
                stmts: out,
                value: None,
            }
        })
    }

    /// A block and its value, of type none if it has none.
    pub(super) fn value_block(&mut self, b: &ast::Block) -> (Block, Expr) {
        self.scoped(|c| {
            let mut out = Vec::new();
            c.stmts(&b.stmts, &mut out);
            let value = match &b.value {
                Some(v) => c.expr(v),
                None => value::constant(0, Type::None, c.loc(b.span)),
            };
            let block = Block {
                stmts: out,
                value: None,
            };
            (block, value)
        })
    }

    fn unreachable(&mut self, span: Span) {
        self.warn(Code::Unreachable, span, "Unreachable statement.");
    }

    /// Checks statements in order; true if the end is not reached. What follows a jump is
    /// checked, too, but dropped.
    fn stmts(&mut self, stmts: &[ast::Stmt], out: &mut Vec<Stmt>) -> bool {
        let mut dropped = Vec::new();
        let mut ended = false;
        for (i, s) in stmts.iter().enumerate() {
            let target = if ended { &mut dropped } else { &mut *out };
            let jumps = self.stmt(s, target);
            if jumps && !ended {
                ended = true;
                if let Some(next) = stmts.get(i + 1) {
                    self.unreachable(next.whole());
                }
            }
        }
        ended
    }

    /// Checks one statement; true if control does not go past it.
    fn stmt(&mut self, s: &ast::Stmt, out: &mut Vec<Stmt>) -> bool {
        let outer = std::mem::replace(&mut self.expn, s.expn);
        let jumps = self.stmt_kind(s, out);
        self.expn = outer;
        jumps
    }

    fn stmt_kind(&mut self, s: &ast::Stmt, out: &mut Vec<Stmt>) -> bool {
        let loc = self.loc(s.span);
        let mut push = |kind| out.push(Stmt { kind, loc });
        match &s.kind {
            ast::StmtKind::Let { var, ty, init } => {
                // The value is checked first: it cannot use the new variable.
                let init = init.as_ref().map(|e| (self.expr(e), e.span));
                let declared = ty.as_ref().and_then(|t| self.type_expr(t));
                let place = s.span.to_end_of(var.span);
                let id = self.declare(var, place, s.id, Origin::Declaration, declared);
                let value = match init {
                    Some((e, span)) => self.assign_local(id, e, span, s.span),
                    None => self.local_type(id).map(|ty| Expr {
                        kind: ExprKind::Zero,
                        ty,
                        loc,
                    }),
                };
                if let Some(v) = value {
                    push(StmtKind::Assign(id, v));
                }
                false
            }
            ast::StmtKind::Import(i) => {
                self.error(
                    Code::ImportRefused,
                    i.span,
                    "imports inside of blocks are not supported",
                );
                false
            }
            ast::StmtKind::While { cond, body } => {
                self.report(
                    Diagnostic::warning(
                        Code::WhileLoop,
                        s.span,
                        "While loops are deprecated and may be removed in the future.",
                    )
                    .hint("Use a for loop over a range, e.g. for $i : 0..10 { ... }"),
                );
                let c = self.expr(cond);
                let cond = self.condition(c, cond.span);
                let body = self.in_loop(LoopKind::Real, |c| c.block(body));
                push(StmtKind::While { cond, body });
                false
            }
            ast::StmtKind::Unroll { count, body } => {
                if let Some(n) = self.unroll_count(count, s.span) {
                    for _ in 0..n {
                        let body = self.in_loop(LoopKind::Unroll, |c| c.block(body));
                        let e = Expr {
                            kind: ExprKind::Block(body),
                            ty: Type::None,
                            loc,
                        };
                        push(StmtKind::Expr(e));
                    }
                }
                false
            }
            ast::StmtKind::For { var, iter, body } => {
                let kind = match iter {
                    ast::ForIter::Map(m) => self.for_map(s, var, m, body),
                    ast::ForIter::Range { start, end } => self.for_range(s, var, start, end, body),
                };
                if let Some(kind) = kind {
                    push(kind);
                }
                false
            }
            ast::StmtKind::Break => self.jump("break", StmtKind::Break, s, out),
            ast::StmtKind::Continue => self.jump("continue", StmtKind::Continue, s, out),
            ast::StmtKind::Return(e) => {
                let value = match e {
                    Some(e) => {
                        let v = self.expr(e);
                        self.return_value(v, e.span, s.whole())
                    }
                    None => {
                        if let Some((name, ty)) = &self.unit.func
                            && *ty != Type::Void
                        {
                            let text = format!(
                                "Function {name} is of type {}, cannot return void",
                                self.spell_unsized(ty)
                            );
                            self.error(Code::BadReturn, s.whole(), text);
                        }
                        None
                    }
                };
                push(StmtKind::Return(value));
                true
            }
            ast::StmtKind::Discard(e) => {
                let v = self.expr(e);
                if !is_unknown(&v) && !value::is_literal(&v) {
                    push(StmtKind::Expr(v));
                }
                false
            }
            ast::StmtKind::Assign {
                target, op, value, ..
            } => {
                if let Some(kind) = self.assign(s, target, *op, value) {
                    push(kind);
                }
                false
            }
            ast::StmtKind::Expr(e) => self.expr_stmt(e, s.whole(), out),
        }
    }

    fn return_value(&mut self, v: Expr, span: Span, whole: Span) -> Option<Expr> {
        if is_unknown(&v) {
            return None;
        }
        let v = self.reduce(v);
        match &self.unit.func {
            Some((name, ret)) => {
                let (name, ret) = (name.clone(), ret.clone());
                if value::unify(&ret, &v, &self.store).is_none() {
                    let text = format!(
                        "Function {name} is of type {}, cannot return {}",
                        self.spell_unsized(&ret),
                        self.spell(&v.ty)
                    );
                    self.error(Code::BadReturn, whole, text);
                    return None;
                }
                Some(self.implicit(v, &ret, span))
            }
            None => {
                if value::int_like(&v.ty, &self.store).is_none() {
                    let text = format!(
                        "Probe return values can only be integers. Found {}",
                        self.spell(&v.ty)
                    );
                    self.error(Code::BadReturn, whole, text);
                    return None;
                }
                Some(value::cast(v, &Type::I64))
            }
        }
    }

    fn jump(&mut self, name: &str, kind: StmtKind, s: &ast::Stmt, out: &mut Vec<Stmt>) -> bool {
        match self.unit.loops.last() {
            Some(LoopKind::Real) => {
                let loc = self.loc(s.span);
                out.push(Stmt { kind, loc });
            }
            Some(LoopKind::Unroll) | None => {
                let place = if self.unit.func.is_some() {
                    "function"
                } else {
                    "probe"
                };
                let text = format!("'{name}' statement is not allowed in a {place}");
                self.error(Code::NotAllowedHere, s.whole(), text);
            }
        }
        true
    }

    fn in_loop<T>(&mut self, kind: LoopKind, f: impl FnOnce(&mut Self) -> T) -> T {
        self.unit.loops.push(kind);
        let out = f(self);
        self.unit.loops.pop();
        out
    }

    fn unroll_count(&mut self, count: &ast::Expr, whole: Span) -> Option<i128> {
        let c = self.expr(count);
        if is_unknown(&c) {
            return None;
        }
        let text = match literal_value(&c) {
            None => "invalid unroll value",
            Some(n) if n < *UNROLL.start() => "unroll minimum value is 1",
            Some(n) if n > *UNROLL.end() => "unroll maximum value is 100",
            n => return n,
        };
        self.error(Code::BadUnroll, whole, text);
        None
    }

    fn for_range(
        &mut self,
        s: &ast::Stmt,
        var: &ast::Var,
        start: &ast::Expr,
        end: &ast::Expr,
        body: &ast::Block,
    ) -> Option<StmtKind> {
        if !self.cx.facts.has_feature("loop") {
            self.error(
                Code::MissingFeature,
                s.span,
                "Missing required kernel feature: loop",
            );
        }
        let a = self.range_bound(start);
        let b = self.range_bound(end);
        let types = match (&a, &b) {
            (Some(a), Some(b)) => match (&a.ty, &b.ty) {
                (Type::Int(x), Type::Int(y)) => {
                    Some(super::ops::widened(value::join_operands(a, *x, b, *y)))
                }
                _ => Some(Type::I64),
            },
            _ => None,
        };
        self.scoped(|c| {
            let id = c.declare(var, var.span, s.id, Origin::Loop, None);
            if let Some(ty) = &types {
                // Not less than what assignments in the body made of it in an earlier round, or
                // the two would take turns for ever.
                let bound = Expr {
                    kind: ExprKind::Zero,
                    ty: ty.clone(),
                    loc: c.loc(var.span),
                };
                if c.grow_local(id, &bound).is_err() {
                    c.learn_local(id, ty.clone());
                }
            }
            let body = c.in_loop(LoopKind::Real, |c| c.block(body));
            let ty = types?;
            // The variable may have grown by assignments in the body.
            let var_ty = c.local_type(id)?;
            Some(StmtKind::ForRange {
                var: id,
                start: c.range_value(a?, &ty, &var_ty, start.span),
                end: c.range_value(b?, &ty, &var_ty, end.span),
                body,
            })
        })
    }

    fn range_value(&mut self, e: Expr, ty: &Type, var: &Type, span: Span) -> Expr {
        let e = self.implicit(e, ty, span);
        value::cast(e, var)
    }

    fn range_bound(&mut self, e: &ast::Expr) -> Option<Expr> {
        let v = self.expr(e);
        if is_unknown(&v) {
            return None;
        }
        let v = self.reduce(v);
        if !matches!(v.ty, Type::Int(_)) {
            let text = format!(
                "Loop range requires an integer for the range, got type '{}'",
                self.spell(&v.ty)
            );
            self.error(Code::TypeMismatch, e.span, text);
            return None;
        }
        Some(v)
    }

    fn for_map(
        &mut self,
        s: &ast::Stmt,
        var: &ast::Var,
        m: &ast::MapName,
        body: &ast::Block,
    ) -> Option<StmtKind> {
        use super::maps::KeyState;
        let map = self.map(m);
        self.reads_map(map, m.span);
        let state = self.map_state(map).clone();
        let mut ok = true;
        if state.key == KeyState::Scalar {
            let text = format!(
                "{} has no explicit keys (scalar map), and cannot be used for iteration",
                state.name
            );
            self.error(Code::MapNotIterable, m.span, text);
            ok = false;
        }
        let value = state.value.map(|v| value::reduced(&v).unwrap_or(v));
        if let Some(Type::Agg(_)) = &value {
            let ty = value.clone().unwrap_or(Type::None);
            let text = format!("Loop expression does not support type: {}", self.spell(&ty));
            self.error(Code::MapNotIterable, m.span, text);
            ok = false;
        }
        let ty = match (state.key, value) {
            (KeyState::Type(k), Some(v)) if ok => Some(Type::tuple(vec![k.ty, v])),
            _ => {
                self.unresolved_map(map, m.span);
                None
            }
        };
        self.scoped(|c| {
            let id = c.declare(var, var.span, s.id, Origin::Loop, ty.clone());
            if ty.is_none() && !ok {
                return None;
            }
            let body = c.in_loop(LoopKind::Real, |c| c.block(body));
            ty?;
            Some(StmtKind::ForMap { var: id, map, body })
        })
    }

    // Expressions as statements.

    /// An expression for its effect; true if control does not go past it.
    fn expr_stmt(&mut self, e: &ast::Expr, whole: Span, out: &mut Vec<Stmt>) -> bool {
        let outer = std::mem::replace(&mut self.expn, e.expn);
        let loc = self.loc(e.span);
        let v = match &e.kind {
            ast::ExprKind::If { cond, then, els } => {
                self.if_expr(cond, then, els.as_deref(), e.span, false)
            }
            ast::ExprKind::Block(b) => {
                let block = self.block(b);
                Expr {
                    kind: ExprKind::Block(block),
                    ty: Type::None,
                    loc,
                }
            }
            _ => {
                let v = self.expr(e);
                let silent = is_unknown(&v)
                    || v.ty == Type::None
                    || matches!(v.kind, ExprKind::IncLocal { .. } | ExprKind::IncMap { .. })
                    || matches!(&v.kind, ExprKind::Call(c) if c.builtin.name == "delete");
                if !silent {
                    self.warn(Code::Discarded, whole, "Return value discarded.");
                }
                v
            }
        };
        self.expn = outer;
        let jumps = ends(&v);
        if !is_unknown(&v) && !value::is_literal(&v) {
            out.push(Stmt {
                kind: StmtKind::Expr(v),
                loc,
            });
        }
        jumps
    }
}

/// Whether control never goes past this statement: `exit()`.
fn ends(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Block(b) => b
            .stmts
            .last()
            .is_some_and(|s| matches!(s.kind, StmtKind::Return(_))),
        _ => false,
    }
}
