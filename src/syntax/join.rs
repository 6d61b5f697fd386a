//! Variables that every branch of an `if` assigns, and that are read behind it.
//!
//! ```text
//! if c { $x = 1 } else { $x = 2 }      let $x;
//! print($x);                      ->   if c { $x = 1 } else { $x = 2 }
//!                                      print($x);
//! ```
//! A variable belongs to the block of its first assignment, so without this the last line would
//! name nothing, although `$x` has a value on every path. Scripts from before blocks were scopes
//! rely on it. In: a program without macros. Out: the same with the declarations that are needed.
//! Nothing else changes: a branch that assigns nothing, an `if` without `else`, and variables
//! that nobody reads behind the `if` keep their scopes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::ast::{Block, ExpnId, Expr, ExprKind, Program, Stmt, StmtKind, Var};
use super::visit::{self, VisitMut};

type Key = (String, ExpnId);

/// Declares before an `if` what all its branches assign and what is read behind it.
pub fn join(program: &mut Program) {
    let mut items = std::mem::take(&mut program.items);
    let mut joiner = Joiner {
        program,
        scopes: Vec::new(),
    };
    for item in &mut items {
        joiner.scopes.push(HashSet::new());
        visit::walk_item(&mut joiner, item);
        joiner.scopes.pop();
    }
    program.items = items;
}

struct Joiner<'a> {
    /// For numbers of statements.
    program: &'a mut Program,
    /// What the open blocks declare.
    scopes: Vec<HashSet<Key>>,
}

/// What comes next of a variable in a block.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Read,
    Written,
}

impl Joiner<'_> {
    fn declared(&self, key: &Key) -> bool {
        self.scopes.iter().any(|s| s.contains(key))
    }

    fn declare(&mut self, var: &Var) {
        let key = owned(var);
        if !self.declared(&key)
            && let Some(scope) = self.scopes.last_mut()
        {
            scope.insert(key);
        }
    }
}

impl VisitMut for Joiner<'_> {
    fn visit_block(&mut self, b: &mut Block) {
        let joins = joins(b);
        self.scopes.push(HashSet::new());
        let stmts = std::mem::take(&mut b.stmts);
        for (mut s, vars) in stmts.into_iter().zip(joins) {
            for var in vars {
                if self.declared(&owned(&var)) {
                    continue;
                }
                self.declare(&var);
                b.stmts.push(Stmt {
                    span: var.span,
                    end: var.span.hi,
                    id: self.program.new_id(),
                    expn: s.expn,
                    kind: StmtKind::Let {
                        var,
                        ty: None,
                        init: None,
                    },
                });
            }
            match &mut s.kind {
                StmtKind::Let { var, .. } => self.declare(var),
                StmtKind::Assign { target, .. } => {
                    if let ExprKind::Var(var) = &target.kind {
                        self.declare(var);
                    }
                }
                _ => {}
            }
            visit::walk_stmt(self, &mut s);
            b.stmts.push(s);
        }
        if let Some(e) = &mut b.value {
            self.visit_expr(e);
        }
        self.scopes.pop();
    }
}

/// For each statement of a block the variables to declare before it.
fn joins(b: &mut Block) -> Vec<Vec<Var>> {
    let mut next: HashMap<Key, Next> = HashMap::new();
    let mut joins = vec![Vec::new(); b.stmts.len()];
    if !b.stmts.iter().any(|s| branches(s).is_some()) {
        return joins;
    }
    if let Some(e) = &mut b.value {
        let mut read = Mentions::default();
        read.visit_expr(e);
        next.extend(read.0.into_iter().map(|k| (k, Next::Read)));
    }
    for (i, s) in b.stmts.iter_mut().enumerate().rev() {
        if let Some(e) = branches(s) {
            let live = |k: &Key| next.get(k) == Some(&Next::Read);
            let all = assigned(e).into_iter();
            joins[i] = all.filter(|(k, _)| live(k)).map(|(_, v)| v).collect();
        }
        let mut read = Mentions::default();
        let written = match &mut s.kind {
            StmtKind::Let { var, init, .. } => {
                if let Some(e) = init {
                    read.visit_expr(e);
                }
                Some(owned(var))
            }
            StmtKind::Assign {
                target,
                op: None,
                value,
                ..
            } if matches!(target.kind, ExprKind::Var(_)) => {
                read.visit_expr(value);
                match &target.kind {
                    ExprKind::Var(var) => Some(owned(var)),
                    _ => None,
                }
            }
            _ => {
                visit::walk_stmt(&mut read, s);
                None
            }
        };
        next.extend(written.map(|k| (k, Next::Written)));
        next.extend(read.0.into_iter().map(|k| (k, Next::Read)));
    }
    joins
}

