//! Operand types, null checks, calls.

use crate::object::{MapId, MapKind};

use super::{Checker, MAX_ARGS};
use crate::ir::builder::bin_ty;
use crate::ir::cfg::Cfg;
use crate::ir::entity::{Block, Value};
use crate::ir::func::FuncKind;
use crate::ir::inst::{AtomicOp, BinOp, Cond, Inst, Term, Ty, Width};

/// Types that must be refined before they are used.
fn may_be_null(ty: Ty) -> bool {
    ty.non_null().is_some()
}

/// Types of memory that programs may write.
fn is_writable(ty: Ty) -> bool {
    matches!(ty, Ty::Frame | Ty::MapVal(_) | Ty::Rec(_))
}

impl Checker<'_> {
    pub(super) fn types(&mut self, cfg: &Cfg) {
        for &block in &cfg.rpo {
            let b = self.func.block(block);
            for (i, n) in b.insts.iter().enumerate() {
                self.at = (block, i);
                let expected = self.inst_types(cfg, &n.inst);
                match (n.result, expected) {
                    (Some(v), Some(ty)) => {
                        let got = self.ty(v);
                        // Loads may know more than the type of the memory tells.
                        let fine = got == ty || matches!(n.inst, Inst::Load { .. });
                        self.require(fine, || format!("{v} is {got}, but this gives {ty}"));
                    }
                    (Some(v), None) => self.error(format!("{v} gets no value from this")),
                    (None, Some(_)) => {
                        let may = n.inst.has_effect();
                        self.require(may, || "the result is dropped".into());
                    }
                    (None, None) => {}
                }
            }
            self.at = (block, b.insts.len());
            if let Some(Term::Br { w, a, b, .. }) = &b.term {
                self.comparison(*w, *a, *b);
            }
        }
    }

    fn scalar(&mut self, v: Value) {
        let ty = self.ty(v);
        self.require(ty == Ty::Scalar, || format!("{v} is {ty}, not a number"));
    }

    fn address(&mut self, ptr: Value, write: bool) {
        let ty = self.ty(ptr);
        if may_be_null(ty) {
            self.error(format!("{ptr} may be null"));
        } else if !ty.is_pointer() {
            self.error(format!("{ptr} is {ty}, not an address"));
        } else if write && !is_writable(ty) {
            self.error(format!("{ptr} is {ty}, which is read only"));
        }
    }

    fn comparison(&mut self, w: Width, a: Value, b: Value) {
        let (ta, tb) = (self.ty(a), self.ty(b));
        if ta == Ty::Scalar && tb == Ty::Scalar {
            return;
        }
        let zero = self.const_of(b) == Some(0) || self.const_of(a) == Some(0);
        let fine = w == Width::W64 && zero && (ta.is_pointer() || tb.is_pointer());
        self.require(fine, || format!("{a} ({ta}) is compared with {b} ({tb})"));
    }

    /// Checks the operands; gives the type of the result, if there is one.
    fn inst_types(&mut self, cfg: &Cfg, inst: &Inst) -> Option<Ty> {
        match inst {
            Inst::Const(_) => Some(Ty::Scalar),
            Inst::Bin { op, w, a, b } => Some(self.bin(*op, *w, *a, *b)),
            Inst::Neg(a) | Inst::Opaque(a) => {
                self.scalar(*a);
                Some(Ty::Scalar)
            }
            Inst::Ext { bits, a, .. } => {
                self.scalar(*a);
                let fine = matches!(bits, 8 | 16 | 32);
                self.require(fine, || format!("extension from {bits} bits"));
                Some(Ty::Scalar)
            }
            Inst::Bswap { bits, a } => {
                self.scalar(*a);
                let fine = matches!(bits, 16 | 32 | 64);
                self.require(fine, || format!("byte swap of {bits} bits"));
                Some(Ty::Scalar)
            }
            Inst::Load { mem, ptr, .. } => {
                self.address(*ptr, false);
                self.size(mem.size);
                Some(Ty::Scalar)
            }
            Inst::Store { mem, ptr, val, .. } => {
                self.address(*ptr, true);
                self.size(mem.size);
                let (to, ty) = (self.ty(*ptr), self.ty(*val));
                let fine = match to {
                    // The verifier tracks pointers that are saved whole in the frame.
                    Ty::Frame => ty == Ty::Scalar || mem.size == 8,
                    _ => matches!(ty, Ty::Scalar | Ty::Ctx | Ty::KPtr),
                };
                self.require(fine, || format!("{val} ({ty}) is stored to {to}"));
                None
            }
            Inst::Atomic {
                op,
                size,
                fetch,
                ptr,
                val,
                expected,
                ..
            } => {
                self.address(*ptr, true);
                self.scalar(*val);
                expected.iter().for_each(|&e| self.scalar(e));
                self.require(matches!(size, 4 | 8), || {
                    format!("atomic operation on {size} bytes")
                });
                let compares = *op == AtomicOp::Cmpxchg;
                self.require(compares == expected.is_some(), || {
                    "only cmpxchg takes an expected value".into()
                });
                let gives = *fetch || matches!(op, AtomicOp::Xchg | AtomicOp::Cmpxchg);
                gives.then_some(Ty::Scalar)
            }
            Inst::SlotAddr { .. } => Some(Ty::Frame),
            Inst::MapFd(_) => Some(Ty::Map),
            Inst::MapAddr { map, .. } => {
                let kind = self.module.map(*map).kind;
                let fine = kind == MapKind::Array;
                self.require(fine, || format!("map{} is no plain array", map.0));
                Some(Ty::MapVal(*map))
            }
            Inst::Call { args, ret, .. } => {
                self.arguments(args);
                Some(*ret)
            }
            Inst::CallFunc { func, args } => Some(self.call_func(*func, args)),
            Inst::FuncAddr(id) => {
                let kind = self.module.func(*id).kind;
                let fine = matches!(kind, FuncKind::LoopBody | FuncKind::EachBody);
                self.require(fine, || format!("{id} is no callback"));
                Some(Ty::Func)
            }
            Inst::NonNull(v) => {
                let ty = self.ty(*v);
                match ty.non_null() {
                    Some(refined) => {
                        let shown = self.shown_not_null(cfg, *v);
                        self.require(shown, || format!("no branch shows that {v} is not null"));
                        Some(refined)
                    }
                    None => {
                        self.error(format!("{v} is {ty}, which is never null"));
                        Some(ty)
                    }
                }
            }
            Inst::Zero { ptr, .. } => {
                self.address(*ptr, true);
                None
            }
            Inst::Copy {
                dst, src, align, ..
            } => {
                self.address(*dst, true);
                self.address(*src, false);
                self.size(*align);
                None
            }
        }
    }

    fn size(&mut self, size: u8) {
        let fine = matches!(size, 1 | 2 | 4 | 8);
        self.require(fine, || format!("access of {size} bytes"));
    }

    fn bin(&mut self, op: BinOp, w: Width, a: Value, b: Value) -> Ty {
        let (ta, tb) = (self.ty(a), self.ty(b));
        for (v, ty) in [(a, ta), (b, tb)] {
            if may_be_null(ty) {
                self.error(format!("arithmetic on {v}, which may be null"));
            } else if ty != Ty::Scalar && !ty.is_pointer() {
                self.error(format!("arithmetic on {v}, which is {ty}"));
            }
        }
        if ta.is_pointer() || tb.is_pointer() {
            let moves = match op {
                BinOp::Add => ta.is_pointer() != tb.is_pointer(),
                BinOp::Sub => ta.is_pointer() && !tb.is_pointer(),
                _ => false,
            };
            self.require(moves && w == Width::W64, || {
                format!("{op}{w} of {a} ({ta}) and {b} ({tb})")
            });
        }
        bin_ty(op, ta, tb)
    }

    fn arguments(&mut self, args: &[Value]) {
        self.require(args.len() <= MAX_ARGS, || {
            format!("{} arguments, at most five pass", args.len())
        });
        for &a in args {
            let ty = self.ty(a);
            self.require(!may_be_null(ty), || format!("{a} may be null"));
        }
    }

    fn call_func(&mut self, id: crate::ir::FuncId, args: &[Value]) -> Ty {
        let callee = self.module.func(id);
        let fine = callee.kind == FuncKind::Static;
        self.require(fine, || format!("{id} is not for calls"));
        let params = callee.blocks.first().map_or(&[][..], |b| &b.params);
        self.require(params.len() == args.len(), || {
            format!("{id} takes {} arguments, not {}", params.len(), args.len())
        });
        for (&p, &a) in params.iter().zip(args) {
            let (want, got) = (callee.ty(p), self.ty(a));
            self.require(want == got, || {
                format!("{p} of {id} is {want}, but {a} is {got}")
            });
        }
        callee.ret
    }

    /// Whether a branch on `v` against 0 leads here on the right side only.
    fn shown_not_null(&self, cfg: &Cfg, v: Value) -> bool {
        let mut at = Some(self.at.0);
        while let Some(b) = at {
            if let [p] = cfg.preds[b.index()][..]
                && self.branch_shows(p, b, v)
            {
                return true;
            }
            at = cfg.idom(b);
        }
        false
    }

    fn branch_shows(&self, from: Block, to: Block, v: Value) -> bool {
        let Some(Term::Br {
            cond,
            w: Width::W64,
            a,
            b,
            then,
            els,
            ..
        }) = &self.func.block(from).term
        else {
            return false;
        };
        let on_v =
            (*a == v && self.const_of(*b) == Some(0)) || (*b == v && self.const_of(*a) == Some(0));
        on_v && match cond {
            Cond::Eq => els.0 == to,
            Cond::Ne => then.0 == to,
            _ => false,
        }
    }
}

/// The map a pointer leads into, and the bytes of what it points to.
pub(super) fn extent(module: &crate::ir::Module, ty: Ty) -> Option<(Option<MapId>, u32)> {
    match ty {
        Ty::MapVal(m) => {
            let def = module.map(m);
            Some((Some(m), def.value_size))
        }
        Ty::MapKey(m) => Some((Some(m), module.map(m).key_size)),
        Ty::Rec(n) => Some((None, n)),
        _ => None,
    }
}
