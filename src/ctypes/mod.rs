//! C types without a C compiler: their common shape, and the C front end for scripts.
//!
//! [`model`] is the shape that every source of types (BTF, C text, debug information) presents.

pub mod model;
pub mod render;
