//! Macro expansion.
//!
//! In: a program and, optionally, a library of macros written in the language. Out: the program
//! without macros and macro calls; each call is a block in its place. Expansion is hygienic: a
//! variable of a macro body carries the number of its expansion ([`Var::expn`]), so it never
//! meets a variable of the caller. What a node was expanded from is found through its `expn` in
//! [`Program::expansions`].

use std::collections::HashMap;

use super::ast::{
    Arg, Block, Expansion, ExpnId, Expr, ExprKind, Item, Macro, MacroParam, MapName, NodeId,
    Program, Stmt, TypeExpr, TypeExprKind, TypeOrExpr, Var,
};
use super::visit::{self, VisitMut};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::source::Span;

/// Calls inside macros inside macros; later phases recurse over the result.
const MAX_NESTING: usize = 64;
/// Height of expression trees after expansion.
const MAX_DEPTH: usize = 1024;
/// Statements and expressions that expansion may create, against macros that double each other.
const MAX_NODES: u32 = 1_000_000;

/// Expands all macro calls of `program`. Macros of the program come before macros of `stdlib`
/// that have the same name and signature, except inside the bodies of the latter.
pub fn expand(mut program: Program, stdlib: Option<&Program>, diags: &mut Diagnostics) -> Program {
    let items = std::mem::take(&mut program.items);
    let (macros, mut items): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|i| matches!(i, Item::Macro(_)));
    let user = Table::new(macros.iter(), diags);
    let library = Table::new(stdlib.iter().flat_map(|p| &p.items), diags);
    let mut expander = Expander {
        user,
        library,
        first_id: program.next_id,
        next_id: program.next_id,
        expansions: std::mem::take(&mut program.expansions),
        frames: Vec::new(),
        depth: 0,
        stopped: false,
        diags,
    };
    for item in &mut items {
        visit::walk_item(&mut expander, item);
    }
    program.next_id = expander.next_id;
    program.expansions = expander.expansions;
    program.items = items;
    program
}

/// Macros by name.
struct Table<'a>(HashMap<&'a str, Vec<&'a Macro>>);

impl<'a> Table<'a> {
    fn new(items: impl Iterator<Item = &'a Item>, diags: &mut Diagnostics) -> Self {
        let mut table: HashMap<&str, Vec<&Macro>> = HashMap::new();
        for item in items {
            let Item::Macro(m) = item else { continue };
            let same_name = table.entry(&m.name.name).or_default();
            if let Some(first) = same_name.iter().find(|o| same_signature(o, m)) {
                diags.push(
                    Diagnostic::error(
                        Code::MacroRedefined,
                        m.head(),
                        format!("Redefinition of macro: {}", m.name.name),
                    )
                    .note(first.head(), "This is the original definition."),
                );
                continue;
            }
            same_name.push(m);
        }
        Self(table)
    }

    fn get(&self, name: &str) -> &[&'a Macro] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

fn same_signature(a: &Macro, b: &Macro) -> bool {
    a.params.len() == b.params.len()
        && a.params
            .iter()
            .zip(&b.params)
            .all(|(a, b)| std::mem::discriminant(a) == std::mem::discriminant(b))
}

/// Whether an argument is accepted by a parameter.
fn accepts(param: &MacroParam, arg: &Arg) -> bool {
    match (param, arg) {
        (MacroParam::Expr(_), _) => true,
        (MacroParam::Var(_), Arg::Expr(e)) => matches!(e.kind, ExprKind::Var(_)),
        (MacroParam::Map(_), Arg::Expr(e)) => matches!(e.kind, ExprKind::Map(_)),
        (_, Arg::Type(_)) => false,
    }
}

/// What a parameter stands for during one expansion.
enum Binding {
    Expr(Expr),
    Type(TypeExpr),
    Var(Var),
    Map(MapName),
}

/// One expansion under way.
struct Frame<'a> {
    definition: &'a Macro,
    expn: ExpnId,
    from_library: bool,
    bindings: HashMap<&'a str, Binding>,
}

struct Expander<'a, 'd> {
    user: Table<'a>,
    library: Table<'a>,
    first_id: u32,
    next_id: u32,
    expansions: Vec<Expansion>,
    frames: Vec<Frame<'a>>,
    depth: usize,
    /// A limit was exceeded; the program is wrong anyway.
    stopped: bool,
    diags: &'d mut Diagnostics,
}

impl<'a> Expander<'a, '_> {
    fn id(&mut self) -> NodeId {
        self.next_id += 1;
        NodeId(self.next_id - 1)
    }

