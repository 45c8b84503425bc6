//! A graph as a chain of units, and a plan as a split of the graph.

mod articulation;
mod chain;
mod choose_plan;
mod profiled;
mod split;
pub mod tiles;

pub use articulation::articulation_points;
pub use chain::{Network, PlanRequest, pipeline};
pub use choose_plan::choose_plan;
pub use profiled::ProfiledCosts;
pub use split::{Held, Receive, Split, SplitPart, is_sent};

pub(super) use split::value_bytes;
