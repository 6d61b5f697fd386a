//! Expressions: one rule per form of the syntax tree.

use super::check::{Checker, Origin};
use super::hir::{Block, Expr, ExprKind, LocalId};
use super::value::{self, is_unknown, literal_value};
use crate::diag::Code;
use crate::source::Span;
use crate::syntax::ast;
use crate::types::{IntTy, Type};

impl Checker<'_> {
    /// Checks an expression whose value is used.
    pub(super) fn expr(&mut self, e: &ast::Expr) -> Expr {
        let outer = std::mem::replace(&mut self.expn, e.expn);
        let out = self.expr_kind(e);
        self.expn = outer;
        out
    }

    fn expr_kind(&mut self, e: &ast::Expr) -> Expr {
        let span = e.span;
        let loc = self.loc(span);
        match &e.kind {
            ast::ExprKind::Int(v) => value::literal(i128::from(*v), loc),
            ast::ExprKind::Bool(b) => value::boolean(*b, loc),
            ast::ExprKind::Str(s) => self.text(s, span),
            ast::ExprKind::Positional(n) => self.positional(*n, span),
            ast::ExprKind::PositionalCount => {
                value::literal(self.cx.options.positional.len() as i128, loc)
            }
            ast::ExprKind::Var(v) => self.read_var(v),
            ast::ExprKind::Map(_) | ast::ExprKind::MapElem { .. } => self.map_get(e),
            ast::ExprKind::Ident(name) => self.ident(name, span),
            ast::ExprKind::Call { func, args } => self.call(func, args, span),
            ast::ExprKind::Unary { op, expr, .. } => self.unary(*op, expr, span),
            ast::ExprKind::Binary { op, lhs, rhs, .. } => self.binary(*op, lhs, rhs, span),
            ast::ExprKind::IncDec {
                inc,
                prefix,
                target,
            } => self.inc_dec(*inc, *prefix, target, span),
            ast::ExprKind::AddrOf(inner) => self.addr_of(inner, span),
            ast::ExprKind::Ternary { cond, then, els } => self.ternary(cond, then, els, span),
            ast::ExprKind::Elvis { cond, els } => self.ternary(cond, cond, els, span),
            ast::ExprKind::Cast { ty, expr } => {
                let v = self.expr(expr);
                match self.type_expr(ty) {
                    Some(ty) => self.cast_to(v, ty, span),
                    None => value::unknown(loc),
                }
            }
            ast::ExprKind::Tuple(items) => self.tuple(items, span),
            ast::ExprKind::Record(items) => self.record(items, span),
            ast::ExprKind::Field { base, name, .. } => self.field(e, base, name),
            ast::ExprKind::TupleField { base, index } => self.tuple_field(base, *index, span),
            ast::ExprKind::Index { base, indices } => self.index(base, indices, span),
            ast::ExprKind::Sizeof(of) => self.sizeof(of, span),
            ast::ExprKind::Offsetof { of, path } => self.offsetof(of, path, span),
            ast::ExprKind::Typeinfo(of) => self.typeinfo(of, span),
            ast::ExprKind::Comptime(inner) => self.comptime(inner, span),
            ast::ExprKind::If { cond, then, els } => {
                self.if_expr(cond, then, els.as_deref(), span, true)
            }
            ast::ExprKind::Block(b) => {
                let (block, value) = self.value_block(b);
                self.block_expr(block, value, span)
            }
        }
    }

    /// A string literal.
    fn text(&mut self, s: &[u8], span: Span) -> Expr {
        let max = self.config.max_strlen as usize;
        if s.len() + 1 > max {
            let head = String::from_utf8_lossy(&s[..s.len().min(max)]);
            let text = format!("String is too long (over {max} bytes): {head}...");
            return self.fail(Code::TooLarge, span, text);
        }
        value::string(s.to_vec(), self.loc(span))
    }

    // Variables.

    /// Finds a variable and notes the use; reports unknown ones.
    pub(super) fn use_var(&mut self, v: &ast::Var) -> Option<LocalId> {
        let id = self.lookup(v);
        if let Some(id) = id {
            self.local(id).used = true;
        } else {
            let text = format!("Undefined or undeclared variable: ${}", v.name);
            let names: Vec<String> = self
                .unit
                .scopes
                .iter()
                .flat_map(|s| s.keys())
                .filter(|(_, expn)| *expn == v.expn)
                .map(|(name, _)| format!("${name}"))
                .collect();
            let written = format!("${}", v.name);
            let names = names.iter().map(String::as_str);
            self.fail_name(Code::UndefinedVariable, v.span, text, &written, names);
        }
        id
    }

    fn read_var(&mut self, v: &ast::Var) -> Expr {
        let loc = self.loc(v.span);
        let Some(id) = self.use_var(v) else {
            return value::unknown(loc);
        };
        if !self.local(id).assigned {
            let text = format!("Variable used before it was assigned: ${}", v.name);
            self.warn(Code::UseBeforeAssign, v.span, text);
        }
        match self.local_type(id) {
            Some(ty) => Expr {
                kind: ExprKind::Local(id),
                ty,
                loc,
            },
            // What was assigned has a mistake of its own, which was reported there.
            None if self.local(id).assigned => {
                let text = "Could not resolve the type of this variable".to_owned();
                self.unresolved.push((v.span, text));
                value::unknown(loc)
            }
            None => self.fail(
                Code::Unresolved,
                v.span,
                "Could not resolve the type of this variable",
            ),
        }
    }

    /// Assigns to a variable that exists; gives the value in the variable's type.
    pub(super) fn assign_local(
        &mut self,
        id: LocalId,
        e: Expr,
        span: Span,
        whole: Span,
    ) -> Option<Expr> {
        self.local(id).assigned = true;
        if is_unknown(&e) {
            return None;
        }
        let e = self.reduce(e);
        if let Type::Agg(_) = e.ty {
            let text = format!(
                "Value '{}' cannot be assigned to a scratch variable.",
                self.spell(&e.ty)
            );
            self.error(Code::AggregationUse, whole, text);
            return None;
        }
        if matches!(e.ty, Type::None) {
            let text = format!("Invalid expression for assignment: '{}'", self.spell(&e.ty));
            self.error(Code::TypeMismatch, span, text);
            return None;
        }
        if let Some(declared) = self.local(id).declared.clone() {
            return self.assign_declared(id, declared, e, span, whole);
        }
        match self.grow_local(id, &e) {
            Ok(ty) => Some(self.implicit(e, &ty, span)),
            Err(have) => {
                self.local_mismatch(id, &e.ty, &have, whole);
                None
            }
        }
    }

    fn assign_declared(
        &mut self,
        id: LocalId,
        ty: Type,
        e: Expr,
        span: Span,
        whole: Span,
    ) -> Option<Expr> {
        let fits = match (&ty, &e.ty) {
            (Type::Int(t), Type::Int(_)) => literal_value(&e).is_none_or(|v| value::fits(v, *t)),
            (Type::Str(n), Type::Str(m)) => m <= n,
            (Type::Buf(n), Type::Buf(m)) => m <= n,
            (have, _) => value::unify(have, &e, &self.store)
                .is_some_and(|t| self.size(&t) == self.size(have)),
        };
        if !fits {
            self.local_mismatch(id, &e.ty, &ty, whole);
            return None;
        }
        Some(self.implicit(e, &ty, span))
    }

    fn local_mismatch(&mut self, id: LocalId, new: &Type, have: &Type, span: Span) {
        let text = format!(
            "Type mismatch for ${}: trying to assign value of type '{}' when variable already has a type '{}'",
            self.local(id).name.clone(),
            self.spell(new),
            self.spell(have)
        );
        self.error(Code::TypeMismatch, span, text);
    }

    /// The variable that an assignment at statement `key` means, made if there is none.
    pub(super) fn assigned_var(&mut self, v: &ast::Var, place: Span, key: ast::NodeId) -> LocalId {
        self.lookup(v)
            .unwrap_or_else(|| self.declare(v, place, key, Origin::Assignment, None))
    }

    // Names.

    fn ident(&mut self, name: &str, span: Span) -> Expr {
        let loc = self.loc(span);
        let func = ast::Ident {
            name: name.to_owned(),
            span,
        };
        if let Some(e) = self.context_arg(name, span) {
            return e;
        }
        if let Some(row) = crate::builtins::find(name) {
            return self.builtin(row, &func, &[], span);
        }
        if let Some((id, v)) = self.cx.facts.constant(&mut self.store, name) {
            return value::constant(i128::from(v), Type::Enum(id), loc);
        }
        if let Some(e) = self.cx.facts.c_macro(name) {
            // The text of a macro has no place of its own in the script.
            let e = self.expr(&e);
            return Expr { loc, ..e };
        }
        let text = format!("Unknown identifier: '{name}'");
        let names = crate::builtins::all()
            .filter(|b| b.arity.0 == 0)
            .map(|b| b.name);
        self.fail_name(Code::UndefinedIdent, span, text, name, names)
    }

    // Compound values.

    fn tuple(&mut self, items: &[ast::Expr], span: Span) -> Expr {
        let loc = self.loc(span);
        let mut values = Vec::with_capacity(items.len());
        for i in items {
            let v = self.expr(i);
            values.push(self.plain(v, i.span));
        }
        if values.iter().any(is_unknown) {
            return value::unknown(loc);
        }
        let ty = Type::tuple(values.iter().map(|v| v.ty.clone()).collect::<Vec<_>>());
        Expr {
            kind: ExprKind::Tuple(values),
            ty,
            loc,
        }
    }

    fn record(&mut self, items: &[(ast::Ident, ast::Expr)], span: Span) -> Expr {
        let loc = self.loc(span);
        let mut values = Vec::with_capacity(items.len());
        let mut fields = Vec::with_capacity(items.len());
        let mut known = true;
        for (name, e) in items {
            let v = self.expr(e);
            let v = self.plain(v, e.span);
            known &= !is_unknown(&v);
            fields.push((std::sync::Arc::from(name.name.as_str()), v.ty.clone()));
            values.push(v);
        }
        if !known {
            return value::unknown(loc);
        }
        Expr {
            kind: ExprKind::Tuple(values),
            ty: Type::Record(fields.into()),
            loc,
        }
    }

    // `++` and `--`.

    fn inc_dec(&mut self, inc: bool, prefix: bool, target: &ast::Expr, span: Span) -> Expr {
        let loc = self.loc(span);
        let sign: i64 = if inc { 1 } else { -1 };
        match &target.kind {
            ast::ExprKind::Var(v) => {
                let e = self.read_var(v);
                let ExprKind::Local(local) = e.kind else {
                    return e;
                };
                self.local(local).assigned = true;
                let (ty, by) = match &e.ty {
                    Type::Ptr(..) => (e.ty.clone(), i64::from(self.pointee_size(&e.ty)) * sign),
                    Type::Int(t) => (super::ops::widened(*t), sign),
                    other => return self.bad_inc(inc, &other.clone(), span),
                };
                let ty = match self.local(local).declared.clone() {
                    Some(declared) => declared,
                    None => {
                        self.learn_local(local, ty.clone());
                        ty
                    }
                };
                Expr {
                    kind: ExprKind::IncLocal { local, by, prefix },
                    ty,
                    loc,
                }
            }
            _ => {
                let Some((map, key)) = self.map_place(target) else {
                    return value::unknown(loc);
                };
                let zero = value::constant(0, Type::I64, loc);
                let have = self.map_state(map).value.clone();
                let (ty, by) = match &have {
                    Some(p @ Type::Ptr(..)) => {
                        let by = i64::from(self.pointee_size(p)) * sign;
                        self.map_state(map).written = true;
                        (Some(p.clone()), by)
                    }
                    Some(Type::Int(IntTy { signed: false, .. })) => {
                        let zero = value::constant(0, Type::U64, loc);
                        (self.grow_map(map, &zero, (span, span)), sign)
                    }
                    None | Some(Type::Int(_)) => (self.grow_map(map, &zero, (span, span)), sign),
                    Some(other) => return self.bad_inc(inc, &other.clone(), span),
                };
                let Some(ty) = ty else {
                    return value::unknown(loc);
                };
                Expr {
                    kind: ExprKind::IncMap {
                        map,
                        key: key.map(Box::new),
                        by,
                        prefix,
                    },
                    ty,
                    loc,
                }
            }
        }
    }

    fn bad_inc(&mut self, inc: bool, ty: &Type, span: Span) -> Expr {
        let text = format!(
            "The {} operator can not be used on expressions of type '{}'",
            if inc { "++" } else { "--" },
            self.spell(ty)
        );
        self.fail(Code::BadOperand, span, text)
    }

    // Blocks and branches as values.

    pub(super) fn block_expr(&mut self, mut block: Block, value: Expr, span: Span) -> Expr {
        let loc = self.loc(span);
        if is_unknown(&value) {
            return value;
        }
        if block.stmts.is_empty() {
            return value;
        }
        let ty = value.ty.clone();
        block.value = Some(Box::new(value));
        Expr {
            kind: ExprKind::Block(block),
            ty,
            loc,
        }
    }

    /// `if`; `wanted` tells whether its value is used.
    pub(super) fn if_expr(
        &mut self,
        cond: &ast::Expr,
        then: &ast::Block,
        els: Option<&ast::Expr>,
        span: Span,
        wanted: bool,
    ) -> Expr {
        let loc = self.loc(span);
        let c = self.expr(cond);
        let unknown = is_unknown(&c);
        let c = self.condition(c, cond.span);
        let decided = literal_value(&c).filter(|_| !unknown);
        let arm = |this: &mut Self, b: &ast::Block| {
            if wanted {
                this.value_block(b)
            } else {
                (this.block(b), value::constant(0, Type::None, loc))
            }
        };
        let none = || (Block::default(), value::constant(0, Type::None, loc));
        let els_arm = |this: &mut Self| match els {
            None => none(),
            Some(e) => match &e.kind {
                ast::ExprKind::Block(b) => arm(this, b),
                ast::ExprKind::If { cond, then, els } => {
                    let v = this.if_expr(cond, then, els.as_deref(), e.span, wanted);
                    (Block::default(), v)
                }
                _ => (Block::default(), this.expr(e)),
            },
        };
        if let Some(v) = decided {
            let (block, value) = if v != 0 {
                arm(self, then)
            } else {
                els_arm(self)
            };
            return self.block_expr(block, value, span);
        }
        let a = arm(self, then);
        let b = els_arm(self);
        if unknown {
            return value::unknown(loc);
        }
        if els.is_none() && wanted && a.1.ty != Type::None {
            // Without an else there is no value for the other case.
            let mut then = a.0;
            then.value = Some(Box::new(a.1));
            return Expr {
                kind: ExprKind::If {
                    cond: Box::new(c),
                    then,
                    els: Block::default(),
                },
                ty: Type::None,
                loc,
            };
        }
        self.choose(c, a, b, span)
    }

    /// `comptime e`
    fn comptime(&mut self, e: &ast::Expr, span: Span) -> Expr {
        let v = self.expr(e);
        if is_unknown(&v) {
            return v;
        }
        let constant = value::is_literal(&v)
            || matches!(&v.kind, ExprKind::Tuple(items) if items.iter().all(value::is_literal))
            || matches!(v.ty, Type::None)
            || matches!(&v.kind, ExprKind::Cast(inner) if value::is_literal(inner));
        if !constant {
            return self.fail(
                Code::NotConstant,
                span,
                "Unable to resolve comptime expression",
            );
        }
        v
    }

    fn typeinfo(&mut self, of: &ast::TypeOrExpr, span: Span) -> Expr {
        let loc = self.loc(span);
        if !self.settings.allows_typeinfo() {
            return self.fail(
                Code::UnstableFeature,
                span,
                "typeinfo feature is not enabled by default. To enable this unstable feature, set the config flag to enable. unstable_typeinfo=enable",
            );
        }
        let Some(ty) = self.type_of(of) else {
            return value::unknown(loc);
        };
        let btf_id = match &ty {
            Type::Struct(id) => self.store.struct_def(*id).btf.map_or(0, |(_, id)| id),
            _ => 0,
        };
        let values = vec![
            value::literal(i128::from(btf_id), loc),
            value::string(value::class(&ty).as_bytes(), loc),
            value::string(self.spell(&ty).into_bytes(), loc),
        ];
        let names = ["btf_id", "base_type", "full_type"];
        let fields: Vec<_> = names
            .into_iter()
            .zip(&values)
            .map(|(n, v)| (std::sync::Arc::from(n), v.ty.clone()))
            .collect();
        Expr {
            kind: ExprKind::Tuple(values),
            ty: Type::Record(fields.into()),
            loc,
        }
    }
}
