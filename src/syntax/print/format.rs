//! The formatter: root items, statements and comments; expressions are in [`super::expr`].
//!
//! In: a program that parsed without errors, and its text, from which literals and attach points
//! are copied as written. Out: the same program in one style. Comments stay before, behind or
//! inside the statement they belong to (those in the middle of an expression move in front of
//! its statement); single blank lines stay. Formatting twice changes nothing.

use crate::source::Span;
use crate::syntax::ast::{
    Block, Comment, Expr, ExprKind, ForIter, Item, MacroParam, Probe, Program, Stmt, StmtKind,
};

/// One level of blocks.
const INDENT: usize = 2;
/// Lines are broken, where that is possible, to stay within this many columns.
pub(super) const WIDTH: usize = 80;

/// The program in the project's style. The program must have parsed from `text` without errors.
pub fn format(program: &Program, text: &str) -> String {
    let mut f = Formatter {
        text,
        comments: &program.comments,
        next: 0,
        out: String::new(),
        level: 0,
        flat: false,
    };
    f.program(program);
    f.out
}

pub(super) struct Formatter<'a> {
    pub(super) text: &'a str,
    comments: &'a [Comment],
    /// The first comment that is not printed yet.
    next: usize,
    pub(super) out: String,
    pub(super) level: usize,
    /// Never break lines inside expressions: used to measure them.
    pub(super) flat: bool,
}

