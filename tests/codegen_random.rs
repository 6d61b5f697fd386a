//! Generated code against the meaning of the IR: random functions, evaluated directly, run in
//! the interpreter and run in the kernel, must give the same result and the same map.
//!
//! Functions come from a generator with a fixed seed, so a failure repeats. They use every
//! instruction on numbers, frame slots and array maps, branches with block arguments, bounded
//! loops, null checks, calls of functions, and more live values than there are registers. Each
//! is valid by construction: one that the kernel refuses fails the test, with the log.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rtrace::codegen::{self, Entry, disasm, insn};
use rtrace::interp::{FakeWorld, Machine};
use rtrace::ir::eval::Eval;
use rtrace::ir::pass;
use rtrace::ir::{
    AtomicOp, BinOp, Block, Builder, Cond, FuncId, FuncKind, MemTy, Module, Slot, Ty, Value, Width,
};
use rtrace::object::{MapDef, MapId, MapKind, MapRole, Program, ProgramId, ProgramType, RelocKind};
use rtrace::runtime::{privilege, sys};

const MAP: MapId = MapId(0);
/// A small map, which is updated from the frame.
const SMALL: MapId = MapId(1);
const SMALL_SIZE: u32 = 24;
/// Bytes of the map's only value.
const MAP_SIZE: u32 = 512;
/// `u64` arguments in the context.
const ARGS: usize = 12;
const SLOT_SIZE: u32 = 48;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn number(&mut self) -> i64 {
        match self.below(6) {
            0 => self.below(4) as i64,
            1 => -(self.below(300) as i64),
            2 => self.next() as i64,
            3 => i64::from(self.next() as i32),
            4 => i64::from(self.next() as u32),
            _ => 1 << self.below(64),
        }
    }
}

const OPS: [BinOp; 11] = [
    BinOp::Add,
    BinOp::Sub,
    BinOp::Mul,
    BinOp::Udiv,
    BinOp::Umod,
    BinOp::And,
    BinOp::Or,
    BinOp::Xor,
    BinOp::Shl,
    BinOp::Lshr,
    BinOp::Ashr,
];
const CONDS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Ult,
    Cond::Ule,
    Cond::Ugt,
    Cond::Uge,
    Cond::Slt,
    Cond::Sle,
    Cond::Sgt,
    Cond::Sge,
    Cond::Set,
];
const ATOMICS: [AtomicOp; 6] = [
    AtomicOp::Add,
    AtomicOp::Or,
    AtomicOp::And,
    AtomicOp::Xor,
    AtomicOp::Xchg,
    AtomicOp::Cmpxchg,
];

/// Generates one function.
struct Gen<'a> {
    rng: &'a mut Rng,
    b: Builder,
    /// Numbers that are defined here.
    pool: Vec<Value>,
    slots: Vec<Slot>,
    /// Slots that are only read and written whole.
    vars: Vec<Slot>,
    /// Functions that may be called, with their number of parameters.
    callees: Vec<(FuncId, usize)>,
    /// Blocks still to be spent.
    fuel: usize,
}

