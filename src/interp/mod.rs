//! A BPF machine in user space: runs an [`Object`](crate::object::Object) without the kernel.
//!
//! In: programs and maps of an object, a context for each run, and a [`World`] that stands for
//! everything outside BPF (clock, current task, memory of others). Out: the program's result,
//! maps that can be read, and records of the ring buffer. It serves two ends: it is the engine
//! of `--engine=user` for scripts that need no kernel events, and the instrument by which
//! tests run compiled code without privilege.
//!
//! It never reads or writes memory that is not its own: every pointer names a region with
//! bounds, and what is not such a pointer goes to the world, whose default is to
//! refuse. A program that does what the kernel's verifier would have forbidden ends in a
//! [`Fault`]; nothing panics.

mod access;
mod alu;
pub mod engine;
mod fault;
mod helpers;
mod machine;
mod map;
mod memory;
mod ring;
#[cfg(test)]
mod tests;
mod vm;
mod world;

pub use fault::{Fault, FaultKind};
pub use helpers::implemented;
pub use machine::{DEFAULT_BUDGET, Machine};
pub use map::{Entry, Map, MapError, UpdateMode};
pub use world::{Clock, FakeWorld, HostWorld, Space, Task, World};
