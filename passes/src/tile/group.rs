//! Groups of nodes that run tile by tile, and what their nodes need of each other.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Barrier, Relation, Relations};
use graph_opt_ir::{Graph, NodeId, ValueId};

/// Why two nodes are not the ends of a group.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// There is no path from the first node to the last.
    #[error("no value of {from:?} reaches {to:?}")]
    NoPath {
        /// Label of the first node; empty for the start of the graph.
        from: String,
        /// Label of the last node.
        to: String,
    },
    /// The first node runs after the last.
    #[error("{from:?} runs after {to:?}")]
    Order {
        /// Label of the first node.
        from: String,
        /// Label of the last node.
        to: String,
    },
}

/// Nodes that run together, and the values that are read of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The nodes, in the order of the schedule.
    pub nodes: Vec<NodeId>,
    /// Values that are read outside of the group, each joined from its tiles; a grid divides the last one.
    /// A node with another result that is read outside is kept beside its tiles.
    pub outputs: Vec<ValueId>,
}

impl Group {
    /// A group of these nodes, whose outputs are all their values that are read outside.
    pub fn of(graph: &Graph, mut nodes: Vec<NodeId>) -> Self {
        nodes.sort_by_key(|&n| graph.position(n));
        nodes.dedup();
        let inside: HashSet<NodeId> = nodes.iter().copied().collect();
        let outputs = nodes
            .iter()
            .flat_map(|&n| graph.node(n).outputs.iter().flatten().copied())
            .filter(|&v| {
                let v = graph.value(v);
                v.is_output() || v.uses().any(|u| !inside.contains(&u.node))
            })
            .collect();
        Self { nodes, outputs }
    }

    /// The nodes on paths from one node (or from the start) to another, both included.
    ///
    /// # Errors
    /// If there is no path.
    pub fn between(graph: &Graph, from: Option<NodeId>, to: NodeId) -> Result<Self, GroupError> {
        let first = from.map_or(0, |n| graph.position(n));
        let last = graph.position(to);
        let between = |n: &NodeId| (first..=last).contains(&graph.position(*n));
        let stretch: Vec<NodeId> = graph.schedule().filter(between).collect();
        let mut reached: HashSet<NodeId> = from.into_iter().collect();
        for &n in &stretch {
            let node = graph.node(n);
            let mut reads = node.inputs.iter().flatten().chain(&node.captures);
            if from.is_none()
                || reads.any(|&v| graph.producer(v).is_some_and(|p| reached.contains(&p)))
            {
                reached.insert(n);
            }
        }
        if !reached.contains(&to) {
            let (a, b) = (from.map_or("", |n| graph.label(n)), graph.label(to));
            return Err(GroupError::NoPath { from: a.to_owned(), to: b.to_owned() });
        }
        let mut inside = HashSet::from([to]);
        for &n in stretch.iter().rev() {
            let mut outputs = graph.node(n).outputs.iter().flatten();
            let leads = outputs.any(|&v| graph.value(v).uses().any(|u| inside.contains(&u.node)));
            if reached.contains(&n) && leads && graph.node(n).op.class() != Class::Source {
                inside.insert(n);
            }
        }
        Ok(Self::of(graph, inside.into_iter().collect()))
    }

    /// The nodes that run from one node (or from the start) to another, both included.
    ///
    /// # Errors
    /// If the first node runs after the last.
    pub fn run(graph: &Graph, from: Option<NodeId>, to: NodeId) -> Result<Self, GroupError> {
        let range = from.map_or(0, |n| graph.position(n))..=graph.position(to);
        if range.is_empty() {
            let (a, b) = (from.map_or("", |n| graph.label(n)), graph.label(to));
            return Err(GroupError::Order { from: a.to_owned(), to: b.to_owned() });
        }
        let inside = |n: &NodeId| {
            range.contains(&graph.position(*n)) && !matches!(graph.node(*n).op, Op::Constant(_))
        };
        Ok(Self::of(graph, graph.schedule().filter(inside).collect()))
    }

    /// Values from outside, constants left out, in the order of their first use.
    pub fn inputs(&self, graph: &Graph) -> Vec<ValueId> {
        let inside: HashSet<NodeId> = self.nodes.iter().copied().collect();
        let mut seen = HashSet::new();
        self.nodes
            .iter()
            .flat_map(|&n| graph.node(n).inputs.iter().flatten().chain(&graph.node(n).captures))
            .copied()
            .filter(|&v| graph.constant(v).is_none())
            .filter(|&v| graph.producer(v).is_none_or(|p| !inside.contains(&p)))
            .filter(|&v| seen.insert(v))
            .collect()
    }
}

/// How one operand of a node relates to a result of it.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    /// Number of the operand among the results of the table.
    pub id: usize,
    pub axes: Vec<Relation>,
    pub extents: Vec<Option<i64>>,
}

