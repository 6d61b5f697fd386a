//! Running an [`Object`](crate::object::Object): maps, programs, links, and the event loop.
//!
//! In goes a compiled object; out come records and maps, handed to a [`Sink`]. Everything that
//! touches the kernel goes through [`sys`]. Nothing here knows the language.

pub mod aggregate;
pub mod attach;
pub mod child;
pub mod event;
pub mod load;
pub mod map;
pub mod memory;
pub mod output;
pub mod privilege;
mod ring_size;
pub mod ringbuf;
pub mod session;
pub mod shared;
pub mod sink;
pub mod symbolize;
pub mod sys;
#[cfg(test)]
pub(crate) mod testing;
pub mod unwind;
pub mod verifier;
pub mod watch;

pub use child::Child;
pub use load::{LoadOptions, Loaded};
pub use map::{KernelMaps, MapAccess};
pub use session::{Outcome, Session, Stop};
pub use sink::{Flow, Sink};
