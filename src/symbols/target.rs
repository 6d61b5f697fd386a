//! Which functions a probe target names: plain symbols, C++ and Rust names, wildcards.
//!
//! In: the text after the file in `uprobe:FILE:TEXT` and an index. Out: the functions meant, or
//! why there is no single answer: several distinct functions, each with the spelling to paste,
//! or none, with the nearest names. It decides nothing about attaching; a caller that gets
//! [`Match::Overloads`] for a plain target shows the candidates as an error.
//!
//! A target is tried, in this order, as
//! 1. a symbol as the table spells it (`_ZN2ns1fEi`, `uv_listen`), except for `cpp:` targets;
//! 2. a qualified name (`ns::Class::method`, `ns::tmpl`);
//! 3. a name with its parameters (`ns::f(int, char const*)`);
//! 4. a name with template arguments, with or without parameters (`ns::tmpl<int>`).
//!
//! Spaces count only between two words: `f(unsigned int,char*)` is `f(unsigned int, char*)`;
//! `const char*` is `char const*`; `std::string` is what it abbreviates. Parts that a compiler
//! split off (`[clone .cold]`) are never meant unless the text says so.

use std::borrow::Cow;
use std::collections::HashSet;

use memchr::memmem::Finder;

use super::demangle::{self, Form};
use super::glob::Glob;
use super::index::{RawFilter, Symbol, SymbolIndex};
use crate::nearest::Nearest;

/// How many near names a failure lists.
const SUGGESTIONS: usize = 5;

/// Words that readable names have and manglings need not: types and names with a code of their
/// own, and what demanglers say in their own words.
const ABBREVIATED: &str = "
    std string allocator basic_string basic_istream basic_ostream basic_iostream istream ostream
    iostream char_traits nullptr nullptr_t cxx11
    void bool char char8_t char16_t char32_t wchar_t short int long signed unsigned float double
    __int128 __float128 __bf16 _Float16 _Float32 _Float64 _Float128 decimal32 decimal64 decimal128
    half auto decltype complex imaginary
    const volatile restrict noexcept throw transaction_safe
    operator new delete co_await sizeof alignof typeid true false this friend requires
    const_cast static_cast dynamic_cast reinterpret_cast
    lambda unnamed type anonymous namespace parameter literal default arg block invocation function
    vtable VTT typeinfo name for construction in guard variable reference temporary virtual non
    thunk to covariant return override offset TLS init wrapper initializer module clone abi
    as impl dyn mut closure shim unsafe extern fn str
    u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f16 f32 f64 f128
";

/// The text of a probe target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    canonical: String,
    cpp: bool,
    wildcard: bool,
    /// Parts that a compiler split off are meant as well.
    clones: bool,
}

/// One function that a target names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Readable name with parameters (`ns::f(int)`), or the symbol if it is not mangled. Pasted
    /// as `cpp:"..."` it names this function alone.
    pub spelling: String,
    /// The symbols behind it, one per address. More than one where a constructor has variants
    /// or files of a program have local functions of the same name.
    pub places: Vec<Place>,
}

/// Where a candidate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The symbol as the table spells it.
    pub symbol: String,
    /// Virtual address in the file.
    pub addr: u64,
    /// Bytes; 0 if unknown.
    pub size: u64,
}

/// What a target names in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// One function.
    One(Candidate),
    /// Several distinct functions: what a wildcard or `cpp:` target asks for, an ambiguity for
    /// a plain one. By spelling.
    Overloads(Vec<Candidate>),
    /// Nothing; with the nearest names of the file, best first.
    None(Vec<String>),
}

impl Target {
    /// A plain target: `uv_listen`, `ns::f`, `*Socket*`.
    pub fn plain(text: &str) -> Self {
        Self::new(text, false)
    }

    /// A plain target that also takes parts which a compiler split off functions.
    pub fn with_clones(text: &str) -> Self {
        Self {
            clones: true,
            ..Self::plain(text)
        }
    }

    /// The text of a `cpp:"..."` target, unquoted.
    pub fn cpp(text: &str) -> Self {
        Self::new(text, true)
    }

