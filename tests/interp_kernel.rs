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

use std::ffi::CString;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_sys as sys;
use rtrace::codegen::disasm;
use rtrace::codegen::helper;
use rtrace::codegen::insn::{
    AluOp, AtomicOp, Insn, JmpOp, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, Reg, Size,
};
use rtrace::interp::{FakeWorld, Machine, Task};
use rtrace::object::{MapDef, MapId, MapKind, MapRole, Program, ProgramId, ProgramType};

/// `u64` arguments of a raw tracepoint's context; the kernel takes up to 12.
const ARGS: usize = 12;

/// A map in the kernel.
fn create_map(kind: u32, key: u32, value: u32, max: u32) -> Result<OwnedFd, Error> {
    create_map_with(kind, key, value, max, 0)
}

fn create_map_with(
    kind: u32,
    key: u32,
    value: u32,
    max: u32,
    flags: u32,
) -> Result<OwnedFd, Error> {
    let opts = sys::bpf_map_create_opts {
        sz: size_of::<sys::bpf_map_create_opts>() as u64,
        map_flags: flags,
        ..Default::default()
    };
    // SAFETY: no name; the options outlive the call.
    let fd =
        unsafe { sys::bpf_map_create(kind, std::ptr::null(), key, value, max, &raw const opts) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a raw tracepoint program; the error carries the verifier's log.
fn load(insns: &[Insn]) -> Result<OwnedFd, (Error, String)> {
    let code: Vec<u64> = insns
        .iter()
        .map(|i| u64::from_ne_bytes(i.encode()))
        .collect();
    let license = CString::new("GPL").unwrap();
    let attempt = |log: &mut [u8]| {
        let mut opts = sys::bpf_prog_load_opts {
            sz: size_of::<sys::bpf_prog_load_opts>() as u64,
            ..Default::default()
        };
        if !log.is_empty() {
            opts.log_level = 1;
            opts.log_size = log.len() as u32;
            opts.log_buf = log.as_mut_ptr().cast();
        }
        // SAFETY: `code` has as many instructions as it says, eight bytes each; licence and
        // log outlive the call.
        let fd = unsafe {
            sys::bpf_prog_load(
                sys::BPF_PROG_TYPE_RAW_TRACEPOINT,
                std::ptr::null(),
                license.as_ptr(),
                code.as_ptr().cast(),
                code.len() as u64,
                &raw mut opts,
            )
        };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    attempt(&mut []).map_err(|e| {
        let mut log = vec![0; 1 << 20];
        let _ = attempt(&mut log);
        let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
        (e, String::from_utf8_lossy(&log[..end]).into_owned())
    })
}

fn test_run(program: &OwnedFd, args: &[u64; ARGS]) -> u32 {
    let mut opts = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as u64,
        ctx_in: args.as_ptr().cast(),
        ctx_size_in: size_of_val(args) as u32,
        ..Default::default()
    };
    // SAFETY: the context outlives the call and has the size it says.
    let r = unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut opts) };
    assert!(r >= 0, "test run: {}", Error::last_os_error());
    opts.retval
}

/// Entry 0 of an array map.
fn read_first(map: &OwnedFd, len: usize) -> Vec<u8> {
    let key = 0u32;
    let mut value = vec![0u8; len];
    // SAFETY: key and value have the sizes the map was created with.
    let r = unsafe {
        sys::bpf_map_lookup_elem(
            map.as_raw_fd(),
            (&raw const key).cast(),
            value.as_mut_ptr().cast(),
        )
    };
    assert!(r >= 0, "look-up: {}", Error::last_os_error());
    value
}

/// Overwrites entry 0 of an array map with zeros.
fn zero_first(map: &OwnedFd, len: usize) {
    write_first(map, &vec![0u8; len]);
}

/// Overwrites entry 0 of an array map.
fn write_first(map: &OwnedFd, value: &[u8]) {
    let key = 0u32;
    // SAFETY: as in `read_first`.
    let r = unsafe {
        sys::bpf_map_update_elem(
            map.as_raw_fd(),
            (&raw const key).cast(),
            value.as_ptr().cast(),
            0,
        )
    };
    assert!(r >= 0, "update: {}", Error::last_os_error());
}

/// Whether programs can be loaded here; says why not.
fn supported() -> bool {
    let v4 = [
        Insn::mov64(R0, 8),
        Insn::alu64(AluOp::Sdiv, R0, 2),
        Insn::exit(),
    ];
    match load(&v4) {
        Ok(_) => true,
        Err((e, _)) => {
            eprintln!("SKIPPED: the kernel does not take a raw_tp program of v4: {e}");
            false
        }
    }
}

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Numbers where arithmetic has its corners, and any others.
    fn number(&mut self) -> u64 {
        const CORNERS: [u64; 12] = [
            0,
            1,
            2,
            u64::MAX,
            i64::MIN as u64,
            i64::MAX as u64,
            0x8000_0000,
            0x7fff_ffff,
            0xffff_ffff,
            0x1_0000_0000,
            0xffff_ffff_8000_0000,
            0x80,
        ];
        match self.below(4) {
            0 => self.pick(&CORNERS),
            1 => self.next() % 256,
            2 => self.next() as u32 as u64,
            _ => self.next(),
        }
    }
}

