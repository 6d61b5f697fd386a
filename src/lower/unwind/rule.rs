//! From a frame to its caller: by the rule of a table, or by the frame pointer.
//!
//! Both end in [`caller`], which takes the caller for the next frame or ends the walk.

use crate::codegen::helper;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, Block, Value, Width};
use crate::object::unwind::{End, RuleRecord, SIGNAL, Unwind, base, cfa};

use super::super::regs;
use super::state;
use super::walk::Step;

/// What was found of the caller.
struct Caller {
    /// The canonical frame address, its stack pointer.
    sp: Value,
    ip: Value,
    fp: Value,
    /// 1 if its address is a return address, 0 if that of an interrupted instruction.
    back: Value,
}

/// Follows rule `number`; goes to `missing` if there is no such rule.
pub(super) fn apply(s: &mut Step, maps: Unwind, number: Value, addr: Value, missing: Block) {
    let r = s.rule(maps.rules, number, missing);
    let (sp, fp) = (
        s.b.load(MemTy::DW, s.p, state::SP),
        s.b.load(MemTy::DW, s.p, state::FP),
    );
    let kind = s.b.load(MemTy::B, r, RuleRecord::CFA as i32);
    let ra_base = s.b.load(MemTy::B, r, RuleRecord::RA as i32);
    let fp_base = s.b.load(MemTy::B, r, RuleRecord::FP as i32);
    let extra = s.b.load(MemTy::B, r, RuleRecord::EXTRA as i32);
    let off = s.b.load(MemTy::new(4, true), r, RuleRecord::CFA_OFF as i32);

    let (outermost, inner) = (s.b.new_block(), s.b.new_block());
    let none = s.b.iconst(i64::from(base::NONE));
    s.b.br(Cond::Eq, ra_base, none, outermost, inner);
    s.b.switch_to(outermost);
    // A frame whose address cannot be computed has no caller either: two reasons, one test.
    let (unsupported, complete) = (s.b.new_block(), s.b.new_block());
    let no_cfa = s.b.iconst(i64::from(cfa::NONE));
    s.b.br(Cond::Eq, kind, no_cfa, unsupported, complete);
    s.b.switch_to(complete);
    s.stop(End::Complete);
    s.b.switch_to(unsupported);
    s.stop(End::Unsupported);

    s.b.switch_to(inner);
    let unsupported = s.b.new_block();
    let frame = frame_address(s, kind, off, extra, addr, (sp, fp), unsupported);
    s.b.switch_to(unsupported);
    s.stop(End::Unsupported);

    s.b.switch_to(frame.0);
    let frame = frame.1;
    let ra_off = s.b.load(MemTy::new(4, true), r, RuleRecord::RA_OFF as i32);
    let fp_off = s.b.load(MemTy::new(4, true), r, RuleRecord::FP_OFF as i32);
    let bad = s.b.new_block();
    let (pair, apart, found) = (s.b.new_block(), s.b.new_block(), s.b.new_block());
    let ip = s.b.block_param(found, Ty::Scalar);
    let caller_fp = s.b.block_param(found, Ty::Scalar);
    let together = s.b.iconst(i64::from(base::PAIR));
    s.b.br(Cond::Eq, fp_base, together, pair, apart);
    s.b.switch_to(pair);
    let at = s.b.add(frame, fp_off);
    read(s, at, 16, bad);
    let word = s.b.load(MemTy::DW, s.p, state::WORDS);
    let next = s.b.load(MemTy::DW, s.p, state::WORDS + 8);
    s.b.jump(found, &[next, word]);
    s.b.switch_to(apart);
    let ra = saved(s, ra_base, ra_off, None, (frame, sp, fp), bad);
    let saved_fp = saved(s, fp_base, fp_off, Some(fp), (frame, sp, fp), bad);
    s.b.jump(found, &[ra, saved_fp]);
    s.b.switch_to(found);
    let back = return_address(s, kind, extra);
    let c = Caller {
        sp: frame,
        ip,
        fp: caller_fp,
        back,
    };
    caller(s, sp, &c);
    s.b.switch_to(bad);
    s.stop(End::Unreadable);
}

/// Whether the caller's address is a return address (1) or that of an interrupted instruction.
fn return_address(s: &mut Step, kind: Value, extra: Value) -> Value {
    let (plain, other, done) = (s.b.new_block(), s.b.new_block(), s.b.new_block());
    let back = s.b.block_param(done, Ty::Scalar);
    let plt = s.b.iconst(i64::from(cfa::PLT));
    // From PLT on `extra` means something else.
    s.b.br(Cond::Uge, kind, plt, other, plain);
    s.b.switch_to(other);
    let one = s.b.iconst(1);
    s.b.jump(done, &[one]);
    s.b.switch_to(plain);
    let signal = s.b.bin_imm(BinOp::And, extra, i64::from(SIGNAL));
    let v = s.b.bin_imm(BinOp::Xor, signal, 1);
    s.b.jump(done, &[v]);
    s.b.switch_to(done);
    back
}

