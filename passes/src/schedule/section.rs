//! Nodes to be put into an order, and what an order costs.
//!
//! Each piece of storage lives from the first node that touches it, as a reader or a writer, to the
//! last one, as in the memory plan. So what is live between two nodes depends on which nodes ran, and
//! not on their order.

use std::collections::HashMap;

use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Graph, NodeId, Op, ValueId};

use super::stores::Stores;
use crate::analysis::memory::counts;
use crate::analysis::needed;

/// A piece of storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Store {
    pub bytes: u64,
    /// Whether it is live before the first node.
    pub begun: bool,
    /// Whether it is live after the last node.
    pub stays: bool,
    /// Nodes that read or write it.
    pub touches: Vec<usize>,
}

/// A section of a graph: some of its nodes, numbered in an order that they can run in.
#[derive(Clone, Default, Debug)]
pub(super) struct Section {
    /// Number of each node in the section that this one is a part of.
    pub ids: Vec<usize>,
    /// For each node, the nodes that must run before it.
    pub needs: Vec<Vec<usize>>,
    /// For each node, the nodes that must run after it.
    pub readers: Vec<Vec<usize>>,
    pub stores: Vec<Store>,
    /// For each node, the stores that it reads or writes.
    pub touched: Vec<Vec<usize>>,
    /// For each node, the stores that it may overwrite if no later node touches them, and the stores that
    /// they become.
    pub overwrites: Vec<Vec<(usize, usize)>>,
    /// Bytes that are live before the first node.
    pub live: u64,
}

/// Whether all results of the node are constants. Such nodes are not scheduled: they are put right
/// before their first readers.
pub(super) fn is_constant(graph: &Graph, id: NodeId) -> bool {
    let known = |v: &ValueId| graph.constant(*v).is_some();
    let node = graph.node(id);
    matches!(node.op, Op::Constant(_)) && node.outputs.iter().flatten().all(known)
}

impl Section {
    /// All nodes but constants, in an order in which they can run. Nodes for which `keep` is true stay in
    /// order among themselves.
    pub fn of_graph(
        graph: &Graph,
        nodes: &[NodeId],
        joined: bool,
        keep: &dyn Fn(NodeId) -> bool,
    ) -> Self {
        let mut at = vec![usize::MAX; graph.node_bound()];
        nodes.iter().enumerate().for_each(|(i, n)| at[n.index()] = i);
        let run = needed(graph, graph.outputs());
        let shared = Stores::new(graph, nodes, &run, joined);
        let mut r = Self { ids: (0..nodes.len()).collect(), ..Self::default() };
        let mut of: HashMap<ValueId, usize> = HashMap::new();
        let mut store = |r: &mut Self, v: ValueId| {
            let root = shared.of(v);
            let i = *of.entry(root).or_insert(r.stores.len());
            if i == r.stores.len() {
                let touches = Vec::new();
                r.stores.push(Store { bytes: 0, begun: false, stays: false, touches });
            }
            let (s, value) = (&mut r.stores[i], graph.value(v));
            s.bytes = s.bytes.max(value.ty.bytes().unwrap_or(0));
            s.begun |= graph.producer(v).is_none();
            s.stays |= value.is_output();
            i
        };
        for &v in graph.outputs().iter().filter(|v| counts(graph, **v)) {
            store(&mut r, v);
        }
        // Draws keep their order, as each changes what the next one gives.
        let mut chains = [None, None];
        for (i, &id) in nodes.iter().enumerate() {
            let node = graph.node(id);
            let reads = || node.inputs.iter().flatten().chain(&node.captures);
            let mut needs: Vec<usize> =
                reads().filter_map(|&v| graph.producer(v)).map(|p| at[p.index()]).collect();
            for (chain, bound) in chains.iter_mut().zip([draws(graph, id), keep(id)]) {
                if bound {
                    needs.extend(chain.replace(i));
                }
            }
            needs.retain(|&p| p != usize::MAX);
            sort(&mut needs);
            r.readers.push(Vec::new());
            needs.iter().for_each(|&p| r.readers[p].push(i));
            r.needs.push(needs);
            let mut touched = Vec::new();
            let mut overwrites = Vec::new();
            if run[id.index()] {
                let all = reads().chain(node.outputs.iter().flatten());
                touched = all.filter(|v| counts(graph, **v)).map(|&v| store(&mut r, v)).collect();
                sort(&mut touched);
                touched.iter().for_each(|&s| r.stores[s].touches.push(i));
                let pairs = shared.overwrites.get(&id).into_iter().flatten();
                overwrites = pairs.map(|&(x, y)| (store(&mut r, x), store(&mut r, y))).collect();
            }
            r.touched.push(touched);
            r.overwrites.push(overwrites);
        }
        for pair in &mut r.overwrites {
            pair.retain(|&(x, y)| x != y && r.stores[x].bytes == r.stores[y].bytes);
        }
        r.live = r.stores.iter().filter(|s| s.begun).map(|s| s.bytes).sum();
        r
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Some nodes of the section, after the nodes of `before` ran, in their order.
    pub fn part(&self, before: &[usize], nodes: &[usize]) -> Self {
        let mut at = vec![None; self.len()];
        nodes.iter().enumerate().for_each(|(i, &n)| at[n] = Some(i));
        let mut run = Run::new(self);
        before.iter().for_each(|&n| run.step(n));
        let mut part = Self { ids: nodes.to_vec(), live: run.live, ..Self::default() };
        let mut of: HashMap<usize, usize> = HashMap::new();
        for &n in nodes {
            for &s in &self.touched[n] {
                let i = part.stores.len();
                if *of.entry(s).or_insert(i) == i {
                    let store = &self.stores[s];
                    let touches: Vec<usize> = store.touches.iter().filter_map(|&t| at[t]).collect();
                    let stays = store.stays || run.left[s] > touches.len();
                    part.stores.push(Store { touches, stays, begun: run.begun[s], ..*store });
                }
            }
        }
        for &n in nodes {
            let within = |all: &[usize]| all.iter().filter_map(|&m| at[m]).collect::<Vec<_>>();
            part.needs.push(within(&self.needs[n]));
            part.readers.push(within(&self.readers[n]));
            part.touched.push(self.touched[n].iter().map(|s| of[s]).collect());
            let pairs = self.overwrites[n].iter();
            part.overwrites.push(pairs.map(|(x, y)| (of[x], of[y])).collect());
        }
        part
    }

    /// Most bytes that are live while the nodes run in this order.
    pub fn peak(&self, order: &[usize]) -> u64 {
        self.timeline(order).into_iter().fold(self.live, u64::max)
    }

    /// Bytes that are live while each node runs.
    pub fn timeline(&self, order: &[usize]) -> Vec<u64> {
        let mut run = Run::new(self);
        let mut step = |&n: &usize| {
            let during = run.cost(n).0;
            run.step(n);
            during
        };
        order.iter().map(&mut step).collect()
    }

    /// Where an order of all nodes is divided: each piece ends with a node that all nodes before it
    /// lead to, and that leads to all nodes after it. Every order has these nodes there.
    pub fn cuts(&self, order: &[usize]) -> Vec<usize> {
        let n = self.len();
        let mut at = vec![0; n];
        order.iter().enumerate().for_each(|(i, &m)| at[m] = i);
        let first = |m: usize| self.readers[m].iter().map(|&r| at[r]).min().unwrap_or(usize::MAX);
        let last = |m: usize| self.needs[m].iter().map(|&p| at[p] + 1).max().unwrap_or(0);
        // The least such place of the nodes from here on.
        let mut tied = vec![usize::MAX; n + 1];
        for i in (0..n).rev() {
            tied[i] = tied[i + 1].min(last(order[i]));
        }
        let mut reach = 0;
        let mut cuts = Vec::new();
        for i in 0..n {
            if reach <= i && tied[i + 1] > i {
                cuts.push(i + 1);
            }
            reach = reach.max(first(order[i]));
        }
        if cuts.last() != Some(&n) {
            cuts.push(n);
        }
        cuts
    }
}

fn sort(all: &mut Vec<usize>) {
    all.sort_unstable();
    all.dedup();
}

/// Whether the node, or one in a graph that it runs, draws random numbers.
fn draws(graph: &Graph, id: NodeId) -> bool {
    let op = &graph.node(id).op;
    OpCtx::of(graph, id).is_random()
        || op.subgraphs().iter().any(|g| g.schedule().any(|n| draws(g, n)))
}

/// An order in the making.
#[derive(Clone)]
pub(super) struct Run<'r> {
    section: &'r Section,
    /// By store, the nodes that are still to touch it.
    pub left: Vec<usize>,
    /// By store, whether something touched it.
    pub begun: Vec<bool>,
    /// By node, how many it waits for.
    pub waits: Vec<usize>,
    pub live: u64,
    pub peak: u64,
    pub order: Vec<usize>,
}

