//! The BPF instruction: its fields, its eight bytes, and a constructor for every form.
//!
//! The constructors are the only place where opcode bits are put together; the numbers come
//! from the kernel's UAPI header by way of `aya_obj::generated`. Jump and call distances are
//! in instructions, relative to the instruction after the jump, as the kernel counts them.
//!
//! Forms of the fourth instruction set version (Linux 6.6: signed division, sign-extending
//! moves and loads, byte swap, 32-bit `ja`) are constructed here but whether a kernel has
//! them is the caller's business.

use std::fmt;

use aya_obj::generated as uapi;

use super::helper::HelperId;

/// Bytes of one encoded instruction.
pub const INSN_SIZE: usize = 8;

/// Bytes of stack each function owns below `r10` (the kernel's MAX_BPF_STACK).
pub const STACK_SIZE: usize = 512;

/// A BPF register, `r0` to `r10`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(u8);

/// Return value of calls and of the program; clobbered by calls.
pub const R0: Reg = Reg(0);
/// First argument, the context at entry; clobbered by calls.
pub const R1: Reg = Reg(1);
/// Second argument; clobbered by calls.
pub const R2: Reg = Reg(2);
/// Third argument; clobbered by calls.
pub const R3: Reg = Reg(3);
/// Fourth argument; clobbered by calls.
pub const R4: Reg = Reg(4);
/// Fifth argument; clobbered by calls.
pub const R5: Reg = Reg(5);
/// Preserved by calls.
pub const R6: Reg = Reg(6);
/// Preserved by calls.
pub const R7: Reg = Reg(7);
/// Preserved by calls.
pub const R8: Reg = Reg(8);
/// Preserved by calls.
pub const R9: Reg = Reg(9);
/// Frame pointer: one past the highest byte of the frame; read-only.
pub const R10: Reg = Reg(10);

impl Reg {
    /// Number of registers, the frame pointer included.
    pub const COUNT: usize = 11;

    /// Register number `n`, or `None` above 10.
    pub const fn new(n: u8) -> Option<Reg> {
        if n <= 10 { Some(Reg(n)) } else { None }
    }

    /// The register's number, 0 to 10.
    pub const fn num(self) -> u8 {
        self.0
    }

    /// The number as an index into an array of registers.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Debug for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    DW,
}

impl Size {
    /// All sizes, ascending.
    pub const ALL: [Size; 4] = [Size::B, Size::H, Size::W, Size::DW];

    /// Width in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::DW => 8,
        }
    }

    /// The size of `n` bytes, where an access of that width exists.
    pub const fn from_bytes(n: usize) -> Option<Size> {
        match n {
            1 => Some(Size::B),
            2 => Some(Size::H),
            4 => Some(Size::W),
            8 => Some(Size::DW),
            _ => None,
        }
    }

    const fn bits(self) -> u8 {
        (match self {
            Size::B => uapi::BPF_B,
            Size::H => uapi::BPF_H,
            Size::W => uapi::BPF_W,
            Size::DW => uapi::BPF_DW,
        }) as u8
    }

    /// The size field of a load or store opcode.
    pub const fn of_code(code: u8) -> Size {
        match code & 0x18 {
            0x10 => Size::B,
            0x08 => Size::H,
            0x00 => Size::W,
            _ => Size::DW,
        }
    }
}

/// Binary arithmetic operations (and `Mov`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AluOp {
    /// `dst += src`
    Add,
    /// `dst -= src`
    Sub,
    /// `dst *= src`
    Mul,
    /// Unsigned `dst /= src`; 0 where src is 0.
    Div,
    /// `dst |= src`
    Or,
    /// `dst &= src`
    And,
    /// `dst <<= src`, the count masked to the width.
    Lsh,
    /// Logical `dst >>= src`, the count masked to the width.
    Rsh,
    /// Unsigned `dst %= src`; dst where src is 0.
    Mod,
    /// `dst ^= src`
    Xor,
    /// `dst = src`
    Mov,
    /// Arithmetic `dst >>= src`, the count masked to the width.
    Arsh,
    /// Signed `dst /= src` (instruction set v4, Linux 6.6).
    Sdiv,
    /// Signed `dst %= src` (instruction set v4, Linux 6.6).
    Smod,
}

