//! Expressions: flat lists of operands and operators from the grammar become trees.

use super::{Builder, P, Rule, kids, literal};
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast::{Arg, BinOp, Block, Expr, ExprKind, Ident, StrLit, TypeExpr, UnaryOp};

/// The infix operator with this spelling.
pub(super) fn binary_op(text: &str) -> Option<BinOp> {
    Some(match text {
        "||" => BinOp::Or,
        "&&" => BinOp::And,
        "|" => BinOp::BitOr,
        "^" => BinOp::BitXor,
        "&" => BinOp::BitAnd,
        "==" => BinOp::Eq,
        "!=" => BinOp::Ne,
        "<" => BinOp::Lt,
        "<=" => BinOp::Le,
        ">" => BinOp::Gt,
        ">=" => BinOp::Ge,
        "<<" => BinOp::Shl,
        ">>" => BinOp::Shr,
        "+" => BinOp::Add,
        "-" => BinOp::Sub,
        "*" => BinOp::Mul,
        "/" => BinOp::Div,
        "%" => BinOp::Rem,
        _ => return None,
    })
}

/// A prefix in front of an operand, outermost first.
enum Prefix {
    Op(UnaryOp, Span),
    AddrOf(Span),
    Step(bool, Span),
    Cast(TypeExpr, Span),
    Comptime(Span),
}

