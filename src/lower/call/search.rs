//! Searching a string for another one: the body of a `bpf_loop` over positions, so that the
//! verifier looks at one position only.

use crate::codegen::helper;
use crate::ir::builder::Builder;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{Block, FuncId, FuncKind, Value};
use crate::sema::hir::Call;
use crate::types::Type;

use super::super::fx::{Addr, Fx, Shared};
use super::expr;

/// `strstr`: index or -1.
pub fn strstr<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    find(fx, call)
}

/// `strcontains`
pub fn strcontains<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let at = find(fx, call);
    let zero = fx.b.iconst(0);
    fx.select_bool(Cond::Sge, at, zero)
}

fn find<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) -> Value {
    let (hay, needle) = (expr(call, 0), expr(call, 1));
    let (hay_cap, needle_cap) = (fx.size(&hay.ty).max(1), fx.size(&needle.ty).max(1));
    let mark = fx.mark();
    // Needle, then haystack with room behind it: no position runs off the end.
    let needle_room = needle_cap.next_multiple_of(8);
    let hay_room = (hay_cap + needle_cap).next_multiple_of(8);
    let both = fx.scratch_temp(needle_room + hay_room);
    let hay_at = both.plus(needle_room);
    // Nothing looks behind the end of either.
    let pad = std::mem::replace(&mut fx.pad, false);
    fx.store_expr(needle, both);
    fx.store_expr(hay, hay_at);
    fx.pad = pad;
    fx.zero_tail(both, needle_cap, needle_room);
    fx.zero_tail(hay_at, hay_cap, hay_room);

    // What the body is given: { base address, index found }.
    let state = fx.frame_words(2);
    let base = fx.pointer(both);
    fx.b.store(MemTy::DW, state, 0, base);
    fx.b.store_imm(MemTy::DW, state, 8, -1);
    let body = body(fx, hay_cap, needle_cap, needle_room);
    let rounds = fx.b.iconst(i64::from(hay_cap));
    let f = fx.b.func_addr(body);
    let flags = fx.b.iconst(0);
    fx.b.call(helper::LOOP, &[rounds, f, state, flags], Ty::Scalar);
    let found = fx.b.load(MemTy::DW, state, 8);
    fx.release(mark);
    found
}

/// Longest needle whose bytes the verifier looks at one by one.
const SHORT: u32 = 64;

/// `{ needle, haystack at a position, bytes to the haystack, whether they are equal }`: one byte
/// of a long needle. Stops at a difference and at the needle's end.
fn long_body(fx: &mut Fx<'_, '_>, needle_cap: u32, hay_off: u32) -> FuncId {
    let map = fx.lw.scratch_map();
    let name = format!("compare_{needle_cap}_{hay_off}");
    let mut b = Builder::new(name, FuncKind::LoopBody, &[Ty::Scalar, Ty::Frame]);
    let (j, state) = (b.param(0), b.param(1));
    let j = b.ext(false, 32, j);
    let (stop, on, more, differ, same) = (
        b.new_block(),
        b.new_block(),
        b.new_block(),
        b.new_block(),
        b.new_block(),
    );
    // Never taken: the bound for the verifier.
    let last = b.iconst(i64::from(needle_cap) - 1);
    b.br_cold(Cond::Ugt, j, last, stop, on);
    b.switch_to(on);
    let needle = b.load_ty(MemTy::DW, state, 0, Ty::MapVal(map));
    let p = b.add(needle, j);
    let want = b.load(MemTy::B, p, 0);
    let zero = b.iconst(0);
    b.br(Cond::Eq, want, zero, stop, more);
    b.switch_to(more);
    let hay = b.load_ty(MemTy::DW, state, 8, Ty::MapVal(map));
    let q = b.add(hay, j);
    let have = b.load(MemTy::B, q, hay_off as i32);
    b.br(Cond::Ne, want, have, differ, same);
    b.switch_to(differ);
    b.store_imm(MemTy::DW, state, 16, 0);
    b.ret_imm(1);
    b.switch_to(stop);
    b.ret_imm(1);
    b.switch_to(same);
    b.ret_imm(0);
    fx.lw.module.add(b.finish())
}

