//! Texts by number: a read-only array indexed by the number.

use crate::ir::inst::Cond;
use crate::ir::{BinOp, Value};
use crate::object::{MapDef, MapId, MapKind, MapRole};
use crate::sema::hir::Call;
use crate::sema::names;
use crate::types::Type;

use super::super::Lower;
use super::super::fx::{Addr, Fx};
use super::super::maps::RDONLY_PROG;
use super::expr;

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Table {
    Errors,
    Signals,
    Syscalls,
}

impl Table {
    fn entries(self) -> Vec<(i64, &'static str)> {
        match self {
            Self::Errors => names::error_texts().to_vec(),
            Self::Signals => names::signal_texts().collect(),
            Self::Syscalls => names::syscalls().to_vec(),
        }
    }
}

impl Lower<'_> {
    /// The map of a table whose entries have `cap` bytes, and the number of entries.
    fn table(&mut self, table: Table, cap: u32) -> (MapId, u32) {
        if let Some(&t) = self.tables.get(&(table, cap)) {
            return t;
        }
        let entries = table.entries();
        let n = entries
            .iter()
            .map(|&(i, _)| i + 1)
            .max()
            .unwrap_or(0)
            .max(0) as u32;
        let mut bytes = vec![0; (n * cap) as usize];
        for (i, text) in entries {
            let Ok(i) = usize::try_from(i) else { continue };
            let at = i * cap as usize;
            let len = text.len().min(cap as usize - 1);
            bytes[at..at + len].copy_from_slice(&text.as_bytes()[..len]);
        }
        let id = self.add_map(MapDef {
            name: "texts".into(),
            kind: MapKind::Array,
            key_size: 4,
            value_size: n * cap,
            max_entries: 1,
            flags: RDONLY_PROG,
            init: Some(bytes),
            role: MapRole::Data,
        });
        self.tables.insert((table, cap), (id, n));
        (id, n)
    }
}

fn look_up<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr, table: Table) {
    let Type::Str(cap) = *ty else {
        return;
    };
    let i: Value = fx.scalar(expr(call, 0));
    let (map, n) = fx.lw.table(table, cap);
    // A number that folding knows needs no branch, and must not make an address outside.
    if let Some(known) = fx.b.as_const(i)
        && known as u64 >= u64::from(n)
    {
        return fx.zero(dst, cap);
    }
    let (inside, outside, join) = (fx.b.new_block(), fx.b.new_block(), fx.b.new_block());
    let n = fx.b.iconst(i64::from(n));
    fx.b.br(Cond::Ult, i, n, inside, outside);
    fx.b.switch_to(inside);
    let base = fx.b.map_addr(map, 0);
    let off = fx.b.bin_imm(BinOp::Mul, i, i64::from(cap));
    let p = fx.b.add(base, off);
    let from = Addr {
        base_align: 1,
        ..Addr::new(p)
    };
    fx.copy_value(ty, dst, from, cap);
    fx.b.jump(join, &[]);
    fx.b.switch_to(outside);
    fx.zero(dst, cap);
    fx.b.jump(join, &[]);
    fx.b.switch_to(join);
}

/// `strerror`
pub fn strerror<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr) {
    look_up(fx, call, ty, dst, Table::Errors);
}

/// `signal_name`
pub fn signal_name<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr) {
    look_up(fx, call, ty, dst, Table::Signals);
}

/// `syscall_name`
pub fn syscall_name<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, ty: &Type, dst: Addr) {
    look_up(fx, call, ty, dst, Table::Syscalls);
}

impl<'a> Fx<'_, 'a> {
    /// The name of the attach point whose index `e` is, as text of `cap` bytes.
    pub(in super::super) fn probe_name_text(
        &mut self,
        e: &'a crate::sema::hir::Expr,
        cap: u32,
        dst: Addr,
    ) {
        let Some(p) = self.probe else {
            self.zero(dst, cap);
            return;
        };
        let names: Vec<&str> = p.probe.attach.iter().map(|a| a.name.as_str()).collect();
        let fitted = |name: &str| {
            let mut bytes = name.as_bytes().to_vec();
            bytes.truncate(cap.saturating_sub(1) as usize);
            bytes.resize(cap as usize, 0);
            bytes
        };
        if let [only] = names[..] {
            self.store_bytes(&fitted(only), dst);
            return;
        }
        let bytes: Vec<u8> = names.iter().flat_map(|n| fitted(n)).collect();
        let map = self.lw.add_map(MapDef {
            name: "probes".into(),
            kind: MapKind::Array,
            key_size: 4,
            value_size: bytes.len() as u32,
            max_entries: 1,
            flags: RDONLY_PROG,
            init: Some(bytes),
            role: MapRole::Data,
        });
        let index = self.scalar(e);
        let index = self.b.add_imm(index, -i64::from(p.first_attach));
        let index = self.at_most(index, names.len() as u32 - 1);
        let base = self.b.map_addr(map, 0);
        let off = self.b.bin_imm(BinOp::Mul, index, i64::from(cap));
        let from = self.b.add(base, off);
        let from = Addr {
            base_align: 1,
            ..Addr::new(from)
        };
        self.copy_value(&Type::Str(cap), dst, from, cap);
    }
}
