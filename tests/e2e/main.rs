//! The main job, end to end: real programs, traced by the command that users run.
//!
//! Each command of `docs/examples` is a test here. What needs the kernel says why it is skipped
//! where BPF cannot be used.

#[path = "../support/kernel.rs"]
mod kernel;
mod support;

mod archives;
mod attaching;
mod cpp;
mod ending;
mod functions;
mod golang;
mod groups;
mod hello;
mod names;
mod node;
mod past;
mod programs;
mod refusals;
mod sockets;
mod syscalls;
mod threads;
mod typed;
mod unwind;
mod usdt;
mod vector;
mod watching;
