//! Data parallelism over the first layers: tiles of a stretch from the network's start run on
//! several devices at once, larger tiles on faster devices; the rest runs on one device, the host.
//!
//! `fuse-tiles` rewrites the graph, each tile goes to its device, and a [`Timeline`] of the
//! resulting split gives the latency, contention for the host's links included.
//!
//! Candidates: strips and grids; halos recomputed by each tile, taken from neighbours in a
//! checkerboard (Zhao et al., DeepThings, TCAD 2018), or exchanged after each node (Mao et al.,
//! MoDNN, DATE 2017); the end of the stretch; the number of devices. For strips, local search then
//! moves rows from the device that finishes last to the one that finishes first, as CoEdge (Zeng et
//! al., ToN 2020) balances by speed.

use std::collections::{BTreeMap, HashMap, HashSet};

use graph_opt_ir::names::NodeNames;
use graph_opt_ir::{Graph, NodeId, ValueId};

use super::chain::Network;
use super::error::TilingError;
use super::split::{Split, SplitPart};
use super::values::value_bytes;
use crate::analysis::{node_macs, plan};
use crate::devices::cluster::{AllowedCodecs, Cluster, NodeTime, Profile, Speed};
use crate::devices::files::{PlanFile, PlanFileError, PlanGoal, StageTiming, Timeline};
use crate::devices::problem::Objective;
use crate::devices::search::share_rows;
use crate::tile::Reuse;
use crate::tile::fuse_tiles::{Axis, Cut, FuseTiles, Stretch};
use crate::{OptionError, Pipeline, RunError, Runner};

/// A tiling of a stretch from the network's start, and the devices of its tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileShare {
    /// Name of the stretch's last node.
    pub to: String,
    /// Extents of the tiles along the height and, for grids, along the width.
    pub sizes: Vec<Vec<i64>>,
    /// How halos are obtained.
    pub reuse: Reuse,
    /// Device of each tile, in row-major order.
    pub devices: Vec<usize>,
    /// Device of everything else.
    pub host: usize,
}

impl TileShare {
    /// The pass that makes the tiles.
    ///
    /// # Errors
    /// If an extent is less than 1.
    pub fn pass(&self) -> Result<FuseTiles, OptionError> {
        let axes = [Axis::Height, Axis::Width].into_iter();
        let cuts = axes.zip(self.sizes.iter().map(|s| Cut::Sizes(s.clone()))).collect();
        Ok(Stretch::to(&self.to, cuts)?.reuse(self.reuse).into())
    }
}

/// Times of nodes and tiles on devices, from multiply-accumulates or a profile of the whole
/// network. A tile takes the share of its node's time that it has of the result's bytes; slices and
/// joins take the time per byte of the fastest profiled node.
pub struct NodeTimes<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    /// Seconds of each node by name, for each device with a profile.
    measured: Vec<Option<BTreeMap<&'a str, f64>>>,
    /// Least seconds per byte of result, for each device.
    copy: Vec<f64>,
    /// Nodes of the whole graph by name.
    nodes: HashMap<&'a str, NodeId>,
}

impl<'a> NodeTimes<'a> {
    /// Times for nodes of `graph` and for tiles of them.
    pub fn new(graph: &'a Graph, cluster: &'a Cluster, profiles: &'a [Option<Profile>]) -> Self {
        let seconds =
            |p: &'a Profile| p.nodes.iter().map(|t| (t.name.as_str(), t.seconds)).collect();
        let measured: Vec<Option<BTreeMap<&str, f64>>> =
            profiles.iter().map(|p| p.as_ref().map(seconds)).collect();
        let nodes: HashMap<&str, NodeId> = graph.schedule().map(|n| (graph.label(n), n)).collect();
        let rate = |t: &Option<BTreeMap<&str, f64>>| {
            let of = |(name, s): (&&str, &f64)| {
                let size = made(graph, *nodes.get(name)?);
                (size > 0 && *s > 0.0).then(|| s / size as f64)
            };
            let rates = t.iter().flatten().filter_map(of);
            rates.reduce(f64::min).unwrap_or(0.0)
        };
        let copy = measured.iter().map(rate).collect();
        Self { graph, cluster, measured, copy, nodes }
    }

    /// Fastest mode of a device.
    pub(crate) fn mode(&self, device: usize) -> usize {
        let modes = &self.cluster.devices[device].modes;
        let speed = |m: &usize| modes[*m].speed;
        (0..modes.len()).max_by(|a, b| speed(a).total_cmp(&speed(b))).unwrap_or(0)
    }

