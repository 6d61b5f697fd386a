//! Keys: where they lie, and which BPF map they go to.
//!
//! A key that ends with a long string has two BPF maps. Strings of up to [`SHORT_STRING`] bytes go
//! to one whose keys end there, longer ones to the other: the kernel clears, hashes and compares
//! keys whole, and most strings are short. What a string is decides, not how it came about, so
//! each key is in one map only.
//!
//! ```text
//!   0                      key_size of the short map        key_size of the long map
//!   +-----------+----------+--------------------------------+
//!   | the rest  | string, zeros behind its end              |
//!   +-----------+----------+--------------------------------+
//! ```
//! The last byte of a short key tells: it is 0 unless the string is longer. In memory, what
//! follows a short key may be anything.

use crate::codegen::helper;
use crate::ir::Value;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::object::{AggStorage, MapId};
use crate::sema::hir::{Expr, ExprKind};
use crate::types::{Type, TypeStore, tuple_offsets};

use super::fx::{Addr, Fx};
use super::maps::MapPlan;

/// Bytes of a string, terminator included, in the map of short keys.
pub(super) const SHORT_STRING: u32 = 64;
/// Strings need this capacity to have a map of short keys.
const WORTHWHILE: u32 = 4 * SHORT_STRING;

/// The map of a `@map`'s short keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortKeys {
    pub id: MapId,
    pub key_size: u32,
}

/// A key in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub at: Addr,
    pub place: KeyPlace,
}

/// The map that a key goes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyPlace {
    /// The one that holds long keys, if there are two.
    Long,
    /// The one of short keys.
    Short,
    /// That of short keys if this is 0.
    ByLastByte(Value),
}

impl Key {
    /// A key of a `@map` that has one map only, or of its long ones.
    pub(super) fn long(at: Addr) -> Self {
        let place = KeyPlace::Long;
        Self { at, place }
    }
}

/// Bytes of the short keys of a map whose keys are `key`, if it has them.
pub(super) fn short_size(key: &Type, store: &TypeStore) -> Option<u32> {
    let (before, last) = match key {
        Type::Tuple(items) => {
            let (offsets, _) = tuple_offsets(items.iter(), store);
            (*offsets.last()?, items.last()?)
        }
        other => (0, other),
    };
    match last {
        Type::Str(cap) if *cap >= WORTHWHILE => Some(before + SHORT_STRING),
        _ => None,
    }
}

impl<'a> Fx<'_, 'a> {
    /// A key, in place or in a temporary, padding zeroed. Scalar maps that are arrays have key 0.
    pub(super) fn key(&mut self, plan: &MapPlan, key: Option<&'a Expr>) -> Key {
        let Some(key) = key else {
            let at = self.temp(8);
            self.b.store_imm(MemTy::DW, at.ptr, at.off, 0);
            return Key::long(at);
        };
        if plan.full_key_size == plan.key_size
            && let ExprKind::Local(local) = key.kind
            && key.ty.is_memory()
        {
            let at = self.local_addr(local);
            return self.placed_key(plan, at);
        }
        let at = self.temp(plan.full_key_size);
        if let Some(short) = plan.short {
            let string = at.plus(short.key_size - SHORT_STRING);
            self.key_string = Some((string.ptr, string.off));
        }
        self.padded(|fx| fx.into(key, at));
        self.key_string = None;
        let used = plan.key_size;
        let end = match plan.storage {
            AggStorage::Keyed => plan.full_key_size - 8,
            _ => plan.full_key_size,
        };
        if end > used {
            self.zero(at.plus(used), end - used);
        }
        self.placed_key(plan, at)
    }

    fn placed_key(&mut self, plan: &MapPlan, at: Addr) -> Key {
        let Some(short) = plan.short else {
            return Key::long(at);
        };
        let last = at.plus(short.key_size - 1);
        let last = self.b.load(MemTy::B, last.ptr, last.off);
        let place = KeyPlace::ByLastByte(last);
        Key { at, place }
    }

    /// Whether `at` is the place of a key's last string: what is behind its first
    /// [`SHORT_STRING`] bytes counts only if it is longer.
    pub(super) fn is_key_string(&self, at: Addr) -> bool {
        self.key_string == Some((at.ptr, at.off))
    }

    /// Calls a map helper with the map of `key` and the key's address, before `more` arguments.
    pub(super) fn on_key(
        &mut self,
        plan: &MapPlan,
        key: Key,
        id: helper::HelperId,
        more: &[Value],
        ret: Ty,
    ) -> Value {
        let k = self.pointer(key.at);
        let call = |fx: &mut Self, map: MapId| {
            let fd = fx.b.map_fd(map);
            let args = [&[fd, k][..], more].concat();
            fx.b.call(id, &args, ret)
        };
        let (last, short) = match (key.place, plan.short) {
            (KeyPlace::ByLastByte(last), Some(short)) => (last, short),
            (KeyPlace::Short, Some(short)) => return call(self, short.id),
            _ => return call(self, plan.id),
        };
        let (in_short, in_long, join) =
            (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, ret);
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Ne, last, zero, in_long, in_short);
        for (block, map) in [(in_short, short.id), (in_long, plan.id)] {
            self.b.switch_to(block);
            let v = call(self, map);
            self.b.jump(join, &[v]);
        }
        self.b.switch_to(join);
        result
    }

    /// Looks a key up; the result may be null.
    pub(super) fn lookup(&mut self, plan: &MapPlan, key: Key) -> Value {
        let ty = Ty::MapValOrNull(plan.id);
        self.on_key(plan, key, helper::MAP_LOOKUP_ELEM, &[], ty)
    }

    /// `bpf_map_update_elem`; gives its result.
    pub(super) fn update(&mut self, plan: &MapPlan, key: Key, value: Addr, flags: i64) -> Value {
        let v = self.pointer(value);
        let flags = self.b.iconst(flags);
        let more = [v, flags];
        self.on_key(plan, key, helper::MAP_UPDATE_ELEM, &more, Ty::Scalar)
    }
}
