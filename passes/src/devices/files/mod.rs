//! Plans as files: `plan.json`, the `manifest.json` of a split model, the times that follow from a
//! plan, and the dataflow that runs it.
//!
//! Nodes, values and devices are referred to by name. This module serializes and checks; it does no
//! I/O.

pub mod dataflow;
mod error;
mod from_split;
mod manifest;
mod plan_file;
mod timeline;
mod wiring;

pub use error::{DataflowError, ManifestError, PlanFileError};
pub use from_split::OBJECTIVES;
pub(super) use from_split::{PlanGoal, StageTiming};
pub use manifest::{Manifest, PartFile};
pub use plan_file::{DeviceCount, PlanFile, ReceiveRow, SecondDevice, StageRow};
pub use timeline::{Timeline, Transfer};
pub use wiring::{Edge, Endpoint, SentValue, Wiring};
