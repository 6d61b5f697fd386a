//! The command line: argv in, exit code out.
//!
//! Data goes to standard output, everything else to standard error. Nothing is opened before
//! the options say that it is needed.

pub mod args;
pub mod flags;