impl<'r> Run<'r> {
    pub fn new(section: &'r Section) -> Self {
        Self {
            section,
            left: section.stores.iter().map(|s| s.touches.len()).collect(),
            begun: section.stores.iter().map(|s| s.begun).collect(),
            waits: section.needs.iter().map(Vec::len).collect(),
            live: section.live,
            peak: section.live,
            order: Vec::with_capacity(section.len()),
        }
    }

    /// Bytes that are live while the node runs, if it runs next, and after it.
    pub fn cost(&self, n: usize) -> (u64, u64) {
        let last = |s: usize| self.left[s] == 1 && !self.section.stores[s].stays;
        cost(self.section, n, self.live, |s| self.begun[s], last)
    }

    /// Appends the node to the order.
    pub fn step(&mut self, n: usize) {
        let (during, after) = self.cost(n);
        self.peak = self.peak.max(during);
        self.live = after;
        for &s in &self.section.touched[n] {
            self.begun[s] = true;
            self.left[s] -= 1;
        }
        self.section.readers[n].iter().for_each(|&r| self.waits[r] -= 1);
        self.order.push(n);
    }
}

/// Bytes that are live while node `n` runs, and after it. `last` is true of a store that no later node
/// touches.
pub(super) fn cost(
    section: &Section,
    n: usize,
    live: u64,
    begun: impl Fn(usize) -> bool,
    last: impl Fn(usize) -> bool,
) -> (u64, u64) {
    let (mut taken, mut freed) = (0, 0);
    for &s in &section.touched[n] {
        let bytes = section.stores[s].bytes;
        taken += if begun(s) { 0 } else { bytes };
        freed += if last(s) { bytes } else { 0 };
    }
    let over = section.overwrites[n].iter().find(|&&(x, y)| last(x) && begun(x) && !begun(y));
    let saved = over.map_or(0, |&(x, _)| section.stores[x].bytes);
    (live + taken - saved, live + taken - freed)
}
