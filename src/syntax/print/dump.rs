//! The tree dump of `-d ast`: one node per line, children indented by a space.
//!
//! Places, node numbers and grouping parentheses are left out, so equal dumps mean equal
//! programs. Variables of macro expansions show as `$name#expansion`.

use std::fmt::{Display, Write as _};

use crate::syntax::ast::{
    Arg, Block, ConfigValue, ExpnId, Expr, ExprKind, ForIter, Item, MacroParam, MapName, Program,
    Stmt, StmtKind, TypeExpr, TypeExprKind, TypeOrExpr, Var,
};

/// The whole program as an indented tree.
pub fn dump(program: &Program) -> String {
    let mut d = Dump::default();
    d.line("program");
    d.inside(|d| d.program(program));
    d.out
}

#[derive(Default)]
struct Dump {
    out: String,
    level: usize,
}

impl Dump {
    fn line(&mut self, text: impl Display) {
        let _ = writeln!(self.out, "{:1$}{text}", "", self.level);
    }

    fn inside(&mut self, f: impl FnOnce(&mut Self)) {
        self.level += 1;
        f(self);
        self.level -= 1;
    }

    /// A line with children.
    fn node(&mut self, text: impl Display, f: impl FnOnce(&mut Self)) {
        self.line(text);
        self.inside(f);
    }

    fn program(&mut self, p: &Program) {
        for c in &p.c_defs {
            self.line(format_args!("c: {:?}", c.text));
        }
        for e in p.config.iter().flat_map(|c| &c.entries) {
            let value = match &e.value {
                ConfigValue::Int(n) => n.to_string(),
                ConfigValue::Bool(b) => b.to_string(),
                ConfigValue::Str(s) => quoted(s),
                ConfigValue::Word(w) => w.clone(),
            };
            self.line(format_args!("config: {} = {value}", e.name.name));
        }
        for i in &p.imports {
            self.line(format_args!("import: {}", quoted(&i.path.value)));
        }
        for item in &p.items {
            self.item(item);
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Probe(p) => self.node("probe", |d| {
                for ap in &p.attach_points {
                    let label = ap.label.as_ref().map(|l| format!("{}=", l.name));
                    d.line(format_args!("{}{}", label.unwrap_or_default(), ap.raw));
                }
                if let Some(e) = &p.predicate {
                    d.node("predicate", |d| d.expr(e));
                }
                d.block(&p.body);
            }),
            Item::Macro(m) => self.node(format_args!("macro: {}", m.name.name), |d| {
                for p in &m.params {
                    let sigil = match p {
                        MacroParam::Expr(_) => "",
                        MacroParam::Var(_) => "$",
                        MacroParam::Map(_) => "@",
                    };
                    d.line(format_args!("{sigil}{}", p.ident().name));
                }
                d.block(&m.body);
            }),
            Item::Subprog(f) => self.node(format_args!("fn: {}", f.name.name), |d| {
                for p in &f.params {
                    d.line(format_args!("{} : {}", var(&p.var), ty(&p.ty)));
                }
                d.line(format_args!("returns {}", ty(&f.ret)));
                d.type_operands(&f.ret);
                d.block(&f.body);
            }),
            Item::MapDecl(m) => {
                let size = m.max_entries.map_or(String::new(), |(n, _)| n.to_string());
                self.line(format_args!("{} = {}({size})", map(&m.map), m.kind.name));
            }
        }
    }

    fn block(&mut self, b: &Block) {
        self.node("block", |d| {
            for s in &b.stmts {
                d.stmt(s);
            }
            if let Some(e) = &b.value {
                d.node("value", |d| d.expr(e));
            }
        });
    }

    fn stmt(&mut self, s: &Stmt) {
        match &s.kind {
            StmtKind::Let {
                var: v,
                ty: t,
                init,
            } => {
                let of = t.as_ref().map(|t| format!(" : {}", ty(t)));
                self.node(
                    format_args!("let {}{}", var(v), of.unwrap_or_default()),
                    |d| {
                        t.iter().for_each(|t| d.type_operands(t));
                        init.iter().for_each(|e| d.expr(e));
                    },
                );
            }
            StmtKind::Import(i) => self.line(format_args!("import: {}", quoted(&i.path.value))),
            StmtKind::While { cond, body } => self.node("while", |d| {
                d.expr(cond);
                d.block(body);
            }),
            StmtKind::Unroll { count, body } => self.node("unroll", |d| {
                d.expr(count);
                d.block(body);
            }),
            StmtKind::For { var: v, iter, body } => {
                self.node(format_args!("for {}", var(v)), |d| {
                    match iter {
                        ForIter::Map(m) => d.line(map(m)),
                        ForIter::Range { start, end } => d.node("..", |d| {
                            d.expr(start);
                            d.expr(end);
                        }),
                    }
                    d.block(body);
                });
            }
            StmtKind::Break => self.line("break"),
            StmtKind::Continue => self.line("continue"),
            StmtKind::Return(e) => self.node("return", |d| e.iter().for_each(|e| d.expr(e))),
            StmtKind::Discard(e) => self.node("_ =", |d| d.expr(e)),
            StmtKind::Assign {
                target, op, value, ..
            } => {
                let op = op.map_or("", |op| op.as_str());
                self.node(format_args!("{op}="), |d| {
                    d.expr(target);
                    d.expr(value);
                });
            }
            StmtKind::Expr(e) => self.expr(e),
        }
    }

