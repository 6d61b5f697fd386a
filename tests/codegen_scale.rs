//! Compile time grows with the size of a function, not with its square.

use std::time::{Duration, Instant};

use rtrace::codegen::{self, Entry, helper};
use rtrace::interp::{FakeWorld, Machine};
use rtrace::ir::pass::{self, Options};
use rtrace::ir::{Builder, Cond, FuncKind, MemTy, Module, Ty};
use rtrace::object::{MapDef, MapId, MapKind, MapRole, ProgramId, ProgramType};

/// A function of `n` statements: a variable changed under a condition, a look-up with a key in
/// the frame, an atomic addition, a way out to the end of the function.
fn module(n: usize) -> Module {
    let mut m = Module::default();
    m.maps.push(MapDef {
        name: "m".into(),
        kind: MapKind::Hash,
        key_size: 16,
        value_size: 8,
        max_entries: 64,
        flags: 0,
        init: None,
        role: MapRole::Internal,
    });
    let mut b = Builder::new("f", FuncKind::Entry, &[Ty::Ctx]);
    let ctx = b.param(0);
    let var = b.new_slot(8);
    let v = b.slot_addr(var, 0);
    b.zero(v, 0, 8);
    let exit = b.new_block();
    for i in 0..n {
        let arg = b.load(MemTy::DW, ctx, 8 * (i % 10) as i32);
        let (then, join) = (b.new_block(), b.new_block());
        let stop = b.iconst(-5);
        let go_on = b.new_block();
        b.br_cold(Cond::Eq, arg, stop, exit, go_on);
        b.switch_to(go_on);
        let limit = b.iconst(i as i64);
        b.br(Cond::Ugt, arg, limit, then, join);
        b.switch_to(then);
        let v = b.slot_addr(var, 0);
        let old = b.load(MemTy::DW, v, 0);
        let new = b.add(old, arg);
        b.store(MemTy::DW, v, 0, new);
        b.jump(join, &[]);
        b.switch_to(join);
        let key = b.new_slot(16);
        let k = b.slot_addr(key, 0);
        b.zero(k, 0, 16);
        b.store(MemTy::DW, k, 0, arg);
        let map = b.map_fd(MapId(0));
        let found = b.call(
            helper::MAP_LOOKUP_ELEM,
            &[map, k],
            Ty::MapValOrNull(MapId(0)),
        );
        let next = b.new_block();
        let p = b.check_null(found, next);
        let one = b.iconst(1);
        b.atomic_add(p, 0, one);
        b.jump(next, &[]);
        b.switch_to(next);
    }
    let v = b.slot_addr(var, 0);
    let sum = b.load(MemTy::DW, v, 0);
    b.ret(sum);
    b.switch_to(exit);
    b.ret_imm(-1);
    m.add(b.finish());
    m
}

fn compile(n: usize) -> (Duration, usize) {
    let mut m = module(n);
    let entry = Entry {
        func: rtrace::ir::FuncId(0),
        name: "f".into(),
        ty: ProgramType::RawTracepoint,
        attach_btf: None,
    };
    let start = Instant::now();
    rtrace::ir::verify(&m).unwrap();
    let verified = start.elapsed();
    pass::optimise(&mut m, &Options::default(), &mut |_, _| ());
    let optimised = start.elapsed() - verified;
    let out = codegen::generate(&m, &[entry], &[]).unwrap();
    let all = start.elapsed();
    eprintln!(
        "{n} statements: verify {verified:?}, passes {optimised:?}, code {:?}, {} instructions",
        all - verified - optimised,
        out.programs[0].insns.len()
    );
    (all, out.programs[0].insns.len())
}

#[test]
fn time_is_linear_in_size() {
    compile(100);
    let (small, _) = compile(500);
    let (large, insns) = compile(4000);
    assert!(insns > 40_000);
    // Eight times the work; three times that leaves room for a busy machine, and a quadratic
    // step would take 64 times as long.
    assert!(large < small * 24, "500: {small:?}, 4000: {large:?}");
}

/// Jumps that span more than 16 bits go by stepping stones.
#[test]
fn far_jumps_arrive() {
    let n = 4000;
    let m = module(n);
    let entry = Entry {
        func: rtrace::ir::FuncId(0),
        name: "f".into(),
        ty: ProgramType::RawTracepoint,
        attach_btf: None,
    };
    let out = codegen::generate(&m, &[entry], &[]).unwrap();
    assert!(out.programs[0].insns.len() > 1 << 15);
    let mut machine = Machine::new(&m.maps, &out.programs, 1).unwrap();
    let mut run = |args: [i64; 10]| {
        let ctx: Vec<u8> = args.iter().flat_map(|a| a.to_ne_bytes()).collect();
        machine
            .run(ProgramId(0), &ctx, &mut FakeWorld::default())
            .unwrap() as i64
    };
    assert_eq!(run([1 << 40; 10]), n as i64 * (1 << 40));
    assert_eq!(run([-5; 10]), -1);
}
