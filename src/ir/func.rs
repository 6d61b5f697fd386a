//! Functions, and the module that holds those of one script.

use crate::object::{Loc, MapDef, MapId};

use super::entity::{Block, FuncId, Slot, Value};
use super::inst::{Inst, Term, Ty};

/// A frame slot: bytes on the stack, 8-aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotData {
    /// Bytes.
    pub size: u32,
}

/// What a function is to the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FuncKind {
    /// Entry of a program: one parameter, the context.
    Entry,
    /// Called from other functions, verified at each call (BTF_FUNC_STATIC).
    Static,
    /// A callback of `bpf_loop` (`index`, `context`): returns 0 to go on, 1 to stop.
    LoopBody,
    /// A callback of `bpf_for_each_map_elem` (`map`, `key`, `value`, `context`).
    EachBody,
}

/// An instruction in a block.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it defines.
    pub result: Option<Value>,
    /// What it does.
    pub inst: Inst,
    /// Where in the script it comes from.
    pub loc: Loc,
}

/// A basic block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockData {
    /// Parameters.
    pub params: Vec<Value>,
    /// Instructions in order.
    pub insts: Vec<Node>,
    /// The end; `None` only while the function is being built.
    pub term: Option<Term>,
    /// Place of the end in the script.
    pub term_loc: Loc,
}

/// A function.
#[derive(Clone, Debug, PartialEq)]
pub struct Func {
    /// Name: a C identifier.
    pub name: String,
    /// What it is to the verifier.
    pub kind: FuncKind,
    /// Blocks; the first is the entry and takes the function's parameters.
    pub blocks: Vec<BlockData>,
    /// Types of values.
    pub values: Vec<Ty>,
    /// Frame slots.
    pub slots: Vec<SlotData>,
    /// Type of the result (`Scalar`, or `MapValOrNull` and the like for static functions).
    pub ret: Ty,
}

impl Func {
    /// The entry block.
    pub const ENTRY: Block = Block(0);

    /// A function without blocks.
    pub fn new(name: impl Into<String>, kind: FuncKind) -> Self {
        Self {
            name: name.into(),
            kind,
            blocks: Vec::new(),
            values: Vec::new(),
            slots: Vec::new(),
            ret: Ty::Scalar,
        }
    }

    /// A new value of type `ty`.
    pub fn new_value(&mut self, ty: Ty) -> Value {
        self.values.push(ty);
        Value(self.values.len() as u32 - 1)
    }

    /// A new, empty block.
    pub fn new_block(&mut self) -> Block {
        self.blocks.push(BlockData::default());
        Block(self.blocks.len() as u32 - 1)
    }

    /// A new frame slot.
    pub fn new_slot(&mut self, size: u32) -> Slot {
        self.slots.push(SlotData { size });
        Slot(self.slots.len() as u32 - 1)
    }

    /// Type of a value.
    pub fn ty(&self, v: Value) -> Ty {
        self.values[v.index()]
    }

    /// The constant that each value is, if it is one.
    pub fn constants(&self) -> Vec<Option<i64>> {
        let mut out = vec![None; self.values.len()];
        for n in self.blocks.iter().flat_map(|b| &b.insts) {
            if let (Inst::Const(c), Some(v)) = (&n.inst, n.result) {
                out[v.index()] = Some(*c);
            }
        }
        out
    }

    /// A block.
    pub fn block(&self, b: Block) -> &BlockData {
        &self.blocks[b.index()]
    }

    /// A block, to change it.
    pub fn block_mut(&mut self, b: Block) -> &mut BlockData {
        &mut self.blocks[b.index()]
    }

    /// Parameters of the function.
    pub fn params(&self) -> &[Value] {
        &self.block(Self::ENTRY).params
    }
}

/// All functions and maps of one script.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Functions; [`FuncId`] indexes them.
    pub funcs: Vec<Func>,
    /// Maps; [`MapId`] indexes them.
    pub maps: Vec<MapDef>,
}

impl Module {
    /// Adds a function.
    pub fn add(&mut self, f: Func) -> FuncId {
        self.funcs.push(f);
        FuncId(self.funcs.len() as u32 - 1)
    }

    /// A function.
    pub fn func(&self, id: FuncId) -> &Func {
        &self.funcs[id.index()]
    }

    /// A map.
    pub fn map(&self, id: MapId) -> &MapDef {
        &self.maps[id.0 as usize]
    }
}
