//! Maps as a whole: read, sorted, printed.
//!
//! Order: maps of integers and aggregations by value, others by key; equal values by key.
//! `min` and `max` compare as unsigned numbers. The last entries are the largest, and `top`
//! keeps those.

use std::cmp::Ordering;

use super::names::push_display;
use super::value::{self, Integer, Malformed, Value};
use super::{Scope, hist, json, text};
use crate::error::Result;
use crate::object::{AggStorage, FieldLayout, Layout, MapId, MapRole, MapValue, Object, UserMap};
use crate::runtime::aggregate::{self, Agg, PerCpu, Regroup};
use crate::runtime::map::{MapAccess, percpu_stride};
use crate::types::{AggKind, AggTy};

/// One key and its value; the key of a scalar map is empty.
#[derive(Clone, Debug)]
pub struct Entry {
    key: Vec<u8>,
    value: Datum,
}

/// A value of a map, combined from all CPUs.
#[derive(Clone, Debug)]
enum Datum {
    Plain(Vec<u8>),
    Agg(Agg),
}

impl Entry {
    /// The bytes of the key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// How much it counts for: a number, or how many values were aggregated. `None` for what
    /// has no such number.
    pub fn weight(&self, user: &UserMap) -> Option<u64> {
        let n = match (&self.value, &user.value) {
            (Datum::Plain(bytes), MapValue::Plain(layout @ Layout::Int { .. })) => {
                value::number(value::read(layout, bytes).ok()?)?.wide()
            }
            (Datum::Agg(Agg::Number(n)), _) => n.wide(),
            (Datum::Agg(Agg::Stats { count, .. }), _) => i128::from(*count),
            (Datum::Agg(Agg::Buckets(counts)), _) => counts.iter().copied().map(i128::from).sum(),
            _ => return None,
        };
        // Nothing can be drawn of less than nothing.
        Some(u64::try_from(n.max(0)).unwrap_or(u64::MAX))
    }
}

/// What to print of a map.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// Most entries, the largest; 0 = all.
    pub top: u32,
    /// Divisor of values, at least 1.
    pub div: u64,
}

impl Selection {
    /// All of it as it is.
    pub const ALL: Self = Self { top: 0, div: 1 };
}

/// The `@map` with this id, if it is one.
pub fn user_map(object: &Object, id: MapId) -> Option<&UserMap> {
    match &object.maps.get(id.0 as usize)?.role {
        MapRole::User(user) => Some(user),
        _ => None,
    }
}

/// The entries of a `@map` in the order they are printed. A scalar map that was never assigned
/// has one only if `unassigned` asks for it.
///
/// # Errors
/// A map that cannot be read, or malformed entries.
pub fn snapshot(
    object: &Object,
    id: MapId,
    maps: &dyn MapAccess,
    unassigned: bool,
) -> Result<Vec<Entry>> {
    let (Some(def), Some(user)) = (object.maps.get(id.0 as usize), user_map(object, id)) else {
        return Ok(Vec::new());
    };
    let stride = match def.kind.is_percpu() {
        true => percpu_stride(def.value_size),
        false => 0,
    };
    let mut entries = Vec::new();
    let key_size = user.key.as_ref().map_or(0, Layout::size);
    match &user.value {
        MapValue::Agg(ty, AggStorage::Keyed) => {
            let mut groups = Regroup::new(*ty);
            maps.for_each(id, &mut |key, value| {
                Ok(groups.add(key, key_size, PerCpu::new(value, stride))?)
            })?;
            entries.extend(groups.finish().map(|(key, agg)| Entry {
                key,
                value: Datum::Agg(agg),
            }));
            if user.key.is_none() && unassigned && entries.is_empty() {
                entries.push(Entry {
                    key: Vec::new(),
                    value: Datum::Agg(Agg::nothing(*ty)),
                });
            }
        }
        stored => maps.for_each(id, &mut |key, value| {
            let cpus = PerCpu::new(value, stride);
            if user.key.is_none() && !unassigned && !aggregate::is_assigned(user, cpus) {
                return Ok(());
            }
            let value = match stored {
                MapValue::Plain(layout) => {
                    let size = layout.size() as usize;
                    Datum::Plain(value.get(..size).ok_or(Malformed)?.to_vec())
                }
                MapValue::Agg(ty, storage) => Datum::Agg(aggregate::reduce(*ty, *storage, cpus)?),
            };
            let key = match user.key {
                Some(_) => key.get(..key_size as usize).ok_or(Malformed)?,
                None => &[],
            };
            entries.push(Entry {
                key: key.to_vec(),
                value,
            });
            Ok(())
        })?,
    }
    sort(user, &mut entries);
    Ok(entries)
}

