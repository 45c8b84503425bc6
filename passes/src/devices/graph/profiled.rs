//! Costs of stages from measured profiles.
//!
//! A stage that was measured as a stretch costs what was measured. Otherwise it is covered
//! greedily: from its first unit on, always by the longest measured stretch that ends within it.
//! Binary lifting over the longest stretches answers a range in O(log n) steps; sums of seconds and
//! joules are exact to rounding.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};

use graph_opt_ir::Graph;

use super::chain::Network;
use super::error::{Mismatch, ProfileMismatch};
use crate::devices::cluster::{Cluster, DeviceSpec, Mode, Profile};
use crate::devices::problem::{Additive, Costs};

/// Sum over measured stretches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    seconds: f64,
    /// Measured energy in J.
    joules: f64,
    /// Seconds whose energy was not measured; charged by the mode's power.
    unmetered: f64,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, o: Self) {
        self.seconds += o.seconds;
        self.joules += o.joules;
        self.unmetered += o.unmetered;
    }
}

/// Costs from profiles, for devices that have one, and from multiply-accumulates for the others.
#[derive(Clone, Debug)]
pub struct ProfiledCosts {
    speeds: Additive,
    devices: Vec<Option<(Stretches, Vec<Mode>)>>,
}

impl ProfiledCosts {
    /// Matches profiles with a network; `profiles` are those of the cluster's devices, in order.
    ///
    /// # Errors
    /// If a profile lacks a node of the graph, or has a stretch that is not in it.
    pub fn new(
        graph: &Graph,
        network: &Network,
        cluster: &Cluster,
        profiles: &[Option<Profile>],
    ) -> Result<Self, ProfileMismatch> {
        let device = |(d, m): (usize, &DeviceSpec)| {
            let Some(profile) = profiles.get(d).and_then(Option::as_ref) else {
                return Ok(None);
            };
            let pieces = pieces(profile, graph, network);
            let pieces = pieces.map_err(|why| ProfileMismatch { device: m.name.clone(), why })?;
            Ok(Some((Stretches::new(pieces), m.modes.clone())))
        };
        let devices = cluster.devices.iter().enumerate().map(device).collect::<Result<_, _>>()?;
        Ok(Self { speeds: network.costs(cluster), devices })
    }
}

impl Costs for ProfiledCosts {
    fn seconds(&self, units: Range<usize>, device: usize, mode: usize) -> Option<f64> {
        match &self.devices[device] {
            Some((pieces, modes)) => Some(pieces.sum(units).seconds / modes[mode].speed),
            None => self.speeds.seconds(units, device, mode),
        }
    }

    fn joules(&self, units: Range<usize>, device: usize, mode: usize) -> f64 {
        match &self.devices[device] {
            Some((pieces, modes)) => {
                let (sum, mode) = (pieces.sum(units), &modes[mode]);
                // Energy was measured at the profile's speed, and is valid only there.
                if mode.speed == 1.0 {
                    sum.joules + mode.watts * sum.unmetered
                } else {
                    mode.watts * sum.seconds / mode.speed
                }
            }
            None => self.speeds.joules(units, device, mode),
        }
    }

    fn memory(&self, units: Range<usize>, device: usize) -> u64 {
        self.speeds.memory(units, device)
    }
}

/// Measured stretches, indexed for range sums.
#[derive(Clone, Debug)]
struct Stretches {
    /// By first unit, by end ascending; the first entry is the unit alone.
    from: Vec<Vec<(usize, Sum)>>,
    /// End and sum of `2^k` longest stretches from a unit on, by `k` and unit; the end is
    /// `usize::MAX` where there are fewer.
    jumps: Vec<Vec<(usize, Sum)>>,
}