/// One position: stops at a match, and at the end of the haystack.
fn body(fx: &mut Fx<'_, '_>, hay_cap: u32, needle_cap: u32, hay_off: u32) -> FuncId {
    let key = Shared::Search(hay_cap, needle_cap);
    if let Some(&f) = fx.lw.shared.get(&key) {
        return f;
    }
    let long = (needle_cap > SHORT).then(|| long_body(fx, needle_cap, hay_off));
    let map = fx.lw.scratch_map();
    let name = format!("search_{hay_cap}_{needle_cap}");
    let mut b = Builder::new(name, FuncKind::LoopBody, &[Ty::Scalar, Ty::Frame]);
    let (i, state) = (b.param(0), b.param(1));
    let i = b.ext(false, 32, i);
    let (stop, on, matched, differ, end) = (
        b.new_block(),
        b.new_block(),
        b.new_block(),
        b.new_block(),
        b.new_block(),
    );
    // Never taken: the bound for the verifier.
    let last = b.iconst(i64::from(hay_cap) - 1);
    b.br_cold(Cond::Ugt, i, last, stop, on);
    b.switch_to(on);
    let base = b.load_ty(MemTy::DW, state, 0, Ty::MapVal(map));
    let hay = b.add(base, i);
    if let Some(long) = long {
        // The first byte decides most positions; the rest is a loop of its own.
        let (rest, compare) = (b.new_block(), b.new_block());
        let want = b.load(MemTy::B, base, 0);
        let zero = b.iconst(0);
        b.br(Cond::Eq, want, zero, matched, compare);
        b.switch_to(compare);
        let have = b.load(MemTy::B, hay, hay_off as i32);
        b.br(Cond::Ne, want, have, differ, rest);
        b.switch_to(rest);
        let words = b.new_slot(24);
        let words = b.slot_addr(words, 0);
        b.store(MemTy::DW, words, 0, base);
        b.store(MemTy::DW, words, 8, hay);
        b.store_imm(MemTy::DW, words, 16, 1);
        let rounds = b.iconst(i64::from(needle_cap));
        let f = b.func_addr(long);
        let flags = b.iconst(0);
        b.call(helper::LOOP, &[rounds, f, words, flags], Ty::Scalar);
        let equal = b.load(MemTy::DW, words, 16);
        b.br(Cond::Ne, equal, zero, matched, differ);
    } else {
        bytewise(
            &mut b,
            (base, hay),
            (needle_cap, hay_off),
            (matched, differ),
        );
    }

    b.switch_to(matched);
    b.store(MemTy::DW, state, 8, i);
    b.ret_imm(1);
    b.switch_to(differ);
    let here = b.load(MemTy::B, hay, hay_off as i32);
    let zero = b.iconst(0);
    b.br(Cond::Eq, here, zero, stop, end);
    b.switch_to(stop);
    b.ret_imm(1);
    b.switch_to(end);
    b.ret_imm(0);
    let f = fx.lw.module.add(b.finish());
    fx.lw.shared.insert(key, f);
    f
}

/// Compares a short needle with the haystack, byte by byte.
fn bytewise(
    b: &mut Builder,
    (base, hay): (Value, Value),
    (needle_cap, hay_off): (u32, u32),
    (matched, differ): (Block, Block),
) {
    let (run, more, step) = (b.new_block(), b.new_block(), b.new_block());
    let j = b.block_param(run, Ty::Scalar);
    let zero = b.iconst(0);
    b.jump(run, &[zero]);

    b.switch_to(run);
    let limit = b.iconst(i64::from(needle_cap));
    b.br(Cond::Uge, j, limit, matched, more);
    b.switch_to(more);
    let p = b.add(base, j);
    let want = b.load(MemTy::B, p, 0);
    let compare = b.new_block();
    let zero = b.iconst(0);
    b.br(Cond::Eq, want, zero, matched, compare);
    b.switch_to(compare);
    let q = b.add(hay, j);
    let have = b.load(MemTy::B, q, hay_off as i32);
    b.br(Cond::Ne, want, have, differ, step);
    b.switch_to(step);
    let next = b.add_imm(j, 1);
    b.jump(run, &[next]);
}

impl Fx<'_, '_> {
    /// Zeroes from byte `used` to byte `room`.
    fn zero_tail(&mut self, at: Addr, used: u32, room: u32) {
        if room > used {
            self.zero(at.plus(used), room - used);
        }
    }
}
