//! The types that generated programs use.

use super::rng::Rng;

/// A type, as far as the generator has to know it: integers join, strings grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ty {
    Int,
    Bool,
    Str,
    /// One of the script's enums, by number.
    Enum(usize),
    Tuple(Vec<Ty>),
    /// Fields `a`, `b`...
    Record(Vec<Ty>),
    /// Element type by name and length.
    Array(&'static str, usize),
    /// One of the script's structs, by number.
    Struct(usize),
}

/// Integer types by name and size.
pub const INTS: &[(&str, usize)] = &[
    ("int8", 1),
    ("uint8", 1),
    ("int16", 2),
    ("uint16", 2),
    ("int32", 4),
    ("uint32", 4),
    ("int64", 8),
    ("uint64", 8),
];

/// Names of record fields.
pub const FIELDS: &[&str] = &["a", "b", "c", "d"];

impl Ty {
    /// A type for a variable or a map's value.
    pub fn any(rng: &mut Rng, depth: usize, enums: usize, structs: usize) -> Ty {
        match rng.below(22) {
            0..10 => Ty::Int,
            10 | 11 => Ty::Bool,
            12..16 => Ty::Str,
            16 if enums > 0 => Ty::Enum(rng.below(enums)),
            17 | 18 if depth > 0 => Ty::Tuple(Ty::some(rng, depth, enums, structs)),
            19 if depth > 0 => Ty::Record(Ty::some(rng, depth, enums, structs)),
            20 => Ty::array(rng),
            21 if structs > 0 => Ty::Struct(rng.below(structs)),
            _ => Ty::Int,
        }
    }

    fn some(rng: &mut Rng, depth: usize, enums: usize, structs: usize) -> Vec<Ty> {
        let n = rng.between(2, 4);
        (0..n)
            .map(|_| Ty::any(rng, depth - 1, enums, structs))
            .collect()
    }

    /// An array that a cast of an integer gives.
    pub fn array(rng: &mut Rng) -> Ty {
        let &(name, size) = rng.pick(INTS);
        let lengths: &[usize] = match size {
            1 => &[1, 2, 4, 8],
            2 => &[1, 2, 4],
            4 => &[1, 2],
            _ => &[1],
        };
        Ty::Array(name, *rng.pick(lengths))
    }

    /// A type for a map's key.
    pub fn key(rng: &mut Rng, enums: usize) -> Ty {
        match rng.below(10) {
            0..5 => Ty::Int,
            5 => Ty::Str,
            6 => Ty::Bool,
            7 if enums > 0 => Ty::Enum(rng.below(enums)),
            7..9 => {
                let n = rng.between(2, 3);
                Ty::Tuple((0..n).map(|_| Ty::key(rng, enums)).collect())
            }
            _ => Ty::Int,
        }
    }
}
