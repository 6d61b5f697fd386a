//! Go programs, whose stacks move: no return probes, and what to do instead.

use crate::kernel;
use crate::support::{fixture, rtrace, value};

fn golike() -> Option<String> {
    fixture(
        "golike.c",
        "golike",
        &["-O1", "-fno-inline", "-fcf-protection=none"],
    )
}

#[test]
fn a_return_probe_on_go_code_is_refused_and_its_returns_are_named() {
    if !kernel::usable("Go functions") {
        return;
    }
    let Some(path) = golike() else { return };
    let command = format!("{path} 10");
    let script = format!("uretprobe:{path}:main.add {{ @ = count(); }}");
    let run = rtrace(&["-e", &script, "-c", &command]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(run.err.contains("main.add is Go code"), "{}", run.err);

    // The places that it names are where the function returns, and the result is there.
    let places: Vec<&str> = run
        .err
        .lines()
        .filter_map(|l| l.strip_prefix("HINT:"))
        .map(str::trim)
        .filter(|l| l.starts_with("uprobe:"))
        .collect();
    assert!(!places.is_empty(), "{}", run.err);
    let script = format!(
        "{} {{ @calls = count(); @sum = sum(reg(\"ax\")); }}",
        places.join(",")
    );
    let out = rtrace(&["-e", &script, "-c", &command]).ok();
    assert_eq!(value(&out, "@calls"), "10");
    assert_eq!(value(&out, "@sum"), "55");
}

#[test]
fn c_code_in_a_go_program_may_have_return_probes_and_unsafe_allows_all() {
    if !kernel::usable("C code in Go programs") {
        return;
    }
    let Some(path) = golike() else { return };
    let command = format!("{path} 10");
    let script = format!("uretprobe:{path}:in_c {{ @ = sum(retval); }}");
    let out = rtrace(&["-e", &script, "-c", &command]).ok();
    assert_eq!(value(&out, "@"), "135");
    // Not really Go, so nothing crashes.
    let script = format!("uretprobe:{path}:main.add {{ @ = sum(retval); }}");
    let out = rtrace(&["--unsafe", "-e", &script, "-c", &command]).ok();
    assert_eq!(value(&out, "@"), "55");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_place_within_an_instruction_is_refused() {
    if !kernel::usable("places within instructions") {
        return;
    }
    let Some(path) = golike() else { return };
    // lea 0x0(%rdi,%rdi,2),%eax has more than one byte.
    let run = rtrace(&["-e", &format!("uprobe:{path}:in_c+1 {{ }}"), "--dry-run"]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(
        run.err.contains("in the middle of an instruction"),
        "{}",
        run.err
    );
    assert!(run.err.contains("start at +0 +"), "{}", run.err);
    let next = run.err.split("start at +0 +").nth(1).unwrap();
    let next = next.split_whitespace().next().unwrap();
    let script = format!("uprobe:{path}:in_c+{next} {{ @ = count(); }}");
    let out = rtrace(&["-e", &script, "-c", &format!("{path} 7")]).ok();
    assert_eq!(value(&out, "@"), "7");
}
