//! A graph as a chain of units for the planners: what each costs, what crosses each cut, and the
//! stages of a plan as graphs again.
//!
//! A unit is a node of the schedule, so that every cut of the graph into two runs of its schedule is
//! a cut of the chain, whatever the number of tensors that cross. A value that is needed behind a
//! cut crosses it once; what passes a stage unread is handed on by it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use graph_opt_ir::{ExtractError, Graph, NodeId, Op, ValueId};

use super::articulation::articulation_points;
use super::split::{Split, is_sent, value_bytes};
use crate::analysis::memory::{self, Runtime, Unplanned};
use crate::analysis::{node_macs, plan};
use crate::devices::cluster::{Cluster, Codecs, DeviceSpec, Mode, Speed};
use crate::devices::files::{PlanFile, PlanGoal, StageTiming};
use crate::devices::problem::{
    Additive, BufferCredits, Costs, Device, Form, Limits, Objective, Problem,
};
use crate::devices::{DevicePlan, Effort, NoPlan, Reason, Stage};

/// A graph as a chain of units.
#[derive(Clone, Debug)]
pub struct Network {
    /// The units.
    pub nodes: Vec<NodeId>,
    /// Values that cross each cut, in the order in which they are made: of the first, the inputs, of
    /// the last, the outputs.
    pub crossing: Vec<Vec<ValueId>>,
    /// Bytes that cross each cut.
    pub cuts: Vec<u64>,
    /// Bytes of the constants that each unit reads. What several units read counts for each.
    pub weights: Vec<u64>,
    /// Bytes of activations that are alive while each unit runs, by the memory plan of the whole.
    pub live: Vec<u64>,
    /// What stages hold less than that.
    pub buffer_credits: BufferCredits,
    /// Multiply-accumulates of each unit.
    pub macs: Vec<u64>,
}

impl Network {
    /// The chain of a graph.
    ///
    /// # Errors
    /// If the size of a value is not known.
    pub fn of(graph: &Graph) -> Result<Self, Unplanned> {
        let memory = group_views(graph, plan(graph)?)?;
        let nodes = memory.steps.clone();
        let mut at = vec![usize::MAX; graph.node_bound()];
        for (i, n) in nodes.iter().enumerate() {
            at[n.index()] = i;
        }
        // For each value, the first cut that it can cross and the last that it must.
        let mut spans: Vec<(usize, usize, ValueId)> = Vec::new();
        let all = graph
            .inputs()
            .iter()
            .copied()
            .chain(nodes.iter().flat_map(|&n| graph.node(n).outputs.iter().flatten().copied()));
        for v in all {
            if !is_sent(graph, v) {
                continue;
            }
            let made = graph.producer(v).map_or(0, |p| at[p.index()] + 1);
            let reads = graph.value(v).uses().map(|u| at[u.node.index()]);
            let last = reads.filter(|&i| i != usize::MAX).max();
            let last = if graph.value(v).is_output() { Some(nodes.len()) } else { last };
            spans.extend(last.map(|last| (made, last, v)));
        }
        let mut crossing = vec![Vec::new(); nodes.len() + 1];
        for &(made, last, v) in &spans {
            for cut in &mut crossing[made..=last] {
                cut.push(v);
            }
        }
        let cuts =
            crossing.iter().map(|c| c.iter().map(|&v| value_bytes(graph, v)).sum()).collect();
        let weights = nodes.iter().map(|&n| weights(graph, n)).collect();
        let macs = nodes.iter().map(|&n| node_macs(graph, n).unwrap_or(0)).collect();
        let buffer_credits = buffer_credits(graph, &memory, &crossing);
        Ok(Self { crossing, cuts, weights, live: memory.timeline, buffer_credits, macs, nodes })
    }

    /// What units cost on the devices by their speed. Those that have a profile instead take for
    /// ever: [`ProfiledCosts`](super::ProfiledCosts) knows them.
    pub fn costs(&self, cluster: &Cluster) -> Additive {
        let tables = |f: &dyn Fn(usize, f64, f64) -> f64| -> Vec<Vec<Vec<f64>>> {
            let device = |d: usize| {
                let m = &cluster.devices[d];
                let base = |u: usize| match &m.speed {
                    Speed::Macs { per_second, per_node } => {
                        self.macs[u] as f64 / per_second + per_node
                    }
                    Speed::Profile(_) => f64::INFINITY,
                };
                let mode = |m: &Mode| {
                    (0..self.nodes.len()).map(|u| f(u, base(u) / m.speed, m.watts)).collect()
                };
                m.modes.iter().map(mode).collect()
            };
            (0..cluster.devices.len()).map(device).collect()
        };
        let seconds = tables(&|_, s, _| s);
        let joules = tables(&|_, s, w| s * w);
        self.additive(&seconds, &joules)
    }

