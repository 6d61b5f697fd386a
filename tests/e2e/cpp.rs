//! C++ functions by their readable names: namespaces, overloads, templates, lambdas, virtual
//! calls; optimised, with and without frame pointers, position independent and static.

use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{Live, RTRACE, fixture, rtrace, value};

/// Every function of the program and how often it is called.
const FUNCTIONS: &[(&str, u32)] = &[
    ("zoo::(anonymous namespace)::hidden(int)", 1),
    ("zoo::Dog::speak(int)", 2),
    ("zoo::Cat::speak(int)", 1),
    ("zoo::Dog::method(int) const", 2),
    (
        "zoo::Dog::count(std::vector<int, std::allocator<int> > const&)",
        1,
    ),
    ("zoo::leaf(int)", 2),
    ("zoo::feed(int)", 2),
    ("zoo::feed(double)", 1),
    ("zoo::feed(std::string const&)", 1),
    ("zoo::twice<int>(int)", 1),
    ("zoo::twice<double>(double)", 1),
    ("zoo::Cage<3, long>::hold(long)", 1),
    ("zoo::Cage<4, char>::hold(char)", 1),
    ("zoo::Number::operator+(zoo::Number const&) const", 1),
    (
        "zoo::visit(std::vector<int, std::allocator<int> > const&)",
        1,
    ),
    (
        "zoo::visit(std::vector<int, std::allocator<int> > const&)::{lambda(int)#1}::operator()(int) const",
        4,
    ),
];

fn builds() -> impl Iterator<Item = String> {
    let flags: [(&str, &[&str]); 4] = [
        ("zoo-pie", &["-O2"]),
        ("zoo-frames", &["-O2", "-fno-omit-frame-pointer"]),
        ("zoo-static", &["-O2", "-static"]),
        (
            "zoo-static-frames",
            &["-O2", "-static", "-fno-omit-frame-pointer"],
        ),
    ];
    flags
        .into_iter()
        .filter_map(|(name, flags)| fixture("zoo.cpp", name, flags))
}

#[test]
fn every_function_is_found_by_its_name() {
    if !kernel::usable("C++ functions by name") {
        return;
    }
    for path in builds() {
        let mut script = String::new();
        for (i, (name, _)) in FUNCTIONS.iter().enumerate() {
            script += &format!("uprobe:{path}:cpp:\"{name}\" {{ @f{i} = count(); }}\n");
        }
        let out = rtrace(&["-e", &script, "-c", &path]).ok();
        for (i, (name, calls)) in FUNCTIONS.iter().enumerate() {
            let got = value(&out, &format!("@f{i}"));
            assert_eq!(got, calls.to_string(), "{path}: {name}");
        }
    }
}

#[test]
fn names_without_parameters_and_wildcards() {
    if !kernel::usable("C++ names without parameters") {
        return;
    }
    for path in builds() {
        for (target, calls) in [
            ("cpp:\"zoo::leaf\"", "2"),
            ("zoo::leaf", "2"),
            // All overloads, all instances, all classes.
            ("cpp:\"zoo::feed\"", "4"),
            ("cpp:\"zoo::twice\"", "2"),
            ("cpp:\"zoo::*::speak\"", "3"),
        ] {
            let script = format!("uprobe:{path}:{target} {{ @n = count(); }}");
            let out = rtrace(&["-e", &script, "-c", &path]).ok();
            assert_eq!(value(&out, "@n"), calls, "{path}: {target}");
        }
    }
}