    /// Seconds of a node of the original or the tiled graph, in the device's fastest mode.
    pub fn seconds(&self, graph: &Graph, n: NodeId, device: usize) -> f64 {
        self.base(graph, n, device) / self.cluster.devices[device].modes[self.mode(device)].speed
    }

    /// Seconds in a mode of relative speed 1.
    fn base(&self, graph: &Graph, n: NodeId, device: usize) -> f64 {
        let spec = &self.cluster.devices[device];
        let label = graph.label(n);
        match (&spec.speed, self.measured.get(device)) {
            (Speed::Macs { per_second, per_node }, _) => {
                node_macs(graph, n).unwrap_or(0) as f64 / per_second + per_node
            }
            (Speed::Profile(_), Some(Some(times))) => {
                match (times.get(label), parse_tile_label(label)) {
                    (Some(s), _) => *s,
                    (None, Some((of, _, ""))) => {
                        let whole = self.nodes.get(of).map_or(0, |&n| made(self.graph, n));
                        let share = made(graph, n) as f64 / whole.max(1) as f64;
                        times.get(of).copied().unwrap_or(f64::INFINITY) * share
                    }
                    (None, _) => made(graph, n) as f64 * self.copy[device],
                }
            }
            (Speed::Profile(_), _) => f64::INFINITY,
        }
    }

    /// Estimated profiles of a tiled graph, for the devices that have a profile.
    pub(crate) fn profiles(&self, graph: &Graph) -> Vec<Option<Profile>> {
        let time = |n: NodeId, d: usize| NodeTime {
            name: graph.label(n).to_owned(),
            seconds: self.base(graph, n, d),
            spread: 0.0,
            count: 0,
            joules: None,
        };
        let of = |(d, m): (usize, &Option<_>)| {
            m.as_ref().map(|_| Profile {
                version: 1,
                backend: "estimated".into(),
                nodes: graph.schedule().map(|n| time(n, d)).collect(),
                ..Profile::default()
            })
        };
        self.measured.iter().enumerate().map(of).collect()
    }

    /// Lower bound in seconds on the latency of every plan that computes each node once, even if
    /// nodes could be divided freely: the dual of that linear program, with device weights
    /// proportional to speed.
    pub fn least(&self, nodes: &[NodeId]) -> f64 {
        let devices = self.cluster.devices.len();
        let of = |n: NodeId, d: usize| self.seconds(self.graph, n, d);
        let rates: Vec<f64> = (0..devices)
            .map(|d| 1.0 / nodes.iter().map(|&n| of(n, d)).sum::<f64>().max(f64::MIN_POSITIVE))
            .collect();
        let all: f64 = rates.iter().sum();
        let weighted = |n: NodeId| {
            (0..devices).map(|d| of(n, d) * rates[d] / all).fold(f64::INFINITY, f64::min)
        };
        nodes.iter().map(|&n| weighted(n)).sum()
    }
}

/// Bytes of a node's results.
fn made(graph: &Graph, n: NodeId) -> u64 {
    graph.node(n).outputs.iter().flatten().map(|&v| value_bytes(graph, v)).sum()
}

/// Splits a name such as `conv1/tile2of4/keep0` into node, tile number and role.
pub(crate) fn parse_tile_label(label: &str) -> Option<(&str, usize, &str)> {
    let (of, rest) = label.rsplit_once("/tile")?;
    let (number, role) = rest.split_once('/').unwrap_or((rest, ""));
    Some((of, number.split_once("of")?.0.parse().ok()?, role))
}

/// A graph with tiles, split over devices.
#[derive(Clone, Debug)]
pub struct Tiled {
    /// The tiling.
    pub share: TileShare,
    /// The rewritten graph.
    pub graph: Graph,
    /// Its parts and transfers.
    pub split: Split,
    /// Mode, time and energy of each part.
    pub(crate) runs: Vec<StageTiming>,
    /// The passes that made the tiles.
    pub passes: Pipeline,
}