    /// Costs with these seconds and joules, by device, mode and unit.
    pub(super) fn additive(&self, seconds: &[Vec<Vec<f64>>], joules: &[Vec<Vec<f64>>]) -> Additive {
        Additive::new(seconds, joules, &self.weights, &self.live)
            .with_buffer_credits(self.buffer_credits.clone())
    }

    /// The problem of planning it on a cluster. Devices are of one kind where they are alike but for
    /// their names.
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

    /// Forms of what crosses each cut.
    fn forms(&self, graph: &Graph, codecs: &Codecs) -> Vec<Vec<Form>> {
        let value = |&v: &ValueId| (&*graph.value(v).name, value_bytes(graph, v));
        let cut =
            |values: &Vec<ValueId>| codecs.together(&values.iter().map(value).collect::<Vec<_>>());
        self.crossing.iter().map(cut).collect()
    }

    /// The units from each point that all paths through the graph pass to the next: stretches between
    /// which little crosses.
    pub fn stretches(&self, graph: &Graph) -> Vec<Range<usize>> {
        // Node 0 stands for the graph's inputs; what does not depend on them is on no path.
        let mut at = vec![None; graph.node_bound()];
        let mut reads = vec![Vec::new()];
        for (u, &n) in self.nodes.iter().enumerate() {
            let node = graph.node(n);
            let from = |v: &ValueId| match graph.producer(*v) {
                Some(p) => at[p.index()],
                None => is_sent(graph, *v).then_some(0),
            };
            let all = node.inputs.iter().flatten().chain(&node.captures);
            let read: Vec<usize> = all.filter_map(from).collect();
            if !read.is_empty() {
                at[n.index()] = Some(u + 1);
            }
            reads.push(read);
        }
        let made = |v: &ValueId| graph.producer(*v).and_then(|p| at[p.index()]);
        let sinks: Vec<usize> = graph.outputs().iter().filter_map(made).collect();
        let mut ends: Vec<usize> = articulation_points(&reads, &sinks);
        ends.retain(|&p| p > 0 && p < self.nodes.len());
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let ends = ends.iter().copied().chain([self.nodes.len()]);
        starts.zip(ends).map(|(a, b)| a..b).filter(|r| !r.is_empty()).collect()
    }

    /// A run of units as a graph: its inputs are what it reads from before, its outputs what it makes
    /// that is needed after. What only passes is in neither.
    ///
    /// # Errors
    /// If the part cannot be cut out.
    pub fn stage(&self, graph: &Graph, units: Range<usize>) -> Result<Graph, ExtractError> {
        let bounds = [0..units.start, units.clone(), units.end..self.nodes.len()];
        let stages: Vec<_> = bounds.into_iter().filter(|u| !u.is_empty()).map(|u| (0, u)).collect();
        let here = stages.iter().position(|s| s.1 == units).unwrap_or_default();
        Split::pipeline(self, &stages).graph(graph, here)
    }
}

/// Costs of a network's stages, with what a stage holds beside its own activations.
struct StageCosts<'a> {
    costs: &'a dyn Costs,
    network: &'a Network,
    cluster: &'a Cluster,
    /// Whether there is room for a frame that comes in and one that goes out.
    pipelined: bool,
    /// Stages that need more than was thought.
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
    /// Room for what comes in and what goes out over links.
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

/// What a pipeline over a cluster is planned for.
#[derive(Clone, Debug, Default)]
pub struct PlanRequest {
    /// What is to be least. For throughput, and wherever the interval is limited, memory has room for
    /// frames that come in and go out.
    pub objective: Objective,
    /// What a plan must keep to.
    pub limits: Limits,
    /// Units that must be on a device; empty if none must.
    pub pins: Vec<Option<usize>>,
    /// Forms in which values may be sent.
    pub codecs: Codecs,
    /// Whether a device may have several stages. It holds all of them at once.
    pub reuse: bool,
}

/// The best pipeline of a network over a cluster, or the best found: as planned, and as a file with
/// the memory that each stage really takes. Where that is more than was thought and does not fit, it
/// is planned anew with what is known by then.
///
/// # Errors
/// As [`plan`](crate::devices::plan()).
pub fn pipeline(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    costs: &dyn Costs,
    request: &PlanRequest,
    effort: &Effort,
) -> Result<(DevicePlan, PlanFile), NoPlan> {
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
        let held = split.held(graph).map_err(NoPlan::Invalid)?;
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
        let aim = PlanGoal {
            objective: request.objective,
            value: Some(found.value),
            bound: found.bound,
            rewrite: String::new(),
            pipelined: timed,
            codecs: request.codecs.clone(),
        };
        let file =
            PlanFile::of(graph, cluster, &split, &held, &runs, &aim).map_err(NoPlan::Invalid)?;
        return Ok((found, file));
    }
    Err(NoPlan::NotFound(least))
}

