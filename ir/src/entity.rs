//! Typed handles. Once a model is imported, nothing is identified by a bare integer or a name.

use std::fmt;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $name {
            /// The handle with this position in its arena.
            pub fn new(index: usize) -> Self {
                debug_assert!(index < u32::MAX as usize);
                Self(index as u32)
            }

            /// Position in the arena of the graph that made this handle.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

handle!(
    /// A node of a [`Graph`](crate::Graph).
    NodeId,
    "n"
);
handle!(
    /// A value (a tensor at run time) of a [`Graph`](crate::Graph).
    ValueId,
    "v"
);
