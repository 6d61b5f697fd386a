//! Random programs that the verifier takes, by a generator with a seed.

use rtrace::codegen::insn::{
    AluOp, AtomicOp, Insn, JmpOp, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, Reg, Size,
};

use crate::kernel::ARGS;

/// splitmix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Numbers where arithmetic has its corners, and any others.
    pub fn number(&mut self) -> u64 {
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
pub const WORK: [Reg; 8] = [R0, R1, R2, R3, R4, R5, R6, R7];

/// Bytes of stack (from r10 - 64) and of the map's value that generated code works on.
pub const AREA: i16 = 64;
/// Where registers and stack are stored at the end, after the area.
pub const SAVED_REGS: i16 = AREA;
pub const SAVED_STACK: i16 = SAVED_REGS + 9 * 8;
pub const VALUE: usize = SAVED_STACK as usize + AREA as usize;

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
pub fn generate(seed: u64) -> (Vec<Insn>, usize) {
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
