//! Tests of target matching on a compiled C++ program and on node.

use std::time::Instant;

use super::*;
use crate::symbols::debuglink::DebugDirs;
use crate::symbols::fixture;

fn shapes() -> Option<SymbolIndex> {
    let path = fixture::compile("shapes-pie", "shapes.cpp", &["-g"])?;
    Some(SymbolIndex::open(&path, &DebugDirs::none()).unwrap())
}

fn spellings(found: Match) -> Vec<String> {
    match found {
        Match::One(c) => vec![c.spelling],
        Match::Overloads(all) => all.into_iter().map(|c| c.spelling).collect(),
        Match::None(near) => panic!("nothing; near: {near:?}"),
    }
}

#[test]
fn every_way_to_name_one_function() {
    let Some(index) = shapes() else { return };
    for (text, expected) in [
        ("AddNum", "AddNum"),
        ("_ZN3geo3addEii", "geo::add(int, int)"),
        ("geo::Square::area", "geo::Square::area(int) const"),
        ("geo::Square::area(int)", "geo::Square::area(int) const"),
        (
            "geo::Square::area(int) const",
            "geo::Square::area(int) const",
        ),
        ("geo::add(int,int)", "geo::add(int, int)"),
        ("geo::add(int, char const*)", "geo::add(int, char const*)"),
        ("geo::add(int,const char*)", "geo::add(int, char const*)"),
        ("geo::twice<int>", "geo::twice<int>(int)"),
        ("geo::twice<double>(double)", "geo::twice<double>(double)"),
        (
            "geo::fill",
            "geo::fill<char, 7>(std::vector<char, std::allocator<char> >)",
        ),
        (
            "geo::fill<char,7>",
            "geo::fill<char, 7>(std::vector<char, std::allocator<char> >)",
        ),
        (
            "geo::operator<",
            "geo::operator<(geo::Square const&, geo::Square const&)",
        ),
        (
            "geo::(anonymous namespace)::hidden",
            "geo::(anonymous namespace)::hidden(int)",
        ),
        ("geo::Square::Square", "geo::Square::Square(int)"),
        (
            "geo::run(int)::{lambda(int)#1}::operator()",
            "geo::run(int)::{lambda(int)#1}::operator()(int) const",
        ),
    ] {
        let found = Target::plain(text).find(&index);
        let Match::One(c) = &found else {
            panic!("{text}: {found:?}")
        };
        assert_eq!(c.spelling, expected, "{text}");
    }
}

#[test]
fn std_string_stands_for_what_it_abbreviates() {
    let Some(index) = shapes() else { return };
    let found = Target::plain("geo::only(const std::string&, unsigned int)").find(&index);
    assert!(matches!(found, Match::One(_)), "{found:?}");
}

#[test]
fn overloads_are_listed_with_spellings_that_name_each_alone() {
    let Some(index) = shapes() else { return };
    let target = Target::plain("geo::add");
    assert!(!target.takes_all());
    let Match::Overloads(all) = target.find(&index) else {
        panic!()
    };
    let names: Vec<_> = all.iter().map(|c| c.spelling.as_str()).collect();
    assert_eq!(
        names,
        [
            "geo::add(double, double)",
            "geo::add(int, char const*)",
            "geo::add(int, int)"
        ]
    );
    for c in &all {
        assert_eq!(Target::cpp(&c.spelling).find(&index), Match::One(c.clone()));
        assert!(!Target::cpp(&c.spelling).takes_all());
    }
}

#[test]
fn a_template_is_the_set_of_its_instances() {
    let Some(index) = shapes() else { return };
    assert_eq!(
        spellings(Target::plain("geo::twice").find(&index)),
        ["geo::twice<double>(double)", "geo::twice<int>(int)"]
    );
}

