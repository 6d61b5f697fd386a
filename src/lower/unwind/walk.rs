//! The walk: one function that sets it up and counts how it ended, and the callback of
//! `bpf_loop` that finds one caller.
//!
//! The state lives in scratch ([`super::state`]); the frame of the function holds its address
//! and that of the process table, which is how the callback comes by them:
//!
//! ```text
//!   0         8
//!   +---------+---------+
//!   | state   | mapping |
//!   +---------+---------+
//! ```
//! The verifier sees every look-up with masked indices and bounded rounds; it does not depend on
//! what the tables hold.

use crate::codegen::helper;
use crate::ir::builder::Builder;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, Block, FuncId, FuncKind, Value};
use crate::object::unwind::{
    End, MAX_MAPPINGS, PAGE_BITS, PAGE_ENTRY, SEGMENT, SEGMENT_BITS, SEGMENT_WORDS, Unwind, mapping,
};
use crate::object::{Event, EventKind, MapId, RECORD_HEADER, STACK_VALUE_HEADER};

use super::super::fx::Shared;
use super::super::{Lower, regs};
use super::{lookup, rule, state};

/// Bytes of a request for tables: header and process id.
const REQUEST: u32 = RECORD_HEADER + 8;
/// Least nanoseconds between two requests of a process.
const PATIENCE: i64 = 50_000_000;

/// Maps that the functions use.
#[derive(Clone, Copy)]
struct Maps {
    scratch: MapId,
    unwind: Unwind,
}

/// `unwind(state) -> frames` for stacks of at most `limit` frames.
pub(super) fn function(lw: &mut Lower<'_>, limit: u16) -> FuncId {
    if let Some(&f) = lw.shared.get(&Shared::Unwind(limit)) {
        return f;
    }
    let maps = Maps {
        scratch: lw.scratch_map(),
        unwind: lw.unwind_maps(),
    };
    let step = step_function(lw, maps, limit);
    let ask = ask_function(lw, maps);
    let mut b = Builder::new(
        format!("unwind_{limit}"),
        FuncKind::Static,
        &[Ty::MapVal(maps.scratch)],
    );
    let p = b.param(0);
    let (walk, fresh, odd, ended) = (b.new_block(), b.new_block(), b.new_block(), b.new_block());
    let (user, kernel) = (b.new_block(), b.new_block());

    // Only code of the user's own, and of the processor's full width.
    let cs = b.load(MemTy::DW, p, state::REGS + regs::CS);
    let level = b.bin_imm(BinOp::And, cs, 3);
    let zero = b.iconst(0);
    b.br_cold(Cond::Eq, level, zero, kernel, user);
    b.switch_to(kernel);
    b.store_imm(MemTy::DW, p, state::SIZE as i32, 0);
    b.ret_imm(0);

    b.switch_to(user);
    for (from, to) in [
        (regs::IP, state::IP),
        (regs::SP, state::SP),
        (regs::FP, state::FP),
    ] {
        let v = b.load(MemTy::DW, p, state::REGS + from);
        b.store(MemTy::DW, p, to, v);
    }
    for zeroed in [
        state::END,
        state::BACK,
        state::KNOWN,
        state::MISSED,
        state::START,
        state::STOP,
        state::TABLE,
    ] {
        b.store_imm(MemTy::DW, p, zeroed, 0);
    }
    b.store_imm(MemTy::DW, p, state::FRAMES, 1);
    let ip = b.load(MemTy::DW, p, state::IP);
    b.store(MemTy::DW, p, first_address(), ip);
    let id = b.call(helper::GET_CURRENT_PID_TGID, &[], Ty::Scalar);
    let pid = b.bin_imm(BinOp::Lshr, id, 32);
    let wide = b.iconst(regs::USER_CS);
    let cs = b.load(MemTy::DW, p, state::REGS + regs::CS);
    let known = b.new_block();
    b.br_cold(Cond::Ne, cs, wide, odd, known);
    b.switch_to(odd);
    b.store_imm(MemTy::DW, p, state::END, End::Unsupported as i64);
    b.jump(ended, &[]);

    b.switch_to(known);
    let slot = b.new_slot(16);
    let key = b.slot_addr(slot, 0);
    b.store(MemTy::W, key, 0, pid);
    let table = lookup(&mut b, maps.unwind.processes, key, Ty::MapOrNull);
    let table = b.check_null(table, fresh);
    let key = b.slot_addr(slot, 0);
    b.store_imm(MemTy::W, key, 0, 0);
    let ty = Ty::MapValOrNull(maps.unwind.template);
    let m = b.call(helper::MAP_LOOKUP_ELEM, &[table, key], ty);
    let m = b.check_null(m, fresh);
    b.jump(walk, &[]);

    b.switch_to(walk);
    let env = b.slot_addr(slot, 0);
    b.store(MemTy::DW, env, 0, p);
    b.store(MemTy::DW, env, 8, m);
    let rounds = b.iconst(i64::from(limit));
    let callback = b.func_addr(step);
    let flags = b.iconst(0);
    b.call(helper::LOOP, &[rounds, callback, env, flags], Ty::Scalar);
    b.jump(ended, &[]);

    b.switch_to(fresh);
    b.store_imm(MemTy::DW, p, state::END, End::NewProcess as i64);
    b.store_imm(MemTy::DW, p, state::MISSED, 1);
    b.jump(ended, &[]);

    b.switch_to(ended);
    finish(&mut b, maps, p, ask, pid);
    let f = lw.module.add(b.finish());
    lw.shared.insert(Shared::Unwind(limit), f);
    f
}

