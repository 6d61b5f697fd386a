//! Functions whose effect is output, carried out in user space.

use crate::lower::call::{Lowering, output};

use super::{ANY, Builtin};

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: [Expr(value)], [MapElem(map of stats, key)], or [Map, Int(top; 0 = all), Int(div >=
    // 1)].
    Builtin {
        name: "print",
        usage: "print(value | map [, top [, div]])",
        doc: "Prints a value and a newline, or the entries of a map.",
        arity: (1, 3),
        lower: Lowering::Effect(output::print),
        ..Builtin::ROW
    },
    // Lowering: [Format, Expr...] one per conversion, in order.
    Builtin {
        name: "printf",
        usage: "printf(format, ...)",
        doc: "Prints formatted text.",
        arity: (1, ANY),
        lower: Lowering::Effect(output::printf),
        ..Builtin::ROW
    },
    // Lowering: as printf.
    Builtin {
        name: "errorf",
        usage: "errorf(format, ...)",
        doc: "Prints a formatted error with its place in the script to standard error.",
        arity: (1, ANY),
        lower: Lowering::Effect(output::errorf),
        ..Builtin::ROW
    },
    // Lowering: as printf.
    Builtin {
        name: "warnf",
        usage: "warnf(format, ...)",
        doc: "Prints a formatted warning with its place in the script to standard error.",
        arity: (1, ANY),
        lower: Lowering::Effect(output::warnf),
        ..Builtin::ROW
    },
    // Lowering: [Format, Expr...]; at most three, integers, pointers and strings.
    Builtin {
        name: "debugf",
        usage: "debugf(format, ...)",
        doc: "Writes formatted text to the kernel's trace pipe; at most three arguments.",
        arity: (1, ANY),
        lower: Lowering::Effect(output::debugf),
        ..Builtin::ROW
    },
    // Lowering: [Expr(pointer), Str(separator)].
    Builtin {
        name: "join",
        usage: "join(argv [, separator])",
        doc: "Prints the strings of an array of pointers that ends with a null pointer, at most 16.",
        arity: (1, 2),
        lower: Lowering::Effect(output::join),
        ..Builtin::ROW
    },
    // Lowering: as printf.
    Builtin {
        name: "cat",
        usage: "cat(format, ...)",
        doc: "Prints the contents of a file.",
        arity: (1, ANY),
        lower: Lowering::Effect(output::cat),
        ..Builtin::ROW
    },
    // Lowering: as printf.
    Builtin {
        name: "system",
        usage: "system(format, ...)",
        doc: "Runs a shell command in user space and prints its output.",
        arity: (1, ANY),
        unsafe_: true,
        lower: Lowering::Effect(output::system),
        ..Builtin::ROW
    },
    // Lowering: [TimeFormat].
    Builtin {
        name: "time",
        usage: "time [(format)]",
        doc: "Prints the current time, formatted as by strftime(3).",
        arity: (0, 1),
        lower: Lowering::Effect(output::time),
        ..Builtin::ROW
    },
    // Lowering: [Expr(code: uint64)]; a `return` statement follows in the HIR.
    Builtin {
        name: "exit",
        usage: "exit [(code)]",
        doc: "Ends the run, and the current probe at once.",
        arity: (0, 1),
        lower: Lowering::Effect(output::exit),
        ..Builtin::ROW
    },
    // Lowering: [Expr(address: uint64)].
    Builtin {
        name: "unwatch",
        usage: "unwatch(address)",
        doc: "Removes the watchpoint at an address.",
        arity: (1, 1),
        lower: Lowering::Effect(output::unwatch),
        ..Builtin::ROW
    },
    // Lowering: [Str(path), Expr(start of the data: uint64), Expr(bytes: uint64), Expr(bytes that
    // are not in one piece: uint64), Expr(length: uint64), Expr(offset: uint64)] -> uint32.
    Builtin {
        name: "skboutput",
        usage: "skboutput(path, skb, length, offset)",
        doc: "Writes a packet to a capture file.",
        arity: (4, 4),
        kernel: Some((5, 5)),
        lower: Lowering::Scalar(output::skboutput),
        ..Builtin::ROW
    },
    // Lowering: [Expr(condition: bool), Str(message)].
    Builtin {
        name: "assert",
        usage: "assert(condition, message)",
        doc: "Fails the run with a message if the condition does not hold.",
        arity: (2, 2),
        lower: Lowering::Effect(output::assert),
        ..Builtin::ROW
    },
];
