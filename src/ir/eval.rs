//! What IR means: an evaluator that executes functions directly.
//!
//! Input: a module, contents of its array maps, a context. Output: the result, and the maps as
//! the run left them. It exists for comparison: generated code, optimised or not, must do the
//! same. Memory is made of separate objects (frame slots, entry 0 of array maps, the context)
//! that hold numbers only; the helpers it knows are `bpf_map_lookup_elem` and
//! `bpf_map_update_elem` on arrays of one entry.

use crate::codegen::helper;
use crate::object::{MapId, MapKind};

use super::entity::{Block, FuncId, Value};
use super::func::{Func, Module};
use super::inst::{AtomicOp, BinOp, Inst, Term, Width, extend, swap_bytes};

/// A value while it is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Val {
    /// A number; also the null pointer.
    Num(i64),
    /// Byte of an object.
    Ptr(Object, i64),
    /// A map.
    Map(MapId),
    /// A function.
    Func(FuncId),
}

/// An object in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// Slot `.1` of call `.0` (0 is the entry).
    Slot(usize, usize),
    /// Entry 0 of an array map.
    Map(MapId),
    /// The context.
    Ctx,
}

/// Why evaluation stops early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError(pub String);

type Step<T> = Result<T, EvalError>;

fn fail<T>(message: impl Into<String>) -> Step<T> {
    Err(EvalError(message.into()))
}

/// State of an evaluation.
#[derive(Debug)]
pub struct Eval<'m> {
    module: &'m Module,
    /// Contents of entry 0, by map.
    pub maps: Vec<Vec<u8>>,
    /// The context.
    pub ctx: Vec<u8>,
    /// Instructions that may still be executed.
    pub budget: u64,
    frames: Vec<Vec<Vec<u8>>>,
}

impl<'m> Eval<'m> {
    /// Maps all zero, or as initialised.
    pub fn new(module: &'m Module, ctx: Vec<u8>) -> Self {
        let contents = |m: &crate::object::MapDef| {
            let mut bytes = m.init.clone().unwrap_or_default();
            bytes.resize(m.value_size as usize, 0);
            bytes
        };
        Self {
            module,
            maps: module.maps.iter().map(contents).collect(),
            ctx,
            budget: 1 << 20,
            frames: Vec::new(),
        }
    }

    /// Runs an entry function on the context.
    pub fn run(&mut self, entry: FuncId) -> Step<i64> {
        let args: &[Val] = match self.module.func(entry).params() {
            [] => &[],
            _ => &[Val::Ptr(Object::Ctx, 0)],
        };
        match self.call(entry, args)? {
            Val::Num(n) => Ok(n),
            other => fail(format!("the result is {other:?}")),
        }
    }

    fn call(&mut self, id: FuncId, args: &[Val]) -> Step<Val> {
        let f = self.module.func(id);
        let slots = f.slots.iter().map(|s| vec![0; s.size as usize]).collect();
        self.frames.push(slots);
        let result = self.body(f, args);
        self.frames.pop();
        result
    }

    fn body(&mut self, f: &Func, args: &[Val]) -> Step<Val> {
        let mut env: Vec<Val> = vec![Val::Num(0); f.values.len()];
        let mut at = Func::ENTRY;
        let mut incoming: Vec<Val> = args.to_vec();
        loop {
            let block = f.block(at);
            for (&p, &a) in block.params.iter().zip(&incoming) {
                env[p.index()] = a;
            }
            for node in &block.insts {
                self.budget = match self.budget.checked_sub(1) {
                    Some(b) => b,
                    None => return fail("too many instructions"),
                };
                let result = self.inst(&node.inst, &env)?;
                if let Some(v) = node.result {
                    env[v.index()] = result;
                }
            }
            let get = |v: &Value| env[v.index()];
            let (to, args): (Block, &[Value]) = match &block.term {
                None => return fail("a block has no end"),
                Some(Term::Ret(v)) => return Ok(get(v)),
                Some(Term::Jump(to, args)) => (*to, args),
                Some(Term::Br {
                    cond,
                    w,
                    a,
                    b,
                    then,
                    els,
                    ..
                }) => {
                    let (a, b) = (number(get(a)), number(get(b)));
                    let to = if cond.eval(*w, a, b) { then } else { els };
                    (to.0, &to.1)
                }
            };
            self.budget = match self.budget.checked_sub(1) {
                Some(b) => b,
                None => return fail("too many instructions"),
            };
            incoming = args.iter().map(get).collect();
            at = to;
        }
    }

