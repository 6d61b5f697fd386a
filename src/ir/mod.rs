//! The intermediate representation: functions in SSA form over a control-flow graph.
//!
//! Values are virtual registers, defined once; blocks take parameters in place of phi nodes.
//! Every value has a [`Ty`], which mirrors what the kernel's verifier will think of it, so that
//! most rejections become failures of our own verifier in a unit test. Memory is explicit:
//! frame slots, map values, ring-buffer records. The text form (print, read) is test input and
//! dump output alike, and every entity prints as it is written: `v3`, `block1`, `slot0`,
//! `map2`, `fn1`.

pub mod builder;
pub mod cfg;
pub mod emission;
pub mod entity;
pub mod eval;
pub mod func;
pub mod inst;
pub mod pass;
pub mod print;
pub mod read;
pub mod verify;

pub use builder::Builder;
pub use entity::{Block, FuncId, Slot, Value};
pub use func::{Func, FuncKind, Module, SlotData};
pub use inst::{AtomicOp, BinOp, Cond, Inst, MemTy, Term, Ty, Width};
pub use verify::{VerifyError, verify};
