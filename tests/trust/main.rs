//! The promises of docs/guarantees.md, held against the program as it is run.
//!
//! Everything goes through the `rtrace` binary. What needs BPF says so and is skipped where it is
//! not to be had.

mod accounted;
mod breakpoints;
mod differential;
mod exact;
mod explained;
mod faults;
mod injection;
#[path = "../support/kernel.rs"]
mod kernel;
mod killed;
mod losses;
mod privilege;
mod run;
mod safe;
mod soak;