impl AluOp {
    /// All operations.
    pub const ALL: [AluOp; 14] = [
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::Div,
        AluOp::Or,
        AluOp::And,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Mod,
        AluOp::Xor,
        AluOp::Mov,
        AluOp::Arsh,
        AluOp::Sdiv,
        AluOp::Smod,
    ];

    const fn bits(self) -> u8 {
        (match self {
            AluOp::Add => uapi::BPF_ADD,
            AluOp::Sub => uapi::BPF_SUB,
            AluOp::Mul => uapi::BPF_MUL,
            AluOp::Div | AluOp::Sdiv => uapi::BPF_DIV,
            AluOp::Or => uapi::BPF_OR,
            AluOp::And => uapi::BPF_AND,
            AluOp::Lsh => uapi::BPF_LSH,
            AluOp::Rsh => uapi::BPF_RSH,
            AluOp::Mod | AluOp::Smod => uapi::BPF_MOD,
            AluOp::Xor => uapi::BPF_XOR,
            AluOp::Mov => uapi::BPF_MOV,
            AluOp::Arsh => uapi::BPF_ARSH,
        }) as u8
    }

    // Signed division shares the opcode of the unsigned one; the offset field tells them apart.
    const fn off(self) -> i16 {
        matches!(self, AluOp::Sdiv | AluOp::Smod) as i16
    }
}

/// Conditions of a jump; the comparison is `dst OP src`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JmpOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// unsigned `>`
    Gt,
    /// unsigned `>=`
    Ge,
    /// unsigned `<`
    Lt,
    /// unsigned `<=`
    Le,
    /// signed `>`
    Sgt,
    /// signed `>=`
    Sge,
    /// signed `<`
    Slt,
    /// signed `<=`
    Sle,
    /// `dst & src` is not zero
    Set,
}

impl JmpOp {
    /// All conditions.
    pub const ALL: [JmpOp; 11] = [
        JmpOp::Eq,
        JmpOp::Ne,
        JmpOp::Gt,
        JmpOp::Ge,
        JmpOp::Lt,
        JmpOp::Le,
        JmpOp::Sgt,
        JmpOp::Sge,
        JmpOp::Slt,
        JmpOp::Sle,
        JmpOp::Set,
    ];

    const fn bits(self) -> u8 {
        (match self {
            JmpOp::Eq => uapi::BPF_JEQ,
            JmpOp::Ne => uapi::BPF_JNE,
            JmpOp::Gt => uapi::BPF_JGT,
            JmpOp::Ge => uapi::BPF_JGE,
            JmpOp::Lt => uapi::BPF_JLT,
            JmpOp::Le => uapi::BPF_JLE,
            JmpOp::Sgt => uapi::BPF_JSGT,
            JmpOp::Sge => uapi::BPF_JSGE,
            JmpOp::Slt => uapi::BPF_JSLT,
            JmpOp::Sle => uapi::BPF_JSLE,
            JmpOp::Set => uapi::BPF_JSET,
        }) as u8
    }

    /// The condition that holds exactly where this one does not; `Set` has none.
    pub const fn negated(self) -> Option<JmpOp> {
        Some(match self {
            JmpOp::Eq => JmpOp::Ne,
            JmpOp::Ne => JmpOp::Eq,
            JmpOp::Gt => JmpOp::Le,
            JmpOp::Ge => JmpOp::Lt,
            JmpOp::Lt => JmpOp::Ge,
            JmpOp::Le => JmpOp::Gt,
            JmpOp::Sgt => JmpOp::Sle,
            JmpOp::Sge => JmpOp::Slt,
            JmpOp::Slt => JmpOp::Sge,
            JmpOp::Sle => JmpOp::Sgt,
            JmpOp::Set => return None,
        })
    }

