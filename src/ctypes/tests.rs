use std::collections::HashMap;

use super::model::{CType, NameSpace, TypeId};
use super::*;
use crate::diag::Severity;
use crate::source::FileId;

fn span() -> Span {
    Span::new(FileId(0), 0, 0)
}

fn with(text: &str, options: &Options<'_>) -> (CEnv, Vec<String>) {
    let (env, diagnostics) = translate(&[(text, span())], options);
    let messages = diagnostics.iter().map(|d| d.message.clone()).collect();
    (env, messages)
}

/// A translation without mistakes and without files.
fn good(text: &str) -> CEnv {
    let none: HashMap<PathBuf, String> = HashMap::new();
    let options = Options {
        files: &none,
        ..Options::default()
    };
    let (env, messages) = with(text, &options);
    assert_eq!(messages, [] as [String; 0], "{text}");
    assert_eq!(env.skipped, []);
    env
}

/// The messages of a wrong one.
fn wrong(text: &str) -> Vec<String> {
    let none: HashMap<PathBuf, String> = HashMap::new();
    let options = Options {
        files: &none,
        ..Options::default()
    };
    with(text, &options).1
}

fn record(env: &CEnv, name: &str) -> TypeId {
    env.types().find(NameSpace::Struct, name).unwrap()
}

