//! Finds blocks: stretches of a graph between points where one tensor is live.

use std::collections::{BTreeMap, BTreeSet};

use graph_opt_ir::{DType, Def, ExtractError, Graph, NodeId, ValueId, extract};

use super::coupled::coupled;
use crate::analysis::{articulation_points, is_sent, node_macs};

/// A stretch of a graph that reads one tensor of the rest and gives one tensor to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Its name: the label of its first layer with channels that can go.
    pub name: String,
    /// Its nodes, in the order of the schedule.
    pub nodes: Vec<NodeId>,
    /// The tensor that it reads.
    pub input: ValueId,
    /// The tensor that it gives.
    pub output: ValueId,
    /// Elements of its constants.
    pub parameters: u64,
    /// Multiply-accumulates, as far as they are known.
    pub macs: u64,
    /// Number of units that can be removed, of each set of coupled channels.
    pub units: Vec<usize>,
}

impl Block {
    /// The block between two values of a graph; `None` if more than one tensor enters or leaves there, or no
    /// channels inside can go.
    pub fn between(graph: &Graph, input: ValueId, output: ValueId) -> Option<Self> {
        let mut ours = BTreeSet::new();
        let mut open = vec![output];
        while let Some(v) = open.pop() {
            if let Some(p) = graph.producer(v).filter(|_| v != input)
                && ours.insert(p)
            {
                open.extend(graph.node(p).inputs.iter().flatten());
            }
        }
        let nodes: Vec<NodeId> = graph.schedule().filter(|n| ours.contains(n)).collect();
        block(graph, &nodes).filter(|b| (b.input, b.output) == (input, output))
    }

    /// The block as a graph of its own.
    ///
    /// # Errors
    /// If the type of its input is unknown.
    pub fn part(&self, graph: &Graph) -> Result<Graph, ExtractError> {
        extract(graph, &[self.input], &[self.output])
    }
}

/// What finds blocks in a graph. Blocks do not overlap.
pub trait Extractor {
    /// The blocks of the graph, in the order of its schedule.
    fn blocks(&self, graph: &Graph) -> Vec<Block>;
}

/// Blocks between articulation points: LegoDNN's extraction, for any graph.
///
/// The graph is cut where one tensor is live. Consecutive stretches are merged while the block has at most
/// `max_share` of the network's parameters and of its multiply-accumulates. A block without inner channels
/// grows past that until it has some, as there is nothing to remove from it before. A stretch that exceeds
/// the share alone, such as all that lies beneath the outermost skip connection of a U-Net, is searched for
/// blocks along each of its branches.
///
/// Source: Han et al., *LegoDNN: Block-grained Scaling of Deep Neural Networks for Mobile Vision* (MobiCom
/// 2021), section 3.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stretches {
    /// Largest share of the network in one block, 0 to 1.
    pub max_share: f64,
}

impl Default for Stretches {
    fn default() -> Self {
        Self { max_share: 0.125 }
    }
}

impl Extractor for Stretches {
    fn blocks(&self, graph: &Graph) -> Vec<Block> {
        let nodes: Vec<NodeId> = graph.schedule().collect();
        let whole = Share::of(graph, &nodes);
        let limit = Share {
            parameters: (whole.parameters as f64 * self.max_share) as u64,
            macs: (whole.macs as f64 * self.max_share) as u64,
        };
        let mut all = Vec::new();
        chain(graph, &nodes, limit, &mut all);
        all.sort_by_key(|b| graph.position(b.nodes[0]));
        all
    }
}

/// How much of a network some nodes are.
#[derive(Clone, Copy, Default, Debug)]
struct Share {
    parameters: u64,
    macs: u64,
}

impl Share {
    fn of(graph: &Graph, nodes: &[NodeId]) -> Self {
        let constants: BTreeSet<ValueId> =
            nodes.iter().flat_map(|&n| graph.node(n).inputs.iter().flatten().copied()).collect();
        let elements = |v: ValueId| match graph.value(v).constant() {
            Some(t) if t.dtype() != DType::I64 => t.len() as u64,
            _ => 0,
        };
        let macs = nodes.iter().filter_map(|&n| node_macs(graph, n));
        Self { parameters: constants.into_iter().map(elements).sum(), macs: macs.sum() }
    }

