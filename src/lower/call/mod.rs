//! Lowering of builtins: the last column of their table.

pub mod context;
pub mod map;
pub mod memory;
pub mod output;
pub mod process;
pub mod search;
mod seq_file;
pub mod stack;
pub mod string;
pub mod tables;
pub mod time;
pub mod typed;

use crate::ir::Value;
use crate::sema::hir::{Arg, Call, Context, Expr, ExprKind, MapRef};
use crate::types::{AddrSpace, Type};

use super::fx::{Addr, Fx};

/// Lowers a call that gives a scalar.
pub type ScalarFn = for<'l, 'a> fn(&mut Fx<'l, 'a>, &'a Call, &Type) -> Value;
/// Lowers a call that gives a value in memory, at a destination.
pub type MemoryFn = for<'l, 'a> fn(&mut Fx<'l, 'a>, &'a Call, &Type, Addr);
/// Lowers a call that is made for its effect.
pub type EffectFn = for<'l, 'a> fn(&mut Fx<'l, 'a>, &'a Call);

/// How a builtin becomes IR.
#[derive(Clone, Copy, Debug)]
pub enum Lowering {
    /// It never gets here: type checking replaces it.
    CompileTime,
    /// It gives a scalar.
    Scalar(ScalarFn),
    /// It gives a value in memory.
    Memory(MemoryFn),
    /// A scalar or memory, by the type of the call.
    Either(ScalarFn, MemoryFn),
    /// It gives nothing.
    Effect(EffectFn),
}

impl Lowering {
    /// The form that gives a scalar.
    pub fn scalar(self) -> Option<ScalarFn> {
        match self {
            Self::Scalar(f) | Self::Either(f, _) => Some(f),
            _ => None,
        }
    }

    /// The form that gives memory.
    pub fn memory(self) -> Option<MemoryFn> {
        match self {
            Self::Memory(f) | Self::Either(_, f) => Some(f),
            _ => None,
        }
    }
}

/// Argument `i`, which type checking has made an expression.
fn expr(call: &Call, i: usize) -> &Expr {
    match call.args.get(i) {
        Some(Arg::Expr(e)) => e,
        other => unreachable!("{}: argument {i} is {other:?}", call.builtin.name),
    }
}

/// Argument `i`, a constant.
fn int(call: &Call, i: usize) -> i64 {
    match call.args.get(i) {
        Some(Arg::Int(n)) => *n,
        other => unreachable!("{}: argument {i} is {other:?}", call.builtin.name),
    }
}

/// Argument `i`, a string literal.
fn text(call: &Call, i: usize) -> &str {
    match call.args.get(i) {
        Some(Arg::Str(s)) => s,
        other => unreachable!("{}: argument {i} is {other:?}", call.builtin.name),
    }
}

/// Argument `i`, a time format.
fn time_format(call: &Call, i: usize) -> u32 {
    match call.args.get(i) {
        Some(Arg::TimeFormat(n)) => *n,
        other => unreachable!("{}: argument {i} is {other:?}", call.builtin.name),
    }
}

/// Argument `i`, a map.
fn map_arg(call: &Call, i: usize) -> MapRef {
    match call.args.get(i) {
        Some(Arg::Map(m) | Arg::MapElem(m, _)) => *m,
        other => unreachable!("{}: argument {i} is {other:?}", call.builtin.name),
    }
}

/// Argument `i`, an element of a map.
fn elem(call: &Call, i: usize) -> (MapRef, Option<&Expr>) {
    match call.args.get(i) {
        Some(Arg::MapElem(m, key)) => (*m, key.as_ref()),
        Some(Arg::Map(m)) => (*m, None),
        other => unreachable!("{}: argument {i} is {other:?}", call.builtin.name),
    }
}

impl<'a> Fx<'_, 'a> {
    /// A number that is a constant or an expression.
    fn number(&mut self, call: &'a Call, i: usize) -> Value {
        match call.args.get(i) {
            Some(Arg::Int(n)) => self.b.iconst(*n),
            _ => self.scalar(expr(call, i)),
        }
    }

    /// The address space to read an address of this type from: numbers are taken to be what
    /// arguments of the probe are.
    fn space(&self, ty: &Type) -> AddrSpace {
        if let Type::Ptr(_, space) = ty
            && *space != AddrSpace::None
        {
            return *space;
        }
        match self.context() {
            Context::PtRegs { user: true, .. } => AddrSpace::User,
            Context::PtRegs { user: false, .. } | Context::Args { .. } | Context::Iter => {
                AddrSpace::Kernel
            }
            _ => AddrSpace::None,
        }
    }

    /// Reports that a call cannot be compiled.
    fn unsupported(&mut self, call: &Call) {
        let loc = self.b.loc();
        self.limit(
            loc,
            format!("{}() is not supported here", call.builtin.name),
        );
    }
}

/// Whether an expression is the literal zero.
fn is_zero(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::Int(0) | ExprKind::Zero)
}
