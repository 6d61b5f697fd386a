//! The order of blocks in the machine code, and how often each is expected to run.
//!
//! Reverse postorder, so that a block comes after those that dominate it; rare blocks (error
//! paths) come after all others, so that the usual way falls through and the verifier does
//! not take jumps back from them for loops; in very large functions they come every few
//! thousand instructions, within reach of jumps. Unreachable blocks are left out: the kernel
//! rejects a program that has any.

use crate::ir::cfg::reverse_postorder;
use crate::ir::{Block, Func, Term};

/// For every block whether it is reached by rare ways only. `rpo` is the reverse postorder.
pub fn cold_blocks(func: &Func, rpo: &[Block]) -> Vec<bool> {
    let mut cold = vec![true; func.blocks.len()];
    cold[Func::ENTRY.index()] = false;
    for &b in rpo {
        if cold[b.index()] {
            continue;
        }
        match &func.block(b).term {
            Some(Term::Jump(to, _)) => cold[to.index()] = false,
            Some(Term::Br {
                then,
                els,
                then_cold,
                ..
            }) => {
                cold[els.0.index()] = false;
                if !then_cold {
                    cold[then.0.index()] = false;
                }
            }
            _ => {}
        }
    }
    cold
}

/// Instructions of the IR after which the rare blocks met so far are laid out. They jump back
/// to their surroundings, and jumps reach 32768 machine instructions; one of the IR becomes
/// three or fewer, but for zeroing and copying.
const CHUNK: usize = 4_000;

/// Reachable blocks as they are emitted, and for every block whether it is rare.
pub fn order(func: &Func) -> (Vec<Block>, Vec<bool>) {
    let rpo = reverse_postorder(func);
    let cold = cold_blocks(func, &rpo);
    let mut out = Vec::with_capacity(rpo.len());
    let mut rare = Vec::new();
    let mut since = 0;
    for b in rpo {
        if cold[b.index()] {
            rare.push(b);
        } else {
            if since > CHUNK {
                out.append(&mut rare);
                since = 0;
            }
            out.push(b);
        }
        since += func.block(b).insts.len() + 1;
    }
    out.append(&mut rare);
    (out, cold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::read::read;

    #[test]
    fn cold_and_unreachable_blocks() {
        let m = read(
            "fn0 entry \"f\" {
block0(v0: ctx):
    v1 = const 0
    br eq v0, v1, block1, block2 cold
block1:
    jump block3
block2:
    br ne v0, v1, block4, block3
block3:
    ret v1
block4:
    jump block2
block5:
    ret v1
}",
        )
        .unwrap();
        let (blocks, _) = order(&m.funcs[0]);
        let text: Vec<String> = blocks.iter().map(Block::to_string).collect();
        assert_eq!(text.join(" "), "block0 block2 block4 block3 block1");
    }
}
