//! Maps that outlive one object: how a session keeps values while its probes change.
//!
//! In: the maps of an object that runs, and the definition of a map in another object that was
//! compiled from nearly the same script. Out: the map, if a program of the new object may use it
//! as if it were its own. That is so for `@maps`, for the stacks that their values refer to and
//! for the time of the start, if name, sizes and the meaning of every byte agree.
//!
//! A map whose type changed is another map; only numbers that got larger are carried over.

use std::sync::Arc;

use super::map::KernelMaps;
use super::sys::bpf::Map;
use crate::error::Result;
use crate::object::{Layout, MapDef, MapId, MapKind, MapRole, MapValue, Object};

/// The maps of an object, for others to use.
#[derive(Debug)]
pub struct SharedMaps {
    /// The object they were made for.
    pub object: Arc<Object>,
    /// The maps.
    pub maps: KernelMaps,
}

impl SharedMaps {
    /// The maps of `object`, those of `before` where they agree.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn new(object: &Object, before: Option<&SharedMaps>) -> Result<Self> {
        let mut object = object.clone();
        for def in &mut object.maps {
            // Nothing writes to this one: a page is the least.
            if def.kind == MapKind::Ringbuf {
                def.max_entries = 1;
            }
        }
        Ok(Self {
            maps: KernelMaps::create_sharing(&object, before)?,
            object: Arc::new(object),
        })
    }

    /// The map that `def` of `object` may use.
    pub fn find(&self, object: &Object, def: &MapDef) -> Option<&Map> {
        find(&self.object, object, def).map(|id| self.maps.get(id))
    }
}

/// The map of `old` that `def` of `new` may use.
pub fn find(old: &Object, new: &Object, def: &MapDef) -> Option<MapId> {
    if matches!(
        def.role,
        MapRole::Events
            | MapRole::Counters
            | MapRole::Scratch
            | MapRole::Data
            | MapRole::Cgroups(_)
            | MapRole::Internal
    ) {
        return None;
    }
    let at = old.maps.iter().position(|o| agree(old, o, new, def))?;
    Some(MapId(at as u32))
}

/// How numbers of a map become those of a map of the same name whose numbers are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widening {
    /// The old map.
    pub from: MapId,
    signed: bool,
    size: usize,
    /// Bytes of a new value.
    value_size: usize,
    /// Where old and new value say that they were assigned.
    flags: Option<(usize, usize)>,
}

impl Widening {
    /// The way from a map of `old` to `def` of `new`, if there is one.
    pub fn find(old: &Object, new: &Object, def: &MapDef) -> Option<Self> {
        let MapRole::User(b) = &def.role else {
            return None;
        };
        let named = |d: &&MapDef| matches!(&d.role, MapRole::User(a) if a.name == b.name);
        let at = old.maps.iter().position(|d| named(&d))?;
        let before = &old.maps[at];
        let MapRole::User(a) = &before.role else {
            return None;
        };
        let keys = match (&a.key, &b.key) {
            (Some(x), Some(y)) => layouts_agree(old, x, new, y),
            (None, None) => true,
            _ => false,
        };
        let (MapValue::Plain(Layout::Int { signed, size }), MapValue::Plain(to)) =
            (&a.value, &b.value)
        else {
            return None;
        };
        let &Layout::Int {
            signed: to_signed,
            size: to_size,
        } = to
        else {
            return None;
        };
        let same = (before.kind, before.key_size) == (def.kind, def.key_size);
        let fits = to_size >= *size && to_signed == *signed;
        (same && keys && fits && !def.kind.is_percpu()).then_some(Self {
            from: MapId(at as u32),
            signed: *signed,
            size: usize::from(*size),
            value_size: def.value_size as usize,
            flags: a
                .set_flag
                .zip(b.set_flag)
                .map(|(x, y)| (x as usize, y as usize)),
        })
    }

    /// A new value for an old one.
    pub fn apply(&self, value: &[u8]) -> Vec<u8> {
        let old = &value[..self.size.min(value.len())];
        let negative = self.signed && {
            let top = if cfg!(target_endian = "little") {
                old.last()
            } else {
                old.first()
            };
            top.is_some_and(|b| b & 0x80 != 0)
        };
        let fill = if negative { 0xff } else { 0 };
        let mut number = [fill; 8];
        let mut out = vec![0; self.value_size];
        let room = 8.min(match self.flags {
            Some((_, to)) => to,
            None => self.value_size,
        });
        if cfg!(target_endian = "little") {
            number[..old.len()].copy_from_slice(old);
            out[..room].copy_from_slice(&number[..room]);
        } else {
            number[8 - old.len()..].copy_from_slice(old);
            out[..room].copy_from_slice(&number[8 - room..]);
        }
        if let Some((from, to)) = self.flags
            && let (Some(&set), Some(at)) = (value.get(from), out.get_mut(to))
        {
            *at = set;
        }
        out
    }
}

