//! Aggregations: functions that are assigned to a map and combine its values.
//!
//! In the HIR they are statements (`StmtKind::Aggregate`); none of these rows reaches lowering
//! as a call.

use super::Builtin;

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: StmtKind::Aggregate without a value.
    Builtin {
        name: "count",
        usage: "count()",
        doc: "Counts how often it is called.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: StmtKind::Aggregate.
    Builtin {
        name: "sum",
        usage: "sum(n)",
        doc: "Adds up numbers.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: StmtKind::Aggregate.
    Builtin {
        name: "min",
        usage: "min(n)",
        doc: "Keeps the smallest number.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: StmtKind::Aggregate.
    Builtin {
        name: "max",
        usage: "max(n)",
        doc: "Keeps the largest number.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: StmtKind::Aggregate.
    Builtin {
        name: "avg",
        usage: "avg(n)",
        doc: "Keeps the mean of numbers.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: StmtKind::Aggregate.
    Builtin {
        name: "stats",
        usage: "stats(n)",
        doc: "Keeps count, mean and total of numbers.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: StmtKind::Aggregate.
    Builtin {
        name: "hist",
        usage: "hist(n [, bits])",
        doc: "Keeps a histogram whose buckets are powers of two, each divided in 2^bits.",
        arity: (1, 2),
        ..Builtin::ROW
    },
    // Lowering: StmtKind::Aggregate.
    Builtin {
        name: "lhist",
        usage: "lhist(n, min, max, step)",
        doc: "Keeps a histogram of equal buckets between min and max.",
        arity: (4, 4),
        ..Builtin::ROW
    },
    // Lowering: StmtKind::Aggregate.
    Builtin {
        name: "tseries",
        usage: "tseries(n, interval, count [, aggregation])",
        doc: "Keeps the values of the last intervals of time.",
        arity: (3, 4),
        ..Builtin::ROW
    },
];
