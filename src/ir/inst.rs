//! Instructions, terminators and the types of values.

use crate::codegen::helper::{self, HelperId};
use crate::object::MapId;

use super::entity::{Block, FuncId, Slot, Value};

/// Type of a value: what the verifier knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    /// A number, or an address that is only ever given to a helper (`probe_read`).
    Scalar,
    /// The program's context.
    Ctx,
    /// Address in the frame.
    Frame,
    /// A map, as helpers take it.
    Map,
    /// The same or null: what a look-up in a map of maps gives.
    MapOrNull,
    /// Address in a value of the map; constant offsets only, within the value.
    MapVal(MapId),
    /// The same or null: to be compared with 0 and refined before any other use.
    MapValOrNull(MapId),
    /// Address of a key of the map, as `bpf_for_each_map_elem` passes it: read only.
    MapKey(MapId),
    /// Address in a reserved ring-buffer record of this many bytes.
    Rec(u32),
    /// The same or null.
    RecOrNull(u32),
    /// A kernel pointer that may be loaded from directly (BTF-typed: fentry and raw
    /// tracepoint arguments, `bpf_get_current_task_btf`); loads that fault give 0.
    KPtr,
    /// A function's address, for callbacks.
    Func,
}

impl Ty {
    /// What a null check turns this type into.
    pub fn non_null(self) -> Option<Ty> {
        match self {
            Self::MapValOrNull(m) => Some(Self::MapVal(m)),
            Self::MapOrNull => Some(Self::Map),
            Self::RecOrNull(n) => Some(Self::Rec(n)),
            _ => None,
        }
    }

    /// Whether it is an address that instructions load from and store to.
    pub fn is_pointer(self) -> bool {
        !matches!(self, Self::Scalar | Self::Map | Self::Func)
    }
}

/// Operand width of arithmetic and comparisons. 32-bit results are zero-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

/// Two-operand arithmetic. Division by zero gives 0 and modulo by zero the dividend, as the
/// machine does; the language's own rule is lowered to a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinOp {
    /// Wrapping sum. One operand may be a pointer: the result points into the same object.
    Add,
    /// Wrapping difference.
    Sub,
    /// Wrapping product.
    Mul,
    /// Unsigned quotient.
    Udiv,
    /// Unsigned remainder.
    Umod,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Left shift; the count is taken modulo the width.
    Shl,
    /// Logical right shift.
    Lshr,
    /// Arithmetic right shift.
    Ashr,
}

impl BinOp {
    /// Whether operands may be exchanged.
    pub fn is_commutative(self) -> bool {
        matches!(
            self,
            Self::Add | Self::Mul | Self::And | Self::Or | Self::Xor
        )
    }

    /// What the machine computes: 32-bit results are zero-extended, shift counts are taken
    /// modulo the width, a quotient by zero is 0 and a remainder by zero the dividend.
    pub fn eval(self, w: Width, a: i64, b: i64) -> i64 {
        match w {
            Width::W64 => {
                let (ua, ub) = (a as u64, b as u64);
                let n = (b & 63) as u32;
                match self {
                    Self::Add => a.wrapping_add(b),
                    Self::Sub => a.wrapping_sub(b),
                    Self::Mul => a.wrapping_mul(b),
                    Self::Udiv => ua.checked_div(ub).unwrap_or(0) as i64,
                    Self::Umod => ua.checked_rem(ub).unwrap_or(ua) as i64,
                    Self::And => a & b,
                    Self::Or => a | b,
                    Self::Xor => a ^ b,
                    Self::Shl => a.wrapping_shl(n),
                    Self::Lshr => ua.wrapping_shr(n) as i64,
                    Self::Ashr => a.wrapping_shr(n),
                }
            }
            Width::W32 => {
                let (ua, ub) = (a as u32, b as u32);
                let n = ub & 31;
                let r = match self {
                    Self::Add => ua.wrapping_add(ub),
                    Self::Sub => ua.wrapping_sub(ub),
                    Self::Mul => ua.wrapping_mul(ub),
                    Self::Udiv => ua.checked_div(ub).unwrap_or(0),
                    Self::Umod => ua.checked_rem(ub).unwrap_or(ua),
                    Self::And => ua & ub,
                    Self::Or => ua | ub,
                    Self::Xor => ua ^ ub,
                    Self::Shl => ua.wrapping_shl(n),
                    Self::Lshr => ua.wrapping_shr(n),
                    Self::Ashr => (ua as i32).wrapping_shr(n) as u32,
                };
                i64::from(r)
            }
        }
    }
}

