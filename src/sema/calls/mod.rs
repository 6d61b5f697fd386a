//! Calls: argument counts and kinds, and one rule per builtin.
//!
//! The rules are grouped as the rows in [`crate::builtins`]. A rule gets a [`Call`] and makes
//! an expression of it: usually [`ExprKind::Call`] with normalised arguments, sometimes a
//! constant or plain loads.

pub(super) mod aggregate;
mod comptime;
pub(super) mod context;
mod map;
mod memory;
pub(super) mod output;
mod process;
mod stack;
mod string;
mod text;
mod time;

use super::check::Checker;
use super::hir::{self, Arg, Expr, ExprKind};
use super::value::{self, int_like, is_unknown};
use crate::builtins::{self, Builtin};
use crate::diag::Code;
use crate::object::Loc;
use crate::source::Span;
use crate::syntax::ast;
use crate::types::Type;

/// A call that is being checked.
pub(super) struct Call<'c, 'a> {
    pub c: &'c mut Checker<'a>,
    pub row: &'static Builtin,
    pub args: &'c [ast::Arg],
    pub span: Span,
    pub loc: Loc,
}

/// A rule: `None` after a reported mistake, or while types are unknown.
type Rule = fn(&mut Call<'_, '_>) -> Option<Expr>;

fn rule(name: &str) -> Option<Rule> {
    context::rule(name)
        .or_else(|| output::rule(name))
        .or_else(|| map::rule(name))
        .or_else(|| string::rule(name))
        .or_else(|| memory::rule(name))
        .or_else(|| process::rule(name))
        .or_else(|| stack::rule(name))
        .or_else(|| time::rule(name))
        .or_else(|| comptime::rule(name))
}

