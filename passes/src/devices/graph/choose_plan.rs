//! Entry point of the planner. Tries, in order: a pipeline of whole layers; a pipeline after
//! splitting layers that exceed a device; tiled data parallelism over the first layers.

use std::cmp::Reverse;
use std::collections::HashSet;

use graph_opt_ir::names::NodeNames;
use graph_opt_ir::{Graph, NodeId, Op, ValueId};

use super::chain::Network;
use super::error::PlanningError;
use super::pipeline::{PlanRequest, pipeline};
use super::profiled::ProfiledCosts;
use super::tiles::{NodeTimes, candidates, parse_tile_label};
use crate::analysis::node_macs;
use crate::devices::cluster::{Cluster, Profile};
use crate::devices::files::{PlanFile, PlanFileError, StageRow};
use crate::devices::{Costs, Effort, NoPlan, Reason};
use crate::tile::fuse_tiles::{Axis, Cut, FuseTiles, Planned, Stretch};
use crate::{Pipeline, Runner};

/// Finds the best plan of a graph. `network` is the graph's chain, and `profiles` are those of the
/// cluster's devices, in order. With `tiles`, which requires the objective latency, tiles side by
/// side compete with the pipeline.
///
/// # Errors
/// Those of [`pipeline()`]. If no plan exists, the reasons are those of the pipeline of whole
/// layers.
pub fn choose_plan(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    profiles: &[Option<Profile>],
    request: &PlanRequest,
    tiles: bool,
    effort: &Effort,
) -> Result<PlanFile, PlanningError> {
    // No split reduces the weights.
    network.check_weights(graph, cluster, &request.limits)?;
    let costs = ProfiledCosts::new(graph, network, cluster, profiles)?;
    let times = NodeTimes::new(graph, cluster, profiles);
    let found = match pipeline(graph, network, cluster, &costs, request, effort) {
        Ok((_, file)) => Ok(file),
        Err(PlanningError::NoPlan(NoPlan::Infeasible(reasons)))
            if reasons.iter().any(Reason::is_of_memory) =>
        {
            let rewriting = Rewriting { graph, network, cluster, times: &times, request, effort };
            rewriting.fit_by_rewriting()?.ok_or(NoPlan::Infeasible(reasons).into())
        }
        Err(e) => Err(e),
    };
    if !tiles {
        return found;
    }
    // A measured stretch may be faster than its nodes, so the pipeline's own bound also counts.
    let piped = found.as_ref().map_or(f64::INFINITY, |p| p.bound);
    let bound = times.least(&network.nodes).min(piped);
    let all = candidates(graph, network, cluster, &times).map_err(failed)?;
    let side_by_side = all
        .iter()
        .find_map(|(t, _)| t.file(cluster, bound).ok().filter(|p| within_limits(p, request)));
    match (found, side_by_side) {
        (Ok(p), Some(t)) if t.latency_s < p.latency_s => Ok(t),
        (Err(_), Some(t)) => Ok(t),
        (Ok(mut p), _) => {
            // Tiled plans have the same lower bound.
            p.judge(p.value, bound);
            Ok(p)
        }
        (e, None) => e,
    }
}

fn failed(e: impl ToString) -> PlanningError {
    PlanningError::Rewriting(e.to_string())
}

/// Whether a plan that was made without the limits keeps them.
fn within_limits(p: &PlanFile, request: &PlanRequest) -> bool {
    let limits = &request.limits;
    let room = |s: &StageRow| limits.memory.is_none_or(|m| s.memory_bytes <= m);
    let within = |x: f64, limit: Option<f64>| limit.is_none_or(|l| x <= l);
    p.stages.iter().all(room)
        && within(p.latency_s, limits.latency)
        && within(p.energy_j, limits.energy)
        && within(p.interval_s, limits.interval)
        && limits.stages.is_none_or(|s| p.stages.len() <= s)
        && request.pins.iter().all(Option::is_none)
}

