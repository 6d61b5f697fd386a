//! Aggregations: the per-CPU parts of `count()`, `hist()` and the like, combined.
//!
//! Input: the bytes that [`super::map::MapAccess`] hands out for one entry, the values of all
//! CPUs side by side. Output: one [`Agg`]. Pure: no map is read here. Sums wrap at 64 bits, as
//! they do in the kernel.

use std::collections::HashMap;

use super::output::value::{Integer, Malformed, u64_at};
use crate::object::{AggStorage, SERIES_BUSY, UserMap};
use crate::types::{AggKind, AggTy, TseriesAgg};

/// More buckets than any histogram has: `hist(n, 5)` has 1,891, `lhist` 1,002.
const MAX_BUCKETS: u64 = 4096;

/// An aggregation of all CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agg {
    /// `count`, `sum`, `min`, `max` and the mean of `avg`.
    Number(Integer),
    /// `stats`
    Stats {
        /// Number of values.
        count: u64,
        /// Mean, rounded towards zero; 0 if there is no value.
        average: Integer,
        /// Sum.
        total: Integer,
    },
    /// `hist` and `lhist`: counts by bucket number, without trailing zeros.
    Buckets(Vec<u64>),
    /// `tseries`: the intervals that have a value, oldest first.
    Series(Vec<Point>),
}

impl Agg {
    /// The histogram or series that nothing was added to.
    pub fn nothing(ty: AggTy) -> Self {
        match ty.kind {
            AggKind::Tseries { .. } => Self::Series(Vec::new()),
            _ => Self::Buckets(Vec::new()),
        }
    }
}

/// One interval of a time series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Number of the interval since the epoch of the atomic clock.
    pub epoch: u64,
    /// Its value.
    pub value: Integer,
}

/// The values of one entry, CPU by CPU.
#[derive(Clone, Copy, Debug)]
pub struct PerCpu<'a> {
    bytes: &'a [u8],
    stride: usize,
}

impl<'a> PerCpu<'a> {
    /// Values that lie `stride` bytes apart in `bytes`; a stride of 0 means a single value.
    pub fn new(bytes: &'a [u8], stride: usize) -> Self {
        let stride = if stride == 0 { bytes.len() } else { stride };
        Self { bytes, stride }
    }

    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks_exact(self.stride.max(1))
    }

    /// Whether any CPU has a non-zero byte at `offset`.
    pub fn any(self, offset: u32) -> bool {
        self.iter()
            .any(|v| v.get(offset as usize).is_some_and(|&b| b != 0))
    }
}

/// Whether a scalar map was assigned since the start or its last `clear()`. A `count()` has no
/// flag: it is assigned when it is not zero.
pub fn is_assigned(map: &UserMap, value: PerCpu<'_>) -> bool {
    match map.set_flag {
        Some(at) => value.any(at),
        None => value.bytes.iter().any(|&b| b != 0),
    }
}

/// Combines an entry that holds a whole aggregation.
///
/// # Errors
/// [`Malformed`] if values are shorter than their kind demands, or the storage is
/// [`AggStorage::Keyed`], which takes [`Regroup`].
pub fn reduce(ty: AggTy, storage: AggStorage, value: PerCpu<'_>) -> Result<Agg, Malformed> {
    match storage {
        AggStorage::Value => reduce_value(ty, value),
        AggStorage::Buckets(n) => {
            if u64::from(n) > MAX_BUCKETS {
                return Err(Malformed);
            }
            let mut counts = vec![0; n as usize];
            for cpu in value.iter() {
                for (i, c) in counts.iter_mut().enumerate() {
                    *c = u64_at(cpu, i * 8)?.wrapping_add(*c);
                }
            }
            trim(&mut counts);
            Ok(Agg::Buckets(counts))
        }
        AggStorage::Keyed => Err(Malformed),
    }
}

fn reduce_value(ty: AggTy, value: PerCpu<'_>) -> Result<Agg, Malformed> {
    let int = |bits: u64| integer(bits, ty.signed);
    Ok(match ty.kind {
        AggKind::Count => Agg::Number(Integer::Signed(total(value, 0)? as i64)),
        AggKind::Sum => Agg::Number(int(total(value, 0)?)),
        AggKind::Min | AggKind::Max => {
            // The largest rank is that of the smallest or largest value, see `AggStorage`.
            let mut best = None;
            for cpu in value.iter() {
                if u64_at(cpu, 8)? != 0 {
                    best = best.max(Some(u64_at(cpu, 0)?));
                }
            }
            Agg::Number(int(best.map_or(0, |rank| unrank(ty, rank))))
        }
        AggKind::Avg => {
            let (count, total) = (total(value, 0)?, total(value, 8)?);
            Agg::Number(int(total).divided_by(count))
        }
        AggKind::Stats => {
            let (count, total) = (total(value, 0)?, total(value, 8)?);
            Agg::Stats {
                count,
                average: int(total).divided_by(count),
                total: int(total),
            }
        }
        AggKind::Hist { .. } | AggKind::Lhist { .. } | AggKind::Tseries { .. } => {
            return Err(Malformed);
        }
    })
}