    fn exceeds(&self, limit: &Self) -> bool {
        self.parameters > limit.parameters || self.macs > limit.macs
    }
}

/// Adds the blocks along these nodes, which are in the order of the schedule.
fn chain(graph: &Graph, nodes: &[NodeId], limit: Share, all: &mut Vec<Block>) {
    let mut open: Vec<NodeId> = Vec::new();
    let mut ready: Option<Block> = None;
    for stretch in stretches(graph, nodes) {
        if Share::of(graph, &stretch).exceeds(&limit) {
            let mut inside = Vec::new();
            for branch in branches(graph, &stretch[..stretch.len() - 1]) {
                // Where paths join all over, as in a dense block, only runs of single nodes are left.
                let tangled = stretches(graph, &branch).len() == 1;
                let parts = if tangled { runs(graph, &branch) } else { vec![branch] };
                parts.iter().for_each(|p| chain(graph, p, limit, &mut inside));
            }
            // One block inside is no better than the stretch as a whole.
            if inside.len() > 1 {
                all.extend(ready.take());
                all.append(&mut inside);
                open.clear();
                continue;
            }
        }
        let mut longer = open.clone();
        longer.extend(&stretch);
        if ready.is_some() && Share::of(graph, &longer).exceeds(&limit) {
            all.extend(ready.take());
            longer = stretch;
        }
        ready = block(graph, &longer);
        // A stretch with several inputs cannot begin a block, but the next one can.
        open = if interface(graph, &longer).is_some() { longer } else { Vec::new() };
    }
    all.extend(ready);
}

/// The nodes in runs that end at articulation points: one tensor crosses from each to the next.
fn stretches(graph: &Graph, nodes: &[NodeId]) -> Vec<Vec<NodeId>> {
    let at: BTreeMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &n)| (n, i + 1)).collect();
    // Number 0 stands for what comes from outside.
    let mut reads = vec![Vec::new()];
    let mut sinks = Vec::new();
    for (&id, i) in nodes.iter().zip(1..) {
        let node = graph.node(id);
        let from = |v: &ValueId| {
            is_sent(graph, *v)
                .then(|| graph.producer(*v).and_then(|p| at.get(&p)).map_or(0, |&i| i))
        };
        reads.push(
            node.inputs
                .iter()
                .chain([&None])
                .flatten()
                .chain(&node.captures)
                .filter_map(from)
                .collect(),
        );
        let leaves = |v: ValueId| {
            let value = graph.value(v);
            value.is_output() || value.uses().any(|u| !at.contains_key(&u.node))
        };
        if node.outputs.iter().flatten().any(|&v| leaves(v)) {
            sinks.push(i);
        }
    }
    let points = articulation_points(&reads, &sinks);
    let mut all = Vec::new();
    let mut from = 0;
    for p in points.into_iter().filter(|&p| p > 0).chain([nodes.len()]) {
        if p > from {
            all.push(nodes[from..p].to_vec());
            from = p;
        }
    }
    all
}

/// The nodes in parts that no value connects.
fn branches(graph: &Graph, nodes: &[NodeId]) -> Vec<Vec<NodeId>> {
    let at: BTreeMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
    let mut part: Vec<usize> = (0..nodes.len()).collect();
    let root = |part: &[usize], mut i: usize| {
        while part[i] != i {
            i = part[i];
        }
        i
    };
    for (i, &id) in nodes.iter().enumerate() {
        let node = graph.node(id);
        for &v in node.inputs.iter().flatten().chain(&node.captures) {
            if let Some(&j) = graph.producer(v).and_then(|p| at.get(&p)) {
                let (a, b) = (root(&part, i), root(&part, j));
                part[a.max(b)] = a.min(b);
            }
        }
    }
    let mut all: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
    for (i, &id) in nodes.iter().enumerate() {
        all.entry(root(&part, i)).or_default().push(id);
    }
    all.into_values().collect()
}