impl Checker<'_> {
    /// `f(args)`
    pub(super) fn call(&mut self, func: &ast::Ident, args: &[ast::Arg], span: Span) -> Expr {
        if let Some(row) = builtins::find(&func.name) {
            return self.builtin(row, func, args, span);
        }
        if args.is_empty()
            && let Some(e) = self.context_arg(&func.name, span)
        {
            return e;
        }
        if let Some(&(id, f)) = self.funcs.get(func.name.as_str()) {
            return self.call_fn(id, f, args, span);
        }
        let text = format!("Unknown function: '{}'", func.name);
        let functions: Vec<&str> = self.funcs.keys().copied().collect();
        let names = builtins::all().map(|b| b.name).chain(functions);
        self.fail_name(Code::UnknownFunction, span, text, &func.name, names)
    }

    /// A call of a row of the table.
    pub(super) fn builtin(
        &mut self,
        row: &'static Builtin,
        func: &ast::Ident,
        args: &[ast::Arg],
        span: Span,
    ) -> Expr {
        let loc = self.loc(span);
        if !self.check_count(row, args.len(), span) {
            return value::unknown(loc);
        }
        if row.unsafe_ && !self.cx.options.unsafe_ {
            let text = if row.name == "system" {
                format!(
                    "{}() is an unsafe function being used in safe mode",
                    func.name
                )
            } else {
                format!(
                    "{}() is unsafe. To use you need the --unsafe flag",
                    func.name
                )
            };
            return self.fail(Code::Unsafe, span, text);
        }
        if aggregate::maker(row).is_some() {
            let text = format!("{}() must be assigned directly to a map", row.name);
            return self.fail(Code::AssignOnly, span, text);
        }
        let Some(rule) = rule(row.name) else {
            let text = format!("{}() is not supported", row.name);
            return self.fail(Code::UnknownFunction, span, text);
        };
        let mut call = Call {
            c: self,
            row,
            args,
            span,
            loc,
        };
        rule(&mut call).unwrap_or_else(|| value::unknown(loc))
    }

    pub(super) fn check_count(&mut self, row: &Builtin, n: usize, span: Span) -> bool {
        let (lo, hi) = (usize::from(row.arity.0), usize::from(row.arity.1));
        let any = row.arity.1 == builtins::ANY;
        if n >= lo && (any || n <= hi) {
            return true;
        }
        let count = |n: usize| match n {
            0 => "no arguments".to_owned(),
            1 => "one argument".to_owned(),
            n => format!("{n} arguments"),
        };
        let name = row.name;
        if name == "getopt" {
            self.error(
                Code::ArgumentCount,
                span,
                "The 'getopt' function can take a maximum of three arguments and a minimum of one argument.",
            );
            return false;
        }
        let text = if lo == hi && !any {
            format!("{name}() requires {} ({n} provided)", count(lo))
        } else if n < lo {
            format!("{name}() requires at least {} ({n} provided)", count(lo))
        } else {
            format!("{name}() takes up to {} ({n} provided)", count(hi))
        };
        self.error(Code::ArgumentCount, span, text);
        false
    }

    /// A call of a function of the script.
    fn call_fn(&mut self, id: hir::FnRef, f: &ast::Subprog, args: &[ast::Arg], span: Span) -> Expr {
        let loc = self.loc(span);
        if f.params.len() != args.len() {
            let text = format!(
                "{}() requires {} arguments ({} provided)",
                f.name.name,
                f.params.len(),
                args.len()
            );
            return self.fail(Code::ArgumentCount, span, text);
        }
        let mut values = Vec::with_capacity(args.len());
        for (p, a) in f.params.iter().zip(args) {
            let ast::Arg::Expr(e) = a else {
                return self.fail(Code::ArgumentType, span, "a type is no value");
            };
            let v = self.expr(e);
            let Some(ty) = self.type_expr(&p.ty) else {
                return value::unknown(loc);
            };
            if is_unknown(&v) {
                return v;
            }
            let v = self.reduce(v);
            if value::unify(&ty, &v, &self.store).is_none() {
                let text = format!(
                    "{}() expects {} for ${} ({} provided)",
                    f.name.name,
                    self.spell(&ty),
                    p.var.name,
                    self.spell(&v.ty)
                );
                return self.fail(Code::ArgumentType, e.span, text);
            }
            values.push(self.implicit(v, &ty, e.span));
        }
        let Some(ret) = self.type_expr(&f.ret) else {
            return value::unknown(loc);
        };
        Expr {
            kind: ExprKind::CallFn(id, values),
            ty: if ret == Type::Void { Type::None } else { ret },
            loc,
        }
    }
}

