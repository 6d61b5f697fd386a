//! Types as written.

use super::{Builder, P, Rule, kids};
use crate::source::Span;
use crate::syntax::ast::{Tag, TypeExpr, TypeExprKind, TypeOrExpr};

impl Builder<'_> {
    /// A `type_expr` or `named_type` pair.
    pub(super) fn type_expr(&mut self, p: P<'_>) -> Option<TypeExpr> {
        let parts: Vec<_> = kids(p).collect();
        let at = self.span(parts.first()?);
        self.deeper(parts.len(), at, |b| {
            let mut parts = parts.into_iter();
            let mut ty = b.type_base(parts.next()?)?;
            for suffix in parts {
                // `span()` may end in blanks only where an optional part is last; not here.
                let span = ty.span.to(b.span(&suffix));
                let kind = match suffix.as_rule() {
                    Rule::pointer => TypeExprKind::Pointer(Box::new(ty)),
                    _ => TypeExprKind::Array {
                        elem: Box::new(ty),
                        len: match kids(suffix).next() {
                            Some(n) => Some(b.int(&n)?),
                            None => None,
                        },
                    },
                };
                ty = TypeExpr { kind, span };
            }
            Some(ty)
        })
    }

    fn type_base(&mut self, p: P<'_>) -> Option<TypeExpr> {
        let span = self.span(&p);
        let kind = match p.as_rule() {
            Rule::tagged => {
                let mut k = kids(p);
                let tag = match k.next()?.as_str() {
                    "struct" => Tag::Struct,
                    "union" => Tag::Union,
                    _ => Tag::Enum,
                };
                let name = k.next()?;
                if name.as_rule() != Rule::word {
                    self.missing(&name);
                    return None;
                }
                TypeExprKind::Tagged {
                    tag,
                    name: self.ident(&name),
                }
            }
            Rule::typeof_type => {
                let operand = self.operand(p)?;
                TypeExprKind::Typeof(Box::new(operand))
            }
            _ => TypeExprKind::Named(p.as_str().to_owned()),
        };
        Some(TypeExpr { kind, span })
    }

    /// The operand of `sizeof` and its kin, given the whole pair.
    pub(super) fn operand(&mut self, p: P<'_>) -> Option<TypeOrExpr> {
        let (mut operand, mut ok) = (None, true);
        let at: Span = self.span(&p);
        for k in kids(p) {
            match k.as_rule() {
                Rule::type_or_expr => operand = self.deeper(1, at, |b| b.type_or_expr(k)),
                Rule::kw_sizeof | Rule::kw_typeof | Rule::kw_typeinfo => {}
                _ => {
                    self.missing(&k);
                    ok = false;
                }
            }
        }
        operand.filter(|_| ok)
    }

    pub(super) fn type_or_expr(&mut self, p: P<'_>) -> Option<TypeOrExpr> {
        let k = kids(p).next()?;
        match k.as_rule() {
            Rule::type_expr | Rule::named_type => Some(TypeOrExpr::Type(self.type_expr(k)?)),
            Rule::expr => Some(TypeOrExpr::Expr(Box::new(self.expr(k)?))),
            _ => {
                self.missing(&k);
                None
            }
        }
    }
}
