//! Which variables the bodies of loops share with their surroundings.
//!
//! Bodies of `for` loops become functions of their own. A variable that more than one function
//! of a probe touches lives in the environment; the others live in their function's frame.

use crate::sema::hir::{self, Arg, Base, Block, Expr, ExprKind, LocalId, Place, Stmt, StmtKind};

/// Result of the analysis.
#[derive(Debug, Default)]
pub(super) struct Captures {
    /// Whether there is any loop with a body of its own.
    pub has_loops: bool,
    shared: Vec<bool>,
}

impl Captures {
    /// Whether more than one function touches the variable.
    pub(super) fn shared(&self, local: LocalId) -> bool {
        self.shared[local.0 as usize]
    }
}

struct Walk {
    out: Captures,
    /// Every variable that is assigned, as often as it is.
    assigned: Vec<LocalId>,
    /// The first function that touched each variable.
    first: Vec<Option<u32>>,
    at: u32,
    bodies: u32,
}

/// Analyses the body of a probe or function with this many variables, the first of which are
/// its parameters.
pub(super) fn analyse(body: &Block, locals: usize, params: u32) -> Captures {
    let mut w = Walk {
        out: Captures {
            has_loops: false,
            shared: vec![false; locals],
        },
        first: vec![None; locals],
        assigned: Vec::new(),
        at: 0,
        bodies: 0,
    };
    (0..params).for_each(|i| w.touch(LocalId(i)));
    w.block(body);
    w.out
}

impl Walk {
    fn touch(&mut self, local: LocalId) {
        let i = local.0 as usize;
        if i >= self.first.len() {
            self.first.resize(i + 1, None);
            self.out.shared.resize(i + 1, false);
        }
        match self.first[i] {
            None => self.first[i] = Some(self.at),
            Some(at) if at != self.at => self.out.shared[i] = true,
            Some(_) => {}
        }
    }

    fn assign(&mut self, local: LocalId) {
        self.touch(local);
        self.assigned.push(local);
    }

    fn block(&mut self, b: &Block) {
        b.stmts.iter().for_each(|s| self.stmt(s));
        if let Some(v) = &b.value {
            self.expr(v);
        }
    }

    fn body(&mut self, var: LocalId, b: &Block) {
        let outer = self.at;
        self.bodies += 1;
        self.at = self.bodies;
        self.out.has_loops = true;
        self.touch(var);
        self.block(b);
        self.at = outer;
    }

    fn stmt(&mut self, s: &Stmt) {
        match &s.kind {
            StmtKind::Assign(l, e) => {
                self.assign(*l);
                self.expr(e);
            }
            StmtKind::MapAssign { key, value, .. } | StmtKind::MapUpdate { key, value, .. } => {
                key.iter().for_each(|k| self.expr(k));
                self.expr(value);
            }
            StmtKind::Aggregate { key, value, .. } => {
                key.iter().for_each(|k| self.expr(k));
                value.iter().for_each(|v| self.expr(v));
            }
            StmtKind::Expr(e) => self.expr(e),
            StmtKind::While { cond, body } => {
                self.expr(cond);
                self.block(body);
            }
            StmtKind::ForRange {
                var,
                start,
                end,
                body,
            } => {
                self.expr(start);
                self.expr(end);
                self.body(*var, body);
            }
            StmtKind::ForMap { var, body, .. } => self.body(*var, body),
            StmtKind::Return(e) => e.iter().for_each(|e| self.expr(e)),
            StmtKind::Break | StmtKind::Continue => {}
        }
    }

    fn place(&mut self, p: &Place) {
        match &p.base {
            Base::Deref(e) | Base::Temp(e) => self.expr(e),
            Base::Local(l) => self.touch(*l),
            Base::Ctx => {}
        }
        p.index.iter().for_each(|i| self.expr(&i.index));
    }

    fn call(&mut self, call: &hir::Call) {
        for a in &call.args {
            match a {
                Arg::Expr(e) | Arg::MapElem(_, Some(e)) => self.expr(e),
                Arg::Local(l) => self.assign(*l),
                Arg::Map(_)
                | Arg::MapElem(_, None)
                | Arg::Str(_)
                | Arg::Int(_)
                | Arg::Format(_)
                | Arg::TimeFormat(_) => {}
            }
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Int(_)
            | ExprKind::Str(_)
            | ExprKind::Zero
            | ExprKind::Bytes(_)
            | ExprKind::MapAddr(_)
            | ExprKind::CtxArg(_)
            | ExprKind::Ctx
            | ExprKind::DataLoc { .. }
            | ExprKind::Location(_)
            | ExprKind::Parts(_)
            | ExprKind::Probe => {}
            ExprKind::Local(l) => self.touch(*l),
            ExprKind::IncLocal { local, .. } => self.assign(*local),
            ExprKind::MapGet { key, .. } | ExprKind::IncMap { key, .. } => {
                key.iter().for_each(|k| self.expr(k));
            }
            ExprKind::Load(p) | ExprKind::AddrOf(p) => self.place(p),
            ExprKind::Unary(_, a) | ExprKind::Cast(a) | ExprKind::TupleField(a, _) => self.expr(a),
            ExprKind::Binary(_, a, b) | ExprKind::And(a, b) | ExprKind::Or(a, b) => {
                self.expr(a);
                self.expr(b);
            }
            ExprKind::Compare { lhs, rhs, .. } | ExprKind::EqualMemory { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            ExprKind::If { cond, then, els } => {
                self.expr(cond);
                self.block(then);
                self.block(els);
            }
            ExprKind::Block(b) => self.block(b),
            ExprKind::Tuple(items) | ExprKind::CallFn(_, items) => {
                items.iter().for_each(|i| self.expr(i));
            }
            ExprKind::Call(c) => self.call(c),
        }
    }
}

/// The variables that the body of a loop assigns to, without duplicates, in their order.
pub(super) fn assigned(body: &Block) -> Vec<LocalId> {
    let mut w = Walk {
        out: Captures::default(),
        first: Vec::new(),
        assigned: Vec::new(),
        at: 0,
        bodies: 0,
    };
    w.block(body);
    w.assigned.sort_unstable_by_key(|l| l.0);
    w.assigned.dedup();
    w.assigned
}

/// Whether an expression touches a variable.
pub(super) fn mentions(e: &Expr, local: LocalId) -> bool {
    let mut w = Walk {
        out: Captures::default(),
        first: Vec::new(),
        assigned: Vec::new(),
        at: 0,
        bodies: 0,
    };
    w.expr(e);
    w.first
        .get(local.0 as usize)
        .is_some_and(|first| first.is_some())
}
