//! A graph as a chain of units, and a plan as a split of the graph.

mod articulation;
mod chain;
mod choose_plan;
mod profiled;
mod split;
pub mod tiles;

pub use articulation::points;
pub use chain::{Network, Wish, pipeline};
pub use choose_plan::best;
pub use profiled::Profiled;
pub use split::{Held, Part, Receive, Split, is_sent};

pub(super) use split::bytes;