    fn bytes(&mut self, at: Val, off: i64, len: usize) -> Step<&mut [u8]> {
        let Val::Ptr(object, base) = at else {
            return fail(format!("access through {at:?}"));
        };
        let all: &mut [u8] = match object {
            Object::Slot(frame, slot) => match self.frames.get_mut(frame) {
                Some(f) => &mut f[slot],
                None => return fail("access to a frame that is gone"),
            },
            Object::Map(m) => &mut self.maps[m.0 as usize],
            Object::Ctx => &mut self.ctx,
        };
        let start = usize::try_from(base.wrapping_add(off)).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        match all.get_mut(start..end) {
            Some(bytes) => Ok(bytes),
            None => fail(format!("access to bytes {start}..{end} of {object:?}")),
        }
    }

    fn load(&mut self, at: Val, off: i64, size: u8) -> Step<i64> {
        let bytes = self.bytes(at, off, usize::from(size))?;
        let mut word = [0u8; 8];
        let from = if cfg!(target_endian = "little") {
            0
        } else {
            8 - bytes.len()
        };
        word[from..from + bytes.len()].copy_from_slice(bytes);
        Ok(i64::from_ne_bytes(word))
    }

    fn store(&mut self, at: Val, off: i64, size: u8, val: i64) -> Step<()> {
        let word = val.to_ne_bytes();
        let size = usize::from(size);
        let from = if cfg!(target_endian = "little") {
            0
        } else {
            8 - size
        };
        let bytes = self.bytes(at, off, size)?;
        bytes.copy_from_slice(&word[from..from + size]);
        Ok(())
    }

    fn inst(&mut self, inst: &Inst, env: &[Val]) -> Step<Val> {
        let get = |v: &Value| env[v.index()];
        let num = |v: &Value| number(env[v.index()]);
        let none = Val::Num(0);
        Ok(match inst {
            Inst::Const(c) => Val::Num(*c),
            Inst::Bin { op, w, a, b } => match (op, get(a), get(b)) {
                (BinOp::Add, Val::Ptr(o, p), Val::Num(n))
                | (BinOp::Add, Val::Num(n), Val::Ptr(o, p)) => Val::Ptr(o, p.wrapping_add(n)),
                (BinOp::Sub, Val::Ptr(o, p), Val::Num(n)) => Val::Ptr(o, p.wrapping_sub(n)),
                _ => Val::Num(op.eval(*w, num(a), num(b))),
            },
            Inst::Neg(a) => Val::Num(num(a).wrapping_neg()),
            Inst::Opaque(a) => Val::Num(num(a)),
            Inst::Ext { signed, bits, a } => Val::Num(extend(*signed, *bits, num(a))),
            Inst::Bswap { bits, a } => Val::Num(swap_bytes(*bits, num(a))),
            Inst::Load { mem, ptr, off } => {
                let raw = self.load(get(ptr), i64::from(*off), mem.size)?;
                Val::Num(extend(mem.signed, mem.size * 8, raw))
            }
            Inst::Store { mem, ptr, off, val } => {
                self.store(get(ptr), i64::from(*off), mem.size, num(val))?;
                none
            }
            Inst::Atomic {
                op,
                size,
                ptr,
                off,
                val,
                expected,
                ..
            } => {
                let (at, off) = (get(ptr), i64::from(*off));
                let raw = self.load(at, off, *size)?;
                let old = extend(false, size * 8, raw);
                let w = if *size == 8 { Width::W64 } else { Width::W32 };
                let val = num(val);
                let new = match op {
                    AtomicOp::Add => BinOp::Add.eval(w, old, val),
                    AtomicOp::Or => old | val,
                    AtomicOp::And => old & val,
                    AtomicOp::Xor => old ^ val,
                    AtomicOp::Xchg => val,
                    AtomicOp::Cmpxchg => {
                        let expected = expected.as_ref().map_or(0, num);
                        if extend(false, size * 8, expected) == old {
                            val
                        } else {
                            old
                        }
                    }
                };
                self.store(at, off, *size, new)?;
                Val::Num(old)
            }
            Inst::SlotAddr { slot, off } => Val::Ptr(
                Object::Slot(self.frames.len() - 1, slot.index()),
                i64::from(*off),
            ),
            Inst::MapFd(m) => Val::Map(*m),
            Inst::MapAddr { map, off } => Val::Ptr(Object::Map(*map), i64::from(*off)),
            Inst::Call { helper, args, .. } if *helper == helper::MAP_LOOKUP_ELEM => {
                let args: Vec<Val> = args.iter().map(get).collect();
                self.lookup(&args)?
            }
            Inst::Call { helper, args, .. } if *helper == helper::MAP_UPDATE_ELEM => {
                let args: Vec<Val> = args.iter().map(get).collect();
                self.update(&args)?
            }
            Inst::Call { helper, .. } => return fail(format!("call of {helper}")),
            Inst::CallFunc { func, args } => {
                let args: Vec<Val> = args.iter().map(get).collect();
                self.call(*func, &args)?
            }
            Inst::FuncAddr(id) => Val::Func(*id),
            Inst::NonNull(v) => get(v),
            Inst::Zero { ptr, off, len } => {
                self.bytes(get(ptr), i64::from(*off), *len as usize)?
                    .fill(0);
                none
            }
            Inst::Copy {
                dst,
                dst_off,
                src,
                src_off,
                len,
                ..
            } => {
                let len = *len as usize;
                let from = self.bytes(get(src), i64::from(*src_off), len)?.to_vec();
                self.bytes(get(dst), i64::from(*dst_off), len)?
                    .copy_from_slice(&from);
                none
            }
        })
    }

