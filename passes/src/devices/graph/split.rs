//! A graph split into parts for devices: the nodes of each part, what it receives from whom, and
//! the bytes that its device holds.
//!
//! Pipelines of stages and tiles side by side are both splits; code that writes, runs or costs
//! parts does not distinguish them. A part runs when all that it receives has arrived.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use graph_opt_ir::{ExtractError, Graph, NodeId, ValueId, extract};

use super::chain::Network;
use super::error::SplitError;
use super::values::{read, value_bytes};
use crate::analysis::is_sent;
use crate::analysis::{cost, plan};

/// Values that a part receives from one sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receive {
    /// Sending part, which comes before; `None` for the source of the network's inputs.
    pub from: Option<usize>,
    /// Values in the order of their production.
    pub values: Vec<ValueId>,
}

/// Nodes that run together on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPart {
    /// Number of the device.
    pub device: usize,
    /// Nodes in the order of the schedule.
    pub nodes: Vec<NodeId>,
    /// What the part receives. It may receive values only to forward them: a part can send all that
    /// it received or made.
    pub(crate) receives: Vec<Receive>,
}

/// Parts of a graph, each after the parts that it receives from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Parts in topological order.
    pub parts: Vec<SplitPart>,
    /// Where the sink receives the network's outputs from.
    pub(crate) outputs: Vec<Receive>,
}

/// Bytes that a device holds while one of its parts runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Constants of all parts of the device.
    pub constants: u64,
    /// Peak of the part's activations by its own memory plan, inputs included.
    pub peak: u64,
    /// Values stored for later: received for later parts of the device, or still to be sent.
    pub waiting: u64,
}

impl Held {
    /// Sum of the three, in bytes.
    pub(crate) fn total(&self) -> u64 {
        self.constants + self.peak + self.waiting
    }
}

impl Split {
    /// A pipeline of (device, units): each stage receives what crosses the cut before it from the
    /// previous stage, and forwards what it does not read.
    pub(crate) fn pipeline(network: &Network, stages: &[(usize, Range<usize>)]) -> Self {
        let receive = |i: usize, cut: usize| -> Vec<Receive> {
            let values = network.crossing[cut].clone();
            let from = i.checked_sub(1);
            if values.is_empty() { Vec::new() } else { vec![Receive { from, values }] }
        };
        let part = |(i, (device, units)): (usize, &(usize, Range<usize>))| SplitPart {
            device: *device,
            nodes: network.nodes[units.clone()].to_vec(),
            receives: receive(i, units.start),
        };
        let parts = stages.iter().enumerate().map(part).collect();
        Self { parts, outputs: receive(stages.len(), network.nodes.len()) }
    }

    /// Places every node on the device that `device` gives, where it takes `seconds`. A value goes
    /// directly from its producer to its readers, once to each device.
    ///
    /// List scheduling: each device runs a ready node, first the one whose results another device
    /// waits for soonest. Its sequence is cut into parts so that a part waits for nothing that its
    /// first node does not wait for, and ends when it has made a value for another device.
    pub(crate) fn placed(
        graph: &Graph,
        nodes: &[NodeId],
        device: &dyn Fn(NodeId) -> usize,
        seconds: &dyn Fn(NodeId) -> f64,
    ) -> Self {
        let (mut parts, number) = sequence(graph, nodes, device, seconds);
        let maker = |v: ValueId| graph.producer(v).and_then(|p| number.get(&p).copied());
        // The first part of a device that has a value is its sender for later parts of the device.
        let mut there: HashMap<(usize, ValueId), usize> = HashMap::new();
        for (i, part) in parts.iter_mut().enumerate() {
            let mut taken: Vec<(Option<usize>, ValueId)> = Vec::new();
            let mut seen = HashSet::new();
            for v in part.nodes.iter().flat_map(|&n| read(graph, n)) {
                let made = maker(v);
                if made == Some(i) || !seen.insert(v) {
                    continue;
                }
                let holder = there.entry((part.device, v)).or_insert(i);
                taken.push((if *holder == i { made } else { Some(*holder) }, v));
            }
            part.receives = receives(taken);
            for &n in &part.nodes {
                for &v in graph.node(n).outputs.iter().flatten() {
                    there.insert((part.device, v), i);
                }
            }
        }
        let given = graph.outputs().iter().copied().filter(|&v| is_sent(graph, v));
        let outputs = receives(given.map(|v| (maker(v), v)).collect());
        Self { parts, outputs }
    }

