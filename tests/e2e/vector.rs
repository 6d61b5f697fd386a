//! Functions whose first instruction is of AVX: a breakpoint there would break the program.

use crate::kernel;
use crate::support::{fixture, rtrace, value};

#[test]
fn a_place_that_would_break_the_program_is_refused() {
    if !kernel::usable("vector instructions") {
        return;
    }
    let Some(path) = fixture("vector.c", "vector", &["-O1"]) else {
        return;
    };
    for probe in ["uprobe", "uretprobe"] {
        let script = format!("{probe}:{path}:vec_first {{ @ = count(); }}");
        let run = rtrace(&["-e", &script, "-c", &path]);
        assert_ne!(run.code, Some(0));
        assert!(
            run.err.contains("a vector instruction (AVX)"),
            "{}",
            run.err
        );
        assert!(!run.out.contains("returned"), "{}", run.out);
    }
}

#[test]
fn a_pattern_leaves_it_out_and_says_so() {
    if !kernel::usable("vector instructions by pattern") {
        return;
    }
    let Some(path) = fixture("vector.c", "vector", &["-O1"]) else {
        return;
    };
    let script = format!(
        "config = {{ missing_probes = \"warn\" }} uprobe:{path}:vec_* {{ @[func] = count(); }}"
    );
    let run = rtrace(&["-e", &script, "-c", &path]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(
        run.err.contains("a vector instruction (AVX)"),
        "{}",
        run.err
    );
    assert!(run.out.contains("returned 7\n"), "{}", run.out);
    assert_eq!(value(&run.out, "@[vec_none]"), "1");
    assert!(!run.out.contains("vec_first"), "{}", run.out);
}