/// The `if` that a statement is, if it has an `else`.
fn branches(s: &Stmt) -> Option<&Expr> {
    match &s.kind {
        StmtKind::Expr(e) if matches!(&e.kind, ExprKind::If { els: Some(_), .. }) => Some(e),
        _ => None,
    }
}

/// What all branches of an `if`, or a block, assign as their own; in the order of names.
fn assigned(e: &Expr) -> BTreeMap<Key, Var> {
    match &e.kind {
        ExprKind::If {
            then,
            els: Some(els),
            ..
        } => {
            let mut all = in_block(then);
            let other = assigned(els);
            all.retain(|k, _| other.contains_key(k));
            all
        }
        ExprKind::Block(b) => in_block(b),
        _ => BTreeMap::new(),
    }
}

fn in_block(b: &Block) -> BTreeMap<Key, Var> {
    let mut all = BTreeMap::new();
    let mut own = HashSet::new();
    for s in &b.stmts {
        match &s.kind {
            StmtKind::Let { var, .. } => {
                own.insert(owned(var));
            }
            StmtKind::Assign {
                target, op: None, ..
            } => {
                if let ExprKind::Var(var) = &target.kind {
                    all.entry(owned(var)).or_insert_with(|| var.clone());
                }
            }
            StmtKind::Expr(e) => {
                for (k, v) in assigned(e) {
                    all.entry(k).or_insert(v);
                }
            }
            _ => {}
        }
    }
    if let Some(e) = &b.value {
        for (k, v) in assigned(e) {
            all.entry(k).or_insert(v);
        }
    }
    all.retain(|k, _| !own.contains(k));
    all
}

fn owned(var: &Var) -> Key {
    (var.name.clone(), var.expn)
}

/// The variables that something names.
#[derive(Default)]
struct Mentions(HashSet<Key>);

impl VisitMut for Mentions {
    fn visit_var(&mut self, v: &mut Var) {
        self.0.insert(owned(v));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::FileId;

    fn joined(text: &str) -> String {
        let parsed = crate::syntax::parse(FileId(0), text);
        assert!(!parsed.diags.has_errors(), "{text}");
        let mut program = parsed.program;
        join(&mut program);
        crate::syntax::print::format(&program, text)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_all_branches_assign_lives_on() {
        assert_eq!(
            joined(
                "begin { if (1) { $x = 1; } else if (2) { $x = 2; } else { $x = 3; } print($x); }"
            ),
            "begin { let $x; if (1) { $x = 1; } else if (2) { $x = 2; } else { $x = 3; } print($x); }"
        );
    }

    #[test]
    fn other_variables_stay_in_their_blocks() {
        for text in [
            "begin { if (1) { $x = 1; } print($x); }",
            "begin { if (1) { $x = 1; } else { $y = 2; } print($x); }",
            "begin { if (1) { $x = 1; } else { $x = \"a\"; } print(1); }",
            "begin { if (1) { $x = 1; } else { $x = \"a\"; } $x = 2; print($x); }",
            "begin { $x = 0; if (1) { $x = 1; } else { $x = 2; } print($x); }",
            "begin { if (1) { let $x = 1; } else { $x = 2; } print($x); }",
        ] {
            assert_eq!(joined(text), text);
        }
    }
}