impl Stretches {
    /// Requires each unit alone among the stretches.
    fn new(pieces: Vec<BTreeMap<usize, Sum>>) -> Self {
        let n = pieces.len();
        let from: Vec<Vec<_>> = pieces.into_iter().map(|p| p.into_iter().collect()).collect();
        let beyond = (usize::MAX, Sum::default());
        let longest = |p: &Vec<(usize, Sum)>| p.last().copied().unwrap_or(beyond);
        let mut jumps: Vec<Vec<(usize, Sum)>> = vec![from.iter().map(longest).collect()];
        while let Some(last) = jumps.last().filter(|_| n >> jumps.len() > 0) {
            let twice = |&(middle, first): &(usize, Sum)| match last.get(middle) {
                Some(&(end, second)) => {
                    let mut sum = first;
                    sum += second;
                    (end, sum)
                }
                None => beyond,
            };
            let next = last.iter().map(twice).collect();
            jumps.push(next);
        }
        Self { from, jumps }
    }

    fn sum(&self, units: Range<usize>) -> Sum {
        let (mut at, mut sum) = (units.start, Sum::default());
        while at < units.end {
            for level in self.jumps.iter().rev() {
                if let Some(&(end, more)) = level.get(at).filter(|j| j.0 <= units.end) {
                    sum += more;
                    at = end;
                }
            }
            let Some(from) = self.from.get(at).filter(|_| at < units.end) else { break };
            let fits = from.partition_point(|p| p.0 <= units.end);
            let Some(&(end, more)) = fits.checked_sub(1).and_then(|i| from.get(i)) else { break };
            sum += more;
            at = end;
        }
        sum
    }
}

/// Measured stretches of the network, by first unit and end.
fn pieces(
    profile: &Profile,
    graph: &Graph,
    network: &Network,
) -> Result<Vec<BTreeMap<usize, Sum>>, Mismatch> {
    let labels: Vec<&str> = network.nodes.iter().map(|&n| graph.label(n)).collect();
    let mut units: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (u, label) in labels.iter().enumerate() {
        units.entry(label).or_default().push(u);
    }
    // By their results, too, where no label is the same.
    for (u, &n) in network.nodes.iter().enumerate() {
        for &v in graph.node(n).outputs.iter().flatten() {
            units.entry(&graph.value(v).name).or_insert_with(|| vec![u]);
        }
    }
    let mut groups: BTreeMap<(String, String, Option<usize>), Vec<Sum>> = BTreeMap::new();
    for t in profile.all() {
        let unmetered = if t.joules.is_some() { 0.0 } else { t.seconds };
        let sum = Sum { seconds: t.seconds, joules: t.joules.unwrap_or(0.0), unmetered };
        groups.entry((t.first, t.last, t.nodes)).or_default().push(sum);
    }
    let mut pieces = vec![BTreeMap::new(); labels.len()];
    for ((first, last, nodes), sums) in &groups {
        let from = units.get(first.as_str()).map_or(&[][..], Vec::as_slice);
        let runs: Vec<(usize, usize)> = match (nodes, units.get(last.as_str())) {
            (Some(n), _) => {
                let end = |i: &usize| i.checked_add(*n).filter(|j| j > i);
                let ends = units.get(last.as_str()).map_or(&[][..], Vec::as_slice);
                let meant = |j: &usize| ends.contains(&(j - 1));
                from.iter().filter_map(|i| Some((*i, end(i).filter(meant)?))).collect()
            }
            (None, Some(to)) if from.len() == 1 && to.len() == 1 && from[0] <= to[0] => {
                vec![(from[0], to[0] + 1)]
            }
            _ => Vec::new(),
        };
        // A repeated name has as many times as occurrences, in order, or one for all.
        let node = first == last && *nodes == Some(1);
        let one = node && sums.len() == 1;
        match runs.len() {
            // The model may have been optimised since.
            0 if node => {}
            0 => {
                let (first, last) = (first.clone(), last.clone());
                return Err(Mismatch::Stretch { first, last, nodes: *nodes });
            }
            n if n == sums.len() || one => {
                for (at, (i, j)) in runs.into_iter().enumerate() {
                    pieces[i].insert(j, sums[if one { 0 } else { at }]);
                }
            }
            expected => {
                let (first, last, found) = (first.clone(), last.clone(), sums.len());
                return Err(Mismatch::Count { first, last, expected, found });
            }
        }
    }
    match (0..labels.len()).find(|&u| !pieces[u].contains_key(&(u + 1))) {
        Some(u) => Err(Mismatch::Node(labels[u].to_owned())),
        None => Ok(pieces),
    }
}

#[cfg(test)]
mod tests;