/// Where the first address of the stack is.
fn first_address() -> i32 {
    (state::SIZE + STACK_VALUE_HEADER) as i32
}

/// Asks for tables if something was missing, counts the end, and gives the number of frames.
fn finish(b: &mut Builder, maps: Maps, p: Value, ask: FuncId, pid: Value) {
    let (missing, count) = (b.new_block(), b.new_block());
    let missed = b.load(MemTy::DW, p, state::MISSED);
    let zero = b.iconst(0);
    b.br_cold(Cond::Ne, missed, zero, missing, count);
    b.switch_to(missing);
    b.call_func(ask, &[pid], Ty::Scalar);
    b.jump(count, &[]);

    b.switch_to(count);
    let end = b.load(MemTy::DW, p, state::END);
    let table = b.load(MemTy::W, p, state::TABLE);
    let at = b.bin_imm(BinOp::Mul, table, i64::from(End::COUNT));
    let at = b.add(at, end);
    let slot = b.new_slot(8);
    let key = b.slot_addr(slot, 0);
    b.store(MemTy::W, key, 0, at);
    let ty = Ty::MapValOrNull(maps.unwind.ends);
    let counter = lookup(b, maps.unwind.ends, key, ty);
    let (trim, all) = (b.new_block(), b.new_block());
    let counter = b.check_null(counter, trim);
    let one = b.iconst(1);
    b.atomic_add(counter, 0, one);
    b.jump(trim, &[]);

    // Of the addresses after the last known one, the first was still found from a known frame.
    b.switch_to(trim);
    let n = b.load(MemTy::DW, p, state::FRAMES);
    let end = b.load(MemTy::DW, p, state::END);
    let lost = b.new_block();
    let complete = b.iconst(End::Complete as i64);
    b.br_w(
        Cond::Ule,
        crate::ir::Width::W64,
        end,
        complete,
        (all, &[n]),
        (lost, &[]),
        false,
    );
    let frames = b.block_param(all, Ty::Scalar);
    b.switch_to(lost);
    let known = b.load(MemTy::DW, p, state::KNOWN);
    let most = b.add_imm(known, 1);
    b.br_w(
        Cond::Ult,
        crate::ir::Width::W64,
        most,
        n,
        (all, &[most]),
        (all, &[n]),
        false,
    );
    b.switch_to(all);
    b.store(MemTy::DW, p, state::SIZE as i32, frames);
    b.ret(frames);
}

