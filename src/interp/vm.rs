//! The execution of one program: registers, control flow, calls.

use aya_obj::generated as uapi;

use super::access::Frame;
use super::fault::FaultKind;
use super::map::Map;
use super::memory::{Kind, Pointer};
use super::world::World;
use super::{alu, helpers};
use crate::codegen::insn::{AtomicOp, CALL, EXIT, Insn, JA, JA32, LD_IMM64, STACK_SIZE, Size};

/// Nested calls a program may make, its own frame included (the kernel's MAX_CALL_FRAMES).
pub const MAX_DEPTH: usize = 8;

/// Registers, and which of them hold a value.
#[derive(Clone, Copy, Debug)]
pub struct Regs {
    r: [u64; 16],
    held: u16,
}

impl Regs {
    /// Registers of a callee: r1 and following hold `args`.
    pub fn with_args(args: &[u64]) -> Regs {
        let mut regs = Regs {
            r: [0; 16],
            held: 0,
        };
        for (n, &a) in (1u8..=5).zip(args) {
            regs.set(n, a);
        }
        regs
    }

    fn get(&self, n: u8) -> Result<u64, FaultKind> {
        let n = n & 15;
        if self.held >> n & 1 == 0 {
            return Err(FaultKind::UninitRegister(n));
        }
        Ok(self.r[usize::from(n)])
    }

    fn set(&mut self, n: u8, value: u64) {
        let n = n & 15;
        self.r[usize::from(n)] = value;
        self.held |= 1 << n;
    }

    // A call leaves nothing in r1 to r5.
    fn clobber(&mut self) {
        self.held &= !0b11_1110;
    }
}

/// A program that is running.
pub struct Run<'a> {
    /// The program, linked.
    pub code: &'a [Insn],
    /// The machine's maps.
    pub maps: &'a mut [Map],
    /// Everything else.
    pub world: &'a mut dyn World,
    /// The context.
    pub ctx: &'a [u8],
    /// Frames, the first `depth` of them in use.
    pub frames: &'a mut Vec<Frame>,
    /// Nesting of calls.
    pub depth: usize,
    /// Keys that walks over maps show their callbacks, outermost first.
    pub keys: Vec<Vec<u8>>,
    /// Buffers for reuse.
    pub spare: &'a mut Vec<Vec<u8>>,
    /// Instructions left.
    pub budget: u64,
    /// Index of the CPU's values in per-CPU maps.
    pub cpu: usize,
    /// Slot of the instruction that runs, for faults.
    pub pc: usize,
    /// Whether loads through kernel pointers are allowed (tracing programs).
    pub probe_mem: bool,
}