impl<'a> Formatter<'a> {
    /// A formatter for measuring, which prints no comments.
    pub(super) fn measure(&self) -> Formatter<'a> {
        Formatter {
            text: self.text,
            comments: &[],
            next: 0,
            out: String::new(),
            level: self.level,
            flat: true,
        }
    }

    pub(super) fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    pub(super) fn newline(&mut self, extra: usize) {
        self.out.push('\n');
        let n = self.level * INDENT + extra;
        self.out.extend(std::iter::repeat_n(' ', n));
    }

    pub(super) fn source(&self, span: Span) -> &'a str {
        &self.text[span.lo as usize..span.hi as usize]
    }

    fn program(&mut self, p: &Program) {
        let mut last_end = 0;
        if let Some(span) = p.shebang {
            self.put(self.source(span).trim_end());
            last_end = span.hi;
        }
        // Pieces of the root in source order, whatever list they are in.
        let mut pieces: Vec<(Span, Piece)> = Vec::new();
        pieces.extend(p.c_defs.iter().map(|c| (c.span, Piece::Text(&c.text))));
        pieces.extend(p.config.iter().map(|c| (c.span, Piece::Config(c))));
        pieces.extend(p.imports.iter().map(|i| (i.span, Piece::Import(i))));
        pieces.extend(p.items.iter().map(|i| (i.span(), Piece::Item(i))));
        pieces.sort_by_key(|(span, _)| span.lo);
        let mut after_body = false;
        for (span, piece) in pieces {
            let body = matches!(piece, Piece::Item(i) if !matches!(i, Item::MapDecl(_)));
            let blank = (after_body || body) && last_end > 0;
            self.lead(&mut last_end, span.lo, blank);
            after_body = body;
            match piece {
                Piece::Text(t) => self.put(t),
                Piece::Config(c) => self.config(c),
                Piece::Import(i) => {
                    let path = self.source(i.path.span);
                    self.put("import ");
                    self.put(path);
                    self.put(";");
                }
                Piece::Item(i) => self.item(i),
            }
            last_end = span.hi;
            self.trail(&mut last_end);
        }
        self.lead(&mut last_end, u32::MAX, false);
        let end = self.out.trim_end().len();
        self.out.truncate(end);
        if end > 0 {
            self.out.push('\n');
        }
    }

    /// Starts the line of something at `lo`: comments before it on lines of their own, and a
    /// blank line where the source has one after `last_end`, or always with `blank`.
    fn lead(&mut self, last_end: &mut u32, lo: u32, blank: bool) {
        let mut blank = blank;
        while let Some(c) = self.comments.get(self.next).filter(|c| c.span.lo < lo) {
            self.next += 1;
            self.start_line(*last_end, c.span.lo, blank);
            blank = false;
            self.put(&c.text);
            *last_end = (*last_end).max(c.span.hi);
        }
        if lo != u32::MAX {
            self.start_line(*last_end, lo, blank);
        }
    }

    fn start_line(&mut self, from: u32, to: u32, blank: bool) {
        if self.out.is_empty() {
            return;
        }
        let gap = self.text.get(from as usize..to as usize).unwrap_or("");
        let in_source = gap.bytes().filter(|&b| b == b'\n').count() > 1;
        let opened = self.out.ends_with('{');
        if (in_source || blank) && !opened {
            self.out.push('\n');
        }
        self.newline(0);
    }

    /// Comments that follow on the same source line.
    fn trail(&mut self, last_end: &mut u32) {
        while let Some(c) = self.comments.get(self.next) {
            let gap = self.text.get(*last_end as usize..c.span.lo as usize);
            if !gap.is_some_and(|g| g.chars().all(|c| matches!(c, ' ' | '\t' | ';' | ','))) {
                return;
            }
            self.next += 1;
            self.put(" ");
            self.put(&c.text);
            *last_end = c.span.hi;
        }
    }

    fn config(&mut self, c: &crate::syntax::ast::Config) {
        self.put("config = {");
        let mut last_end = c.span.lo;
        self.level += 1;
        for e in &c.entries {
            self.lead(&mut last_end, e.span.lo, false);
            self.put(&e.name.name);
            self.put(" = ");
            self.put(self.source(e.value_span));
            self.put(";");
            last_end = e.span.hi;
            self.trail(&mut last_end);
        }
        self.close(&mut last_end, c.span.hi, !c.entries.is_empty());
    }

    /// The end of braces at `hi`: the comments that are left inside, and `}`.
    fn close(&mut self, last_end: &mut u32, hi: u32, any: bool) {
        let before = self.next;
        while let Some(c) = self.comments.get(self.next).filter(|c| c.span.lo < hi) {
            self.next += 1;
            self.start_line(*last_end, c.span.lo, false);
            self.put(&c.text);
            *last_end = c.span.hi;
        }
        self.level -= 1;
        if any || self.next > before || !self.out.ends_with('{') {
            self.newline(0);
        }
        self.put("}");
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Probe(p) => self.probe(p),
            Item::Macro(m) => {
                let params: Vec<_> = m
                    .params
                    .iter()
                    .map(|p| match p {
                        MacroParam::Expr(i) => i.name.clone(),
                        MacroParam::Var(i) => format!("${}", i.name),
                        MacroParam::Map(i) => format!("@{}", i.name),
                    })
                    .collect();
                self.put(&format!("macro {}({}) ", m.name.name, params.join(", ")));
                self.block(&m.body);
            }
            Item::Subprog(s) => {
                self.put(&format!("fn {}(", s.name.name));
                for (i, p) in s.params.iter().enumerate() {
                    self.put(if i > 0 { ", $" } else { "$" });
                    self.put(&p.var.name);
                    self.put(" : ");
                    self.ty(&p.ty);
                }
                self.put(") : ");
                self.ty(&s.ret);
                self.put(" ");
                self.block(&s.body);
            }
            Item::MapDecl(d) => {
                self.put(&format!("let @{} = {}(", d.map.name, d.kind.name));
                if let Some((_, span)) = d.max_entries {
                    self.put(self.source(span));
                }
                self.put(");");
            }
        }
    }

    fn probe(&mut self, p: &Probe) {
        let texts: Vec<_> = p
            .attach_points
            .iter()
            .map(|a| self.source(a.span))
            .collect();
        let lines = match (p.attach_points.first(), p.attach_points.last()) {
            (Some(a), Some(b)) => self.source(a.span.to(b.span)).contains('\n'),
            _ => false,
        };
        let width: usize = texts.iter().map(|t| t.len() + 2).sum();
        for (i, (text, ap)) in texts.iter().zip(&p.attach_points).enumerate() {
            if i > 0 {
                self.put(",");
                let mut end = p.attach_points[i - 1].span.hi;
                let before = self.next;
                self.trail(&mut end);
                while let Some(c) = self.comments.get(self.next) {
                    if c.span.lo >= ap.span.lo {
                        break;
                    }
                    self.next += 1;
                    self.newline(0);
                    self.put(&c.text);
                }
                if lines || width > WIDTH || self.next > before {
                    self.newline(0);
                } else {
                    self.put(" ");
                }
            }
            self.put(text);
        }
        if let Some(e) = &p.predicate {
            self.put(" /");
            let at = self.out.len();
            self.expr(e);
            // `/*` would start a comment.
            if self.out[at..].starts_with(['*', '/']) {
                self.out.insert(at, ' ');
            }
            self.put("/");
        }
        self.put(" ");
        self.block(&p.body);
    }

    pub(super) fn block(&mut self, b: &Block) {
        self.put("{");
        // Comments in front of the brace that have no other place go inside, too.
        let mut last_end = b.span.lo + 1;
        self.level += 1;
        self.trail(&mut last_end);
        for (i, s) in b.stmts.iter().enumerate() {
            let hi = if has_block(s) { s.span.lo } else { s.span.hi };
            self.lead_stmt(&mut last_end, s.span.lo, hi);
            let last = i + 1 == b.stmts.len() && b.value.is_none();
            self.stmt(s, last);
            last_end = s.span.hi;
            self.trail(&mut last_end);
        }
        if let Some(e) = &b.value {
            let hi = if contains_block(e) {
                e.span.lo
            } else {
                e.span.hi
            };
            self.lead_stmt(&mut last_end, e.span.lo, hi);
            self.expr(e);
            last_end = e.span.hi;
            self.trail(&mut last_end);
        }
        self.close(
            &mut last_end,
            b.span.hi,
            !b.stmts.is_empty() || b.value.is_some(),
        );
    }

    /// Like [`Self::lead`] for a statement from `lo`, with the comments before `hi` in front.
    fn lead_stmt(&mut self, last_end: &mut u32, lo: u32, hi: u32) {
        if self.flat {
            self.newline(0);
            return;
        }
        while let Some(c) = self.comments.get(self.next).filter(|c| c.span.lo < hi) {
            self.next += 1;
            self.start_line(*last_end, c.span.lo, false);
            self.put(&c.text);
            *last_end = (*last_end).max(c.span.hi);
        }
        let from = (*last_end).min(lo);
        self.start_line(from, lo, false);
    }

    fn stmt(&mut self, s: &Stmt, last: bool) {
        match &s.kind {
            StmtKind::Let { var, ty, init } => {
                self.put(&format!("let ${}", var.name));
                if let Some(t) = ty {
                    self.put(" : ");
                    self.ty(t);
                }
                if let Some(e) = init {
                    self.put(" = ");
                    self.expr(e);
                }
            }
            StmtKind::Import(i) => {
                self.put("import ");
                self.put(self.source(i.path.span));
            }
            StmtKind::While { cond, body } => return self.headed("while ", cond, body),
            StmtKind::Unroll { count, body } => return self.headed("unroll ", count, body),
            StmtKind::For { var, iter, body } => {
                self.put(&format!("for (${} : ", var.name));
                match iter {
                    ForIter::Map(m) => self.put(&format!("@{}", m.name)),
                    ForIter::Range { start, end } => {
                        self.expr(start);
                        self.put("..");
                        self.expr(end);
                    }
                }
                self.put(") ");
                return self.block(body);
            }
            StmtKind::Break => self.put("break"),
            StmtKind::Continue => self.put("continue"),
            StmtKind::Return(None) => self.put("return"),
            StmtKind::Return(Some(e)) => {
                self.put("return ");
                self.expr(e);
            }
            StmtKind::Discard(e) => {
                self.put("_ = ");
                self.expr(e);
            }
            StmtKind::Assign {
                target, op, value, ..
            } => {
                self.expr(target);
                self.put(&format!(" {}= ", op.map_or("", |op| op.as_str())));
                self.expr(value);
            }
            StmtKind::Expr(e) => {
                self.expr(e);
                let braces = matches!(e.kind, ExprKind::If { .. } | ExprKind::Block(_));
                // At the end of a block the semicolon says that this is not its value.
                if braces && e.parens == 0 && !last {
                    return;
                }
            }
        }
        self.put(";");
    }

    fn headed(&mut self, head: &str, e: &Expr, body: &Block) {
        self.put(head);
        self.expr(e);
        self.put(" ");
        self.block(body);
    }
}

enum Piece<'a> {
    Text(&'a str),
    Config(&'a crate::syntax::ast::Config),
    Import(&'a crate::syntax::ast::Import),
    Item(&'a Item),
}

/// Whether comments inside a statement may stand in a block of it.
fn has_block(s: &Stmt) -> bool {
    match &s.kind {
        StmtKind::While { .. } | StmtKind::Unroll { .. } | StmtKind::For { .. } => true,
        StmtKind::Expr(e) | StmtKind::Discard(e) | StmtKind::Return(Some(e)) => contains_block(e),
        StmtKind::Let { init, .. } => init.as_ref().is_some_and(contains_block),
        StmtKind::Assign { target, value, .. } => contains_block(target) || contains_block(value),
        _ => false,
    }
}

/// Whether the outermost construct of an expression is a block or an `if`.
fn contains_block(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::If { .. } | ExprKind::Block(_))
}
