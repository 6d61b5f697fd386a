//! Functions that change the traced process or kernel.

use crate::lower::call::{Lowering, process};

use super::Builtin;

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: [Int(number) or Expr(number: uint64)].
    Builtin {
        name: "signal",
        usage: "signal(signal)",
        doc: "Sends a signal to the current process.",
        arity: (1, 1),
        unsafe_: true,
        kernel: Some((5, 3)),
        lower: Lowering::Effect(process::signal),
    },
    // Lowering: [Int(number) or Expr(number: uint64)].
    Builtin {
        name: "signal_thread",
        usage: "signal_thread(signal)",
        doc: "Sends a signal to the current thread.",
        arity: (1, 1),
        unsafe_: true,
        kernel: Some((5, 5)),
        lower: Lowering::Effect(process::signal_thread),
    },
    // Lowering: [Expr(value: uint64)].
    Builtin {
        name: "override",
        usage: "override(value)",
        doc: "Makes the probed kernel function return a value without running.",
        arity: (1, 1),
        unsafe_: true,
        lower: Lowering::Effect(process::override_return),
        ..Builtin::ROW
    },
    // Lowering: [Expr(pointer), Expr(pointer), Int(bytes) or Expr(bytes: uint64)] -> bool.
    Builtin {
        name: "write_user",
        usage: "write_user(to, from, length)",
        doc: "Writes to memory of the current process.",
        arity: (3, 3),
        unsafe_: true,
        lower: Lowering::Scalar(process::write_user),
        ..Builtin::ROW
    },
];
