//! Counts of threads: nothing is lost, and a thread that takes another name has another key.

use crate::kernel;
use crate::support::{fixture, rtrace, scratch, value};

#[test]
fn counts_are_exact_under_contention() {
    if !kernel::usable("eight threads on one probe") {
        return;
    }
    let Some(path) = fixture("threads.c", "threads", &["-O2", "-pthread"]) else {
        return;
    };
    let script = format!("uprobe:{path}:tick {{ @a++; @b = count(); @c = sum(1); }}");
    let out = rtrace(&["-e", &script, "-c", &format!("{path} 8 1000000")]).ok();
    // The program's own count is its first line.
    assert_eq!(out.lines().next(), Some("8000000"), "{out}");
    for map in ["@a", "@b", "@c"] {
        assert_eq!(value(&out, map), "8000000", "{out}");
    }
}

#[test]
fn a_name_is_the_same_key_whatever_was_there_before() {
    if !kernel::usable("keys of a thread that takes other names") {
        return;
    }
    // 15 characters, the most there are; then ones that leave some of the bytes before them.
    let names = [
        "averylongname15",
        "exactly8",
        "sevenxx",
        "ab",
        "exactly8",
        "ninebytes",
    ];
    let sh: String = names
        .iter()
        .map(|n| format!("printf {n} >/proc/$$/comm; cd /\n"))
        .collect();
    let path = scratch("rename.sh");
    std::fs::write(&path, sh).unwrap();
    let script = "tracepoint:syscalls:sys_enter_chdir /pid == cpid/ { @[comm] = count(); \
        @tuple[comm, 1] = count(); @short = sum(comm == \"ab\"); @long = sum(comm == \"averylongname15\"); \
        printf(\"%s.\\n\", comm); }";
    let command = format!("sh {}", path.display());
    let out = rtrace(&["-q", "-e", script, "-c", &command]).ok();
    let printed: Vec<_> = out.lines().filter_map(|l| l.strip_suffix('.')).collect();
    assert_eq!(printed, names, "{out}");
    for name in names {
        let n = names.iter().filter(|n| **n == name).count();
        for map in [format!("@[{name}]"), format!("@tuple[{name}, 1]")] {
            assert_eq!(value(&out, &map), n.to_string(), "{out}");
        }
    }
    assert_eq!(out.matches("@[").count(), 5, "{out}");
    assert_eq!((value(&out, "@short"), value(&out, "@long")), ("1", "1"));
}