/// Collects the entries of a map whose key ends in a bucket or slot number.
#[derive(Debug)]
pub struct Regroup {
    ty: AggTy,
    groups: HashMap<Vec<u8>, Group>,
}

#[derive(Debug)]
enum Group {
    Buckets(Vec<u64>),
    /// By epoch: value and count (or time of update).
    Series(HashMap<u64, (u64, u64)>),
}

impl Regroup {
    /// For a map with this aggregation.
    pub fn new(ty: AggTy) -> Self {
        Self {
            ty,
            groups: HashMap::new(),
        }
    }

    /// Adds one entry: the map's whole key, of which the first `key_size` bytes are the
    /// script's and the last eight the bucket.
    ///
    /// # Errors
    /// [`Malformed`] if key or value are too short or the bucket is out of range.
    pub fn add(&mut self, key: &[u8], key_size: u32, value: PerCpu<'_>) -> Result<(), Malformed> {
        let bucket_at = key.len().checked_sub(8).ok_or(Malformed)?;
        let user = key.get(..key_size as usize).ok_or(Malformed)?;
        let bucket = u64_at(key, bucket_at)?;
        let series = matches!(self.ty.kind, AggKind::Tseries { .. });
        // Two look-ups instead of an entry: most keys are there already, and need no copy.
        if !self.groups.contains_key(user) {
            let group = if series {
                Group::Series(HashMap::new())
            } else {
                Group::Buckets(Vec::new())
            };
            self.groups.insert(user.to_vec(), group);
        }
        match self.groups.get_mut(user) {
            Some(Group::Buckets(counts)) => {
                if bucket >= MAX_BUCKETS {
                    return Err(Malformed);
                }
                let at = bucket as usize;
                if counts.len() <= at {
                    counts.resize(at + 1, 0);
                }
                counts[at] = counts[at].wrapping_add(total(value, 0)?);
            }
            Some(Group::Series(points)) => {
                for cpu in value.iter() {
                    let (epoch, v, count) = (u64_at(cpu, 0)?, u64_at(cpu, 8)?, u64_at(cpu, 16)?);
                    if count != 0 && epoch != SERIES_BUSY {
                        let old = points.get(&epoch).copied();
                        points.insert(epoch, combine(self.ty, old, (v, count)));
                    }
                }
            }
            None => return Err(Malformed),
        }
        Ok(())
    }

    /// The aggregation of each key, in no particular order.
    pub fn finish(self) -> impl Iterator<Item = (Vec<u8>, Agg)> {
        let ty = self.ty;
        self.groups.into_iter().map(move |(key, group)| {
            let agg = match group {
                Group::Buckets(mut counts) => {
                    trim(&mut counts);
                    Agg::Buckets(counts)
                }
                Group::Series(points) => Agg::Series(series(ty, points)),
            };
            (key, agg)
        })
    }
}

/// The points of a series by age. A slot that was not written for a whole round holds an epoch
/// that is out of the window: it is left out.
fn series(ty: AggTy, points: HashMap<u64, (u64, u64)>) -> Vec<Point> {
    let AggKind::Tseries { intervals, agg, .. } = ty.kind else {
        return Vec::new();
    };
    let newest = points.keys().copied().max().unwrap_or(0);
    let mut list: Vec<_> = points
        .into_iter()
        .filter(|(epoch, _)| newest - epoch < u64::from(intervals))
        .map(|(epoch, (v, count))| Point {
            epoch,
            value: match agg {
                TseriesAgg::Avg => integer(v, ty.signed).divided_by(count),
                _ => integer(v, ty.signed),
            },
        })
        .collect();
    list.sort_unstable_by_key(|p| p.epoch);
    list
}

/// Joins what two CPUs recorded of one interval.
fn combine(ty: AggTy, old: Option<(u64, u64)>, new: (u64, u64)) -> (u64, u64) {
    let (Some((v, c)), AggKind::Tseries { agg, .. }) = (old, ty.kind) else {
        return new;
    };
    let bound = |kind| {
        let ty = AggTy { kind, ..ty };
        let best = if better(ty, new.0, v) { new.0 } else { v };
        (best, c.wrapping_add(new.1))
    };
    match agg {
        TseriesAgg::Last if new.1 > c => new,
        TseriesAgg::Last => (v, c),
        TseriesAgg::Avg | TseriesAgg::Sum => (v.wrapping_add(new.0), c.wrapping_add(new.1)),
        TseriesAgg::Min => bound(AggKind::Min),
        TseriesAgg::Max => bound(AggKind::Max),
    }
}

/// The value of a rank; ranks are their own inverse.
fn unrank(ty: AggTy, rank: u64) -> u64 {
    let sign = if ty.signed { 1 << 63 } else { 0 };
    match ty.kind {
        AggKind::Min => !(rank ^ sign),
        _ => rank ^ sign,
    }
}

