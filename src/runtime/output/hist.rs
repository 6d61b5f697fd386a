//! Histograms and time series: bucket edges, labels, bars, plots.
//!
//! Bucket numbers are those that the programs compute: for `hist` with `k` bits 0 is negative,
//! `1..=2<<k` single values from 0, then `2^k` buckets per power of two; for `lhist` 0 is below
//! the minimum, the last is at or above the maximum.

use super::json;
use super::names::push_display;
use super::time::{self, Clocks, SeriesUnit};
use super::value::Integer;
use crate::runtime::aggregate::Point;
use crate::types::AggKind;

/// Width of the longest bar.
const BAR: usize = 52;
/// Width of the plot of a time series, borders included.
const PLOT: usize = 53;

/// The values that fall into a bucket; no bound means open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edges {
    /// Lowest value.
    lo: Option<i128>,
    /// Highest value.
    hi: Option<i128>,
}

/// A histogram whose buckets can be named.
#[derive(Clone, Copy, Debug)]
pub struct Scale(AggKind);

impl Scale {
    /// The scale of `hist` or `lhist`; of anything else there is none.
    pub fn new(kind: AggKind) -> Option<Self> {
        matches!(kind, AggKind::Hist { .. } | AggKind::Lhist { .. }).then_some(Self(kind))
    }

    /// Whether `print(@m, top, div)` divides the counts.
    pub fn divides(self) -> bool {
        matches!(self.0, AggKind::Hist { .. })
    }

    fn edges(self, bucket: usize) -> Edges {
        let at = bucket as i128;
        match self.0 {
            AggKind::Lhist { min, max, step } => {
                let (min, max) = (i128::from(min), i128::from(max));
                let step = i128::from(step.max(1));
                let lo = min + step * (at - 1);
                let is_last = at > (max - min) / step;
                Edges {
                    lo: (bucket > 0).then_some(lo),
                    hi: (!is_last).then_some(lo + step - 1),
                }
            }
            AggKind::Hist { bits } => Edges {
                lo: (bucket > 0).then(|| log_edge(bucket, bits)),
                hi: Some(log_edge(bucket + 1, bits) - 1),
            },
            _ => Edges { lo: None, hi: None },
        }
    }

    fn label(self, bucket: usize, out: &mut Vec<u8>) {
        let e = self.edges(bucket);
        let past = |hi: i128| hi + 1;
        match (e.lo, e.hi) {
            (Some(lo), Some(hi)) if lo == hi => {
                out.push(b'[');
                self.edge(lo, bucket, out);
                out.push(b']');
            }
            (Some(lo), Some(hi)) => {
                out.push(b'[');
                self.edge(lo, bucket, out);
                out.extend_from_slice(b", ");
                self.edge(past(hi), bucket + 1, out);
                out.push(b')');
            }
            (Some(lo), None) => {
                out.push(b'[');
                self.edge(lo, bucket, out);
                out.extend_from_slice(b", ...)");
            }
            (None, Some(hi)) => {
                out.extend_from_slice(b"(..., ");
                self.edge(past(hi), bucket + 1, out);
                out.push(b')');
            }
            (None, None) => out.extend_from_slice(b"(...)"),
        }
    }

    /// Appends the lower edge of `bucket`, which is `v`, with its unit.
    fn edge(self, v: i128, bucket: usize, out: &mut Vec<u8>) {
        match self.0 {
            AggKind::Hist { bits } if bucket > 2 << bits => {
                let (power, interval) = log_parts(bucket, bits);
                let decade = power / 10;
                let shown = ((1u64 << bits) + interval) << (power - 10 * decade);
                let unit = ["", "K", "M", "G", "T", "P", "E"];
                let unit = unit.get(decade as usize).copied().unwrap_or("");
                push_display(out, format_args!("{shown}{unit}"));
            }
            AggKind::Lhist { step, .. } if step % 1024 == 0 && v != 0 => match v {
                v if v % (1 << 20) == 0 => push_display(out, format_args!("{}M", v >> 20)),
                v if v % (1 << 10) == 0 => push_display(out, format_args!("{}K", v >> 10)),
                v => push_display(out, v),
            },
            _ => push_display(out, v),
        }
    }
}

/// Power of two and step within it of a bucket past the single values.
fn log_parts(bucket: usize, bits: u8) -> (u32, u64) {
    let q = bucket.saturating_sub(1) as u64;
    let power = ((q >> bits) as u32).saturating_sub(1);
    (power.min(63), q & ((1 << bits) - 1))
}

fn log_edge(bucket: usize, bits: u8) -> i128 {
    if bucket <= 2 << bits {
        return bucket as i128 - 1;
    }
    let (power, interval) = log_parts(bucket, bits);
    i128::from((1u64 << bits) + interval) << power
}