/// Condition of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Unsigned less.
    Ult,
    /// Unsigned less or equal.
    Ule,
    /// Unsigned greater.
    Ugt,
    /// Unsigned greater or equal.
    Uge,
    /// Signed less.
    Slt,
    /// Signed less or equal.
    Sle,
    /// Signed greater.
    Sgt,
    /// Signed greater or equal.
    Sge,
    /// `a & b != 0`
    Set,
}

impl Cond {
    /// Whether it holds of `a` and `b`.
    pub fn eval(self, w: Width, a: i64, b: i64) -> bool {
        let (a, b) = match w {
            Width::W64 => (a, b),
            Width::W32 => (i64::from(a as i32), i64::from(b as i32)),
        };
        // Sign extension keeps both orders of 32-bit numbers.
        let (ua, ub) = (a as u64, b as u64);
        match self {
            Self::Eq => a == b,
            Self::Ne => a != b,
            Self::Ult => ua < ub,
            Self::Ule => ua <= ub,
            Self::Ugt => ua > ub,
            Self::Uge => ua >= ub,
            Self::Slt => a < b,
            Self::Sle => a <= b,
            Self::Sgt => a > b,
            Self::Sge => a >= b,
            Self::Set => a & b != 0,
        }
    }

    /// The condition that holds exactly where this one does not; `Set` has none.
    pub fn negated(self) -> Option<Self> {
        Some(match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Ult => Self::Uge,
            Self::Ule => Self::Ugt,
            Self::Ugt => Self::Ule,
            Self::Uge => Self::Ult,
            Self::Slt => Self::Sge,
            Self::Sle => Self::Sgt,
            Self::Sgt => Self::Sle,
            Self::Sge => Self::Slt,
            Self::Set => return None,
        })
    }

    /// The condition with its operands exchanged.
    pub fn swapped(self) -> Self {
        match self {
            Self::Ult => Self::Ugt,
            Self::Ule => Self::Uge,
            Self::Ugt => Self::Ult,
            Self::Uge => Self::Ule,
            Self::Slt => Self::Sgt,
            Self::Sle => Self::Sge,
            Self::Sgt => Self::Slt,
            Self::Sge => Self::Sle,
            Self::Eq | Self::Ne | Self::Set => self,
        }
    }
}

/// The low `bits` (8, 16, 32; anything else: all 64) of `a`, extended to 64.
pub fn extend(signed: bool, bits: u8, a: i64) -> i64 {
    match (signed, bits) {
        (false, 8) => i64::from(a as u8),
        (false, 16) => i64::from(a as u16),
        (false, 32) => i64::from(a as u32),
        (true, 8) => i64::from(a as i8),
        (true, 16) => i64::from(a as i16),
        (true, 32) => i64::from(a as i32),
        _ => a,
    }
}

/// The low `bits` (16, 32; anything else: 64) of `a` with bytes swapped, zero-extended.
pub fn swap_bytes(bits: u8, a: i64) -> i64 {
    match bits {
        16 => i64::from((a as u16).swap_bytes()),
        32 => i64::from((a as u32).swap_bytes()),
        _ => a.swap_bytes(),
    }
}

/// Size and extension of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemTy {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Loads sign-extend to 64 bits instead of zero-extending.
    pub signed: bool,
}

impl MemTy {
    /// 8 bytes.
    pub const DW: Self = Self {
        size: 8,
        signed: false,
    };
    /// 4 bytes, zero-extended.
    pub const W: Self = Self {
        size: 4,
        signed: false,
    };
    /// 2 bytes, zero-extended.
    pub const H: Self = Self {
        size: 2,
        signed: false,
    };
    /// 1 byte, zero-extended.
    pub const B: Self = Self {
        size: 1,
        signed: false,
    };

    /// `size` bytes (1, 2, 4 or 8), extended as `signed` says.
    pub const fn new(size: u8, signed: bool) -> Self {
        Self { size, signed }
    }
}

/// Atomic read-modify-write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    /// `*p += v`
    Add,
    /// `*p |= v`
    Or,
    /// `*p &= v`
    And,
    /// `*p ^= v`
    Xor,
    /// Swap; always gives the old value.
    Xchg,
    /// Compare (with `expected`) and swap; always gives the old value.
    Cmpxchg,
}

