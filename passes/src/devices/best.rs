//! The best plan of a graph over a cluster, by whatever way: a pipeline of stages; where a layer does
//! not fit a device, shares of its output channels, each with its part of the weights; and tiles of the
//! network's start side by side.

use graph_opt_ir::{Graph, NodeId, Op};

use super::cluster::Cluster;
use super::file::{PlanFile, StageRow};
use super::network::{Network, Wish, pipeline};
use super::profile::Profile;
use super::tiles::{Times, tile, ways};
use super::{Effort, NoPlan, Profiled, Reason};
use crate::{Pipeline, Runner};

/// The best plan of a graph, or the best found. `network` is the graph as a chain, `profiles` are those
/// of the cluster's devices; with `tiles`, for latency, tiles side by side are tried as well.
///
/// # Errors
/// As [`plan`](super::plan); what would have to give is that of pipelines.
pub fn best(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    profiles: &[Option<Profile>],
    wish: &Wish,
    tiles: bool,
    effort: &Effort,
) -> Result<PlanFile, NoPlan> {
    let costs = Profiled::new(graph, network, cluster, profiles).map_err(NoPlan::Invalid)?;
    let times = Times::new(graph, cluster, profiles);
    let found = match pipeline(graph, network, cluster, &costs, wish, effort) {
        Ok((_, file)) => Ok(file),
        Err(NoPlan::Infeasible(reasons)) if reasons.iter().any(is_of_memory) => {
            let shared = in_shares(graph, network, cluster, &times, wish, effort);
            shared.ok_or(NoPlan::Infeasible(reasons))
        }
        Err(e) => Err(e),
    };
    if !tiles {
        return found;
    }
    // Stretches may be measured as quicker than their nodes; what is proved of pipelines holds.
    let piped = found.as_ref().map_or(f64::INFINITY, |p| p.bound);
    let bound = times.least(&network.nodes).min(piped);
    let all = ways(graph, network, cluster, &times);
    let side_by_side =
        all.iter().find_map(|(t, _)| t.file(cluster, bound).ok().filter(|p| keeps(p, wish)));
    match (found, side_by_side) {
        (Ok(p), Some(t)) if t.latency_s < p.latency_s => Ok(t),
        (Err(_), Some(t)) => Ok(t),
        (Ok(mut p), _) => {
            // Over tiles, too, there is nothing better than that.
            p.judge(p.value, bound);
            Ok(p)
        }
        (e, None) => e,
    }
}

fn is_of_memory(r: &Reason) -> bool {
    matches!(r, Reason::TooLarge { .. } | Reason::Capacity(_) | Reason::Stages { .. })
}

/// Whether a plan that was not made with the limits keeps to them.
fn keeps(p: &PlanFile, wish: &Wish) -> bool {
    let limits = &wish.limits;
    let room = |s: &StageRow| limits.memory.is_none_or(|m| s.memory_bytes <= m);
    let within = |x: f64, limit: Option<f64>| limit.is_none_or(|l| x <= l);
    p.stages.iter().all(room)
        && within(p.latency_s, limits.latency)
        && within(p.energy_j, limits.energy)
        && within(p.interval_s, limits.interval)
        && limits.stages.is_none_or(|s| p.stages.len() <= s)
        && wish.pins.iter().all(Option::is_none)
}

/// A pipeline of the graph with its largest layers in shares of their output channels: no more shares
/// than it takes.
fn in_shares(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    times: &Times<'_>,
    wish: &Wish,
    effort: &Effort,
) -> Option<PlanFile> {
    let most = cluster.devices.iter().map(|d| d.memory).max()?;
    [most / 2, most / 4, most / 16].into_iter().find_map(|grain| {
        let (shared, rewrite) = with_channel_shares(graph, network, grain)?;
        let units = Network::of(&shared).ok()?;
        let profiles = times.profiles(&shared);
        let costs = Profiled::new(&shared, &units, cluster, &profiles).ok()?;
        let pin = |&n: &NodeId| {
            let label = shared.label(n);
            let of = network.nodes.iter().position(|&o| {
                graph.label(o) == label || tile(label).is_some_and(|t| t.0 == graph.label(o))
            });
            of.and_then(|u| wish.pins.get(u).copied().flatten())
        };
        let pins =
            if wish.pins.is_empty() { Vec::new() } else { units.nodes.iter().map(pin).collect() };
        let wish = Wish { pins, ..wish.clone() };
        let (_, file) = pipeline(&shared, &units, cluster, &costs, &wish, effort).ok()?;
        Some(PlanFile { rewrite, ..file })
    })
}

/// The graph with every convolution and matrix product of more weights than `grain`, in bytes, in
/// shares of its output channels, and the passes that make it so; none if there is no such layer, or
/// one cannot be shared.
pub fn with_channel_shares(
    graph: &Graph,
    network: &Network,
    grain: u64,
) -> Option<(Graph, String)> {
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
    let passes: Vec<String> =
        network.nodes.iter().zip(&network.weights).filter_map(share).collect();
    let rewrite = passes.join(",");
    let pipeline = Pipeline::parse(&rewrite).ok().filter(|_| !passes.is_empty())?;
    let mut shared = graph.clone();
    Runner::default().run(&mut shared, &pipeline).ok()?;
    (shared.edits() - graph.edits() == passes.len()).then_some((shared, rewrite))
}