/// A node of a group with its results that are read.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub node: NodeId,
    pub results: Vec<GroupValue>,
}

#[derive(Clone, Debug)]
pub(super) struct GroupValue {
    /// Its number among all results of the table.
    pub id: usize,
    /// Which result of the node.
    pub index: usize,
    pub value: ValueId,
    pub extents: Vec<Option<i64>>,
    /// The operands that the group computes; or why the operator has no region rule.
    pub reads: Result<Vec<Reads>, Barrier>,
    /// Axes that cannot be cut.
    pub barriers: Vec<(usize, String)>,
    /// The other results of the node by their number, with pairs of an axis of theirs and one of this result
    /// that have the indices of the same axis of an operand.
    pub siblings: Vec<(usize, Vec<(usize, usize)>)>,
}

/// The relations of a group's nodes, looked up once for all grids.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub steps: Vec<Step>,
    /// Number of results of all nodes.
    pub count: usize,
}

fn extents(graph: &Graph, v: ValueId) -> Option<Vec<Option<i64>>> {
    let dims = graph.value(v).ty.dims()?;
    Some(region::extents(&vec![None; dims.len()], dims))
}

impl Table {
    pub fn new(graph: &Graph, nodes: &[NodeId]) -> Self {
        let mut ids = HashMap::new();
        let mut steps = Vec::with_capacity(nodes.len());
        for &node in nodes {
            let results = results(graph, node, &mut ids);
            steps.push(Step { node, results });
        }
        Self { steps, count: ids.len() }
    }

    /// The results of all nodes, in the order of the schedule.
    pub fn made(&self) -> impl Iterator<Item = &GroupValue> {
        self.steps.iter().flat_map(|s| &s.results)
    }

    /// The table of some of the nodes: what comes from the others comes from outside.
    pub fn range(&self, range: std::ops::Range<usize>) -> Self {
        let mut steps = self.steps[range].to_vec();
        let ids = steps.iter().flat_map(|s| &s.results).map(|m| m.id);
        let (base, count) = (ids.clone().min().unwrap_or(0), ids.count());
        for m in steps.iter_mut().flat_map(|s| &mut s.results) {
            m.id -= base;
            if let Ok(reads) = &mut m.reads {
                reads.retain(|r| r.id >= base);
                reads.iter_mut().for_each(|r| r.id -= base);
            }
            m.siblings.iter_mut().for_each(|s| s.0 -= base);
        }
        Self { steps, count }
    }
}

/// Pairs of an axis of one result and an axis of another one that have the indices of the same axis of an
/// operand.
fn paired(one: &Relations, other: &Relations) -> Vec<(usize, usize)> {
    let operands = one.operands.iter().zip(&other.operands);
    let axes = operands.flat_map(|(x, y)| x.iter().zip(y));
    axes.filter_map(|(x, y)| match (x, y) {
        (Relation::Same(a), Relation::Same(b)) => Some((*a, *b)),
        (Relation::Window(a, w), Relation::Window(b, v)) if w == v => Some((*a, *b)),
        _ => None,
    })
    .collect()
}

/// The results of a node; `ids` numbers all results so far.
fn results(graph: &Graph, id: NodeId, ids: &mut HashMap<ValueId, usize>) -> Vec<GroupValue> {
    let node = graph.node(id);
    let ctx = OpCtx::followed(graph, id);
    let mut all: Vec<GroupValue> = Vec::new();
    let mut relations = Vec::new();
    for (index, v) in node.outputs.iter().enumerate() {
        let Some(value) = *v else { continue };
        let read = graph.value(value).is_output() || graph.value(value).uses().len() > 0;
        // The first result stands for the node also if nobody reads it.
        if !read && (index > 0 || node.outputs.len() > 1) {
            continue;
        }
        let (reads, barriers) = match region::relations(&ctx, index) {
            Err(b) => (Err(b), Vec::new()),
            Ok(rel) => {
                let operands = node.inputs.iter().zip(&rel.operands);
                let reads = operands
                    .filter_map(|(v, axes)| {
                        let value = (*v)?;
                        let &id = ids.get(&value)?;
                        let extents = extents(graph, value)?;
                        Some(Reads { id, axes: axes.clone(), extents })
                    })
                    .collect();
                let barriers = rel.barriers.clone();
                relations.push((ids.len() + all.len(), rel));
                (Ok(reads), barriers)
            }
        };
        let extents = extents(graph, value).unwrap_or_default();
        let (id, siblings) = (ids.len() + all.len(), Vec::new());
        all.push(GroupValue { id, index, value, extents, reads, barriers, siblings });
    }
    for (id, own) in &relations {
        let others = relations.iter().filter(|(other, _)| other != id);
        let siblings = others.map(|(other, rel)| (*other, paired(rel, own))).collect();
        all[id - ids.len()].siblings = siblings;
    }
    ids.extend(all.iter().map(|m| (m.value, m.id)));
    all
}