/// `ask(pid)`: tells user space that tables of a process are missing, but not too often.
fn ask_function(lw: &mut Lower<'_>, maps: Maps) -> FuncId {
    if let Some(&f) = lw.shared.get(&Shared::AskForTables) {
        return f;
    }
    lw.events.push(Event {
        kind: EventKind::UnwindTables { pid: RECORD_HEADER },
        loc: crate::object::Loc::default(),
        size: REQUEST,
    });
    let event = lw.events.len() as i64 - 1;
    let events = lw.events_map();
    let mut b = Builder::new("ask_for_tables", FuncKind::Static, &[Ty::Scalar]);
    let pid = b.param(0);
    let (out, new, old, tell) = (b.new_block(), b.new_block(), b.new_block(), b.new_block());
    let slot = b.new_slot(16);
    let key = b.slot_addr(slot, 0);
    b.store(MemTy::W, key, 0, pid);
    let now = b.call(helper::KTIME_GET_NS, &[], Ty::Scalar);
    let asked = maps.unwind.asked;
    let known = lookup(&mut b, asked, key, Ty::MapValOrNull(asked));
    let zero = b.iconst(0);
    b.br(Cond::Eq, known, zero, new, old);
    b.switch_to(old);
    let known = b.non_null(known);
    let before = b.load(MemTy::DW, known, 0);
    let age = b.sub(now, before);
    let patience = b.iconst(PATIENCE);
    let due = b.new_block();
    b.br(Cond::Ult, age, patience, out, due);
    b.switch_to(due);
    b.store(MemTy::DW, known, 0, now);
    b.jump(tell, &[]);
    b.switch_to(new);
    let value = b.slot_addr(slot, 8);
    b.store(MemTy::DW, value, 0, now);
    let fd = b.map_fd(asked);
    let key = b.slot_addr(slot, 0);
    let flags = b.iconst(0);
    b.call(
        helper::MAP_UPDATE_ELEM,
        &[fd, key, value, flags],
        Ty::Scalar,
    );
    b.jump(tell, &[]);

    b.switch_to(tell);
    let fd = b.map_fd(events);
    let size = b.iconst(i64::from(REQUEST));
    let flags = b.iconst(0);
    let rec = b.call(
        helper::RINGBUF_RESERVE,
        &[fd, size, flags],
        Ty::RecOrNull(REQUEST),
    );
    let rec = b.check_null(rec, out);
    b.store_imm(MemTy::DW, rec, 0, event);
    b.store(MemTy::DW, rec, RECORD_HEADER as i32, pid);
    let flags = b.iconst(0);
    b.call(helper::RINGBUF_SUBMIT, &[rec, flags], Ty::Scalar);
    b.jump(out, &[]);
    b.switch_to(out);
    b.ret_imm(0);
    let f = lw.module.add(b.finish());
    lw.shared.insert(Shared::AskForTables, f);
    f
}

/// The callback under construction.
pub(super) struct Step {
    pub b: Builder,
    /// The state.
    pub p: Value,
    /// The template of segments.
    pub template: MapId,
    /// A `u32` key in the frame.
    key: Value,
}

