//! Machine instructions over virtual registers: what selection produces and allocation works
//! on.
//!
//! Arithmetic still has three operands; emission makes it two-address. Operands that need no
//! register of their own (immediates, frame bases, call arguments) are told apart here, so
//! that the allocator sees exactly the values that do.

use std::fmt;

use crate::ir::{FuncId, Slot, Width};
use crate::object::{Loc, MapId};

use super::helper::{self, HelperId};
use super::insn::{AluOp, AtomicOp, JmpOp, Size};

/// A virtual register of one function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VReg(pub u32);

impl VReg {
    /// The number as a vector index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for VReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Debug for VReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Second operand of arithmetic, stored value, right side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Src {
    /// A register.
    Reg(VReg),
    /// A constant, sign-extended.
    Imm(i32),
}

/// Base of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A register.
    Reg(VReg),
    /// The frame slot, by way of r10.
    Slot(Slot),
}

/// Something that costs an instruction or two to make anywhere, so it never needs saving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Konst {
    /// A number.
    Imm(i64),
    /// Address of a byte of a frame slot.
    Slot(Slot, i32),
    /// A map.
    MapFd(MapId),
    /// Address of a byte in entry 0 of an array map.
    MapAddr(MapId, u32),
    /// Address of a function.
    Func(FuncId),
}

/// A value that is about to be moved to a given place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A register.
    Reg(VReg),
    /// A register plus a constant.
    RegOff(VReg, i32),
    /// A constant.
    Const(Konst),
}

impl Arg {
    /// The register it reads.
    pub fn reg(self) -> Option<VReg> {
        match self {
            Self::Reg(v) | Self::RegOff(v, _) => Some(v),
            Self::Const(_) => None,
        }
    }
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A helper.
    Helper(HelperId),
    /// A function of the module.
    Func(FuncId),
}

/// A machine instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum MInst {
    /// Defines the parameters, which arrive in r1 onwards. First in the entry block only.
    Params(Vec<VReg>),
    /// `dst = constant`
    Const { dst: VReg, val: Konst },
    /// `dst = src`
    Mov { dst: VReg, src: VReg },
    /// `dst = (u32) a`
    Zext32 { dst: VReg, a: VReg },
    /// `dst = a OP b`
    Alu {
        op: AluOp,
        w: Width,
        dst: VReg,
        a: VReg,
        b: Src,
    },
    /// `dst = -a`
    Neg { dst: VReg, a: VReg },
    /// `dst = a`, but the verifier cannot tell
    Opaque { dst: VReg, a: VReg },
    /// `dst = a` with the low `size` bytes reversed, the rest clear.
    Swap { size: Size, dst: VReg, a: VReg },
    /// `dst = *(base + off)`
    Load {
        size: Size,
        dst: VReg,
        base: Base,
        off: i32,
    },
    /// `*(base + off) = src`
    Store {
        size: Size,
        base: Base,
        off: i32,
        src: Src,
    },
    /// Atomic operation; fetching ones define `dst`; `expected` goes through r0.
    Atomic {
        op: AtomicOp,
        size: Size,
        base: Base,
        off: i32,
        src: VReg,
        dst: Option<VReg>,
        expected: Option<VReg>,
    },
    /// Call: arguments in r1 onwards, result in r0, r0 to r5 clobbered.
    Call {
        callee: Callee,
        args: Vec<Arg>,
        dst: Option<VReg>,
    },
    /// Goes on in a block (index into [`MFunc::blocks`]).
    Jump(usize),
    /// Goes on in one of two blocks.
    Branch {
        op: JmpOp,
        w: Width,
        a: VReg,
        b: Src,
        then: usize,
        els: usize,
    },
    /// Returns a value.
    Ret(Arg),
}

/// What an operand needs of its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A register when the instruction starts.
    Reg,
    /// A register that the results do not overwrite.
    Late,
    /// Any place: a register or a spill slot.
    Any,
}

impl MInst {
    /// Whether it clobbers r0 to r5. The one place that says so.
    pub fn is_call(&self) -> bool {
        matches!(self, Self::Call { .. })
    }

