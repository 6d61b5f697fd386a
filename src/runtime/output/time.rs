//! Points in time as text: `time()`, `strftime()` and the rows of time series.
//!
//! Formats are those of strftime(3) with three extras: `%f` microseconds (six digits), `%l`
//! milliseconds, `%k` nanoseconds of the second. Times are in the local time zone.

use std::fmt::Write as _;

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// What the clocks of the kernel must be corrected by to give wall-clock time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Real time minus time since boot.
    pub boot: i64,
    /// Real time minus monotonic time.
    pub monotonic: i64,
    /// Real time minus international atomic time.
    pub tai: i64,
}

impl Clocks {
    /// The nanosecond of the epoch for a reading of a clock, numbered as in
    /// [`crate::object::Layout::Timestamp`].
    pub fn wall(&self, clock: u32, nanoseconds: u64) -> i128 {
        let offset = match clock {
            0 => self.boot,
            1 => self.monotonic,
            2 => self.tai,
            _ => 0,
        };
        i128::from(nanoseconds) + i128::from(offset)
    }
}

/// Appends the present time.
pub fn now(format: &str, out: &mut Vec<u8>) {
    append(&Zoned::now(), format, out);
}

/// Appends the time `nanoseconds` after the epoch.
pub fn at(nanoseconds: i128, format: &str, out: &mut Vec<u8>) {
    match Timestamp::from_nanosecond(nanoseconds) {
        Ok(t) => append(&t.to_zoned(TimeZone::system()), format, out),
        // Beyond the year 9999.
        Err(_) => out.extend_from_slice(nanoseconds.to_string().as_bytes()),
    }
}

fn append(time: &Zoned, format: &str, out: &mut Vec<u8>) {
    let format = expand(format, time.subsec_nanosecond());
    match BrokenDownTime::from(time).to_string(&format) {
        Ok(text) => out.extend_from_slice(text.as_bytes()),
        // A conversion that strftime does not know: C prints it as it is.
        Err(_) => lenient(time, &format, out),
    }
}

/// Replaces the extras and leaves everything else to strftime.
fn expand(format: &str, nanosecond: i32) -> String {
    let mut out = String::with_capacity(format.len() + 8);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        // Writing to a string cannot fail.
        let _ = match chars.next() {
            Some('f') => write!(out, "{:06}", nanosecond / 1_000),
            Some('l') => write!(out, "{:03}", nanosecond / 1_000_000),
            Some('k') => write!(out, "{nanosecond:09}"),
            // As in the POSIX locale.
            Some('c') => write!(out, "%a %b %e %H:%M:%S %Y"),
            Some('x') => write!(out, "%m/%d/%y"),
            Some('X') => write!(out, "%H:%M:%S"),
            Some('r') => write!(out, "%I:%M:%S %p"),
            Some(c) => write!(out, "%{c}"),
            None => write!(out, "%%"),
        };
    }
    out
}

/// Formats conversion by conversion; unknown ones are text.
fn lenient(time: &Zoned, format: &str, out: &mut Vec<u8>) {
    let broken = BrokenDownTime::from(time);
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.extend_from_slice(&rest.as_bytes()[..start]);
        let spec = &rest[start..];
        let letter = spec[1..]
            .char_indices()
            .find(|(_, c)| !matches!(c, '-' | '_' | '0' | '^' | '#' | 'E' | 'O'))
            .map_or(spec.len(), |(i, c)| 1 + i + c.len_utf8());
        let (spec, tail) = spec.split_at(letter);
        match broken.to_string(spec) {
            Ok(text) => out.extend_from_slice(text.as_bytes()),
            Err(_) => out.extend_from_slice(spec.as_bytes()),
        }
        rest = tail;
    }
    out.extend_from_slice(rest.as_bytes());
}

/// How finely the rows of a time series are labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeriesUnit {
    /// Head of the column of times.
    pub head: &'static str,
    /// Format of a row.
    pub format: &'static str,
    /// Characters of the column.
    pub width: usize,
}

impl SeriesUnit {
    /// The unit for rows this many nanoseconds apart; `None` for a single row.
    pub fn for_distance(distance: Option<u64>) -> Self {
        let (head, format, width) = match distance {
            Some(1_000_000_000..) => ("hh:mm:ss", "%H:%M:%S", 8),
            Some(1_000_000..) => ("hh:mm:ss.ms", "%H:%M:%S.%l", 12),
            Some(1_000..) => ("hh:mm:ss.us", "%H:%M:%S.%f", 15),
            _ => ("hh:mm:ss.ns", "%H:%M:%S.%k", 18),
        };
        Self {
            head,
            format,
            width,
        }
    }
}

/// Format of the times of a series in JSON.
pub(super) const SERIES_JSON: &str = "%Y-%m-%d %H:%M:%S.%k";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ns: i128, format: &str) -> String {
        let mut out = Vec::new();
        append(
            &Timestamp::from_nanosecond(ns)
                .unwrap()
                .to_zoned(TimeZone::UTC),
            format,
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fractions_are_our_own_conversions() {
        let ns = 1_700_000_000_012_345_678;
        assert_eq!(text(ns, "%H:%M:%S.%f"), "22:13:20.012345");
        assert_eq!(text(ns, "%l|%k|%%f"), "012|012345678|%f");
        assert_eq!(text(ns, "%Y-%m-%d %j"), "2023-11-14 318");
        assert_eq!(text(ns, "%c|%x"), "Tue Nov 14 22:13:20 2023|11/14/23");
    }

    #[test]
    fn unknown_conversions_are_text() {
        assert_eq!(text(0, "%H%!x%"), "00%!x%");
    }

    #[test]
    fn clocks_are_corrected() {
        let c = Clocks {
            boot: 10,
            monotonic: 20,
            tai: -37,
        };
        assert_eq!(c.wall(0, 5), 15);
        assert_eq!(c.wall(2, 100), 63);
        assert_eq!(c.wall(3, 5), 5);
    }
}