/// The canonical frame address: a block and its value there.
fn frame_address(
    s: &mut Step,
    kind: Value,
    off: Value,
    extra: Value,
    addr: Value,
    (sp, fp): (Value, Value),
    unsupported: Block,
) -> (Block, Value) {
    let done = s.b.new_block();
    let result = s.b.block_param(done, Ty::Scalar);
    let by_sp = s.b.add(sp, off);
    let by_fp = s.b.add(fp, off);
    let is = |s: &mut Step, k: u8, yes: (Block, &[Value])| {
        let no = s.b.new_block();
        let k = s.b.iconst(i64::from(k));
        s.b.br_w(Cond::Eq, Width::W64, kind, k, yes, (no, &[]), false);
        s.b.switch_to(no);
    };
    is(s, cfa::SP, (done, &[by_sp]));
    is(s, cfa::FP, (done, &[by_fp]));
    let deref = s.b.new_block();
    let from = s.b.block_param(deref, Ty::Scalar);
    is(s, cfa::DEREF_SP, (deref, &[by_sp]));
    is(s, cfa::DEREF_FP, (deref, &[by_fp]));
    let plt = s.b.new_block();
    is(s, cfa::PLT, (plt, &[]));
    let register = s.b.new_block();
    is(s, cfa::REGISTER, (register, &[]));
    s.b.jump(unsupported, &[]);

    s.b.switch_to(deref);
    let bad = s.b.new_block();
    let v = read_word(s, from, bad);
    s.b.jump(done, &[v]);
    s.b.switch_to(bad);
    s.stop(End::Unreadable);

    s.b.switch_to(plt);
    let low = s.b.bin_imm(BinOp::And, addr, 15);
    let pushed = s.b.new_block();
    s.b.br_w(
        Cond::Ult,
        Width::W64,
        low,
        extra,
        (done, &[by_sp]),
        (pushed, &[]),
        false,
    );
    s.b.switch_to(pushed);
    let v = s.b.add_imm(by_sp, 8);
    s.b.jump(done, &[v]);

    s.b.switch_to(register);
    // Only the innermost frame still has its registers.
    let n = s.b.load(MemTy::DW, s.p, state::FRAMES);
    let one = s.b.iconst(1);
    let first = s.b.new_block();
    s.b.br(Cond::Ne, n, one, unsupported, first);
    s.b.switch_to(first);
    let words = i64::from(regs::BYTES / 8);
    let limit = s.b.iconst(words);
    let inside = s.b.new_block();
    s.b.br(Cond::Uge, extra, limit, unsupported, inside);
    s.b.switch_to(inside);
    let at = s.b.bin_imm(BinOp::Shl, extra, 3);
    let q = s.b.add(s.p, at);
    let v = s.b.load(MemTy::DW, q, state::REGS);
    let v = s.b.add(v, off);
    s.b.jump(done, &[v]);
    (done, result)
}

/// A register of the caller: `same` where it is still in its register. `at` are the frame
/// address, stack and frame pointer. Goes on in a new block.
fn saved(
    s: &mut Step,
    kind: Value,
    off: Value,
    same: Option<Value>,
    at: (Value, Value, Value),
    bad: Block,
) -> Value {
    let done = s.b.new_block();
    let result = s.b.block_param(done, Ty::Scalar);
    let read = s.b.new_block();
    let from = s.b.block_param(read, Ty::Scalar);
    let zero = s.b.iconst(0);
    // The return address is never still in a register here: a link register's rule says so by
    // another base.
    let kept = same.unwrap_or(zero);
    for (k, to, v) in [
        (base::CFA, read, at.0),
        (base::SAME, done, kept),
        (base::SP, read, at.1),
        (base::FP, read, at.2),
    ] {
        let no = s.b.new_block();
        let k = s.b.iconst(i64::from(k));
        s.b.br_w(Cond::Eq, Width::W64, kind, k, (to, &[v]), (no, &[]), false);
        s.b.switch_to(no);
    }
    let zero = s.b.iconst(0);
    s.b.jump(done, &[zero]);
    s.b.switch_to(read);
    let addr = s.b.add(from, off);
    let v = read_word(s, addr, bad);
    s.b.jump(done, &[v]);
    s.b.switch_to(done);
    result
}

/// A word of the user's memory. Goes on in a new block.
fn read_word(s: &mut Step, addr: Value, bad: Block) -> Value {
    read(s, addr, 8, bad);
    s.b.load(MemTy::DW, s.p, state::WORDS)
}

