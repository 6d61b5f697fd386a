//! What users see of the parser: trees by their printed form, diagnostics by their text.

use super::*;
use crate::source::SourceMap;
use crate::syntax::ast::*;

fn parsed(text: &str) -> Parsed {
    parse(FileId(0), text)
}

/// `LINE:COL-COL message` of each diagnostic.
fn errors(text: &str) -> Vec<String> {
    let mut sources = SourceMap::default();
    let file = sources.add("", text);
    parse(file, text)
        .diags
        .iter()
        .map(|d| {
            let place = crate::diag::render::place(d.span.unwrap(), &sources);
            let message = d.message.strip_prefix("syntax: ").unwrap();
            format!("{} {message}", &place[1..])
        })
        .collect()
}

fn hint(text: &str) -> String {
    let p = parsed(text);
    p.diags.sorted()[0].hint.clone().unwrap_or_default()
}

fn ok(text: &str) -> Program {
    assert_eq!(errors(text), [""; 0], "{text}");
    parsed(text).program
}

/// The value of a block with one expression.
fn expr(text: &str) -> Expr {
    let p = ok(&format!("begin {{ {text} }}"));
    let probe = p.probes().next().unwrap();
    assert!(probe.body.stmts.is_empty(), "{text}");
    *probe.body.value.clone().unwrap()
}

/// An expression with every operator application in parentheses.
fn tree(text: &str) -> String {
    fn show(e: &Expr) -> String {
        let all = |v: &[Expr]| v.iter().map(show).collect::<Vec<_>>().join(",");
        match &e.kind {
            ExprKind::Int(n) => n.to_string(),
            ExprKind::Ident(n) => n.clone(),
            ExprKind::Var(v) => format!("${}", v.name),
            ExprKind::Map(m) => format!("@{}", m.name),
            ExprKind::MapElem { map, keys } => format!("@{}[{}]", map.name, all(keys)),
            ExprKind::Unary { op, expr, .. } => format!("({}{})", op.as_str(), show(expr)),
            ExprKind::Binary { op, lhs, rhs, .. } => {
                format!("({}{}{})", show(lhs), op.as_str(), show(rhs))
            }
            ExprKind::Ternary { cond, then, els } => {
                format!("({}?{}:{})", show(cond), show(then), show(els))
            }
            ExprKind::Elvis { cond, els } => format!("({}?:{})", show(cond), show(els)),
            ExprKind::Cast { expr, .. } => format!("<{}>{}", text_of(e), show(expr)),
            ExprKind::Tuple(v) => format!("tuple[{}]", all(v)),
            ExprKind::Field { base, name, .. } => format!("{}.{}", show(base), name.name),
            ExprKind::TupleField { base, index, .. } => format!("{}.{index}", show(base)),
            ExprKind::Index { base, indices } => format!("{}[{}]", show(base), all(indices)),
            ExprKind::IncDec {
                inc,
                prefix,
                target,
            } => {
                let op = if *inc { "++" } else { "--" };
                match prefix {
                    true => format!("({op}{})", show(target)),
                    false => format!("({}{op})", show(target)),
                }
            }
            ExprKind::Call { func, args } => {
                let args: Vec<_> = args
                    .iter()
                    .map(|a| match a {
                        Arg::Expr(e) => show(e),
                        Arg::Type(_) => "type".into(),
                    })
                    .collect();
                format!("{}({})", func.name, args.join(","))
            }
            ExprKind::Sizeof(TypeOrExpr::Type(_)) => "sizeof type".into(),
            ExprKind::Sizeof(TypeOrExpr::Expr(e)) => format!("sizeof {}", show(e)),
            ExprKind::AddrOf(e) => format!("(&{})", show(e)),
            ExprKind::Comptime(e) => format!("(comptime {})", show(e)),
            other => format!("{other:?}"),
        }
    }
    fn text_of(e: &Expr) -> &'static str {
        match &e.kind {
            ExprKind::Cast { ty, .. } => match ty.kind {
                TypeExprKind::Named(_) => "name",
                TypeExprKind::Tagged { .. } => "tag",
                TypeExprKind::Pointer(_) => "ptr",
                TypeExprKind::Array { .. } => "array",
                TypeExprKind::Typeof(_) => "typeof",
            },
            _ => "",
        }
    }
    show(&expr(text))
}

