//! Maps: values, assignments, exact additions.
//!
//! Numbers are added to with an atomic instruction on the value. The first insertion of a key
//! carries `BPF_NOEXIST`; whoever loses that race adds to the winner's value. Nothing is lost.

use crate::codegen::helper;
use crate::ir::inst::{AtomicOp, Cond, MemTy, Ty};
use crate::ir::{BinOp as IrOp, Block, Value};
use crate::object::{AggStorage, SiteKind};
use crate::sema::hir::{BinOp, Expr, LocalId, MapRef};
use crate::types::Type;

use super::fx::{Addr, Fx};
use super::keys::Key;
use super::maps::{self, MapPlan};

/// `BPF_ANY`
const ANY: i64 = 0;
/// `BPF_NOEXIST`
const NOEXIST: i64 = 1;

impl<'a> Fx<'_, 'a> {
    pub(super) fn plan(&self, map: MapRef) -> MapPlan {
        self.lw.plans[map.0 as usize].clone()
    }

    /// Deals with a key that is not there: reported only on request.
    fn missing(&mut self) {
        if self.lw.program.config.warn_helpers {
            let code = self.b.iconst(0);
            self.report_failure(SiteKind::MapLookup, "map_lookup_elem", code);
        }
    }

    /// Whether the map is an array whose value is addressed without a look-up.
    fn is_direct(plan: &MapPlan) -> bool {
        plan.key.is_none() && !plan.percpu && plan.agg().is_none()
    }

    /// A map's value as a scalar: 0 where there is none.
    pub(super) fn map_get(&mut self, map: MapRef, key: Option<&'a Expr>, ty: &Type) -> Value {
        let plan = self.plan(map);
        if Self::is_direct(&plan) {
            let p = self.b.map_addr(plan.id, 0);
            return self.load_scalar_at(ty, Addr::new(p));
        }
        let mark = self.mark();
        let key = self.key(&plan, key);
        let v = if plan.agg().is_some() {
            self.sum_over_cpus(&plan, key)
        } else {
            let p = self.lookup(&plan, key);
            let (none, some, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
            let result = self.b.block_param(join, Ty::Scalar);
            let zero = self.b.iconst(0);
            self.b.br(Cond::Ne, p, zero, some, none);
            self.b.switch_to(some);
            let p = self.b.non_null(p);
            let v = self.load_scalar_at(ty, Addr::new(p));
            self.b.jump(join, &[v]);
            self.b.switch_to(none);
            self.missing();
            let zero = self.b.iconst(0);
            self.b.jump(join, &[zero]);
            self.b.switch_to(join);
            result
        };
        self.release(mark);
        v
    }

    /// A map's value in memory at `dst`: zero where there is none.
    pub(super) fn map_get_memory(
        &mut self,
        map: MapRef,
        key: Option<&'a Expr>,
        ty: &Type,
        dst: Addr,
    ) {
        let plan = self.plan(map);
        let size = self.size(ty);
        if Self::is_direct(&plan) {
            let p = self.b.map_addr(plan.id, 0);
            self.copy_value(ty, dst, Addr::new(p), size);
            return;
        }
        let mark = self.mark();
        let key = self.key(&plan, key);
        let p = self.lookup(&plan, key);
        let (none, some, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let zero = self.b.iconst(0);
        self.b.br(Cond::Ne, p, zero, some, none);
        self.b.switch_to(some);
        let p = self.b.non_null(p);
        self.copy_value(ty, dst, Addr::new(p), size);
        self.b.jump(join, &[]);
        self.b.switch_to(none);
        self.missing();
        self.zero(dst, size);
        self.b.jump(join, &[]);
        self.b.switch_to(join);
        self.release(mark);
    }

    /// Copies a value; in records a long string only up to its end.
    pub(super) fn copy_value(&mut self, ty: &Type, dst: Addr, src: Addr, size: u32) {
        if let Type::Str(cap) = ty
            && !self.pad
            && *cap > 64
        {
            let from = self.pointer(src);
            let len = self.b.iconst(i64::from(*cap));
            self.probe_read_str(crate::types::AddrSpace::Bpf, dst, *cap, len, from);
            return;
        }
        self.copy(dst, src, size);
    }

    /// `@m[k] = e`
    pub(super) fn map_assign(&mut self, map: MapRef, key: Option<&'a Expr>, value: &'a Expr) {
        let plan = self.plan(map);
        if Self::is_direct(&plan) {
            self.assign_direct(&plan, value);
            return;
        }
        if plan.in_place {
            self.assign_in_place(&plan, key, value);
            return;
        }
        let at = if value.ty.is_scalar() {
            let v = self.scalar(value);
            let at = self.temp(8);
            self.b.store(MemTy::DW, at.ptr, at.off, v);
            at
        } else {
            let size = self.size(&value.ty);
            let at = self.temp(plan.value_size);
            self.padded(|fx| fx.store_expr(value, at));
            if plan.value_size > size {
                self.zero(at.plus(size), plan.value_size - size);
            }
            at
        };
        let key = self.key(&plan, key);
        let code = self.update(&plan, key, at, ANY);
        self.check_update(code);
    }

    /// Stores into the entry that is there: the kernel's update would lock the bucket and swap
    /// the entry for another one.
    fn assign_in_place(&mut self, plan: &MapPlan, key: Option<&'a Expr>, value: &'a Expr) {
        let v = self.scalar(value);
        let mark = self.mark();
        let key = self.key(plan, key);
        let (absent, done) = (self.b.new_block(), self.b.new_block());
        let p = self.lookup(plan, key);
        let p = self.b.check_null(p, absent);
        self.b.store(MemTy::DW, p, 0, v);
        self.b.jump(done, &[]);
        self.b.switch_to(absent);
        let at = self.temp(8);
        self.b.store(MemTy::DW, at.ptr, at.off, v);
        let code = self.update(plan, key, at, ANY);
        self.check_update(code);
        self.b.jump(done, &[]);
        self.b.switch_to(done);
        self.release(mark);
    }

    fn assign_direct(&mut self, plan: &MapPlan, value: &'a Expr) {
        if value.ty.is_scalar() {
            let v = self.scalar(value);
            let p = self.b.map_addr(plan.id, 0);
            self.b.store(MemTy::DW, p, 0, v);
        } else {
            // Through a temporary: the value may be made from what it replaces.
            let at = self.memory(value);
            let p = self.b.map_addr(plan.id, 0);
            let size = self.size(&value.ty);
            self.copy(Addr::new(p), at, size);
        }
        self.mark_set(plan);
    }

    /// Notes that a scalar map was assigned.
    fn mark_set(&mut self, plan: &MapPlan) {
        if let Some(off) = plan.set_flag {
            let p = self.b.map_addr(plan.id, 0);
            self.b.store_imm(MemTy::B, p, off as i32, 1);
        }
    }

    /// Runs `change` on the value of a key, or inserts `fresh` where there is none. `change`
    /// gives the old value, or nothing of interest; the result is that, or 0.
    pub(super) fn upsert(
        &mut self,
        plan: &MapPlan,
        key: Key,
        fresh: impl FnOnce(&mut Self) -> Addr,
        change: &mut dyn FnMut(&mut Self, Value) -> Value,
    ) -> Value {
        let (head, join) = (self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        // Why the insertion failed; 0 before it is tried.
        let failure = self.b.block_param(head, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.jump(head, &[zero]);
        self.b.switch_to(head);
        let absent = self.b.new_block();
        let p = self.lookup(plan, key);
        let p = self.b.check_null(p, absent);
        let old = change(self, p);
        self.b.jump(join, &[old]);

        // Somebody else inserted the key in the meantime if it is found the second time. If it
        // is not, the map is full, or the key was deleted again right after: as good as not
        // inserted.
        self.b.switch_to(absent);
        let (insert, full) = (self.b.new_block(), self.b.new_block());
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Slt, failure, zero, full, insert);
        self.b.switch_to(insert);
        let value = fresh(self);
        let code = self.update(plan, key, value, NOEXIST);
        let zero = self.b.iconst(0);
        let (again, done) = ((head, &[code][..]), (join, &[zero][..]));
        let w = crate::ir::Width::W64;
        self.b.br_w(Cond::Slt, w, code, zero, again, done, true);
        self.b.switch_to(full);
        self.report_update(failure);
        let zero = self.b.iconst(0);
        self.b.jump(join, &[zero]);
        self.b.switch_to(join);
        result
    }

    /// Adds to an integer map; gives the old value if it is wanted.
    pub(super) fn map_add(
        &mut self,
        map: MapRef,
        key: Option<&'a Expr>,
        by: Value,
        wanted: bool,
    ) -> Value {
        self.map_atomic(map, key, AtomicOp::Add, by, wanted)
    }

    fn map_atomic(
        &mut self,
        map: MapRef,
        key: Option<&'a Expr>,
        op: AtomicOp,
        by: Value,
        wanted: bool,
    ) -> Value {
        let plan = self.plan(map);
        let mut change = |fx: &mut Self, p: Value| fx.atomic(op, p, by, wanted);
        if Self::is_direct(&plan) {
            let p = self.b.map_addr(plan.id, 0);
            let old = change(self, p);
            self.mark_set(&plan);
            return old;
        }
        let mark = self.mark();
        let key = self.key(&plan, key);
        let old = self.upsert(
            &plan,
            key,
            |fx| {
                // Operators other than addition on a value that is not there: 0 op by.
                let first = match op {
                    AtomicOp::And => fx.b.iconst(0),
                    _ => by,
                };
                let at = fx.temp(8);
                fx.b.store(MemTy::DW, at.ptr, at.off, first);
                at
            },
            &mut change,
        );
        self.release(mark);
        old
    }

    fn atomic(&mut self, op: AtomicOp, p: Value, by: Value, wanted: bool) -> Value {
        if wanted {
            return self.b.atomic_fetch(op, 8, p, 0, by, None);
        }
        if op == AtomicOp::Add {
            self.b.atomic_add(p, 0, by);
        } else {
            self.b.atomic_fetch(op, 8, p, 0, by, None);
        }
        self.b.iconst(0)
    }

    /// `@m op= e`
    pub(super) fn map_update(
        &mut self,
        map: MapRef,
        key: Option<&'a Expr>,
        op: BinOp,
        value: &'a Expr,
    ) {
        let v = self.scalar(value);
        match op {
            BinOp::Add => {
                self.map_atomic(map, key, AtomicOp::Add, v, false);
            }
            BinOp::Sub => {
                let v = self.b.neg(v);
                self.map_atomic(map, key, AtomicOp::Add, v, false);
            }
            BinOp::And => {
                self.map_atomic(map, key, AtomicOp::And, v, false);
            }
            BinOp::Or => {
                self.map_atomic(map, key, AtomicOp::Or, v, false);
            }
            BinOp::Xor => {
                self.map_atomic(map, key, AtomicOp::Xor, v, false);
            }
            BinOp::Mul | BinOp::Div | BinOp::Mod | BinOp::Shl | BinOp::Shr => {
                self.map_modify(map, key, op, v);
            }
        }
    }

    /// Operators that the machine has no atomic form of: load, compute, store.
    fn map_modify(&mut self, map: MapRef, key: Option<&'a Expr>, op: BinOp, v: Value) {
        let plan = self.plan(map);
        let ty = plan.value.clone();
        let mut change = |fx: &mut Self, p: Value| {
            let old = fx.load_scalar_at(&ty, Addr::new(p));
            let new = fx.binary(op, old, v);
            let new = fx.normalise(&ty, new);
            fx.b.store(MemTy::DW, p, 0, new);
            old
        };
        if Self::is_direct(&plan) {
            let p = self.b.map_addr(plan.id, 0);
            change(self, p);
            self.mark_set(&plan);
            return;
        }
        let key = self.key(&plan, key);
        let ty = plan.value.clone();
        self.upsert(
            &plan,
            key,
            |fx| {
                let zero = fx.b.iconst(0);
                let first = fx.binary(op, zero, v);
                let first = fx.normalise(&ty, first);
                let at = fx.temp(8);
                fx.b.store(MemTy::DW, at.ptr, at.off, first);
                at
            },
            &mut change,
        );
    }

    /// Goes through the buckets of a keyed histogram: `visit` runs for each with the whole
    /// key in place and gives 1 to be counted; the sum is the result. It may also end the walk
    /// by going to the block it is given, with the result. Its result must not be known to the
    /// verifier, which would tell the ways through the loop apart by their sums.
    fn each_bucket(
        &mut self,
        plan: &MapPlan,
        key: Key,
        visit: &mut dyn FnMut(&mut Self, Key, Block) -> Value,
    ) -> Value {
        let buckets = match plan.agg().map(|a| a.kind) {
            Some(crate::types::AggKind::Hist { bits }) => maps::hist_buckets(bits),
            Some(crate::types::AggKind::Lhist { min, max, step }) => {
                maps::lhist_buckets(min, max, step)
            }
            Some(crate::types::AggKind::Tseries { intervals, .. }) => intervals,
            _ => 0,
        };
        if buckets > 4096 {
            let loc = self.b.loc();
            self.limit(
                loc,
                format!("a series of {buckets} intervals cannot be deleted by key"),
            );
        }
        let (head, body, done) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let i = self.b.block_param(head, Ty::Scalar);
        let n = self.b.block_param(head, Ty::Scalar);
        let result = self.b.block_param(done, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.jump(head, &[zero, zero]);
        self.b.switch_to(head);
        let end = self.b.iconst(i64::from(buckets.min(4096)));
        self.b.br_w(
            Cond::Ult,
            crate::ir::Width::W64,
            i,
            end,
            (body, &[]),
            (done, &[n]),
            false,
        );
        self.b.switch_to(body);
        let at = key.at.plus(plan.full_key_size - 8);
        self.b.store(MemTy::DW, at.ptr, at.off, i);
        let hit = visit(self, key, done);
        let next = self.b.add_imm(i, 1);
        let n = self.b.add(n, hit);
        self.b.jump(head, &[next, n]);
        self.b.switch_to(done);
        result
    }

    /// `delete(@m, k)`: 1 if there was an entry.
    pub(super) fn map_delete(&mut self, map: MapRef, key: Option<&'a Expr>) -> Value {
        let plan = self.plan(map);
        if Self::is_direct(&plan) {
            let p = self.b.map_addr(plan.id, 0);
            let flag = plan.set_flag.unwrap_or(0);
            let was = self.b.load(MemTy::B, p, flag as i32);
            self.zero(Addr::new(p), plan.value_size);
            return was;
        }
        if plan.key.is_none() && plan.storage != AggStorage::Keyed {
            return self.clear_array(&plan);
        }
        let mark = self.mark();
        let key = self.key(&plan, key);
        let delete = |fx: &mut Self, key: Key| {
            fx.on_key(&plan, key, helper::MAP_DELETE_ELEM, &[], Ty::Scalar)
        };
        let v = if plan.storage == AggStorage::Keyed {
            let n = self.each_bucket(&plan, key, &mut |fx, key, _| {
                // 0 becomes 1, a negative code 0; no branch.
                let code = delete(fx, key);
                let sign = fx.b.bin_imm(IrOp::Ashr, code, 63);
                fx.b.add_imm(sign, 1)
            });
            self.truth(n)
        } else {
            let code = delete(self, key);
            let zero = self.b.iconst(0);
            self.select_bool(Cond::Eq, code, zero)
        };
        self.release(mark);
        v
    }

    /// Deletes a scalar aggregation: this CPU's part here, the others through their own
    /// values.
    fn clear_array(&mut self, plan: &MapPlan) -> Value {
        let key = self.key(plan, None);
        self.each_cpu(plan, key, &mut |fx, p, seen| {
            fx.zero(Addr::new(p), plan.value_size);
            let one = fx.b.iconst(1);
            fx.b.bin(IrOp::Or, seen, one)
        })
    }

    /// `has_key(@m, k)`
    pub(super) fn map_has(&mut self, map: MapRef, key: Option<&'a Expr>) -> Value {
        let plan = self.plan(map);
        let mark = self.mark();
        let key = self.key(&plan, key);
        let v = if plan.storage == AggStorage::Keyed {
            self.each_bucket(&plan, key, &mut |fx, key, done| {
                let p = fx.lookup(&plan, key);
                let (zero, one) = (fx.b.iconst(0), fx.b.iconst(1));
                let next = fx.b.new_block();
                let (found, on) = ((done, &[one][..]), (next, &[][..]));
                let w = crate::ir::Width::W64;
                fx.b.br_w(Cond::Ne, w, p, zero, found, on, false);
                fx.b.switch_to(next);
                zero
            })
        } else {
            let p = self.lookup(&plan, key);
            let zero = self.b.iconst(0);
            self.select_bool(Cond::Ne, p, zero)
        };
        self.release(mark);
        v
    }

    /// `find(@m, k, $v)`; a variable that it declares is zero if there is no such key.
    pub(super) fn map_find(
        &mut self,
        map: MapRef,
        key: Option<&'a Expr>,
        local: LocalId,
        declares: bool,
    ) -> Value {
        let plan = self.plan(map);
        let mark = self.mark();
        let key = self.key(&plan, key);
        let p = self.lookup(&plan, key);
        let (none, some, join): (Block, Block, Block) =
            (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.br(Cond::Ne, p, zero, some, none);
        self.b.switch_to(some);
        let p = self.b.non_null(p);
        let ty = plan.value.clone();
        if plan.agg().is_some() {
            let v = self.sum_over_cpus(&plan, key);
            self.set_scalar_local(local, v);
        } else if ty.is_scalar() {
            let v = self.load_scalar_at(&ty, Addr::new(p));
            self.set_scalar_local(local, v);
        } else {
            let dst = self.local_addr(local);
            let size = self.size(&ty);
            self.copy(dst, Addr::new(p), size);
        }
        let one = self.b.iconst(1);
        self.b.jump(join, &[one]);
        self.b.switch_to(none);
        let zero = self.b.iconst(0);
        if declares && (plan.agg().is_some() || ty.is_scalar()) {
            self.set_scalar_local(local, zero);
        } else if declares {
            let (dst, size) = (self.local_addr(local), self.size(&ty));
            self.zero(dst, size);
        }
        self.b.jump(join, &[zero]);
        self.b.switch_to(join);
        self.release(mark);
        result
    }
}
