//! `plan.json`: a plan by the names of nodes, values and devices, with its bound and predicted
//! times.
//!
//! Times are in seconds, energies in joules, sizes in bytes; the suffixes of the fields say so.

use std::collections::{BTreeMap, HashMap};

use graph_opt_ir::names::NodeNames;
use graph_opt_ir::{Graph, NodeId, ValueId};
use serde::{Deserialize, Serialize};

use super::error::PlanFileError;
use crate::devices::cluster::Codec;
use crate::devices::graph::{Receive, Split, SplitPart};

/// A plan as a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Version of the format: 1.
    pub version: u32,
    /// Quantity that was minimized: latency, throughput, energy or memory.
    pub objective: String,
    /// Its value: seconds, seconds between frames, joules or bytes.
    pub value: f64,
    /// Lower bound on the value of every plan.
    pub bound: f64,
    /// Relative distance between value and bound, from 0 to 1.
    pub gap: f64,
    /// Whether the plan is proved optimal, up to rounding.
    pub proved: bool,
    /// Seconds from a frame's input to its output, without other frames.
    pub latency_s: f64,
    /// Seconds between frames of a full pipeline.
    pub interval_s: f64,
    /// Energy of a frame in J.
    pub energy_j: f64,
    /// Passes that rewrite the model before it is split, such as `fuse-tiles{…}`; empty if none.
    #[serde(default)]
    pub rewrite: String,
    /// Whether memory includes buffers for one arriving and one leaving frame.
    #[serde(default)]
    pub pipelined: bool,
    /// Parts, each after those that it receives from.
    pub stages: Vec<StageRow>,
    /// Where the sink receives the network's outputs from.
    pub outputs: Vec<ReceiveRow>,
    /// The best plans on 1, 2, … devices, for comparison; empty if they were not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_devices: Vec<DeviceCount>,
    /// Where one device does all: what the best plan on two would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_device: Option<SecondDevice>,
}

/// The best plan on two devices, where one does better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondDevice {
    /// Its value for the plan's objective: seconds, joules or bytes.
    pub value: f64,
    /// Bytes that the second device receives.
    pub receives_bytes: u64,
}

/// What the best plan on so many devices costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceCount {
    /// Number of devices.
    pub devices: usize,
    /// Seconds from a frame's input to its output.
    pub latency_s: f64,
    /// Seconds between frames of a full pipeline.
    pub interval_s: f64,
    /// Energy of a frame in J.
    pub energy_j: f64,
    /// Most bytes that a device holds.
    pub memory_bytes: u64,
}

impl DeviceCount {
    /// Of a plan with a stage on each device.
    pub(crate) fn of(plan: &PlanFile) -> Self {
        Self {
            devices: plan.stages.len(),
            latency_s: plan.latency_s,
            interval_s: plan.interval_s,
            energy_j: plan.energy_j,
            memory_bytes: plan.stages.iter().map(|s| s.memory_bytes).max().unwrap_or(0),
        }
    }
}

/// A part of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRow {
    /// Name of the device.
    pub device: String,
    /// Name of the device's mode.
    pub mode: String,
    /// Names of its nodes, in the order of the model; of nodes that share a name, the names of their
    /// first results.
    pub nodes: Vec<String>,
    /// Seconds of computing.
    pub compute_s: f64,
    /// Energy of computing in J.
    pub compute_j: f64,
    /// Bytes that the device holds while the part runs: constants, the peak of the activations, and
    /// values stored for later parts.
    pub memory_bytes: u64,
    /// What the part receives.
    pub receives: Vec<ReceiveRow>,
}

/// Values received from one sender.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveRow {
    /// Position of the sending part; `None` is the source of the network's inputs.
    pub from: Option<usize>,
    /// Names of the values.
    pub values: Vec<String>,
    /// Link that they cross, which carries one transfer at a time; `None` if they stay on the
    /// device.
    pub over: Option<String>,
    /// Size before encoding in bytes, if they cross a link.
    pub bytes: u64,
    /// Codecs of the values that cross it encoded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codecs: BTreeMap<String, Codec>,
    /// Bytes that the link carries, if some values are encoded; for lossless codecs, as measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// Seconds of the transfer, coding included.
    pub seconds: f64,
}

