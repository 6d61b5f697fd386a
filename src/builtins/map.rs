//! Functions on maps.

use crate::lower::call::{Lowering, map};

use super::Builtin;

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: [Map].
    Builtin {
        name: "clear",
        usage: "clear(map)",
        doc: "Deletes all entries of a map.",
        arity: (1, 1),
        lower: Lowering::Effect(map::clear),
        ..Builtin::ROW
    },
    // Lowering: [Map].
    Builtin {
        name: "zero",
        usage: "zero(map)",
        doc: "Sets all values of a map to zero and keeps its keys.",
        arity: (1, 1),
        lower: Lowering::Effect(map::zero),
        ..Builtin::ROW
    },
    // Lowering: [MapElem] -> bool.
    Builtin {
        name: "delete",
        usage: "delete(map [, key])",
        doc: "Deletes an entry and tells whether there was one.",
        arity: (1, 2),
        lower: Lowering::Scalar(map::delete),
        ..Builtin::ROW
    },
    // Lowering: [MapElem] -> bool.
    Builtin {
        name: "has_key",
        usage: "has_key(map, key)",
        doc: "Whether a map has an entry.",
        arity: (2, 2),
        lower: Lowering::Scalar(map::has_key),
        ..Builtin::ROW
    },
    // Lowering: [MapElem, Local, Int(1 if this call declares it)] -> bool; the variable has the
    // map's value type and is zero if it is declared and nothing is found.
    Builtin {
        name: "find",
        usage: "find(map, key, $variable)",
        doc: "Looks an entry up; if there is one its value is put into the variable.",
        arity: (3, 3),
        lower: Lowering::Scalar(map::find),
        ..Builtin::ROW
    },
    // Lowering: [Map] or [Expr(stack)] -> int64.
    Builtin {
        name: "len",
        usage: "len(map | stack)",
        doc: "Number of entries of a map, or of frames of a stack.",
        arity: (1, 1),
        lower: Lowering::Scalar(map::len),
        ..Builtin::ROW
    },
];
