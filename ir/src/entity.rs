//! Typed handles of nodes and values. After import, code identifies them by handles rather than by
//! integers or names.

use std::fmt;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $name {
            /// The handle of the entry with this index in its arena.
            pub fn new(index: usize) -> Self {
                debug_assert!(index < u32::MAX as usize);
                Self(index as u32)
            }

            /// Index in the arena of the graph to which the handle belongs.
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