/// An instruction. Those with a result define one [`Value`].
#[derive(Clone, Debug, PartialEq)]
pub enum Inst {
    /// A constant.
    Const(i64),
    /// Arithmetic.
    Bin {
        /// Operation.
        op: BinOp,
        /// Width.
        w: Width,
        /// Left operand.
        a: Value,
        /// Right operand.
        b: Value,
    },
    /// `-a`, 64 bits.
    Neg(Value),
    /// The number `a`, of which the verifier knows nothing: it must not tell the rounds of a
    /// loop apart by what a variable holds, or it would follow each of them.
    Opaque(Value),
    /// The low `bits` (8, 16, 32) of `a`, extended to 64.
    Ext {
        /// With the sign.
        signed: bool,
        /// 8, 16 or 32.
        bits: u8,
        /// Operand.
        a: Value,
    },
    /// The low `bits` (16, 32, 64) of `a` with bytes swapped, zero-extended.
    Bswap {
        /// 16, 32 or 64.
        bits: u8,
        /// Operand.
        a: Value,
    },
    /// Loads from `ptr + off`.
    Load {
        /// Size and extension.
        mem: MemTy,
        /// Address.
        ptr: Value,
        /// Bytes added to it.
        off: i32,
    },
    /// Stores the low bytes of `val` at `ptr + off`. No result.
    Store {
        /// Size (extension is not used).
        mem: MemTy,
        /// Address.
        ptr: Value,
        /// Bytes added to it.
        off: i32,
        /// What to store.
        val: Value,
    },
    /// Atomic operation on 4 or 8 bytes. Has a result if `fetch` is set (always for
    /// `Xchg` and `Cmpxchg`): the old value.
    Atomic {
        /// Operation.
        op: AtomicOp,
        /// Bytes: 4 or 8.
        size: u8,
        /// Whether the old value is wanted.
        fetch: bool,
        /// Address.
        ptr: Value,
        /// Bytes added to it.
        off: i32,
        /// Operand (the new value for `Xchg` and `Cmpxchg`).
        val: Value,
        /// `Cmpxchg` only: the value to compare with.
        expected: Option<Value>,
    },
    /// Address of byte `off` of a frame slot.
    SlotAddr {
        /// Slot.
        slot: Slot,
        /// Byte in it.
        off: u32,
    },
    /// A map, for helpers.
    MapFd(MapId),
    /// Address of byte `off` in entry 0 of an array map that allows direct addressing
    /// (not per-CPU).
    MapAddr {
        /// Map.
        map: MapId,
        /// Byte in the value.
        off: u32,
    },
    /// A helper call with up to 5 arguments; `ret` is the type of the result.
    Call {
        /// Helper.
        helper: HelperId,
        /// Arguments.
        args: Vec<Value>,
        /// Type of the result.
        ret: Ty,
    },
    /// A call of a function of the module with up to 5 arguments.
    CallFunc {
        /// Function.
        func: FuncId,
        /// Arguments.
        args: Vec<Value>,
    },
    /// Address of a function, for `bpf_loop` and `bpf_for_each_map_elem`.
    FuncAddr(FuncId),
    /// The operand, known not to be null here: a branch on it against 0 dominates this.
    NonNull(Value),
    /// Sets `len` bytes at `ptr + off` to zero; `off` is 8-aligned or `len` small. No result.
    Zero {
        /// Address.
        ptr: Value,
        /// Bytes added to it.
        off: i32,
        /// Bytes, a constant.
        len: u32,
    },
    /// Copies `len` bytes between objects that do not overlap. No result.
    Copy {
        /// Destination address.
        dst: Value,
        /// Bytes added to it.
        dst_off: i32,
        /// Source address (a frame, map or record address, not a raw pointer).
        src: Value,
        /// Bytes added to it.
        src_off: i32,
        /// Bytes, a constant.
        len: u32,
        /// Alignment in bytes (1, 2, 4, 8) that both sides are known to have.
        align: u8,
    },
}

impl Inst {
    /// Calls `f` with every operand.
    pub fn for_each_use(&self, mut f: impl FnMut(Value)) {
        match self {
            Self::Const(_)
            | Self::SlotAddr { .. }
            | Self::MapFd(_)
            | Self::MapAddr { .. }
            | Self::FuncAddr(_) => {}
            Self::Bin { a, b, .. } => {
                f(*a);
                f(*b);
            }
            Self::Neg(a)
            | Self::Opaque(a)
            | Self::NonNull(a)
            | Self::Ext { a, .. }
            | Self::Bswap { a, .. } => f(*a),
            Self::Load { ptr, .. } | Self::Zero { ptr, .. } => f(*ptr),
            Self::Store { ptr, val, .. } => {
                f(*ptr);
                f(*val);
            }
            Self::Atomic {
                ptr, val, expected, ..
            } => {
                f(*ptr);
                f(*val);
                expected.iter().copied().for_each(f);
            }
            Self::Call { args, .. } | Self::CallFunc { args, .. } => {
                args.iter().copied().for_each(f);
            }
            Self::Copy { dst, src, .. } => {
                f(*dst);
                f(*src);
            }
        }
    }