/// First and last bucket that are not empty.
fn used(counts: &[u64]) -> Option<(usize, usize)> {
    let first = counts.iter().position(|&c| c != 0)?;
    let last = counts.iter().rposition(|&c| c != 0)?;
    Some((first, last))
}

/// Appends the rows of a histogram, counts divided by `div`, and the empty line after them.
pub fn text(scale: Scale, counts: &[u64], div: u64, out: &mut Vec<u8>) {
    let div = if scale.divides() { div.max(1) } else { 1 };
    if let Some((first, last)) = used(counts) {
        let most = counts.iter().map(|c| c / div).max().unwrap_or(0).max(1);
        for (i, count) in counts.iter().enumerate().take(last + 1).skip(first) {
            let count = count / div;
            let start = out.len();
            scale.label(i, out);
            let label = out.len() - start;
            let gap = 16usize.saturating_sub(label);
            let bar = (count as f64 / most as f64 * BAR as f64) as usize;
            push_display(
                out,
                format_args!(
                    "{:gap$}{count:8} |{:@<bar$}{:rest$}|\n",
                    "",
                    "",
                    "",
                    rest = BAR - bar
                ),
            );
        }
    }
    out.push(b'\n');
}

/// The rows of a histogram: what falls into each bucket from the first to the last that is not
/// empty, and how often.
pub fn rows(scale: Scale, counts: &[u64]) -> Vec<(String, u64)> {
    let Some((first, last)) = used(counts) else {
        return Vec::new();
    };
    let row = |i: usize| {
        let mut label = Vec::new();
        scale.label(i, &mut label);
        (String::from_utf8_lossy(&label).into_owned(), counts[i])
    };
    (first..=last).map(row).collect()
}

/// Appends a histogram as a JSON array.
pub fn json(scale: Scale, counts: &[u64], div: u64, out: &mut Vec<u8>) {
    let div = if scale.divides() { div.max(1) } else { 1 };
    out.push(b'[');
    if let Some((first, last)) = used(counts) {
        for (i, count) in counts.iter().enumerate().take(last + 1).skip(first) {
            if i > first {
                out.push(b',');
            }
            out.push(b'{');
            let e = scale.edges(i);
            for (name, bound) in [("min", e.lo), ("max", e.hi)] {
                if let Some(v) = bound {
                    push_display(out, format_args!("\"{name}\": "));
                    json::wide(v, out);
                    out.extend_from_slice(b", ");
                }
            }
            out.extend_from_slice(b"\"count\": ");
            json::number(Integer::Unsigned(count / div), out);
            out.push(b'}');
        }
    }
    out.push(b']');
}

/// Appends the plot of a time series and the empty line after it; `interval` is nanoseconds.
pub fn series_text(points: &[Point], interval: u64, clocks: &Clocks, out: &mut Vec<u8>) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        out.extend_from_slice(b"<no data>\n\n");
        return;
    };
    let unit = SeriesUnit::for_distance((points.len() > 1).then_some(interval));
    let gap = unit.width + 1;
    let mut lo = points.iter().map(|p| p.value.wide()).min().unwrap_or(0);
    let mut hi = points.iter().map(|p| p.value.wide()).max().unwrap_or(0);
    if lo == hi {
        (lo, hi) = (lo - 1, hi + 1);
    }
    let column = |v: i128| ((PLOT - 1) as f64 * (v - lo) as f64 / (hi - lo) as f64) as usize;
    let scale = format!("{:gap$}{lo:<21}{hi:>32}\n", "");
    out.extend_from_slice(scale.as_bytes());
    push_display(out, format_args!("{:<gap$}|{:_<51}|\n", unit.head, ""));

    let mut next = points.iter().peekable();
    for epoch in first.epoch..=last.epoch {
        let start = out.len();
        let wall = clocks.wall(2, epoch.wrapping_mul(interval));
        time::at(wall, unit.format, out);
        let label = out.len() - start;
        push_display(out, format_args!("{:1$}", "", gap.saturating_sub(label)));
        let mut row = [b' '; PLOT];
        (row[0], row[PLOT - 1]) = (b'|', b'|');
        match next.next_if(|p| p.epoch == epoch) {
            Some(p) => {
                if lo < 0 && hi > 0 {
                    row[column(0)] = b'.';
                }
                row[column(p.value.wide()).min(PLOT - 1)] = b'*';
                out.extend_from_slice(&row);
                out.push(b' ');
                push_display(out, p.value.wide());
            }
            None => {
                out.extend_from_slice(&row);
                out.extend_from_slice(b" -");
            }
        }
        out.push(b'\n');
    }
    push_display(out, format_args!("{:gap$}v{:_<51}v\n", "", ""));
    out.extend_from_slice(scale.as_bytes());
    out.push(b'\n');
}