impl Gen<'_> {
    fn value(&mut self) -> Value {
        if self.pool.is_empty() || self.rng.below(8) == 0 {
            let c = self.rng.number();
            return self.b.iconst(c);
        }
        // Often a recent one, sometimes any.
        let n = self.pool.len();
        let from = if self.rng.below(3) == 0 {
            0
        } else {
            n.saturating_sub(6)
        };
        self.pool[from + self.rng.below(n - from)]
    }

    fn width(&mut self) -> Width {
        self.rng.pick(&[Width::W64, Width::W64, Width::W32])
    }

    /// An aligned place in memory for `size` bytes: address and offset.
    fn place(&mut self, size: u32) -> (Value, i32) {
        if self.rng.below(2) == 0 {
            let slot = self.rng.pick(&self.slots.clone());
            let at = self.rng.below((SLOT_SIZE / size) as usize) as u32 * size;
            let base = self.rng.below(at as usize / 8 + 1) as u32 * 8;
            let p = self.b.slot_addr(slot, base);
            (p, at as i32 - base as i32)
        } else {
            let at = self.rng.below((MAP_SIZE / size) as usize) as u32 * size;
            let base = self.rng.below(at as usize / 8 + 1) as u32 * 8;
            let p = self.b.map_addr(MAP, base);
            if self.rng.below(2) == 0 {
                let p = self.b.add_imm(p, i64::from(at) - i64::from(base));
                (p, 0)
            } else {
                (p, at as i32 - base as i32)
            }
        }
    }

    fn step(&mut self) {
        let v = match self.rng.below(30) {
            0..=8 => {
                let (op, w) = (self.rng.pick(&OPS), self.width());
                let (x, y) = (self.value(), self.value());
                self.b.bin_w(op, w, x, y)
            }
            9 => {
                let x = self.value();
                self.b.neg(x)
            }
            10 => {
                let (x, bits) = (self.value(), self.rng.pick(&[8, 16, 32]));
                let signed = self.rng.below(2) == 0;
                self.b.ext(signed, bits, x)
            }
            11 => {
                let (x, bits) = (self.value(), self.rng.pick(&[16, 32, 64]));
                self.b.bswap(bits, x)
            }
            12..=14 => {
                let size = self.rng.pick(&[1, 2, 4, 8]);
                let (p, off) = self.place(u32::from(size));
                let signed = self.rng.below(2) == 0;
                self.b.load(MemTy::new(size, signed), p, off)
            }
            15..=17 => {
                let size = self.rng.pick(&[1, 2, 4, 8]);
                let (p, off) = self.place(u32::from(size));
                let v = self.value();
                self.b.store(MemTy::new(size, false), p, off, v);
                return;
            }
            24 | 25 => {
                let slot = self.rng.pick(&self.vars.clone());
                let p = self.b.slot_addr(slot, 0);
                self.b.load(MemTy::DW, p, 0)
            }
            26 | 27 => {
                let slot = self.rng.pick(&self.vars.clone());
                let p = self.b.slot_addr(slot, 0);
                let v = self.value();
                return self.b.store(MemTy::DW, p, 0, v);
            }
            28 => {
                let p = self.b.map_addr(SMALL, 0);
                let off = 8 * self.rng.below(SMALL_SIZE as usize / 8) as i32;
                self.b.load(MemTy::DW, p, off)
            }
            29 => self.update(),
            18 => return self.atomic(),
            19 => return self.bulk(),
            20 => return self.lookup(),
            21 => return self.call(),
            _ => {
                let c = self.rng.number();
                self.b.iconst(c)
            }
        };
        self.pool.push(v);
    }

    fn atomic(&mut self) {
        let size = self.rng.pick(&[4, 8]);
        let (p, off) = self.place(u32::from(size));
        let v = self.value();
        if self.rng.below(3) == 0 {
            let (p, off) = self.place(8);
            return self.b.atomic_add(p, off, v);
        }
        let op = self.rng.pick(&ATOMICS);
        let expected = (op == AtomicOp::Cmpxchg).then(|| self.value());
        let old = self.b.atomic_fetch(op, size, p, off, v, expected);
        self.pool.push(old);
    }

    /// Zeroing and copying; whole slots, or parts of the map, never overlapping.
    fn bulk(&mut self) {
        if self.rng.below(2) == 0 {
            let slot = self.rng.pick(&self.slots.clone());
            let p = self.b.slot_addr(slot, 0);
            let at = self.rng.below(SLOT_SIZE as usize);
            let len = 1 + self.rng.below(SLOT_SIZE as usize - at) as u32;
            return self.b.zero(p, at as i32, len);
        }
        let p = self.b.map_addr(MAP, 0);
        match self.rng.below(3) {
            0 => {
                let len = self.rng.pick(&[7, 64, 200, 256]);
                self.b.zero(p, 8 * self.rng.below(30) as i32, len);
            }
            1 => {
                let len = self.rng.pick(&[3, 8, 40, 180, 240]);
                let (x, y) = (8 * self.rng.below(2) as i32, 256);
                let (to, from) = if self.rng.below(2) == 0 {
                    (x, y)
                } else {
                    (y, x)
                };
                self.b.copy(p, to, p, from, len, 8);
            }
            _ => {
                let slot = self.rng.pick(&self.slots.clone());
                let s = self.b.slot_addr(slot, 0);
                let align = self.rng.pick(&[1, 2, 4, 8]);
                let off = i32::from(align) * self.rng.below(3) as i32;
                let len = self.rng.pick(&[5, 8, 24]);
                if self.rng.below(2) == 0 {
                    self.b.copy(p, off, s, off, len, align);
                } else {
                    self.b.copy(s, off, p, off, len, align);
                }
            }
        }
    }

    fn lookup(&mut self) {
        let key = self.b.new_slot(4);
        let k = self.b.slot_addr(key, 0);
        let index = self.rng.pick(&[0, 0, 1]);
        self.b.store_imm(MemTy::W, k, 0, index);
        let map = self.b.map_fd(MAP);
        let found = self.b.call(
            rtrace::codegen::helper::MAP_LOOKUP_ELEM,
            &[map, k],
            Ty::MapValOrNull(MAP),
        );
        let join = self.b.new_block();
        let result = self.b.block_param(join, Ty::Scalar);
        let missing = self.b.new_block();
        let p = self.b.check_null(found, missing);
        let off = 8 * self.rng.below(MAP_SIZE as usize / 8) as i32;
        let v = self.value();
        let old = self.b.load(MemTy::DW, p, off);
        self.b.store(MemTy::DW, p, off, v);
        self.b.jump(join, &[old]);
        self.b.switch_to(missing);
        let zero = self.value();
        self.b.jump(join, &[zero]);
        self.b.switch_to(join);
        self.pool.push(result);
    }

    /// A value built in a temporary of its own, or some bytes of a slot.
    fn update(&mut self) -> Value {
        let key = self.b.new_slot(4);
        let k = self.b.slot_addr(key, 0);
        let index = self.rng.pick(&[0, 0, 0, 1]);
        self.b.store_imm(MemTy::W, k, 0, index);
        let from = if self.rng.below(2) == 0 {
            let slot = self.rng.pick(&self.slots.clone());
            self.b.slot_addr(slot, 8 * self.rng.below(3) as u32)
        } else {
            let slot = self.b.new_slot(SMALL_SIZE);
            let p = self.b.slot_addr(slot, 0);
            self.b.zero(p, 0, SMALL_SIZE);
            for _ in 0..self.rng.below(4) {
                let size = self.rng.pick(&[1, 2, 4, 8]);
                let at = self.rng.below((SMALL_SIZE / u32::from(size)) as usize) as i32;
                let v = self.value();
                self.b
                    .store(MemTy::new(size, false), p, at * i32::from(size), v);
            }
            p
        };
        let map = self.b.map_fd(SMALL);
        let flags = self.b.iconst(0);
        let helper = rtrace::codegen::helper::MAP_UPDATE_ELEM;
        self.b.call(helper, &[map, k, from, flags], Ty::Scalar)
    }

    fn call(&mut self) {
        if self.callees.is_empty() {
            return;
        }
        let (id, params) = self.rng.pick(&self.callees.clone());
        let args: Vec<Value> = (0..params).map(|_| self.value()).collect();
        let v = self.b.call_func(id, &args, Ty::Scalar);
        self.pool.push(v);
    }

    fn straight(&mut self) {
        for _ in 0..1 + self.rng.below(7) {
            self.step();
        }
    }

    fn region(&mut self, depth: usize) {
        self.straight();
        while self.fuel > 0 && self.rng.below(4) != 0 {
            self.fuel -= 1;
            match self.rng.below(3) {
                0 if depth < 2 => self.repeat(depth),
                _ if depth < 4 => self.diamond(depth),
                _ => {}
            }
            self.straight();
        }
    }

    fn args(&mut self, n: usize) -> Vec<Value> {
        (0..n).map(|_| self.value()).collect()
    }

    fn params(&mut self, block: Block, n: usize) -> Vec<Value> {
        (0..n)
            .map(|_| self.b.block_param(block, Ty::Scalar))
            .collect()
    }

    /// Two ways that meet, possibly with values; either may be empty.
    fn diamond(&mut self, depth: usize) {
        let (cond, w) = (self.rng.pick(&CONDS), self.width());
        let (x, y) = (self.value(), self.value());
        let join = self.b.new_block();
        let n = self.rng.below(4);
        let params = self.params(join, n);
        let known = self.pool.len();
        let then = self.b.new_block();
        let cold = self.rng.below(4) == 0;
        let direct = self.rng.below(3) == 0;
        if direct {
            let args = self.args(n);
            self.b.br_w(cond, w, x, y, (then, &[]), (join, &args), cold);
        } else {
            let els = self.b.new_block();
            self.b.br_w(cond, w, x, y, (then, &[]), (els, &[]), cold);
            self.b.switch_to(els);
            self.region(depth + 1);
            let args = self.args(n);
            self.b.jump(join, &args);
            self.pool.truncate(known);
        }
        self.b.switch_to(then);
        self.region(depth + 1);
        let args = self.args(n);
        self.b.jump(join, &args);
        self.pool.truncate(known);
        self.b.switch_to(join);
        self.pool.extend(params);
    }

    /// A loop of a few rounds with values that change from round to round.
    fn repeat(&mut self, depth: usize) {
        let head = self.b.new_block();
        let count = self.b.block_param(head, Ty::Scalar);
        let n = self.rng.below(3);
        let params = self.params(head, n);
        let mut args = vec![self.b.iconst(0)];
        args.extend(self.args(n));
        self.b.jump(head, &args);
        self.b.switch_to(head);
        let known = self.pool.len();
        self.pool.push(count);
        self.pool.extend(params.iter().copied());
        self.region(depth + 1);
        let next = self.b.add_imm(count, 1);
        let mut args = vec![next];
        args.extend(self.args(n));
        // Values in exchanged places make cycles of moves.
        if n == 2 && self.rng.below(2) == 0 {
            args = vec![next, params[1], params[0]];
        }
        let after = self.b.new_block();
        let rounds = 1 + self.rng.below(3) as i64;
        let rounds = self.b.iconst(rounds);
        let again = (head, &args[..]);
        self.b.br_w(
            Cond::Ult,
            Width::W64,
            next,
            rounds,
            again,
            (after, &[]),
            false,
        );
        self.pool.truncate(known + 1 + n);
        self.b.switch_to(after);
    }

    /// Ends the function with a digest of everything in sight.
    fn end(&mut self) {
        let mut sum = self.b.iconst(0);
        for v in self.pool.clone() {
            let rotated = self.b.bin_imm(BinOp::Mul, sum, 31);
            sum = self.b.bin(BinOp::Xor, rotated, v);
        }
        self.b.ret(sum);
    }
}

