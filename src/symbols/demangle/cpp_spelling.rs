//! The C++ printer's text in the spelling of c++filt, which people know and paste.
//!
//! In: a demangled name. Out: the same name; what differs are integer literals (`4u` for
//! `(unsigned int)4`), commas around empty argument packs, the space in function types
//! (`R (int)`), parameters of functions whose address is an argument, and the words for thunks
//! and tables. One pass over the text.

/// Integer types whose casts c++filt writes as suffixes.
const LITERALS: [(&str, &str); 7] = [
    ("(unsigned int)", "u"),
    ("(unsigned long)", "ul"),
    ("(long)", "l"),
    ("(int)", ""),
    ("(unsigned long long)", "ull"),
    ("(long long)", "ll"),
    ("(bool)", ""),
];

/// Prefixes of names that the compiler makes, and c++filt's words for them. Each ends in `)}`.
const SPECIAL: [(&str, &str); 3] = [
    ("{vtable(", "vtable for "),
    ("{vtt(", "VTT for "),
    ("{virtual override thunk(", ""),
];

/// `name` in c++filt's spelling.
pub(super) fn tidy(name: String) -> String {
    let name = qualifiers_last(special(name));
    if !name.contains(['(', ',']) {
        return name;
    }
    let bytes = name.as_bytes();
    let mut out = String::with_capacity(name.len() + 8);
    // Open brackets, each with where the current argument starts in `out`.
    let mut open: Vec<(u8, usize)> = Vec::new();
    let mut at = 0;
    let mut copied = 0;
    while at < bytes.len() {
        let b = bytes[at];
        if let Some(len) = super::operator_token(&name, at) {
            at += len;
            continue;
        }
        match b {
            b'<' | b'{' | b'[' => {
                out.push_str(&name[copied..=at]);
                copied = at + 1;
                open.push((b, out.len()));
            }
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' | b'}' | b']' => {
                open.pop_if(|o| o.0 == opener(b));
            }
            b')' => {
                // A `<` left open inside was a comparison.
                if let Some(i) = open.iter().rposition(|o| o.0 == b'(') {
                    open.truncate(i);
                }
            }
            b',' if name[at..].starts_with(", ") => {
                out.push_str(&name[copied..at]);
                let pack = empty_pack(&name[at + 2..]);
                if pack.is_none() && !out.ends_with(['<', '(']) {
                    out.push_str(", ");
                }
                at += 2 + pack.unwrap_or(0);
                copied = at;
                if let Some(last) = open.last_mut() {
                    last.1 = out.len();
                }
                continue;
            }
            b'(' => {
                out.push_str(&name[copied..at]);
                if let Some((len, text)) = literal(&name[at..]) {
                    out.push_str(&text);
                    at += len;
                    copied = at;
                    continue;
                }
                if let Some(&(b'<', start)) = open.last() {
                    match in_argument(&out[start..], &name[at..]) {
                        Group::Keep => {}
                        Group::Type => out.push(' '),
                        Group::Drop(len) => {
                            at += len;
                            copied = at;
                            continue;
                        }
                    }
                }
                out.push('(');
                copied = at + 1;
                open.push((b'(', out.len()));
            }
            _ => {}
        }
        at += 1;
    }
    out.push_str(&name[copied..]);
    out
}

/// What a parenthesis inside template arguments opens.
enum Group {
    /// Parameters of an enclosing function, a cast, a grouping.
    Keep,
    /// Parameters of a function type.
    Type,
    /// So many bytes of parameters of a function whose address is the argument.
    Drop(usize),
}

/// Whether an empty argument pack starts here, and how many bytes its qualifiers take: of
/// `T&&...` without arguments the printer leaves `&&`.
fn empty_pack(text: &str) -> Option<usize> {
    ["", "&&", "&", "const&", "*", "const*"]
        .into_iter()
        .find_map(|q| {
            let rest = text.strip_prefix(q)?;
            let ends = rest.starts_with(['>', ',', ')']) || rest.starts_with(" >");
            ends.then_some(q.len())
        })
}