/// The nodes in runs in which each node reads, apart from constants, only the node before, and is read by
/// the next alone.
fn runs(graph: &Graph, nodes: &[NodeId]) -> Vec<Vec<NodeId>> {
    let mut all: Vec<Vec<NodeId>> = Vec::new();
    let mut run_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    for &id in nodes {
        let node = graph.node(id);
        let mut read = node.inputs.iter().flatten().filter(|&&v| is_sent(graph, v));
        let before = match (read.next(), read.next()) {
            (Some(&v), None) => {
                let value = graph.value(v);
                let alone = value.uses().len() == 1 && !value.is_output();
                let one = |p: &NodeId| graph.node(*p).outputs.iter().flatten().count() == 1;
                graph.producer(v).filter(|p| alone && one(p))
            }
            _ => None,
        };
        let run = before.and_then(|p| run_of.get(&p).copied()).unwrap_or_else(|| {
            all.push(Vec::new());
            all.len() - 1
        });
        all[run].push(id);
        run_of.insert(id, run);
    }
    all
}

/// The tensor that enters the nodes, and the one that leaves; `None` if there are more, or bodies read more.
fn interface(graph: &Graph, nodes: &[NodeId]) -> Option<(ValueId, ValueId)> {
    let ours: BTreeSet<NodeId> = nodes.iter().copied().collect();
    let (mut inputs, mut outputs) = (BTreeSet::new(), BTreeSet::new());
    for &id in nodes {
        let node = graph.node(id);
        if !node.op.subgraphs().is_empty() {
            return None;
        }
        for &v in node.inputs.iter().flatten() {
            match graph.value(v).def {
                Def::Const(_) | Def::Sparse(_) => {}
                Def::Node(p, _) if ours.contains(&p) => {}
                Def::Node(..) | Def::Input(_) | Def::Outer => _ = inputs.insert(v),
            }
        }
        for &v in node.outputs.iter().flatten() {
            let value = graph.value(v);
            if value.is_output() || value.uses().any(|u| !ours.contains(&u.node)) {
                outputs.insert(v);
            }
        }
    }
    match (&Vec::from_iter(inputs)[..], &Vec::from_iter(outputs)[..]) {
        (&[input], &[output]) => Some((input, output)),
        _ => None,
    }
}

/// The nodes as a block, if one tensor enters them, one leaves, and some channels inside can go.
fn block(graph: &Graph, nodes: &[NodeId]) -> Option<Block> {
    let (input, output) = interface(graph, nodes)?;
    let part = extract(graph, &[input], &[output]).ok()?;
    let coupled = coupled(&part);
    let first = coupled.first()?.origin;
    let share = Share::of(graph, nodes);
    Some(Block {
        name: graph.label(first).to_owned(),
        nodes: nodes.to_vec(),
        input,
        output,
        parameters: share.parameters,
        macs: share.macs,
        units: coupled.iter().map(|c| c.units).collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use graph_opt_ir::text::parse;

    fn names(text: &str, max_share: f64) -> Vec<(String, Vec<usize>)> {
        let blocks = Stretches { max_share }.blocks(&parse(text).unwrap());
        blocks.into_iter().map(|b| (b.name, b.units)).collect()
    }

    #[test]
    fn paths_that_join_all_over_give_runs() {
        let found = names(
            "graph @g(%x: f32[1,4,8,8]) -> (%y) opset 13 {
               %w1 = const random(1)     : f32[6,4,1,1]
               %w2 = const random(2)     : f32[4,6,3,3]
               %w3 = const random(3)     : f32[6,8,1,1]
               %w4 = const random(4)     : f32[4,6,3,3]
               %p  = Relu %x             : f32[1,4,8,8] ; p
               %a1 = Relu %p             : f32[1,4,8,8]
               %a2 = Conv %a1, %w1       : f32[1,6,8,8] ; a
               %a3 = Conv %a2, %w2 {pads=[1,1,1,1]} : f32[1,4,8,8]
               %c1 = Concat %p, %a3 {axis=1} : f32[1,8,8,8]
               %b1 = Relu %c1            : f32[1,8,8,8]
               %b2 = Conv %b1, %w3       : f32[1,6,8,8] ; b
               %b3 = Conv %b2, %w4 {pads=[1,1,1,1]} : f32[1,4,8,8]
               %y  = Concat %p, %a3, %b3 {axis=1} : f32[1,12,8,8]
             }",
            0.125,
        );
        assert_eq!(found, [("a".to_owned(), vec![6]), ("b".to_owned(), vec![6])]);
    }
}
