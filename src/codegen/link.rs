//! Joins an entry function with the functions it reaches into one program.
//!
//! The kernel rejects programs with functions that nothing calls, so each program gets just
//! its own. Distances of calls, records of functions and of source lines are filled in here,
//! and the stack is checked along every chain of calls.

use std::collections::HashMap;

use crate::ir::{FuncId, FuncKind, Module};
use crate::object::{FuncInfo, LineInfo, Loc, Program, Reloc};

use super::btf::{Btf, Linkage};
use super::emit::Code;
use super::insn::STACK_SIZE;
use super::{CodegenError, Entry};

/// Most functions active at once (the kernel's MAX_CALL_FRAMES).
const MAX_CALL_FRAMES: usize = 8;
/// The verifier rounds each frame up to this many bytes.
const FRAME_UNIT: u32 = 32;

/// Script texts, split into lines once.
pub struct Lines<'a> {
    files: Vec<(&'a str, Vec<&'a str>)>,
}

impl<'a> Lines<'a> {
    /// `sources` are names and contents.
    pub fn new(sources: &'a [(String, String)]) -> Self {
        let split = |(name, text): &'a (String, String)| (name.as_str(), text.lines().collect());
        Self {
            files: sources.iter().map(split).collect(),
        }
    }

    /// Name of the file and text of the line.
    fn at(&self, loc: Loc) -> (&'a str, &'a str) {
        let Some((name, lines)) = self.files.get(loc.file as usize) else {
            return ("", "");
        };
        let index = loc.line.checked_sub(1).map(|l| l as usize);
        let line = index.and_then(|l| lines.get(l));
        (name, line.map_or("", |l| l.trim()))
    }
}

/// Links `entry`; `codes` are the functions of `module` as far as entries reach them, `emits`
/// is what one run of it emits at most.
pub fn link(
    module: &Module,
    codes: &[Option<Code>],
    entry: &Entry,
    emits: Option<u64>,
    lines: &Lines<'_>,
    btf: &mut Btf,
    btf_ids: &mut HashMap<FuncId, u32>,
) -> Result<Program, CodegenError> {
    let order = reached(codes, entry.func);
    check_stack(module, codes, &order)?;
    let mut program = Program {
        name: entry.name.clone(),
        ty: entry.ty,
        insns: Vec::new(),
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
        attach_btf: entry.attach_btf.clone(),
        emits,
    };
    let mut starts = HashMap::new();
    let mut at = 0;
    for &id in &order {
        starts.insert(id, at);
        at += code(codes, id).insns.len() as u32;
    }
    for &id in &order {
        let (c, start) = (code(codes, id), starts[&id]);
        let mut insns = c.insns.clone();
        // Both count from the slot after the first.
        for (i, callee) in c.calls.iter().chain(&c.func_addrs) {
            let distance = i64::from(starts[callee]) - i64::from(start + i) - 1;
            insns[*i as usize].imm = distance as i32;
        }
        program.insns.extend(insns.iter().map(|i| i.encode()));
        program
            .relocs
            .extend(c.relocs.iter().map(|&(i, kind)| Reloc {
                insn: start + i,
                kind,
            }));
        let func = module.func(id);
        let linkage = match func.kind {
            FuncKind::Entry => Linkage::Global,
            _ => Linkage::Static,
        };
        let params = func.params().len();
        let btf_id = *btf_ids
            .entry(id)
            .or_insert_with(|| btf.func(&c.name, params, linkage));
        program.funcs.push(FuncInfo {
            insn: start,
            name: c.name.clone(),
            btf_id,
        });
        add_lines(&mut program.lines, c, start, lines, btf);
    }
    Ok(program)
}

fn code(codes: &[Option<Code>], id: FuncId) -> &Code {
    codes[id.index()]
        .as_ref()
        .expect("functions that an entry reaches are generated")
}

/// The entry and what it reaches, each once, entry first.
pub fn reached(codes: &[Option<Code>], entry: FuncId) -> Vec<FuncId> {
    let mut seen = vec![false; codes.len()];
    let mut order = vec![entry];
    seen[entry.index()] = true;
    let mut next = 0;
    while next < order.len() {
        let c = code(codes, order[next]);
        for (_, callee) in c.calls.iter().chain(&c.func_addrs) {
            if !seen[callee.index()] {
                seen[callee.index()] = true;
                order.push(*callee);
            }
        }
        next += 1;
    }
    order
}

/// Checks the depth and the stack of every chain of calls from `order[0]`.
fn check_stack(
    module: &Module,
    codes: &[Option<Code>],
    order: &[FuncId],
) -> Result<(), CodegenError> {
    // Deepest chain from each function: bytes and frames. `None` while it is being visited.
    let mut deepest: HashMap<FuncId, Option<(u32, usize)>> = HashMap::new();
    let mut stack = vec![(order[0], false)];
    while let Some((id, done)) = stack.pop() {
        let c = code(codes, id);
        let callees = || c.calls.iter().chain(&c.func_addrs).map(|(_, f)| *f);
        if !done {
            match deepest.get(&id) {
                Some(Some(_)) => continue,
                Some(None) => {
                    return Err(CodegenError::Recursion {
                        func: c.name.clone(),
                    });
                }
                None => {}
            }
            deepest.insert(id, None);
            stack.push((id, true));
            for f in callees() {
                match deepest.get(&f) {
                    Some(Some(_)) => {}
                    Some(None) => {
                        return Err(CodegenError::Recursion {
                            func: module.func(f).name.clone(),
                        });
                    }
                    None => stack.push((f, false)),
                }
            }
            continue;
        }
        let (mut bytes, mut frames) = (0, 0);
        for (b, n) in callees().filter_map(|f| deepest.get(&f).copied().flatten()) {
            bytes = bytes.max(b);
            frames = frames.max(n);
        }
        bytes += c.frame.max(1).next_multiple_of(FRAME_UNIT);
        frames += 1;
        deepest.insert(id, Some((bytes, frames)));
        if bytes as usize > STACK_SIZE || frames > MAX_CALL_FRAMES {
            let rows = order.iter().map(|&f| code(codes, f));
            return Err(CodegenError::CallChain {
                func: c.name.clone(),
                bytes,
                frames,
                each: rows.map(|c| (c.name.clone(), c.frame)).collect(),
            });
        }
    }
    Ok(())
}

/// Line records of one function. Its first instruction must have one.
fn add_lines(out: &mut Vec<LineInfo>, c: &Code, start: u32, lines: &Lines<'_>, btf: &mut Btf) {
    let known = |l: &Loc| l.line != 0;
    let first = c.locs.iter().map(|(_, l)| *l).find(known);
    let mut last = None;
    for &(i, loc) in &c.locs {
        let loc = if known(&loc) {
            loc
        } else {
            last.or(first).unwrap_or_default()
        };
        if last == Some(loc) {
            continue;
        }
        last = Some(loc);
        let (file, text) = lines.at(loc);
        out.push(LineInfo {
            insn: start + i,
            file_off: btf.string(file),
            line_off: btf.string(text),
            loc,
        });
    }
}
