//! A generated program as a tree: it can be printed, and made smaller piece by piece.

use std::fmt;
use std::time::{Duration, Instant};

/// What may be done to a node when a program is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A probe, a function, a definition, a statement: may go, or be replaced by the statements
    /// inside it.
    Stmt,
    /// May be replaced by an expression inside it, or by a literal.
    Expr,
}

/// Text and nodes in turn.
#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Node(Node),
}

/// A statement or an expression.
#[derive(Clone, Debug)]
pub struct Node {
    kind: Kind,
    parts: Vec<Part>,
}

/// What [`Node::edited`] does to one node.
#[derive(Clone, Copy, Debug)]
pub enum Edit {
    /// Removes a statement.
    Remove,
    /// Puts the n-th node of the same kind inside in its place.
    Inner(usize),
    /// Puts all statements inside in its place.
    Unwrap,
    /// Puts a literal in an expression's place.
    Literal(&'static str),
}

/// Edits to try on every node, the biggest gains first.
pub const EDITS: &[Edit] = &[
    Edit::Remove,
    Edit::Unwrap,
    Edit::Inner(0),
    Edit::Inner(1),
    Edit::Inner(2),
    Edit::Literal("0"),
    Edit::Literal("1"),
    Edit::Literal("\"a\""),
    Edit::Literal("(1 == 1)"),
];

impl Node {
    /// A node from a template in which each `#` stands for the next of `inner`.
    pub fn new(kind: Kind, template: &str, inner: impl IntoIterator<Item = Node>) -> Node {
        let mut inner = inner.into_iter();
        let mut parts = Vec::new();
        for (i, text) in template.split('#').enumerate() {
            if i > 0 {
                parts.push(Part::Node(inner.next().expect("a node for each #")));
            }
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
        }
        assert!(inner.next().is_none(), "too many nodes for '{template}'");
        Node { kind, parts }
    }

    /// A node of all of `inner` in turn, between `open` and `close`.
    pub fn list(
        kind: Kind,
        open: &str,
        inner: impl IntoIterator<Item = Node>,
        separator: &str,
        close: &str,
    ) -> Node {
        let mut parts = vec![Part::Text(open.to_owned())];
        for (i, node) in inner.into_iter().enumerate() {
            if i > 0 {
                parts.push(Part::Text(separator.to_owned()));
            }
            parts.push(Part::Node(node));
        }
        parts.push(Part::Text(close.to_owned()));
        Node { kind, parts }
    }

    /// Number of nodes, this one included.
    pub fn len(&self) -> usize {
        1 + self.children().map(Node::len).sum::<usize>()
    }

    fn children(&self) -> impl Iterator<Item = &Node> {
        self.parts.iter().filter_map(|p| match p {
            Part::Node(n) => Some(n),
            Part::Text(_) => None,
        })
    }

    /// All nodes of a kind right inside: those with none of that kind in between.
    fn inside(&self, kind: Kind) -> Vec<&Node> {
        let mut out = Vec::new();
        for child in self.children() {
            if child.kind == kind {
                out.push(child);
            } else {
                out.extend(child.inside(kind));
            }
        }
        out
    }

    /// The tree after `edit` of its node number `at` in depth-first order; `None` where the edit
    /// does not apply. The root stays.
    pub fn edited(&self, at: usize, edit: Edit) -> Option<Node> {
        let mut root = self.clone();
        let mut left = at;
        root.edit(&mut left, edit).then_some(root)
    }

    fn edit(&mut self, left: &mut usize, edit: Edit) -> bool {
        for i in 0..self.parts.len() {
            let Part::Node(node) = &mut self.parts[i] else {
                continue;
            };
            *left -= 1;
            if *left == 0 {
                let Some(new) = node.replacement(edit) else {
                    return false;
                };
                self.parts.splice(i..=i, new);
                return true;
            }
            let size = node.len() - 1;
            if *left <= size {
                return node.edit(left, edit);
            }
            *left -= size;
        }
        false
    }

    fn replacement(&self, edit: Edit) -> Option<Vec<Part>> {
        match (edit, self.kind) {
            (Edit::Remove, Kind::Stmt) => Some(Vec::new()),
            (Edit::Unwrap, Kind::Stmt) => {
                let all = self.inside(Kind::Stmt);
                (!all.is_empty()).then(|| all.into_iter().cloned().map(Part::Node).collect())
            }
            (Edit::Inner(n), kind) => {
                let node = (*self.inside(kind).get(n)?).clone();
                Some(vec![Part::Node(node)])
            }
            (Edit::Literal(text), Kind::Expr) if self.to_string() != text => {
                Some(vec![Part::Node(Node {
                    kind: Kind::Expr,
                    parts: vec![Part::Text(text.to_owned())],
                })])
            }
            _ => None,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(t) => f.write_str(t)?,
                Part::Node(n) => n.fmt(f)?,
            }
        }
        Ok(())
    }
}

/// How long a program is made smaller.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes `program` smaller as long as `fails` holds, and patience.
pub fn shrink(mut program: Node, mut fails: impl FnMut(&Node) -> bool) -> Node {
    let end = Instant::now() + PATIENCE;
    loop {
        let before = program.to_string().len();
        for edit in EDITS {
            // From the back: what comes later uses what came before.
            let mut at = program.len();
            while at > 1 {
                at -= 1;
                if at < program.len()
                    && let Some(smaller) = program.edited(at, *edit)
                    && smaller.to_string().len() < program.to_string().len()
                    && Instant::now() < end
                    && fails(&smaller)
                {
                    program = smaller;
                }
            }
        }
        if program.to_string().len() >= before || Instant::now() > end {
            return program;
        }
    }
}