    /// Whether it goes through r0 before it reads its other operands.
    pub fn clobbers_r0_early(&self) -> bool {
        matches!(
            self,
            Self::Atomic {
                expected: Some(_),
                ..
            }
        )
    }

    /// Calls `f` with every register read.
    pub fn for_each_use(&self, mut f: impl FnMut(VReg, Need)) {
        let base = |b: &Base, need, f: &mut dyn FnMut(VReg, Need)| {
            if let Base::Reg(v) = b {
                f(*v, need);
            }
        };
        let src = |s: &Src, need, f: &mut dyn FnMut(VReg, Need)| {
            if let Src::Reg(v) = s {
                f(*v, need);
            }
        };
        match self {
            Self::Params(_) | Self::Const { .. } | Self::Jump(_) => {}
            Self::Mov { src, .. } => f(*src, Need::Any),
            Self::Zext32 { a, .. } | Self::Neg { a, .. } | Self::Swap { a, .. } => {
                f(*a, Need::Reg);
            }
            Self::Opaque { a, .. } => f(*a, Need::Late),
            Self::Alu { op, a, b, .. } => {
                f(*a, Need::Reg);
                // `dst = a - b` becomes `dst = a; dst -= b`: b must survive the first half.
                let need = if commutes(*op) { Need::Reg } else { Need::Late };
                src(b, need, &mut f);
            }
            Self::Load { base: b, .. } => base(b, Need::Reg, &mut f),
            Self::Store {
                base: b, src: s, ..
            } => {
                base(b, Need::Reg, &mut f);
                src(s, Need::Reg, &mut f);
            }
            Self::Atomic {
                base: b,
                src,
                expected,
                ..
            } => {
                base(b, Need::Late, &mut f);
                f(*src, Need::Reg);
                if let Some(e) = expected {
                    f(*e, Need::Any);
                }
            }
            Self::Call { args, .. } => args
                .iter()
                .filter_map(|a| a.reg())
                .for_each(|v| f(v, Need::Any)),
            Self::Branch { a, b, .. } => {
                f(*a, Need::Reg);
                src(b, Need::Reg, &mut f);
            }
            Self::Ret(a) => a.reg().into_iter().for_each(|v| f(v, Need::Any)),
        }
    }

    /// Calls `f` with every register written, and whether a spill slot would do as well.
    pub fn for_each_def(&self, mut f: impl FnMut(VReg, Need)) {
        match self {
            Self::Params(vs) => vs.iter().for_each(|&v| f(v, Need::Any)),
            Self::Const { dst, .. }
            | Self::Mov { dst, .. }
            | Self::Zext32 { dst, .. }
            | Self::Alu { dst, .. }
            | Self::Neg { dst, .. }
            | Self::Opaque { dst, .. }
            | Self::Swap { dst, .. }
            | Self::Load { dst, .. } => f(*dst, Need::Reg),
            Self::Atomic { dst, .. } => dst.iter().for_each(|&v| f(v, Need::Reg)),
            Self::Call { dst, .. } => dst.iter().for_each(|&v| f(v, Need::Any)),
            Self::Store { .. } | Self::Jump(_) | Self::Branch { .. } | Self::Ret(_) => {}
        }
    }

    /// The blocks it may go to.
    pub fn targets(&self) -> impl Iterator<Item = usize> {
        let (a, b) = match self {
            Self::Jump(to) => (Some(*to), None),
            Self::Branch { then, els, .. } => (Some(*then), Some(*els)),
            _ => (None, None),
        };
        a.into_iter().chain(b)
    }
}

/// Whether the operands of `op` may be exchanged.
pub fn commutes(op: AluOp) -> bool {
    use AluOp::{Add, And, Mul, Or, Xor};
    matches!(op, Add | Mul | And | Or | Xor)
}

/// A block in layout order, ended by `Jump`, `Branch` or `Ret`.
#[derive(Clone, Debug, Default)]
pub struct MBlock {
    /// Instructions with their places in the script.
    pub insts: Vec<(MInst, Loc)>,
    /// Laid out at the end: error paths.
    pub cold: bool,
}

