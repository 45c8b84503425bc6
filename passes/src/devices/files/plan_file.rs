//! `plan.json`, a plan as a file, and `manifest.json`, what lies beside the parts of a split model.

use std::collections::{BTreeMap, HashMap};

use graph_opt_ir::{Graph, NodeId, ValueId};
use serde::{Deserialize, Serialize};

use super::error::PlanFileError;
use crate::devices::cluster::Codec;
use crate::devices::graph::{Receive, Split, SplitPart};

/// A plan, by the names of nodes, values and devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Version of the format: 1.
    pub version: u32,
    /// What was to be least: latency, throughput, energy or memory.
    pub objective: String,
    /// Its value: seconds, seconds between frames, joules or bytes.
    pub value: f64,
    /// No plan has a lower value than this.
    pub bound: f64,
    /// How far the value may be from the least, as a share of it.
    pub gap: f64,
    /// Whether it is proved that no plan is better.
    pub proved: bool,
    /// Seconds from a frame's input to its output, when it is alone.
    pub latency_s: f64,
    /// Seconds between frames, in a pipeline that is full.
    pub interval_s: f64,
    /// Energy of a frame, J.
    pub energy_j: f64,
    /// Passes that rewrite the model before it is split, such as `fuse-tiles{…}`; none if empty.
    #[serde(default)]
    pub rewrite: String,
    /// Whether a frame comes in and another one goes out while one is computed: memory has room for
    /// all three.
    #[serde(default)]
    pub pipelined: bool,
    /// Parts, each after those that it takes from.
    pub stages: Vec<StageRow>,
    /// Where the network's outputs are taken from.
    pub outputs: Vec<ReceiveRow>,
}

/// A part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRow {
    /// Device.
    pub device: String,
    /// The device's mode.
    pub mode: String,
    /// Its nodes, in the order of the model.
    pub nodes: Vec<String>,
    /// Seconds of computing.
    pub compute_s: f64,
    /// Energy of computing, J.
    pub compute_j: f64,
    /// Bytes that the device holds while it runs: see [`Held`].
    pub memory_bytes: u64,
    /// What it takes.
    pub receives: Vec<ReceiveRow>,
}

/// Values that are taken from one part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveRow {
    /// The part, by its place; the source of inputs if there is none.
    pub from: Option<usize>,
    /// The values.
    pub values: Vec<String>,
    /// The link that they cross, which carries one transfer at a time; none if they stay.
    pub over: Option<String>,
    /// Their bytes, if they cross a link.
    pub bytes: u64,
    /// Those that cross it in another form, and in which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codecs: BTreeMap<String, Codec>,
    /// Bytes that the link carries, if some cross in another form: of what is compressed, as many as
    /// were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// Seconds that they take, encoding and decoding included.
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

    /// What all parts take, and the end, with the device.
    pub(super) fn receives(&self) -> impl Iterator<Item = (Option<&str>, &ReceiveRow)> {
        let parts =
            self.stages.iter().flat_map(|s| s.receives.iter().map(|r| (Some(&*s.device), r)));
        parts.chain(self.outputs.iter().map(|r| (None, r)))
    }

    /// How many values cross links in which form that is not the value as it is.
    pub fn codecs(&self) -> BTreeMap<Codec, usize> {
        let mut all = BTreeMap::new();
        for c in self.receives().flat_map(|r| r.1.codecs.values()) {
            *all.entry(*c).or_default() += 1;
        }
        all
    }

    /// The most that a device or a link does for one frame, s.
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

    /// Bytes that come in over links for a part of a frame, and those that go out from it.
    pub fn buffers(&self, part: usize) -> u64 {
        let device = &self.stages[part].device;
        let on = |s: &&StageRow| s.device == *device;
        let comes = self.stages.iter().filter(on).flat_map(|s| &s.receives);
        let goes = self.stages.iter().flat_map(|s| &s.receives).chain(&self.outputs);
        let goes = goes.filter(|r| r.from.is_some_and(|f| self.stages[f].device == *device));
        comes.map(|r| r.bytes).sum::<u64>() + goes.map(|r| r.bytes).sum::<u64>()
    }

    /// The plan as a split of a graph, on devices numbered in the order in which they come.
    ///
    /// # Errors
    /// If it is none of this graph.
    pub fn split(&self, graph: &Graph, nodes: &[NodeId]) -> Result<Split, PlanFileError> {
        if self.version != 1 {
            return Err(PlanFileError::Version(self.version));
        }
        let by_label: HashMap<&str, NodeId> = nodes.iter().map(|&n| (graph.label(n), n)).collect();
        let node = |name: &String| {
            by_label.get(&**name).copied().ok_or_else(|| PlanFileError::UnknownNode(name.clone()))
        };
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
