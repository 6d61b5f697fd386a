//! Typed indices of the IR's entities. `Display` is their spelling in the text form.

use std::fmt;

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// The index as a vector index.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

entity!(
    /// An SSA value of one function.
    Value,
    "v"
);
entity!(
    /// A basic block of one function.
    Block,
    "block"
);
entity!(
    /// A frame slot of one function.
    Slot,
    "slot"
);
entity!(
    /// A function of a [`Module`](super::Module).
    FuncId,
    "fn"
);