#[test]
fn operators_bind_as_documented() {
    for (text, shown) in [
        ("1 + 2 * 3 - 4", "((1+(2*3))-4)"),
        (
            "1 || 2 && 3 | 4 ^ 5 & 6 == 7 < 8 << 9 + 1",
            "(1||(2&&(3|(4^(5&(6==(7<(8<<(9+1)))))))))",
        ),
        ("a ? b : c ? d : e", "(a?b:(c?d:e))"),
        ("a ?: b ?: c", "(a?:(b?:c))"),
        ("-$x.y[1]++", ""),
        ("- - !~*$x", "(-(-(!(~(*$x)))))"),
        ("$a - -1", "($a-(-1))"),
        ("$a--- 1", "(($a--)-1)"),
        ("++@m[1, 2] + @ [3]++", "((++@m[1,2])+(@[3]++))"),
        ("$t.1.1", "$t.1.1"),
        ("5.0", "5.0"),
        ("curtask->a.b", "curtask.a.b"),
        ("&$x", "(&$x)"),
        ("comptime $x + 1", "((comptime $x)+1)"),
        ("8 / 4 / 2", "((8/4)/2)"),
    ] {
        if shown.is_empty() {
            assert!(!errors(&format!("begin {{ {text} }}")).is_empty());
        } else {
            assert_eq!(tree(text), shown, "{text}");
        }
    }
}

#[test]
fn casts_groups_and_tuples() {
    for (text, shown) in [
        ("(uint8)e", "<name>e"),
        ("(uint8) (1)", "<name>1"),
        ("(pid)*tid", "(pid*tid)"),
        ("(arg0)-1", "(arg0-1)"),
        ("(foo)*$a", "<name>(*$a)"),
        ("(foo)", "foo"),
        ("(foo) / 2", "(foo/2)"),
        ("(foo) != 2", "(foo!=2)"),
        ("(foo) && 2", "(foo&&2)"),
        ("(foo)->x", "foo.x"),
        ("(struct S *)arg0", "<ptr>arg0"),
        ("(uint8[4])$x", "<array>$x"),
        ("(typeof($x + 1))2", "<typeof>2"),
        ("(uint8)(int32)$x", "<name><name>$x"),
        ("($x)", "$x"),
        ("()", "tuple[]"),
        ("(1,)", "tuple[1]"),
        ("(1, (2, 3))", "tuple[1,tuple[2,3]]"),
        ("sizeof(pid)", "sizeof pid"),
        ("sizeof(int32*[10])", "sizeof type"),
        ("sizeof((x))", "sizeof x"),
        ("sizeof(x())", "sizeof x()"),
        ("sizeof(1 == 1)", "sizeof (1==1)"),
        ("f(typeof(int8), 1)", "f(type,1)"),
    ] {
        assert_eq!(tree(text), shown, "{text}");
    }
    assert_eq!(expr("((1))").parens, 2);
    assert!(matches!(expr("(a = 1, b = 2)").kind, ExprKind::Record(f) if f.len() == 2));
    assert!(
        matches!(expr("offsetof(struct a, b.c)").kind, ExprKind::Offsetof { path, .. } if path.len() == 2)
    );
}

