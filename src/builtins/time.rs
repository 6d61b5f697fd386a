//! Time.

use crate::lower::call::{Lowering, time};

use super::Builtin;

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: [Int(0 boot, 1 monotonic, 2 tai, 3 sw_tai)] -> uint64.
    Builtin {
        name: "nsecs",
        usage: "nsecs [(boot | monotonic | tai | sw_tai)]",
        doc: "Nanoseconds of a clock, by default since boot, suspended time included.",
        arity: (0, 1),
        lower: Lowering::Scalar(time::nsecs),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64.
    Builtin {
        name: "elapsed",
        usage: "elapsed",
        doc: "Nanoseconds since rtrace started.",
        arity: (0, 0),
        lower: Lowering::Scalar(time::elapsed),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64.
    Builtin {
        name: "jiffies",
        usage: "jiffies",
        doc: "The kernel's tick counter.",
        arity: (0, 0),
        kernel: Some((5, 6)),
        lower: Lowering::Scalar(time::jiffies),
        ..Builtin::ROW
    },
    // Lowering: [TimeFormat, Expr(nanoseconds: uint64), Int(clock as in Layout::Timestamp)] ->
    // timestamp.
    Builtin {
        name: "strftime",
        usage: "strftime(format, nsecs)",
        doc: "A time, formatted as by strftime(3) when it is printed.",
        arity: (2, 2),
        lower: Lowering::Memory(time::strftime),
        ..Builtin::ROW
    },
];
