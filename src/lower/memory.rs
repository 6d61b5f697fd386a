//! Values in memory: built at a destination, copied, compared.

use crate::codegen::helper;
use crate::ir::builder::Builder;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, FuncId, FuncKind, Value};
use crate::sema::hir::{Expr, ExprKind, LocalId};
use crate::types::{Type, tuple_offsets};

use super::fx::{Addr, Fx, Shared};
use super::keys::SHORT_STRING;

/// Memories up to this many bytes are compared inline.
const INLINE_COMPARE: u32 = 64;

impl<'a> Fx<'_, 'a> {
    /// Sets bytes to zero.
    pub(super) fn zero(&mut self, at: Addr, len: u32) {
        // The builder wants whole words aligned; odd heads are single stores.
        let mut at = at;
        let mut len = len;
        while len > 0 && at.align() < 8 && len >= u32::from(at.align()) {
            let size = at.align();
            let zero = self.b.iconst(0);
            self.b.store(
                MemTy {
                    size,
                    signed: false,
                },
                at.ptr,
                at.off,
                zero,
            );
            at = at.plus(u32::from(size));
            len -= u32::from(size);
            if at.base_align < 8 {
                break;
            }
        }
        if len > 0 {
            self.b.zero(at.ptr, at.off, len);
        }
    }

    /// The same where it is only for the sake of keys: nothing inside records.
    pub(super) fn pad_zero(&mut self, at: Addr, len: u32) {
        if self.pad {
            self.zero(at, len);
        }
    }

    /// Copies bytes between objects.
    pub(super) fn copy(&mut self, dst: Addr, src: Addr, len: u32) {
        let align = dst.align().min(src.align());
        self.b.copy(dst.ptr, dst.off, src.ptr, src.off, len, align);
    }

    /// Stores a scalar of type `ty`.
    pub(super) fn store_scalar(&mut self, ty: &Type, at: Addr, v: Value) {
        let (size, _) = self.scalar_shape(ty);
        self.b.store(
            MemTy {
                size,
                signed: false,
            },
            at.ptr,
            at.off,
            v,
        );
    }

    /// Loads a scalar of type `ty`.
    pub(super) fn load_scalar_at(&mut self, ty: &Type, at: Addr) -> Value {
        let (size, signed) = self.scalar_shape(ty);
        self.b.load(MemTy { size, signed }, at.ptr, at.off)
    }

    /// Evaluates any expression into memory.
    pub(super) fn into(&mut self, e: &'a Expr, dst: Addr) {
        if e.ty.is_scalar() {
            let v = self.scalar(e);
            self.store_scalar(&e.ty, dst, v);
        } else if e.ty.is_memory() {
            self.store_expr(e, dst);
        } else {
            self.effect(e);
        }
    }

    /// `$x = e` for a variable in memory.
    pub(super) fn assign_memory(&mut self, local: LocalId, e: &'a Expr) {
        // The value may be made from the variable itself; only then is a copy needed.
        let direct = matches!(
            e.kind,
            ExprKind::Call(_)
                | ExprKind::Str(_)
                | ExprKind::Zero
                | ExprKind::Bytes(_)
                | ExprKind::Load(_)
                | ExprKind::MapGet { .. }
                | ExprKind::DataLoc { .. }
                | ExprKind::Parts(_)
        ) && !mentions(e, local);
        let dst = self.local_addr(local);
        if direct {
            self.store_expr(e, dst);
            return;
        }
        let size = self.size(&e.ty);
        let at = self.memory(e);
        self.copy(dst, at, size);
    }

    /// Address of the value of an expression of memory type: in place where it already lies
    /// in memory, else in a temporary.
    pub(super) fn memory(&mut self, e: &'a Expr) -> Addr {
        match &e.kind {
            ExprKind::Local(local) => return self.local_addr(*local),
            ExprKind::TupleField(base, i) if base.ty.is_memory() => {
                let (off, _) = self.field_of(&base.ty, *i);
                return self.memory(base).plus(off);
            }
            ExprKind::Cast(inner) if inner.ty == e.ty => return self.memory(inner),
            _ => {}
        }
        let size = self.size(&e.ty);
        let at = self.temp(size);
        self.padded(|fx| fx.store_expr(e, at));
        at
    }

    /// Runs `f` with strings padded: temporaries may become keys.
    pub(super) fn padded<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let old = std::mem::replace(&mut self.pad, true);
        let r = f(self);
        self.pad = old;
        r
    }

    /// Offset and type of element `i` of a tuple or record.
    pub(super) fn field_of(&self, ty: &Type, i: u32) -> (u32, Type) {
        let i = i as usize;
        match ty {
            Type::Tuple(items) => {
                let (offs, _) = tuple_offsets(items.iter(), self.types);
                (offs[i], items[i].clone())
            }
            Type::Record(items) => {
                let (offs, _) = tuple_offsets(items.iter().map(|(_, t)| t), self.types);
                (offs[i], items[i].1.clone())
            }
            _ => (0, Type::None),
        }
    }

    /// Evaluates an expression of memory type at `dst`.
    pub(super) fn store_expr(&mut self, e: &'a Expr, dst: Addr) {
        let loc = self.b.loc();
        self.b.set_loc(e.loc);
        let size = self.size(&e.ty);
        match &e.kind {
            ExprKind::Zero => self.zero(dst, size),
            ExprKind::Str(text) => {
                let cap = size;
                let len = (text.len() as u32).min(cap.saturating_sub(1));
                self.store_bytes(&text[..len as usize], dst);
                if cap > len {
                    let one = if self.pad { cap - len } else { 1 };
                    self.zero(dst.plus(len), one);
                }
            }
            ExprKind::Bytes(bytes) => self.store_bytes(bytes, dst),
            ExprKind::Local(_) | ExprKind::TupleField(..) => {
                let at = self.memory(e);
                self.copy(dst, at, size);
            }
            ExprKind::MapGet { map, key } => {
                self.map_get_memory(*map, key.as_deref(), &e.ty, dst);
            }
            ExprKind::Load(place) => self.load_memory(place, &e.ty, dst),
            // A struct by value, in one or two words.
            ExprKind::CtxArg(n) => {
                let ctx = self.ctx();
                let at = self.b.add_imm(ctx, 8 * i64::from(*n));
                self.probe_read(crate::types::AddrSpace::Kernel, dst, size, at);
            }
            ExprKind::DataLoc { offset } => self.data_loc(*offset, size, dst),
            ExprKind::Parts(parts) => {
                self.zero(dst, size);
                for part in parts {
                    let v = self.location(&part.at);
                    let at = dst.plus(part.offset);
                    let ty = MemTy {
                        size: part.size,
                        signed: false,
                    };
                    self.b.store(ty, at.ptr, at.off, v);
                }
            }
            ExprKind::Tuple(items) => self.tuple_into(items, &e.ty, dst),
            ExprKind::If { cond, then, els } => {
                let (a, b, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
                self.condition(cond, a, b);
                for (at, block) in [(a, then), (b, els)] {
                    self.b.switch_to(at);
                    self.block_into(block, dst);
                    self.b.jump(join, &[]);
                }
                self.b.switch_to(join);
            }
            ExprKind::Block(block) => self.block_into(block, dst),
            ExprKind::Cast(inner) => self.cast_memory(inner, &e.ty, dst),
            ExprKind::Call(call) => match call.builtin.lower.memory() {
                Some(f) => f(self, call, &e.ty, dst),
                None => unreachable!("{} does not give memory", call.builtin.name),
            },
            _ => unreachable!("this is a bug in rtrace: {:?} in memory", e.kind),
        }
        self.b.set_loc(loc);
    }

    fn block_into(&mut self, block: &'a crate::sema::hir::Block, dst: Addr) {
        self.stmts(&block.stmts);
        if let Some(v) = &block.value
            && !self.b.is_terminated()
        {
            self.into(v, dst);
        }
    }

    /// Builds a tuple; padding is zeroed because tuples are keys.
    pub(super) fn tuple_into(&mut self, items: &'a [Expr], ty: &Type, dst: Addr) {
        let total = self.size(ty);
        let mut end = 0;
        for (i, item) in items.iter().enumerate() {
            let (off, _) = self.field_of(ty, i as u32);
            if off > end {
                self.zero_bytes(dst.plus(end), off - end);
            }
            self.into(item, dst.plus(off));
            end = off + self.size(&item.ty);
        }
        if total > end {
            self.zero_bytes(dst.plus(end), total - end);
        }
    }

    /// Zeroes a few bytes whatever their alignment.
    fn zero_bytes(&mut self, at: Addr, len: u32) {
        let zeros = vec![0; len as usize];
        self.store_bytes(&zeros, at);
    }

    /// Stores constant bytes in the largest aligned pieces.
    pub(super) fn store_bytes(&mut self, bytes: &[u8], dst: Addr) {
        let mut at = 0;
        while at < bytes.len() {
            let left = bytes.len() - at;
            let mut size = usize::from(dst.plus(at as u32).align());
            while size > left {
                size /= 2;
            }
            let mut word = [0u8; 8];
            word[..size].copy_from_slice(&bytes[at..at + size]);
            let v = self.b.iconst(i64::from_le_bytes(word));
            let to = dst.plus(at as u32);
            let mem = MemTy {
                size: size as u8,
                signed: false,
            };
            self.b.store(mem, to.ptr, to.off, v);
            at += size;
        }
    }

    /// A string literal's address in memory: for helpers that take one.
    pub(super) fn literal(&mut self, text: &str) -> Addr {
        let at = self.temp(text.len() as u32 + 1);
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.store_bytes(&bytes, at);
        at
    }

    /// 1 if two strings, arrays or tuples are equal, else 0.
    pub(super) fn equal_memory(&mut self, lhs: &'a Expr, rhs: &'a Expr) -> Value {
        let (lhs, rhs) = match lhs.kind {
            ExprKind::Str(_) => (rhs, lhs),
            _ => (lhs, rhs),
        };
        let len = self.size(&lhs.ty).min(self.size(&rhs.ty));
        if let (ExprKind::Str(text), Type::Str(_)) = (&rhs.kind, &lhs.ty) {
            let at = self.string_prefix(lhs, len);
            let mut bytes = text.to_vec();
            bytes.resize(len as usize, 0);
            return self.equal_bytes(at, &bytes);
        }
        let a = self.memory(lhs);
        let b = self.memory(rhs);
        self.equal_at(a, b, len)
    }

    /// At least the first `len` bytes of a string.
    fn string_prefix(&mut self, e: &'a Expr, len: u32) -> Addr {
        if let ExprKind::Call(call) = &e.kind
            && call.builtin.name == "str"
            && let Type::Str(cap) = e.ty
            && let Some(f) = call.builtin.lower.memory()
            && len < cap
        {
            // One byte more than is compared, so that a longer string is not cut to be equal.
            let at = self.temp(len + 1);
            self.padded(|fx| f(fx, call, &Type::Str(len + 1), at));
            return at;
        }
        // What follows the terminator is not compared.
        if let ExprKind::Call(call) = &e.kind
            && call.builtin.name == "comm"
            && let Some(f) = call.builtin.lower.memory()
        {
            let at = self.temp(16);
            let pad = std::mem::replace(&mut self.pad, false);
            f(self, call, &e.ty, at);
            self.pad = pad;
            return at;
        }
        self.memory(e)
    }

    /// 1 if the bytes at `at` are these, else 0.
    fn equal_bytes(&mut self, at: Addr, bytes: &[u8]) -> Value {
        let join = self.b.new_block();
        let result = self.b.block_param(join, Ty::Scalar);
        let mut i = 0;
        while i < bytes.len() {
            let here = at.plus(i as u32);
            let mut size = usize::from(here.align());
            while size > bytes.len() - i {
                size /= 2;
            }
            let mut word = [0u8; 8];
            word[..size].copy_from_slice(&bytes[i..i + size]);
            let mem = MemTy {
                size: size as u8,
                signed: false,
            };
            let v = self.b.load(mem, here.ptr, here.off);
            let want = self.b.iconst(i64::from_le_bytes(word));
            let next = self.b.new_block();
            let zero = self.b.iconst(0);
            self.b.br_w(
                Cond::Ne,
                crate::ir::Width::W64,
                v,
                want,
                (join, &[zero]),
                (next, &[]),
                false,
            );
            self.b.switch_to(next);
            i += size;
        }
        let one = self.b.iconst(1);
        self.b.jump(join, &[one]);
        self.b.switch_to(join);
        result
    }

    /// 1 if `len` bytes are equal, else 0.
    pub(super) fn equal_at(&mut self, a: Addr, b: Addr, len: u32) -> Value {
        if len <= INLINE_COMPARE {
            let join = self.b.new_block();
            let result = self.b.block_param(join, Ty::Scalar);
            let mut i = 0;
            while i < len {
                let (x, y) = (a.plus(i), b.plus(i));
                let mut size = x.align().min(y.align());
                while u32::from(size) > len - i {
                    size /= 2;
                }
                let mem = MemTy {
                    size,
                    signed: false,
                };
                let p = self.b.load(mem, x.ptr, x.off);
                let q = self.b.load(mem, y.ptr, y.off);
                let next = self.b.new_block();
                let zero = self.b.iconst(0);
                self.b.br_w(
                    Cond::Ne,
                    crate::ir::Width::W64,
                    p,
                    q,
                    (join, &[zero]),
                    (next, &[]),
                    false,
                );
                self.b.switch_to(next);
                i += u32::from(size);
            }
            let one = self.b.iconst(1);
            self.b.jump(join, &[one]);
            self.b.switch_to(join);
            return result;
        }
        // Larger ones meet in scratch, where a shared function walks them by words.
        let both = self.side_by_side(a, b, len);
        let f = self.compare_function(len.next_multiple_of(8), false);
        self.b.call_func(f, &[both], Ty::Scalar)
    }

    /// The difference of the first of `len` bytes that differ, as `memcmp` has it; 0 if none does.
    pub(super) fn difference_at(&mut self, a: Addr, b: Addr, len: u32) -> Value {
        if len <= INLINE_COMPARE {
            let join = self.b.new_block();
            let result = self.b.block_param(join, Ty::Scalar);
            for i in 0..len {
                let (x, y) = (a.plus(i), b.plus(i));
                let p = self.b.load(MemTy::B, x.ptr, x.off);
                let q = self.b.load(MemTy::B, y.ptr, y.off);
                let next = self.b.new_block();
                let difference = self.b.sub(p, q);
                self.b.br_w(
                    Cond::Ne,
                    crate::ir::Width::W64,
                    p,
                    q,
                    (join, &[difference]),
                    (next, &[]),
                    false,
                );
                self.b.switch_to(next);
            }
            let zero = self.b.iconst(0);
            self.b.jump(join, &[zero]);
            self.b.switch_to(join);
            return result;
        }
        let both = self.side_by_side(a, b, len);
        let f = self.compare_function(len.next_multiple_of(8), true);
        self.b.call_func(f, &[both], Ty::Scalar)
    }

    /// Two values in scratch, one behind the other, filled with zeros to whole words.
    fn side_by_side(&mut self, a: Addr, b: Addr, len: u32) -> Value {
        let words = len.next_multiple_of(8);
        let both = self.scratch_temp(2 * words);
        let second = both.plus(words);
        for (to, from) in [(both, a), (second, b)] {
            self.copy(to, from, len);
            self.zero(to.plus(len), words - len);
        }
        self.pointer(both)
    }

    /// An address as one value.
    pub(super) fn pointer(&mut self, at: Addr) -> Value {
        if at.off == 0 {
            return at.ptr;
        }
        self.b.add_imm(at.ptr, i64::from(at.off))
    }

    /// `equal(p)`: 1 if the `len` bytes at `p` and those behind them are equal; or, where the
    /// `difference` is asked for, that of the first bytes that differ, else 0.
    fn compare_function(&mut self, len: u32, difference: bool) -> FuncId {
        let (key, name) = if difference {
            (Shared::Difference(len), format!("difference_{len}"))
        } else {
            (Shared::Equal(len), format!("equal_{len}"))
        };
        if let Some(&f) = self.lw.shared.get(&key) {
            return f;
        }
        let map = self.lw.scratch_map();
        let mut b = Builder::new(name, FuncKind::Static, &[Ty::MapVal(map)]);
        let p = b.param(0);
        let head = b.new_block();
        let i = b.block_param(head, Ty::Scalar);
        let zero = b.iconst(0);
        b.jump(head, &[zero]);
        b.switch_to(head);
        let (more, differ, same, step) =
            (b.new_block(), b.new_block(), b.new_block(), b.new_block());
        let end = b.iconst(i64::from(len));
        b.br(Cond::Uge, i, end, same, more);
        b.switch_to(more);
        let q = b.add(p, i);
        let x = b.load(MemTy::DW, q, 0);
        let y = b.load(MemTy::DW, q, len as i32);
        b.br(Cond::Ne, x, y, differ, step);
        b.switch_to(step);
        let next = b.bin_imm(BinOp::Add, i, 8);
        b.jump(head, &[next]);
        b.switch_to(differ);
        if difference {
            // The first byte in memory is the lowest of the word.
            for k in 0..8 {
                let [p, q] = [x, y].map(|v| {
                    let v = b.bin_imm(BinOp::Lshr, v, 8 * k);
                    b.bin_imm(BinOp::And, v, 0xff)
                });
                let (found, next) = (b.new_block(), b.new_block());
                b.br(Cond::Ne, p, q, found, next);
                b.switch_to(found);
                let d = b.sub(p, q);
                b.ret(d);
                b.switch_to(next);
            }
        }
        b.ret_imm(0);
        b.switch_to(same);
        b.ret_imm(i64::from(!difference));
        let f = self.lw.module.add(b.finish());
        self.lw.shared.insert(key, f);
        f
    }

    /// Reads raw memory into BPF memory with the helper of its address space; on failure the
    /// destination is zero and the failure counts.
    pub(super) fn probe_read(
        &mut self,
        space: crate::types::AddrSpace,
        dst: Addr,
        len: u32,
        from: Value,
    ) {
        use crate::types::AddrSpace;
        let (id, name) = match space {
            AddrSpace::User => (helper::PROBE_READ_USER, "probe_read_user"),
            AddrSpace::Kernel | AddrSpace::Bpf => (helper::PROBE_READ_KERNEL, "probe_read_kernel"),
            AddrSpace::None => (helper::PROBE_READ, "probe_read"),
        };
        let to = self.pointer(dst);
        let n = self.b.iconst(i64::from(len));
        let code = self.b.call(id, &[to, n, from], Ty::Scalar);
        self.check_code(code, crate::object::SiteKind::Read, name);
    }

    /// Reads a string that ends with NUL, at most `cap` bytes with it, zero-padded where
    /// strings are. Gives the number of bytes with the NUL.
    pub(super) fn probe_read_str(
        &mut self,
        space: crate::types::AddrSpace,
        dst: Addr,
        cap: u32,
        len: Value,
        from: Value,
    ) -> Value {
        use crate::types::AddrSpace;
        let in_key = self.pad && cap > SHORT_STRING && self.is_key_string(dst);
        self.pad_zero(dst, if in_key { SHORT_STRING } else { cap });
        let (id, name) = match space {
            AddrSpace::User => (helper::PROBE_READ_USER_STR, "probe_read_user_str"),
            AddrSpace::Kernel | AddrSpace::Bpf => {
                (helper::PROBE_READ_KERNEL_STR, "probe_read_kernel_str")
            }
            AddrSpace::None => (helper::PROBE_READ_STR, "probe_read_str"),
        };
        let to = self.pointer(dst);
        let mut n = self.b.call(id, &[to, len, from], Ty::Scalar);
        if in_key {
            n = self.long_key_string(n, dst, cap, (id, [to, len, from]));
        }
        if !self.pad {
            // A failed read writes nothing, or zeros only: make sure that it is empty.
            let (bad, next) = (self.b.new_block(), self.b.new_block());
            let zero = self.b.iconst(0);
            self.b.br_cold(Cond::Slt, n, zero, bad, next);
            self.b.switch_to(bad);
            self.b.store_imm(MemTy::B, dst.ptr, dst.off, 0);
            self.report_failure(crate::object::SiteKind::Read, name, n);
            self.b.jump(next, &[]);
            self.b.switch_to(next);
        } else {
            self.check_code(n, crate::object::SiteKind::Read, name);
        }
        n
    }

    /// Reads a key's string again, cleared whole, if it turns out to be long: `n` bytes were read
    /// by this call. It may have become short again: what is there decides where the key goes.
    fn long_key_string(
        &mut self,
        n: Value,
        dst: Addr,
        cap: u32,
        (id, args): (helper::HelperId, [Value; 3]),
    ) -> Value {
        let (long, join) = (self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        let short = self.b.iconst(i64::from(SHORT_STRING));
        let w = crate::ir::Width::W64;
        let (again, done) = ((long, &[][..]), (join, &[n][..]));
        self.b.br_w(Cond::Sgt, w, n, short, again, done, true);
        self.b.switch_to(long);
        self.zero(dst, cap);
        let n = self.b.call(id, &args, Ty::Scalar);
        self.b.jump(join, &[n]);
        self.b.switch_to(join);
        result
    }

    /// Counts a string that was read into `cap` bytes from `from`, `n` of them with its NUL, if
    /// there was more of it.
    pub(super) fn count_cut(
        &mut self,
        space: crate::types::AddrSpace,
        n: Value,
        cap: u32,
        from: Value,
    ) {
        use crate::types::AddrSpace;
        // A string that fits exactly fills its place too: the byte that was overwritten by the
        // NUL tells. It has just been read; if it cannot be any more, nobody knows.
        let id = match space {
            AddrSpace::User => helper::PROBE_READ_USER,
            AddrSpace::Kernel | AddrSpace::Bpf => helper::PROBE_READ_KERNEL,
            AddrSpace::None => helper::PROBE_READ,
        };
        let (full, cut, next) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let whole = self.b.iconst(i64::from(cap));
        self.b.br_cold(Cond::Eq, n, whole, full, next);
        self.b.switch_to(full);
        let mark = self.mark();
        let last = self.temp(8);
        self.b.store_imm(MemTy::DW, last.ptr, last.off, 0);
        let to = self.pointer(last);
        let one = self.b.iconst(1);
        let at = self.b.add_imm(from, i64::from(cap) - 1);
        self.b.call(id, &[to, one, at], Ty::Scalar);
        let byte = self.b.load(MemTy::DW, last.ptr, last.off);
        self.release(mark);
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Ne, byte, zero, cut, next);
        self.b.switch_to(cut);
        self.count_failure(crate::object::SiteKind::Truncated, "");
        self.b.jump(next, &[]);
        self.b.switch_to(next);
    }
}

/// Whether an expression reads a variable.
fn mentions(e: &Expr, local: LocalId) -> bool {
    super::capture::mentions(e, local)
}
