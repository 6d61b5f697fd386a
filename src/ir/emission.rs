//! How much of the ring buffer one run of a function can take.
//!
//! In goes a module; out comes, for each function, the most bytes of records that one run of it
//! reserves, or that nothing is known: a record in a loop. Every reservation counts, taken or
//! not, so the number is an upper bound. The runtime makes the ring buffer no larger than what
//! the script can put into it.

use super::cfg::Cfg;
use super::func::{Func, Module};
use super::inst::{Inst, Term, Ty};
use super::{Block, FuncId};
use crate::codegen::helper;

/// The kernel's header of each record; records start at multiples of it.
const HEADER: u64 = 8;

/// Bytes that one run of each function emits at most; `None` where it has no known bound.
pub fn bounds(module: &Module) -> Vec<Option<u64>> {
    let mut done = vec![Mark::Unseen; module.funcs.len()];
    for i in 0..module.funcs.len() {
        visit(module, FuncId(i as u32), &mut done);
    }
    done.into_iter().map(Mark::bound).collect()
}

#[derive(Clone, Copy)]
enum Mark {
    Unseen,
    /// On the chain of calls that is being followed.
    Open,
    Done(Option<u64>),
}

impl Mark {
    fn bound(self) -> Option<u64> {
        match self {
            // A function that calls itself.
            Self::Unseen | Self::Open => None,
            Self::Done(bound) => bound,
        }
    }
}

fn visit(module: &Module, id: FuncId, done: &mut [Mark]) -> Option<u64> {
    if matches!(done[id.index()], Mark::Unseen) {
        done[id.index()] = Mark::Open;
        done[id.index()] = Mark::Done(of(module, module.func(id), done));
    }
    done[id.index()].bound()
}

fn of(module: &Module, func: &Func, done: &mut [Mark]) -> Option<u64> {
    let cfg = Cfg::new(func);
    let loops = in_loops(func, &cfg);
    let mut sum = 0u64;
    for (at, &b) in cfg.rpo.iter().enumerate() {
        let mut bytes = 0u64;
        for node in &func.block(b).insts {
            bytes = bytes.checked_add(match &node.inst {
                Inst::Call { helper, ret, .. } => match ret {
                    Ty::RecOrNull(size) => HEADER + u64::from(*size).next_multiple_of(HEADER),
                    // Records of other forms are not used; should they be, nothing is known.
                    _ if *helper == helper::RINGBUF_OUTPUT => return None,
                    _ => 0,
                },
                Inst::CallFunc { func, .. } => visit(module, *func, done)?,
                // Called as often as a helper likes.
                Inst::FuncAddr(func) => match visit(module, *func, done)? {
                    0 => 0,
                    _ => return None,
                },
                _ => 0,
            })?;
        }
        if bytes > 0 && loops[at] {
            return None;
        }
        sum = sum.checked_add(bytes)?;
    }
    Some(sum)
}

/// For each block in reverse postorder, whether it may run more than once: what lies between
/// the target of a jump back and the jump.
fn in_loops(func: &Func, cfg: &Cfg) -> Vec<bool> {
    let mut loops = vec![false; cfg.rpo.len()];
    let mut back = |from: usize, to: Block| {
        let to = cfg.position(to);
        if to <= from {
            loops[to..=from].fill(true);
        }
    };
    for (at, &b) in cfg.rpo.iter().enumerate() {
        match &func.block(b).term {
            Some(Term::Jump(to, _)) => back(at, *to),
            Some(Term::Br { then, els, .. }) => {
                back(at, then.0);
                back(at, els.0);
            }
            Some(Term::Ret(_)) | None => {}
        }
    }
    loops
}

#[cfg(test)]
mod tests {
    use super::bounds;
    use crate::ir::read;

    fn of(text: &str) -> Vec<Option<u64>> {
        bounds(&read::read(text).expect("the test's IR is valid"))
    }

    const RING: &str = "map0 = ringbuf key 0 value 0 entries 0 flags 0 \"events\"\n\n";

    /// A record of 20 bytes: 8 of header, 24 with the gap to the next one.
    const RECORD: &str = "    v1: map = map_fd map0
    v2 = const 20
    v3 = const 0
    v4: rec?(20) = call bpf_ringbuf_reserve(v1, v2, v3)
";

    #[test]
    fn records_of_all_branches_are_added() {
        let text = format!(
            "{RING}fn0 entry \"f\" {{
block0(v0: ctx):
{RECORD}    br eq v2, v3, block1, block2
block1:
    v5: rec?(16) = call bpf_ringbuf_reserve(v1, v2, v3)
    ret v3
block2:
    ret v2
}}
"
        );
        assert_eq!(of(&text), [Some(32 + 24)]);
    }

    #[test]
    fn a_record_in_a_loop_has_no_bound() {
        let body = |back: &str| {
            format!(
                "{RING}fn0 entry \"f\" {{
block0(v0: ctx):
    jump block1
block1:
{RECORD}    br eq v2, v3, {back}, block2
block2:
    ret v2
}}
"
            )
        };
        assert_eq!(of(&body("block1")), [None]);
        assert_eq!(of(&body("block2")), [Some(32)]);
    }

    #[test]
    fn each_call_counts_and_callbacks_have_no_bound() {
        let text = format!(
            "{RING}fn0 entry \"f\" {{
block0(v0: ctx):
    v1 = call fn2()
    v2 = call fn2()
    ret v1
}}

fn1 entry \"g\" {{
block0(v0: ctx):
    v1: func = func_addr fn2
    v2 = const 0
    ret v2
}}

fn2 static \"emits\" {{
block0:
{RECORD}    ret v2
}}
"
        );
        assert_eq!(of(&text), [Some(64), None, Some(32)]);
    }
}