/// Whether `a` replaces `b` as minimum or maximum.
fn better(ty: AggTy, a: u64, b: u64) -> bool {
    let less = |a: u64, b: u64| match ty.signed {
        true => (a as i64) < b as i64,
        false => a < b,
    };
    match ty.kind {
        AggKind::Min => less(a, b),
        _ => less(b, a),
    }
}

fn total(value: PerCpu<'_>, at: usize) -> Result<u64, Malformed> {
    let mut sum = 0u64;
    for cpu in value.iter() {
        sum = sum.wrapping_add(u64_at(cpu, at)?);
    }
    Ok(sum)
}

fn integer(bits: u64, signed: bool) -> Integer {
    if signed {
        Integer::Signed(bits as i64)
    } else {
        Integer::Unsigned(bits)
    }
}

fn trim(counts: &mut Vec<u64>) {
    let used = counts.iter().rposition(|&c| c != 0).map_or(0, |i| i + 1);
    counts.truncate(used);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    fn ty(kind: AggKind) -> AggTy {
        AggTy { kind, signed: true }
    }

    fn number(kind: AggKind, words: &[u64], stride: usize) -> Agg {
        let b = bytes(words);
        reduce(ty(kind), AggStorage::Value, PerCpu::new(&b, stride)).unwrap()
    }

    fn signed(v: i64) -> Agg {
        Agg::Number(Integer::Signed(v))
    }

    #[test]
    fn counts_and_sums_add_up_over_cpus() {
        assert_eq!(number(AggKind::Count, &[1, 2, 3], 8), signed(6));
        assert_eq!(number(AggKind::Sum, &[-5i64 as u64, 2], 8), signed(-3));
    }

    #[test]
    fn minimum_ignores_cpus_that_have_none() {
        let run = |kind, signed, values: &[i64]| {
            let ty = AggTy { kind, signed };
            // The first CPU has no value.
            let mut words = vec![0, 0];
            words.extend(values.iter().flat_map(|&v| [unrank(ty, v as u64), 1]));
            let b = bytes(&words);
            reduce(ty, AggStorage::Value, PerCpu::new(&b, 16)).unwrap()
        };
        assert_eq!(run(AggKind::Min, true, &[7, -3]), signed(-3));
        assert_eq!(run(AggKind::Max, true, &[7, -3]), signed(7));
        assert_eq!(run(AggKind::Max, true, &[]), signed(0));
        let unsigned = |v| Agg::Number(Integer::Unsigned(v));
        assert_eq!(run(AggKind::Max, false, &[-3, 7]), unsigned(-3i64 as u64));
        assert_eq!(run(AggKind::Min, false, &[-3, 7]), unsigned(7));
    }

    #[test]
    fn averages_weigh_cpus_by_their_counts() {
        assert_eq!(number(AggKind::Avg, &[1, 3, 1, 5], 16), signed(4));
        assert_eq!(number(AggKind::Avg, &[0, 0], 16), signed(0));
        assert_eq!(
            number(AggKind::Stats, &[1, 3, 1, 5], 16),
            Agg::Stats {
                count: 2,
                average: Integer::Signed(4),
                total: Integer::Signed(8),
            }
        );
    }

    #[test]
    fn buckets_in_the_key_are_gathered_by_the_scripts_key() {
        let mut r = Regroup::new(ty(AggKind::Hist { bits: 0 }));
        let one = bytes(&[1, 1]);
        for (key, bucket) in [(7, 2), (7, 0), (9, 1)] {
            r.add(&bytes(&[key, bucket]), 8, PerCpu::new(&one, 8))
                .unwrap();
        }
        let mut all: Vec<_> = r.finish().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(all[0], (bytes(&[7]), Agg::Buckets(vec![2, 0, 2])));
        assert_eq!(all[1], (bytes(&[9]), Agg::Buckets(vec![0, 2])));
        let mut r = Regroup::new(ty(AggKind::Hist { bits: 0 }));
        assert_eq!(
            r.add(&bytes(&[1, u64::MAX]), 8, PerCpu::new(&one, 8)),
            Err(Malformed)
        );
    }

    #[test]
    fn series_joins_cpus_and_drops_stale_slots() {
        let point = |epoch, v| Point {
            epoch,
            value: Integer::Signed(v),
        };
        let run = |agg| {
            let kind = AggKind::Tseries {
                interval: 1,
                intervals: 3,
                agg,
            };
            let mut r = Regroup::new(ty(kind));
            // CPU 0 and 1: epoch, value, count.
            let slots = [[12, 4, 1, 12, 8, 3], [13, 1, 1, 10, 9, 1]];
            for (slot, words) in slots.iter().enumerate() {
                let key = bytes(&[slot as u64]);
                r.add(&key, 0, PerCpu::new(&bytes(words), 24)).unwrap();
            }
            r.finish().next().unwrap().1
        };
        let expect = |v| Agg::Series(vec![point(12, v), point(13, 1)]);
        assert_eq!(run(TseriesAgg::Sum), expect(12));
        assert_eq!(run(TseriesAgg::Avg), expect(3));
        assert_eq!(run(TseriesAgg::Max), expect(8));
        assert_eq!(run(TseriesAgg::Last), expect(8));
    }
}
