//! The tree as text: [`dump`] for people who look into the compiler, [`format`] for scripts.

mod dump;
mod expr;
mod format;

pub use dump::dump;
pub use format::format;

#[cfg(test)]
mod tests;
