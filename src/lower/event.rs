//! Records for user space: reserved in the ring buffer, filled in place, submitted.

use crate::codegen::helper;
use crate::ir::Value;
use crate::ir::inst::{MemTy, Ty};
use crate::object::{Event, EventId, EventKind, FieldLayout, Layout, RECORD_HEADER, SiteKind};
use crate::sema::hir::{Arg, Expr, ExprKind};
use crate::types::{StackTy, Type};

use super::fx::{Addr, Fx};
use super::stack::Walk;

/// An argument of a record: evaluated before the record is reserved, or into it.
enum Field<'a> {
    Value(Type, Value),
    Memory(&'a Expr),
    /// A stack that is walked straight into the record.
    Stack(StackTy, Walk),
}

/// Arguments and their places in a record.
pub(super) struct Fields<'a> {
    items: Vec<(u32, Field<'a>)>,
    /// What user space is told.
    pub layouts: Vec<FieldLayout>,
    /// Bytes of the record.
    pub size: u32,
}

impl<'a> Fx<'_, 'a> {
    /// Adds to the event table.
    pub(super) fn event(&mut self, kind: EventKind, size: u32) -> EventId {
        let loc = self.b.loc();
        self.lw.events.push(Event { kind, loc, size });
        EventId(self.lw.events.len() as u32 - 1)
    }

    /// Reserves a record, lets `fill` write its payload, and submits it. A full ring buffer
    /// counts as a lost event.
    pub(super) fn record(
        &mut self,
        kind: EventKind,
        size: u32,
        fill: impl FnOnce(&mut Self, Addr),
    ) {
        let size = size.next_multiple_of(8).max(RECORD_HEADER);
        let id = self.event(kind, size);
        let map = self.lw.events_map();
        let fd = self.b.map_fd(map);
        let n = self.b.iconst(i64::from(size));
        let flags = self.b.iconst(0);
        let rec = self.b.call(
            helper::RINGBUF_RESERVE,
            &[fd, n, flags],
            Ty::RecOrNull(size),
        );
        let (lost, done) = (self.b.new_block(), self.b.new_block());
        let rec = self.b.check_null(rec, lost);
        self.b.store_imm(MemTy::DW, rec, 0, i64::from(id.0));
        let old = std::mem::replace(&mut self.pad, false);
        fill(self, Addr::new(rec));
        self.pad = old;
        let flags = self.b.iconst(0);
        self.b
            .call(helper::RINGBUF_SUBMIT, &[rec, flags], Ty::Scalar);
        self.b.jump(done, &[]);
        self.b.switch_to(lost);
        self.count_failure(SiteKind::LostEvent, "ringbuf_reserve");
        self.b.jump(done, &[]);
        self.b.switch_to(done);
    }

    /// Evaluates what can be evaluated of some arguments and lays out their record, from byte
    /// `start` on.
    pub(super) fn fields(&mut self, args: &'a [Arg], start: u32) -> Fields<'a> {
        let exprs = args.iter().filter_map(|a| match a {
            Arg::Expr(e) => Some(e),
            _ => None,
        });
        self.expr_fields(exprs, start)
    }

    /// The same for expressions.
    pub(super) fn expr_fields(
        &mut self,
        exprs: impl IntoIterator<Item = &'a Expr>,
        start: u32,
    ) -> Fields<'a> {
        let mut out = Fields {
            items: Vec::new(),
            layouts: Vec::new(),
            size: start,
        };
        for e in exprs {
            let at = out.size.next_multiple_of(8);
            let (field, layout) = match (&e.kind, &e.ty) {
                (ExprKind::Call(c), Type::Stack(ty)) if c.builtin.name.ends_with("stack") => (
                    Some(Field::Stack(*ty, Walk::of(c))),
                    Layout::StackInline(*ty),
                ),
                (_, ty) if ty.is_scalar() => {
                    let v = self.scalar(e);
                    (Some(Field::Value(ty.clone(), v)), self.lw.layout(ty))
                }
                (_, ty) if ty.is_memory() => (Some(Field::Memory(e)), self.lw.layout(ty)),
                _ => {
                    self.effect(e);
                    (None, Layout::None)
                }
            };
            let bytes = layout.size();
            out.items.extend(field.map(|f| (at, f)));
            out.layouts.push(FieldLayout {
                name: String::new(),
                offset: at,
                bits: None,
                layout,
            });
            out.size = at + bytes;
        }
        out
    }

    /// Writes arguments into their record.
    pub(super) fn fill(&mut self, fields: Fields<'a>, rec: Addr) {
        for (off, field) in fields.items {
            let at = rec.plus(off);
            match field {
                Field::Value(ty, v) => self.store_scalar(&ty, at, v),
                Field::Memory(e) => self.fill_memory(e, at),
                Field::Stack(ty, walk) => self.stack_inline(ty, walk, at),
            }
        }
    }

    fn fill_memory(&mut self, e: &'a Expr, at: Addr) {
        if let (ExprKind::Local(local), Type::Str(_)) = (&e.kind, &e.ty) {
            let src = self.local_addr(*local);
            let size = self.size(&e.ty);
            self.copy_value(&e.ty, at, src, size);
            return;
        }
        self.store_expr(e, at);
    }
}
