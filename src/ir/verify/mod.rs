//! Checks the invariants of the IR, so that what the kernel would refuse fails here, with the
//! place in the script, in tests that need no kernel.
//!
//! Input: a module. Output: every violation found; each is a defect of the compiler. The
//! invariants:
//!
//! Structure (this file)
//! - every block is reachable and ends in a terminator; nothing jumps to the entry block;
//! - every value is defined once, and its definition dominates its uses;
//! - entities exist: blocks, slots, maps, functions; block arguments match parameters in
//!   number and type; at most five parameters and arguments;
//! - programs take the context or nothing and return a number; only static functions are
//!   called; only callbacks' addresses are taken.
//!
//! Types ([`types`])
//! - numbers go where numbers belong, pointers where pointers do; only 64-bit addition and
//!   subtraction of numbers move pointers; values that may be null are compared with 0 and
//!   refined by `non_null`, which a branch on that comparison dominates; maps and functions are
//!   only call arguments; the context, map keys and kernel pointers are not written.
//!
//! Memory ([`memory`])
//! - accesses at constant offsets lie within slot, map value or record;
//! - frame bytes are written before they are loaded or passed to a helper that reads them.
//!
//! Records ([`records`])
//! - a reserved record is submitted or discarded exactly once on every way, and not used
//!   afterwards.
//!
//! Not checked here: the frame limit (codegen does, with sizes after allocation), variable
//! offsets and the number of rounds of loops (the kernel's ranges decide).

mod memory;
mod records;
mod types;

use std::fmt;

use crate::object::Loc;

use super::cfg::Cfg;
use super::entity::{Block, FuncId, Value};
use super::func::{Func, FuncKind, Module};
use super::inst::{Inst, Term, Ty};

/// Most arguments of a call.
const MAX_ARGS: usize = 5;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// Function.
    pub func: FuncId,
    /// Block.
    pub block: Block,
    /// Instruction in it; the number of instructions for the terminator.
    pub inst: usize,
    /// The place in the script.
    pub loc: Loc,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            func,
            block,
            inst,
            loc,
            message,
        } = self;
        write!(
            f,
            "{func} {block} #{inst} (line {}:{}): {message}",
            loc.line, loc.col
        )
    }
}

impl std::error::Error for VerifyError {}

