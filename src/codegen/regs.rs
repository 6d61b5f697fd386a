//! `-d regs`: machine instructions over virtual registers, with the place each one got.

use std::fmt::Write;

use crate::ir::{FuncId, Module};

use super::minst::{MInst, VReg};
use super::regalloc::{Allocation, Place};
use super::{isel, liveness, regalloc};

/// The text for every function of `module`.
///
/// ```text
/// fn0 "probe_1"
/// L0:
///     params %0                           ; %0=r6
///     %1 = load.8 %0+112                  ; %1=r2 %0=r6
/// ```
pub fn dump(module: &Module) -> String {
    let mut out = String::new();
    for (i, f) in module.funcs.iter().enumerate() {
        let m = isel::select(f);
        let alloc = regalloc::allocate(&m, liveness::analyse(&m));
        let _ = writeln!(out, "{} {:?}", FuncId(i as u32), f.name);
        for (l, b) in m.blocks.iter().enumerate() {
            let cold = if b.cold { " cold" } else { "" };
            let _ = writeln!(out, "L{l}:{cold}");
            for (inst, _) in &b.insts {
                let text = inst.to_string();
                let places = places(inst, &alloc);
                let _ = match places.is_empty() {
                    true => writeln!(out, "    {text}"),
                    false => writeln!(out, "    {text:<40} ;{places}"),
                };
            }
        }
    }
    out
}

fn places(inst: &MInst, alloc: &Allocation) -> String {
    let mut seen: Vec<VReg> = Vec::new();
    inst.for_each_def(|v, _| seen.push(v));
    inst.for_each_use(|v, _| seen.push(v));
    let mut out = String::new();
    for (i, v) in seen.iter().enumerate() {
        if seen[..i].contains(v) {
            continue;
        }
        let _ = match alloc.place(*v) {
            Place::Reg(r) => write!(out, " {v}={r}"),
            Place::Spill(s) => write!(out, " {v}=[spill{s}]"),
            Place::Unused => write!(out, " {v}=-"),
        };
    }
    out
}
