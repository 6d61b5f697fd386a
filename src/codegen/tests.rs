//! IR in, instructions out.

use super::*;
use crate::ir::read::read;
use crate::object::ProgramType;

const MAPS: &str = "map0 = hash key 8 value 8 entries 8 flags 0 \"h\"
map1 = array key 4 value 600 entries 1 flags 0 \"a\"
";

fn build(text: &str) -> Result<Output, CodegenError> {
    let m = read(&format!("{MAPS}{text}")).unwrap_or_else(|e| panic!("{e}"));
    crate::ir::verify(&m).unwrap_or_else(|e| panic!("{e:#?}"));
    let entry = Entry {
        func: FuncId(0),
        name: "p".into(),
        ty: ProgramType::RawTracepoint,
        attach_btf: None,
    };
    generate(&m, &[entry], &[("s.bt".into(), "first\nsecond\n".into())])
}

/// The instructions of a program whose entry has this body.
#[track_caller]
fn code(body: &str) -> Vec<String> {
    let out = build(&format!("fn0 entry \"p\" {{\n{body}}}\n")).unwrap();
    let insns: Vec<insn::Insn> = out.programs[0]
        .insns
        .iter()
        .map(|&b| insn::Insn::decode(b))
        .collect();
    disasm::listing(&insns, &())
        .lines()
        .map(|l| l.split_once(") ").map_or(l, |x| x.1).to_owned())
        .collect()
}

#[test]
fn constants_and_offsets_are_folded() {
    assert_eq!(
        code(
            "    slot0 16
block0(v0: ctx):
    v1 = load.8 v0+16
    v2 = const 5
    v3 = add v1, v2
    v4: frame = slot_addr slot0+0
    v5 = const 8
    v6: frame = add v4, v5
    store.4 v6+0, v2
    store.8 v4+0, v3
    v7 = load.8 v4+0
    ret v7
"
        ),
        [
            "r5 = *(u64 *)(r1 +16)",
            "r5 += 5",
            "*(u32 *)(r10 -8) = 5",
            "*(u64 *)(r10 -16) = r5",
            "r0 = *(u64 *)(r10 -16)",
            "exit",
        ]
    );
}

#[test]
fn arguments_go_straight_to_their_registers() {
    assert_eq!(
        code(
            "    slot0 8
block0(v0: ctx):
    v1 = load.8 v0+0
    v2: frame = slot_addr slot0+0
    store.8 v2+0, v1
    v3: map = map_fd map0
    v4 = const 0
    v5 = call bpf_map_update_elem(v3, v2, v2, v4)
    v6 = load.8 v0+8
    v7 = add v5, v6
    ret v7
"
        ),
        [
            "r6 = r1",
            "r5 = *(u64 *)(r6 +0)",
            "*(u64 *)(r10 -8) = r5",
            "r1 = map[fd:0]",
            "r2 = r10",
            "r2 += -8",
            "r3 = r10",
            "r3 += -8",
            "r4 = 0",
            "call bpf_map_update_elem#2",
            "r0 <<= 32",
            "r0 s>>= 32",
            "r5 = *(u64 *)(r6 +8)",
            "r0 += r5",
            "exit",
        ]
    );
}

/// Before Linux 6.4 map helpers leave the upper half of r0 undefined.
#[test]
fn results_of_map_helpers_are_compared_by_their_low_half() {
    let got = code(
        "    slot0 8
block0(v0: ctx):
    v1: frame = slot_addr slot0+0
    v2 = const 0
    store.8 v1+0, v2
    v3: map = map_fd map0
    v4 = call bpf_map_delete_elem(v3, v1)
    br slt v4, v2, block1, block2 cold
block1:
    v5 = const 1
    ret v5
block2:
    ret v2
",
    );
    assert!(got.iter().any(|l| l.starts_with("if w0 s< 0")), "{got:#?}");
}

#[test]
fn rare_blocks_come_last_and_branches_fall_through() {
    let got = code(
        "block0(v0: ctx):
    v1 = load.8 v0+0
    v2 = const 7
    br eq v1, v2, block1, block2 cold
block1:
    v3 = const -1
    ret v3
block2:
    br ult v1, v2, block3, block4
block3:
    v4 = const 1
    ret v4
block4:
    v5 = const 2
    ret v5
",
    );
    assert_eq!(
        got,
        [
            "r5 = *(u64 *)(r1 +0)",
            "if r5 == 7 goto pc+5",
            "if r5 >= 7 goto pc+2",
            "r0 = 1",
            "exit",
            "r0 = 2",
            "exit",
            "r0 = -1",
            "exit",
        ]
    );
}

#[test]
fn block_arguments_share_registers() {
    let got = code(
        "block0(v0: ctx):
    v1 = load.8 v0+0
    v2 = const 0
    v3 = const 1
    jump block1(v2, v2)
block1(v4: scalar, v5: scalar):
    v6 = add v4, v1
    v7 = add v5, v3
    v8 = const 10
    br ult v7, v8, block1(v6, v7), block2
block2:
    ret v6
",
    );
    let moves = got
        .iter()
        .filter(|l| l.starts_with('r') && l.split(" = r").count() == 2);
    assert_eq!(moves.count(), 0, "{got:#?}");
    assert_eq!(got.len(), 7, "{got:#?}");
}

