//! Questions that are answered when the script is compiled.

use super::{ANY, Builtin};

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: compile time.
    Builtin {
        name: "getopt",
        usage: "getopt(name [, default [, description]])",
        doc: "Value of an option that was given after `--`.",
        arity: (1, 3),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "config",
        usage: "config",
        doc: "A record of all configuration values.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "cpid",
        usage: "cpid",
        doc: "Process id of the command given with -c.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "has_cpid",
        usage: "has_cpid",
        doc: "Whether a command was given with -c.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "is_str",
        usage: "is_str(e)",
        doc: "Whether the value is a string.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "is_ptr",
        usage: "is_ptr(e)",
        doc: "Whether the value is a pointer.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "is_array",
        usage: "is_array(e)",
        doc: "Whether the value is an array.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "is_integer",
        usage: "is_integer(e)",
        doc: "Whether the value is an integer.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "is_unsigned_integer",
        usage: "is_unsigned_integer(e)",
        doc: "Whether the value is an unsigned integer.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "is_literal",
        usage: "is_literal(e)",
        doc: "Whether the value is a literal.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "kfunc_exist",
        usage: "kfunc_exist(name)",
        doc: "Whether the kernel has a function for BPF programs of this name.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "kfunc_allowed",
        usage: "kfunc_allowed(name)",
        doc: "Whether this probe may call a kernel function for BPF programs.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "static_assert",
        usage: "static_assert(condition, message)",
        doc: "Fails the compilation with a message if the condition does not hold.",
        arity: (2, 2),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "fail",
        usage: "fail(format, ...)",
        doc: "Fails the compilation with a message if it is reached.",
        arity: (1, ANY),
        ..Builtin::ROW
    },
];