    fn new(text: &str, cpp: bool) -> Self {
        let text = text.trim();
        Self {
            canonical: canonical(text),
            // A `*` inside parameters is a pointer until nothing has exactly that spelling.
            wildcard: text.contains('*'),
            text: text.to_owned(),
            cpp,
            clones: false,
        }
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether several functions are a proper answer: the text has a wildcard, or it is a
    /// `cpp:` name without a parameter list.
    pub fn takes_all(&self) -> bool {
        (self.wildcard && !self.is_pointer_only()) || (self.cpp && !self.text.contains('('))
    }

    /// Every `*` follows a type and ends it: `f(char*)`, `tmpl<ns::T *>`.
    fn is_pointer_only(&self) -> bool {
        let text = self.canonical.as_bytes();
        let first = text.iter().position(|b| matches!(b, b'(' | b'<'));
        let is_pointer = |at: usize| {
            let before = text[at - 1];
            (demangle::is_ident(before) || matches!(before, b'>' | b'*'))
                && (text[at + 1..].starts_with(b"const")
                    || matches!(text.get(at + 1), Some(b')' | b',' | b'>' | b'*' | b'&')))
        };
        first.is_some_and(|open| {
            (0..text.len())
                .filter(|&at| text[at] == b'*')
                .all(|at| at > open && is_pointer(at))
        })
    }

    /// The functions of `index` that the target names.
    pub fn find(&self, index: &SymbolIndex) -> Match {
        if !self.cpp && !self.wildcard {
            let plain = index.by_name(&self.text);
            if !plain.is_empty() {
                return self.found(plain.into_iter().map(|s| (plain_spelling(&s), s)).collect());
            }
        }
        // A star may be part of a type or an operator.
        if !self.wildcard || self.canonical.contains(['(', '<']) || self.text.contains("operator") {
            let exact = self.by_readable(index, None);
            if !exact.is_empty() {
                return self.found(exact);
            }
        }
        if self.wildcard {
            let glob = Glob::new(&self.canonical);
            let mut all = self.by_readable(index, Some(&glob));
            if !self.cpp {
                // What has matched by its readable name needs no second one.
                let known: HashSet<u64> = all.iter().map(|(_, s)| s.addr).collect();
                let raw = Glob::new(&self.text);
                all.extend(
                    index
                        .matching(&raw)
                        .into_iter()
                        .filter(|s| !known.contains(&s.addr))
                        .filter(|s| self.clones || !is_clone(&s.name))
                        .map(|s| (plain_spelling(&s), s)),
                );
            }
            if !all.is_empty() {
                return self.found(all);
            }
        }
        Match::None(self.nearest(index))
    }

    /// Mangled symbols whose readable name is this target, or matches `glob`.
    fn by_readable<'a>(
        &self,
        index: &'a SymbolIndex,
        glob: Option<&Glob>,
    ) -> Vec<(String, Symbol<'a>)> {
        let mut words = words(&self.canonical, glob.is_some());
        // The longest word dismisses most.
        words.sort_by_key(|w| std::cmp::Reverse(w.len()));
        let words: Vec<Finder<'_>> = words.into_iter().map(Finder::new).collect();
        let keep = |raw: &[u8]| words.iter().all(|w| w.find(raw).is_some());
        let keep: Option<&RawFilter> = if words.is_empty() { None } else { Some(&keep) };
        let wants_clone = self.clones || self.canonical.contains("[clone");
        let everything = glob.is_some_and(Glob::is_everything);
        let run = self.longest_run();
        let mut found = Vec::new();
        index.for_each_signature(words.first(), keep, |symbol, signature| {
            if run
                .as_ref()
                .is_some_and(|r| r.find(signature.as_bytes()).is_none())
                || (!wants_clone && signature.contains(" [clone "))
            {
                return;
            }
            if everything || self.accepts(signature, glob) {
                found.push((signature.to_owned(), symbol));
            }
        });
        found
    }