    fn expn(&self) -> ExpnId {
        self.frames.last().map_or(ExpnId::ROOT, |f| f.expn)
    }

    fn binding(&self, name: &str) -> Option<&Binding> {
        self.frames.last()?.bindings.get(name)
    }

    fn error(&mut self, code: Code, span: Span, message: String) {
        let d = self.diagnostic(code, span, message);
        self.diags.push(d);
    }

    /// An error in the current expansion.
    fn diagnostic(&self, code: Code, span: Span, message: String) -> Diagnostic {
        // The frames are the chain: the parent of each expansion is the one below it.
        let calls = self.frames.iter().rev();
        let calls = calls.map(|f| self.expansions[f.expn.0 as usize - 1].call);
        Diagnostic::error(code, span, message).expanded_from(calls)
    }

    /// Definitions that a call of `name` may mean, best first, and whether from the library.
    fn definitions(&self, name: &str) -> impl Iterator<Item = (&'a Macro, bool)> {
        let in_library = self.frames.last().is_some_and(|f| f.from_library);
        let user = if in_library { &[] } else { self.user.get(name) };
        let user = user.iter().map(|m| (*m, false));
        let library = self.library.get(name).iter().map(|m| (*m, true));
        user.chain(library)
    }

    fn call(&mut self, e: &mut Expr, name: &str, args: Vec<Arg>) -> Result<(), Vec<Arg>> {
        let Some((first, _)) = self.definitions(name).next() else {
            return Err(args);
        };
        let fits = |m: &Macro| {
            m.params.len() == args.len() && m.params.iter().zip(&args).all(|(p, a)| accepts(p, a))
        };
        // Of several that fit, the one that asks for most; then user macros, then source order.
        let specific = |m: &Macro| {
            let plain = |p: &&MacroParam| matches!(p, MacroParam::Expr(_));
            m.params.iter().filter(plain).count()
        };
        let best = self
            .definitions(name)
            .filter(|(m, _)| fits(m))
            .min_by_key(|(m, _)| specific(m));
        let Some((definition, from_library)) = best else {
            self.mismatch(e.span, name, &args, first);
            return Err(args);
        };
        if let Some(at) = self
            .frames
            .iter()
            .position(|f| std::ptr::eq(f.definition, definition))
        {
            let chain: Vec<_> = self.frames[at..]
                .iter()
                .map(|f| f.definition.name.name.as_str())
                .chain([name])
                .collect();
            let message = format!(
                "Recursive macro call detected. Call chain: {}",
                chain.join(" > ")
            );
            self.error(Code::MacroRecursion, e.span, message);
            return Err(args);
        }
        if self.frames.len() >= MAX_NESTING {
            self.too_deep(e.span);
            return Err(args);
        }
        self.inline(e, definition, from_library, args);
        Ok(())
    }

    fn inline(&mut self, e: &mut Expr, definition: &'a Macro, from_library: bool, args: Vec<Arg>) {
        self.expansions.push(Expansion {
            name: definition.name.name.clone(),
            call: e.span,
            parent: self.expn(),
        });
        let bindings = definition
            .params
            .iter()
            .zip(args)
            .map(|(p, a)| (p.ident().name.as_str(), bind(p, a)))
            .collect();
        self.frames.push(Frame {
            definition,
            expn: ExpnId(self.expansions.len() as u32),
            from_library,
            bindings,
        });
        let mut body: Block = definition.body.clone();
        self.visit_block(&mut body);
        self.frames.pop();
        e.kind = ExprKind::Block(body);
    }

