//! Calls of a C function: arguments, result, duration, wall-clock time; by name, by offset, by
//! address.

use std::process::Command;

use object::{Object as _, ObjectSymbol as _};

use crate::kernel;
use crate::support::{example, fixture, rtrace, value};

fn addnum() -> Option<String> {
    fixture("addnum.c", "addnum", &["-O2", "-g"])
}

#[test]
fn a_call_from_entry_to_return() {
    if !kernel::usable("calls of a C function") {
        return;
    }
    let Some(path) = addnum() else { return };
    let before = now();
    let out = rtrace(&[
        &example("calls.bt"),
        &path,
        "-c",
        &format!("{path} 1 2 -5 3 2000000000 147483647"),
    ]);
    let out = out.ok();
    let calls: Vec<&str> = out.lines().filter(|l| l.contains("AddNum(")).collect();
    assert_eq!(calls.len(), 3, "{out}");
    for (call, expect) in calls.iter().zip([
        "AddNum(1, 2) = 3",
        "AddNum(-5, 3) = -2",
        "AddNum(2000000000, 147483647) = 2147483647",
    ]) {
        let (time, rest) = call.split_once(' ').unwrap();
        let (text, ns) = rest.rsplit_once(" in ").unwrap();
        assert_eq!(text, expect);
        let ns: u64 = ns.strip_suffix(" ns").unwrap().parse().unwrap();
        assert!(ns > 0 && ns < 60_000_000_000, "{call}");
        assert!(
            time >= before.as_str() && time.len() == "2026-01-02T03:04:05.678901".len(),
            "{call}: before {before}"
        );
    }
    assert!(out.contains("@ns:\n["), "{out}");
}

/// The wall-clock time as the script prints it, to the second.
fn now() -> String {
    let out = Command::new("date").arg("+%Y-%m-%dT%H:%M:%S").output();
    String::from_utf8(out.unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn by_name_by_offset_by_address() {
    if !kernel::usable("a C function by name, offset, address") {
        return;
    }
    let Some(path) = addnum() else { return };
    let bytes = std::fs::read(&path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let symbol = file.symbols().find(|s| s.name() == Ok("AddNum")).unwrap();
    let address = format!("{:#x}", symbol.address());
    for target in ["AddNum", "AddNum+0", &address] {
        let script = format!("uprobe:{path}:{target} {{ @n = count(); @sum = sum(arg0 + arg1); }}");
        let out = rtrace(&["-e", &script, "-c", &format!("{path} 1 2 30 4")]).ok();
        assert_eq!(
            (value(&out, "@n"), value(&out, "@sum")),
            ("2", "37"),
            "{target}"
        );
    }
}

#[test]
fn arguments_by_their_names_in_the_source() {
    if !kernel::usable("arguments from debug information") {
        return;
    }
    let Some(path) = addnum() else { return };
    let script = format!("uprobe:{path}:AddNum {{ printf(\"%d,%d\\n\", args.a, args.b); }}");
    let out = rtrace(&["-e", &script, "-c", &format!("{path} -7 8")]).ok();
    assert!(out.contains("-7,8\n"), "{out}");
}

#[test]
fn a_place_inside_a_function() {
    if !kernel::usable("a place inside a function") {
        return;
    }
    let Some(path) = fixture(
        "addnum.c",
        "addnum-o0",
        &["-O0", "-g", "-fcf-protection=none"],
    ) else {
        return;
    };
    // `push %rbp` is one byte: the next instruction is at +1.
    let script = format!("uprobe:{path}:AddNum+1 {{ @n = count(); @f[func] = count(); }}");
    let out = rtrace(&["-e", &script, "-c", &format!("{path} 1 2")]).ok();
    assert_eq!(value(&out, "@n"), "1", "{out}");
}
