//! `for` loops: bodies become callbacks of `bpf_loop` (5.17) and `bpf_for_each_map_elem`
//! (5.13), so that the verifier checks them once, whatever the number of rounds.

use crate::codegen::helper;
use crate::ir::builder::Builder;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{FuncId, FuncKind, Value};
use crate::object::{MapId, SiteKind};
use crate::sema::hir::{Block, Expr, LocalId, MapRef};
use crate::types::{Type, tuple_offsets};

use super::capture;
use super::fx::{Addr, Fx, Storage, env};
use super::keys::{Key, KeyPlace};
use super::maps::MapPlan;

/// What a callback does for an element of a map.
enum Round<'a> {
    /// This, in itself.
    Here(&'a Block),
    /// It calls this function with the environment and puts the result at this byte of it.
    Call(FuncId, u32),
}

impl<'a> Fx<'_, 'a> {
    fn next_body(&mut self) -> u32 {
        // Any number but 0 marks a callback; the analysis has its own numbering.
        self.body + 1
    }

    /// The environment's address.
    fn env(&mut self) -> Value {
        self.env.expect("functions with loops have an environment")
    }

    /// Ends the probe (or script function) with `v`, from inside any loop.
    pub(super) fn return_from_probe(&mut self, v: Value) {
        if self.in_callback() {
            let e = self.env();
            self.b.store(MemTy::DW, e, env::RESULT as i32, v);
            self.b.store_imm(MemTy::DW, e, env::LEAVE as i32, 1);
            let one = self.b.iconst(1);
            self.leave(one);
        } else {
            self.leave(v);
        }
    }

    /// After a loop: leaves too if its body met a `return`.
    fn check_leave(&mut self) {
        let e = self.env();
        let flag = self.b.load(MemTy::DW, e, env::LEAVE as i32);
        let out = self.b.new_block();
        let next = self.b.new_block();
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Ne, flag, zero, out, next);
        self.b.switch_to(out);
        if self.in_callback() {
            let one = self.b.iconst(1);
            self.leave(one);
        } else {
            let v = self.b.load(MemTy::DW, e, env::RESULT as i32);
            self.leave(v);
        }
        self.b.switch_to(next);
    }

    /// Hides from the verifier what the variables hold that a loop's body changes. It would
    /// otherwise check the body once for each number that a counter reaches, until it gives up.
    fn hide_assigned(&mut self, body: &'a Block) {
        for local in capture::assigned(body) {
            let Some(Storage::Env(at)) = self.placed(local) else {
                continue;
            };
            let e = self.env();
            for word in (0..self.stored_size(local)).step_by(8) {
                let off = (at + word) as i32;
                let v = self.b.load(MemTy::DW, e, off);
                let v = self.b.opaque(v);
                self.b.store(MemTy::DW, e, off, v);
            }
        }
    }

    /// `for $var : start..end { body }`
    pub(super) fn for_range(
        &mut self,
        var: LocalId,
        start: &'a Expr,
        end: &'a Expr,
        body: &'a Block,
    ) {
        let signed = start.ty.is_signed();
        let first = self.scalar(start);
        let last = self.scalar(end);
        let run = self.b.new_block();
        let done = self.b.new_block();
        let less = if signed { Cond::Slt } else { Cond::Ult };
        self.b.br(less, first, last, run, done);
        self.b.switch_to(run);
        let rounds = self.b.sub(last, first);

        // The callback is given the number of the round; the first value waits in a word of
        // the environment.
        let base_off = self.frame.env_size;
        self.frame.env_size += 8;
        let e = self.env();
        self.b.store(MemTy::DW, e, base_off as i32, first);
        let ty = start.ty.clone();
        let f = self.loop_body(var, &ty, base_off, body);
        let fp = self.b.func_addr(f);
        let flags = self.b.iconst(0);
        self.hide_assigned(body);
        let code = self
            .b
            .call(helper::LOOP, &[rounds, fp, e, flags], Ty::Scalar);
        self.check_code(code, SiteKind::Helper, "loop");
        self.check_leave();
        self.b.jump(done, &[]);
        self.b.switch_to(done);
    }

    fn loop_body(&mut self, var: LocalId, ty: &Type, base_off: u32, body: &'a Block) -> FuncId {
        let name = format!("loop_{}", self.lw.module.funcs.len());
        let b = Builder::new(name, FuncKind::LoopBody, &[Ty::Scalar, Ty::Frame]);
        let (round, e) = (b.param(0), b.param(1));
        let loc = self.b.loc();
        let number = self.next_body();
        let mut fx = self.inner(b, e, number);
        fx.b.set_loc(loc);
        fx.begin();
        // The kernel passes a u32.
        let round = fx.b.ext(false, 32, round);
        let first = fx.b.load(MemTy::DW, e, base_off as i32);
        let v = fx.b.add(first, round);
        let v = match ty.as_int() {
            Some(t) if t.size < 8 => fx.b.ext(t.signed, t.size * 8, v),
            _ => v,
        };
        fx.set_scalar_local(var, v);
        fx.block(body);
        let zero = fx.b.iconst(0);
        fx.leave(zero);
        let func = fx.finish_callback();
        self.lw.module.add(func)
    }

    /// `for $var : @map { body }`
    pub(super) fn for_map(&mut self, var: LocalId, map: MapRef, body: &'a Block) {
        let plan = self.plan(map);
        let Some(short) = plan.short else {
            let f = self.each_body(var, map, KeyPlace::Long, Round::Here(body));
            self.hide_assigned(body);
            self.for_each(plan.id, f);
            self.check_leave();
            return;
        };
        // Two walks with one body; a word of the environment says whether to leave out the second.
        let name = format!("each_{}", self.lw.module.funcs.len());
        let b = Builder::new(name, FuncKind::Static, &[Ty::Frame]);
        let (loc, e) = (self.b.loc(), b.param(0));
        let number = self.next_body();
        let mut fx = self.inner(b, e, number);
        fx.b.set_loc(loc);
        fx.begin();
        fx.block(body);
        let zero = fx.b.iconst(0);
        fx.leave(zero);
        let func = fx.finish_callback();
        let round = self.lw.module.add(func);
        let ended = self.frame.env_size;
        self.frame.env_size += 8;

        let (first, second) = (KeyPlace::Long, KeyPlace::Short);
        let f = self.each_body(var, map, first, Round::Call(round, ended));
        self.hide_assigned(body);
        let e = self.env();
        self.b.store_imm(MemTy::DW, e, ended as i32, 0);
        self.for_each(plan.id, f);
        self.check_leave();
        let (more, done) = (self.b.new_block(), self.b.new_block());
        let e = self.env();
        let left = self.b.load(MemTy::DW, e, ended as i32);
        let zero = self.b.iconst(0);
        self.b.br(Cond::Eq, left, zero, more, done);
        self.b.switch_to(more);
        let f = self.each_body(var, map, second, Round::Call(round, ended));
        self.hide_assigned(body);
        self.for_each(short.id, f);
        self.check_leave();
        self.b.jump(done, &[]);
        self.b.switch_to(done);
    }

    /// The callback for the elements of one of a map's BPF maps.
    fn each_body(
        &mut self,
        var: LocalId,
        map: MapRef,
        place: KeyPlace,
        round: Round<'a>,
    ) -> FuncId {
        let plan = self.plan(map);
        let id = match (place, plan.short) {
            (KeyPlace::Short, Some(short)) => short.id,
            _ => plan.id,
        };
        let name = format!("each_{}", self.lw.module.funcs.len());
        let params = [Ty::Map, Ty::MapKey(id), Ty::MapVal(id), Ty::Frame];
        let b = Builder::new(name, FuncKind::EachBody, &params);
        let (key, value, e) = (b.param(1), b.param(2), b.param(3));
        let loc = self.b.loc();
        let number = self.next_body();
        let mut fx = self.inner(b, e, number);
        fx.b.set_loc(loc);
        fx.begin();
        let at = Addr::new(key);
        fx.each_tuple(var, &plan, Key { at, place }, value);
        let result = match round {
            Round::Here(body) => {
                fx.block(body);
                fx.b.iconst(0)
            }
            Round::Call(f, ended) => {
                let v = fx.b.call_func(f, &[e], Ty::Scalar);
                fx.b.store(MemTy::DW, e, ended as i32, v);
                v
            }
        };
        fx.leave(result);
        let func = fx.finish_callback();
        self.lw.module.add(func)
    }

    fn for_each(&mut self, map: MapId, f: FuncId) {
        let fd = self.b.map_fd(map);
        let fp = self.b.func_addr(f);
        let e = self.env();
        let flags = self.b.iconst(0);
        let code = self
            .b
            .call(helper::FOR_EACH_MAP_ELEM, &[fd, fp, e, flags], Ty::Scalar);
        self.check_code(code, SiteKind::Helper, "for_each_map_elem");
    }

    /// Builds the loop variable `(key, value)`.
    fn each_tuple(&mut self, var: LocalId, plan: &MapPlan, key: Key, value: Value) {
        let Type::Tuple(items) = self.locals[var.0 as usize].ty.clone() else {
            return;
        };
        let (offsets, size) = tuple_offsets(items.iter(), self.types);
        let dst = self.local_addr(var);
        self.zero(dst, size);
        let key_size = match (key.place, plan.short) {
            (KeyPlace::Short, Some(short)) => short.key_size,
            _ => self.size(&items[0]),
        };
        self.copy(dst.plus(offsets[0]), key.at, key_size);
        let at = dst.plus(offsets[1]);
        if plan.agg().is_some() {
            let v = self.sum_over_cpus(plan, key);
            self.store_scalar(&items[1], at, v);
        } else {
            self.copy(at, Addr::new(value), self.size(&items[1]));
        }
    }
}
