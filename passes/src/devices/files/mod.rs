//! Plans as files, their time, and the dataflow that runs them.

pub mod dataflow;
mod plan_file;
mod timeline;
mod wiring;

pub use plan_file::{Aim, Manifest, OBJECTIVES, PartFile, PlanFile, ReceiveRow, Run, StageRow};
pub use timeline::Clock;
pub use wiring::{Edge, Give, Place, Wiring};
