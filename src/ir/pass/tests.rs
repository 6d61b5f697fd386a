//! Each pass on the least text that shows what it does.

use super::*;
use crate::ir::read::read;
use crate::ir::verify;

const MAPS: &str = "map0 = array key 4 value 16 entries 1 flags 0 \"v\"
map1 = array key 4 value 4 entries 1 flags 128 \"config\" init 2a000000
map2 = ringbuf key 0 value 0 entries 0 flags 0 \"events\"
";

/// The body of the function after the passes `names`.
#[track_caller]
fn after(names: &[&str], body: &str) -> String {
    let text = format!("{MAPS}\nfn0 entry \"f\" {{\n{body}}}\n");
    let mut m = read(&text).unwrap_or_else(|e| panic!("{e}"));
    verify(&m).unwrap_or_else(|e| panic!("{e:#?}"));
    for name in names {
        assert!(run_named(&mut m, name));
    }
    let out = m.to_string();
    verify(&m).unwrap_or_else(|e| panic!("{e:#?}\n{out}"));
    let at = out.find("{\n").unwrap() + 2;
    out[at..out.len() - 2].to_owned()
}

#[test]
fn constants_and_strength() {
    let got = after(
        &["fold", "dce"],
        "block0(v0: ctx):
    v1 = load.4 v0+0
    v2 = const 8
    v3 = mul v1, v2
    v4 = umod v3, v2
    v5 = zext.32 v1
    v6 = add v4, v5
    v7: mapval(map1) = map_addr map1+0
    v8 = load.4 v7+0
    v9 = add v6, v8
    v10 = add v9, v2
    ret v10
",
    );
    assert_eq!(
        got,
        "block0(v0: ctx):
    v1 = load.4 v0+0
    v11 = const 3
    v3 = shl v1, v11
    v12 = const 7
    v4 = and v3, v12
    v6 = add v4, v1
    v13 = const 50
    v10 = add v6, v13
    ret v10
"
    );
}

#[test]
fn signs_that_nobody_looks_at() {
    let got = after(
        &["fold", "dce"],
        "block0(v0: ctx):
    v1 = load.s4 v0+0
    v2 = load.s2 v0+8
    v3 = sext.16 v2
    v4: mapval(map0) = map_addr map0+0
    store.4 v4+0, v1
    v5 = zext.8 v3
    store.1 v4+4, v5
    v6 = load.s4 v0+16
    v7 = sext.32 v6
    store.4 v4+8, v7
    ret v7
",
    );
    assert_eq!(
        got,
        "block0(v0: ctx):
    v1 = load.4 v0+0
    v2 = load.2 v0+8
    v4: mapval(map0) = map_addr map0+0
    store.4 v4+0, v1
    store.1 v4+4, v2
    v6 = load.4 v0+16
    v7 = sext.32 v6
    store.4 v4+8, v6
    ret v7
"
    );
}

#[test]
fn slots_become_values_and_parameters() {
    let got = after(
        &["mem2reg", "dce"],
        "    slot0 8
block0(v0: ctx):
    v1: frame = slot_addr slot0+0
    v2 = load.8 v0+0
    v3 = const 7
    zero v1+0, 8
    br eq v2, v3, block1, block2
block1:
    store.8 v1+0, v2
    jump block2
block2:
    v4 = load.4 v1+0
    ret v4
",
    );
    // Accesses of 4 and 8 bytes at the same place do not make a cell.
    assert!(got.contains("load.4 v1+0"), "{got}");
    let got = after(
        &["mem2reg", "dce"],
        "    slot0 16
block0(v0: ctx):
    v1: frame = slot_addr slot0+8
    v2 = load.8 v0+0
    v3 = const 7
    zero v1-8, 16
    br eq v2, v3, block1, block2
block1:
    store.4 v1+0, v2
    jump block2
block2:
    v4 = load.s4 v1+0
    ret v4
",
    );
    assert_eq!(
        got,
        "    slot0 16
block0(v0: ctx):
    v5 = const 0
    v2 = load.8 v0+0
    v3 = const 7
    br eq v2, v3, block1, block2(v5)
block1:
    jump block2(v2)
block2(v6: scalar):
    v4 = sext.32 v6
    ret v4
"
    );
}

