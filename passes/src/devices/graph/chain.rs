//! A graph as a chain of units: costs of each unit, and values that cross each cut.
//!
//! A unit is one node of the memory plan's schedule, so that every split of the schedule into
//! consecutive ranges is a split of the chain, however many tensors cross. A value that is needed
//! behind a cut crosses it once; a stage forwards what it does not read.
//!
//! Input: a graph with known shapes. Output: bytes, multiply-accumulates and activation footprints
//! per unit. Linear in nodes times crossing values.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use graph_opt_ir::{Graph, NodeId, Op, ValueId};

use super::values::value_bytes;
use crate::analysis::memory::{self, Interpreter, UnknownSize};
use crate::analysis::{articulation_points, is_sent, node_macs, plan};
use crate::devices::cluster::{Cluster, Mode, Speed};
use crate::devices::problem::{Additive, BufferCredits};

/// A graph as a chain of units, the input of the planners.
#[derive(Clone, Debug)]
pub struct Network {
    /// Node of each unit.
    pub nodes: Vec<NodeId>,
    /// Values that cross each of the n + 1 cuts, in the order of their production: the inputs at
    /// cut 0, the outputs at cut n.
    pub crossing: Vec<Vec<ValueId>>,
    /// Bytes that cross each cut.
    pub cuts: Vec<u64>,
    /// Bytes of the constants that each unit reads. A constant of several units counts for each.
    pub weights: Vec<u64>,
    /// Bytes of live activations while each unit runs, by the memory plan of the whole graph.
    pub live: Vec<u64>,
    /// Bytes that stages save compared with `live`.
    pub(crate) buffer_credits: BufferCredits,
    /// Multiply-accumulates of each unit.
    pub macs: Vec<u64>,
}

impl Network {
    /// Builds the chain of a graph.
    ///
    /// # Errors
    /// If the size of a value is unknown.
    pub fn of(graph: &Graph) -> Result<Self, UnknownSize> {
        let memory = group_views(graph, plan(graph)?)?;
        let nodes = memory.steps.clone();
        let mut at = vec![usize::MAX; graph.node_bound()];
        for (i, n) in nodes.iter().enumerate() {
            at[n.index()] = i;
        }
        // For each value, the first and last cut that it crosses.
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

    /// Costs from the devices' multiply-accumulate rates. Devices with a profile get infinite
    /// times: use [`ProfiledCosts`](super::ProfiledCosts) for them.
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

    /// Costs from times (s) and energies (J) by device, mode and unit.
    pub(super) fn additive(&self, seconds: &[Vec<Vec<f64>>], joules: &[Vec<Vec<f64>>]) -> Additive {
        Additive::new(seconds, joules, &self.weights, &self.live)
            .with_buffer_credits(self.buffer_credits.clone())
    }

    /// Units between consecutive articulation points of the graph. Little data crosses their ends.
    pub fn stretches(&self, graph: &Graph) -> Vec<Range<usize>> {
        // Node 0 stands for the graph's inputs; nodes that do not depend on them are on no path.
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
}

/// Reorders the memory plan so that views of parts of one value (Slices) follow each other. Behind
/// them only the parts still to be read cross a cut, instead of the whole value. Keeps the old
/// order if the peak would grow.
fn group_views(
    graph: &Graph,
    memory: memory::MemoryPlan,
) -> Result<memory::MemoryPlan, UnknownSize> {
    let part_of = |n: NodeId| {
        let node = graph.node(n);
        let (Op::Slice(_), [whole, rest @ ..]) = (&node.op, &node.inputs[..]) else { return None };
        let is_part = memory.is_view(node.outputs.first().copied()??);
        // Not before nodes that compute where it begins, even if those are Constants.
        let fixed = |v: ValueId| !is_sent(graph, v) && graph.producer(v).is_none();
        let fixed = rest.iter().flatten().all(|&v| fixed(v));
        whole.filter(|_| is_part && fixed)
    };
    let mut parts: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
    for &n in &memory.steps {
        if let Some(v) = part_of(n) {
            parts.entry(v).or_default().push(n);
        }
    }
    // If the whole value is read later, it crosses anyway.
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
    let ordered = memory::plan_in(graph, &order, &Interpreter)?;
    Ok(if ordered.peak <= memory.peak { ordered } else { memory })
}

/// Bytes that a stage saves for buffers of which it receives, or makes, only some parts.
fn buffer_credits(
    graph: &Graph,
    memory: &memory::MemoryPlan,
    crossing: &[Vec<ValueId>],
) -> BufferCredits {
    let cuts = crossing.len();
    let mut buffer_credits =
        BufferCredits { first: vec![Vec::new(); cuts], end: vec![Vec::new(); cuts] };
    // By buffer: first cut after each write, its offset and its size.
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

/// Bytes of the distinct constants that a node reads.
fn weights(graph: &Graph, node: NodeId) -> u64 {
    let read: HashSet<ValueId> = graph.node(node).inputs.iter().flatten().copied().collect();
    let constant = read.into_iter().filter(|v| !is_sent(graph, *v));
    constant.map(|v| graph.value(v).ty.bytes().unwrap_or(0)).sum()
}