/// Whether a map of `old` and one of `new` are the same to programs and readers.
fn agree(old: &Object, a: &MapDef, new: &Object, b: &MapDef) -> bool {
    let sizes = |d: &MapDef| (d.kind, d.key_size, d.value_size, d.max_entries, d.flags);
    if sizes(a) != sizes(b) {
        return false;
    }
    let same = |x: &Layout, y: &Layout| layouts_agree(old, x, new, y);
    match (&a.role, &b.role) {
        (MapRole::User(x), MapRole::User(y)) => {
            let keys = match (&x.key, &y.key) {
                (Some(x), Some(y)) => same(x, y),
                (None, None) => true,
                _ => false,
            };
            let values = match (&x.value, &y.value) {
                (MapValue::Plain(x), MapValue::Plain(y)) => same(x, y),
                (x, y) => x == y,
            };
            x.name == y.name && x.set_flag == y.set_flag && keys && values
        }
        (MapRole::ShortKeys(MapId(x)), MapRole::ShortKeys(MapId(y))) => {
            let (x, y) = (old.maps.get(*x as usize), new.maps.get(*y as usize));
            x.zip(y).is_some_and(|(x, y)| agree(old, x, new, y))
        }
        (MapRole::Stacks { limit: x }, MapRole::Stacks { limit: y }) => x == y,
        (MapRole::Start, MapRole::Start) => true,
        _ => false,
    }
}

/// Whether bytes of these layouts mean the same. Tables that values index into may have grown.
fn layouts_agree(old: &Object, a: &Layout, new: &Object, b: &Layout) -> bool {
    let same = |x: &Layout, y: &Layout| layouts_agree(old, x, new, y);
    match (a, b) {
        (
            Layout::Enum {
                size,
                signed,
                table,
            },
            Layout::Enum {
                size: size_b,
                signed: signed_b,
                table: table_b,
            },
        ) => {
            (size, signed) == (size_b, signed_b)
                && old.enums.get(*table as usize) == new.enums.get(*table_b as usize)
        }
        (
            Layout::Array { elem, len, stride },
            Layout::Array {
                elem: elem_b,
                len: len_b,
                stride: stride_b,
            },
        ) => (len, stride) == (len_b, stride_b) && same(elem, elem_b),
        (
            Layout::Tuple { fields, size },
            Layout::Tuple {
                fields: fields_b,
                size: size_b,
            },
        )
        | (
            Layout::Struct { fields, size },
            Layout::Struct {
                fields: fields_b,
                size: size_b,
            },
        ) => {
            size == size_b
                && fields.len() == fields_b.len()
                && fields.iter().zip(fields_b).all(|(x, y)| {
                    (&x.name, x.offset, x.bits) == (&y.name, y.offset, y.bits)
                        && same(&x.layout, &y.layout)
                })
        }
        // The map's number may differ; maps of stacks are told apart by their limit.
        (Layout::Stack { ty, .. }, Layout::Stack { ty: ty_b, .. }) => ty == ty_b,
        (Layout::ProbeName, Layout::ProbeName) | (Layout::USym, Layout::USym) => {
            let names = new.attach.iter().map(|p| &p.name);
            old.attach.len() <= new.attach.len()
                && old
                    .attach
                    .iter()
                    .map(|p| &p.name)
                    .eq(names.take(old.attach.len()))
        }
        (Layout::Timestamp, Layout::Timestamp) | (Layout::CgroupPath, Layout::CgroupPath) => {
            new.time_formats.starts_with(&old.time_formats)
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::UserMap;

    fn object(name: &str, key: Option<Layout>, value: MapValue) -> Object {
        Object {
            maps: vec![MapDef {
                name: name.into(),
                kind: MapKind::Hash,
                key_size: 8,
                value_size: 8,
                max_entries: 16,
                flags: 0,
                init: None,
                role: MapRole::User(UserMap {
                    name: name.into(),
                    key,
                    value,
                    set_flag: None,
                }),
            }],
            ..Object::default()
        }
    }

    fn int(signed: bool) -> Layout {
        Layout::Int { signed, size: 8 }
    }

    #[test]
    fn name_key_and_value_must_agree() {
        let plain = |signed| MapValue::Plain(int(signed));
        let old = object("@a", Some(int(true)), plain(true));
        let found = |new: &Object| find(&old, new, &new.maps[0]);
        assert_eq!(found(&old), Some(MapId(0)));
        assert_eq!(found(&object("@b", Some(int(true)), plain(true))), None);
        assert_eq!(found(&object("@a", Some(int(false)), plain(true))), None);
        assert_eq!(found(&object("@a", Some(int(true)), plain(false))), None);
        assert_eq!(found(&object("@a", None, plain(true))), None);
    }

    #[test]
    fn small_numbers_become_large_ones() {
        let make = |size: u8, signed| {
            let value = MapValue::Plain(Layout::Int { signed, size });
            let mut object = object("@a", Some(int(true)), value);
            object.maps[0].value_size = u32::from(size);
            object
        };
        let (old, new) = (make(1, true), make(8, true));
        let way = Widening::find(&old, &new, &new.maps[0]).unwrap();
        assert_eq!(way.apply(&[0xfb]), (-5i64).to_ne_bytes());
        assert_eq!(way.apply(&[5]), 5i64.to_ne_bytes());
        assert_eq!(Widening::find(&new, &old, &old.maps[0]), None);
        let other = make(8, false);
        assert_eq!(Widening::find(&old, &other, &other.maps[0]), None);
    }

    #[test]
    fn tables_that_keys_refer_to_may_only_grow() {
        let make = |formats: &[&str]| Object {
            time_formats: formats.iter().map(|&f| f.to_owned()).collect(),
            ..object("@t", Some(Layout::Timestamp), MapValue::Plain(int(true)))
        };
        let old = make(&["%H"]);
        let found = |new: &Object| find(&old, new, &new.maps[0]).is_some();
        assert!(found(&make(&["%H", "%S"])));
        assert!(!found(&make(&["%S", "%H"])));
    }
}
