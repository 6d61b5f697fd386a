//! Failures at run time: each place that can fail has a counter, and most also send a record.

use crate::codegen::helper;
use crate::ir::builder::Builder;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::ir::{BinOp, Block, FuncId, FuncKind, Value};
use crate::object::{Event, EventId, EventKind, Loc, MapId, Site, SiteId, SiteKind};

use super::Lower;
use super::fx::{Fx, Shared};

/// `-E2BIG`: no room for another key.
const E2BIG: i64 = -7;

/// Bytes of a runtime-error record: header and return code.
const ERROR_RECORD: u32 = 16;

impl Lower<'_> {
    fn site(&mut self, kind: SiteKind, helper: &str, loc: Loc, message: &str) -> SiteId {
        self.sites.push(Site {
            kind,
            helper: helper.to_owned(),
            loc,
            expanded_from: Vec::new(),
            message: message.to_owned(),
        });
        SiteId(self.sites.len() as u32 - 1)
    }

    /// `count(site)`: adds one to the site's counter.
    fn count_function(&mut self) -> FuncId {
        if let Some(&f) = self.shared.get(&Shared::Count) {
            return f;
        }
        let map = self.counters_map();
        let mut b = Builder::new("count_failure", FuncKind::Static, &[Ty::Scalar]);
        let site = b.param(0);
        let out = b.new_block();
        add_one(&mut b, map, site, out);
        b.jump(out, &[]);
        b.switch_to(out);
        b.ret_imm(0);
        let f = self.module.add(b.finish());
        self.shared.insert(Shared::Count, f);
        f
    }

    /// `report(site, code)`: counts, and sends a runtime-error record.
    fn report_function(&mut self) -> FuncId {
        if let Some(&f) = self.shared.get(&Shared::Report) {
            return f;
        }
        let counters = self.counters_map();
        let events = self.events_map();
        let event = match self.error_event {
            Some(e) => e,
            None => {
                self.events.push(Event {
                    kind: EventKind::RuntimeError,
                    loc: Loc::default(),
                    size: ERROR_RECORD,
                });
                let e = EventId(self.events.len() as u32 - 1);
                self.error_event = Some(e);
                e
            }
        };
        let params = [Ty::Scalar, Ty::Scalar];
        let mut b = Builder::new("report_failure", FuncKind::Static, &params);
        let (site, code) = (b.param(0), b.param(1));
        let out = b.new_block();
        // In line: most programs have no other use for the counting function.
        add_one(&mut b, counters, site, out);
        let fd = b.map_fd(events);
        let size = b.iconst(i64::from(ERROR_RECORD));
        let flags = b.iconst(0);
        let rec = b.call(
            helper::RINGBUF_RESERVE,
            &[fd, size, flags],
            Ty::RecOrNull(ERROR_RECORD),
        );
        let rec = b.check_null(rec, out);
        b.store_imm(MemTy::W, rec, 0, i64::from(event.0));
        b.store(MemTy::W, rec, 4, site);
        b.store(MemTy::DW, rec, 8, code);
        let flags = b.iconst(0);
        b.call(helper::RINGBUF_SUBMIT, &[rec, flags], Ty::Scalar);
        b.jump(out, &[]);
        b.switch_to(out);
        b.ret_imm(0);
        let f = self.module.add(b.finish());
        self.shared.insert(Shared::Report, f);
        f
    }
}

/// Adds one to a site's counter and goes on in a new block; to `out` where there is none.
fn add_one(b: &mut Builder, counters: MapId, site: Value, out: Block) {
    let slot = b.new_slot(8);
    let key = b.slot_addr(slot, 0);
    b.store(MemTy::W, key, 0, site);
    let fd = b.map_fd(counters);
    let ty = Ty::MapValOrNull(counters);
    let p = b.call(helper::MAP_LOOKUP_ELEM, &[fd, key], ty);
    let p = b.check_null(p, out);
    let one = b.iconst(1);
    b.atomic_add(p, 0, one);
}

impl Fx<'_, '_> {
    /// Whether failures of this kind are sent to user space as they happen; the others are
    /// only counted.
    fn is_live(&self, kind: SiteKind) -> bool {
        match kind {
            SiteKind::LostEvent | SiteKind::Scratch | SiteKind::Truncated => false,
            SiteKind::MapLookup | SiteKind::Read => self.lw.program.config.warn_helpers,
            _ => true,
        }
    }

    /// Counts a failure at the current place of the script.
    pub(super) fn count_failure(&mut self, kind: SiteKind, helper: &str) {
        let loc = self.b.loc();
        let site = self.lw.site(kind, helper, loc, "");
        let f = self.lw.count_function();
        let v = self.b.iconst(i64::from(site.0));
        self.b.call_func(f, &[v], Ty::Scalar);
    }

    /// Counts and, where its kind is reported, sends a failure with the code of the helper.
    pub(super) fn report_failure(&mut self, kind: SiteKind, helper: &str, code: Value) {
        self.report_message(kind, helper, code, "");
    }

    /// The same with a message of the script.
    pub(super) fn report_message(
        &mut self,
        kind: SiteKind,
        helper: &str,
        code: Value,
        message: &str,
    ) {
        if !self.is_live(kind) {
            self.count_failure(kind, helper);
            return;
        }
        let loc = self.b.loc();
        let site = self.lw.site(kind, helper, loc, message);
        let f = self.lw.report_function();
        let v = self.b.iconst(i64::from(site.0));
        self.b.call_func(f, &[v, code], Ty::Scalar);
    }

    /// Reports a map update that failed with `code`: as a full map, or as whatever else it is
    /// (the kernel refuses updates that could deadlock with one that they interrupt).
    pub(super) fn report_update(&mut self, code: Value) {
        let loc = self.b.loc();
        let full = self.lw.site(SiteKind::MapFull, "map_update_elem", loc, "");
        let other = self
            .lw
            .site(SiteKind::MapUpdate, "map_update_elem", loc, "");
        debug_assert_eq!(full.0 + 1, other.0);
        let f = self.lw.report_function();
        // What else an update fails with is below -E2BIG (-EBUSY, -ENOMEM, -EDEADLK).
        let above = self.b.add_imm(code, -E2BIG);
        let is_other = self.b.bin_imm(BinOp::Lshr, above, 63);
        let site = self.b.add_imm(is_other, i64::from(full.0));
        self.b.call_func(f, &[site, code], Ty::Scalar);
    }

    /// Reports a map update if its `code` is negative, and goes on either way.
    pub(super) fn check_update(&mut self, code: Value) {
        let next = self.b.new_block();
        let bad = self.b.new_block();
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Slt, code, zero, bad, next);
        self.b.switch_to(bad);
        self.report_update(code);
        self.b.jump(next, &[]);
        self.b.switch_to(next);
    }

    /// Reports if `code` is negative, and goes on either way.
    pub(super) fn check_code(&mut self, code: Value, kind: SiteKind, helper: &str) {
        let next = self.b.new_block();
        let bad = self.b.new_block();
        let zero = self.b.iconst(0);
        self.b.br_cold(Cond::Slt, code, zero, bad, next);
        self.b.switch_to(bad);
        self.report_failure(kind, helper, code);
        self.b.jump(next, &[]);
        self.b.switch_to(next);
    }
}