    /// The condition with its operands exchanged.
    pub const fn swapped(self) -> JmpOp {
        match self {
            JmpOp::Gt => JmpOp::Lt,
            JmpOp::Ge => JmpOp::Le,
            JmpOp::Lt => JmpOp::Gt,
            JmpOp::Le => JmpOp::Ge,
            JmpOp::Sgt => JmpOp::Slt,
            JmpOp::Sge => JmpOp::Sle,
            JmpOp::Slt => JmpOp::Sgt,
            JmpOp::Sle => JmpOp::Sge,
            JmpOp::Eq | JmpOp::Ne | JmpOp::Set => self,
        }
    }
}

/// Read-modify-write operations on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    /// `*p += src` (every kernel with BPF; only 4 and 8 bytes).
    Add,
    /// `*p |= src` (Linux 5.12).
    Or,
    /// `*p &= src` (Linux 5.12).
    And,
    /// `*p ^= src` (Linux 5.12).
    Xor,
    /// As `Add`, and src receives the old value (Linux 5.12, like all below).
    FetchAdd,
    /// As `Or`, and src receives the old value.
    FetchOr,
    /// As `And`, and src receives the old value.
    FetchAnd,
    /// As `Xor`, and src receives the old value.
    FetchXor,
    /// Exchanges `*p` and src.
    Xchg,
    /// Stores src where `*p == r0`; r0 receives the old value either way.
    Cmpxchg,
}

impl AtomicOp {
    /// All operations.
    pub const ALL: [AtomicOp; 10] = [
        AtomicOp::Add,
        AtomicOp::Or,
        AtomicOp::And,
        AtomicOp::Xor,
        AtomicOp::FetchAdd,
        AtomicOp::FetchOr,
        AtomicOp::FetchAnd,
        AtomicOp::FetchXor,
        AtomicOp::Xchg,
        AtomicOp::Cmpxchg,
    ];

    /// The `imm` field that names the operation.
    pub const fn imm(self) -> i32 {
        (match self {
            AtomicOp::Add => uapi::BPF_ADD,
            AtomicOp::Or => uapi::BPF_OR,
            AtomicOp::And => uapi::BPF_AND,
            AtomicOp::Xor => uapi::BPF_XOR,
            AtomicOp::FetchAdd => uapi::BPF_ADD | uapi::BPF_FETCH,
            AtomicOp::FetchOr => uapi::BPF_OR | uapi::BPF_FETCH,
            AtomicOp::FetchAnd => uapi::BPF_AND | uapi::BPF_FETCH,
            AtomicOp::FetchXor => uapi::BPF_XOR | uapi::BPF_FETCH,
            AtomicOp::Xchg => uapi::BPF_XCHG,
            AtomicOp::Cmpxchg => uapi::BPF_CMPXCHG,
        }) as i32
    }

    /// The operation an atomic instruction's `imm` names.
    pub fn from_imm(imm: i32) -> Option<AtomicOp> {
        AtomicOp::ALL.into_iter().find(|op| op.imm() == imm)
    }
}

/// Second operand of arithmetic and of jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// A constant, sign-extended to 64 bits where the operation is 64-bit.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(r: Reg) -> Self {
        Operand::Reg(r)
    }
}

impl From<i32> for Operand {
    fn from(i: i32) -> Self {
        Operand::Imm(i)
    }
}

/// What the 64-bit constant of a two-slot load stands for (the `src` field of the first slot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PseudoLoad {
    /// The number itself.
    Imm,
    /// `imm` is a map's file descriptor; the register receives the map.
    MapFd,
    /// `imm` is a map's file descriptor, the second `imm` an offset into its first value
    /// (arrays, Linux 5.2).
    MapValue,
    /// `imm` is the BTF id of a kernel variable, the second the BTF object's fd (Linux 5.10).
    BtfId,
    /// `imm` is the distance to a function of this program, for callbacks (Linux 5.13).
    Func,
}

