//! Blocks and statements.

use super::{BinOp, ExpnId, Expr, Import, MapName, NodeId, TypeExpr, Var};
use crate::source::Span;

/// `{ … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The statements.
    pub stmts: Vec<Stmt>,
    /// A last expression without `;`: the value of the block. A last `if` or `{ }` counts too,
    /// even where its value is none.
    pub value: Option<Box<Expr>>,
    /// The block with its braces.
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// Which.
    pub kind: StmtKind,
    /// The statement without its `;`.
    pub span: Span,
    /// Where it ends with its `;`.
    pub end: u32,
    /// Its number.
    pub id: NodeId,
    /// The macro expansion it came from.
    pub expn: ExpnId,
}

impl Stmt {
    /// Its place with the `;`.
    pub fn whole(&self) -> Span {
        Span {
            hi: self.end,
            ..self.span
        }
    }
}

/// The statements.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `let $x : T = e`
    Let {
        /// The variable.
        var: Var,
        /// Its declared type.
        ty: Option<TypeExpr>,
        /// Its first value.
        init: Option<Expr>,
    },
    /// `import "x"` in a block.
    Import(Import),
    /// `while c { }`
    While {
        /// The condition.
        cond: Expr,
        /// The body.
        body: Block,
    },
    /// `unroll n { }`
    Unroll {
        /// The number of copies.
        count: Expr,
        /// The body.
        body: Block,
    },
    /// `for $x : iter { }`
    For {
        /// The loop variable.
        var: Var,
        /// What is iterated.
        iter: ForIter,
        /// The body.
        body: Block,
    },
    /// `break`
    Break,
    /// `continue`
    Continue,
    /// `return e`
    Return(Option<Expr>),
    /// `_ = e`
    Discard(Expr),
    /// `target op= value`
    Assign {
        /// An [`ExprKind::Var`], [`ExprKind::Map`] or [`ExprKind::MapElem`].
        target: Expr,
        /// The operator of a compound assignment.
        op: Option<BinOp>,
        /// Place of the operator with its `=`.
        op_span: Span,
        /// The right side.
        value: Expr,
    },
    /// An expression for its effect.
    Expr(Expr),
}

/// What a `for` iterates.
#[derive(Clone, Debug, PartialEq)]
pub enum ForIter {
    /// The elements of a map.
    Map(MapName),
    /// `start..end`, the end exclusive.
    Range {
        /// First value.
        start: Expr,
        /// One past the last value.
        end: Expr,
    },
}
