//! Programs in, results, faults, maps and records out.

use super::memory::Kind;
use super::*;
use crate::codegen::helper::{self, HelperId};
use crate::codegen::insn::{
    AluOp, AtomicOp, Insn, JmpOp, R0, R1, R2, R3, R4, R5, R6, R7, R10, Reg, Size,
};
use crate::object::{
    MapDef, MapId, MapKind, MapRole, Program, ProgramId, ProgramType, Reloc, RelocKind,
};

fn def(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: "m".into(),
        kind,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        init: None,
        role: MapRole::Internal,
    }
}

fn program(insns: &[Insn]) -> Program {
    Program {
        name: "p".into(),
        ty: ProgramType::RawTracepoint,
        insns: insns.iter().map(|i| i.encode()).collect(),
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
        attach_btf: None,
        emits: None,
    }
}

fn machine(maps: &[MapDef], insns: &[Insn]) -> Machine {
    Machine::new(maps, &[program(insns)], 2).unwrap()
}

fn run(maps: &[MapDef], insns: &[Insn]) -> Result<u64, FaultKind> {
    run_in(&mut machine(maps, insns), &mut FakeWorld::default())
}

fn run_in(m: &mut Machine, world: &mut FakeWorld) -> Result<u64, FaultKind> {
    m.run(ProgramId(0), b"12345678", world).map_err(|f| f.kind)
}

fn join(parts: &[&[Insn]]) -> Vec<Insn> {
    parts.concat()
}

/// `dst = r10 + off`
fn frame(dst: Reg, off: i32) -> [Insn; 2] {
    [Insn::mov64(dst, R10), Insn::alu64(AluOp::Add, dst, off)]
}

fn map(dst: Reg, index: i32) -> [Insn; 2] {
    Insn::ld_map_fd(dst, index)
}

fn ret(value: i32) -> [Insn; 2] {
    [Insn::mov64(R0, value), Insn::exit()]
}

fn call(h: HelperId) -> Insn {
    Insn::call(h)
}

