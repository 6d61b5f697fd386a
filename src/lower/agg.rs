//! Aggregations: per-CPU values changed in place with atomic instructions.
//!
//! A per-CPU value is not private to one program: a program that preempts another one on the
//! same CPU finds the same value. Hence atomics here too.

use crate::codegen::helper;
use crate::ir::inst::{AtomicOp, Cond, MemTy, Ty};
use crate::ir::{BinOp, Value};
use crate::object::{AggStorage, SERIES_BUSY, SiteKind};
use crate::sema::hir::{Expr, MapRef};
use crate::types::{AggKind, AggTy, TseriesAgg};

use super::fx::Fx;
use super::keys::Key;
use super::maps::{self, MapPlan};

/// How often an update of a minimum is tried again before it counts as failed. Each failure
/// means that another program changed the value in between.
const MAX_TRIES: i64 = 16;

/// `-EBUSY`
const EBUSY: i64 = -16;

impl<'a> Fx<'_, 'a> {
    /// `@m[k] = count()` and the like.
    pub(super) fn aggregate(
        &mut self,
        map: MapRef,
        key: Option<&'a Expr>,
        agg: AggTy,
        value: Option<&'a Expr>,
    ) {
        let plan = self.plan(map);
        let v = match value {
            Some(e) => self.scalar(e),
            None => self.b.iconst(1),
        };
        match plan.storage {
            AggStorage::Value => self.add_value(&plan, key, agg, v),
            AggStorage::Buckets(n) => {
                let bucket = self.bucket(agg.kind, v);
                self.add_bucket(&plan, bucket, n);
            }
            AggStorage::Keyed => {
                if let AggKind::Tseries { .. } = agg.kind {
                    self.add_tseries(&plan, key, agg, v);
                } else {
                    let bucket = self.bucket(agg.kind, v);
                    self.add_keyed_bucket(&plan, key, bucket);
                }
            }
        }
    }

    fn add_value(&mut self, plan: &MapPlan, key: Option<&'a Expr>, agg: AggTy, v: Value) {
        let key_at = self.key(plan, key);
        let rank = self.rank(agg, v);
        let set_flag = plan.set_flag;
        let mut change = |fx: &mut Self, p: Value| {
            match agg.kind {
                AggKind::Count => {
                    let one = fx.b.iconst(1);
                    fx.b.atomic_add(p, 0, one);
                }
                AggKind::Avg | AggKind::Stats => {
                    let one = fx.b.iconst(1);
                    fx.b.atomic_add(p, 0, one);
                    fx.b.atomic_add(p, 8, v);
                }
                AggKind::Min | AggKind::Max => {
                    fx.b.store_imm(MemTy::DW, p, 8, 1);
                    fx.atomic_best(p, 0, rank, Cond::Ugt);
                }
                _ => {
                    fx.b.atomic_add(p, 0, v);
                    if let Some(off) = set_flag {
                        fx.b.store_imm(MemTy::DW, p, off as i32, 1);
                    }
                }
            }
            fx.b.iconst(0)
        };
        if plan.key.is_none() {
            self.on_array(plan, key_at, &mut change);
            return;
        }
        self.upsert(
            plan,
            key_at,
            |fx| {
                let at = fx.temp(plan.value_size);
                match agg.kind {
                    AggKind::Avg | AggKind::Stats => {
                        fx.b.store_imm(MemTy::DW, at.ptr, at.off, 1);
                        fx.b.store(MemTy::DW, at.ptr, at.off + 8, v);
                    }
                    AggKind::Min | AggKind::Max => {
                        fx.b.store(MemTy::DW, at.ptr, at.off, rank);
                        fx.b.store_imm(MemTy::DW, at.ptr, at.off + 8, 1);
                    }
                    _ => fx.b.store(MemTy::DW, at.ptr, at.off, v),
                }
                at
            },
            &mut change,
        );
    }

    /// Changes the only entry of a per-CPU array.
    fn on_array(
        &mut self,
        plan: &MapPlan,
        key: Key,
        change: &mut dyn FnMut(&mut Self, Value) -> Value,
    ) {
        let p = self.lookup(plan, key);
        let done = self.b.new_block();
        // Entry 0 of an array is always there; the verifier does not know.
        let p = self.b.check_null(p, done);
        change(self, p);
        self.b.jump(done, &[]);
        self.b.switch_to(done);
    }

    /// The number whose maximum is kept for min and max (see
    /// [`crate::object::MapValue::Agg`]).
    fn rank(&mut self, agg: AggTy, v: Value) -> Value {
        match agg.kind {
            AggKind::Min | AggKind::Max => {
                let top = if agg.signed { i64::MIN } else { 0 };
                let flip = if agg.kind == AggKind::Min { -1 } else { 0 };
                self.b.bin_imm(BinOp::Xor, v, top ^ flip)
            }
            _ => v,
        }
    }

    /// Puts `v` into the word at `p` if it is `better` than what is there, whoever else does
    /// the same.
    fn atomic_best(&mut self, p: Value, off: i32, v: Value, better: Cond) {
        let (head, swap, again, failed, done) = (
            self.b.new_block(),
            self.b.new_block(),
            self.b.new_block(),
            self.b.new_block(),
            self.b.new_block(),
        );
        let old = self.b.block_param(head, Ty::Scalar);
        let tries = self.b.block_param(head, Ty::Scalar);
        let first = self.b.load(MemTy::DW, p, off);
        let zero = self.b.iconst(0);
        self.b.jump(head, &[first, zero]);
        self.b.switch_to(head);
        self.b.br(better, v, old, swap, done);
        self.b.switch_to(swap);
        let got = self
            .b
            .atomic_fetch(AtomicOp::Cmpxchg, 8, p, off, v, Some(old));
        self.b.br(Cond::Eq, got, old, done, again);
        self.b.switch_to(again);
        let next = self.b.add_imm(tries, 1);
        let end = self.b.iconst(MAX_TRIES);
        self.b.br_w(
            Cond::Ult,
            crate::ir::Width::W64,
            next,
            end,
            (head, &[got, next]),
            (failed, &[]),
            false,
        );
        self.b.switch_to(failed);
        let code = self.b.iconst(EBUSY);
        self.report_failure(SiteKind::MapUpdate, "", code);
        self.b.jump(done, &[]);
        self.b.switch_to(done);
    }

    /// The bucket of a value.
    fn bucket(&mut self, kind: AggKind, v: Value) -> Value {
        match kind {
            AggKind::Hist { bits } => self.log2_bucket(v, bits),
            AggKind::Lhist { min, max, step } => self.linear_bucket(v, min, max, step),
            _ => self.b.iconst(0),
        }
    }

    /// 0 for negative values; 1 + v below 2^bits; else one of 2^bits buckets per power of two.
    fn log2_bucket(&mut self, v: Value, bits: u8) -> Value {
        let (small, large, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        let next = self.b.new_block();
        let zero = self.b.iconst(0);
        self.b.br_w(
            Cond::Slt,
            crate::ir::Width::W64,
            v,
            zero,
            (join, &[zero]),
            (next, &[]),
            false,
        );
        self.b.switch_to(next);
        let bits = i64::from(bits);
        let limit = self.b.iconst(1 << bits);
        self.b.br(Cond::Ult, v, limit, small, large);
        self.b.switch_to(small);
        let b = self.b.add_imm(v, 1);
        self.b.jump(join, &[b]);

        self.b.switch_to(large);
        // floor(log2 v) without branches: each step asks whether a half is empty.
        let mut rest = v;
        let mut log = self.b.iconst(0);
        for step in [5, 4, 3, 2, 1, 0] {
            let half = 1i64 << step;
            let most = self.b.iconst(((1u64 << half) - 1) as i64);
            let over = self.b.sub(most, rest);
            let over = self.b.bin_imm(BinOp::Lshr, over, 63);
            let shift = self.b.bin_imm(BinOp::Shl, over, step);
            rest = self.b.bin(BinOp::Lshr, rest, shift);
            log = self.b.bin(BinOp::Or, log, shift);
        }
        let power = self.b.add_imm(log, 1 - bits);
        let base = self.b.bin_imm(BinOp::Shl, power, bits);
        let b = if bits == 0 {
            self.b.add_imm(base, 1)
        } else {
            let down = self.b.add_imm(log, -bits);
            let inner = self.b.bin(BinOp::Lshr, v, down);
            let inner = self.b.bin_imm(BinOp::And, inner, (1 << bits) - 1);
            let b = self.b.add(base, inner);
            self.b.add_imm(b, 1)
        };
        self.b.jump(join, &[b]);
        self.b.switch_to(join);
        result
    }

    /// 0 below `min`, the last bucket from `max` on, else by steps.
    fn linear_bucket(&mut self, v: Value, min: i64, max: i64, step: i64) -> Value {
        let last = i64::from(maps::lhist_buckets(min, max, step)) - 1;
        let (inside, above, join) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let result = self.b.block_param(join, Ty::Scalar);
        let next = self.b.new_block();
        let zero = self.b.iconst(0);
        let lo = self.b.iconst(min);
        self.b.br_w(
            Cond::Slt,
            crate::ir::Width::W64,
            v,
            lo,
            (join, &[zero]),
            (next, &[]),
            false,
        );
        self.b.switch_to(next);
        let hi = self.b.iconst(max);
        self.b.br(Cond::Sge, v, hi, above, inside);
        self.b.switch_to(above);
        let end = self.b.iconst(last);
        self.b.jump(join, &[end]);
        self.b.switch_to(inside);
        let off = self.b.add_imm(v, min.wrapping_neg());
        let step = self.b.iconst(step);
        let n = self.b.bin(BinOp::Udiv, off, step);
        let n = self.b.add_imm(n, 1);
        self.b.jump(join, &[n]);
        self.b.switch_to(join);
        result
    }

    /// Adds one to a bucket of a scalar histogram.
    fn add_bucket(&mut self, plan: &MapPlan, bucket: Value, buckets: u32) {
        let key = self.key(plan, None);
        let p = self.lookup(plan, key);
        let done = self.b.new_block();
        let p = self.b.check_null(p, done);
        // Never taken: tells the verifier the range.
        let last = self.b.iconst(i64::from(buckets) - 1);
        let inside = self.b.new_block();
        self.b.br_cold(Cond::Ugt, bucket, last, done, inside);
        self.b.switch_to(inside);
        let off = self.b.bin_imm(BinOp::Shl, bucket, 3);
        let q = self.b.add(p, off);
        let one = self.b.iconst(1);
        self.b.atomic_add(q, 0, one);
        self.b.jump(done, &[]);
        self.b.switch_to(done);
    }

    /// Adds one to a bucket that is part of the key.
    fn add_keyed_bucket(&mut self, plan: &MapPlan, key: Option<&'a Expr>, bucket: Value) {
        let at = self.key(plan, key);
        let end = at.at.plus(plan.full_key_size - 8);
        self.b.store(MemTy::DW, end.ptr, end.off, bucket);
        self.upsert(
            plan,
            at,
            |fx| {
                let at = fx.temp(8);
                fx.b.store_imm(MemTy::DW, at.ptr, at.off, 1);
                at
            },
            &mut |fx, p| {
                let one = fx.b.iconst(1);
                fx.b.atomic_add(p, 0, one);
                fx.b.iconst(0)
            },
        );
    }

    /// A value of a time series: a slot of its ring, started anew when its epoch is over.
    ///
    /// Starting anew is several stores. Whoever does it marks the slot, so that a program that
    /// interrupts it adds to neither the old nor the half-made value: its own is counted as
    /// lost. Likewise for who was interrupted so long that its slot is another epoch's.
    fn add_tseries(&mut self, plan: &MapPlan, key: Option<&'a Expr>, agg: AggTy, v: Value) {
        let AggKind::Tseries {
            interval,
            intervals,
            agg: how,
        } = agg.kind
        else {
            return;
        };
        let now = self.b.call(helper::KTIME_GET_TAI_NS, &[], Ty::Scalar);
        let interval = self.b.iconst(interval as i64);
        let epoch = self.b.bin(BinOp::Udiv, now, interval);
        let n = self.b.iconst(i64::from(intervals));
        let slot = self.b.bin(BinOp::Umod, epoch, n);
        let at = self.key(plan, key);
        let end = at.at.plus(plan.full_key_size - 8);
        self.b.store(MemTy::DW, end.ptr, end.off, slot);
        self.upsert(
            plan,
            at,
            |fx| {
                let at = fx.temp(24);
                fx.b.store(MemTy::DW, at.ptr, at.off, epoch);
                fx.b.store(MemTy::DW, at.ptr, at.off + 8, v);
                let third = fx.series_count(how, now);
                fx.b.store(MemTy::DW, at.ptr, at.off + 16, third);
                at
            },
            &mut |fx, p| {
                let (old, same, done) = (fx.b.new_block(), fx.b.new_block(), fx.b.new_block());
                let (anew, raced, lost) = (fx.b.new_block(), fx.b.new_block(), fx.b.new_block());
                let older = fx.b.new_block();
                let was = fx.b.load(MemTy::DW, p, 0);
                fx.b.br(Cond::Eq, was, epoch, same, old);
                fx.b.switch_to(old);
                // The mark is above all epochs.
                fx.b.br_cold(Cond::Ugt, was, epoch, lost, older);
                fx.b.switch_to(older);
                let busy = fx.b.iconst(SERIES_BUSY as i64);
                let got =
                    fx.b.atomic_fetch(AtomicOp::Cmpxchg, 8, p, 0, busy, Some(was));
                fx.b.br(Cond::Eq, got, was, anew, raced);
                fx.b.switch_to(raced);
                fx.b.br_cold(Cond::Ne, got, epoch, lost, same);
                fx.b.switch_to(lost);
                let code = fx.b.iconst(EBUSY);
                fx.report_failure(SiteKind::MapUpdate, "", code);
                fx.b.jump(done, &[]);
                fx.b.switch_to(anew);
                fx.b.store(MemTy::DW, p, 8, v);
                let third = fx.series_count(how, now);
                fx.b.store(MemTy::DW, p, 16, third);
                fx.b.store(MemTy::DW, p, 0, epoch);
                fx.b.jump(done, &[]);
                fx.b.switch_to(same);
                if how == TseriesAgg::Last {
                    fx.b.store(MemTy::DW, p, 16, now);
                } else {
                    let one = fx.b.iconst(1);
                    fx.b.atomic_add(p, 16, one);
                }
                match how {
                    TseriesAgg::Last => fx.b.store(MemTy::DW, p, 8, v),
                    TseriesAgg::Avg | TseriesAgg::Sum => fx.b.atomic_add(p, 8, v),
                    TseriesAgg::Min | TseriesAgg::Max => {
                        let better = match (how, agg.signed) {
                            (TseriesAgg::Min, true) => Cond::Slt,
                            (TseriesAgg::Min, false) => Cond::Ult,
                            (_, true) => Cond::Sgt,
                            (_, false) => Cond::Ugt,
                        };
                        fx.atomic_best(p, 8, v, better);
                    }
                }
                fx.b.jump(done, &[]);
                fx.b.switch_to(done);
                fx.b.iconst(0)
            },
        );
    }

    /// The third word of a new slot: a count of one, or the time that says whose value is last.
    fn series_count(&mut self, how: TseriesAgg, now: Value) -> Value {
        match how {
            TseriesAgg::Last => now,
            _ => self.b.iconst(1),
        }
    }

    /// Visits the value of each CPU; `visit` takes the address and what the last one gave.
    pub(super) fn each_cpu(
        &mut self,
        plan: &MapPlan,
        key: Key,
        visit: &mut dyn FnMut(&mut Self, Value, Value) -> Value,
    ) -> Value {
        let cpus = self.lw.program.config.possible_cpus.max(1);
        let (head, body, done) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let cpu = self.b.block_param(head, Ty::Scalar);
        let acc = self.b.block_param(head, Ty::Scalar);
        let result = self.b.block_param(done, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.jump(head, &[zero, zero]);
        self.b.switch_to(head);
        let end = self.b.iconst(i64::from(cpus));
        self.b.br_w(
            Cond::Ult,
            crate::ir::Width::W64,
            cpu,
            end,
            (body, &[]),
            (done, &[acc]),
            false,
        );
        self.b.switch_to(body);
        let ty = Ty::MapValOrNull(plan.id);
        let p = self.on_key(plan, key, helper::MAP_LOOKUP_PERCPU_ELEM, &[cpu], ty);
        let absent = self.b.new_block();
        let p = self.b.check_null(p, absent);
        let acc = visit(self, p, acc);
        let next = self.b.add_imm(cpu, 1);
        self.b.jump(head, &[next, acc]);
        self.b.switch_to(absent);
        let zero = self.b.iconst(0);
        self.b.jump(done, &[zero]);
        self.b.switch_to(done);
        result
    }

    /// An aggregation as one number, over all CPUs; 0 where there is none.
    pub(super) fn sum_over_cpus(&mut self, plan: &MapPlan, key: Key) -> Value {
        let Some(agg) = plan.agg() else {
            return self.b.iconst(0);
        };
        match agg.kind {
            AggKind::Min | AggKind::Max => {
                let best = self.each_cpu(plan, key, &mut |fx, p, acc| {
                    let v = fx.b.load(MemTy::DW, p, 0);
                    let join = fx.b.new_block();
                    let larger = fx.b.block_param(join, Ty::Scalar);
                    fx.b.br_w(
                        Cond::Ugt,
                        crate::ir::Width::W64,
                        v,
                        acc,
                        (join, &[v]),
                        (join, &[acc]),
                        false,
                    );
                    fx.b.switch_to(join);
                    larger
                });
                // A rank of zero is that of no value, and of the worst one.
                let v = self.rank(agg, best);
                let (none, join) = (self.b.new_block(), self.b.new_block());
                let result = self.b.block_param(join, Ty::Scalar);
                let zero = self.b.iconst(0);
                self.b.br_w(
                    Cond::Eq,
                    crate::ir::Width::W64,
                    best,
                    zero,
                    (none, &[]),
                    (join, &[v]),
                    true,
                );
                self.b.switch_to(none);
                let zero = self.b.iconst(0);
                self.b.jump(join, &[zero]);
                self.b.switch_to(join);
                result
            }
            AggKind::Avg | AggKind::Stats => {
                let total = self.word_at_all_cpus(plan, key, 8);
                let count = self.word_at_all_cpus(plan, key, 0);
                if agg.signed {
                    return self.signed_mean(total, count);
                }
                self.b.bin(BinOp::Udiv, total, count)
            }
            _ => self.word_at_all_cpus(plan, key, 0),
        }
    }

    /// Count and total of `stats()`.
    pub(super) fn stats_parts(&mut self, plan: &MapPlan, key: Key) -> (Value, Value) {
        let count = self.word_at_all_cpus(plan, key, 0);
        let total = self.word_at_all_cpus(plan, key, 8);
        (count, total)
    }

    fn word_at_all_cpus(&mut self, plan: &MapPlan, key: Key, off: i32) -> Value {
        self.each_cpu(plan, key, &mut |fx, p, acc| {
            let v = fx.b.load(MemTy::DW, p, off);
            fx.b.add(acc, v)
        })
    }

    /// `total / count`, towards zero; the machine divides unsigned numbers only.
    fn signed_mean(&mut self, total: Value, count: Value) -> Value {
        let sign = self.b.bin_imm(BinOp::Ashr, total, 63);
        let magnitude = self.b.bin(BinOp::Xor, total, sign);
        let magnitude = self.b.sub(magnitude, sign);
        let mean = self.b.bin(BinOp::Udiv, magnitude, count);
        let mean = self.b.bin(BinOp::Xor, mean, sign);
        self.b.sub(mean, sign)
    }
}