#[test]
fn statements() {
    let p = ok(
        "begin { let $a : uint64 = 1; @x = 2; @x += 3; _ = 4; if $a { 1 } else if 2 { } else { }
        while ($a < 3) { $a++; continue; } for $i : 0..($a+1) { break } for ($kv : @x) { }
        unroll(3) { print(1); } { let $b; } return; }",
    );
    let body = &p.probes().next().unwrap().body;
    assert_eq!(body.stmts.len(), 11);
    assert!(body.value.is_none());
    assert!(matches!(
        &body.stmts[2].kind,
        StmtKind::Assign {
            op: Some(BinOp::Add),
            ..
        }
    ));
    assert!(matches!(
        &body.stmts[4].kind,
        StmtKind::Expr(Expr {
            kind: ExprKind::If { els: Some(_), .. },
            ..
        })
    ));
    assert!(matches!(
        &body.stmts[6].kind,
        StmtKind::For {
            iter: ForIter::Range { .. },
            ..
        }
    ));
    assert!(matches!(
        &body.stmts[7].kind,
        StmtKind::For {
            iter: ForIter::Map(_),
            ..
        }
    ));
    let value = |t: &str| ok(t).probes().next().unwrap().body.value.is_some();
    assert!(value("begin { if 1 { 2 } else { 3 } }"));
    assert!(!value("begin { if 1 { 2 } else { 3 }; }"));
    assert!(value("begin { 1 // c\n }"));
    assert!(!value("begin { 1; }"));
}

#[test]
fn root_items() {
    let p = ok(
        "#!/usr/bin/rtrace\n#include <x.h>\n#define A \\\n 1\nstruct __attribute__((packed)) s { int x; struct { int y; }; } __attribute__((aligned(8)));\nenum e { A, B }\nconfig = { max_map_keys = 5; license = \"GPL\"; a = true; b = PER_PID }\nimport \"x.bt\";\nlet @m = hash(2);\nmacro f(a, $b, @c) { a }\nfn g($a : int32, $b : struct s *) : void { return; }\nprobe1=kprobe:f, // c\nk:g,\n/* d */ BEGIN /pid / 2/ { }\nend{}",
    );
    assert_eq!(p.shebang.unwrap().hi, 17);
    let defs: Vec<_> = p.c_defs.iter().map(|d| d.text.as_str()).collect();
    assert_eq!(defs[1], "#define A \\\n 1");
    assert_eq!(defs.len(), 4);
    assert!(defs[2].ends_with("(8)));"));
    assert_eq!(
        p.config.as_ref().unwrap().entries[3].value,
        ConfigValue::Word("PER_PID".into())
    );
    assert_eq!(p.imports[0].path.text(), "x.bt");
    assert_eq!(p.items.len(), 5);
    let probe = p.probes().next().unwrap();
    assert_eq!(probe.attach_points.len(), 3);
    assert_eq!(
        probe.attach_points[0].label.as_ref().unwrap().name,
        "probe1"
    );
    assert!(matches!(
        probe.predicate.as_ref().unwrap().kind,
        ExprKind::Binary { op: BinOp::Div, .. }
    ));
    let comments: Vec<_> = p.comments.iter().map(|c| c.text.as_str()).collect();
    assert_eq!(comments, ["// c", "/* d */"]);
}

#[test]
fn attach_points_are_split() {
    let ap = |t: &str| {
        ok(&format!("{t} {{ }}"))
            .probes()
            .next()
            .unwrap()
            .attach_points[0]
            .clone()
    };
    let parts = |t: &str| -> Vec<_> { ap(t).parts.iter().map(|p| p.text().unwrap()).collect() };
    assert_eq!(
        parts("uprobe:/bin/x:cpp:\"ns::f(int, char)\""),
        ["uprobe", "/bin/x", "cpp", "ns::f(int, char)"]
    );
    assert_eq!(
        parts("uprobe:/lib/*/libc.so:f*"),
        ["uprobe", "/lib/*/libc.so", "f*"]
    );
    assert_eq!(parts("hardware:cycles:"), ["hardware", "cycles", ""]);
    let a = ap("uprobe:/bin/x@f.c:12");
    assert_eq!(a.parts[2].sep, ApSep::At);
    assert_eq!(a.parts.len(), 4);
    let a = ap("kprobe:$1_x");
    assert_eq!(
        a.parts[1].resolve(|n| (n == 1).then_some("vfs")).unwrap(),
        "vfs_x"
    );
    assert_eq!(a.parts[1].resolve(|_| None), Err(1));
    assert_eq!((a.parts[1].span.lo, a.parts[1].span.hi), (7, 11));
    assert_eq!(errors("kprobe:\"a {}"), ["1:8-10 unterminated string"]);
}