fn function(
    rng: &mut Rng,
    name: &str,
    kind: FuncKind,
    params: usize,
    callees: Vec<(FuncId, usize)>,
    fuel: usize,
) -> rtrace::ir::Func {
    let entry = kind == FuncKind::Entry;
    let types = if entry {
        vec![Ty::Ctx]
    } else {
        vec![Ty::Scalar; params]
    };
    let mut b = Builder::new(name, kind, &types);
    let mut pool = Vec::new();
    if entry {
        let ctx = b.param(0);
        for i in 0..2 + rng.below(ARGS - 2) {
            pool.push(b.load(MemTy::DW, ctx, 8 * i as i32));
        }
    } else {
        pool.extend((0..params).map(|i| b.param(i)));
    }
    let slots: Vec<Slot> = (0..if entry { 2 } else { 1 })
        .map(|_| b.new_slot(SLOT_SIZE))
        .collect();
    let vars: Vec<Slot> = (0..2).map(|_| b.new_slot(8)).collect();
    for &s in slots.iter().chain(&vars) {
        let p = b.slot_addr(s, 0);
        let size = b.func.slots[s.index()].size;
        b.zero(p, 0, size);
    }
    let mut g = Gen {
        rng,
        b,
        pool,
        slots,
        vars,
        callees,
        fuel,
    };
    g.region(0);
    g.end();
    g.b.finish()
}