    /// Checks that this splits the graph: every node is in exactly one part, and every part makes
    /// or receives, from an earlier part that has it, each value that it reads.
    ///
    /// # Errors
    /// The first part, node or value that breaks this.
    pub(crate) fn check(&self, graph: &Graph, nodes: &[NodeId]) -> Result<(), SplitError> {
        let mut open: HashSet<NodeId> = nodes.iter().copied().collect();
        let mut has: Vec<HashSet<ValueId>> = Vec::new();
        let name = |v: ValueId| graph.value(v).name.to_string();
        let label = |n: NodeId| graph.label(n).to_owned();
        let receive = |has: &[HashSet<ValueId>], r: &Receive, at: Option<usize>| {
            let receiver = || at.map_or("the sink".into(), |p| format!("part {p}"));
            if let Some(sender) = r.from.filter(|f| *f >= has.len()) {
                return Err(SplitError::TooEarly { receiver: receiver(), sender });
            }
            let there = |v: &ValueId| match r.from {
                Some(f) => has.get(f).is_some_and(|h| h.contains(v)),
                None => graph.producer(*v).is_none(),
            };
            match r.values.iter().find(|v| !there(v)) {
                Some(&v) => Err(SplitError::Unavailable { receiver: receiver(), value: name(v) }),
                None => Ok(()),
            }
        };
        for (i, part) in self.parts.iter().enumerate() {
            part.receives.iter().try_for_each(|r| receive(&has, r, Some(i)))?;
            let mut here: HashSet<ValueId> =
                part.receives.iter().flat_map(|r| r.values.iter().copied()).collect();
            for &n in &part.nodes {
                if !open.remove(&n) {
                    return Err(SplitError::Repeated(label(n)));
                }
                if let Some(v) = read(graph, n).find(|v| !here.contains(v)) {
                    let (value, node) = (name(v), label(n));
                    return Err(SplitError::Unreceived { part: i, value, node });
                }
                here.extend(graph.node(n).outputs.iter().flatten());
            }
            has.push(here);
        }
        self.outputs.iter().try_for_each(|r| receive(&has, r, None))?;
        let out: HashSet<ValueId> =
            self.outputs.iter().flat_map(|r| r.values.iter().copied()).collect();
        let lost = |v: &&ValueId| is_sent(graph, **v) && !out.contains(*v);
        if let Some(&v) = graph.outputs().iter().find(lost) {
            return Err(SplitError::LostOutput(name(v)));
        }
        match nodes.iter().find(|n| open.contains(n)) {
            Some(&n) => Err(SplitError::Missing(label(n))),
            None => Ok(()),
        }
    }

    /// Receivers of values of a part, or of the source if `from` is `None`; the receiver `None` is
    /// the sink.
    pub(crate) fn receivers(
        &self,
        from: Option<usize>,
    ) -> impl Iterator<Item = (Option<usize>, &Vec<ValueId>)> {
        let parts = self.parts.iter().enumerate().map(|(i, p)| (Some(i), &p.receives));
        let all = parts.chain([(None, &self.outputs)]);
        all.flat_map(move |(i, receives)| {
            receives.iter().filter(move |r| r.from == from).map(move |r| (i, &r.values))
        })
    }

