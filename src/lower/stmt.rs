//! Statements and blocks.

use crate::ir::Value;
use crate::sema::hir::{Block, Stmt, StmtKind};

use super::fx::{Fx, LoopCx};

impl<'a> Fx<'_, 'a> {
    /// Lowers a block; gives its value if it is a scalar.
    pub(super) fn block(&mut self, block: &'a Block) -> Option<Value> {
        self.stmts(&block.stmts);
        let value = block.value.as_deref()?;
        if value.ty.is_scalar() {
            return Some(self.scalar(value));
        }
        self.effect(value);
        None
    }

    /// Lowers statements.
    pub(super) fn stmts(&mut self, stmts: &'a [Stmt]) {
        for s in stmts {
            if self.b.is_terminated() {
                // What follows a `return` or `break` was reported by the type checker.
                return;
            }
            let mark = self.mark();
            self.stmt(s);
            self.release(mark);
        }
    }

    fn stmt(&mut self, s: &'a Stmt) {
        self.b.set_loc(s.loc);
        match &s.kind {
            StmtKind::Assign(local, value) => {
                if value.ty.is_scalar() {
                    let v = self.scalar(value);
                    self.set_scalar_local(*local, v);
                } else if value.ty.is_memory() {
                    self.assign_memory(*local, value);
                } else {
                    self.effect(value);
                }
            }
            StmtKind::MapAssign { map, key, value } => {
                self.map_assign(*map, key.as_ref(), value);
            }
            StmtKind::MapUpdate {
                map,
                key,
                op,
                value,
            } => self.map_update(*map, key.as_ref(), *op, value),
            StmtKind::Aggregate {
                map,
                key,
                agg,
                value,
            } => self.aggregate(*map, key.as_ref(), *agg, value.as_ref()),
            StmtKind::Expr(e) => self.effect(e),
            StmtKind::While { cond, body } => {
                let head = self.b.new_block();
                let inside = self.b.new_block();
                let done = self.b.new_block();
                self.b.jump(head, &[]);
                self.b.switch_to(head);
                self.condition(cond, inside, done);
                self.b.switch_to(inside);
                self.loops.push(LoopCx::Blocks { next: head, done });
                self.block(body);
                self.loops.pop();
                self.b.jump(head, &[]);
                self.b.switch_to(done);
            }
            StmtKind::ForRange {
                var,
                start,
                end,
                body,
            } => self.for_range(*var, start, end, body),
            StmtKind::ForMap { var, map, body } => self.for_map(*var, *map, body),
            StmtKind::Break => match self.loops.last() {
                Some(LoopCx::Blocks { done, .. }) => {
                    let done = *done;
                    self.b.jump(done, &[]);
                }
                _ => {
                    let one = self.b.iconst(1);
                    self.leave(one);
                }
            },
            StmtKind::Continue => match self.loops.last() {
                Some(LoopCx::Blocks { next, .. }) => {
                    let next = *next;
                    self.b.jump(next, &[]);
                }
                _ => {
                    let zero = self.b.iconst(0);
                    self.leave(zero);
                }
            },
            StmtKind::Return(value) => {
                let default = self.probe.map_or(0, |p| p.probe.default_return);
                let v = match value {
                    Some(e) => self.scalar(e),
                    None => self.b.iconst(i64::from(default)),
                };
                self.return_from_probe(v);
            }
        }
    }
}