fn map_def(value_size: u32) -> MapDef {
    MapDef {
        name: "values".into(),
        kind: MapKind::Array,
        key_size: 4,
        value_size,
        max_entries: 1,
        flags: 0,
        init: None,
        role: MapRole::Internal,
    }
}

/// The module of seed `n` and its entry.
fn module(n: u64, fuel: usize) -> (Module, FuncId) {
    let mut rng = Rng(n);
    let mut m = Module::default();
    m.maps.push(map_def(MAP_SIZE));
    m.maps.push(map_def(SMALL_SIZE));
    let mut callees = Vec::new();
    for i in 0..rng.below(3) {
        let params = rng.below(6);
        let f = function(
            &mut rng,
            &format!("sub{i}"),
            FuncKind::Static,
            params,
            callees.clone(),
            fuel / 4,
        );
        callees = vec![(m.add(f), params)];
    }
    let f = function(&mut rng, "entry", FuncKind::Entry, 1, callees, fuel);
    let id = m.add(f);
    (m, id)
}

fn context(rng: &mut Rng) -> [u64; ARGS] {
    std::array::from_fn(|_| rng.number() as u64)
}

fn bytes(ctx: &[u64]) -> Vec<u8> {
    ctx.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// Optimises, with some passes left out for some seeds; the IR must stay valid.
fn optimised(m: &Module, seed: u64) -> Module {
    let mut m = m.clone();
    let mut rng = Rng(seed ^ 0x5eed);
    let mut without = Vec::new();
    while rng.below(3) == 0 {
        without.push(rng.pick(pass::PASSES).name.to_owned());
    }
    let options = pass::Options {
        level: pass::Level::O2,
        without,
    };
    pass::optimise(&mut m, &options, &mut |name, m| {
        rtrace::ir::verify(m).unwrap_or_else(|e| panic!("seed {seed}: after {name}: {e:#?}\n{m}"));
    });
    m
}

fn compile(m: &Module, entry: FuncId) -> Result<codegen::Output, codegen::CodegenError> {
    let entry = Entry {
        func: entry,
        name: "random".into(),
        ty: ProgramType::RawTracepoint,
        attach_btf: None,
    };
    codegen::generate(m, &[entry], &[])
}

fn listing(p: &Program) -> String {
    let insns: Vec<insn::Insn> = p.insns.iter().map(|&b| insn::Insn::decode(b)).collect();
    disasm::listing(&insns, &())
}

/// The evaluator's result and maps; `None` where it takes too long.
fn evaluate(m: &Module, entry: FuncId, ctx: &[u64]) -> Option<(i64, Vec<u8>)> {
    let mut e = Eval::new(m, bytes(ctx));
    e.budget = 1 << 18;
    match e.run(entry) {
        Ok(r) => Some((r, e.maps.concat())),
        Err(e) if e.0.contains("too many") => None,
        Err(e) => panic!("{}\n{m}", e.0),
    }
}

fn compare_with_interpreter(seed: u64, fuel: usize) -> bool {
    let (m, entry) = module(seed, fuel);
    rtrace::ir::verify(&m).unwrap_or_else(|e| panic!("seed {seed}: {e:?}\n{m}"));
    let optimised = optimised(&m, seed);
    compare_code(&m, &m, entry, seed) && compare_code(&m, &optimised, entry, seed)
}

/// Runs the code of `generated` beside the meaning of `m`.
fn compare_code(m: &Module, generated: &Module, entry: FuncId, seed: u64) -> bool {
    let out = match compile(generated, entry) {
        Ok(out) => out,
        Err(
            codegen::CodegenError::FrameTooLarge { .. } | codegen::CodegenError::CallChain { .. },
        ) => {
            return false;
        }
        Err(e) => panic!("seed {seed}: {e}\n{m}"),
    };
    let mut rng = Rng(seed ^ 0xc0ffee);
    let mut compared = false;
    for _ in 0..2 {
        let ctx = context(&mut rng);
        let Some((want, map)) = evaluate(m, entry, &ctx) else {
            continue;
        };
        let mut machine = Machine::new(&generated.maps, &out.programs, 1).expect("maps are sound");
        let got = machine.run(ProgramId(0), &bytes(&ctx), &mut FakeWorld::default());
        let contents = |m| machine.map(m).unwrap().get(&[0; 4]).unwrap();
        let got_map = [contents(MAP), contents(SMALL)].concat();
        if got != Ok(want as u64) || got_map != map {
            let program = &out.programs[0];
            panic!(
                "seed {seed}: expected {want:#x}, got {got:x?}\n{m}\n{}\n{}",
                codegen::regs::dump(generated),
                listing(program)
            );
        }
        compared = true;
    }
    compared
}

/// Number of functions: `RTRACE_RANDOM` times the usual.
fn seeds(usual: u64) -> u64 {
    let times = std::env::var("RTRACE_RANDOM").ok();
    usual * times.and_then(|t| t.parse().ok()).unwrap_or(1)
}

#[test]
fn small_functions_in_the_interpreter() {
    let n = seeds(3000);
    let done = (0..n).filter(|&s| compare_with_interpreter(s, 4)).count() as u64;
    assert!(done > n * 7 / 8, "only {done} of {n} were compared");
}

#[test]
fn large_functions_in_the_interpreter() {
    let n = seeds(200);
    let done = (0..n).filter(|&s| compare_with_interpreter(s, 40)).count() as u64;
    assert!(done > n / 6, "only {done} of {n} were compared");
}

#[test]
fn functions_in_the_kernel() {
    if let Err(e) = privilege::check() {
        eprintln!("SKIPPED: {e}");
        return;
    }
    let create = |size| sys::bpf::Map::create(&map_def(size), 1, None).unwrap();
    let maps = [create(MAP_SIZE), create(SMALL_SIZE)];
    let (mut loaded, mut refused) = (0, Vec::new());
    let n = seeds(600);
    for seed in 0..n {
        let (m, entry) = module(seed / 2, 3);
        // Every function twice: as it is and optimised.
        let made = if seed % 2 == 0 {
            m.clone()
        } else {
            optimised(&m, seed)
        };
        let Ok(out) = compile(&made, entry) else {
            continue;
        };
        let prog = match load(&out, &maps) {
            Ok(prog) => prog,
            Err(log) if log.contains("too large") || log.contains("too complex") => continue,
            Err(log) => {
                refused.push((seed, log));
                continue;
            }
        };
        loaded += 1;
        let mut rng = Rng(seed ^ 0xc0ffee);
        for _ in 0..2 {
            let ctx = context(&mut rng);
            let Some((want, want_map)) = evaluate(&m, entry, &ctx) else {
                continue;
            };
            maps[0].update(&[0; 4], &[0; MAP_SIZE as usize]).unwrap();
            maps[1].update(&[0; 4], &[0; SMALL_SIZE as usize]).unwrap();
            let got = sys::bpf::test_run(prog.as_fd(), &ctx).unwrap();
            let mut got_map = vec![0; (MAP_SIZE + SMALL_SIZE) as usize];
            let (large, small) = got_map.split_at_mut(MAP_SIZE as usize);
            maps[0].lookup(&[0; 4], large).unwrap();
            maps[1].lookup(&[0; 4], small).unwrap();
            assert_eq!(
                got,
                want as u32,
                "seed {seed}\n{m}\n{}",
                listing(&out.programs[0])
            );
            assert_eq!(got_map, want_map, "seed {seed}\n{m}");
        }
    }
    if let Some((seed, log)) = refused.first() {
        let (m, _) = module(*seed / 2, 3);
        panic!("{} refused; seed {seed}:\n{m}\n{log}", refused.len());
    }
    assert!(loaded > n * 3 / 4, "only {loaded} of {n} were loaded");
}

/// Loads a program, with its functions and lines; the error is the verifier's log.
fn load(out: &codegen::Output, maps: &[sys::bpf::Map; 2]) -> Result<OwnedFd, String> {
    let p = &out.programs[0];
    let mut insns = p.insns.clone();
    for r in &p.relocs {
        let at = r.insn as usize;
        let mut first = insn::Insn::decode(insns[at]);
        let (RelocKind::Map(id) | RelocKind::MapValue(id, _)) = r.kind;
        first.imm = maps[id.0 as usize].as_fd().as_raw_fd();
        insns[at] = first.encode();
    }
    let btf = sys::bpf::btf_load(&out.btf).map_err(|e| format!("BTF: {e}"))?;
    let funcs: Vec<_> = p
        .funcs
        .iter()
        .map(|f| sys::bpf::FuncRecord {
            insn_off: f.insn,
            type_id: f.btf_id,
        })
        .collect();
    let lines: Vec<_> = p
        .lines
        .iter()
        .map(|l| sys::bpf::LineRecord {
            insn_off: l.insn,
            file_name_off: l.file_off,
            line_off: l.line_off,
            line_col: l.loc.line << 10 | l.loc.col,
        })
        .collect();
    let spec = sys::bpf::ProgSpec {
        ty: libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT,
        expected_attach_type: 0,
        name: c"random",
        license: c"GPL",
        insns: &insns,
        target: sys::bpf::AttachTarget::None,
        btf: Some(btf.as_fd()),
        funcs: &funcs,
        lines: &lines,
    };
    let (first, _) = sys::bpf::prog_load(&spec, None);
    first.map_err(|e| {
        let mut log = vec![0; 1 << 22];
        let _ = sys::bpf::prog_load(&spec, Some(&mut log));
        let end = log.iter().position(|&b| b == 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&log[..end]);
        let tail = text.len().saturating_sub(6000);
        format!("{e}\n{}", &text[tail..])
    })
}