    /// Extracts a part as a graph. Its inputs are the received values that it reads, its outputs
    /// the values made here that others receive. Forwarded values are in neither.
    ///
    /// # Errors
    /// If the part cannot be extracted.
    pub fn graph(&self, graph: &Graph, part: usize) -> Result<Graph, ExtractError> {
        let p = &self.parts[part];
        let reads: HashSet<ValueId> = p.nodes.iter().flat_map(|&n| read(graph, n)).collect();
        let received = p.receives.iter().flat_map(|r| r.values.iter().copied());
        let inputs: Vec<ValueId> = received.filter(|v| reads.contains(v)).collect();
        let taken: HashSet<ValueId> =
            self.receivers(Some(part)).flat_map(|(_, values)| values.iter().copied()).collect();
        let made = p.nodes.iter().flat_map(|&n| graph.node(n).outputs.iter().flatten().copied());
        let outputs: Vec<ValueId> = made.filter(|v| taken.contains(v)).collect();
        extract(graph, &inputs, &outputs)
    }

    /// Bytes that each part's device holds while the part runs, for one frame at a time.
    ///
    /// # Errors
    /// If a part cannot be extracted, or its memory cannot be planned.
    pub(crate) fn held(&self, graph: &Graph) -> Result<Vec<Held>, SplitError> {
        let mut all = Vec::with_capacity(self.parts.len());
        for i in 0..self.parts.len() {
            let part = self.graph(graph, i).map_err(|why| SplitError::Extract { part: i, why })?;
            let peak = plan(&part).map_err(|why| SplitError::Memory { part: i, why })?.peak;
            all.push(Held { constants: cost(&part).constant_bytes, peak, waiting: 0 });
        }
        let own: Vec<u64> = all.iter().map(|h| h.constants).collect();
        for (i, held) in all.iter_mut().enumerate() {
            let device = self.parts[i].device;
            let on_device = |p: &(&SplitPart, &u64)| p.0.device == device;
            held.constants = self.parts.iter().zip(&own).filter(on_device).map(|p| p.1).sum();
            held.waiting = self.waiting(i).into_iter().map(|v| value_bytes(graph, v)).sum();
        }
        Ok(all)
    }

