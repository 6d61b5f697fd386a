//! Readable names for mangled symbols: Rust (legacy and v0) and Itanium C++.
//!
//! In: a symbol name as the table spells it. Out: one of four forms of it, or `None` for a name
//! that is not mangled (C, Go, assembly): such names are their own readable form. Output length
//! and recursion are bounded, since a short mangled name can describe an enormous one. It keeps
//! no state; `index` caches what it needs again.
//!
//! ```text
//! Full        int ns::pick<int, (char)65>(int, char const*) [clone .cold]   as c++filt prints it
//! Signature   ns::pick<int, (char)65>(int, char const*) [clone .cold]       no return type
//! Name        ns::pick<int, (char)65>                                       no parameters
//! Qualified   ns::pick                                                      no template arguments
//! ```

mod cpp_spelling;

use std::borrow::Cow;
use std::fmt::{self, Write};

use cpp_demangle::{BorrowedSymbol, DemangleOptions, ParseOptions};

/// Longest readable name in bytes. The longest in node is about 4 kB, in libLLVM 7 kB.
const MAX_LENGTH: usize = 64 << 10;

/// Nesting that the C++ parser and printer accept. Each level costs some 2 kB of stack in a
/// debug build; the threads that call this have at least 2 MiB. The parser tries again and again
/// at each level of a symbol that is not well-formed: with 192 levels a symbol of 147 bytes takes
/// seconds, with 96 milliseconds. None of 94,352 symbols of LLVM and libstdc++ needs more.
const PARSE_DEPTH: u32 = 96;
const PRINT_DEPTH: u32 = 256;

/// How a name was mangled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Itanium C++ ABI (`_Z`): C++ itself, and other languages that borrow it.
    Cpp,
    /// Rust, legacy (`_ZN...17h<hash>E`) or v0 (`_R`).
    Rust,
}

/// How much of a name to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Everything, as c++filt prints it; Rust without the hash.
    #[default]
    Full,
    /// Without the return type that template functions carry.
    Signature,
    /// Without return type and parameters.
    Name,
    /// Without return type, parameters and template arguments.
    Qualified,
}

/// How `symbol` is mangled, by its first bytes; `None` for a plain name.
pub fn language(symbol: &str) -> Option<Language> {
    if let Some(rest) = symbol.strip_prefix("_R") {
        return rest
            .starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit())
            .then_some(Language::Rust);
    }
    if !symbol.starts_with("_Z") {
        return None;
    }
    if symbol.starts_with("_ZN") && has_rust_hash(symbol) {
        return Some(Language::Rust);
    }
    Some(Language::Cpp)
}

/// The readable form of `symbol`, or `None` if it is not mangled or not understood. A version
/// (`@GLIBCXX_3.4`) is dropped.
pub fn demangle(symbol: &str, form: Form) -> Option<String> {
    let symbol = symbol.split('@').next().unwrap_or(symbol);
    let name = match language(symbol)? {
        Language::Rust => rust(symbol)?,
        Language::Cpp => return cpp(symbol, form),
    };
    // Rust names have neither parameters nor return types.
    Some(match form {
        Form::Full | Form::Signature | Form::Name => name,
        Form::Qualified => without_template_args(&name).into_owned(),
    })
}

/// As [`demangle`], with the symbol itself for what is not mangled.
pub fn readable(symbol: &str, form: Form) -> Cow<'_, str> {
    match demangle(symbol, form) {
        Some(name) => Cow::Owned(name),
        None => Cow::Borrowed(symbol),
    }
}

/// A signature cut where its parameters begin: name, and `(parameters) qualifiers` or nothing.
pub fn split_params(signature: &str) -> (&str, &str) {
    match params_at(signature) {
        Some(at) => signature.split_at(at),
        None => (signature, ""),
    }
}