fn sort(user: &UserMap, entries: &mut [Entry]) {
    let rank: fn(&UserMap, &Datum) -> i128 = rank;
    if is_ranked(user) {
        entries.sort_by(|a, b| {
            rank(user, &a.value)
                .cmp(&rank(user, &b.value))
                .then_with(|| by_key(user, a, b))
        });
    } else {
        sort_by_key(user, entries);
    }
}

fn by_key(user: &UserMap, a: &Entry, b: &Entry) -> Ordering {
    match &user.key {
        Some(layout) => compare_keys(layout, &a.key, &b.key).then_with(|| a.key.cmp(&b.key)),
        None => Ordering::Equal,
    }
}

/// Puts entries into the order of their keys.
pub fn sort_by_key(user: &UserMap, entries: &mut [Entry]) {
    entries.sort_by(|a, b| by_key(user, a, b));
}

/// The number that an entry is ordered by, in a map that is ordered by value.
pub fn weight(user: &UserMap, entry: &Entry) -> Option<i128> {
    is_ranked(user).then(|| rank(user, &entry.value))
}

/// Whether the map is ordered by value.
fn is_ranked(user: &UserMap) -> bool {
    match &user.value {
        MapValue::Plain(layout) => matches!(layout, Layout::Int { .. } | Layout::Enum { .. }),
        MapValue::Agg(ty, _) => !matches!(ty.kind, AggKind::Tseries { .. }),
    }
}

fn rank(user: &UserMap, value: &Datum) -> i128 {
    match (value, &user.value) {
        (Datum::Plain(bytes), MapValue::Plain(layout)) => {
            let v = value::read(layout, bytes).ok().and_then(value::number);
            v.map_or(0, Integer::wide)
        }
        (Datum::Agg(Agg::Number(n)), MapValue::Agg(ty, _)) => match ty.kind {
            AggKind::Min | AggKind::Max => i128::from(n.bits()),
            _ => n.wide(),
        },
        (Datum::Agg(Agg::Stats { average, .. }), _) => average.wide(),
        (Datum::Agg(Agg::Buckets(counts)), _) => counts.iter().copied().map(i128::from).sum(),
        _ => 0,
    }
}

/// Integers compare as signed numbers of their size, strings and everything else bytewise,
/// tuples and records field by field.
fn compare_keys(layout: &Layout, a: &[u8], b: &[u8]) -> Ordering {
    match layout {
        Layout::Int { size, .. } | Layout::Enum { size, .. } => {
            let signed = Layout::Int {
                signed: true,
                size: *size,
            };
            let n = |bytes| match value::read(&signed, bytes) {
                Ok(Value::Signed(n)) => n,
                _ => 0,
            };
            n(a).cmp(&n(b))
        }
        Layout::Ptr | Layout::KSym | Layout::USym | Layout::Username | Layout::ProbeName => {
            let n = |bytes| value::u64_at(bytes, 0).unwrap_or(0);
            n(a).cmp(&n(b))
        }
        Layout::Tuple { fields, .. } | Layout::Struct { fields, .. } => fields
            .iter()
            .map(|f| compare_keys(&f.layout, field_bytes(f, a), field_bytes(f, b)))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal),
        _ => a.cmp(b),
    }
}