fn value(env: &CEnv, name: &str) -> i64 {
    match env.macro_value(name) {
        Some(MacroValue::Int(v)) => v.bits,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn structs_with_everything() {
    let env = good(
        "typedef unsigned int u; enum color { RED, GREEN = 5, BLUE };
         struct inner { char c; long l; };
         struct s {
            u a:3, b:7; enum color c;
            struct inner i[2][3];
            union { int x; char y[9]; };
            struct { short z; } named;
            int (*f)(int, void *), *p, m;
            struct s *next; unsigned long flex[];
         } __attribute__((aligned(32)));
         struct __attribute__((packed)) p { char c; int i; };
         struct q { char c; int i; } __attribute__((packed));",
    );
    let s = record(&env, "s");
    let at = |n| env.types().field(s, n).unwrap().bit_offset / 8;
    assert_eq!(env.types().field(s, "b").unwrap().bit_offset, 3);
    assert_eq!(
        (at("c"), at("i"), at("x"), at("y"), at("named")),
        (4, 8, 104, 104, 116)
    );
    assert_eq!(
        (at("f"), at("p"), at("m"), at("next"), at("flex")),
        (120, 128, 136, 144, 152)
    );
    assert_eq!(
        (env.types().size(s), env.types().align(s)),
        (Some(160), Some(32))
    );
    assert_eq!(env.types().size(record(&env, "p")), Some(5));
    assert_eq!(env.types().size(record(&env, "q")), Some(5));
    assert_eq!(env.constant("BLUE").unwrap().value, 6);
    let i = env.types().field(s, "i").unwrap().ty;
    assert_eq!(render::type_name(env.types(), i), "struct inner[2][3]");
    let f = env.types().field(s, "f").unwrap().ty;
    assert!(matches!(env.types().ctype(f), CType::Pointer(_)));
}

#[test]
fn macros_are_values_strings_or_text() {
    let env = good(
        "#define N 4\n#define M (N * sizeof(long) + 1)\n#define S \"a\" \"\\x41\\n\"\n\
         #define T curtask->pid\n#define E\n#define NEG (-1)\n#define U 0xffffffffUL\n\
         #define C ((unsigned char)300)\n#define ADD(a, b) ((a) + (b))\n\
         #define CAT(a, b) a ## b\n#define STR(x) #x\n#define SELF SELF + 1\n\
         #define V(f, ...) f(__VA_ARGS__)\nenum { K = CAT(1, 2) };",
    );
    assert_eq!(
        (value(&env, "N"), value(&env, "M"), value(&env, "NEG")),
        (4, 33, -1)
    );
    assert_eq!((value(&env, "U"), value(&env, "C")), (0xffff_ffff, 44));
    assert_eq!(
        env.macro_value("S"),
        Some(MacroValue::Str(b"aA\n".to_vec()))
    );
    assert_eq!(
        env.macro_value("T"),
        Some(MacroValue::Text("curtask->pid".to_owned()))
    );
    assert_eq!(
        env.macro_value("SELF"),
        Some(MacroValue::Text("SELF + 1".to_owned()))
    );
    assert_eq!(
        (
            env.macro_value("E"),
            env.macro_value("nope"),
            env.macro_value("ADD")
        ),
        (None, None, None)
    );
    assert_eq!(
        (env.macro_params("ADD"), env.macro_params("N")),
        (Some(2), None)
    );
    assert_eq!(
        env.value_of("ADD(N, ADD(1, 2))"),
        Some(MacroValue::Int(Value::int(7)))
    );
    assert_eq!(
        env.value_of("V(ADD, 1, 2)"),
        Some(MacroValue::Int(Value::int(3)))
    );
    assert_eq!(
        env.value_of("STR(a  b)"),
        Some(MacroValue::Str(b"a b".to_vec()))
    );
    assert_eq!(env.constant("K").unwrap().value, 12);
}

#[test]
fn conditions_choose_what_is_defined() {
    let env = good(
        "#define A 2\n#if defined(A) && A > 1\nstruct yes { int x; };\n#elif 1\nstruct no { int x; };\n\
         #else\nstruct no2 { int x; };\n#endif\n#ifndef A\n#error not reached\n# if 1\n# endif\n#else\n\
         #undef A\n#endif\n#ifdef A\nstruct no3 { int x; };\n#endif\n#if 0\n#elif !defined A\n\
         struct yes2 { int x; };\n#endif\n#ifdef BPFTRACE_HAVE_BTF\nstruct no4 { int x; };\n#endif",
    );
    let names: Vec<_> = env
        .types()
        .names()
        .map(|n| n.1)
        .filter(|n| n.starts_with("no"))
        .collect();
    assert_eq!(names, [] as [&str; 0]);
    assert!(env.types().find(NameSpace::Struct, "yes").is_some());
    assert!(env.types().find(NameSpace::Struct, "yes2").is_some());
}

#[test]
fn what_the_kernels_own_headers_need() {
    let env = good(
        "#define GROUP(name, members...) union { struct { members }; struct { members } name; }
         #define ON
         #if __has_attribute(nope) && defined(ON)\n#error no\n#endif
         struct s { char c; GROUP(g, int a;
         #ifdef ON
             long b;
         #else
             char wrong[99];
         #endif
           ); __typeof__(struct s *) p; };",
    );
    let s = record(&env, "s");
    assert_eq!(env.types().field(s, "b").unwrap().bit_offset, 128);
    assert_eq!(env.types().size(s), Some(32));
}

#[test]
fn headers_are_found_guarded_and_forgiven() {
    let files = HashMap::from([
        (
            PathBuf::from("/x/a.h"),
            "#pragma once\n#include \"b.h\"\n#include <a.h>\nstruct a { struct b b; };".to_owned(),
        ),
        (
            PathBuf::from("/x/b.h"),
            "#ifndef B_H\n#define B_H\nstruct b { int x; };\n\
             static inline int f(struct b *b) { return b->x; }\nint g(int);\nextern struct b v;\n\
             struct bad { foo_t x; };\n#include <c.h>\n#endif\n"
                .to_owned(),
        ),
    ]);
    let dirs = [PathBuf::from("/x")];
    let options = Options {
        include_dirs: &dirs,
        files: &files,
        ..Options::default()
    };
    let (env, messages) = with(
        "#include <a.h>\n#include <a.h>\nstruct b2 { struct a a; };",
        &options,
    );
    assert_eq!(messages, [] as [String; 0]);
    assert_eq!(env.types().size(record(&env, "b2")), Some(4));
    let reasons: Vec<_> = env
        .skipped
        .iter()
        .map(|s| format!("{}: {}", s.place, s.reason))
        .collect();
    assert_eq!(
        reasons,
        [
            "/x/b.h:8: 'c.h' file not found",
            "/x/b.h:4: the body of function 'f' is not compiled",
            "/x/b.h:7: unknown type name 'foo_t'",
        ]
    );
    // What the kernel's types and the built-in constants stand in for is no mistake.
    for (name, severity) in [
        ("<linux/nope.h>", Severity::Warning),
        ("<nope/nope.h>", Severity::Error),
        ("\"nope.h\"", Severity::Error),
    ] {
        let text = format!("#include {name}");
        let (_, d) = translate(&[(&text, span())], &options);
        let d: Vec<_> = d.iter().collect();
        let plain = name.trim_matches(['<', '>', '"']);
        assert_eq!(d[0].message, format!("'{plain}' file not found"));
        assert_eq!(d[0].severity, severity, "{name}");
        assert_eq!(d.len(), 1);
    }
}

#[test]
fn semicolons_that_scripts_leave_out_are_not_missed() {
    let none: HashMap<PathBuf, String> = HashMap::new();
    let options = Options {
        files: &none,
        ..Options::default()
    };
    let parts = [
        ("struct a { int x; char y }", span()),
        (
            "struct b { struct { struct a z[2] } c; unsigned d:4 }",
            span(),
        ),
        ("enum e { A }", span()),
        ("#define N 1", span()),
        ("struct f { int x; };", span()),
    ];
    let (env, diagnostics) = translate(&parts, &options);
    assert_eq!(diagnostics.len(), 0);
    let size = |name| env.types().size(record(&env, name));
    assert_eq!(
        [size("a"), size("b"), size("f")],
        [Some(8), Some(20), Some(4)]
    );
    assert_eq!(value(&env, "N"), 1);
    assert!(env.constant("A").is_some());
}

#[test]
fn mistakes_of_the_script_are_told() {
    for (text, message) in [
        ("struct s { foo_t x; };", "unknown type name 'foo_t'"),
        (
            "struct s { struct t x; };",
            "definition error: member 'x' has the incomplete type 'struct t'",
        ),
        (
            "struct s { int x; }; struct s { int y; };",
            "struct s is defined twice",
        ),
        ("enum { A, A };", "enumerator 'A' is defined twice"),
        ("struct s { int x[1/0]; };", "division by zero"),
        (
            "struct s { int x[-1]; };",
            "an array cannot have -1 elements",
        ),
        (
            "struct s { int x:33; };",
            "bitfield 'x' cannot have 33 bits",
        ),
        ("struct s { int x y; };", "`y` is not understood here"),
        ("#if 1\n", "this condition has no #endif"),
        ("#endif\n", "#endif without #if"),
        ("#foo\n", "#foo is not a directive"),
        ("#error stop it\n", "#error stop it"),
        (
            "int f(int x) { return x; }",
            "functions of C are not supported; write a macro or `fn`",
        ),
        (
            "struct s { int x[1ULL << 62][64]; };",
            "definition error: member 'x' has the incomplete type 'int[4611686018427387904][64]'",
        ),
    ] {
        assert_eq!(wrong(text), [message], "{text}");
    }
}

#[test]
fn mistakes_have_a_place_in_the_script() {
    let at = Span::new(FileId(3), 100, 200);
    let (_, d) = translate(&[("struct s {\n  foo_t x;\n};", at)], &Options::default());
    let d = d.iter().next().unwrap();
    assert_eq!(d.span.unwrap().lo, 113);
    assert_eq!(d.span.unwrap().file, FileId(3));
}

#[test]
fn types_come_from_outside_where_the_text_only_names_them() {
    let kernel = good("struct outer { long a, b; }; typedef struct outer o_t;");
    let options = Options {
        externals: Some(kernel.types()),
        ..Options::default()
    };
    let (env, messages) = with(
        "struct s { char c; struct outer x; o_t y; u32 z; struct far *p; };",
        &options,
    );
    assert_eq!(messages, [] as [String; 0]);
    let s = record(&env, "s");
    let x = env.types().field(s, "x").unwrap();
    assert!(matches!(
        env.types().ctype(x.ty),
        CType::External {
            size: 16,
            align: 8,
            ..
        }
    ));
    assert_eq!(env.types().field(s, "z").unwrap().bit_offset, 40 * 8);
    assert_eq!(env.types().size(s), Some(56));
}

#[test]
fn what_replaces_a_type_from_outside_defines_what_it_holds() {
    let kernel = good("struct inner { int a; }; struct outer { struct inner i; };");
    let options = Options {
        externals: Some(kernel.types()),
        ..Options::default()
    };
    let (_, messages) = with("struct outer { struct inner x[2]; };", &options);
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].contains("'x' has the incomplete type 'struct inner[2]'"),
        "{messages:?}"
    );
    // Pointers to it are fine, and so is a definition of its own.
    for text in [
        "struct outer { struct inner *p; int y; };",
        "struct inner { long b; }; struct outer { struct inner x; };",
        "struct mine { struct outer x; struct inner y; };",
    ] {
        assert_eq!(with(text, &options).1, [] as [String; 0], "{text}");
    }
}

