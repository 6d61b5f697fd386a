//! Types as written.

use super::{Expr, Ident};
use crate::source::Span;

/// Operand of `sizeof` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeOrExpr {
    /// A type.
    Type(TypeExpr),
    /// An expression, of which only the type counts.
    Expr(Box<Expr>),
}

/// A type as written.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeExpr {
    /// Which.
    pub kind: TypeExprKind,
    /// Its place.
    pub span: Span,
}

/// The forms of types.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeExprKind {
    /// `uint64`, `string`, a typedef
    Named(String),
    /// `struct x`, `union x`, `enum x`
    Tagged {
        /// Which keyword.
        tag: Tag,
        /// The name after it.
        name: Ident,
    },
    /// `typeof(…)`
    Typeof(Box<TypeOrExpr>),
    /// `T*`
    Pointer(Box<TypeExpr>),
    /// `T[n]`, also the size of `string[n]`; `T[]` has no number.
    Array {
        /// The element.
        elem: Box<TypeExpr>,
        /// Number of elements.
        len: Option<u64>,
    },
}

/// Keyword of a C type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// `struct`
    Struct,
    /// `union`
    Union,
    /// `enum`
    Enum,
}

impl Tag {
    /// The keyword.
    pub fn as_str(self) -> &'static str {
        match self {
            Tag::Struct => "struct",
            Tag::Union => "union",
            Tag::Enum => "enum",
        }
    }
}