fn field_bytes<'a>(f: &FieldLayout, whole: &'a [u8]) -> &'a [u8] {
    let start = f.offset as usize;
    whole
        .get(start..start + f.layout.size() as usize)
        .unwrap_or_default()
}

/// The entries that `top` leaves.
pub(super) fn selected<'a>(user: &UserMap, entries: &'a [Entry], select: Selection) -> &'a [Entry] {
    let all = matches!(
        user.value,
        MapValue::Agg(
            AggTy {
                kind: AggKind::Stats,
                ..
            },
            _
        )
    );
    match select.top as usize {
        0 => entries,
        _ if all => entries,
        top => &entries[entries.len().saturating_sub(top)..],
    }
}

/// Appends entries as text, each on a line or under a heading of its own.
///
/// # Errors
/// Malformed values, or a stack map that cannot be read.
pub fn as_text(
    scope: &mut Scope<'_>,
    user: &UserMap,
    entries: &[Entry],
    select: Selection,
    out: &mut Vec<u8>,
) -> Result<()> {
    for entry in selected(user, entries, select) {
        out.extend_from_slice(user.name.as_bytes());
        if let Some(layout) = &user.key {
            out.push(b'[');
            text::key(scope, value::read(layout, &entry.key)?, out)?;
            out.push(b']');
        }
        out.push(b':');
        out.push(match is_block(&entry.value) {
            true => b'\n',
            false => b' ',
        });
        value_text(scope, user, &entry.value, select.div, out)?;
        if !is_block(&entry.value) {
            out.push(b'\n');
        }
    }
    Ok(())
}

/// Whether a value takes lines of its own.
fn is_block(value: &Datum) -> bool {
    matches!(value, Datum::Agg(Agg::Buckets(_) | Agg::Series(_)))
}

fn value_text(
    scope: &mut Scope<'_>,
    user: &UserMap,
    value: &Datum,
    div: u64,
    out: &mut Vec<u8>,
) -> Result<()> {
    match (value, &user.value) {
        (Datum::Plain(bytes), MapValue::Plain(layout)) => {
            text::value(scope, divided(value::read(layout, bytes)?, div), out)?;
        }
        (Datum::Agg(Agg::Number(n)), _) => text::integer(n.divided_by(div), out),
        (
            Datum::Agg(Agg::Stats {
                count,
                average,
                total,
            }),
            _,
        ) => {
            push_display(out, format_args!("{{ .count = {count}, .average = "));
            text::integer(*average, out);
            out.extend_from_slice(b", .total = ");
            text::integer(*total, out);
            out.extend_from_slice(b" }");
        }
        (Datum::Agg(Agg::Buckets(counts)), MapValue::Agg(ty, _)) => {
            if let Some(scale) = hist::Scale::new(ty.kind) {
                hist::text(scale, counts, div, out);
            }
        }
        (Datum::Agg(Agg::Series(points)), MapValue::Agg(ty, _)) => {
            if let AggKind::Tseries { interval, .. } = ty.kind {
                hist::series_text(points, interval, &scope.names.clocks, out);
            }
        }
        _ => return Err(Malformed.into()),
    }
    Ok(())
}

/// An entry that a view lays out itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The key as it prints; empty for a scalar map.
    pub key: String,
    /// The value.
    pub value: CellValue,
}

/// The value of a [`Cell`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellValue {
    /// As it prints; may be several lines.
    Text(String),
    /// A histogram: what falls into a bucket, and how often.
    Buckets(Vec<(String, u64)>),
}