#[test]
fn nothing_makes_it_hang_or_panic() {
    let deep = format!("struct s {{ int x{}; }};", "[2]".repeat(5000));
    let nested = "struct { ".repeat(2000);
    let closed = format!("{nested} int x; {};", "} y; ".repeat(2000));
    let bomb = "#define a b b b b\n#define b c c c c\n#define c d d d d\n#define d e e e e\n\
                #define e f f f f\n#define f g g g g\n#define g h h h h\n#define h i i i i\n\
                #define i j j j j\n#define j k k k k\n#define k l l l l\n#define l m m m m\na a a a";
    for text in [
        deep.as_str(),
        nested.as_str(),
        closed.as_str(),
        bomb,
        "#define f(x) f(f(x))\nf(f(f(1",
        "#define",
        "#",
        "struct",
        "typedef",
        "enum {",
        "\u{1}\u{1}int",
        "#include",
        "#if (\n#else\n#else",
        "#define X(a,...) #a ## ## __VA_ARGS__\nX(",
        "struct s { int : ; };",
        "é ü \\",
    ] {
        _ = wrong(text);
    }
}

/// Cuts, doubles and swaps pieces of valid text; the point is that every translation returns.
#[test]
fn damaged_text_never_panics() {
    let seed = "#define N(a, ...) ((a) + sizeof(int) __VA_ARGS__ ## 1)\n#define M 0x1fUL\n\
                #if defined(M) && M > 3 || !N(1)\ntypedef struct s { int a:3; char b[M][2]; \
                union { long x; void *(*f)(int); }; enum e { A = M, B } e; struct s *n; } \
                __attribute__((packed, aligned(8))) s_t;\n#elif 1\n#else\n#endif\n\
                static int g(s_t *p) { return \"x\" 'y'; }\n#pragma pack(push, 1)\n";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for _ in 0..1500 {
        let mut text = seed.to_owned();
        for _ in 0..1 + random(4) {
            let (a, b) = (random(text.len()), random(text.len()));
            let (lo, hi) = (a.min(b), a.max(b).min(a.min(b) + 40));
            let piece = text[lo..hi].to_owned();
            match random(3) {
                0 => text.replace_range(lo..hi, ""),
                1 => text.insert_str(random(text.len()), &piece),
                _ => {
                    let c = b"(){}[];,#\"'\\:=*\n"[random(16)];
                    text.insert(lo, char::from(c));
                }
            }
        }
        let none: HashMap<PathBuf, String> = HashMap::new();
        let options = Options {
            files: &none,
            ..Options::default()
        };
        let (env, _) = with(&text, &options);
        for name in env.macro_names() {
            _ = env.macro_value(&name);
        }
        for (_, _, id) in env.types().names() {
            _ = render::definition(env.types(), id);
        }
    }
}
