//! The table of builtins: everything a script can name or call.
//!
//! A row is all there is to know of one builtin: its name, signature, documentation, the
//! kernel it needs and how it is lowered. Type checking, lowering, `--help-builtin`,
//! completion and the reference manual read the same rows.
//!
//! Arguments reach lowering normalised: the comment of each row says what
//! [`crate::sema::hir::Call::args`] holds. Rows marked "compile time" never reach lowering:
//! type checking replaces them by constants or by other expressions.

mod aggregate;
mod comptime;
mod context;
mod map;
mod memory;
mod output;
mod process;
mod stack;
mod string;
mod time;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::lower::call::Lowering;

/// A row of the table.
#[derive(Debug)]
pub struct Builtin {
    /// Name as it is written.
    pub name: &'static str,
    /// How it is called, for people: `str(ptr [, len])`.
    pub usage: &'static str,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
    /// Fewest and most arguments.
    pub arity: (u8, u8),
    /// First kernel that can do it (major, minor); `None` where any supported kernel can.
    pub kernel: Option<(u8, u8)>,
    /// Whether it changes the machine and so needs `--unsafe`.
    pub unsafe_: bool,
    /// How it becomes IR.
    pub lower: Lowering,
}

impl Builtin {
    /// What most rows have in common.
    pub const ROW: Builtin = Builtin {
        name: "",
        usage: "",
        doc: "",
        arity: (0, 0),
        kernel: None,
        unsafe_: false,
        lower: Lowering::CompileTime,
    };
}

/// The most arguments of builtins that take any number.
pub const ANY: u8 = u8::MAX;

/// All rows, by subject.
pub fn all() -> impl Iterator<Item = &'static Builtin> {
    [
        context::ROWS,
        output::ROWS,
        aggregate::ROWS,
        map::ROWS,
        string::ROWS,
        memory::ROWS,
        process::ROWS,
        stack::ROWS,
        time::ROWS,
        comptime::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// The row of this name. Names with the prefix `__builtin_` are the same rows.
pub fn find(name: &str) -> Option<&'static Builtin> {
    static INDEX: LazyLock<HashMap<&'static str, &'static Builtin>> =
        LazyLock::new(|| all().map(|b| (b.name, b)).collect());
    let name = name.strip_prefix("__builtin_").unwrap_or(name);
    INDEX.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_complete_and_unique() {
        let mut names = std::collections::HashSet::new();
        for b in all() {
            assert!(names.insert(b.name), "{} twice", b.name);
            assert!(b.usage.starts_with(b.name), "{}", b.name);
            assert!(b.doc.ends_with('.'), "{}", b.name);
            assert!(b.arity.0 <= b.arity.1, "{}", b.name);
        }
        assert_eq!(find("__builtin_pid").map(|b| b.name), Some("pid"));
    }
}