    /// Values stored on a part's device while the part runs: received for later parts of the
    /// device, or received or made there and still to be sent.
    pub(crate) fn waiting(&self, part: usize) -> Vec<ValueId> {
        let device = self.parts[part].device;
        let here = |p: usize| self.parts[p].device == device;
        let mut found = Vec::new();
        let later = self.parts.iter().enumerate().skip(part + 1);
        let later = later.map(|(i, p)| (here(i), &p.receives)).chain([(false, &self.outputs)]);
        for (comes_here, receives) in later {
            for r in receives {
                let sent = r.from.is_some_and(|f| here(f) && f <= part);
                let came = comes_here && r.from.is_none_or(|f| f < part);
                // What the part itself makes is in its peak.
                let own = |v: &ValueId| r.from != Some(part) || self.receives(part, *v);
                if sent || came {
                    found.extend(r.values.iter().copied().filter(own));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn receives(&self, part: usize, v: ValueId) -> bool {
        self.parts[part].receives.iter().any(|r| r.values.contains(&v))
    }
}

impl Network {
    /// Extracts a range of units as a graph, as [`Split::graph`] does for parts.
    ///
    /// # Errors
    /// If the range cannot be extracted.
    pub fn stage(&self, graph: &Graph, units: Range<usize>) -> Result<Graph, ExtractError> {
        let bounds = [0..units.start, units.clone(), units.end..self.nodes.len()];
        let stages: Vec<_> = bounds.into_iter().filter(|u| !u.is_empty()).map(|u| (0, u)).collect();
        let here = stages.iter().position(|s| s.1 == units).unwrap_or_default();
        Split::pipeline(self, &stages).graph(graph, here)
    }
}

/// Assigns nodes to parts in the order in which the parts begin, and returns the part of each node.
/// List scheduling with the nodes' times; transfers take no time.
fn sequence(
    graph: &Graph,
    nodes: &[NodeId],
    device: &dyn Fn(NodeId) -> usize,
    seconds: &dyn Fn(NodeId) -> f64,
) -> (Vec<SplitPart>, HashMap<NodeId, usize>) {
    let at: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
    let before = |i: usize| -> Vec<usize> {
        let makers = read(graph, nodes[i]).filter_map(|v| graph.producer(v));
        let mut all: Vec<usize> = makers.filter_map(|p| at.get(&p).copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let before: Vec<Vec<usize>> = (0..nodes.len()).map(before).collect();
    let on: Vec<usize> = nodes.iter().map(|&n| device(n)).collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    // Number of nodes between each node and the nearest one that another device waits for.
    let mut distance = vec![usize::MAX; nodes.len()];
    for i in (0..nodes.len()).rev() {
        for &p in &before[i] {
            after[p].push(i);
            let far = if on[p] == on[i] { distance[i].saturating_add(1) } else { 0 };
            distance[p] = distance[p].min(far);
        }
    }
    let devices = on.iter().max().map_or(0, |d| d + 1);
    let mut ready: Vec<BTreeSet<(usize, usize)>> = vec![BTreeSet::new(); devices];
    let mut open: Vec<usize> = before.iter().map(Vec::len).collect();
    (0..nodes.len()).filter(|&i| open[i] == 0).for_each(|i| {
        ready[on[i]].insert((distance[i], i));
    });
    let mut parts: Vec<SplitPart> = Vec::new();
    // Of each device: the running node and its end; the open part, its begin, and whether it has
    // sent.
    let mut running: Vec<Option<(f64, usize)>> = vec![None; devices];
    let mut current: Vec<Option<(usize, f64, bool)>> = vec![None; devices];
    let mut ended = vec![f64::INFINITY; nodes.len()];
    let mut number: HashMap<NodeId, usize> = HashMap::new();
    let mut now = 0.0;
    loop {
        for d in 0..devices {
            if running[d].is_some() {
                continue;
            }
            let Some((_, i)) = ready[d].pop_first() else { continue };
            let sends = distance[i] == 0;
            // What was finished before the part began is available from its start.
            let known = |part: usize, since: f64| {
                let there = |p: usize| ended[p] <= since && number[&nodes[p]] < part;
                before[i].iter().all(|&p| on[p] == d || there(p))
            };
            let joined = current[d].filter(|c| known(c.0, c.1) && (sends || !c.2));
            let (part, since) = joined.map_or((parts.len(), now), |c| (c.0, c.1));
            if part == parts.len() {
                parts.push(SplitPart { device: d, nodes: Vec::new(), receives: Vec::new() });
            }
            current[d] = Some((part, since, sends));
            parts[part].nodes.push(nodes[i]);
            number.insert(nodes[i], part);
            running[d] = Some((now + seconds(nodes[i]), i));
        }
        let next = running.iter().enumerate().filter_map(|(d, r)| r.map(|r| (r.0, d, r.1)));
        let Some((time, d, i)) = next.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        now = time;
        running[d] = None;
        ended[i] = now;
        for &j in &after[i] {
            open[j] -= 1;
            if open[j] == 0 {
                ready[on[j]].insert((distance[j], j));
            }
        }
    }
    // In the order of the schedule, which the files use.
    for part in &mut parts {
        part.nodes.sort_by_key(|n| at[n]);
    }
    (parts, number)
}

/// Groups values by sender.
fn receives(mut taken: Vec<(Option<usize>, ValueId)>) -> Vec<Receive> {
    taken.sort_by_key(|t| t.0);
    let mut all: Vec<Receive> = Vec::new();
    for (from, v) in taken {
        match all.last_mut().filter(|r| r.from == from) {
            Some(r) => r.values.push(v),
            None => all.push(Receive { from, values: vec![v] }),
        }
    }
    all
}
