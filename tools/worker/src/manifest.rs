//! `manifest.json`, as `graph-opt split` writes it.

use serde::{Deserialize, Serialize};

/// What the folder of a split model holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format: 1.
    pub version: u32,
    /// The plan.
    pub plan: PlanFile,
    /// Inputs of the whole, in order.
    pub inputs: Vec<String>,
    /// Outputs of the whole, in order.
    pub outputs: Vec<Output>,
    /// Stages, in order, as in the plan.
    pub stages: Vec<Part>,
}

/// An output of the whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Output {
    /// The value.
    pub value: String,
    /// The stage that has it.
    pub from: usize,
}

/// A stage's file, and what it takes and gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The file, in the same folder.
    pub file: String,
    /// Values that the file's graph reads, in the order of its inputs.
    pub inputs: Vec<String>,
    /// Values that it makes, in the order of its outputs.
    pub outputs: Vec<String>,
}

/// Of the plan, what running it takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanFile {
    /// Seconds from a frame's input to its output.
    pub latency_s: f64,
    /// Seconds between frames.
    pub interval_s: f64,
    /// Stages, in order.
    pub stages: Vec<StageRow>,
}

/// A stage of the plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageRow {
    /// Device.
    pub device: String,
    /// Values that come in.
    pub receives: Vec<Receive>,
}

/// A value that a stage takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Receive {
    /// The value.
    pub value: String,
    /// The stage that has it; none for the source.
    pub from: Option<usize>,
    /// Bytes, if they cross a link.
    pub bytes: u64,
}