/// Reads up to 16 bytes of the user's memory into the state.
fn read(s: &mut Step, addr: Value, len: i64, bad: Block) {
    let to = s.b.add_imm(s.p, i64::from(state::WORDS));
    let n = s.b.iconst(len);
    let code =
        s.b.call(helper::PROBE_READ_USER, &[to, n, addr], Ty::Scalar);
    let good = s.b.new_block();
    let zero = s.b.iconst(0);
    s.b.br_cold(Cond::Ne, code, zero, bad, good);
    s.b.switch_to(good);
}

/// Where no table says anything: the caller by the frame pointer, which code without tables
/// (generated code, Go, assembly) mostly keeps. It must lead upwards, and the walk only counts
/// as good up to the last address in a known mapping.
pub(super) fn by_frame_pointer(s: &mut Step, round: Value) {
    let (entry, later, chain) = (s.b.new_block(), s.b.new_block(), s.b.new_block());
    let (bad, unreadable) = (s.b.new_block(), s.b.new_block());
    let zero = s.b.iconst(0);
    s.b.br(Cond::Eq, round, zero, entry, chain);

    // On the first instruction of a function the return address is on top of the stack.
    s.b.switch_to(entry);
    let at_entry = s.b.load(MemTy::DW, s.p, state::ENTRY);
    let zero = s.b.iconst(0);
    s.b.br(Cond::Ne, at_entry, zero, later, chain);
    s.b.switch_to(later);
    let sp = s.b.load(MemTy::DW, s.p, state::SP);
    let fp = s.b.load(MemTy::DW, s.p, state::FP);
    let ip = read_word(s, sp, unreadable);
    let above = s.b.add_imm(sp, 8);
    let back = s.b.iconst(1);
    let c = Caller {
        sp: above,
        ip,
        fp,
        back,
    };
    caller(s, sp, &c);

    s.b.switch_to(chain);
    let sp = s.b.load(MemTy::DW, s.p, state::SP);
    let fp = s.b.load(MemTy::DW, s.p, state::FP);
    let (above, aligned) = (s.b.new_block(), s.b.new_block());
    s.b.br_cold(Cond::Ult, fp, sp, bad, above);
    s.b.switch_to(above);
    let seven = s.b.iconst(7);
    s.b.br_cold(Cond::Set, fp, seven, bad, aligned);
    s.b.switch_to(aligned);
    read(s, fp, 16, unreadable);
    let next = s.b.load(MemTy::DW, s.p, state::WORDS);
    let ip = s.b.load(MemTy::DW, s.p, state::WORDS + 8);
    let frame = s.b.add_imm(fp, 16);
    let back = s.b.iconst(1);
    let c = Caller {
        sp: frame,
        ip,
        fp: next,
        back,
    };
    caller(s, sp, &c);

    // No frame pointer: in a known file it has no rule, elsewhere nothing is known.
    s.b.switch_to(bad);
    ends_without_table(s);
    s.b.switch_to(unreadable);
    ends_without_table(s);
}

/// Ends the walk where neither a table nor the frame pointer leads on.
fn ends_without_table(s: &mut Step) {
    let (known, unknown) = (s.b.new_block(), s.b.new_block());
    let stop = s.b.load(MemTy::DW, s.p, state::STOP);
    let zero = s.b.iconst(0);
    s.b.br(Cond::Eq, stop, zero, unknown, known);
    s.b.switch_to(known);
    s.stop(End::NoRule);
    s.b.switch_to(unknown);
    s.stop(End::Unmapped);
}

/// Goes on with the caller of the frame with stack pointer `sp`.
fn caller(s: &mut Step, sp: Value, c: &Caller) {
    let (last, more, up, fine, damaged) = (
        s.b.new_block(),
        s.b.new_block(),
        s.b.new_block(),
        s.b.new_block(),
        s.b.new_block(),
    );
    let zero = s.b.iconst(0);
    s.b.br_cold(Cond::Eq, c.ip, zero, last, more);
    s.b.switch_to(last);
    s.stop(End::Complete);
    // A signal may have changed the stack; otherwise callers are above.
    s.b.switch_to(more);
    let zero = s.b.iconst(0);
    s.b.br(Cond::Eq, c.back, zero, fine, up);
    s.b.switch_to(up);
    s.b.br_cold(Cond::Ule, c.sp, sp, damaged, fine);
    s.b.switch_to(fine);
    s.b.store(MemTy::DW, s.p, state::IP, c.ip);
    s.b.store(MemTy::DW, s.p, state::SP, c.sp);
    s.b.store(MemTy::DW, s.p, state::FP, c.fp);
    s.b.store(MemTy::DW, s.p, state::BACK, c.back);
    s.b.ret_imm(0);
    s.b.switch_to(damaged);
    s.stop(End::Damaged);
}