#[test]
fn wildcards_match_symbols_and_readable_names() {
    let Some(index) = shapes() else { return };
    for (text, expected) in [
        ("geo::*dd", 3),
        ("*geo*add*", 3),
        ("geo::add(int,*", 2),
        ("geo::twice<*>", 2),
        ("*AddNu*", 1),
        ("AddNu*", 1),
    ] {
        let target = Target::plain(text);
        assert!(target.takes_all(), "{text}");
        assert_eq!(spellings(target.find(&index)).len(), expected, "{text}");
    }
    assert!(matches!(Target::cpp("AddNu*").find(&index), Match::None(_)));
}

#[test]
fn cpp_targets_take_all_overloads_unless_parameters_are_given() {
    let Some(index) = shapes() else { return };
    let target = Target::cpp("geo::add");
    assert!(target.takes_all());
    assert_eq!(spellings(target.find(&index)).len(), 3);
    assert_eq!(
        spellings(Target::cpp("geo::add(int, int)").find(&index)),
        ["geo::add(int, int)"]
    );
}

#[test]
fn what_does_not_exist_is_answered_with_near_names() {
    let Some(index) = shapes() else { return };
    for (text, first) in [
        ("AddNun", "AddNum"),
        ("geo::Squre::area", "geo::Square::area"),
        ("geo::twize", "geo::twice"),
        ("hidden", "geo::(anonymous namespace)::hidden"),
    ] {
        let Match::None(near) = Target::plain(text).find(&index) else {
            panic!("{text}")
        };
        assert_eq!(
            near.first().map(String::as_str),
            Some(first),
            "{text}: {near:?}"
        );
    }
}

#[test]
fn constructor_variants_are_one_function() {
    let Some(index) = shapes() else { return };
    let Match::One(c) = Target::plain("geo::Square::Square").find(&index) else {
        panic!()
    };
    let mut addrs: Vec<_> = c.places.iter().map(|p| p.addr).collect();
    addrs.dedup();
    assert_eq!(addrs.len(), c.places.len());
}

#[test]
fn canonical_spelling() {
    for (given, expected) in [
        ("f( unsigned int , char * )", "f(unsigned int,char*)"),
        ("a<b<c> >", "a<b<c>>"),
        (
            "f(const char*, const a::B<const int>&)",
            "f(char const*,a::B<int const>const&)",
        ),
        ("operator bool", "operator bool"),
        ("f() [clone .cold]", "f() [clone .cold]"),
    ] {
        assert_eq!(canonical(given), expected);
    }
}

#[test]
fn words_never_exclude_what_the_mangling_abbreviates() {
    assert_eq!(
        words("node::TCPWrap::Listen", false),
        ["node", "TCPWrap", "Listen"]
    );
    assert_eq!(words("std::string::append(char const*)", false), ["append"]);
    assert_eq!(words("*trin*Listen*", true), ["Listen"]);
    assert_eq!(words("geo::fill<char,7>", false), ["geo", "fill"]);
}

#[test]
fn node_methods_are_found_without_demangling_the_file() {
    let Some(node) = fixture::system("/usr/bin/node") else {
        return;
    };
    let index = SymbolIndex::open(node, &DebugDirs::none()).unwrap();
    let start = Instant::now();
    let found = Target::cpp("node::TCPWrap::Listen").find(&index);
    eprintln!("cold name: {:?}", start.elapsed());
    let Match::One(c) = found else {
        panic!("{found:?}")
    };
    assert_eq!(
        c.places.len(),
        1,
        "one symbol in .dynsym and one in .symtab are one place"
    );
    let start = Instant::now();
    let found = spellings(Target::plain("*Socket*Listen*").find(&index));
    eprintln!(
        "cold wildcard: {:?}, {} found",
        start.elapsed(),
        found.len()
    );
    let start = Instant::now();
    let Match::None(near) = Target::plain("node::TCPWrp::Listen").find(&index) else {
        panic!()
    };
    eprintln!("suggestions: {:?} {near:?}", start.elapsed());
    assert_eq!(near[0], "node::TCPWrap::Listen");
}
