//! The interpreter against the kernel: the same random programs run in both and must leave
//! the same registers, stack and map.
//!
//! Programs come from a generator with a fixed seed, so a failure repeats. They use every
//! arithmetic instruction, loads and stores of every size, atomics, branches, bounded loops
//! and function calls; further tests do the same with random map operations, string helpers
//! and ring buffer reservations. Each is valid by construction: a program that the verifier
//! refuses fails the test, with the log.
//!
//! Needs the right to load raw tracepoint programs and Linux 6.6 (instruction set v4); skips
//! with a message otherwise.

mod kernel;
mod random;

use std::io::Error;
use std::os::fd::AsRawFd;

use libbpf_sys as sys;
use rtrace::codegen::disasm;
use rtrace::codegen::helper::{self, HelperId};
use rtrace::codegen::insn::{
    AluOp, AtomicOp, Insn, JmpOp, R0, R1, R2, R3, R4, R5, R6, R9, R10, Size,
};
use rtrace::interp::{FakeWorld, HostWorld, Machine, Task};
use rtrace::object::{MapDef, MapId, MapKind, MapRole, Program, ProgramId, ProgramType};

use kernel::{
    ARGS, create_map, create_map_with, kernel_program, read_first, supported, test_run,
    with_descriptors, write_first, zero_first,
};
use random::{Rng, VALUE, generate};