impl Run<'_> {
    /// Runs the function at `slot` until it returns.
    pub fn call(&mut self, slot: usize, mut regs: Regs) -> Result<u64, FaultKind> {
        if self.depth >= MAX_DEPTH {
            return Err(FaultKind::CallDepth);
        }
        match self.frames.get_mut(self.depth) {
            Some(f) => f.reset(),
            None => self.frames.push(Frame::new()),
        }
        let fp = Pointer::encode(Kind::Stack, self.depth, STACK_SIZE as u64);
        regs.set(10, fp);
        self.depth += 1;
        let result = self.execute(slot, regs);
        self.depth -= 1;
        result
    }

    fn execute(&mut self, mut pc: usize, mut regs: Regs) -> Result<u64, FaultKind> {
        loop {
            self.pc = pc;
            let i = *self.code.get(pc).ok_or(FaultKind::OutOfProgram)?;
            self.budget = self.budget.checked_sub(1).ok_or(FaultKind::Budget)?;
            pc += 1;
            match i.class() {
                class @ (uapi::BPF_ALU | uapi::BPF_ALU64) => {
                    let dst = if alu::reads_dst(i) {
                        regs.get(i.dst)?
                    } else {
                        0
                    };
                    let src = if alu::reads_src(i) {
                        regs.get(i.src)?
                    } else {
                        i.imm as u64
                    };
                    let value = if class == uapi::BPF_ALU64 {
                        alu::alu64(i, dst, src)
                    } else {
                        alu::alu32(i, dst, src)
                    };
                    regs.set(i.dst, value.ok_or(FaultKind::InvalidInsn(i.code))?);
                }
                uapi::BPF_LDX => {
                    let addr = offset(regs.get(i.src)?, i);
                    let size = Size::of_code(i.code);
                    let value = self.load(addr, size.bytes())?;
                    let value = match u32::from(i.code) & 0xe0 {
                        uapi::BPF_MEM => value,
                        uapi::BPF_MEMSX => sign_extend(value, size),
                        _ => return Err(FaultKind::InvalidInsn(i.code)),
                    };
                    regs.set(i.dst, value);
                }
                uapi::BPF_STX => {
                    let addr = offset(regs.get(i.dst)?, i);
                    let size = Size::of_code(i.code).bytes();
                    match u32::from(i.code) & 0xe0 {
                        uapi::BPF_MEM => self.store(addr, size, regs.get(i.src)?)?,
                        uapi::BPF_ATOMIC => self.atomic(i, addr, size, &mut regs)?,
                        _ => return Err(FaultKind::InvalidInsn(i.code)),
                    }
                }
                uapi::BPF_ST if u32::from(i.code) & 0xe0 == uapi::BPF_MEM => {
                    let addr = offset(regs.get(i.dst)?, i);
                    self.store(addr, Size::of_code(i.code).bytes(), i.imm as u64)?;
                }
                uapi::BPF_LD if i.code == LD_IMM64 => {
                    let second = self.code.get(pc).ok_or(FaultKind::OutOfProgram)?;
                    pc += 1;
                    if i.src != 0 {
                        // Linking resolved everything but variables of the kernel.
                        return Err(FaultKind::KernelVariable(i.imm));
                    }
                    let value = u64::from(i.imm as u32) | u64::from(second.imm as u32) << 32;
                    regs.set(i.dst, value);
                }
                class @ (uapi::BPF_JMP | uapi::BPF_JMP32) => match i.code {
                    EXIT => return regs.get(0),
                    CALL => {
                        let result = match u32::from(i.src) {
                            0 => self.helper(i, &regs)?,
                            uapi::BPF_PSEUDO_CALL => self.call(jump(pc, i.imm), callee(&regs))?,
                            _ => return Err(FaultKind::KernelFunction(i.imm)),
                        };
                        regs.clobber();
                        regs.set(0, result);
                    }
                    JA => pc = jump(pc, i32::from(i.off)),
                    JA32 => pc = jump(pc, i.imm),
                    _ => {
                        let dst = regs.get(i.dst)?;
                        let src = if u32::from(i.code) & uapi::BPF_X != 0 {
                            regs.get(i.src)?
                        } else {
                            i.imm as u64
                        };
                        let taken = alu::condition(i, class == uapi::BPF_JMP, dst, src);
                        if taken.ok_or(FaultKind::InvalidInsn(i.code))? {
                            pc = jump(pc, i32::from(i.off));
                        }
                    }
                },
                _ => return Err(FaultKind::InvalidInsn(i.code)),
            }
        }
    }

    fn helper(&mut self, i: Insn, regs: &Regs) -> Result<u64, FaultKind> {
        let id = i.helper().ok_or(FaultKind::InvalidInsn(i.code))?;
        let row = helpers::find(id).ok_or(FaultKind::UnknownHelper(id))?;
        let mut args = [0; 5];
        for (n, a) in (1..).zip(&mut args) {
            *a = match regs.get(n) {
                Err(e) if n <= row.args => return Err(e),
                value => value.unwrap_or(0),
            };
        }
        (row.run)(self, args)
    }

    // One CPU runs one program at a time, so plain loads and stores are atomic here.
    fn atomic(
        &mut self,
        i: Insn,
        addr: u64,
        size: usize,
        regs: &mut Regs,
    ) -> Result<(), FaultKind> {
        let invalid = FaultKind::InvalidInsn(i.code);
        let op = AtomicOp::from_imm(i.imm).ok_or(invalid.clone())?;
        if size < 4 {
            return Err(invalid);
        }
        if !addr.is_multiple_of(size as u64) {
            return Err(FaultKind::Misaligned { addr, len: size });
        }
        let src = regs.get(i.src)?;
        let old = self.load(addr, size)?;
        let narrow = |v: u64| if size == 4 { u64::from(v as u32) } else { v };
        let new = match op {
            AtomicOp::Add | AtomicOp::FetchAdd => old.wrapping_add(src),
            AtomicOp::Or | AtomicOp::FetchOr => old | src,
            AtomicOp::And | AtomicOp::FetchAnd => old & src,
            AtomicOp::Xor | AtomicOp::FetchXor => old ^ src,
            AtomicOp::Xchg => src,
            AtomicOp::Cmpxchg if narrow(regs.get(0)?) == old => src,
            AtomicOp::Cmpxchg => old,
        };
        self.store(addr, size, new)?;
        match op {
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {}
            AtomicOp::Cmpxchg => regs.set(0, old),
            _ => regs.set(i.src, old),
        }
        Ok(())
    }
}

fn offset(base: u64, i: Insn) -> u64 {
    base.wrapping_add_signed(i64::from(i.off))
}

// Out of range wraps to a slot that does not exist.
fn jump(next: usize, distance: i32) -> usize {
    next.wrapping_add_signed(distance as isize)
}

fn callee(regs: &Regs) -> Regs {
    Regs {
        held: regs.held & 0b11_1110,
        ..*regs
    }
}

fn sign_extend(value: u64, size: Size) -> u64 {
    let unused = 64 - size.bytes() as u32 * 8;
    ((value << unused) as i64 >> unused) as u64
}