fn in_argument(before: &str, group: &str) -> Group {
    let typed = before
        .bytes()
        .last()
        .is_some_and(|b| super::is_ident(b) || matches!(b, b'>' | b'*' | b'&'));
    if !typed || before.ends_with("operator") || before.ends_with("decltype") {
        return Group::Keep;
    }
    let mut depth = 0usize;
    let close = group.bytes().position(|b| {
        match b {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let Some(close) = close else {
        return Group::Keep;
    };
    let after = &group[close + 1..];
    let scope = [" const", " volatile", " &&", " &"]
        .iter()
        .fold(after, |t, q| t.strip_prefix(q).unwrap_or(t));
    if scope.starts_with("::") {
        return Group::Keep;
    }
    if before.starts_with('&') {
        let qualified = before.contains("::") && !before.ends_with('>');
        return if qualified {
            Group::Drop(close + 1 + (after.len() - scope.len()))
        } else {
            Group::Keep
        };
    }
    Group::Type
}

/// `(unsigned int)4` as its length and `4u`.
fn literal(text: &str) -> Option<(usize, String)> {
    LITERALS.iter().find_map(|(cast, suffix)| {
        let tail = text.strip_prefix(cast)?;
        let sign = usize::from(tail.starts_with('-'));
        let digits = tail[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let number = &tail[..sign + digits];
        let shown = match (*cast, number) {
            ("(bool)", "0") => "false".to_owned(),
            ("(bool)", _) => "true".to_owned(),
            _ => format!("{number}{suffix}"),
        };
        Some((cast.len() + number.len(), shown))
    })
}

fn special(name: String) -> String {
    if !name.starts_with('{') {
        return name;
    }
    let Some((inside, words)) = SPECIAL.iter().find_map(|(prefix, words)| {
        let inside = name.strip_prefix(prefix)?.strip_suffix(")}")?;
        Some((inside, *words))
    }) else {
        return name;
    };
    if !words.is_empty() {
        return format!("{words}{inside}");
    }
    // The offsets that the thunk adds, then the function.
    let offsets = |kind: &str| inside.strip_prefix(kind)?.split_once("}, ").map(|(_, f)| f);
    match (offsets("{offset("), offsets("{virtual offset(")) {
        (Some(function), _) => format!("non-virtual thunk to {function}"),
        (_, Some(function)) => format!("virtual thunk to {function}"),
        _ => name,
    }
}

/// `a::b*::c` is `a::b::c*`: the printer puts what qualifies a whole nested type behind the
/// part of it that it has abbreviated before.
fn qualifiers_last(mut name: String) -> String {
    let mut from = 0;
    while let Some(colons) = name[from..].find("::").map(|i| i + from) {
        from = colons + 2;
        let mut start = colons;
        while let Some(shorter) = ["*", "&", " const", " volatile"]
            .iter()
            .find_map(|q| name[..start].strip_suffix(q))
        {
            start = shorter.len();
        }
        let typed = name[..start]
            .bytes()
            .last()
            .is_some_and(|b| super::is_ident(b) || b == b'>');
        if start == colons || !typed || name[..start].ends_with("operator") {
            continue;
        }
        let mut depth = 0usize;
        let bytes = name.as_bytes();
        let end = (from..bytes.len())
            .find(|&i| {
                match bytes[i] {
                    b'<' => depth += 1,
                    b'>' if depth > 0 => depth -= 1,
                    b if depth == 0 => return !(super::is_ident(b) || b == b':'),
                    _ => {}
                }
                false
            })
            .unwrap_or(bytes.len());
        let qualifiers = name[start..colons].to_owned();
        name.insert_str(end, &qualifiers);
        name.replace_range(start..colons, "");
        from = start + 2;
    }
    name
}

fn opener(close: u8) -> u8 {
    match close {
        b'>' => b'<',
        b'}' => b'{',
        _ => b'[',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_of_cppfilt() {
        for (given, expected) in [
            ("a<(unsigned int)4, (bool)1, (long)-2>", "a<4u, true, -2l>"),
            ("a<(char)65>", "a<(char)65>"),
            ("a<b<c>, >", "a<b<c>>"),
            ("a<b, , c>", "a<b, c>"),
            ("f(a, )", "f(a)"),
            ("f(a, &&)", "f(a)"),
            ("f(a::b&::c) const", "f(a::b::c&) const"),
            ("f(a<b> const::c&, d)", "f(a<b>::c const&, d)"),
            ("f(a*::b::c<d*>)", "f(a::b::c<d*>*)"),
            ("a::f() const::{lambda()#1}", "a::f() const::{lambda()#1}"),
            ("a::operator<< <b> (c)", "a::operator<< <b> (c)"),
            ("a::operator<<b(c)", "a::operator<<b(c)"),
            ("a<b::R(int)>", "a<b::R (int)>"),
            ("a<void (int)>", "a<void (int)>"),
            ("a<f(int)::{lambda(int)#1}>", "a<f(int)::{lambda(int)#1}>"),
            (
                "a<f() const::{lambda()#1}, x>",
                "a<f() const::{lambda()#1}, x>",
            ),
            ("a<&b::f(int, c*)>", "a<&b::f>"),
            ("a<&b::f(int) const, d>", "a<&b::f, d>"),
            ("a<&f(int)>", "a<&f(int)>"),
            ("a<((b)>(c))>::f(d(*)(e))", "a<((b)>(c))>::f(d(*)(e))"),
            ("a<(anonymous namespace)::b>", "a<(anonymous namespace)::b>"),
            ("{vtable(a::b)}", "vtable for a::b"),
            (
                "{virtual override thunk({offset(-8)}, a::b(int))}",
                "non-virtual thunk to a::b(int)",
            ),
            (
                "{virtual override thunk({virtual offset(0, -24)}, a::~a())}",
                "virtual thunk to a::~a()",
            ),
        ] {
            assert_eq!(tidy(given.to_owned()), expected);
        }
    }

    #[test]
    fn unbalanced_text_never_panics() {
        for text in [
            "<",
            ">",
            "(",
            ")",
            ", ",
            "<(",
            ">)(<",
            "a<b(",
            "{vtable(",
            "{vtable()}",
            "a<&b::f(",
            "-",
            "->",
        ] {
            let _ = tidy(text.to_owned());
        }
    }
}
