//! Planning a pipeline of stages, with the memory that each stage really needs.
//!
//! 1. Plan on the chain, where a stage's memory is estimated from the memory plan of the whole
//!    graph.
//! 2. Extract each stage as a graph and plan its memory exactly.
//! 3. If a stage exceeds its device, record its exact size and plan again.
//!
//! Pipelined frames need buffers for one frame that arrives and one that leaves; they are added
//! where the interval matters.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use graph_opt_ir::{Graph, ValueId};

use super::chain::Network;
use super::error::PlanningError;
use super::split::Split;
use super::values::value_bytes;
use crate::analysis::is_sent;
use crate::devices::cluster::{AllowedCodecs, Cluster, DeviceSpec};
use crate::devices::files::{PlanFile, PlanGoal, StageTiming};
use crate::devices::problem::{Costs, Device, Form, Limits, Objective, Problem};
use crate::devices::{DevicePlan, Effort, NoPlan, Reason, Stage};

/// Costs of stages: those given, plus pipeline buffers, with exact memory where it is known.
struct StageCosts<'a> {
    costs: &'a dyn Costs,
    network: &'a Network,
    cluster: &'a Cluster,
    /// Whether buffers for an arriving and a leaving frame are counted.
    pipelined: bool,
    /// Exact memory in bytes of stages that exceed their estimate.
    known: HashMap<Range<usize>, u64>,
}

impl Costs for StageCosts<'_> {
    fn seconds(&self, units: Range<usize>, device: usize, mode: usize) -> Option<f64> {
        self.costs.seconds(units, device, mode)
    }

    fn joules(&self, units: Range<usize>, device: usize, mode: usize) -> f64 {
        self.costs.joules(units, device, mode)
    }

    fn memory(&self, units: Range<usize>, device: usize) -> u64 {
        let known = if self.known.is_empty() { None } else { self.known.get(&units) };
        let thought = self.costs.memory(units.clone(), device);
        thought.max(known.copied().unwrap_or(0)) + self.buffers(&units, device)
    }
}

impl StageCosts<'_> {
    /// Bytes of the buffers for what arrives and leaves over links.
    fn buffers(&self, units: &Range<usize>, device: usize) -> u64 {
        let cuts = &self.network.cuts;
        let crosses = |cut: usize, outside: Option<Option<usize>>| match outside {
            None => cuts[cut],
            Some(Some(d)) if d != device => cuts[cut],
            Some(_) => 0,
        };
        if !self.pipelined {
            return 0;
        }
        let (first, last) = (units.start == 0, units.end == self.network.nodes.len());
        crosses(units.start, first.then_some(self.cluster.source))
            + crosses(units.end, last.then_some(self.cluster.sink))
    }
}

/// Objective, limits and freedoms of a plan.
#[derive(Clone, Debug, Default)]
pub struct PlanRequest {
    /// Quantity to minimize. If the interval is minimized or limited, memory includes buffers for
    /// pipelined frames.
    pub objective: Objective,
    /// Limits that every plan must keep.
    pub limits: Limits,
    /// Required device of each unit; empty if no unit is pinned.
    pub pins: Vec<Option<usize>>,
    /// Codecs that transfers may use.
    pub codecs: AllowedCodecs,
    /// Whether a device may have several stages, all of which it then holds at once.
    pub reuse: bool,
}

