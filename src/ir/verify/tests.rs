//! One violation each, and what is said about it.

use super::*;
use crate::ir::read::read;

const MAPS: &str = "map0 = hash key 8 value 16 entries 8 flags 0 \"h\"
map1 = array key 4 value 24 entries 1 flags 0 \"a\"
map2 = ringbuf key 0 value 0 entries 0 flags 0 \"r\"
";

fn errors(body: &str) -> Vec<String> {
    let text = format!("{MAPS}fn0 entry \"f\" {{\n    slot0 16\nblock0(v0: ctx):\n{body}}}\n");
    let m = read(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    match verify(&m) {
        Ok(()) => Vec::new(),
        Err(e) => e.into_iter().map(|e| e.message).collect(),
    }
}

#[track_caller]
fn refuses(body: &str, message: &str) {
    let got = errors(body);
    assert!(got.iter().any(|e| e.contains(message)), "{got:#?}");
}

#[track_caller]
fn accepts(body: &str) {
    assert_eq!(errors(body), Vec::<String>::new());
}

#[test]
fn structure() {
    refuses("    v1 = const 1\n", "no end");
    refuses("    ret v9\n", "not defined on every way");
    refuses("    v1 = const 1\n    v1 = const 2\n    ret v1\n", "twice");
    refuses(
        "    v1 = const 1\n    ret v1\nblock1:\n    ret v1\n",
        "reached",
    );
    refuses("    v1 = const 1\n    jump block0(v0)\n", "entry block");
    refuses(
        "    v1 = const 1\n    jump block1\nblock1(v2: scalar):\n    ret v2\n",
        "takes 1 arguments, not 0",
    );
    refuses(
        "    v1 = const 1
    br eq v0, v1, block1, block2
block1:
    v2 = const 2
    jump block2
block2:
    ret v2
",
        "v2 is not defined on every way",
    );
    refuses("    ret v0\n", "v0 is ctx");
}

#[test]
fn null_checks() {
    let lookup = "    v1: map = map_fd map0
    v2: frame = slot_addr slot0+0
    v3 = const 0
    store.8 v2+0, v3
    v4: mapval?(map0) = call bpf_map_lookup_elem(v1, v2)
";
    refuses(
        &format!("{lookup}    v5 = load.8 v4+0\n    ret v5\n"),
        "may be null",
    );
    refuses(
        &format!("{lookup}    v5: mapval?(map0) = add v4, v3\n    ret v3\n"),
        "which may be null",
    );
    refuses(
        &format!("{lookup}    v5: mapval(map0) = non_null v4\n    ret v3\n"),
        "no branch shows",
    );
    let checked = |cond| {
        format!(
            "{lookup}    br {cond} v4, v3, block1, block2
block1:
    ret v3
block2:
    v5: mapval(map0) = non_null v4
    v6 = load.8 v5+8
    ret v6
"
        )
    };
    accepts(&checked("eq"));
    refuses(&checked("ne"), "no branch shows");
}

#[test]
fn memory() {
    let slot = "    v1: frame = slot_addr slot0+0\n    v2 = const 8\n";
    refuses(
        &format!("{slot}    store.8 v1+12, v2\n    ret v2\n"),
        "bytes 12 to 20 of 16",
    );
    refuses(
        &format!("{slot}    store.8 v1+4, v2\n    ret v2\n"),
        "not aligned",
    );
    refuses(
        &format!("{slot}    v3 = load.8 v1+0\n    ret v3\n"),
        "before they are all",
    );
    accepts(&format!(
        "{slot}    store.8 v1+0, v2\n    v3 = load.8 v1+0\n    ret v3\n"
    ));
    refuses(
        "    v1: mapval(map1) = map_addr map1+16\n    v2 = load.8 v1+8\n    ret v2\n",
        "bytes 24 to 32 of 24",
    );
    refuses(
        "    v1: mapval(map0) = map_addr map0+0\n    v2 = load.8 v1+8\n    ret v2\n",
        "no plain array",
    );
    refuses(
        "    v1 = const 1\n    store.8 v0+0, v1\n    ret v1\n",
        "read only",
    );
    refuses(
        "    v1 = const 1\n    v2 = load.8 v1+0\n    ret v2\n",
        "not an address",
    );
    // Only one of two ways writes the byte.
    refuses(
        "    v1: frame = slot_addr slot0+0
    v2 = const 1
    br eq v2, v2, block1, block2
block1:
    store.1 v1+0, v2
    jump block2
block2:
    v3 = load.1 v1+0
    ret v3
",
        "before they are all",
    );
}

#[test]
fn records() {
    let reserve = "    v1: map = map_fd map2
    v2 = const 16
    v3 = const 0
    v4: rec?(16) = call bpf_ringbuf_reserve(v1, v2, v3)
    br eq v4, v3, block1, block2 cold
block1:
    ret v3
block2:
    v5: rec(16) = non_null v4
";
    let submit = "    v6 = call bpf_ringbuf_submit(v5, v3)\n";
    accepts(&format!("{reserve}{submit}    ret v3\n"));
    refuses(&format!("{reserve}    ret v3\n"), "not given back");
    refuses(
        &format!("{reserve}{submit}    store.8 v5+0, v3\n    ret v3\n"),
        "after it was given back",
    );
    refuses(
        &format!("{reserve}    store.8 v5+16, v3\n{submit}    ret v3\n"),
        "bytes 16 to 24 of 16",
    );
}
