//! Expressions whose value is a scalar, conditions, and expressions for their effect.

use crate::codegen::helper;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp as IrOp, Block as IrBlock, Value};
use crate::object::SiteKind;
use crate::sema::hir::{ArgLocation, BinOp, Block, CmpOp, Context, Expr, ExprKind, LocalId, UnOp};
use crate::types::AddrSpace;

use super::call::Lowering;
use super::fx::Fx;
use super::regs;

impl<'a> Fx<'_, 'a> {
    /// Value of a scalar expression, extended to 64 bits by its type.
    pub(super) fn scalar(&mut self, e: &'a Expr) -> Value {
        let loc = self.b.loc();
        self.b.set_loc(e.loc);
        let v = self.scalar_kind(e);
        self.b.set_loc(loc);
        v
    }

    fn scalar_kind(&mut self, e: &'a Expr) -> Value {
        match &e.kind {
            ExprKind::Int(bits) => {
                let v = self.b.iconst(*bits as i64);
                self.normalise(&e.ty, v)
            }
            ExprKind::Zero => self.b.iconst(0),
            ExprKind::Local(local) => self.scalar_local(*local),
            ExprKind::MapGet { map, key } => self.map_get(*map, key.as_deref(), &e.ty),
            ExprKind::Load(place) => self.load_scalar(place, &e.ty),
            ExprKind::AddrOf(place) => self.address(place),
            ExprKind::MapAddr(map) => {
                let id = self.lw.plans[map.0 as usize].id;
                self.b.map_addr(id, 0)
            }
            ExprKind::CtxArg(n) => {
                let v = self.ctx_arg(*n);
                self.normalise(&e.ty, v)
            }
            ExprKind::Ctx => self.ctx(),
            ExprKind::Location(at) => self.location(at),
            ExprKind::Unary(op, a) => {
                let a = self.scalar(a);
                match op {
                    UnOp::Neg => self.b.neg(a),
                    UnOp::BitNot => self.b.bin_imm(IrOp::Xor, a, -1),
                    UnOp::Not => self.b.bin_imm(IrOp::Xor, a, 1),
                }
            }
            ExprKind::Binary(op, a, b) => {
                let a = self.scalar(a);
                let b = self.scalar(b);
                let v = self.binary(*op, a, b);
                self.normalise(&e.ty, v)
            }
            ExprKind::Compare { .. }
            | ExprKind::EqualMemory { .. }
            | ExprKind::And(..)
            | ExprKind::Or(..) => self.truth_of(e),
            ExprKind::If { cond, then, els } => self.if_value(cond, then, els),
            ExprKind::Block(block) => self.block_value(block),
            ExprKind::Cast(inner) => self.cast_scalar(inner, &e.ty),
            ExprKind::TupleField(base, i) => {
                let (off, ty) = self.field_of(&base.ty, *i);
                let at = self.memory(base).plus(off);
                self.load_scalar_at(&ty, at)
            }
            ExprKind::IncLocal { local, by, prefix } => {
                let (old, new) = self.increment(*local, *by);
                if *prefix { new } else { old }
            }
            ExprKind::IncMap {
                map,
                key,
                by,
                prefix,
            } => {
                let by = self.b.iconst(*by);
                let old = self.map_add(*map, key.as_deref(), by, true);
                let v = if *prefix { self.b.add(old, by) } else { old };
                self.normalise(&e.ty, v)
            }
            ExprKind::Call(call) => match (call.builtin.lower, call.builtin.lower.scalar()) {
                (_, Some(f)) => {
                    let v = f(self, call, &e.ty);
                    self.normalise(&e.ty, v)
                }
                (Lowering::Effect(f), None) => {
                    f(self, call);
                    self.b.iconst(0)
                }
                _ => unreachable!("{} is no scalar", call.builtin.name),
            },
            ExprKind::CallFn(f, args) => {
                let args: Vec<_> = args.iter().map(|a| self.scalar(a)).collect();
                let v = self.b.call_func(crate::ir::FuncId(f.0), &args, Ty::Scalar);
                self.normalise(&e.ty, v)
            }
            ExprKind::Probe => self.probe_index(),
            ExprKind::Str(_)
            | ExprKind::Bytes(_)
            | ExprKind::DataLoc { .. }
            | ExprKind::Parts(_)
            | ExprKind::Tuple(_) => unreachable!("{:?} is no scalar", e.kind),
        }
    }

    fn block_value(&mut self, block: &'a Block) -> Value {
        self.stmts(&block.stmts);
        match &block.value {
            Some(v) if !self.b.is_terminated() => self.scalar(v),
            _ => self.b.iconst(0),
        }
    }

    fn if_value(&mut self, cond: &'a Expr, then: &'a Block, els: &'a Block) -> Value {
        let (a, b, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        self.condition(cond, a, b);
        for (at, block) in [(a, then), (b, els)] {
            self.b.switch_to(at);
            let v = self.block_value(block);
            self.b.jump(join, &[v]);
        }
        self.b.switch_to(join);
        result
    }

    /// A boolean expression as 0 or 1.
    fn truth_of(&mut self, e: &'a Expr) -> Value {
        if let ExprKind::EqualMemory { equal, lhs, rhs } = &e.kind {
            let v = self.equal_memory(lhs, rhs);
            return if *equal {
                v
            } else {
                self.b.bin_imm(IrOp::Xor, v, 1)
            };
        }
        let (yes, no, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        self.condition(e, yes, no);
        for (at, c) in [(yes, 1), (no, 0)] {
            self.b.switch_to(at);
            let v = self.b.iconst(c);
            self.b.jump(join, &[v]);
        }
        self.b.switch_to(join);
        result
    }

    /// Goes to `then` if a boolean holds, else to `els`.
    pub(super) fn condition(&mut self, e: &'a Expr, then: IrBlock, els: IrBlock) {
        match &e.kind {
            ExprKind::Int(0) => self.b.jump(els, &[]),
            ExprKind::Int(_) => self.b.jump(then, &[]),
            ExprKind::And(a, b) => {
                let more = self.b.new_block();
                self.condition(a, more, els);
                self.b.switch_to(more);
                self.condition(b, then, els);
            }
            ExprKind::Or(a, b) => {
                let more = self.b.new_block();
                self.condition(a, then, more);
                self.b.switch_to(more);
                self.condition(b, then, els);
            }
            ExprKind::Unary(UnOp::Not, a) => self.condition(a, els, then),
            ExprKind::Compare {
                op,
                signed,
                lhs,
                rhs,
            } => {
                let a = self.scalar(lhs);
                let b = self.scalar(rhs);
                let cond = compare(*op, *signed);
                self.b.br(cond, a, b, then, els);
            }
            ExprKind::Cast(inner) if inner.ty.is_scalar() => {
                // Conversion to bool is a test against zero.
                let v = self.scalar(inner);
                self.b.br_if(v, then, els);
            }
            _ => {
                let v = self.scalar(e);
                self.b.br_if(v, then, els);
            }
        }
    }

    /// Evaluates for effect.
    pub(super) fn effect(&mut self, e: &'a Expr) {
        let loc = self.b.loc();
        self.b.set_loc(e.loc);
        match &e.kind {
            ExprKind::If { cond, then, els } => {
                let (a, b, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
                self.condition(cond, a, b);
                for (at, block) in [(a, then), (b, els)] {
                    self.b.switch_to(at);
                    self.block_effect(block);
                    self.b.jump(join, &[]);
                }
                self.b.switch_to(join);
            }
            ExprKind::Block(block) => self.block_effect(block),
            ExprKind::IncMap { map, key, by, .. } => {
                let by = self.b.iconst(*by);
                self.map_add(*map, key.as_deref(), by, false);
            }
            ExprKind::Cast(inner) => self.effect(inner),
            ExprKind::Call(call) => match call.builtin.lower {
                Lowering::Effect(f) => f(self, call),
                Lowering::Scalar(f) | Lowering::Either(f, _) if e.ty.is_scalar() => {
                    f(self, call, &e.ty);
                }
                _ => {}
            },
            _ if e.ty.is_scalar() => {
                self.scalar(e);
            }
            _ if e.ty.is_memory() => {
                self.memory(e);
            }
            _ => {}
        }
        self.b.set_loc(loc);
    }

    fn block_effect(&mut self, block: &'a Block) {
        let mark = self.mark();
        self.stmts(&block.stmts);
        if let Some(v) = &block.value
            && !self.b.is_terminated()
        {
            self.effect(v);
        }
        self.release(mark);
    }

    /// Adds to a variable; gives the old and the new value.
    fn increment(&mut self, local: LocalId, by: i64) -> (Value, Value) {
        let old = self.scalar_local(local);
        let new = self.b.add_imm(old, by);
        let ty = self.locals[local.0 as usize].ty.clone();
        let new = self.normalise(&ty, new);
        self.set_scalar_local(local, new);
        (old, new)
    }

    /// Arithmetic of the language: division by zero gives 1 and is reported.
    pub(super) fn binary(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        let op = match op {
            BinOp::Add => IrOp::Add,
            BinOp::Sub => IrOp::Sub,
            BinOp::Mul => IrOp::Mul,
            BinOp::Div => return self.divide(IrOp::Udiv, a, b),
            BinOp::Mod => return self.divide(IrOp::Umod, a, b),
            BinOp::And => IrOp::And,
            BinOp::Or => IrOp::Or,
            BinOp::Xor => IrOp::Xor,
            BinOp::Shl => IrOp::Shl,
            BinOp::Shr => IrOp::Lshr,
        };
        self.b.bin(op, a, b)
    }

    fn divide(&mut self, op: IrOp, a: Value, b: Value) -> Value {
        if self.b.as_const(b).is_some_and(|c| c != 0) {
            return self.b.bin(op, a, b);
        }
        let (bad, good, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Eq, b, zero, bad, good);
        self.b.switch_to(bad);
        let code = self.b.iconst(0);
        self.report_failure(SiteKind::DivideByZero, "", code);
        let one = self.b.iconst(1);
        self.b.jump(join, &[one]);
        self.b.switch_to(good);
        let v = self.b.bin(op, a, b);
        self.b.jump(join, &[v]);
        self.b.switch_to(join);
        result
    }

    /// Argument `n` of the context, 64 bits.
    pub(super) fn ctx_arg(&mut self, n: u8) -> Value {
        let ctx = self.ctx();
        match self.context() {
            Context::PtRegs { user, .. } => {
                if let Some(&off) = regs::ARGS.get(usize::from(n)) {
                    return self.b.load(MemTy::DW, ctx, off);
                }
                // The return address lies below the arguments on the stack.
                let sp = self.b.load(MemTy::DW, ctx, regs::SP);
                let at = self
                    .b
                    .add_imm(sp, 8 * (i64::from(n) - regs::ARGS.len() as i64 + 1));
                let space = if user {
                    AddrSpace::User
                } else {
                    AddrSpace::Kernel
                };
                let word = self.temp(8);
                self.probe_read(space, word, 8, at);
                self.b.load(MemTy::DW, word.ptr, word.off)
            }
            Context::Args { btf: true, .. } => self.typed_arg(n),
            _ => self.b.load(MemTy::DW, ctx, 8 * i32::from(n)),
        }
    }

    /// A BTF-typed argument as a plain number. The verifier would hand out a typed pointer,
    /// on which arithmetic is restricted; read as memory it is only a number.
    fn typed_arg(&mut self, n: u8) -> Value {
        let ctx = self.ctx();
        let at = self.b.add_imm(ctx, 8 * i64::from(n));
        let word = self.temp(8);
        let to = self.pointer(word);
        let size = self.b.iconst(8);
        let code = self
            .b
            .call(helper::PROBE_READ_KERNEL, &[to, size, at], Ty::Scalar);
        self.check_code(code, SiteKind::Read, "probe_read_kernel");
        self.b.load(MemTy::DW, word.ptr, word.off)
    }

    /// An argument described by registers.
    pub(super) fn location(&mut self, at: &ArgLocation) -> Value {
        match *at {
            ArgLocation::Const { value, .. } => self.b.iconst(value),
            ArgLocation::Reg {
                regs_offset,
                size,
                signed,
            } => {
                let ctx = self.ctx();
                // The kernel allows whole, aligned registers only.
                let v = self.b.load(MemTy::DW, ctx, (regs_offset & !7) as i32);
                let shift = (regs_offset & 7) * 8;
                let v = match shift {
                    0 => v,
                    n => self.b.bin_imm(IrOp::Lshr, v, i64::from(n)),
                };
                self.b.ext(signed, size * 8, v)
            }
            ArgLocation::Memory {
                base,
                index,
                offset,
                size,
                signed,
            } => {
                let ctx = self.ctx();
                let mut addr = self.b.load(MemTy::DW, ctx, base as i32);
                if let Some((reg, scale)) = index {
                    let i = self.b.load(MemTy::DW, ctx, reg as i32);
                    let i = self.b.bin_imm(IrOp::Mul, i, i64::from(scale));
                    addr = self.b.add(addr, i);
                }
                let addr = self.b.add_imm(addr, offset);
                let word = self.temp(8);
                self.probe_read(AddrSpace::User, word, u32::from(size), addr);
                self.b.load(MemTy { size, signed }, word.ptr, word.off)
            }
        }
    }

    /// Index of the attach point that fired.
    pub(super) fn probe_index(&mut self) -> Value {
        let Some(p) = self.probe else {
            return self.b.iconst(0);
        };
        if p.probe.attach.len() == 1 {
            return self.b.iconst(i64::from(p.first_attach));
        }
        if let Some(table) = &p.probe.syscalls {
            return self.syscall_index(table, p.first_attach);
        }
        let ctx = self.ctx();
        self.b.call(helper::GET_ATTACH_COOKIE, &[ctx], Ty::Scalar)
    }
}

/// The branch condition of a comparison.
pub(super) fn compare(op: CmpOp, signed: bool) -> Cond {
    match (op, signed) {
        (CmpOp::Eq, _) => Cond::Eq,
        (CmpOp::Ne, _) => Cond::Ne,
        (CmpOp::Lt, true) => Cond::Slt,
        (CmpOp::Le, true) => Cond::Sle,
        (CmpOp::Gt, true) => Cond::Sgt,
        (CmpOp::Ge, true) => Cond::Sge,
        (CmpOp::Lt, false) => Cond::Ult,
        (CmpOp::Le, false) => Cond::Ule,
        (CmpOp::Gt, false) => Cond::Ugt,
        (CmpOp::Ge, false) => Cond::Uge,
    }
}
