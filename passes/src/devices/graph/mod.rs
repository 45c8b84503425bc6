//! From a graph to a plan and back: the graph as a chain of units, planners on that chain, and
//! plans as splits of the graph into one graph per part.
//!
//! 1. [`Network`] cuts the schedule of a graph into units with costs and crossing values.
//! 2. [`pipeline()`] plans a pipeline of stages; [`choose_plan()`] also tries rewriting the graph
//!    and tiles side by side.
//! 3. [`Split`] assigns nodes to devices, checks who sends what to whom, and extracts each part as
//!    a graph.

mod by_devices;
mod chain;
mod choose_plan;
mod error;
mod kernel_times;
mod least_memory;
mod pipeline;
mod profiled;
mod split;
pub mod tiles;
mod values;

pub use by_devices::{by_devices, on_two_devices};
pub use chain::Network;
pub use choose_plan::choose_plan;
pub use error::{Mismatch, PlanningError, ProfileMismatch, SplitError, TilingError};
pub use kernel_times::{AttributedTimes, OtherModel};
pub use least_memory::{LeastMemory, least_memory};
pub use pipeline::{PlanRequest, pipeline};
pub use profiled::ProfiledCosts;
pub use split::{Split, SplitPart};

pub use crate::analysis::is_sent;

pub(super) use split::{Held, Receive};
pub(super) use values::value_bytes;