impl PseudoLoad {
    /// The value of the `src` field.
    pub const fn src(self) -> u8 {
        (match self {
            PseudoLoad::Imm => 0,
            PseudoLoad::MapFd => uapi::BPF_PSEUDO_MAP_FD,
            PseudoLoad::MapValue => uapi::BPF_PSEUDO_MAP_VALUE,
            PseudoLoad::BtfId => uapi::BPF_PSEUDO_BTF_ID,
            PseudoLoad::Func => uapi::BPF_PSEUDO_FUNC,
        }) as u8
    }

    /// The kind a `src` field names.
    pub const fn from_src(src: u8) -> Option<PseudoLoad> {
        Some(match src as u32 {
            0 => PseudoLoad::Imm,
            uapi::BPF_PSEUDO_MAP_FD => PseudoLoad::MapFd,
            uapi::BPF_PSEUDO_MAP_VALUE => PseudoLoad::MapValue,
            uapi::BPF_PSEUDO_BTF_ID => PseudoLoad::BtfId,
            uapi::BPF_PSEUDO_FUNC => PseudoLoad::Func,
            _ => return None,
        })
    }
}

/// Opcode of the first slot of a 64-bit constant load.
pub const LD_IMM64: u8 = (uapi::BPF_LD | uapi::BPF_IMM | uapi::BPF_DW) as u8;
/// Opcode of `call`.
pub const CALL: u8 = (uapi::BPF_JMP | uapi::BPF_CALL) as u8;
/// Opcode of `exit`.
pub const EXIT: u8 = (uapi::BPF_JMP | uapi::BPF_EXIT) as u8;
/// Opcode of the unconditional jump with a 16-bit distance.
pub const JA: u8 = (uapi::BPF_JMP | uapi::BPF_JA) as u8;
/// Opcode of the unconditional jump with a 32-bit distance (v4).
pub const JA32: u8 = (uapi::BPF_JMP32 | uapi::BPF_JA) as u8;

/// One instruction slot. A 64-bit constant load takes two slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Opcode.
    pub code: u8,
    /// Destination register number (4 bits).
    pub dst: u8,
    /// Source register number, or the kind of a pseudo instruction (4 bits).
    pub src: u8,
    /// Offset of a memory access or distance of a jump.
    pub off: i16,
    /// Constant.
    pub imm: i32,
}

impl Insn {
    const fn new(code: u32, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
        Insn {
            code: code as u8,
            dst,
            src,
            off,
            imm,
        }
    }

