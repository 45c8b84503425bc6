//! `plan.json`: a plan as a file.

use std::ops::Range;

use graph_opt_ir::Graph;
use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::network::Network;
use super::plan::Plan;
use super::problem::{Objective, Problem};

/// A plan, by the names of nodes and devices.
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
    /// Seconds from a frame's input to its output.
    pub latency_s: f64,
    /// Seconds between frames.
    pub interval_s: f64,
    /// Energy of a frame, J.
    pub energy_j: f64,
    /// Stages, in order.
    pub stages: Vec<StageRow>,
    /// Bytes that go out to the sink, if there is one.
    pub out_bytes: u64,
    /// Seconds that they take.
    pub out_s: f64,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRow {
    /// Device.
    pub device: String,
    /// The device's mode.
    pub mode: String,
    /// First node, in the order of the model.
    pub first: String,
    /// Last node.
    pub last: String,
    /// How many nodes from the one to the other.
    pub nodes: usize,
    /// Seconds of computing.
    pub compute_s: f64,
    /// Energy of computing, J.
    pub compute_j: f64,
    /// Bytes: constants, the peak of activations, and what is handed on unread.
    pub memory_bytes: u64,
    /// Values that come in.
    pub receives: Vec<String>,
    /// Their bytes, if they cross a link.
    pub receives_bytes: u64,
    /// Seconds that they take.
    pub receives_s: f64,
}

/// Objectives by the names that users know them by.
pub const OBJECTIVES: [(&str, Objective); 4] = [
    ("latency", Objective::Latency),
    ("throughput", Objective::Interval),
    ("energy", Objective::Energy),
    ("memory", Objective::Memory),
];

fn name(objective: Objective) -> &'static str {
    OBJECTIVES.iter().find(|o| o.1 == objective).map_or("", |o| o.0)
}

impl PlanFile {
    /// The plan of a graph, with the memory that each stage has by its own memory plan.
    ///
    /// # Errors
    /// If a stage cannot be cut out, or takes more memory than its device has.
    pub fn of(
        graph: &Graph,
        network: &Network,
        cluster: &Cluster,
        problem: &Problem<'_>,
        plan: &Plan,
    ) -> Result<Self, String> {
        let label = |u: usize| graph.label(network.nodes[u]).to_owned();
        let mut stages = Vec::new();
        for s in &plan.stages {
            let machine = &cluster.devices[s.device];
            let memory_bytes = network.stage_memory(graph, s.units.clone())?;
            if memory_bytes > machine.memory {
                return Err(format!(
                    "the stage from {} to {} takes {memory_bytes} B, and {} has {}",
                    label(s.units.start),
                    label(s.units.end - 1),
                    machine.name,
                    machine.memory
                ));
            }
            let receives = &network.crossing[s.units.start];
            stages.push(StageRow {
                device: machine.name.clone(),
                mode: machine.modes[s.mode].name.clone(),
                first: label(s.units.start),
                last: label(s.units.end - 1),
                nodes: s.units.len(),
                compute_s: s.seconds,
                compute_j: s.joules,
                memory_bytes,
                receives: receives.iter().map(|&v| graph.value(v).name.to_string()).collect(),
                receives_bytes: s.transfer.bytes,
                receives_s: s.transfer.seconds,
            });
        }
        Ok(Self {
            version: 1,
            objective: name(problem.objective).into(),
            value: plan.value,
            bound: plan.bound,
            gap: plan.gap(),
            proved: plan.proved(),
            latency_s: plan.total(Objective::Latency),
            interval_s: plan.total(Objective::Interval),
            energy_j: plan.total(Objective::Energy),
            stages,
            out_bytes: plan.out.bytes,
            out_s: plan.out.seconds,
        })
    }

    /// The units of each stage in a graph.
    ///
    /// # Errors
    /// If the plan is not one of this graph.
    pub fn units(&self, graph: &Graph, network: &Network) -> Result<Vec<Range<usize>>, String> {
        if self.version != 1 {
            return Err(format!("a plan of version {} is not known", self.version));
        }
        let mut ranges = Vec::new();
        let mut from: usize = 0;
        for (i, s) in self.stages.iter().enumerate() {
            let to = from.saturating_add(s.nodes);
            let label = |u: usize| network.nodes.get(u).map(|&n| graph.label(n));
            let ends = (label(from), to.checked_sub(1).and_then(label));
            if s.nodes == 0 || ends != (Some(&*s.first), Some(&*s.last)) {
                return Err(format!(
                    "the plan is of another model: stage {i} should run from {} to {}",
                    s.first, s.last
                ));
            }
            ranges.push(from..to);
            from = to;
        }
        if from != network.nodes.len() {
            let all = network.nodes.len();
            return Err(format!("the plan is of another model: {from} of {all} nodes are in it"));
        }
        Ok(ranges)
    }
}
