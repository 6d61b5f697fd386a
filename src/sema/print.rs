//! The typed program as text, for `-d hir`.
//!
//! Every expression shows the type it has where that is not plain from its parts; maps and
//! variables are listed with theirs.

use std::fmt::{self, Write as _};

use super::hir::*;
use crate::object::{Format, Piece};
use crate::types::{Type, TypeStore};

/// The text of a program.
pub fn program(p: &Program) -> String {
    let mut out = Printer {
        p,
        locals: &[],
        text: String::new(),
        depth: 0,
    };
    // Writing to a string cannot fail.
    let _ = out.program();
    out.text
}

struct Printer<'a> {
    p: &'a Program,
    locals: &'a [Local],
    text: String,
    depth: usize,
}

impl<'a> Printer<'a> {
    fn types(&self) -> &'a TypeStore {
        &self.p.types
    }

    fn line(&mut self, args: fmt::Arguments<'_>) -> fmt::Result {
        for _ in 0..self.depth {
            self.text.push_str("    ");
        }
        self.text.write_fmt(args)?;
        self.text.push('\n');
        Ok(())
    }

    fn program(&mut self) -> fmt::Result {
        let p = self.p;
        for m in &p.maps {
            let key = match &m.key {
                Some(k) => format!("[{}]", k.display(self.types())),
                None => String::new(),
            };
            let value = m.value.display(self.types()).to_string();
            self.line(format_args!("map {}{key}: {value}", m.name))?;
        }
        for f in &p.funcs {
            let ret = f.ret.display(self.types()).to_string();
            self.line(format_args!("fn {}({}): {ret} {{", f.name, f.params))?;
            self.body(&f.locals, &f.body)?;
        }
        for probe in &p.probes {
            let names: Vec<&str> = probe.attach.iter().map(|a| a.name.as_str()).collect();
            self.line(format_args!(
                "probe {} ({:?}, {:?}) {{",
                names.join(", "),
                probe.ty,
                probe.ctx
            ))?;
            self.body(&probe.locals, &probe.body)?;
        }
        Ok(())
    }

    fn body(&mut self, locals: &'a [Local], b: &Block) -> fmt::Result {
        self.locals = locals;
        self.depth += 1;
        for (i, l) in locals.iter().enumerate() {
            let ty = l.ty.display(self.types()).to_string();
            self.line(format_args!("let {}.{i}: {ty}", l.name))?;
        }
        self.depth -= 1;
        self.block(b)?;
        self.line(format_args!("}}"))
    }

    fn block(&mut self, b: &Block) -> fmt::Result {
        self.depth += 1;
        for s in &b.stmts {
            self.stmt(s)?;
        }
        if let Some(v) = &b.value {
            let v = self.expr(v);
            self.line(format_args!("=> {v}"))?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn local(&self, id: LocalId) -> String {
        match self.locals.get(id.0 as usize) {
            Some(l) => format!("{}.{}", l.name, id.0),
            None => format!("$?.{}", id.0),
        }
    }

    fn map(&self, map: MapRef, key: Option<&Expr>) -> String {
        let name = self
            .p
            .maps
            .get(map.0 as usize)
            .map_or("@?", |m| m.name.as_str());
        match key {
            Some(k) => format!("{name}[{}]", self.expr(k)),
            None => name.to_owned(),
        }
    }

    fn stmt(&mut self, s: &Stmt) -> fmt::Result {
        match &s.kind {
            StmtKind::Assign(l, e) => {
                let (l, e) = (self.local(*l), self.expr(e));
                self.line(format_args!("{l} = {e}"))
            }
            StmtKind::MapAssign { map, key, value } => {
                let (m, v) = (self.map(*map, key.as_ref()), self.expr(value));
                self.line(format_args!("{m} = {v}"))
            }
            StmtKind::MapUpdate {
                map,
                key,
                op,
                value,
            } => {
                let (m, v) = (self.map(*map, key.as_ref()), self.expr(value));
                self.line(format_args!("{m} {}= {v}", binary(*op)))
            }
            StmtKind::Aggregate {
                map,
                key,
                agg,
                value,
            } => {
                let m = self.map(*map, key.as_ref());
                let v = value.as_ref().map(|v| self.expr(v)).unwrap_or_default();
                let ty = Type::Agg(*agg).display(self.types()).to_string();
                self.line(format_args!("{m} <- {ty}({v})"))
            }
            StmtKind::Expr(e) => match &e.kind {
                ExprKind::If { cond, then, els } => {
                    let c = self.expr(cond);
                    self.line(format_args!("if {c} {{"))?;
                    self.block(then)?;
                    if !els.stmts.is_empty() || els.value.is_some() {
                        self.line(format_args!("}} else {{"))?;
                        self.block(els)?;
                    }
                    self.line(format_args!("}}"))
                }
                ExprKind::Block(b) => {
                    self.line(format_args!("{{"))?;
                    self.block(b)?;
                    self.line(format_args!("}}"))
                }
                _ => {
                    let e = self.expr(e);
                    self.line(format_args!("{e}"))
                }
            },
            StmtKind::While { cond, body } => {
                let c = self.expr(cond);
                self.line(format_args!("while {c} {{"))?;
                self.block(body)?;
                self.line(format_args!("}}"))
            }
            StmtKind::ForRange {
                var,
                start,
                end,
                body,
            } => {
                let (v, a, b) = (self.local(*var), self.expr(start), self.expr(end));
                self.line(format_args!("for {v} : {a}..{b} {{"))?;
                self.block(body)?;
                self.line(format_args!("}}"))
            }
            StmtKind::ForMap { var, map, body } => {
                let (v, m) = (self.local(*var), self.map(*map, None));
                self.line(format_args!("for {v} : {m} {{"))?;
                self.block(body)?;
                self.line(format_args!("}}"))
            }
            StmtKind::Break => self.line(format_args!("break")),
            StmtKind::Continue => self.line(format_args!("continue")),
            StmtKind::Return(None) => self.line(format_args!("return")),
            StmtKind::Return(Some(e)) => {
                let e = self.expr(e);
                self.line(format_args!("return {e}"))
            }
        }
    }

    fn list(&self, items: &[Expr]) -> String {
        let items: Vec<String> = items.iter().map(|e| self.expr(e)).collect();
        items.join(", ")
    }

    fn inline(&self, b: &Block) -> String {
        let mut inner = Printer {
            p: self.p,
            locals: self.locals,
            text: String::new(),
            depth: self.depth,
        };
        // Writing to a string cannot fail.
        let _ = inner.block(b);
        let pad = "    ".repeat(self.depth);
        format!("{{\n{}{pad}}}", inner.text)
    }

    fn place(&self, p: &Place) -> String {
        let mut s = match &p.base {
            Base::Deref(e) => format!("*{}", self.expr(e)),
            Base::Local(l) => self.local(*l),
            Base::Temp(e) => format!("temp({})", self.expr(e)),
            Base::Ctx => "ctx".to_owned(),
        };
        if p.offset != 0 {
            s += &format!("+{}", p.offset);
        }
        for i in &p.index {
            s += &format!("+{}*{}", self.expr(&i.index), i.stride);
            if let Some(n) = i.len {
                s += &format!(" (of {n})");
            }
        }
        if let Some((first, width)) = p.bits {
            s += &format!(" bits {first}..{}", u32::from(first) + u32::from(width));
        }
        s
    }

    fn expr(&self, e: &Expr) -> String {
        let ty = e.ty.display(self.types());
        match &e.kind {
            ExprKind::Int(v) if e.ty.is_signed() => format!("{}:{ty}", *v as i64),
            ExprKind::Int(v) => format!("{v}:{ty}"),
            ExprKind::Str(s) => format!("{:?}:{ty}", String::from_utf8_lossy(s)),
            ExprKind::Zero => format!("zero:{ty}"),
            ExprKind::Bytes(b) => format!("{b:?}:{ty}"),
            ExprKind::Local(l) => self.local(*l),
            ExprKind::MapGet { map, key } => self.map(*map, key.as_deref()),
            ExprKind::Load(p) => format!("load({}):{ty}", self.place(p)),
            ExprKind::AddrOf(p) => format!("&({})", self.place(p)),
            ExprKind::MapAddr(m) => format!("&{}", self.map(*m, None)),
            ExprKind::CtxArg(n) => format!("arg{n}:{ty}"),
            ExprKind::Ctx => "ctx".to_owned(),
            ExprKind::DataLoc { offset } => format!("data_loc({offset}):{ty}"),
            ExprKind::Location(l) => format!("location({l:?}):{ty}"),
            ExprKind::Parts(parts) => format!("parts({parts:?}):{ty}"),
            ExprKind::Unary(op, a) => {
                let op = match op {
                    UnOp::Neg => "-",
                    UnOp::BitNot => "~",
                    UnOp::Not => "!",
                };
                format!("{op}{}", self.expr(a))
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.expr(a), self.expr(b));
                format!("({a} {} {b}):{ty}", binary(*op))
            }
            ExprKind::Compare {
                op,
                signed,
                lhs,
                rhs,
            } => {
                let op = match op {
                    CmpOp::Eq => "==",
                    CmpOp::Ne => "!=",
                    CmpOp::Lt => "<",
                    CmpOp::Le => "<=",
                    CmpOp::Gt => ">",
                    CmpOp::Ge => ">=",
                };
                let s = if *signed { "s" } else { "" };
                format!("({} {op}{s} {})", self.expr(lhs), self.expr(rhs))
            }
            ExprKind::EqualMemory { equal, lhs, rhs } => {
                let op = if *equal { "==" } else { "!=" };
                format!("({} {op}mem {})", self.expr(lhs), self.expr(rhs))
            }
            ExprKind::And(a, b) => format!("({} && {})", self.expr(a), self.expr(b)),
            ExprKind::Or(a, b) => format!("({} || {})", self.expr(a), self.expr(b)),
            ExprKind::If { cond, then, els } => format!(
                "if {} {} else {}",
                self.expr(cond),
                self.inline(then),
                self.inline(els)
            ),
            ExprKind::Block(b) => self.inline(b),
            ExprKind::Cast(a) => format!("({ty}){}", self.expr(a)),
            ExprKind::Tuple(items) => format!("({})", self.list(items)),
            ExprKind::TupleField(a, i) => format!("{}.{i}", self.expr(a)),
            ExprKind::IncLocal { local, by, prefix } => {
                let l = self.local(*local);
                if *prefix {
                    format!("({l} += {by})")
                } else {
                    format!("({l} post+= {by})")
                }
            }
            ExprKind::IncMap {
                map,
                key,
                by,
                prefix,
            } => {
                let m = self.map(*map, key.as_deref());
                let post = if *prefix { "" } else { "post" };
                format!("({m} {post}+= {by})")
            }
            ExprKind::Call(c) => {
                let args: Vec<String> = c.args.iter().map(|a| self.arg(a)).collect();
                format!("{}({}):{ty}", c.builtin.name, args.join(", "))
            }
            ExprKind::CallFn(f, args) => {
                let name = self
                    .p
                    .funcs
                    .get(f.0 as usize)
                    .map_or("?", |f| f.name.as_str());
                format!("{name}({})", self.list(args))
            }
            ExprKind::Probe => "probe".to_owned(),
        }
    }

    fn arg(&self, a: &Arg) -> String {
        match a {
            Arg::Expr(e) => self.expr(e),
            Arg::Map(m) => self.map(*m, None),
            Arg::MapElem(m, k) => self.map(*m, k.as_ref()),
            Arg::Str(s) => format!("{s:?}"),
            Arg::Int(n) => n.to_string(),
            Arg::Format(f) => format!("{:?}", format_text(f)),
            Arg::TimeFormat(i) => match self.p.time_formats.get(*i as usize) {
                Some(f) => format!("time {f:?}"),
                None => format!("time {i}"),
            },
            Arg::Local(l) => format!("&{}", self.local(*l)),
        }
    }
}

/// A format with its conversions reduced to their letters.
fn format_text(f: &Format) -> String {
    let pieces = f.pieces.iter().map(|p| match p {
        Piece::Text(t) => t.clone(),
        Piece::Spec(s) => format!("%{}", super::calls::output::letter(s.conv)),
    });
    pieces.collect()
}

fn binary(op: BinOp) -> &'static str {
    match op {
        BinOp::Add => "+",
        BinOp::Sub => "-",
        BinOp::Mul => "*",
        BinOp::Div => "/",
        BinOp::Mod => "%",
        BinOp::And => "&",
        BinOp::Or => "|",
        BinOp::Xor => "^",
        BinOp::Shl => "<<",
        BinOp::Shr => ">>",
    }
}