    fn exprs<'e>(&mut self, all: impl IntoIterator<Item = &'e Expr>) {
        all.into_iter().for_each(|e| self.expr(e));
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Int(n) => self.line(format_args!("int: {n}")),
            ExprKind::Bool(b) => self.line(format_args!("bool: {b}")),
            ExprKind::Str(s) => self.line(format_args!("string: {}", quoted(s))),
            ExprKind::Positional(n) => self.line(format_args!("param: ${n}")),
            ExprKind::PositionalCount => self.line("param: $#"),
            ExprKind::Var(v) => self.line(var(v)),
            ExprKind::Map(m) => self.line(map(m)),
            ExprKind::MapElem { map: m, keys } => {
                self.node(format_args!("{}[]", map(m)), |d| d.exprs(keys));
            }
            ExprKind::Ident(n) => self.line(format_args!("name: {n}")),
            ExprKind::Call { func, args } => {
                self.node(format_args!("call: {}", func.name), |d| {
                    for a in args {
                        match a {
                            Arg::Expr(e) => d.expr(e),
                            Arg::Type(t) => d.ty(t),
                        }
                    }
                });
            }
            ExprKind::Unary { op, expr, .. } => self.node(op.as_str(), |d| d.expr(expr)),
            ExprKind::Binary { op, lhs, rhs, .. } => {
                self.node(op.as_str(), |d| d.exprs([&**lhs, &**rhs]));
            }
            ExprKind::IncDec {
                inc,
                prefix,
                target,
            } => {
                let op = if *inc { "++" } else { "--" };
                let place = if *prefix { "before" } else { "after" };
                self.node(format_args!("{op} {place}"), |d| d.expr(target));
            }
            ExprKind::AddrOf(e) => self.node("address", |d| d.expr(e)),
            ExprKind::Ternary { cond, then, els } => {
                self.node("?:", |d| d.exprs([&**cond, &**then, &**els]));
            }
            ExprKind::Elvis { cond, els } => self.node("?:", |d| d.exprs([&**cond, &**els])),
            ExprKind::Cast { ty: t, expr } => self.node("cast", |d| {
                d.ty(t);
                d.expr(expr);
            }),
            ExprKind::Tuple(all) => self.node("tuple", |d| d.exprs(all)),
            ExprKind::Record(fields) => self.node("record", |d| {
                for (name, e) in fields {
                    d.node(format_args!("{} =", name.name), |d| d.expr(e));
                }
            }),
            ExprKind::Field { base, name, arrow } => {
                let op = if *arrow { "->" } else { "." };
                self.node(format_args!("{op}{}", name.name), |d| d.expr(base));
            }
            ExprKind::TupleField { base, index, .. } => {
                self.node(format_args!(".{index}"), |d| d.expr(base));
            }
            ExprKind::Index { base, indices } => self.node("[]", |d| {
                d.expr(base);
                d.exprs(indices);
            }),
            ExprKind::Sizeof(t) => self.node("sizeof", |d| d.type_or_expr(t)),
            ExprKind::Typeinfo(t) => self.node("typeinfo", |d| d.type_or_expr(t)),
            ExprKind::Offsetof { of, path } => self.node("offsetof", |d| {
                d.type_or_expr(of);
                let path: Vec<_> = path.iter().map(|i| i.name.as_str()).collect();
                d.line(path.join("."));
            }),
            ExprKind::Comptime(e) => self.node("comptime", |d| d.expr(e)),
            ExprKind::If { cond, then, els } => self.node("if", |d| {
                d.expr(cond);
                d.block(then);
                els.iter().for_each(|e| d.expr(e));
            }),
            ExprKind::Block(b) => self.block(b),
        }
    }

    fn type_or_expr(&mut self, t: &TypeOrExpr) {
        match t {
            TypeOrExpr::Type(t) => self.ty(t),
            TypeOrExpr::Expr(e) => self.expr(e),
        }
    }

    fn ty(&mut self, t: &TypeExpr) {
        self.node(format_args!("type: {}", ty(t)), |d| d.type_operands(t));
    }

    /// What stands in `typeof()` inside a type, which its one-line form leaves out.
    fn type_operands(&mut self, t: &TypeExpr) {
        match &t.kind {
            TypeExprKind::Typeof(t) => self.type_or_expr(t),
            TypeExprKind::Pointer(t) | TypeExprKind::Array { elem: t, .. } => self.type_operands(t),
            TypeExprKind::Named(_) | TypeExprKind::Tagged { .. } => {}
        }
    }
}

fn var(v: &Var) -> String {
    match v.expn {
        ExpnId::ROOT => format!("${}", v.name),
        expn => format!("${}#{}", v.name, expn.0),
    }
}

fn map(m: &MapName) -> String {
    format!("@{}", m.name)
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

/// A type on one line; the operand of `typeof` is left out.
fn ty(t: &TypeExpr) -> String {
    match &t.kind {
        TypeExprKind::Named(n) => n.clone(),
        TypeExprKind::Tagged { tag, name } => format!("{} {}", tag.as_str(), name.name),
        TypeExprKind::Typeof(_) => "typeof()".into(),
        TypeExprKind::Pointer(t) => ty(t) + "*",
        TypeExprKind::Array { elem, len } => {
            let len = len.map_or(String::new(), |n| n.to_string());
            format!("{}[{len}]", ty(elem))
        }
    }
}
