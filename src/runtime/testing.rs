//! What the runtime's tests share: whether the kernel lets us, and small objects.

use crate::object::{MapDef, MapId, MapKind, MapRole, Object};

/// Whether BPF can be used here; says why not.
pub fn kernel_usable(test: &str) -> bool {
    match super::privilege::check() {
        Ok(()) => true,
        Err(e) => {
            eprintln!("skipped: {test}: {e}");
            false
        }
    }
}

/// A map definition without role.
pub fn map(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: "test".into(),
        kind,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        init: None,
        role: MapRole::Internal,
    }
}

/// An object with these maps and nothing else.
pub fn object(maps: Vec<MapDef>) -> Object {
    Object {
        license: "GPL".into(),
        maps,
        ..Object::default()
    }
}

/// The first map.
pub const MAP0: MapId = MapId(0);
