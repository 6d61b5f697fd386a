//! Explained: what the kernel refuses is told with the line of the script.

use std::sync::Arc;

use rtrace::codegen::insn::{Insn, R0, Size};
use rtrace::env::HostEnv;
use rtrace::object::{Attach, AttachPoint, LineInfo, Loc, Object, Program, ProgramId, ProgramType};
use rtrace::runtime::session::{Options, Session};

use crate::kernel::usable;
use crate::run::run;

/// A program that reads through a number, as if line 2 of its script were compiled wrongly.
fn wrong() -> Object {
    let loc = |line| Loc {
        file: 0,
        line,
        col: 3,
        end_line: line,
        end_col: 9,
    };
    let line = |insn, at| LineInfo {
        insn,
        file_off: 0,
        line_off: 0,
        loc: loc(at),
    };
    let insns = [
        Insn::mov64(R0, 7),
        Insn::ldx(Size::DW, R0, R0, 0),
        Insn::exit(),
    ];
    Object {
        license: "GPL".into(),
        sources: vec![("bad.bt".into(), "begin {\n  @x = f();\n}\n".into())],
        programs: vec![Program {
            name: "begin_1".into(),
            ty: ProgramType::RawTracepoint,
            insns: insns.into_iter().map(Insn::encode).collect(),
            relocs: Vec::new(),
            funcs: Vec::new(),
            lines: vec![line(0, 1), line(1, 2)],
            attach_btf: None,
            emits: None,
        }],
        attach: vec![AttachPoint {
            name: "begin".into(),
            program: ProgramId(0),
            attach: Attach::Begin,
            loc: loc(1),
            wildcard: false,
        }],
        ..Object::default()
    }
}

#[test]
fn a_rejected_program_is_told_with_line_sentence_and_remedy() {
    if !usable("a_rejected_program_is_told_with_line_sentence_and_remedy") {
        return;
    }
    for verbose in [false, true] {
        let options = Options {
            verbose,
            ..Options::default()
        };
        let env = Arc::new(HostEnv::default());
        let e = Session::new(Arc::new(wrong()), env, options).unwrap_err();
        let text = e.to_string();
        for part in [
            "the kernel's verifier rejected begin_1: R0 invalid mem access 'scalar'",
            "at bad.bt:2:3: @x = f();",
            "at instruction 1: r0 = *(u64 *)(r0 +0)",
            "please report it with the output of -v -d bpf",
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }
}

#[test]
fn a_probe_that_is_too_complex_is_told_with_its_line() {
    if !usable("a_probe_that_is_too_complex_is_told_with_its_line") {
        return;
    }
    let script = "begin { $i = 0;\n  while ($i < 10000000) { @[$i] = 1; $i++; }\n  exit(); }";
    let done = run(&["-q", "-e", script]);
    assert_eq!(done.code, Some(255));
    let said = done.err.split("ERROR: ").nth(1).unwrap();
    assert!(
        said.contains("the kernel's verifier rejected begin"),
        "{said}"
    );
    assert!(said.contains("at stdin:2:"), "{said}");
    assert!(said.contains("too complex for the verifier"), "{said}");
}