/// How often a pipeline is planned, at most, as stages turn out to need more than was thought.
const ROUNDS: usize = 100;

/// The memory plan in an order in which the parts that are views of one value follow each other, the
/// first one where it is: behind them, only parts that are still to be read need cross a cut, and not
/// the whole value.
fn group_views(graph: &Graph, memory: memory::Plan) -> Result<memory::Plan, Unplanned> {
    let part_of = |n: NodeId| {
        let node = graph.node(n);
        let (Op::Slice(_), [whole, rest @ ..]) = (&node.op, &node.inputs[..]) else { return None };
        let is_part = memory.is_view(node.outputs.first().copied()??);
        let fixed = rest.iter().flatten().all(|&v| !is_sent(graph, v));
        whole.filter(|_| is_part && fixed)
    };
    let mut parts: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
    for &n in &memory.steps {
        if let Some(v) = part_of(n) {
            parts.entry(v).or_default().push(n);
        }
    }
    // Where the whole is read later, it crosses anyway.
    let mut at = vec![0; graph.node_bound()];
    memory.steps.iter().enumerate().for_each(|(i, n)| at[n.index()] = i);
    parts.retain(|&v, parts| {
        let first = at[parts[0].index()];
        let mut later = graph.value(v).uses().filter(|u| at[u.node.index()] > first);
        !graph.value(v).is_output() && later.all(|u| parts.contains(&u.node))
    });
    let cut_up: HashSet<ValueId> = parts.keys().copied().collect();
    let together = |&n: &NodeId| match part_of(n).filter(|v| cut_up.contains(v)) {
        Some(v) => parts.remove(&v).unwrap_or_default(),
        None => vec![n],
    };
    let order: Vec<NodeId> = memory.steps.iter().flat_map(together).collect();
    if order == memory.steps {
        return Ok(memory);
    }
    let ordered = memory::plan_in(graph, &order, Runtime::Interpreter)?;
    Ok(if ordered.peak <= memory.peak { ordered } else { memory })
}

/// What stages need not hold of buffers of which only parts come in, or only parts are made.
fn buffer_credits(
    graph: &Graph,
    memory: &memory::Plan,
    crossing: &[Vec<ValueId>],
) -> BufferCredits {
    let cuts = crossing.len();
    let mut buffer_credits =
        BufferCredits { first: vec![Vec::new(); cuts], end: vec![Vec::new(); cuts] };
    // By buffer: the first cut after something is written to it, where in it, and its size.
    let mut written: Vec<Vec<(usize, u64, u64)>> = vec![Vec::new(); memory.buffers.len()];
    let made = memory.steps.iter().map(|&n| graph.node(n).outputs.iter().flatten());
    let made = made.enumerate().flat_map(|(i, all)| all.map(move |&v| (i + 1, v)));
    for (cut, v) in graph.inputs().iter().map(|&v| (0, v)).chain(made) {
        if let Some(p) = memory.place(v).filter(|_| !memory.is_view(v)) {
            written[p.buffer].push((cut, p.view.offset, value_bytes(graph, v)));
        }
    }
    for (cut, crossing) in crossing.iter().enumerate() {
        let mut come: BTreeMap<usize, u64> = BTreeMap::new();
        for &v in crossing {
            if let Some(p) = memory.place(v) {
                *come.entry(p.buffer).or_default() += value_bytes(graph, v);
            }
        }
        for (b, come) in come {
            let (buffer, written) = (&memory.buffers[b], &written[b]);
            let less = |there: u64| Some(buffer.bytes.saturating_sub(there)).filter(|&l| l > 0);
            if written.iter().all(|w| w.0 <= cut) {
                buffer_credits.first[cut].extend(less(come).map(|l| (buffer.to, l)));
            } else {
                let parts: BTreeMap<u64, u64> =
                    written.iter().filter(|w| w.0 <= cut).map(|w| (w.1, w.2)).collect();
                buffer_credits.end[cut]
                    .extend(less(parts.values().sum()).map(|l| (buffer.from, l)));
            }
        }
    }
    buffer_credits
}

impl Network {
    /// Checks that the constants can lie in the memories of all devices together: each is on one at
    /// least, however the network is cut.
    ///
    /// # Errors
    /// With both sizes, if they cannot.
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

/// Bytes of the constants that a node reads, each once, in their types.
fn weights(graph: &Graph, node: NodeId) -> u64 {
    let read: HashSet<ValueId> = graph.node(node).inputs.iter().flatten().copied().collect();
    let constant = read.into_iter().filter(|v| !is_sent(graph, *v));
    constant.map(|v| graph.value(v).ty.bytes().unwrap_or(0)).sum()
}