    fn mismatch(&mut self, span: Span, name: &str, args: &[Arg], first: &Macro) {
        let closest = self
            .definitions(name)
            .map(|(m, _)| m)
            .min_by_key(|m| m.params.len().abs_diff(args.len()))
            .unwrap_or(first);
        let wrong = closest
            .params
            .iter()
            .zip(args)
            .find(|(p, a)| !accepts(p, a))
            .filter(|_| closest.params.len() == args.len());
        let note = match wrong {
            Some((p, a)) => {
                let (kind, sigil) = match p {
                    MacroParam::Map(_) => ("map", "@"),
                    _ => ("variable", "$"),
                };
                let got = match a {
                    Arg::Type(_) => "a type",
                    Arg::Expr(e) => match e.kind {
                        ExprKind::Map(_) => "a map",
                        ExprKind::Var(_) => "a variable",
                        _ => "an expression",
                    },
                };
                format!(
                    "Mismatched arg. {name}() expects a {kind} for arg {sigil}{} but got {got}.",
                    p.ident().name
                )
            }
            None => format!(
                "The closest definition of {name}() has a different number of arguments. \
                 Expected: {} but got {}",
                closest.params.len(),
                args.len()
            ),
        };
        let message = format!("Call to {name}() has arguments that do not match any definition.");
        let code = if wrong.is_some() {
            Code::MacroArgument
        } else {
            Code::MacroMismatch
        };
        let d = self.diagnostic(code, span, message);
        self.diags.push(match wrong {
            Some((p, a)) => d.note(a.span(), note).note(
                p.ident().span,
                "This is the argument in the closest definition.",
            ),
            None => d.note(closest.head(), note),
        });
    }

    fn too_deep(&mut self, span: Span) {
        if !std::mem::replace(&mut self.stopped, true) {
            let message = "macros expand too deeply or to too much code".to_owned();
            self.error(Code::TooDeep, span, message);
        }
    }

    /// A copy of an argument, which is expanded already, with its own node numbers.
    fn copy(&mut self, arg: &Expr) -> Expr {
        let mut copy = arg.clone();
        Renumber(self).visit_expr(&mut copy);
        copy
    }

    /// Counts a level of the tree; `false` once a limit is reached.
    fn enter(&mut self, span: Span) -> bool {
        if self.depth >= MAX_DEPTH || self.next_id - self.first_id > MAX_NODES {
            self.too_deep(span);
        }
        if self.stopped {
            return false;
        }
        self.depth += 1;
        true
    }
}

fn bind(param: &MacroParam, arg: Arg) -> Binding {
    match (param, arg) {
        (
            MacroParam::Var(_),
            Arg::Expr(Expr {
                kind: ExprKind::Var(v),
                ..
            }),
        ) => Binding::Var(v),
        (
            MacroParam::Map(_),
            Arg::Expr(Expr {
                kind: ExprKind::Map(m),
                ..
            }),
        ) => Binding::Map(m),
        (_, Arg::Expr(e)) => Binding::Expr(e),
        // The parameter stands for T itself, whatever way `typeof(T)` names it.
        (_, Arg::Type(t)) => Binding::Type(match t.kind {
            TypeExprKind::Typeof(inner) => match *inner {
                TypeOrExpr::Type(t) => t,
                TypeOrExpr::Expr(e) => TypeExpr {
                    kind: TypeExprKind::Typeof(Box::new(TypeOrExpr::Expr(e))),
                    span: t.span,
                },
            },
            kind => TypeExpr { kind, span: t.span },
        }),
    }
}

impl VisitMut for Expander<'_, '_> {
    fn visit_stmt(&mut self, s: &mut Stmt) {
        if !self.frames.is_empty() {
            s.id = self.id();
            s.expn = self.expn();
        }
        visit::walk_stmt(self, s);
    }

