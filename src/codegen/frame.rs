//! The stack frame of a function: slots of the IR and spill slots, in words of 8 bytes downwards
//! from r10. What is never in use at the same time shares words; large things are placed first.
//!
//! ```text
//!   r10 ->  +-----------+
//!           | word 0    |   slot0            later slot3
//!           | word 1    |   slot0            later spill0
//!           | word 2    |   slot1
//!           +-----------+   r10 - size, size <= 512
//! ```

use std::collections::BTreeMap;

use crate::ir::Slot;

use super::CodegenError;
use super::insn::STACK_SIZE;
use super::liveness::{Range, Segment};
use super::minst::MFunc;

/// Frames larger than this are an error anyway; their size is not worked out further.
const MAX_WORDS: usize = 4096;

/// Where things lie in the frame.
#[derive(Clone, Debug)]
pub struct Frame {
    slots: Vec<i32>,
    spills: Vec<i32>,
    /// Bytes, a multiple of 8.
    pub size: u32,
}

impl Frame {
    /// Lays out the slots of `f` and the spill slots, in use as `slots` and `spills` say.
    pub fn new(f: &MFunc, slots: &[Range], spills: &[Range]) -> Result<Self, CodegenError> {
        let mut words: Vec<BTreeMap<u32, u32>> = Vec::new();
        let mut at = vec![0; f.slots.len()];
        let mut order: Vec<usize> = (0..f.slots.len()).filter(|&i| f.slots[i] > 0).collect();
        let start = |r: &Range| r.first().map_or(0, |s| s.start);
        order.sort_by_key(|&i| (std::cmp::Reverse(f.slots[i]), start(&slots[i])));
        for i in order {
            at[i] = place(&mut words, f.slots[i].div_ceil(8) as usize, &slots[i]);
        }
        let slot_words = words.len();
        let spilled: Vec<i32> = spills.iter().map(|r| place(&mut words, 1, r)).collect();
        if words.len() * 8 > STACK_SIZE {
            return Err(CodegenError::FrameTooLarge {
                func: f.name.clone(),
                slots: slot_words as u64 * 8,
                spills: (words.len() - slot_words) as u64 * 8,
            });
        }
        Ok(Self {
            slots: at,
            spills: spilled,
            size: words.len() as u32 * 8,
        })
    }

    /// Offset of a slot from r10.
    pub fn slot(&self, s: Slot) -> i32 {
        self.slots[s.index()]
    }

    /// Offset of a spill slot from r10.
    pub fn spill(&self, n: u32) -> i16 {
        self.spills[n as usize] as i16
    }
}

/// Finds `n` words in a row that are free wherever `range` is; gives the offset from r10 of
/// the lowest address.
fn place(words: &mut Vec<BTreeMap<u32, u32>>, n: usize, range: &Range) -> i32 {
    let mut run = 0;
    let mut end = words.len();
    for (i, w) in words.iter().enumerate() {
        run = if range.iter().all(|s| is_free(w, *s)) {
            run + 1
        } else {
            0
        };
        if run == n {
            end = i + 1;
            break;
        }
    }
    if run < n {
        // What is free at the end is used, the rest is new.
        end = (words.len() - run + n).min(MAX_WORDS.max(words.len()));
        words.resize_with(end, BTreeMap::new);
    }
    for w in &mut words[end.saturating_sub(n)..end] {
        w.extend(range.iter().map(|s| (s.start, s.end)));
    }
    -8 * end as i32
}

fn is_free(word: &BTreeMap<u32, u32>, s: Segment) -> bool {
    let before = word.range(..s.end).next_back();
    before.is_none_or(|(_, &end)| end <= s.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shared_and_found_in_rows() {
        let r = |start, end| vec![Segment { start, end }];
        let mut words = Vec::new();
        assert_eq!(place(&mut words, 2, &r(0, 10)), -16);
        assert_eq!(place(&mut words, 1, &r(10, 20)), -8);
        assert_eq!(place(&mut words, 2, &r(12, 20)), -24);
        assert_eq!(place(&mut words, 1, &r(5, 6)), -24);
        assert_eq!(words.len(), 3);
    }
}