#[test]
fn one_mistake_one_message() {
    for (text, message) in [
        ("begin { $a = 1 $b = 2 }", "1:16-18 expected ';'"),
        ("begin { print(1; }", "1:16-17 expected ')'"),
        ("begin { print(1 }", "1:17-18 expected ')'"),
        ("begin { print((1, 2); }", "1:21-22 expected ')'"),
        ("begin { @x[1 = 2; }", "1:14-15 expected ']'"),
        ("begin { $x = ; }", "1:14-15 expected expression"),
        ("begin { 1 + ; }", "1:13-14 expected expression"),
        ("begin { print('a'); }", "1:15-18 expected expression"),
        ("begin { print(\"a); }", "1:15-21 unterminated string"),
        ("begin { ) }", "1:9-10 unexpected input in block"),
        (
            "begin { = 1; print(1); }",
            "1:9-10 unexpected input in block",
        ),
        ("begin { print(1);", "1:18-19 expected '}'"),
        ("begin print(1); }", "1:7-12 expected '{'"),
        ("begin { if 1 print(1); }", "1:14-19 expected '{'"),
        ("begin { if 1 { } elseif 2 { } }", "1:25-26 expected ';'"),
        ("begin /pid = 1/ { }", "1:12-13 expected '/'"),
        (
            "begin { for ($i = 0; $i < 5; $i++) { } }",
            "1:13-14 expected loop variable and ':'",
        ),
        ("begin { for $i : 5 { } }", "1:18-19 expected map or range"),
        (
            "begin { 5++ }",
            "1:10-12 increment/decrement requires a variable or map",
        ),
        ("begin { pid = 1 }", "1:9-12 invalid assignment target"),
        (
            "begin { $t.0 = 1 }",
            "1:9-17 Tuples and records are immutable once created. Consider creating a new value and assigning it instead.",
        ),
        (
            "begin { (a=1, a=2) }",
            "1:15-18 Named argument list already contains name: a",
        ),
        ("begin { 0b11 }", "1:10-13 invalid integer suffix 'b11'"),
        (
            "begin { \"\\q\" }",
            "1:11-12 invalid escape character '\\q'",
        ),
        (
            "begin { } #define X 1",
            "1:11-22 C definitions must appear before probes and functions",
        ),
        (
            "begin { } config = { }",
            "1:11-17 config must appear before probes and functions",
        ),
        (
            "begin { } import \"a\";",
            "1:11-17 root imports must appear before probes and functions",
        ),
        (
            "config = { } config = { } begin { }",
            "1:14-20 duplicate config block",
        ),
        (
            "let $a = 1; begin { }",
            "1:1-4 root-level let statements need to be map declarations, e.g. let @a = hash(2);",
        ),
        ("begin { } /* x", "1:11-13 unterminated comment"),
        (
            "begin { } }",
            "1:11-12 expected a probe, macro, function or map declaration",
        ),
        ("config = { 5 } begin { }", "1:12-13 expected identifier"),
        ("struct s { int x; ", "1:19-20 expected '}'"),
        ("begin { let $x : = 1; }", "1:18-19 expected type"),
        ("begin { $x. }", "1:13-14 expected identifier"),
        ("begin { $0 }", "1:9-11 invalid positional parameter: $0"),
        ("begin { &1 }", "1:9-11 expected variable or map after '&'"),
    ] {
        assert_eq!(errors(text), [message], "{text}");
    }
}

