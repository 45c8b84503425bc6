//! Entry point of the planner. Tries, in order: a pipeline of whole layers; a pipeline after
//! splitting layers that exceed a device; tiled data parallelism over the first layers.

use std::cmp::Reverse;
use std::collections::HashSet;

use graph_opt_ir::{Graph, NodeId, Op, ValueId};

use super::chain::Network;
use super::error::PlanningError;
use super::pipeline::{PlanRequest, pipeline};
use super::profiled::ProfiledCosts;
use super::tiles::{NodeTimes, candidates, parse_tile_label};
use crate::analysis::node_macs;
use crate::devices::cluster::{Cluster, Profile};
use crate::devices::files::{PlanFile, StageRow};
use crate::devices::{Costs, Effort, NoPlan, Reason};
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
            if reasons.iter().any(is_of_memory) =>
        {
            let rewriting = Rewriting { graph, network, cluster, times: &times, request, effort };
            rewriting.fit_by_rewriting().ok_or(NoPlan::Infeasible(reasons).into())
        }
        Err(e) => Err(e),
    };
    if !tiles {
        return found;
    }
    // A measured stretch may be faster than its nodes, so the pipeline's own bound also counts.
    let piped = found.as_ref().map_or(f64::INFINITY, |p| p.bound);
    let bound = times.least(&network.nodes).min(piped);
    let all = candidates(graph, network, cluster, &times);
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

fn is_of_memory(r: &Reason) -> bool {
    matches!(r, Reason::TooLarge { .. } | Reason::Capacity(_) | Reason::Stages { .. })
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
    fn fit_by_rewriting(&self) -> Option<PlanFile> {
        let most = self.cluster.devices.iter().map(|d| d.memory).max()?;
        let most = most.min(self.request.limits.memory.unwrap_or(most));
        let mut tried = HashSet::from([String::new()]);
        let mut fitting = |start: &Rewritten| {
            let grains = [most / 2, most / 4, most / 16];
            let shared =
                grains.into_iter().map(|grain| start.then(&channel_shares(&start.graph, grain)));
            std::iter::once(Some(start.clone())).chain(shared).flatten().find_map(|r| {
                let r = r.divided(most);
                if tried.insert(r.passes.clone()) { self.pipeline_of(&r) } else { None }
            })
        };
        let start = Rewritten { graph: self.graph.clone(), passes: String::new() };
        fitting(&start).or_else(|| {
            let make_tiles =
                |bytes| start.then(&[format!("fuse-tiles{{memory={bytes}B partly=yes}}")]);
            [most / 16 * 15, most / 4 * 3, most / 2, most / 4]
                .into_iter()
                .filter_map(make_tiles)
                .find_map(|r| fitting(&r))
        })
    }

    /// Plans the rewritten graph. A part of a node keeps the pin of the node.
    fn pipeline_of(&self, rewritten: &Rewritten) -> Option<PlanFile> {
        let (graph, made) = (self.graph, &rewritten.graph);
        let units = Network::of(made).ok()?;
        let profiles = self.times.profiles(made);
        let costs = ProfiledCosts::new(made, &units, self.cluster, &profiles).ok()?;
        let given = &self.request.pins;
        let pin = |&n: &NodeId| {
            let label = made.label(n);
            let of = self.network.nodes.iter().position(|&o| {
                graph.label(o) == label
                    || parse_tile_label(label).is_some_and(|t| t.0 == graph.label(o))
            });
            of.and_then(|u| given.get(u).copied().flatten())
        };
        let pins =
            if given.is_empty() { Vec::new() } else { units.nodes.iter().map(pin).collect() };
        let request = PlanRequest { pins, ..self.request.clone() };
        let (_, file) = pipeline(made, &units, self.cluster, &costs, &request, self.effort).ok()?;
        Some(PlanFile { rewrite: rewritten.passes.clone(), ..file })
    }
}

/// A graph and the passes that produced it.
#[derive(Clone)]
struct Rewritten {
    graph: Graph,
    passes: String,
}

impl Rewritten {
    /// Applies more passes; `None` if there are none, or one changes nothing.
    fn then(&self, more: &[String]) -> Option<Self> {
        if more.is_empty() {
            return None;
        }
        let mut new = self.clone();
        for pass in more {
            let before = new.graph.edits();
            Runner::default().run(&mut new.graph, &Pipeline::parse(pass).ok()?).ok()?;
            if new.graph.edits() == before {
                return None;
            }
            let comma = if new.passes.is_empty() { "" } else { "," };
            new.passes.push_str(&format!("{comma}{pass}"));
        }
        Some(new)
    }

    /// Splits nodes that alone need more than `most` bytes of activations into 2, 4 or 8 parts that
    /// can run on different devices.
    fn divided(self, most: u64) -> Self {
        let too_large = |g: &Graph| -> Vec<String> {
            let Ok(n) = Network::of(g) else { return Vec::new() };
            let costs = n.additive(&[], &[]);
            let over = |u: &usize| costs.memory(*u..u + 1, 0) > most && n.weights[*u] < most;
            (0..n.nodes.len()).filter(over).filter_map(|u| stretch(g, n.nodes[u])).collect()
        };
        let before = too_large(&self.graph);
        for parts in [2, 4, 8] {
            let each = |at: &String| format!("fuse-tiles{{{at} grid={parts}}}");
            let passes: Vec<String> = before.iter().map(each).collect();
            match self.then(&passes) {
                Some(divided) if too_large(&divided.graph).is_empty() => return divided,
                _ => {}
            }
        }
        self
    }
}

/// Options of `fuse-tiles` for a node and the elementwise nodes that follow it: the region, and the
/// longest axis of the result (a spatial one if there are any).
fn stretch(graph: &Graph, node: NodeId) -> Option<String> {
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
    Some(format!("from={} to={} axes={axis}", graph.label(node), graph.label(end)))
}

/// Passes that split each convolution or matrix product with more than `grain` bytes of weights by
/// output channels.
fn channel_shares(graph: &Graph, grain: u64) -> Vec<String> {
    let share = |(&n, weights): (&NodeId, &u64)| {
        let made = graph.node(n).outputs.first().copied().flatten()?;
        let axis = match &graph.node(n).op {
            Op::Conv(_) | Op::Gemm(_) => 1,
            Op::MatMul(_) => graph.value(made).ty.rank()?.checked_sub(1)?,
            _ => return None,
        };
        let channels = graph.value(made).ty.extents()?.get(axis).copied()?;
        let parts = weights.div_ceil(grain.max(1)).min(channels);
        let label = graph.label(n);
        (parts > 1)
            .then(|| format!("fuse-tiles{{from={label} to={label} axes={axis} grid={parts}}}"))
    };
    let Ok(network) = Network::of(graph) else { return Vec::new() };
    network.nodes.iter().zip(&network.weights).filter_map(share).collect()
}
