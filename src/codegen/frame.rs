//! The stack frame of a function: slots of the IR, then spill slots, downwards from r10.
//!
//! ```text
//!   r10 ->  +-----------+
//!           | slot0     |   every slot 8-aligned
//!           | slot1     |
//!           +-----------+
//!           | spill0    |   8 bytes each
//!           +-----------+   r10 - size, size <= 512
//! ```

use crate::ir::Slot;

use super::CodegenError;
use super::insn::STACK_SIZE;
use super::minst::MFunc;

/// Where things lie in the frame.
#[derive(Clone, Debug)]
pub struct Frame {
    slots: Vec<i32>,
    spills: i32,
    /// Bytes, a multiple of 8.
    pub size: u32,
}

impl Frame {
    /// Lays out the slots that `f` uses and `spill_slots` of 8 bytes.
    pub fn new(f: &MFunc, spill_slots: u32) -> Result<Self, CodegenError> {
        let mut at = 0u64;
        let mut slots = Vec::with_capacity(f.slots.len());
        for &size in &f.slots {
            at += u64::from(size.next_multiple_of(8));
            slots.push(at);
        }
        let spilled = u64::from(spill_slots) * 8;
        let size = at + spilled;
        if size > STACK_SIZE as u64 {
            return Err(CodegenError::FrameTooLarge {
                func: f.name.clone(),
                slots: at,
                spills: spilled,
            });
        }
        Ok(Self {
            slots: slots.into_iter().map(|s| -(s as i32)).collect(),
            spills: -(at as i32),
            size: size as u32,
        })
    }

    /// Offset of a slot from r10.
    pub fn slot(&self, s: Slot) -> i32 {
        self.slots[s.index()]
    }

    /// Offset of a spill slot from r10.
    pub fn spill(&self, n: u32) -> i16 {
        (self.spills - 8 * (n as i32 + 1)) as i16
    }
}
