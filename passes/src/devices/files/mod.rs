//! Plans as files, their time, and the dataflow that runs them.

pub mod dataflow;
mod plan_file;
mod timeline;
mod wiring;

pub use plan_file::{
    Manifest, OBJECTIVES, PartFile, PlanFile, PlanGoal, ReceiveRow, StageRow, StageTiming,
};
pub use timeline::Timeline;
pub use wiring::{Edge, Endpoint, SentValue, Wiring};