/// Applies a tiling and places the tiles. The host cuts what tiles read from outside, so that only
/// that is sent; inputs without a source are cut where they are read.
///
/// # Errors
/// If the stretch cannot be tiled so.
pub fn make_tiles(
    graph: &Graph,
    share: &TileShare,
    times: &NodeTimes<'_>,
) -> Result<Tiled, TilingError> {
    let passes = Pipeline::default().then(share.pass()?);
    let mut out = graph.clone();
    let report = Runner::default().run(&mut out, &passes)?;
    if out.edits() == graph.edits() {
        let why = report.remarks.first().map_or_else(String::new, ToString::to_string);
        return Err(TilingError::Refused(why));
    }
    let before: HashSet<&str> = graph.schedule().map(|n| graph.label(n)).collect();
    let nodes = plan(&out)?.steps;
    let inputs: HashSet<ValueId> = out.inputs().iter().copied().collect();
    let free = times.cluster.source.is_none();
    let device = |n: NodeId| {
        let label = out.label(n);
        let Some((_, number, role)) = parse_tile_label(label).filter(|_| !before.contains(label))
        else {
            return share.host;
        };
        let own = share.devices.get(number).copied().unwrap_or(share.host);
        let reads = out.node(n).inputs.first().copied().flatten();
        match role {
            "slice" if !(free && reads.is_some_and(|v| inputs.contains(&v))) => share.host,
            _ => own,
        }
    };
    let split = Split::placed(&out, &nodes, &device, &|n| times.seconds(&out, n, device(n)));
    let run = |p: &SplitPart| {
        let mode = times.mode(p.device);
        let seconds = p.nodes.iter().map(|&n| times.seconds(&out, n, p.device)).sum();
        let joules = times.cluster.devices[p.device].modes[mode].watts * seconds;
        StageTiming { mode, seconds, joules }
    };
    let runs = split.parts.iter().map(run).collect();
    Ok(Tiled { share: share.clone(), graph: out, split, runs, passes })
}

impl Tiled {
    fn goal(&self, bound: f64) -> PlanGoal {
        PlanGoal {
            objective: Objective::Latency,
            value: None,
            bound,
            rewrite: self.passes.to_string(),
            pipelined: false,
            codecs: AllowedCodecs::default(),
        }
    }

    /// The plan with the exact memory of each part; `bound` is a lower bound on the latency in
    /// seconds.
    ///
    /// # Errors
    /// If a part exceeds its device, or two devices lack a link.
    pub fn file(&self, cluster: &Cluster, bound: f64) -> Result<PlanFile, PlanFileError> {
        let held = self.split.held(&self.graph)?;
        PlanFile::of(&self.graph, cluster, &self.split, &held, &self.runs, &self.goal(bound))
    }

    fn draft(&self, cluster: &Cluster) -> Result<PlanFile, PlanFileError> {
        PlanFile::draft(&self.graph, cluster, &self.split, &self.runs, &self.goal(0.0))
    }
}

/// Tilings of the network's start with their latencies in seconds, fastest first. Tilings that need
/// missing links or that `fuse-tiles` refuses are left out; memory is not checked.
///
/// # Errors
/// If a pass failed.
pub fn candidates(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    times: &NodeTimes<'_>,
) -> Result<Vec<(Tiled, f64)>, RunError> {
    let total = |d: &usize| network.nodes.iter().map(|&n| times.seconds(graph, n, *d)).sum::<f64>();
    let mut order: Vec<usize> = (0..cluster.devices.len()).collect();
    order.sort_by(|a, b| total(a).total_cmp(&total(b)));
    let host = cluster.source.unwrap_or(order[0]);
    // The host first: it needs no link.
    order.sort_by_key(|&d| d != host);
    let timed = |share: &TileShare| -> Result<Option<(Tiled, PlanFile)>, RunError> {
        match make_tiles(graph, share, times) {
            // A draft fails only for a missing link.
            Ok(t) => Ok(t.draft(cluster).ok().map(|file| (t, file))),
            Err(TilingError::Run(e)) => Err(e),
            Err(_) => Ok(None),
        }
    };
    // Seconds for a device to receive, compute and return the whole stretch.
    let alone = |d: usize, cut: usize| {
        let work: f64 = network.nodes[..cut].iter().map(|&n| times.seconds(graph, n, d)).sum();
        let link = if d == host { None } else { cluster.link(host, d) };
        let traffic = network.cuts[0] + network.cuts[cut];
        work + link.map_or(0.0, |l| l.transfer(traffic).seconds)
    };
    let mut found: Vec<(Tiled, PlanFile)> = Vec::new();
    for (cut, to, height, width) in stretch_ends(graph, network) {
        for count in 2..=order.len().min(height as usize) {
            let devices = &order[..count];
            let columns = (2..=count / 2).rev().find(|c| count.is_multiple_of(*c));
            let grid = columns.filter(|&c| width >= c as i64).map(|c| {
                let even = |n: i64, k: usize| {
                    (0..k as i64).map(|i| (n * (i + 1) / k as i64) - n * i / k as i64).collect()
                };
                vec![even(height, count / c), even(width, c)]
            });
            let alone: Vec<f64> = devices.iter().map(|&d| alone(d, cut)).collect();
            let rows = initial_rows(height, &alone);
            let mut tries = vec![
                (vec![rows.clone()], Reuse::Recompute),
                (vec![rows.clone()], Reuse::Checkerboard),
                (vec![rows], Reuse::Exchange),
            ];
            tries.extend(grid.iter().flat_map(|g| {
                [Reuse::Recompute, Reuse::Checkerboard, Reuse::Exchange].map(|r| (g.clone(), r))
            }));
            for (sizes, reuse) in tries {
                // Smaller numbers of devices cover the case of an idle device.
                if sizes.iter().flatten().any(|&s| s == 0) {
                    continue;
                }
                let (to, devices) = (to.clone(), devices.to_vec());
                found.extend(timed(&TileShare { to, sizes, reuse, devices, host })?);
            }
        }
    }
    found.sort_by(|a, b| a.1.latency_s.total_cmp(&b.1.latency_s));
    for way in found.iter_mut().filter(|w| w.0.share.sizes.len() == 1).take(4) {
        balance_rows(way, &timed)?;
    }
    found.sort_by(|a, b| a.1.latency_s.total_cmp(&b.1.latency_s));
    Ok(found.into_iter().map(|(t, file)| (t, file.latency_s)).collect())
}

