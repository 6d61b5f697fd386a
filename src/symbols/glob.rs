//! Wildcard patterns of probe names: `*` stands for any text, everything else for itself.
//!
//! In: the text of a pattern. Out: whether a name matches as a whole. Matching is linear in the
//! name for each literal piece and never backtracks.

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    /// The literal pieces between the stars, in order.
    pieces: Vec<Box<[u8]>>,
    /// The text starts with a star.
    open_start: bool,
    /// The text ends with a star.
    open_end: bool,
}

impl Glob {
    /// Compiles `text`; without a star it matches exactly itself.
    pub fn new(text: &str) -> Self {
        Self {
            pieces: text
                .split('*')
                .filter(|p| !p.is_empty())
                .map(|p| p.as_bytes().into())
                .collect(),
            open_start: text.starts_with('*'),
            open_end: text.ends_with('*'),
        }
    }

    /// Whether `name` as a whole matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        let Some((last, rest)) = self.pieces.split_last() else {
            return self.open_start || name.is_empty();
        };
        let mut name = name;
        let mut at_start = !self.open_start;
        for piece in rest {
            let found = if at_start {
                name.starts_with(piece).then_some(0)
            } else {
                find(name, piece)
            };
            let Some(at) = found else { return false };
            name = &name[at + piece.len()..];
            at_start = false;
        }
        match (at_start, self.open_end) {
            (true, true) => name.starts_with(last),
            (true, false) => name == &**last,
            (false, true) => find(name, last).is_some(),
            (false, false) => name.ends_with(last),
        }
    }

    /// The literal pieces between the stars.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|p| &**p)
    }
}

/// Where `needle` (not empty) first occurs.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (&first, tail) = needle.split_first()?;
    let last_start = haystack.len().checked_sub(needle.len())?;
    let mut at = 0;
    while at <= last_start {
        at += haystack[at..=last_start].iter().position(|&b| b == first)?;
        if haystack[at + 1..].starts_with(tail) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, expected) in [
            ("uv_*", "uv_listen", true),
            ("uv_*", "my_uv_listen", false),
            ("*Socket*Listen*", "node::SocketWrap::Listen(int)", true),
            ("*Socket*Listen*", "node::Listen::Socket", false),
            ("*", "", true),
            ("*", "x", true),
            ("**", "x", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a_b_b_c", true),
            ("*abc", "ababc", true),
            ("abc", "abcd", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(name.as_bytes()),
                expected,
                "{pattern} on {name}"
            );
        }
    }
}
