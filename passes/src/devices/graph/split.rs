//! A graph cut into parts for devices: which nodes are in each, what each receives and from whom, and
//! the bytes that its device holds. A pipeline of stages is one kind of split, tiles side by side are
//! another; what writes, runs and costs parts does not know which.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use graph_opt_ir::{ExtractError, Graph, NodeId, ValueId, extract};

use super::chain::Network;
use super::error::SplitError;
use super::values::{is_sent, read, value_bytes};
use crate::analysis::{cost, plan};

/// Values that a part takes from one other, or from the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// The part, which comes before; none for the source of the network's inputs.
    pub from: Option<usize>,
    /// The values, in the order in which they are made.
    pub values: Vec<ValueId>,
}

/// Nodes that run together on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPart {
    /// Device, by number.
    pub device: usize,
    /// Nodes, in the order of the schedule.
    pub nodes: Vec<NodeId>,
    /// What it takes. It need not read all of it: what it received and what it makes can be taken
    /// from it.
    pub receives: Vec<Receive>,
}

/// Parts of a graph, each after those that it takes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The parts.
    pub parts: Vec<SplitPart>,
    /// Where the network's outputs are taken from.
    pub outputs: Vec<Receive>,
}

/// Bytes that a device holds while a part runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Constants of all parts of the device, in their types.
    pub constants: u64,
    /// The peak of the part's activations, by its own memory plan; what it reads is in it.
    pub peak: u64,
    /// Values that lie there for parts that run later: what has come in for them, and what is to go
    /// on to them.
    pub waiting: u64,
}

impl Held {
    /// All together.
    pub fn total(&self) -> u64 {
        self.constants + self.peak + self.waiting
    }
}

impl Split {
    /// A pipeline: each stage, on a device, takes all that crosses the cut before it from the one
    /// before, and hands on what it does not read.
    pub fn pipeline(network: &Network, stages: &[(usize, Range<usize>)]) -> Self {
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

    /// Every node on a device: `device` says which, by node, and `seconds` how long it takes there. A
    /// value goes straight from where it is made to where it is read, once to each device.
    ///
    /// Each device takes what is ready, first what others wait for most closely. What it does is cut
    /// into parts so that no part waits for more than its first node does, and none goes on when it
    /// has made something for another device.
    pub fn placed(
        graph: &Graph,
        nodes: &[NodeId],
        device: &dyn Fn(NodeId) -> usize,
        seconds: &dyn Fn(NodeId) -> f64,
    ) -> Self {
        let (mut parts, number) = sequence(graph, nodes, device, seconds);
        let maker = |v: ValueId| graph.producer(v).and_then(|p| number.get(&p).copied());
        // The first part of each device that has a value hands it to the others.
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

    /// Whether this is a split of the graph: every one of the nodes is in one part, and every part
    /// has or receives what it reads from a part before that has it.
    ///
    /// # Errors
    /// With the part and what is wrong with it.
    pub fn check(&self, graph: &Graph, nodes: &[NodeId]) -> Result<(), SplitError> {
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

    /// Who takes values from a part, or from the source: itself, or the network's end if that is
    /// none.
    pub fn receivers(
        &self,
        from: Option<usize>,
    ) -> impl Iterator<Item = (Option<usize>, &Vec<ValueId>)> {
        let parts = self.parts.iter().enumerate().map(|(i, p)| (Some(i), &p.receives));
        let all = parts.chain([(None, &self.outputs)]);
        all.flat_map(move |(i, receives)| {
            receives.iter().filter(move |r| r.from == from).map(move |r| (i, &r.values))
        })
    }

    /// A part as a graph: its inputs are what it reads of what it receives, its outputs what it makes
    /// that others take from it. What only passes is in neither.
    ///
    /// # Errors
    /// If the part cannot be cut out.
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

    /// What each part's device holds while it runs, one frame at a time.
    ///
    /// # Errors
    /// If a part cannot be cut out or planned.
    pub fn held(&self, graph: &Graph) -> Result<Vec<Held>, SplitError> {
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

    /// Values that lie on a part's device for later ones while it runs: what has come for later parts
    /// of the device, and what came to it or was made there for parts elsewhere.
    pub fn waiting(&self, part: usize) -> Vec<ValueId> {
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

/// Nodes in parts, in the order in which the parts begin, and the part of each node: list scheduling
/// with a time for each node, transfers left out.
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
    // How many nodes are between each and the first that another device waits for.
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
    // Of each device: what it does and until when; and its open part, since when, whether it sent.
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
            // What came before the part began it has from its start.
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
    // In the order of the schedule, which is that of the files.
    for part in &mut parts {
        part.nodes.sort_by_key(|n| at[n]);
    }
    (parts, number)
}

/// Values by where they are taken from.
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