    /// The longest run of letters and digits in the text. Whatever it names has them as they are:
    /// comparisons differ in spaces, in the place of `const`, and in the abbreviation
    /// `std::string`, whose words are in its long form too.
    fn longest_run(&self) -> Option<Finder<'_>> {
        let runs = self
            .canonical
            .split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let longest = runs.max_by_key(|r| r.len()).filter(|r| !r.is_empty());
        longest.map(Finder::new)
    }

    /// What a compiler left of the functions that this names, if only changed copies of them
    /// (`[clone .isra.0]`): their spellings.
    pub fn clones(&self, index: &SymbolIndex) -> Vec<String> {
        let mut words = words(&self.canonical, self.wildcard);
        words.sort_by_key(|w| std::cmp::Reverse(w.len()));
        let words: Vec<Finder<'_>> = words.into_iter().map(Finder::new).collect();
        let keep = |raw: &[u8]| {
            // Suffixes of a mangling begin with a dot.
            raw.contains(&b'.') && words.iter().all(|w| w.find(raw).is_some())
        };
        let mut found = Vec::new();
        index.for_each_signature(words.first(), Some(&keep), |_, signature| {
            let whole = signature.split(" [clone ").next().unwrap_or(signature);
            let part = signature.contains(" [clone .cold") || signature.contains(" [clone .part");
            if whole.len() < signature.len() && !part && self.accepts(whole, None) {
                found.push(signature.to_owned());
            }
        });
        // Of C, the symbol with its suffix.
        if !self.cpp && found.is_empty() {
            let copies = index.matching(&Glob::new(&format!("{}.*", self.text)));
            let split_off = |s: &Symbol<'_>| is_clone(&s.name) || s.name.contains(".part.");
            found.extend(
                copies
                    .into_iter()
                    .filter(|s| !split_off(s))
                    .map(|s| s.name.into_owned()),
            );
        }
        found.sort();
        found.dedup();
        found
    }

    /// Whether a readable name, as debug information has it, is what this names.
    pub fn names(&self, symbol: &str) -> bool {
        let signature = demangle::readable(symbol, Form::Signature);
        symbol == self.text || self.accepts(&signature, None)
    }

    fn accepts(&self, signature: &str, glob: Option<&Glob>) -> bool {
        let is = |name: &str| match glob {
            Some(glob) => glob.matches(name.as_bytes()),
            None => name == self.canonical,
        };
        let (name, params) = demangle::split_params(signature);
        let name = canonical(name);
        let qualified = demangle::without_template_args(&name);
        if is(&qualified) || (qualified.len() != name.len() && is(&name)) {
            return true;
        }
        if params.is_empty() || !self.canonical.contains('(') {
            return false;
        }
        let params = canonical(params);
        let bare = params
            .rfind(')')
            .map_or(&*params, |close| &params[..=close]);
        [&*qualified, &name]
            .into_iter()
            .any(|n| [&*params, bare].into_iter().any(|p| is(&format!("{n}{p}"))))
    }

    fn found(&self, mut all: Vec<(String, Symbol<'_>)>) -> Match {
        all.sort_by(|a, b| (&a.0, a.1.addr, &a.1.name).cmp(&(&b.0, b.1.addr, &b.1.name)));
        let mut candidates: Vec<Candidate> = Vec::new();
        // An address is one function even if symbols with different spellings share it, as
        // identical functions that a linker folded do: the first spelling stands for all.
        let mut seen = HashSet::new();
        for (spelling, symbol) in all {
            if !seen.insert(symbol.addr) {
                continue;
            }
            let place = Place {
                symbol: symbol.name.into_owned(),
                addr: symbol.addr,
                size: symbol.size,
            };
            match candidates.last_mut() {
                Some(last) if last.spelling == spelling => last.places.push(place),
                _ => candidates.push(Candidate {
                    spelling,
                    places: vec![place],
                }),
            }
        }
        if candidates.len() == 1 {
            Match::One(candidates.swap_remove(0))
        } else {
            Match::Overloads(candidates)
        }
    }

    fn nearest(&self, index: &SymbolIndex) -> Vec<String> {
        let mut nearest = Nearest::new(&self.text.replace('*', ""), SUGGESTIONS);
        index.for_each_name(|name| nearest.offer(name));
        // A near C++ name shares a word with the text: only such names are demangled.
        let words: Vec<Finder<'_>> = words(&self.canonical, self.wildcard)
            .into_iter()
            .filter(|w| w.len() > 2)
            .map(Finder::new)
            .collect();
        let keep = |raw: &[u8]| words.iter().any(|w| w.find(raw).is_some());
        index.for_each_signature(None, Some(&keep), |_, signature| {
            let name = demangle::split_params(signature).0;
            nearest.offer(&demangle::without_template_args(name));
        });
        nearest.into_names()
    }
}

/// How a symbol is shown: with parameters if it is mangled.
fn plain_spelling(symbol: &Symbol<'_>) -> String {
    symbol.readable(Form::Signature)
}

