//! Loads from places: kernel and user memory by helper, context and BPF memory directly.

use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, Block, Value};
use crate::object::SiteKind;
use crate::sema::hir::{Base, Context, Place};
use crate::types::{AddrSpace, Type};

use super::fx::{Addr, Fx};

/// A place whose address is known.
enum At {
    /// Memory outside of BPF.
    Raw { addr: Value, space: AddrSpace },
    /// BPF memory.
    Memory(Addr),
    /// The context, at a constant offset.
    Ctx(i32),
}

impl<'a> Fx<'_, 'a> {
    /// Evaluates the address. An index past the end is reported and control goes to `outside`.
    fn locate(&mut self, place: &'a Place, outside: &mut Option<Block>) -> At {
        let mut moved: Option<Value> = None;
        for i in &place.index {
            let v = self.scalar(&i.index);
            if let Some(len) = i.len {
                let out = *outside.get_or_insert_with(|| self.b.new_block());
                let n = self.b.iconst(i64::from(len));
                let (bad, ok) = (self.b.new_block(), self.b.new_block());
                self.b.br_cold(Cond::Uge, v, n, bad, ok);
                self.b.switch_to(bad);
                let code = self.b.iconst(0);
                self.report_failure(SiteKind::OutOfBounds, "", code);
                self.b.jump(out, &[]);
                self.b.switch_to(ok);
            }
            let v = self.b.bin_imm(BinOp::Mul, v, i64::from(i.stride));
            moved = Some(match moved {
                Some(m) => self.b.add(m, v),
                None => v,
            });
        }
        match &place.base {
            Base::Deref(p) => {
                let space = match p.ty {
                    Type::Ptr(_, space) => space,
                    _ => AddrSpace::None,
                };
                let mut addr = self.scalar(p);
                if let Some(m) = moved {
                    addr = self.b.add(addr, m);
                }
                let addr = self.b.add_imm(addr, i64::from(place.offset));
                At::Raw { addr, space }
            }
            Base::Local(local) => {
                let at = self.local_addr(*local).plus(place.offset);
                At::Memory(self.moved(at, moved))
            }
            Base::Temp(e) => {
                let at = self.memory(e).plus(place.offset);
                At::Memory(self.moved(at, moved))
            }
            Base::Ctx => {
                if let Some(m) = moved {
                    let ctx = self.ctx();
                    let addr = self.b.add(ctx, m);
                    let addr = self.b.add_imm(addr, i64::from(place.offset));
                    return At::Raw {
                        addr,
                        space: AddrSpace::Kernel,
                    };
                }
                At::Ctx(place.offset as i32)
            }
        }
    }

    fn moved(&mut self, at: Addr, by: Option<Value>) -> Addr {
        match by {
            None => at,
            Some(m) => {
                let ptr = self.b.add(at.ptr, m);
                Addr {
                    ptr,
                    off: at.off,
                    base_align: 1,
                }
            }
        }
    }

    /// Loads a scalar.
    pub(super) fn load_scalar(&mut self, place: &'a Place, ty: &Type) -> Value {
        let mut outside = None;
        let at = self.locate(place, &mut outside);
        let v = match place.bits {
            Some((first, width)) => self.load_bits(&at, ty, first, width),
            None => {
                let (size, signed) = self.scalar_shape(ty);
                self.load_at(&at, size, signed)
            }
        };
        let Some(out) = outside else {
            return v;
        };
        let join = self.b.new_block();
        let result = self.b.block_param(join, Ty::Scalar);
        self.b.jump(join, &[v]);
        self.b.switch_to(out);
        let zero = self.b.iconst(0);
        self.b.jump(join, &[zero]);
        self.b.switch_to(join);
        result
    }

    fn load_at(&mut self, at: &At, size: u8, signed: bool) -> Value {
        let mem = MemTy { size, signed };
        match *at {
            At::Raw { addr, space } => {
                let word = self.temp(8);
                self.probe_read(space, word, u32::from(size), addr);
                self.b.load(mem, word.ptr, word.off)
            }
            At::Memory(at) => {
                let align = at.align();
                if align >= size {
                    return self.b.load(mem, at.ptr, at.off);
                }
                self.load_unaligned(at, align, mem)
            }
            At::Ctx(off) => self.load_ctx(off, mem),
        }
    }

    /// A load from smaller aligned pieces.
    fn load_unaligned(&mut self, at: Addr, align: u8, mem: MemTy) -> Value {
        let mut v = self.b.iconst(0);
        let mut done = 0;
        while done < mem.size {
            let size = align.min(mem.size - done);
            let part = MemTy {
                size,
                signed: false,
            };
            let p = self.b.load(part, at.ptr, at.off + i32::from(done));
            let p = self.b.bin_imm(BinOp::Shl, p, 8 * i64::from(done));
            v = self.b.bin(BinOp::Or, v, p);
            done += size;
        }
        self.b.ext(mem.signed, mem.size * 8, v)
    }

    /// A load from the context at a constant offset.
    fn load_ctx(&mut self, off: i32, mem: MemTy) -> Value {
        let ctx = self.ctx();
        let aligned = off % i32::from(mem.size) == 0;
        match self.context() {
            // Typed contexts allow whole words only.
            Context::Args { btf, .. } => {
                let n = off / 8;
                let v = if btf {
                    return self.load_raw_ctx(off, mem);
                } else {
                    self.b.load(MemTy::DW, ctx, 8 * n)
                };
                let v = self.b.bin_imm(BinOp::Lshr, v, 8 * i64::from(off - 8 * n));
                self.b.ext(mem.signed, mem.size * 8, v)
            }
            Context::Iter => self.load_raw_ctx(off, mem),
            _ if !aligned => self.load_raw_ctx(off, mem),
            _ => self.b.load(mem, ctx, off),
        }
    }

    /// Reads the context as plain kernel memory.
    fn load_raw_ctx(&mut self, off: i32, mem: MemTy) -> Value {
        let ctx = self.ctx();
        let addr = self.b.add_imm(ctx, i64::from(off));
        let word = self.temp(8);
        self.probe_read(AddrSpace::Kernel, word, u32::from(mem.size), addr);
        self.b.load(mem, word.ptr, word.off)
    }

    fn load_bits(&mut self, at: &At, ty: &Type, first: u8, width: u8) -> Value {
        let bytes = (u32::from(first) + u32::from(width)).div_ceil(8).min(8) as u8;
        // Reads exactly the bytes that hold the field: what follows may not be mapped.
        let size = bytes.next_power_of_two();
        let v = match *at {
            At::Raw { addr, space } => {
                let word = self.temp(8);
                self.zero(word, 8);
                self.probe_read(space, word, u32::from(bytes), addr);
                self.b.load(MemTy::DW, word.ptr, word.off)
            }
            _ => self.load_at(at, size, false),
        };
        let signed = self.scalar_shape(ty).1;
        let left = 64 - i64::from(first) - i64::from(width);
        let v = self.b.bin_imm(BinOp::Shl, v, left.max(0));
        let op = if signed { BinOp::Ashr } else { BinOp::Lshr };
        self.b.bin_imm(op, v, 64 - i64::from(width))
    }

    /// Loads a value of memory type to `dst`.
    pub(super) fn load_memory(&mut self, place: &'a Place, ty: &Type, dst: Addr) {
        let mut outside = None;
        let at = self.locate(place, &mut outside);
        let size = self.size(ty);
        match (ty, at) {
            // `char[n]` gives `string[n + 1]`: text up to the NUL or the end of the array.
            (Type::Str(cap), At::Raw { addr, space }) => {
                let len = self.b.iconst(i64::from(*cap));
                self.probe_read_str(space, dst, *cap, len, addr);
            }
            (Type::Str(cap), At::Ctx(off)) => {
                let ctx = self.ctx();
                let addr = self.b.add_imm(ctx, i64::from(off));
                let len = self.b.iconst(i64::from(*cap));
                self.probe_read_str(AddrSpace::Kernel, dst, *cap, len, addr);
            }
            (Type::Str(cap), At::Memory(src)) => {
                let addr = self.pointer(src);
                let len = self.b.iconst(i64::from(*cap));
                self.probe_read_str(AddrSpace::Bpf, dst, *cap, len, addr);
            }
            (_, At::Raw { addr, space }) => self.probe_read(space, dst, size, addr),
            (_, At::Ctx(off)) => {
                let ctx = self.ctx();
                let addr = self.b.add_imm(ctx, i64::from(off));
                self.probe_read(AddrSpace::Kernel, dst, size, addr);
            }
            (_, At::Memory(src)) => self.copy(dst, src, size),
        }
        if let Some(out) = outside {
            let join = self.b.new_block();
            self.b.jump(join, &[]);
            self.b.switch_to(out);
            self.zero(dst, size);
            self.b.jump(join, &[]);
            self.b.switch_to(join);
        }
    }

    /// Address of a place as a value.
    pub(super) fn address(&mut self, place: &'a Place) -> Value {
        let mut outside = None;
        let v = match self.locate(place, &mut outside) {
            At::Raw { addr, .. } => addr,
            At::Memory(at) => self.pointer(at),
            At::Ctx(off) => {
                let ctx = self.ctx();
                self.b.add_imm(ctx, i64::from(off))
            }
        };
        let Some(out) = outside else {
            return v;
        };
        let join = self.b.new_block();
        let result = self.b.block_param(join, Ty::Scalar);
        self.b.jump(join, &[v]);
        self.b.switch_to(out);
        let zero = self.b.iconst(0);
        self.b.jump(join, &[zero]);
        self.b.switch_to(join);
        result
    }

    /// A `__data_loc` string: its descriptor holds the offset in the low half.
    pub(super) fn data_loc(&mut self, offset: u32, cap: u32, dst: Addr) {
        let ctx = self.ctx();
        let d = self.b.load(MemTy::W, ctx, offset as i32);
        let d = self.mask(d, 0xffff);
        let addr = self.b.add(ctx, d);
        let len = self.b.iconst(i64::from(cap));
        let n = self.probe_read_str(AddrSpace::Kernel, dst, cap, len, addr);
        self.count_cut(AddrSpace::Kernel, n, cap, addr);
    }
}