/// `step(round, env)`: takes one frame and finds its caller; 1 ends the walk.
fn step_function(lw: &mut Lower<'_>, maps: Maps, limit: u16) -> FuncId {
    let mut b = Builder::new(
        format!("unwind_step_{limit}"),
        FuncKind::LoopBody,
        &[Ty::Scalar, Ty::Frame],
    );
    let (round, env) = (b.param(0), b.param(1));
    let p = b.load_ty(MemTy::DW, env, 0, Ty::MapVal(maps.scratch));
    let m = b.load_ty(MemTy::DW, env, 8, Ty::MapVal(maps.unwind.template));
    let round = b.ext(false, 32, round);
    let (take, over) = (b.new_block(), b.new_block());
    let end = b.iconst(i64::from(limit));
    b.br_cold(Cond::Uge, round, end, over, take);
    b.switch_to(over);
    b.ret_imm(1);

    b.switch_to(take);
    let slot = b.new_slot(8);
    let key = b.slot_addr(slot, 0);
    let ip = b.load(MemTy::DW, p, state::IP);
    let off = b.bin_imm(BinOp::Shl, round, 3);
    let at = b.add(p, off);
    b.store(MemTy::DW, at, first_address(), ip);
    let n = b.add_imm(round, 1);
    b.store(MemTy::DW, p, state::FRAMES, n);
    let back = b.load(MemTy::DW, p, state::BACK);
    let addr = b.sub(ip, back);

    let mut s = Step {
        b,
        p,
        template: maps.unwind.template,
        key,
    };
    let (by_table, by_pointer) = (s.b.new_block(), s.b.new_block());
    s.find_mapping(m, addr, n, by_table, by_pointer);
    s.b.switch_to(by_table);
    let number = s.find_rule(maps.unwind, addr, by_pointer);
    rule::apply(&mut s, maps.unwind, number, addr, by_pointer);
    s.b.switch_to(by_pointer);
    rule::by_frame_pointer(&mut s, round);
    lw.module.add(s.b.finish())
}

impl Step {
    /// Ends the walk.
    pub(super) fn stop(&mut self, end: End) {
        self.b.store_imm(MemTy::DW, self.p, state::END, end as i64);
        self.b.ret_imm(1);
    }

    /// Looks a number up in a map.
    pub(super) fn element(&mut self, map: MapId, number: Value, ty: Ty) -> Value {
        self.b.store(MemTy::W, self.key, 0, number);
        let key = self.key;
        lookup(&mut self.b, map, key, ty)
    }

    /// A segment of a table.
    fn segment(&mut self, table: Value, number: Value, missing: Block) -> Value {
        self.b.store(MemTy::W, self.key, 0, number);
        let key = self.key;
        let ty = Ty::MapValOrNull(self.template);
        let s = self.b.call(helper::MAP_LOOKUP_ELEM, &[table, key], ty);
        self.b.check_null(s, missing)
    }

    /// `i + step` if `low <= high`, else `i`; all three numbers below 2^63.
    fn advance(&mut self, i: Value, step: Value, low: Value, high: Value) -> Value {
        let b = &mut self.b;
        // All ones if it is so: a branch here would be mispredicted every other time.
        let over = b.sub(high, low);
        let over = b.bin_imm(BinOp::Lshr, over, 63);
        let mask = b.add_imm(over, -1);
        let step = b.bin(BinOp::And, step, mask);
        b.add(i, step)
    }

    /// The last mapping of a process that starts at or below `addr`.
    fn last_mapping(&mut self, m: Value, addr: Value) -> Value {
        let (head, more, done) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let round = self.b.block_param(head, Ty::Scalar);
        let i = self.b.block_param(head, Ty::Scalar);
        let width = self.b.block_param(head, Ty::Scalar);
        let last = self.b.block_param(done, Ty::Scalar);
        let first = self.b.load(MemTy::W, m, mapping::PAGES as i32);
        let zero = self.b.iconst(0);
        self.b.jump(head, &[zero, zero, first]);

        self.b.switch_to(head);
        let some = self.b.new_block();
        let zero = self.b.iconst(0);
        let wide = crate::ir::Width::W64;
        self.b.br_w(
            Cond::Eq,
            wide,
            width,
            zero,
            (done, &[i]),
            (some, &[]),
            false,
        );
        self.b.switch_to(some);
        let end = self.b.iconst(i64::from((MAX_MAPPINGS + 1).ilog2()));
        self.b.br_w(
            Cond::Uge,
            wide,
            round,
            end,
            (done, &[i]),
            (more, &[]),
            false,
        );
        self.b.switch_to(more);
        let at = self.b.add(i, width);
        let q = self.mapping(m, at);
        let start = self.b.load(MemTy::DW, q, mapping::START as i32);
        let next = self.advance(i, width, start, addr);
        let width = self.b.bin_imm(BinOp::Lshr, width, 1);
        let round = self.b.add_imm(round, 1);
        self.b.jump(head, &[round, next, width]);
        self.b.switch_to(done);
        last
    }

