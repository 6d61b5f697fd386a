//! Functions on kernel objects that the verifier must know by their type.
//!
//! Such a pointer is followed from the context by plain loads, which keep its type; what is
//! read as memory is only a number.

use crate::codegen::helper;
use crate::ir::Value;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::object::SiteKind;
use crate::sema::hir::{Base, Call, Context, Expr, ExprKind, Place};
use crate::types::{AddrSpace, Type};

use super::super::fx::{Addr, Fx};
use super::{expr, int};

impl<'a> Fx<'_, 'a> {
    /// The pointer `e` with its type kept; `None` where that cannot be. Control goes to `null`
    /// if a pointer on the way is null, which typed contexts allow.
    fn typed_pointer(&mut self, e: &'a Expr, null: crate::ir::Block) -> Option<Value> {
        match &e.kind {
            ExprKind::CtxArg(n) if matches!(self.context(), Context::Args { btf: true, .. }) => {
                let ctx = self.ctx();
                let p = self.b.load_ty(MemTy::DW, ctx, 8 * i32::from(*n), Ty::KPtr);
                Some(self.present(p, null))
            }
            ExprKind::Load(place) => {
                let (base, off) = self.typed_place(place, null)?;
                let p = self.b.load_ty(MemTy::DW, base, off, Ty::KPtr);
                Some(self.present(p, null))
            }
            ExprKind::AddrOf(place) => {
                let (base, off) = self.typed_place(place, null)?;
                Some(self.b.add_imm(base, i64::from(off)))
            }
            ExprKind::Cast(inner) if matches!(inner.ty, Type::Ptr(..)) => {
                self.typed_pointer(inner, null)
            }
            _ => None,
        }
    }

    fn typed_place(&mut self, place: &'a Place, null: crate::ir::Block) -> Option<(Value, i32)> {
        if !place.index.is_empty() || place.bits.is_some() {
            return None;
        }
        let off = i32::try_from(place.offset).ok()?;
        match &place.base {
            Base::Deref(p) => Some((self.typed_pointer(p, null)?, off)),
            Base::Ctx
                if matches!(
                    self.context(),
                    Context::Iter | Context::Args { btf: true, .. }
                ) =>
            {
                Some((self.ctx(), off))
            }
            _ => None,
        }
    }

    fn present(&mut self, p: Value, null: crate::ir::Block) -> Value {
        let next = self.b.new_block();
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Eq, p, zero, null, next);
        self.b.switch_to(next);
        p
    }

    fn untyped(&mut self, call: &Call) {
        let loc = self.b.loc();
        self.limit(
            loc,
            format!(
                "{}() needs a pointer that the kernel knows the type of: one that is reached from the arguments of the probe by fields alone",
                call.builtin.name
            ),
        );
    }
}

/// `path`
pub fn path<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr) {
    let Type::Str(cap) = *ty else {
        return;
    };
    let (null, join) = (fx.b.new_block(), fx.b.new_block());
    let mark = fx.mark();
    match fx.typed_pointer(expr(call, 0), null) {
        None => fx.untyped(call),
        Some(p) => {
            // The helper leaves what it moved the name from behind the name.
            let name = fx.scratch_temp(cap);
            fx.b.store_imm(MemTy::B, name.ptr, name.off, 0);
            let to = fx.pointer(name);
            let n = fx.b.iconst(i64::from(cap));
            let code = fx.b.call(helper::D_PATH, &[p, to, n], Ty::Scalar);
            fx.check_code(code, SiteKind::Read, "d_path");
            let n = fx.b.iconst(i64::from(cap));
            fx.probe_read_str(AddrSpace::Bpf, dst, cap, n, to);
        }
    }
    fx.release(mark);
    fx.b.jump(join, &[]);
    fx.b.switch_to(null);
    fx.zero(dst, cap);
    fx.b.jump(join, &[]);
    fx.b.switch_to(join);
}

/// `socket_cookie`: 0 for no socket.
pub fn socket_cookie<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let (null, join) = (fx.b.new_block(), fx.b.new_block());
    let result = fx.b.block_param(join, Ty::Scalar);
    let cookie = match fx.typed_pointer(expr(call, 0), null) {
        None => {
            fx.untyped(call);
            fx.b.iconst(0)
        }
        Some(sk) => fx.b.call(helper::GET_SOCKET_COOKIE, &[sk], Ty::Scalar),
    };
    fx.b.jump(join, &[cookie]);
    fx.b.switch_to(null);
    let zero = fx.b.iconst(0);
    fx.b.jump(join, &[zero]);
    fx.b.switch_to(join);
    result
}

/// `percpu_kaddr`: a variable's address on one CPU is its address in the template plus that
/// CPU's distance, which the kernel keeps in a table. 0 for a CPU that cannot be.
pub fn percpu_kaddr<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let (template, table, cpus) = (int(call, 0), int(call, 1), int(call, 2));
    let cpu = match call.args.get(3) {
        Some(_) => fx.scalar(expr(call, 3)),
        None => fx.b.call(helper::GET_SMP_PROCESSOR_ID, &[], Ty::Scalar),
    };
    let (inside, outside, join) = (fx.b.new_block(), fx.b.new_block(), fx.b.new_block());
    let result = fx.b.block_param(join, Ty::Scalar);
    let n = fx.b.iconst(cpus);
    fx.b.br(Cond::Ult, cpu, n, inside, outside);
    fx.b.switch_to(inside);
    let distance = if table == 0 {
        fx.b.iconst(0)
    } else {
        let entry = fx.b.bin_imm(crate::ir::BinOp::Shl, cpu, 3);
        let at = fx.b.add_imm(entry, table);
        let word = fx.temp(8);
        fx.probe_read(AddrSpace::Kernel, word, 8, at);
        fx.b.load(MemTy::DW, word.ptr, word.off)
    };
    let address = fx.b.add_imm(distance, template);
    fx.b.jump(join, &[address]);
    fx.b.switch_to(outside);
    let zero = fx.b.iconst(0);
    fx.b.jump(join, &[zero]);
    fx.b.switch_to(join);
    result
}