    /// Replaces every operand `v` by `f(v)`.
    pub fn map_uses(&mut self, mut f: impl FnMut(Value) -> Value) {
        let mut on = |v: &mut Value| *v = f(*v);
        match self {
            Self::Const(_)
            | Self::SlotAddr { .. }
            | Self::MapFd(_)
            | Self::MapAddr { .. }
            | Self::FuncAddr(_) => {}
            Self::Bin { a, b, .. } => {
                on(a);
                on(b);
            }
            Self::Neg(a)
            | Self::Opaque(a)
            | Self::NonNull(a)
            | Self::Ext { a, .. }
            | Self::Bswap { a, .. } => on(a),
            Self::Load { ptr, .. } | Self::Zero { ptr, .. } => on(ptr),
            Self::Store { ptr, val, .. } => {
                on(ptr);
                on(val);
            }
            Self::Atomic {
                ptr, val, expected, ..
            } => {
                on(ptr);
                on(val);
                expected.iter_mut().for_each(on);
            }
            Self::Call { args, .. } | Self::CallFunc { args, .. } => args.iter_mut().for_each(on),
            Self::Copy { dst, src, .. } => {
                on(dst);
                on(src);
            }
        }
    }

    /// Whether it does something besides defining its result, so that it stays even where
    /// the result is not used. Loads are pure: the objects they may touch are valid.
    pub fn has_effect(&self) -> bool {
        matches!(
            self,
            Self::Store { .. }
                | Self::Atomic { .. }
                | Self::Call { .. }
                | Self::CallFunc { .. }
                | Self::Zero { .. }
                | Self::Copy { .. }
        )
    }

    /// Whether it is a call of a helper that only tells something, and the same thing however
    /// often it is called during one run of a program.
    pub fn is_pure_call(&self) -> bool {
        match self {
            Self::Call { helper, args, .. } => {
                args.len() <= 1
                    && matches!(
                        *helper,
                        helper::GET_CURRENT_PID_TGID
                            | helper::GET_CURRENT_UID_GID
                            | helper::GET_CURRENT_TASK
                            | helper::GET_CURRENT_TASK_BTF
                            | helper::GET_CURRENT_CGROUP_ID
                            | helper::GET_SMP_PROCESSOR_ID
                            | helper::GET_NUMA_NODE_ID
                            | helper::GET_FUNC_IP
                            | helper::GET_ATTACH_COOKIE
                    )
            }
            _ => false,
        }
    }

    /// Whether it clobbers r0 to r5.
    pub fn is_call(&self) -> bool {
        matches!(self, Self::Call { .. } | Self::CallFunc { .. })
    }
}

/// How a block ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// Goes on in a block, with arguments for its parameters.
    Jump(Block, Vec<Value>),
    /// Goes on in one of two blocks.
    Br {
        /// Condition.
        cond: Cond,
        /// Width of the comparison.
        w: Width,
        /// Left operand.
        a: Value,
        /// Right operand.
        b: Value,
        /// Where to if it holds, with arguments.
        then: (Block, Vec<Value>),
        /// Where to if not, with arguments.
        els: (Block, Vec<Value>),
        /// Whether `then` is the rare way (an error path): it is laid out at the end.
        then_cold: bool,
    },
    /// Ends the function with a value.
    Ret(Value),
}

impl Term {
    /// Calls `f` with every operand.
    pub fn for_each_use(&self, mut f: impl FnMut(Value)) {
        match self {
            Self::Jump(_, args) => args.iter().copied().for_each(f),
            Self::Br {
                a, b, then, els, ..
            } => {
                f(*a);
                f(*b);
                then.1.iter().chain(&els.1).copied().for_each(f);
            }
            Self::Ret(v) => f(*v),
        }
    }

    /// Replaces every operand `v` by `f(v)`.
    pub fn map_uses(&mut self, mut f: impl FnMut(Value) -> Value) {
        let mut on = |v: &mut Value| *v = f(*v);
        match self {
            Self::Jump(_, args) => args.iter_mut().for_each(on),
            Self::Br {
                a, b, then, els, ..
            } => {
                on(a);
                on(b);
                then.1.iter_mut().chain(&mut els.1).for_each(on);
            }
            Self::Ret(v) => on(v),
        }
    }

    /// The blocks it may go to.
    pub fn successors(&self) -> impl Iterator<Item = Block> + '_ {
        let (a, b) = match self {
            Self::Jump(to, _) => (Some(*to), None),
            Self::Br { then, els, .. } => (Some(then.0), Some(els.0)),
            Self::Ret(_) => (None, None),
        };
        a.into_iter().chain(b)
    }
}