    fn visit_expr(&mut self, e: &mut Expr) {
        if !self.enter(e.span) {
            return;
        }
        if !self.frames.is_empty() {
            e.id = self.id();
            e.expn = self.expn();
        }
        self.expand_expr(e);
        self.depth -= 1;
    }

    fn visit_type(&mut self, t: &mut TypeExpr) {
        if let TypeExprKind::Named(name) = &t.kind
            && let Some(Binding::Type(ty)) = self.binding(name)
        {
            *t = ty.clone();
            return;
        }
        visit::walk_type(self, t);
    }

    fn visit_type_or_expr(&mut self, t: &mut TypeOrExpr) {
        // `sizeof(p)` reads as a type; for an expression parameter it is the expression.
        if let TypeOrExpr::Type(TypeExpr {
            kind: TypeExprKind::Named(name),
            ..
        }) = t
            && let Some(Binding::Expr(e)) = self.binding(name)
        {
            let e = e.clone();
            *t = TypeOrExpr::Expr(Box::new(self.copy(&e)));
            return;
        }
        visit::walk_type_or_expr(self, t);
    }

    fn visit_var(&mut self, v: &mut Var) {
        let Some(frame) = self.frames.last() else {
            return;
        };
        match frame.bindings.get(v.name.as_str()) {
            Some(Binding::Var(arg)) => *v = arg.clone(),
            _ => v.expn = frame.expn,
        }
    }

    fn visit_map(&mut self, m: &mut MapName) {
        match self.binding(&m.name) {
            Some(Binding::Map(arg)) => *m = arg.clone(),
            _ if self.frames.is_empty() => {}
            _ => {
                let message = format!(
                    "Unhygienic access to map: @{}. Maps must be passed into the macro as \
                     arguments.",
                    m.name
                );
                self.error(Code::MacroHygiene, m.span, message);
            }
        }
    }
}

impl Expander<'_, '_> {
    fn expand_expr(&mut self, e: &mut Expr) {
        match &mut e.kind {
            ExprKind::Ident(name) => {
                let name = std::mem::take(name);
                match self.binding(&name) {
                    Some(Binding::Expr(arg)) => {
                        let arg = arg.clone();
                        *e = self.copy(&arg);
                        return;
                    }
                    Some(Binding::Type(_)) => {
                        let message = format!("'{name}' is a type, not a value");
                        self.error(Code::MacroArgument, e.span, message);
                    }
                    _ => {
                        // A name alone calls macros without parameters only.
                        if self.definitions(&name).any(|(m, _)| m.params.is_empty())
                            && self.call(e, &name, Vec::new()).is_ok()
                        {
                            return;
                        }
                    }
                }
                e.kind = ExprKind::Ident(name);
            }
            ExprKind::Call { .. } => {
                visit::walk_expr(self, e);
                let ExprKind::Call { func, args } = &mut e.kind else {
                    return;
                };
                let (func, args) = (func.clone(), std::mem::take(args));
                if let Err(args) = self.call(e, &func.name, args) {
                    e.kind = ExprKind::Call { func, args };
                }
            }
            _ => {
                visit::walk_expr(self, e);
                // `p[k]` where the argument for `p` is a map.
                if let ExprKind::Index { base, indices } = &mut e.kind
                    && let ExprKind::Map(map) = &base.kind
                {
                    e.kind = ExprKind::MapElem {
                        map: map.clone(),
                        keys: std::mem::take(indices),
                    };
                }
            }
        }
    }
}

/// Gives every node of a copied tree a number of its own.
struct Renumber<'e, 'a, 'd>(&'e mut Expander<'a, 'd>);

impl VisitMut for Renumber<'_, '_, '_> {
    fn visit_stmt(&mut self, s: &mut Stmt) {
        s.id = self.0.id();
        visit::walk_stmt(self, s);
    }

    fn visit_expr(&mut self, e: &mut Expr) {
        if self.0.enter(e.span) {
            e.id = self.0.id();
            visit::walk_expr(self, e);
            self.0.depth -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