impl ReceiveRow {
    /// Bytes that the link carries.
    pub fn sent(&self) -> u64 {
        self.sent_bytes.unwrap_or(self.bytes)
    }
}

impl PlanFile {
    pub(crate) fn judge(&mut self, value: f64, bound: f64) {
        (self.value, self.bound) = (value, bound.min(value));
        self.gap = if value > 0.0 { (value - self.bound) / value } else { 0.0 };
        self.proved = self.gap <= 1e-9;
    }

    /// What parts and the sink receive; the device is `None` for the sink.
    pub(super) fn receives(&self) -> impl Iterator<Item = (Option<&str>, &ReceiveRow)> {
        let parts =
            self.stages.iter().flat_map(|s| s.receives.iter().map(|r| (Some(&*s.device), r)));
        parts.chain(self.outputs.iter().map(|r| (None, r)))
    }

    /// How many transferred values use each codec.
    pub fn codecs(&self) -> BTreeMap<Codec, usize> {
        let mut all = BTreeMap::new();
        for c in self.receives().flat_map(|r| r.1.codecs.values()) {
            *all.entry(*c).or_default() += 1;
        }
        all
    }

    /// Seconds between frames: the busiest device or link.
    pub(super) fn interval(&self) -> f64 {
        let mut busy: HashMap<(bool, &str), f64> = HashMap::new();
        for s in &self.stages {
            *busy.entry((true, &s.device)).or_default() += s.compute_s;
        }
        for (_, r) in self.receives() {
            if let Some(over) = &r.over {
                *busy.entry((false, over)).or_default() += r.seconds;
            }
        }
        let mut all: Vec<f64> = busy.into_values().collect();
        all.sort_by(f64::total_cmp);
        all.last().copied().unwrap_or(0.0)
    }

    /// Bytes of the buffers for a frame that arrives at a part's device and one that leaves it.
    pub(crate) fn buffers(&self, part: usize) -> u64 {
        let device = &self.stages[part].device;
        let on = |s: &&StageRow| s.device == *device;
        let comes = self.stages.iter().filter(on).flat_map(|s| &s.receives);
        let goes = self.stages.iter().flat_map(|s| &s.receives).chain(&self.outputs);
        let goes = goes.filter(|r| r.from.is_some_and(|f| self.stages[f].device == *device));
        comes.map(|r| r.bytes).sum::<u64>() + goes.map(|r| r.bytes).sum::<u64>()
    }

    /// Applies the plan to a graph whose schedule is `nodes`; devices are numbered in the order of
    /// their first part.
    ///
    /// # Errors
    /// [`PlanFileError`] with the node, value or part that does not match the graph.
    pub fn split(&self, graph: &Graph, nodes: &[NodeId]) -> Result<Split, PlanFileError> {
        if self.version != 1 {
            return Err(PlanFileError::Version(self.version));
        }
        let names = NodeNames::of_graph(graph);
        let node = |name: &String| names.node(name).map_err(PlanFileError::Node);
        let value = |name: &String| -> Result<ValueId, PlanFileError> {
            graph.find_value(name).ok_or_else(|| PlanFileError::UnknownValue(name.clone()))
        };
        let receive = |r: &ReceiveRow| -> Result<Receive, PlanFileError> {
            let values = r.values.iter().map(value).collect::<Result<_, _>>()?;
            Ok(Receive { from: r.from, values })
        };
        let mut devices: Vec<&str> = Vec::new();
        let mut parts = Vec::new();
        for s in &self.stages {
            let at = devices.iter().position(|d| *d == s.device).unwrap_or_else(|| {
                devices.push(&s.device);
                devices.len() - 1
            });
            parts.push(SplitPart {
                device: at,
                nodes: s.nodes.iter().map(node).collect::<Result<_, _>>()?,
                receives: s.receives.iter().map(receive).collect::<Result<_, _>>()?,
            });
        }
        let outputs = self.outputs.iter().map(receive).collect::<Result<_, _>>()?;
        let split = Split { parts, outputs };
        split.check(graph, nodes)?;
        Ok(split)
    }
}