#[test]
fn an_overload_set_is_listed() {
    let Some(path) = fixture("zoo.cpp", "zoo-pie", &["-O2"]) else {
        return;
    };
    let overloads = ["zoo::feed(double)", "zoo::feed(int)", "zoo::feed(std::"];
    let list = rtrace(&["-l", &format!("uprobe:{path}:cpp:\"zoo::feed\"")]).ok();
    assert_eq!(list.lines().count(), 3, "{list}");
    // A plain name must mean one function; the error says how to write each.
    let script = format!("uprobe:{path}:zoo::feed {{ @n = count(); }}");
    let run = rtrace(&["-e", &script]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""), "{run:?}");
    assert_eq!(run.err.matches("ERROR").count(), 1, "{}", run.err);
    for name in overloads {
        let written = format!("uprobe:{path}:cpp:\"{name}");
        assert!(list.lines().any(|l| l.starts_with(&written)), "{list}");
        assert!(run.err.contains(&written), "{}", run.err);
    }
    // What the error offers can be pasted.
    if !kernel::usable("pasting an offered name") {
        return;
    }
    for line in run.err.lines().filter(|l| l.contains("cpp:\"zoo::feed(")) {
        let target = &line[line.find("uprobe:").unwrap()..];
        let script = format!("{target} {{ @n = count(); }}");
        let out = rtrace(&["-e", &script, "-c", &path]).ok();
        let calls = if target.contains("(int)") { "2" } else { "1" };
        assert_eq!(value(&out, "@n"), calls, "{target}");
    }
}

/// The stack at `zoo::leaf` in a build; the program waits until the stack was printed.
fn stack_at_leaf(path: &str) -> String {
    let script = format!("uprobe:{path}:zoo::leaf {{ print(ustack(4)); }}");
    let mut command = Command::new(RTRACE);
    command
        .args(["-e", &script, "-c", &format!("{path} wait")])
        .stdin(Stdio::piped());
    let mut live = Live::start(command);
    live.line("leaf");
    live.end().ok()
}

#[test]
fn stacks_have_readable_names_and_offsets() {
    if !kernel::usable("C++ stacks") {
        return;
    }
    for (name, flags) in [
        ("zoo-frames", &["-O2", "-fno-omit-frame-pointer"][..]),
        (
            "zoo-static-frames",
            &["-O2", "-static", "-fno-omit-frame-pointer"],
        ),
    ] {
        let Some(path) = fixture("zoo.cpp", name, flags) else {
            return;
        };
        let out = stack_at_leaf(&path);
        let mut frames = out.lines().filter(|l| l.starts_with("        "));
        let mut frame = |function: &str| {
            let line = frames.next().unwrap_or_default().trim();
            let offset = line
                .strip_prefix(function)
                .and_then(|l| l.strip_prefix('+'));
            offset
                .and_then(|o| o.parse::<u64>().ok())
                .unwrap_or_else(|| panic!("{path}: {line:?} is no {function}+N in\n{out}"))
        };
        assert_eq!(frame("zoo::leaf(int)"), 0);
        // The immediate caller, which has pushed its frame but whose callee has not.
        assert!(frame("zoo::Dog::method(int) const") > 0);
        assert!(frame("zoo::Dog::speak(int)") > 0);
        assert!(frame("main") > 0);
    }
}

#[test]
fn the_immediate_caller_needs_no_frame_pointer() {
    if !kernel::usable("callers without frame pointers") {
        return;
    }
    for path in builds() {
        let out = stack_at_leaf(&path);
        let frames: Vec<&str> = out.lines().filter(|l| l.starts_with("        ")).collect();
        assert_eq!(frames[0].trim(), "zoo::leaf(int)+0", "{path}\n{out}");
        assert!(
            frames[1].trim().starts_with("zoo::Dog::method(int) const+"),
            "{path}\n{out}"
        );
    }
}

#[test]
fn stacks_as_keys_count_equal_ones_together() {
    if !kernel::usable("stacks as keys") {
        return;
    }
    let flags = ["-O2", "-fno-omit-frame-pointer"];
    let Some(path) = fixture("zoo.cpp", "zoo-frames", &flags) else {
        return;
    };
    // The two dogs are called from the same place of a loop.
    let script = format!("uprobe:{path}:zoo::leaf {{ @[ustack(3)] = count(); }}");
    let mut command = Command::new(RTRACE);
    command
        .args(["-e", &script, "-c", &format!("{path} wait")])
        .stdin(Stdio::piped());
    let mut live = Live::start(command);
    // Its result, which it prints after the calls.
    live.line("197");
    let out = live.end().ok();
    assert!(out.contains("@[\n        zoo::leaf(int)+0\n"), "{out}");
    assert!(out.contains("\n]: 2\n"), "{out}");
}