/// Whether a raw symbol is a part that a compiler split off a function.
fn is_clone(symbol: &str) -> bool {
    symbol.ends_with(".cold") || symbol.contains(".cold.")
}

/// The one spelling of a C++ name that comparisons use: no space unless it parts two words,
/// `const` after its type, `std::string` in full.
fn canonical(name: &str) -> String {
    const STRING: &str =
        "std::__cxx11::basic_string<char,std::char_traits<char>,std::allocator<char>>";
    const OLD_STRING: &str = "std::basic_string<char,std::char_traits<char>,std::allocator<char>>";
    let mut out = String::with_capacity(name.len());
    let bytes = name.as_bytes();
    let is_word = |at: usize| bytes.get(at).is_some_and(|&b| demangle::is_ident(b));
    let mut copied = 0;
    for (at, &b) in bytes.iter().enumerate() {
        if b != b' ' {
            continue;
        }
        out.push_str(&name[copied..at]);
        copied = at + 1;
        let before = out
            .as_bytes()
            .last()
            .is_some_and(|&b| demangle::is_ident(b));
        // `[clone .cold]` keeps its spaces.
        if before && (is_word(at + 1) || bytes.get(at + 1) == Some(&b'.'))
            || bytes.get(at + 1) == Some(&b'[')
        {
            out.push(' ');
        }
    }
    out.push_str(&name[copied..]);
    let mut out = const_last(&out).into_owned();
    for long in [STRING, OLD_STRING] {
        while let Some(at) = out.find(long) {
            let end = at + long.len();
            let word = out
                .as_bytes()
                .get(end)
                .is_some_and(|&b| demangle::is_ident(b));
            out.replace_range(at..end, if word { "std::string " } else { "std::string" });
        }
    }
    out
}

/// Moves a leading `const` behind the type it belongs to: `const char*` is `char const*`.
fn const_last(name: &str) -> Cow<'_, str> {
    const CONST: &str = "const ";
    let mut out = Cow::Borrowed(name);
    let mut from = 0;
    while let Some(at) = out[from..].find(CONST).map(|at| at + from) {
        let leads = matches!(out.as_bytes()[..at].last(), Some(b'(' | b',' | b'<'));
        from = at + CONST.len();
        if !leads {
            continue;
        }
        // The type: words and `::`, with template arguments, up to a `*`, `&`, `,` or bracket.
        let mut depth = 0usize;
        let len = out.as_bytes()[from..]
            .iter()
            .position(|&b| {
                match b {
                    b'<' => depth += 1,
                    b'>' if depth > 0 => depth -= 1,
                    b'*' | b'&' | b',' | b'(' | b')' | b'>' | b'[' if depth == 0 => return true,
                    _ => {}
                }
                false
            })
            .unwrap_or(out.len() - from);
        if len == 0 {
            continue;
        }
        let text = out.to_mut();
        let word = demangle::is_ident(text.as_bytes()[from + len - 1]);
        text.insert_str(from + len, if word { " const" } else { "const" });
        text.replace_range(at..from, "");
        from = at;
    }
    out
}

/// Words of a readable name that every mangled symbol of that name contains literally. What the
/// mangling abbreviates (`std`, `int`, `operator`) is left out, and so is what could be part of
/// such a word where a wildcard may continue it.
fn words(canonical: &str, wildcard: bool) -> Vec<&str> {
    let abbreviated = || ABBREVIATED.split_ascii_whitespace();
    if !canonical.is_ascii() {
        return Vec::new();
    }
    let bytes = canonical.as_bytes();
    canonical
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty() && !word.bytes().all(|b| b.is_ascii_digit()))
        .filter(|word| {
            let start = word.as_ptr() as usize - canonical.as_ptr() as usize;
            let beside = |b: Option<&u8>| wildcard && b == Some(&b'*');
            let partial = beside(start.checked_sub(1).and_then(|i| bytes.get(i)))
                || beside(bytes.get(start + word.len()));
            // Literal suffixes (`4u`) and char literals come out of the mangling's digits.
            let literal = word.starts_with(|c: char| c.is_ascii_digit());
            !literal
                && !abbreviated().any(|a| {
                    if partial {
                        a.contains(word)
                    } else {
                        a == *word
                    }
                })
        })
        .collect()
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