/// Candidate ends of the stretch: cuts that one tensor crosses, as (cut, node, height, width); at
/// most twelve, evenly spaced.
fn stretch_ends(graph: &Graph, network: &Network) -> Vec<(usize, String, i64, i64)> {
    let names = NodeNames::of_graph(graph);
    let end = |cut: usize| {
        let [v] = network.crossing[cut][..] else { return None };
        let n = graph.producer(v)?;
        let dims = graph.value(v).ty.dims().filter(|d| d.len() == 4)?;
        let (h, w) = (dims[2].known()? as i64, dims[3].known()? as i64);
        (h >= 2).then(|| (cut, names.name(n).to_owned(), h, w))
    };
    let all: Vec<_> = (1..network.crossing.len()).filter_map(end).collect();
    let step = all.len().div_ceil(12).max(1);
    all.into_iter().rev().step_by(step).collect()
}

/// Initial rows of each device, assuming that time is proportional to rows.
fn initial_rows(height: i64, alone: &[f64]) -> Vec<i64> {
    let n = height as usize;
    match share_rows(n, alone.len(), |i, rows| Some(alone[i] * rows as f64 / n as f64)) {
        Ok(s) => s.rows.iter().map(|&r| r as i64).collect(),
        Err(_) => vec![0; alone.len()],
    }
}

/// Local search on strips: moves rows from the device that finishes last to the one that finishes
/// first.
fn balance_rows(
    way: &mut (Tiled, PlanFile),
    timed: &dyn Fn(&TileShare) -> Result<Option<(Tiled, PlanFile)>, RunError>,
) -> Result<(), RunError> {
    let mut step = (way.0.share.sizes[0].iter().sum::<i64>() / 8).max(1);
    for _ in 0..24 {
        let (make_tiles, file) = &*way;
        let timeline = Timeline::of(file, 1);
        let ends = |device: usize| {
            let parts = make_tiles.split.parts.iter().zip(&timeline.spans);
            let own = parts.filter(|(p, _)| {
                let last = p.nodes.last().map(|&n| make_tiles.graph.label(n));
                p.device == device
                    && last.and_then(parse_tile_label).is_some_and(|t| t.2.is_empty())
            });
            own.map(|(_, s)| s[0].1).fold(0.0, f64::max)
        };
        let ends: Vec<f64> = make_tiles.share.devices.iter().map(|&d| ends(d)).collect();
        let by = |a: &usize, b: &usize| ends[*a].total_cmp(&ends[*b]);
        let (first, last) = ((0..ends.len()).min_by(by), (0..ends.len()).max_by(by));
        let (Some(first), Some(last)) = (first, last) else { break };
        let mut share = make_tiles.share.clone();
        let moved = step.min(share.sizes[0][last] - 1);
        share.sizes[0][last] -= moved;
        share.sizes[0][first] += moved;
        let better = if moved > 0 && first != last { timed(&share)? } else { None };
        match better.filter(|b| b.1.latency_s < file.latency_s) {
            Some(b) => *way = b,
            None if step > 1 => step /= 2,
            None => break,
        }
    }
    Ok(())
}