/// Appends a time series as a JSON array of the intervals that have a value.
pub fn series_json(points: &[Point], interval: u64, clocks: &Clocks, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, p) in points.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"interval_start\":\"");
        let wall = clocks.wall(2, p.epoch.wrapping_mul(interval));
        time::at(wall, time::SERIES_JSON, out);
        out.extend_from_slice(b"\",\"value\":");
        json::number(p.value, out);
        out.push(b'}');
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bucket of `n`, as programs compute it.
    fn log_bucket(n: i64, k: u32) -> usize {
        if n < 0 {
            return 0;
        }
        if n < 1 << k {
            return 1 + n as usize;
        }
        let l = n.ilog2();
        let b = (n >> (l - k)) as usize & ((1 << k) - 1);
        1 + (((l - k + 1) as usize) << k) + b
    }

    #[test]
    fn every_value_lies_between_the_edges_of_its_bucket() {
        for bits in 0..=5u8 {
            let scale = Scale::new(AggKind::Hist { bits }).unwrap();
            let values = [
                -5,
                0,
                1,
                2,
                3,
                31,
                32,
                63,
                64,
                100,
                1023,
                1024,
                1 << 40,
                i64::MAX,
            ];
            for n in values {
                let e = scale.edges(log_bucket(n, bits.into()));
                assert!(e.lo.is_none_or(|lo| lo <= n.into()), "{n} {bits} {e:?}");
                assert!(
                    e.hi.is_none_or(|hi| i128::from(n) <= hi),
                    "{n} {bits} {e:?}"
                );
            }
        }
    }

    fn label(kind: AggKind, bucket: usize) -> String {
        let mut out = Vec::new();
        Scale::new(kind).unwrap().label(bucket, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn labels_have_units() {
        let log = |n, bits: u8| label(AggKind::Hist { bits }, log_bucket(n, bits.into()));
        assert_eq!(log(-1, 0), "(..., 0)");
        assert_eq!(log(1, 0), "[1]");
        assert_eq!(log(600, 0), "[512, 1K)");
        assert_eq!(log(1 << 20, 0), "[1M, 2M)");
        assert_eq!(log(1 << 62, 0), "[4E, 8E)");
        assert_eq!(log(1000, 2), "[896, 1024)");
        assert_eq!(log(1100, 2), "[1024, 1280)");
        assert_eq!(log(4096, 2), "[4K, 5K)");
        let linear = |min, max, step, b| label(AggKind::Lhist { min, max, step }, b);
        assert_eq!(linear(0, 8192, 1024, 0), "(..., 0)");
        assert_eq!(linear(0, 8192, 1024, 1), "[0, 1K)");
        assert_eq!(linear(0, 8192, 1024, 9), "[8K, ...)");
        assert_eq!(linear(0, 10, 1, 4), "[3]");
        assert_eq!(linear(5, 45, 10, 1), "[5, 15)");
    }

    #[test]
    fn bars_are_proportional_and_counts_divided() {
        let mut out = Vec::new();
        let scale = Scale::new(AggKind::Hist { bits: 0 }).unwrap();
        text(scale, &[0, 4, 0, 2], 2, &mut out);
        let bar = |n: usize| format!("|{:<52}|", "@".repeat(n));
        let expect = format!(
            "[0]                    2 {}\n[1]                    0 {}\n[2, 4)                 1 {}\n\n",
            bar(52),
            bar(0),
            bar(26)
        );
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn series_has_scale_rows_and_holes() {
        let point = |epoch, v| Point {
            epoch,
            value: Integer::Signed(v),
        };
        let mut out = Vec::new();
        let points = [point(10, 4), point(12, 9), point(13, 6)];
        series_text(&points, 1_000_000_000, &Clocks::default(), &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!(lines[0], format!("{:9}4{:51}9", "", ""));
        assert_eq!(lines[1], format!("hh:mm:ss |{}|", "_".repeat(51)));
        assert_eq!(&lines[2][8..], format!(" *{:51}| 4", ""));
        assert_eq!(&lines[3][8..], format!(" |{:51}| -", ""));
        assert_eq!(&lines[4][8..], format!(" |{:51}* 9", ""));
        assert_eq!(&lines[5][8..], format!(" |{:19}*{:31}| 6", "", ""));
        assert_eq!(lines[6], format!("{:9}v{}v", "", "_".repeat(51)));
        assert_eq!(lines[7], lines[0]);
        assert_eq!(&lines[8..], ["", ""]);
    }

    #[test]
    fn series_of_equal_values_is_centred() {
        let mut out = Vec::new();
        let p = Point {
            epoch: 1,
            value: Integer::Signed(5),
        };
        series_text(&[p], 1_000, &Clocks::default(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(&format!("{:19}4{:51}6\n", "", "")));
        assert!(text.contains(&format!(" |{:25}*{:25}| 5\n", "", "")));
    }
}