    /// The mapping with this number.
    fn mapping(&mut self, m: Value, number: Value) -> Value {
        let off = self
            .b
            .bin_imm(BinOp::Shl, number, i64::from(mapping::SIZE.ilog2()));
        let off = self
            .b
            .bin_imm(BinOp::And, off, i64::from(SEGMENT - mapping::SIZE));
        self.b.add(m, off)
    }

    /// Makes the mapping of `addr` the state's. Goes to `found`, or to `missing` where none is
    /// known.
    fn find_mapping(&mut self, m: Value, addr: Value, n: Value, found: Block, missing: Block) {
        let p = self.p;
        let (search, same, unknown) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let below = self.b.new_block();
        let start = self.b.load(MemTy::DW, p, state::START);
        self.b.br(Cond::Ult, addr, start, search, below);
        self.b.switch_to(below);
        let stop = self.b.load(MemTy::DW, p, state::STOP);
        self.b.br(Cond::Ult, addr, stop, same, search);

        self.b.switch_to(search);
        // Addresses of the user's are below 2^63; any other is in no mapping.
        let kernel = self.b.new_block();
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Slt, addr, zero, unknown, kernel);
        self.b.switch_to(kernel);
        let i = self.last_mapping(m, addr);
        let q = self.mapping(m, i);
        let stop = self.b.load(MemTy::DW, q, mapping::END as i32);
        let inside = self.b.new_block();
        self.b.br_cold(Cond::Uge, addr, stop, unknown, inside);
        self.b.switch_to(inside);
        for (from, to) in [
            (mapping::START, state::START),
            (mapping::END, state::STOP),
            (mapping::BIAS, state::BIAS),
            (mapping::TABLE, state::TABLE),
        ] {
            // The last is table and pages together.
            let v = self.b.load(MemTy::DW, q, from as i32);
            self.b.store(MemTy::DW, p, to, v);
        }
        self.b.jump(same, &[]);

        self.b.switch_to(same);
        self.b.store(MemTy::DW, p, state::KNOWN, n);
        let table = self.b.load(MemTy::W, p, state::TABLE);
        let zero = self.b.iconst(0);
        self.b.br(Cond::Eq, table, zero, missing, found);

