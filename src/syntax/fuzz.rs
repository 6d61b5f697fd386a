//! No text may panic the front: random token soup, and valid scripts that are cut, spliced and
//! have bytes replaced, with fixed seeds.

use super::ast::Item;
use super::{expand, parse, print};
use crate::diag::{Diagnostics, render};
use crate::source::SourceMap;

/// A small generator of pseudo-random numbers (xorshift), the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

const TOKENS: &[&str] = &[
    "begin",
    "kprobe:f",
    "u:/bin/x:\"a b\"",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ";",
    ",",
    ".",
    "..",
    ":",
    "?",
    "?:",
    "=",
    "==",
    "!=",
    "<",
    "<<",
    "<<=",
    ">",
    ">>",
    "+",
    "++",
    "+=",
    "-",
    "--",
    "->",
    "*",
    "/",
    "%",
    "&",
    "&&",
    "|",
    "||",
    "^",
    "~",
    "!",
    "if",
    "else",
    "while",
    "for",
    "unroll",
    "let",
    "import",
    "macro",
    "fn",
    "config",
    "struct",
    "union",
    "enum",
    "sizeof",
    "offsetof",
    "typeof",
    "typeinfo",
    "comptime",
    "break",
    "continue",
    "return",
    "true",
    "_",
    "$x",
    "$1",
    "$#",
    "$",
    "@",
    "@m",
    "x",
    "pid",
    "uint8",
    "0",
    "1",
    "0x1f",
    "08",
    "1e3",
    "5ms",
    "9_",
    "\"s\"",
    "\"\\q\"",
    "\"",
    "'a'",
    "//c\n",
    "/*c*/",
    "/*",
    "#define X\n",
    "\n",
    " ",
    " ",
    " ",
    "é",
    "\\",
    "`",
    "\0",
];

const SCRIPTS: &[&str] = &[
    "#!/x\n#include <a.h>\nstruct s { int x; };\nconfig = { a = 1; b = \"c\" }\nimport \"p\";\n\
     let @m = hash(2);\nmacro f(a, $b, @c) { @c[a] = $b; a }\nfn g($a : int32) : void { return; }\n\
     n=kprobe:f, u:/bin/x:\"a,b\" / pid == 1 && comm != \"x\" / { f(1 + 2, $x, @m); @m[1, (2, 3)] = count(); }",
    "begin { let $x : struct s* = (struct s *)arg0; if $x->y.0 > 1 { print(1) } else if !2 { } else { $x++ } \
     for $i : 0..($n+1) { break; } for ($kv : @a) { continue } while (1) { _ = 5ms; } unroll(3) { } \
     $z = a ? b : c ?: d; sizeof(int8[4]); offsetof(struct a, b.c); typeinfo(typeof($x)); (a=1, b=(1,)) }",
];

/// Runs everything the front does with a text and shows what comes out.
fn feed(text: &str) {
    let mut sources = SourceMap::default();
    let file = sources.add("fuzz", text);
    let parsed = parse(file, text);
    render::text(&parsed.diags, &sources, render::Style::default());
    render::json(&parsed.diags, &sources);
    print::dump(&parsed.program);
    for d in &parsed.diags {
        let span = d.span.unwrap();
        assert!(span.lo <= span.hi && span.hi as usize <= text.len());
    }
    for item in &parsed.program.items {
        assert!(!sources.text(item.span()).is_empty());
        if let Item::Probe(p) = item {
            assert!(!p.attach_points.is_empty());
        }
    }
    if parsed.diags.is_empty() {
        let once = print::format(&parsed.program, text);
        let again = parse(file, &once);
        assert!(
            again.diags.is_empty(),
            "{text:?}\n{once}\n{:?}",
            again.diags
        );
        assert_eq!(
            print::dump(&parsed.program),
            print::dump(&again.program),
            "{text:?}"
        );
        assert_eq!(
            parsed.program.comments.len(),
            again.program.comments.len(),
            "{text:?}"
        );
        assert_eq!(print::format(&again.program, &once), once, "{text:?}");
    }
    let mut diags = Diagnostics::new();
    let expanded = expand::expand(parsed.program, None, &mut diags);
    print::dump(&expanded);
    render::text(&diags, &sources, render::Style::default());
}

#[test]
fn token_soup() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..1500 {
        let mut text = String::from(if round % 2 == 0 { "begin { " } else { "" });
        for _ in 0..random.below(40) {
            text += TOKENS[random.below(TOKENS.len())];
            if random.below(3) > 0 {
                text.push(' ');
            }
        }
        if round % 4 == 0 {
            text += " }";
        }
        feed(&text);
    }
}

#[test]
fn short_expressions() {
    let mut random = Random(42);
    for _ in 0..3000 {
        let mut text = String::from("begin { ");
        for _ in 0..1 + random.below(6) {
            text += TOKENS[3 + random.below(TOKENS.len() - 3)];
            text.push(' ');
        }
        feed(&(text + "}"));
    }
}

#[test]
fn cut_scripts() {
    for script in SCRIPTS {
        feed(script);
        for cut in (0..script.len()).filter(|&n| script.is_char_boundary(n)) {
            feed(&script[..cut]);
            if cut % 3 == 0 {
                feed(&script[cut..]);
            }
        }
    }
}

#[test]
fn spliced_and_damaged_scripts() {
    let mut random = Random(7);
    for _ in 0..600 {
        let script = SCRIPTS[random.below(SCRIPTS.len())];
        let mut bytes = script.as_bytes().to_vec();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            let token = TOKENS[random.below(TOKENS.len())].bytes();
            match random.below(3) {
                0 => drop(bytes.splice(at..at, token)),
                1 => drop(bytes.splice(at..at + 1, token)),
                _ => drop(bytes.remove(at)),
            }
        }
        feed(&String::from_utf8_lossy(&bytes));
    }
}
