//! Functions on strings.

use crate::lower::call::{Lowering, search, string, tables};

use super::Builtin;

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: [Expr(pointer, integer, or string), Int(bytes, terminator included)] or, with
    // a length known at run time, [Expr, Expr(length without terminator: uint64)] ->
    // string[N].
    Builtin {
        name: "str",
        usage: "str(pointer [, length])",
        doc: "Reads a string that ends with a zero byte, or the text of a string of C++ or Rust.",
        arity: (1, 2),
        lower: Lowering::Memory(string::str),
        ..Builtin::ROW
    },
    // Lowering: [Expr(string)] -> uint64.
    Builtin {
        name: "strlen",
        usage: "strlen(string)",
        doc: "Number of bytes before the terminator.",
        arity: (1, 1),
        lower: Lowering::Scalar(string::strlen),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "strcap",
        usage: "strcap(string)",
        doc: "Number of bytes that the string's type can hold, terminator included.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: [Expr(string), Expr(string), Int(n)] -> uint64.
    Builtin {
        name: "strncmp",
        usage: "strncmp(a, b, n)",
        doc: "0 if the first n bytes of two strings are equal, 1 if not.",
        arity: (3, 3),
        lower: Lowering::Scalar(string::strncmp),
        ..Builtin::ROW
    },
    // Lowering: [Expr(string), Expr(string)] -> bool.
    Builtin {
        name: "strcontains",
        usage: "strcontains(haystack, needle)",
        doc: "Whether a string contains another one.",
        arity: (2, 2),
        lower: Lowering::Scalar(search::strcontains),
        ..Builtin::ROW
    },
    // Lowering: [Expr(string), Expr(string)] -> int64.
    Builtin {
        name: "strstr",
        usage: "strstr(haystack, needle)",
        doc: "Index of a string in another one, -1 if it is not there.",
        arity: (2, 2),
        lower: Lowering::Scalar(search::strstr),
        ..Builtin::ROW
    },
    // Lowering: [Expr(string), Expr(string)] -> string[1024].
    Builtin {
        name: "str_concat",
        usage: "str_concat(a, b)",
        doc: "Joins two strings.",
        arity: (2, 2),
        lower: Lowering::Memory(string::str_concat),
        ..Builtin::ROW
    },
    // Lowering: [Expr(int64)] -> string[N], a table look-up; literals are folded.
    Builtin {
        name: "strerror",
        usage: "strerror(errno)",
        doc: "Text for an error number.",
        arity: (1, 1),
        lower: Lowering::Memory(tables::strerror),
        ..Builtin::ROW
    },
    // Lowering: [Expr(int64)] -> string[N], a table look-up; literals are folded.
    Builtin {
        name: "signal_name",
        usage: "signal_name(number)",
        doc: "Description of a signal.",
        arity: (1, 1),
        lower: Lowering::Memory(tables::signal_name),
        ..Builtin::ROW
    },
    // Lowering: [Expr(int64)] -> string[64], a table look-up; literals are folded.
    Builtin {
        name: "syscall_name",
        usage: "syscall_name(number)",
        doc: "Name of a system call.",
        arity: (1, 1),
        lower: Lowering::Memory(tables::syscall_name),
        ..Builtin::ROW
    },
];
