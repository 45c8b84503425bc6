//! A graph as a chain of units, and a plan as a split of the graph.

mod articulation;
mod chain;
mod choose_plan;
mod error;
mod pipeline;
mod profiled;
mod split;
pub mod tiles;
mod values;

pub use articulation::articulation_points;
pub use chain::Network;
pub use choose_plan::choose_plan;
pub use error::{Mismatch, PlanningError, ProfileMismatch, SplitError, TilingError};
pub use pipeline::{PlanRequest, pipeline};
pub use profiled::ProfiledCosts;
pub use split::{Held, Receive, Split, SplitPart};

pub use values::is_sent;

pub(super) use values::value_bytes;