fn object_map(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
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

fn object_program(insns: &[Insn]) -> Program {
    Program {
        name: "random".into(),
        ty: ProgramType::RawTracepoint,
        insns: insns.iter().map(|i| i.encode()).collect(),
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
        attach_btf: None,
        emits: None,
    }
}

#[test]
fn random_programs_leave_the_same_state() {
    if !supported() {
        return;
    }
    let map = create_map(sys::BPF_MAP_TYPE_ARRAY, 4, VALUE as u32, 1).unwrap();
    for seed in 0..3000 {
        let (mut insns, map_slot) = generate(seed);
        let mut args = Rng(!seed);
        let args: [u64; ARGS] = std::array::from_fn(|_| args.number());

        let maps = [object_map(MapKind::Array, 4, VALUE as u32, 1)];
        let mut machine = Machine::new(&maps, &[object_program(&insns)], 1).unwrap();
        let ctx: Vec<u8> = args.iter().flat_map(|a| a.to_ne_bytes()).collect();
        let ours = machine.run(ProgramId(0), &ctx, &mut FakeWorld::default());
        let state = machine.map(MapId(0)).unwrap().get(&[0; 4]).unwrap();

        zero_first(&map, VALUE);
        insns[map_slot].imm = map.as_raw_fd();
        let theirs = test_run(&kernel_program(&insns, seed), &args);

        let listing = || disasm::listing(&insns, &());
        let ours = ours.unwrap_or_else(|f| panic!("seed {seed}: {f}\n{}", listing()));
        assert_eq!(ours as u32, theirs, "seed {seed}: r0\n{}", listing());
        let kernel = read_first(&map, VALUE);
        if let Some(at) = (0..VALUE).find(|&i| kernel[i] != state[i]) {
            let at = at / 8 * 8;
            panic!(
                "seed {seed}: at {at} the kernel has {:x?}, the interpreter {:x?}\n{}",
                &kernel[at..at + 8],
                &state[at..at + 8],
                listing()
            );
        }
    }
}

/// Operations of one program of the map test; the result of each is 8 bytes.
const MAP_OPS: usize = 24;

/// Random operations on map 0 with keys 0 to 5; their results go to entry 0 of map 1.
fn map_operations(seed: u64) -> Vec<Insn> {
    let mut rng = Rng(seed);
    let mut out = vec![];
    out.extend(Insn::ld_map_value(R9, 1, 0));
    for n in 0..MAP_OPS {
        let key = rng.below(6) as i32;
        out.push(Insn::st(Size::W, R10, -4, key));
        out.extend(Insn::ld_map_fd(R1, 0));
        out.extend([Insn::mov64(R2, R10), Insn::alu64(AluOp::Add, R2, -4)]);
        match rng.below(4) {
            0 => out.push(Insn::call(helper::MAP_DELETE_ELEM)),
            1 => out.extend([
                Insn::call(helper::MAP_LOOKUP_ELEM),
                Insn::jmp64(JmpOp::Eq, R0, 0, 3),
                Insn::mov64(R1, 100),
                Insn::atomic(AtomicOp::FetchAdd, Size::DW, R0, 0, R1),
                Insn::mov64(R0, R1),
            ]),
            _ => out.extend([
                Insn::st(Size::DW, R10, -16, n as i32 + 1),
                Insn::mov64(R3, R10),
                Insn::alu64(AluOp::Add, R3, -16),
                Insn::mov64(R4, rng.pick(&[0, 0, 1, 2, 77])),
                Insn::call(helper::MAP_UPDATE_ELEM),
            ]),
        }
        out.push(Insn::stx(Size::DW, R9, n as i16 * 8, R0));
    }
    out.extend([Insn::mov64(R0, 0), Insn::exit()]);
    out
}

#[test]
fn random_map_operations_give_the_same_results() {
    if !supported() {
        return;
    }
    let kinds = [
        (MapKind::Hash, sys::BPF_MAP_TYPE_HASH),
        (MapKind::PercpuHash, sys::BPF_MAP_TYPE_PERCPU_HASH),
        (MapKind::Array, sys::BPF_MAP_TYPE_ARRAY),
        (MapKind::PercpuArray, sys::BPF_MAP_TYPE_PERCPU_ARRAY),
    ];
    let value = MAP_OPS * 8;
    let results = create_map(sys::BPF_MAP_TYPE_ARRAY, 4, value as u32, 1).unwrap();
    for (kind, kernel_kind) in kinds {
        for seed in 0..100 {
            let insns = map_operations(seed);
            let maps = [
                object_map(kind, 4, 8, 4),
                object_map(MapKind::Array, 4, value as u32, 1),
            ];
            let mut machine = Machine::new(&maps, &[object_program(&insns)], 1).unwrap();
            let ours = machine.run(ProgramId(0), &[], &mut FakeWorld::default());
            ours.unwrap_or_else(|f| panic!("{kind:?}, seed {seed}: {f}"));
            let state = machine.map(MapId(1)).unwrap().get(&[0; 4]).unwrap();

            let map = create_map(kernel_kind, 4, 8, 4).unwrap();
            let theirs = with_descriptors(&insns, &[&map, &results]);
            test_run(&kernel_program(&theirs, seed), &[0; ARGS]);
            let kernel = read_first(&results, value);
            assert_eq!(
                kernel,
                state,
                "{kind:?}, seed {seed}\n{}",
                disasm::listing(&insns, &())
            );
        }
    }
}

/// Constants of the helper test: strings, then formats, each in a slot of its own.
const SLOT: usize = 32;
const STRINGS: [&[u8]; 8] = [
    b"",
    b"a",
    b"ab",
    b"abcdefg",
    b"abcdefgh",
    b"abd",
    b"a much longer string, 31 bytes.",
    b"\xff\x80",
];
const FORMATS: [&[u8]; 10] = [
    b"plain 100%%",
    b"%d %i %u",
    b"%x %X %x",
    b"%ld %lu %lx",
    b"%lld %llu %llx",
    b"%5d|%05d|%3x",
    b"%8lx|%08lx|%016lx",
    b"%u%%%u%%%u",
    b"%c%c%c",
    b"%2d %1u %0d",
];

fn constants() -> Vec<u8> {
    let mut out = vec![0; (STRINGS.len() + FORMATS.len()) * SLOT];
    let all = STRINGS.iter().chain(&FORMATS);
    for (slot, text) in out.chunks_exact_mut(SLOT).zip(all) {
        slot[..text.len()].copy_from_slice(text);
    }
    out
}

/// Helper calls of one program; the result of each is 8 bytes and a buffer.
const HELPER_OPS: usize = 8;
const BUFFER: i16 = 48;

/// Random calls of string helpers. Map 0 holds the constants, map 1 takes the results.
fn helper_calls(seed: u64) -> Vec<Insn> {
    let mut rng = Rng(seed);
    let mut out = vec![];
    out.extend(Insn::ld_map_value(R9, 1, 0));
    for n in 0..HELPER_OPS {
        for off in (0..BUFFER).step_by(8) {
            out.push(Insn::st(Size::DW, R10, off - BUFFER, -1));
        }
        let string = rng.below(STRINGS.len()) * SLOT;
        let len = 1 + rng.below(BUFFER as usize - 1) as i32;
        let buffer = [
            Insn::mov64(R1, R10),
            Insn::alu64(AluOp::Add, R1, -i32::from(BUFFER)),
            Insn::mov64(R2, len),
        ];
        match rng.below(5) {
            0 => {
                out.extend(buffer);
                out.extend(Insn::ld_map_value(R3, 0, string as u32));
                out.push(Insn::call(helper::PROBE_READ_KERNEL_STR));
            }
            1 => {
                out.extend(buffer);
                // Now and then a place that cannot be read.
                match rng.below(4) {
                    0 => out.push(Insn::mov64(R3, rng.below(4096) as i32)),
                    _ => out.extend(Insn::ld_map_value(R3, 0, string as u32)),
                }
                out.push(Insn::call(helper::PROBE_READ_KERNEL));
            }
            2 => {
                let other = rng.below(STRINGS.len()) * SLOT;
                let size = 1 + rng.below(SLOT) as i32;
                out.extend(Insn::ld_map_value(R1, 0, other as u32));
                out.push(Insn::mov64(R2, size));
                out.extend(Insn::ld_map_value(R3, 0, string as u32));
                out.push(Insn::call(helper::STRNCMP));
                // The kernel promises a sign, not a value.
                out.extend([
                    Insn::jmp64(JmpOp::Eq, R0, 0, 2),
                    Insn::alu64(AluOp::Arsh, R0, 63),
                    Insn::alu64(AluOp::Or, R0, 1),
                ]);
            }
            3 => {
                out.extend(buffer);
                out.push(Insn::call(helper::GET_CURRENT_COMM));
            }
            _ => {
                for arg in [-72, -64, -56] {
                    out.extend(Insn::ld_imm64(R1, rng.number()));
                    out.push(Insn::stx(Size::DW, R10, arg, R1));
                }
                let format = (STRINGS.len() + rng.below(FORMATS.len())) * SLOT;
                out.extend(buffer);
                out.extend(Insn::ld_map_value(R3, 0, format as u32));
                out.extend([
                    Insn::mov64(R4, R10),
                    Insn::alu64(AluOp::Add, R4, -72),
                    Insn::mov64(R5, 24),
                    Insn::call(helper::SNPRINTF),
                ]);
            }
        }
        let at = n as i16 * (8 + BUFFER);
        out.push(Insn::stx(Size::DW, R9, at, R0));
        for off in (0..BUFFER).step_by(8) {
            out.push(Insn::ldx(Size::DW, R1, R10, off - BUFFER));
            out.push(Insn::stx(Size::DW, R9, at + 8 + off, R1));
        }
    }
    out.extend([Insn::mov64(R0, 0), Insn::exit()]);
    out
}

#[test]
fn random_helper_calls_give_the_same_results() {
    if !supported() {
        return;
    }
    let constants = constants();
    let len = constants.len() as u32;
    // The kernel takes formats and strncmp's second string from frozen maps only.
    let read_only = sys::BPF_F_RDONLY_PROG;
    let data = create_map_with(sys::BPF_MAP_TYPE_ARRAY, 4, len, 1, read_only).unwrap();
    write_first(&data, &constants);
    // SAFETY: the descriptor is that of a map.
    let frozen = unsafe { sys::bpf_map_freeze(data.as_raw_fd()) };
    assert_eq!(frozen, 0, "{}", Error::last_os_error());
    let value = HELPER_OPS * (8 + BUFFER as usize);
    let results = create_map(sys::BPF_MAP_TYPE_ARRAY, 4, value as u32, 1).unwrap();
    let comm = std::fs::read("/proc/thread-self/comm").unwrap();
    let mut world = FakeWorld::default();
    world.task.comm = Task::comm_of(comm.trim_ascii_end());
    for seed in 0..500 {
        let insns = helper_calls(seed);
        let mut strings = object_map(MapKind::Array, 4, len, 1);
        strings.init = Some(constants.clone());
        let maps = [strings, object_map(MapKind::Array, 4, value as u32, 1)];
        let mut machine = Machine::new(&maps, &[object_program(&insns)], 1).unwrap();
        let ours = machine.run(ProgramId(0), &[], &mut world);
        let listing = || disasm::listing(&insns, &());
        ours.unwrap_or_else(|f| panic!("seed {seed}: {f}\n{}", listing()));
        let state = machine.map(MapId(1)).unwrap().get(&[0; 4]).unwrap();

        let theirs = with_descriptors(&insns, &[&data, &results]);
        test_run(&kernel_program(&theirs, seed), &[0; ARGS]);
        let kernel = read_first(&results, value);
        let step = 8 + BUFFER as usize;
        for (n, (k, o)) in kernel.chunks(step).zip(state.chunks(step)).enumerate() {
            assert_eq!(
                k.escape_ascii().to_string(),
                o.escape_ascii().to_string(),
                "seed {seed}, call {n}: kernel, then interpreter\n{}",
                listing()
            );
        }
    }
}

/// Reservations of one program of the ring buffer test.
const RESERVATIONS: usize = 20;

/// Random reservations in map 0, each released at once; whether each succeeded, and the bytes
/// in use after it, go to map 1.
fn reservations(seed: u64) -> Vec<Insn> {
    let mut rng = Rng(seed);
    let mut out = vec![];
    out.extend(Insn::ld_map_value(R9, 1, 0));
    for n in 0..RESERVATIONS {
        out.extend(Insn::ld_map_fd(R1, 0));
        let size = 1 + rng.below(700) as i32;
        let release = rng.pick(&[helper::RINGBUF_SUBMIT, helper::RINGBUF_DISCARD]);
        out.extend([
            Insn::mov64(R2, size),
            Insn::mov64(R3, 0),
            Insn::call(helper::RINGBUF_RESERVE),
            Insn::mov64(R6, 0),
            Insn::jmp64(JmpOp::Eq, R0, 0, 4),
            Insn::mov64(R6, 1),
            Insn::mov64(R1, R0),
            Insn::mov64(R2, 1), // BPF_RB_NO_WAKEUP
            Insn::call(release),
        ]);
        out.extend(Insn::ld_map_fd(R1, 0));
        out.extend([
            Insn::mov64(R2, 0), // BPF_RB_AVAIL_DATA
            Insn::call(helper::RINGBUF_QUERY),
            Insn::alu64(AluOp::Lsh, R0, 1),
            Insn::alu64(AluOp::Or, R0, R6),
            Insn::stx(Size::DW, R9, n as i16 * 8, R0),
        ]);
    }
    out.extend([Insn::mov64(R0, 0), Insn::exit()]);
    out
}

#[test]
fn ring_buffers_fill_at_the_same_record() {
    if !supported() {
        return;
    }
    let value = RESERVATIONS * 8;
    let results = create_map(sys::BPF_MAP_TYPE_ARRAY, 4, value as u32, 1).unwrap();
    for seed in 0..100 {
        let insns = reservations(seed);
        let maps = [
            object_map(MapKind::Ringbuf, 0, 0, 4096),
            object_map(MapKind::Array, 4, value as u32, 1),
        ];
        let mut machine = Machine::new(&maps, &[object_program(&insns)], 1).unwrap();
        let ours = machine.run(ProgramId(0), &[], &mut FakeWorld::default());
        ours.unwrap_or_else(|f| panic!("seed {seed}: {f}"));
        let state = machine.map(MapId(1)).unwrap().get(&[0; 4]).unwrap();

        let ring = create_map(sys::BPF_MAP_TYPE_RINGBUF, 0, 0, 4096).unwrap();
        let theirs = with_descriptors(&insns, &[&ring, &results]);
        test_run(&kernel_program(&theirs, seed), &[0; ARGS]);
        assert_eq!(read_first(&results, value), state, "seed {seed}");
    }
}

/// Helpers without arguments whose answers the host's world gives too.
const FACTS: [HelperId; 8] = [
    // The same in both.
    helper::GET_CURRENT_PID_TGID,
    helper::GET_CURRENT_UID_GID,
    helper::GET_CURRENT_CGROUP_ID,
    helper::GET_NUMA_NODE_ID,
    // Later in the run that comes later.
    helper::KTIME_GET_NS,
    helper::KTIME_GET_BOOT_NS,
    helper::KTIME_GET_TAI_NS,
    helper::JIFFIES64,
];
const SAME: usize = 4;

#[test]
fn the_host_tells_what_the_kernel_would() {
    if !supported() {
        return;
    }
    let value = FACTS.len() * 8;
    let mut insns = Insn::ld_map_value(R9, 0, 0).to_vec();
    for (n, &fact) in FACTS.iter().enumerate() {
        insns.push(Insn::call(fact));
        insns.push(Insn::stx(Size::DW, R9, n as i16 * 8, R0));
    }
    insns.extend([Insn::mov64(R0, 0), Insn::exit()]);
    let maps = [object_map(MapKind::Array, 4, value as u32, 1)];
    let results = create_map(sys::BPF_MAP_TYPE_ARRAY, 4, value as u32, 1).unwrap();
    let program = kernel_program(&with_descriptors(&insns, &[&results]), 0);
    let kernel = || {
        test_run(&program, &[0; ARGS]);
        read_first(&results, value)
    };
    let mut machine = Machine::new(&maps, &[object_program(&insns)], 1).unwrap();

    let before = kernel();
    let ours = machine.run(ProgramId(0), &[], &mut HostWorld::new());
    ours.unwrap_or_else(|f| panic!("{f}"));
    let ours = machine.map(MapId(0)).unwrap().get(&[0; 4]).unwrap();
    let after = kernel();

    let numbers = |bytes: &[u8]| -> Vec<u64> {
        let (words, _) = bytes.as_chunks::<8>();
        words.iter().map(|&w| u64::from_ne_bytes(w)).collect()
    };
    let (before, ours, after) = (numbers(&before), numbers(ours), numbers(&after));
    for (n, fact) in FACTS.iter().enumerate() {
        let (b, o, a) = (before[n], ours[n], after[n]);
        if n < SAME {
            // The task may have moved to another node meanwhile.
            assert!(o == b || o == a, "{fact}: {b} then {o} then {a}");
        } else if *fact == helper::JIFFIES64 {
            // User space knows the pace, and the start to a fraction of a second.
            assert!(o.abs_diff(a) < 1000, "{fact}: {b} then {o} then {a}");
        } else {
            assert!(b <= o && o <= a, "{fact}: {b} then {o} then {a}");
        }
    }
}
