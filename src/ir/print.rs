//! The text form of modules, functions and instructions; [`read`](super::read) takes it back.
//!
//! ```text
//! map0 = hash key 8 value 16 entries 4096 flags 0 "counts"
//!
//! fn0 entry "probe_1" {
//!     slot0 16
//! block0(v0: ctx):
//!     @ 0:3:5-3:9
//!     v1: frame = slot_addr slot0+0
//!     v2 = load.8 v0+112
//!     store.8 v1+0, v2
//!     br eq v2, v3, block1(v4), block2 cold
//! }
//! ```
//! A result's type is written unless it is a scalar; widths and offsets are always written
//! except the 64 bits of arithmetic and comparisons. `@ file:line:col-line:col` is the place
//! in the script of what follows, up to the next such line.

use std::fmt::{self, Display, Formatter, Write};

use crate::object::{Loc, MapDef, MapKind};

use super::entity::{Block, FuncId, Value};
use super::func::{Func, FuncKind, Module, Node};
use super::inst::{AtomicOp, BinOp, Cond, Inst, MemTy, Term, Ty, Width};

impl Display for Ty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar => f.write_str("scalar"),
            Self::Ctx => f.write_str("ctx"),
            Self::Frame => f.write_str("frame"),
            Self::Map => f.write_str("map"),
            Self::MapOrNull => f.write_str("map?"),
            Self::MapVal(m) => write!(f, "mapval(map{})", m.0),
            Self::MapValOrNull(m) => write!(f, "mapval?(map{})", m.0),
            Self::MapKey(m) => write!(f, "mapkey(map{})", m.0),
            Self::Rec(n) => write!(f, "rec({n})"),
            Self::RecOrNull(n) => write!(f, "rec?({n})"),
            Self::KPtr => f.write_str("kptr"),
            Self::Func => f.write_str("func"),
        }
    }
}

/// Spelling of the enumerations: one table each, used by the printer and the reader.
macro_rules! names {
    ($table:ident, $ty:ident, $($variant:ident = $name:literal),* $(,)?) => {
        pub(super) const $table: &[($ty, &str)] = &[$(($ty::$variant, $name)),*];

        impl Display for $ty {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $($ty::$variant => $name,)*
                })
            }
        }
    };
}

names!(
    BIN_OPS,
    BinOp,
    Add = "add",
    Sub = "sub",
    Mul = "mul",
    Udiv = "udiv",
    Umod = "umod",
    And = "and",
    Or = "or",
    Xor = "xor",
    Shl = "shl",
    Lshr = "lshr",
    Ashr = "ashr",
);
names!(
    CONDS,
    Cond,
    Eq = "eq",
    Ne = "ne",
    Ult = "ult",
    Ule = "ule",
    Ugt = "ugt",
    Uge = "uge",
    Slt = "slt",
    Sle = "sle",
    Sgt = "sgt",
    Sge = "sge",
    Set = "set",
);
names!(
    ATOMIC_OPS,
    AtomicOp,
    Add = "add",
    Or = "or",
    And = "and",
    Xor = "xor",
    Xchg = "xchg",
    Cmpxchg = "cmpxchg",
);
names!(
    FUNC_KINDS,
    FuncKind,
    Entry = "entry",
    Static = "static",
    LoopBody = "loop_body",
    EachBody = "each_body",
);

/// Spelling of map kinds.
pub(super) const MAP_KINDS: &[(MapKind, &str)] = &[
    (MapKind::Hash, "hash"),
    (MapKind::LruHash, "lru_hash"),
    (MapKind::PercpuHash, "percpu_hash"),
    (MapKind::LruPercpuHash, "lru_percpu_hash"),
    (MapKind::Array, "array"),
    (MapKind::PercpuArray, "percpu_array"),
    (MapKind::Ringbuf, "ringbuf"),
    (MapKind::TaskStorage, "task_storage"),
    (MapKind::ArrayOfMaps, "array_of_maps"),
    (MapKind::HashOfMaps, "hash_of_maps"),
    (MapKind::CgroupArray, "cgroup_array"),
];

impl Display for Width {
    /// The suffix of an operation: nothing for 64 bits.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::W32 => ".32",
            Self::W64 => "",
        })
    }
}

impl Display for MemTy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.signed { "s" } else { "" };
        write!(f, "{sign}{}", self.size)
    }
}

struct List<'a>(&'a [Value]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, v) in self.0.iter().enumerate() {
            let sep = if i == 0 { "" } else { ", " };
            write!(f, "{sep}{v}")?;
        }
        Ok(())
    }
}

/// A block with its arguments.
struct Target<'a>(Block, &'a [Value]);