/// A name without the template arguments of any of its components. `operator<`, `operator<<`,
/// `operator->` and their kin stay whole.
pub fn without_template_args(name: &str) -> Cow<'_, str> {
    if !name.contains('<') {
        return Cow::Borrowed(name);
    }
    let bytes = name.as_bytes();
    let mut out = String::with_capacity(name.len());
    // Open brackets inside template arguments; empty while copying.
    let mut open: Vec<u8> = Vec::new();
    let mut at = 0;
    let mut copied = 0;
    while at < bytes.len() {
        if let Some(len) = operator_token(name, at) {
            at += len;
            continue;
        }
        match bytes[at] {
            // `<impl T for U>` and `<T as Trait>` of Rust are components, not arguments.
            b'<' if open.is_empty() && (at == 0 || name[..at].ends_with("::")) => {
                // `::<T>` is Rust's spelling of arguments.
                if at > 0 && !rust_component(&name[at..]) {
                    out.push_str(name[copied..at].trim_end_matches("::"));
                    open.push(b'<');
                } else {
                    at = close_of(bytes, at);
                }
            }
            b'<' => {
                if open.is_empty() {
                    // c++filt writes `operator< <int>`.
                    out.push_str(name[copied..at].trim_end_matches(' '));
                }
                open.push(b'<');
            }
            b'(' | b'{' | b'[' if !open.is_empty() => open.push(bytes[at]),
            // A `<` left open inside parentheses was a comparison.
            b')' | b'}' | b']' => {
                if let Some(i) = open.iter().rposition(|&b| b != b'<') {
                    open.truncate(i);
                }
            }
            // `a->b` and `(a)>(b)` inside an expression close nothing.
            b'>' if open.last() == Some(&b'<') && bytes[at - 1] != b'-' => {
                open.pop();
                if open.is_empty() {
                    copied = at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if open.is_empty() {
        out.push_str(&name[copied..]);
        Cow::Owned(out)
    } else {
        // Unbalanced: not ours to cut.
        Cow::Borrowed(name)
    }
}

/// Where the parameter list of a signature opens.
fn params_at(signature: &str) -> Option<usize> {
    let mut text = signature;
    // Clone suffixes and cv-qualifiers follow the parameters.
    loop {
        let cut = match text.strip_suffix(']') {
            Some(t) => t.rfind(" [").map_or("", |at| &t[..at]),
            None => [" const", " volatile", " &&", " &", " noexcept"]
                .iter()
                .find_map(|q| text.strip_suffix(q))
                .unwrap_or(""),
        };
        if cut.is_empty() {
            break;
        }
        text = cut;
    }
    if !text.ends_with(')') {
        return None;
    }
    let mut depth = 0usize;
    for (at, b) in text.bytes().enumerate().rev() {
        match b {
            b')' => depth += 1,
            b'(' => {
                depth -= 1;
                if depth == 0 {
                    // `ns::A::operator()` alone has no parameters.
                    let own = text[..at].ends_with("operator") && at + 2 == text.len();
                    return (at > 0 && !own).then_some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Length of an operator name such as `operator<<` at `at`, if its symbol has an angle bracket.
fn operator_token(name: &str, at: usize) -> Option<usize> {
    const TOKENS: [&str; 11] = [
        "<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "->", "<", ">",
    ];
    // Names are any text: `at` may be within a character.
    let rest = name.as_bytes()[at..].strip_prefix(b"operator")?;
    let whole = at == 0 || !is_ident(name.as_bytes()[at - 1]);
    let token = TOKENS.iter().find(|t| rest.starts_with(t.as_bytes()))?;
    whole.then_some("operator".len() + token.len())
}

/// The `>` that closes the `<` at `at`, or the last byte.
fn close_of(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0usize;
    for (i, &b) in bytes.iter().enumerate().skip(at) {
        match b {
            b'<' => depth += 1,
            b'>' if bytes[i - 1] != b'-' => {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    bytes.len() - 1
}

/// Whether the bracket that opens `text` is `<impl ...>` or `<T as Trait>`.
fn rust_component(text: &str) -> bool {
    let end = close_of(text.as_bytes(), 0);
    text.starts_with("<impl ") || text[..end].contains(" as ")
}

/// Whether a byte can be part of an identifier.
pub(crate) fn is_ident(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80
}

/// Whether a legacy Rust hash ends the path: `17h` and 16 hexadecimal digits before the `E`.
fn has_rust_hash(symbol: &str) -> bool {
    symbol.rmatch_indices("17h").any(|(at, _)| {
        let tail = &symbol.as_bytes()[at + 3..];
        tail.len() >= 17
            && tail[..16].iter().all(u8::is_ascii_hexdigit)
            && tail[16] == b'E'
            && matches!(tail.get(17), None | Some(b'.'))
    })
}

fn rust(symbol: &str) -> Option<String> {
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let mut out = Bounded(String::with_capacity(symbol.len()));
    // The alternate form leaves the hash out.
    write!(out, "{name:#}").ok()?;
    Some(out.0)
}

fn cpp(symbol: &str, form: Form) -> Option<String> {
    let parse = ParseOptions::default().recursion_limit(PARSE_DEPTH);
    let fixed = template_constructor(symbol, &parse);
    let symbol = fixed.as_deref().unwrap_or(symbol);
    let (parsed, tail) = BorrowedSymbol::with_tail_and_options(symbol.as_bytes(), &parse).ok()?;
    let tail = std::str::from_utf8(tail).ok()?;
    // What the parser leaves is a suffix that a compiler invented (`.llvm.123`), or the name is
    // not C++ after all.
    if !tail.is_empty() && !tail.starts_with('.') {
        return None;
    }
    let mut options = DemangleOptions::new().recursion_limit(PRINT_DEPTH);
    // Names local to a function (`_ZZ`) never show its return type.
    if form != Form::Full || symbol.starts_with("_ZZ") {
        options = options.no_return_type();
    }
    let mut out = Bounded(String::with_capacity(symbol.len() * 2));
    parsed.structured_demangle(&mut out, &options).ok()?;
    let mut name = cpp_spelling::tidy(out.0);
    if !tail.is_empty() {
        let _ = write!(name, " [clone {tail}]");
    }
    Some(match form {
        Form::Full | Form::Signature => name,
        Form::Name => split_params(&name).0.to_owned(),
        Form::Qualified => without_template_args(split_params(&name).0).into_owned(),
    })
}

/// A template constructor has no return type, but the parser takes its first parameter for one:
/// the same symbol with a `void` return type, or `None` if it is nothing of the sort.
fn template_constructor(symbol: &str, parse: &ParseOptions) -> Option<String> {
    if !symbol.starts_with("_ZN") {
        return None;
    }
    let bytes = symbol.as_bytes();
    let constructor = (3..bytes.len().saturating_sub(2)).find(|&i| {
        bytes[i] == b'C' && matches!(bytes[i + 1], b'1'..=b'5') && bytes[i + 2] == b'I'
    })?;
    // The name ends at the first `E` up to which the symbol is a name in itself: after the
    // template arguments and the nested name.
    let end = (constructor + 4..bytes.len()).find(|&i| {
        bytes[i] == b'E'
            && bytes[i - 1] == b'E'
            && BorrowedSymbol::with_tail_and_options(&bytes[..=i], parse)
                .is_ok_and(|(_, tail)| tail.is_empty())
    })?;
    let (name, parameters) = symbol.split_at(end + 1);
    // A scope (`C1IiE` ... `3runEv`) ends in something other than the arguments' `E`.
    (!parameters.is_empty()).then(|| format!("{name}v{parameters}"))
}

/// A string that refuses to grow past [`MAX_LENGTH`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.0.len() + s.len() > MAX_LENGTH {
            return Err(fmt::Error);
        }
        self.0.push_str(s);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(symbol: &str) -> [String; 4] {
        [Form::Full, Form::Signature, Form::Name, Form::Qualified]
            .map(|f| readable(symbol, f).into_owned())
    }

    #[test]
    fn a_template_function_in_every_form() {
        assert_eq!(
            forms("_ZN2ns4pickIiLc65EEEiiPKc"),
            [
                "int ns::pick<int, (char)65>(int, char const*)",
                "ns::pick<int, (char)65>(int, char const*)",
                "ns::pick<int, (char)65>",
                "ns::pick",
            ]
        );
    }

    #[test]
    fn methods_keep_their_qualifiers_in_the_signature_only() {
        assert_eq!(
            forms("_ZNK2ns5Class6methodEi"),
            [
                "ns::Class::method(int) const",
                "ns::Class::method(int) const",
                "ns::Class::method",
                "ns::Class::method",
            ]
        );
    }

    #[test]
    fn lambdas_and_call_operators() {
        assert_eq!(
            forms("_ZZN2ns3runEvENKUliE_clEi")[2..],
            [
                "ns::run()::{lambda(int)#1}::operator()",
                "ns::run()::{lambda(int)#1}::operator()",
            ]
        );
    }

    #[test]
    fn operators_with_angle_brackets_survive() {
        for (given, expected) in [
            ("a::operator<", "a::operator<"),
            ("a::operator<< <int>", "a::operator<<"),
            ("a::operator< <b<c> >", "a::operator<"),
            ("a<b>::operator-><c>", "a::operator->"),
            ("a<((b)>(c))>::d", "a::d"),
            ("a<((b)<(c))>::d", "a::d"),
            ("a<b(c<d>)>::e<f>", "a::e"),
            ("myoperator<int>", "myoperator"),
        ] {
            assert_eq!(without_template_args(given), expected, "{given}");
        }
    }

    #[test]
    fn rust_names_lose_their_hash() {
        assert_eq!(
            forms("_ZN4core3ptr13drop_in_place17h0123456789abcdefE"),
            ["core::ptr::drop_in_place"; 4]
        );
        assert_eq!(
            forms("_RNvCs15kBYyAo9fc_7mycrate7example"),
            ["mycrate::example"; 4]
        );
    }

    #[test]
    fn rust_generics_go_and_impl_blocks_stay() {
        assert_eq!(without_template_args("a::b::<u8>"), "a::b");
        assert_eq!(
            without_template_args("<a::T as b::U>::c"),
            "<a::T as b::U>::c"
        );
        assert_eq!(without_template_args("<a::T<u8>>::c"), "<a::T<u8>>::c");
        assert_eq!(without_template_args("a::<impl b>::c"), "a::<impl b>::c");
    }

    #[test]
    fn a_cpp_name_that_looks_like_legacy_rust_is_cpp() {
        assert_eq!(language("_ZN4node4mainE"), Some(Language::Cpp));
        assert_eq!(forms("_ZN3foo3barEi")[0], "foo::bar(int)");
    }

    #[test]
    fn template_constructors_keep_their_first_parameter() {
        assert_eq!(
            forms("_ZN1a1bC2INS_1cEEEPT_NS_1dE")[0],
            "a::b::b<a::c>(a::c*, a::d)"
        );
        assert_eq!(forms("_ZN1a1bC1IiEEv")[0], "a::b::b<int>()");
    }

    #[test]
    fn clones_are_marked() {
        assert_eq!(forms("_ZN2ns1fEi.cold")[1], "ns::f(int) [clone .cold]");
        assert_eq!(forms("_ZN2ns1fEi.cold")[2], "ns::f");
        assert_eq!(
            forms("_ZN2ns1fEi.llvm.123")[1],
            "ns::f(int) [clone .llvm.123]"
        );
    }

    #[test]
    fn plain_names_are_left_alone() {
        for name in [
            "main",
            "uv_tcp_bind",
            "main.(*T).Method",
            "_Zonk",
            "_R",
            "",
            "_",
            "_ZN",
        ] {
            assert_eq!(demangle(name, Form::Full), None, "{name}");
        }
    }

    #[test]
    fn versions_are_dropped() {
        assert_eq!(forms("_ZdlPv@@GLIBCXX_3.4")[0], "operator delete(void*)");
    }

    /// What differs is mostly parameter packs of references, whose `&&` the printer shows once.
    #[test]
    fn functions_of_real_programs_read_as_in_cppfilt() {
        use crate::symbols::{elf::ElfFile, elf::Table, elf::string_at, fixture};
        use std::process::{Command, Stdio};
        for (path, step, allowed) in [
            ("/usr/bin/node", 16, 1.0),
            ("/usr/lib/x86_64-linux-gnu/libstdc++.so.6", 1, 3.0),
        ] {
            let Some(path) = fixture::system(path) else {
                continue;
            };
            let elf = ElfFile::open(path).unwrap();
            let strings = elf.symbol_strings(Table::Dynsym);
            let mut symbols = Vec::new();
            elf.for_each_symbol(Table::Dynsym, |s| {
                let name = std::str::from_utf8(string_at(strings, s.name as usize)).unwrap();
                if s.kind == object::elf::STT_FUNC && s.section != 0 && name.starts_with("_Z") {
                    symbols.push(name);
                }
            });
            symbols.sort_unstable();
            let sample: Vec<&str> = symbols.into_iter().step_by(step).collect();
            let input = fixture::dir().join("cppfilt.txt");
            std::fs::write(&input, sample.join("\n")).unwrap();
            let filter = Command::new("c++filt")
                .arg("-i")
                .stdin(Stdio::from(std::fs::File::open(&input).unwrap()))
                .output();
            let Ok(filter) = filter else {
                eprintln!("SKIPPED: no c++filt");
                return;
            };
            let theirs = String::from_utf8(filter.stdout).unwrap();
            let differing = sample
                .iter()
                .zip(theirs.lines())
                .filter(|(symbol, theirs)| readable(symbol, Form::Full) != **theirs)
                .count();
            let share = differing as f64 * 100.0 / sample.len() as f64;
            eprintln!("{}: {differing} of {} differ", path.display(), sample.len());
            assert!(share <= allowed, "{share} % of {}", path.display());
        }
    }

    #[test]
    fn every_symbol_of_node_and_damaged_ones_demangle_without_panic() {
        use crate::symbols::{elf::ElfFile, elf::Table, elf::string_at, fixture};
        let Some(path) = fixture::system("/usr/bin/node") else {
            return;
        };
        let elf = ElfFile::open(path).unwrap();
        let strings = elf.symbol_strings(Table::Dynsym);
        let mut seed = 1u32;
        let start = std::time::Instant::now();
        let mut count = 0;
        elf.for_each_symbol(Table::Dynsym, |s| {
            let name = String::from_utf8_lossy(string_at(strings, s.name as usize)).into_owned();
            let _ = demangle(&name, Form::Qualified);
            count += 1;
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if name.len() > 8 && seed >> 30 == 0 {
                let mut bytes = name.into_bytes();
                let at = 3 + (seed >> 8) as usize % (bytes.len() - 3);
                bytes[at] = b"0123456789EINSTLXJKRDpC_"[seed as usize % 24];
                let _ = demangle(&String::from_utf8(bytes).unwrap(), Form::Full);
            }
        });
        eprintln!("{count} symbols of node: {:?}", start.elapsed());
    }

    #[test]
    fn a_name_that_would_grow_without_bound_is_refused() {
        // Each pair doubles what the substitution before it stands for.
        let mut name = String::from("_Z1fI1aE");
        let mut deep = String::from("_ZN1a1bE1c");
        for i in 0..40 {
            let _ = write!(name, "1TIS{}_S{}_E", i, i);
            deep.push_str("IiE");
        }
        let _ = demangle(&name, Form::Full);
        let _ = demangle(&deep, Form::Full);
        let nested = format!("_Z1f{}i", "P".repeat(100_000));
        assert_eq!(demangle(&nested, Form::Full), None);
    }
}
