//! Plans as files, their time, and the dataflow that runs them.

pub mod dataflow;
mod error;
mod from_split;
mod manifest;
mod plan_file;
mod timeline;
mod wiring;

pub use error::{DataflowError, ManifestError, PlanFileError};
pub use from_split::{OBJECTIVES, PlanGoal, StageTiming};
pub use manifest::{Manifest, PartFile};
pub use plan_file::{PlanFile, ReceiveRow, StageRow};
pub use timeline::Timeline;
pub use wiring::{Edge, Endpoint, SentValue, Wiring};
