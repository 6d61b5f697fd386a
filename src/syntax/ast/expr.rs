//! Expressions, variables, maps and operators.

use super::{Block, ExpnId, Ident, NodeId, TypeExpr, TypeOrExpr};
use crate::source::Span;

/// A scratch variable at one place. Two occurrences are the same variable only if both name
/// and expansion agree: see [`Var::key`].
#[derive(Clone, Debug, PartialEq)]
pub struct Var {
    /// The name without `$`.
    pub name: String,
    /// The macro expansion whose own variable it is; [`ExpnId::ROOT`] in text as written.
    pub expn: ExpnId,
    /// Its place.
    pub span: Span,
}

impl Var {
    /// What identifies the variable within its probe or function, scopes aside.
    pub fn key(&self) -> (&str, ExpnId) {
        (&self.name, self.expn)
    }
}

/// A map at one place; maps are global.
#[derive(Clone, Debug, PartialEq)]
pub struct MapName {
    /// The name without `@`; empty for `@` itself.
    pub name: String,
    /// Its place.
    pub span: Span,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// Which.
    pub kind: ExprKind,
    /// Its place as messages show it: no grouping parentheses, and of a cast only the type.
    pub span: Span,
    /// Where its text ends, closing parentheses and the operand of a cast included.
    pub end: u32,
    /// Its number.
    pub id: NodeId,
    /// The macro expansion it came from; the arguments of a macro keep their own.
    pub expn: ExpnId,
    /// Number of grouping parentheses around it; they mean nothing after parsing.
    pub parens: u16,
}

impl Expr {
    /// Its place up to where its text ends.
    pub fn whole(&self) -> Span {
        Span {
            hi: self.end,
            ..self.span
        }
    }
}

/// The expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// An integer literal, durations in nanoseconds. Negative literals are [`UnaryOp::Neg`].
    Int(u64),
    /// `true`, `false`
    Bool(bool),
    /// A string literal with its escapes resolved.
    Str(Vec<u8>),
    /// `$n`, from 1.
    Positional(u32),
    /// `$#`
    PositionalCount,
    /// `$x`
    Var(Var),
    /// `@m`
    Map(MapName),
    /// `@m[k, …]`; at least one key.
    MapElem {
        /// The map.
        map: MapName,
        /// The keys as written.
        keys: Vec<Expr>,
    },
    /// A bare name: builtin, C constant or enumerator.
    Ident(String),
    /// `f(a, …)`
    Call {
        /// The function.
        func: Ident,
        /// The arguments.
        args: Vec<Arg>,
    },
    /// `-e` and the like.
    Unary {
        /// The operator.
        op: UnaryOp,
        /// Its place.
        op_span: Span,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `a + b` and the like.
    Binary {
        /// The operator.
        op: BinOp,
        /// Its place.
        op_span: Span,
        /// Left operand.
        lhs: Box<Expr>,
        /// Right operand.
        rhs: Box<Expr>,
    },
    /// `++x`, `x--` and the like.
    IncDec {
        /// `++` rather than `--`.
        inc: bool,
        /// Operator first: the value is the new one.
        prefix: bool,
        /// A variable, map or map element.
        target: Box<Expr>,
    },
    /// `&$x`, `&@m`
    AddrOf(Box<Expr>),
    /// `c ? a : b`
    Ternary {
        /// The condition.
        cond: Box<Expr>,
        /// The value if it holds.
        then: Box<Expr>,
        /// The value otherwise.
        els: Box<Expr>,
    },
    /// `c ?: b`
    Elvis {
        /// The condition and value.
        cond: Box<Expr>,
        /// The value otherwise.
        els: Box<Expr>,
    },
    /// `(T)e`
    Cast {
        /// The type.
        ty: TypeExpr,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `(a, b)`; empty for `()`.
    Tuple(Vec<Expr>),
    /// `(x = a, y = b)`
    Record(Vec<(Ident, Expr)>),
    /// `e.f`, `e->f`
    Field {
        /// The structure, union, record or pointer.
        base: Box<Expr>,
        /// The field.
        name: Ident,
        /// Written `->`; means the same as `.`.
        arrow: bool,
    },
    /// `e.0`
    TupleField {
        /// The tuple.
        base: Box<Expr>,
        /// The element, from 0.
        index: u64,
    },
    /// `e[i, …]`; at least one index.
    Index {
        /// The array, pointer, string or tuple.
        base: Box<Expr>,
        /// The indices as written.
        indices: Vec<Expr>,
    },
    /// `sizeof(T)`
    Sizeof(TypeOrExpr),
    /// `offsetof(T, a.b)`
    Offsetof {
        /// The structure.
        of: TypeOrExpr,
        /// The path of fields, at least one.
        path: Vec<Ident>,
    },
    /// `typeinfo(T)`
    Typeinfo(TypeOrExpr),
    /// `comptime e`
    Comptime(Box<Expr>),
    /// `if c { } else { }`
    If {
        /// The condition; [`ExprKind::Comptime`] for `if comptime`.
        cond: Box<Expr>,
        /// The block if it holds.
        then: Block,
        /// Otherwise: an [`ExprKind::If`] or an [`ExprKind::Block`].
        els: Option<Box<Expr>>,
    },
    /// `{ … }`; also what a macro call expands to.
    Block(Block),
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A value.
    Expr(Expr),
    /// `typeof(T)`, a type for a macro; the type is the whole `typeof(T)`.
    Type(TypeExpr),
}

impl Arg {
    /// Its place.
    pub fn span(&self) -> Span {
        match self {
            Arg::Expr(e) => e.span,
            Arg::Type(t) => t.span,
        }
    }
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `!`
    Not,
    /// `~`
    BitNot,
    /// `*`
    Deref,
}

impl UnaryOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-",
            UnaryOp::Not => "!",
            UnaryOp::BitNot => "~",
            UnaryOp::Deref => "*",
        }
    }
}

/// Infix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinOp {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `&`
    BitAnd,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
}

impl BinOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            BinOp::Or => "||",
            BinOp::And => "&&",
            BinOp::BitOr => "|",
            BinOp::BitXor => "^",
            BinOp::BitAnd => "&",
            BinOp::Eq => "==",
            BinOp::Ne => "!=",
            BinOp::Lt => "<",
            BinOp::Le => "<=",
            BinOp::Gt => ">",
            BinOp::Ge => ">=",
            BinOp::Shl => "<<",
            BinOp::Shr => ">>",
            BinOp::Add => "+",
            BinOp::Sub => "-",
            BinOp::Mul => "*",
            BinOp::Div => "/",
            BinOp::Rem => "%",
        }
    }

    /// How tightly it binds, from 1 (`||`) to 10 (`*`); all are left associative.
    pub fn precedence(self) -> u8 {
        match self {
            BinOp::Or => 1,
            BinOp::And => 2,
            BinOp::BitOr => 3,
            BinOp::BitXor => 4,
            BinOp::BitAnd => 5,
            BinOp::Eq | BinOp::Ne => 6,
            BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge => 7,
            BinOp::Shl | BinOp::Shr => 8,
            BinOp::Add | BinOp::Sub => 9,
            BinOp::Mul | BinOp::Div | BinOp::Rem => 10,
        }
    }

    /// Whether the result is a truth value: comparisons, `&&` and `||`.
    pub fn is_boolean(self) -> bool {
        self.precedence() <= 2 || matches!(self.precedence(), 6 | 7)
    }
}