/// Checks every function of `module`.
pub fn verify(module: &Module) -> Result<(), Vec<VerifyError>> {
    let mut errors = Vec::new();
    for i in 0..module.funcs.len() {
        function(module, FuncId(i as u32), &mut errors);
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

fn function(module: &Module, id: FuncId, errors: &mut Vec<VerifyError>) {
    let func = module.func(id);
    let mut c = Checker {
        module,
        id,
        func,
        errors,
        at: (Func::ENTRY, 0),
        defs: vec![None; func.values.len()],
        params: vec![None; func.values.len()],
    };
    // Later checks index blocks and values and rely on terminators.
    if !c.entities() {
        return;
    }
    let cfg = Cfg::new(func);
    c.structure(&cfg);
    c.types(&cfg);
    c.memory(&cfg);
    c.records();
}

/// State of the checks of one function.
struct Checker<'a> {
    module: &'a Module,
    id: FuncId,
    func: &'a Func,
    errors: &'a mut Vec<VerifyError>,
    /// The place that errors are about.
    at: (Block, usize),
    /// The instruction that defines each value, with its place; none for parameters.
    defs: Vec<Option<(&'a Inst, Block, usize)>>,
    /// The block that each parameter belongs to.
    params: Vec<Option<Block>>,
}

impl<'a> Checker<'a> {
    fn error(&mut self, message: impl Into<String>) {
        let (block, inst) = self.at;
        let b = self.func.block(block);
        self.errors.push(VerifyError {
            func: self.id,
            block,
            inst,
            loc: b.insts.get(inst).map_or(b.term_loc, |n| n.loc),
            message: message.into(),
        });
    }

    fn require(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.error(message());
        }
    }

    fn ty(&self, v: Value) -> Ty {
        self.func.ty(v)
    }

    fn def(&self, v: Value) -> Option<&'a Inst> {
        self.defs[v.index()].map(|d| d.0)
    }

    fn const_of(&self, v: Value) -> Option<i64> {
        match self.def(v) {
            Some(Inst::Const(c)) => Some(*c),
            _ => None,
        }
    }

    /// Everything that is mentioned exists, blocks end, values are defined once.
    fn entities(&mut self) -> bool {
        let before = self.errors.len();
        let func = self.func;
        if func.blocks.is_empty() {
            // There is no block to blame: one is made up.
            self.errors.push(VerifyError {
                func: self.id,
                block: Func::ENTRY,
                inst: 0,
                loc: Loc::default(),
                message: "the function has no blocks".into(),
            });
            return false;
        }
        let mut defined = vec![false; func.values.len()];
        for (bi, b) in func.blocks.iter().enumerate() {
            let block = Block(bi as u32);
            self.at = (block, 0);
            for &p in &b.params {
                self.define(p, &mut defined);
                if let Some(home) = self.params.get_mut(p.index()) {
                    *home = Some(block);
                }
            }
            for (i, n) in b.insts.iter().enumerate() {
                self.at = (block, i);
                n.inst.for_each_use(|v| self.exists(v));
                self.inst_entities(&n.inst);
                if let Some(v) = n.result {
                    self.define(v, &mut defined);
                    if v.index() < func.values.len() {
                        self.defs[v.index()] = Some((&n.inst, block, i));
                    }
                }
            }
            self.at = (block, b.insts.len());
            match &b.term {
                None => self.error("the block has no end"),
                Some(t) => {
                    t.for_each_use(|v| self.exists(v));
                    t.successors().for_each(|s| {
                        let known = s.index() < func.blocks.len();
                        self.require(known, || format!("{s} does not exist"));
                    });
                }
            }
        }
        self.errors.len() == before
    }

    fn exists(&mut self, v: Value) {
        let known = v.index() < self.func.values.len();
        self.require(known, || format!("{v} does not exist"));
    }

    fn define(&mut self, v: Value, defined: &mut [bool]) {
        match defined.get_mut(v.index()) {
            Some(true) => self.error(format!("{v} is defined twice")),
            Some(d) => *d = true,
            None => self.error(format!("{v} does not exist")),
        }
    }

    fn inst_entities(&mut self, inst: &Inst) {
        let (maps, funcs) = (self.module.maps.len(), self.module.funcs.len());
        match inst {
            Inst::SlotAddr { slot, .. } => {
                let known = slot.index() < self.func.slots.len();
                self.require(known, || format!("{slot} does not exist"));
            }
            Inst::MapFd(m) | Inst::MapAddr { map: m, .. } => {
                let known = (m.0 as usize) < maps;
                self.require(known, || format!("map{} does not exist", m.0));
            }
            Inst::CallFunc { func, .. } | Inst::FuncAddr(func) => {
                let known = func.index() < funcs;
                self.require(known, || format!("{func} does not exist"));
            }
            _ => {}
        }
    }

    fn structure(&mut self, cfg: &Cfg) {
        let func = self.func;
        self.at = (Func::ENTRY, 0);
        let params: Vec<Ty> = func.params().iter().map(|&p| func.ty(p)).collect();
        self.require(params.len() <= MAX_ARGS, || {
            format!("{} parameters, at most five pass", params.len())
        });
        match func.kind {
            FuncKind::Entry => {
                let fine = matches!(params[..], [] | [Ty::Ctx]) && func.ret == Ty::Scalar;
                self.require(fine, || {
                    "a program takes the context, returns a number".into()
                });
            }
            FuncKind::Static => {}
            FuncKind::LoopBody => {
                let fine = matches!(params[..], [Ty::Scalar, _]) && func.ret == Ty::Scalar;
                self.require(fine, || "a loop body takes an index and a context".into());
            }
            FuncKind::EachBody => {
                let fine = params.len() == 4 && func.ret == Ty::Scalar;
                self.require(fine, || "a body over a map takes four parameters".into());
            }
        }
        for (bi, b) in func.blocks.iter().enumerate() {
            let block = Block(bi as u32);
            self.at = (block, 0);
            if !cfg.is_reachable(block) {
                self.error("the block cannot be reached");
                continue;
            }
            for (i, n) in b.insts.iter().enumerate() {
                self.at = (block, i);
                n.inst.for_each_use(|v| self.dominated(cfg, v));
            }
            self.at = (block, b.insts.len());
            if let Some(t) = &b.term {
                t.for_each_use(|v| self.dominated(cfg, v));
                self.targets(t);
            }
        }
    }

    /// The definition of `v` comes before the current place on every way.
    fn dominated(&mut self, cfg: &Cfg, v: Value) {
        let (block, inst) = self.at;
        let fine = match self.defs[v.index()] {
            Some((_, b, i)) if b == block => i < inst,
            Some((_, b, _)) => cfg.dominates(b, block),
            None => self.params[v.index()].is_some_and(|b| cfg.dominates(b, block)),
        };
        self.require(fine, || {
            format!("{v} is not defined on every way to its use")
        });
    }

    fn targets(&mut self, term: &Term) {
        let mut target = |to: Block, args: &[Value]| {
            self.require(to != Func::ENTRY, || "a jump to the entry block".into());
            let params = &self.func.block(to).params;
            self.require(params.len() == args.len(), || {
                format!("{to} takes {} arguments, not {}", params.len(), args.len())
            });
            for (&p, &a) in params.iter().zip(args) {
                let (want, got) = (self.ty(p), self.ty(a));
                self.require(want == got, || {
                    format!("{p} of {to} is {want}, but {a} is {got}")
                });
            }
        };
        match term {
            Term::Jump(to, args) => target(*to, args),
            Term::Br { then, els, .. } => {
                target(then.0, &then.1);
                target(els.0, &els.1);
            }
            Term::Ret(v) => {
                let (want, got) = (self.func.ret, self.ty(*v));
                // A function that may fail to give a pointer returns it, or a constant 0.
                let fine = want == got
                    || want.non_null().is_some_and(|ty| {
                        got == ty || matches!(self.def(*v), Some(Inst::Const(0)))
                    });
                self.require(fine, || format!("{v} is {got}, the result is {want}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