#[test]
fn hints_tell_what_to_do() {
    for (text, expected) in [
        ("begin { print('a'); }", "strings stand in double quotes"),
        ("begin { if 1 { } elseif 2 { } }", "write 'else if'"),
        ("begin /pid = 1/ { }", "'=' assigns; compare with '=='"),
        (
            "begin { for ($i = 0; $i < 5; $i++) { } }",
            "C loops do not exist; write: for $i : 0..10 { ... }",
        ),
        (
            "begin { if 1 and 2 { } }",
            "there is no operator 'and'; use '&&'",
        ),
        ("begin { 2 ** 3 - }", ""),
        ("begin { if $x = 1 { } }", "'=' assigns; compare with '=='"),
        (
            "begin { if 1 print(1); }",
            "a body stands in braces: { ... }",
        ),
        (
            "begin { $ = 1; }",
            "a name follows '$'; if the script came from a shell, use single quotes around it",
        ),
        ("begin { print(1; }", "an opening '(' has no ')'"),
        (
            "begin { @x[1 = 2; }",
            "the list of keys or indices ends with ']'",
        ),
        ("kprobe:f/pid==1/ { }", ""),
        (
            "printf(\"x\")",
            "statements stand in a probe: begin { ... }",
        ),
    ] {
        if !expected.is_empty() {
            assert_eq!(hint(text), expected, "{text}");
        }
    }
    assert!(hint("begin { = 1; }").contains("single quotes"));
}

#[test]
fn several_mistakes_are_found() {
    assert_eq!(
        errors("begin {\n  print(1\n  $x = ;\n  print(2);\n}\nend { 0b1; }\n"),
        ["3:3-5 expected ')'", "6:8-10 invalid integer suffix 'b1'",]
    );
    let p = parsed("begin { $x = ; print(2); }\nend { 1 1; }\ninterval:s:1 { }");
    assert_eq!(p.diags.len(), 2);
    assert_eq!(p.program.probes().count(), 3);
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |open: &str, mid: &str, close: &str, n: usize| {
        format!("begin {{ {}{mid}{} }}", open.repeat(n), close.repeat(n))
    };
    for text in [
        deep("(", "1", ")", 10_000),
        deep("{", "1", "}", 10_000),
        deep("[", "1", "]", 10_000),
        deep("!", "1", "", 10_000),
        deep("(int8)", "1", "", 10_000),
        deep("comptime ", "1", "", 10_000),
        deep("1 + ", "1", "", 10_000),
        deep("1 ? ", "1", "", 10_000),
        deep("1 ? 1 : ", "1", "", 10_000),
        deep("if 1 { } else ", "{ }", "", 10_000),
        deep("if ", "1", "", 10_000),
        deep("sizeof(", "1", ")", 10_000),
        deep("$x", "", ".x", 10_000).replacen("$x", "", 9_999),
        deep("\"{", "\"", "(", 10_000),
    ] {
        let messages = errors(&text);
        assert!(
            messages.iter().any(|m| m.ends_with("nested too deeply")),
            "{} {messages:?}",
            &text[..40]
        );
    }
    // Far more than scripts need still passes.
    ok(&deep("(", "1", ")", 120));
    ok(&deep("{", "1", "}", 120));
    ok(&deep("1 + ", "1", "", 400));
}

#[test]
fn time_is_linear() {
    let time = |n: usize| {
        let line = "  if (pid == 1 && comm != \"x\") { @a[tid, (1, 2)] = count(); } // c\n";
        let text = format!("begin {{\n{}}}\n", line.repeat(n));
        let start = std::time::Instant::now();
        assert!(parsed(&text).diags.is_empty());
        start.elapsed()
    };
    let (small, large) = (time(1_000), time(10_000));
    assert!(large < small * 40, "{small:?} {large:?}");
}