/// A function after selection.
#[derive(Clone, Debug)]
pub struct MFunc {
    /// Name.
    pub name: String,
    /// Blocks in layout order, entry first.
    pub blocks: Vec<MBlock>,
    /// Number of virtual registers.
    pub vregs: usize,
    /// Sizes in bytes of frame slots; 0 where a slot is not used.
    pub slots: Vec<u32>,
    /// Registers that variable offsets are computed from. Kernels before 6.9 forget what a
    /// comparison told about a number once it goes through the frame, and reject the access.
    pub bounded: Vec<VReg>,
}

impl fmt::Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reg(v) => write!(f, "{v}"),
            Self::Imm(i) => write!(f, "{i}"),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reg(v) => write!(f, "{v}"),
            Self::Slot(s) => write!(f, "{s}"),
        }
    }
}

impl fmt::Display for Konst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Imm(i) => write!(f, "{i}"),
            Self::Slot(s, off) => write!(f, "&{s}{off:+}"),
            Self::MapFd(m) => write!(f, "map{}", m.0),
            Self::MapAddr(m, off) => write!(f, "&map{}+{off}", m.0),
            Self::Func(id) => write!(f, "&{id}"),
        }
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reg(v) => write!(f, "{v}"),
            Self::RegOff(v, off) => write!(f, "{v}{off:+}"),
            Self::Const(k) => write!(f, "{k}"),
        }
    }
}

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helper(h) => match h.row() {
                Some(helper::Helper { name, .. }) => f.write_str(name),
                None => write!(f, "helper{}", h.id()),
            },
            Self::Func(id) => write!(f, "{id}"),
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, x) in items.iter().enumerate() {
        let sep = if i == 0 { "" } else { ", " };
        write!(f, "{sep}{x}")?;
    }
    Ok(())
}

impl fmt::Display for MInst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Params(vs) => {
                f.write_str("params ")?;
                list(f, vs)
            }
            Self::Const { dst, val } => write!(f, "{dst} = {val}"),
            Self::Mov { dst, src } => write!(f, "{dst} = {src}"),
            Self::Zext32 { dst, a } => write!(f, "{dst} = zext.32 {a}"),
            Self::Alu { op, w, dst, a, b } => {
                let name = format!("{op:?}").to_lowercase();
                write!(f, "{dst} = {name}{w} {a}, {b}")
            }
            Self::Neg { dst, a } => write!(f, "{dst} = neg {a}"),
            Self::Opaque { dst, a } => write!(f, "{dst} = opaque {a}"),
            Self::Swap { size, dst, a } => write!(f, "{dst} = swap.{} {a}", size.bytes()),
            Self::Load {
                size,
                dst,
                base,
                off,
            } => write!(f, "{dst} = load.{} {base}{off:+}", size.bytes()),
            Self::Store {
                size,
                base,
                off,
                src,
            } => write!(f, "store.{} {base}{off:+}, {src}", size.bytes()),
            Self::Atomic {
                op,
                size,
                base,
                off,
                src,
                dst,
                expected,
            } => {
                if let Some(d) = dst {
                    write!(f, "{d} = ")?;
                }
                let name = format!("{op:?}").to_lowercase();
                write!(f, "atomic.{name}.{} {base}{off:+}, {src}", size.bytes())?;
                expected.iter().try_for_each(|e| write!(f, ", {e}"))
            }
            Self::Call { callee, args, dst } => {
                if let Some(d) = dst {
                    write!(f, "{d} = ")?;
                }
                write!(f, "call {callee}(")?;
                list(f, args)?;
                f.write_str(")")
            }
            Self::Jump(to) => write!(f, "jump L{to}"),
            Self::Branch {
                op,
                w,
                a,
                b,
                then,
                els,
            } => {
                let name = format!("{op:?}").to_lowercase();
                write!(f, "br {name}{w} {a}, {b}, L{then}, L{els}")
            }
            Self::Ret(a) => write!(f, "ret {a}"),
        }
    }
}
