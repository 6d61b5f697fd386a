//! Expansion as users see it: the resulting tree in short form, and the messages.

use super::*;
use crate::source::{FileId, SourceMap};
use crate::syntax::parse;

fn run(text: &str, library: Option<&str>) -> (Program, Diagnostics) {
    let parsed = parse(FileId(0), text);
    assert!(parsed.diags.is_empty(), "{text} {:?}", parsed.diags);
    let library = library.map(|l| parse(FileId(1), l).program);
    let mut diags = Diagnostics::new();
    let program = expand(parsed.program, library.as_ref(), &mut diags);
    (program, diags)
}

fn errors(text: &str) -> Vec<String> {
    let mut sources = SourceMap::default();
    sources.add("x", text);
    let (_, diags) = run(text, None);
    let shown = crate::diag::render::text(&diags, &sources, Default::default());
    shown
        .lines()
        .filter_map(|l| Some(l.split_once("ERROR: ")?.1.to_owned()))
        .collect()
}

/// The value of the first probe, innermost through blocks.
fn value(program: &Program) -> &Expr {
    let mut e = program
        .probes()
        .next()
        .unwrap()
        .body
        .value
        .as_deref()
        .unwrap();
    while let ExprKind::Block(Block { value: Some(v), .. }) = &e.kind {
        e = v;
    }
    e
}

#[test]
fn parameters_are_substituted() {
    let (p, d) = run(
        "macro f(a, $b, @c) { @c[1] = a + a; $b } begin { f(1 + 2, $x, @m) }",
        None,
    );
    assert!(d.is_empty());
    assert!(matches!(&value(&p).kind, ExprKind::Var(v) if v.key() == ("x", ExpnId::ROOT)));
    assert!(p.items.iter().all(|i| matches!(i, Item::Probe(_))));
    let text = format!("{:?}", p.items);
    assert!(text.contains("MapName { name: \"m\""));
    assert_eq!(text.matches("Int(2)").count(), 2);
}

#[test]
fn locals_are_renamed_per_expansion() {
    let (p, d) = run(
        "macro f(a) { $x = a; $x } begin { $x = 1; f($x) + f(f($x)) }",
        None,
    );
    assert!(d.is_empty());
    let ExprKind::Binary { lhs, .. } = &value(&p).kind else {
        panic!()
    };
    let ExprKind::Block(b) = &lhs.kind else {
        panic!()
    };
    let ExprKind::Var(local) = &b.value.as_ref().unwrap().kind else {
        panic!()
    };
    assert_eq!(local.key(), ("x", ExpnId(1)));
    let super::super::ast::StmtKind::Assign { value, .. } = &b.stmts[0].kind else {
        panic!()
    };
    assert!(matches!(&value.kind, ExprKind::Var(v) if v.expn == ExpnId::ROOT));
    assert_eq!(p.expansions.len(), 3);
}

#[test]
fn node_numbers_stay_unique() {
    struct Ids(std::collections::HashSet<NodeId>);
    impl VisitMut for Ids {
        fn visit_stmt(&mut self, s: &mut Stmt) {
            assert!(self.0.insert(s.id));
            visit::walk_stmt(self, s);
        }
        fn visit_expr(&mut self, e: &mut Expr) {
            assert!(self.0.insert(e.id), "{e:?}");
            visit::walk_expr(self, e);
        }
    }
    let (mut p, _) = run(
        "macro g(a) { a * a } macro f(a) { $x = g(a); $x } begin { f(f({ $y = 1; $y })) }",
        None,
    );
    let mut ids = Ids(Default::default());
    p.items
        .iter_mut()
        .for_each(|i| visit::walk_item(&mut ids, i));
    assert!(ids.0.iter().all(|id| id.0 < p.next_id));
}