impl Display for Target<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.1.is_empty() {
            return write!(f, "{}", self.0);
        }
        write!(f, "{}({})", self.0, List(self.1))
    }
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(c) => write!(f, "const {c}"),
            Self::Bin { op, w, a, b } => write!(f, "{op}{w} {a}, {b}"),
            Self::Neg(a) => write!(f, "neg {a}"),
            Self::Opaque(a) => write!(f, "opaque {a}"),
            Self::Ext { signed, bits, a } => {
                let name = if *signed { "sext" } else { "zext" };
                write!(f, "{name}.{bits} {a}")
            }
            Self::Bswap { bits, a } => write!(f, "bswap.{bits} {a}"),
            Self::Load { mem, ptr, off } => write!(f, "load.{mem} {ptr}{off:+}"),
            Self::Store { mem, ptr, off, val } => write!(f, "store.{mem} {ptr}{off:+}, {val}"),
            Self::Atomic {
                op,
                size,
                fetch,
                ptr,
                off,
                val,
                expected,
            } => {
                let fetch = if *fetch { ".fetch" } else { "" };
                write!(f, "atomic.{op}{fetch}.{size} {ptr}{off:+}, {val}")?;
                expected.iter().try_for_each(|e| write!(f, ", {e}"))
            }
            Self::SlotAddr { slot, off } => write!(f, "slot_addr {slot}+{off}"),
            Self::MapFd(m) => write!(f, "map_fd map{}", m.0),
            Self::MapAddr { map, off } => write!(f, "map_addr map{}+{off}", map.0),
            Self::Call { helper, args, .. } => match helper.row() {
                Some(row) => write!(f, "call {}({})", row.name, List(args)),
                None => write!(f, "call helper{}({})", helper.id(), List(args)),
            },
            Self::CallFunc { func, args } => write!(f, "call {func}({})", List(args)),
            Self::FuncAddr(func) => write!(f, "func_addr {func}"),
            Self::NonNull(v) => write!(f, "non_null {v}"),
            Self::Zero { ptr, off, len } => write!(f, "zero {ptr}{off:+}, {len}"),
            Self::Copy {
                dst,
                dst_off,
                src,
                src_off,
                len,
                align,
            } => write!(
                f,
                "copy {dst}{dst_off:+}, {src}{src_off:+}, {len}, align {align}"
            ),
        }
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jump(to, args) => write!(f, "jump {}", Target(*to, args)),
            Self::Br {
                cond,
                w,
                a,
                b,
                then,
                els,
                then_cold,
            } => {
                let (then, els) = (Target(then.0, &then.1), Target(els.0, &els.1));
                write!(f, "br {cond}{w} {a}, {b}, {then}, {els}")?;
                f.write_str(if *then_cold { " cold" } else { "" })
            }
            Self::Ret(v) => write!(f, "ret {v}"),
        }
    }
}

/// One instruction with its result.
struct Line<'a>(&'a Func, &'a Node);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(v) = self.1.result {
            match self.0.ty(v) {
                Ty::Scalar => write!(f, "{v} = ")?,
                ty => write!(f, "{v}: {ty} = ")?,
            }
        }
        write!(f, "{}", self.1.inst)
    }
}

/// The place of what follows, written where it changes.
fn place(out: &mut Formatter<'_>, last: &mut Loc, loc: Loc) -> fmt::Result {
    if *last == loc {
        return Ok(());
    }
    *last = loc;
    writeln!(
        out,
        "    @ {}:{}:{}-{}:{}",
        loc.file, loc.line, loc.col, loc.end_line, loc.end_col
    )
}

struct FuncText<'a>(FuncId, &'a Func);

impl Display for FuncText<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self(id, f) = self;
        write!(out, "{id} {} {:?}", f.kind, f.name)?;
        if f.ret != Ty::Scalar {
            write!(out, " -> {}", f.ret)?;
        }
        out.write_str(" {\n")?;
        for (i, s) in f.slots.iter().enumerate() {
            writeln!(out, "    slot{i} {}", s.size)?;
        }
        let mut loc = Loc::default();
        for (i, b) in f.blocks.iter().enumerate() {
            write!(out, "{}", Block(i as u32))?;
            for (i, &p) in b.params.iter().enumerate() {
                let open = if i == 0 { "(" } else { ", " };
                write!(out, "{open}{p}: {}", f.ty(p))?;
            }
            out.write_str(if b.params.is_empty() { ":\n" } else { "):\n" })?;
            for node in &b.insts {
                place(out, &mut loc, node.loc)?;
                writeln!(out, "    {}", Line(f, node))?;
            }
            if let Some(term) = &b.term {
                place(out, &mut loc, b.term_loc)?;
                writeln!(out, "    {term}")?;
            }
        }
        out.write_str("}\n")
    }
}

impl Display for Func {
    /// The text of a function by itself, as function 0.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        FuncText(FuncId(0), self).fmt(f)
    }
}

fn map_line(i: usize, m: &MapDef) -> String {
    let kind = MAP_KINDS
        .iter()
        .find(|(k, _)| *k == m.kind)
        .map_or("?", |(_, name)| name);
    let mut line = format!(
        "map{i} = {kind} key {} value {} entries {} flags {} {:?}",
        m.key_size, m.value_size, m.max_entries, m.flags, m.name
    );
    if let Some(init) = &m.init {
        line.push_str(" init ");
        for byte in init {
            let _ = write!(line, "{byte:02x}");
        }
    }
    line
}

impl Display for Module {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (i, m) in self.maps.iter().enumerate() {
            writeln!(out, "{}", map_line(i, m))?;
        }
        for (i, f) in self.funcs.iter().enumerate() {
            if i > 0 || !self.maps.is_empty() {
                out.write_str("\n")?;
            }
            FuncText(FuncId(i as u32), f).fmt(out)?;
        }
        Ok(())
    }
}