#[test]
fn stack_keeps_bytes_of_every_size() {
    let p = [
        Insn::st(Size::DW, R10, -8, -1),
        Insn::st(Size::B, R10, -8, 0x12),
        Insn::st(Size::H, R10, -6, 0x3456),
        Insn::ldx(Size::DW, R0, R10, -8),
        Insn::exit(),
    ];
    let expected = u64::from_le_bytes([0x12, 0xff, 0x56, 0x34, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(run(&[], &p), Ok(expected));
    let signed = [
        Insn::st(Size::W, R10, -4, -5),
        Insn::ldsx(Size::W, R0, R10, -4),
        Insn::exit(),
    ];
    assert_eq!(run(&[], &signed), Ok(-5i64 as u64));
}

#[test]
fn reading_what_was_never_written_is_a_fault() {
    let p = [
        Insn::st(Size::W, R10, -8, 1),
        Insn::ldx(Size::DW, R0, R10, -8),
        Insn::exit(),
    ];
    assert_eq!(run(&[], &p), Err(FaultKind::UninitStack { offset: -4 }));
    assert_eq!(run(&[], &[Insn::exit()]), Err(FaultKind::UninitRegister(0)));
    let after_call = join(&[
        &[call(helper::KTIME_GET_NS), Insn::mov64(R0, R1)],
        &[Insn::exit()],
    ]);
    assert_eq!(run(&[], &after_call), Err(FaultKind::UninitRegister(1)));
}

#[test]
fn accesses_stay_inside_their_region() {
    let load = |off| [Insn::ldx(Size::W, R0, R1, off), Insn::exit()];
    assert_eq!(run(&[], &load(4)), Ok(u32::from_le_bytes(*b"5678").into()));
    for off in [5, -1] {
        let e = FaultKind::OutOfBounds {
            region: Kind::Context,
            offset: off.into(),
            len: 4,
            size: 8,
        };
        assert_eq!(run(&[], &load(off)), Err(e));
    }
    let above = [Insn::st(Size::DW, R10, 0, 1)];
    assert!(matches!(
        run(&[], &above),
        Err(FaultKind::OutOfBounds { offset: 512, .. })
    ));
    let null = [Insn::mov64(R1, 0), Insn::ldx(Size::B, R0, R1, 0)];
    assert_eq!(run(&[], &null), Err(FaultKind::NotAPointer { addr: 0 }));
    let odd = [Insn::st(Size::DW, R10, -12, 1)];
    assert!(matches!(run(&[], &odd), Err(FaultKind::Misaligned { .. })));
    let ctx = [Insn::st(Size::B, R1, 0, 1)];
    let read_only = FaultKind::ReadOnly {
        region: Kind::Context,
    };
    assert_eq!(run(&[], &ctx), Err(read_only));
}

#[test]
fn functions_have_their_own_frames_and_keep_the_callers_registers() {
    // main: r6 = 40; r0 = f(r1 = 2) + r6      f: *(r10-8) = r1; r6 = 99; return *(r10-8)
    let p = [
        Insn::mov64(R6, 40),
        Insn::mov64(R1, 2),
        Insn::call_func(2),
        Insn::alu64(AluOp::Add, R0, R6),
        Insn::exit(),
        Insn::stx(Size::DW, R10, -8, R1),
        Insn::mov64(R6, 99),
        Insn::ldx(Size::DW, R0, R10, -8),
        Insn::exit(),
    ];
    assert_eq!(run(&[], &p), Ok(42));
    // f: r0 = address in its frame; main reads through it
    let dangling = [
        Insn::call_func(2),
        Insn::ldx(Size::DW, R0, R0, -8),
        Insn::exit(),
        Insn::st(Size::DW, R10, -8, 1),
        Insn::mov64(R0, R10),
        Insn::exit(),
    ];
    let gone = FaultKind::Dangling {
        region: Kind::Stack,
    };
    assert_eq!(run(&[], &dangling), Err(gone));
    assert_eq!(run(&[], &[Insn::call_func(-1)]), Err(FaultKind::CallDepth));
}

#[test]
fn endless_and_runaway_programs_end() {
    let mut m = machine(&[], &[Insn::ja(-1)]);
    m.set_budget(1000);
    let f = m.run(ProgramId(0), &[], &mut FakeWorld::default());
    assert_eq!(
        f.map_err(|f| f.to_string()),
        Err("instruction 0: the instruction budget is used up".to_owned())
    );
    assert_eq!(
        run(&[], &[Insn::mov64(R0, 0)]),
        Err(FaultKind::OutOfProgram)
    );
    assert_eq!(run(&[], &[Insn::ja(-7)]), Err(FaultKind::OutOfProgram));
    let unknown = HelperId::new(9999);
    assert_eq!(
        run(&[], &[call(unknown)]),
        Err(FaultKind::UnknownHelper(unknown))
    );
}

#[test]
fn malformed_programs_are_refused_when_loaded() {
    for bad in [
        &[Insn::mov64(R10, 0)][..],
        &Insn::ld_imm64(R1, 0)[..1],
        &map(R1, 0),
        &[Insn {
            dst: 11,
            ..Insn::exit()
        }],
    ] {
        assert!(Machine::new(&[], &[program(bad)], 1).is_err(), "{bad:?}");
    }
}

#[test]
fn atomics_change_memory_and_hand_back_the_old_value() {
    let run_op = |op, size| {
        let p = [
            Insn::st(Size::DW, R10, -8, 0b0110),
            Insn::mov64(R0, 0b0110),
            Insn::mov64(R2, 0b0011),
            Insn::atomic(op, size, R10, -8, R2),
            Insn::ldx(Size::DW, R1, R10, -8),
            Insn::alu64(AluOp::Lsh, R1, 8),
            Insn::alu64(AluOp::Or, R1, R2),
            Insn::mov64(R0, R1),
            Insn::exit(),
        ];
        run(&[], &p).unwrap()
    };
    for size in [Size::W, Size::DW] {
        assert_eq!(run_op(AtomicOp::Add, size), 9 << 8 | 3);
        assert_eq!(run_op(AtomicOp::FetchAdd, size), 9 << 8 | 6);
        assert_eq!(run_op(AtomicOp::FetchOr, size), 7 << 8 | 6);
        assert_eq!(run_op(AtomicOp::FetchAnd, size), 2 << 8 | 6);
        assert_eq!(run_op(AtomicOp::Xor, size), 5 << 8 | 3);
        assert_eq!(run_op(AtomicOp::Xchg, size), 3 << 8 | 6);
        assert_eq!(run_op(AtomicOp::Cmpxchg, size), 3 << 8 | 3);
    }
}

/// `@[7]++` through look-up, atomic add, and update where there is no element.
fn count_at_seven() -> Vec<Insn> {
    join(&[
        &[
            Insn::st(Size::DW, R10, -8, 7),
            Insn::st(Size::DW, R10, -16, 1),
        ],
        &map(R1, 0),
        &frame(R2, -8),
        &[
            call(helper::MAP_LOOKUP_ELEM),
            Insn::jmp64(JmpOp::Eq, R0, 0, 4),
            Insn::mov64(R1, 1),
            Insn::atomic(AtomicOp::Add, Size::DW, R0, 0, R1),
            Insn::mov64(R0, 0),
            Insn::exit(),
        ],
        &map(R1, 0),
        &frame(R2, -8),
        &frame(R3, -16),
        &[
            Insn::mov64(R4, 1),
            call(helper::MAP_UPDATE_ELEM),
            Insn::exit(),
        ],
    ])
}

#[test]
fn maps_keep_values_from_run_to_run() {
    let mut m = machine(&[def(MapKind::PercpuHash, 8, 8, 4)], &count_at_seven());
    let mut world = FakeWorld::default();
    for cpu in [0, 1, 1] {
        world.cpu = cpu;
        assert_eq!(run_in(&mut m, &mut world), Ok(0));
    }
    let map = m.map(MapId(0)).unwrap();
    let entries: Vec<_> = map.entries().collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(*entries[0].key, 7u64.to_ne_bytes());
    let per_cpu = [1u64.to_ne_bytes(), 2u64.to_ne_bytes()];
    assert_eq!(entries[0].value, per_cpu.as_flattened());
    m.map_mut(MapId(0)).unwrap().clear();
    assert!(m.map(MapId(0)).unwrap().is_empty());
}

#[test]
fn map_values_have_bounds_and_full_maps_say_so() {
    let past = join(&[
        &Insn::ld_map_value(R1, 0, 4),
        &[Insn::ldx(Size::W, R0, R1, 4), Insn::exit()],
    ]);
    let array = [def(MapKind::Array, 4, 8, 2)];
    assert!(matches!(
        run(&array, &past),
        Err(FaultKind::OutOfBounds {
            offset: 8,
            len: 4,
            size: 8,
            ..
        })
    ));
    let mut m = machine(&[def(MapKind::Hash, 8, 8, 1)], &count_at_seven());
    let other = 1u64.to_ne_bytes();
    let map = m.map_mut(MapId(0)).unwrap();
    map.update(&other, &other, UpdateMode::Any).unwrap();
    assert_eq!(
        run_in(&mut m, &mut FakeWorld::default()),
        Ok(-i64::from(libc::E2BIG) as u64)
    );
}

#[test]
fn relocations_take_precedence_over_the_load() {
    let mut data = def(MapKind::Array, 4, 8, 1);
    data.init = Some(42u64.to_ne_bytes().to_vec());
    let mut p = program(&join(&[
        &Insn::ld_imm64(R1, 0),
        &[Insn::ldx(Size::W, R0, R1, 0), Insn::exit()],
    ]));
    p.relocs.push(Reloc {
        insn: 0,
        kind: RelocKind::MapValue(MapId(0), 0),
    });
    let mut m = Machine::new(&[data], &[p], 1).unwrap();
    assert_eq!(run_in(&mut m, &mut FakeWorld::default()), Ok(42));
}

#[test]
fn bpf_loop_calls_back_until_told_to_stop() {
    // callback(i, ctx): *ctx += i; return i == 4
    let rounds = |n| {
        join(&[
            &[Insn::st(Size::DW, R10, -8, 0), Insn::mov64(R1, n)],
            &Insn::ld_func(R2, 10),
            &frame(R3, -8),
            &[
                Insn::mov64(R4, 0),
                call(helper::LOOP),
                Insn::ldx(Size::DW, R1, R10, -8),
                Insn::alu64(AluOp::Lsh, R0, 8),
                Insn::alu64(AluOp::Or, R0, R1),
                Insn::exit(),
            ],
            &[
                Insn::exit(), // 12: never reached
                Insn::ldx(Size::DW, R3, R2, 0),
                Insn::alu64(AluOp::Add, R3, R1),
                Insn::stx(Size::DW, R2, 0, R3),
                Insn::mov64(R0, 0),
                Insn::jmp64(JmpOp::Ne, R1, 4, 1),
                Insn::mov64(R0, 1),
                Insn::exit(),
            ],
        ])
    };
    assert_eq!(run(&[], &rounds(3)), Ok(3 << 8 | (1 + 2)));
    assert_eq!(run(&[], &rounds(100)), Ok(5 << 8 | (1 + 2 + 3 + 4)));
    let too_many = run(&[], &rounds(i32::MAX)).unwrap();
    assert_eq!((too_many as i64) >> 8, -i64::from(libc::E2BIG));
}

#[test]
fn walks_show_keys_in_order_of_insertion_and_survive_deletion() {
    // callback(map, key, value, ctx): ctx = ctx * 256 + key; delete key
    let p = join(&[
        &[Insn::st(Size::DW, R10, -8, 0)],
        &map(R1, 0),
        &Insn::ld_func(R2, 6),
        &frame(R3, -8),
        &[
            Insn::mov64(R4, 0),
            call(helper::FOR_EACH_MAP_ELEM),
            Insn::ldx(Size::DW, R0, R10, -8),
            Insn::exit(),
        ],
        &[
            Insn::exit(), // never reached
            Insn::ldx(Size::DW, R0, R4, 0),
            Insn::alu64(AluOp::Lsh, R0, 8),
            Insn::ldx(Size::B, R5, R2, 0),
            Insn::alu64(AluOp::Or, R0, R5),
            Insn::stx(Size::DW, R4, 0, R0),
            call(helper::MAP_DELETE_ELEM),
            Insn::exit(),
        ],
    ]);
    let mut p = p;
    // The callback starts after the instruction that is never reached.
    let callback = p.iter().rposition(|i| *i == Insn::exit()).unwrap() - 6;
    p[3].imm = callback as i32 - 4;
    let mut m = machine(&[def(MapKind::Hash, 1, 1, 8)], &p);
    for key in [3u8, 1, 2] {
        let map = m.map_mut(MapId(0)).unwrap();
        map.update(&[key], &[0], UpdateMode::Any).unwrap();
    }
    assert_eq!(run_in(&mut m, &mut FakeWorld::default()), Ok(0x030102));
    assert!(m.map(MapId(0)).unwrap().is_empty());
}

fn events() -> MapDef {
    def(MapKind::Ringbuf, 0, 0, 4096)
}

#[test]
fn records_are_written_in_place_and_drained_in_order() {
    let p = join(&[
        &map(R1, 0),
        &[
            Insn::mov64(R2, 16),
            Insn::mov64(R3, 0),
            call(helper::RINGBUF_RESERVE),
            Insn::jmp64(JmpOp::Eq, R0, 0, 4),
            Insn::st(Size::DW, R0, 0, 5),
            Insn::mov64(R1, R0),
            Insn::mov64(R2, 0),
            call(helper::RINGBUF_SUBMIT),
        ],
        &[Insn::st(Size::W, R10, -4, 6)],
        &map(R1, 0),
        &frame(R2, -4),
        &[
            Insn::mov64(R3, 4),
            Insn::mov64(R4, 0),
            call(helper::RINGBUF_OUTPUT),
            Insn::exit(),
        ],
    ]);
    let mut m = machine(&[events()], &p);
    assert_eq!(run_in(&mut m, &mut FakeWorld::default()), Ok(0));
    let mut records = Vec::new();
    let n = m.drain_ringbuf(MapId(0), |r| records.push(r.to_vec()));
    assert_eq!(n, 2);
    // The second half of the first record was never written: it shows the poison.
    assert_eq!(
        records[0],
        [
            5, 0, 0, 0, 0, 0, 0, 0, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc
        ]
    );
    assert_eq!(records[1], [6, 0, 0, 0]);
}

#[test]
fn records_are_released_exactly_once() {
    let reserve = join(&[
        &map(R1, 0),
        &[
            Insn::mov64(R2, 8),
            Insn::mov64(R3, 0),
            call(helper::RINGBUF_RESERVE),
            Insn::mov64(R6, R0),
        ],
    ]);
    let submit = [
        Insn::mov64(R1, R6),
        Insn::mov64(R2, 0),
        call(helper::RINGBUF_SUBMIT),
    ];
    let leak = join(&[&reserve, &ret(0)]);
    assert_eq!(run(&[events()], &leak), Err(FaultKind::UnreleasedRecord));
    let twice = join(&[&reserve, &submit, &submit, &ret(0)]);
    assert!(matches!(
        run(&[events()], &twice),
        Err(FaultKind::BadArgument { argument: 1, .. })
    ));
    let late = [Insn::st(Size::B, R6, 0, 1)];
    let after = join(&[&reserve, &submit, &late, &ret(0)]);
    let gone = FaultKind::Dangling {
        region: Kind::Record,
    };
    assert_eq!(run(&[events()], &after), Err(gone));
    let past = [Insn::st(Size::B, R6, 8, 1)];
    assert!(matches!(
        run(&[events()], &join(&[&reserve, &past])),
        Err(FaultKind::OutOfBounds {
            offset: 8,
            size: 8,
            ..
        })
    ));
}

/// Reads with `h` 8 bytes at `addr` into the stack and returns `result << 32 | first 4 bytes`.
fn read_with(h: HelperId, addr: u64) -> Vec<Insn> {
    join(&[
        &[Insn::st(Size::DW, R10, -8, -1)],
        &frame(R1, -8),
        &[Insn::mov64(R2, 8)],
        &Insn::ld_imm64(R3, addr),
        &[
            call(h),
            Insn::alu64(AluOp::Lsh, R0, 32),
            Insn::ldx(Size::W, R1, R10, -8),
            Insn::alu64(AluOp::Or, R0, R1),
            Insn::exit(),
        ],
    ])
}

#[test]
fn foreign_memory_is_the_worlds() {
    let mut world = FakeWorld::default();
    world
        .kernel
        .insert(0xffff_0000_0000_1000, b"kernel\0".to_vec());
    world.user.insert(0x1000, b"ab\0".to_vec());
    let mut read = |h, addr| {
        let r = run_in(&mut machine(&[], &read_with(h, addr)), &mut world).unwrap();
        ((r as i64 >> 32) as i32, (r as u32).to_ne_bytes())
    };
    let kernel = 0xffff_0000_0000_1000;
    assert_eq!(read(helper::PROBE_READ_KERNEL_STR, kernel), (7, *b"kern"));
    assert_eq!(
        read(helper::PROBE_READ_USER_STR, 0x1000),
        (3, [b'a', b'b', 0, 0xff])
    );
    // A failed read leaves zeros; here the eighth byte is missing.
    assert_eq!(
        read(helper::PROBE_READ_KERNEL, kernel),
        (-libc::EFAULT, [0; 4])
    );
    assert_eq!(
        read(helper::PROBE_READ_USER, 0xdead),
        (-libc::EFAULT, [0; 4])
    );
}

#[test]
fn strings_are_cut_to_their_buffer() {
    let mut world = FakeWorld::default();
    world.kernel.insert(0xffff_0000_0000_1000, vec![b'x'; 4096]);
    let p = read_with(helper::PROBE_READ_KERNEL_STR, 0xffff_0000_0000_1ffb);
    let mut m = machine(&[], &p);
    let r = run_in(&mut m, &mut world).unwrap();
    assert_eq!(
        r as i64 >> 32,
        -i64::from(libc::EFAULT),
        "no NUL before the end"
    );
    let p = read_with(helper::PROBE_READ_KERNEL_STR, 0xffff_0000_0000_1f00);
    let r = run_in(&mut machine(&[], &p), &mut world).unwrap();
    assert_eq!(r >> 32, 8, "seven bytes and the NUL");
}

#[test]
fn strncmp_orders_like_the_kernels() {
    let mut data = def(MapKind::Array, 4, 8, 1);
    data.init = Some(b"abc\0".to_vec());
    let compare = |s: &[u8; 4], n| {
        let p = join(&[
            &[Insn::st(Size::W, R10, -4, i32::from_ne_bytes(*s))],
            &frame(R1, -4),
            &[Insn::mov64(R2, n)],
            &Insn::ld_map_value(R3, 0, 0),
            &[call(helper::STRNCMP), Insn::exit()],
        ]);
        run(std::slice::from_ref(&data), &p).unwrap() as i64
    };
    assert_eq!(compare(b"abc\0", 4), 0);
    assert_eq!(compare(b"abd\0", 3), 1);
    assert_eq!(compare(b"ab\0\0", 4), -1);
    assert_eq!(compare(b"abd\0", 2), 0);
}

#[test]
fn task_and_stack_come_from_the_world() {
    let mut world = FakeWorld {
        kernel_stack: vec![0x11, 0x22, 0x33],
        cpu: 1,
        ..FakeWorld::default()
    };
    let ids = [call(helper::GET_CURRENT_PID_TGID), Insn::exit()];
    let r = run_in(&mut machine(&[], &ids), &mut world);
    assert_eq!(r, Ok(1234 << 32 | 1235));
    let comm = join(&[
        &frame(R1, -16),
        &[
            Insn::mov64(R2, 16),
            call(helper::GET_CURRENT_COMM),
            Insn::ldx(Size::DW, R0, R10, -16),
            Insn::exit(),
        ],
    ]);
    let r = run_in(&mut machine(&[], &comm), &mut world);
    assert_eq!(r, Ok(u64::from_ne_bytes(*b"fake\0\0\0\0")));
    let stack = join(&[
        &[Insn::mov64(R7, R1)],
        &frame(R2, -16),
        &[
            Insn::mov64(R1, R7),
            Insn::mov64(R3, 16),
            Insn::mov64(R4, 1), // skip one frame
            call(helper::GET_STACK),
            Insn::ldx(Size::DW, R1, R10, -8),
            Insn::alu64(AluOp::Lsh, R1, 8),
            Insn::alu64(AluOp::Or, R0, R1),
            Insn::exit(),
        ],
    ]);
    let r = run_in(&mut machine(&[], &stack), &mut world);
    assert_eq!(r, Ok(0x33 << 8 | 16));
    let cpu = [call(helper::GET_SMP_PROCESSOR_ID), Insn::exit()];
    assert_eq!(run_in(&mut machine(&[], &cpu), &mut world), Ok(1));
}

#[test]
fn trace_printk_formats_as_the_kernel_does() {
    let mut data = def(MapKind::Array, 4, 32, 1);
    data.init = Some(b"%d %05u %x %lx %c%%\0".to_vec());
    let p = join(&[
        &Insn::ld_map_value(R1, 0, 0),
        &[
            Insn::mov64(R2, 32),
            Insn::mov64(R3, -1),
            Insn::mov64(R4, 42),
            Insn::mov64(R5, 255),
            call(helper::TRACE_PRINTK),
            Insn::exit(),
        ],
    ]);
    let mut m = machine(std::slice::from_ref(&data), &p);
    let mut world = FakeWorld::default();
    let too_few = -i64::from(libc::EINVAL) as u64;
    assert_eq!(run_in(&mut m, &mut world), Ok(too_few));
    data.init = Some(b"%d %05u %x%%\0".to_vec());
    let mut m = machine(&[data], &p);
    assert_eq!(run_in(&mut m, &mut world), Ok(12));
    assert_eq!(world.traced, ["-1 00042 ff%"]);
}

#[test]
fn task_storage_starts_with_zeros_and_stays() {
    let p = join(&[
        &[call(helper::GET_CURRENT_TASK_BTF)],
        &map(R1, 0),
        &[
            Insn::mov64(R2, R0),
            Insn::mov64(R3, 0),
            Insn::mov64(R4, 1),
            call(helper::TASK_STORAGE_GET),
            Insn::mov64(R1, 1),
            Insn::atomic(AtomicOp::FetchAdd, Size::DW, R0, 0, R1),
            Insn::mov64(R0, R1),
            Insn::exit(),
        ],
    ]);
    let mut m = machine(&[def(MapKind::TaskStorage, 4, 8, 0)], &p);
    let mut world = FakeWorld::default();
    assert_eq!(run_in(&mut m, &mut world), Ok(0));
    assert_eq!(run_in(&mut m, &mut world), Ok(1));
    world.task.address += 64;
    assert_eq!(run_in(&mut m, &mut world), Ok(0));
}