    /// The eight bytes the kernel reads, in this machine's byte order.
    pub fn encode(self) -> [u8; INSN_SIZE] {
        let regs = if cfg!(target_endian = "little") {
            (self.dst & 0xf) | (self.src << 4)
        } else {
            (self.dst << 4) | (self.src & 0xf)
        };
        let off = self.off.to_ne_bytes();
        let imm = self.imm.to_ne_bytes();
        [
            self.code, regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3],
        ]
    }

    /// The instruction that [`encode`](Self::encode) wrote; total.
    pub fn decode(b: [u8; INSN_SIZE]) -> Insn {
        let (lo, hi) = (b[1] & 0xf, b[1] >> 4);
        let (dst, src) = if cfg!(target_endian = "little") {
            (lo, hi)
        } else {
            (hi, lo)
        };
        Insn {
            code: b[0],
            dst,
            src,
            off: i16::from_ne_bytes([b[2], b[3]]),
            imm: i32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        }
    }

    /// The form the kernel bindings use.
    pub fn to_bpf_insn(self) -> uapi::bpf_insn {
        let [_, regs, ..] = self.encode();
        uapi::bpf_insn {
            code: self.code,
            _bitfield_align_1: [],
            _bitfield_1: uapi::bpf_insn::new_bitfield_1(regs & 0xf, regs >> 4),
            off: self.off,
            imm: self.imm,
        }
    }

    /// The opcode's class, e.g. `BPF_ALU64`.
    pub const fn class(self) -> u32 {
        (self.code & 7) as u32
    }

    /// Whether this is the first slot of a 64-bit constant load.
    pub const fn is_ld_imm64(self) -> bool {
        self.code == LD_IMM64
    }

    /// Whether this calls a function of the same program.
    pub const fn is_pseudo_call(self) -> bool {
        self.code == CALL && self.src as u32 == uapi::BPF_PSEUDO_CALL
    }

    /// The helper this calls, where it calls one.
    pub const fn helper(self) -> Option<HelperId> {
        if self.code == CALL && self.src == 0 {
            Some(HelperId::new(self.imm as u32))
        } else {
            None
        }
    }

    /// Distance in slots from the next instruction, for jumps (not calls).
    pub const fn jump_distance(self) -> Option<i32> {
        match self.class() {
            _ if self.code == JA32 => Some(self.imm),
            uapi::BPF_JMP | uapi::BPF_JMP32 if self.code != CALL && self.code != EXIT => {
                Some(self.off as i32)
            }
            _ => None,
        }
    }

    fn alu(class: u32, op: AluOp, dst: Reg, src: Operand) -> Insn {
        let code = class | op.bits() as u32;
        match src {
            Operand::Reg(r) => Insn::new(code | uapi::BPF_X, dst.0, r.0, op.off(), 0),
            Operand::Imm(i) => Insn::new(code | uapi::BPF_K, dst.0, 0, op.off(), i),
        }
    }

    /// `dst OP= src` on 64 bits.
    pub fn alu64(op: AluOp, dst: Reg, src: impl Into<Operand>) -> Insn {
        Insn::alu(uapi::BPF_ALU64, op, dst, src.into())
    }

    /// `dst OP= src` on 32 bits; the upper half of dst becomes zero.
    pub fn alu32(op: AluOp, dst: Reg, src: impl Into<Operand>) -> Insn {
        Insn::alu(uapi::BPF_ALU, op, dst, src.into())
    }

    /// `dst = src` on 64 bits.
    pub fn mov64(dst: Reg, src: impl Into<Operand>) -> Insn {
        Insn::alu64(AluOp::Mov, dst, src)
    }

    /// `dst = src` on 32 bits, zero-extended.
    pub fn mov32(dst: Reg, src: impl Into<Operand>) -> Insn {
        Insn::alu32(AluOp::Mov, dst, src)
    }

    /// `dst = sign-extended low bytes of src` (v4); `size` B, H or W, and DW is a plain move.
    pub fn movsx64(dst: Reg, src: Reg, size: Size) -> Insn {
        let off = if size == Size::DW {
            0
        } else {
            size.bytes() as i16 * 8
        };
        Insn {
            off,
            ..Insn::mov64(dst, src)
        }
    }

    /// `dst = low bytes of src, sign-extended to 32 bits`, upper half zero (v4); `size` B or H,
    /// and anything wider is a plain 32-bit move.
    pub fn movsx32(dst: Reg, src: Reg, size: Size) -> Insn {
        let off = if size >= Size::W {
            0
        } else {
            size.bytes() as i16 * 8
        };
        Insn {
            off,
            ..Insn::mov32(dst, src)
        }
    }

    /// `dst = -dst` on 64 bits.
    pub const fn neg64(dst: Reg) -> Insn {
        Insn::new(uapi::BPF_ALU64 | uapi::BPF_NEG, dst.0, 0, 0, 0)
    }

    /// `dst = -dst` on 32 bits, zero-extended.
    pub const fn neg32(dst: Reg) -> Insn {
        Insn::new(uapi::BPF_ALU | uapi::BPF_NEG, dst.0, 0, 0, 0)
    }

    /// Converts the low `size` bytes of dst (H, W or DW) from host to big-endian order and
    /// clears the rest.
    pub const fn to_be(dst: Reg, size: Size) -> Insn {
        let code = uapi::BPF_ALU | uapi::BPF_END | uapi::BPF_TO_BE;
        Insn::new(code, dst.0, 0, 0, size.bytes() as i32 * 8)
    }

    /// Converts the low `size` bytes of dst (H, W or DW) from host to little-endian order and
    /// clears the rest.
    pub const fn to_le(dst: Reg, size: Size) -> Insn {
        let code = uapi::BPF_ALU | uapi::BPF_END | uapi::BPF_TO_LE;
        Insn::new(code, dst.0, 0, 0, size.bytes() as i32 * 8)
    }

    /// Reverses the low `size` bytes of dst (H, W or DW) and clears the rest (v4).
    pub const fn bswap(dst: Reg, size: Size) -> Insn {
        let code = uapi::BPF_ALU64 | uapi::BPF_END;
        Insn::new(code, dst.0, 0, 0, size.bytes() as i32 * 8)
    }

    /// `dst = *(unsigned size *)(src + off)`
    pub const fn ldx(size: Size, dst: Reg, src: Reg, off: i16) -> Insn {
        let code = uapi::BPF_LDX | uapi::BPF_MEM | size.bits() as u32;
        Insn::new(code, dst.0, src.0, off, 0)
    }

    /// `dst = *(signed size *)(src + off)` (v4; B, H or W).
    pub const fn ldsx(size: Size, dst: Reg, src: Reg, off: i16) -> Insn {
        let code = uapi::BPF_LDX | uapi::BPF_MEMSX | size.bits() as u32;
        Insn::new(code, dst.0, src.0, off, 0)
    }

    /// `*(size *)(dst + off) = src`
    pub const fn stx(size: Size, dst: Reg, off: i16, src: Reg) -> Insn {
        let code = uapi::BPF_STX | uapi::BPF_MEM | size.bits() as u32;
        Insn::new(code, dst.0, src.0, off, 0)
    }

    /// `*(size *)(dst + off) = imm`, sign-extended where `size` is DW.
    pub const fn st(size: Size, dst: Reg, off: i16, imm: i32) -> Insn {
        let code = uapi::BPF_ST | uapi::BPF_MEM | size.bits() as u32;
        Insn::new(code, dst.0, 0, off, imm)
    }

    /// An atomic operation on `*(size *)(dst + off)`; `size` is W or DW.
    pub const fn atomic(op: AtomicOp, size: Size, dst: Reg, off: i16, src: Reg) -> Insn {
        let code = uapi::BPF_STX | uapi::BPF_ATOMIC | size.bits() as u32;
        Insn::new(code, dst.0, src.0, off, op.imm())
    }

    /// The two slots that load a 64-bit constant or one of the things it can stand for.
    /// `lo` and `hi` are the `imm` fields of the first and second slot.
    pub const fn ld_pseudo(dst: Reg, kind: PseudoLoad, lo: i32, hi: i32) -> [Insn; 2] {
        [
            Insn::new(LD_IMM64 as u32, dst.0, kind.src(), 0, lo),
            Insn::new(0, 0, 0, 0, hi),
        ]
    }

    /// `dst = value`, two slots.
    pub const fn ld_imm64(dst: Reg, value: u64) -> [Insn; 2] {
        Insn::ld_pseudo(dst, PseudoLoad::Imm, value as i32, (value >> 32) as i32)
    }

    /// `dst = map` with the file descriptor (or an index to be relocated) `fd`.
    pub const fn ld_map_fd(dst: Reg, fd: i32) -> [Insn; 2] {
        Insn::ld_pseudo(dst, PseudoLoad::MapFd, fd, 0)
    }

    /// `dst = address of the first value of map fd, plus off bytes` (Linux 5.2).
    pub const fn ld_map_value(dst: Reg, fd: i32, off: u32) -> [Insn; 2] {
        Insn::ld_pseudo(dst, PseudoLoad::MapValue, fd, off as i32)
    }

    /// `dst = function`, `distance` slots from the slot after the first (Linux 5.13).
    pub const fn ld_func(dst: Reg, distance: i32) -> [Insn; 2] {
        Insn::ld_pseudo(dst, PseudoLoad::Func, distance, 0)
    }

    /// `dst = address of the kernel variable btf_id` of BTF object `btf_fd` (0 is vmlinux;
    /// Linux 5.10).
    pub const fn ld_btf_id(dst: Reg, btf_id: u32, btf_fd: i32) -> [Insn; 2] {
        Insn::ld_pseudo(dst, PseudoLoad::BtfId, btf_id as i32, btf_fd)
    }

    fn jump(class: u32, op: JmpOp, dst: Reg, src: Operand, off: i16) -> Insn {
        let code = class | op.bits() as u32;
        match src {
            Operand::Reg(r) => Insn::new(code | uapi::BPF_X, dst.0, r.0, off, 0),
            Operand::Imm(i) => Insn::new(code | uapi::BPF_K, dst.0, 0, off, i),
        }
    }

    /// Jumps `off` slots past the next instruction where the 64-bit `dst OP src` holds.
    pub fn jmp64(op: JmpOp, dst: Reg, src: impl Into<Operand>, off: i16) -> Insn {
        Insn::jump(uapi::BPF_JMP, op, dst, src.into(), off)
    }

    /// Jumps where `dst OP src` holds on the low 32 bits (Linux 5.1).
    pub fn jmp32(op: JmpOp, dst: Reg, src: impl Into<Operand>, off: i16) -> Insn {
        Insn::jump(uapi::BPF_JMP32, op, dst, src.into(), off)
    }

    /// Jumps always.
    pub const fn ja(off: i16) -> Insn {
        Insn::new(JA as u32, 0, 0, off, 0)
    }

    /// Jumps always, with a 32-bit distance (v4).
    pub const fn ja32(distance: i32) -> Insn {
        Insn::new(JA32 as u32, 0, 0, 0, distance)
    }

    /// Calls a helper: arguments in r1 to r5, result in r0, r1 to r5 clobbered.
    pub const fn call(helper: HelperId) -> Insn {
        Insn::new(CALL as u32, 0, 0, 0, helper.id() as i32)
    }

    /// Calls a function of the same program, `distance` slots past the next instruction.
    pub const fn call_func(distance: i32) -> Insn {
        let src = uapi::BPF_PSEUDO_CALL as u8;
        Insn::new(CALL as u32, 0, src, 0, distance)
    }

    /// Calls the kernel function `btf_id`; `btf_index` indexes the load's fd array and is 0 for
    /// vmlinux (Linux 5.13; tracing programs 5.18).
    pub const fn call_kfunc(btf_id: u32, btf_index: i16) -> Insn {
        let src = uapi::BPF_PSEUDO_KFUNC_CALL as u8;
        Insn::new(CALL as u32, 0, src, btf_index, btf_id as i32)
    }

    /// Returns r0 from the function or the program.
    pub const fn exit() -> Insn {
        Insn::new(EXIT as u32, 0, 0, 0, 0)
    }
}

