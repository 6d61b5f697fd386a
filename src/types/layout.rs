//! Sizes and offsets of values in BPF memory: map keys and values, records, scratch.
//!
//! Tuples and records are laid out as C structs (natural alignment, tail padding). Padding is
//! always zeroed by whoever builds the value, because tuples are hash keys.

use super::{Type, TypeStore};
use crate::object;

/// Bytes that a value of `ty` occupies.
pub fn size_of(ty: &Type, store: &TypeStore) -> u32 {
    match ty {
        Type::None | Type::Void => 0,
        Type::Bool => 1,
        Type::Int(t) => u32::from(t.size),
        Type::Str(n) => *n,
        Type::Buf(n) => 4 + n,
        Type::Ptr(..) | Type::KSym | Type::Username | Type::ProbeName => 8,
        Type::Array(t, n) => size_of(t, store) * n,
        Type::Struct(id) => store.struct_def(*id).size,
        Type::Enum(id) => u32::from(store.enum_def(*id).size),
        Type::Tuple(items) => c_struct(items.iter(), store).1,
        Type::Record(items) => c_struct(items.iter().map(|(_, t)| t), store).1,
        Type::Inet => object::INET_SIZE,
        Type::Mac => 6,
        Type::CgroupPath | Type::Timestamp | Type::USym => 16,
        Type::Stack(_) => object::STACK_HANDLE_SIZE,
        // The storage of an aggregation is the map planner's business.
        Type::Agg(_) => 8,
    }
}

/// Alignment of a value of `ty`, a power of two up to 8.
pub fn align_of(ty: &Type, store: &TypeStore) -> u32 {
    match ty {
        Type::None | Type::Void | Type::Bool | Type::Str(_) | Type::Mac => 1,
        Type::Int(t) => u32::from(t.size),
        Type::Buf(_) => 4,
        Type::Array(t, _) => align_of(t, store),
        Type::Struct(id) => store.struct_def(*id).align.clamp(1, 8),
        Type::Enum(id) => u32::from(store.enum_def(*id).size),
        Type::Tuple(items) => items.iter().map(|t| align_of(t, store)).max().unwrap_or(1),
        Type::Record(items) => items
            .iter()
            .map(|(_, t)| align_of(t, store))
            .max()
            .unwrap_or(1),
        Type::Ptr(..)
        | Type::KSym
        | Type::USym
        | Type::Username
        | Type::ProbeName
        | Type::Inet
        | Type::CgroupPath
        | Type::Timestamp
        | Type::Stack(_)
        | Type::Agg(_) => 8,
    }
}

/// Offsets of the fields of a tuple with these types, and the size of the whole.
pub fn tuple_offsets<'a>(
    items: impl IntoIterator<Item = &'a Type>,
    store: &TypeStore,
) -> (Vec<u32>, u32) {
    c_struct(items.into_iter(), store)
}

fn c_struct<'a>(items: impl Iterator<Item = &'a Type>, store: &TypeStore) -> (Vec<u32>, u32) {
    let mut at = 0u32;
    let mut align = 1;
    let mut offsets = Vec::new();
    for t in items {
        let a = align_of(t, store);
        align = align.max(a);
        at = at.next_multiple_of(a);
        offsets.push(at);
        at += size_of(t, store);
    }
    (offsets, at.next_multiple_of(align))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_c_structs() {
        let store = TypeStore::default();
        let t = [Type::int(true, 1), Type::I64, Type::Str(3)];
        assert_eq!(tuple_offsets(&t, &store), (vec![0, 8, 16], 24));
        assert_eq!(size_of(&Type::tuple(vec![]), &store), 0);
    }
}