impl Builder<'_> {
    /// An `expr` pair: a condition chain, which associates to the right.
    pub(super) fn expr(&mut self, p: P<'_>) -> Option<Expr> {
        let parts: Vec<_> = kids(p).collect();
        let at = self.span(parts.first()?);
        self.deeper(parts.len(), at, |b| {
            let mut parts = parts.into_iter();
            let mut ok = true;
            let mut conds = vec![b.binary(parts.next()?)];
            let mut middles = Vec::new();
            for k in parts {
                for k in kids(k) {
                    match k.as_rule() {
                        Rule::elvis => middles.push(Some(None)),
                        Rule::expr => middles.push(b.expr(k).map(Some)),
                        Rule::binary => conds.push(b.binary(k)),
                        _ => {
                            b.missing(&k);
                            ok = false;
                        }
                    }
                }
            }
            if !ok {
                return None;
            }
            let mut result = conds.pop()??;
            while let (Some(middle), Some(cond)) = (middles.pop(), conds.pop()) {
                let (middle, cond) = (middle?, cond?);
                let span = cond.span.to(result.whole());
                let (cond, els) = (Box::new(cond), Box::new(result));
                let kind = match middle {
                    Some(then) => ExprKind::Ternary {
                        cond,
                        then: Box::new(then),
                        els,
                    },
                    None => ExprKind::Elvis { cond, els },
                };
                result = b.expr_node(kind, span);
            }
            Some(result)
        })
    }

    /// An `expr` pair or what stands for a missing one.
    fn value(&mut self, p: P<'_>) -> Option<Expr> {
        if p.as_rule() == Rule::expr {
            return self.expr(p);
        }
        self.missing(&p);
        None
    }

    /// Operands and operators in turn, folded with one stack of each.
    fn binary(&mut self, p: P<'_>) -> Option<Expr> {
        let parts: Vec<_> = kids(p).collect();
        let at = self.span(parts.first()?);
        self.deeper(parts.len() / 2, at, |b| {
            let mut operands: Vec<Expr> = Vec::new();
            let mut operators: Vec<(BinOp, Span)> = Vec::new();
            let mut ok = true;
            for k in parts {
                match k.as_rule() {
                    Rule::unary => match b.unary(k) {
                        Some(e) => operands.push(e),
                        None => ok = false,
                    },
                    Rule::simple_op | Rule::divide => {
                        // The slash pair may hold blanks after it.
                        let text = k.as_str();
                        let text = if text.starts_with('/') { "/" } else { text };
                        let start = k.as_span().start();
                        let span = Span::new(b.file, start, start + text.len());
                        let op = binary_op(text)?;
                        while ok
                            && operators
                                .last()
                                .is_some_and(|(o, _)| o.precedence() >= op.precedence())
                        {
                            b.fold(&mut operands, &mut operators)?;
                        }
                        operators.push((op, span));
                    }
                    _ => {
                        b.missing(&k);
                        ok = false;
                    }
                }
            }
            if !ok {
                return None;
            }
            while !operators.is_empty() {
                b.fold(&mut operands, &mut operators)?;
            }
            operands.pop()
        })
    }

    fn fold(&mut self, operands: &mut Vec<Expr>, operators: &mut Vec<(BinOp, Span)>) -> Option<()> {
        let (op, op_span) = operators.pop()?;
        let (rhs, lhs) = (operands.pop()?, operands.pop()?);
        let span = lhs.span.to(rhs.whole());
        let kind = ExprKind::Binary {
            op,
            op_span,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
        };
        let e = self.expr_node(kind, span);
        operands.push(e);
        Some(())
    }

    pub(super) fn unary(&mut self, p: P<'_>) -> Option<Expr> {
        let at = self.span(&p);
        let parts: Vec<_> = kids(p).collect();
        self.deeper(parts.len() - 1, at, |b| {
            let mut prefixes = Vec::new();
            let mut operand = None;
            for k in parts {
                let span = b.span(&k);
                prefixes.push(match k.as_rule() {
                    Rule::postfix => {
                        operand = b.postfix(k);
                        continue;
                    }
                    Rule::prefix_op => match k.as_str() {
                        "-" => Prefix::Op(UnaryOp::Neg, span),
                        "!" => Prefix::Op(UnaryOp::Not, span),
                        "~" => Prefix::Op(UnaryOp::BitNot, span),
                        "*" => Prefix::Op(UnaryOp::Deref, span),
                        _ => Prefix::AddrOf(span),
                    },
                    Rule::step_op => Prefix::Step(k.as_str() == "++", span),
                    Rule::kw_comptime => Prefix::Comptime(span),
                    Rule::cast => {
                        let text = k.as_str().trim_end();
                        let paren = Span {
                            hi: span.lo + text.len() as u32,
                            ..span
                        };
                        Prefix::Cast(b.cast_type(k)?, paren)
                    }
                    _ => {
                        b.missing(&k);
                        continue;
                    }
                });
            }
            let mut e = operand?;
            while let Some(prefix) = prefixes.pop() {
                e = b.prefix(prefix, e)?;
            }
            Some(e)
        })
    }

    fn cast_type(&mut self, p: P<'_>) -> Option<TypeExpr> {
        let mut ty = None;
        for k in kids(p) {
            match k.as_rule() {
                Rule::type_expr | Rule::named_type => ty = self.type_expr(k),
                _ => {
                    self.missing(&k);
                    return None;
                }
            }
        }
        ty
    }

    fn prefix(&mut self, prefix: Prefix, e: Expr) -> Option<Expr> {
        let end = e.whole();
        let cast = matches!(prefix, Prefix::Cast(..));
        let (kind, start) = match prefix {
            Prefix::Op(op, span) => (
                ExprKind::Unary {
                    op,
                    op_span: span,
                    expr: Box::new(e),
                },
                span,
            ),
            Prefix::AddrOf(span) => {
                if !matches!(e.kind, ExprKind::Var(_) | ExprKind::Map(_)) {
                    let at = span.to(end);
                    self.push(Code::Expected, at, "expected variable or map after '&'");
                    return None;
                }
                (ExprKind::AddrOf(Box::new(e)), span)
            }
            Prefix::Step(inc, span) => (self.step(inc, true, e, span)?, span),
            Prefix::Cast(ty, span) => (
                ExprKind::Cast {
                    ty,
                    expr: Box::new(e),
                },
                span,
            ),
            Prefix::Comptime(span) => (ExprKind::Comptime(Box::new(e)), span),
        };
        let mut e = self.expr_node(kind, start.to(end));
        if cast {
            e.span = start;
        }
        Some(e)
    }

    fn step(&mut self, inc: bool, prefix: bool, target: Expr, op: Span) -> Option<ExprKind> {
        if !matches!(
            target.kind,
            ExprKind::Var(_) | ExprKind::Map(_) | ExprKind::MapElem { .. }
        ) {
            self.push(
                Code::BadAssignTarget,
                op,
                "increment/decrement requires a variable or map",
            );
            return None;
        }
        Some(ExprKind::IncDec {
            inc,
            prefix,
            target: Box::new(target),
        })
    }

    fn postfix(&mut self, p: P<'_>) -> Option<Expr> {
        let parts: Vec<_> = kids(p).collect();
        let at = self.span(parts.first()?);
        self.deeper(parts.len(), at, |b| {
            let mut parts = parts.into_iter();
            let mut e = b.primary(parts.next()?);
            for k in parts {
                let span = b.span(&k);
                let rule = k.as_rule();
                // Go on after a mistake to report those in the indices.
                let (kind, start) = match rule {
                    Rule::index => {
                        let indices = b.list(k);
                        let (base, indices) = (e?, indices?);
                        let start = base.span;
                        let base = Box::new(base);
                        (ExprKind::Index { base, indices }, start)
                    }
                    Rule::step_op => {
                        let base = e?;
                        let start = base.span;
                        (b.step(k.as_str() == "++", false, base, span)?, start)
                    }
                    _ => {
                        let base = e?;
                        let start = base.span;
                        (b.member(base, k)?, start)
                    }
                };
                e = Some(b.expr_node(kind, start.to(span)));
            }
            e
        })
    }

    /// `.f`, `->f`, `.0`
    fn member(&mut self, base: Expr, p: P<'_>) -> Option<ExprKind> {
        let arrow = p.as_rule() == Rule::arrow;
        let k = kids(p).next()?;
        let base = Box::new(base);
        match k.as_rule() {
            Rule::word => Some(ExprKind::Field {
                base,
                name: self.ident(&k),
                arrow,
            }),
            Rule::number => {
                let span = self.span(&k);
                let Ok(index) = k.as_str().parse() else {
                    self.push(Code::BadInteger, span, "tuple index is too large");
                    return None;
                };
                Some(ExprKind::TupleField { base, index })
            }
            _ => {
                self.missing(&k);
                None
            }
        }
    }

    /// The expressions of a list; `None` if one is wrong.
    fn list(&mut self, p: P<'_>) -> Option<Vec<Expr>> {
        let mut all = Vec::new();
        let mut ok = true;
        for k in kids(p) {
            match self.value(k) {
                Some(e) => all.push(e),
                None => ok = false,
            }
        }
        ok.then_some(all)
    }

    pub(super) fn primary(&mut self, p: P<'_>) -> Option<Expr> {
        let span = self.span(&p);
        let kind = match p.as_rule() {
            Rule::int => ExprKind::Int(self.int(&p)?),
            Rule::string => ExprKind::Str(self.string(&p)?.value),
            Rule::boolean => ExprKind::Bool(p.as_str() == "true"),
            Rule::positional => match p.as_str()[1..].parse().ok().filter(|&n: &u32| n > 0) {
                Some(n) => ExprKind::Positional(n),
                None => {
                    let message = format!("invalid positional parameter: {}", p.as_str());
                    self.push(Code::BadInteger, span, message);
                    return None;
                }
            },
            Rule::param_count => ExprKind::PositionalCount,
            Rule::var => ExprKind::Var(self.var(&p)),
            Rule::map_access => return self.map_access(p),
            Rule::name => return self.name(p),
            Rule::paren => return self.paren(p),
            Rule::if_expr => return self.if_expr(p),
            Rule::block => {
                let block = self.deeper(1, span, |b| Some(b.block(p)))?;
                ExprKind::Block(block)
            }
            Rule::sizeof => ExprKind::Sizeof(self.operand(p)?),
            Rule::typeinfo => ExprKind::Typeinfo(self.operand(p)?),
            Rule::offsetof => self.offsetof(p)?,
            Rule::bad_string => {
                self.unterminated(&p);
                return None;
            }
            _ => {
                self.bad_primary(&p);
                return None;
            }
        };
        Some(self.expr_node(kind, span))
    }

    /// A text in single quotes or a lone `$`.
    fn bad_primary(&mut self, p: &P<'_>) {
        let d = Diagnostic::error(Code::Expected, self.span(p), "syntax: expected expression");
        let d = if p.as_rule() == Rule::single_quoted {
            d.hint("strings stand in double quotes")
        } else {
            d.hint(
                "a name follows '$'; if the script came from a shell, use single quotes around it",
            )
        };
        self.structural(d);
    }

    fn map_access(&mut self, p: P<'_>) -> Option<Expr> {
        let mut k = kids(p);
        let map = self.map_name(&k.next()?);
        let Some(index) = k.next() else {
            let span = map.span;
            return Some(self.expr_node(ExprKind::Map(map), span));
        };
        let end = self.span(&index);
        let keys = self.list(index)?;
        let span = map.span.to(end);
        Some(self.expr_node(ExprKind::MapElem { map, keys }, span))
    }

    fn name(&mut self, p: P<'_>) -> Option<Expr> {
        let mut k = kids(p);
        let func = self.ident(&k.next()?);
        let Some(call) = k.next() else {
            let span = func.span;
            return Some(self.expr_node(ExprKind::Ident(func.name), span));
        };
        let span = func.span.to(self.span(&call));
        let mut args = Vec::new();
        let mut ok = true;
        for k in kids(call) {
            let arg = match k.as_rule() {
                Rule::type_expr => self.type_expr(k).map(Arg::Type),
                Rule::missing_rparen => {
                    self.missing(&k);
                    None
                }
                _ => self.value(k).map(Arg::Expr),
            };
            match arg {
                Some(a) => args.push(a),
                None => ok = false,
            }
        }
        if !ok {
            return None;
        }
        Some(self.expr_node(ExprKind::Call { func, args }, span))
    }

    fn paren(&mut self, p: P<'_>) -> Option<Expr> {
        let span = self.span(&p);
        let mut content = None;
        let mut empty = true;
        for k in kids(p) {
            empty = false;
            match k.as_rule() {
                Rule::list => content = self.tuple(k, span),
                Rule::record => content = self.record(k, span),
                _ => {
                    self.missing(&k);
                    content = None;
                }
            }
        }
        if empty {
            return Some(self.expr_node(ExprKind::Tuple(Vec::new()), span));
        }
        content
    }

    /// What stands between parentheses: a group or a tuple.
    fn tuple(&mut self, p: P<'_>, span: Span) -> Option<Expr> {
        let parts: Vec<_> = kids(p).collect();
        let comma = parts.last()?.as_rule() == Rule::trailing_comma;
        let mut all = Vec::new();
        let mut ok = true;
        for k in parts {
            if k.as_rule() == Rule::expr {
                match self.expr(k) {
                    Some(e) => all.push(e),
                    None => ok = false,
                }
            }
        }
        if !ok {
            return None;
        }
        if all.len() > 1 || comma {
            return Some(self.expr_node(ExprKind::Tuple(all), span));
        }
        let mut e = all.pop()?;
        e.parens = e.parens.saturating_add(1);
        e.end = span.hi;
        Some(e)
    }

    fn record(&mut self, p: P<'_>, span: Span) -> Option<Expr> {
        let mut fields: Vec<(Ident, Expr)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        let mut ok = true;
        for k in kids(p) {
            let field = self.span(&k);
            let mut parts = kids(k);
            let name = self.ident(&parts.next()?);
            let value = parts.next().and_then(|v| self.value(v));
            if !names.insert(name.name.clone()) {
                let message = format!("Named argument list already contains name: {}", name.name);
                self.push(Code::DuplicateField, field, message);
                ok = false;
            }
            match value {
                Some(v) => fields.push((name, v)),
                None => ok = false,
            }
        }
        if !ok {
            return None;
        }
        Some(self.expr_node(ExprKind::Record(fields), span))
    }

    fn offsetof(&mut self, p: P<'_>) -> Option<ExprKind> {
        let (mut of, mut path, mut ok) = (None, Vec::new(), true);
        for k in kids(p) {
            match k.as_rule() {
                Rule::kw_offsetof => {}
                Rule::type_or_expr => of = self.type_or_expr(k),
                Rule::word => path.push(self.ident(&k)),
                _ => {
                    self.missing(&k);
                    ok = false;
                }
            }
        }
        let of = of?;
        ok.then_some(ExprKind::Offsetof { of, path })
    }

    /// An `if` with its chain of `else if`, which the grammar keeps flat.
    fn if_expr(&mut self, p: P<'_>) -> Option<Expr> {
        let whole = self.span(&p);
        let parts: Vec<_> = kids(p).collect();
        self.deeper(parts.len(), whole, |b| {
            // (start, condition, block) of each arm, and the last else.
            let mut arms: Vec<(Span, Option<Expr>, Option<Block>)> = vec![(whole, None, None)];
            let (mut els, mut in_else, mut ok) = (None, false, true);
            for k in parts {
                let span = b.span(&k);
                match k.as_rule() {
                    Rule::kw_if => {}
                    Rule::kw_else => in_else = true,
                    Rule::else_if => {
                        let mut arm = (span, None, None);
                        ok &= b.arm(k, &mut arm);
                        arms.push(arm);
                    }
                    Rule::block if in_else => els = Some(b.block(k)),
                    _ => ok &= b.arm_part(k, &mut arms[0]),
                }
            }
            if !ok {
                return None;
            }
            let mut rest = els.map(|block| {
                let span = block.span;
                Box::new(b.expr_node(ExprKind::Block(block), span))
            });
            for (start, cond, then) in arms.into_iter().rev() {
                let (cond, then) = (Box::new(cond?), then?);
                let end = rest.as_ref().map_or(then.span, |e| e.span);
                let kind = ExprKind::If {
                    cond,
                    then,
                    els: rest,
                };
                rest = Some(Box::new(b.expr_node(
                    kind,
                    Span {
                        hi: end.hi,
                        ..start
                    },
                )));
            }
            rest.map(|e| *e)
        })
    }

    /// An `else if`, whose span starts at its `if`.
    fn arm(&mut self, p: P<'_>, arm: &mut (Span, Option<Expr>, Option<Block>)) -> bool {
        let mut ok = true;
        for k in kids(p) {
            match k.as_rule() {
                Rule::kw_else => {}
                Rule::kw_if => arm.0 = self.span(&k),
                _ => ok &= self.arm_part(k, arm),
            }
        }
        ok
    }

    fn arm_part(&mut self, p: P<'_>, arm: &mut (Span, Option<Expr>, Option<Block>)) -> bool {
        match p.as_rule() {
            Rule::block => {
                arm.2 = Some(self.block(p));
                true
            }
            Rule::expr => {
                arm.1 = self.expr(p);
                arm.1.is_some()
            }
            _ => {
                self.missing(&p);
                false
            }
        }
    }

    pub(super) fn int(&mut self, p: &P<'_>) -> Option<u64> {
        match literal::int(p.as_str()) {
            Ok(n) => Some(n),
            Err((range, message)) => {
                let lo = p.as_span().start();
                let at = Span::new(self.file, lo + range.start, lo + range.end);
                self.push(Code::BadInteger, at, message);
                None
            }
        }
    }

    pub(super) fn string(&mut self, p: &P<'_>) -> Option<StrLit> {
        let span = self.span(p);
        match literal::string(p.as_str()) {
            Ok(value) => Some(StrLit { value, span }),
            Err(errors) => {
                for (range, message) in errors {
                    let lo = span.lo as usize;
                    let at = Span::new(self.file, lo + range.start, lo + range.end);
                    self.push(Code::BadEscape, at, message);
                }
                None
            }
        }
    }

    pub(super) fn unterminated(&mut self, p: &P<'_>) {
        let d = Diagnostic::error(
            Code::Unterminated,
            self.span(p),
            "syntax: unterminated string",
        );
        self.structural(d);
    }
}
