//! Plan files from splits: names, transfers, energies, and the times of a [`Timeline`] over them.
//!
//! Input: a split of a graph, the timing of each part, and the plan's goal. Output: a [`PlanFile`],
//! with each value sent in the form that arrives first over its link.

use graph_opt_ir::names::NodeNames;
use graph_opt_ir::{Graph, ValueId};

use super::error::PlanFileError;
use super::plan_file::{PlanFile, ReceiveRow, StageRow};
use super::timeline::Timeline;
use crate::devices::cluster::{AllowedCodecs, Cluster};
use crate::devices::graph::{Held, Receive, Split, value_bytes};
use crate::devices::problem::{Objective, Transfer};

/// Mode and cost of running a part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StageTiming {
    /// Mode of the device.
    pub mode: usize,
    /// Seconds of computing.
    pub seconds: f64,
    /// Energy of computing in J.
    pub joules: f64,
}

/// Objective and context of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlanGoal {
    /// Quantity that was minimized.
    pub objective: Objective,
    /// Value found by the planner; if `None`, it is computed from the parts.
    pub value: Option<f64>,
    /// Lower bound on the value of every plan.
    pub bound: f64,
    /// Passes that made the graph from the model; empty if none.
    pub rewrite: String,
    /// Whether several frames are in flight at once.
    pub pipelined: bool,
    /// Codecs that transfers may use.
    pub codecs: AllowedCodecs,
}

/// Objectives by their names in files and on the command line.
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
    /// The plan of a split, where `held` is what each part's device holds.
    ///
    /// # Errors
    /// [`PlanFileError::NoLink`] if two devices exchange values without a link,
    /// [`PlanFileError::TooLarge`] if a part exceeds its device.
    pub(crate) fn of(
        graph: &Graph,
        cluster: &Cluster,
        split: &Split,
        held: &[Held],
        runs: &[StageTiming],
        goal: &PlanGoal,
    ) -> Result<Self, PlanFileError> {
        let mut file = Self::draft(graph, cluster, split, runs, goal)?;
        for (i, held) in held.iter().enumerate() {
            let buffers = if goal.pipelined { file.buffers(i) } else { 0 };
            let (stage, spec) = (&mut file.stages[i], &cluster.devices[split.parts[i].device]);
            stage.memory_bytes = held.total() + buffers;
            if stage.memory_bytes > spec.memory {
                return Err(PlanFileError::TooLarge {
                    first: stage.nodes.first().cloned().unwrap_or_default(),
                    last: stage.nodes.last().cloned().unwrap_or_default(),
                    needs: stage.memory_bytes,
                    device: spec.name.clone(),
                    has: spec.memory,
                });
            }
        }
        if goal.value.is_none() && goal.objective == Objective::Memory {
            let memory = file.stages.iter().map(|s| s.memory_bytes).max();
            file.judge(memory.unwrap_or(0) as f64, goal.bound);
        }
        Ok(file)
    }

    /// The same plan without memory.
    ///
    /// # Errors
    /// [`PlanFileError::NoLink`] if two devices exchange values without a link.
    pub(crate) fn draft(
        graph: &Graph,
        cluster: &Cluster,
        split: &Split,
        runs: &[StageTiming],
        goal: &PlanGoal,
    ) -> Result<Self, PlanFileError> {
        let names = NodeNames::of_graph(graph);
        let mut energy = 0.0;
        let mut receive = |to: Option<usize>, r: &Receive| -> Result<ReceiveRow, PlanFileError> {
            let of = |p: usize| split.parts[p].device;
            let from = r.from.map_or(cluster.source, |p| Some(of(p)));
            let to = to.map_or(cluster.sink, |p| Some(of(p)));
            let sized = |&v: &ValueId| (graph.value(v).name.to_string(), value_bytes(graph, v));
            let values: Vec<(String, u64)> = r.values.iter().map(sized).collect();
            let mut row = transfer(cluster, from, to, &values, &goal.codecs)?;
            energy += row.1;
            row.0.from = r.from;
            Ok(row.0)
        };
        let mut stages = Vec::new();
        for (i, (part, run)) in split.parts.iter().zip(runs).enumerate() {
            let spec = &cluster.devices[part.device];
            let rows = part.receives.iter().map(|r| receive(Some(i), r));
            stages.push(StageRow {
                device: spec.name.clone(),
                mode: spec.modes[run.mode].name.clone(),
                nodes: part.nodes.iter().map(|&n| names.name(n).to_owned()).collect(),
                compute_s: run.seconds,
                compute_j: run.joules,
                memory_bytes: 0,
                receives: rows.collect::<Result<_, _>>()?,
            });
        }
        let outputs = split.outputs.iter().map(|r| receive(None, r)).collect::<Result<_, _>>()?;
        energy += runs.iter().map(|r| r.joules).sum::<f64>();
        let mut file = Self {
            version: 1,
            objective: name(goal.objective).into(),
            value: 0.0,
            bound: 0.0,
            gap: 0.0,
            proved: false,
            latency_s: 0.0,
            interval_s: 0.0,
            energy_j: energy,
            rewrite: goal.rewrite.clone(),
            pipelined: goal.pipelined,
            stages,
            outputs,
            by_devices: Vec::new(),
            second_device: None,
        };
        file.latency_s = Timeline::of(&file, 1).latency();
        file.interval_s = file.interval();
        let value = match goal.objective {
            Objective::Latency => file.latency_s,
            Objective::Interval => file.interval_s,
            Objective::Energy => energy,
            Objective::Memory => 0.0,
        };
        file.judge(goal.value.unwrap_or(value), goal.bound);
        Ok(file)
    }
}

/// The transfer of values (name, bytes) between two devices, and its energy in J. A missing end,
/// and a transfer within a device, are free.
fn transfer(
    cluster: &Cluster,
    from: Option<usize>,
    to: Option<usize>,
    values: &[(String, u64)],
    allowed: &AllowedCodecs,
) -> Result<(ReceiveRow, f64), PlanFileError> {
    let bytes: u64 = values.iter().map(|v| v.1).sum();
    let mut row = ReceiveRow {
        values: values.iter().map(|v| v.0.clone()).collect(),
        ..ReceiveRow::default()
    };
    let (Some(a), Some(b)) = (from, to) else { return Ok((row, 0.0)) };
    if a == b || bytes == 0 {
        return Ok((row, 0.0));
    }
    let (x, y) = (&cluster.devices[a].name, &cluster.devices[b].name);
    let link = cluster.link(a, b);
    let link = link.ok_or_else(|| PlanFileError::NoLink { from: x.clone(), to: y.clone() })?;
    let chosen = values.iter().map(|(name, bytes)| {
        let (codec, form) = allowed.choose(link, name, *bytes);
        row.codecs.extend(codec.map(|c| (name.clone(), c)));
        form
    });
    let Transfer { bytes: sent, seconds, joules } = link.send(chosen.sum());
    let sent_bytes = (!row.codecs.is_empty()).then_some(sent);
    row.over = Some(cluster.medium(a, b).map_or_else(|| format!("{x} to {y}"), str::to_owned));
    Ok((ReceiveRow { bytes, sent_bytes, seconds, ..row }, joules))
}
