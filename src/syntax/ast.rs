//! The syntax tree of a script.
//!
//! The tree says what was written, no more: names are not resolved, `pid` and a C constant are
//! both [`ExprKind::Ident`], and attach points are parts of text. Every node has a span, every
//! statement and expression also a [`NodeId`] that is unique in its program, so that later
//! phases keep what they learn in side tables. Grouping parentheses are a count on the
//! expression, not a node.

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

/// One attach point: raw text, and the same split at `:` and `@`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachPoint {
    /// `name=` in front of the provider.
    pub label: Option<Ident>,
    /// The text as written, without the label.
    pub raw: String,
    /// The parts, at least one; the first is the provider.
    pub parts: Vec<ApPart>,
    /// The attach point with its label.
    pub span: Span,
}

/// One part of an attach point.
#[derive(Clone, Debug, PartialEq)]
pub struct ApPart {
    /// What stands before the part.
    pub sep: ApSep,
    /// The pieces of the part; empty for an empty part, as at the end of `hardware:cycles:`.
    pub segments: Vec<ApSegment>,
    /// The part without its separator.
    pub span: Span,
}

/// What separates a part from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApSep {
    /// The part is the provider.
    Start,
    /// `:`
    Colon,
    /// `@`
    At,
}

/// A piece of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum ApSegment {
    /// Text as written.
    Text(String),
    /// Text from double quotes with escapes resolved; never split further.
    Quoted(String),
    /// `$n`: the positional parameter `n`, from 1.
    Positional(u32),
}

impl ApPart {
    /// The text of the part, with `param(n)` for `$n`. The first missing parameter is the error.
    pub fn resolve<'a>(
        &self,
        mut param: impl FnMut(u32) -> Option<&'a str>,
    ) -> Result<String, u32> {
        let mut out = String::new();
        for s in &self.segments {
            match s {
                ApSegment::Text(t) | ApSegment::Quoted(t) => out.push_str(t),
                ApSegment::Positional(n) => out.push_str(param(*n).ok_or(*n)?),
            }
        }
        Ok(out)
    }

    /// The text of a part that has no positional parameter.
    pub fn text(&self) -> Option<String> {
        self.resolve(|_| None).ok()
    }

    /// Whether any of the part stood in quotes.
    pub fn is_quoted(&self) -> bool {
        self.segments
            .iter()
            .any(|s| matches!(s, ApSegment::Quoted(_)))
    }
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
    /// Its number.
    pub id: NodeId,
    /// The macro expansion it came from.
    pub expn: ExpnId,
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
    /// Its place, grouping parentheses included.
    pub span: Span,
    /// Its number.
    pub id: NodeId,
    /// The macro expansion it came from; the arguments of a macro keep their own.
    pub expn: ExpnId,
    /// Number of grouping parentheses around it; they mean nothing after parsing.
    pub parens: u16,
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
        /// Place of the number.
        index_span: Span,
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
