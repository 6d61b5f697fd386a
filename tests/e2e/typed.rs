//! Arguments of C++ and Rust functions by name and type, from debug information in all the forms
//! and places that compilers and distributions give it.

use std::path::Path;
use std::process::Command;

use crate::kernel;
use crate::support::{fixture, have, rtrace, scratch};

/// Prints what each function of `shop.cpp` is called with.
fn cpp_script(path: &str) -> String {
    [
        (
            "Item::price",
            // Members, a base class' and a second one's, bitfields, enums, strings; then the same
            // through two pointers.
            r#"printf("%d %d %s %s %d %d %ld %s\n", args.qty, args.this->id, args.this->color,
                args.this->size, args.this->flag, args.this->rest, args.this->weight,
                str(args.this->name));
            printf("next %d %s\n", args.this->next->id, str(args.this->next->name));
            print((args.this->dims, args.this->pos, args.this->i));"#,
        ),
        (
            "Item::count",
            r#"printf("%d %d %s\n", args.a, args.other.id, args.other.color);"#,
        ),
        // `m` has a floating point number and is left out.
        ("by_value", "print(args); print(args.o.b); print(args.w.c);"),
        ("in_memory", "print(args);"),
        (
            "greet",
            r#"printf("%s|%s|%s|%s\n", str(args.s), str(args.v), str(args.t), str(args.c));"#,
        ),
        (
            "paint",
            r#"print(args); if (args.c == Red && args.s == SMALL) { printf("red and small\n"); }"#,
        ),
        (
            "walk",
            r#"printf("%d %d %d %ld\n", (*args.pp)->next->id, args.e, args.on_stack, args.last);"#,
        ),
    ]
    .map(|(f, body)| format!("uprobe:{path}:cpp:\"shop::{f}\" {{ {body} }}\n"))
    .concat()
}

const CPP: &str = "\
3 42 Green LARGE 5 17 1000 apple
next 43 a much longer name than fits in place
([1,2,3], { .x = 10, .y = 20 }, 77)
5 43 Green
{ .p = { .a = 1, .b = 2 }, .w = { .a = 3, .b = 4, .c = 5 }, .o = { .a = 120, .b = 121, .c = 122 }, .last = 6 }
121
5
{ .a = 11, .b = 12 }
short|a view|a much longer name than fits in place|plain
{ .c = Red, .s = SMALL, .b = true, .ch = 120, .sh = -3, .l = 99 }
red and small
43 5 6 1234567890123
";

/// Asserts that a build of `shop.cpp` shows its arguments.
#[track_caller]
fn shows_cpp(path: &str) {
    let out = rtrace(&["-q", "-e", &cpp_script(path), "-c", path]).ok();
    // The program's own line may come anywhere.
    let lines: Vec<&str> = out.lines().filter(|l| *l != "1912277086").collect();
    let expected: Vec<&str> = CPP.lines().collect();
    let lines: Vec<&str> = lines.into_iter().filter(|l| !l.is_empty()).collect();
    assert_eq!(lines, expected, "{path}");
}

#[test]
fn arguments_of_cplusplus_in_every_form_of_debug_information() {
    if !kernel::usable("C++ arguments by name") {
        return;
    }
    let builds: [(&str, &[&str]); 9] = [
        ("shop-0", &["-O0", "-gdwarf-5"]),
        ("shop-0-4", &["-O0", "-gdwarf-4"]),
        ("shop-2", &["-O2", "-gdwarf-5"]),
        ("shop-2-4", &["-O2", "-gdwarf-4"]),
        ("shop-z", &["-O1", "-g", "-gz=zlib"]),
        ("shop-units", &["-O1", "-gdwarf-5", "-fdebug-types-section"]),
        (
            "shop-units-4",
            &["-O1", "-gdwarf-4", "-fdebug-types-section"],
        ),
        ("shop-split", &["-O2", "-gdwarf-5", "-gsplit-dwarf"]),
        ("shop-split-4", &["-O2", "-gdwarf-4", "-gsplit-dwarf"]),
    ];
    for (name, flags) in builds {
        let mut flags = flags.to_vec();
        flags.push("-std=c++17");
        let Some(path) = fixture("shop.cpp", name, &flags) else {
            return;
        };
        shows_cpp(&path);
    }
}

/// Runs a tool; `false`, said loudly, where it is missing.
fn tool(name: &str, args: &[&str]) -> bool {
    if !have(name, "debug information in other files") {
        return false;
    }
    let out = Command::new(name).args(args).output().unwrap();
    assert!(out.status.success(), "{name} {args:?}: {out:?}");
    true
}