impl<'c> Call<'c, '_> {
    /// The call itself.
    pub fn make(&self, args: Vec<Arg>, ty: Type) -> Option<Expr> {
        Some(self.make_row(self.row, args, ty))
    }

    /// A call of another row in the place of this one.
    pub fn make_row(&self, builtin: &'static Builtin, args: Vec<Arg>, ty: Type) -> Expr {
        Expr {
            kind: ExprKind::Call(hir::Call { builtin, args }),
            ty,
            loc: self.loc,
        }
    }

    /// Reports a mistake.
    pub fn fail(&mut self, code: Code, span: Span, text: impl Into<String>) -> Option<Expr> {
        self.c.error(code, span, text);
        None
    }

    /// Number of arguments.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Span of an argument, or of the call.
    pub fn arg_span(&self, i: usize) -> Span {
        self.args.get(i).map_or(self.span, ast::Arg::span)
    }

    /// Argument `i` as written; types are no arguments here.
    pub fn ast(&mut self, i: usize) -> Option<&'c ast::Expr> {
        match self.args.get(i)? {
            ast::Arg::Expr(e) => Some(e),
            ast::Arg::Type(t) => {
                self.c.error(
                    Code::ArgumentType,
                    t.span,
                    "When used as a call argument, `typeof` builtin only valid for macro calls that are expecting a type parameter",
                );
                None
            }
        }
    }

    /// Argument `i` as a bare word (`kstack(perf)`).
    pub fn word(&self, i: usize) -> Option<&'c str> {
        match self.args.get(i)? {
            ast::Arg::Expr(e) => match &e.kind {
                ast::ExprKind::Ident(name) => Some(name),
                _ => None,
            },
            ast::Arg::Type(_) => None,
        }
    }

    /// The value of argument `i`, aggregations read as numbers.
    pub fn value(&mut self, i: usize) -> Option<Expr> {
        let e = self.ast(i)?;
        let v = self.c.expr(e);
        let v = self.c.reduce(v);
        (!is_unknown(&v)).then_some(v)
    }

    /// Argument `i`, an integer, with 64 bits of its own signedness.
    pub fn integer(&mut self, i: usize) -> Option<Expr> {
        let v = self.value(i)?;
        match int_like(&v.ty, &self.c.store) {
            Some(t) => Some(value::cast(v, &super::ops::widened(t))),
            None => {
                let text = format!(
                    "{}() only supports integer arguments ({} provided)",
                    self.row.name,
                    self.c.spell(&v.ty)
                );
                self.c.error(Code::ArgumentType, self.span, text);
                None
            }
        }
    }

    /// Argument `i`, an integer, as `uint64`.
    pub fn unsigned(&mut self, i: usize) -> Option<Expr> {
        Some(value::cast(self.integer(i)?, &Type::U64))
    }

    /// Argument `i`, an integer or pointer, as `uint64`.
    pub fn address(&mut self, i: usize) -> Option<Expr> {
        let v = self.value(i)?;
        if int_like(&v.ty, &self.c.store).is_some() || matches!(v.ty, Type::Ptr(..) | Type::KSym) {
            return Some(value::cast(v, &Type::U64));
        }
        let text = format!("{}() expects an integer or pointer argument", self.row.name);
        self.c.error(Code::ArgumentType, self.span, text);
        None
    }

    /// Argument `i`, a string literal.
    pub fn text(&mut self, i: usize) -> Option<String> {
        let e = self.ast(i)?;
        // Such texts stay in this process and may be longer than strings of programs.
        if let ast::ExprKind::Str(s) = &e.kind {
            return Some(String::from_utf8_lossy(s).into_owned());
        }
        let v = if let Some(v) = self.c.positional_string_if_bare(e, self.row.name) {
            v?
        } else {
            self.c.expr(e)
        };
        if is_unknown(&v) {
            return None;
        }
        match value::literal_text(&v) {
            Some(s) => Some(String::from_utf8_lossy(s).into_owned()),
            None => {
                let text = format!(
                    "{}() expects a string literal ({} provided)",
                    self.row.name,
                    value::class(&v.ty)
                );
                self.c.error(Code::LiteralRequired, self.span, text);
                None
            }
        }
    }

    /// Argument `i`, a string value (not necessarily a literal).
    pub fn string(&mut self, i: usize) -> Option<Expr> {
        let v = self.value(i)?;
        if matches!(v.ty, Type::Str(_)) {
            return Some(v);
        }
        if v.ty == Type::ProbeName {
            let text = Type::Str(self.c.store.probe_name);
            return Some(value::cast(v, &text));
        }
        let text = format!(
            "{}() expects a string argument ({} provided)",
            self.row.name,
            self.c.spell(&v.ty)
        );
        self.c.error(Code::ArgumentType, self.span, text);
        None
    }
}

impl Checker<'_> {
    /// A bare `$1` where a string is wanted: a mistake if it is a number.
    fn positional_string_if_bare(&mut self, e: &ast::Expr, _name: &str) -> Option<Option<Expr>> {
        let ast::ExprKind::Positional(n) = e.kind else {
            return None;
        };
        let v = self.positional(n, e.span);
        if value::literal_text(&v).is_some() {
            return Some(Some(v));
        }
        let text = format!("Use str(${n}) to treat ${n} as a string");
        self.error(Code::ArgumentType, e.span, text);
        Some(None)
    }
}
