//! Which parts of its context a probe's body looks at.
//!
//! Attach points that differ only in what nobody looks at share one program.

use crate::syntax::ast::{Arg, Block, Expr, ExprKind, ForIter, Probe, Stmt, StmtKind, TypeOrExpr};

/// What a body uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Arguments by name.
    pub args: bool,
    /// `args` as a value.
    pub args_whole: bool,
    /// `argN`
    pub arg_numbers: bool,
    /// `retval`
    pub retval: bool,
    /// `probe` in an operator, where its text matters.
    pub probe_text: bool,
    /// `probetype`, or functions that are limited to some probes.
    pub provider: bool,
    /// `uaddr`
    pub file: bool,
}

/// Looks through a probe.
pub(super) fn of(probe: &Probe) -> Usage {
    let mut u = Usage::default();
    if let Some(p) = &probe.predicate {
        u.expr(p);
    }
    u.block(&probe.body);
    u
}

impl Usage {
    fn block(&mut self, b: &Block) {
        for s in &b.stmts {
            self.stmt(s);
        }
        if let Some(v) = &b.value {
            self.expr(v);
        }
    }

    fn stmt(&mut self, s: &Stmt) {
        match &s.kind {
            StmtKind::Let { init, .. } => {
                if let Some(e) = init {
                    self.expr(e);
                }
            }
            StmtKind::While { cond, body } => {
                self.expr(cond);
                self.block(body);
            }
            StmtKind::Unroll { count, body } => {
                self.expr(count);
                self.block(body);
            }
            StmtKind::For { iter, body, .. } => {
                if let ForIter::Range { start, end } = iter {
                    self.expr(start);
                    self.expr(end);
                }
                self.block(body);
            }
            StmtKind::Return(Some(e)) | StmtKind::Discard(e) | StmtKind::Expr(e) => self.expr(e),
            StmtKind::Assign { target, value, .. } => {
                self.expr(target);
                self.expr(value);
            }
            StmtKind::Return(None) | StmtKind::Import(_) | StmtKind::Break | StmtKind::Continue => {
            }
        }
    }

    fn name(&mut self, name: &str) {
        let name = name.strip_prefix("__builtin_").unwrap_or(name);
        match name {
            "args" => {
                self.args = true;
                self.args_whole = true;
            }
            "retval" => self.retval = true,
            "probetype" | "func" | "signal" | "signal_thread" | "override" | "path" | "ctx" => {
                self.provider = true;
            }
            "uaddr" => self.file = true,
            _ => {
                let digits = name.strip_prefix("arg").unwrap_or("");
                if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                    self.arg_numbers = true;
                }
            }
        }
    }

    fn type_or_expr(&mut self, t: &TypeOrExpr) {
        if let TypeOrExpr::Expr(e) = t {
            self.expr(e);
        }
    }

    fn operand(&mut self, e: &Expr) {
        if matches!(&e.kind, ExprKind::Ident(n) if n == "probe" || n == "__builtin_probe")
            || matches!(&e.kind, ExprKind::Call { func, .. } if func.name == "probe")
        {
            self.probe_text = true;
        }
        self.expr(e);
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Int(_)
            | ExprKind::Bool(_)
            | ExprKind::Str(_)
            | ExprKind::Positional(_)
            | ExprKind::PositionalCount
            | ExprKind::Var(_)
            | ExprKind::Map(_) => {}
            ExprKind::MapElem { keys, .. } => keys.iter().for_each(|k| self.expr(k)),
            ExprKind::Ident(name) => self.name(name),
            ExprKind::Call { func, args } => {
                self.name(&func.name);
                for a in args {
                    match a {
                        Arg::Expr(e) if func.name == "print" || func.name == "printf" => {
                            self.expr(e);
                        }
                        Arg::Expr(e) => self.operand(e),
                        Arg::Type(_) => {}
                    }
                }
            }
            ExprKind::Binary { lhs, rhs, .. } => {
                self.operand(lhs);
                self.operand(rhs);
            }
            ExprKind::Unary { expr, .. }
            | ExprKind::IncDec { target: expr, .. }
            | ExprKind::AddrOf(expr)
            | ExprKind::Cast { expr, .. }
            | ExprKind::TupleField { base: expr, .. }
            | ExprKind::Comptime(expr) => self.expr(expr),
            ExprKind::Ternary { cond, then, els } => {
                self.expr(cond);
                self.expr(then);
                self.expr(els);
            }
            ExprKind::Elvis { cond, els } => {
                self.expr(cond);
                self.expr(els);
            }
            ExprKind::Tuple(items) => items.iter().for_each(|i| self.expr(i)),
            ExprKind::Record(items) => items.iter().for_each(|(_, i)| self.expr(i)),
            ExprKind::Field { base, .. } => match &base.kind {
                ExprKind::Ident(n) if n == "args" || n == "__builtin_args" => self.args = true,
                _ => self.expr(base),
            },
            ExprKind::Index { base, indices } => {
                self.expr(base);
                indices.iter().for_each(|i| self.expr(i));
            }
            ExprKind::Sizeof(t) | ExprKind::Typeinfo(t) | ExprKind::Offsetof { of: t, .. } => {
                self.type_or_expr(t);
            }
            ExprKind::If { cond, then, els } => {
                self.expr(cond);
                self.block(then);
                if let Some(e) = els {
                    self.expr(e);
                }
            }
            ExprKind::Block(b) => self.block(b),
        }
    }
}