#[test]
fn conditions_become_jumps() {
    let got = after(
        &["thread", "blocks", "dce"],
        "block0(v0: ctx):
    v1 = load.8 v0+0
    v2 = load.8 v0+8
    v3 = const 0
    v4 = const 1
    br ult v1, v2, block1, block2
block1:
    jump block3(v4)
block2:
    jump block3(v3)
block3(v5: scalar):
    br ne v5, v3, block4, block5
block4:
    ret v4
block5:
    ret v3
",
    );
    assert_eq!(
        got,
        "block0(v0: ctx):
    v1 = load.8 v0+0
    v2 = load.8 v0+8
    v3 = const 0
    v4 = const 1
    br ult v1, v2, block1, block2
block1:
    ret v4
block2:
    ret v3
"
    );
}

#[test]
fn equal_values_are_computed_once() {
    let got = after(
        &["gvn", "dce"],
        "block0(v0: ctx):
    v1 = call bpf_get_current_pid_tgid()
    v2 = load.8 v0+0
    v3: mapval(map0) = map_addr map0+0
    v4 = load.8 v3+0
    atomic.add.8 v3+8, v2
    v5 = load.8 v3+0
    v6 = load.8 v3+0
    v7 = call bpf_get_current_pid_tgid()
    v8 = load.8 v0+0
    v9 = add v1, v7
    v10 = add v2, v8
    v11 = add v4, v5
    v12 = add v6, v9
    v13 = add v10, v11
    v14 = add v12, v13
    ret v14
",
    );
    assert_eq!(got.matches("call").count(), 1, "{got}");
    assert_eq!(got.matches("load.8 v0").count(), 1, "{got}");
    assert_eq!(got.matches("load.8 v3").count(), 2, "{got}");
}

#[test]
fn stores_that_nothing_reads() {
    let got = after(
        &["dse", "dce"],
        "    slot0 16
block0(v0: ctx):
    v1: frame = slot_addr slot0+0
    v2 = load.8 v0+0
    zero v1+0, 16
    store.8 v1+0, v2
    store.4 v1+8, v2
    v3: map = map_fd map0
    v4: mapval?(map0) = call bpf_map_lookup_elem(v3, v1)
    store.8 v1+0, v2
    ret v2
",
    );
    assert_eq!(
        got,
        "    slot0 16
block0(v0: ctx):
    v1: frame = slot_addr slot0+0
    v2 = load.8 v0+0
    zero v1+12, 4
    store.8 v1+0, v2
    store.4 v1+8, v2
    v3: map = map_fd map0
    v4: mapval?(map0) = call bpf_map_lookup_elem(v3, v1)
    ret v2
"
    );
}

#[test]
fn unused_parameters_and_loops_of_them() {
    let got = after(
        &["dce"],
        "block0(v0: ctx):
    v1 = load.8 v0+0
    v2 = const 1
    jump block1(v1, v2)
block1(v3: scalar, v4: scalar):
    v5 = add v3, v2
    br ult v4, v1, block1(v5, v4), block2
block2:
    ret v1
",
    );
    assert!(got.contains("block1(v4: scalar):"), "{got}");
    assert!(!got.contains("v5"), "{got}");
}

#[test]
fn passes_can_be_left_out_and_watched() {
    let text = "fn0 entry \"f\" {\nblock0(v0: ctx):\n    v1 = const 1\n    v2 = add v1, v1\n    ret v2\n}\n";
    let mut m = read(text).unwrap();
    let mut seen = Vec::new();
    let without = vec!["fold".to_owned()];
    let options = Options {
        level: Level::O2,
        without,
    };
    optimise(&mut m, &options, &mut |name, _| seen.push(name));
    assert!(seen.contains(&"gvn") && !seen.contains(&"fold"));
    assert!(m.to_string().contains("add v1, v1"));
    let options = Options {
        level: Level::O0,
        ..Options::default()
    };
    optimise(&mut m, &options, &mut |_, _| panic!("no passes at -O0"));
}

#[test]
fn function_by_function_is_the_same_as_pass_by_pass() {
    let text = "fn0 static \"f\" {\nblock0(v0: scalar):\n    v1 = const 3\n    v2 = add v0, v1\n    ret v2\n}\n\n\
        fn1 entry \"g\" {\nblock0(v0: ctx):\n    v1 = const 1\n    v2 = add v1, v1\n    v3 = call fn0(v2)\n    ret v3\n}\n";
    for without in [vec![], vec!["fold".to_owned()]] {
        let options = Options {
            level: Level::O2,
            without,
        };
        let (mut watched, mut unseen) = (read(text).unwrap(), read(text).unwrap());
        optimise(&mut watched, &options, &mut |_, _| ());
        super::optimise_unseen(&mut unseen, &options);
        assert_eq!(watched.to_string(), unseen.to_string());
    }
}