/// A copy of a build without its debug information, which goes to `debug`.
fn stripped(from: &str, to: &str, debug: &str) -> bool {
    std::fs::create_dir_all(Path::new(debug).parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
    tool("objcopy", &["--only-keep-debug", to, debug]) && tool("strip", &["-g", to])
}

#[test]
fn arguments_of_cplusplus_from_separate_files() {
    if !kernel::usable("C++ arguments from separate files") {
        return;
    }
    let flags = ["-O2", "-g", "-std=c++17", "-Wl,--build-id"];
    let Some(built) = fixture("shop.cpp", "shop-whole", &flags) else {
        return;
    };
    let path = |name: &str| scratch(name).to_str().unwrap().to_owned();
    // Beside the program, by the link in it.
    let (linked, debug) = (path("shop-linked"), path("shop-linked.debug"));
    if !stripped(&built, &linked, &debug)
        || !tool(
            "objcopy",
            &[&format!("--add-gnu-debuglink={debug}"), &linked],
        )
    {
        return;
    }
    shows_cpp(&linked);
    // Without the file nothing is known, and that is said.
    std::fs::remove_file(&debug).unwrap();
    let run = rtrace(&["-e", &cpp_script(&linked), "-c", &linked]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.err.contains("No debuginfo found for"), "{}", run.err);
}

/// Prints what each function of `shop.rs` is called with.
fn rust_script(path: &str) -> String {
    [
        (
            "Item::price",
            r#"printf("%d %d %s %s\n", args.qty, args.self->id, str(args.self->name), args.self->kind);
            printf("next %d %s\n", args.self->next.Some.__0->id, str(args.self->next.Some.__0->name));
            print(args.self->pair.__1);"#,
        ),
        (
            "greet",
            r#"printf("%s|%s|%s|%s %d\n", str(args.s), str(args.owned), str(args.path),
                str(args.buf), args.n);"#,
        ),
        (
            "slice",
            r#"printf("%d %d %d %d %d\n", args.v.length, *args.v.data_ptr, args.o.Some.__0->id,
                args.x.__tag, args.x.Some.__0);"#,
        ),
        (
            "paint",
            r#"printf("%s %d %c (%d %d)\n", args.k, args.b, args.c, args.t.__0, args.t.__1);
            printf("%d %d\n", args.s->Rect.w, args.s->Rect.h);
            if (args.k == Pear) { printf("a pear\n"); }"#,
        ),
        (
            "pack",
            r#"printf("%d %d\n", args.three.c, args.n); print(args.wide);"#,
        ),
        (
            "walk",
            r#"printf("%d %d\n", (*args.p)->id, args.r->id);"#,
        ),
    ]
    .map(|(f, body)| format!("uprobe:{path}:shop::{f} {{ {body} }}\n"))
    .concat()
}

const RUST: &str = "\
3 42 apple Apple
next 43 pear tree
4
hello|owned text|/tmp/x|/var/lib 7
3 1 42 1 8
Pear 1 x (5 6)
3 4
a pear
3 99
[10,20,30,40]
50 42
";

#[test]
fn arguments_of_rust() {
    let test = "Rust arguments by name";
    if !kernel::usable(test) || !have("rustc", test) {
        return;
    }
    for (name, flags) in [
        ("shop-rust-0", &["-g", "-Copt-level=0"][..]),
        ("shop-rust-2", &["-g", "-Copt-level=2"]),
    ] {
        let Some(path) = fixture("shop.rs", name, flags) else {
            return;
        };
        let out = rtrace(&["-q", "-e", &rust_script(&path), "-c", &path]).ok();
        let lines: Vec<&str> = out
            .lines()
            .filter(|l| !l.is_empty() && *l != "810")
            .collect();
        let expected: Vec<&str> = RUST.lines().collect();
        assert_eq!(lines, expected, "{path}");
    }
}

#[test]
fn what_a_probe_cannot_read_is_told() {
    let Some(path) = fixture("shop.cpp", "shop-2", &["-O2", "-gdwarf-5", "-std=c++17"]) else {
        return;
    };
    let script = format!("uprobe:{path}:cpp:\"shop::paint\" {{ print(args.d); }}");
    let run = rtrace(&["-e", &script]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""), "{run:?}");
    assert!(
        run.err
            .contains("'d' cannot be read: it is in a floating point register"),
        "{}",
        run.err
    );
}