/// Plans a pipeline of a network over a cluster; returns the plan and its file with exact memory.
///
/// # Errors
/// Those of [`plan`](crate::devices::plan()); [`PlanningError::Split`] or [`PlanningError::File`]
/// if a stage cannot be extracted or written.
pub fn pipeline(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    costs: &dyn Costs,
    request: &PlanRequest,
    effort: &Effort,
) -> Result<(DevicePlan, PlanFile), PlanningError> {
    network.check_weights(graph, cluster, &request.limits)?;
    let timed = request.objective == Objective::Interval || request.limits.interval.is_some();
    let known = HashMap::new();
    let mut stages = StageCosts { costs, network, cluster, pipelined: timed, known };
    let mut least = 0.0;
    for _ in 0..ROUNDS {
        let problem = network.problem(graph, cluster, &stages, request);
        let found = crate::devices::plan(&problem, effort)?;
        least = found.bound;
        let of = |s: &Stage| (s.device, s.units.clone());
        let split = Split::pipeline(network, &found.stages.iter().map(of).collect::<Vec<_>>());
        let held = split.held(graph)?;
        let mut more = Vec::new();
        for (s, held) in found.stages.iter().zip(&held) {
            let needs = held.total() + stages.buffers(&s.units, s.device);
            if needs > problem.capacity(s.device) {
                let others = found.stages.iter().filter(|o| o.device == s.device && *o != s);
                let thought: u64 = others.map(|o| o.memory).sum();
                more.push((s.units.clone(), held.total().saturating_sub(thought)));
            }
        }
        if !more.is_empty() {
            stages.known.extend(more);
            continue;
        }
        let run = |s: &Stage| StageTiming { mode: s.mode, seconds: s.seconds, joules: s.joules };
        let runs: Vec<StageTiming> = found.stages.iter().map(run).collect();
        let goal = PlanGoal {
            objective: request.objective,
            value: Some(found.value),
            bound: found.bound,
            rewrite: String::new(),
            pipelined: timed,
            codecs: request.codecs.clone(),
        };
        let file = PlanFile::of(graph, cluster, &split, &held, &runs, &goal)?;
        return Ok((found, file));
    }
    Err(NoPlan::NotFound(least).into())
}

/// Most rounds of planning with corrected memory.
const ROUNDS: usize = 100;

impl Network {
    /// The planning problem of this network. Devices whose speed and modes are equal are of one
    /// kind.
    pub fn problem<'a>(
        &self,
        graph: &Graph,
        cluster: &Cluster,
        costs: &'a dyn Costs,
        request: &PlanRequest,
    ) -> Problem<'a> {
        let alike = |i: usize, j: usize| {
            let (a, b) = (&cluster.devices[i], &cluster.devices[j]);
            (&a.speed, &a.modes) == (&b.speed, &b.modes)
        };
        let device = |(i, m): (usize, &DeviceSpec)| Device {
            name: m.name.clone(),
            kind: (0..i).find(|&j| alike(i, j)).unwrap_or(i),
            memory: m.memory,
            modes: m.modes.len(),
        };
        Problem {
            cuts: self.cuts.clone(),
            forms: if request.codecs.is_empty() {
                Vec::new()
            } else {
                self.forms(graph, &request.codecs)
            },
            devices: cluster.devices.iter().enumerate().map(device).collect(),
            links: cluster.links.clone(),
            media: cluster.media_by_number(),
            costs,
            pins: request.pins.clone(),
            source: cluster.source,
            sink: cluster.sink,
            reuse: request.reuse,
            objective: request.objective,
            limits: request.limits.clone(),
        }
    }

    /// Encoded forms of what crosses each cut.
    fn forms(&self, graph: &Graph, codecs: &AllowedCodecs) -> Vec<Vec<Form>> {
        let value = |&v: &ValueId| (&*graph.value(v).name, value_bytes(graph, v));
        let cut =
            |values: &Vec<ValueId>| codecs.together(&values.iter().map(value).collect::<Vec<_>>());
        self.crossing.iter().map(cut).collect()
    }

    /// Checks that the constants fit all devices together, a condition that no split can avoid.
    ///
    /// # Errors
    /// [`Reason::Weights`] with both sizes in bytes.
    pub fn check_weights(
        &self,
        graph: &Graph,
        cluster: &Cluster,
        limits: &Limits,
    ) -> Result<(), NoPlan> {
        let nodes = self.nodes.iter().map(|&n| graph.node(n));
        let read: BTreeSet<ValueId> =
            nodes.flat_map(|n| n.inputs.iter().flatten().chain(&n.captures)).copied().collect();
        let constants = read.into_iter().filter(|&v| !is_sent(graph, v));
        let bytes = constants.filter_map(|v| graph.value(v).ty.bytes());
        let needs = bytes.fold(0, u64::saturating_add);
        let room = cluster.devices.iter().map(|d| d.memory.min(limits.memory.unwrap_or(u64::MAX)));
        let has = room.fold(0, u64::saturating_add);
        if needs > has {
            return Err(NoPlan::Infeasible(vec![Reason::Weights { needs, has }]));
        }
        Ok(())
    }
}
