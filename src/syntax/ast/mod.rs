//! The syntax tree of a script.
//!
//! The tree says what was written, no more: names are not resolved, `pid` and a C constant are
//! both [`ExprKind::Ident`], and attach points are parts of text. Every node has a span, every
//! statement and expression also a [`NodeId`] that is unique in its program, so that later
//! phases keep what they learn in side tables. Grouping parentheses are a count on the
//! expression, not a node.

mod attach;
mod expr;
mod stmt;
mod types;

pub use attach::{ApPart, ApSegment, ApSep, AttachPoint};
pub use expr::{Arg, BinOp, Expr, ExprKind, MapName, UnaryOp, Var};
pub use stmt::{Block, ForIter, Stmt, StmtKind};
pub use types::{Tag, TypeExpr, TypeExprKind, TypeOrExpr};

use std::borrow::Cow;

use crate::source::Span;

/// Number of a statement or expression, unique within one [`Program`], dense from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// A macro expansion in [`Program::expansions`]; [`ExpnId::ROOT`] is text as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpnId(pub u32);

impl ExpnId {
    /// Not from a macro.
    pub const ROOT: ExpnId = ExpnId(0);
}

/// One macro expansion.
#[derive(Clone, Debug, PartialEq)]
pub struct Expansion {
    /// Name of the macro.
    pub name: String,
    /// The call that was replaced.
    pub call: Span,
    /// The expansion the call itself came from.
    pub parent: ExpnId,
}

/// A whole script.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The `#!` line without its newline.
    pub shebang: Option<Span>,
    /// C definitions in order, raw.
    pub c_defs: Vec<CDef>,
    /// The `config` block.
    pub config: Option<Config>,
    /// Root imports in order; empty once imports are merged.
    pub imports: Vec<Import>,
    /// Probes, macros, functions and map declarations in order.
    pub items: Vec<Item>,
    /// All comments outside of C definitions, by position.
    pub comments: Vec<Comment>,
    /// Macro expansions; [`ExpnId`] `n` is entry `n - 1`.
    pub expansions: Vec<Expansion>,
    /// The next unused [`NodeId`].
    pub next_id: u32,
}

impl Program {
    /// A fresh node number.
    pub fn new_id(&mut self) -> NodeId {
        self.next_id += 1;
        NodeId(self.next_id - 1)
    }

    /// The macro calls that led to `expn`, innermost first: what
    /// [`crate::diag::Diagnostic::expanded_from`] wants.
    pub fn expansion_chain(&self, expn: ExpnId) -> Vec<Span> {
        let mut chain = Vec::new();
        let mut at = expn;
        // Parents precede their children in the table, so this ends.
        while let Some(e) = (at.0 as usize)
            .checked_sub(1)
            .and_then(|i| self.expansions.get(i))
        {
            chain.push(e.call);
            at = e.parent;
        }
        chain
    }

    /// The probes in order.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.items.iter().filter_map(|i| match i {
            Item::Probe(p) => Some(p),
            _ => None,
        })
    }
}

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Its place.
    pub span: Span,
}

/// A string literal with its escapes resolved; escapes can make any byte.
#[derive(Clone, Debug, PartialEq)]
pub struct StrLit {
    /// The bytes, without a terminator.
    pub value: Vec<u8>,
    /// The literal with its quotes.
    pub span: Span,
}

impl StrLit {
    /// The text, invalid UTF-8 replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

/// A comment with its markers.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// `// …` without the newline, or `/* … */`.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// A C definition, left to the C front end.
#[derive(Clone, Debug, PartialEq)]
pub struct CDef {
    /// A preprocessor line (continuation lines included) or a struct, union or enum definition
    /// with its `;`.
    pub text: String,
    /// Its place.
    pub span: Span,
    /// Whether it is a line that starts with `#`.
    pub directive: bool,
}

/// The `config = { … }` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The assignments in order.
    pub entries: Vec<ConfigEntry>,
    /// The block.
    pub span: Span,
}

/// `name = value` in the `config` block.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigEntry {
    /// The option as written.
    pub name: Ident,
    /// The value.
    pub value: ConfigValue,
    /// Place of the value.
    pub value_span: Span,
    /// The assignment.
    pub span: Span,
}

/// A value in the `config` block.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigValue {
    /// A number.
    Int(u64),
    /// `true` or `false`.
    Bool(bool),
    /// A string literal.
    Str(Vec<u8>),
    /// A bare word.
    Word(String),
}

/// `import "path";` at the root or in a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The path as written.
    pub path: StrLit,
    /// The statement.
    pub span: Span,
}

/// A root item.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A probe.
    Probe(Probe),
    /// A macro.
    Macro(Macro),
    /// A function.
    Subprog(Subprog),
    /// A map declaration.
    MapDecl(MapDecl),
}

impl Item {
    /// The whole item.
    pub fn span(&self) -> Span {
        match self {
            Item::Probe(i) => i.span,
            Item::Macro(i) => i.span,
            Item::Subprog(i) => i.span,
            Item::MapDecl(i) => i.span,
        }
    }
}

/// A probe: attach points, an optional predicate and a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The attach points, at least one.
    pub attach_points: Vec<AttachPoint>,
    /// The expression between the slashes.
    pub predicate: Option<Expr>,
    /// The body.
    pub body: Block,
    /// The whole probe.
    pub span: Span,
}

/// `macro name(params) { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Macro {
    /// The name.
    pub name: Ident,
    /// The parameters.
    pub params: Vec<MacroParam>,
    /// The body.
    pub body: Block,
    /// The whole definition.
    pub span: Span,
}

impl Macro {
    /// `macro name`, its place in messages.
    pub fn head(&self) -> Span {
        self.span.to_end_of(self.name.span)
    }
}

/// A parameter of a macro.
#[derive(Clone, Debug, PartialEq)]
pub enum MacroParam {
    /// `x`: any expression, or a type passed as `typeof(T)`.
    Expr(Ident),
    /// `$x`: a scratch variable, by reference; the name has no `$`.
    Var(Ident),
    /// `@x`: a map; the name has no `@`.
    Map(Ident),
}

impl MacroParam {
    /// The name, without `$` or `@`.
    pub fn ident(&self) -> &Ident {
        match self {
            MacroParam::Expr(i) | MacroParam::Var(i) | MacroParam::Map(i) => i,
        }
    }
}

/// `fn name($a : T) : R { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Subprog {
    /// The name.
    pub name: Ident,
    /// The parameters.
    pub params: Vec<SubprogParam>,
    /// The return type.
    pub ret: TypeExpr,
    /// The body.
    pub body: Block,
    /// The whole definition.
    pub span: Span,
}

/// A parameter of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct SubprogParam {
    /// The variable.
    pub var: Var,
    /// Its type.
    pub ty: TypeExpr,
}

/// `let @m = kind(n);` at the root.
#[derive(Clone, Debug, PartialEq)]
pub struct MapDecl {
    /// The map.
    pub map: MapName,
    /// The kind as written.
    pub kind: Ident,
    /// The greatest number of entries, if given, and its place.
    pub max_entries: Option<(u64, Span)>,
    /// The declaration.
    pub span: Span,
}
