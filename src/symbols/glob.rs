//! Wildcard patterns of probe names: `*` stands for any text, everything else for itself.
//!
//! In: the text of a pattern. Out: whether a name matches as a whole. Matching is linear in the
//! name for each literal piece and never backtracks.

use memchr::memmem::Finder;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Glob {
    /// The literal pieces between the stars, in order.
    pieces: Vec<Finder<'static>>,
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
                .map(|p| Finder::new(p).into_owned())
                .collect(),
            open_start: text.starts_with('*'),
            open_end: text.ends_with('*'),
        }
    }

    /// The longest text that every match contains.
    pub fn longest_piece(&self) -> Option<&Finder<'static>> {
        self.pieces.iter().max_by_key(|p| p.needle().len())
    }

    /// Whether it has nothing but stars, and matches everything.
    pub fn is_everything(&self) -> bool {
        self.pieces.is_empty() && self.open_start
    }

    /// Whether `name` as a whole matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        let Some((last, rest)) = self.pieces.split_last() else {
            return self.open_start || name.is_empty();
        };
        let mut name = name;
        let mut at_start = !self.open_start;
        for piece in rest {
            let literal = piece.needle();
            let found = if at_start {
                name.starts_with(literal).then_some(0)
            } else {
                piece.find(name)
            };
            let Some(at) = found else { return false };
            name = &name[at + literal.len()..];
            at_start = false;
        }
        match (at_start, self.open_end) {
            (true, true) => name.starts_with(last.needle()),
            (true, false) => name == last.needle(),
            (false, true) => last.find(name).is_some(),
            (false, false) => name.ends_with(last.needle()),
        }
    }
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