    /// The index that a helper gets by its key.
    fn index(&mut self, map: MapId, key: Val) -> Step<i64> {
        if self.module.map(map).kind != MapKind::Array {
            return fail("access to a map that is no array");
        }
        Ok(extend(false, 32, self.load(key, 0, 4)?))
    }

    fn lookup(&mut self, args: &[Val]) -> Step<Val> {
        let &[Val::Map(m), key] = args else {
            return fail(format!("look-up with {args:?}"));
        };
        Ok(match self.index(m, key)? {
            0 => Val::Ptr(Object::Map(m), 0),
            _ => Val::Num(0),
        })
    }

    fn update(&mut self, args: &[Val]) -> Step<Val> {
        let &[Val::Map(m), key, value, Val::Num(0)] = args else {
            return fail(format!("update with {args:?}"));
        };
        if self.index(m, key)? != 0 {
            return Ok(Val::Num(-i64::from(libc::E2BIG)));
        }
        let len = self.maps[m.0 as usize].len();
        let bytes = self.bytes(value, 0, len)?.to_vec();
        self.maps[m.0 as usize] = bytes;
        Ok(Val::Num(0))
    }
}

/// A value as comparisons see it: pointers are some number that is not zero.
fn number(v: Val) -> i64 {
    match v {
        Val::Num(n) => n,
        Val::Ptr(..) | Val::Map(_) | Val::Func(_) => i64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::read::read;

    #[test]
    fn a_loop_over_a_slot() {
        let m = read(
            "fn0 entry \"f\" {
    slot0 8
block0:
    v0: frame = slot_addr slot0+0
    v1 = const 5
    v2 = const 0
    zero v0+0, 8
    jump block1(v1)
block1(v3: scalar):
    v4 = load.8 v0+0
    v5 = add v4, v3
    store.8 v0+0, v5
    v6 = const 1
    v7 = sub v3, v6
    br ne v7, v2, block1(v7), block2
block2:
    v8 = load.8 v0+0
    ret v8
}",
        )
        .unwrap();
        assert_eq!(Eval::new(&m, Vec::new()).run(FuncId(0)), Ok(15));
    }
}
