//! Stacks.

use crate::lower::call::{Lowering, stack};

use super::Builtin;

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: []; mode and limit are in the type of the call.
    Builtin {
        name: "kstack",
        usage: "kstack [([mode] [, limit])]",
        doc: "The kernel stack.",
        arity: (0, 2),
        lower: Lowering::Memory(stack::stack),
        ..Builtin::ROW
    },
    // Lowering: []; mode and limit are in the type of the call.
    Builtin {
        name: "ustack",
        usage: "ustack [([mode] [, limit])]",
        doc: "The user stack.",
        arity: (0, 2),
        lower: Lowering::Memory(stack::stack),
        ..Builtin::ROW
    },
    // Lowering: []; mode and limit are in the type of the call.
    Builtin {
        name: "dw_ustack",
        usage: "dw_ustack [([mode] [, limit])]",
        doc: "The user stack, found by the unwind tables of the files that are mapped.",
        arity: (0, 2),
        lower: Lowering::Memory(stack::stack),
        ..Builtin::ROW
    },
];