#[test]
fn overloads_names_alone_and_types() {
    let (p, d) = run(
        "macro f() { 1 } macro f(a) { 2 } macro f($a) { 3 } begin { (f, f(), f(1), f($x)) }",
        None,
    );
    assert!(d.is_empty());
    let text = format!("{:?}", value(&p));
    for n in 1..=3 {
        assert!(text.contains(&format!("kind: Int({n})")));
    }
    let (p, d) = run("macro f(t, e) { (t*)e } begin { f(typeof(int8), 1) }", None);
    assert!(d.is_empty());
    assert!(format!("{:?}", value(&p)).contains("Named(\"int8\")"));
    let (p, _) = run("macro f(e) { sizeof(e) } begin { f(1 + 1) }", None);
    assert!(matches!(
        &value(&p).kind,
        ExprKind::Sizeof(TypeOrExpr::Expr(_))
    ));
    let (p, _) = run("macro f(m) { m[1] } begin { f(@a) }", None);
    assert!(matches!(&value(&p).kind, ExprKind::MapElem { .. }));
    // A name that only macros with parameters have, and unknown calls, stay.
    let (p, d) = run("macro f(a) { a } begin { g(f) }", None);
    assert!(d.is_empty() && format!("{:?}", value(&p)).contains("Ident(\"f\")"));
}

#[test]
fn user_macros_replace_library_macros_outside_the_library() {
    let library = "macro base() { 1 } macro derived() { base }";
    let (p, d) = run(
        "macro base() { 2 } begin { (base, derived) }",
        Some(library),
    );
    assert!(d.is_empty());
    let text = format!("{:?}", value(&p));
    assert!(text.contains("Int(2)") && text.contains("Int(1)"));
}

#[test]
fn messages() {
    for (text, expected) in [
        (
            "macro d() { } macro d() { } begin { }",
            &[
                "Redefinition of macro: d",
                "This is the original definition.",
            ][..],
        ),
        (
            "macro r() { r() } begin { r() }",
            &[
                "Recursive macro call detected. Call chain: r > r",
                "expanded from",
            ],
        ),
        (
            "macro a() { b } macro b() { a } begin { a }",
            &[
                "Recursive macro call detected. Call chain: a > b > a",
                "expanded from",
                "expanded from",
            ],
        ),
        (
            "macro v($x) { } begin { v(1) }",
            &[
                "Call to v() has arguments that do not match any definition.",
                "Mismatched arg. v() expects a variable for arg $x but got an expression.",
                "This is the argument in the closest definition.",
            ],
        ),
        (
            "macro f() { } begin { f(1) }",
            &[
                "Call to f() has arguments that do not match any definition.",
                "The closest definition of f() has a different number of arguments. Expected: 0 but got 1",
            ],
        ),
        (
            "macro f() { @zzz = 1; } begin { f() }",
            &[
                "Unhygienic access to map: @zzz. Maps must be passed into the macro as arguments.",
                "expanded from",
            ],
        ),
        (
            "macro f(t) { t } begin { f(typeof(int8)) }",
            &["'t' is a type, not a value", "expanded from"],
        ),
    ] {
        assert_eq!(errors(text), expected, "{text}");
    }
}

#[test]
fn chains_of_calls_are_recorded() {
    let (p, _) = run("macro g() { 7 } macro f() { g() } begin { f() }", None);
    let calls: Vec<_> = p
        .expansion_chain(value(&p).expn)
        .iter()
        .map(|s| s.lo)
        .collect();
    assert_eq!(calls, [28, 42]);
}

#[test]
fn explosions_are_stopped() {
    let mut text = String::from("macro m0(a) { a + a }");
    for i in 1..40 {
        text += &format!(" macro m{i}(a) {{ m{}(a) + m{}(a) }}", i - 1, i - 1);
    }
    text += " begin { m39(1) }";
    let found = errors(&text);
    assert_eq!(found[0], "macros expand too deeply or to too much code");
}

#[test]
fn high_trees_are_stopped() {
    let text = format!(
        "macro f(a) {{ a{} }} begin {{ f(f(f(f(1)))) }}",
        " + 1".repeat(400)
    );
    assert_eq!(
        errors(&text)[0],
        "macros expand too deeply or to too much code"
    );
}
