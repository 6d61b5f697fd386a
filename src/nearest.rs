//! The names nearest to one that does not exist, out of hundreds of thousands.
//!
//! In: the wanted name, then every name there is. Out: the few best by edit distance over the
//! lower-cased text. A name whose last component is the wanted one (`Listen` for
//! `node::TCPWrap::Listen`) is near however long its path. Each offer costs little: length and
//! letter counts dismiss almost every name before a distance is computed.

use std::collections::HashSet;

/// Collects the names nearest to one text.
pub struct Nearest {
    wanted: Vec<u8>,
    last: Vec<u8>,
    counts: [u16; 256],
    keep: usize,
    limit: usize,
    /// Best first: distance, name.
    best: Vec<(usize, String)>,
    seen: HashSet<String>,
    row: Vec<usize>,
    lower: Vec<u8>,
}

impl Nearest {
    /// Looks for up to `keep` names near `wanted`.
    pub fn new(wanted: &str, keep: usize) -> Self {
        let wanted = wanted.to_ascii_lowercase().into_bytes();
        let mut counts = [0u16; 256];
        for &b in &wanted {
            counts[usize::from(b)] = counts[usize::from(b)].saturating_add(1);
        }
        Self {
            last: last_component(&wanted).to_vec(),
            // A third of the letters may differ: more is another name. Two letters that changed
            // places are two that differ.
            limit: (wanted.len() / 3).clamp(1 + usize::from(wanted.len() > 4), 12),
            wanted,
            counts,
            keep,
            best: Vec::new(),
            seen: HashSet::new(),
            row: Vec::new(),
            lower: Vec::new(),
        }
    }

    /// Considers one existing name.
    pub fn offer(&mut self, name: &str) {
        if self.wanted.is_empty() || name.is_empty() {
            return;
        }
        let mut lower = std::mem::take(&mut self.lower);
        lower.clear();
        lower.extend(name.bytes().map(|b| b.to_ascii_lowercase()));
        if let Some(distance) = self.distance(&lower) {
            self.insert(distance, name);
        }
        self.lower = lower;
    }

    /// The names found, best first.
    pub fn into_names(self) -> Vec<String> {
        self.best.into_iter().map(|(_, name)| name).collect()
    }

    fn distance(&mut self, name: &[u8]) -> Option<usize> {
        let direct = self.edit_distance(name);
        let last = last_component(name);
        // Same last component, other path: near, but a close spelling of the whole is nearer.
        let suffix = (last.len() != name.len() && last == self.last && last.len() > 2)
            .then_some(2 + self.limit / 2);
        direct.into_iter().chain(suffix).min()
    }

    /// The distance if it is within the limit that still counts.
    fn edit_distance(&mut self, name: &[u8]) -> Option<usize> {
        let worst = match self.best.last() {
            Some((d, _)) if self.best.len() == self.keep => (*d).min(self.limit),
            _ => self.limit,
        };
        let wanted = &self.wanted;
        if wanted.len().abs_diff(name.len()) > worst {
            return None;
        }
        // Letters that the name has too many of must each be edited away.
        let mut left = self.counts;
        let mut extra = 0;
        for &b in name {
            let n = &mut left[usize::from(b)];
            if *n == 0 {
                extra += 1;
            } else {
                *n -= 1;
            }
        }
        if extra > worst {
            return None;
        }
        let row = &mut self.row;
        row.clear();
        row.extend(0..=name.len());
        for (i, &w) in wanted.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            let mut least = row[0];
            for (j, &n) in name.iter().enumerate() {
                let replace = diagonal + usize::from(w != n);
                diagonal = row[j + 1];
                row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
                least = least.min(row[j + 1]);
            }
            if least > worst {
                return None;
            }
        }
        (row[name.len()] <= worst).then_some(row[name.len()])
    }

    fn insert(&mut self, distance: usize, name: &str) {
        let at = self
            .best
            .partition_point(|(d, n)| (*d, n.as_str()) < (distance, name));
        if at >= self.keep || !self.seen.insert(name.to_owned()) {
            return;
        }
        self.best.insert(at, (distance, name.to_owned()));
        self.best.truncate(self.keep);
    }
}

/// What follows the last `::` or, in Go names, the last dot.
fn last_component(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|&b| b == b':' || b == b'.') {
        Some(at) => &name[at + 1..],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(wanted: &str, names: &[&str]) -> Vec<String> {
        let mut nearest = Nearest::new(wanted, 3);
        names.iter().for_each(|n| nearest.offer(n));
        nearest.into_names()
    }

    #[test]
    fn typing_errors_come_first_and_strangers_not_at_all() {
        assert_eq!(
            near(
                "uv_lisen",
                &["uv_close", "uv_listen", "uv_tcp_listen", "malloc"]
            ),
            ["uv_listen"]
        );
        assert_eq!(near("addnum", &["AddNum", "add"]), ["AddNum"]);
    }

    #[test]
    fn a_bare_method_name_finds_its_classes() {
        assert_eq!(
            near(
                "Listen",
                &["node::TCPWrap::Listen", "node::Environment", "listen"]
            ),
            ["listen", "node::TCPWrap::Listen"]
        );
        assert_eq!(
            near(
                "nod::TCPWrap::Listen",
                &["node::TCPWrap::Listen", "node::PipeWrap::Listen"]
            )[0],
            "node::TCPWrap::Listen"
        );
    }

    #[test]
    fn only_the_best_are_kept_each_once() {
        assert_eq!(
            near(
                "abcdef",
                &["abcdxx", "abcdex", "abcdex", "abcde", "abcdefg"]
            ),
            ["abcde", "abcdefg", "abcdex"]
        );
    }
}