/// An entry for a view.
///
/// # Errors
/// As for [`as_text`].
pub fn cell(scope: &mut Scope<'_>, user: &UserMap, entry: &Entry) -> Result<Cell> {
    let mut key = Vec::new();
    if let Some(layout) = &user.key {
        text::key(scope, value::read(layout, &entry.key)?, &mut key)?;
    }
    let scale = match &user.value {
        MapValue::Agg(ty, _) => hist::Scale::new(ty.kind),
        MapValue::Plain(_) => None,
    };
    let value = match (&entry.value, scale) {
        (Datum::Agg(Agg::Buckets(counts)), Some(scale)) => {
            CellValue::Buckets(hist::rows(scale, counts))
        }
        (value, _) => {
            let mut out = Vec::new();
            value_text(scope, user, value, 1, &mut out)?;
            CellValue::Text(String::from_utf8_lossy(&out).into_owned())
        }
    };
    Ok(Cell {
        key: String::from_utf8_lossy(&key).into_owned(),
        value,
    })
}

/// Appends entries as one JSON line; nothing if there are none.
///
/// # Errors
/// As for [`as_text`].
pub fn as_json(
    scope: &mut Scope<'_>,
    user: &UserMap,
    entries: &[Entry],
    select: Selection,
    out: &mut Vec<u8>,
) -> Result<()> {
    let entries = selected(user, entries, select);
    if entries.is_empty() {
        return Ok(());
    }
    json::open(json_type(user), out);
    out.push(b'{');
    json::string(user.name.as_bytes(), out);
    out.extend_from_slice(b": ");
    if user.key.is_some() {
        out.push(b'{');
    }
    for (i, entry) in entries.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        if let Some(layout) = &user.key {
            json::key(scope, value::read(layout, &entry.key)?, out)?;
            out.extend_from_slice(b": ");
        }
        json_value(scope, user, &entry.value, select.div, out)?;
    }
    if user.key.is_some() {
        out.push(b'}');
    }
    out.push(b'}');
    json::close(out);
    Ok(())
}

fn json_value(
    scope: &mut Scope<'_>,
    user: &UserMap,
    value: &Datum,
    div: u64,
    out: &mut Vec<u8>,
) -> Result<()> {
    match (value, &user.value) {
        (Datum::Plain(bytes), MapValue::Plain(layout)) => {
            json::value(scope, divided(value::read(layout, bytes)?, div), out)?;
        }
        (Datum::Agg(Agg::Number(n)), _) => json::number(n.divided_by(div), out),
        (
            Datum::Agg(Agg::Stats {
                count,
                average,
                total,
            }),
            _,
        ) => {
            out.extend_from_slice(b"{\"count\": ");
            json::number(Integer::Unsigned(*count), out);
            out.extend_from_slice(b", \"average\": ");
            json::number(*average, out);
            out.extend_from_slice(b", \"total\": ");
            json::number(*total, out);
            out.push(b'}');
        }
        (Datum::Agg(Agg::Buckets(counts)), MapValue::Agg(ty, _)) => {
            if let Some(scale) = hist::Scale::new(ty.kind) {
                hist::json(scale, counts, div, out);
            }
        }
        (Datum::Agg(Agg::Series(points)), MapValue::Agg(ty, _)) => {
            if let AggKind::Tseries { interval, .. } = ty.kind {
                hist::series_json(points, interval, &scope.names.clocks, out);
            }
        }
        _ => return Err(Malformed.into()),
    }
    Ok(())
}

/// The `type` of a map's JSON line.
pub fn json_type(user: &UserMap) -> &'static str {
    match &user.value {
        MapValue::Plain(_) => "map",
        MapValue::Agg(ty, _) => match ty.kind {
            AggKind::Count | AggKind::Sum | AggKind::Min | AggKind::Max => "map",
            AggKind::Avg | AggKind::Stats => "stats",
            AggKind::Hist { .. } | AggKind::Lhist { .. } => "hist",
            AggKind::Tseries { .. } => "tseries",
        },
    }
}

fn divided(v: Value<'_>, div: u64) -> Value<'_> {
    match v {
        Value::Signed(n) => match Integer::Signed(n).divided_by(div) {
            Integer::Signed(n) => Value::Signed(n),
            Integer::Unsigned(n) => Value::Unsigned(n),
        },
        Value::Unsigned(n) => Value::Unsigned(n / div.max(1)),
        v => v,
    }
}
