//! The table of builtins: everything a script can name or call.
//!
//! A row is all there is to know of one builtin: its name, signature, documentation, the
//! kernel it needs and how it is lowered. Type checking, lowering, `--help-builtin`,
//! completion and the reference manual read the same rows.

/// A row of the table.
#[derive(Debug)]
pub struct Builtin {
    /// Name as it is written.
    pub name: &'static str,
}