/// Registers that generated code works on; r8 counts loops, r9 is the map's value.
const WORK: [Reg; 8] = [R0, R1, R2, R3, R4, R5, R6, R7];

/// Bytes of stack (from r10 - 64) and of the map's value that generated code works on.
const AREA: i16 = 64;
/// Where registers and stack are stored at the end, after the area.
const SAVED_REGS: i16 = AREA;
const SAVED_STACK: i16 = SAVED_REGS + 9 * 8;
const VALUE: usize = SAVED_STACK as usize + AREA as usize;

/// Generates the body of a program.
struct Gen {
    rng: Rng,
    out: Vec<Insn>,
    in_loop: bool,
    in_function: bool,
    /// Indices in `out` of calls of the one function.
    calls: Vec<usize>,
}

impl Gen {
    fn reg(&mut self) -> Reg {
        self.rng.pick(&WORK)
    }

    fn statements(&mut self, n: usize, depth: usize) {
        for _ in 0..n {
            match self.rng.below(16) {
                0..8 => self.alu(),
                8..11 => self.memory(),
                11 => self.atomic(),
                12 => {
                    let r = self.reg();
                    let n = self.rng.number();
                    self.out.extend(Insn::ld_imm64(r, n));
                }
                13 | 14 if depth > 0 && !self.in_loop => self.branch(depth - 1),
                15 if depth > 0 && !self.in_loop && !self.in_function => match self.rng.below(2) {
                    0 => self.bounded_loop(),
                    _ => self.function_call(),
                },
                _ => self.alu(),
            }
        }
    }

    fn alu(&mut self) {
        let (dst, src) = (self.reg(), self.reg());
        let insn = match self.rng.below(12) {
            0 => Insn::neg64(dst),
            1 => Insn::neg32(dst),
            2 => {
                let size = self.rng.pick(&[Size::H, Size::W, Size::DW]);
                match self.rng.below(3) {
                    0 => Insn::to_be(dst, size),
                    1 => Insn::to_le(dst, size),
                    _ => Insn::bswap(dst, size),
                }
            }
            3 => Insn::movsx64(dst, src, self.rng.pick(&[Size::B, Size::H, Size::W])),
            4 => Insn::movsx32(dst, src, self.rng.pick(&[Size::B, Size::H])),
            n => {
                let op = self.rng.pick(&AluOp::ALL);
                let wide = n % 2 == 0;
                let mut imm = self.rng.number() as i32;
                match op {
                    AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => imm &= if wide { 63 } else { 31 },
                    // The verifier refuses to divide by a constant zero.
                    AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod if imm == 0 => imm = 7,
                    _ => {}
                }
                match (wide, self.rng.below(2) == 0) {
                    (true, true) => Insn::alu64(op, dst, src),
                    (true, false) => Insn::alu64(op, dst, imm),
                    (false, true) => Insn::alu32(op, dst, src),
                    (false, false) => Insn::alu32(op, dst, imm),
                }
            }
        };
        self.out.push(insn);
    }

    // A place of `size` in the stack or in the map's value: base register and offset.
    fn place(&mut self, size: Size) -> (Reg, i16) {
        let n = size.bytes() as i16;
        let off = self.rng.below((AREA / n) as usize) as i16 * n;
        if self.in_function || self.rng.below(2) == 0 {
            (R10, off - AREA)
        } else {
            (R9, off)
        }
    }

    fn memory(&mut self) {
        let size = self.rng.pick(&Size::ALL);
        let (base, off) = self.place(size);
        let r = self.reg();
        let insn = match self.rng.below(4) {
            0 => Insn::ldx(size, r, base, off),
            1 if size != Size::DW => Insn::ldsx(size, r, base, off),
            2 => Insn::st(size, base, off, self.rng.number() as i32),
            _ => Insn::stx(size, base, off, r),
        };
        self.out.push(insn);
    }

    fn atomic(&mut self) {
        let size = self.rng.pick(&[Size::W, Size::DW]);
        let (base, off) = self.place(size);
        let op = self.rng.pick(&AtomicOp::ALL);
        let src = self.reg();
        self.out.push(Insn::atomic(op, size, base, off, src));
    }