        self.b.switch_to(unknown);
        self.b.store_imm(MemTy::DW, p, state::START, 0);
        self.b.store_imm(MemTy::DW, p, state::STOP, 0);
        self.b.store_imm(MemTy::DW, p, state::TABLE, 0);
        self.b.store_imm(MemTy::DW, p, state::MISSED, 1);
        self.b.jump(missing, &[]);
    }

    /// The number of the rule at `addr` of the state's mapping; goes to `missing` where the
    /// table has none.
    fn find_rule(&mut self, maps: Unwind, addr: Value, missing: Block) -> Value {
        let p = self.p;
        let bias = self.b.load(MemTy::DW, p, state::BIAS);
        let at = self.b.sub(addr, bias);
        let page = self.b.bin_imm(BinOp::Lshr, at, i64::from(PAGE_BITS));
        let pages = self.b.load(MemTy::W, p, state::PAGES);
        let inside = self.b.new_block();
        self.b.br_cold(Cond::Uge, page, pages, missing, inside);
        self.b.switch_to(inside);
        let number = self.b.load(MemTy::W, p, state::TABLE);
        let table = self.element(maps.tables, number, Ty::MapOrNull);
        let table = self.b.check_null(table, missing);

        // The page's entry in the directory.
        let off = self.b.bin_imm(BinOp::Mul, page, i64::from(PAGE_ENTRY));
        let segment = self.b.bin_imm(BinOp::Lshr, off, i64::from(SEGMENT_BITS));
        let s = self.segment(table, segment, missing);
        let off = self
            .b
            .bin_imm(BinOp::And, off, i64::from(SEGMENT - PAGE_ENTRY));
        let entry = self.b.add(s, off);
        let first = self.b.load(MemTy::W, entry, 0);
        let rows = self.b.load(MemTy::W, entry, 4);

        // Its rows, which are in one segment.
        let segment = self
            .b
            .bin_imm(BinOp::Lshr, first, i64::from(SEGMENT_BITS - 2));
        let s = self.segment(table, segment, missing);
        let low = self.b.bin_imm(BinOp::And, at, (1i64 << PAGE_BITS) - 1);
        let key = self.b.bin_imm(BinOp::Shl, low, 16);
        let key = self.b.bin_imm(BinOp::Or, key, 0xffff);
        let row = self.last_row(s, first, rows, key);
        let number = self.b.bin_imm(BinOp::And, row, 0xffff);
        let known = self.b.new_block();
        let zero = self.b.iconst(0);
        self.b.br(Cond::Eq, number, zero, missing, known);
        self.b.switch_to(known);
        number
    }

    /// The last of `rows` rows from word `first` of a segment that is not above `key`; the
    /// first one never is.
    fn last_row(&mut self, segment: Value, first: Value, rows: Value, key: Value) -> Value {
        let (head, more, done) = (self.b.new_block(), self.b.new_block(), self.b.new_block());
        let round = self.b.block_param(head, Ty::Scalar);
        let at = self.b.block_param(head, Ty::Scalar);
        let left = self.b.block_param(head, Ty::Scalar);
        let last = self.b.block_param(done, Ty::Scalar);
        let zero = self.b.iconst(0);
        self.b.jump(head, &[zero, first, rows]);

        self.b.switch_to(head);
        let two = self.b.iconst(2);
        let width = crate::ir::Width::W64;
        let some = self.b.new_block();
        self.b.br_w(
            Cond::Ult,
            width,
            left,
            two,
            (done, &[at]),
            (some, &[]),
            false,
        );
        self.b.switch_to(some);
        let end = self.b.iconst(i64::from(SEGMENT_WORDS.ilog2()) + 1);
        self.b.br_w(
            Cond::Uge,
            width,
            round,
            end,
            (done, &[at]),
            (more, &[]),
            false,
        );
        self.b.switch_to(more);
        let half = self.b.bin_imm(BinOp::Lshr, left, 1);
        let mid = self.b.add(at, half);
        let row = self.word(segment, mid);
        let next = self.advance(at, half, row, key);
        let left = self.b.sub(left, half);
        let round = self.b.add_imm(round, 1);
        self.b.jump(head, &[round, next, left]);

        self.b.switch_to(done);
        self.word(segment, last)
    }

    /// The word with this number, whatever segment it is of.
    fn word(&mut self, segment: Value, number: Value) -> Value {
        let off = self.b.bin_imm(BinOp::Shl, number, 2);
        let off = self.b.bin_imm(BinOp::And, off, i64::from(SEGMENT - 4));
        let q = self.b.add(segment, off);
        self.b.load(MemTy::W, q, 0)
    }

    /// The rule's record.
    pub(super) fn rule(&mut self, rules: MapId, number: Value, missing: Block) -> Value {
        let r = self.element(rules, number, Ty::MapValOrNull(rules));
        self.b.check_null(r, missing)
    }
}