#[test]
fn a_register_that_equals_the_constant_is_the_argument() {
    let got = code(
        "block0(v0: ctx):
    v1 = load.8 v0+0
    v2 = const 0
    br eq v1, v2, block2(v2), block1
block1:
    v3 = load.8 v0+8
    jump block2(v3)
block2(v4: scalar):
    ret v4
",
    );
    assert_eq!(
        got,
        [
            "r0 = *(u64 *)(r1 +0)",
            "if r0 == 0 goto pc+1",
            "r0 = *(u64 *)(r1 +8)",
            "exit",
        ]
    );
}

#[test]
fn short_zeroing_is_stores_and_long_zeroing_a_call() {
    let body = |len| {
        format!(
            "block0(v0: ctx):
    v1: mapval(map1) = map_addr map1+0
    zero v1+0, {len}
    v2 = const 0
    ret v2
"
        )
    };
    let short = code(&body(28));
    assert_eq!(
        short[1..5],
        [
            "*(u64 *)(r1 +0) = 0",
            "*(u64 *)(r1 +8) = 0",
            "*(u64 *)(r1 +16) = 0",
            "*(u32 *)(r1 +24) = 0",
        ]
        .map(|s| s.replace("r1", &short[0][..2]))
    );
    let long = code(&body(600));
    assert!(
        long.contains(&"call bpf_probe_read_kernel#113".to_owned()),
        "{long:#?}"
    );
}

#[test]
fn machine_traps_are_avoided() {
    let got = code(
        "block0(v0: ctx):
    v1 = load.8 v0+0
    v2 = const 0
    v3 = udiv v1, v2
    v4 = const 70
    v5 = shl v1, v4
    v6 = umod v5, v2
    v7 = add v3, v6
    ret v7
",
    );
    assert!(
        !got.iter().any(|l| l.contains("/= 0") || l.contains("%= 0")),
        "{got:#?}"
    );
    assert!(got.iter().any(|l| l.ends_with("<<= 6")), "{got:#?}");
}

/// More values live across a call than r6 to r9 hold.
#[test]
fn values_that_do_not_fit_are_saved_once() {
    let mut body = String::from("block0(v0: ctx):\n");
    for i in 1..=6 {
        body += &format!("    v{i} = load.8 v0+{}\n", 8 * i);
    }
    body += "    v7 = call bpf_ktime_get_ns()\n";
    for i in 1..=6 {
        body += &format!("    v{} = add v{}, v{i}\n", 7 + i, 6 + i);
    }
    body += "    ret v13\n";
    let got = code(&body);
    let saves = got.iter().filter(|l| l.starts_with("*(u64 *)(r10")).count();
    let loads = got.iter().filter(|l| l.contains("= *(u64 *)(r10")).count();
    assert_eq!((saves, loads), (2, 2), "{got:#?}");
}

#[test]
fn large_frames_and_chains_are_refused_with_their_parts() {
    let body = "    slot0 520
block0(v0: ctx):
    v1: frame = slot_addr slot0+0
    zero v1+0, 520
    v2 = load.8 v1+0
    ret v2
";
    let e = build(&format!("fn0 entry \"p\" {{\n{body}}}\n")).unwrap_err();
    assert_eq!(
        e,
        CodegenError::FrameTooLarge {
            func: "p".into(),
            slots: 520,
            spills: 0
        }
    );
    let e = build(
        "fn0 entry \"p\" {
    slot0 300
block0(v0: ctx):
    v1: frame = slot_addr slot0+0
    zero v1+0, 8
    v2 = call fn1(v1)
    ret v2
}
fn1 static \"sub\" {
    slot0 250
block0(v0: frame):
    v1: frame = slot_addr slot0+0
    zero v1+0, 8
    v2 = load.8 v0+0
    ret v2
}
",
    )
    .unwrap_err();
    let CodegenError::CallChain {
        bytes,
        frames,
        each,
        ..
    } = e
    else {
        panic!("{e}");
    };
    assert_eq!((bytes, frames), (320 + 256, 2));
    assert_eq!(each, [("p".to_owned(), 304), ("sub".to_owned(), 256)]);
}

#[test]
fn programs_hold_what_they_reach_and_say_where_it_is() {
    let out = build(
        "fn0 entry \"p\" {
block0(v0: ctx):
    @ 0:2:1-2:7
    v1: func = func_addr fn2
    v2 = const 3
    v3 = const 0
    v4 = call bpf_loop(v2, v1, v3, v3)
    ret v4
}
fn1 static \"unused\" {
block0:
    v1 = const 0
    ret v1
}
fn2 loop_body \"body\" {
block0(v0: scalar, v1: scalar):
    @ 0:1:1-1:6
    v2 = const 0
    ret v2
}
",
    )
    .unwrap();
    let p = &out.programs[0];
    let names: Vec<(&str, u32)> = p.funcs.iter().map(|f| (f.name.as_str(), f.insn)).collect();
    assert_eq!(names, [("p", 0), ("body", 7)]);
    let lines: Vec<(u32, u32)> = p.lines.iter().map(|l| (l.insn, l.loc.line)).collect();
    assert_eq!(lines, [(0, 2), (7, 1)]);
    // r2 = body: from the slot after the first half of the load.
    let load = insn::Insn::decode(p.insns[1]);
    assert!(load.is_ld_imm64());
    assert_eq!(1 + 1 + load.imm, 7);
    let text = String::from_utf8_lossy(&out.btf);
    assert!(text.contains("second") && text.contains("s.bt") && text.contains("body"));
}