    // if (a OP b) { then } else { other }, by jumping over what does not run
    fn branch(&mut self, depth: usize) {
        let (dst, src) = (self.reg(), self.reg());
        let op = self.rng.pick(&JmpOp::ALL);
        let imm = self.rng.number() as i32;
        let at = self.out.len();
        self.out.push(match self.rng.below(4) {
            0 => Insn::jmp64(op, dst, src, 0),
            1 => Insn::jmp64(op, dst, imm, 0),
            2 => Insn::jmp32(op, dst, src, 0),
            _ => Insn::jmp32(op, dst, imm, 0),
        });
        let n = 1 + self.rng.below(3);
        self.statements(n, depth);
        if self.rng.below(2) == 0 {
            self.out[at].off = (self.out.len() - at - 1) as i16;
            return;
        }
        let over = self.out.len();
        let far = self.rng.below(2) == 0;
        self.out.push(Insn::ja(0));
        self.out[at].off = (self.out.len() - at - 1) as i16;
        let n = 1 + self.rng.below(3);
        self.statements(n, depth);
        let distance = self.out.len() - over - 1;
        self.out[over] = if far {
            Insn::ja32(distance as i32)
        } else {
            Insn::ja(distance as i16)
        };
    }

    fn bounded_loop(&mut self) {
        let rounds = 1 + self.rng.below(4) as i32;
        self.out.push(Insn::mov64(R8, rounds));
        let top = self.out.len();
        self.in_loop = true;
        let n = 1 + self.rng.below(4);
        self.statements(n, 0);
        self.in_loop = false;
        self.out.push(Insn::alu64(AluOp::Sub, R8, 1));
        let back = top as i64 - (self.out.len() as i64 + 1);
        self.out.push(Insn::jmp64(JmpOp::Ne, R8, 0, back as i16));
    }

    fn function_call(&mut self) {
        self.calls.push(self.out.len());
        self.out.push(Insn::call_func(0));
        for r in [R1, R2, R3, R4, R5] {
            self.out.push(match self.rng.below(2) {
                0 => Insn::mov64(r, R0),
                _ => Insn::ldx(Size::DW, r, R10, -8),
            });
        }
    }

    // Writes the whole work area of the stack.
    fn fill_stack(&mut self) {
        for off in (0..AREA).step_by(8) {
            let imm = self.rng.number() as i32;
            self.out.push(Insn::st(Size::DW, R10, off - AREA, imm));
        }
    }
}

/// A program, and the slot of its one load of the map.
fn generate(seed: u64) -> (Vec<Insn>, usize) {
    let mut g = Gen {
        rng: Rng(seed),
        out: Vec::new(),
        in_loop: false,
        in_function: false,
        calls: Vec::new(),
    };
    let map_slot = g.out.len();
    g.out.extend(Insn::ld_map_value(R9, 0, 0));
    g.out.push(Insn::mov64(R8, 0));
    g.fill_stack();
    for r in [R0, R2, R3, R4, R5, R6, R7, R1] {
        let arg = g.rng.below(ARGS) as i16;
        g.out.push(Insn::ldx(Size::DW, r, R1, arg * 8));
    }
    let n = 10 + g.rng.below(30);
    g.statements(n, 2);
    for r in [R0, R1, R2, R3, R4, R5, R6, R7, R8] {
        let off = SAVED_REGS + i16::from(r.num()) * 8;
        g.out.push(Insn::stx(Size::DW, R9, off, r));
    }
    for off in (0..AREA).step_by(8) {
        g.out.push(Insn::ldx(Size::DW, R1, R10, off - AREA));
        g.out.push(Insn::stx(Size::DW, R9, SAVED_STACK + off, R1));
    }
    g.out.push(Insn::exit());
    if !g.calls.is_empty() {
        let function = g.out.len();
        for at in std::mem::take(&mut g.calls) {
            g.out[at].imm = (function - at - 1) as i32;
        }
        g.in_function = true;
        g.fill_stack();
        for r in [R0, R6, R7] {
            let from = g.rng.pick(&[R1, R2, R3, R4, R5]);
            g.out.push(Insn::mov64(r, from));
        }
        let n = 3 + g.rng.below(8);
        g.statements(n, 1);
        g.out.push(Insn::exit());
    }
    (g.out, map_slot)
}

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
    }
}

fn kernel_program(insns: &[Insn], seed: u64) -> OwnedFd {
    load(insns).unwrap_or_else(|(e, log)| {
        panic!("seed {seed}: {e}\n{}\n{log}", disasm::listing(insns, &()))
    })
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

/// Puts descriptors where a program has indices of maps.
fn with_descriptors(insns: &[Insn], fds: &[&OwnedFd]) -> Vec<Insn> {
    let mut out = insns.to_vec();
    for i in &mut out {
        if i.is_ld_imm64() && i.src != 0 {
            i.imm = fds[i.imm as usize].as_raw_fd();
        }
    }
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