/// The bytes of a whole program.
pub fn encode_all(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|i| i.encode()).collect()
}

/// The instructions of `bytes`, or `None` where its length is not a multiple of eight.
pub fn decode_all(bytes: &[u8]) -> Option<Vec<Insn>> {
    let (chunks, rest) = bytes.as_chunks::<INSN_SIZE>();
    rest.is_empty()
        .then(|| chunks.iter().map(|&c| Insn::decode(c)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::helper;

    #[test]
    fn encoding_is_the_kernels() {
        // Opcodes and field order as RFC 9669 gives them, little-endian.
        let cases: &[(Insn, [u8; 8])] = &[
            (Insn::mov64(R1, R6), [0xbf, 0x61, 0, 0, 0, 0, 0, 0]),
            (
                Insn::alu32(AluOp::Add, R2, -1),
                [0x04, 0x02, 0, 0, 0xff, 0xff, 0xff, 0xff],
            ),
            (
                Insn::ldx(Size::DW, R1, R10, -8),
                [0x79, 0xa1, 0xf8, 0xff, 0, 0, 0, 0],
            ),
            (
                Insn::stx(Size::B, R10, -1, R3),
                [0x73, 0x3a, 0xff, 0xff, 0, 0, 0, 0],
            ),
            (
                Insn::jmp64(JmpOp::Eq, R1, 0, 5),
                [0x15, 0x01, 5, 0, 0, 0, 0, 0],
            ),
            (
                Insn::call(helper::MAP_LOOKUP_ELEM),
                [0x85, 0, 0, 0, 1, 0, 0, 0],
            ),
            (
                Insn::atomic(AtomicOp::FetchAdd, Size::DW, R1, 16, R2),
                [0xdb, 0x21, 16, 0, 1, 0, 0, 0],
            ),
            (
                Insn::alu64(AluOp::Sdiv, R0, R1),
                [0x3f, 0x10, 1, 0, 0, 0, 0, 0],
            ),
            (
                Insn::movsx64(R0, R1, Size::H),
                [0xbf, 0x10, 16, 0, 0, 0, 0, 0],
            ),
            (
                Insn::ldsx(Size::W, R0, R1, 4),
                [0x81, 0x10, 4, 0, 0, 0, 0, 0],
            ),
            (Insn::bswap(R3, Size::W), [0xd7, 0x03, 0, 0, 32, 0, 0, 0]),
            (Insn::to_be(R3, Size::H), [0xdc, 0x03, 0, 0, 16, 0, 0, 0]),
            (Insn::exit(), [0x95, 0, 0, 0, 0, 0, 0, 0]),
        ];
        if cfg!(target_endian = "big") {
            eprintln!("skipped: the expected bytes are little-endian");
            return;
        }
        for (insn, bytes) in cases {
            assert_eq!(insn.encode(), *bytes, "{insn:?}");
            assert_eq!(Insn::decode(*bytes), *insn);
        }
    }

    #[test]
    fn ld_imm64_splits_the_constant() {
        let [lo, hi] = Insn::ld_imm64(R4, 0x1122_3344_f566_7788);
        assert_eq!((lo.code, lo.dst, lo.src), (0x18, 4, 0));
        assert_eq!((lo.imm as u32, hi.imm as u32), (0xf566_7788, 0x1122_3344));
        assert_eq!(hi.code, 0);
    }

    #[test]
    fn bindings_agree_on_the_fields() {
        let b = Insn::stx(Size::W, R10, -4, R7).to_bpf_insn();
        assert_eq!((b.dst_reg(), b.src_reg(), b.off), (10, 7, -4));
    }

    #[test]
    fn every_byte_pattern_survives_decoding() {
        let mut state = 1u64;
        for _ in 0..10_000 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let bytes = state.rotate_left(17).to_ne_bytes();
            assert_eq!(Insn::decode(bytes).encode(), bytes);
        }
        let program = [Insn::mov64(R0, 0), Insn::exit()];
        assert_eq!(
            decode_all(&encode_all(&program)).as_deref(),
            Some(&program[..])
        );
        assert_eq!(decode_all(&[0; 7]), None);
    }

    #[test]
    fn negation_and_exchange_are_involutions() {
        for op in JmpOp::ALL {
            assert_eq!(op.swapped().swapped(), op);
            assert_eq!(op.negated().map_or(op, |n| n.negated().unwrap()), op);
        }
    }
}
