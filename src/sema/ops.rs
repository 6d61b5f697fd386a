//! Operators: what they accept, the type they give, and folding of literals.

use super::check::Checker;
use super::hir::{BinOp, CmpOp, Expr, ExprKind, UnOp};
use super::value::{self, int_like, is_unknown, literal_text, literal_value};
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast;
use crate::types::{AddrSpace, IntTy, Type};

const OVERFLOW: &str = "unable to fold literals due to overflow or underflow";

fn arithmetic(op: ast::BinOp) -> Option<BinOp> {
    Some(match op {
        ast::BinOp::Add => BinOp::Add,
        ast::BinOp::Sub => BinOp::Sub,
        ast::BinOp::Mul => BinOp::Mul,
        ast::BinOp::Div => BinOp::Div,
        ast::BinOp::Rem => BinOp::Mod,
        ast::BinOp::BitAnd => BinOp::And,
        ast::BinOp::BitOr => BinOp::Or,
        ast::BinOp::BitXor => BinOp::Xor,
        ast::BinOp::Shl => BinOp::Shl,
        ast::BinOp::Shr => BinOp::Shr,
        _ => return None,
    })
}

fn comparison(op: ast::BinOp) -> Option<CmpOp> {
    Some(match op {
        ast::BinOp::Eq => CmpOp::Eq,
        ast::BinOp::Ne => CmpOp::Ne,
        ast::BinOp::Lt => CmpOp::Lt,
        ast::BinOp::Le => CmpOp::Le,
        ast::BinOp::Gt => CmpOp::Gt,
        ast::BinOp::Ge => CmpOp::Ge,
        _ => return None,
    })
}

fn compare<T: PartialOrd + ?Sized>(op: CmpOp, a: &T, b: &T) -> bool {
    match op {
        CmpOp::Eq => a == b,
        CmpOp::Ne => a != b,
        CmpOp::Lt => a < b,
        CmpOp::Le => a <= b,
        CmpOp::Gt => a > b,
        CmpOp::Ge => a >= b,
    }
}

/// The value of `a op b`, computed as C would on signed numbers; `None` where it leaves the
/// 64 bits of either signedness.
fn fold(op: BinOp, a: i128, b: i128) -> Option<i128> {
    let wrapped = |f: fn(u64, u64) -> u64| {
        let bits = f(a as u64, b as u64);
        if a < 0 || b < 0 {
            i128::from(bits as i64)
        } else {
            i128::from(bits)
        }
    };
    let value = match op {
        BinOp::Add => a + b,
        BinOp::Sub => a - b,
        BinOp::Mul => a.checked_mul(b)?,
        BinOp::Div => a.checked_div(b)?,
        BinOp::Mod => a.checked_rem(b)?,
        BinOp::And => wrapped(|a, b| a & b),
        BinOp::Or => wrapped(|a, b| a | b),
        BinOp::Xor => wrapped(|a, b| a ^ b),
        BinOp::Shl | BinOp::Shr if !(0..64).contains(&b) => return None,
        BinOp::Shl => a << b,
        BinOp::Shr => a >> b,
    };
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&value)
        .then_some(value)
}

