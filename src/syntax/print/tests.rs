//! Formatting keeps the program and its comments, and is done after one pass.

use std::process::Command;

use super::*;
use crate::source::FileId;
use crate::syntax::ast::Program;
use crate::syntax::parse;

fn program(text: &str) -> Program {
    let parsed = parse(FileId(0), text);
    assert!(parsed.diags.is_empty(), "{text}\n{:?}", parsed.diags);
    parsed.program
}

/// Formats and checks what must hold for every script.
fn check(text: &str) -> String {
    let before = program(text);
    let once = format(&before, text);
    let after = program(&once);
    assert_eq!(dump(&before), dump(&after), "{once}");
    let comments = |p: &Program| {
        p.comments
            .iter()
            .map(|c| c.text.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(comments(&before), comments(&after), "{once}");
    assert_eq!(format(&after, &once), once);
    once
}

#[test]
fn style() {
    assert_eq!(
        check(
            "#!/usr/bin/rtrace\n#include <x.h>\nstruct s { int x; };\n\n\nconfig={a=1;b=\"x\"}\nimport \"y\" ;let @m=hash(0x10);\nmacro f(a,$b,@c){a}\nfn g($a:int32):void{return;}\nBEGIN,END/ *$x ==1/{@x[1,2]=count();if($a<1){print( (1,) )}else if 2{}else{$b++;}}"
        ),
        "#!/usr/bin/rtrace\n#include <x.h>\nstruct s { int x; };\n\nconfig = {\n  a = 1;\n  b = \"x\";\n}\nimport \"y\";\nlet @m = hash(0x10);\n\nmacro f(a, $b, @c) {\n  a\n}\n\nfn g($a : int32) : void {\n  return;\n}\n\nBEGIN, END / *$x == 1/ {\n  @x[1, 2] = count();\n  if ($a < 1) {\n    print((1,))\n  } else if 2 {} else {\n    $b++;\n  }\n}\n"
    );
}

#[test]
fn comments_stay() {
    assert_eq!(
        check(
            "// top\n\n/* a */ begin { // open\n  // one\n  $x = 1; // two\n\n\n  print($x /* three */);\n  if 1 { /* four */ }\n  // five\n}\n// six\n"
        ),
        "// top\n\n/* a */\nbegin { // open\n  // one\n  $x = 1; // two\n\n  /* three */\n  print($x);\n  if 1 { /* four */\n  }\n  // five\n}\n// six\n"
    );
    check("begin, // a\n/* b */ end // c\n/* d */ /1/ // e\n{ } // f");
    check(
        "config = { // a\n a = 1; // b\n // c\n }\n// d\nbegin { $x = { /* e */ 1 // f\n }; for /* g */ ($i : 0../* h */3) { } if /* i */ 1 { } /* j */ else /* k */ { 2 } }",
    );
}

#[test]
fn long_lines_are_broken() {
    let out = check(
        "begin { printf(\"%d %d %d %d\", aaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, cccccccccccccc); if aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa == 1 || bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb == 2 { } }",
    );
    assert!(out.lines().all(|l| l.len() <= 80), "{out}");
}

#[test]
fn every_construct_survives() {
    check(
        r#"a=kprobe:f+0x10, uprobe:/bin/x:cpp:"ns::f(int, char)" { let $x : struct s ** = (struct s **)arg0; let $y; _ = - -1 - -$x; - ++$y; !~*$x; &@m; ++@[1]; @a--; $x ? 1 : 2 ?: 3; ((0xff)); ("a\"b"); (a=1, b=(1, 2)); $t.0.1; x->y.z[1, 2]; sizeof(int8[4]); sizeof((x)); offsetof(struct a, b.c); typeinfo(x); comptime (1 + 2); f(typeof(int8), typeof($x + 1)); while ($x < 1) { break; continue } unroll(3) { } for $i : 0..(2 + 3) { } for $kv : @m { return 1; } { 1 }; if 1 { 2 } else { 3 }; $z = if 1 { 2 } else { 3 }; $1 + $#; 1e6; 5ms; true; () }"#,
    );
    check("begin { if 1 { 2 } }");
    check("begin { if 1 { 2 }; }");
    check("begin { { } }");
    check("");
    check("// only\n");
}

/// The tools of Debian's bpftrace package are the scripts people have; they are fetched, never
/// kept here.
#[test]
fn shipped_tools_survive() {
    let dir = std::env::temp_dir().join(format!("rtrace-tools-{}", std::process::id()));
    let fetched = std::fs::create_dir_all(&dir).is_ok()
        && Command::new("sh")
            .arg("-c")
            .arg("apt-get download -q bpftrace >/dev/null 2>&1 && dpkg-deb -x bpftrace_*.deb x")
            .current_dir(&dir)
            .status()
            .is_ok_and(|s| s.success());
    let tools = dir.join("x/usr/sbin");
    let mut count = 0;
    if fetched {
        for entry in std::fs::read_dir(&tools).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "bt") {
                check(&std::fs::read_to_string(&path).unwrap());
                count += 1;
            }
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    if !fetched {
        eprintln!("SKIPPED shipped_tools_survive: apt-get cannot fetch the bpftrace package");
        return;
    }
    assert!(count > 20, "{count} tools in the package");
}

/// The highest trees that the parser accepts pass through every walk in a thread's small stack.
#[test]
fn high_trees_survive() {
    for (open, middle, close, n) in [
        ("(1, ", "2", ")", 120),
        ("{ ", "2", " }", 120),
        ("f(1, ", "2", ")", 120),
        ("1 + ", "2", "", 500),
        ("!", "2", "", 500),
        ("1 ? 2 : ", "3", "", 500),
        ("if 1 { } else ", "{ }", "", 500),
        ("@x[", "2", "]", 120),
    ] {
        let text = std::format!("begin {{ {}{middle}{} }}", open.repeat(n), close.repeat(n));
        check(&text);
        let mut diags = crate::diag::Diagnostics::new();
        crate::syntax::expand::expand(program(&text), None, &mut diags);
        assert!(diags.is_empty(), "{open}");
    }
}