/// Planning by rewriting the graph until its layers fit.
struct Rewriting<'a> {
    graph: &'a Graph,
    network: &'a Network,
    cluster: &'a Cluster,
    times: &'a NodeTimes<'a>,
    request: &'a PlanRequest,
    effort: &'a Effort,
}

impl Rewriting<'_> {
    /// A pipeline after rewriting the graph so that it fits, with as little rewriting as possible:
    ///
    /// 1. Split weights: convolutions and matrix products by output channels.
    /// 2. Tile regions with large activations.
    /// 3. Split nodes that still exceed every device across devices.
    fn fit_by_rewriting(&self) -> Result<Option<PlanFile>, PlanningError> {
        let most = self.cluster.devices.iter().map(|d| d.memory).max().unwrap_or(0);
        let most = most.min(self.request.limits.memory.unwrap_or(most));
        let mut tried = HashSet::from([String::new()]);
        let mut fitting = |start: &Rewritten| -> Result<Option<PlanFile>, PlanningError> {
            for grain in [None, Some(most / 2), Some(most / 4), Some(most / 16)] {
                let shared = match grain {
                    Some(grain) => start.then(channel_shares(&start.graph, grain)?)?,
                    None => Some(start.clone()),
                };
                let Some(shared) = shared else { continue };
                let made = shared.divided(most)?;
                if tried.insert(made.passes.to_string())
                    && let Some(file) = self.pipeline_of(&made)?
                {
                    return Ok(Some(file));
                }
            }
            Ok(None)
        };
        let start = Rewritten { graph: self.graph.clone(), passes: Pipeline::default() };
        if let Some(file) = fitting(&start)? {
            return Ok(Some(file));
        }
        for bytes in [most / 16 * 15, most / 4 * 3, most / 2, most / 4] {
            let tiled = start.then(vec![Planned::best_effort(bytes).into()])?;
            if let Some(tiled) = tiled
                && let Some(file) = fitting(&tiled)?
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Plans the rewritten graph. A part of a node keeps the pin of the node.
    fn pipeline_of(&self, rewritten: &Rewritten) -> Result<Option<PlanFile>, PlanningError> {
        let (graph, made) = (self.graph, &rewritten.graph);
        let units = Network::of(made).map_err(failed)?;
        let profiles = self.times.profiles(made);
        let costs = ProfiledCosts::new(made, &units, self.cluster, &profiles).map_err(failed)?;
        let given = &self.request.pins;
        // `None` where nodes of one name are pinned to different devices.
        let pin = |&n: &NodeId| {
            let label = made.label(n);
            let whole = parse_tile_label(label).map(|t| t.0);
            let of = |o: NodeId| graph.label(o) == label || whole == Some(graph.label(o));
            let all = self.network.nodes.iter().zip(given).filter(|o| of(*o.0));
            let mut pins = all.map(|o| *o.1);
            let first = pins.next().flatten();
            pins.all(|p| p == first).then_some(first)
        };
        let pins: Option<Vec<_>> = match given.is_empty() {
            true => Some(Vec::new()),
            false => units.nodes.iter().map(pin).collect(),
        };
        let Some(pins) = pins else { return Ok(None) };
        let request = PlanRequest { pins, ..self.request.clone() };
        match pipeline(made, &units, self.cluster, &costs, &request, self.effort) {
            Ok((_, file)) => Ok(Some(PlanFile { rewrite: rewritten.passes.to_string(), ..file })),
            Err(
                PlanningError::NoPlan(NoPlan::Infeasible(_) | NoPlan::NotFound(_))
                | PlanningError::File(PlanFileError::TooLarge { .. }),
            ) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A graph and the passes that produced it.
#[derive(Clone)]
struct Rewritten {
    graph: Graph,
    passes: Pipeline,
}

impl Rewritten {
    /// Applies more passes; `None` if there are none, or one changes nothing.
    fn then(&self, more: Vec<FuseTiles>) -> Result<Option<Self>, PlanningError> {
        if more.is_empty() {
            return Ok(None);
        }
        let mut new = self.clone();
        for pass in more {
            let before = new.graph.edits();
            let pass = Pipeline::default().then(pass);
            Runner::default().run(&mut new.graph, &pass).map_err(failed)?;
            if new.graph.edits() == before {
                return Ok(None);
            }
            new.passes = new.passes.then_all(pass);
        }
        Ok(Some(new))
    }

    /// Splits nodes that alone need more than `most` bytes of activations into 2, 4 or 8 parts that
    /// can run on different devices.
    fn divided(self, most: u64) -> Result<Self, PlanningError> {
        let too_large = |g: &Graph| -> Result<Vec<Long>, PlanningError> {
            let n = Network::of(g).map_err(failed)?;
            let costs = n.additive(&[], &[]);
            let over = |u: &usize| costs.memory(*u..u + 1, 0) > most && n.weights[*u] < most;
            let mut all: Vec<Long> =
                (0..n.nodes.len()).filter(over).filter_map(|u| stretch(g, n.nodes[u])).collect();
            // A stretch that begins within another one ends where that ends.
            let mut ends = HashSet::new();
            all.retain(|at| ends.insert(at.last));
            Ok(all)
        };
        let before = too_large(&self.graph)?;
        let names = NodeNames::of_graph(&self.graph);
        for parts in [2, 4, 8] {
            let passes = before.iter().map(|at| at.parts(&names, parts));
            match self.then(passes.collect::<Result<_, _>>()?)? {
                Some(divided) if too_large(&divided.graph)?.is_empty() => return Ok(divided),
                _ => {}
            }
        }
        Ok(self)
    }
}

/// A region to be cut into parts along an axis of its last result.
struct Long {
    first: NodeId,
    last: NodeId,
    axis: usize,
}

impl Long {
    /// The pass that cuts it.
    fn parts(&self, names: &NodeNames<'_>, count: i64) -> Result<FuseTiles, PlanningError> {
        let cuts = vec![(Axis::Number(self.axis), Cut::Even(count))];
        let tiles = Stretch::to(names.name(self.last), cuts).map_err(failed)?;
        Ok(tiles.from(names.name(self.first)).into())
    }
}

/// A node and the elementwise nodes that follow it, with the longest axis of the result (a spatial one
/// if there are any).
fn stretch(graph: &Graph, node: NodeId) -> Option<Long> {
    let mut end = node;
    let made = |n: NodeId| graph.node(n).outputs.first().copied().flatten();
    let dims = graph.value(made(node)?).ty.extents()?;
    let follows = |v: ValueId| {
        let value = graph.value(v);
        let mut uses = value.uses();
        let next = uses.next().filter(|_| !value.is_output())?.node;
        let same = graph.value(made(next)?).ty.extents()? == dims;
        (same && uses.next().is_none() && node_macs(graph, next).unwrap_or(0) == 0).then_some(next)
    };
    while let Some(next) = made(end).and_then(follows) {
        end = next;
    }
    let first = if dims.len() > 2 { 2 } else { 0 };
    let axis = (first..dims.len()).max_by_key(|&a| (dims[a], Reverse(a)))?;
    Some(Long { first: node, last: end, axis })
}

/// Passes that split each convolution or matrix product with more than `grain` bytes of weights by
/// output channels.
fn channel_shares(graph: &Graph, grain: u64) -> Result<Vec<FuseTiles>, PlanningError> {
    let names = NodeNames::of_graph(graph);
    let share = |(&n, weights): (&NodeId, &u64)| {
        let made = graph.node(n).outputs.first().copied().flatten()?;
        let axis = match &graph.node(n).op {
            Op::Conv(_) | Op::Gemm(_) => 1,
            Op::MatMul(_) => graph.value(made).ty.rank()?.checked_sub(1)?,
            _ => return None,
        };
        let channels = graph.value(made).ty.extents()?.get(axis).copied()?;
        let parts = weights.div_ceil(grain.max(1)).min(channels);
        let whole = Long { first: n, last: n, axis };
        (parts > 1).then(|| whole.parts(&names, parts as i64))
    };
    let network = Network::of(graph).map_err(failed)?;
    network.nodes.iter().zip(&network.weights).filter_map(share).collect()
}