impl Checker<'_> {
    /// `e` with an aggregation read as a number; other aggregations are an error.
    pub(super) fn reduce(&mut self, e: Expr) -> Expr {
        let Some(ty) = value::reduced(&e.ty) else {
            return e;
        };
        // The parts of all CPUs are added up inside of the program.
        if !self.cx.facts.has_feature("lookup_percpu_elem") {
            let text = "Missing required kernel feature: map_lookup_percpu_elem";
            self.report(Diagnostic::error(Code::MissingFeature, None, text));
        }
        Expr { ty, ..e }
    }

    /// `e` as a value that can be stored in a tuple or key.
    pub(super) fn plain(&mut self, e: Expr, span: Span) -> Expr {
        let e = self.reduce(e);
        if let Type::Agg(_) = e.ty {
            let text = format!(
                "Map type {} cannot exist inside a tuple.",
                self.spell(&e.ty)
            );
            return self.fail(Code::AggregationUse, span, text);
        }
        e
    }

    /// Casts an operand that the program did not cast; warns where that can change its value.
    pub(super) fn implicit(&mut self, e: Expr, ty: &Type, span: Span) -> Expr {
        if let (Type::Int(from), Type::Int(to)) = (&e.ty, ty) {
            let loses = if from.signed == to.signed {
                from.size > to.size
            } else {
                to.signed && from.size >= to.size
            };
            if loses && !value::is_literal(&e) {
                let text = format!(
                    "Expression of type: {} being cast to type: {}. This may cause unexpected results. Use an explicit cast to suppress this warning.",
                    self.spell(&e.ty),
                    self.spell(ty)
                );
                self.warn(Code::ImplicitCast, span, text);
            }
        }
        value::cast(e, ty)
    }

    pub(super) fn unary(&mut self, op: ast::UnaryOp, e: &ast::Expr, span: Span) -> Expr {
        if op == ast::UnaryOp::Deref {
            let p = self.expr(e);
            return self.deref(p, span);
        }
        let v = self.expr(e);
        if is_unknown(&v) {
            return v;
        }
        let v = self.reduce(v);
        let loc = self.loc(span);
        if let Some(n) = literal_value(&v) {
            let folded = match op {
                ast::UnaryOp::Neg => -n,
                ast::UnaryOp::Not => return value::boolean(n == 0, loc),
                _ if n < 0 => !n,
                _ => i128::from(!(n as u64)),
            };
            if folded < i128::from(i64::MIN) {
                return self.fail(Code::Overflow, span, OVERFLOW);
            }
            return value::literal(folded, loc);
        }
        let (op, ty, operand) = match (op, &v.ty) {
            (ast::UnaryOp::Not, Type::Bool | Type::Int(_) | Type::Enum(_)) => {
                let cond = self.condition(v, e.span);
                (UnOp::Not, Type::Bool, cond)
            }
            (ast::UnaryOp::Neg | ast::UnaryOp::BitNot, ty)
                if int_like(ty, &self.store).is_some() =>
            {
                let signed = ty.is_signed();
                let wide = Type::int(signed, 8);
                if op == ast::UnaryOp::Neg {
                    (UnOp::Neg, Type::I64, value::cast(v, &Type::I64))
                } else {
                    (UnOp::BitNot, wide.clone(), value::cast(v, &wide))
                }
            }
            (op, ty) => {
                let text = format!(
                    "The {} operator can not be used on expressions of type '{}'",
                    op.as_str(),
                    self.spell(ty)
                );
                return self.fail(Code::BadOperand, span, text);
            }
        };
        Expr {
            kind: ExprKind::Unary(op, Box::new(operand)),
            ty,
            loc,
        }
    }

    pub(super) fn binary(
        &mut self,
        op: ast::BinOp,
        lhs: &ast::Expr,
        rhs: &ast::Expr,
        span: Span,
    ) -> Expr {
        if matches!(op, ast::BinOp::And | ast::BinOp::Or) {
            return self.logical(op, lhs, rhs, span);
        }
        let a = self.expr(lhs);
        let b = self.expr(rhs);
        self.binary_of(op, (a, lhs.span), (b, rhs.span), span)
    }

    /// `a op b` of checked operands; not for the logical operators.
    pub(super) fn binary_of(
        &mut self,
        op: ast::BinOp,
        (a, a_span): (Expr, Span),
        (b, b_span): (Expr, Span),
        span: Span,
    ) -> Expr {
        let loc = self.loc(span);
        if is_unknown(&a) || is_unknown(&b) {
            return value::unknown(loc);
        }
        let (a, b) = (self.reduce(a), self.reduce(b));
        let (a, b) = (self.named_probe(a), self.named_probe(b));
        if let Some(cmp) = comparison(op) {
            return self.compare(op, cmp, (a, a_span), (b, b_span), span);
        }
        let Some(hir_op) = arithmetic(op) else {
            return value::unknown(loc);
        };
        if let (ast::BinOp::Add, Some(s)) = (op, literal_text(&a)) {
            return self.add_to_text(s.to_vec(), &b, span);
        }
        if let (Some(x), Some(y)) = (literal_value(&a), literal_value(&b)) {
            return match fold(hir_op, x, y) {
                Some(v) => value::literal(v, loc),
                None => self.fail(Code::Overflow, span, OVERFLOW),
            };
        }
        if matches!((&a.ty, &b.ty), (Type::Ptr(..), _) | (_, Type::Ptr(..))) {
            return self.pointer_arithmetic(op, a, b, span);
        }
        let (Some(at), Some(bt)) = (int_like(&a.ty, &self.store), int_like(&b.ty, &self.store))
        else {
            return self.bad_operands(op, &a, &b, span);
        };
        if literal_value(&b) == Some(0) && matches!(hir_op, BinOp::Div | BinOp::Mod) {
            return self.fail(Code::Overflow, span, OVERFLOW);
        }
        if matches!(hir_op, BinOp::Shl | BinOp::Shr)
            && let Some(n) = literal_value(&b)
            && !(0..64).contains(&n)
        {
            return self.fail(Code::Overflow, span, OVERFLOW);
        }
        let shift = matches!(hir_op, BinOp::Shl | BinOp::Shr);
        let joined = if shift {
            // The right side only counts.
            at
        } else {
            value::join_operands(&a, at, &b, bt)
        };
        // Nothing is said of two that are of one type already.
        let converted = a.ty != b.ty;
        if joined.signed && converted && matches!(hir_op, BinOp::Div | BinOp::Mod) {
            let text = format!(
                "signed operands for '{}' can lead to undefined behavior (cast to unsigned to silence warning)",
                op.as_str()
            );
            self.warn(Code::SignedDivision, span, text);
        }
        let wide = Type::int(joined.signed, 8);
        let a = self.implicit(a, &wide, a_span);
        let b = if shift {
            value::cast(b, &Type::U64)
        } else {
            self.implicit(b, &wide, b_span)
        };
        let ty = if hir_op == BinOp::Sub {
            Type::I64
        } else {
            wide
        };
        Expr {
            kind: ExprKind::Binary(hir_op, Box::new(a), Box::new(b)),
            ty,
            loc,
        }
    }

    fn bad_operands(&mut self, op: ast::BinOp, a: &Expr, b: &Expr, span: Span) -> Expr {
        let text = format!(
            "The {} operator can not be used on expressions of types {}, {}",
            op.as_str(),
            self.spell(&a.ty),
            self.spell(&b.ty)
        );
        self.fail(Code::BadOperand, span, text)
    }

    /// `"abc" + "d"` joins, `"abc" + 1` skips.
    fn add_to_text(&mut self, mut s: Vec<u8>, b: &Expr, span: Span) -> Expr {
        let loc = self.loc(span);
        if let Some(t) = literal_text(b) {
            s.extend_from_slice(t);
            return value::string(s, loc);
        }
        let Some(n) = literal_value(b) else {
            let a = value::string(s, loc);
            return self.bad_operands(ast::BinOp::Add, &a, b, span);
        };
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        if n >= s.len() && !s.is_empty() {
            self.warn(
                Code::ArgumentTruncated,
                span,
                "literal string will always be empty",
            );
        }
        s.drain(..n.min(s.len()));
        value::string(s, loc)
    }

    fn pointer_arithmetic(&mut self, op: ast::BinOp, a: Expr, b: Expr, span: Span) -> Expr {
        let loc = a.loc;
        let (p, n) = match (&a.ty, &b.ty) {
            (Type::Ptr(..), t) if int_like(t, &self.store).is_some() => (a, b),
            (t, Type::Ptr(..)) if op == ast::BinOp::Add && int_like(t, &self.store).is_some() => {
                (b, a)
            }
            _ => return self.bad_operands(op, &a, &b, span),
        };
        let hir_op = match op {
            ast::BinOp::Add => BinOp::Add,
            ast::BinOp::Sub => BinOp::Sub,
            _ => return self.bad_operands(op, &p, &n, span),
        };
        let stride = self.pointee_size(&p.ty);
        let n = match literal_value(&n) {
            Some(v) => value::constant(v * i128::from(stride), Type::U64, loc),
            None => {
                let n = value::cast(value::cast(n, &Type::I64), &Type::U64);
                scaled(n, stride)
            }
        };
        let ty = p.ty.clone();
        let address = value::cast(p, &Type::U64);
        let sum = Expr {
            kind: ExprKind::Binary(hir_op, Box::new(address), Box::new(n)),
            ty: Type::U64,
            loc,
        };
        value::cast(sum, &ty)
    }

    /// Bytes that one step of a pointer moves.
    pub(super) fn pointee_size(&self, ty: &Type) -> u32 {
        match ty {
            Type::Ptr(t, _) => self.size(t).max(1),
            _ => 1,
        }
    }

    fn compare(
        &mut self,
        op: ast::BinOp,
        cmp: CmpOp,
        (a, a_span): (Expr, Span),
        (b, b_span): (Expr, Span),
        span: Span,
    ) -> Expr {
        let loc = self.loc(span);
        let equality = matches!(cmp, CmpOp::Eq | CmpOp::Ne);
        if let (Some(x), Some(y)) = (literal_value(&a), literal_value(&b)) {
            return value::boolean(compare(cmp, &x, &y), loc);
        }
        if let (Some(x), Some(y), true) = (literal_text(&a), literal_text(&b), equality) {
            return value::boolean(compare(cmp, x, y), loc);
        }
        let scalars = |signed, a, b| Expr {
            kind: ExprKind::Compare {
                op: cmp,
                signed,
                lhs: Box::new(a),
                rhs: Box::new(b),
            },
            ty: Type::Bool,
            loc,
        };
        if let (Some(at), Some(bt)) = (int_like(&a.ty, &self.store), int_like(&b.ty, &self.store)) {
            let joined = value::join_operands(&a, at, &b, bt);
            let wide = Type::int(joined.signed, 8);
            let a = self.implicit(a, &wide, a_span);
            let b = self.implicit(b, &wide, b_span);
            return scalars(joined.signed, a, b);
        }
        match (&a.ty, &b.ty) {
            (Type::Ptr(x, a_space), Type::Ptr(y, b_space)) => {
                let kernel_and_user = |a, b| a == AddrSpace::Kernel && b == AddrSpace::User;
                if kernel_and_user(*a_space, *b_space) || kernel_and_user(*b_space, *a_space) {
                    self.warn(Code::AddrSpace, span, "Addrspace mismatch");
                }
                if x != y && !matches!((&**x, &**y), (Type::Void, _) | (_, Type::Void)) {
                    let text = format!(
                        "comparison of distinct pointer types: {}, {}",
                        self.spell(&a.ty),
                        self.spell(&b.ty)
                    );
                    self.warn(Code::PointerComparison, span, text);
                }
                let a = value::cast(a, &Type::U64);
                let b = value::cast(b, &Type::U64);
                scalars(false, a, b)
            }
            (Type::Ptr(..) | Type::KSym, t) | (t, Type::Ptr(..) | Type::KSym)
                if int_like(t, &self.store).is_some() =>
            {
                let a = value::cast(a, &Type::U64);
                let b = value::cast(b, &Type::U64);
                scalars(false, a, b)
            }
            (Type::KSym, Type::KSym)
            | (Type::Username, Type::Username)
            | (Type::ProbeName, Type::ProbeName)
                if equality =>
            {
                scalars(false, a, b)
            }
            (Type::Str(_), Type::Str(_)) | (Type::Mac, Type::Mac) | (Type::Inet, Type::Inet)
                if equality =>
            {
                self.equal_memory(cmp, a, b, loc)
            }
            (Type::Array(x, n), Type::Array(y, m))
                if equality && n == m && self.size(x) == self.size(y) =>
            {
                self.equal_memory(cmp, a, b, loc)
            }
            (Type::Tuple(_), Type::Tuple(_))
            | (Type::Record(_), Type::Record(_))
            | (Type::Buf(_), Type::Buf(_))
                if equality =>
            {
                let Some(ty) = value::unify(&a.ty, &b, &self.store) else {
                    return self.mismatch(op, &a, a_span, &b, b_span, span);
                };
                let (a, b) = (value::cast(a, &ty), value::cast(b, &ty));
                self.equal_memory(cmp, a, b, loc)
            }
            (x, y) if value::class(x) == value::class(y) => self.bad_operands(op, &a, &b, span),
            _ => self.mismatch(op, &a, a_span, &b, b_span, span),
        }
    }

    fn equal_memory(&self, cmp: CmpOp, a: Expr, b: Expr, loc: crate::object::Loc) -> Expr {
        Expr {
            kind: ExprKind::EqualMemory {
                equal: cmp == CmpOp::Eq,
                lhs: Box::new(a),
                rhs: Box::new(b),
            },
            ty: Type::Bool,
            loc,
        }
    }

    fn mismatch(
        &mut self,
        op: ast::BinOp,
        a: &Expr,
        a_span: Span,
        b: &Expr,
        b_span: Span,
        span: Span,
    ) -> Expr {
        let text = format!(
            "Type mismatch for '{}': comparing {} with {}",
            op.as_str(),
            self.spell(&a.ty),
            self.spell(&b.ty)
        );
        let d = Diagnostic::error(Code::TypeMismatch, span, text)
            .note(a_span, format!("left ({})", self.spell(&a.ty)))
            .note(b_span, format!("right ({})", self.spell(&b.ty)));
        self.report(d);
        value::unknown(self.loc(span))
    }

    /// Where each attach point has its own program, `probe` is a literal.
    fn named_probe(&self, e: Expr) -> Expr {
        match (&e.kind, &self.unit.probe) {
            (ExprKind::Probe, Some(p)) => match &p.only_name {
                Some(name) => value::string(name.as_bytes(), e.loc),
                None => e,
            },
            _ => e,
        }
    }
}

/// `n * by`
fn scaled(n: Expr, by: u32) -> Expr {
    if by == 1 {
        return n;
    }
    let loc = n.loc;
    let by = value::constant(i128::from(by), Type::U64, loc);
    Expr {
        kind: ExprKind::Binary(BinOp::Mul, Box::new(n), Box::new(by)),
        ty: Type::U64,
        loc,
    }
}

/// The 64-bit type of the same signedness.
pub(super) fn widened(t: IntTy) -> Type {
    Type::int(t.signed, 8)
}
